"""Find and read a body: the free one that ships, or a licensed SMPL-X file that the user names. numpy only."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..npz_errors import DAMAGED_NPZ
from .folder import GENDERS
from .free_file import body_from_arrays
from .licensed import LicensedError, find_smplx, read_smplx
from .model import BodyModel
from .points_file import PointsError, load_points
from .transfer import transfer_points

DATA_FOLDER = Path(__file__).parent / "data"
FREE_BODY_PATH = DATA_FOLDER / "free_body.npz"
FREE_POINTS_PATH = DATA_FOLDER / "free_points.npz"


class BodyError(Exception):
    """A body that can't be found or read; the message says what to do next."""


def load_body(spec: str | Path | None = None, gender: str = "neutral") -> BodyModel:
    """The body that `spec` names, with its points.

    None, "" or "free": the free body. A `.npz`/`.pkl` file: a licensed SMPL-X model. A folder: the SMPL-X model of
    `gender` ("neutral", "male", "female") in it or in its models/smplx. A file has the gender it has. Raises BodyError.
    """
    if spec is None or str(spec) in ("", "free"):
        return _free_body()
    path = Path(spec).expanduser()
    try:
        if path.is_dir():
            path = find_smplx(path, gender)
        stamp = path.stat().st_mtime_ns if path.is_file() else 0
        return _licensed_body(path, stamp)
    except LicensedError as error:
        raise BodyError(str(error)) from error
    except OSError as error:
        raise BodyError(f"{path} can't be read: {error.strerror or error}. Check the name.") from error


def genders_in(spec: str | Path) -> list[str]:
    """Genders of the SMPL-X models in a folder, neutral first. Raises BodyError where there is none."""
    path = Path(spec).expanduser()
    if path.is_file():
        raise BodyError(f"{path} is one body, and auto compares several. Name the folder that holds the SMPL-X files.")
    found = []
    for gender in GENDERS:
        with contextlib.suppress(LicensedError):
            find_smplx(path, gender)
            found.append(gender)
    if not found:
        load_body(path)  # says what is missing
    return found


@lru_cache(maxsize=3)
def _licensed_body(path: Path, stamp: int) -> BodyModel:
    """Kept by path and time stamp, as a worker reads the same file for each photo."""
    body = read_smplx(path)
    return replace(body, points=transfer_points(_free_body(), body))


@lru_cache(maxsize=1)
def _free_body() -> BodyModel:
    return read_free_body(FREE_BODY_PATH, FREE_POINTS_PATH)


def read_free_body(path: Path, points_path: Path | None) -> BodyModel:
    """Read a baked body, and its points where `points_path` is given. Raises BodyError."""
    try:
        points = load_points(points_path) if points_path is not None else {}
        with np.load(path, allow_pickle=False) as data:
            return body_from_arrays(data, points)
    except PointsError as error:
        raise BodyError(str(error)) from error
    except FileNotFoundError as error:
        raise BodyError(f"There is no file {path}. Install Pantomime again.") from error
    except DAMAGED_NPZ as error:
        raise BodyError(f"{path} is not a body made by Pantomime, or is damaged. Install Pantomime again.") from error
