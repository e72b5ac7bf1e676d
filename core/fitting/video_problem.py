"""Frames of one person as a batch of least-squares problems: evidence and priors of each frame, nothing between them.

The terms are those of a photo (`problem.StageProblem`); here every frame has its own points, and shape and camera are
known. A part of the body is solved for: the body with the wrists, a hand's fingers, or the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..body.model import BodyModel, VirtualPoints
from ..body.skeleton import JAW, LEFT_EYE, LEFT_HAND, NUM_JOINTS, PARENTS, RIGHT_EYE, RIGHT_HAND
from ..priors.limits import JointLimits
from ..priors.pose import PosePrior
from ..rotation import exp_so3
from .banded import joint_blocks
from .evidence import expression_sigmas, eyes_at_rest
from .kinematics import Chain, MovingPoints, PointTable, Skeleton, pose_chain
from .regressed import Regressed
from .residuals import bone_direction, reprojection, robust_weight, rotation_offset, upright
from .settings import INF, FitSettings
from .solver import Linearisation
from .start import relaxed_pose
from .state import BodyState, Unknowns, at_bounds, retract
from .video_evidence import FrameEvidence, SeenFaces
from .wrenches import Tree, normal_equations, rows_of, wrenches_at

BODY = tuple(range(22))
PARTS: dict[str, tuple[int, ...]] = {
    "body": BODY,
    "left_hand": tuple(range(LEFT_HAND.start, LEFT_HAND.stop)),
    "right_hand": tuple(range(RIGHT_HAND.start, RIGHT_HAND.stop)),
    "face": (JAW, LEFT_EYE, RIGHT_EYE),
}


AT_ONCE = 16  # frames whose Jacobians are in memory together


@dataclass(frozen=True)
class Probe:
    """Points whose motion is judged from frame to frame: where they are and how they move."""

    positions: Tensor  # (N, S, 3)
    rows: Tensor  # (N, S, 3, n)


class FramesProblem:
    """N frames, each a problem of its own. Satisfies `solver.Problem`.

    probes: points that `linearise_with_probe` tells of beside the evidence. trust (N, 55) as in `joint_trust`, already
    raised where a limb was seen a moment before or after. follow: the evidence is shifted, frame by frame, on where
    the rest of the body has the part, so that fingers and face do not make up for a wrist or head that is off.
    """

    def __init__(
        self,
        part: str,
        body: BodyModel,
        skeleton: Skeleton,
        evidence: FrameEvidence,
        principal: tuple[float, float],
        priors: tuple[tuple[PosePrior, float], ...],
        settings: FitSettings,
        robust_width: float,
        limits: JointLimits | None = None,
        regressed: Regressed | None = None,
        trust: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None,
        probes: VirtualPoints | None = None,
        faces: SeenFaces | None = None,
    ) -> None:
        self.part, self.settings, self.skeleton, self.robust_width = part, settings, skeleton, robust_width
        self.bounded = body.bounded_expression
        self.like = skeleton.J_template
        face = part == "face"
        self.unknowns = Unknowns(PARTS[part], part == "body", False, 0, body.num_expressions if face else 0)
        self.count = len(evidence.carriers.template)
        carriers = evidence.carriers if probes is None else _join(evidence.carriers, probes)
        self.points = PointTable.of(skeleton, carriers, self.unknowns.joints)
        self.observed = self._tensor(evidence.image_px)
        self.inverse_sigma = self._tensor(evidence.inverse_sigma)
        self.bone_ends = torch.as_tensor(
            np.concatenate([evidence.bone_end, evidence.bone_start]), device=self.like.device
        )
        self.bone_direction = self._tensor(evidence.bone_direction)
        self.bone_inverse_sigma = self._tensor(evidence.bone_inverse_sigma)
        self.principal = self._tensor(np.array(principal))
        self.priors = tuple((p, w) for p, w in priors if set(p.joints) <= set(PARTS[part]))
        self.limits, self.regressed = limits, regressed
        self.frames = len(evidence.image_px)
        self.at_once = AT_ONCE if self.like.device.type == "cpu" else max(1, self.frames)
        self._set_tree()
        self._set_rest(body, trust, faces)
        # Normal distributions of the unknowns, each frame's own.
        self.diagonal, self.middle = self.like.new_zeros(2, self.frames, self.unknowns.size)
        if face:
            at = slice(self.unknowns.expression_at, None)
            self.diagonal[:, at] = self._tensor(expression_sigmas(body, settings)) ** -2
            if faces is not None:
                precision = self._tensor(faces.expression_inverse_sigma) ** 2
                self.diagonal[:, at] += precision
                self.middle[:, at] = precision * self._tensor(faces.expression) / self.diagonal[:, at]

    def _tensor(self, array: object) -> Tensor:
        return torch.as_tensor(array).to(dtype=self.like.dtype, device=self.like.device)

    def _set_tree(self) -> None:
        """What carries what, where all points are rigid in one joint each and no expression moves them."""
        self.tree: Tree | None = None
        if self.points.bones.shape[1] > 1 or self.unknowns.num_expressions:
            return
        self.tree = Tree.of(self.skeleton, self.unknowns)
        carried = self.tree.carried(self.points.bones[:, 0])
        ends, starts = self.bone_ends.chunk(2)
        self.bone_carried = carried[:, ends].repeat_interleave(3, 1), carried[:, starts].repeat_interleave(3, 1)
        self.probe_carried = carried[:, self.count :].repeat_interleave(3, 1)
        self.carried = carried[:, : self.count].repeat_interleave(2, 1)
        if self.regressed is not None:
            turning = self.tree.carried(self.regressed.joints).repeat_interleave(3, 1)
            self.carried = torch.cat([self.carried, turning], 1)

    def follow(self, state: BodyState, anchors: list[int]) -> None:
        """Shift what was seen so that the evidence's points `anchors` lie, in the mean, where the state has them."""
        positions = self.points.positions(pose_chain(self.skeleton, state))[:, anchors]
        residual, _, _ = reprojection(
            positions,
            state.log_focal,
            self.principal,
            self.observed[:, anchors],
            torch.ones_like(self.inverse_sigma[:, anchors]),
        )
        weight = self.inverse_sigma[:, anchors, None]
        shift = (residual * weight).sum(1) / weight.sum(1).clamp_min(1e-9)
        self.observed = self.observed + shift[:, None]

    def _set_rest(
        self,
        body: BodyModel,
        trust: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None,
        faces: SeenFaces | None,
    ) -> None:
        """Fingers, jaw and eyes are drawn to their mean, limbs that were not seen for long to the relaxed pose."""
        s, joints = self.settings, list(PARTS[self.part])
        if self.part == "body":
            joints = joints[1:]
            if trust is None:
                trust = np.ones((self.frames, NUM_JOINTS), np.float32)
            mean = relaxed_pose()[joints].float().numpy()
            inverse_sigma = unseen_inverse_sigma(trust, s, self.regressed is not None)[:, joints]
        elif self.part == "face":
            jaw = (s.bounded_jaw_sigma_rad,) * 3 if self.bounded else s.jaw_sigma_rad
            mean = np.zeros((3, 3), np.float32)
            ahead = eyes_at_rest(None, s)[1]
            inverse_sigma = 1 / np.array([jaw, ahead, ahead])
            if faces is not None:
                mean, inverse_sigma = (np.tile(array, (self.frames, 1, 1)) for array in (mean, inverse_sigma))
                mean[:, 1:], inverse_sigma[:, 1:] = faces.eyes[:, None], 1 / faces.eyes_sigma[:, None]
        else:
            mean = body.hands_mean.reshape(2, -1, 3)[0 if self.part == "left_hand" else 1]
            inverse_sigma = np.full((len(joints), 3), 1 / s.hand_sigma_rad)
        self.rest_joints = joints
        self.rest_mean_inverse = exp_so3(self._tensor(mean)).transpose(-1, -2)
        self.rest_inverse_sigma = self._tensor(inverse_sigma)

    # --- evaluation -----------------------------------------------------------------------------------------

    def linearise(self, state: BodyState) -> Linearisation:
        return self.linearise_with_probe(state)[0]

    def linearise_with_probe(self, state: BodyState) -> tuple[Linearisation, Probe]:
        """Normal equations of each frame, and the probes."""
        chain = pose_chain(self.skeleton, state)
        u = self.unknowns
        n = state.transl.shape[0]
        if self.tree is not None:
            cost, hessian, gradient, probe = self._rigid(self.tree, chain, state)
        else:
            moving = self.points.differentiate(chain, u)
            cost, hessian, gradient = self._evidence(moving, state)
            if self.regressed is not None:
                cost = cost + self.regressed.add_directions(chain, hessian, gradient)
            probe = self._probe(moving)
        for prior, weight in self.priors:
            r, j = prior.residual(state.rotmats[:, list(prior.joints)])
            r, j = r * weight, j * weight
            cost = cost + (r * r).sum(-1)
            first = 3 * (prior.joints[0] - u.joints[0])
            part = slice(first, first + 3 * len(prior.joints))
            transposed = j.transpose(1, 2)
            hessian[:, part, part] += transposed @ j
            gradient[:, part] += (transposed @ r[..., None])[..., 0]
        # What sees one joint's rotation alone: blocks on the diagonal.
        blocks, pull = state.transl.new_zeros(n, len(u.joints), 3, 3), state.transl.new_zeros(n, len(u.joints), 3)
        r, j = rotation_offset(state.rotmats[:, self.rest_joints], self.rest_mean_inverse, self.rest_inverse_sigma)
        cost = cost + self._add(blocks, pull, r, j, self.rest_joints[0])
        if self.part == "body":
            r, j = upright(state.rotmats[:, 0], self.settings.upright_sigma)
            value, weight_ = robust_weight((r * r).sum(-1), self.settings.upright_robust_width)
            root = weight_.sqrt()[:, None]
            self._add(blocks, pull, (r * root)[:, None], (j * root[..., None])[:, None], 0)
            cost = cost + value
            if self.regressed is not None:
                value, own, pulled = self.regressed.rotations(state.rotmats)
                cost, pull = cost + value, pull + pulled
                blocks = blocks if own is None else blocks + own
        if self.limits is not None:
            r, j = self.limits.blocks(state.rotmats[:, list(self.limits.joints)])
            weight = self.settings.joint_limit
            cost = cost + self._add(blocks, pull, r * weight, j * weight, self.limits.joints[0])
        joint_blocks(hessian, len(u.joints)).add_(blocks)
        gradient[:, : pull.shape[1] * 3] += pull.flatten(1)
        if u.num_expressions:
            values = state.transl.new_zeros(n, u.size)
            values[:, u.expression_at :] = state.expression
            values = values - self.middle
            cost = cost + (self.diagonal * values * values).sum(-1)
            gradient = gradient + self.diagonal * values
            torch.diagonal(hessian, dim1=-2, dim2=-1).add_(self.diagonal)
        return Linearisation(cost, hessian, gradient), probe

    def _add(self, blocks: Tensor, pull: Tensor, residual: Tensor, jacobian: Tensor, first: int) -> Tensor:
        """Add residuals (N, K, 3) of joints `first`, `first` + 1, … and return their cost (N,)."""
        at = first - self.unknowns.joints[0]
        part = slice(at, at + residual.shape[1])
        transposed = jacobian.transpose(-1, -2)
        blocks[:, part] += transposed @ jacobian
        pull[:, part] += (transposed @ residual[..., None])[..., 0]
        return (residual * residual).sum((-1, -2))

    def _probe(self, moving: MovingPoints) -> Probe:
        probes = moving.take(slice(self.count, None))
        n, count = probes.positions.shape[:2]
        if count == 0:
            return Probe(probes.positions, probes.positions.new_zeros(n, 0, 3, self.unknowns.size))
        axes = torch.eye(3, dtype=self.like.dtype, device=self.like.device).expand(n, count, 3, 3)
        return Probe(probes.positions, probes.rows(axes, self.unknowns))

    def _rigid(self, tree: Tree, chain: Chain, state: BodyState) -> tuple[Tensor, Tensor, Tensor, Probe]:
        """Points, bones and the regressor's directions where all points are rigid in a joint; and the probes."""
        positions = self.points.positions(chain)
        origin = positions.mean(1)
        arms = positions - origin[:, None]
        motions = tree.motions(chain, origin)
        residual, by_point, _ = reprojection(
            positions[:, : self.count], state.log_focal, self.principal, self.observed, self.inverse_sigma
        )
        value, weight = robust_weight((residual * residual).sum(-1), self.robust_width)
        cost = value.sum(-1)
        root = weight.sqrt()[..., None]
        wrenches = wrenches_at(arms[:, : self.count], by_point * root[..., None], residual * root)
        if self.regressed is not None:
            value, turning = self.regressed.direction_wrenches(chain)
            cost, wrenches = cost + value, torch.cat([wrenches, turning], 1)
        hessian, gradient = normal_equations(tree, motions, wrenches, self.carried)
        count = self.bone_direction.shape[1]
        if count:
            ends, starts = self.bone_ends[:count], self.bone_ends[count:]
            value, r, by_end = self._bones(positions[:, starts], positions[:, ends], slice(None))
            cost = cost + value
            j = rows_of(motions, wrenches_at(arms[:, ends], by_end), self.bone_carried[0])
            j -= rows_of(motions, wrenches_at(arms[:, starts], by_end), self.bone_carried[1])
            transposed = j.transpose(1, 2)
            hessian += transposed @ j
            gradient += (transposed @ r.flatten(1)[..., None])[..., 0]
        probes = arms[:, self.count :]
        axes = torch.eye(3, dtype=probes.dtype, device=probes.device).expand(*probes.shape[:2], 3, 3)
        rows = rows_of(motions, wrenches_at(probes, axes), self.probe_carried)
        return cost, hessian, gradient, Probe(positions[:, self.count :], rows.unflatten(1, (-1, 3)))

    def _bones(self, start: Tensor, end: Tensor, f: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Cost (N,), residual (N, K, 3) and derivative by the ends (N, K, 3, 3) of bones' directions in the frames
        `f`."""
        inverse_sigma = self.bone_inverse_sigma[f]
        r, by_end = bone_direction(start, end, self.bone_direction[f], inverse_sigma)
        width = self.settings.hint_robust_width if self.robust_width < INF else INF
        value, weight = robust_weight((r * r).sum(-1), width)
        # A bone without a hint has no weight; its residual is not zero, for the direction it lacks is.
        known = inverse_sigma > 0
        root = (weight * known).sqrt()[..., None]
        return (value * known).sum(-1), r * root, by_end * root[..., None]

    def _evidence(self, moving: MovingPoints, state: BodyState) -> tuple[Tensor, Tensor, Tensor]:
        """Cost, normal matrix and gradient of points and bones, a few frames at a time: their rows fit in a cache."""
        n = len(state.transl)
        parts = [
            self._some_evidence(moving, state, slice(at, min(at + self.at_once, n))) for at in range(0, n, self.at_once)
        ]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]), torch.cat([p[2] for p in parts])

    def _some_evidence(self, all_: MovingPoints, state: BodyState, f: slice) -> tuple[Tensor, Tensor, Tensor]:
        u = self.unknowns
        moving = all_.bodies(f)
        n = len(moving.positions)
        seen = moving.take(slice(0, self.count))
        residual, by_point, _ = reprojection(
            seen.positions, state.log_focal[f], self.principal, self.observed[f], self.inverse_sigma[f]
        )
        value, weight = robust_weight((residual * residual).sum(-1), self.robust_width)
        cost = value.sum(-1)
        root = weight.sqrt()[..., None]
        residuals = [(residual * root).reshape(n, -1)]
        jacobians = [seen.rows(by_point * root[..., None], u).reshape(n, -1, u.size)]
        count = self.bone_direction.shape[1]
        if count:
            ends, starts = self.bone_ends[:count], self.bone_ends[count:]
            end, start = moving.positions[:, ends], moving.positions[:, starts]
            value, r, by_end = self._bones(start, end, f)
            cost = cost + value
            residuals.append(r.reshape(n, -1))
            jacobians.append(moving.between(ends, starts).rows(by_end, u).reshape(n, -1, u.size))
        r, j = torch.cat(residuals, 1), torch.cat(jacobians, 1)
        return cost, j.transpose(1, 2) @ j, (j.transpose(1, 2) @ r[..., None])[..., 0]

    def move(self, state: BodyState, step: Tensor) -> BodyState:
        return retract(state, step, self.unknowns, self.bounded)

    def held(self, state: BodyState, gradient: Tensor) -> Tensor | None:
        return at_bounds(state, gradient, self.unknowns) if self.bounded else None


_HINGES = (4, 5, 18, 19)  # knees and elbows


def unseen_inverse_sigma(
    trust: np.ndarray[tuple[int, ...], np.dtype[np.float32]], settings: FitSettings, regressed: bool
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """How strongly each joint is drawn to the relaxed pose, (N, 55, 3) 1/rad; the rule is `unseen_share`'s."""
    share = np.clip(1 - trust / settings.relaxed_below, 0, 1)
    sigma = np.full(trust.shape, settings.unseen_sigma_rad, np.float32)
    for joint in _HINGES:
        far_end = share[:, PARENTS[joint]] < 0.5
        sigma[far_end, joint] = settings.unseen_hinge_sigma_rad
    freedom = settings.unseen_regressed if regressed else 1.0
    result = np.repeat((share / (freedom * sigma))[..., None], 3, -1)
    return np.asarray(result, np.float32)


def _join(first: VirtualPoints, second: VirtualPoints) -> VirtualPoints:
    names = ("template", "shapedirs", "exprdirs", "weights")
    return VirtualPoints(*(np.concatenate([getattr(first, name), getattr(second, name)]) for name in names))
