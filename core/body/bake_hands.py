"""Hand pose mean and components from anatomy: curl, spread, thumb opposition. numpy only.

Axes of the T-pose: fingers along ±x, palm down. A flexing finger turns about the horizontal axis across it (−z for
the left hand, +z for the right), a spreading one about y. Ranges of motion: the fingers' three joints flex by about
90°, 100° and 80° (American Academy of Orthopaedic Surgeons, "Joint Motion", 1965).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .skeleton import FINGERS

Float = NDArray[np.float64]

_LONG = ("index", "middle", "ring", "pinky")
# Relaxed hand, degrees of flexion of the knuckle, middle and end joint: fingers curl more towards the little one.
_RELAXED = {"index": (15, 28, 14), "middle": (20, 32, 16), "ring": (24, 34, 17), "pinky": (26, 32, 17)}
_SPREAD = {"index": 1.0, "middle": 0.1, "ring": -0.6, "pinky": -1.2}  # towards the thumb is positive


def hand_axes(finger_dirs: dict[str, Float], thumb_dirs: Float, sign: float) -> dict[str, tuple[Float, Float, Float]]:
    """For each finger (flexion, spread, twist) axes from the direction that it points in; `sign` is 1 for the left.

    The thumb's flexion axis stands across it, midway between the palm's normal and the palm's plane; its second axis
    swings it across the palm.
    """
    down = np.array([0.0, -1.0, 0.0])
    axes = {}
    for finger in _LONG:
        along = finger_dirs[finger]
        flexion = np.cross(along, down)
        flexion /= np.linalg.norm(flexion)
        axes[finger] = (flexion, -sign * np.array([0.0, 1.0, 0.0]), sign * along)
    along = thumb_dirs
    palm = np.array([sign * 0.55, -0.75, -0.35])  # where the thumb's tip goes when it bends: over the palm
    flexion = np.cross(along, palm)
    flexion /= np.linalg.norm(flexion)
    # a mirror turns rotation axes round once more than directions, hence the signs
    axes["thumb"] = (flexion, sign * np.cross(flexion, along), sign * along)
    return axes


def _vector(parts: dict[tuple[str, int], Float]) -> Float:
    """A 45-vector of axis-angle from {(finger, joint 0…2): rotation vector}."""
    out = np.zeros((5, 3, 3))
    for (finger, joint), value in parts.items():
        out[FINGERS.index(finger), joint] += value
    return out.reshape(45)


def relaxed_hand(axes: dict[str, tuple[Float, Float, Float]]) -> Float:
    """The mean pose of a hand at rest, (45,) axis-angle."""
    parts = {}
    for finger, degrees in _RELAXED.items():
        for joint, degree in enumerate(degrees):
            parts[(finger, joint)] = np.deg2rad(degree) * axes[finger][0]
    for joint, degree in enumerate((8, 10, 14)):
        parts[("thumb", joint)] = np.deg2rad(degree) * axes["thumb"][0]
    return _vector(parts)


def hand_components(axes: dict[str, tuple[Float, Float, Float]]) -> Float:
    """45 orthonormal components, a row each, the most telling first: all curl, spread, thumb, single fingers, rest."""
    flexion = {finger: axes[finger][0] for finger in FINGERS}
    wanted: list[Float] = []

    def add(parts: dict[tuple[str, int], Float]) -> None:
        wanted.append(_vector(parts))

    bend = (0.9, 1.0, 0.6)
    add({(f, k): bend[k] * flexion[f] for f in _LONG for k in range(3)})  # fist
    add({(f, 0): _SPREAD[f] * axes[f][1] for f in _LONG})  # spread
    opposed = axes["thumb"][1] + 0.5 * flexion["thumb"] + 0.3 * axes["thumb"][2]
    add({("thumb", 0): opposed, ("thumb", 1): 0.4 * flexion["thumb"]})  # opposition
    add({("thumb", k): (0.4, 0.8, 1.0)[k] * flexion["thumb"] for k in range(3)})  # thumb curl
    for finger in ("index", "pinky", "middle", "ring"):  # pointing, and the others alone
        add({(finger, k): bend[k] * flexion[finger] for k in range(3)})
    add({(f, k): (1.0, -0.7, -0.4)[k] * flexion[f] for f in _LONG for k in range(3)})  # flat bent at the knuckles
    add({("thumb", 0): flexion["thumb"]})
    for finger in ("index", "middle", "ring", "pinky"):
        add({(finger, 0): flexion[finger]})
    for finger in ("index", "pinky", "ring", "middle"):
        add({(finger, 0): axes[finger][1]})
    for finger in FINGERS:
        for k in (1, 2):
            add({(finger, k): flexion[finger]})
    add({("thumb", 0): axes["thumb"][2]})
    for k in (1, 2, 0):  # what joints hardly do: side bends, then twists
        for axis in (1, 2):
            for finger in FINGERS:
                add({(finger, k): axes[finger][axis]})
    rows: list[Float] = []
    for vector in [*wanted, *np.eye(45)]:
        rest = vector - sum((row * (row @ vector) for row in rows), np.zeros(45))
        norm = np.linalg.norm(rest)
        if norm > 1e-3 * np.linalg.norm(vector) and norm > 1e-3 and len(rows) < 45:
            rows.append(rest / norm)
    return np.stack(rows)
