"""Which way is up for a person in a photo: the camera is roughly level, and people keep their balance. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..body.skeleton import JOINT_INDEX as J

Array = NDArray[np.float32]

CAMERA_SIGMA_DEG = 10.0  # pitch and roll of hand-held cameras, people being what they look at
STANDING_SIGMA_DEG = 4.0  # of the line from the feet through the middle of mass, legs straight
BALANCE_SIGMA_DEG = 12.0  # the same in any other pose on the feet
MAX_LEAN_DEG = 40.0  # more between camera and body: the person lies, falls or flies, or the camera is turned
MIN_FOOT_TRUST = 0.25

# Share of body mass by segment, taken at the middle of its two joints (de Leva, J. Biomechanics 29, 1996, men and
# women averaged).
_SEGMENTS = (
    ("head", "neck", 0.068),
    ("spine3", "neck", 0.16),
    ("spine1", "spine3", 0.155),
    ("pelvis", "spine1", 0.118),
    *((f"{s}_shoulder", f"{s}_elbow", 0.026) for s in ("left", "right")),
    *((f"{s}_elbow", f"{s}_wrist", 0.021) for s in ("left", "right")),
    *((f"{s}_hip", f"{s}_knee", 0.145) for s in ("left", "right")),
    *((f"{s}_knee", f"{s}_ankle", 0.058) for s in ("left", "right")),
)
_FEET = ("left_ankle", "right_ankle", "left_foot", "right_foot")


def centre_of_mass(joints: Array) -> Array:
    """Middle of mass of a body from its joints (55, 3), any frame."""
    total = sum(share for _, _, share in _SEGMENTS)
    return np.asarray(sum(share * (joints[J[a]] + joints[J[b]]) / 2 for a, b, share in _SEGMENTS) / total)


def up_direction(joints: Array, joint_trust: Array) -> Array:
    """Unit vector against gravity in the camera frame, from one person.

    joints (55, 3) camera frame, metres; joint_trust (55,) 0…1. Without feet, or when the body says nothing that a
    level camera could believe, it is the camera's own up.
    """
    camera_up = np.array([0.0, -1.0, 0.0], np.float32)
    body_up = balance(joints, joint_trust)
    if body_up is None:
        return camera_up
    straight = min(_straightness(joints, side) for side in ("left", "right"))
    sigma = STANDING_SIGMA_DEG if straight > np.cos(np.radians(25)) else BALANCE_SIGMA_DEG
    blended = body_up * sigma**-2 + camera_up * CAMERA_SIGMA_DEG**-2
    return _unit(blended).astype(np.float32)


def balance(joints: Array, joint_trust: Array) -> Array | None:
    """Unit vector from the feet through the middle of mass; None without feet, or for a body that leans too far."""
    if min(joint_trust[J["left_ankle"]], joint_trust[J["right_ankle"]]) < MIN_FOOT_TRUST:
        return None
    body_up = _unit(centre_of_mass(joints) - joints[[J[name] for name in _FEET]].mean(0))
    lean = np.degrees(np.arccos(np.clip(-body_up[1], -1, 1)))
    return None if lean > MAX_LEAN_DEG else body_up


def _straightness(joints: Array, side: str) -> float:
    """Cosine of the bend of hip and knee, the larger bend of the two."""
    hip, knee, ankle = (joints[J[f"{side}_{name}"]] for name in ("hip", "knee", "ankle"))
    thigh, shin = _unit(hip - knee), _unit(knee - ankle)
    trunk = _unit(joints[J["spine3"]] - joints[J["pelvis"]])
    return float(min(thigh @ shin, trunk @ thigh))


def _unit(vector: Array) -> Array:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
