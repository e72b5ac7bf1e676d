"""The face as a picture that always lies the same: laid upright, and seen from ahead, by points that it hardly moves.

Brows and lids that a mesh follows only partly are seen in it. Each pixel stands for a place on a smooth surface through
the mean face, which is turned as the head is and looked up in the photo, so that a turned head shows its brows where
one that looks ahead does.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .crops import Square, cut
from .observation import Points

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

PICTURE_PX = 112
PICTURE_MM = 144.0  # side of what it shows
_MIDDLE_MM = np.array([0.0, -6.0])  # of it, in the mean face's axes (x to the picture's right, y down)
# The mean neutral face (`priors.expressions`): depth of a smooth surface, mm, at x, y; without the nose.
_DEPTH = (-15.0, 0.0085, 0.1, 0.0022)  # 1, x², y, y²
_LOOK_PX = 192  # the photo is reduced to about the picture's own scale before it is looked up
_MARGIN = 1.35  # of what is reduced, over the box of the mesh

# Points that expressions hardly move (forehead, temples, bridge of the nose, corners of the eyes), and where they lie
# in the mean neutral face, mm: x to the picture's right, y down, z away.
STEADY = (
    10, 67, 103, 109, 297, 332, 338, 54, 284, 21, 251, 127, 356, 162, 389, 234, 454, 6, 197, 195, 168,
    33, 133, 263, 362,
)  # fmt: skip
STEADY_MM = np.array(
    [
        [0.0, -85.6, -13.6], [-35.4, -82.8, -5.0], [-50.4, -77.5, 6.5], [-19.1, -85.2, -11.7], [35.4, -82.8, -5.0],
        [50.4, -77.5, 6.5], [19.1, -85.2, -11.7], [-60.2, -69.2, 19.7], [60.2, -69.2, 19.7], [-66.2, -58.4, 32.6],
        [66.2, -58.4, 32.6], [-69.2, -32.5, 56.9], [69.2, -32.5, 56.9], [-68.9, -46.9, 45.9], [68.9, -46.9, 45.9],
        [-68.0, -18.5, 62.4], [68.0, -18.5, 62.4], [0.0, -27.3, -18.3], [0.0, -19.8, -22.7], [0.0, -13.0, -27.3],
        [0.0, -35.8, -14.6], [-43.7, -32.0, 7.6], [-17.1, -29.7, 1.8], [43.7, -32.0, 7.6], [17.1, -29.7, 1.8],
    ],
    np.float32,
)  # fmt: skip


def lay(own: Array, goal: Array) -> tuple[Array, Array, Array]:
    """Best similarities (Umeyama 1991) that lay points `own` (N, K, 3) on `goal` (K, 3): scales (N,), turns (N, 3, 3)
    and middles of their own (N, 1, 3): scale · (x - middle) @ turn + the goal's middle."""
    goal = goal - goal.mean(axis=0)
    middle = own.mean(axis=1, keepdims=True)
    own = own - middle
    u, singular, vt = np.linalg.svd(own.transpose(0, 2, 1) @ goal)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    turn = u @ (sign[..., None] * vt)
    scale = (singular * sign).sum(-1) / (own * own).sum((1, 2)).clip(1e-12)
    return scale, turn, middle


def face_places() -> Array:
    """Where the pixels lie in the mean face's axes, (112, 112, 3) mm."""
    steps = ((np.arange(PICTURE_PX) + 0.5) / PICTURE_PX - 0.5) * PICTURE_MM
    x, y = np.meshgrid(steps + _MIDDLE_MM[0], steps + _MIDDLE_MM[1])
    a, b, c, d = _DEPTH
    places: Array = np.stack([x, y, a + b * x**2 + c * y + d * y**2], axis=-1).astype(np.float32)
    return places


def to_photo(points: Points) -> tuple[float, Array]:
    """Pixels a metre, and offset (2,), that map a face's metric points on the photo, in the least squares."""
    assert points.world_m is not None
    image, world = points.image_px.astype(np.float64), points.world_m[:, :2].astype(np.float64)
    from_middle = world - world.mean(axis=0)
    scale = float(((image - image.mean(axis=0)) * from_middle).sum() / max(float((from_middle**2).sum()), 1e-12))
    return scale, (image.mean(axis=0) - scale * world.mean(axis=0)).astype(np.float32)


def face_picture(rgb: Image, face: Points) -> Image | None:
    """The face of a mesh (`face468` with its metric points) as a grey picture (112, 112); None where it makes none."""
    if face.world_m is None or not np.isfinite(face.world_m).all() or not np.isfinite(face.image_px).all():
        return None
    scale, turn, middle = lay(face.world_m[None, list(STEADY)], STEADY_MM / 1000.0)
    if not scale[0] > 1e-6:
        return None
    places = (face_places().reshape(-1, 3) - STEADY_MM.mean(axis=0)) / (1000.0 * scale[0])
    metric = places @ turn[0].T + middle[0]
    px_per_m, offset = to_photo(face)
    photo = px_per_m * metric[:, :2] + offset
    low, high = face.image_px.min(axis=0), face.image_px.max(axis=0)
    centre = (low + high) / 2.0
    square = Square((float(centre[0]), float(centre[1])), max(float((high - low).max()) * _MARGIN, 4.0))
    grey = cv2.cvtColor(cut(rgb, square, _LOOK_PX), cv2.COLOR_RGB2GRAY)
    at = ((photo - centre) / square.side_px + 0.5) * _LOOK_PX - 0.5
    at = at.reshape(PICTURE_PX, PICTURE_PX, 2).astype(np.float32)
    return np.asarray(cv2.remap(grey, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def picture_places(face: Points) -> Array | None:
    """Where a mesh's points lie in its picture, (468, 2) px, pixel centres at whole numbers; None without a mesh."""
    if face.world_m is None or not np.isfinite(face.world_m).all():
        return None
    scale, turn, middle = lay(face.world_m[None, list(STEADY)].astype(np.float64), STEADY_MM / 1000.0)
    laid = 1000.0 * scale[0] * (face.world_m - middle[0]) @ turn[0] + STEADY_MM.mean(axis=0)
    places: Array = ((laid[:, :2] - _MIDDLE_MM) / PICTURE_MM + 0.5) * PICTURE_PX - 0.5
    return places.astype(np.float32)
