"""Whom a picture is of: who is large, whole, sharp and near its middle comes first."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .candidates import LIMBS, Candidate, box_of, inside

Image = NDArray[np.uint8]

# What is left of a person's area who is all cut off, all blurred beside the sharpest, or in a corner.
_CUT, _BLURRED, _ASIDE = 0.35, 0.4, 0.6
_LOOK_PX = 96  # sharpness is compared at this size: of how much detail a person could show


def by_prominence(people: list[Candidate], rgb: Image) -> list[Candidate]:
    """The same people, whom the picture is of first. rgb (H, W, 3) of which their points are pixels.

    The area of their box counts, and by how much it is cut, blurred or aside; of equals the first stays first.
    """
    size = (rgb.shape[1], rgb.shape[0])
    sharpness = np.array([_sharpness(person, rgb) for person in people])
    sharpest = max(float(sharpness.max(initial=0.0)), 1e-6)
    ranks = []
    for person, sharp in zip(people, sharpness, strict=True):
        x0, y0, x1, y1 = (float(value) for value in box_of(person, size))
        away = np.hypot((x0 + x1) / size[0] - 1, (y0 + y1) / size[1] - 1) / np.sqrt(2)
        rank = (x1 - x0) * (y1 - y0) * (_CUT + (1 - _CUT) * _wholeness(person, size))
        rank *= _BLURRED + (1 - _BLURRED) * min(1.0, 2.0 * float(sharp) / sharpest)
        ranks.append(rank * (1 - (1 - _ASIDE) * min(1.0, float(away))))
    return [people[i] for i in sorted(range(len(people)), key=lambda i: -ranks[i])]


def _wholeness(person: Candidate, size: tuple[int, int]) -> float:
    """Share of limb points that are in the picture and seen, 0…1."""
    there = inside(person.image_px[LIMBS], size)
    return float((there * np.minimum(1.0, person.visibility[LIMBS] / 0.6)).mean())


def _sharpness(person: Candidate, rgb: Image) -> float:
    """How much of the finest detail that a small picture of the person can show is there: a share of its contrast."""
    x0, y0, x1, y1 = (int(value) for value in box_of(person, (rgb.shape[1], rgb.shape[0])))
    part = rgb[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    if min(part.shape[:2]) < 8:
        return 0.0
    scale = _LOOK_PX / max(part.shape[:2])
    if scale < 1:
        part = np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = np.asarray(cv2.Laplacian(grey, cv2.CV_32F))
    return float(np.abs(detail).mean() / (grey.std() + 4.0))
