"""A body model in the SMPL-X parametrisation, as plain numpy arrays.

This module imports numpy only, so that Blender can read a body without the solver's packages. Posing lives
in `core.body.skinning` (torch); reading of licensed files in `core.body.licensed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class PointSet:
    """Points that a detector sees, attached to a body. N points.

    A point is on the surface (`vertex_ids`, `barycentric`) where `joint_ids` is -1, else rigid in a joint's
    frame: at joint + `offsets` + `offset_dirs` @ betas in the rest pose (axes of the T-pose, metres).
    """

    names: tuple[str, ...]
    joint_ids: IntArray  # (N,) -1 for a surface point
    offsets: Array  # (N, 3) metres
    offset_dirs: Array  # (N, 3, B) metres for a unit of each beta
    vertex_ids: IntArray  # (N, 3) zeros for a joint point
    barycentric: Array  # (N, 3) zeros for a joint point
    sigma_m: Array  # (N,) how well the point was calibrated: residual spread, metres
    usable: NDArray[np.bool_]  # (N,) False where calibration did not agree; the fit leaves these out


@dataclass(frozen=True)
class VirtualPoints:
    """Points as skinned vertices of their own: the one form that the solver evaluates. N points."""

    template: Array  # (N, 3)
    shapedirs: Array  # (N, 3, B)
    exprdirs: Array  # (N, 3, E)
    weights: Array  # (N, 55)

    def take(self, index: NDArray[np.integer[Any]]) -> VirtualPoints:
        """Some of the points, in the order of `index`."""
        return VirtualPoints(self.template[index], self.shapedirs[index], self.exprdirs[index], self.weights[index])

    @classmethod
    def join(cls, parts: Sequence[VirtualPoints]) -> VirtualPoints:
        """The points of all parts, of which there is at least one."""
        names = ("template", "shapedirs", "exprdirs", "weights")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, eq=False)  # two are the same if they are one object: caches go by that
class BodyModel:
    """A body in the SMPL-X format. V vertices, F triangles, B shape and E expression components.

    Frame: SMPL (x to the person's left, y up, z forward), metres, rest pose T. `betas` are in units of one
    standard deviation. Joints are linear in betas and expression: J = J_template + J_shapedirs @ betas + …
    """

    body_id: str  # "free" or e.g. "smplx-neutral"
    gender: str
    surface_model_type: str  # "smplx"
    v_template: Array  # (V, 3)
    faces: IntArray  # (F, 3)
    shapedirs: Array  # (V, 3, B)
    exprdirs: Array  # (V, 3, E)
    posedirs: Array  # (V, 3, P) the columns named by posedirs_features
    posedirs_features: IntArray  # (P,) indices into the 486 entries of (R - I) of joints 1…54, row-major
    weights: Array  # (V, 55)
    J_template: Array  # (55, 3)
    J_shapedirs: Array  # (55, 3, B)
    J_exprdirs: Array  # (55, 3, E)
    hands_mean: Array  # (2, 45) left, right; axis-angle
    hands_components: Array  # (2, C, 45) a component a row
    expression_names: tuple[str, ...]
    bounded_expression: bool  # True: components live in 0…1 (ARKit); False: unbounded (SMPL-X)
    quads: IntArray  # (Q, 4); -1 in the last column of a triangle
    uv_coords: Array  # (T, 2)
    quad_uvs: IntArray  # (Q, 4) indices into uv_coords; -1 as in quads. T = 0: the body has no UVs
    material_names: tuple[str, ...]
    material_ids: NDArray[np.uint8]  # (Q,)
    vertex_groups: dict[str, IntArray] = field(default_factory=dict)  # named regions: vertex indices
    points: dict[str, PointSet] = field(default_factory=dict)  # by the names in core.detection.vocabulary

    @property
    def num_vertices(self) -> int:
        return int(self.v_template.shape[0])

    @property
    def num_betas(self) -> int:
        return int(self.shapedirs.shape[2])

    @property
    def num_expressions(self) -> int:
        return int(self.exprdirs.shape[2])

    def virtual_points(self, point_set: PointSet) -> VirtualPoints:
        """Turn attached points into skinned vertices of their own.

        A surface point takes the barycentric mean of its triangle's skin weights, which differs from the mean
        of the posed corners by less than the triangle's size times the spread of weights in it (under 0.1 mm
        where triangles are small).
        """
        bary = point_set.barycentric
        corners = point_set.vertex_ids
        template = np.einsum("nk,nki->ni", bary, self.v_template[corners])
        shapedirs = np.einsum("nk,nkib->nib", bary, self.shapedirs[corners])
        exprdirs = np.einsum("nk,nkib->nib", bary, self.exprdirs[corners])
        weights = np.einsum("nk,nkj->nj", bary, self.weights[corners])
        rigid = point_set.joint_ids >= 0
        joints = point_set.joint_ids[rigid]
        template[rigid] = self.J_template[joints] + point_set.offsets[rigid]
        shapedirs[rigid] = self.J_shapedirs[joints] + point_set.offset_dirs[rigid]
        exprdirs[rigid] = self.J_exprdirs[joints]
        weights[rigid] = np.eye(self.weights.shape[1], dtype=np.float32)[joints]
        return VirtualPoints(
            template.astype(np.float32),
            shapedirs.astype(np.float32),
            exprdirs.astype(np.float32),
            weights.astype(np.float32),
        )
