"""The face mesh with attention: its parts look where the mesh says, and know lips and lids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pantomime.core.detection.face_network import FACE_INPUT_PX, LEFT_EYE, LIPS, RIGHT_EYE, FaceNetwork, _box, _sample
from pantomime.core.detection.landmarkers import LandmarkerError
from pantomime.core.detection.models import find_models


def test_features_are_read_where_they_lie_and_are_zero_outside() -> None:
    y, x = np.mgrid[0:48, 0:48].astype(np.float32)
    places = np.array([[[3.25, 7.5], [47.0, 0.0], [-0.1, 5.0], [46.9, 47.2]]], np.float32)
    found = _sample(np.stack([x, y]), places)
    np.testing.assert_allclose(found[:, 0, :2].T, places[0, :2], atol=1e-5)
    assert not found[:, 0, 2:].any()


@pytest.mark.parametrize("angle", [0.0, 0.5, -2.8])
def test_the_box_of_a_part_turns_with_it(angle: float) -> None:
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    corners = np.array([[-8, -3], [8, -3], [8, 3], [-8, 3]]) @ turn.T + [90, 70]
    found, centre, size = _box(corners.astype(np.float32), (turn @ [1.0, 0.0]).astype(np.float32))
    np.testing.assert_allclose(found, turn, atol=1e-5)
    np.testing.assert_allclose(centre, [90, 70], atol=1e-4)
    np.testing.assert_allclose(size, [24, 9], atol=1e-4)


def test_parts_share_no_points_and_mirror_each_other() -> None:
    everything = [*LIPS, *RIGHT_EYE, *LEFT_EYE]
    assert len(set(everything)) == len(everything) == 80 + 2 * 71


def test_a_grey_crop_is_no_face_but_no_error(detector_models: None) -> None:
    network = FaceNetwork(find_models().face_mesh)
    points, score = network.detect(np.full((FACE_INPUT_PX, FACE_INPUT_PX, 3), 128, np.uint8))
    assert points.shape == (478, 3) and np.isfinite(points).all() and score < 0.5


def test_a_file_that_is_no_face_mesh_is_named(tmp_path: Path) -> None:
    file = tmp_path / "face_mesh.task"
    file.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(LandmarkerError, match="pantomime models"):
        FaceNetwork(file)
    with pytest.raises(LandmarkerError, match=r"none\.task"):
        FaceNetwork(tmp_path / "none.task")
