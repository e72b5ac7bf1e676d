"""One person's motion over a clip: one shape and one camera, each frame alone, then windows of frames together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.model import VirtualPoints
from ..body.skeleton import JOINT_INDEX, LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from ..priors.regressor import MIN_POINTS
from ..rotation import exp_so3
from .kinematics import PointTable, pose_chain
from .photo import FitError, Fitter, PhotoCamera
from .regressed import Regressed
from .residuals import reprojection
from .settings import INF
from .solver import SolverSettings, solve
from .start import place, relaxed_pose
from .state import BodyState
from .video_evidence import (
    FACE_FRAME,
    FIRST,
    PALM,
    SETS,
    Seen,
    carriers_of,
    evidence_of,
    joint_trusts,
    layout,
    regressor_input,
)
from .video_problem import PARTS, FramesProblem
from .video_settings import VideoSettings
from .video_smooth import Contact, Smoothness
from .video_window import WindowSolution, solve_window

Array = NDArray[np.float32]
HAND_PARTS = ("left_hand", "right_hand")


@dataclass(frozen=True)
class ClipShape:
    """What all frames of a person share."""

    betas: Array  # (B,)
    focal_px: float
    focal_source: str  # "given" or "fitted"
    principal_px: tuple[float, float]


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
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Motion:
        return cls(*(arrays[item.name] for item in fields(cls)))


@dataclass(frozen=True)
class Standing:
    """Contacts of a stretch of frames: `solid` (T, 4) left heel, left toe, right heel, right toe; ground as a plane."""

    solid: Array  # (T, 4) 0 or 1
    up: Array  # (3,)
    ground_m: float


class ClipFitter:
    """Fits people of clips with one body. Nothing is kept from one person to the next."""

    def __init__(self, fitter: Fitter, settings: VideoSettings | None = None) -> None:
        self.fitter = fitter
        self.settings = settings or VideoSettings()
        self.body, self.skeleton = fitter.body, fitter.skeleton
        self.layouts = {part: layout(part, fitter.body, fitter.settings) for part in PARTS}
        self.carriers = {
            part: carriers_of(fitter.body, chosen) for part, chosen in self.layouts.items() if len(chosen.points)
        }
        self.joint_names = tuple(self.settings.position_sigma)
        self.probes = _join_points(self._joint_points(), sole_points(fitter.body))

    # --- shape and camera ---------------------------------------------------------------------------------------

    def shape(
        self,
        keys: Seen,
        image_size: tuple[int, int],
        camera: PhotoCamera,
        is_cancelled: Callable[[], bool] | None = None,
    ) -> ClipShape:
        """One shape and one focal length from some frames in which the person is seen well. Raises FitError."""
        first = self._fit_keys(keys, image_size, camera, is_cancelled)
        focal, source = camera.focal_px, camera.focal_source
        if focal is None:
            focal = math.exp(weighted_median(np.log([c[1] for c in first]), np.array([c[2] for c in first])))
            source = "fitted"
            first = self._fit_keys(keys, image_size, PhotoCamera(focal, "fitted", camera.principal_px), is_cancelled)
        weights = np.array([c[2] for c in first])
        betas = np.array([weighted_median(column, weights) for column in np.stack([c[0] for c in first]).T], np.float32)
        principal = camera.principal_px or (image_size[0] / 2, image_size[1] / 2)
        return ClipShape(betas, float(focal), source, principal)

    def _fit_keys(
        self,
        keys: Seen,
        image_size: tuple[int, int],
        camera: PhotoCamera,
        is_cancelled: Callable[[], bool] | None,
    ) -> list[tuple[Array, float, float]]:
        """Betas, focal length and belief of each key frame that could be fitted."""
        found = []
        for row in range(len(keys)):
            try:
                capture = self.fitter.fit(keys.observation(row, image_size), camera, 0, is_cancelled)
            except FitError:
                continue
            found.append((capture.betas, capture.focal_px, max(float(capture.confidence[0]), 1e-3)))
        if not found:
            raise FitError(
                "No frame shows enough of this person to fit a body. Use a clip that shows more of the person."
            )
        return found

    # --- each frame alone ---------------------------------------------------------------------------------------

    @torch.inference_mode()
    def alone(self, seen: Seen, shape: ClipShape, image_size: tuple[int, int]) -> tuple[BodyState, Tensor]:
        """Each frame's own fit of the body, and its cost (T,), infinite where too little was seen."""
        regressed, prediction = self._regressed(seen, shape)
        state = self.state(seen, shape)
        if prediction is not None:
            rotmats = prediction.clone()
            rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop] = state.rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop]
            state = replace(state, rotmats=rotmats)
        wide = self._problem("body", seen, shape, image_size, 8.0, regressed)
        positions = wide.points.positions(pose_chain(self.skeleton, state))[:, : wide.count]
        transl = place(positions, state.log_focal, wide.principal, wide.observed, wide.inverse_sigma)
        state = replace(state, transl=transl)
        s = self.settings
        first = solve(wide, state, SolverSettings(max_steps=s.start_steps, tolerance=1e-2))
        problem = self._problem("body", seen, shape, image_size, s.robust_width, regressed)
        second = solve(problem, first.state, SolverSettings(max_steps=s.frame_steps, tolerance=5e-3))
        enough = torch.as_tensor(enough_seen(seen))
        cost = torch.where(enough.to(second.linearisation.cost.device), second.linearisation.cost, INF)
        return fill_in(second.state, enough, torch.as_tensor(seen.time_s)), cost

    def state(self, seen: Seen, shape: ClipShape) -> BodyState:
        """A standing body a few metres away in every frame."""
        count, like = len(seen), self.skeleton.J_template
        rotmats = exp_so3(relaxed_pose().to(like)).repeat(count, 1, 1, 1)
        rotmats[:, 0] = exp_so3(like.new_tensor([math.pi, 0.0, 0.0]))
        hands = exp_so3(self._tensor(self.body.hands_mean).reshape(-1, 3))
        rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop] = hands
        return BodyState(
            rotmats,
            like.new_zeros(count, 3),
            like.new_full((count,), math.log(shape.focal_px)),
            self._tensor(shape.betas).expand(count, -1),
            like.new_zeros(count, self.body.num_expressions),
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
        is_cancelled: Callable[[], bool] | None = None,
    ) -> WindowSolution:
        """The body in all frames together; the first `held` frames stay."""
        s = self.settings
        regressed, _ = self._regressed(seen, shape)
        problem = self._problem("body", seen, shape, image_size, s.robust_width, regressed, probes=True)
        smoothness = self._smoothness("body", seen, standing, turn)
        frozen = torch.arange(len(seen), device=start.transl.device) < held
        if standing is None:
            # Frames that were fitted alone jitter beyond what any robust kernel would take for motion.
            first = SolverSettings(max_steps=s.smooth_steps, tolerance=1e-2)
            start = solve_window(
                problem, replace(smoothness, robust_width=INF), start, frozen, first, is_cancelled
            ).state
        last = SolverSettings(max_steps=s.window_steps if standing is None else s.contact_steps, tolerance=s.tolerance)
        return solve_window(problem, smoothness, start, frozen, last, is_cancelled, covariance=standing is not None)

    @torch.inference_mode()
    def detail_window(
        self,
        seen: Seen,
        start: BodyState,
        held: int,
        shape: ClipShape,
        image_size: tuple[int, int],
        is_cancelled: Callable[[], bool] | None = None,
    ) -> BodyState:
        """Fingers and face on a body that is known."""
        s, state = self.settings, start
        frozen = torch.arange(len(seen), device=start.transl.device) < held
        for part in (*HAND_PARTS, "face"):
            if part not in self.carriers or not seen.confidence[:, self.layouts[part].points].any():
                state = self._relaxed(state, part, frozen)
                continue
            problem = self._problem(part, seen, shape, image_size, s.robust_width, None)
            problem.follow(state, self._anchors(part))
            solution = solve_window(
                problem,
                self._smoothness(part, seen, None, None),
                state,
                frozen,
                SolverSettings(max_steps=s.window_steps, tolerance=s.tolerance),
                is_cancelled,
            )
            state = solution.state
        return state

    def inliers(self, seen: Seen, state: BodyState, shape: ClipShape, image_size: tuple[int, int]) -> Array:
        """Share of the body's trusted points within three σ, times the detector's score, (T,)."""
        problem = self._problem("body", seen, shape, image_size, INF, None)
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
        points = self._joint_points(tuple(range(NUM_JOINTS)))
        table = PointTable.of(self.skeleton, points, problem_joints)
        from .state import Unknowns

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
        table = PointTable.of(self.skeleton, self.probes, (0,))
        return table.positions(pose_chain(self.skeleton, state)).float().cpu().numpy()

    # --- parts --------------------------------------------------------------------------------------------------

    def _tensor(self, array: object) -> Tensor:
        like = self.skeleton.J_template
        return torch.as_tensor(array).to(dtype=like.dtype, device=like.device)

    def _problem(
        self,
        part: str,
        seen: Seen,
        shape: ClipShape,
        image_size: tuple[int, int],
        robust_width: float,
        regressed: Regressed | None,
        probes: bool = False,
    ) -> FramesProblem:
        f = self.fitter
        evidence = evidence_of(seen, self.layouts[part], self.carriers[part], f.settings)
        joints = tuple(joint for joint in PARTS[part] if joint)
        trust = None
        if part == "body":
            trust = spread_in_time(joint_trusts(seen, image_size, f.settings), seen.time_s, self.settings.unseen_full_s)
        return FramesProblem(
            part,
            self.body,
            self.skeleton,
            evidence,
            shape.principal_px,
            f.priors,
            f.settings,
            robust_width,
            f._joint_limits(joints),
            regressed,
            trust,
            self.probes if probes else None,
        )

    def _regressed(self, seen: Seen, shape: ClipShape) -> tuple[Regressed | None, Tensor | None]:
        regressor = self.fitter.regressor
        if regressor is None:
            return None, None
        pixels, trust = regressor_input(seen)
        plain = np.zeros(len(seen))
        prediction = regressor.predict_frames(pixels, trust, plain, shape.focal_px, shape.principal_px)
        silent = torch.as_tensor((trust > 0).sum(1) < MIN_POINTS)
        prediction.sigma_rad[silent] = 1e4
        prediction.direction_sigma_rad[silent] = 1e4
        prediction.rotmats[silent] = torch.eye(3)
        prediction.directions[silent] = 0
        return Regressed(prediction, self.body, self.skeleton, self.fitter.settings), prediction.rotmats

    def _smoothness(self, part: str, seen: Seen, standing: Standing | None, turn: Array | None) -> Smoothness:
        s, like = self.settings, self.skeleton.J_template
        count = len(seen)
        joints = PARTS[part]
        names = {index: name for name, index in JOINT_INDEX.items()}
        points, expression, contact = like.new_zeros(0), like.new_zeros(0), None
        if part == "body":
            sigma = [s.turn_sigma[names[joint]] for joint in joints]
            points = like.new_zeros(len(self.probes.template))
            points[: len(self.joint_names)] = 1 / self._tensor(list(s.position_sigma.values()))
        elif part == "face":
            sigma = [s.face_turn_sigma] * len(joints)
            wide = [s.blink_sigma if "link" in name else s.expression_sigma for name in self.body.expression_names]
            expression = 1 / self._tensor(wide)
        else:
            sigma = [s.finger_turn_sigma] * len(joints)
        if standing is not None:
            contact = Contact(
                torch.arange(len(self.joint_names), len(self.joint_names) + 4, device=like.device),
                self._tensor(standing.solid),
                self._tensor(standing.up),
                standing.ground_m,
                s.contact_speed_sigma,
                s.contact_height_sigma,
            )
        eye = torch.eye(3, dtype=like.dtype, device=like.device).expand(count, 3, 3)
        return Smoothness(
            self._tensor(seen.time_s - seen.time_s[0]),
            self._tensor((np.diff(seen.shot) == 0).astype(np.float32)),
            points,
            joints,
            1 / self._tensor(sigma),
            expression,
            s.smooth_robust_width,
            eye if turn is None else self._tensor(turn),
            contact,
        )

    def _anchors(self, part: str) -> list[int]:
        """Places in a part's evidence of the points that the rest of the body carries."""
        wanted = [FIRST[part] + i for i in PALM] if part in HAND_PARTS else [FIRST["face468"] + i for i in FACE_FRAME]
        points = self.layouts[part].points.tolist()
        return [points.index(point) for point in wanted if point in points]

    def _relaxed(self, state: BodyState, part: str, frozen: Tensor) -> BodyState:
        rotmats = state.rotmats.clone()
        joints = list(PARTS[part])
        if part == "face":
            rest = torch.eye(3, dtype=rotmats.dtype, device=rotmats.device).expand(3, 3, 3)
            expression = torch.where(frozen[:, None], state.expression, torch.zeros_like(state.expression))
            state = replace(state, expression=expression)
        else:
            side = 0 if part == "left_hand" else 1
            rest = exp_so3(self._tensor(self.body.hands_mean.reshape(2, -1, 3)[side]))
        moved = rotmats[:, joints]
        rotmats[:, joints] = torch.where(frozen[:, None, None, None], moved, rest.expand_as(moved))
        return replace(state, rotmats=rotmats)

    def _joint_points(self, joints: tuple[int, ...] | None = None) -> VirtualPoints:
        index = list(joints) if joints is not None else [JOINT_INDEX[name] for name in self.joint_names]
        weights = np.eye(NUM_JOINTS, dtype=np.float32)[index]
        body = self.body
        return VirtualPoints(body.J_template[index], body.J_shapedirs[index], body.J_exprdirs[index], weights)


def enough_seen(seen: Seen) -> NDArray[np.bool_]:
    """Frames with enough points for a fit of their own, (T,)."""
    body = slice(FIRST[SETS[0]], FIRST[SETS[1]])
    return np.asarray((seen.confidence[:, body] > 0.3).sum(1) >= 6)


def fill_in(state: BodyState, known: Tensor, time_s: Tensor) -> BodyState:
    """The states of unknown frames from the nearest known ones: rotations and places half-way in time."""
    if bool(known.all()) or not bool(known.any()):
        return state
    from ..rotation import log_so3

    at = torch.nonzero(known).flatten()
    all_frames = torch.arange(len(known))
    after = torch.searchsorted(at, all_frames).clamp_max(len(at) - 1)
    before = (torch.searchsorted(at, all_frames, right=True) - 1).clamp_min(0)
    a, b = at[before], at[after]
    span = (time_s[b] - time_s[a]).clamp_min(1e-9)
    share = ((time_s - time_s[a]) / span).clamp(0, 1).to(state.transl)
    share = torch.where(a == b, torch.zeros_like(share), share)
    turned = log_so3(state.rotmats[a].transpose(-1, -2) @ state.rotmats[b])
    rotmats = state.rotmats[a] @ exp_so3(share[:, None, None] * turned)
    transl = state.transl[a] + share[:, None] * (state.transl[b] - state.transl[a])
    expression = state.expression[a] + share[:, None] * (state.expression[b] - state.expression[a])
    return replace(state, rotmats=rotmats, transl=transl, expression=expression)


def spread_in_time(trust: Array, time_s: NDArray[np.float64], full_s: float) -> Array:
    """Trust (T, J) raised by what was seen a moment before or after: what is known of a limb fades in `full_s`."""
    result = trust.copy()
    for order in (range(1, len(trust)), range(len(trust) - 2, -1, -1)):
        step = 1 if order.step == 1 else -1
        for t in order:
            fade = abs(float(time_s[t] - time_s[t - step])) / full_s
            result[t] = np.maximum(result[t], result[t - step] - fade)
    return result


def weighted_median(values: Any, weights: NDArray[np.float64]) -> float:
    """The value with half of the weight on each side; between two such values, the lower one."""
    array = np.asarray(values, np.float64)
    order = np.argsort(array, kind="stable")
    total = np.cumsum(weights[order])
    return float(array[order][np.searchsorted(total, 0.5 * total[-1])])


def sole_points(body: Any) -> VirtualPoints:
    """Four points under the feet, left heel, left toe, right heel, right toe: where the surface is lowest in the T-pose
    at the back of the ankle's part and at the front of the foot."""
    index = []
    for side in ("left", "right"):
        ankle, foot = JOINT_INDEX[f"{side}_ankle"], JOINT_INDEX[f"{side}_foot"]
        part = np.flatnonzero(body.weights[:, ankle] + body.weights[:, foot] > 0.6)
        v = body.v_template[part]
        back, front = v[:, 2].min(), v[:, 2].max()
        along = (v[:, 2] - back) / (front - back)
        for low, high in ((0.05, 0.22), (0.68, 0.82)):
            there = part[(along > low) & (along < high)]
            index.append(int(there[body.v_template[there, 1].argmin()]))
    return VirtualPoints(
        body.v_template[index], body.shapedirs[index], body.exprdirs[index], body.weights[index].astype(np.float32)
    )


def _join_points(first: VirtualPoints, second: VirtualPoints) -> VirtualPoints:
    names = ("template", "shapedirs", "exprdirs", "weights")
    return VirtualPoints(*(np.concatenate([getattr(first, n), getattr(second, n)]).astype(np.float32) for n in names))
