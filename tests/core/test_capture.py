"""What a capture file holds, and what is said of one that can't be used."""

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
        focal_px=500.0, principal_px=zeros(2), image_size=(640, 480), frame_times_s=zeros(2),
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
    with pytest.raises(CaptureError, match=r"points_pose33 has the shape \(2, 33\), not 2 × N × 3"):
        Capture.load(tmp_path / "a.npz")


def test_a_pose_taken_apart_is_the_pose_again(capture: Capture) -> None:
    pose = np.arange(2 * 165, dtype=np.float32).reshape(2, 55, 3)
    again = replace(capture, **pose_parts(pose))
    np.testing.assert_array_equal(again.full_pose(), pose.reshape(2, 165))
    np.testing.assert_array_equal(again.jaw_pose, pose[:, 22])


def changed(capture: Capture, path: Path, **arrays: object) -> Path:
    """The capture's file with other arrays in it; None: without them."""
    capture.save(path)
    with np.load(path, allow_pickle=False) as data:
        stored = {**data, **{key: value if value is None else np.asarray(value) for key, value in arrays.items()}}
    np.savez(path, **{key: value for key, value in stored.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"body_pose": np.zeros((2, 69))}, r"body_pose has the shape \(2, 69\), not 2 × 63"),
        ({"body_pose": np.zeros((1, 63))}, r"body_pose has the shape \(1, 63\), not 2 × 63"),
        ({"betas": np.zeros((1, 4))}, r"betas has the shape \(1, 4\), not B"),
        ({"confidence": np.zeros(3)}, r"confidence has the shape \(3,\), not 2"),
        ({"contacts": np.zeros((2, 3))}, r"contacts has the shape \(2, 3\), not 2 × 4"),
        ({"focal_px": np.ones(2)}, r"focal_px has the shape \(2,\), not one value"),
        ({"global_orient": np.zeros((0, 3))}, "there are no frames"),
        ({"transl": np.full((2, 3), np.nan)}, "transl holds values that are not finite"),
        ({"transl": np.full((2, 3), "a")}, "transl holds no numbers"),
        ({"image_size": np.array([0, 0])}, "image_size is not above 0"),
        ({"mocap_frame_rate": 0.0}, "mocap_frame_rate is not above 0"),
        ({"joint_names": np.array(["pelvis"])}, "joint_names has the shape"),
        ({"body_id": 3}, "body_id holds no text"),
        ({"diagnostics": "{"}, "diagnostics is no JSON object"),
        ({"diagnostics": "[]"}, "diagnostics is no JSON object"),
        ({"betas": None, "joints": None}, "lacks betas, joints"),
        ({"format_version": "x"}, "is not a Pantomime capture"),
        ({"format_version": 2}, "newer Pantomime"),
        ({"format_version": None}, "is not a Pantomime capture"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_whose_parts_do_not_fit_is_refused_with_the_reason(
    capture: Capture, tmp_path: Path, arrays: dict[str, object], reason: str
) -> None:
    path = changed(capture, tmp_path / "a.npz", **arrays)
    with pytest.raises(CaptureError, match=reason) as caught:
        Capture.load(path)
    assert str(caught.value).startswith(str(path)) and str(caught.value).endswith(".")


def test_unknown_keys_and_files_without_later_ones_are_read(capture: Capture, tmp_path: Path) -> None:
    later = dict.fromkeys(("frame_indices", "shots", "contacts", "ground_m", "camera_rotvec"))
    loaded = Capture.load(changed(capture, tmp_path / "a.npz", from_the_future=np.zeros(3), **later))
    np.testing.assert_array_equal(loaded.body_pose, capture.body_pose)
    assert loaded.contacts.shape == (0, 4)


def test_what_is_no_capture_file_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, reason in (("none.npz", "no file"), ("text.npz", "not a capture"), ("array.npy", "not a capture")):
        with pytest.raises(CaptureError, match=reason):
            Capture.load(tmp_path / name)
    # Not the same as a damaged one: the fit need not be run again.
    with pytest.raises(CaptureError, match="can't be read: "):
        Capture.load(tmp_path)
