"""Square, possibly turned crops of a picture, and the way back to the picture's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Square:
    """A square of the picture, turned by `angle_rad` (from the picture's x axis towards its y axis)."""

    centre_px: tuple[float, float]
    side_px: float
    angle_rad: float = 0.0
    mirrored: bool = False

    def matrix(self, out_px: float) -> Array:
        """(2, 3): crop pixels, 0…out_px, to picture pixels; both with pixel centres at +0.5."""
        scale = self.side_px / out_px
        c, s = scale * np.cos(self.angle_rad), scale * np.sin(self.angle_rad)
        flip = -1.0 if self.mirrored else 1.0
        linear = np.array([[c * flip, -s], [s * flip, c]])
        offset = np.asarray(self.centre_px) - linear @ np.full(2, out_px / 2.0)
        matrix: Array = np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32)
        return matrix


def apply(matrix: Array, points: Array) -> Array:
    """Points (…, 2) through an affine (2, 3)."""
    result: Array = points @ matrix[:, :2].T + matrix[:, 2]
    return result


def pixel_index(matrix: Array) -> Array:
    """The same map for OpenCV's warps, which count pixel centres at whole numbers."""
    result = matrix.copy()
    result[:, 2] += matrix[:, :2] @ np.full(2, 0.5, np.float32) - 0.5
    return result


def cut(rgb: Image, square: Square, out_px: int) -> Image:
    """The square as an upright picture (out_px, out_px, 3); black where it leaves the picture.

    Strong reduction averages (like area sampling): the source is halved first, until one bilinear step is enough.
    """
    scale = square.side_px / out_px
    source, origin, shrink = rgb, np.zeros(2, np.float32), 1.0
    if scale > 2.0:
        # Only the part under the square is reduced.
        reach = square.side_px * 0.7072 + 2.0
        height, width = rgb.shape[:2]
        x0, y0 = (max(0, int(c - reach)) for c in square.centre_px)
        x1 = min(width, int(square.centre_px[0] + reach) + 1)
        y1 = min(height, int(square.centre_px[1] + reach) + 1)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return np.zeros((out_px, out_px, 3), np.uint8)
        shrink = 1.0 / scale
        size = max(1, round((x1 - x0) * shrink)), max(1, round((y1 - y0) * shrink))
        source = np.asarray(cv2.resize(rgb[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.uint8)
        origin = np.array([x0, y0], np.float32)
        ratio = np.array([size[0] / (x1 - x0), size[1] / (y1 - y0)], np.float32)
    else:
        ratio = np.ones(2, np.float32)
    matrix = square.matrix(out_px)
    matrix = np.concatenate([matrix[:, :2], (matrix[:, 2] - origin)[:, None]], axis=1) * ratio[:, None]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(source, pixel_index(matrix.astype(np.float32)), (out_px, out_px), flags=flags), np.uint8
    )


def fit_within(rgb: Image, longest_px: int) -> tuple[Image, Array]:
    """The picture reduced to `longest_px`, if longer, and the (2, 3) map from its pixels to the original's."""
    height, width = rgb.shape[:2]
    factor = longest_px / max(height, width)
    if factor >= 1.0:
        return rgb, np.eye(2, 3, dtype=np.float32)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, np.array([[width / size[0], 0, 0], [0, height / size[1], 0]], np.float32)
