"""Rotations for the solver (torch). Matrices inside, axis-angle in files.

Tangent convention everywhere in the solver: a step ω turns R into R · Exp(ω) (right perturbation, in the joint's own
frame). Own code instead of a package: the usual one takes longer to import than all of torch.
"""

from __future__ import annotations

import torch
from torch import Tensor


def exp_so3(rotvec: Tensor) -> Tensor:
    """Axis-angle (…, 3) in radians → rotation matrices (…, 3, 3). Rodrigues' formula; differentiable everywhere."""
    angle_sq = (rotvec * rotvec).sum(-1)[..., None, None]
    small = angle_sq < 1e-8
    angle = torch.where(small, torch.ones_like(angle_sq), angle_sq).sqrt()
    sine = torch.where(small, 1 - angle_sq / 6, torch.sin(angle) / angle)
    # (1 - cos) / angle², written with the half angle: no cancellation at small angles.
    half = torch.sin(0.5 * angle) / angle
    cosine = torch.where(small, 0.5 - angle_sq / 24, 2 * half * half)
    skew = hat(rotvec)
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device) + sine * skew + cosine * (skew @ skew)


def log_so3(rotmat: Tensor) -> Tensor:
    """Rotation matrices (…, 3, 3) → axis-angle (…, 3) in radians, |angle| ≤ π.

    By way of the unit quaternion, from the largest of its four components (Shepperd, "Quaternion from rotation
    matrix", 1978), which is exact at half a turn, too.
    """
    m = rotmat
    x, y, z = m.diagonal(dim1=-2, dim2=-1).unbind(-1)
    trace = x + y + z
    # Row k holds 4 q_k (w, x, y, z).
    a, b, c = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    d, e, f = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    squares = [1 + trace, 1 + 2 * x - trace, 1 + 2 * y - trace, 1 + 2 * z - trace]
    rows = [
        torch.stack([squares[0], a, b, c], -1),
        torch.stack([a, squares[1], d, e], -1),
        torch.stack([b, d, squares[2], f], -1),
        torch.stack([c, e, f, squares[3]], -1),
    ]
    largest = torch.stack(squares, -1).argmax(-1)[..., None, None].expand(*m.shape[:-2], 1, 4)
    quaternion = torch.nn.functional.normalize(torch.stack(rows, -2).gather(-2, largest).squeeze(-2), dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    sine_sq = (imaginary * imaginary).sum(-1, keepdim=True)
    small = sine_sq < 1e-12
    sine = torch.where(small, torch.ones_like(sine_sq), sine_sq).sqrt()
    return imaginary * torch.where(small, 2.0, 2 * torch.atan2(sine, real) / sine)


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
