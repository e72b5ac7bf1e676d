"""What the regressor says of a body as residuals: local rotations, and directions of its limbs and axes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..body.model import BodyModel
from ..priors.regressor import DIRECTION_JOINTS, NUM_BODY, Prediction, rest_directions
from ..rotation import hat
from .directions import Directions
from .kinematics import Chain, Skeleton
from .residuals import robust_weight, rotation_offset
from .rotation_terms import Offsets
from .settings import FitSettings
from .wrenches import moments_of


def turned_direction(
    turns: Tensor, joints: Tensor, below: Tensor, rest: Tensor, seen: Tensor, inverse_sigma: Tensor
) -> tuple[Tensor, Tensor]:
    """A direction that is rigid in a joint's frame, turned with it, less the one it should be.

    turns (N, A, 3, 3) global rotations; joints (K,) which of them carry the directions; below (K, A) 1 where such a
    joint hangs below another or is it; rest (K, 3) unit; seen (K, 3) unit and
    inverse_sigma (K,) 1/rad, or with N before → residual (N, K, 3), and its
    derivative by all right tangents (N, K, 3, A, 3): a turn G exp(ω) moves d by G ω × d.
    """
    direction = (turns[:, joints] @ rest[..., None])[..., 0]
    lever = -hat(direction) * inverse_sigma[..., None, None]
    jacobian = torch.einsum("nkil,nalj->nkiaj", lever, turns) * below[:, None, :, None]
    return (direction - seen) * inverse_sigma[..., None], jacobian


class Regressed:
    """A prediction, ready for any number of evaluations. It speaks of the pelvis and the 21 body joints.

    That of one person serves all hypotheses of it; that of N frames has N states evaluated, each with its own.
    """

    def __init__(self, prediction: Prediction, body: BodyModel, skeleton: Skeleton, settings: FitSettings) -> None:
        like = skeleton.J_template
        self.settings = settings
        self.mean_inverse = prediction.rotmats[:, :NUM_BODY].to(like).transpose(-1, -2)
        weight = settings.regressor * settings.regressor_rotations
        inverse_sigma = weight / prediction.sigma_rad.to(like).clamp_min(settings.regressor_least_sigma)
        self.inverse_sigma = inverse_sigma[..., None].expand(*inverse_sigma.shape, 3)
        self.joints = torch.tensor(DIRECTION_JOINTS, device=like.device)
        self.below = skeleton.ancestors[self.joints, :NUM_BODY]
        self.rest = torch.as_tensor(rest_directions(body.J_template)).to(like)
        self.seen = prediction.directions.to(like)
        sigma = prediction.direction_sigma_rad.to(like).clamp_min(settings.regressor_least_sigma)
        self.direction_inverse_sigma = settings.regressor * settings.regressor_directions / sigma

    def offsets(self) -> Offsets:
        """What is said of one person's rotations."""
        width = self.mean_inverse.new_full((NUM_BODY,), self.settings.regressor_robust_width)
        return Offsets(tuple(range(NUM_BODY)), self.mean_inverse[0], self.inverse_sigma, width)

    def pointing(self) -> Directions:
        """What is said of one person's directions."""
        width = self.rest.new_full((len(self.joints),), self.settings.regressor_robust_width)
        return Directions(self.joints, self.rest, self.seen, self.direction_inverse_sigma, width)

    def add_directions(self, chain: Chain, hessian: Tensor, gradient: Tensor) -> Tensor:
        """Add the directions to the normal equations, whose first columns are the body joints', in place; the cost."""
        size, cost = 3 * NUM_BODY, gradient.new_zeros(len(gradient))
        if self.settings.regressor_directions > 0:
            turns = chain.globals[:, :NUM_BODY]
            residual, jacobian = turned_direction(
                turns, self.joints, self.below, self.rest, self.seen, self.direction_inverse_sigma
            )
            value, weight = robust_weight((residual * residual).sum(-1), self.settings.regressor_robust_width)
            root = weight.sqrt()[..., None]
            rows = (jacobian * root[..., None, None]).reshape(len(gradient), -1, size)
            hessian[:, :size, :size] += rows.transpose(1, 2) @ rows
            gradient[:, :size] += (rows.transpose(1, 2) @ (residual * root).flatten(1)[..., None])[..., 0]
            cost = cost + value.sum(-1)
        return cost

    def rotations(self, rotmats: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Cost (N,) of the body's rotations, and their parts of the normal equations: (N, 22, 3, 3) or None, and
        (N, 22, 3)."""
        if self.settings.regressor_rotations <= 0:
            return rotmats.new_zeros(len(rotmats)), None, rotmats.new_zeros(len(rotmats), NUM_BODY, 3)
        residual, jacobian = rotation_offset(rotmats[:, :NUM_BODY], self.mean_inverse, self.inverse_sigma)
        value, weight = robust_weight((residual * residual).sum(-1), self.settings.regressor_robust_width)
        transposed = jacobian.transpose(-1, -2) * weight[..., None, None]
        return value.sum(-1), transposed @ jacobian, (transposed @ residual[..., None])[..., 0]

    def direction_wrenches(self, chain: Chain) -> tuple[Tensor, Tensor]:
        """Cost (N,) of the directions, and what they do to the parts `joints` that carry them: (N, 3 K, 7), three a
        direction, for `wrenches.normal_equations`."""
        direction = (chain.globals[:, self.joints] @ self.rest[..., None])[..., 0]
        residual = (direction - self.seen) * self.direction_inverse_sigma[..., None]
        value, weight = robust_weight((residual * residual).sum(-1), self.settings.regressor_robust_width)
        root = weight.sqrt()[..., None]
        # A turn θ moves d by θ × d, whose component i is θ · (d × e_i).
        moments = hat(direction) * (self.direction_inverse_sigma[..., None] * root)[..., None]
        # Columns of hat(d) are d × e_i.
        moments = moments.transpose(-1, -2).flatten(1, 2)
        return value.sum(-1), moments_of(moments, (residual * root).flatten(1))
