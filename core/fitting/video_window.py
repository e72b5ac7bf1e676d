"""All frames of a window as one least-squares problem, by damped Gauss–Newton over block bands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .banded import Bands, Factor, factorise
from .settings import INF
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
    held: int,
    settings: SolverSettings,
    is_cancelled: Callable[[], bool] | None = None,
    covariance: bool = False,
    plain_steps: int = 0,
    held_last: int = 0,
) -> WindowSolution:
    """Minimise the sum of all frames' terms and what ties them.

    held, held_last: how many of the first and of the last frames stay as they are, those of other windows. The normal
    equations are solved in float64 where feet stand: stiff contacts beside soft evidence are too much for float32.
    plain_steps: so many steps take no motion for an outlier of smoothness. Frames that were fitted alone jitter beyond
    what any robust kernel would take for motion.
    """
    state = start
    inner = slice(held, len(start.transl) - held_last)
    plain = replace(smoothness, robust_width=INF)
    now = _linearise(problem, plain if plain_steps else smoothness, state)
    damping = settings.first_damping
    stop, steps = Stop.MAX_STEPS, 0
    while steps < settings.max_steps:
        if is_cancelled is not None and is_cancelled():
            stop = Stop.CANCELLED
            break
        steps += 1
        step = _step(problem, state, now, inner, damping, settings)
        better = False
        if step is not None:
            trial = problem.move(state, step)
            there = _linearise(problem, plain if steps < plain_steps else smoothness, trial)
            fall = (now.cost - there.cost) / max(now.cost, 1e-12)
            better = there.cost < now.cost
        if better:
            state, now = trial, there
            damping = max(damping * 0.2, 1e-7)
            if fall < settings.tolerance and steps > plain_steps:
                stop = Stop.CONVERGED
                break
        else:
            damping *= 8.0
            if damping > settings.max_damping:
                stop = Stop.STALLED
                break
    blocks = None
    if covariance:
        factor = _factor(now, inner, problem.held(state, now.gradient), 1e-6)
        if factor is not None:
            # There is nothing to doubt in the frames that were held.
            blocks = now.bands.main.new_zeros(now.bands.main.shape)
            blocks[inner] = factor.covariance()
    return WindowSolution(state, now.cost, steps, stop, now.frame_cost, blocks)


@dataclass(frozen=True)
class _Equations:
    cost: float
    frame_cost: Tensor
    bands: Bands
    gradient: Tensor  # (T, n)


def _linearise(problem: FramesProblem, smoothness: Smoothness, state: BodyState) -> _Equations:
    own, probe = problem.linearise_with_probe(state)
    bands = Bands(own.hessian, torch.zeros_like(own.hessian), torch.zeros_like(own.hessian))
    gradient = own.gradient
    tied = smoothness.add(state.rotmats, state.expression, probe, problem.unknowns.expression_at, bands, gradient)
    if smoothness.pins is not None:
        tied = tied + smoothness.pins.add(probe, state.log_focal, problem.principal, bands.main, gradient)
    total = float(own.cost.double().sum() + tied.double())
    if smoothness.contact is not None or smoothness.pins is not None:
        bands = Bands(bands.main.double(), bands.next.double(), bands.after.double())
        gradient = gradient.double()
    return _Equations(total if total == total else float("inf"), own.cost, bands, gradient)


def _factor(now: _Equations, inner: slice, bounds: Tensor | None, damping: float) -> Factor | None:
    """The equations of the frames `inner`, the others do not move; bounds (T, n) True where an unknown of these does
    not either."""
    bands = Bands(now.bands.main[inner], now.bands.next[inner], now.bands.after[inner])
    diagonal = torch.diagonal(bands.main, dim1=-2, dim2=-1)
    extra = damping * diagonal + 1e-6
    if bounds is not None:
        fixed = bounds[inner]
        free = (~fixed).to(bands.main.dtype)
        bands = Bands(
            bands.main * free[:, :, None] * free[:, None, :],
            bands.next * free[:, :, None] * torch.roll(free, -1, 0)[:, None, :],
            bands.after * free[:, :, None] * torch.roll(free, -2, 0)[:, None, :],
        )
        extra = torch.where(fixed, torch.ones_like(diagonal), extra)
    return factorise(bands, extra)


def _step(
    problem: FramesProblem,
    state: BodyState,
    now: _Equations,
    inner: slice,
    damping: float,
    settings: SolverSettings,
) -> Tensor | None:
    bounds = problem.held(state, now.gradient)
    factor = _factor(now, inner, bounds, damping)
    if factor is None:
        return None
    right = now.gradient if bounds is None else now.gradient * (~bounds)
    step = torch.zeros_like(right)
    step[inner] = -factor.solve(right[inner])
    if not bool(torch.isfinite(step).all()):
        return None
    # Each frame's step is kept short on its own: one wild frame must not slow down all others.
    longest = step.abs().amax(-1, keepdim=True).clamp_min(1e-12)
    return (step * (settings.max_turn_rad / longest).clamp_max(1.0)).to(state.transl.dtype)
