"""Rotations for the solver (torch). Matrices inside, axis-angle in files.

Conversions are `roma`'s; what it lacks, the tangent-space Jacobian, is here. Tangent convention everywhere in the
solver: a step ω turns R into R · Exp(ω) (right perturbation, in the joint's own frame).
"""

from __future__ import annotations

import roma
import torch
from torch import Tensor


def exp_so3(rotvec: Tensor) -> Tensor:
    """Axis-angle (…, 3) in radians → rotation matrices (…, 3, 3). Rodrigues' formula."""
    rotmat: Tensor = roma.rotvec_to_rotmat(rotvec)
    return rotmat


def log_so3(rotmat: Tensor) -> Tensor:
    """Rotation matrices (…, 3, 3) → axis-angle (…, 3) in radians, |angle| ≤ π."""
    rotvec: Tensor = roma.rotmat_to_rotvec(rotmat)
    return rotvec


def hat(vector: Tensor) -> Tensor:
    """(…, 3) → skew matrices (…, 3, 3) with hat(a) b = a × b."""
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).reshape(*vector.shape[:-1], 3, 3)


def inverse_right_jacobian(rotvec: Tensor) -> Tensor:
    """J_r⁻¹(θ): Log(Exp(θ) Exp(ω)) ≈ θ + J_r⁻¹(θ) ω. (…, 3) → (…, 3, 3).

    Solà, Deray, Atchuthan, "A micro Lie theory", 2018, eq. 144. Finite up to |θ| < 2π; near zero by its series.
    """
    angle_sq = (rotvec * rotvec).sum(-1)
    small = angle_sq < 1e-6
    safe_sq = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    angle = safe_sq.sqrt()
    half = 0.5 * angle
    # (1 + cos) / sin = cot(half): no cancellation at small angles, and finite at π.
    factor = torch.where(small, 1 / 12 + angle_sq / 720, (1 - half * torch.cos(half) / torch.sin(half)) / safe_sq)
    skew = hat(rotvec)
    eye = torch.eye(3, dtype=rotvec.dtype, device=rotvec.device)
    return eye + 0.5 * skew + factor[..., None, None] * (skew @ skew)


def rotation_between(source: Tensor, target: Tensor) -> Tensor:
    """The smallest rotation that turns direction `source` into `target`. (…, 3), (…, 3) → (…, 3, 3).

    Inputs need not be unit. Opposite directions turn half round about any perpendicular axis.
    """
    a = torch.nn.functional.normalize(source, dim=-1)
    b = torch.nn.functional.normalize(target, dim=-1)
    axis = torch.cross(a, b, dim=-1)
    sine = axis.norm(dim=-1, keepdim=True)
    cosine = (a * b).sum(-1, keepdim=True)
    x_axis = torch.zeros_like(a)
    x_axis[..., 0] = 1
    y_axis = torch.zeros_like(a)
    y_axis[..., 1] = 1
    helper = torch.where(a[..., :1].abs() < 0.9, x_axis, y_axis)
    perpendicular = torch.nn.functional.normalize(torch.cross(a, helper, dim=-1), dim=-1)
    direction = torch.where(sine > 1e-6, axis / sine.clamp_min(1e-12), perpendicular)
    return exp_so3(direction * torch.atan2(sine, cosine))
