"""Correct a pose by hand: some points pinned, some joints locked, the rest follows from where it was.

Shape and camera stay. Pins hold exactly where bones can reach: a wrist that is pinned beyond its arm's length takes the
trunk along. What need not move does not: joints whose change would be smaller than `still_rad` keep their very values.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.model import BodyModel, VirtualPoints
from ..body.skeleton import JAW, JOINT_INDEX, JOINT_NAMES, LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from ..capture import Capture, pose_parts
from ..priors.limits import JointLimits
from ..priors.pose import load_gaussian_prior
from ..rotation import exp_so3, log_so3
from .correction import FACE_SETS, Correction, CorrectSettings, check
from .hold import body_set, expressive, hold_points, join, take
from .kinematics import PointTable, Skeleton, pose_chain
from .pins import PinProblem, Pins, Stay, meet
from .solver import SolverSettings, solve
from .state import BodyState, Unknowns

Array = NDArray[np.float32]


FACE_ALONE = frozenset({JOINT_INDEX["neck"], JOINT_INDEX["head"], JAW})
LEGS = [JOINT_INDEX[f"{side}_{name}"] for side in ("left", "right") for name in ("hip", "knee", "ankle", "foot")]


class Corrector:
    """Corrects captures of one body, one after another; nothing is kept from one to the next."""

    def __init__(self, body: BodyModel, settings: CorrectSettings | None = None) -> None:
        self.body = body
        self.settings = settings or CorrectSettings()
        self.skeleton = Skeleton.of(body, torch.float64, "cpu")
        self.prior = load_gaussian_prior("gaussian", torch.float64)
        self._sets: dict[str, VirtualPoints] = {}
        self._limits: dict[tuple[int, ...], JointLimits] = {}
        self._stay = torch.tensor([_sigma(name, self.settings) for name in JOINT_NAMES], dtype=torch.float64)

    @torch.inference_mode()
    def correct(self, capture: Capture, correction: Correction) -> Capture:
        """The first frame of `capture`, corrected. Raises CorrectError.

        Its other frames are further poses to start from (what is on the screen while a point is dragged); shape,
        camera and what was seen are the first frame's.
        """
        check(capture, self.body, correction)
        reference, starts = self._states(capture)
        principal = torch.as_tensor(capture.principal_px, dtype=torch.float64)
        problem = self._problem(capture, correction, reference, principal, self._unknowns(capture, correction))
        s = self.settings
        if not correction.refit and max_miss(problem, reference) <= s.close_px:
            return _corrected(capture, reference, reference, {**_report(problem, reference), "steps": 0})
        state = None
        if self._only_faces(capture, correction, reference, principal):
            unknowns = self._unknowns(capture, correction, FACE_ALONE)
            if unknowns.size:
                alone = self._problem(capture, correction, reference, principal, unknowns)
                state, steps = self._solved(alone, starts)
                if max_miss(alone, state) > s.close_px:
                    state = None
        if state is None:
            state, steps = self._solved(problem, starts)
        if not correction.refit:
            state = self._calm(capture, correction, problem, reference, state)
        met = {**_report(problem, state), "steps": steps}
        return _corrected(capture, reference, state, met, self._joints(state))

    # --- parts ----------------------------------------------------------------------------------------------

    def _solved(self, problem: PinProblem, starts: BodyState) -> tuple[BodyState, int]:
        """The best state from all starts, on its pins as far as they can be met, and how many steps it took."""
        s = self.settings
        solution = solve(problem, starts, SolverSettings(max_steps=s.max_steps, tolerance=s.tolerance))
        best = int(torch.nan_to_num(solution.linearisation.cost, nan=math.inf).argmin())
        state = meet(problem, solution.state.select(torch.tensor([best])), s.meet_steps, s.close_px)
        return state, solution.steps

    def _only_faces(self, capture: Capture, correction: Correction, reference: BodyState, principal: Tensor) -> bool:
        """Whether head and expression may do: a face is pinned, and all other pins are met."""
        if correction.refit or not any(name in FACE_SETS for name, _ in correction.points):
            return False
        others = {point: place for point, place in correction.points.items() if point[0] not in FACE_SETS}
        rest = replace(correction, points=others)
        if not (others or correction.joints):
            return True
        problem = self._problem(capture, rest, reference, principal, self._unknowns(capture, rest))
        return max_miss(problem, reference) <= self.settings.close_px

    def _states(self, capture: Capture) -> tuple[BodyState, BodyState]:
        """The first frame, and all frames as starts."""
        count = capture.num_frames
        rotmats = exp_so3(torch.as_tensor(capture.full_pose(), dtype=torch.float64).reshape(count, NUM_JOINTS, 3))
        betas = torch.zeros(count, self.body.num_betas, dtype=torch.float64)
        betas[:, : len(capture.betas)] = torch.as_tensor(capture.betas)
        expression = torch.zeros(count, self.body.num_expressions, dtype=torch.float64)
        expression[:, : capture.expression.shape[1]] = torch.as_tensor(capture.expression)
        starts = BodyState(
            rotmats,
            torch.as_tensor(capture.transl, dtype=torch.float64),
            torch.full((count,), math.log(capture.focal_px), dtype=torch.float64),
            betas,
            expression,
        )
        return starts.select(torch.tensor([0])), starts

    def _unknowns(self, capture: Capture, correction: Correction, only: frozenset[int] | None = None) -> Unknowns:
        """The body always, or `only` some joints of it; a hand or the expression where one of its points is pinned, or
        where a refit sees it."""
        joints = set(range(22))
        sets = {name for name, _ in correction.points}
        seen = set(capture.points) if correction.refit else set()
        for side, part in (("left", LEFT_HAND), ("right", RIGHT_HAND)):
            fingers = range(part.start, part.stop)
            if f"{side}_hand" in sets | seen or any(JOINT_INDEX[name] in fingers for name in correction.joints):
                joints.update(fingers)
        face = expressive(self.points, capture, correction, self.settings)
        # Where expressions open the mouth the jaw's bone has nothing to do.
        if (face and not self.body.bounded_expression) or "jaw" in correction.joints:
            joints.add(JAW)
        if only is not None:
            joints &= only
        joints -= {JOINT_INDEX[name] for name in correction.locked}
        expressions = self.body.num_expressions if face and "jaw" not in correction.locked else 0
        return Unknowns(
            tuple(sorted(joints)), only is None and "pelvis" not in correction.locked, False, 0, expressions
        )

    def _problem(
        self, capture: Capture, correction: Correction, reference: BodyState, principal: Tensor, unknowns: Unknowns
    ) -> PinProblem:
        s = self.settings
        loosen = s.refit_loosen if correction.refit else 1.0
        near = self._near(correction)
        far = torch.full((NUM_JOINTS,), s.stay_far, dtype=torch.float64)
        far[LEGS] = s.stay_far_legs
        far[near | correction.refit] = 1.0
        stay = Stay(
            rotation=self._stay * loosen * far,
            transl=torch.tensor(s.stay_transl_m, dtype=torch.float64) * loosen,
            expression=s.stay_expression,
            prior=(self.prior, s.refit_prior if correction.refit else s.likeness),
            liken=frozenset(range(NUM_JOINTS) if correction.refit else torch.nonzero(near).flatten().tolist()),
            absolute_prior=correction.refit,
            limits=self._joint_limits(tuple(joint for joint in unknowns.joints if joint)),
            limit=s.limit,
        )
        project = _Projector(self, reference, principal)
        holds = hold_points(self.body, self.points, capture, correction, project, s)
        size = project.size(body_set(self.body, capture))
        pin_px = max(s.pin_share * size, 0.5)
        depth = float(reference.transl[0, 2].clamp_min(0.3))
        pin_m = pin_px * depth / capture.focal_px
        return PinProblem(
            self.skeleton,
            reference,
            principal,
            unknowns,
            self._pins(correction),
            holds,
            stay,
            pin_px,
            pin_m,
            self.body.bounded_expression,
        )

    def _near(self, correction: Correction) -> Tensor:
        """(55,) True for the joints between a pinned point and the pelvis, and for what hangs below the point."""
        carriers = [int(self.points(name).weights[index].argmax()) for name, index in correction.points]
        carriers += [JOINT_INDEX[name] for name in correction.joints]
        above = self.skeleton.ancestors[carriers].sum(0) > 0
        below = self.skeleton.ancestors[:, carriers].sum(1) > 0
        return above | below

    def _joint_limits(self, joints: tuple[int, ...]) -> JointLimits | None:
        """Limits of these joints; made once."""
        if joints and joints not in self._limits:
            self._limits[joints] = JointLimits(joints, self.body.J_template, torch.float64)
        return self._limits.get(joints)

    def points(self, name: str) -> VirtualPoints:
        """A point set of the body as the solver wants it; made once."""
        if name not in self._sets:
            self._sets[name] = self.body.virtual_points(self.body.points[name])
        return self._sets[name]

    def _pins(self, correction: Correction) -> Pins:
        parts = [take(self.points(name), [index]) for name, index in correction.points]
        joints = [JOINT_INDEX[name] for name in correction.joints]
        parts.append(
            VirtualPoints(
                self.body.J_template[joints],
                self.body.J_shapedirs[joints],
                self.body.J_exprdirs[joints],
                np.eye(NUM_JOINTS, dtype=np.float32)[joints],
            )
        )
        return Pins(
            join(parts),
            torch.tensor(list(correction.points.values()), dtype=torch.float64).reshape(-1, 2),
            torch.tensor(list(correction.joints.values()), dtype=torch.float64).reshape(-1, 3),
        )

    def _calm(
        self, capture: Capture, correction: Correction, problem: PinProblem, reference: BodyState, state: BodyState
    ) -> BodyState:
        """Put back what hardly moved, and meet the pins again with the rest; as it was where that can't be."""
        s = self.settings
        turned = log_so3(reference.rotmats[0].transpose(-1, -2) @ state.rotmats[0]).norm(dim=-1)
        u = problem.unknowns
        least = torch.where(self._near(correction), s.still_rad, s.still_far_rad)
        moving = tuple(joint for joint in u.joints if bool(turned[joint] > least[joint]))
        places = u.transl and float((state.transl - reference.transl).norm()) > s.still_m
        faces = (
            u.num_expressions
            if bool(((state.expression - reference.expression).abs() > s.still_expression).any())
            else 0
        )
        if (len(moving), places, faces) == (len(u.joints), u.transl, u.num_expressions) or not moving:
            return state
        still = torch.ones(NUM_JOINTS, dtype=torch.bool)
        still[list(moving)] = False
        calmer = BodyState(
            torch.where(still[None, :, None, None], reference.rotmats, state.rotmats),
            state.transl if places else reference.transl,
            state.log_focal,
            state.betas,
            state.expression if faces else reference.expression,
        )
        unknowns = Unknowns(moving, places, False, 0, faces)
        principal = problem.principal
        again = self._problem(capture, correction, reference, principal, unknowns)
        calmer = meet(again, calmer, s.meet_steps, s.close_px)
        return calmer if max_miss(again, calmer) <= max(max_miss(problem, state), s.close_px) else state

    def _joints(self, state: BodyState) -> Array:
        joints: Array = pose_chain(self.skeleton, state).joints.float().numpy()
        return joints


class _Projector:
    """Where the reference shows the body's points, px."""

    def __init__(self, corrector: Corrector, reference: BodyState, principal: Tensor) -> None:
        self._points, self._skeleton = corrector.points, corrector.skeleton
        self._chain = pose_chain(corrector.skeleton, reference)
        self._focal, self._principal = torch.exp(reference.log_focal[0]), principal
        self._cache: dict[str, NDArray[np.float64]] = {}

    def __call__(self, name: str) -> NDArray[np.float64]:
        if name not in self._cache:
            table = PointTable.of(self._skeleton, self._points(name), (0,))
            points = table.positions(self._chain)[0]
            flat = self._focal * points[:, :2] / points[:, 2:].clamp_min(0.05) + self._principal
            self._cache[name] = flat.numpy()
        return self._cache[name]

    def size(self, name: str) -> float:
        """The longer side of the box around a set, px."""
        return float(max(np.ptp(self(name), axis=0).max(), 8.0))


def max_miss(problem: PinProblem, state: BodyState) -> float:
    """The farthest pin, px; a millimetre counts as a px."""
    px, metres = _misses(problem, state)
    return max(px, 1000 * metres)


def _misses(problem: PinProblem, state: BodyState) -> tuple[float, float]:
    if not len(problem.pin_weight):
        return 0.0, 0.0
    residual = problem.constraints(state)[0][0]
    count = 2 * len(problem.pins.image_px)
    flat, deep = residual[:count].reshape(-1, 2).norm(dim=-1), residual[count:].reshape(-1, 3).norm(dim=-1)
    return float(flat.max()) if len(flat) else 0.0, float(deep.max()) if len(deep) else 0.0


def _report(problem: PinProblem, state: BodyState) -> dict[str, object]:
    px, metres = _misses(problem, state)
    return {"pins_off_px": round(px, 4), "pins_off_m": round(metres, 6)}


def _sigma(name: str, settings: CorrectSettings) -> float:
    kind = name.removeprefix("left_").removeprefix("right_").removesuffix("_smplhf")
    return settings.stay_rad.get(kind, settings.stay_rad["finger"])


def _corrected(
    capture: Capture, before: BodyState, after: BodyState, met: dict[str, object], joints: Array | None = None
) -> Capture:
    """The first frame with what changed; what did not keeps its very numbers."""
    same = (before.rotmats[0] == after.rotmats[0]).all(-1).all(-1)
    pose = torch.as_tensor(capture.full_pose()[:1], dtype=torch.float64).reshape(NUM_JOINTS, 3)
    turns = torch.where(same[:, None], pose, log_so3(after.rotmats[0])).float().numpy()
    moved = [JOINT_NAMES[joint] for joint in np.flatnonzero(~same.numpy())]

    width = capture.expression.shape[1]
    expression = after.expression[:, :width].float().numpy()
    return replace(
        capture,
        **pose_parts(turns[None]),
        transl=after.transl.float().numpy(),
        expression=expression,
        joints=capture.joints[:1] if joints is None else joints,
        frame_times_s=capture.frame_times_s[:1],
        confidence=capture.confidence[:1],
        joint_sigma_m=capture.joint_sigma_m[:1],
        joint_sigma_rad=capture.joint_sigma_rad[:1],
        points={name: points[:1] for name, points in capture.points.items()},
        diagnostics={**capture.diagnostics, "correction": {**met, "moved": moved}},
    )
