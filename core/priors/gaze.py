"""Where eyes look: angles of both eyes in the head's frame, joints and lids that follow, and what they are read from.

A gaze is (2,) rad: to the person's left, and up; (0, 0) is straight ahead. Both eyes look the same way: of somebody who
looks at a camera an arm's length away they would converge by 4° each, which points of an iris hardly tell, and crossed
eyes are worse than parallel ones. The eyes' joints turn the balls; `eyeLook…` components move the lids, as ARKit
defines them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..detection.face_picture import STEADY, STEADY_MM, lay, to_photo
from ..detection.observation import Points

Array = NDArray[np.float32]

LID_UNIT_RAD = (np.deg2rad(30.0), np.deg2rad(20.0))  # of a gaze sideways, and up or down, at which lids moved fully
MOST_RAD = (np.deg2rad(38.0), np.deg2rad(28.0))
_BALL_MM = 10.2  # from the middle of an eye to that of its iris
# Eyes in the mean face, mm: middle between the corners to the middle of the ball.
_BALL_OFF_MM = (0.0, -1.5, 9.0)
_CORNERS = ((33, 133), (362, 263))  # of the right eye and the left one
_LIDS = ((159, 145), (386, 374))  # the middle of the upper and the lower lid
_IRIS = (0, 5)  # their middles among the irises' points
NUM_FEATURES = 18


@dataclass(frozen=True)
class SeenGaze:
    """A gaze (2,) rad, and its standard deviations (2,)."""

    angles: Array
    sigma: Array


def gaze_vectors(gaze: Array) -> Array:
    """Rotation vectors (…, 3) of an eye's joint for gazes (…, 2), without roll about the line of sight (Listing)."""
    return np.stack([-gaze[..., 1], gaze[..., 0], np.zeros_like(gaze[..., 0])], axis=-1)


def gaze_of_vectors(vectors: Array) -> Array:
    """Gazes (…, 2) of rotation vectors (…, 3): where they turn what looks ahead."""
    angle = np.linalg.norm(vectors, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(vectors, -1, 0)
    s, c = np.sinc(angle[..., 0] / np.pi), 0.5 * np.sinc(angle[..., 0] / (2 * np.pi)) ** 2
    ahead = np.stack([s * y + c * x * z, -s * x + c * y * z, 1 - c * (x * x + y * y)], axis=-1)
    return direction_angles(ahead)


def direction_angles(direction: Array) -> Array:
    """Gazes (…, 2) of directions (…, 3) in the head's axes (x to the person's left, y up, z ahead)."""
    flat = np.hypot(direction[..., 0], direction[..., 1])
    share = np.arctan2(flat, direction[..., 2]) / np.maximum(flat, 1e-9)
    return np.asarray(direction[..., :2] * share[..., None])


def lid_components(gaze: Array) -> dict[str, float]:
    """The `eyeLook…` components, 0…1, of lids that follow a gaze (2,)."""
    left, up = float(gaze[0] / LID_UNIT_RAD[0]), float(gaze[1] / LID_UNIT_RAD[1])
    values = {}
    for side, out in (("Left", left), ("Right", -left)):
        for name, value in (("Out", out), ("In", -out), ("Up", up), ("Down", -up)):
            values[f"eyeLook{name}{side}"] = min(max(value, 0.0), 1.0)
    return values


def metric_irises(face: Points) -> tuple[Array, float] | None:
    """The irises' points (10, 2) in the axes and metres of a face's metric mesh, and px a metre; None without them."""
    if face.world_m is None or face.irises_px is None:
        return None
    if not (np.isfinite(face.world_m).all() and np.isfinite(face.irises_px).all()):
        return None
    px_per_m, offset = to_photo(face)
    return ((face.irises_px - offset) / max(px_per_m, 1e-6)).astype(np.float32), px_per_m


def gaze_features(mesh: Array, irises: Array) -> Array:
    """What a gaze is read from (18,), of a metric mesh (468, 3) and its irises (10, 2).

    By the eyeball's place in the mean face, turned as the head is, each iris gives a direction; to them come where the
    head looks, how far the lids are apart, how high the irises lie between corners and lids, and products of these.
    """
    scale, turns, _ = lay(mesh[None, list(STEADY)], STEADY_MM / 1000.0)
    turn, per_mm = turns[0], 1.0 / (1000.0 * max(float(scale[0]), 1e-9))
    rows, heights = [], []
    for (a, b), (upper, lower), middle in zip(_CORNERS, _LIDS, _IRIS, strict=True):
        corners = 0.5 * (mesh[a] + mesh[b])
        ball = corners + turn @ (np.array(_BALL_OFF_MM) * per_mm)
        across = (irises[middle] - ball[:2]) / (_BALL_MM * per_mm)
        length = float(np.linalg.norm(across))
        across = across * (min(length, 0.9) / max(length, 1e-9))
        ray = turn.T @ np.array([across[0], across[1], -np.sqrt(1.0 - float(across @ across))])
        rows.append(direction_angles(ray * np.array([1.0, -1.0, -1.0])))
        wide = max(float(np.linalg.norm(mesh[a] - mesh[b])), 1e-6)
        upright = np.array([*irises[middle], corners[2]]) @ turn
        heights.append([(upright - place @ turn)[1] / wide for place in (corners, mesh[upper], mesh[lower])])
    (r, u), (s, v) = rows
    p, q = turn[:2, 2]  # where the head's depth axis lies: 0, 0 of a face that looks into the camera
    right, left = np.array(heights)
    gap_right, gap_left = right[1] - right[2], left[1] - left[2]
    middle_, above, below = 0.5 * (right + left)
    x = [0.5 * (r + s), 0.5 * (u + v), 0.5 * (r - s), 0.5 * (u - v), p, q, gap_right - 0.3, gap_left - 0.3]
    x += [p * q, q * q, p * (r - s), x[0] * q, x[1] * q, p * (gap_right - gap_left)]
    x += [middle_, above - 0.15, below + 0.15, middle_ * q]
    return np.array(x, np.float32)


def eye_width(mesh: Array) -> float:
    """Of a metric mesh (468, 3): the mean width of its eyes, metres."""
    return float(np.mean([np.linalg.norm(mesh[a] - mesh[b]) for a, b in _CORNERS]))


# Which features change their sign in a mirror; of the gaze, the first does.
MIRROR_SIGNS = np.array([-1, 1, 1, -1, -1, 1, 1, 1, -1, 1, -1, -1, 1, 1, 1, 1, 1, 1], np.float32)
MIRROR_ORDER = np.array([0, 1, 2, 3, 4, 5, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17])
