"""Where the points that a fit looks at are, and how they move: the chain and a few hundred points, never the mesh.

A point p = Σ_k w_k (G_k (v − J_k) + x_k) below joint j moves by G_j ω × Σ_{k below j} w_k (p_k − x_j) when R_j becomes
R_j Exp(ω): exact for blended points too, and tested against finite differences.

Pose correctives are left out here: the free body's do not reach the points used, which are rigid in a joint or on the
face. A licensed body's correctives may move its points by what they are there; that was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..body.model import BodyModel, VirtualPoints
from ..body.skeleton import NUM_JOINTS, PARENTS, joint_levels
from .state import BodyState, Unknowns

MAX_BONES = 4  # skin weights of a point beyond its four largest are folded into them
LEAST_WEIGHT = 1e-3  # so are smaller ones: a point that hangs on one joint alone is much cheaper


@dataclass(frozen=True)
class Skeleton:
    """The chain of a body as tensors, ready for any number of fits. B betas beside E expression components."""

    J_template: Tensor  # (55, 3)
    dirs: Tensor  # (55, 3, B + E)
    offset_dirs: Tensor  # (55, 3, B + E) dirs less the parent's
    num_betas: int
    num_expressions: int
    ancestors: Tensor  # (55, 55) 1 where column is row's ancestor or itself
    above: tuple[Tensor, ...]  # (56,) each, as `joints_above`
    parents: Tensor  # (55,) the root's is 0 here
    face_moves_joints: bool  # whether expressions move rest joints

    @classmethod
    def of(cls, body: BodyModel, dtype: torch.dtype, device: torch.device | str) -> Skeleton:
        """The joints of a body, ready for chains."""

        def tensor(array: object) -> Tensor:
            return torch.as_tensor(array).to(dtype=dtype, device=device)

        dirs = torch.cat([tensor(body.J_shapedirs), tensor(body.J_exprdirs)], -1)
        parents = torch.tensor([max(p, 0) for p in PARENTS], device=device)
        offset_dirs = dirs - dirs[parents]
        offset_dirs[0] = dirs[0]
        ancestors = torch.zeros(NUM_JOINTS, NUM_JOINTS, dtype=dtype, device=device)
        for joint, parent in enumerate(PARENTS):
            if parent >= 0:
                ancestors[joint] = ancestors[parent]
            ancestors[joint, joint] = 1
        return cls(
            tensor(body.J_template),
            dirs,
            offset_dirs,
            body.num_betas,
            body.num_expressions,
            ancestors,
            joints_above(device),
            parents,
            bool((body.J_exprdirs != 0).any()),
        )

    def shape_columns(self, unknowns: Unknowns) -> slice | list[int]:
        """Which of the B + E coefficients are solved for; a slice, which copies nothing, where it can be one."""
        if not unknowns.num_expressions:
            return slice(0, unknowns.num_betas)
        if unknowns.num_betas in (0, self.num_betas):
            return slice(self.num_betas - unknowns.num_betas, None)
        return [*range(unknowns.num_betas), *range(self.num_betas, self.num_betas + self.num_expressions)]


def joints_above(device: torch.device | str) -> tuple[Tensor, ...]:
    """Of each joint, and of none (55), the one 1, 2, 4, … levels up; (56,) each, as many as the tree's depth needs."""
    above = [torch.tensor([p if p >= 0 else NUM_JOINTS for p in PARENTS] + [NUM_JOINTS], device=device)]
    while len(joint_levels()) > 1 << len(above):
        above.append(above[-1][above[-1]])
    return tuple(above)


@dataclass(frozen=True)
class Chain:
    """The posed chain of N bodies, in the camera frame."""

    globals: Tensor  # (N, 55, 3, 3) global rotations G
    joints: Tensor  # (N, 55, 3) positions x
    rest: Tensor  # (N, 55, 3) rest positions J(betas, expression)
    coefficients: Tensor  # (N, B + E)


def pose_chain(skeleton: Skeleton, state: BodyState) -> Chain:
    """Forward kinematics, in few operations: rounds of products, each over twice as many joints as the one before."""
    coefficients = torch.cat([state.betas, state.expression], -1)
    rest = skeleton.J_template + (skeleton.dirs.reshape(-1, skeleton.dirs.shape[-1]) @ coefficients.T).T.reshape(
        -1, NUM_JOINTS, 3
    )
    none = torch.eye(3, dtype=rest.dtype, device=rest.device).expand(len(rest), 1, 3, 3)
    product = torch.cat([state.rotmats, none], 1)
    for above in skeleton.above:
        product = product.index_select(1, above) @ product
    globals_ = product[:, :NUM_JOINTS]
    offsets = rest - rest[:, skeleton.parents]
    moved = (globals_[:, skeleton.parents] @ offsets[..., None])[..., 0]
    moved[:, 0] = rest[:, 0] + state.transl
    return Chain(globals_, skeleton.ancestors @ moved, rest, coefficients)


@dataclass(frozen=True)
class PointTable:
    """P points prepared for one set of unknowns: constants of the residuals' Jacobian."""

    skeleton: Skeleton
    template: Tensor  # (P, 3)
    dirs: Tensor  # (P, 3, B + E)
    weights: Tensor  # (P, 55)
    bones: Tensor  # (P, K) the bones of each point
    bone_weights: Tensor  # (P, K)
    below: Tensor  # (P, K, A) bone_weights where the bone hangs below the joint that is solved for
    below_sum: Tensor  # (P, A)
    joints: Tensor  # (A,) joints solved for

    @classmethod
    def of(cls, skeleton: Skeleton, points: VirtualPoints, joints: tuple[int, ...]) -> PointTable:
        """P skinned points, and how they hang on the `joints` that are solved for."""
        like = skeleton.J_template

        def tensor(array: object) -> Tensor:
            return torch.as_tensor(array).to(dtype=like.dtype, device=like.device)

        weights = tensor(points.weights)
        weights = weights * (weights >= LEAST_WEIGHT)
        most = int(min(MAX_BONES, max(1, int((weights > 0).sum(-1).max()))))
        bone_weights, bones = weights.topk(most, dim=-1)
        bone_weights = bone_weights / bone_weights.sum(-1, keepdim=True)
        weights = torch.zeros_like(weights).scatter_(-1, bones, bone_weights)
        active = torch.tensor(joints, device=like.device, dtype=torch.long)
        below = skeleton.ancestors[:, active][bones] * bone_weights[..., None]
        dirs = torch.cat([tensor(points.shapedirs), tensor(points.exprdirs)], -1)
        return cls(skeleton, tensor(points.template), dirs, weights, bones, bone_weights, below, below.sum(1), active)

    def take(self, index: Tensor) -> PointTable:
        """Some of the points, in the order of `index`."""
        return replace(
            self,
            template=self.template[index],
            dirs=self.dirs[index],
            weights=self.weights[index],
            bones=self.bones[index],
            bone_weights=self.bone_weights[index],
            below=self.below[index],
            below_sum=self.below_sum[index],
        )

    def positions(self, chain: Chain) -> Tensor:
        """(N, P, 3) in the camera frame."""
        return self._corners(chain)[1]

    def _corners(self, chain: Chain) -> tuple[Tensor, Tensor]:
        """Each point as each of its bones carries it (N, P, K, 3), and their weighted mean (N, P, 3)."""
        rest = self.template + (self.dirs.reshape(-1, self.dirs.shape[-1]) @ chain.coefficients.T).T.reshape(
            -1, *self.template.shape
        )
        turn = chain.globals[:, self.bones]
        local = rest[:, :, None] - chain.rest[:, self.bones]
        carried = (turn @ local[..., None])[..., 0] + chain.joints[:, self.bones]
        return carried, (carried * self.bone_weights[..., None]).sum(2)

    def differentiate(self, chain: Chain, unknowns: Unknowns, own_axes: bool = True) -> MovingPoints:
        """Positions with what their Jacobian needs. Without own_axes, that is by turns in the camera's axes."""
        carried, positions = self._corners(chain)
        levers = torch.einsum("pka,npki->npia", self.below, carried)
        joints = chain.joints[:, self.joints].transpose(1, 2)
        levers.addcmul_(self.below_sum[:, None], joints[:, None], value=-1)
        shaped = unknowns.num_betas + unknowns.num_expressions > 0
        shape_rows = self._shape_rows(chain, unknowns) if shaped else None
        turn = chain.globals[:, self.joints] if own_axes else None
        return MovingPoints(self.joints, turn, positions, levers, shape_rows)

    def _shape_rows(self, chain: Chain, unknowns: Unknowns) -> Tensor:
        """∂p/∂(betas, expression), (N, P, 3, S), of the coefficients that are solved for."""
        skeleton = self.skeleton
        columns = skeleton.shape_columns(unknowns)
        n = chain.joints.shape[0]
        blend = (self.weights @ chain.globals.reshape(n, NUM_JOINTS, 9)).reshape(n, -1, 3, 3)
        if not (unknowns.num_betas or skeleton.face_moves_joints):
            return blend @ self.dirs[..., columns]
        offset_dirs = skeleton.offset_dirs[..., columns]
        size = offset_dirs.shape[-1]
        moved = chain.globals[:, skeleton.parents] @ offset_dirs
        moved[:, 0] = offset_dirs[0]
        joints = (skeleton.ancestors @ moved.reshape(n, NUM_JOINTS, -1)).reshape(n, NUM_JOINTS, 3, size)
        fixed = joints - chain.globals @ skeleton.dirs[..., columns]
        fixed_part = (self.weights @ fixed.reshape(n, NUM_JOINTS, -1)).reshape(n, -1, 3, size)
        return blend @ self.dirs[..., columns] + fixed_part


@dataclass(frozen=True)
class MovingPoints:
    """Points of N bodies at one state, able to give rows of a Jacobian. Differences of points are such points, too."""

    joints: Tensor  # (A,) joints solved for
    turn: Tensor | None  # (N, A, 3, 3) their global rotations; None: turns are in the camera's axes
    positions: Tensor  # (N, P, 3)
    levers: Tensor  # (N, P, 3, A)
    shape_rows: Tensor | None  # (N, P, 3, S) ∂p/∂(betas, expression)
    travel: bool = True  # they move with the whole body; differences do not

    def take(self, index: Tensor | slice) -> MovingPoints:
        """Some of the points, in the order of `index`."""
        shape_rows = None if self.shape_rows is None else self.shape_rows[:, index]
        return replace(self, positions=self.positions[:, index], levers=self.levers[:, index], shape_rows=shape_rows)

    def bodies(self, which: slice) -> MovingPoints:
        """Some of the bodies."""
        shape_rows = None if self.shape_rows is None else self.shape_rows[which]
        return replace(
            self,
            turn=None if self.turn is None else self.turn[which],
            positions=self.positions[which],
            levers=self.levers[which],
            shape_rows=shape_rows,
        )

    def between(self, ends: Tensor, starts: Tensor) -> MovingPoints:
        """The points `ends` less the points `starts`, K of each."""
        shape_rows = None if self.shape_rows is None else self.shape_rows[:, ends] - self.shape_rows[:, starts]
        positions = self.positions[:, ends] - self.positions[:, starts]
        levers = self.levers[:, ends] - self.levers[:, starts]
        return replace(self, positions=positions, levers=levers, shape_rows=shape_rows, travel=False)

    def combined(self, share: Tensor) -> MovingPoints:
        """M sums of K points each, which are M first ones, M second ones …; share (N, K, M) of each, together 0."""

        def summed(values: Tensor) -> Tensor:
            parts = values.unflatten(1, share.shape[1:])
            result: Tensor = (parts * share.reshape(*share.shape, *[1] * (values.dim() - 2))).sum(1)
            return result

        shape_rows = None if self.shape_rows is None else summed(self.shape_rows)
        return replace(
            self, positions=summed(self.positions), levers=summed(self.levers), shape_rows=shape_rows, travel=False
        )

    def rows(self, covectors: Tensor, unknowns: Unknowns, out: Tensor | None = None) -> Tensor:
        """Jacobian of Σ_i covectors_i · p_i for each row. (N, P, R, 3) → (N, P, R, unknowns.size), into `out` if given.

        The focal length's column is left zero: points do not depend on it. A turn θ = G ω of a joint in the camera's
        axes changes c · p by c · (θ × l) = (l × c) · θ: products of whole rows of joints, and one matrix brings them
        into the joints' own axes. By turns in the camera's axes, columns of joints are x of all joints, then y, then z
        (`by_own_turns` tells normal equations by the joints' own turns).
        """
        n, p, r, _ = covectors.shape
        active = self.levers.shape[-1]
        turning = 3 * active
        if out is None:
            out = covectors.new_zeros(n, p, r, unknowns.size)
        cross = out if self.turn is None else covectors.new_empty(n, p, r, turning)
        for axis in range(3):
            one, other = (axis + 1) % 3, (axis + 2) % 3
            part = cross[..., axis * active : (axis + 1) * active]
            torch.mul(self.levers[:, :, None, one], covectors[..., other, None], out=part)
            part.addcmul_(self.levers[:, :, None, other], covectors[..., one, None], value=-1)
        if self.turn is not None:
            own = self.turn.new_zeros(n, 3, active, active, 3)
            own.diagonal(dim1=2, dim2=3).copy_(self.turn.permute(0, 2, 3, 1))
            out[..., :turning] = (cross.reshape(n, p * r, -1) @ own.reshape(n, turning, -1)).reshape(n, p, r, -1)
        if unknowns.transl and self.travel:
            out[..., unknowns.transl_at : unknowns.transl_at + 3] = covectors
        if self.shape_rows is not None:
            out[..., unknowns.betas_at :] = covectors @ self.shape_rows
        return out


def by_own_turns(equations: Tensor, turn: Tensor) -> Tensor:
    """Normal equations by turns in the camera's axes (as `MovingPoints.rows` orders them), by the joints' own turns.

    equations (N, n, n), symmetric; turn (N, A, 3, 3) global rotations of the joints that are solved for.
    """
    count = turn.shape[1]
    inverse = turn.transpose(2, 3)
    for _ in range(2):  # rows, and by symmetry columns
        turning = equations[:, : 3 * count].unflatten(1, (3, count)).transpose(1, 2)
        own = (inverse @ turning).flatten(1, 2)
        equations = torch.cat([own, equations[:, 3 * count :]], 1).transpose(1, 2)
    return equations
