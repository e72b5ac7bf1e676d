"""Reading a gaze off the picture of a face: its edges, the training, when nothing is read, and a missing file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pantomime.core.body.face_draws import draw_face
from pantomime.core.body.face_pictures import FacePictures
from pantomime.core.body.load import load_body
from pantomime.core.body.train_gaze import GazeTraining, train, write
from pantomime.core.detection.face_picture import PICTURE_PX
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.evidence import FaceReaders, seen_face
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.video_evidence import Seen, pack, seen_faces
from pantomime.core.priors import gaze_reader as module
from pantomime.core.priors.errors import PriorError
from pantomime.core.priors.expressions import ExpressionReader
from pantomime.core.priors.gaze import SeenGaze, lid_components
from pantomime.core.priors.gaze_reader import GazeReader, edges

NAMES = load_body().expression_names


def faces(count: int) -> FacePictures:
    """Pictures that show but two discs on a bright ground, which go where the mean face, seen from ahead, looks."""
    rng = np.random.default_rng(5)
    mesh = ExpressionReader().canonical
    gaze = rng.normal(0, 0.15, (count, 2)).astype(np.float32)
    pictures = rng.normal(180, 2, (count, PICTURE_PX, PICTURE_PX))
    rows, columns = np.mgrid[:PICTURE_PX, :PICTURE_PX]
    for picture, (left, up) in zip(pictures, gaze, strict=True):
        for eye in (32, 79):
            picture[np.hypot(rows - 36 + 15 * up, columns - eye - 15 * left) < 5] -= 120
    irises = np.concatenate([np.tile(mesh[[33, 133]].mean(0), (5, 1)), np.tile(mesh[[362, 263]].mean(0), (5, 1))])
    return FacePictures(
        pictures.clip(0, 255).astype(np.uint8),
        np.tile(mesh, (count, 1, 1)).astype(np.float32),
        np.tile(irises[:, :2], (count, 1, 1)).astype(np.float32),
        np.full(count, 1200.0, np.float32),
        np.full(count, 180.0, np.float32),
        np.zeros((count, len(NAMES)), np.float32),
        gaze,
        np.arange(count, dtype=np.int32),
    )


def observation(some: FacePictures, row: int, px: float = 1200.0) -> Observation:
    mesh, middle = some.meshes[row], np.array([200.0, 200.0], np.float32)
    points = Points(px * mesh[:, :2] + middle, np.ones(468, np.float32), mesh, irises_px=px * some.irises[row] + middle)
    box = np.array([0, 0, 400, 400], np.float32)
    return Observation((400, 400), box, 1.0, {"face468": points}, face_picture=some.pictures[row])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FacePictures]:
    torch.set_num_threads(1)
    some, path = faces(200), tmp_path_factory.mktemp("gaze") / "gaze.safetensors"
    settings = GazeTraining(ridge=1.0)
    tensors, errors = train(some, NAMES, settings)
    assert errors["read_side_deg"] < 0.5 * errors["ahead_side_deg"]
    write(path, tensors, some, settings, errors)
    return path, some


def test_edges_are_the_same_in_any_light() -> None:
    picture = np.random.default_rng(0).integers(60, 120, (1, PICTURE_PX, PICTURE_PX)).astype(np.uint8)
    picture = np.repeat(np.repeat(picture[:, ::8, ::8], 8, 1), 8, 2)
    plain, bright = edges(picture), edges(2 * picture)
    assert np.corrcoef(plain.ravel(), bright.ravel())[0, 1] > 0.99
    np.testing.assert_allclose(plain.mean(), bright.mean(), rtol=0.15)
    assert not edges(np.full_like(picture, 90)).any()


def test_a_gaze_is_learned_written_and_read(trained: tuple[Path, FacePictures]) -> None:
    path, some = trained
    found = [GazeReader(path).read(observation(some, row)) for row in range(0, 200, 10)]  # left out of the training
    angles = np.array([one.angles for one in found if one is not None])
    assert len(angles) == 20
    for axis in (0, 1):
        assert np.corrcoef(angles[:, axis], some.gaze[::10, axis])[0, 1] > 0.9


def test_nothing_is_read_off_small_shut_or_missing_eyes(trained: tuple[Path, FacePictures]) -> None:
    path, some = trained
    reader, seen = GazeReader(path), observation(some, 3)
    face = seen.points["face468"]
    assert reader.read(observation(some, 3, px=150.0)) is None
    assert reader.read(seen, shut=0.9) is None
    assert reader.read(replace(seen, face_picture=None)) is None
    assert reader.read(replace(seen, points={"face468": replace(face, irises_px=None)})) is None
    whole, half = reader.read(seen), reader.read(seen, shut=0.4)
    assert whole is not None and half is not None and (half.sigma >= whole.sigma).all()


def test_eyes_and_lids_of_a_fit_and_of_frames_follow_the_gaze(trained: tuple[Path, FacePictures]) -> None:
    path, some = trained
    body, settings, readers = load_body(), FitSettings(), FaceReaders(ExpressionReader(), GazeReader(path))
    row = int(np.abs(some.gaze[:, 0]).argmax())
    seen = observation(some, row)
    expression, gaze = seen_face(body, seen, settings, readers)
    assert expression is not None and isinstance(gaze, SeenGaze)
    assert np.sign(gaze.angles[0]) == np.sign(some.gaze[row, 0]) and abs(gaze.angles[0]) > 0.1
    lids = lid_components(gaze.angles)
    for name, value in lids.items():
        assert expression.values[NAMES.index(name)] == pytest.approx(value, abs=1e-5)
    plain, none = seen_face(body, seen, settings, FaceReaders(ExpressionReader()))
    assert none is None and plain is not None
    others = [i for i, name in enumerate(NAMES) if name not in lids]
    np.testing.assert_allclose(expression.values[others], plain.values[others], atol=1e-6)
    parts = [pack(seen), pack(None)]
    rows = {key: np.stack([part[key] for part in parts]) for key in parts[0]}
    frames = Seen(np.arange(2), np.arange(2) / 30, np.zeros(2, np.int64), **rows)
    found = seen_faces(body, frames, settings, readers, (400, 400))
    np.testing.assert_allclose(found.eyes[0], [-gaze.angles[1], gaze.angles[0], 0], atol=1e-5)
    assert not found.eyes[1].any() and not found.expression_inverse_sigma[1].any()
    assert set(np.flatnonzero(found.expression_inverse_sigma[0])) == {NAMES.index(name) for name in lids}


def test_a_missing_or_damaged_file_is_one_sentence_and_the_fit_goes_on(
    tmp_path: Path, trained: tuple[Path, FacePictures], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PriorError, match=r"is missing\. Install"):
        GazeReader(tmp_path / "none.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    data = bytearray(trained[0].read_bytes())
    data[len(data) // 2] ^= 255
    damaged.write_bytes(data)
    with pytest.raises(PriorError, match=r"is damaged\. Install"):
        GazeReader(damaged)
    monkeypatch.setattr(module, "GAZE_FILE", damaged)
    fitter = Fitter(load_body())
    assert any("is damaged" in warning and "straight ahead" in warning for warning in fitter.warnings)
    assert fitter.readers.mesh is not None and fitter.readers.gaze is None


def test_faces_are_drawn_the_same_again_and_look_everywhere() -> None:
    drawn = [draw_face(np.random.default_rng(i), NAMES) for i in range(300)]
    np.testing.assert_array_equal(drawn[7][0], draw_face(np.random.default_rng(7), NAMES)[0])
    gaze = np.array([one[1] for one in drawn])
    assert np.abs(gaze).max() < 0.61 and (gaze.std(0) > 0.08).all() and np.abs(gaze.mean(0)).max() < 0.05
