"""The face mesh of a person, found in a turned crop around the pose's eyes, ears and mouth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, inside, pixels_per_metre
from .crops import Square, apply, cut
from .face_network import FACE_INPUT_PX, MESH_POINTS
from .observation import Points

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

# Indices in pose33.
NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR, MOUTH_LEFT, MOUTH_RIGHT = 0, 2, 5, 7, 8, 9, 10
# Outer corners of the eyes in the mesh: the person's right and left.
MESH_RIGHT_EYE, MESH_LEFT_EYE = 33, 263
# Distance of outer eye corners: the yardstick that makes the mesh metric. Adults' mean: 87 to 91 mm
# (Farkas, Anthropometry of the Head and Face, 1994, ex-ex).
EYE_CORNERS_M = 0.089


@dataclass(frozen=True)
class FaceSettings:
    """Where a face is looked for, and when one is believed."""

    least_score: float = 0.95  # of the face network: below it there is no face (back of a head, a hand)
    crop_scale: float = 1.5  # side of the crop over the longer side of the mesh, as the network was trained
    looks: int = 2  # crops in turn, each laid by the mesh of the one before
    least_px: float = 14.0  # faces smaller than this on the picture are left out


def detect_face(
    rgb: Image, pose: Candidate, network: Callable[[Image], tuple[Array, float]], settings: FaceSettings
) -> Points | None:
    """The 468 points, or None where no face is seen."""
    square = face_square(pose, settings.crop_scale)
    return None if square is None else face_in(rgb, pose, square, network, settings)


def face_in(
    rgb: Image,
    pose: Candidate,
    square: Square,
    network: Callable[[Image], tuple[Array, float]],
    settings: FaceSettings,
) -> Points | None:
    """The 468 points of the person's face, looked for first in `square`."""
    size = (rgb.shape[1], rgb.shape[0])
    if square.side_px / settings.crop_scale < settings.least_px:
        return None
    if not inside(np.array([square.centre_px], np.float32), size)[0]:
        return None
    traced = trace_mesh(rgb, square, network, settings)
    if traced is None or traced[1] < settings.least_score:
        return None
    points, score, square = traced
    image, irises = np.split(apply(square.matrix(FACE_INPUT_PX), points[:, :2]).astype(np.float32), [MESH_POINTS])
    if not _on_the_head(image, pose):
        return None
    confidence = np.where(inside(image, size), score, 0.0).astype(np.float32)
    mesh = metric_mesh(points[:MESH_POINTS], square.angle_rad)
    return Points(image, confidence, mesh, irises_px=irises if len(irises) else None)


def trace_mesh(
    rgb: Image, square: Square, network: Callable[[Image], tuple[Array, float]], settings: FaceSettings
) -> tuple[Array, float, Square] | None:
    """Mesh and irises (478, 3) in crop pixels, score, and the crop: `square` first, then crops laid by the mesh."""
    best: tuple[Array, float, Square] | None = None
    for _ in range(settings.looks):
        points, score = network(cut(rgb, square, FACE_INPUT_PX))
        if not np.isfinite(points[:MESH_POINTS]).all() or score < 0.1:
            break
        if best is None or score >= best[1] - 0.02:
            best = (points, score, square)
        square = square_of_mesh(apply(square.matrix(FACE_INPUT_PX), points[:, :2]), settings.crop_scale)
    return best


def face_square(pose: Candidate, crop_scale: float) -> Square | None:
    """The first crop, from the pose's points of the head; turned so that the eyes are level."""
    p = pose.image_px
    eyes, mouth = (p[LEFT_EYE] + p[RIGHT_EYE]) / 2.0, (p[MOUTH_LEFT] + p[MOUTH_RIGHT]) / 2.0
    down = mouth - eyes
    height = float(np.linalg.norm(down))
    # In profile the eyes coincide, from below the mouth meets them: whatever is longest tells the size.
    span = max(
        2.35 * height,
        2.2 * float(np.linalg.norm(p[LEFT_EYE] - p[RIGHT_EYE])),
        1.05 * float(np.linalg.norm(p[LEFT_EAR] - p[RIGHT_EAR])),
    )
    if span < 1.0:
        return None
    across = p[LEFT_EYE] - p[RIGHT_EYE]
    # The line of the eyes is short in profile: the line from eyes to mouth then tells the turn.
    turned = across + np.array([down[1], -down[0]], np.float32)
    centre = eyes + 0.62 * down
    return Square((float(centre[0]), float(centre[1])), span * crop_scale, float(np.arctan2(turned[1], turned[0])))


def metric_mesh(points: Array, angle_rad: float) -> Array:
    """Mesh in crop pixels (468, 3) → metres, camera axes, origin in its mean; scaled by the eyes' outer corners."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    turned = points @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)
    span = float(np.linalg.norm(turned[MESH_LEFT_EYE] - turned[MESH_RIGHT_EYE]))
    result: Array = ((turned - turned.mean(axis=0)) * (EYE_CORNERS_M / max(span, 1e-6))).astype(np.float32)
    return result


def metric_scale(face: Points) -> float:
    """Pixels a metre at a detected face: what maps the metric mesh on the image points, in the least squares."""
    assert face.world_m is not None
    image, world = face.image_px - face.image_px.mean(axis=0), face.world_m[:, :2] - face.world_m[:, :2].mean(axis=0)
    return float((image * world).sum() / (world * world).sum())


def square_of_mesh(image: Array, crop_scale: float) -> Square:
    """The crop for a face whose mesh is (468, 2) in the picture."""
    across = image[MESH_LEFT_EYE] - image[MESH_RIGHT_EYE]
    angle = float(np.arctan2(across[1], across[0]))
    c, s = np.cos(angle), np.sin(angle)
    level = image @ np.array([[c, -s], [s, c]], np.float32)
    low, high = level.min(axis=0), level.max(axis=0)
    middle = np.array([[c, -s], [s, c]], np.float32) @ ((low + high) / 2.0)
    return Square((float(middle[0]), float(middle[1])), float((high - low).max()) * crop_scale, angle)


def head_px(pose: Candidate) -> Array:
    """The middle of the pose's points of the face, (2,)."""
    middle: Array = pose.image_px[[NOSE, LEFT_EYE, RIGHT_EYE, MOUTH_LEFT, MOUTH_RIGHT]].mean(axis=0)
    return middle


def _on_the_head(image: Array, pose: Candidate) -> bool:
    """Whether the mesh lies where the pose has the head; else it is another person's face."""
    head = head_px(pose)
    reach = max(0.12 * pixels_per_metre(pose), float(np.ptp(image, axis=0).max()) * 0.5)
    return float(np.linalg.norm(image.mean(axis=0) - head)) <= reach
