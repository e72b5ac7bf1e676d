"""A stage with everything in it: its gradient is the slope of its cost, in every kind of unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from pantomime.core.body.model import BodyModel
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.apart import Displaced, NearEnd, known_from, with_overlap
from pantomime.core.fitting.collision import Collision, NearPairs
from pantomime.core.fitting.evidence import gather
from pantomime.core.fitting.height import KnownHeight, StandingHeight
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.problem import CameraGuess, StageProblem
from pantomime.core.fitting.regressed import Regressed
from pantomime.core.fitting.settings import ALL_SETS, FitSettings, Stage
from pantomime.core.fitting.solver import Linearisation, Solution, Stop
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState, retract
from pantomime.core.rotation import exp_so3

FOCAL_PX, SIZE, SIGMA_M = 700.0, (640, 640), 0.01
SETS = ("pose33", "left_hand", "right_hand", "face468")
EVERYTHING = Stage("everything", 1, 3.0, ALL_SETS, betas=1000, hands=True, face=True, focal=True)


def somebody(body: BodyModel, skeleton: Skeleton, rng: np.random.Generator) -> BodyState:
    """Standing some metres away, a hand on the belly."""
    pose = relaxed_pose()
    pose[0, 0] = math.pi
    pose[[16, 18]] = torch.tensor([[0.3, -0.4, -1.2], [0.0, -1.7, 0.0]], dtype=torch.float64)
    pose[1:] += torch.as_tensor(rng.normal(0, 0.1, (54, 3)))
    return BodyState(
        exp_so3(pose)[None],
        torch.tensor([[0.1, 0.2, 3.5]], dtype=torch.float64),
        torch.tensor([math.log(FOCAL_PX)], dtype=torch.float64),
        torch.as_tensor(rng.normal(0, 0.5, (1, body.num_betas))),
        torch.as_tensor(rng.uniform(0.2, 0.6, (1, body.num_expressions))),
    )


def seen(body: BodyModel, skeleton: Skeleton, state: BodyState, rng: np.random.Generator) -> Observation:
    points, chain = {}, pose_chain(skeleton, state)
    for name in SETS:
        where = PointTable.of(skeleton, body.virtual_points(body.points[name]), (0,)).positions(chain)[0].numpy()
        pixels = FOCAL_PX * where[:, :2] / where[:, 2:] + np.array(SIZE) / 2 + rng.normal(0, 2.0, (len(where), 2))
        hint = (where + rng.normal(0, 0.01, where.shape)).astype(np.float32) if name != "face468" else None
        confidence = rng.uniform(0.6, 1.0, len(where)).astype(np.float32)
        if name == "pose33":
            confidence[[27, 29, 31]] = 0.0  # an ankle that was not seen: its foot falls to rest
        points[name] = Points(pixels.astype(np.float32), confidence, hint)
    box: NDArray[np.float32] = np.array([100, 50, 500, 600], np.float32)
    return Observation(SIZE, box, 1.0, points, source="synthetic")


@dataclass(frozen=True)
class Case:
    """A problem with all kinds of residuals, and a state some way from what was seen, in which parts overlap."""

    make: Callable[[Stage], StageProblem]
    problem: StageProblem
    state: BodyState
    near: NearPairs

    def linearise(self, state: BodyState) -> Linearisation:
        return with_overlap(self.problem.linearise(state), self.problem, state, self.near, SIGMA_M)

    def cost(self, step: Tensor) -> float:
        return float(self.linearise(retract(self.state, step, self.problem.unknowns, False)).cost[0])


@pytest.fixture(scope="module")
def case(body: BodyModel) -> Case:
    rng = np.random.default_rng(2)
    settings = FitSettings()
    fitter = Fitter(body, settings, dtype=torch.float64)
    skeleton = fitter.skeleton
    truth = somebody(body, skeleton, rng)
    observation = seen(body, skeleton, truth, rng)
    assert fitter.regressor is not None
    prediction = fitter.regressor.predict(observation, FOCAL_PX, (320.0, 320.0))
    assert prediction is not None
    evidence = gather(body, observation, settings)
    camera = CameraGuess((320.0, 320.0), math.log(FOCAL_PX) + 0.1, 0.2)
    regressed = Regressed(prediction, body, skeleton, settings)
    height = KnownHeight(StandingHeight.of(body, torch.float64, "cpu"), 1.7, 0.02)

    def make(stage: Stage) -> StageProblem:
        others = fitter._joint_limits, regressed, height
        return StageProblem(body, skeleton, evidence, camera, fitter.priors, stage, settings, *others)

    problem = make(EVERYTHING)
    state = replace(truth, rotmats=truth.rotmats @ exp_so3(torch.as_tensor(rng.normal(0, 0.15, (1, 55, 3)))))
    near = Collision.of(body, skeleton).near(pose_chain(skeleton, state), 0.02)
    assert near is not None and near.touch(pose_chain(skeleton, state))[0]
    assert problem.rotations.places.shape[0] > 22 + len(problem.unknowns.joints)  # regressed, unseen, limited
    return Case(make, problem, state, near)


def test_the_gradient_is_the_slope_of_the_cost(case: Case) -> None:
    there = case.linearise(case.state)
    gradient, hessian = there.gradient[0], there.hessian[0]
    torch.testing.assert_close(hessian, hessian.T, atol=1e-6, rtol=1e-6)
    assert float(torch.linalg.eigvalsh(hessian)[0]) > 0
    step = 1e-6 * torch.eye(case.problem.unknowns.size, dtype=torch.float64)[:, None]
    slope = torch.tensor([(case.cost(row) - case.cost(-row)) / 2e-6 for row in step], dtype=torch.float64)
    torch.testing.assert_close(2 * gradient, slope, atol=2e-3, rtol=2e-4)


def test_near_the_end_equations_are_those_of_the_whole(case: Case) -> None:
    problem, state = case.problem, case.state
    near_end = NearEnd(problem, state, problem.linearise(state), case.near, SIGMA_M)
    begin = Displaced.of(state, torch.zeros(1, problem.unknowns.size, dtype=torch.float64))
    mine, whole = near_end.linearise(begin), case.linearise(state)
    for name in ("cost", "hessian", "gradient"):
        torch.testing.assert_close(getattr(mine, name), getattr(whole, name))
    # a step changes its cost as it changes the whole's, but for curvature beyond Gauss–Newton's
    step = torch.as_tensor(np.random.default_rng(0).normal(0, 1e-4, begin.by.shape))
    there, back = (float(near_end.linearise(near_end.move(begin, sign * step)).cost[0]) for sign in (1, -1))
    assert there - back == pytest.approx(case.cost(step) - case.cost(-step), rel=1e-3)


def test_equations_are_known_from_a_stage_that_solved_for_more(case: Case) -> None:
    more, stage = case.problem, replace(EVERYTHING, betas=0, hands=False, face=False, focal=False)
    fewer, solved = case.make(stage), more.linearise(case.state)
    two = (torch.cat([0 * array, array]) for array in (solved.cost, solved.hessian, solved.gradient))
    solution = Solution(case.state, Linearisation(*two), 1, [Stop.CONVERGED, Stop.CONVERGED])
    known, expected = known_from(more, solution, 1, fewer), fewer.linearise(case.state)
    assert known is not None
    torch.testing.assert_close(known.gradient, expected.gradient)
    torch.testing.assert_close(known.hessian, expected.hessian)
    assert known_from(more, solution, 1, case.make(replace(stage, robust_width=2.0))) is None
    assert known_from(fewer, replace(solution, linearisation=expected), 0, more) is None
