"""Files that are there whole or not at all. Standard library only."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

PART = ".part"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], suffix: str = PART) -> Iterator[Path]:
    """A name in `path`'s folder to write to. What is written takes `path`'s place when the block ends, and is removed
    where it fails, so that nobody reads half a file and what was there before stays until then.

    suffix: of that name, for writers that choose a format by it. Raises OSError.
    """
    target = Path(path)
    # Two processes may write one file at once. Not made here, so that it gets the rights that others' files get.
    part = target.with_name(f"pantomime-{secrets.token_hex(6)}{suffix}")
    try:
        yield part
        os.replace(part, target)
    finally:
        # Already in its place, or never begun; on Windows perhaps still open, and then the block's own error counts.
        with contextlib.suppress(OSError):
            part.unlink()


def write_whole(path: str | os.PathLike[str], data: bytes | memoryview | str) -> None:
    """Write bytes, or text as UTF-8 with lines ending as they do in `data`. Raises OSError."""
    with whole_file(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)
