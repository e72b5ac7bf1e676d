"""What a photo's EXIF block says that the fit needs: how the camera was held, and its focal length in pixels."""

from __future__ import annotations

import math
import struct
from typing import Any

from PIL import Image

from .frame import focal_px_of_film

_ORIENTATION = 0x0112
_EXIF_IFD = 0x8769
_FOCAL_LENGTH = 0x920A
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
_PLANE_X_RESOLUTION, _PLANE_UNIT = 0xA20E, 0xA210
_FOCAL_LENGTH_35MM = 0xA405
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # inch, cm, mm, µm
# Outside of this, in units of the picture's longer side, a file's word is not believed (fisheyes … telescopes).
_PLAUSIBLE = (0.3, 60.0)
# A picture whose sides stand in another proportion than its EXIF says was cropped: the angle of view is unknown.
_SAME_ASPECT = 0.02

# What a block with rubbish in it can raise inside Pillow.
_DAMAGE = (OSError, ValueError, SyntaxError, TypeError, KeyError, ZeroDivisionError, OverflowError, struct.error)


def read_exif(image: Image.Image) -> tuple[int, float | None]:
    """Orientation 1…8, and the focal length in px of the whole picture (None when unknown or not believable).

    CIPA DCG-001 defines the 35 mm equivalent by the diagonal of the picture. Damaged blocks count as absent.
    """
    try:
        exif = image.getexif()
        orientation = int(exif.get(_ORIENTATION, 1))
    except _DAMAGE:
        return 1, None
    try:
        focal_px = _focal_px(dict(exif.get_ifd(_EXIF_IFD)), image.size)
    except _DAMAGE:
        focal_px = None
    return (orientation if 1 <= orientation <= 8 else 1), focal_px


def _focal_px(tags: dict[int, Any], size: tuple[int, int]) -> float | None:
    recorded = _number(tags.get(_PIXEL_X)), _number(tags.get(_PIXEL_Y))
    if recorded[0] and recorded[1]:
        # Some programs turn the pixels and leave these two as they were.
        was, now = max(recorded) / min(recorded), max(size) / min(size)
        if abs(math.log(was / now)) > _SAME_ASPECT:
            return None
    focal = None
    equivalent_mm = _number(tags.get(_FOCAL_LENGTH_35MM))
    if equivalent_mm:
        focal = focal_px_of_film(equivalent_mm, size)
    else:
        focal_mm, resolution = _number(tags.get(_FOCAL_LENGTH)), _number(tags.get(_PLANE_X_RESOLUTION))
        unit_mm = _UNIT_MM.get(int(_number(tags.get(_PLANE_UNIT)) or 2))
        if focal_mm and resolution and unit_mm:
            reduced = max(size) / max(recorded) if recorded[0] and recorded[1] else 1.0
            focal = focal_mm * resolution / unit_mm * reduced
    if focal is None or not _PLAUSIBLE[0] <= focal / max(size) <= _PLAUSIBLE[1]:
        return None
    return focal


def _number(value: Any) -> float:
    """A positive finite number, else 0."""
    if value is None:
        return 0.0
    number = float(value)
    return number if math.isfinite(number) and number > 0.0 else 0.0
