"""What lies in the folder that the user names for licensed bodies: names, sizes and shapes. Standard library only.

This runs inside Blender while the user waits, so no array is read and nothing is unpickled.
"""

from __future__ import annotations

import ast
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

GENDERS = ("neutral", "male", "female")
# Where the official archives unpack to, below the folder that the user names.
FOLDERS = ("", "smplx", "models", "models/smplx", "models_smplx_v1_1/models/smplx")
SUFFIXES = (".npz", ".pkl")
# v1.0 has 10 shape and 10 expression components, v1.1 has 300 and 100: the columns of `shapedirs`.
_VERSIONS = {20: "v1.0", 400: "v1.1"}


@dataclass(frozen=True)
class FoundBody:
    """One file. `problem` is "" for one that looks right, else a sentence with a next step."""

    path: Path
    gender: str
    version: str = ""  # "v1.0", "v1.1", or "" where a look does not tell
    problem: str = ""


def smplx_path(folder: Path, gender: str) -> Path | None:
    """The SMPL-X file for a gender, in the folder or where the official archives unpack below it."""
    for sub in FOLDERS:
        for suffix in SUFFIXES:
            path = folder / sub / f"SMPLX_{gender.upper()}{suffix}"
            if path.is_file():
                return path
    return None


def look_into(named: Path) -> list[FoundBody]:
    """The SMPL-X files in a folder, or the file that was named; none: there are none. Raises OSError."""
    if named.is_file():
        gender = next((g for g in ("female", "neutral", "male") if g in named.stem.lower()), "neutral")
        return [_look_at(named, gender)]
    if not named.is_dir():
        raise FileNotFoundError(f"There is no folder {named}")
    found = [(smplx_path(named, gender), gender) for gender in GENDERS]
    return [_look_at(path, gender) for path, gender in found if path is not None]


def _look_at(path: Path, gender: str) -> FoundBody:
    again = "Download the model again"
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if start == b"PK":
                return _look_at_npz(path, gender)
            if start[:1] == b"\x80" or path.suffix == ".pkl":
                # A pickle is a program: what is in it shows when the solver reads it, with an unpickler of its own.
                return FoundBody(path, gender, problem="" if start else f"{path.name} is empty. {again}")
    except (zipfile.BadZipFile, EOFError, ValueError, SyntaxError, struct.error):
        return FoundBody(path, gender, problem=f"{path.name} is damaged. {again}")
    except OSError as error:
        reason = error.strerror or error
        return FoundBody(path, gender, problem=f"{path.name} can't be read: {reason}. Check its permissions")
    return FoundBody(path, gender, problem=f"{path.name} is no model of SMPL-X. Name the folder with the SMPLX_… files")


def _look_at_npz(path: Path, gender: str) -> FoundBody:
    other = "Name the folder with the SMPLX_… files"
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        lacking = [key for key in ("v_template", "shapedirs", "weights", "f") if f"{key}.npy" not in names]
        if lacking:
            return FoundBody(path, gender, problem=f"{path.name} lacks {', '.join(lacking)}. {other}")
        with archive.open("shapedirs.npy") as array:
            shape = _npy_shape(array)  # type: ignore[arg-type]
    if len(shape) != 3 or (shape[2] not in _VERSIONS and shape[2] < 301):
        return FoundBody(path, gender, problem=f"{path.name} has {shape[-1]} shape columns, not SMPL-X's. {other}")
    return FoundBody(path, gender, _VERSIONS.get(shape[2], f"{shape[2]} components"))


def _npy_shape(file: BinaryIO) -> tuple[int, ...]:
    """The shape of an array from the head of its file (NEP 1). Raises ValueError."""
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY":
        raise ValueError("not an array")
    (length,) = struct.unpack("<H", file.read(2)) if magic[6] == 1 else struct.unpack("<I", file.read(4))
    header = ast.literal_eval(file.read(min(length, 65536)).decode("latin1"))
    return tuple(int(n) for n in header["shape"])
