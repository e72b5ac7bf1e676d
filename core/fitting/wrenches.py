"""Normal equations of residuals at points that are rigid in one joint each, without a Jacobian: composite wrenches.

A residual that pulls at p with the covector c is a wrench (p × c, c) on the body part that carries p. What a part bears
is the sum over the parts that hang on it, and the block of two joints is what the lower one bears, read by both joints'
motions: the composite-rigid-body method (Featherstone, "Rigid Body Dynamics Algorithms", 2008, 6.2), with Σ f fᵀ in
the inertia's place. Moments are taken about an origin near the body, so that float32 does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .kinematics import Chain, Skeleton
from .state import Unknowns

_FIRST, _SECOND = torch.triu_indices(7, 7)[:, :-1].unbind()  # pairs of the six components and the residual
_PLACE = torch.zeros(6, 6, dtype=torch.long)
for _pair, (_i, _j) in enumerate(zip(_FIRST.tolist(), _SECOND.tolist(), strict=True)):
    if _j < 6:
        _PLACE[_i, _j] = _PLACE[_j, _i] = _pair
_PULL = torch.nonzero(_SECOND == 6).flatten()


@dataclass(frozen=True)
class Tree:
    """Which of the A joints that are solved for carry what, the body's place counting as one more, above all."""

    joints: Tensor  # (A,)
    travel: bool
    above: Tensor  # (3 A', 3 A') 1 where the row's joint is above the column's, ½ for itself
    ancestors: Tensor  # (55, A') 1 where column is row's ancestor or itself

    @classmethod
    def of(cls, skeleton: Skeleton, unknowns: Unknowns) -> Tree:
        """What of the chain the unknowns move; `transl`, where it is unknown, is a joint above all others."""
        joints = torch.tensor(unknowns.joints, device=skeleton.parents.device, dtype=torch.long)
        ancestors = skeleton.ancestors[:, joints]
        above = ancestors[joints].T
        if unknowns.transl:
            ancestors = torch.cat([ancestors, torch.ones_like(ancestors[:, :1])], 1)
            count = len(joints)
            whole = above.new_zeros(count + 1, count + 1)
            whole[:count, :count], whole[count] = above, 1
            above = whole
        above = above - 0.5 * torch.diag(torch.diagonal(above))
        return cls(joints, unknowns.transl, above.repeat_interleave(3, 0).repeat_interleave(3, 1), ancestors)

    def motions(self, chain: Chain, origin: Tensor) -> Tensor:
        """How each unknown moves a point, as seen by a wrench about `origin` (N, 3): (N, A', 6, 3)."""
        turn = chain.globals[:, self.joints]
        arm = chain.joints[:, self.joints] - origin[:, None]
        count = len(self.joints)
        out = turn.new_zeros(len(turn), self.ancestors.shape[1], 6, 3)
        out[:, :count, :3] = turn
        # x × θ for θ = G ω, column by column.
        out[:, :count, 3:] = torch.linalg.cross(arm[..., None].expand_as(turn), turn, dim=2)
        if self.travel:
            out[:, count, 3:] = torch.eye(3, dtype=turn.dtype, device=turn.device)
        return out

    def carried(self, bones: Tensor) -> Tensor:
        """(A', P) 1 where a part `bones` (P,) hangs on what is solved for."""
        return self.ancestors[bones].T.contiguous()


def normal_equations(tree: Tree, motions: Tensor, wrenches: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
    """JᵀJ (N, n, n) and Jᵀr (N, n) of R residuals, n = 3 A'.

    motions (N, A', 6, 3); wrenches (N, R, 7): moment, force and the residual itself; carried (A', R).
    """
    n, count = motions.shape[:2]
    device = wrenches.device
    # Components before rows: picking them out is then a copy of whole rows.
    parts = wrenches.transpose(1, 2).contiguous()
    products = parts.index_select(1, _FIRST.to(device)) * parts.index_select(1, _SECOND.to(device))
    borne = (products @ carried.T).transpose(1, 2)  # (N, A', 27)
    inertia = borne.index_select(2, _PLACE.to(device).flatten()).reshape(n, count, 6, 6)
    pulled = (inertia @ motions).transpose(1, 2).reshape(n, 6, 3 * count)
    columns = motions.permute(0, 1, 3, 2).reshape(n, 3 * count, 6)
    upper = (columns @ pulled).mul_(tree.above)
    gradient = (motions * borne.index_select(2, _PULL.to(device))[..., None]).sum(2).reshape(n, -1)
    return upper + upper.transpose(1, 2), gradient


def rows_of(motions: Tensor, wrenches: Tensor, carried: Tensor) -> Tensor:
    """The Jacobian's rows (N, R, n) of wrenches (N, R, 6) on parts, carried (A', R)."""
    n, count = motions.shape[:2]
    rows = wrenches @ motions.transpose(1, 2).reshape(n, 6, 3 * count)
    return rows.mul_(carried.T.repeat_interleave(3, 1))


def wrenches_at(arms: Tensor, covectors: Tensor, residual: Tensor | None = None) -> Tensor:
    """Wrenches of rows of residuals: arms (N, P, 3) from the origin, covectors (N, P, R, 3), residual (N, P, R) →
    (N, P R, 7), or 6 without residuals."""
    moment = torch.linalg.cross(arms[:, :, None].expand_as(covectors), covectors)
    parts = [moment, covectors] if residual is None else [moment, covectors, residual[..., None]]
    return torch.cat(parts, -1).flatten(1, 2)


def moments_of(moments: Tensor, residual: Tensor) -> Tensor:
    """Wrenches without a force, of residuals (N, R) that only turning changes: moments (N, R, 3) → (N, R, 7)."""
    return torch.cat([moments, torch.zeros_like(moments), residual[..., None]], -1)
