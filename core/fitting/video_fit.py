"""Windows of frames of one person fitted together: the body first, then fingers and face on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.skeleton import NUM_JOINTS
from .kinematics import PointTable, pose_chain
from .photo import Fitter
from .residuals import reprojection
from .settings import INF
from .solver import SolverSettings
from .state import BodyState, Unknowns
from .video_evidence import Seen
from .video_parts import HAND_PARTS, ClipParts, Pin, Standing
from .video_problem import PARTS
from .video_settings import VideoSettings
from .video_shape import ClipShape
from .video_window import WindowSolution, solve_window

Array = NDArray[np.float32]
UNKNOWN_M, UNKNOWN_RAD = 1.0, float(np.pi)  # σ where nothing is known


@dataclass(frozen=True)
class Motion:
    """A person's poses in T frames, as the solver has them. Camera axes."""

    rotmats: Array  # (T, 55, 3, 3) local
    transl: Array  # (T, 3)
    expression: Array  # (T, E)
    confidence: Array  # (T,) 0…1; 0 where the person was not seen
    sigma_m: Array  # (T, 55)
    sigma_rad: Array  # (T, 55)

    def __len__(self) -> int:
        return len(self.transl)

    def rows(self, which: slice | NDArray[Any]) -> Motion:
        return Motion(*(getattr(self, item.name)[which] for item in fields(self)))

    def put(self, which: slice | NDArray[Any], part: Motion) -> None:
        """Overwrite some of the frames, in place."""
        for item in fields(self):
            getattr(self, item.name)[which] = getattr(part, item.name)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def empty(cls, count: int, num_expressions: int) -> Motion:
        """Nothing is known of any of `count` frames."""
        return cls(
            np.zeros((count, NUM_JOINTS, 3, 3), np.float32),
            np.zeros((count, 3), np.float32),
            np.zeros((count, num_expressions), np.float32),
            np.zeros(count, np.float32),
            np.full((count, NUM_JOINTS), UNKNOWN_M, np.float32),
            np.full((count, NUM_JOINTS), UNKNOWN_RAD, np.float32),
        )

    @classmethod
    def of_state(cls, state: BodyState) -> Motion:
        """The solver's state, of which nothing more is known."""
        empty = cls.empty(len(state.transl), 0)
        rotmats, transl, expression = (t.float().cpu().numpy() for t in (state.rotmats, state.transl, state.expression))
        return cls(rotmats, transl, expression, empty.confidence, empty.sigma_m, empty.sigma_rad)

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Motion:
        return cls(*(arrays[item.name] for item in fields(cls)))


class ClipFitter:
    """Fits people of clips with one body. Nothing is kept from one person to the next."""

    def __init__(self, fitter: Fitter, settings: VideoSettings | None = None) -> None:
        self.fitter = fitter
        self.settings = settings or VideoSettings()
        self.skeleton = fitter.skeleton
        self.parts = ClipParts(fitter, self.settings)

    def state_of(self, motion: Motion, shape: ClipShape) -> BodyState:
        """A motion in the solver's form."""
        tensor, count = self.parts.tensor, len(motion)
        return BodyState(
            tensor(motion.rotmats),
            tensor(motion.transl),
            self.skeleton.J_template.new_full((count,), float(np.log(shape.focal_px))),
            tensor(shape.betas).expand(count, -1),
            tensor(motion.expression),
        )

    # --- windows ------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def body_window(
        self,
        seen: Seen,
        start: BodyState,
        held: int,
        shape: ClipShape,
        image_size: tuple[int, int],
        standing: Standing | None = None,
        turn: Array | None = None,
        pins: list[Pin] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        held_last: int = 0,
    ) -> WindowSolution:
        """The body in all frames together; the first `held` and the last `held_last` frames stay."""
        s = self.settings
        regressed, _ = self.parts.regressed(seen, shape)
        probes = self.parts.pinned(pins or [])
        problem = self.parts.problem("body", seen, shape, image_size, s.robust_width, regressed, probes)
        smoothness = self.parts.smoothness("body", seen, standing, turn)
        smoothness = replace(smoothness, pins=self.parts.pins(pins or []))
        rough = standing is None
        solver = SolverSettings(max_steps=s.rough_steps if rough else s.contact_steps, tolerance=s.tolerance)
        plain = s.plain_steps if rough else 0
        return solve_window(problem, smoothness, start, held, solver, is_cancelled, not rough, plain, held_last)

    @torch.inference_mode()
    def detail_window(
        self,
        seen: Seen,
        start: BodyState,
        held: int,
        shape: ClipShape,
        image_size: tuple[int, int],
        is_cancelled: Callable[[], bool] | None = None,
        held_last: int = 0,
    ) -> BodyState:
        """Fingers and face on a body that is known; the first `held` and the last `held_last` frames stay."""
        s, state = self.settings, start
        rows = torch.arange(len(seen), device=start.transl.device)
        frozen = (rows < held) | (rows >= len(seen) - held_last)
        for part in (*HAND_PARTS, "face"):
            if part not in self.parts.carriers or not seen.confidence[:, self.parts.layouts[part].points].any():
                state = self.parts.relaxed(state, part, frozen)
                continue
            problem = self.parts.problem(part, seen, shape, image_size, s.robust_width, None)
            problem.follow(state, self.parts.anchors(part))
            solution = solve_window(
                problem,
                self.parts.smoothness(part, seen, None, None),
                state,
                held,
                SolverSettings(max_steps=s.detail_steps, tolerance=2 * s.tolerance),
                is_cancelled,
                held_last=held_last,
            )
            state = solution.state
        return state

    def inliers(self, seen: Seen, state: BodyState, shape: ClipShape, image_size: tuple[int, int]) -> Array:
        """Share of the body's trusted points within three σ, times the detector's score, (T,)."""
        problem = self.parts.problem("body", seen, shape, image_size, INF, None)
        positions = problem.points.positions(pose_chain(self.skeleton, state))
        residual, _, _ = reprojection(
            positions, state.log_focal, problem.principal, problem.observed, problem.inverse_sigma
        )
        trusted = problem.inverse_sigma > 0
        near = (residual.norm(dim=-1) < 3) & trusted
        share = near.sum(-1) / trusted.sum(-1).clamp_min(1)
        return np.asarray(share.float().cpu().numpy() * seen.score, np.float32)

    def uncertainty(self, state: BodyState, covariance: Tensor | None) -> tuple[Array, Array]:
        """σ of each joint, (T, 55): position against the pelvis in metres, and own rotation in radians."""
        count = len(state.transl)
        rotation = np.full((count, NUM_JOINTS), self.fitter.settings.hand_sigma_rad, np.float32)
        if covariance is None:
            return np.full((count, NUM_JOINTS), INF, np.float32), rotation
        problem_joints = PARTS["body"]
        points = self.parts.joint_points(tuple(range(NUM_JOINTS)))
        table = PointTable.of(self.skeleton, points, problem_joints)
        unknowns = Unknowns(problem_joints, True, False, 0, 0)
        moving = table.differentiate(pose_chain(self.skeleton, state), unknowns)
        like = state.transl
        axes = torch.eye(3, dtype=like.dtype, device=like.device).expand(count, NUM_JOINTS, 3, 3)
        rows = moving.rows(axes, unknowns)
        rows = rows - rows[:, :1]
        flat = rows.reshape(count, 3 * NUM_JOINTS, -1).to(covariance.dtype)
        variance = ((flat @ covariance) * flat).sum(-1).clamp_min(0).reshape(count, NUM_JOINTS, 3).sum(-1)
        own = torch.diagonal(covariance, dim1=-2, dim2=-1)[:, : 3 * len(problem_joints)]
        turned = own.reshape(count, -1, 3).mean(-1).clamp_min(0).sqrt()
        rotation[:, list(problem_joints)] = turned.float().cpu().numpy()
        return variance.sqrt().float().cpu().numpy(), np.minimum(rotation, np.pi).astype(np.float32)

    def probe_positions(self, state: BodyState) -> Array:
        """The smoothed joints and the soles, (T, S, 3), camera axes: soles are the last four."""
        table = PointTable.of(self.skeleton, self.parts.probes, (0,))
        return table.positions(pose_chain(self.skeleton, state)).float().cpu().numpy()
