"""How far tapered capsules are from each other (torch)."""

from __future__ import annotations

import torch
from torch import Tensor

dot = torch.linalg.vecdot
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
    uu, vv, uv = dot(u, u).clamp_min(1e-12), dot(v, v).clamp_min(1e-12), dot(u, v)
    against_u, along_v = -dot(between, u), dot(between, v)
    both = uu * vv
    inverse = 1 / torch.maximum(both - uv * uv, 1e-6 * both)
    gap = torch.zeros_like(uu)
    before = (gap, between)
    for turn in range(ROUNDS):
        # minimise ½uu s² + ½vv t² − uv s t − p s − q t over the unit square
        p, q = torch.addcmul(against_u, gap, taper_a), torch.addcmul(along_v, gap, taper_b)
        s = (torch.addcmul(uv * q, vv, p) * inverse).clamp(0, 1)
        t = (torch.addcmul(q, uv, s) / vv).clamp(0, 1)
        s = (torch.addcmul(p, uv, t) / uu).clamp(0, 1)
        apart = torch.addcmul(torch.addcmul(between, s[..., None], u), t[..., None], v, value=-1)
        length = torch.linalg.vector_norm(apart, dim=-1).clamp_min(1e-6)
        if turn == ROUNDS - 1:
            break
        step = gap - before[0]
        slope = (apart - before[1]) / torch.where(step.abs() < 1e-5, torch.inf, step)[..., None]
        before = gap, apart
        if turn:
            base = torch.addcmul(apart, gap[..., None], slope, value=-1)
            room = (1 - dot(slope, slope)).clamp_min(0.05)
            cross = dot(base, slope)
            gap = (cross + torch.addcmul(cross * cross, room, dot(base, base)).sqrt()) / room
        else:
            gap = length
    reach = radius_a[..., 0] + s * taper_a + radius_b[..., 0] + t * taper_b
    return length - reach, s, t, apart / length[..., None]
