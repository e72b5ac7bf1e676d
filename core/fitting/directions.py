"""Directions that are rigid in a joint's frame, and where they should point: what a regressor says of limbs, and that
people stand upright.

A turn θ of a joint above moves such a direction d by θ × d, wherever the joint is. So in the camera's axes all joints
above it have the same derivative, and the normal equations are sums over directions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .kinematics import Chain, Skeleton
from .residuals import robust_weight
from .state import Unknowns


@dataclass(frozen=True)
class Directions:
    """K directions."""

    joints: Tensor  # (K,) whose frame they are rigid in
    rest: Tensor  # (K, 3) unit, in the T-pose
    seen: Tensor  # (K, 3) unit, camera frame: where they should point
    inverse_sigma: Tensor  # (K,) 1/rad
    width: Tensor  # (K,) robust width in σ

    @classmethod
    def join(cls, parts: Sequence[Directions]) -> Directions:
        """Several as one."""
        names = ("joints", "rest", "seen", "inverse_sigma", "width")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def direction_offset(
    direction: Tensor, seen: Tensor, inverse_sigma: Tensor, width: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Unit directions less those that they should be, robustly, by turns in the camera's axes.

    direction (N, K, 3); seen (K, 3); inverse_sigma (K,) 1/rad; width (K,) in σ → cost (N, K), and the normal equations
    of a turn θ that moves d by θ × d: JᵀWJ (N, K, 3, 3), JᵀWr (N, K, 3).
    """
    residual = (direction - seen) * inverse_sigma[..., None]
    value, weight = robust_weight((residual * residual).sum(-1), width)
    strength = weight * inverse_sigma
    pull = torch.linalg.cross(direction, residual) * strength[..., None]
    square = -(direction[..., :, None] * direction[..., None, :])
    square.diagonal(dim1=-2, dim2=-1).add_(1.0)
    return value, square * (strength * inverse_sigma)[..., None, None], pull


class DirectionTerms:
    """Directions with which of the joints that are solved for turn them. They hang on the first joints alone."""

    def __init__(self, skeleton: Skeleton, unknowns: Unknowns, directions: Directions) -> None:
        self.directions = directions
        self.count = len(unknowns.joints)
        last = int(directions.joints.max())
        self.turning = sum(joint <= last for joint in unknowns.joints)
        joints = torch.tensor(unknowns.joints[: self.turning], device=directions.joints.device)
        self.below = skeleton.ancestors[directions.joints][:, joints]  # (K, A')
        self.pairs = (self.below[:, :, None] * self.below[:, None]).flatten(1)  # (K, A'²)

    def add(self, chain: Chain, equations: Tensor) -> Tensor:
        """Add to equations (N, n + 1, n + 1) by turns in the camera's axes, in place; the cost (N,).

        Rows and columns are as `MovingPoints.rows` orders them, the last column the gradient.
        """
        d, count, turning = self.directions, self.count, self.turning
        direction = (chain.globals.index_select(1, d.joints) @ d.rest[..., None])[..., 0]
        value, square, pull = direction_offset(direction, d.seen, d.inverse_sigma, d.width)
        n = len(direction)
        squares = (square.flatten(2).transpose(1, 2) @ self.pairs).reshape(n, 3, 3, turning, turning)
        corner = equations[:, : 3 * count, : 3 * count].unflatten(1, (3, count)).unflatten(3, (3, count))
        corner[:, :, :turning, :, :turning].add_(squares.transpose(2, 3))
        pulls = equations[:, : 3 * count, -1].unflatten(1, (3, count))
        pulls[:, :, :turning].add_(pull.transpose(1, 2) @ self.below)
        return value.sum(-1)
