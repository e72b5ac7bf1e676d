"""Reading expressions off the face mesh, and what the fit makes of them and of a detector's own scores."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from pantomime.core.body.face_draws import draw_expression
from pantomime.core.body.face_views import photographed
from pantomime.core.body.model import BodyModel
from pantomime.core.body.train_expressions import mirror_names, mirror_points
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.evidence import FaceReaders, gather
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState
from pantomime.core.priors.expressions import NUM_POINTS, REST_PX, ExpressionReader, at_rest, upright_mesh
from pantomime.core.rotation import exp_so3

FOCAL_PX = 600.0
SQUARE = np.random.default_rng(0).random((468, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def someone(body: BodyModel) -> Observation:
    """Somebody who stands before the camera with a neutral face, whose mesh is the mean one."""
    rotmats = exp_so3(relaxed_pose())[None]
    rotmats[:, 0] = exp_so3(torch.tensor([np.pi, 0.0, 0.0], dtype=torch.float64))
    zeros = torch.zeros(1, body.num_betas, dtype=torch.float64), torch.zeros(1, body.num_expressions).double()
    place = torch.tensor([[0.0, 0.2, 2.5]], dtype=torch.float64)
    state = BodyState(rotmats, place, torch.tensor([np.log(FOCAL_PX)]), *zeros)
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    points = {}
    for name in ("pose33", "face468"):
        table = PointTable.of(skeleton, body.virtual_points(body.points[name]), (0,))
        position = table.positions(pose_chain(skeleton, state))[0].numpy()
        pixels = (FOCAL_PX * position[:, :2] / position[:, 2:] + 256).astype(np.float32)
        hint = position - position.mean(0) if name == "pose33" else ExpressionReader().canonical
        points[name] = Points(pixels, np.ones(len(pixels), np.float32), hint.astype(np.float32))
    everything = points["pose33"].image_px
    return Observation((512, 512), np.concatenate([everything.min(0), everything.max(0)]), 1.0, points)


@pytest.fixture(scope="module")
def reader() -> ExpressionReader:
    return ExpressionReader()


def seen(mesh: np.ndarray) -> Points:
    return Points(200.0 * SQUARE, np.ones(NUM_POINTS, np.float32), mesh.astype(np.float32))


def test_a_mesh_is_laid_upright_however_it_is_turned_and_scaled(reader: ExpressionReader) -> None:
    turn = exp_so3(torch.tensor([0.3, -0.5, 0.2])).numpy()
    moved = 1.3 * reader.canonical @ turn.T + np.array([0.1, 0.2, 0.3], np.float32)
    laid, found = upright_mesh(moved[None].astype(np.float32), reader.canonical)
    np.testing.assert_allclose(laid[0], reader.canonical, atol=1e-5)
    np.testing.assert_allclose(found[0], turn, atol=1e-5)


def test_the_mean_face_does_nothing_and_dropped_lids_are_a_blink_of_their_eye(reader: ExpressionReader) -> None:
    still = reader.read(seen(reader.canonical))
    assert still is not None and still.values.max() < 0.25 and (still.sigma > 0).all()
    shut = reader.canonical.copy()
    for upper, lower in ((246, 7), (161, 163), (160, 144), (159, 145), (158, 153), (157, 154), (173, 155)):
        shut[upper, 1] = shut[lower, 1]
    blink = reader.read(seen(shut))
    assert blink is not None
    values = dict(zip(blink.names, blink.values, strict=True))
    assert values["eyeBlinkRight"] > 0.4 and values["eyeBlinkLeft"] < 0.2


def test_what_faces_at_rest_are_read_as_is_nothing_and_more_so_in_small_ones() -> None:
    rest = np.array([0.1, 0.3])
    values = np.array([[0.08, 0.9], [0.15, 0.45], [0.2, 0.6], [0.9, 0.0]], np.float32)
    large = at_rest(values, rest, np.full(4, 200.0))
    np.testing.assert_allclose(large, [[0, 0.9], [0.1, 0.3], [0.2, 0.6], [0.9, 0]], atol=1e-6)
    small = at_rest(values, rest, np.full(4, REST_PX / 2))
    assert (small <= large).all() and small[2, 0] < 1e-6 and small[0, 1] == pytest.approx(0.6)


def test_faces_of_all_sizes_are_read_and_one_without_places_is_at_rest(reader: ExpressionReader) -> None:
    found = [reader.read(replace(seen(reader.canonical), image_px=px * SQUARE)) for px in (0.0, 10.0, 60.0, 500.0)]
    lost = reader.read(replace(seen(reader.canonical), image_px=np.full((NUM_POINTS, 2), np.nan, np.float32)))
    for one in (*found, lost):
        assert one is not None and one.values.max() < 0.25 and np.isfinite(one.values).all()


def test_a_broken_mesh_is_not_read(reader: ExpressionReader) -> None:
    assert reader.read(replace(seen(reader.canonical), world_m=None)) is None
    assert reader.read(seen(np.full((NUM_POINTS, 3), np.nan))) is None


def test_scores_of_a_detector_become_the_expression_within_bounds(body: BodyModel, someone: Observation) -> None:
    wanted = {"jawOpen": 0.8, "eyeBlinkLeft": 0.6, "mouthSmileLeft": 1.4, "unheardOf": 1.0, "browInnerUp": float("nan")}
    # The mesh contradicts them here; let it count for little.
    loose = {**FitSettings().sigma_2d, "face468": 0.2}
    settings = replace(FitSettings(), expression_reader=0.0, sigma_2d=loose)
    capture = Fitter(body, settings).fit(replace(someone, face_scores=wanted), PhotoCamera(FOCAL_PX, "given"))
    plain = Fitter(body).fit(someone, PhotoCamera(FOCAL_PX, "given"))
    assert plain.expression.max() < 0.25
    values = dict(zip(body.expression_names, capture.expression[0], strict=True))
    before = dict(zip(body.expression_names, plain.expression[0], strict=True))
    assert (capture.expression >= 0).all() and (capture.expression <= 1).all()
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft"):
        assert values[name] > before[name] + 0.2
    assert values["eyeBlinkRight"] < 0.3


def test_reader_and_scores_are_joined_by_how_sure_they_are(
    body: BodyModel, someone: Observation, reader: ExpressionReader
) -> None:
    observation = replace(someone, face_scores={"jawOpen": 1.0})
    alone = gather(body, replace(observation, face_scores=None), FitSettings(), FaceReaders(reader)).expression
    scores = gather(body, observation, FitSettings()).expression
    both = gather(body, observation, FitSettings(), FaceReaders(reader)).expression
    assert alone is not None and scores is not None and both is not None
    i = body.expression_names.index("jawOpen")
    assert scores.values[i] == 1.0 and np.isinf(np.delete(scores.sigma, i)).all()
    assert alone.values[i] <= both.values[i] <= 1.0
    np.testing.assert_allclose(both.sigma[i] ** -2, alone.sigma[i] ** -2 + scores.sigma[i] ** -2, rtol=1e-4)


def test_sides_of_mesh_and_names_are_each_others_mirror(body: BodyModel, reader: ExpressionReader) -> None:
    twins = mirror_points(reader.canonical)
    assert (twins[twins] == np.arange(NUM_POINTS)).all()
    assert {(61, 291), (33, 263), (133, 362), (10, 10)} <= set(enumerate(twins.tolist()))
    swapped = [body.expression_names[i] for i in mirror_names(body.expression_names)]
    pairs = dict(zip(body.expression_names, swapped, strict=True))
    assert pairs["eyeBlinkLeft"] == "eyeBlinkRight" and pairs["jawRight"] == "jawLeft" and pairs["jawOpen"] == "jawOpen"


def test_drawn_expressions_are_sparse_bounded_and_repeat(body: BodyModel) -> None:
    drawn = np.array([draw_expression(np.random.default_rng(i), body.expression_names, 0.2) for i in range(300)])
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert 0.1 < (drawn.max(axis=1) == 0).mean() < 0.3
    assert (drawn > 0.2).sum(axis=1).mean() < 8
    left, right = (drawn[:, body.expression_names.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    assert (np.abs(left - right) > 0.3).any()
    np.testing.assert_array_equal(drawn[7], draw_expression(np.random.default_rng(7), body.expression_names, 0.2))


def test_a_painted_face_is_photographed_in_other_light_and_the_same_again() -> None:
    rgb = np.full((40, 40, 3), 150, np.uint8)
    pictures = []
    for _ in range(2):
        cv2.setRNGSeed(1)
        pictures.append(photographed(rgb, np.random.default_rng(2)))
    np.testing.assert_array_equal(*pictures)
    assert pictures[0].shape == rgb.shape and np.abs(pictures[0].astype(int) - rgb).mean() > 5
