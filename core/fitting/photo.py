"""Fit a body to what was seen of one person in one photo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..body.model import BodyModel
from ..body.skeleton import LEFT_HAND, RIGHT_HAND
from ..capture import Capture
from ..detection.observation import Observation
from ..detection.sides import put_right
from ..priors.errors import PriorError
from ..priors.hand_reader import HandReader, bend_fingers
from ..priors.limits import JointLimits
from ..priors.pose import PosePrior
from ..priors.regressor import Prediction, Regressor, load_regressor, rest_directions
from ..rotation import exp_so3
from .apart import keep_apart, known_from
from .collision import Collision, NearPairs
from .contour import Contour, contour_of
from .evidence import Evidence, gather
from .height import KnownHeight, StandingHeight
from .kinematics import Skeleton, pose_chain
from .known import other_depths
from .mistaken import ACROSS, MIDDLE, WRISTS, mistaken_hands, without_mistakes
from .outline import Outline, Silhouette
from .photo_capture import Fitted, capture_of
from .photo_priors import default_priors, face_readers, hand_priors
from .problem import CameraGuess, StageProblem
from .regressed import Regressed
from .settings import INF, FitSettings, Stage
from .solver import Solution, SolverSettings, Stop, solve
from .start import hands_start, has_hints, lean_of, place, relaxed_pose, start_from_hints, start_orientations
from .state import BodyState
from .straight import flatten_feet, straight_share, straighten_hints, straighten_prediction
from .unseen import beside_the_other, hang, hidden_forearms, hidden_legs, without_guesses

MIN_POINTS = 4


class FitError(Exception):
    """A fit that can't be made; the message says what to do next."""


@dataclass(frozen=True)
class PhotoCamera:
    """What is known of a photo's camera. focal_px of the upright picture at full resolution; None = unknown."""

    focal_px: float | None = None
    focal_source: str = "guessed"  # "given", "exif" when focal_px is there, or as of somebody before
    principal_px: tuple[float, float] | None = None  # None = the middle

    def for_others(self, first: Capture) -> PhotoCamera:
        """The camera of those who come after `first` in a photo or clip: it is one, and the main person tells most."""
        if self.focal_px is not None:
            return self
        return replace(self, focal_px=first.focal_px, focal_source=first.focal_source)


class Fitter:
    """Fits one body model to any number of people, one after another; nothing is kept from one to the next.

    priors: rotation priors with their weights, beside those that the settings hold.
    """

    def __init__(
        self,
        body: BodyModel,
        settings: FitSettings | None = None,
        priors: tuple[tuple[PosePrior, float], ...] | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.body = body
        self.settings = settings or FitSettings()
        self.skeleton = Skeleton.of(body, dtype, device)
        self.dtype, self.device = dtype, device
        self._limits: dict[tuple[int, ...], JointLimits] = {}
        self._keep_apart: Collision | None = None
        self._standing: StandingHeight | None = None
        self._outline: Outline | None = None
        self.warnings: list[str] = []  # what every capture's diagnostics should say
        if priors is None:
            try:
                priors, warning = default_priors(self.settings, dtype, device)
                self.warnings += [warning] if warning else []
            except PriorError as error:
                priors = ()
                self.warnings.append(f"{error} Until then joint limits alone say what poses are likely.")
        self.priors = priors
        try:
            self.priors += hand_priors(body, self.settings, dtype, device)
        except PriorError as error:
            self.warnings.append(f"{error} Until then fingers are held to the relaxed hand one by one.")
        self.readers, warnings = face_readers(self.settings)
        self.warnings += warnings
        self.hand_reader: HandReader | None = None
        if self.settings.hand_reader:
            try:
                self.hand_reader = HandReader()
            except PriorError as error:
                self.warnings.append(f"{error} Until then fingers bend as the detector has them, too little.")
        self.regressor: Regressor | None = None
        if self.settings.regressor > 0:
            try:
                self.regressor = load_regressor(dtype, device)
            except PriorError as error:
                self.warnings.append(str(error))

    @torch.inference_mode()
    def fit(
        self,
        observation: Observation,
        camera: PhotoCamera | None = None,
        person_id: int = 0,
        is_cancelled: Callable[[], bool] | None = None,
        on_stage: Callable[[str, float], None] | None = None,
        height_m: float | None = None,
    ) -> Capture:
        """The capture of one person. Raises FitError when too few points were seen.

        on_stage gets a stage's name and the fraction of stages done. height_m: of the person standing, where it is
        known: it fixes the scale of body and distance.
        """
        observation, mixed_up = put_right(observation)
        how: dict[str, str] = {}  # hands that are not believed, by side
        while True:
            believed = without_mistakes(observation, how)
            capture = self._fit(believed, camera or PhotoCamera(), person_id, is_cancelled, on_stage, height_m)
            if isinstance(capture, Capture):
                break
            how |= {side: MIDDLE if side in how else ACROSS for side in capture}
        if mixed_up is not None:
            capture.diagnostics["exchanged_sides"] = mixed_up  # the detector had taken left for right there
        if how:
            capture.diagnostics["mistaken_hands"] = how
        return capture

    def _fit(
        self,
        observation: Observation,
        camera: PhotoCamera,
        person_id: int,
        is_cancelled: Callable[[], bool] | None,
        on_stage: Callable[[str, float], None] | None,
        height_m: float | None,
    ) -> Capture | tuple[str, ...]:
        """The capture, or the sides whose hands turn out to be mistaken."""
        given = observation
        observation, straight, forearms = self._believed(given)
        evidence = gather(self.body, observation, self.settings, self.readers)
        if len(evidence.image_px) < MIN_POINTS:
            raise FitError(
                "Too few points of this person were seen to fit a body. Use a picture that shows more of the person."
            )
        guess = self._camera_guess(camera, observation)
        evidence, prediction = self._predict(observation, evidence, guess, straight, forearms)
        regressed = None
        if prediction is not None:
            regressed = Regressed(prediction, self.body, self.skeleton, self.settings)
        stages, known = self.settings.stages, self.settings.known
        height = self._known_height(height_m)
        problem = self._problem(evidence, guess, stages[0], regressed, height)
        state = self._start(observation, evidence, guess, problem, prediction)
        contour = self._contour(observation, evidence)
        steps, stops, silhouette = 0, [], None
        fitted: tuple[StageProblem, Solution, int] | None = None
        for number, stage in enumerate(stages):
            if on_stage is not None:
                on_stage(stage.name, number / len(stages))
            near: NearPairs | None = None
            if evidence.noise_share < known.below and not stage.collision:
                stage = replace(
                    stage, max_steps=known.steps * stage.max_steps, tolerance=known.tolerance * stage.tolerance
                )
            if stage.collision:
                near, fingers = self._touching(state)
                if near is None:
                    continue
                # Fingers are many unknowns: they move only where they are in each other's way.
                stage = replace(stage, hands=stage.hands and fingers)
            if number:
                if stage.silhouette and not stage.collision:  # keeping apart hardly moves the outline
                    silhouette = self._silhouette(contour, state, evidence, guess)
                rim = silhouette if stage.silhouette else None
                problem = self._problem(evidence, guess, stage, regressed, height, rim)
            solution = self._solve(problem, state, stage, near, fitted, is_cancelled)
            best = int(torch.nan_to_num(solution.linearisation.cost, nan=math.inf).argmin())
            state = solution.state.select(torch.tensor([best], device=self.device))
            if stage.betas or fitted is None:
                fitted = problem, solution, best  # tells the uncertainty, of the shape too
            if stage.hands and not stage.collision:
                settled = all(later.collision for later in stages[number + 1 :])
                mistaken = self._mistaken(given, state, settled)
                if mistaken:  # they have misled arms and regressor, too: all is made anew
                    return mistaken
            steps += solution.steps
            stops.append(solution.stops[best])
            if stops[-1] is Stop.NON_FINITE:
                raise FitError("The points of this person make no sense as a body. Try another picture.")
            if stops[-1] is Stop.CANCELLED:
                break
        if fitted is None:
            raise FitError("These settings have no stage that fits. Use the default ones.")
        focal_source = camera.focal_source if camera.focal_px is not None else "fitted"
        end = Fitted(evidence, state, *fitted, steps, tuple(stops))
        return capture_of(self.body, self.settings, observation, end, focal_source, person_id, self.warnings)

    def _believed(self, observation: Observation) -> tuple[Observation, dict[str, float], dict[str, float]]:
        """What is believed of it: fingers bent, straight legs straight, guesses left out. By side, how straight legs
        are, 0…1; and of hidden forearms how far inward they may hang, in degrees."""
        s = self.settings
        observation = bend_fingers(observation, self.hand_reader)
        straight = straight_share(observation, s.straight)
        observation = straighten_hints(observation, straight, s.straight)
        forearms = hidden_forearms(observation, s.hang)
        observation = without_guesses(observation, forearms, hidden_legs(observation, s.hang))
        return observation, straight, forearms

    def _mistaken(self, given: Observation, state: BodyState, settled: bool) -> tuple[str, ...]:
        """Sides whose hands can't be as they were seen: their wrists would turn too far. settled: no later stage
        fits hands."""
        wrists = self._joint_limits(tuple(WRISTS.values()))
        return mistaken_hands(given, state, wrists, self.settings.mistaken, settled)

    def _predict(
        self,
        observation: Observation,
        evidence: Evidence,
        guess: CameraGuess,
        straight: dict[str, float],
        forearms: dict[str, float],
    ) -> tuple[Evidence, Prediction | None]:
        """What the regressor says, straight and hanging where it should be; None without one, or where too little is
        seen for it. Evidence: with trust in unseen legs that lie beside the other, so that nothing makes them stand."""
        if self.regressor is None:
            return evidence, None
        prediction = self.regressor.predict(observation, math.exp(guess.log_focal), guess.principal)
        if prediction is None:
            return evidence, None
        prediction = straighten_prediction(prediction, straight, self.settings.straight)
        prediction = flatten_feet(prediction, straight, rest_directions(self.body.J_template), self.settings.straight)
        unseen = (evidence.joint_trust < self.settings.hang.below).astype(np.float32)
        beside = list(beside_the_other(prediction, unseen, self.settings.hang))
        trust = evidence.joint_trust.copy()
        trust[beside] = np.maximum(trust[beside], self.settings.relaxed_below)
        return replace(evidence, joint_trust=trust), hang(prediction, unseen, self.settings.hang, forearms)

    def _solve(
        self,
        problem: StageProblem,
        state: BodyState,
        stage: Stage,
        near: NearPairs | None,
        fitted: tuple[StageProblem, Solution, int] | None,
        is_cancelled: Callable[[], bool] | None,
    ) -> Solution:
        """One stage from `state` on. near: pairs that it keeps apart, beginning with what `fitted` knows."""
        if near is None:
            return solve(
                problem, state, SolverSettings(stage.max_steps, stage.tolerance, trust_last=True), is_cancelled
            )
        known = known_from(*fitted, problem) if fitted is not None else None
        return keep_apart(problem, state, known, near, self.settings, is_cancelled)

    # --- parts ----------------------------------------------------------------------------------------------

    def _tensor(self, array: object) -> Tensor:
        return torch.as_tensor(array).to(dtype=self.dtype, device=self.device)

    def _camera_guess(self, camera: PhotoCamera, observation: Observation) -> CameraGuess:
        width, height = observation.image_size
        principal = camera.principal_px or (width / 2, height / 2)
        if camera.focal_px:
            return CameraGuess(principal, math.log(camera.focal_px), self.settings.focal_known_sigma)
        focal = self.settings.focal_guess * max(width, height)
        return CameraGuess(principal, math.log(focal), self.settings.focal_sigma)

    def _problem(
        self,
        evidence: Evidence,
        guess: CameraGuess,
        stage: Stage,
        regressed: Regressed | None = None,
        height: KnownHeight | None = None,
        silhouette: Silhouette | None = None,
    ) -> StageProblem:
        return StageProblem(
            self.body,
            self.skeleton,
            evidence,
            guess,
            self.priors,
            stage,
            self.settings,
            self._joint_limits,
            regressed,
            height,
            silhouette,
        )

    def _contour(self, observation: Observation, evidence: Evidence) -> Contour | None:
        s, size = self.settings, evidence.person_px
        if s.silhouette <= 0 or not any(stage.silhouette for stage in s.stages):
            return None
        return contour_of(observation, s.silhouette_spacing * size, s.silhouette_level, s.silhouette_margin * size)

    def _silhouette(
        self, contour: Contour | None, state: BodyState, evidence: Evidence, guess: CameraGuess
    ) -> Silhouette | None:
        """The outline of the body as it is now, matched with the mask's edge."""
        if contour is None:
            return None
        if self._outline is None:
            self._outline = Outline(self.body, self.skeleton)
        matches = self._outline.match(
            pose_chain(self.skeleton, state),
            float(torch.exp(state.log_focal[0])),
            np.array(guess.principal),
            contour,
            evidence,
            self.settings,
        )
        return Silhouette(self._outline, matches) if len(matches.vertices) else None

    def _known_height(self, height_m: float | None) -> KnownHeight | None:
        if height_m is None:
            return None
        if self._standing is None:
            self._standing = StandingHeight.of(self.body, self.dtype, self.device)
        return KnownHeight(self._standing, height_m, self.settings.height_sigma_m)

    def _collision(self) -> Collision:
        """What keeps the parts of this body apart; made once, when a stage first needs it."""
        if self._keep_apart is None:
            self._keep_apart = Collision.of(self.body, self.skeleton)
            if self._keep_apart.warning:
                self.warnings.append(self._keep_apart.warning)
        return self._keep_apart

    def _touching(self, state: BodyState) -> tuple[NearPairs | None, bool]:
        """Pairs of parts that are near each other, None where nothing overlaps, and whether fingers overlap much."""
        if self.settings.collision_sigma_m == INF:
            return None, False
        chain = pose_chain(self.skeleton, state)
        near = self._collision().near(chain, self.settings.collision_near_m)
        overlap, fingers = near.touch(chain) if near is not None else (False, False)
        return (near, fingers) if overlap else (None, False)

    def _joint_limits(self, joints: tuple[int, ...]) -> JointLimits:
        """Limits of these joints; made once, for they hang on the body alone."""
        if joints not in self._limits:
            self._limits[joints] = JointLimits(joints, self.body.J_template, self.dtype, self.device)
        return self._limits[joints]

    def _start(
        self,
        observation: Observation,
        evidence: Evidence,
        guess: CameraGuess,
        problem: StageProblem,
        prediction: Prediction | None,
    ) -> BodyState:
        """The first states: the regressor's, or without it one from 3D hints or one of each orientation.

        With what the regressor says in the energy all starts, the truth too, were seen to end in the same fit; where
        points are known they don't, and limbs start in both depths.
        """
        points = observation.points.get("pose33")
        hands = {
            side: observation.points[f"{side}_hand"]
            for side in ("left", "right")
            if self._knows_hand(observation, f"{side}_hand")
        }
        if prediction is not None:
            rotmats = prediction.rotmats.clone()
            rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop] = self._tensor(hands_start(self.body, hands))
            if evidence.noise_share < self.settings.known.below:
                rotmats = other_depths(rotmats, self.skeleton)
        elif "pose33" in self.body.points and has_hints(points):
            assert points is not None
            rotmats = self._tensor(start_from_hints(self.body, points, hands))
        else:
            orientations = self._tensor(start_orientations(lean_of(observation), self.settings))
            rotmats = exp_so3(self._tensor(relaxed_pose())).repeat(len(orientations), 1, 1, 1)
            rotmats[:, 0] = orientations
            rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop] = self._tensor(hands_start(self.body, hands))
        count = len(rotmats)
        state = BodyState(
            rotmats,
            rotmats.new_zeros(count, 3),
            rotmats.new_full((count,), guess.log_focal),
            rotmats.new_zeros(count, self.body.num_betas),
            rotmats.new_zeros(count, self.body.num_expressions),
        )
        # Hand and face points help to place someone of whom nothing else was seen.
        if problem.evidence.count < MIN_POINTS:
            problem = self._problem(evidence, guess, self.settings.stages[-1])
        positions = problem.evidence.positions(pose_chain(self.skeleton, state))
        transl = place(positions, state.log_focal, problem.principal, *problem.evidence.observed())
        return BodyState(rotmats, transl, state.log_focal, state.betas, state.expression)

    def _knows_hand(self, observation: Observation, name: str) -> bool:
        points = observation.points.get(name)
        if points is None or points.world_m is None or name not in self.body.points:
            return False
        return bool(np.isfinite(points.world_m).all() and points.confidence.mean() > self.settings.min_confidence)
