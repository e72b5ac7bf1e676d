"""What a detector saw of one person in one frame, in one vocabulary. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Points:
    """Seen points of one set. N points; the set's name fixes their number and order.

    Image: x right, y down, pixel centres at +0.5, of the upright photo at full resolution.
    """

    image_px: Array  # (N, 2)
    confidence: Array  # (N,) 0…1; 0 = not seen
    world_m: Array | None = None  # (N, 3) metric 3D hint, camera axes (x right, y down, z away), set's own origin


@dataclass(frozen=True)
class Observation:
    """One person in one frame. `points` is keyed by the set names of `core.detection.vocabulary`."""

    image_size: tuple[int, int]  # width, height in px
    box_px: Array  # (4,) x0, y0, x1, y1
    score: float  # mean limb visibility 0…1: how much to believe the whole
    points: dict[str, Points] = field(default_factory=dict)
    mask: NDArray[np.uint8] | None = None  # (h, w) 0…255 person probability, over mask_box_px
    mask_box_px: Array | None = None  # (4,) x0, y0, x1, y1
    source: str = ""  # "mediapipe", "openpose-json", "coco-wholebody-json"
    face_scores: dict[str, float] | None = None  # ARKit names → 0…1, with the official face bundle only
