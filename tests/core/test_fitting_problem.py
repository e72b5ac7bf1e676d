"""A stage with everything in it: its gradient is the slope of its cost, in every kind of unknown."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pantomime.core.body.model import BodyModel
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.collision import Collision
from pantomime.core.fitting.evidence import gather
from pantomime.core.fitting.height import KnownHeight, StandingHeight
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.problem import CameraGuess, StageProblem
from pantomime.core.fitting.regressed import Regressed
from pantomime.core.fitting.settings import ALL_SETS, FitSettings, Stage
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState, retract
from pantomime.core.rotation import exp_so3

FOCAL_PX, SIZE = 700.0, (640, 640)
SETS = ("pose33", "left_hand", "right_hand", "face468")
EVERYTHING = Stage("everything", 1, 3.0, ALL_SETS, betas=1000, hands=True, face=True, focal=True, collision=True)


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


def test_the_gradient_is_the_slope_of_the_cost(body: BodyModel) -> None:
    rng = np.random.default_rng(2)
    settings = replace(FitSettings(), collision_sigma_m=0.01)
    fitter = Fitter(body, settings, dtype=torch.float64)
    skeleton = fitter.skeleton
    truth = somebody(body, skeleton, rng)
    observation = seen(body, skeleton, truth, rng)
    assert fitter.regressor is not None
    prediction = fitter.regressor.predict(observation, FOCAL_PX, (320.0, 320.0))
    assert prediction is not None
    collision = Collision.of(body, skeleton)
    problem = StageProblem(
        body,
        skeleton,
        gather(body, observation, settings),
        CameraGuess((320.0, 320.0), math.log(FOCAL_PX) + 0.1, 0.2),
        fitter.priors,
        EVERYTHING,
        settings,
        fitter._joint_limits,
        Regressed(prediction, body, skeleton, settings),
        collision,
        KnownHeight(StandingHeight.of(body, torch.float64, "cpu"), 1.7, 0.02),
    )
    state = replace(truth, rotmats=truth.rotmats @ exp_so3(torch.as_tensor(rng.normal(0, 0.15, (1, 55, 3)))))
    assert collision.overlap(pose_chain(skeleton, state), problem.unknowns) is not None
    assert problem.rotations.places.shape[0] > 22 + len(problem.unknowns.joints)  # regressed, unseen, limited

    def cost(step: Tensor) -> float:
        return float(problem.linearise(retract(state, step, problem.unknowns, False)).cost[0])

    there = problem.linearise(state)
    gradient, hessian = there.gradient[0], there.hessian[0]
    torch.testing.assert_close(hessian, hessian.T, atol=1e-6, rtol=1e-6)
    assert float(torch.linalg.eigvalsh(hessian)[0]) > 0
    step = 1e-6 * torch.eye(problem.unknowns.size, dtype=torch.float64)[:, None]
    slope = torch.tensor([(cost(row) - cost(-row)) / 2e-6 for row in step], dtype=torch.float64)
    torch.testing.assert_close(2 * gradient, slope, atol=2e-3, rtol=2e-4)
