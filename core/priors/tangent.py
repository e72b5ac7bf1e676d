"""Logarithm of rotations with the Jacobian that the solver needs, in few operations (torch)."""

from __future__ import annotations

import torch
from torch import Tensor

# Row-major entries of R whose differences hold the axis: R21 − R12, R02 − R20, R10 − R01.
_FIRST = (7, 2, 3)
_SECOND = (5, 6, 1)


def log_with_jacobian(rotmats: Tensor) -> tuple[Tensor, Tensor]:
    """Axis-angle of rotations and its derivative by a right tangent, R ← R · Exp(ω).

    (…, 3, 3) → (…, 3) radians, (…, 3, 3) = J_r⁻¹ (Solà, Deray, Atchuthan, "A micro Lie theory", 2018, eq. 144).
    One fused form, as a step of the solver is bound by the number of calls: with x the axis-angle,
    J_r⁻¹ = I + ½ x^ + f (x xᵀ − θ² I) and f = (1 − ½ θ cot ½θ) / θ². Half a turn itself, where the axis has two signs,
    gives a finite but arbitrary one.
    """
    flat = rotmats.reshape(*rotmats.shape[:-2], 9)
    twice_sine_axis = flat[..., _FIRST] - flat[..., _SECOND]
    sine = 0.5 * torch.linalg.vector_norm(twice_sine_axis, dim=-1, keepdim=True)
    cosine = 0.5 * (flat[..., ::4].sum(-1, keepdim=True) - 1)
    angle = torch.atan2(sine, cosine)
    small = angle < 1e-2
    ratio = torch.where(small, 1 + angle * angle / 6, angle / sine.clamp_min(1e-7))  # θ / sin θ
    vector = (0.5 * ratio) * twice_sine_axis
    square = angle * angle
    factor = torch.where(small, 1 / 12 + square / 720, (1 - 0.5 * ratio * (1 + cosine)) / square.clamp_min(1e-12))[
        ..., None
    ]
    half = 0.5 * vector
    zero = torch.zeros_like(half[..., 0])
    x, y, z = half.unbind(-1)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(rotmats.shape)
    jacobian = skew + factor * (vector[..., :, None] * vector[..., None, :])
    diagonal = torch.diagonal(jacobian, dim1=-2, dim2=-1)
    diagonal += 1 - factor[..., 0] * square
    return vector, jacobian
