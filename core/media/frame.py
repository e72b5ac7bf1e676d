"""A decoded picture, upright. numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)


def focal_px_of_film(focal_mm: float, size: tuple[int, int]) -> float:
    """A focal length "equivalent on 35 mm film" in px of a picture of `size` (width, height).

    The diagonal angle of view is what is kept (CIPA DCG-001).
    """
    return focal_mm * math.hypot(*size) / _FILM_DIAGONAL_MM


@dataclass(frozen=True)
class Frame:
    """One upright picture: EXIF orientation applied, 8-bit RGB."""

    rgb: NDArray[np.uint8]  # (H, W, 3)
    source: str  # path as given by the user; "" if none
    index: int = 0
    time_s: float = 0.0
    focal_px: float | None = None  # from the file's metadata, in px of this picture; None when unknown
    kind: str = ""  # of the file, as Pillow names it, such as "JPEG"; "" if none
    exif_orientation: int = 1  # what was applied to make the picture upright: Blender needs it for the background

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        return int(self.rgb.shape[1]), int(self.rgb.shape[0])
