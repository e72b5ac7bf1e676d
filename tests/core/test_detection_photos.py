"""The detector on a real photo and on pictures whose truth is known."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pantomime.core.body.calibrate_stage import CalibrationSettings, Stage, turn
from pantomime.core.body.load import load_body
from pantomime.core.body.skeleton import JOINT_INDEX, NUM_JOINTS
from pantomime.core.detection.detector import DetectionError, DetectionSettings, Detector
from pantomime.core.detection.models import ModelPaths, find_models
from pantomime.core.detection.observation import Observation
from pantomime.core.detection.vocabulary import POSE33
from pantomime.core.media.frame import Frame
from pantomime.core.media.photo import read_photo
from pantomime.core.rotation import exp_so3

pytestmark = pytest.mark.usefixtures("detector_models")
LIMBS = {
    name: POSE33.index(name)
    for name in POSE33
    if any(part in name for part in ("shoulder", "elbow", "wrist", "knee", "ankle"))
}


@pytest.fixture(scope="module")
def detector(detector_models: None) -> Iterator[Detector]:
    with Detector(find_models()) as made:
        yield made


def mannequin(yaw: float, pitch: float = 0.05, roll: float = 0.0, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A picture (512, 512, 3) of the body, arms lowered, left forearm raised; and its joints in it (55, 2)."""
    stage = Stage(load_body(), CalibrationSettings(picture_px=512, seed=seed))
    angles = np.zeros((NUM_JOINTS, 3), np.float32)
    angles[JOINT_INDEX["left_shoulder"], 2] = -0.9
    angles[JOINT_INDEX["right_shoulder"], 2] = 0.9
    angles[JOINT_INDEX["left_elbow"], 2] = 1.2
    rotmats = exp_so3(torch.as_tensor(angles)).numpy()
    rotmats[0] = turn(yaw, pitch, roll)
    no_shape, no_expression = np.zeros(24, np.float32), np.zeros(52, np.float32)
    rgb, sight, _, _ = stage.take(no_shape, no_expression, rotmats, lambda joints: joints[0], 700.0, 3.2)
    return rgb, sight.joints[:, :2] / sight.joints[:, 2:] * 700.0 + 256.0


@pytest.fixture(scope="module")
def front() -> tuple[np.ndarray, np.ndarray]:
    return mannequin(0.0)


def see(detector: Detector, rgb: np.ndarray) -> list[Observation]:
    return detector.detect(Frame(np.ascontiguousarray(rgb), ""))


def limb_errors(observation: Observation, joints_px: np.ndarray) -> np.ndarray:
    truth = joints_px[[JOINT_INDEX[name] for name in LIMBS]]
    return np.linalg.norm(observation.points["pose33"].image_px[list(LIMBS.values())] - truth, axis=1)


def assert_honest(observation: Observation) -> None:
    width, height = observation.image_size
    for points in observation.points.values():
        assert np.isfinite(points.image_px).all()
        assert points.confidence.min() >= 0.0 and points.confidence.max() <= 1.0
        outside = (points.image_px < 0).any(axis=1) | (points.image_px > (width, height)).any(axis=1)
        assert (points.confidence[outside] == 0.0).all()
    x0, y0, x1, y1 = observation.box_px
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height


def test_a_real_portrait_gives_face_and_shoulders_where_they_are(detector: Detector, portrait: Path) -> None:
    (seen,) = detector.detect(read_photo(portrait))
    assert_honest(seen)
    assert seen.source == "mediapipe"
    face = seen.points["face468"]
    assert face.irises_px is not None and seen.face_picture is not None and seen.face_picture.shape == (112, 112)
    for iris, corners in (
        (face.irises_px[:5], face.image_px[[33, 133]]),
        (face.irises_px[5:], face.image_px[[362, 263]]),
    ):
        wide = float(np.ptp(corners[:, 0]))
        assert corners[0, 0] < iris[0, 0] < corners[1, 0] and abs(iris[0, 1] - corners[:, 1].mean()) < 0.4 * wide
        assert 0.2 * wide < float(np.ptp(iris[1:, 0])) < 0.8 * wide
    # Read off the picture: outer corners of her right and left eye, tip of the nose, chin.
    for index, place in ((33, (195, 101)), (263, (256, 104)), (1, (218, 135)), (152, (224, 178))):
        assert np.linalg.norm(face.image_px[index] - place) < 7.0
    assert face.confidence.min() > 0.9
    # She smiles: her teeth show between the lips, and her eyes are open.
    teeth = face.image_px[14] - face.image_px[13]
    lids = [face.image_px[low] - face.image_px[high] for low, high in ((145, 159), (374, 386))]
    assert 4.0 < teeth[1] < 12.0 and all(3.0 < lid[1] < 9.0 for lid in lids)
    pose = seen.points["pose33"]
    right, left = pose.image_px[POSE33.index("right_shoulder")], pose.image_px[POSE33.index("left_shoulder")]
    assert right[0] < 170 and left[0] > 260 and 190 < right[1] < 280 and 190 < left[1] < 290
    for name in ("left_ankle", "right_ankle", "left_knee", "right_knee"):
        assert pose.confidence[POSE33.index(name)] < 0.1  # not in the picture
    assert seen.mask is not None and seen.mask_box_px is not None
    x0, y0, _, _ = seen.mask_box_px.astype(int)
    assert seen.mask[110 - y0, 220 - x0] > 200 and seen.mask[100 - y0, 20 - x0] < 50  # her face; the flag


def test_a_whole_body_is_found_to_a_few_pixels_with_hands_and_face(
    detector: Detector, front: tuple[np.ndarray, np.ndarray]
) -> None:
    rgb, joints = front
    (seen,) = see(detector, rgb)
    assert_honest(seen)
    assert limb_errors(seen, joints).max() < 14.0
    assert seen.score > 0.9
    assert {"pose33", "face468", "left_hand", "right_hand"} <= seen.points.keys()
    for side in ("left", "right"):
        points = seen.points[f"{side}_hand"]
        assert np.linalg.norm(points.image_px[0] - joints[JOINT_INDEX[f"{side}_wrist"]]) < 10.0
        assert np.linalg.norm(points.image_px[9] - joints[JOINT_INDEX[f"{side}_middle1"]]) < 10.0
        assert points.world_m is not None and 0.05 < np.ptp(points.world_m, axis=0).max() < 0.3


def test_hints_point_where_limbs_point(detector: Detector, front: tuple[np.ndarray, np.ndarray]) -> None:
    rgb, joints = front
    (seen,) = see(detector, rgb)
    world = seen.points["pose33"].world_m
    assert world is not None
    for side in ("left", "right"):
        for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("knee", "ankle")):
            a, b = (POSE33.index(f"{side}_{part}") for part in (start, end))
            hint = (world[b] - world[a])[:2]
            true = joints[JOINT_INDEX[f"{side}_{end}"]] - joints[JOINT_INDEX[f"{side}_{start}"]]
            cosine = hint @ true / np.linalg.norm(hint) / np.linalg.norm(true)
            # On real photos MediaPipe's directions are 15 to 23 degrees off at the median.
            assert cosine > np.cos(np.radians(23.0))


def test_the_back_of_a_head_has_no_face_and_sides_are_the_persons_own(detector: Detector) -> None:
    rgb, joints = mannequin(np.pi)
    (seen,) = see(detector, rgb)
    assert "face468" not in seen.points
    assert limb_errors(seen, joints).max() < 16.0


def test_a_mirrored_picture_gives_the_mirrored_person(detector: Detector, front: tuple[np.ndarray, np.ndarray]) -> None:
    rgb, joints = front
    (seen,) = see(detector, rgb[:, ::-1])
    mirrored = joints * np.array([-1.0, 1.0]) + np.array([512.0, 0.0])
    swapped = mirrored[[JOINT_INDEX[_other(name)] for name in LIMBS]]
    errors = np.linalg.norm(seen.points["pose33"].image_px[list(LIMBS.values())] - swapped, axis=1)
    assert errors.max() < 14.0


def _other(name: str) -> str:
    return name.replace("left", "\0").replace("right", "left").replace("\0", "right")


def test_a_person_lying_on_the_side_is_found(detector: Detector, front: tuple[np.ndarray, np.ndarray]) -> None:
    rgb, joints = front
    (seen,) = see(detector, np.rot90(rgb))
    turned = np.stack([joints[:, 1], 512.0 - joints[:, 0]], axis=1)
    assert limb_errors(seen, turned).max() < 16.0
    world = seen.points["pose33"].world_m
    assert world is not None
    spine = world[[11, 12]].mean(axis=0) - world[[23, 24]].mean(axis=0)
    assert spine[0] < -0.3 and abs(spine[1]) < 0.15  # the head lies to the left


def test_two_people_come_largest_first_and_each_once(detector: Detector, front: tuple[np.ndarray, np.ndarray]) -> None:
    import cv2

    rgb, joints = front
    other, other_joints = mannequin(0.3, seed=5)
    small = cv2.resize(other, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    canvas = np.full((560, 900, 3), 128, np.uint8)
    canvas[100:458, 30:388] = small
    canvas[20:532, 380:892] = rgb
    seen = see(detector, canvas)
    assert len(seen) == 2
    assert limb_errors(seen[0], joints + np.array([380.0, 20.0])).max() < 16.0
    assert limb_errors(seen[1], 0.7 * other_joints + np.array([30.0, 100.0])).max() < 16.0


def test_a_large_photo_gives_the_same_points_as_a_small_one(
    detector: Detector, front: tuple[np.ndarray, np.ndarray]
) -> None:
    import cv2

    rgb, joints = front
    large = cv2.resize(rgb, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC)
    (seen,) = see(detector, large)
    assert limb_errors(seen, joints * 5.0).max() < 14.0 * 5.0
    assert seen.mask is not None and max(seen.mask.shape) <= 1024


def test_a_limb_outside_of_the_picture_is_not_believed(
    detector: Detector, front: tuple[np.ndarray, np.ndarray]
) -> None:
    rgb, joints = front
    cut_at = int(joints[JOINT_INDEX["left_knee"], 1]) - 30
    (seen,) = see(detector, rgb[:cut_at])
    assert_honest(seen)
    pose = seen.points["pose33"]
    for name in ("left_ankle", "right_ankle", "left_foot_index", "right_heel"):
        assert pose.confidence[POSE33.index(name)] < 0.15
    assert pose.confidence[POSE33.index("left_elbow")] > 0.8


def test_the_same_picture_gives_the_same_points_whatever_came_between(
    detector: Detector, front: tuple[np.ndarray, np.ndarray], portrait: Path
) -> None:
    first = see(detector, front[0])
    detector.detect(read_photo(portrait))
    second = see(detector, front[0])
    for name, points in first[0].points.items():
        assert np.array_equal(points.image_px, second[0].points[name].image_px)
        assert np.array_equal(points.confidence, second[0].points[name].confidence)


def test_pictures_without_a_person_give_nobody(detector: Detector) -> None:
    rng = np.random.default_rng(0)
    assert see(detector, np.full((300, 400, 3), 90, np.uint8)) == []
    assert see(detector, rng.integers(0, 256, (300, 400, 3)).astype(np.uint8)) == []
    assert see(detector, np.zeros((8, 2000, 3), np.uint8)) == []


def test_parts_can_be_left_out(front: tuple[np.ndarray, np.ndarray]) -> None:
    with Detector(find_models(), DetectionSettings(hands=False, face=False, masks=False)) as plain:
        (seen,) = see(plain, front[0])
    assert seen.points.keys() == {"pose33"}
    assert seen.mask is None


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    good = find_models()
    bad = tmp_path / "pose.task"
    bad.write_bytes(b"PK\x03\x04 not a model")
    for models in (
        ModelPaths(bad, good.hand, good.face_mesh),
        ModelPaths(good.pose, good.hand, bad),
        ModelPaths(good.pose, tmp_path / "none.task", good.face_mesh),
    ):
        with pytest.raises(DetectionError, match="pantomime models") as caught:
            Detector(models)
        assert "\n" not in str(caught.value)


def test_a_closed_detector_says_so(portrait: Path) -> None:
    detector = Detector(find_models(), DetectionSettings(hands=False, face=False))
    detector.close()
    detector.close()
    with pytest.raises(DetectionError, match="closed"):
        detector.detect(read_photo(portrait))


def test_a_detector_that_nobody_closes_is_collected_without_waiting_for_ever() -> None:
    script = (
        "import gc\n"
        "from pantomime.core.detection.detector import Detector, DetectionSettings\n"
        "from pantomime.core.detection.models import find_models\n"
        "for _ in range(4):\n"
        "    d = Detector(find_models(), DetectionSettings(hands=False, face=False))\n"
        "    d.own = d  # a cycle: only the collector frees it, whenever it runs\n"
        "    gc.set_threshold(1)\n"
        "del d\n"
        "gc.collect()\n"
        "print('done')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["done"], "")


def test_nothing_is_printed_and_nothing_remains_when_nobody_closes_it(portrait: Path) -> None:
    script = (
        "import sys\n"
        "from pantomime.core.detection.detector import Detector\n"
        "from pantomime.core.detection.models import find_models\n"
        "from pantomime.core.media.photo import read_photo\n"
        "d = Detector(find_models())\n"
        "print(len(d.detect(read_photo(sys.argv[1]))), len(d.detect(read_photo(sys.argv[1]))))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(portrait)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1"]
    assert done.stderr == ""
