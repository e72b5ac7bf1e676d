"""Where a fit starts: limb rotations in closed form from 3D hints, or several global orientations without them.

Frames: body axes are SMPL's (x to the person's left, y up, z forward), the camera's OpenCV's. Hints are MediaPipe's
metric points (`pose33`), whose axes are the camera's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.model import BodyModel
from ..body.skeleton import FINGERS, JOINT_INDEX, LEFT_HAND, NUM_JOINTS, PARENTS, RIGHT_HAND
from ..detection.observation import Observation, Points
from ..detection.vocabulary import HAND21, POSE33
from ..rotation import exp_so3, log_so3, rotation_between
from .settings import FitSettings

Float = NDArray[np.float64]

MIN_BEND = math.sin(math.radians(15))  # a straighter elbow or knee does not tell where its hinge points
MAX_WRIST_TURN = math.radians(120)  # more is a wrong hand point, not a wrist
SPINE_SHARE = ("spine1", "spine2", "spine3")


def relaxed_pose() -> Tensor:
    """Standing with the arms down, (55, 3) axis-angle, float64: the start without hints, the pose of unseen limbs."""
    pose = torch.zeros(NUM_JOINTS, 3, dtype=torch.float64)
    pose[JOINT_INDEX["left_shoulder"], 2], pose[JOINT_INDEX["right_shoulder"], 2] = -1.15, 1.15
    pose[JOINT_INDEX["left_elbow"], 1], pose[JOINT_INDEX["right_elbow"], 1] = -0.25, 0.25
    return pose


def has_hints(points: Points | None) -> bool:
    """Whether the torso's 3D points were seen well enough to start from."""
    if points is None or points.world_m is None:
        return False
    torso = [POSE33.index(f"{side}_{part}") for side in ("left", "right") for part in ("shoulder", "hip")]
    return bool(np.isfinite(points.world_m[torso]).all() and (points.confidence[torso] > 0.05).all())


def start_from_hints(body: BodyModel, points: Points, hands: dict[str, Points] | None = None) -> Tensor:
    """Local rotations (1, 55, 3, 3), float64, whose limbs point where the hints say. Unseen joints stay at rest.

    hands: by side ("left", "right"), where they were seen with their own metric points.
    """
    world = torch.as_tensor(np.asarray(points.world_m), dtype=torch.float64)
    rest = torch.as_tensor(body.virtual_points(body.points["pose33"]).template, dtype=torch.float64)
    joints = torch.as_tensor(body.J_template, dtype=torch.float64)
    seen = {name: (world[i], rest[i], float(points.confidence[i])) for i, name in enumerate(POSE33)}
    globals_: dict[str, Tensor] = {}

    def to(name: str) -> Tensor:
        return seen[name][0]

    def at_rest(name: str) -> Tensor:
        return seen[name][1]

    def frame(pick: Callable[[str], Tensor], line: str) -> Tensor:
        across = pick(f"left_{line}") - pick(f"right_{line}")
        up = pick("left_shoulder") + pick("right_shoulder") - pick("left_hip") - pick("right_hip")
        return _frame(across, up)

    globals_["pelvis"] = frame(to, "hip") @ frame(at_rest, "hip").T
    chest = frame(to, "shoulder") @ frame(at_rest, "shoulder").T
    share = exp_so3(log_so3(globals_["pelvis"].T @ chest) / len(SPINE_SHARE))
    above = globals_["pelvis"]
    for name in SPINE_SHARE:
        above = above @ share
        globals_[name] = above
    for side, hinge_sign in (("left", -1.0), ("right", 1.0)):
        arm = torch.tensor([0.0, hinge_sign, 0.0], dtype=torch.float64)
        leg = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        _limb(globals_, seen, joints, side, ("shoulder", "elbow", "wrist"), chest, arm)
        _limb(globals_, seen, joints, side, ("hip", "knee", "ankle"), globals_["pelvis"], leg)
        hand = (hands or {}).get(side)
        if hand is None or not _palm(globals_, body, hand, side):
            _wrist(globals_, seen, side)
        shin = globals_[f"{side}_knee"]
        foot_rest = at_rest(f"{side}_foot_index") - at_rest(f"{side}_heel")
        foot = to(f"{side}_foot_index") - to(f"{side}_heel")
        globals_[f"{side}_ankle"] = rotation_between(shin @ foot_rest, foot) @ shin
    ears, ears_rest = to("left_ear") - to("right_ear"), at_rest("left_ear") - at_rest("right_ear")
    ahead = 2 * to("nose") - to("left_ear") - to("right_ear")
    ahead_rest = 2 * at_rest("nose") - at_rest("left_ear") - at_rest("right_ear")
    head = _frame(ears, ahead) @ _frame(ears_rest, ahead_rest).T
    turn = log_so3(chest.T @ head)
    if float(turn.norm()) < math.radians(110):
        globals_["neck"] = chest @ exp_so3(0.5 * turn)
        globals_["head"] = head
    local = _locals(globals_)
    local[LEFT_HAND.start : RIGHT_HAND.stop] = hands_start(body, hands or {})
    return local[None]


def hands_start(body: BodyModel, hands: dict[str, Points]) -> Tensor:
    """Local rotations (30, 3, 3), float64, of both hands' fingers: as seen, or relaxed. `hands` as above."""
    local = exp_so3(torch.as_tensor(body.hands_mean, dtype=torch.float64).reshape(2, 15, 3))
    for which, side in enumerate(("left", "right")):
        if side in hands:
            fingers = torch.as_tensor(fingers_from_hints(*hand_places(body, hands[side], side)))
            local[which] = fingers.reshape(-1, 3, 3)
    return local.reshape(-1, 3, 3)


def start_orientations(observed_up: float, settings: FitSettings) -> Tensor:
    """Global orientations (Y, 3, 3), float64, turned about the body's own axis, upright along `observed_up`.

    observed_up: angle in the picture (radians) of the direction from hips to neck against the picture's up,
    clockwise positive.
    """
    upright = exp_so3(torch.tensor([math.pi, 0.0, 0.0], dtype=torch.float64))
    roll = exp_so3(torch.tensor([0.0, 0.0, observed_up], dtype=torch.float64))
    yaws = torch.arange(settings.start_yaws, dtype=torch.float64) * (2 * math.pi / settings.start_yaws)
    turn = exp_so3(torch.stack([torch.zeros_like(yaws), yaws, torch.zeros_like(yaws)], -1))
    return roll @ upright @ turn


def lean_of(observation: Observation) -> float:
    """Angle of hips → neck against the picture's up, clockwise, from whatever set shows both; 0 when none does."""
    pairs = {
        "pose33": ((23, 24), (11, 12)),
        "body25": ((9, 12), (2, 5)),
        "coco17": ((11, 12), (5, 6)),
    }
    for name, (low, high) in pairs.items():
        points = observation.points.get(name)
        if points is None or min(points.confidence[[*low, *high]]) < 0.2:
            continue
        up = points.image_px[list(high)].mean(0) - points.image_px[list(low)].mean(0)
        if float(np.linalg.norm(up)) > 1:
            return math.atan2(float(up[0]), float(-up[1]))
    return 0.0


def place(positions: Tensor, log_focal: Tensor, principal: Tensor, observed: Tensor, inverse_sigma: Tensor) -> Tensor:
    """Translation that best puts points on what was seen: linear least squares of f (X + t) = (u − c)(Z + t_z).

    positions (N, P, 3) with the body at the origin; log_focal (N,); principal (2,); observed (P, 2) and inverse_sigma
    (P,), or with N before → (N, 3). The body is put in front of the camera whatever the points say.
    """
    focal = torch.exp(log_focal)[:, None, None]
    offset = (observed - principal).expand(positions.shape[0], -1, 2)
    zeros = torch.zeros_like(offset[..., 0])
    f = focal[..., 0].expand_as(zeros)
    left = torch.stack([torch.stack([f, zeros, -offset[..., 0]], -1), torch.stack([zeros, f, -offset[..., 1]], -1)], -2)
    right = offset * positions[..., 2:] - focal * positions[..., :2]
    weight = inverse_sigma[..., None]
    a = (left * weight[..., None]).flatten(1, 2)
    b = (right * weight).flatten(1, 2)
    normal = a.transpose(1, 2) @ a + 1e-8 * torch.eye(3, dtype=a.dtype, device=a.device)
    transl: Tensor = torch.linalg.solve(normal, (a.transpose(1, 2) @ b[..., None])[..., 0])
    behind = transl[:, 2] < 0.3
    return torch.where(behind[:, None], transl.new_tensor([0.0, 0.0, 3.0]), transl)


def _frame(x: Tensor, y: Tensor) -> Tensor:
    """Rotation whose first column is `x` and whose second is `y` made square to it."""
    first = torch.nn.functional.normalize(x, dim=-1)
    third = torch.nn.functional.normalize(torch.cross(first, y, dim=-1), dim=-1)
    return torch.stack([first, torch.cross(third, first, dim=-1), third], -1)


def _limb(
    globals_: dict[str, Tensor],
    seen: dict[str, tuple[Tensor, Tensor, float]],
    joints: Tensor,
    side: str,
    names: tuple[str, str, str],
    parent: Tensor,
    hinge: Tensor,
) -> None:
    """Two-bone limb: the hinge of the elbow or knee fixes the twist where the limb is bent."""
    root, middle, end = (f"{side}_{name}" for name in names)
    upper = seen[middle][0] - seen[root][0]
    lower = seen[end][0] - seen[middle][0]
    rest_upper = joints[JOINT_INDEX[middle]] - joints[JOINT_INDEX[root]]
    rest_lower = joints[JOINT_INDEX[end]] - joints[JOINT_INDEX[middle]]
    swing = rotation_between(parent @ rest_upper, upper) @ parent
    axis = torch.cross(torch.nn.functional.normalize(upper, dim=0), torch.nn.functional.normalize(lower, dim=0), dim=0)
    if float(axis.norm()) > MIN_BEND:
        swing = _frame(upper, axis) @ _frame(rest_upper, hinge).T
    globals_[root] = swing
    globals_[middle] = rotation_between(swing @ rest_lower, lower) @ swing


def _wrist(globals_: dict[str, Tensor], seen: dict[str, tuple[Tensor, Tensor, float]], side: str) -> None:
    """The hand's turn from index and pinky knuckle, half of its twist given to the forearm."""
    wrist, index, pinky = (seen[f"{side}_{name}"] for name in ("wrist", "index", "pinky"))
    hand = _frame(0.5 * (index[0] + pinky[0]) - wrist[0], index[0] - pinky[0])
    hand = hand @ _frame(0.5 * (index[1] + pinky[1]) - wrist[1], index[1] - pinky[1]).T
    _turn_wrist(globals_, hand, wrist[1] - seen[f"{side}_elbow"][1], side)


def _palm(globals_: dict[str, Tensor], body: BodyModel, points: Points, side: str) -> bool:
    """The wrist from a hand's own metric points; False where its palm can't be that arm's."""
    world, rest = hand_places(body, points, side)
    along = rest[HAND21.index("middle1")] - rest[HAND21.index("wrist")]
    return _turn_wrist(globals_, torch.as_tensor(palm_of(world, rest)), torch.as_tensor(along), side)


def palm_of(world: Float, rest: Float) -> Float:
    """The rotation (3, 3) from rest of a hand's palm, from its points (21, 3) and where they are at rest."""
    frames = []
    for where in (world, rest):
        index, pinky, wrist = (where[HAND21.index(name)] for name in ("index1", "pinky1", "wrist"))
        ahead = 0.5 * (index + pinky) - wrist
        out = np.cross(ahead, index - pinky)
        ahead, out = ahead / max(np.linalg.norm(ahead), 1e-9), out / max(np.linalg.norm(out), 1e-9)
        frames.append(np.stack([ahead, np.cross(out, ahead), out], -1))
    return np.asarray(frames[0] @ frames[1].T)


def hand_places(body: BodyModel, points: Points, side: str) -> tuple[Float, Float]:
    """A hand's metric points (21, 3), and where they are on the body at rest."""
    rest = body.virtual_points(body.points[f"{side}_hand"]).template
    return np.asarray(points.world_m, np.float64), rest.astype(np.float64)


def fingers_from_hints(world: Float, rest: Float) -> Float:
    """Local rotations (5, 3, 3, 3) of fingers whose bones point where a hand's metric points say (`hand_places`).

    They hang on the hand alone, so they hold whatever the arm does: from straight fingers a fit does not find back to
    a fist.
    """
    above = np.broadcast_to(palm_of(world, rest), (len(FINGERS), 3, 3))
    local = np.empty((len(FINGERS), 3, 3, 3))
    for k in (1, 2, 3):
        bone, bone_rest = (where[finger_points(k + 1)] - where[finger_points(k)] for where in (world, rest))
        local[:, k - 1] = _swing(bone_rest, (np.swapaxes(above, 1, 2) @ bone[..., None])[..., 0])
        above = above @ local[:, k - 1]
    return local


def finger_points(number: int) -> list[int]:
    """Where the fingers' points of a number (1: knuckle … 4: tip) are among a hand's."""
    return [HAND21.index(f"{finger}{number}") for finger in FINGERS]


def _swing(source: Float, target: Float) -> Float:
    """The smallest rotations (N, 3, 3) that turn `source` into `target`, (N, 3) each; opposite ones are left."""
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9) for v in (source, target))
    axis = np.cross(a, b)
    cross = np.zeros((len(a), 3, 3))
    cross[:, 2, 1], cross[:, 0, 2], cross[:, 1, 0] = axis.T
    cross -= np.swapaxes(cross, 1, 2)
    share = 1 / np.maximum(1 + (a * b).sum(1), 1e-12)
    return np.asarray(np.eye(3) + cross + share[:, None, None] * (cross @ cross))


def _turn_wrist(globals_: dict[str, Tensor], hand: Tensor, along: Tensor, side: str) -> bool:
    """Turn the hand to `hand`, half of the twist along the arm given to the forearm; False if no wrist turns so far."""
    elbow = globals_[f"{side}_elbow"]
    turn = log_so3(elbow.T @ hand)
    if float(turn.norm()) > MAX_WRIST_TURN:
        return False
    axis = torch.nn.functional.normalize(along, dim=0)
    globals_[f"{side}_elbow"] = elbow @ exp_so3(0.5 * torch.dot(turn, axis) * axis)
    globals_[f"{side}_wrist"] = hand
    return True


def _locals(globals_: dict[str, Tensor]) -> Tensor:
    """Local rotations (55, 3, 3) of global ones; a joint without one follows its parent."""
    full: list[Tensor] = []
    local: list[Tensor] = []
    names = {index: name for name, index in JOINT_INDEX.items()}
    for joint in range(NUM_JOINTS):
        parent = PARENTS[joint]
        above = full[parent] if parent >= 0 else torch.eye(3, dtype=torch.float64)
        own = globals_.get(names[joint], above)
        full.append(own)
        local.append(above.T @ own)
    return torch.stack(local)
