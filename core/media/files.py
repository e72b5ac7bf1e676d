"""Whether a file can be a photo or a clip at all: there, readable, not empty, of a sane size."""

from __future__ import annotations

from pathlib import Path

MAX_PIXELS = 100_000_000
LEAST_PX = 32


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
