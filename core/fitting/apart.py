"""Parts that overlap where a fit has ended are moved apart, for little more than it costs to look at overlap alone.

Hands come out of thighs by many steps, each with other parts touching, while all else that a fit asks for hardly bends
on the way. So all else is one quadratic around where the fit is, and steps that look anew at nothing but overlap and
joint limits, which start suddenly, are made in it. Who moved far is looked at as a whole again, and keeps the move if
it is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .banded import joint_blocks
from .collision import NearPairs
from .kinematics import pose_chain
from .problem import StageProblem
from .settings import FitSettings
from .solver import Linearisation, Solution, SolverSettings, Stop, foretold, solve
from .state import BodyState


@dataclass(frozen=True)
class Displaced(BodyState):
    """A state, and the sum of the steps that led to it: to first order where it lies in a quadratic."""

    by: Tensor  # (N, n)

    @classmethod
    def of(cls, state: BodyState, by: Tensor) -> Displaced:
        """A state with a sum of steps."""
        return cls(state.rotmats, state.transl, state.log_focal, state.betas, state.expression, by)

    def where(self, condition: Tensor, other: BodyState) -> Displaced:
        """Of N bodies: this one where `condition` (N,) holds, else the other, with how far each has gone."""
        assert isinstance(other, Displaced)
        return Displaced.of(super().where(condition, other), torch.where(condition[:, None], self.by, other.by))

    def plain(self) -> BodyState:
        """Without it."""
        return BodyState(self.rotmats, self.transl, self.log_focal, self.betas, self.expression)


class NearEnd:
    """Overlap of near pairs and joint limits beside a quadratic: the rest of a problem, as it is around a state."""

    def __init__(
        self, rest: StageProblem, state: BodyState, around: Linearisation, near: NearPairs, sigma_m: float
    ) -> None:
        self.rest, self.near, self.sigma_m = rest, near, sigma_m
        rotations = rest.rotations
        self.count, self.limits, self.limit_weight = len(rest.unknowns.joints), rotations.limits, rotations.limit_weight
        self.limit_places = rotations.places[len(rotations.places) - len(rotations.limited) :]
        self.around = Linearisation(around.cost.clone(), around.hessian.clone(), around.gradient.clone())
        if self.limits is not None:
            self.coordinates, self.inner = self.limits.coordinates(state.rotmats.index_select(1, rotations.limited))
            self._limit(self.around, self.coordinates, -1)  # what the quadratic holds of them

    def linearise(self, state: BodyState) -> Linearisation:
        """The quadratic about the place that was looked at, joint limits as they are, and the overlap."""
        assert isinstance(state, Displaced)
        now = foretold(self.around, state.by)
        now = Linearisation(now.cost, now.hessian.clone(), now.gradient)
        if self.limits is not None:
            turns = state.by[:, : 3 * self.count].unflatten(1, (self.count, 3)).index_select(1, self.limit_places)
            self._limit(now, self.coordinates + (self.inner @ turns[..., None])[..., 0], 1)
        return with_overlap(now, self.rest, state, self.near, self.sigma_m)

    def _limit(self, equations: Linearisation, coordinates: Tensor, sign: int) -> None:
        """Add or take away, in place, what joint limits ask at these coordinates (N, K, 3)."""
        assert self.limits is not None
        r, j = self.limits.beyond(coordinates, self.inner)
        r, j = r * self.limit_weight, j * self.limit_weight[..., None]
        transposed = j.transpose(-1, -2)
        equations.cost.add_((r * r).sum((-1, -2)), alpha=sign)
        pulls = equations.gradient[:, : 3 * self.count].unflatten(1, (self.count, 3))
        pulls.index_add_(1, self.limit_places, (transposed @ r[..., None])[..., 0], alpha=sign)
        joint_blocks(equations.hessian, self.count).index_add_(1, self.limit_places, transposed @ j, alpha=sign)

    def move(self, state: BodyState, step: Tensor) -> BodyState:
        """N states moved by steps (N, n), which are also summed."""
        assert isinstance(state, Displaced)
        moved = self.rest.move(state, step)
        assert isinstance(moved, Displaced)
        return replace(moved, by=state.by + step)

    def held(self, state: BodyState, gradient: Tensor) -> Tensor | None:
        """What the whole problem holds."""
        return self.rest.held(state, gradient)


def with_overlap(
    equations: Linearisation, rest: StageProblem, state: BodyState, near: NearPairs | None, sigma_m: float
) -> Linearisation:
    """Equations of the rest of a problem with what overlap adds to them."""
    overlap = near.overlap(pose_chain(rest.skeleton, state), rest.unknowns) if near is not None else None
    if overlap is None:
        return equations
    r, j = overlap.depth / sigma_m, overlap.jacobian / sigma_m
    transposed = j.transpose(1, 2)
    return Linearisation(
        equations.cost + (r * r).sum(-1),
        equations.hessian + transposed @ j,
        equations.gradient + (transposed @ r[..., None])[..., 0],
    )


def known_from(before: StageProblem, solution: Solution, body: int, rest: StageProblem) -> Linearisation | None:
    """The equations of `rest` where the stage before it ended for one body of its batch.

    None where that stage saw something else, or did not solve for all that `rest` does.
    """
    a, b, solved = before.unknowns, rest.unknowns, solution.linearisation
    columns = a.joint_columns(b.joints)
    names = ("sets", "robust_width", "silhouette")
    seen_alike = all(getattr(before.stage, name) == getattr(rest.stage, name) for name in names)
    if not seen_alike or min(columns) < 0 or b.focal or b.num_betas or b.num_expressions:
        return None
    chosen = [column + axis for column in columns for axis in range(3)] + [a.transl_at + axis for axis in range(3)]
    index = torch.tensor(chosen, device=solved.cost.device)
    row = slice(body, body + 1)
    return Linearisation(solved.cost[row], solved.hessian[row, index[:, None], index], solved.gradient[row, index])


def keep_apart(
    rest: StageProblem,
    start: BodyState,
    around: Linearisation | None,
    near: NearPairs,
    settings: FitSettings,
    is_cancelled: Callable[[], bool] | None = None,
) -> Solution:
    """Move the parts of one body apart, from `start`.

    rest: all else that is asked for. around: its equations there, None where they are not known. near: the pairs that
    may touch there.
    """
    s, stage = settings, rest.stage
    inner_settings = SolverSettings(stage.max_steps, stage.tolerance, trust_last=True)

    def look(at: BodyState) -> tuple[Linearisation, NearPairs | None, float]:
        """All of it anew: the equations of the rest, the pairs that may touch, and the whole cost."""
        equations = rest.linearise(at)
        pairs = near.collision.near(pose_chain(rest.skeleton, at), s.collision_near_m)
        return equations, pairs, float(with_overlap(equations, rest, at, pairs, s.collision_sigma_m).cost[0])

    equations = around if around is not None else rest.linearise(start)
    pairs: NearPairs | None = near
    state, best, steps = start, (math.inf, start), 0
    for _ in range(s.collision_rounds):
        if pairs is None:
            break
        problem = NearEnd(rest, state, equations, pairs, s.collision_sigma_m)
        begin = Displaced.of(state, torch.zeros_like(equations.gradient))
        inner = solve(problem, begin, inner_settings, is_cancelled)
        steps += inner.steps
        if inner.stops[0] in (Stop.CANCELLED, Stop.NON_FINITE):
            return Solution(best[1], equations, steps, inner.stops)
        assert isinstance(inner.state, Displaced)
        state = inner.state.plain()
        if float(inner.state.by.abs().max()) < s.collision_trust:
            closer = float(inner.linearisation.cost[0]) < best[0]
            return Solution(state if closer else best[1], equations, steps, [Stop.CONVERGED])
        equations, pairs, cost = look(state)
        if cost < best[0]:  # never so where it is not finite
            best = cost, state
        elif not math.isfinite(cost):
            break
    # It did not settle: then the start may have been better.
    if not best[0] < look(start)[2]:
        best = math.inf, start
    return Solution(best[1], equations, steps, [Stop.MAX_STEPS])
