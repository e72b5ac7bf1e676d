"""The silhouette as a residual: the mask's edge, its matches on the body, Jacobians, and what it does to a fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pantomime.core.body.model import BodyModel
from pantomime.core.body.raster import rasterise
from pantomime.core.body.skinning import Body
from pantomime.core.capture import Capture
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.vocabulary import POSE33
from pantomime.core.fitting.contour import contour_of
from pantomime.core.fitting.evidence import gather
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.outline import Outline, Silhouette, outline_offset
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.fitting.problem import CameraGuess, StageProblem
from pantomime.core.fitting.residuals import reprojection
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState, retract
from pantomime.core.rotation import exp_so3

FOCAL_PX, SIZE = 600.0, (384, 512)
CAMERA = PhotoCamera(FOCAL_PX, "given")


@dataclass(frozen=True)
class Person:
    state: BodyState
    mask: np.ndarray  # (H, W) bool
    observation: Observation


@pytest.fixture(scope="module")
def wide(body: BodyModel) -> Person:
    """Somebody whose second to sixth betas are not the mean's, seen whole."""
    betas = np.zeros(body.num_betas)
    betas[:6] = [0.0, 1.8, -1.2, 1.2, 0.8, -1.0]
    return person(body, betas)


def person(body: BodyModel, betas: np.ndarray) -> Person:
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    rotmats = exp_so3(relaxed_pose())[None]
    rotmats[0, 0] = exp_so3(torch.tensor([np.pi, 0.0, 0.0], dtype=torch.float64)) @ exp_so3(
        torch.tensor([0.0, 0.3, 0.0], dtype=torch.float64)
    )
    state = BodyState(
        rotmats,
        torch.tensor([[0.0, 0.3, 3.0]], dtype=torch.float64),
        torch.log(torch.tensor([FOCAL_PX], dtype=torch.float64)),
        torch.as_tensor(betas)[None],
        torch.zeros(1, body.num_expressions, dtype=torch.float64),
    )
    table = PointTable.of(skeleton, body.virtual_points(body.points["pose33"]), (0,))
    place = table.positions(pose_chain(skeleton, state))[0].numpy()
    seen = (FOCAL_PX * place[:, :2] / place[:, 2:] + np.array(SIZE) / 2).astype(np.float32)
    hint = (place - place.mean(0)).astype(np.float32)
    mask = drawn(body, state.betas[0].numpy(), rotmats[0], state.transl[0], FOCAL_PX)
    points = {"pose33": Points(seen, np.ones(len(seen), np.float32), hint)}
    box = np.concatenate([seen.min(0), seen.max(0)])
    observation = Observation(
        SIZE, box, 1.0, points, mask.astype(np.uint8) * 255, np.array([0, 0, *SIZE], np.float32), "synthetic"
    )
    return Person(state, mask, observation)


def drawn(body: BodyModel, betas: np.ndarray, rotmats: Tensor, transl: Tensor, focal_px: float) -> np.ndarray:
    """Where the body is in the picture."""
    zeros = torch.zeros(body.num_expressions)
    vertices = Body(body).vertices(torch.as_tensor(betas).float(), zeros, rotmats.float(), transl.float())
    return rasterise(vertices.numpy(), body.faces, focal_px, SIZE).triangles >= 0


def overlap(body: BodyModel, capture: Capture, mask: np.ndarray) -> float:
    rotmats = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)))
    other = drawn(body, capture.betas, rotmats, torch.as_tensor(capture.transl[0]), capture.focal_px)
    return float((mask & other).sum() / (mask | other).sum())


def disc(centre: tuple[float, float], radius: float) -> Observation:
    y, x = np.mgrid[0:200, 0:160] + 0.5
    distance = np.hypot(2 * x - centre[0], 2 * y - centre[1])  # the mask is at half the picture's size
    mask = (255 * np.clip(0.5 - (distance - radius) / 4, 0, 1)).astype(np.uint8)
    return Observation((320, 400), np.array([0, 0, 320, 400], np.float32), 1.0, {}, mask, np.array([0, 0, 320, 400.0]))


def test_the_contour_is_the_edge_to_half_a_pixel_and_points_outwards() -> None:
    contour = contour_of(disc((150.0, 210.0), 90.0), 8.0, 0.5, 4.0)
    assert contour is not None and 40 < len(contour) < 110
    out = contour.image_px - np.array([150.0, 210.0])
    radius = np.linalg.norm(out, axis=1)
    np.testing.assert_allclose(radius, 90.0, atol=0.5)
    assert ((out / radius[:, None]) * contour.normals).sum(1).min() > 0.98


def test_the_pictures_edge_is_no_contour() -> None:
    contour = contour_of(disc((20.0, 210.0), 90.0), 8.0, 0.5, 6.0)
    assert contour is not None
    assert contour.image_px[:, 0].min() >= 6.0
    radius = np.linalg.norm(contour.image_px - np.array([20.0, 210.0]), axis=1)
    np.testing.assert_allclose(radius, 90.0, atol=0.5)


def test_without_an_edge_there_is_no_contour(wide: Person) -> None:
    blank = replace(wide.observation, mask=np.zeros((40, 30), np.uint8))
    assert contour_of(blank, 8.0, 0.5, 4.0) is None
    assert contour_of(replace(wide.observation, mask=None, mask_box_px=None), 8.0, 0.5, 4.0) is None


def test_outline_offset_jacobian_matches_finite_differences() -> None:
    rng = np.random.default_rng(0)
    points = torch.as_tensor(rng.normal(0, 1, (2, 5, 3)) + [0, 0, 4])
    focal = torch.as_tensor(np.log([500.0, 800.0]))
    principal = torch.tensor([320.0, 240.0], dtype=torch.float64)
    seen = torch.as_tensor(rng.uniform(0, 500, (5, 2)))
    normals = torch.nn.functional.normalize(torch.as_tensor(rng.normal(size=(5, 2))), dim=-1)
    inverse_sigma = torch.as_tensor(rng.uniform(0.05, 0.5, 5))

    def at(d: np.ndarray) -> Tensor:
        moved = points + torch.as_tensor(d[:3])
        return outline_offset(normals, *reprojection(moved, focal + float(d[3]), principal, seen, inverse_sigma))[0]

    _, by_point, by_focal = outline_offset(normals, *reprojection(points, focal, principal, seen, inverse_sigma))
    step = 1e-6 * np.eye(4)
    expected = torch.stack([(at(step[k]) - at(-step[k])) / 2e-6 for k in range(4)], -1)
    torch.testing.assert_close(by_point, expected[..., :3], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(by_focal, expected[..., 3], atol=1e-6, rtol=1e-6)


def test_the_problems_gradient_is_the_slope_of_its_cost(body: BodyModel, wide: Person) -> None:
    """In pose, place, focal length and shape, of what the silhouette adds to the cost."""
    settings = FitSettings()
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    evidence = gather(body, wide.observation, settings)
    stage = replace(next(stage for stage in settings.stages if stage.silhouette), hands=False, face=False)
    rng = np.random.default_rng(1)
    start = replace(
        wide.state,
        rotmats=wide.state.rotmats @ exp_so3(torch.as_tensor(rng.normal(0, 0.02, (1, 55, 3)))),
        betas=wide.state.betas + 0.3,
    )
    guess = CameraGuess((SIZE[0] / 2, SIZE[1] / 2), float(np.log(FOCAL_PX)) + 0.05, 0.2)
    contour = contour_of(wide.observation, 0.03 * evidence.person_px, 0.5, 5.0)
    assert contour is not None
    outline = Outline(body, skeleton)
    chain = pose_chain(skeleton, start)
    matches = outline.match(chain, FOCAL_PX, np.array(guess.principal), contour, evidence, settings)
    assert len(matches.vertices) > 60
    silhouette = Silhouette(outline, matches)
    with_it = StageProblem(body, skeleton, evidence, guess, (), stage, settings, silhouette=silhouette)
    without = StageProblem(body, skeleton, evidence, guess, (), stage, settings)

    def added(step: Tensor) -> Tensor:
        state = retract(start, step, with_it.unknowns, True)
        return with_it.linearise(state).cost - without.linearise(state).cost

    gradient = (with_it.linearise(start).gradient - without.linearise(start).gradient)[0]
    size = with_it.unknowns.size
    for column in rng.choice(size, 20, replace=False).tolist() + [with_it.unknowns.focal_at, size - 1]:
        step = torch.zeros(1, size, dtype=torch.float64)
        step[0, column] = 1e-6
        slope = float((added(step) - added(-step))[0] / 2e-6)
        assert abs(2 * float(gradient[column]) - slope) < 1e-4 * max(1.0, abs(slope)), column


def test_the_outline_lies_on_the_contour_of_its_own_mask(body: BodyModel, wide: Person) -> None:
    settings = FitSettings()
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    evidence = gather(body, wide.observation, settings)
    contour = contour_of(wide.observation, 0.03 * evidence.person_px, 0.5, 5.0)
    assert contour is not None
    chain, principal = pose_chain(skeleton, wide.state), np.array(SIZE) / 2
    outline = Outline(body, skeleton)
    matches = outline.match(chain, FOCAL_PX, principal, contour, evidence, settings)
    places = PointTable.of(skeleton, Silhouette(outline, matches).carriers, (0,)).positions(chain)
    log_focal = torch.log(torch.tensor([FOCAL_PX], dtype=torch.float64))
    ones = torch.ones(len(matches.seen))
    projected = reprojection(places, log_focal, torch.as_tensor(principal), matches.seen, ones)
    offset = outline_offset(matches.normals, *projected)[0]
    assert abs(float(offset.median())) < 1.0  # px
    assert float(offset.abs().quantile(0.9)) < 3.0


def test_the_mask_makes_a_body_as_wide_as_the_person(body: BodyModel, wide: Person) -> None:
    fitter = Fitter(body, replace(FitSettings(), regressor=0.0))  # which reads how far a mask reaches
    blind = fitter.fit(replace(wide.observation, mask=None, mask_box_px=None), CAMERA)
    seeing = fitter.fit(wide.observation, CAMERA)
    assert overlap(body, seeing, wide.mask) > max(0.93, overlap(body, blind, wide.mask))
    assert shape_error_mm(body, seeing, wide) < 0.8 * shape_error_mm(body, blind, wide)


def shape_error_mm(body: BodyModel, capture: Capture, truth: Person) -> float:
    """Mean distance of the surfaces in the T-pose, at equal size."""
    pair = [body.v_template + body.shapedirs @ betas for betas in (capture.betas, truth.state.betas[0].numpy())]
    fitted, true = (shape - shape.mean(0) for shape in pair)
    scale = (fitted * true).sum() / (fitted * fitted).sum()
    return 1000 * float(np.linalg.norm(scale * fitted - true, axis=1).mean())


def test_what_hides_the_legs_does_not_pull_them(body: BodyModel, wide: Person) -> None:
    """A table before the legs: their points are not seen, and the mask ends at its edge."""
    legs = [i for i, name in enumerate(POSE33) if any(part in name for part in ("knee", "ankle", "heel", "foot_index"))]
    points = wide.observation.points["pose33"]
    confidence = points.confidence.copy()
    confidence[legs] = 0
    edge = int(points.image_px[[POSE33.index("left_knee"), POSE33.index("right_knee")], 1].mean()) - 30
    mask = np.array(wide.observation.mask)
    mask[edge:] = 0
    hidden = replace(wide.observation, points={"pose33": replace(points, confidence=confidence)}, mask=mask)
    fitter = Fitter(body)
    seeing = fitter.fit(hidden, CAMERA)
    blind = fitter.fit(replace(hidden, mask=None, mask_box_px=None), CAMERA)
    turned = (seeing.body_pose - blind.body_pose).reshape(21, 3)[:8]  # hips, spine, knees, ankles
    assert np.abs(turned).max() < 0.2


@pytest.mark.parametrize("value", [0, 255])
def test_a_mask_that_says_nothing_is_no_harm(body: BodyModel, wide: Person, value: int) -> None:
    fitter = Fitter(body, replace(FitSettings(), regressor=0.0))  # which reads how far a mask reaches
    blind = fitter.fit(replace(wide.observation, mask=None, mask_box_px=None), CAMERA)
    same = fitter.fit(replace(wide.observation, mask=np.full((50, 40), value, np.uint8)), CAMERA)
    np.testing.assert_array_equal(same.full_pose(), blind.full_pose())


def test_a_mask_of_which_nothing_is_near_the_body_is_no_harm(body: BodyModel, wide: Person) -> None:
    mask = np.zeros_like(wide.mask, np.uint8)
    mask[4:24, 4:24] = 255
    capture = Fitter(body).fit(replace(wide.observation, mask=mask), PhotoCamera(FOCAL_PX, "given"))
    assert np.isfinite(capture.joints).all()


def test_where_a_soft_masks_network_saw_nothing_is_no_contour() -> None:
    observation = disc((150.0, 210.0), 90.0)
    cut = np.array(observation.mask)
    cut[120:] = 0
    contour = contour_of(replace(observation, mask=cut), 8.0, 0.5, 4.0)
    assert contour is not None
    radius = np.linalg.norm(contour.image_px - np.array([150.0, 210.0]), axis=1)
    np.testing.assert_allclose(radius, 90.0, atol=0.5)
