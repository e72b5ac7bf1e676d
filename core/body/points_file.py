"""Attached points ↔ one `.npz`. numpy only.

The points lie beside the body in a file of their own, because they are measured (by calibration against a detector)
while the body is baked; either can be made again without the other.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..npz_errors import DAMAGED_NPZ
from ..whole_file import write_whole
from .model import PointSet

_FIELDS = {
    "joint_ids": np.int32,
    "offsets": np.float32,
    "offset_dirs": np.float32,
    "vertex_ids": np.int32,
    "barycentric": np.float32,
    "sigma_m": np.float32,
    "usable": np.bool_,
}


class PointsError(Exception):
    """A file of points that can't be read; the message says what to do next."""


def save_points(path: str | os.PathLike[str], points: dict[str, PointSet]) -> None:
    """Write point sets to `path`; an existing file is replaced whole or not at all."""
    arrays: dict[str, NDArray[np.generic]] = {"sets": np.asarray(list(points))}
    for name, point_set in points.items():
        arrays[f"{name}/names"] = np.asarray(point_set.names)
        for key, dtype in _FIELDS.items():
            arrays[f"{name}/{key}"] = np.asarray(getattr(point_set, key), dtype)
    write_npz(Path(path), arrays)


def load_points(path: str | os.PathLike[str]) -> dict[str, PointSet]:
    """Read what `save_points` wrote. Raises PointsError for a missing, damaged or foreign file."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return {str(name): _point_set(data, str(name)) for name in data["sets"]}
    except FileNotFoundError as error:
        raise PointsError(f"There is no file {path}. Install Pantomime again.") from error
    except DAMAGED_NPZ as error:
        raise PointsError(f"{path} is not a file of body points, or is damaged. Install Pantomime again.") from error


def _point_set(data: np.lib.npyio.NpzFile, name: str) -> PointSet:
    values: dict[str, Any] = {key: np.asarray(data[f"{name}/{key}"], dtype) for key, dtype in _FIELDS.items()}
    return PointSet(names=tuple(str(item) for item in data[f"{name}/names"]), **values)


def write_npz(path: Path, arrays: dict[str, NDArray[np.generic]], level: int = 9) -> None:
    """Write a compressed `.npz` with fixed time stamps, so that equal arrays give equal files. `level`: zip's, 1…9."""
    npy: Any = np.lib.format
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for key, value in arrays.items():
            item = io.BytesIO()
            npy.write_array(item, np.asanyarray(value), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, item.getvalue(), zipfile.ZIP_DEFLATED, level)
    write_whole(path, buffer.getbuffer())
