"""Pictures of the bench's worst people: the free body, anny's surface, and the distance between them as colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..whole_file import whole_file
from .model import BodyModel
from .raster import rasterise

Float = NDArray[np.float64]

SIZE = (360, 480)
FOCAL_PX = 1200.0
HOT_M = 0.02  # the distance that shows as full red


def worst_picture(body: BodyModel, ours: Float, theirs: Float) -> NDArray[np.uint8]:
    """Ours, theirs, ours coloured by distance; from the front and from behind, side by side. (V, 3) each."""
    distance = np.clip(np.linalg.norm(ours - theirs, axis=1) / HOT_M, 0.0, 1.0)[:, None]
    plain = np.tile(np.array([[0.85, 0.72, 0.62]]), (len(ours), 1))
    heat = (1.0 - distance) * np.array([[0.8, 0.8, 0.8]]) + distance * np.array([[0.9, 0.05, 0.05]])
    middle = 0.5 * (ours.min(0) + ours.max(0))
    away = FOCAL_PX * 1.1 * float(np.ptp(ours, axis=0).max()) / min(SIZE)
    tiles = []
    for turn in (0.5, 0.5 + np.pi):
        sin, cos = np.sin(turn), np.cos(turn)
        rotation = np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
        for surface, colour in ((ours, plain), (theirs, plain), (ours, heat)):
            seen = (surface - middle) @ rotation.T * np.array([1.0, -1.0, -1.0]) + np.array([0.0, 0.0, away])
            tiles.append(_tile(seen, body.faces, colour))
    return np.concatenate(tiles, axis=1)


def _tile(vertices: Float, faces: NDArray[np.int32], colours: Float) -> NDArray[np.uint8]:
    hits = rasterise(vertices.astype(np.float32), faces, FOCAL_PX, SIZE)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    light = 0.3 + 0.7 * np.clip(normals @ np.array([-0.3, -0.5, -0.81]), 0.0, 1.0)
    picture = np.full((SIZE[1], SIZE[0], 3), 0.2)
    shown = hits.triangles >= 0
    triangle = hits.triangles[shown]
    colour = np.einsum("nk,nki->ni", hits.barycentric[shown], colours[faces[triangle]])
    picture[shown] = colour * light[triangle, None]
    return np.asarray(np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def save_worst(
    folder: Path, name: str, body: BodyModel, ours: Float, theirs: Float, count: int = 3
) -> list[tuple[Path, float]]:
    """Pictures of the `count` people (N, V, 3) with the largest mean distance; paths and those means in metres."""
    import PIL.Image

    folder.mkdir(parents=True, exist_ok=True)
    means = np.linalg.norm(ours - theirs, axis=2).mean(1)
    saved = []
    for rank, index in enumerate(np.argsort(-means)[:count]):
        path = folder / f"{name}-{rank + 1}.png"
        with whole_file(path) as part:
            PIL.Image.fromarray(worst_picture(body, ours[index], theirs[index])).save(part, "PNG")
        saved.append((path, float(means[index])))
    return saved
