"""The part of a picture that shows somebody's feet, small and grey: whether a foot has moved is seen there."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .observation import Observation
from .vocabulary import POSE33

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

SHAPE = (96, 128)
PERSON_PX = 192  # scale: the person's size becomes so many pixels, or fewer where the feet are far apart
MARGIN = 0.12  # of a person's size, around the points of both feet
LEAST_CONFIDENCE = 0.1
_POINTS = [POSE33.index(f"{side}_{part}") for side in ("left", "right") for part in ("ankle", "heel", "foot_index")]


def no_feet() -> tuple[Image, Array]:
    """Where there is none."""
    return np.zeros(SHAPE, np.uint8), np.zeros(4, np.float32)


def feet_picture(rgb: Image, observation: Observation) -> tuple[Image, Array]:
    """Grey values (96, 128), and the box (x0, y0, x1, y1) that they show, px of the clip; zeros where there is none."""
    pose = observation.points.get("pose33")
    if pose is None:
        return no_feet()
    points = pose.image_px[_POINTS][pose.confidence[_POINTS] >= LEAST_CONFIDENCE]
    points = points[np.isfinite(points).all(-1)]
    x0, y0, x1, y1 = observation.box_px.tolist()
    size = max(x1 - x0, y1 - y0)
    if not len(points) or not size >= 8:
        return no_feet()
    low, high = points.min(0) - MARGIN * size, points.max(0) + MARGIN * size
    step = max(size / PERSON_PX, (high[0] - low[0]) / SHAPE[1], (high[1] - low[1]) / SHAPE[0])
    side = np.maximum(np.round(step * np.array(SHAPE[::-1])), 2).astype(int)
    first = np.round((low + high) / 2 - side / 2).astype(int)
    last = first + side
    inner = slice(max(first[1], 0), max(last[1], 0)), slice(max(first[0], 0), max(last[0], 0))
    part = rgb[inner]
    if part.shape[0] < 2 or part.shape[1] < 2:
        return no_feet()
    height, width = rgb.shape[:2]
    top, left = max(-first[1], 0), max(-first[0], 0)
    below, right = max(last[1] - height, 0), max(last[0] - width, 0)
    grey = cv2.copyMakeBorder(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), top, below, left, right, cv2.BORDER_REPLICATE)
    small = cv2.resize(grey, SHAPE[::-1], interpolation=cv2.INTER_AREA if step > 1 else cv2.INTER_LINEAR)
    return np.asarray(small, np.uint8), np.array([*first, *last], np.float32)
