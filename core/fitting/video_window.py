"""All frames of a window as one least-squares problem, by damped Gauss–Newton over block bands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .banded import Bands, Factor, factorise
from .solver import SolverSettings, Stop
from .state import BodyState
from .video_problem import FramesProblem
from .video_smooth import Smoothness


@dataclass(frozen=True)
class WindowSolution:
    state: BodyState
    cost: float
    steps: int
    stop: Stop
    frame_cost: Tensor  # (T,) of each frame's own terms
    covariance: Tensor | None  # (T, n, n) of each frame's unknowns, the other frames' taken into account


def solve_window(
    problem: FramesProblem,
    smoothness: Smoothness,
    start: BodyState,
    held: Tensor,
    settings: SolverSettings,
    is_cancelled: Callable[[], bool] | None = None,
    covariance: bool = False,
) -> WindowSolution:
    """Minimise the sum of all frames' terms and what ties them.

    held (T,): frames that stay as they are, as the last ones of the window before. The normal equations are solved in
    float64 whatever the state is in: stiff contacts beside soft evidence are too much for float32.
    """
    state = start
    columns = problem.columns(smoothness.joints)
    now = _linearise(problem, smoothness, state, columns)
    damping = settings.first_damping
    stop, steps = Stop.MAX_STEPS, 0
    while steps < settings.max_steps:
        if is_cancelled is not None and is_cancelled():
            stop = Stop.CANCELLED
            break
        steps += 1
        step = _step(problem, state, now, held, damping, settings)
        better = False
        if step is not None:
            trial = problem.move(state, step)
            there = _linearise(problem, smoothness, trial, columns)
            fall = (now.cost - there.cost) / max(now.cost, 1e-12)
            better = there.cost < now.cost
        if better:
            state, now = trial, there
            damping = max(damping * 0.2, 1e-7)
            if fall < settings.tolerance:
                stop = Stop.CONVERGED
                break
        else:
            damping *= 8.0
            if damping > settings.max_damping:
                stop = Stop.STALLED
                break
    blocks = None
    if covariance:
        factor = _factor(now, _fixed(problem, state, now, held), 1e-6)
        blocks = factor.covariance() if factor is not None else None
    return WindowSolution(state, now.cost, steps, stop, now.frame_cost, blocks)


@dataclass(frozen=True)
class _Equations:
    cost: float
    frame_cost: Tensor
    bands: Bands  # float64
    gradient: Tensor  # (T, n) float64


def _linearise(problem: FramesProblem, smoothness: Smoothness, state: BodyState, columns: Tensor) -> _Equations:
    own, probe = problem.linearise_with_probe(state)
    bands = Bands(own.hessian, torch.zeros_like(own.hessian), torch.zeros_like(own.hessian))
    gradient = own.gradient
    tied = smoothness.add(
        state.rotmats, state.expression, probe, columns, problem.unknowns.expression_at, bands, gradient
    )
    if smoothness.pins is not None:
        tied = tied + smoothness.pins.add(probe, state.log_focal, problem.principal, bands.main, gradient)
    total = float(own.cost.double().sum() + tied.double())
    exact = Bands(bands.main.double(), bands.next.double(), bands.after.double())
    return _Equations(total if total == total else float("inf"), own.cost, exact, gradient.double())


def _fixed(problem: FramesProblem, state: BodyState, now: _Equations, held: Tensor) -> Tensor:
    """(T, n) True where an unknown does not move."""
    bounds = problem.held(state, now.gradient)
    fixed = held[:, None].expand_as(now.gradient)
    return fixed if bounds is None else fixed | bounds


def _factor(now: _Equations, fixed: Tensor, damping: float) -> Factor | None:
    free = (~fixed).double()
    bands = Bands(
        now.bands.main * free[:, :, None] * free[:, None, :],
        now.bands.next * free[:, :, None] * torch.roll(free, -1, 0)[:, None, :],
        now.bands.after * free[:, :, None] * torch.roll(free, -2, 0)[:, None, :],
    )
    diagonal = torch.diagonal(bands.main, dim1=-2, dim2=-1)
    extra = torch.where(fixed, torch.ones_like(diagonal), damping * diagonal + 1e-6)
    return factorise(bands, extra)


def _step(
    problem: FramesProblem,
    state: BodyState,
    now: _Equations,
    held: Tensor,
    damping: float,
    settings: SolverSettings,
) -> Tensor | None:
    fixed = _fixed(problem, state, now, held)
    factor = _factor(now, fixed, damping)
    if factor is None:
        return None
    step = -factor.solve(now.gradient * (~fixed))
    if not bool(torch.isfinite(step).all()):
        return None
    # Each frame's step is kept short on its own: one wild frame must not slow down all others.
    longest = step.abs().amax(-1, keepdim=True).clamp_min(1e-12)
    return (step * (settings.max_turn_rad / longest).clamp_max(1.0)).to(state.transl.dtype)
