"""What of a posed body lies inside other parts of it, exactly, from its triangles. numpy only.

Too slow for a fit; it is what the capsules are judged by. Pairs of the same or neighbouring parts do not count, nor the
folds where parts meet (armpit, groin, chin), whose skin was close at rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel
from .pairs import part_distance
from .proxies import PLANS, part_of_joint
from .proxy_fit import connected_shell

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Parts two steps apart whose skin was this close at rest fold onto each other; of fingers, the web between two.
FOLD_M, WEB_M = 0.12, 0.02
CELL_M = 0.004
FAR_M = 0.05


@dataclass(frozen=True)
class Intersection:
    """Of one pose. Volumes and areas by pair of parts (indices in PLANS, the smaller first)."""

    volume_m3: dict[tuple[int, int], float]
    area_m2: dict[tuple[int, int], float]  # of triangles that cross another part's

    @property
    def volume(self) -> float:
        return sum(self.volume_m3.values())

    @property
    def area(self) -> float:
        return sum(self.area_m2.values())


class Judge:
    """Exact measures on the closed outer surface of one body."""

    def __init__(self, body: BodyModel) -> None:
        inside = connected_shell(body)
        faces = body.faces.astype(np.int64)
        self.faces = faces[inside[faces].all(1)]  # (F, 3)
        owner = part_of_joint()[body.weights.argmax(1)]
        self.vertex_part = np.where(inside, owner, -1)  # (V,)
        self.part = np.sort(owner[self.faces], 1)[:, 1]  # (F,) the median of its corners'
        self.rest = body.v_template[self.faces].mean(1).astype(np.float64)  # (F, 3)
        self.steps = part_distance()  # (parts, parts)
        fingers = np.array([any(plan.name.endswith(f"{k}") for k in (1, 2, 3)) for plan in PLANS])
        self._fold_m = np.where(self.steps == 2, np.where(fingers[:, None] | fingers[None], WEB_M, FOLD_M), 0.0)

    def counts(self, a: Ints, b: Ints) -> NDArray[np.bool_]:
        """Whether faces a and b (indices, same shape) belong to parts that must not overlap."""
        first, second = self.part[a], self.part[b]
        fold = np.linalg.norm(self.rest[a] - self.rest[b], axis=-1) < self._fold_m[first, second]
        return np.asarray((self.steps[first, second] >= 2) & ~fold)

    def measure(self, vertices: Array) -> Intersection:
        """vertices (V, 3) of the posed body, metres."""
        corners = vertices[self.faces].astype(np.float64)
        return Intersection(self._volume(corners), self._area(corners))

    def volume(self, vertices: Array) -> dict[tuple[int, int], float]:
        """Of what overlaps, m³, by pair of parts."""
        return self._volume(vertices[self.faces].astype(np.float64))

    # --- volume ---------------------------------------------------------------------------------------------

    def _volume(self, corners: Array) -> dict[tuple[int, int], float]:
        """Overlap along a grid of lines that enter and leave the surface; where one is inside twice, it counts."""
        column, depth, enters, face = _crossings(corners)
        order = np.lexsort((depth, column))
        column, depth, enters, face = column[order], depth[order], enters[order], face[order]
        winding = np.cumsum(np.where(enters, 1, -1))
        starts = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
        sizes = np.diff(np.r_[starts, len(column)])
        before = np.repeat(np.r_[0, winding[starts[1:] - 1]], sizes)
        winding = winding - before
        twice = np.maximum.reduceat(winding, starts) >= 2
        volumes: dict[tuple[int, int], float] = {}
        for start, size in zip(starts[twice], sizes[twice], strict=True):
            self._walk(depth[start : start + size], enters[start : start + size], face[start : start + size], volumes)
        return {pair: length * CELL_M**2 for pair, length in volumes.items()}

    def _walk(self, depth: Array, enters: NDArray[np.bool_], face: Ints, lengths: dict[tuple[int, int], float]) -> None:
        """Along one line: the stretches that two parts share. A part is known by where it is entered and left."""
        inside: list[tuple[float, int]] = []
        runs: list[tuple[float, float, int, int]] = []  # from, to, face of entry, face of exit
        for i in range(len(depth)):
            if enters[i]:
                inside.append((float(depth[i]), int(face[i])))
            elif inside:
                # a part is left by itself or by the part that continues it
                steps = [int(self.steps[self.part[f], self.part[face[i]]]) for _, f in inside]
                start, entry = inside.pop(len(steps) - 1 - int(np.argmin(steps[::-1])))
                runs.append((start, float(depth[i]), entry, int(face[i])))
        for k, (start, end, entry, leave) in enumerate(runs):
            for other_start, other_end, other_entry, other_leave in runs[k + 1 :]:
                shared = min(end, other_end) - max(start, other_start)
                if shared <= 0:
                    continue
                a, b = np.array([entry, entry, leave, leave]), np.array([other_entry, other_leave] * 2)
                if self.counts(a, b).all():
                    pair = sorted((int(self.part[entry]), int(self.part[other_entry])))
                    lengths[(pair[0], pair[1])] = lengths.get((pair[0], pair[1]), 0.0) + shared

    # --- area -----------------------------------------------------------------------------------------------

    def _area(self, corners: Array) -> dict[tuple[int, int], float]:
        a, b = self.crossing_faces(corners)
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
        total: dict[tuple[int, int], float] = {}
        pairs = np.sort(np.stack([self.part[a], self.part[b]], 1), 1)
        for first, second in np.unique(pairs, axis=0):
            mine = (pairs == (first, second)).all(1)
            faces = np.unique(np.concatenate([a[mine], b[mine]]))
            total[(int(first), int(second))] = float(areas[faces].sum())
        return total

    def crossing_faces(self, corners: Array) -> tuple[Ints, Ints]:
        """Pairs of faces that cross each other and count."""
        low, high = corners.min(1), corners.max(1)
        found: list[tuple[Ints, Ints]] = []
        names = np.unique(self.part)
        boxes = {p: (low[self.part == p].min(0), high[self.part == p].max(0)) for p in names}
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                if self.steps[first, second] < 2:
                    continue
                bottom = np.maximum(boxes[first][0], boxes[second][0])
                top = np.minimum(boxes[first][1], boxes[second][1])
                if (bottom > top).any():
                    continue
                within = (low <= top).all(1) & (high >= bottom).all(1)
                a, b = (np.flatnonzero(within & (self.part == p)) for p in (first, second))
                touch = ((low[a][:, None] <= high[b]) & (high[a][:, None] >= low[b])).all(-1)
                x, y = np.nonzero(touch)
                a, b = a[x], b[y]
                keep = self.counts(a, b)
                a, b = a[keep], b[keep]
                cross = _cross(corners[a], corners[b]) | _cross(corners[b], corners[a])
                found.append((a[cross], b[cross]))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])

    # --- distance -------------------------------------------------------------------------------------------

    def gap(self, vertices: Array, first: tuple[int, ...], second: tuple[int, ...]) -> float:
        """Least distance between the surfaces of two groups of parts, metres; 0 where they cross, at most FAR_M."""
        corners = vertices[self.faces].astype(np.float64)
        low, high = corners.min(1), corners.max(1)
        a, b = (np.flatnonzero(np.isin(self.part, group)) for group in (first, second))
        for _ in range(2):
            a = a[((low[a] <= high[b].max(0) + FAR_M) & (high[a] >= low[b].min(0) - FAR_M)).all(1)]
            if len(a) == 0:
                return FAR_M
            a, b = b, a
        middle_a, middle_b = corners[a].mean(1), corners[b].mean(1)
        reach_a = np.linalg.norm(corners[a] - middle_a[:, None], axis=-1).max(1)
        reach_b = np.linalg.norm(corners[b] - middle_b[:, None], axis=-1).max(1)
        apart = np.linalg.norm(middle_a[:, None] - middle_b, axis=-1)
        least = (apart + reach_a[:, None] + reach_b).min()
        least = min(least, apart.min())
        x, y = np.nonzero(apart - reach_a[:, None] - reach_b <= least)
        one, other = corners[a[x]], corners[b[y]]
        if (_cross(one, other) | _cross(other, one)).any():
            return 0.0
        squared = min(
            min(float(_to_triangle(one[:, k], other).min()), float(_to_triangle(other[:, k], one).min()))
            for k in range(3)
        )
        for i in range(3):
            for j in range(3):
                squared = min(
                    squared,
                    float(_between_edges(one[:, i], one[:, i - 1], other[:, j], other[:, j - 1]).min()),
                )
        return min(float(np.sqrt(squared)), FAR_M)


def _crossings(corners: Array) -> tuple[Ints, Array, NDArray[np.bool_], Ints]:
    """Where the lines x, y = cell centres, along z, cross triangles: column, z, whether it enters there, face."""
    shift = np.array([0.37, 0.61]) * CELL_M  # so that no line runs along an edge of a symmetric mesh
    flat = (corners[..., :2] + shift) / CELL_M
    low, high = np.ceil(flat.min(1) - 0.5).astype(int), np.floor(flat.max(1) - 0.5).astype(int)
    size = np.maximum(high - low + 1, 0)
    count = size.prod(1)
    face = np.repeat(np.arange(len(corners)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    width = size[face, 0]
    cell = low[face] + np.stack([within % width, within // width], 1)
    at = cell + 0.5
    a, b, c = (flat[face, k] for k in range(3))

    def area(p: Array, q: Array, r: Array) -> Array:
        return np.asarray((q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0]))

    u, v, w = area(b, c, at), area(c, a, at), area(a, b, at)
    hit = ((u >= 0) & (v >= 0) & (w >= 0)) | ((u < 0) & (v < 0) & (w < 0))
    total = u + v + w
    hit &= total != 0
    u, v, w, total, face, cell = u[hit], v[hit], w[hit], total[hit], face[hit], cell[hit]
    depth = (np.stack([u, v, w], 1) * corners[face, :, 2]).sum(1) / total
    cell = cell - cell.min(0)
    return cell[:, 0] * (cell[:, 1].max() + 1) + cell[:, 1], depth, total < 0, face


def _cross(edges: Array, faces: Array) -> NDArray[np.bool_]:
    """Whether an edge of the one triangle pierces the other (P, 3, 3). Möller and Trumbore 1997."""
    origin, side_1, side_2 = faces[:, 0], faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]
    hit = np.zeros(len(edges), bool)
    for k in range(3):
        start, along = edges[:, k], edges[:, k - 2] - edges[:, k]
        p = np.cross(along, side_2)
        determinant = (side_1 * p).sum(1)
        safe = np.where(np.abs(determinant) < 1e-18, np.inf, determinant)
        offset = start - origin
        u = (offset * p).sum(1) / safe
        q = np.cross(offset, side_1)
        v = (along * q).sum(1) / safe
        t = (side_2 * q).sum(1) / safe
        hit |= np.isfinite(safe) & (u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= 1)
    return hit


def _to_triangle(points: Array, faces: Array) -> Array:
    """Squared distance of points (P, 3) to the insides of triangles (P, 3, 3); inf where the foot lies outside."""
    origin, side_1, side_2 = faces[:, 0], faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]
    normal = np.cross(side_1, side_2)
    length = np.maximum((normal * normal).sum(1), 1e-24)
    offset = points - origin
    u = (np.cross(offset, side_2) * normal).sum(1) / length
    v = (np.cross(side_1, offset) * normal).sum(1) / length
    height = (offset * normal).sum(1)
    return np.where((u >= 0) & (v >= 0) & (u + v <= 1), height * height / length, np.inf)


def _between_edges(a0: Array, a1: Array, b0: Array, b1: Array) -> Array:
    """Squared distance of segments (P, 3)."""
    u, v, between = a1 - a0, b1 - b0, a0 - b0
    uu, vv, uv = ((u * u).sum(1) + 1e-24, (v * v).sum(1) + 1e-24, (u * v).sum(1))
    p, q = (between * u).sum(1), (between * v).sum(1)
    s = np.clip((uv * q - vv * p) / np.maximum(uu * vv - uv * uv, 1e-24), 0, 1)
    t = np.clip((uv * s + q) / vv, 0, 1)
    s = np.clip((uv * t - p) / uu, 0, 1)
    apart = between + s[:, None] * u - t[:, None] * v
    return np.asarray((apart * apart).sum(1))
