"""Carry the points that detectors see from one body to another of the same skeleton. numpy only.

Both stand in the T-pose. Each part of the source is turned, scaled and moved onto the target's by its joints; a
surface point goes where its skin weights blend these maps, then to the nearest place on the target's surface; a point
in a joint's frame keeps its offset, turned and scaled with the part. The head, which has four joints but 500 points, is
fitted to the target's by iterative closest points with a scale (Besl and McKay, PAMI 1992; scale after Umeyama, 1991).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .model import BodyModel, PointSet
from .skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS

Float = NDArray[np.float64]

TRANSFER_SIGMA_M = 0.005  # what a transfer adds to a point's uncertainty
_HEAD = tuple(JOINT_INDEX[name] for name in ("head", "jaw", "left_eye_smplhf", "right_eye_smplhf"))
_ICP_POINTS = 300
# The child that shows a joint's direction and length where it has several.
_DIRECTION = {"pelvis": "spine3", "spine3": "neck", "left_wrist": "left_middle1", "right_wrist": "right_middle1"}


@dataclass(frozen=True)
class PartMaps:
    """For each joint, a point p of the source's part goes to scale · rotation (p − source joint) + target joint."""

    rotations: Float  # (55, 3, 3)
    scales: Float  # (55,)
    source_joints: Float  # (55, 3)
    target_joints: Float  # (55, 3)
    length_dirs: Float  # (55, B) relative growth of the part in the target for a unit of each beta


def transfer_points(source: BodyModel, target: BodyModel) -> dict[str, PointSet]:
    """The source's point sets, attached to the target."""
    maps = part_maps(source, target)
    head = _fit_head(source, target, maps)
    return {name: _transfer(source, target, maps, head, points) for name, points in source.points.items()}


def part_maps(source: BodyModel, target: BodyModel) -> PartMaps:
    """Similarities by joints: along the bone to the child (or from the parent, at the ends of the chain)."""
    a, b = source.J_template.astype(np.float64), target.J_template.astype(np.float64)
    rotations = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    scales = np.ones(NUM_JOINTS)
    length_dirs = np.zeros((NUM_JOINTS, target.num_betas))
    children = [[j for j in range(NUM_JOINTS) if PARENTS[j] == parent] for parent in range(NUM_JOINTS)]
    names = list(JOINT_INDEX)
    for j in range(NUM_JOINTS):
        if j in _HEAD:
            first, last = JOINT_INDEX["neck"], JOINT_INDEX["head"]
        elif names[j] in _DIRECTION:
            first, last = j, JOINT_INDEX[_DIRECTION[names[j]]]
        elif children[j]:
            first, last = j, children[j][0]
        else:
            first, last = PARENTS[j], j
        bone_a, bone_b = a[last] - a[first], b[last] - b[first]
        length = float(np.linalg.norm(bone_b))
        scales[j] = length / float(np.linalg.norm(bone_a))
        # The T-poses agree in the large: only fingers and limbs need turning, and a trunk's bones tell little of it.
        if names[j].startswith(("left", "right")) and j not in _HEAD:
            rotations[j] = _shortest(bone_a, bone_b)
        change = target.J_shapedirs[last] - target.J_shapedirs[first]
        length_dirs[j] = bone_b @ change / length**2
    return PartMaps(rotations, scales, a, b, length_dirs)


def _shortest(a: Float, b: Float) -> Float:
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(np.eye(3) + k + k @ k / (1.0 + a @ b))


def similarity(a: Float, b: Float) -> tuple[float, Float, Float]:
    """Scale, rotation and shift that take points `a` (N, 3) to `b` best in least squares (Umeyama 1991, eq. 40–42)."""
    mean_a, mean_b = a.mean(0), b.mean(0)
    u, s, vt = np.linalg.svd((b - mean_b).T @ (a - mean_a) / len(a))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(signs) @ vt
    scale = float((s * signs).sum() / ((a - mean_a) ** 2).sum(1).mean())
    return scale, rotation, mean_b - scale * rotation @ mean_a


def _fit_head(source: BodyModel, target: BodyModel, maps: PartMaps) -> tuple[float, Float, Float]:
    """A similarity from the source's head to the target's: by joints, then by closest points on the face."""
    eyes = list(_HEAD[2:])
    a, b = maps.source_joints[list(_HEAD)], maps.target_joints[list(_HEAD)]
    spread_a = np.linalg.norm(a - a.mean(0), axis=1).sum()
    scale = float(np.linalg.norm(b - b.mean(0), axis=1).sum() / spread_a)
    rotation, shift = np.eye(3), maps.target_joints[eyes].mean(0) - scale * maps.source_joints[eyes].mean(0)
    face = _face_vertices(source)
    if len(face) == 0:
        return scale, rotation, shift
    points = source.v_template[face[:: max(1, len(face) // _ICP_POINTS)]].astype(np.float64)
    head = Surface(target, np.flatnonzero(target.weights[:, list(_HEAD)].sum(1) > 0.5))
    for _ in range(12):
        moved = scale * points @ rotation.T + shift
        nearest, _, _ = head.closest(moved)
        distance = np.linalg.norm(nearest - moved, axis=1)
        near = distance <= np.percentile(distance, 80)  # lips, nostrils and lids are nobody's twin
        scale, rotation, shift = similarity(points[near], nearest[near])
    return scale, rotation, shift


def _face_vertices(body: BodyModel) -> NDArray[np.int64]:
    """Vertices of the face's skin that can be seen from the front."""
    head = body.weights[:, list(_HEAD[:2])].sum(1) > 0.5
    for name in ("mouth", "teeth", "tongue", "lashes", "left_eyeball", "right_eyeball"):
        head[body.vertex_groups.get(name, np.zeros(0, np.int32))] = False
    eye = body.J_template[list(_HEAD[2:])].mean(0)
    return np.flatnonzero(head & (body.v_template[:, 2] > eye[2] - 0.03))


def _transfer(
    source: BodyModel, target: BodyModel, maps: PartMaps, head: tuple[float, Float, Float], points: PointSet
) -> PointSet:
    count = len(points.names)
    virtual = source.virtual_points(points)
    place = virtual.template.astype(np.float64)
    offsets = np.zeros((count, 3), np.float32)
    offset_dirs = np.zeros((count, 3, target.num_betas), np.float32)
    vertex_ids = np.zeros((count, 3), np.int32)
    barycentric = np.zeros((count, 3), np.float32)
    surface = points.joint_ids < 0
    for i in np.flatnonzero(~surface):
        j = int(points.joint_ids[i])
        offsets[i] = maps.scales[j] * maps.rotations[j] @ points.offsets[i].astype(np.float64)
        offset_dirs[i] = offsets[i][:, None] * maps.length_dirs[j][None, :]
    if surface.any():
        weights = virtual.weights[surface].astype(np.float64)
        p = place[surface]
        local = p[:, None] - maps.source_joints
        mapped = np.einsum("j,jab,njb->nja", maps.scales, maps.rotations, local) + maps.target_joints
        scale, rotation, shift = head
        mapped[:, list(_HEAD)] = (scale * p @ rotation.T + shift)[:, None]
        wanted = np.einsum("nj,nja->na", weights, mapped)
        chosen = np.flatnonzero(surface)
        for part in _parts(source, target, points, chosen):
            _, corners, shares = Surface(target, part.vertices).closest(wanted[part.rows])
            vertex_ids[chosen[part.rows]] = corners
            barycentric[chosen[part.rows]] = shares
    return replace(
        points,
        offsets=offsets,
        offset_dirs=offset_dirs,
        vertex_ids=vertex_ids,
        barycentric=barycentric,
        sigma_m=np.hypot(points.sigma_m, TRANSFER_SIGMA_M).astype(np.float32),
    )


@dataclass(frozen=True)
class _Part:
    rows: NDArray[np.int64]  # of the surface points
    vertices: NDArray[np.int64]  # of the target


def _parts(source: BodyModel, target: BodyModel, points: PointSet, chosen: NDArray[np.int64]) -> list[_Part]:
    """Surface points by the part that may hold them: an eyeball's, or the body's without the eyeballs."""
    empty = np.zeros(0, np.int32)
    first = points.vertex_ids[chosen, points.barycentric[chosen].argmax(1)]
    rest = np.ones(len(chosen), bool)
    body = np.ones(target.num_vertices, bool)
    used = np.zeros(target.num_vertices, bool)
    used[target.faces] = True
    body &= used
    parts = []
    for name in ("left_eyeball", "right_eyeball"):
        vertices = target.vertex_groups.get(name, empty)
        body[vertices] = False
        rows = np.isin(first, source.vertex_groups.get(name, empty))
        if rows.any() and len(vertices):
            parts.append(_Part(np.flatnonzero(rows), vertices.astype(np.int64)))
            rest &= ~rows
    for name in ("mouth", "teeth", "tongue", "lashes"):
        body[target.vertex_groups.get(name, empty)] = False
    parts.append(_Part(np.flatnonzero(rest), np.flatnonzero(body)))
    return [part for part in parts if len(part.rows)]


class Surface:
    """The triangles between some vertices of a body in the T-pose, ready to be searched."""

    def __init__(self, body: BodyModel, vertices: NDArray[np.int64]) -> None:
        allowed = np.zeros(body.num_vertices, bool)
        allowed[vertices] = True
        self.faces = body.faces[allowed[body.faces].all(1)]
        self.places = body.v_template.astype(np.float64)
        self.corners = np.unique(self.faces)
        # the triangles about each vertex, a row each, filled up with -1
        flat = self.faces.ravel()
        order = np.argsort(flat, kind="stable")
        column = np.arange(len(flat)) - np.searchsorted(flat[order], flat[order])
        self.around = np.full((body.num_vertices, int(column.max(initial=0)) + 1), -1)
        self.around[flat[order], column] = order // 3

    def closest(self, points: Float, candidates: int = 4) -> tuple[Float, NDArray[np.int32], Float]:
        """The nearest places on the triangles: positions, corners and barycentric coordinates, (N, 3) each.

        Searched among the triangles at the `candidates` nearest vertices.
        """
        known = self.places[self.corners]
        squared = (known**2).sum(1) - 2.0 * points @ known.T
        count = min(candidates, len(self.corners))
        nearest = self.corners[np.argpartition(squared, count - 1, axis=1)[:, :count]]
        triangles = self.around[nearest].reshape(len(points), -1)
        row, column = np.nonzero(triangles >= 0)
        triangle = triangles[row, column]
        shares = _closest_barycentric(points[row], self.places[self.faces[triangle]])
        places = np.einsum("nk,nki->ni", shares, self.places[self.faces[triangle]])
        distance = np.linalg.norm(places - points[row], axis=1)
        best = np.lexsort((distance, row))
        best = best[np.unique(row[best], return_index=True)[1]]
        return places[best], self.faces[triangle[best]].astype(np.int32), shares[best]


def _closest_barycentric(points: Float, triangles: Float) -> Float:
    """Barycentric coordinates of the nearest place on each triangle, (N, 3): inside, or on the best of its edges."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    inside = np.stack([1.0 - v - w, v, w], axis=1)
    options = [inside]
    costs = [np.where((inside >= 0).all(1), 0.0, np.inf)]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, edge = triangles[:, first], triangles[:, second] - triangles[:, first]
        t = np.clip(((points - start) * edge).sum(1) / np.maximum((edge**2).sum(1), 1e-30), 0.0, 1.0)
        shares = np.zeros_like(inside)
        shares[:, first], shares[:, second] = 1.0 - t, t
        options.append(shares)
        costs.append(1.0 + ((points - start - t[:, None] * edge) ** 2).sum(1))
    choice = np.argmin(np.stack(costs), axis=0)
    return np.asarray(np.stack(options)[choice, np.arange(len(points))])
