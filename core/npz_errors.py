"""What reading of a damaged `.npz` or `.npy` may raise. Standard library only."""

from __future__ import annotations

import struct
import zipfile
import zlib

# A flipped bit may hit the archive's index, the compressed data, an array's header, or what says how it is compressed
# or encrypted (NotImplementedError, RuntimeError).
DAMAGED_NPZ = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
