"""How far tapered capsules are from each other (torch)."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 4  # of the secant below; three are exact where no place reaches an end meanwhile


def clearance(a: Tensor, b: Tensor, radius_a: Tensor, radius_b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Signed distance between tapered capsules, negative where they overlap.

    a, b (…, 2, 3): ends; radius_a, radius_b (…, 2): radii there, metres → distance (…), the places s and t on both axes
    where it is least (…) 0…1, and the unit direction (…, 3) from b's to a's.

    Least |a(s) − b(t)| − r_a(s) − r_b(t), which is convex. Where d = |a(s) − b(t)| is known, its minimum is that of
    ½|a(s) − b(t)|² − d (r_a(s) + r_b(t)), a quadratic in a box, solved as the distance of segments is (Ericson,
    Real-Time Collision Detection, 2005, sec. 5.1.9). In it a(s) − b(t) is piecewise linear in d, which two rounds tell:
    d then solves |A + d B| = d.
    """
    u, v = a[..., 1, :] - a[..., 0, :], b[..., 1, :] - b[..., 0, :]
    between = a[..., 0, :] - b[..., 0, :]
    taper_a, taper_b = radius_a[..., 1] - radius_a[..., 0], radius_b[..., 1] - radius_b[..., 0]
    uu, vv, uv = (u * u).sum(-1).clamp_min(1e-12), (v * v).sum(-1).clamp_min(1e-12), (u * v).sum(-1)
    along_u, along_v = (between * u).sum(-1), (between * v).sum(-1)
    inverse = 1 / (uu * vv - uv * uv).clamp_min(1e-6 * uu * vv)
    gap = torch.zeros_like(uu)
    before = (gap, between)
    for turn in range(ROUNDS):
        # minimise ½uu s² + ½vv t² − uv s t + p s − q t over the unit square
        p, q = along_u - gap * taper_a, along_v + gap * taper_b
        s = ((uv * q - vv * p) * inverse).clamp(0, 1)
        t = ((uv * s + q) / vv).clamp(0, 1)
        s = ((uv * t - p) / uu).clamp(0, 1)
        apart = between + s[..., None] * u - t[..., None] * v
        length = torch.linalg.vector_norm(apart, dim=-1).clamp_min(1e-6)
        if turn == ROUNDS - 1:
            break
        step = gap - before[0]
        slope = (apart - before[1]) / torch.where(step.abs() < 1e-5, torch.inf, step)[..., None]
        before = gap, apart
        if turn:
            base = apart - gap[..., None] * slope
            room = (1 - (slope * slope).sum(-1)).clamp_min(0.05)
            cross = (base * slope).sum(-1)
            gap = (cross + (cross * cross + room * (base * base).sum(-1)).sqrt()) / room
        else:
            gap = length
    reach = radius_a[..., 0] + s * taper_a + radius_b[..., 0] + t * taper_b
    return length - reach, s, t, apart / length[..., None]
