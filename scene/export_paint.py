"""The skin's colour as a picture on its UVs, for what knows no shader: underwear with a clean edge, and brows.

In Blender both are drawn from attributes of the mesh, finer than its faces. Other programs would see the faces' edges.
"""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.raster import texels_of
from . import materials
from .mesh import FACE_ATTRIBUTE
from .rest import Floats

SIZE = 1024
BLEED = 6  # texels that colours reach over the edges of islands: smaller copies of the picture mix them
_HAIRS = 0.5  # what the noise that breaks brows into hairs is on average


def paint_skin(
    mesh: bpy.types.Mesh,
    slots: set[int],
    skin: materials.Colour,
    garment: materials.Colour | None,
    brows: materials.Colour | None,
    name: str,
) -> bpy.types.Image | None:
    """The base colour of the faces in `slots`, packed, sRGB; None where the mesh has nothing to paint, or no UVs.

    Colours are linear. `mesh` still has the attributes that the shaders read.
    """
    field = _attribute(mesh, materials.GARMENT_ATTRIBUTE, 1) if garment is not None else None
    place = _attribute(mesh, FACE_ATTRIBUTE, 3) if brows is not None else None
    layer = mesh.uv_layers.active
    if layer is None or (field is None and place is None):
        return None
    uvs = np.empty(len(mesh.loops) * 2, np.float32)
    layer.uv.foreach_get("vector", uvs)
    uvs = uvs.reshape(-1, 2)
    corners, vertices = _triangles(mesh, slots)
    texels, which, weights = texels_of(uvs, corners, SIZE)
    rgb = np.broadcast_to(np.array(skin, np.float32), (len(texels), 3)).copy()
    around = vertices[which]
    if place is not None and brows is not None:
        there = np.flatnonzero((np.abs(place[around]) < 0.1).all(axis=(1, 2)))
        points = np.einsum("nk,nkc->nc", weights[there], place[around[there]])
        _lay_over(rgb, there, _brow_cover(points), brows)
    if field is not None and garment is not None:
        # How much the field changes from texel to texel says how wide the edge is.
        steep = _slope(uvs[corners] * SIZE, field[vertices])[which]
        depth = np.einsum("nk,nk->n", weights, field[around])
        _lay_over(rgb, np.arange(len(texels)), np.clip(depth / np.maximum(steep, 1e-9) + 0.5, 0.0, 1.0), garment)
    picture = np.broadcast_to(np.array(skin, np.float32), (SIZE * SIZE, 3)).copy()
    picture[texels] = rgb
    painted = np.zeros(SIZE * SIZE, np.bool_)
    painted[texels] = True
    return _image(_bled(picture.reshape(SIZE, SIZE, 3), painted.reshape(SIZE, SIZE)), name)


def _attribute(mesh: bpy.types.Mesh, name: str, width: int) -> NDArray[np.float32] | None:
    """Values at vertices: (V,), or (V, `width`)."""
    attribute = mesh.attributes.get(name)
    if attribute is None or attribute.domain != "POINT":
        return None
    values = np.empty(len(mesh.vertices) * width, np.float32)
    attribute.data.foreach_get("value" if width == 1 else "vector", values)
    return values if width == 1 else values.reshape(-1, width)


def _triangles(mesh: bpy.types.Mesh, slots: set[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Triangles of the faces in `slots`: corners (T, 3), vertices (T, 3)."""
    mesh.calc_loop_triangles()
    count = len(mesh.loop_triangles)
    corners, vertices = np.empty(count * 3, np.int32), np.empty(count * 3, np.int32)
    face, slot = np.empty(count, np.int32), np.empty(len(mesh.polygons), np.int32)
    mesh.loop_triangles.foreach_get("loops", corners)
    mesh.loop_triangles.foreach_get("vertices", vertices)
    mesh.loop_triangles.foreach_get("polygon_index", face)
    mesh.polygons.foreach_get("material_index", slot)
    kept = np.isin(slot[face], list(slots))
    return corners.reshape(-1, 3)[kept], vertices.reshape(-1, 3)[kept]


def _slope(at: Floats, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Length of the gradient (T,) of `values` (T, 3) at corners `at` (T, 3, 2)."""
    a, b = at[:, 1] - at[:, 0], at[:, 2] - at[:, 0]
    da, db = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    area = np.where(np.abs(area) < 1e-9, np.inf, area)
    x, y = (da * b[:, 1] - db * a[:, 1]) / area, (db * a[:, 0] - da * b[:, 0]) / area
    return np.hypot(x, y).astype(np.float32)


def _lay_over(rgb: NDArray[np.float32], texels: NDArray[np.int64], cover: Floats, colour: materials.Colour) -> None:
    rgb[texels] += cover[:, None].astype(np.float32) * (np.array(colour, np.float32) - rgb[texels])


def _brow_cover(points: Floats) -> Floats:
    """How much of a brow covers points (N, 3) outwards, back, up from an eye: as `materials.BROW`, without hairs."""
    out, back, up = points.T
    brow = materials.BROW
    off = np.abs(up - (brow.height - brow.bend * (out - brow.peak) ** 2))
    half = brow.half - brow.thinner * _step(out, *brow.thins)
    covered = _step(brow.hairs * _HAIRS + half - off, *brow.edge)
    return brow.most * covered * _step(out, *brow.inner) * (1.0 - _step(out, *brow.outer)) * (back < brow.front)


def _step(value: Floats, low: float, high: float) -> Floats:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _bled(picture: NDArray[np.float32], painted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Texels next to painted ones take their colours, ring by ring."""
    flat, known = picture.reshape(-1, 3), np.pad(painted, 1)
    width = known.shape[1]
    beside = np.array([1, -1, width, -width])
    done = known.ravel()
    border = np.zeros_like(known)
    border[1:-1, 1:-1] = painted & ~(known[2:, 1:-1] & known[:-2, 1:-1] & known[1:-1, 2:] & known[1:-1, :-2])
    edge = np.flatnonzero(border)
    for _ in range(BLEED):
        ring = np.unique(edge[:, None] + beside)
        row, column = ring // width - 1, ring % width - 1
        inside = (row >= 0) & (column >= 0) & (row < painted.shape[0]) & (column < painted.shape[1])
        edge = ring[inside & ~done[ring]]
        near = edge[:, None] + beside
        weight = done[near].astype(np.float32)
        place = (near // width - 1) * painted.shape[1] + near % width - 1
        colours = flat[np.where(weight > 0, place, 0)] * weight[..., None]
        own = (edge // width - 1) * painted.shape[1] + edge % width - 1
        flat[own] = colours.sum(axis=1) / weight.sum(axis=1, keepdims=True)
        done[edge] = True
    return picture


def _image(picture: NDArray[np.float32], name: str) -> bpy.types.Image:
    pixels = np.ones((SIZE, SIZE, 4), np.float32)
    pixels[..., :3] = materials.srgb(picture)[::-1]  # Blender's first row is the lowest
    image = bpy.data.images.new(name, SIZE, SIZE, alpha=False)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    return image
