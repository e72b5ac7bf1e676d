"""Hands in the fit: fingers that bend together, hands half out of the picture, hands seen wrongly, hands not seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from pantomime.core.capture import Capture
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.fitting.start import fingers_from_hints, hand_places
from pantomime.core.fitting.state import BodyState
from pantomime.core.priors.hands import angle_axes, relaxed_angles
from pantomime.core.priors.limits import JointLimits
from pantomime.core.rotation import exp_so3

CAMERA = PhotoCamera(900.0, "given")
SIZE = (640, 640)


@pytest.fixture(scope="module")
def fitter(body: BodyModel) -> Fitter:
    return Fitter(body)


def pose(body: BodyModel, fingers_deg: dict[str, tuple[float, float, float, float]]) -> Tensor:
    """(55, 3, 3): facing the camera, forearms up, both hands with these angles of the named fingers."""
    turned = torch.zeros(55, 3, dtype=torch.float64)
    turned[0, 0] = np.pi
    for side, sign in (("left", 1.0), ("right", -1.0)):
        turned[JOINT_INDEX[f"{side}_shoulder"], 2] = -0.9 * sign
        turned[JOINT_INDEX[f"{side}_elbow"]] = torch.tensor([0.0, -0.4 * sign, 1.9 * sign])
    for part in (LEFT_HAND, RIGHT_HAND):
        joints = tuple(range(part.start, part.stop))
        angles = relaxed_angles()
        for k, finger in enumerate(("index", "middle", "pinky", "ring", "thumb")):
            angles[k] = np.radians(fingers_deg.get(finger, np.degrees(angles[k])))
        turned[part] = torch.as_tensor(angle_axes(joints, body.J_template) @ angles.reshape(-1)).reshape(15, 3)
    return exp_so3(turned)


def seen(body: BodyModel, rotmats: Tensor) -> tuple[Observation, np.ndarray]:
    """What is seen of a body in this pose without error, and its joints (55, 3)."""
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    state = BodyState(
        rotmats[None],
        torch.tensor([[0.0, 0.3, 2.2]], dtype=torch.float64),
        torch.log(torch.tensor([900.0], dtype=torch.float64)),
        torch.zeros(1, body.num_betas, dtype=torch.float64),
        torch.zeros(1, body.num_expressions, dtype=torch.float64),
    )
    chain = pose_chain(skeleton, state)
    points = {}
    for name in ("pose33", "left_hand", "right_hand"):
        place = PointTable.of(skeleton, body.virtual_points(body.points[name]), (0,)).positions(chain)[0].numpy()
        pixels = (900 * place[:, :2] / place[:, 2:] + 320).astype(np.float32)
        inside = ((pixels >= 0) & (pixels <= SIZE)).all(axis=1)
        points[name] = Points(pixels, inside.astype(np.float32), (place - place.mean(0)).astype(np.float32))
    everything = points["pose33"].image_px.clip(0, 640)
    box = np.concatenate([everything.min(0), everything.max(0)]).astype(np.float32)
    return Observation(SIZE, box, 1.0, points), chain.joints[0].numpy()


def beyond_limits(body: BodyModel, capture: Capture) -> float:
    """The furthest that a finger or wrist is beyond its range, degrees."""
    joints = (JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"], *range(LEFT_HAND.start, RIGHT_HAND.stop))
    rotmats = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)))
    residual, _ = JointLimits(joints, body.J_template).blocks(rotmats[None, list(joints)])
    return float(np.degrees(residual.norm(dim=-1).max()))


FIST = dict.fromkeys(("index", "middle", "ring", "pinky"), (80.0, 0.0, 95.0, 60.0))


def finger_error_mm(capture: Capture, joints: np.ndarray, part: slice, wrist: str) -> float:
    w = JOINT_INDEX[wrist]
    ours, theirs = capture.joints[0, part] - capture.joints[0, w], joints[part] - joints[w]
    return float(1000 * np.linalg.norm(ours - theirs, axis=1).mean())


@pytest.mark.parametrize(
    "fingers", [{}, FIST, {**FIST, "index": (0.0, 0.0, 0.0, 0.0)}], ids=["relaxed", "fist", "point"]
)
def test_fingers_are_found_from_good_points(
    body: BodyModel, fitter: Fitter, fingers: dict[str, tuple[float, float, float, float]]
) -> None:
    observation, joints = seen(body, pose(body, fingers))
    capture = fitter.fit(observation, CAMERA)
    for part, wrist in ((LEFT_HAND, "left_wrist"), (RIGHT_HAND, "right_wrist")):
        assert finger_error_mm(capture, joints, part, wrist) < 10.0
    assert beyond_limits(body, capture) < 8.0


def test_fingers_start_as_a_hand_says_whatever_way_it_is_turned(body: BodyModel) -> None:
    rotmats = pose(body, FIST)
    observation, _ = seen(body, rotmats)
    for side, part in (("left", LEFT_HAND), ("right", RIGHT_HAND)):
        world, rest = hand_places(body, observation.points[f"{side}_hand"], side)
        found = torch.as_tensor(fingers_from_hints(world, rest)).reshape(-1, 3, 3)
        turned = world @ exp_so3(torch.tensor([1.0, 2.0, -0.5])).double().numpy().T
        again = fingers_from_hints(turned, rest).reshape(-1, 3, 3)
        np.testing.assert_allclose(again, found, atol=1e-5)
        bend = torch.acos(((found.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
        true = torch.acos(((rotmats[part].diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1))
        assert (bend - true).abs()[:12].mean() < np.radians(12)


@pytest.mark.parametrize(
    "kept", [slice(0, 9), slice(11, 21), slice(0, 21, 2)], ids=["thumb side", "far side", "every other"]
)
def test_a_hand_half_of_which_is_seen_does_not_explode(body: BodyModel, fitter: Fitter, kept: slice) -> None:
    observation, joints = seen(body, pose(body, FIST))
    hand = observation.points["left_hand"]
    confidence = np.zeros(21, np.float32)
    confidence[kept] = hand.confidence[kept]
    garbage = np.where(confidence[:, None] > 0, hand.image_px, 1e4).astype(np.float32)
    points = {**observation.points, "left_hand": Points(garbage, confidence, hand.world_m)}
    capture = fitter.fit(replace(observation, points=points), CAMERA)
    assert beyond_limits(body, capture) < 8.0
    assert finger_error_mm(capture, joints, LEFT_HAND, "left_wrist") < 25.0


def test_a_hand_that_is_taken_for_the_other_does_not_break_the_wrist(body: BodyModel, fitter: Fitter) -> None:
    observation, _ = seen(body, pose(body, {}))
    left = observation.points["left_hand"]
    assert left.world_m is not None
    flipped = replace(left, world_m=left.world_m * np.array([1.0, 1.0, -1.0], np.float32))
    capture = fitter.fit(replace(observation, points={**observation.points, "left_hand": flipped}), CAMERA)
    assert beyond_limits(body, capture) < 12.0


def test_a_hand_that_is_not_seen_is_relaxed(body: BodyModel, fitter: Fitter) -> None:
    observation, _ = seen(body, pose(body, FIST))
    points = {name: item for name, item in observation.points.items() if name != "left_hand"}
    capture = fitter.fit(replace(observation, points=points), CAMERA)
    assert np.abs(capture.left_hand_pose[0] - body.hands_mean[0]).max() < np.radians(8)
    bend = np.linalg.norm(capture.right_hand_pose[0].reshape(15, 3), axis=1)
    assert bend.mean() > 1.2 * np.linalg.norm(body.hands_mean[1].reshape(15, 3), axis=1).mean()
