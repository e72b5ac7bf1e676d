"""The surface in UV space: which point of which triangle a texel shows, and how colours pass over it. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel
from ..body.raster import texels_of
from ..body.skeleton import JOINT_INDEX, JOINT_NAMES, PARENTS

Float = NDArray[np.float32]
Int = NDArray[np.int32]
Indices = NDArray[np.integer[Any]]

PHOTO_MATERIALS = ("skin", "lips", "nails")  # eyes, teeth and what else is inside keep their own looks
HANDS = ("left_hand", "right_hand")
_MIRROR_TOLERANCE_M = 0.002
_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar", "left_hip", "right_hip")
_HEAD = (JOINT_INDEX["head"], JOINT_INDEX["jaw"])
_CUFF = 0.002  # what passes over the wrists: sleeves end there, or gloves
_ALONG = 0.06  # how much of a colour passes along a limb, for what passes around it


@dataclass(frozen=True)
class Surface:
    """What is needed of a body, apart from its pose. V vertices, N texels that show skin, E edges."""

    faces: Int  # (F, 3) vertices
    texels: NDArray[np.int64]  # (N,) row * size + column, first row on top
    corners: Int  # (N, 3) vertices around the texel
    weights: Float  # (N, 3) barycentric
    mirror: Int  # (V,) the vertex on the other side, itself where there is none
    edges: Int  # (E, 2) vertices
    conductance: Float  # (E,) how well colours pass along an edge
    hands: NDArray[np.bool_]  # (V,)
    trunk: NDArray[np.bool_]  # (V,) chest to hips and thighs
    dressed: NDArray[np.bool_]  # (V,) all but head and hands
    scalp: NDArray[np.bool_]  # (V,) where hair grows, or a hat sits
    face: NDArray[np.bool_]  # (V,) cheeks, nose and chin: where the skin's tone is read
    size: int

    def part(self, texels: Indices) -> Surface:
        """The same surface with some of its texels only."""
        return replace(self, texels=self.texels[texels], corners=self.corners[texels], weights=self.weights[texels])

    def with_corners(self, which: Int) -> Surface:
        """The same texels on other vertices: `which` (V,) says by which one a vertex is replaced."""
        return replace(self, corners=which[self.corners])

    def blend(self, values: Float) -> Float:
        """Values of vertices (V, C) at the texels (N, C)."""
        result: Float = values[self.corners[:, 0]] * self.weights[:, :1]
        for k in (1, 2):
            result += values[self.corners[:, k]] * self.weights[:, k : k + 1]
        return result


def surface_of(body: BodyModel, size: int) -> Surface:
    """The surface for a texture of `size` × `size`; kept for the last body. The body must have UVs."""
    return _surface(body, size)


@lru_cache(maxsize=1)
def _surface(body: BodyModel, size: int) -> Surface:
    painted = np.ones(len(body.quads), np.bool_)
    if body.material_names:
        kinds = [k for k, name in enumerate(body.material_names) if name in PHOTO_MATERIALS]
        painted = np.isin(body.material_ids, kinds)
    faces, face_uvs = _triangles(body.quads[painted]), _triangles(body.quad_uvs[painted])
    texels, triangles, weights = texels_of(body.uv_coords, face_uvs, size)
    edges = _edges(body.quads)
    return Surface(
        faces=_triangles(body.quads),
        texels=texels,
        corners=faces[triangles],
        weights=weights,
        mirror=mirror_vertices(body.v_template),
        edges=edges,
        conductance=_conductance(body, edges),
        hands=_members(body, HANDS),
        trunk=np.isin(body.weights.argmax(axis=1), [JOINT_INDEX[name] for name in _TRUNK]),
        dressed=~_members(body, HANDS) & (body.weights[:, list(_HEAD)].sum(axis=1) < 0.5),
        scalp=_scalp(body),
        face=_face(body),
        size=size,
    )


def mirror_vertices(template: Float) -> Int:
    """For each vertex (V,) the one nearest to its mirror image in the plane x = 0; itself where that is far."""
    order = np.argsort(template[:, 1], kind="stable")
    heights = template[order, 1]
    result = np.arange(len(template), dtype=np.int32)
    for part in np.array_split(order, max(1, len(order) // 256)):
        low, high = template[part, 1].min() - _MIRROR_TOLERANCE_M, template[part, 1].max() + _MIRROR_TOLERANCE_M
        near = order[np.searchsorted(heights, low) : np.searchsorted(heights, high, side="right")]
        offsets = template[part][:, None] * np.array([-1.0, 1.0, 1.0], np.float32) - template[near][None]
        distance = np.einsum("abi,abi->ab", offsets, offsets)
        best = distance.argmin(axis=1)
        ok = distance[np.arange(len(part)), best] < _MIRROR_TOLERANCE_M**2
        result[part[ok]] = near[best[ok]]
    return result


def vertex_normals(vertices: Float, faces: Int) -> Float:
    """Unit normals (V, 3), weighted by the triangles' areas; outwards, corners counter-clockwise from outside."""
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.stack(
        [np.bincount(faces.ravel(), normals[:, axis].repeat(3), len(vertices)) for axis in range(3)], axis=1
    )
    unit: Float = (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return unit


def _triangles(quads: Int) -> Int:
    pairs = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
    triangles: Int = pairs[pairs[:, 2] >= 0]
    return triangles


def _edges(quads: Int) -> Int:
    ends = np.concatenate([np.stack([quads[:, k], quads[:, (k + 1) % 4]], axis=1) for k in range(4)])
    triangle = quads[quads[:, 3] < 0]
    ends = np.concatenate([ends[(ends >= 0).all(axis=1)], triangle[:, [2, 0]]])
    edges: Int = np.unique(np.sort(ends, axis=1), axis=0).astype(np.int32)
    return edges


def _conductance(body: BodyModel, edges: Int) -> Float:
    """Clothes end in rings around limbs: so colours pass around a limb far better than along it."""
    axis = np.zeros((len(JOINT_NAMES), 3))
    for joint, parent in enumerate(PARENTS):
        children = [k for k, p in enumerate(PARENTS) if p == joint]
        along = body.J_template[children[0]] - body.J_template[joint] if children else np.zeros(3)
        if not children and parent >= 0:
            along = body.J_template[joint] - body.J_template[parent]
        axis[joint] = along
    for name in ("pelvis", "spine3", "neck", "head"):
        axis[JOINT_INDEX[name]] = (0.0, 1.0, 0.0)
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
    main = body.weights.argmax(axis=1)
    step = body.v_template[edges[:, 1]] - body.v_template[edges[:, 0]]
    length = np.maximum(np.linalg.norm(step, axis=1), 1e-4)
    cosine = np.einsum("ei,ei->e", step / length[:, None], axis[main[edges[:, 0]]])
    # Short edges are in dense parts, where a colour has more edges to pass.
    passes = (_ALONG + (1.0 - _ALONG) * (1.0 - cosine**2)) * (0.01 / length)
    hands = _members(body, HANDS)[edges]
    return np.where(hands[:, 0] != hands[:, 1], _CUFF * passes, passes).astype(np.float32)


def _members(body: BodyModel, groups: tuple[str, ...]) -> NDArray[np.bool_]:
    inside = np.zeros(body.num_vertices, np.bool_)
    for name in groups:
        inside[body.vertex_groups.get(name, np.zeros(0, np.int32))] = True
    return inside


def _face(body: BodyModel) -> NDArray[np.bool_]:
    x, y, z = _seen_from_eyes(body).T
    front = (np.abs(x) < 0.8) & (y < -0.25) & (y > -1.3) & (z > -0.2)
    face: NDArray[np.bool_] = front & (body.weights[:, list(_HEAD)].sum(axis=1) > 0.5)
    return face


def _scalp(body: BodyModel) -> NDArray[np.bool_]:
    """Above the hairline, and behind the ears down to the neck."""
    _, y, z = _seen_from_eyes(body).T
    hair = (y > 1.1 - 0.35 * np.maximum(0.2 - z, 0.0)) | ((z < -1.75) & (y > -0.6))
    scalp: NDArray[np.bool_] = hair & (body.weights[:, JOINT_INDEX["head"]] > 0.5)
    return scalp


def _seen_from_eyes(body: BodyModel) -> Float:
    """Vertices (V, 3) from the middle between the eyes: left, up, forward; the eyes' distance is 1."""
    left, right = (body.J_template[JOINT_INDEX[f"{side}_eye_smplhf"]] for side in ("left", "right"))
    place: Float = (body.v_template - 0.5 * (left + right)) / max(float(np.linalg.norm(left - right)), 1e-3)
    return place
