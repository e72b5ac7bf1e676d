"""Legs that are seen straight: what bends them away from the camera is taken back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pantomime.core.body.load import load_body
from pantomime.core.body.skeleton import JOINT_INDEX, PARENTS
from pantomime.core.capture import Capture
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.vocabulary import POSE33
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState
from pantomime.core.fitting.straight import StraightSettings, straight_share, straighten_hints, straightening
from pantomime.core.rotation import exp_so3

FOCAL_PX, SIZE = 1100.0, (800, 1000)
SETTINGS = StraightSettings()


def standing(hip: float, knee: float, hint_knee: float | None = None) -> Observation:
    """Somebody seen from ahead with both hips and knees bent by angles in degrees, arms down; hints may differ."""
    body = load_body()
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    table = PointTable.of(skeleton, body.virtual_points(body.points["pose33"]), (0,))

    def positions(hip: float, knee: float) -> NDArray[np.float64]:
        pose = relaxed_pose()
        for side in ("left", "right"):
            pose[JOINT_INDEX[f"{side}_hip"], 0] = -np.radians(hip)
            pose[JOINT_INDEX[f"{side}_knee"], 0] = np.radians(knee)
            pose[JOINT_INDEX[f"{side}_ankle"], 0] = np.radians(hip - knee)
        pose[0, 0] = np.pi
        state = BodyState(
            exp_so3(pose)[None],
            torch.tensor([[0.0, -0.3, 3.2]], dtype=torch.float64),
            torch.tensor([np.log(FOCAL_PX)]),
            torch.zeros(1, body.num_betas, dtype=torch.float64),
            torch.zeros(1, body.num_expressions, dtype=torch.float64),
        )
        return np.asarray(table.positions(pose_chain(skeleton, state))[0])

    seen = positions(hip, knee)
    hints = seen if hint_knee is None else positions(hint_knee / 2, hint_knee)
    pixels = (FOCAL_PX * seen[:, :2] / seen[:, 2:] + np.array(SIZE) / 2).astype(np.float32)
    points = Points(pixels, np.ones(33, np.float32), (hints - hints.mean(0)).astype(np.float32))
    box = np.concatenate([pixels.min(0), pixels.max(0)])
    return Observation(SIZE, box, 1.0, {"pose33": points}, source="synthetic")


def knee_bends(joints: NDArray[np.float64]) -> list[float]:
    """Degrees at the left and right knee of joints (55, 3)."""
    bends = []
    for side in ("left", "right"):
        hip, knee, ankle = (joints[JOINT_INDEX[f"{side}_{part}"]] for part in ("hip", "knee", "ankle"))
        thigh, shin = knee - hip, ankle - knee
        bends.append(float(np.degrees(np.arccos(thigh @ shin / np.linalg.norm(thigh) / np.linalg.norm(shin)))))
    return bends


def sole_tilt(capture: Capture, side: str) -> float:
    """Degrees between the sole's normal and the capture's up."""
    turn = np.eye(3)
    rotations = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)).double()).numpy()
    joint = JOINT_INDEX[f"{side}_ankle"]
    while joint >= 0:
        turn, joint = rotations[joint] @ turn, PARENTS[joint]
    return float(np.degrees(np.arccos(turn[:, 1] @ capture.up_camera)))


def test_straightening_keeps_the_line_from_hip_to_ankle() -> None:
    bend = np.radians(20)
    thigh = 0.41 * np.array([0.0, np.cos(0.1), -np.sin(0.1)])
    shin = 0.41 * 0.53 / 0.47 * np.array([0.0, np.cos(bend - 0.1), np.sin(bend - 0.1)])
    turns = straightening(thigh, shin, 1.0, SETTINGS)
    assert turns is not None
    straight = [turn @ bone for turn, bone in zip(turns, (thigh, shin), strict=True)]
    assert np.cross(*straight) == pytest.approx(0, abs=1e-9)
    before, after = thigh + shin, sum(straight)
    assert float(np.linalg.norm(np.cross(before, after))) < 0.01 * np.linalg.norm(before) * np.linalg.norm(after)


@pytest.mark.parametrize(("bend", "least_left"), [(50.0, 45.0), (90.0, 89.9)])
def test_little_is_taken_from_a_knee_that_is_truly_bent(bend: float, least_left: float) -> None:
    thigh, shin = np.array([0.0, 1.0, 0.0]), np.array([0.0, np.cos(np.radians(bend)), np.sin(np.radians(bend))])
    turns = straightening(thigh, shin, 1.0, SETTINGS)
    assert turns is not None
    left = np.degrees(np.arccos((turns[0] @ thigh) @ (turns[1] @ shin)))
    assert left > least_left


def test_only_legs_seen_straight_and_whole_count() -> None:
    assert min(straight_share(standing(0, 0), SETTINGS).values()) > 0.95
    assert max(straight_share(standing(85, 90), SETTINGS).values()) < 0.05  # sits, seen from ahead
    hidden = standing(0, 0)
    hidden.points["pose33"].confidence[POSE33.index("left_ankle")] = 0.01
    assert max(straight_share(hidden, SETTINGS).values()) == 0  # one leg alone may well be a step
    shares = straight_share(hidden, replace(SETTINGS, alone=1.0))
    assert shares["left"] == 0 and shares["right"] > 0.95


def test_feet_stay_below_their_shins() -> None:
    bent = standing(0, 0, 20)
    moved = straighten_hints(bent, {"left": 1.0, "right": 0.0}, SETTINGS).points["pose33"].world_m
    before = bent.points["pose33"].world_m
    assert moved is not None and before is not None
    ankle, toes = POSE33.index("left_ankle"), POSE33.index("left_foot_index")
    assert np.linalg.norm(moved[toes] - moved[ankle]) == pytest.approx(
        float(np.linalg.norm(before[toes] - before[ankle])), abs=1e-5
    )
    right = [POSE33.index(f"right_{part}") for part in ("knee", "ankle", "heel", "foot_index")]
    assert moved[right] == pytest.approx(before[right])


def test_who_stands_stands_straight_though_hints_bend_the_knees() -> None:
    torch.set_num_threads(1)
    capture = Fitter(load_body()).fit(standing(0, 0, 24))
    assert max(knee_bends(capture.joints[0].astype(np.float64))) < 10
    for side in ("left", "right"):
        assert sole_tilt(capture, side) < 5
    body = load_body()
    trunk = capture.joints[0, JOINT_INDEX["neck"]] - capture.joints[0, 0]
    true = (body.J_template[JOINT_INDEX["neck"]] - body.J_template[0]) * np.array([1.0, -1.0, -1.0])
    lean, true_lean = (np.degrees(np.arctan2(-line[2], -line[1])) for line in (trunk, true))
    assert lean == pytest.approx(true_lean, abs=6)
