"""Residuals of the fit, each a pure function with its Jacobian, each in units of its own standard deviation.

Shapes: N bodies, P points, K bones. Frames: camera (OpenCV), metres; image px. The energy is SMPLify-X's (Pavlakos et
al. 2019, eq. 1) with 3D evidence added as in "Learning to Estimate 3D Human Pose and Shape" (Pavlakos et al. 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..rotation import hat, inverse_right_jacobian, log_so3

NEAREST_M = 0.05  # points closer to the camera than this project as if they were this far


def reprojection(
    points: Tensor, log_focal: Tensor, principal: Tensor, observed: Tensor, inverse_sigma: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Pinhole projection less what was seen.

    points (N, P, 3); log_focal (N,); principal (2,); observed (P, 2) or (N, P, 2); inverse_sigma (P,) or (N, P) 1/px →
    residual (N, P, 2), its derivative by the point (N, P, 2, 3) and by log_focal (N, P, 2).
    """
    depth = points[..., 2:].clamp_min(NEAREST_M)
    inside = (points[..., 2:] > NEAREST_M).to(points.dtype)
    scale = (torch.exp(log_focal)[:, None, None] / depth) * inverse_sigma[..., None]
    by_focal = scale * points[..., :2]
    residual = by_focal + (principal - observed) * inverse_sigma[..., None]
    eye = torch.eye(2, dtype=points.dtype, device=points.device)
    by_xy = scale[..., None] * eye
    by_z = (-by_focal / depth * inside)[..., None]
    return residual, torch.cat([by_xy, by_z], -1), by_focal


def bone_direction(start: Tensor, end: Tensor, observed: Tensor, inverse_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vector from `start` to `end` less the one seen.

    start, end (N, K, 3); observed (K, 3) unit and inverse_sigma (K,) 1/rad, or with N before → residual (N, K, 3) and
    its derivative by `end` (N, K, 3, 3); by `start` it is the negative.
    """
    bone = end - start
    length = bone.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    direction = bone / length
    eye = torch.eye(3, dtype=bone.dtype, device=bone.device)
    across = eye - direction[..., :, None] * direction[..., None, :]
    weight = inverse_sigma[..., None]
    return (direction - observed) * weight, across / length[..., None] * weight[..., None]


def rotation_offset(rotmats: Tensor, mean_inverse: Tensor, inverse_sigma: Tensor) -> tuple[Tensor, Tensor]:
    """How far rotations are from their mean: Log(mean⁻¹ R), each axis over its own σ.

    rotmats (N, K, 3, 3); mean_inverse (K, 3, 3), inverse_sigma (K, 3) 1/rad, or with N before → residual (N, K, 3) and
    its derivative by the right tangent of R (N, K, 3, 3).
    """
    rotvec = log_so3(mean_inverse @ rotmats)
    return rotvec * inverse_sigma, inverse_right_jacobian(rotvec) * inverse_sigma[..., None]


def upright(root: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Direction of the body's own up axis (y) less the picture's up, camera frame.

    root (N, 3, 3) global orientation; sigma: of a unit vector → residual (N, 3) and its derivative by the right
    tangent of root (N, 3, 3).
    """
    up = root.new_tensor([0.0, -1.0, 0.0])
    axis = root.new_tensor([0.0, 1.0, 0.0])
    return (root[..., 1] - up) / sigma, -(root @ hat(axis)) / sigma


def robust_weight(squared: Tensor, width: float | Tensor) -> tuple[Tensor, Tensor]:
    """Geman–McClure ρ(e) = e²/(1 + e²/c²): its value and its weight for iteratively re-weighted least squares.

    squared: e² in units of σ², any shape; width c in σ, one or of that shape. An infinite width is plain least squares.
    """
    if isinstance(width, float) and width == float("inf"):
        return squared, torch.ones_like(squared)
    fraction = 1 / (1 + squared / (width * width))
    return squared * fraction, fraction * fraction
