"""Damped Gauss–Newton (Levenberg–Marquardt), batched: every body of the batch has its own damping and its own end.

Levenberg 1944, Marquardt 1963, with diagonal scaling as in Moré 1978. A problem gives its normal equations; robust
kernels are inside them (iteratively re-weighted least squares).
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .state import BodyState


class Stop(enum.Enum):
    """Why the solver stopped."""

    CONVERGED = "converged"  # the cost no longer falls
    MAX_STEPS = "max_steps"
    STALLED = "stalled"  # no damping gave a lower cost
    NON_FINITE = "non_finite"  # the start itself has no finite cost
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Linearisation:
    """Cost and normal equations at a state. N bodies, n unknowns."""

    cost: Tensor  # (N,)
    hessian: Tensor  # (N, n, n) JᵀWJ
    gradient: Tensor  # (N, n) JᵀWr


class Problem(Protocol):
    """What the solver needs to know of a problem."""

    def linearise(self, state: BodyState) -> Linearisation:
        """Cost, gradient and Gauss–Newton's Hessian of N states."""
        ...

    def move(self, state: BodyState, step: Tensor) -> BodyState:
        """N states moved by steps (N, n) on the manifold."""
        ...

    def held(self, state: BodyState, gradient: Tensor) -> Tensor | None:
        """(N, n) True where an unknown sits on its bound and would leave it; None without bounds."""
        ...


@dataclass(frozen=True)
class SolverSettings:
    """When to stop, and how far a step may go."""

    max_steps: int = 10
    tolerance: float = 1e-3  # relative fall of the cost that counts as converged
    trust_last: bool = False  # take a step that promises less than that, and stop, without looking at where it leads
    first_damping: float = 1e-3
    max_damping: float = 1e6
    max_turn_rad: float = 1.0  # longest step of any single unknown: angles, metres, betas alike


@dataclass(frozen=True)
class Solution:
    """Where the solver ended, for N bodies."""

    state: BodyState
    linearisation: Linearisation
    steps: int  # steps tried
    stops: list[Stop]  # one for each body


def solve(
    problem: Problem,
    start: BodyState,
    settings: SolverSettings,
    is_cancelled: Callable[[], bool] | None = None,
) -> Solution:
    """Minimise a problem from `start`. A step that does not lower the cost, or is not finite, is never taken.

    With `trust_last` the last one may be, as small as it is; cost and normal equations are then what those before it
    foretell, and an evaluation is saved.
    """
    state = start
    now = problem.linearise(state)
    damping = torch.full_like(now.cost, settings.first_damping)
    done = ~torch.isfinite(now.cost)
    stops = [Stop.NON_FINITE if bad else Stop.MAX_STEPS for bad in done.tolist()]
    count = 0
    while count < settings.max_steps and not bool(done.all()):
        if is_cancelled is not None and is_cancelled():
            stops = [Stop.CANCELLED if stop is Stop.MAX_STEPS else stop for stop in stops]
            break
        count += 1
        step, solved = _step(problem, state, now, damping, settings)
        trial = problem.move(state, step)
        if settings.trust_last:
            # What the equations promise is at least that much.
            promised = -(now.gradient * step).sum(-1)
            last = solved & (promised < settings.tolerance * now.cost) & ~done
            if bool((last | done).all()):
                state = trial.where(last, state)
                now = foretold(now, torch.where(last[:, None], step, 0.0))
                stops = [Stop.CONVERGED if yes else stop for yes, stop in zip(last.tolist(), stops, strict=True)]
                break
        there = problem.linearise(trial)
        better = solved & torch.isfinite(there.cost) & (there.cost < now.cost) & ~done
        fall = (now.cost - there.cost) / now.cost.clamp_min(1e-12)
        if bool(better.all()):
            state, now = trial, there
        elif bool(better.any()):
            state = trial.where(better, state)
            now = Linearisation(
                torch.where(better, there.cost, now.cost),
                torch.where(better[:, None, None], there.hessian, now.hessian),
                torch.where(better[:, None], there.gradient, now.gradient),
            )
        damping = torch.where(better, damping * 0.2, damping * 8.0).clamp_min(1e-7)
        converged = better & (fall < settings.tolerance) & ~done
        stalled = (damping > settings.max_damping) & ~done
        for row in torch.nonzero(converged | stalled).flatten().tolist():
            stops[row] = Stop.CONVERGED if bool(converged[row]) else Stop.STALLED
        done = done | converged | stalled
    return Solution(state, now, count, stops)


def foretold(now: Linearisation, step: Tensor) -> Linearisation:
    """What the equations promise of the state that a step (N, n) leads to."""
    gradient = now.gradient + (now.hessian @ step[..., None])[..., 0]
    return Linearisation(now.cost + ((now.gradient + gradient) * step).sum(-1), now.hessian, gradient)


def _step(
    problem: Problem, state: BodyState, now: Linearisation, damping: Tensor, settings: SolverSettings
) -> tuple[Tensor, Tensor]:
    """The damped step (N, n), and whether the equations could be solved (N,)."""
    hessian, gradient = now.hessian, now.gradient
    held = problem.held(state, gradient)
    damped = hessian.clone()
    diagonal = torch.diagonal(damped, dim1=-2, dim2=-1)
    if held is not None and bool(held.any()):
        damped.masked_fill_(held[:, :, None] | held[:, None, :], 0.0)
        gradient = gradient.masked_fill(held, 0.0)
        diagonal.masked_fill_(held, 1.0)
    diagonal.add_(damping[:, None] * diagonal + 1e-6)
    factor, info = torch.linalg.cholesky_ex(damped)
    step = -torch.cholesky_solve(gradient[..., None], factor)[..., 0]
    solved = (info == 0) & torch.isfinite(step).all(-1)
    step = torch.where(solved[:, None], step, torch.zeros_like(step))
    longest = step.abs().amax(-1, keepdim=True).clamp_min(1e-12)
    return step * (settings.max_turn_rad / longest).clamp_max(1.0), solved
