"""Posing of a body with torch: joints only, chosen points only, or all vertices.

Linear blend skinning with pose correctives, as the SMPL-X format defines it (Loper et al., SMPL, SIGGRAPH Asia 2015,
eq. 2–9; Pavlakos et al., CVPR 2019, sec. 3.1). The kinematic chain is walked by level, all joints of a depth at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .model import BodyModel, VirtualPoints
from .skeleton import NUM_JOINTS, PARENTS, joint_levels


@dataclass(frozen=True)
class PointTensors:
    """`VirtualPoints` on a device, laid out for posing. N points."""

    template: Tensor  # (N, 3)
    shapedirs: Tensor  # (B, N * 3)
    exprdirs: Tensor  # (E, N * 3)
    weights: Tensor  # (N, 55)


class Body:
    """A `BodyModel` on a device. All methods take any leading batch dimensions, which broadcast against each other.

    betas (…, B), expression (…, E), rotmats (…, 55, 3, 3) local rotations, transl (…, 3) metres; None stands for zeros
    (identity rotations). As in `smplx`, the pelvis lies at J_0(betas) + transl and the body turns about it.
    """

    def __init__(
        self, model: BodyModel, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.model = model
        self.device = torch.device(device)
        self.dtype = dtype
        self.num_betas = model.num_betas
        self.num_expressions = model.num_expressions
        self.J_template = self._tensor(model.J_template)  # (55, 3)
        self._J_shapedirs = _flat_dirs(self._tensor(model.J_shapedirs))
        # most bodies' expressions move no joint: leave the product out then
        self._J_exprdirs = _flat_dirs(self._tensor(model.J_exprdirs)) if np.any(model.J_exprdirs) else None
        levels = joint_levels()
        order = [joint for level in levels for joint in level]
        place = {joint: i for level in levels for i, joint in enumerate(level)}
        self._order = torch.tensor(order, device=self.device)
        self._back = torch.argsort(self._order)
        ends = np.cumsum([len(level) for level in levels]).tolist()
        self._levels = [slice(start, end) for start, end in pairwise(ends)]
        self._parent_places = [
            torch.tensor([place[PARENTS[joint]] for joint in level], device=self.device) for level in levels[1:]
        ]
        self._parents = torch.tensor([max(parent, 0) for parent in PARENTS], device=self.device)
        self._mesh: PointTensors | None = None
        self._mesh_rows: tuple[Tensor, Tensor] | None = None

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.as_tensor(array).to(self.device, self.dtype)

    # ---- rest pose -------------------------------------------------------------------------------------------------

    def rest_joints(self, betas: Tensor | None = None, expression: Tensor | None = None) -> Tensor:
        """Joints of the shaped body in the rest pose, (…, 55, 3) metres."""
        joints = self.J_template
        if betas is not None:
            joints = joints + _dirs(betas, self._J_shapedirs)
        if expression is not None and self._J_exprdirs is not None:
            joints = joints + _dirs(expression, self._J_exprdirs)
        return joints

    def rest_points(
        self, points: PointTensors, betas: Tensor | None = None, expression: Tensor | None = None
    ) -> Tensor:
        """Chosen points of the shaped body in the rest pose, without pose correctives, (…, N, 3)."""
        rest = points.template
        if betas is not None:
            rest = rest + _dirs(betas, points.shapedirs)
        if expression is not None:
            rest = rest + _dirs(expression, points.exprdirs)
        return rest

    # ---- kinematic chain -------------------------------------------------------------------------------------------

    def chain(self, rest_joints: Tensor, rotmats: Tensor | None, transl: Tensor | None) -> tuple[Tensor, Tensor]:
        """World rotations (…, 55, 3, 3) and positions (…, 55, 3) of all joints."""
        if rotmats is None:
            rotmats = torch.eye(3, device=self.device, dtype=self.dtype).expand(NUM_JOINTS, 3, 3)
        root = rest_joints[..., :1, :]
        offsets = torch.cat([root, (rest_joints - rest_joints[..., self._parents, :])[..., 1:, :]], dim=-2)
        if transl is not None:
            moved = root + transl[..., None, :]
            rest = offsets[..., 1:, :]
            lead = np.broadcast_shapes(moved.shape[:-2], rest.shape[:-2])
            offsets = torch.cat([moved.expand(*lead, 1, 3), rest.expand(*lead, NUM_JOINTS - 1, 3)], dim=-2)
        lead = np.broadcast_shapes(offsets.shape[:-2], rotmats.shape[:-3])
        local = torch.cat(
            [rotmats.expand(*lead, NUM_JOINTS, 3, 3), offsets.expand(*lead, NUM_JOINTS, 3)[..., None]], dim=-1
        )[..., self._order, :, :]  # (…, 55, 3, 4), by level
        world = [local[..., :1, :, :]]
        for places, level in zip(self._parent_places, self._levels, strict=True):
            part = local[..., level, :, :]
            above = world[-1][..., places, :, :]
            product = above[..., :3] @ part
            world.append(torch.cat([product[..., :3], product[..., 3:] + above[..., 3:]], dim=-1))
        ordered = torch.cat(world, dim=-3)[..., self._back, :, :]
        return ordered[..., :3], ordered[..., 3]

    def joints(
        self,
        betas: Tensor | None = None,
        expression: Tensor | None = None,
        rotmats: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> Tensor:
        """Posed joints, (…, 55, 3) metres."""
        return self.chain(self.rest_joints(betas, expression), rotmats, transl)[1]

    # ---- surface ---------------------------------------------------------------------------------------------------

    def point_tensors(self, points: VirtualPoints) -> PointTensors:
        """Bring points to the device once, for many calls of `points`."""
        return PointTensors(
            template=self._tensor(points.template),
            shapedirs=_flat_dirs(self._tensor(points.shapedirs)),
            exprdirs=_flat_dirs(self._tensor(points.exprdirs)),
            weights=self._tensor(points.weights),
        )

    def points(
        self,
        points: PointTensors | VirtualPoints,
        betas: Tensor | None = None,
        expression: Tensor | None = None,
        rotmats: Tensor | None = None,
        transl: Tensor | None = None,
    ) -> Tensor:
        """Posed points, (…, N, 3) metres. Pose correctives are left out: they reach no point that a detector sees."""
        if isinstance(points, VirtualPoints):
            points = self.point_tensors(points)
        rest_joints = self.rest_joints(betas, expression)
        world = self.chain(rest_joints, rotmats, transl)
        return _skin(self.rest_points(points, betas, expression), points.weights, rest_joints, *world)

    def vertices(
        self,
        betas: Tensor | None = None,
        expression: Tensor | None = None,
        rotmats: Tensor | None = None,
        transl: Tensor | None = None,
        pose_correctives: bool = True,
    ) -> Tensor:
        """The whole posed surface, (…, V, 3) metres."""
        mesh = self._mesh_tensors()
        rest_joints = self.rest_joints(betas, expression)
        world = self.chain(rest_joints, rotmats, transl)
        rest = self.rest_points(mesh, betas, expression)
        if pose_correctives and rotmats is not None:
            rest = self.add_pose_correctives(rest, rotmats)
        return _skin(rest, mesh.weights, rest_joints, *world)

    def add_pose_correctives(self, rest: Tensor, rotmats: Tensor) -> Tensor:
        """Add the pose-dependent offsets to the whole surface in the rest pose, (…, V, 3)."""
        if self._mesh_rows is None:
            rows = np.flatnonzero(np.abs(self.model.posedirs).max(axis=(1, 2), initial=0.0) > 0.0)
            dirs = _flat_dirs(self._tensor(self.model.posedirs[rows]))
            self._mesh_rows = torch.as_tensor(rows, device=self.device), dirs
        rows_moved, dirs = self._mesh_rows
        if dirs.numel() == 0:
            return rest
        eye = torch.eye(3, device=self.device, dtype=self.dtype)
        features = (rotmats[..., 1:, :, :] - eye).flatten(-3)[..., self._features()]
        offsets = _dirs(features, dirs)
        lead = np.broadcast_shapes(rest.shape[:-2], offsets.shape[:-2])
        offsets = offsets.expand(*lead, *offsets.shape[-2:])
        return rest.expand(*lead, *rest.shape[-2:]).index_add(-2, rows_moved, offsets)

    def _features(self) -> Tensor:
        return torch.as_tensor(self.model.posedirs_features, device=self.device).long()

    def _mesh_tensors(self) -> PointTensors:
        if self._mesh is None:
            model = self.model
            self._mesh = self.point_tensors(
                VirtualPoints(model.v_template, model.shapedirs, model.exprdirs, model.weights)
            )
        return self._mesh


def _flat_dirs(dirs: Tensor) -> Tensor:
    """(N, 3, C) → (C, N * 3), so that a batch of coefficients is one matrix product."""
    return dirs.permute(2, 0, 1).reshape(dirs.shape[2], 3 * dirs.shape[0]).contiguous()


def _dirs(coefficients: Tensor, flat: Tensor) -> Tensor:
    """Offsets (…, N, 3) of coefficients (…, C); fewer coefficients than components leave the last at zero."""
    offsets = coefficients @ flat[: coefficients.shape[-1]]
    return offsets.reshape(*offsets.shape[:-1], -1, 3)


def _skin(rest: Tensor, weights: Tensor, rest_joints: Tensor, rotations: Tensor, positions: Tensor) -> Tensor:
    """Linear blend skinning: Σ_j w_j (R_j (v − J_j) + p_j)."""
    shift = positions - (rotations @ rest_joints[..., None])[..., 0]
    transforms = torch.cat([rotations, shift[..., None]], dim=-1)  # (…, 55, 3, 4)
    flat = weights @ transforms.flatten(-2)
    blended = flat.reshape(*flat.shape[:-1], 3, 4)
    return (blended[..., :3] * rest[..., None, :]).sum(-1) + blended[..., 3]
