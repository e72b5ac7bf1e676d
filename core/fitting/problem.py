"""One stage of a fit as a least-squares problem: evidence, priors, normal equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..body.model import BodyModel, VirtualPoints
from ..body.skeleton import JAW, JOINT_INDEX, LEFT_EYE, LEFT_HAND, RIGHT_EYE, RIGHT_HAND
from ..priors.limits import JointLimits
from ..rotation import exp_so3
from .collision import Collision
from .evidence import Evidence, expression_sigmas, unseen_share
from .height import KnownHeight
from .kinematics import Chain, PointTable, Skeleton, pose_chain
from .outline import Silhouette, outline_offset
from .regressed import Regressed
from .residuals import bone_direction, reprojection, robust_weight, rotation_offset, upright
from .settings import FACE_SETS, HAND_SETS, INF, FitSettings, Stage
from .solver import Linearisation
from .start import relaxed_pose
from .state import BodyState, Unknowns, retract

BODY = tuple(range(1, 22))
HANDS = tuple(range(LEFT_HAND.start, RIGHT_HAND.stop))
FACE = (JAW, LEFT_EYE, RIGHT_EYE)


class RotationPrior(Protocol):
    """A prior on local rotations of `joints`: residuals and their Jacobian by the right tangents."""

    joints: tuple[int, ...]

    def residual(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K, 3, 3) → residual (N, R), Jacobian (N, R, 3K)."""
        ...


@dataclass(frozen=True)
class CameraGuess:
    """What is known of the camera. principal in px from the picture's top left corner."""

    principal: tuple[float, float]
    log_focal: float
    focal_sigma: float  # of log_focal


@dataclass(frozen=True)
class _Rows:
    """Residuals in whitened and robustly weighted form."""

    residual: Tensor  # (N, R)
    jacobian: Tensor  # (N, R, n)


class StageProblem:
    """Evidence and priors of one person, for a batch of states, with the unknowns of one stage."""

    def __init__(
        self,
        body: BodyModel,
        skeleton: Skeleton,
        evidence: Evidence,
        camera: CameraGuess,
        priors: tuple[tuple[RotationPrior, float], ...],
        stage: Stage,
        settings: FitSettings,
        limits: Callable[[tuple[int, ...]], JointLimits] | None = None,
        regressed: Regressed | None = None,
        collision: Collision | None = None,
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
        in_stage = np.array([name in stage.sets for name in evidence.sets] or [False])
        keep = np.flatnonzero(in_stage[evidence.set_of_point]) if len(evidence.set_of_point) else np.zeros(0, np.int64)
        place = np.full(len(evidence.set_of_point) + 1, -1)
        place[keep] = np.arange(len(keep))
        carriers = VirtualPoints(
            evidence.carriers.template[keep],
            evidence.carriers.shapedirs[keep],
            evidence.carriers.exprdirs[keep],
            evidence.carriers.weights[keep],
        )
        self.points = PointTable.of(skeleton, carriers, self.unknowns.joints)
        self.observed = self._tensor(evidence.image_px[keep])
        self.inverse_sigma = self._tensor(evidence.inverse_sigma[keep])
        bones = np.flatnonzero(in_stage[evidence.bone_set]) if len(evidence.bone_set) else np.zeros(0, np.int64)
        self.bone_ends = torch.as_tensor(
            np.concatenate([place[evidence.bone_end[bones]], place[evidence.bone_start[bones]]]), device=like.device
        )
        self.bone_direction = self._tensor(evidence.bone_direction[bones])
        self.bone_inverse_sigma = self._tensor(evidence.bone_inverse_sigma[bones])
        self.priors = tuple(
            (prior, weight, self._prior_columns(prior)) for prior, weight in priors if self._touches(prior)
        )
        self.regressed = regressed if stage.body else None
        self._set_rest(body, evidence, has_hands, has_face)
        self._set_diagonal(body, evidence)
        limited = tuple(joint for joint in self.unknowns.joints if joint)
        self.limits = limits(limited) if limits is not None and limited else None
        self.limit_columns = self._columns_of(limited)
        stiff = {JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"], *HANDS}
        weights = [settings.hand_limit if joint in stiff else settings.joint_limit for joint in limited]
        self.limit_weight = self._tensor(np.array(weights))
        self.collision = collision if stage.collision else None
        self.principal = self._tensor(np.array(camera.principal))
        self.silhouette = silhouette.table(self.unknowns.joints) if silhouette is not None else None
        self.matches = silhouette.matches if silhouette is not None else None
        self.height = height if self.unknowns.num_betas else None

    # --- set-up ---------------------------------------------------------------------------------------------

    def _tensor(self, array: object) -> Tensor:
        return torch.as_tensor(array).to(dtype=self.like.dtype, device=self.like.device)

    def _touches(self, prior: RotationPrior) -> bool:
        return bool(set(prior.joints) & set(self.unknowns.joints))

    def _prior_columns(self, prior: RotationPrior) -> tuple[Tensor, Tensor]:
        """Which of the prior's tangent columns are solved for, and where they go."""
        firsts = self.unknowns.joint_columns(prior.joints)
        source = [3 * i + k for i, first in enumerate(firsts) if first >= 0 for k in range(3)]
        target = [first + k for first in firsts if first >= 0 for k in range(3)]
        return torch.tensor(source, device=self.like.device), torch.tensor(target, device=self.like.device)

    def _columns_of(self, joints: tuple[int, ...]) -> Tensor:
        """(K, 3) the columns of some joints that are solved for."""
        firsts = torch.tensor(self.unknowns.joint_columns(joints), device=self.like.device, dtype=torch.long)
        return firsts[:, None] + torch.arange(3, device=self.like.device)

    def _set_rest(self, body: BodyModel, evidence: Evidence, has_hands: bool, has_face: bool) -> None:
        """Hands, jaw and eyes are drawn to their mean, limbs that were not seen to the relaxed pose."""
        s = self.settings
        joints: list[int] = []
        means: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
        sigmas: list[tuple[float, float, float]] = []
        if self.stage.body:
            share, far_end = unseen_share(evidence.joint_trust, s)
            unseen = [joint for joint in BODY if share[joint] > 0]
            joints += unseen
            means += [*relaxed_pose()[unseen].float().numpy()]
            freedom = s.unseen_regressed if self.regressed is not None else 1.0
            for joint in unseen:
                sigma = s.unseen_hinge_sigma_rad if far_end[joint] else s.unseen_sigma_rad
                sigmas.append((freedom * sigma / float(share[joint]),) * 3)
        if has_hands and not any(set(prior.joints) & set(HANDS) for prior, _, _ in self.priors):
            joints += HANDS
            means += [*body.hands_mean.reshape(-1, 3)]
            sigmas += [(s.hand_sigma_rad,) * 3] * len(HANDS)
        if has_face:
            jaw = (s.bounded_jaw_sigma_rad,) * 3 if self.bounded else s.jaw_sigma_rad
            joints += FACE
            means += [np.zeros(3, np.float32)] * 3
            sigmas += [jaw, (s.eye_sigma_rad,) * 3, (s.eye_sigma_rad,) * 3]
        self.rest_joints = joints
        if joints:
            self.rest_mean_inverse = exp_so3(self._tensor(np.stack(means))).transpose(-1, -2)
            self.rest_inverse_sigma = 1 / self._tensor(np.array(sigmas))
            self.rest_columns = self._columns_of(tuple(joints))

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
        chain = pose_chain(self.skeleton, state)
        cost, rows = self._evidence(chain, state)
        size = self.unknowns.size
        n = state.transl.shape[0]
        if rows:
            residual = torch.cat([r.residual for r in rows], 1)
            jacobian = torch.cat([r.jacobian for r in rows], 1)
            hessian = jacobian.transpose(1, 2) @ jacobian
            gradient = (jacobian.transpose(1, 2) @ residual[..., None])[..., 0]
        else:
            hessian = self.like.new_zeros(n, size, size)
            gradient = self.like.new_zeros(n, size)
        for prior, weight, (source, target) in self.priors:
            r, j = prior.residual(state.rotmats[:, list(prior.joints)])
            r, j = r * weight, j[..., source] * weight
            cost = cost + (r * r).sum(-1)
            hessian[:, target[:, None], target] += j.transpose(1, 2) @ j
            gradient[:, target] += (j.transpose(1, 2) @ r[..., None])[..., 0]
        if self.rest_joints:
            blocks = rotation_offset(
                state.rotmats[:, self.rest_joints], self.rest_mean_inverse, self.rest_inverse_sigma
            )
            cost = cost + add_blocks(hessian, gradient, *blocks, self.rest_columns)
        cost = cost + self._upright(state, hessian, gradient)
        if self.regressed is not None:
            cost = cost + self.regressed.add(chain, state.rotmats, hessian, gradient)
        if self.limits is not None:
            r, j = self.limits.blocks(state.rotmats[:, list(self.limits.joints)])
            r, j = r * self.limit_weight[:, None], j * self.limit_weight[:, None, None]
            cost = cost + add_blocks(hessian, gradient, r, j, self.limit_columns)
        overlap = self.collision.overlap(chain, self.unknowns) if self.collision is not None else None
        if overlap is not None:
            r, j = overlap.depth / self.settings.collision_sigma_m, overlap.jacobian / self.settings.collision_sigma_m
            cost = cost + (r * r).sum(-1)
            hessian = hessian + j.transpose(1, 2) @ j
            gradient = gradient + (j.transpose(1, 2) @ r[..., None])[..., 0]
        if self.height is not None:
            r, by_betas = self.height.residual(state.betas)
            cost = cost + r * r
            rows_at = slice(self.unknowns.betas_at, self.unknowns.expression_at)
            by_betas = by_betas[:, : self.unknowns.num_betas]
            hessian[:, rows_at, rows_at] += by_betas[:, :, None] * by_betas[:, None]
            gradient[:, rows_at] += by_betas * r[:, None]
        values = self._diagonal_values(state)
        cost = cost + (self.diagonal * values * values).sum(-1)
        gradient = gradient + self.diagonal * values
        torch.diagonal(hessian, dim1=-2, dim2=-1).add_(self.diagonal)
        return Linearisation(cost, hessian, gradient)

    def _upright(self, state: BodyState, hessian: Tensor, gradient: Tensor) -> Tensor:
        """The trunk stands up in the picture, unless it clearly does not: robust, so that who lies is let lie."""
        residual, jacobian = upright(state.rotmats[:, 0], self.settings.upright_sigma)
        value, weight = robust_weight((residual * residual).sum(-1), self.settings.upright_robust_width)
        root = weight.sqrt()[:, None]
        columns = torch.arange(3, device=self.like.device)[None]
        add_blocks(hessian, gradient, (residual * root)[:, None], (jacobian * root[..., None])[:, None], columns)
        return value

    def _diagonal_values(self, state: BodyState) -> Tensor:
        u = self.unknowns
        values = state.transl.new_zeros(state.transl.shape[0], u.size)
        if u.focal:
            values[:, u.focal_at] = state.log_focal
        values[:, u.betas_at : u.expression_at] = state.betas[:, : u.num_betas]
        if u.num_expressions:
            values[:, u.expression_at :] = state.expression
        return values - self.middle

    def _evidence(self, chain: Chain, state: BodyState) -> tuple[Tensor, list[_Rows]]:
        n = state.transl.shape[0]
        rows: list[_Rows] = []
        cost = state.transl.new_zeros(n)
        if len(self.observed) == 0:
            return cost, rows
        moving = self.points.differentiate(chain, self.unknowns)
        residual, by_point, by_focal = reprojection(
            moving.positions, state.log_focal, self.principal, self.observed, self.inverse_sigma
        )
        jacobian = moving.rows(by_point, self.unknowns)
        if self.unknowns.focal:
            jacobian[..., self.unknowns.focal_at] = by_focal
        value, weight = robust_weight((residual * residual).sum(-1), self.stage.robust_width)
        cost = cost + value.sum(-1)
        root = weight.sqrt()[..., None]
        rows.append(
            _Rows((residual * root).reshape(n, -1), (jacobian * root[..., None]).reshape(n, -1, self.unknowns.size))
        )
        if len(self.bone_direction):
            count = len(self.bone_direction)
            tips = moving.take(self.bone_ends)
            end, start = tips.positions[:, :count], tips.positions[:, count:]
            r, by_end = bone_direction(start, end, self.bone_direction, self.bone_inverse_sigma)
            both = tips.rows(torch.cat([by_end, -by_end], 1), self.unknowns)
            j = both[:, :count] + both[:, count:]
            width = self.settings.hint_robust_width if self.stage.robust_width < INF else INF
            value, weight = robust_weight((r * r).sum(-1), width)
            cost = cost + value.sum(-1)
            root = weight.sqrt()[..., None]
            rows.append(_Rows((r * root).reshape(n, -1), (j * root[..., None]).reshape(n, -1, self.unknowns.size)))
        if self.silhouette is not None and self.matches is not None:
            seen = self.matches
            rim = self.silhouette.differentiate(chain, self.unknowns)
            offset, by_place, by_log_focal = outline_offset(
                rim.positions, state.log_focal, self.principal, seen.seen, seen.normals, seen.inverse_sigma
            )
            jacobian = rim.rows(by_place[:, :, None], self.unknowns)[:, :, 0]
            if self.unknowns.focal:
                jacobian[..., self.unknowns.focal_at] = by_log_focal
            value, weight = robust_weight(offset * offset, self.settings.silhouette_robust_width)
            share = self.settings.silhouette
            cost = cost + share * value.sum(-1)
            root = (share * weight).sqrt()
            rows.append(_Rows(offset * root, jacobian * root[..., None]))
        return cost, rows

    def move(self, state: BodyState, step: Tensor) -> BodyState:
        return retract(state, step, self.unknowns, self.bounded)

    def held(self, state: BodyState, gradient: Tensor) -> Tensor | None:
        u = self.unknowns
        if not (self.bounded and u.num_expressions):
            return None
        held = torch.zeros_like(gradient, dtype=torch.bool)
        pull = gradient[:, u.expression_at :]
        low = (state.expression <= 0) & (pull > 0)
        high = (state.expression >= 1) & (pull < 0)
        held[:, u.expression_at :] = low | high
        return held


def add_blocks(hessian: Tensor, gradient: Tensor, residual: Tensor, jacobian: Tensor, columns: Tensor) -> Tensor:
    """Add residuals (N, K, 3) that each see one joint's three columns (K, 3); their cost (N,)."""
    transposed = jacobian.transpose(-1, -2)
    gradient[:, columns] += (transposed @ residual[..., None])[..., 0]
    hessian[:, columns[:, :, None], columns[:, None, :]] += transposed @ jacobian
    return (residual * residual).sum((-1, -2))
