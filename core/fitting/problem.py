"""One stage of a fit as a least-squares problem: evidence, priors, normal equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..body.model import BodyModel
from ..body.skeleton import JAW, JOINT_INDEX, LEFT_EYE, LEFT_HAND, RIGHT_EYE, RIGHT_HAND
from ..priors.limits import JointLimits
from ..priors.pose import PosePrior
from ..rotation import exp_so3
from .directions import Directions, DirectionTerms
from .evidence import Evidence, expression_sigmas, eyes_at_rest, unseen_share
from .height import KnownHeight
from .kinematics import Skeleton, by_own_turns, pose_chain
from .outline import Silhouette
from .point_terms import PointTerms
from .regressed import Regressed
from .rotation_terms import Offsets, RotationTerms
from .settings import FACE_SETS, HAND_SETS, INF, FitSettings, Stage
from .solver import Linearisation
from .start import relaxed_pose
from .state import BodyState, Unknowns, at_bounds, retract

BODY = tuple(range(1, 22))
HANDS = tuple(range(LEFT_HAND.start, RIGHT_HAND.stop))
FACE = (JAW, LEFT_EYE, RIGHT_EYE)
_STIFF = {JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"], *HANDS}
_RELAXED_INVERSE = exp_so3(-relaxed_pose()).numpy()  # (55, 3, 3)


@dataclass(frozen=True)
class CameraGuess:
    """What is known of the camera. principal in px from the picture's top left corner."""

    principal: tuple[float, float]
    log_focal: float
    focal_sigma: float  # of log_focal


class StageProblem:
    """Evidence and priors of one person, for a batch of states, with the unknowns of one stage."""

    def __init__(
        self,
        body: BodyModel,
        skeleton: Skeleton,
        evidence: Evidence,
        camera: CameraGuess,
        priors: tuple[tuple[PosePrior, float], ...],
        stage: Stage,
        settings: FitSettings,
        limits: Callable[[tuple[int, ...]], JointLimits] | None = None,
        regressed: Regressed | None = None,
        height: KnownHeight | None = None,
        silhouette: Silhouette | None = None,
    ) -> None:
        self.stage, self.settings, self.camera, self.skeleton = stage, settings, camera, skeleton
        self.bounded = body.bounded_expression
        like = skeleton.J_template
        self.like = like
        seen = {evidence.sets[i] for i in np.unique(evidence.set_of_point)}
        has_hands = stage.hands and bool(seen & set(HAND_SETS))
        has_face = stage.face and bool(seen & set(FACE_SETS))
        joints = (0,) + (BODY if stage.body else ())
        joints += (FACE if has_face else ()) + (HANDS if has_hands else ())
        self.unknowns = Unknowns(
            tuple(sorted(joints)),
            True,
            stage.focal,
            min(stage.betas, body.num_betas),
            body.num_expressions if has_face else 0,
        )
        self.principal = self._tensor(np.array(camera.principal))
        self.evidence = PointTerms(skeleton, evidence, self.unknowns, stage, settings, silhouette)
        self.regressed = regressed if stage.body else None
        self._set_rotations(body, evidence, priors, limits, has_hands, has_face)
        self._set_directions()
        self._set_diagonal(body, evidence)
        self.height = height if self.unknowns.num_betas else None

    # --- set-up ---------------------------------------------------------------------------------------------

    def _tensor(self, array: object) -> Tensor:
        return torch.as_tensor(array).to(dtype=self.like.dtype, device=self.like.device)

    def _set_rotations(
        self,
        body: BodyModel,
        evidence: Evidence,
        priors: tuple[tuple[PosePrior, float], ...],
        limits: Callable[[tuple[int, ...]], JointLimits] | None,
        has_hands: bool,
        has_face: bool,
    ) -> None:
        """Priors, limits, what is regressed; hands, jaw and eyes are drawn to their mean, limbs that were not seen to
        the relaxed pose."""
        s = self.settings
        joints: list[int] = []
        inverses: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = []
        sigmas: list[tuple[float, float, float]] = []
        if self.stage.body:
            share, far_end = unseen_share(evidence.joint_trust, s)
            unseen = [joint for joint in BODY if share[joint] > 0]
            joints += unseen
            inverses.append(_RELAXED_INVERSE[unseen])
            freedom = s.unseen_regressed if self.regressed is not None else 1.0
            for joint in unseen:
                sigma = s.unseen_hinge_sigma_rad if far_end[joint] else s.unseen_sigma_rad
                sigmas.append((freedom * sigma / float(share[joint]),) * 3)
        if has_hands and not any(set(prior.joints) & set(HANDS) for prior, _ in priors):
            joints += HANDS
            inverses.append(exp_so3(-torch.as_tensor(body.hands_mean).reshape(-1, 3).double()).numpy())
            sigmas += [(s.hand_sigma_rad,) * 3] * len(HANDS)
        if has_face:
            jaw = (s.bounded_jaw_sigma_rad,) * 3 if self.bounded else s.jaw_sigma_rad
            joints += FACE
            eyes, spread = eyes_at_rest(evidence.gaze, s)
            eye = (float(spread[0]), float(spread[1]), float(spread[2]))
            ahead = exp_so3(torch.as_tensor(-eyes)).numpy()
            inverses.append(np.stack([np.eye(3), ahead, ahead]))
            sigmas += [jaw, eye, eye]
        rest = Offsets(
            tuple(joints),
            self._tensor(np.concatenate([np.zeros((0, 3, 3)), *inverses])),
            self._tensor(1 / np.array(sigmas).reshape(-1, 3)),
            self.like.new_full((len(joints),), INF),
        )
        if self.regressed is not None and s.regressor_rotations > 0:
            rest = Offsets.join([self.regressed.offsets(), rest])
        limited = tuple(joint for joint in self.unknowns.joints if joint)
        weights = np.array([s.hand_limit if joint in _STIFF else s.joint_limit for joint in limited])
        self.rotations = RotationTerms(
            self.unknowns,
            priors,
            rest,
            limits(limited) if limits is not None and limited else None,
            self._tensor(weights),
        )

    def _set_directions(self) -> None:
        """What is regressed; and the trunk stands up in the picture, unless it clearly does not: robust, so that who
        lies is let lie."""
        s = self.settings
        pelvis = torch.zeros(1, dtype=torch.long, device=self.like.device)
        up = self.like.new_tensor([[0.0, 1.0, 0.0]])
        one = self.like.new_ones(1)
        found = [Directions(pelvis, up, -up, one / s.upright_sigma, one * s.upright_robust_width)]
        if self.regressed is not None and s.regressor_directions > 0:
            found.append(self.regressed.pointing())
        self.directions = DirectionTerms(self.skeleton, self.unknowns, Directions.join(found))

    def _set_diagonal(self, body: BodyModel, evidence: Evidence) -> None:
        """Betas, expression and focal length: independent normal distributions, straight onto the diagonal."""
        u, s = self.unknowns, self.settings
        weight, middle = self.like.new_zeros(u.size), self.like.new_zeros(u.size)
        weight[u.betas_at : u.expression_at] = s.betas_sigma**-2
        if u.num_expressions:
            weight[u.expression_at :] = self._tensor(expression_sigmas(body, s)) ** -2
        if u.num_expressions and evidence.expression is not None:
            seen = self._tensor(evidence.expression.sigma) ** -2
            weight[u.expression_at :] += seen
            middle[u.expression_at :] = seen * self._tensor(evidence.expression.values) / weight[u.expression_at :]
        if u.focal:
            weight[u.focal_at] = self.camera.focal_sigma**-2
            middle[u.focal_at] = self.camera.log_focal
        self.diagonal, self.middle = weight, middle

    # --- evaluation -----------------------------------------------------------------------------------------

    def linearise(self, state: BodyState) -> Linearisation:
        """Cost (N,), gradient (N, n) and Gauss–Newton's Hessian (N, n, n) of N states."""
        chain = pose_chain(self.skeleton, state)
        size = self.unknowns.size
        cost, equations = self.evidence.equations(chain, state.log_focal, self.principal)
        cost = cost + self.directions.add(chain, equations)
        equations = by_own_turns(equations, chain.globals[:, self.unknowns.joints])
        hessian, gradient = equations[:, :size, :size], equations[:, :size, size]
        cost = cost + self.rotations.add(state.rotmats, hessian, gradient)
        if self.height is not None:
            r, by_betas = self.height.residual(state.betas)
            cost = cost + r * r
            rows_at = slice(self.unknowns.betas_at, self.unknowns.expression_at)
            by_betas = by_betas[:, : self.unknowns.num_betas]
            hessian[:, rows_at, rows_at] += by_betas[:, :, None] * by_betas[:, None]
            gradient[:, rows_at] += by_betas * r[:, None]
        values = self._diagonal_values(state)
        cost = cost + (self.diagonal * values * values).sum(-1)
        gradient += self.diagonal * values
        torch.diagonal(hessian, dim1=-2, dim2=-1).add_(self.diagonal)
        return Linearisation(cost, hessian, gradient)

    def _diagonal_values(self, state: BodyState) -> Tensor:
        u = self.unknowns
        values = state.transl.new_zeros(state.transl.shape[0], u.size)
        if u.focal:
            values[:, u.focal_at] = state.log_focal
        values[:, u.betas_at : u.expression_at] = state.betas[:, : u.num_betas]
        if u.num_expressions:
            values[:, u.expression_at :] = state.expression
        return values - self.middle

    def move(self, state: BodyState, step: Tensor) -> BodyState:
        """N states moved by steps (N, n) on the manifold; ARKit weights stay in 0…1."""
        return retract(state, step, self.unknowns, self.bounded)

    def held(self, state: BodyState, gradient: Tensor) -> Tensor | None:
        """Unknowns (N, n) that sit on a bound and would leave it."""
        return at_bounds(state, gradient, self.unknowns) if self.bounded else None


def add_blocks(hessian: Tensor, gradient: Tensor, residual: Tensor, jacobian: Tensor, columns: Tensor) -> Tensor:
    """Add residuals (N, K, 3) that each see one joint's three columns (K, 3); their cost (N,)."""
    transposed = jacobian.transpose(-1, -2)
    gradient[:, columns] += (transposed @ residual[..., None])[..., 0]
    hessian[:, columns[:, :, None], columns[:, None, :]] += transposed @ jacobian
    return (residual * residual).sum((-1, -2))
