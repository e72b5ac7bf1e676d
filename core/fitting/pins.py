"""A correction by hand as a problem: pins that hold exactly, and everything else stays near where it was.

All soft terms are differences from the pose before, so that a pose whose pins are met already does not move at all:

* stay: each joint's rotation, its own σ (shoulders turn easily, spines do not), and the body's place;
* likeness: the pose prior's covariance measures the change, so that joints move together as people's do;
* limits: how far a joint goes beyond its range more than it did;
* hold: points seen in the picture stay where the body shows them, robustly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..body.model import VirtualPoints
from ..priors.limits import JointLimits
from ..priors.pose import PosePrior
from .kinematics import Chain, PointTable, Skeleton, pose_chain
from .problem import add_blocks
from .residuals import reprojection, robust_weight, rotation_offset
from .solver import Linearisation
from .state import BodyState, Unknowns, at_bounds, retract

TRUNK = frozenset({0, 3, 6, 9})  # pelvis and spine


@dataclass(frozen=True)
class Pins:
    """P pinned points: the first Q of them in the picture, the others in space."""

    carriers: VirtualPoints  # P points of the body
    image_px: Tensor  # (Q, 2)
    places: Tensor  # (P − Q, 3) camera frame, metres


@dataclass(frozen=True)
class Holds:
    """Points that should stay where they are in the picture."""

    carriers: VirtualPoints
    image_px: Tensor  # (H, 2)
    inverse_sigma: Tensor  # (H,) 1/px
    robust_width: Tensor  # (H,) in σ: how far one holds on before it lets go


@dataclass(frozen=True)
class Stay:
    """How easily each unknown leaves the reference; σ as tensors."""

    rotation: Tensor  # (55,) radians
    transl: Tensor  # (3,) metres
    expression: float
    prior: tuple[PosePrior, float] | None
    liken: frozenset[int]  # joints that move together as the prior says; the others do not answer to them
    absolute_prior: bool  # True: draw to likely poses; False: only measure the change as the prior does
    limits: JointLimits | None  # of the joints that are solved for
    limit: float  # 1/rad


class PinProblem:
    """Pins and what resists them, for a batch of N states that share one reference.

    `pin_px`, `pin_m`: σ of the pins while the solver's penalty method runs; `constraints` gives them unweighted.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        reference: BodyState,
        principal: Tensor,
        unknowns: Unknowns,
        pins: Pins,
        holds: Holds,
        stay: Stay,
        pin_px: float,
        pin_m: float,
        bounded: bool,
    ) -> None:
        self.skeleton, self.reference, self.unknowns, self.bounded = skeleton, reference, unknowns, bounded
        self.principal, self.pins, self.holds, self.stay = principal, pins, holds, stay
        like = reference.transl
        if len(pins.carriers.template):
            self.pin_table = PointTable.of(skeleton, pins.carriers, unknowns.joints)
        self.hold_table = PointTable.of(skeleton, holds.carriers, unknowns.joints)
        flat, deep = len(pins.image_px), len(pins.places)
        self.pin_weight = torch.cat([like.new_full((2 * flat,), 1 / pin_px), like.new_full((3 * deep,), 1 / pin_m)])
        self.free = list(unknowns.joints)
        self.mean_inverse = reference.rotmats[0, self.free].transpose(-1, -2)
        self.stay_inverse_sigma = (1 / stay.rotation[self.free])[:, None].expand(-1, 3)
        self.columns = self.columns_of(self.free)
        self.diagonal = like.new_zeros(unknowns.size)
        if unknowns.transl:
            self.diagonal[unknowns.transl_at : unknowns.transl_at + 3] = stay.transl**-2
        self.diagonal[unknowns.expression_at :] = stay.expression**-2
        self.limits = stay.limits
        if self.limits is not None:
            self.limited = list(self.limits.joints)
            self.limit_columns = self.columns_of(self.limited)
            self.limits_before = self.limits.blocks(reference.rotmats[:, self.limited])[0]
        self._set_prior()

    def columns_of(self, joints: Sequence[int]) -> Tensor:
        """(K, 3) where the tangents of joints are among the unknowns."""
        firsts = torch.tensor(self.unknowns.joint_columns(tuple(joints)), dtype=torch.long)
        return (firsts[:, None] + torch.arange(3)).to(self.reference.transl.device)

    def _set_prior(self) -> None:
        self.prior_before = self.reference.transl.new_zeros(())
        self.prior_target = torch.zeros(0, dtype=torch.long)
        if self.stay.prior is None:
            return
        prior = self.stay.prior[0]
        firsts = [
            first if joint in self.stay.liken else -1
            for joint, first in zip(prior.joints, self.unknowns.joint_columns(prior.joints), strict=True)
        ]
        self.prior_rows = [i for i, first in enumerate(firsts) if first >= 0]
        self.prior_source = [3 * i + k for i in self.prior_rows for k in range(3)]
        self.prior_target = torch.tensor([firsts[i] + k for i in self.prior_rows for k in range(3)]).long()
        self.prior_rest = self.reference.rotmats[:, list(prior.joints)]
        if not self.stay.absolute_prior:
            self.prior_before = prior.residual(self.prior_rest)[0]

    # --- what the solver asks -------------------------------------------------------------------------------

    def linearise(self, state: BodyState) -> Linearisation:
        """Soft terms and weighted pins."""
        chain = pose_chain(self.skeleton, state)
        soft = self._soft(chain, state)
        residual, jacobian = self._constraints(chain, state)
        residual, jacobian = residual * self.pin_weight, jacobian * self.pin_weight[:, None]
        transposed = jacobian.transpose(1, 2)
        return Linearisation(
            soft.cost + (residual * residual).sum(-1),
            soft.hessian + transposed @ jacobian,
            soft.gradient + (transposed @ residual[..., None])[..., 0],
        )

    def move(self, state: BodyState, step: Tensor) -> BodyState:
        """A step on the manifold; ARKit weights stay in 0…1."""
        return retract(state, step, self.unknowns, self.bounded)

    def held(self, state: BodyState, gradient: Tensor) -> Tensor | None:
        """Expression weights that sit on a bound and would leave it."""
        return at_bounds(state, gradient, self.unknowns) if self.bounded else None

    # --- parts ----------------------------------------------------------------------------------------------

    def constraints(self, state: BodyState) -> tuple[Tensor, Tensor]:
        """How far the pins are from being met (N, 2Q + 3(P − Q)), px and metres, and the derivative by the unknowns."""
        return self._constraints(pose_chain(self.skeleton, state), state)

    def soft(self, state: BodyState) -> Linearisation:
        """All but the pins."""
        return self._soft(pose_chain(self.skeleton, state), state)

    def _constraints(self, chain: Chain, state: BodyState) -> tuple[Tensor, Tensor]:
        n, count = len(state.transl), len(self.pins.image_px)
        if not len(self.pin_weight):
            return state.transl.new_zeros(n, 0), state.transl.new_zeros(n, 0, self.unknowns.size)
        moving = self.pin_table.differentiate(chain, self.unknowns)
        flat, deep = torch.arange(count), torch.arange(count, moving.positions.shape[1])
        residuals, rows = [], []
        if len(flat):
            one = state.transl.new_ones(count)
            r, by_point, _ = reprojection(
                moving.positions[:, :count], state.log_focal, self.principal, self.pins.image_px, one
            )
            residuals.append(r.reshape(n, -1))
            rows.append(moving.take(flat).rows(by_point, self.unknowns).reshape(n, -1, self.unknowns.size))
        if len(deep):
            residuals.append((moving.positions[:, count:] - self.pins.places).reshape(n, -1))
            eye = torch.eye(3, dtype=state.transl.dtype, device=state.transl.device).expand(n, len(deep), 3, 3)
            rows.append(moving.take(deep).rows(eye, self.unknowns).reshape(n, -1, self.unknowns.size))
        return torch.cat(residuals, 1), torch.cat(rows, 1)

    def _soft(self, chain: Chain, state: BodyState) -> Linearisation:
        n, size = len(state.transl), self.unknowns.size
        cost, hessian, gradient = self._hold(chain, state)
        rotmats = state.rotmats
        if self.free:
            blocks = rotation_offset(rotmats[:, self.free], self.mean_inverse, self.stay_inverse_sigma)
            cost = cost + add_blocks(hessian, gradient, *blocks, self.columns)
        if self.stay.prior is not None and len(self.prior_target):
            prior, weight = self.stay.prior
            mixed = self.prior_rest.repeat(n, 1, 1, 1)
            mixed[:, self.prior_rows] = rotmats[:, [prior.joints[i] for i in self.prior_rows]]
            r, j = prior.residual(mixed)
            r, j = (r - self.prior_before) * weight, j[..., self.prior_source] * weight
            cost = cost + (r * r).sum(-1)
            hessian[:, self.prior_target[:, None], self.prior_target] += j.transpose(1, 2) @ j
            gradient[:, self.prior_target] += (j.transpose(1, 2) @ r[..., None])[..., 0]
        if self.limits is not None:
            r, j = self.limits.blocks(rotmats[:, self.limited])
            weight = self.stay.limit
            cost = cost + add_blocks(
                hessian, gradient, (r - self.limits_before) * weight, j * weight, self.limit_columns
            )
        change = state.transl.new_zeros(n, size)
        if self.unknowns.transl:
            change[:, self.unknowns.transl_at : self.unknowns.transl_at + 3] = state.transl - self.reference.transl
        if self.unknowns.num_expressions:
            change[:, self.unknowns.expression_at :] = state.expression - self.reference.expression
        cost = cost + (self.diagonal * change * change).sum(-1)
        torch.diagonal(hessian, dim1=-2, dim2=-1).add_(self.diagonal)
        return Linearisation(cost, hessian, gradient + self.diagonal * change)

    def _hold(self, chain: Chain, state: BodyState) -> tuple[Tensor, Tensor, Tensor]:
        n, size = len(state.transl), self.unknowns.size
        if not len(self.holds.image_px):
            like = state.transl
            return like.new_zeros(n), like.new_zeros(n, size, size), like.new_zeros(n, size)
        moving = self.hold_table.differentiate(chain, self.unknowns)
        r, by_point, _ = reprojection(
            moving.positions, state.log_focal, self.principal, self.holds.image_px, self.holds.inverse_sigma
        )
        value, weight = _robust(r, self.holds.robust_width)
        root = weight.sqrt()[..., None]
        j = (moving.rows(by_point, self.unknowns) * root[..., None]).reshape(n, -1, size)
        transposed = j.transpose(1, 2)
        return value.sum(-1), transposed @ j, (transposed @ (r * root).reshape(n, -1, 1))[..., 0]


def _robust(residual: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Geman–McClure with a width for each point: value and weight (N, H) of residuals (N, H, 2)."""
    value, weight = robust_weight((residual * residual).sum(-1) / width**2, 1.0)
    return value * width**2, weight


def meet(problem: PinProblem, state: BodyState, steps: int, close: float, max_turn_rad: float = 0.4) -> BodyState:
    """Move onto the pins (N = 1): Newton's steps on the soft terms H, g with the pins c, J as equations.

    A step δ solves H δ + g + Jᵀλ = 0 with J δ = −c. Where that is slow, as with a limb at full stretch, which turns
    without getting longer, g is left out and turning that limb is made dearer from step to step, until trunk and place
    give way. It ends when no pin is off by more than `close` px (a millimetre counts as a px) or after `steps`; the
    state is the one that came nearest, which for pins that contradict each other is not on them.
    """
    scale = torch.ones_like(problem.pin_weight)
    scale[2 * len(problem.pins.image_px) :] = 1000.0
    limbs = [joint for joint in problem.unknowns.joints if joint in problem.stay.liken and joint not in TRUNK]
    turning = problem.columns_of(limbs).flatten()
    best, least, before, dear = state, float("inf"), float("inf"), 0.0
    for count in range(steps + 1):
        c, j = problem.constraints(state)
        c, j = c * scale, j * scale[:, None]
        off = float(c.abs().max()) if c.numel() else 0.0
        if off < least:
            best, least = state, off
        if off <= close or count == steps:
            break
        if off > 0.3 * before:
            dear = max(8.0 * dear, 1.0)
        before = off
        soft = problem.soft(state)
        hessian, gradient = soft.hessian, soft.gradient * (dear == 0.0)
        held = problem.held(state, gradient if dear == 0.0 else _pull(j, c))
        if held is not None:
            free = (~held).to(hessian.dtype)
            hessian = hessian * (free[:, :, None] * free[:, None, :])
            torch.diagonal(hessian, dim1=-2, dim2=-1).add_(1 - free)
            gradient, j = gradient * free, j * free[:, None]
        diagonal = torch.diagonal(hessian, dim1=-2, dim2=-1)
        extra = 1e-9 * (diagonal + 1)
        extra[:, turning] += dear * diagonal[:, turning]
        step = _constrained_step(hessian + torch.diag_embed(extra), gradient, c, j)
        if not bool(torch.isfinite(step).all()):
            break
        longest = float(step.abs().max())
        state = problem.move(state, step * min(1.0, max_turn_rad / max(longest, 1e-12)))
    return best


def _constrained_step(hessian: Tensor, gradient: Tensor, c: Tensor, j: Tensor) -> Tensor:
    """δ (1, n) of H δ + g + Jᵀλ = 0, J δ = −c; of pins that contradict each other the least squares."""
    factor = torch.linalg.cholesky_ex(hessian)[0]
    by_rows = torch.cholesky_solve(j.transpose(1, 2), factor)
    by_gradient = torch.cholesky_solve(gradient[..., None], factor)
    schur = j @ by_rows
    diagonal = torch.diagonal(schur, dim1=-2, dim2=-1)
    schur = schur + torch.diag_embed(1e-9 * diagonal.amax(-1, keepdim=True).expand_as(diagonal) + 1e-12)
    multipliers = torch.linalg.solve(schur, c[..., None] - j @ by_gradient)
    step: Tensor = -(by_gradient + by_rows @ multipliers)[..., 0]
    return step


def _pull(j: Tensor, c: Tensor) -> Tensor:
    """The gradient of the pins alone, which tells what a bound must hold."""
    return (j.transpose(1, 2) @ c[..., None])[..., 0]
