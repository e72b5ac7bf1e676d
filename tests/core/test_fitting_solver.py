"""The solver on problems whose answers are known."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pantomime.core.fitting.solver import Linearisation, SolverSettings, Stop, solve
from pantomime.core.fitting.state import BodyState, Unknowns, retract
from pantomime.core.rotation import exp_so3

TRANSLATION = Unknowns((), True, False, 0, 0)


def at(transl: Tensor) -> BodyState:
    n = len(transl)
    return BodyState(
        exp_so3(torch.zeros(n, 55, 3, dtype=transl.dtype)),
        transl,
        torch.zeros(n, dtype=transl.dtype),
        torch.zeros(n, 0, dtype=transl.dtype),
        torch.zeros(n, 0, dtype=transl.dtype),
    )


class Residuals:
    """A problem in the translation alone, from its residual function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.costs: list[float] = []

    def linearise(self, state: BodyState) -> Linearisation:
        residual = self.function(state.transl)
        jacobian = torch.stack(
            [torch.func.jacrev(lambda x: self.function(x[None])[0])(row) for row in state.transl]  # type: ignore[no-untyped-call]
        )
        cost = (residual * residual).sum(-1)
        self.costs += cost.tolist()
        gradient = (jacobian.transpose(1, 2) @ residual[..., None])[..., 0]
        return Linearisation(cost, jacobian.transpose(1, 2) @ jacobian, gradient)

    def move(self, state: BodyState, step: Tensor) -> BodyState:
        return retract(state, step, TRANSLATION, False)

    def held(self, state: BodyState, gradient: Tensor) -> Tensor | None:
        return None


def rosenbrock(x: Tensor) -> Tensor:
    return torch.stack([10 * (x[:, 1] - x[:, 0] ** 2), 1 - x[:, 0], x[:, 2]], -1)


def test_rosenbrock_is_solved_for_every_body_of_a_batch() -> None:
    start = torch.tensor([[-1.2, 1.0, 3.0], [2.0, -1.0, 0.5]], dtype=torch.float64)
    solution = solve(Residuals(rosenbrock), at(start), SolverSettings(max_steps=100, tolerance=1e-12))
    expected = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64).expand(2, 3)
    torch.testing.assert_close(solution.state.transl, expected, atol=1e-6, rtol=0)


def test_steps_into_non_finite_ground_are_never_taken() -> None:
    def cliff(x: Tensor) -> Tensor:
        return torch.stack([torch.log(x[:, 0]) + 3, x[:, 1], x[:, 2]], -1)

    problem = Residuals(cliff)
    start = torch.tensor([[2.0, 0.1, 0.1]], dtype=torch.float64)
    solution = solve(problem, at(start), SolverSettings(max_steps=60, tolerance=1e-12, max_turn_rad=100.0))
    assert any(cost != cost for cost in problem.costs)  # the cliff was met
    assert bool(torch.isfinite(solution.state.transl).all())
    assert float(solution.state.transl[0, 0]) == pytest.approx(0.0497871, rel=1e-4)


def test_the_cost_never_grows() -> None:
    start = torch.tensor([[-1.2, 1.0, 3.0]], dtype=torch.float64)
    costs = [
        float(solve(Residuals(rosenbrock), at(start), SolverSettings(max_steps=n, tolerance=0.0)).linearisation.cost)
        for n in range(12)
    ]
    assert all(later <= earlier for earlier, later in itertools.pairwise(costs))
    assert costs[-1] < 0.1 * costs[0]


def test_a_small_last_step_can_be_taken_on_trust() -> None:
    def linear(x: Tensor) -> Tensor:
        return torch.cat([x - 1.0, torch.full_like(x[:, :1], 30.0)], -1)

    start = at(torch.tensor([[0.9, 1.2, 1.0]], dtype=torch.float64))
    seeing, trusting = Residuals(linear), Residuals(linear)
    looked = solve(seeing, start, SolverSettings(tolerance=1e-2))
    trusted = solve(trusting, start, SolverSettings(tolerance=1e-2, trust_last=True))
    assert looked.stops == trusted.stops == [Stop.CONVERGED]
    assert (looked.steps, trusted.steps) == (1, 1)
    assert (len(seeing.costs), len(trusting.costs)) == (2, 1)
    torch.testing.assert_close(trusted.state.transl, looked.state.transl)


def test_steps_that_promise_much_are_looked_at() -> None:
    start = torch.tensor([[2.0, 0.1, 0.1]], dtype=torch.float64)

    def cliff(x: Tensor) -> Tensor:
        return torch.stack([torch.log(x[:, 0]) + 3, x[:, 1], x[:, 2]], -1)

    settings = SolverSettings(max_steps=60, tolerance=1e-9, max_turn_rad=100.0, trust_last=True)
    solution = solve(Residuals(cliff), at(start), settings)
    assert float(solution.state.transl[0, 0]) == pytest.approx(0.0497871, rel=1e-3)


def test_a_start_without_a_finite_cost_is_named() -> None:
    start = torch.tensor([[float("nan"), 0.0, 0.0], [0.5, 0.0, 0.0]], dtype=torch.float64)
    solution = solve(Residuals(rosenbrock), at(start), SolverSettings(max_steps=50, tolerance=1e-9))
    assert solution.stops == [Stop.NON_FINITE, Stop.CONVERGED]


def test_a_cancel_is_obeyed_before_the_next_step() -> None:
    solution = solve(
        Residuals(rosenbrock), at(torch.zeros(1, 3, dtype=torch.float64)), SolverSettings(), is_cancelled=lambda: True
    )
    assert solution.steps == 0
    assert solution.stops == [Stop.CANCELLED]
