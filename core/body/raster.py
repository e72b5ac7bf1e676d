"""A small software rasteriser: triangles to pixels with depth, and from a pixel back to the surface. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Int = NDArray[np.int32]
Double = NDArray[np.float64]

_NEAR_M = 0.02
# Triangles are sorted by the size of their box in px and filled together; the largest take the rest.
_BUCKETS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
_AT_ONCE = 4_000_000  # candidate pixels at a time: bounds the memory


@dataclass(frozen=True)
class Hits:
    """What each pixel sees, for a picture of H × W."""

    triangles: Int  # (H, W) index of the nearest triangle, -1 for none
    barycentric: Float  # (H, W, 3) perspective-correct place in it
    depth: Float  # (H, W) metres along z, inf for none


def rasterise(vertices: Float, faces: Int, focal_px: float, size: tuple[int, int]) -> Hits:
    """Triangles (F, 3) of `vertices` (V, 3) in the camera's frame (OpenCV, metres), by a pinhole camera.

    The principal point is the picture's middle; pixel centres lie at +0.5; triangles that reach behind the camera
    are left out, as are those that turn away (corners run counter-clockwise seen from outside).
    """
    width, height = size
    z = vertices[:, 2].astype(np.float64)
    safe = np.where(z > _NEAR_M, z, 1.0)
    image = vertices[:, :2] / safe[:, None] * focal_px + np.array([width / 2.0, height / 2.0])
    corners, depths = image[faces], z[faces]  # (F, 3, 2), (F, 3)
    edges = vertices[faces]
    outward = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
    ok = (depths > _NEAR_M).all(axis=1) & ((outward * edges[:, 0]).sum(axis=1) < 0.0)
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, (width, height)).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5) + 1, 0, (width, height)).astype(np.int64)
    extent = (high - low).max(axis=1)
    ok &= (high > low).all(axis=1)
    best = np.full(width * height, np.inf)
    owner = np.full(width * height, -1, np.int32)
    places = np.zeros((width * height, 3), np.float32)
    previous = 0
    for bucket in _BUCKETS:
        members = np.flatnonzero(ok & (extent > previous) & (extent <= bucket))
        previous = bucket
        for part in np.array_split(members, max(1, -(-len(members) * bucket * bucket // _AT_ONCE))):
            if len(part):
                _fill(part, corners, depths, low, high, bucket, width, (best, owner, places))
    shape = (height, width)
    return Hits(owner.reshape(shape), places.reshape(*shape, 3), best.reshape(shape).astype(np.float32))


def texels_of(uv_coords: Float, face_uvs: Int, size: int) -> tuple[NDArray[np.int64], Int, Float]:
    """Texels that triangles cover in UV space: index (N,), triangle (N,), barycentric (N, 3).

    First row on top. Done by the camera's rasteriser: UV space is a plane one metre before a camera that sees just
    that. Islands may be mirrored, so each triangle is given with both windings, of which one is culled.
    """
    plane = np.concatenate([uv_coords - 0.5, np.ones((len(uv_coords), 1))], axis=1).astype(np.float32)
    plane[:, 1] *= -1.0
    both = np.concatenate([face_uvs, face_uvs[:, ::-1]])
    hits = rasterise(plane, both, float(size), (size, size))
    found = hits.triangles.ravel()
    texels = np.flatnonzero(found >= 0)
    triangles, weights = found[texels], hits.barycentric.reshape(-1, 3)[texels]
    turned = triangles >= len(face_uvs)
    weights[turned] = weights[turned, ::-1]
    return texels, np.where(turned, triangles - len(face_uvs), triangles).astype(np.int32), weights


def _fill(
    part: NDArray[np.int64],
    corners: Double,
    depths: Double,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    bucket: int,
    width: int,
    buffers: tuple[NDArray[np.float64], Int, Float],
) -> None:
    best, owner, places = buffers
    step = np.arange(bucket)
    x = (low[part, 0, None, None] + step[None, None, :]).repeat(bucket, axis=1)
    y = (low[part, 1, None, None] + step[None, :, None]).repeat(bucket, axis=2)
    a, b, c = (corners[part, k, None, None, :] for k in range(3))
    px, py = x + 0.5, y + 0.5
    area: Double = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])
    area = np.where(np.abs(area) < 1e-12, np.inf, area)
    wa: Double = ((b[..., 0] - px) * (c[..., 1] - py) - (b[..., 1] - py) * (c[..., 0] - px)) / area
    wb: Double = ((c[..., 0] - px) * (a[..., 1] - py) - (c[..., 1] - py) * (a[..., 0] - px)) / area
    wc = 1.0 - wa - wb
    inside = (wa >= 0) & (wb >= 0) & (wc >= 0) & np.isfinite(area)
    inside &= (x < high[part, 0, None, None]) & (y < high[part, 1, None, None])
    which, row, column = np.nonzero(inside)
    weights: Double = np.stack([wa[inside], wb[inside], wc[inside]], axis=1) / depths[part[which]]
    depth: Double = 1.0 / weights.sum(axis=1)
    weights = weights * depth[:, None]
    pixel = y[which, row, column] * width + x[which, row, column]
    nearer = depth < best[pixel]
    pixel, depth, weights, triangle = pixel[nearer], depth[nearer], weights[nearer], part[which[nearer]]
    # The last of equal pixels stays: farthest first.
    order = np.argsort(-depth, kind="stable")
    pixel = pixel[order]
    best[pixel], owner[pixel], places[pixel] = depth[order], triangle[order], weights[order]
