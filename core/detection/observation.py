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
    left_score: float | None = None  # of a hand: how much it looks like a left one, 0…1
    irises_px: Array | None = None  # (10, 2) of a face: middle and rim of the right iris, then of the left one


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
    face_picture: NDArray[np.uint8] | None = None  # (112, 112) grey, the face laid upright (`face_picture`)
    noise_share: float = 1.0  # how far sure points may be off, over `sure_noise_px`: 0 = they are known


SURE_NOISE = 0.009  # of a person's box: by so much a detector's sure points are off, median over rendered people


def sure_noise_px(box_px: Array) -> float:
    """The same in px, of a person with this box (4,)."""
    return SURE_NOISE * max(float((box_px[2:] - box_px[:2]).max()), 1.0)


_LEAST, _FULL = 0.2, 0.65  # other detectors' points count from the one, and fully from the other
# MediaPipe's visibility says how sure it is that a point is seen, not that it is wrong: of rendered people, wrists of
# visibility 0.02 … 0.3 were off by 6 % of the person's box (median), sure ones by 1 %, and an arm reaches further than
# that. Beyond the picture it says 0. Visibility, and by what the error of the sure ones is multiplied:
_VISIBILITY = (0.0, 0.1, 0.3, 0.5, 0.65, 0.8, 0.9, 0.97)
_TIMES = (8.0, 7.0, 5.5, 4.0, 2.2, 1.6, 1.25, 1.0)
_NOT_SEEN = 0.002


def trust_of(source: str, confidence: NDArray[np.float32]) -> NDArray[np.float64]:
    """0…1: σ of sure points over that of these, of the point set `source`; 0 = not to be used. confidence (N,) 0…1."""
    confidence = np.nan_to_num(confidence).astype(np.float64)
    if source == "pose33":
        times = np.exp(np.interp(confidence, _VISIBILITY, np.log(_TIMES)))
        return np.asarray(np.where(confidence > _NOT_SEEN, 1 / times, 0.0), np.float64)
    t = np.clip((confidence - _LEAST) / (_FULL - _LEAST), 0, 1)
    return np.asarray(np.sqrt(t * t * (3 - 2 * t)), np.float64)
