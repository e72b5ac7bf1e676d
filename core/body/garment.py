"""What the free body wears by default, as a field over its vertices. numpy only.

Solid shading colours whole faces, so the edges of these clothes run along edges of the mesh (`bake_garment`): they look
the same there, in renders and in exported files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..npz_errors import DAMAGED_NPZ
from .model import BodyModel

GARMENT_PATH = Path(__file__).parent / "data" / "free_garment.npz"


class GarmentError(Exception):
    """A file of clothes that can't be read; the message says what to do next."""


def read_garment(body: BodyModel, path: Path = GARMENT_PATH) -> NDArray[np.float32]:
    """(V,) metres to the edge of the clothes: positive inside, negative outside, 0 on the edge. Raises GarmentError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            field = np.asarray(data["field"], np.float32)
    except DAMAGED_NPZ as error:
        raise GarmentError(f"{path.name} is missing or damaged. Install Pantomime again.") from error
    if field.shape != (body.num_vertices,):
        raise GarmentError(f"{path.name} is of another body. Install Pantomime again.")
    return field
