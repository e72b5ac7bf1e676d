"""The edge of a person's mask as points with directions. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..detection.observation import Observation

Array = NDArray[np.float32]

_HARD = 0.5  # share of sudden edges from which on a mask is a hard one, 0 or 255 everywhere
_SMOOTH = 2  # mask pixels around each that its edge's direction is taken over


@dataclass(frozen=True)
class Contour:
    """M points of a mask's edge, all over it. Image px."""

    image_px: Array  # (M, 2)
    normals: Array  # (M, 2) unit, out of the mask

    def __len__(self) -> int:
        return len(self.image_px)


def contour_of(observation: Observation, spacing_px: float, level: float, margin_px: float) -> Contour | None:
    """Where the mask crosses `level` (0…1), a point about every `spacing_px`; None without a mask or an edge.

    Edges that are the picture's (within `margin_px` of it) or of the mask's box are left out: the person goes on there.
    So are those where a soft mask falls to exactly 0 from one pixel to the next: its network saw nothing beyond.
    """
    mask, box = observation.mask, observation.mask_box_px
    if mask is None or box is None or min(mask.shape) < 2 * _SMOOTH + 2:
        return None
    height, width = mask.shape
    scale = np.array([(box[2] - box[0]) / width, (box[3] - box[1]) / height], np.float32)
    values = mask.astype(np.float32) / 255 - level
    places, pixels, blind = [], [], []
    for axis in (0, 1):
        first, second = (values[:, :-1], values[:, 1:]) if axis else (values[:-1], values[1:])
        rows, columns = np.nonzero((first > 0) != (second > 0))
        near, far = first[rows, columns], second[rows, columns]
        blind.append(np.minimum(near, far) <= -level)
        share = near / (near - far)
        place = np.stack([columns + 0.5, rows + 0.5], -1).astype(np.float32)
        place[:, 0 if axis else 1] += share
        places.append(place)
        pixels.append(np.stack([rows, columns], -1))
    image = np.concatenate(places) * scale + box[:2]
    inner = np.array(observation.image_size) - margin_px
    unseen = np.concatenate(blind)
    if len(unseen) and unseen.mean() > _HARD:
        unseen[:] = False
    kept = np.flatnonzero(~unseen & (image > margin_px).all(1) & (image < inner).all(1))
    if len(kept) == 0:
        return None
    # One of each cell of a grid.
    cells = np.floor(image[kept] / spacing_px).astype(np.int64)
    _, one = np.unique(cells[:, 0] * (1 << 20) + cells[:, 1], return_index=True)
    kept = kept[one]
    # In pixels of the picture; across an edge values fall outwards.
    outward = -_slope(values, np.concatenate(pixels)[kept]) / scale
    length = np.linalg.norm(outward, axis=1)
    known = length > 0
    normals = outward[known] / length[known, None]
    return Contour(image[kept[known]].astype(np.float32), normals.astype(np.float32)) if known.any() else None


def _slope(values: Array, pixels: NDArray[np.int64]) -> Array:
    """Derivative by x and y (M, 2) of the smoothed values (H, W) at some pixels (M, 2) row, column."""
    size = 2 * _SMOOTH + 1
    padded = np.pad(values, _SMOOTH + 1, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (size + 2, size + 2))[pixels[:, 0], pixels[:, 1]]
    box = np.zeros(size + 2, np.float32)
    box[1:-1] = 1 / size
    # A difference of boxes two pixels apart.
    step = np.zeros(size + 2, np.float32)
    step[:size] -= 0.5 / size
    step[2:] += 0.5 / size
    return np.stack([(around @ step) @ box, (around @ box) @ step], -1)
