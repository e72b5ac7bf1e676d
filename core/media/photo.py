"""A photo file to an upright 8-bit RGB frame, or one clear sentence about what is wrong with it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ..whole_file import whole_file
from .exif import read_exif
from .files import MediaError, check_file, check_size, too_large
from .frame import Frame

UPRIGHT_PX = 2048  # longer side of an upright copy: a viewport's background needs no more
# Named, so that no decoder runs that starts other programs (EPS) or reads other files.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA", "JPEG2000", "AVIF", "ICO")
_NOT_IN_BLENDER = ("GIF", "ICO", "PPM", "AVIF")  # the last one in some of its versions
_NEUTRAL = (128, 128, 128)
_TRY = "Choose a JPEG, PNG, WebP or TIFF."


def read_photo(path: str | os.PathLike[str]) -> Frame:
    """Read a photo: EXIF orientation applied, transparency laid on grey, any depth and colour model to 8-bit RGB.

    Raises MediaError for a missing, unreadable, empty, damaged, foreign, too small or too large file.
    """
    source, name = os.fspath(path), Path(path).name
    check_file(Path(path), "photo")
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on; the limit here is checked before decoding.
            warnings.simplefilter("ignore")
            Image.init()
            with Image.open(source, formats=[kind for kind in _FORMATS if kind in Image.OPEN]) as image:
                check_size(name, image.size, "picture")
                kind = image.format or ""
                orientation, focal_px = read_exif(image)
                rgb = _to_rgb(image)
    except Image.DecompressionBombError as error:
        raise MediaError(too_large(name)) from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{name} {_foreign(Path(path))}") from error
    except MemoryError as error:
        raise MediaError(f"There is not enough memory for {name}. Reduce the picture and try again.") from error
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError) as error:
        raise MediaError(f"{name} is damaged or not complete. Copy it again from where it came from.") from error
    return Frame(rgb=rgb, source=source, focal_px=focal_px, kind=kind, exif_orientation=orientation)


def needs_copy(frame: Frame) -> bool:
    """Whether Blender would show the file turned, or not at all."""
    return frame.exif_orientation != 1 or frame.kind in _NOT_IN_BLENDER


def save_upright(frame: Frame, path: str | os.PathLike[str]) -> None:
    """Write a photo as it is meant to be seen: a JPEG of at most `UPRIGHT_PX`. Raises MediaError."""
    picture = Image.fromarray(frame.rgb)
    picture.thumbnail((UPRIGHT_PX, UPRIGHT_PX), reducing_gap=2.0)
    try:
        with whole_file(path) as part:
            picture.save(part, "JPEG", quality=92)
    except OSError as error:
        raise MediaError(
            f"Can't write {os.fspath(path)}: {error.strerror or error}. Free some space or choose another folder."
        ) from error


def _foreign(path: Path) -> str:
    """What an unknown file seems to be, by its first bytes, and what to do."""
    with path.open("rb") as file:
        head = file.read(32)
    brand = head[8:12] if head[4:8] == b"ftyp" else b""
    if brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim"):
        return "is a HEIC picture, which can't be read here. Save it as JPEG or PNG first."
    if brand or head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "is a film, not a photo. Save one picture of it and choose that."
    return f"is not a picture, or of a kind that can't be read here. {_TRY}"


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode, bring to 8-bit RGB and turn upright."""
    image.load()
    upright = ImageOps.exif_transpose(image) or image
    if upright.mode.startswith("I") or upright.mode == "F":
        return _from_deep_grey(np.asarray(upright))
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*_NEUTRAL, 255))
        upright = Image.alpha_composite(ground, layer)
    return np.array(upright.convert("RGB"), dtype=np.uint8)


def _from_deep_grey(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit, 32-bit and float grey to 8-bit RGB. Whole numbers are taken as 16-bit, floats as 0…1 or 0…255."""
    grey = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if values.dtype.kind == "f":
        grey = grey * 255.0 if grey.max(initial=0.0) <= 1.0 else grey
    else:
        grey = grey / 257.0
    levels = np.clip(grey + 0.5, 0, 255).astype(np.uint8)
    return np.repeat(levels[:, :, None], 3, axis=2)
