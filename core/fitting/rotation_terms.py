"""All residuals that see joints' own rotations: priors, offsets from means, limits. One logarithm serves them all.

A step of the solver is bound by the number of calls, not by what they compute: so terms of a kind are one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..priors.limits import JointLimits
from ..priors.pose import PosePrior
from ..priors.tangent import log_with_jacobian
from .banded import joint_blocks
from .residuals import robust_weight
from .state import Unknowns


@dataclass(frozen=True)
class Offsets:
    """How far K rotations are from their means: Log(mean⁻¹ R), each axis over its own σ."""

    joints: tuple[int, ...]
    mean_inverse: Tensor  # (K, 3, 3)
    inverse_sigma: Tensor  # (K, 3) 1/rad
    width: Tensor  # (K,) robust width in σ; INF is plain least squares

    @classmethod
    def join(cls, parts: Sequence[Offsets]) -> Offsets:
        """Several as one."""
        return cls(
            tuple(joint for part in parts for joint in part.joints),
            torch.cat([part.mean_inverse for part in parts]),
            torch.cat([part.inverse_sigma for part in parts]),
            torch.cat([part.width for part in parts]),
        )


@dataclass(frozen=True)
class _Placed:
    """A prior with its weight and its place among the rotations looked at and among the unknowns."""

    prior: PosePrior
    weight: float
    looked: slice
    columns: slice


class RotationTerms:
    """Terms of one stage. Priors of joints that are not solved for are left out.

    A prior's joints must be neighbours among the unknowns: its part of the normal equations is then one block.
    """

    def __init__(
        self,
        unknowns: Unknowns,
        priors: Sequence[tuple[PosePrior, float]],
        offsets: Offsets,
        limits: JointLimits | None,
        limit_weight: Tensor,
    ) -> None:
        like = offsets.mean_inverse
        self.unknowns, self.limits = unknowns, limits
        self.priors: list[_Placed] = []
        looked: list[int] = []
        for prior, weight in priors:
            columns = unknowns.joint_columns(prior.joints)
            if min(columns) < 0:
                continue
            assert columns == [*range(columns[0], columns[0] + 3 * len(columns), 3)], "joints lie apart"
            start = len(looked)
            looked += prior.joints
            place = slice(columns[0], columns[0] + 3 * len(columns))
            self.priors.append(_Placed(prior, weight, slice(start, len(looked)), place))
        self.offsets_from = len(looked)
        looked += offsets.joints
        identity = torch.eye(3).to(like).expand(self.offsets_from, 3, 3)
        self.mean_inverse = torch.cat([identity, offsets.mean_inverse])
        self.inverse_sigma, self.width = offsets.inverse_sigma, offsets.width
        limited = limits.joints if limits is not None else ()
        self.limit_weight = limit_weight[:, None]
        places = [column // 3 for column in unknowns.joint_columns(offsets.joints + limited)]
        self.looked = torch.tensor(looked, device=like.device, dtype=torch.long)
        self.limited = torch.tensor(limited, device=like.device, dtype=torch.long)
        self.places = torch.tensor(places, device=like.device, dtype=torch.long)

    def add(self, rotmats: Tensor, hessian: Tensor, gradient: Tensor) -> Tensor:
        """Add to the normal equations in place; local rotations (N, 55, 3, 3) → cost (N,)."""
        vector, inner = log_with_jacobian(self.mean_inverse @ rotmats.index_select(1, self.looked))
        cost = vector.new_zeros(len(vector))
        for placed in self.priors:
            r, j = placed.prior.from_tangent(vector[:, placed.looked], inner[:, placed.looked])
            r, j = r * placed.weight, j * placed.weight
            cost = cost + (r * r).sum(-1)
            transposed = j.transpose(1, 2)
            hessian[:, placed.columns, placed.columns] += transposed @ j
            gradient[:, placed.columns] += (transposed @ r[..., None])[..., 0]
        residual = vector[:, self.offsets_from :] * self.inverse_sigma
        jacobian = inner[:, self.offsets_from :] * self.inverse_sigma[..., None]
        value, weight = robust_weight((residual * residual).sum(-1), self.width)
        cost = cost + value.sum(-1)
        residual = residual * weight[..., None]
        weighted = jacobian * weight[..., None, None]
        if self.limits is not None:
            r, j = self.limits.blocks(rotmats.index_select(1, self.limited))
            r, j = r * self.limit_weight, j * self.limit_weight[..., None]
            cost = cost + (r * r).sum((-1, -2))
            residual, jacobian = torch.cat([residual, r], 1), torch.cat([jacobian, j], 1)
            weighted = torch.cat([weighted, j], 1)
        transposed = jacobian.transpose(-1, -2)
        count = len(self.unknowns.joints)
        pulls = gradient[:, : 3 * count].unflatten(1, (count, 3))
        pulls.index_add_(1, self.places, (transposed @ residual[..., None])[..., 0])
        joint_blocks(hessian, count).index_add_(1, self.places, transposed @ weighted)
        return cost
