"""Fitting tapered capsules to pieces of a body's rest mesh. numpy only.

A tapered capsule is the union of the balls whose centre and radius go linearly from one end to the other (a ball-swept
segment). Its distance is Quilez's "round cone": min over s of |x − c(s)| − r(s). Lengths in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

ROUND = 1.25  # a slab less oblong than this gets a capsule along the bone, else one across it
STEPS = 24
STEEPEST = 0.5  # change of radius along the axis
FREE_M = (0.012, 0.03, 0.08)
HUBER_M = 0.012


@dataclass(frozen=True)
class Shell:
    """The outer surface of a body: its largest connected piece. V vertices of it."""

    rows: Ints  # (V,) indices into the body's vertices
    points: Array  # (V, 3) rest positions
    normals: Array  # (V, 3) outwards
    areas: Array  # (V,) a third of the triangles around
    dirs: Array  # (V, 3, B + E)
    weights: Array  # (V, 55)


def connected_shell(body: BodyModel) -> NDArray[np.bool_]:
    """(V,) True for the vertices of the largest connected piece of the mesh, which is closed."""
    faces = body.faces.astype(np.int64)
    label = np.arange(body.num_vertices)
    while True:
        lowest = label[faces].min(1)
        new = label.copy()
        np.minimum.at(new, faces.ravel(), np.repeat(lowest, 3))
        new = new[new]
        if np.array_equal(new, label):
            break
        label = new
    names, counts = np.unique(label, return_counts=True)
    return np.asarray(label == names[counts.argmax()])


def outer_shell(body: BodyModel) -> Shell:
    """The largest connected piece of the mesh, without the lining of the mouth where the body names it."""
    inside = connected_shell(body)
    faces = body.faces.astype(np.int64)
    faces = faces[inside[faces].all(1)]
    points = body.v_template.astype(np.float64)
    a, b, c = (points[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a) / 2
    normals = np.zeros_like(points)
    areas = np.zeros(len(points))
    for k in range(3):
        np.add.at(normals, faces[:, k], cross)
        np.add.at(areas, faces[:, k], np.linalg.norm(cross, axis=1) / 3)
    for name in ("mouth", "lips"):
        inside[body.vertex_groups.get(name, np.zeros(0, np.int32))] = False
    rows = np.flatnonzero(inside & (areas > 0))
    dirs = np.concatenate([body.shapedirs, body.exprdirs], -1)[rows].astype(np.float64)
    unit = normals[rows] / np.maximum(np.linalg.norm(normals[rows], axis=1, keepdims=True), 1e-12)
    return Shell(rows, points[rows], unit, areas[rows], dirs, body.weights[rows].astype(np.float64))


def distances(points: Array, capsules: Array) -> tuple[Array, Array, Array]:
    """Signed distance of each point to each capsule, negative inside; with what its derivative needs.

    points (V, 3); capsules (K, 8): start, end, radius at start, at end → distance (V, K), place on the axis 0…1 (V, K),
    unit direction from there to the point (V, K, 3).
    """
    start, end, r0, r1 = capsules[:, :3], capsules[:, 3:6], capsules[:, 6], capsules[:, 7]
    axis = end - start
    length = np.maximum(np.linalg.norm(axis, axis=1), 1e-9)
    offset = points[:, None] - start
    along = (offset * axis).sum(-1) / length  # metres
    height = np.sqrt(np.maximum((offset * offset).sum(-1) - along * along, 0.0))
    slope = np.clip((r1 - r0) / length, -0.995, 0.995)
    place = np.clip((along + slope * height / np.sqrt(1 - slope * slope)) / length, 0.0, 1.0)
    away = offset - place[..., None] * axis
    reach = np.maximum(np.linalg.norm(away, axis=-1), 1e-9)
    return reach - (r0 + place * (r1 - r0)), place, away / reach[..., None]


def union_distance(points: Array, capsules: Array) -> Array:
    """Signed distance (V,) to the union of capsules (K, 8); exact outside of it."""
    return np.asarray(distances(points, capsules)[0].min(1))


def first_guess(points: Array, areas: Array, axis: Array, slabs: int) -> Array:
    """Capsules (slabs, 8) from the cross-sections of a piece cut across `axis` (3,)."""
    along = points @ axis
    low, high = np.quantile(along, [0.01, 0.99])
    edges = np.linspace(float(low), float(high), slabs + 1)
    capsules = []
    for low, high in pairwise(edges):
        inside = (along >= low) & (along <= high)
        if inside.sum() < 6:
            continue
        weight = areas[inside] / areas[inside].sum()
        middle = weight @ points[inside]
        spread = points[inside] - middle
        spread = spread - np.outer(spread @ axis, axis)
        values, vectors = np.linalg.eigh((spread * weight[:, None]).T @ spread)
        wide, narrow = np.sqrt(2 * np.maximum(values[2], 1e-10)), np.sqrt(2 * np.maximum(values[1], 1e-10))
        if wide < ROUND * narrow:
            reach, radius = axis * max((high - low) / 2 - 0.3 * narrow, 0.1 * narrow), (wide + narrow) / 2
        else:
            reach, radius = vectors[:, 2] * (wide - narrow), narrow
        capsules.append(np.concatenate([middle - reach, middle + reach, [radius, radius]]))
    return np.array(capsules).reshape(-1, 8)


def free_space(points: Array, normals: Array, areas: Array) -> tuple[Array, Array]:
    """Points well outside of a surface, where no capsule may be, with areas: (S, 3), (S,)."""
    found, owners = [], []
    for lift in FREE_M:
        lifted = points + lift * normals
        squared = (lifted**2).sum(1)[:, None] - 2 * lifted @ points.T + (points**2).sum(1)
        clear = squared.min(1) > (0.8 * lift) ** 2
        found.append(lifted[clear])
        owners.append(areas[clear])
    return np.concatenate(found), np.concatenate(owners)


def _rows(points: Array, capsules: Array) -> tuple[Array, Array, Array]:
    """Distance to the union (V,), its derivative by all capsules (V, 8K) and by the point (V, 3)."""
    value, place, away = distances(points, capsules)
    nearest = value.argmin(1)
    each = np.arange(len(points))
    s, n = place[each, nearest][:, None], away[each, nearest]
    block = np.concatenate([-(1 - s) * n, -s * n, -(1 - s), -s], 1)
    jacobian = np.zeros((len(points), len(capsules), 8))
    jacobian[each, nearest] = block
    return value[each, nearest], jacobian.reshape(len(points), -1), n


def refine(
    capsules: Array, points: Array, areas: Array, others: Array, other_areas: Array, steps: int = STEPS
) -> Array:
    """Gauss–Newton on the distances: points lie on the union's surface, others not inside of it.

    points (V, 3) with their areas, others (W, 3) with theirs; capsules (K, 8).
    """
    total = areas.sum()
    damping = 1e-2

    def evaluate(x: Array) -> tuple[float, Array, Array]:
        value, jacobian, _ = _rows(points, x)
        outer, outer_jacobian, _ = _rows(others, x)
        value = np.concatenate([value, np.minimum(outer, 0.0)])
        jacobian = np.concatenate([jacobian, outer_jacobian * (outer < 0)[:, None]])
        # What sticks out pushes things apart that touch: worse than what is left uncovered.
        weight = np.concatenate([areas, other_areas]) / total * np.where(value < 0, 1.6, 1.0)
        weight = weight / np.maximum(np.abs(value) / HUBER_M, 1.0)
        return float((weight * value * value).sum()), value * np.sqrt(weight), jacobian * np.sqrt(weight)[:, None]

    cost, residual, jacobian = evaluate(capsules)
    for _ in range(steps):
        hessian = jacobian.T @ jacobian
        hessian[np.diag_indices(len(hessian))] += damping * (np.diag(hessian) + 1e-3 * np.trace(hessian) / len(hessian))
        step = -np.linalg.solve(hessian, jacobian.T @ residual).reshape(capsules.shape)
        trial = capsules + np.clip(step, -0.03, 0.03)
        # A ball that nearly swallows the other makes the place of the least distance hard to find.
        most = STEEPEST * np.linalg.norm(trial[:, 3:6] - trial[:, :3], axis=1) / 2
        mean, half = (trial[:, 6] + trial[:, 7]) / 2, np.clip((trial[:, 7] - trial[:, 6]) / 2, -most, most)
        trial[:, 6:] = np.maximum(np.stack([mean - half, mean + half], 1), 0.002)
        there = evaluate(trial)
        if there[0] < cost:
            settled = there[0] > 0.998 * cost
            capsules, (cost, residual, jacobian), damping = trial, there, max(damping * 0.3, 1e-5)
            if settled:
                break
        else:
            damping *= 6
            if damping > 1e4:
                break
    return capsules


def add_ball(capsules: Array, points: Array, normals: Array, areas: Array, radius: float) -> Array:
    """One more, small, where the surface is left uncovered by most: where most around is uncovered."""
    gap = union_distance(points, capsules)
    bare = np.maximum(gap - 0.002, 0.0) * areas
    near = np.linalg.norm(points[:, None] - points[None], axis=-1) < radius
    worst = int((near @ bare).argmax())
    middle = points[worst] - radius * normals[worst]
    across = np.linalg.svd(normals[worst][None])[2][1] * 0.3 * radius
    return np.concatenate([capsules, [[*(middle - across), *(middle + across), 0.95 * radius, 0.95 * radius]]])


def shape_directions(
    capsules: Array, points: Array, areas: Array, dirs: Array, others: Array, other_dirs: Array
) -> tuple[Array, Array]:
    """How the capsules follow the shape: derivative by the coefficients (K, 8, C), and what ends hang on (K, 2, V).

    By the implicit function theorem on the least-squares fit, drawn to the mean of the vertices around an end where
    the distances say nothing (a capsule that slides along its own axis). dirs (V, 3, C), other_dirs (W, 3, C).
    """
    value, place, _ = distances(points, capsules)
    nearest = value.argmin(1)
    near = np.zeros((len(capsules), 2, len(points)))
    for k in range(len(capsules)):
        mine = (nearest == k) * areas if (nearest == k).sum() >= 3 else areas * np.exp(-((value[:, k] / 0.01) ** 2))
        for end, at in enumerate((0.0, 1.0)):
            weight = mine * np.exp(-(((place[:, k] - at) / 0.4) ** 2)) + 1e-6 * mine + 1e-12 * areas
            near[k, end] = weight / weight.sum()
    count = dirs.shape[2]
    guess = np.zeros((len(capsules), 8, count))
    guess[:, :6] = np.einsum("kev,vic->keic", near, dirs).reshape(len(capsules), 6, count)
    _, jacobian, normal = _rows(points, capsules)
    outer, outer_jacobian, outer_normal = _rows(others, capsules)
    close = outer < 0.0
    jacobian = np.concatenate([jacobian * np.sqrt(areas)[:, None], outer_jacobian[close] * np.sqrt(areas.mean())])
    moved = np.concatenate(
        [
            np.einsum("vi,vic->vc", normal, dirs) * np.sqrt(areas)[:, None],
            np.einsum("vi,vic->vc", outer_normal[close], other_dirs[close]) * np.sqrt(areas.mean()),
        ]
    )
    flat = guess.reshape(-1, count)
    hessian = jacobian.T @ jacobian
    ridge = 0.02 * np.trace(hessian) / len(hessian)
    change = np.linalg.solve(hessian + ridge * np.eye(len(hessian)), -jacobian.T @ (moved + jacobian @ flat))
    return (flat + change).reshape(len(capsules), 8, count), near
