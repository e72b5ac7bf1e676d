"""How tall a body stands in its rest pose, and that as a residual: a height that is known fixes the scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..body.model import BodyModel

_DRAWN = 256  # people of all shapes, whose highest and lowest vertices are the ones that matter
_SPREAD = 2.0  # σ of their betas
_MOST_BETAS = 20  # of a licensed file's 300, the first: the others are details


@dataclass(frozen=True)
class StandingHeight:
    """From the lowest vertex of a sole to the top of the head, in the rest pose. C vertices may be either.

    The height is linear in betas as long as the same two vertices are it; its derivative is theirs.
    """

    top: Tensor  # (C₁,) metres, y
    top_dirs: Tensor  # (C₁, B)
    bottom: Tensor  # (C₂,)
    bottom_dirs: Tensor  # (C₂, B)

    @classmethod
    def of(cls, body: BodyModel, dtype: torch.dtype, device: torch.device | str) -> StandingHeight:
        """Of a body: the vertices that are highest and lowest in people of all shapes, upright in the rest pose."""

        def tensor(array: object) -> Tensor:
            return torch.as_tensor(array).to(dtype=dtype, device=device)

        held = np.unique(body.faces)  # joints' helpers and the like are no skin
        y, dirs = body.v_template[held, 1], body.shapedirs[held, 1]
        span = float(np.ptp(y))
        betas = np.random.default_rng(0).normal(scale=_SPREAD, size=(_DRAWN, body.num_betas)).astype(np.float32)
        betas[:, _MOST_BETAS:] = 0
        betas[0] = 0
        parts = []
        for near, pick in ((y > y.max() - 0.15 * span, np.argmax), (y < y.min() + 0.08 * span, np.argmin)):
            candidates = np.flatnonzero(near)
            heights = y[candidates, None] + dirs[candidates] @ betas.T
            chosen = candidates[np.unique(pick(heights, axis=0))]
            parts += [tensor(y[chosen]), tensor(dirs[chosen])]
        return cls(*parts)

    def measure(self, betas: Tensor) -> tuple[Tensor, Tensor]:
        """Heights (N,) in metres of bodies of betas (N, B), and their derivatives (N, B)."""
        high, highest = (self.top + betas @ self.top_dirs.T).max(-1)
        low, lowest = (self.bottom + betas @ self.bottom_dirs.T).min(-1)
        return high - low, self.top_dirs[highest] - self.bottom_dirs[lowest]


@dataclass(frozen=True)
class KnownHeight:
    """A height that somebody measured, as one residual on the betas."""

    standing: StandingHeight
    height_m: float
    sigma_m: float

    def residual(self, betas: Tensor) -> tuple[Tensor, Tensor]:
        """betas (N, B) → residual (N,) in σ, its derivative (N, B)."""
        value, by_betas = self.standing.measure(betas)
        return (value - self.height_m) / self.sigma_m, by_betas / self.sigma_m
