"""Whether a file can be a photo or a clip at all: there, readable, not empty, of a sane size; and folders of frames.

Standard library only.
"""

from __future__ import annotations

import re
from pathlib import Path

MAX_PIXELS = 100_000_000
LEAST_PX = 32
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".tga", ".jp2"}  # frames of a folder


class MediaError(Exception):
    """A file that can't be used as a photo; the message says why and what to do next."""


def check_file(path: Path, kind: str) -> None:
    """Raises MediaError unless `path` is an ordinary file with something in it. `kind`: photo or video."""
    try:
        if path.is_dir():
            raise MediaError(f"{path.name} is a folder. Name a {kind} in it.")
        if not path.exists():
            raise MediaError(f"There is no file {path}. Check the name.")
        if not path.is_file():
            raise MediaError(f"{path.name} is not an ordinary file. Name a {kind}.")
        if path.stat().st_size == 0:
            raise MediaError(f"{path.name} is empty. Copy it again from where it came from.")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MediaError(f"Can't read {path}: {reason}. Check its name and permissions.") from error


def check_size(name: str, size: tuple[int, int], kind: str) -> None:
    """Raises MediaError for a width and height that are too large or too small. `kind`: picture or clip."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise MediaError(too_large(name, f" ({width} × {height})"))
    if min(size) < LEAST_PX:
        raise MediaError(f"{name} is only {width} × {height} pixels. Choose a {kind} that shows a person.")


def too_large(name: str, size: str = "") -> str:
    """What is said of a picture that is larger than can be used."""
    return f"{name} is larger{size} than {MAX_PIXELS // 1_000_000} megapixels. Reduce it and try again."


def numbered_pictures(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers in their names: frame2 before frame10. Raises MediaError."""
    try:
        found = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in PICTURES and path.is_file() and not path.name.startswith(".")
        ]
    except OSError as error:
        raise MediaError(
            f"Can't read the folder {folder}: {error.strerror or error}. Check its permissions."
        ) from error

    def key(path: Path) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", path.name)
        return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in parts]

    return sorted(found, key=key)
