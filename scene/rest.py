"""The rest skeleton of a body: where bones start, where they point, how they are rolled. numpy only.

Bones are placed in the avatar's object space (Blender's axes). Rules, so that rotations mean the same everywhere:

* Y runs along the bone, to the child that continues the limb.
* +X is the hinge: turning by +X bends a knee, an elbow, a finger, the spine forwards, and opens the jaw.
* A right bone is the mirror of the left one as Blender mirrors (X-mirror, paste flipped): the axes Y and Z are
  reflected, X is reflected and reversed. Bones of the midline lie in the plane X = constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_INDEX, JOINT_NAMES, LEFT_EYE, NUM_JOINTS, PARENTS, RIGHT_EYE
from . import axes

Floats = NDArray[np.float64]

MIN_LENGTH_M = 0.01
# The child that a bone points to, where there are several or the first is not the natural one.
_POINTS_TO = {
    "pelvis": "spine1",
    "spine3": "neck",
    "head": None,
    "left_wrist": "left_middle1",
    "right_wrist": "right_middle1",
}
_MIDLINE = {"pelvis", "spine1", "spine2", "spine3", "neck", "head", "jaw"}
_ARM = ("collar", "shoulder", "elbow")


@dataclass(frozen=True)
class RestSkeleton:
    """55 bones in object space, metres. Columns of `frames` are a bone's X, Y, Z."""

    heads: Floats  # (55, 3)
    tails: Floats  # (55, 3)
    frames: Floats  # (55, 3, 3)


def shaped_vertices(body: BodyModel, betas: NDArray[np.floating], expression: NDArray[np.floating]) -> Floats:
    """Vertices (V, 3) at rest, body frame: v_template + shapedirs @ betas + exprdirs @ expression."""
    shaped = body.v_template + body.shapedirs @ np.asarray(betas, np.float32)
    used = np.flatnonzero(np.asarray(expression))
    return (shaped + body.exprdirs[:, :, used] @ np.asarray(expression, np.float32)[used]).astype(np.float64)


def rest_joints(body: BodyModel, betas: NDArray[np.floating], expression: NDArray[np.floating]) -> Floats:
    """Joints (55, 3) at rest, body frame."""
    return (
        body.J_template
        + body.J_shapedirs @ np.asarray(betas, np.float64)
        + body.J_exprdirs @ np.asarray(expression, np.float64)
    )


def rest_skeleton(body: BodyModel, joints: Floats, vertices: Floats) -> RestSkeleton:
    """Bones for `joints` (55, 3) and `vertices` (V, 3) at rest, both in object space."""
    tails = np.stack([_tail(body, joints, vertices, j) for j in range(NUM_JOINTS)])
    frames = np.stack([_frame(joints, tails, j) for j in range(NUM_JOINTS)])
    return RestSkeleton(joints, tails, frames)


def _child(name: str) -> int | None:
    if name in _POINTS_TO:
        child = _POINTS_TO[name]
        return None if child is None else JOINT_INDEX[child]
    joint = JOINT_INDEX[name]
    return next((child for child in range(joint + 1, NUM_JOINTS) if PARENTS[child] == joint), None)


def _tail(body: BodyModel, joints: Floats, vertices: Floats, joint: int) -> Floats:
    name, head = JOINT_NAMES[joint], joints[joint]
    child = _child(name)
    if child is not None:
        along = joints[child] - head
    elif joint in (LEFT_EYE, RIGHT_EYE):
        along = np.array([0.0, -1.0, 0.0]) * _reach(body, vertices, joint, head, np.array([0.0, -1.0, 0.0]), 0.03)
    elif name == "head":
        along = np.array([0.0, 0.0, 1.0]) * _reach(body, vertices, joint, head, np.array([0.0, 0.0, 1.0]), 0.2)
    elif name == "jaw":
        along = _chin(body, vertices, head) - head
    elif name.endswith("_foot"):
        along = np.array([0.0, -1.0, 0.0]) * _reach(body, vertices, joint, head, np.array([0.0, -1.0, 0.0]), 0.06)
    else:  # the last bone of a finger goes on where the one before it points
        along = head - joints[PARENTS[joint]]
        along = along / max(float(np.linalg.norm(along)), 1e-9)
        along = along * _reach(body, vertices, joint, head, along, 0.02)
    if name in _MIDLINE:
        along = along * np.array([0.0, 1.0, 1.0])
    length = float(np.linalg.norm(along))
    if length < MIN_LENGTH_M:
        along = np.array([0.0, 0.0, 1.0]) if length < 1e-6 else along / length
        along = along * MIN_LENGTH_M
    return head + along


def _reach(body: BodyModel, vertices: Floats, joint: int, head: Floats, direction: Floats, otherwise: float) -> float:
    """How far the part that follows `joint` reaches from it along `direction`."""
    own = vertices[body.weights[:, joint] > 0.5]
    if len(own) == 0:
        return otherwise
    return max(float(((own - head) @ direction).max()), MIN_LENGTH_M)


def _chin(body: BodyModel, vertices: Floats, head: Floats) -> Floats:
    own = vertices[body.weights[:, JOINT_INDEX["jaw"]] > 0.5]
    if len(own) == 0:
        return head + np.array([0.0, -0.08, -0.04])
    return own[np.argmax(own @ np.array([0.0, -1.0, -1.0]))]


def _hinge(joints: Floats, joint: int, along: Floats) -> Floats:
    """The direction that a left or midline bone's X should have, before it is made square to the bone."""
    name = JOINT_NAMES[joint].removeprefix("left_")
    if name.startswith(_ARM):
        return np.array([0.0, 0.0, -1.0])  # an elbow brings the hand forwards
    if name.startswith("thumb"):
        # A thumb bends across the palm: its pulp faces the little finger and, less, down.
        across = joints[JOINT_INDEX["left_pinky1"]] - joints[JOINT_INDEX["left_index1"]]
        across = across / max(float(np.linalg.norm(across)), 1e-9)
        pulp = 0.8 * across + 0.6 * np.array([0.0, 0.0, -1.0])
        return np.cross(along, pulp)
    if name == "wrist" or name[:-1] in ("index", "middle", "ring", "pinky"):
        return np.array([0.0, 1.0, 0.0])  # palms face down: fingers curl down
    return np.array([1.0, 0.0, 0.0])


def _frame(joints: Floats, tails: Floats, joint: int) -> Floats:
    mirror = np.array([-1.0, 1.0, 1.0])
    right = JOINT_NAMES[joint].startswith("right_")
    along = tails[joint] - joints[joint]
    if right:
        # Built as the left bone of the mirrored body, then reflected.
        left = JOINT_INDEX["left_" + JOINT_NAMES[joint].removeprefix("right_")]
        mirrored = joints.copy()
        for k, name in enumerate(JOINT_NAMES):
            if name.startswith("left_"):
                mirrored[k] = joints[JOINT_INDEX["right_" + name.removeprefix("left_")]] * mirror
        hinge_of, joint_of, along = mirrored, left, along * mirror
    else:
        hinge_of, joint_of = joints, joint
    y = along / np.linalg.norm(along)
    hinge = _hinge(hinge_of, joint_of, y)
    x = hinge - (hinge @ y) * y
    x = x / np.linalg.norm(x)
    z = np.cross(x, y)
    if right:
        x, y, z = -x * mirror, y * mirror, z * mirror
    return np.stack([x, y, z], axis=1)


def ground_offset(joints: Floats, vertices: Floats) -> Floats:
    """The point of the body's frame (3,) that becomes the avatar's origin: on the floor below the pelvis, at rest."""
    return np.array([joints[0, 0], float(vertices[:, 1].min()), joints[0, 2]])


def to_object_space(points: NDArray[np.floating], ground: Floats) -> Floats:
    """Points (…, 3) of the body's rest frame in the avatar's object space."""
    return axes.body_to_blender(np.asarray(points, np.float64) - ground)
