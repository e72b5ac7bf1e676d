"""What was seen travels with a capture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.skeleton import JOINT_NAMES
from pantomime.core.capture import Capture, CaptureError, pose_parts


@pytest.fixture
def capture() -> Capture:
    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    return Capture(
        betas=zeros(4), expression=zeros(2, 3), global_orient=zeros(2, 3), body_pose=zeros(2, 63),
        jaw_pose=zeros(2, 3), leye_pose=zeros(2, 3), reye_pose=zeros(2, 3), left_hand_pose=zeros(2, 45),
        right_hand_pose=zeros(2, 45), transl=zeros(2, 3), joints=zeros(2, 55, 3), joint_names=JOINT_NAMES,
        focal_px=500.0, principal_px=zeros(2), image_size=(640, 480),
    )  # fmt: skip


def test_points_come_back_from_the_file(capture: Capture, tmp_path: Path) -> None:
    points = {"pose33": np.random.default_rng(0).uniform(0, 500, (2, 33, 3)).astype(np.float32)}
    replace(capture, points=points).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:
        np.testing.assert_array_equal(data["points_pose33"], points["pose33"])
    loaded = Capture.load(tmp_path / "a.npz").points
    assert list(loaded) == ["pose33"]
    np.testing.assert_array_equal(loaded["pose33"], points["pose33"])


def test_a_file_from_before_points_were_kept_has_none(capture: Capture, tmp_path: Path) -> None:
    capture.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as data:
        assert not [key for key in data.files if key.startswith("points")]
    assert Capture.load(tmp_path / "a.npz").points == {}


def test_points_of_a_wrong_shape_are_refused(capture: Capture, tmp_path: Path) -> None:
    replace(capture, points={"pose33": np.zeros((2, 33), np.float32)}).save(tmp_path / "a.npz")
    with pytest.raises(CaptureError, match="points of pose33"):
        Capture.load(tmp_path / "a.npz")


def test_a_pose_taken_apart_is_the_pose_again(capture: Capture) -> None:
    pose = np.arange(2 * 165, dtype=np.float32).reshape(2, 55, 3)
    again = replace(capture, **pose_parts(pose))
    np.testing.assert_array_equal(again.full_pose(), pose.reshape(2, 165))
    np.testing.assert_array_equal(again.jaw_pose, pose[:, 22])
