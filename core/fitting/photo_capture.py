"""What a fit of a photo ends with, as a capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..body.model import BodyModel
from ..body.skeleton import JOINT_NAMES
from ..capture import Capture, pose_parts
from ..detection.observation import Observation
from ..rotation import log_so3
from .evidence import Evidence
from .ground import up_direction
from .kinematics import Chain, PointTable, Skeleton, pose_chain
from .problem import CameraGuess, StageProblem
from .settings import FitSettings
from .solver import Solution, Stop
from .state import BodyState
from .uncertainty import joint_uncertainty


@dataclass(frozen=True)
class Fitted:
    """The end of one person's fit."""

    evidence: Evidence
    state: BodyState  # of one body
    problem: StageProblem  # of the last stage that fitted the shape: it tells the uncertainty
    solution: Solution  # that stage's
    best: int  # which of its bodies was kept
    steps: int
    stops: tuple[Stop, ...]  # of all stages


def capture_of(
    body: BodyModel,
    settings: FitSettings,
    observation: Observation,
    fitted: Fitted,
    focal_source: str,
    person_id: int,
    warnings: Sequence[str],
) -> Capture:
    """One person in one photo. focal_source: "given", "exif" or "fitted"."""
    evidence, state, problem, stops = fitted.evidence, fitted.state, fitted.problem, fitted.stops
    skeleton, equations = problem.skeleton, fitted.solution.linearisation
    chain = pose_chain(skeleton, state)
    position_sigma, rotation_sigma = joint_uncertainty(
        skeleton, chain, problem.unknowns, equations.hessian[fitted.best], settings
    )
    rotvec = log_so3(state.rotmats[0].double()).float().cpu().numpy()
    principal = np.array(problem.camera.principal, np.float32)
    residuals, inliers = _residuals(skeleton, evidence, chain, state, problem.camera)
    joints = chain.joints.float().cpu().numpy()

    return Capture(
        betas=state.betas[0].float().cpu().numpy(),
        expression=state.expression.float().cpu().numpy(),
        **pose_parts(rotvec[None]),
        transl=state.transl.float().cpu().numpy(),
        joints=joints,
        joint_names=JOINT_NAMES,
        focal_px=float(torch.exp(state.log_focal[0])),
        principal_px=principal,
        image_size=observation.image_size,
        focal_source=focal_source,
        up_camera=up_direction(joints[0], evidence.joint_trust),
        confidence=np.array([inliers * observation.score], np.float32),
        joint_sigma_m=position_sigma[None],
        joint_sigma_rad=rotation_sigma[None],
        frame_times_s=np.zeros(1, np.float32),
        gender=body.gender,
        surface_model_type=body.surface_model_type,
        body_id=body.body_id,
        person_id=person_id,
        diagnostics={
            "residual_px": residuals,
            "steps": fitted.steps,
            "stop": stops[-1].value,
            "stage_stops": [stop.value for stop in stops],
            "energy": float(equations.cost[fitted.best]),
            "observation_source": observation.source,
            "observation_score": float(observation.score),
            "person_px": evidence.person_px,
            **({"warnings": list(warnings)} if warnings else {}),
        },
        points={
            name: np.concatenate([seen.image_px, seen.confidence[:, None]], 1)[None].astype(np.float32)
            for name, seen in observation.points.items()
        },
    )


def _residuals(
    skeleton: Skeleton, evidence: Evidence, chain: Chain, state: BodyState, guess: CameraGuess
) -> tuple[dict[str, float], float]:
    """Mean distance in px by point set, and the share of trusted points within three σ."""
    table = PointTable.of(skeleton, evidence.carriers, (0,))
    points = table.positions(chain)[0].double().cpu().numpy()
    focal = float(torch.exp(state.log_focal[0]))
    projected = focal * points[:, :2] / np.maximum(points[:, 2:], 0.05) + np.array(guess.principal)
    distance = np.linalg.norm(projected - evidence.image_px, axis=1)
    by_set = {
        name: round(float(distance[evidence.set_of_point == i].mean()), 3)
        for i, name in enumerate(evidence.sets)
        if bool((evidence.set_of_point == i).any())
    }
    return by_set, float((distance * evidence.inverse_sigma < 3).mean())
