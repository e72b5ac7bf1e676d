"""An avatar's mesh: quads, UVs, materials' faces, skin weights. Whole arrays at a time, no loop over vertices."""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_INDEX, JOINT_NAMES, LEFT_EYE, RIGHT_EYE
from . import axes
from .rest import Floats
from .steps import MORE, Steps, finish

UV_NAME = "UVMap"
EYE_ATTRIBUTE = "eye_direction"
FACE_ATTRIBUTE = "face_position"
REGION_PREFIX = "region_"


def polygons(body: BodyModel) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Corner vertices (L,), where each polygon starts (Q,), and which of the (Q, 4) corners are used."""
    faces = body.quads if len(body.quads) else np.pad(body.faces, ((0, 0), (0, 1)), constant_values=-1)
    used = faces >= 0
    sizes = used.sum(axis=1)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    return faces[used].astype(np.int32), starts, used


def new_mesh(name: str, body: BodyModel, coordinates: Floats) -> bpy.types.Mesh:
    """A mesh with the body's polygons at `coordinates` (V, 3), object space: UVs, smooth shading, material indices."""
    mesh = bpy.data.meshes.new(name)
    finish(fill_mesh(mesh, body, coordinates))
    return mesh


def fill_mesh(mesh: bpy.types.Mesh, body: BodyModel, coordinates: Floats) -> Steps[None]:
    """`new_mesh` in steps, for a mesh that is empty."""
    corners, starts, used = polygons(body)
    yield MORE
    mesh.vertices.add(len(coordinates))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(coordinates, np.float32).ravel())
    mesh.loops.add(len(corners))
    mesh.loops.foreach_set("vertex_index", corners)
    mesh.polygons.add(len(starts))
    mesh.polygons.foreach_set("loop_start", starts)
    mesh.polygons.foreach_set("use_smooth", np.ones(len(starts), np.bool_))
    if len(body.material_ids) == len(starts):
        mesh.polygons.foreach_set("material_index", body.material_ids.astype(np.int32))
    yield MORE
    if len(body.uv_coords):
        layer = mesh.uv_layers.new(name=UV_NAME, do_init=False)
        layer.uv.foreach_set("vector", np.ascontiguousarray(body.uv_coords[body.quad_uvs[used]], np.float32).ravel())
    yield MORE
    mesh.update(calc_edges=True)
    yield MORE


def eye_directions(body: BodyModel) -> Floats:
    """Where vertices of eyeballs and lashes lie seen from their eye's centre, in radii, object space; else 0. (V, 3).

    The iris is drawn from this rather than from UVs: it fits any body, and as a position it interpolates
    linearly over a face, so that the iris is a true circle however coarse the eye's mesh.
    """
    directions = np.zeros((body.num_vertices, 3))
    lashes = body.vertex_groups.get("lashes", np.zeros(0, np.int32))
    for joint in (LEFT_EYE, RIGHT_EYE):
        own = np.flatnonzero(body.weights[:, joint] > 0.5)
        if len(own) == 0:
            continue
        points = body.v_template[own].astype(np.float64)
        centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
        radius = max(0.5 * float((points.max(axis=0) - points.min(axis=0))[:2].mean()), 1e-6)
        near = lashes[body.v_template[lashes, 0] * np.sign(centre[0]) > 0]
        own = np.concatenate([own, near])
        directions[own] = axes.body_to_blender(body.v_template[own].astype(np.float64) - centre) / radius
    return directions


def face_positions(body: BodyModel) -> Floats:
    """Where the head's vertices lie seen from the nearer eye: outwards, back, up; metres of a face whose eyes are
    60 mm apart. Other vertices are far off. (V, 3). Brows are drawn from this."""
    left, right = (body.J_template[joint].astype(np.float64) for joint in (LEFT_EYE, RIGHT_EYE))
    apart = max(float(np.linalg.norm(left - right)), 1e-3)
    middle = axes.body_to_blender(0.5 * (left + right))
    relative = axes.body_to_blender(body.v_template) - middle
    relative[:, 0] = np.abs(relative[:, 0]) - 0.5 * apart
    on_head = body.weights[:, JOINT_INDEX["head"]] > 0.3
    return np.where(on_head[:, None], relative * (0.06 / apart), 1.0)


def add_vector_attribute(mesh: bpy.types.Mesh, name: str, vectors: Floats) -> None:
    """A vector for each vertex (V, 3), for shaders to read by name."""
    attribute = mesh.attributes.new(name, "FLOAT_VECTOR", "POINT")
    attribute.data.foreach_set("vector", np.ascontiguousarray(vectors, np.float32).ravel())


def add_scalar_attribute(mesh: bpy.types.Mesh, name: str, values: NDArray[np.floating]) -> None:
    """A number for each vertex (V,), for shaders to read by name."""
    attribute = mesh.attributes.new(name, "FLOAT", "POINT")
    attribute.data.foreach_set("value", np.ascontiguousarray(values, np.float32))


def add_skin_weights(obj: bpy.types.Object, body: BodyModel) -> Steps[None]:
    """Vertex groups by bone name, and the body's regions as `region_…`. In steps.

    Blender has no bulk call for weights: vertices of equal weight in a group are added together.
    """
    for joint, name in enumerate(JOINT_NAMES):
        group = obj.vertex_groups.new(name=name)
        column = body.weights[:, joint]
        members = np.flatnonzero(column)
        members = members[np.argsort(column[members], kind="stable")]
        values, first = np.unique(column[members], return_index=True)
        ids, bounds = members.tolist(), [*first.tolist(), len(members)]
        add = group.add
        for k, value in enumerate(values.tolist()):
            add(ids[bounds[k] : bounds[k + 1]], value, "REPLACE")
        yield MORE
    for name, members in body.vertex_groups.items():
        # Prefixed: a region called like a bone would be taken for its weights.
        obj.vertex_groups.new(name=REGION_PREFIX + name).add(members.tolist(), 1.0, "REPLACE")
