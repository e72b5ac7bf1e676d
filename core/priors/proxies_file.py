"""Capsules and pairs of the free body, kept in a file; of other bodies, fitted once in a process. numpy and torch."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel, VirtualPoints
from ..body.points_file import write_npz
from ..npz_errors import DAMAGED_NPZ
from .errors import PriorError
from .pairs import Indices, choose_pairs
from .proxies import Proxies, fit_proxies

PROXIES_PATH = Path(__file__).parent / "data" / "free_proxies.npz"
Kept = tuple[Proxies, Indices, NDArray[np.float32]]
_AGAIN = "Install Pantomime again."
_MOST = 4  # bodies whose capsules are remembered
_remembered: OrderedDict[str, tuple[Kept, str]] = OrderedDict()


def fingerprint(body: BodyModel) -> str:
    """Of all that capsules and pairs hang on, in hexadecimal."""
    digest = hashlib.sha256()
    for array in (body.v_template, body.faces, body.shapedirs, body.exprdirs, body.weights, body.J_template):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def proxies_of(body: BodyModel, path: Path | None = None) -> tuple[Kept, str]:
    """Capsules, pairs and the overlap that is contact: from the file if it is this body's, else fitted (seconds).

    With them a warning, "" if none: that the file can't be read.
    """
    key = fingerprint(body)
    if key not in _remembered:
        kept, warning = None, ""
        try:
            kept = _read(path or PROXIES_PATH, key)
        except PriorError as error:
            warning = str(error)
        _remembered[key] = kept or make(body), warning
        while len(_remembered) > _MOST:
            _remembered.popitem(last=False)
    return _remembered[key]


def make(body: BodyModel) -> Kept:
    """Fit them now."""
    proxies = fit_proxies(body)
    return proxies, *choose_pairs(body, proxies)


def write(body: BodyModel, path: Path = PROXIES_PATH) -> None:
    """Keep a body's capsules and pairs in a file."""
    proxies, pairs, contact_m = make(body)
    arrays: dict[str, NDArray[np.generic]] = {
        "fingerprint": np.array(fingerprint(body)),
        "template": proxies.ends.template,
        "shapedirs": proxies.ends.shapedirs,
        "exprdirs": proxies.ends.exprdirs,
        "weights": proxies.ends.weights,
        "radius": proxies.radius,
        "radius_dirs": proxies.radius_dirs,
        "part": proxies.part,
        "error_m": proxies.error_m,
        "pairs": pairs.astype(np.int16),
        "contact_m": contact_m,
    }
    write_npz(path, arrays)


def _read(path: Path, key: str) -> Kept | None:
    """What the file holds, if it is of this body. Raises PriorError where it can't be read."""
    try:
        with np.load(path, allow_pickle=False) as data:
            if str(data["fingerprint"]) != key:
                return None
            ends = VirtualPoints(data["template"], data["shapedirs"], data["exprdirs"], data["weights"])
            proxies = Proxies(ends, data["radius"], data["radius_dirs"], data["part"], data["error_m"])
            return proxies, data["pairs"].astype(np.int64), data["contact_m"]
    except FileNotFoundError as error:
        raise PriorError(f"The body's capsules {path.name} are missing, so they were fitted anew. {_AGAIN}") from error
    except DAMAGED_NPZ as error:
        raise PriorError(f"The body's capsules {path.name} are damaged, so they were fitted anew. {_AGAIN}") from error
