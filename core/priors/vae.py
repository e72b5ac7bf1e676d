"""A variational auto-encoder over body poses, as in SMPL-X's paper but in axis-angle, as residuals (torch).

Source of the idea: Pavlakos et al., CVPR 2019, section 3.3: a 32-dimensional latent, a Gaussian prior on it, and a
reconstruction loss on rotations. Here the pose stays the unknown: the residuals are the latent that the encoder gives
(its squares are the paper's energy) and the distance to the decoded projection, over the σ that it was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .pose import BODY_JOINTS
from .tangent import log_with_jacobian

LATENT = 32


@dataclass(frozen=True)
class VaeLayers:
    """Weights with H hidden units; encoder and decoder have two hidden layers of SiLU each."""

    mean: Tensor  # (63,)
    spread: Tensor  # (63,) the data's standard deviation, floored
    e1: Tensor  # (H, 63)
    f1: Tensor  # (H,)
    e2: Tensor  # (H, H)
    f2: Tensor  # (H,)
    e3: Tensor  # (64, H) latent mean, log σ
    f3: Tensor  # (64,)
    d1: Tensor  # (H, 32)
    g1: Tensor  # (H,)
    d2: Tensor  # (H, H)
    g2: Tensor  # (H,)
    d3: Tensor  # (63, H)
    g3: Tensor  # (63,)

    def to(self, dtype: torch.dtype, device: str | torch.device) -> VaeLayers:
        """The same weights in another precision or place."""
        return VaeLayers(**{item.name: getattr(self, item.name).to(device, dtype) for item in fields(self)})


def encode(layers: VaeLayers, pose: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 63) axis-angle → latent mean, log σ, (B, 32) each."""
    silu, linear = torch.nn.functional.silu, torch.nn.functional.linear
    hidden = silu(linear((pose - layers.mean) / layers.spread, layers.e1, layers.f1))
    out = linear(silu(linear(hidden, layers.e2, layers.f2)), layers.e3, layers.f3)
    return out[:, :LATENT], out[:, LATENT:].clamp(-6, 2)


def decode(layers: VaeLayers, latent: Tensor) -> Tensor:
    """Latent (B, 32) → axis-angle (B, 63)."""
    silu, linear = torch.nn.functional.silu, torch.nn.functional.linear
    hidden = silu(linear(silu(linear(latent, layers.d1, layers.g1)), layers.d2, layers.g2))
    return linear(hidden, layers.d3, layers.g3) * layers.spread + layers.mean


def _silu(x: Tensor) -> tuple[Tensor, Tensor]:
    """SiLU and its slope."""
    gate = torch.sigmoid(x)
    value = x * gate
    return value, gate + value * (1 - gate)


class VaePosePrior:
    """The auto-encoder as residuals: 32 latent coordinates and 63 of distance to the decoded pose."""

    joints = BODY_JOINTS

    def __init__(
        self,
        layers: VaeLayers,
        sigma_rad: float,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.layers = layers.to(dtype, device)
        self.sigma = sigma_rad

    def residual(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 21, 3, 3) → residual (B, 95), Jacobian (B, 95, 63) by right tangents."""
        return self.from_tangent(*log_with_jacobian(rotmats))

    def from_tangent(self, vector: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """The same from logarithms and their derivatives."""
        f, batch = self.layers, vector.shape[0]
        pose = vector.reshape(batch, 63)
        a1, s1 = _silu(torch.addmm(f.f1, (pose - f.mean) / f.spread, f.e1.T))
        a2, s2 = _silu(torch.addmm(f.f2, a1, f.e2.T))
        latent = torch.addmm(f.f3[:LATENT], a2, f.e3[:LATENT].T)
        # Few outputs: from them backwards.
        by_pose = (((f.e3[:LATENT] * s2[:, None]) @ f.e2) * s1[:, None]) @ (f.e1 / f.spread)
        b1, t1 = _silu(torch.addmm(f.g1, latent, f.d1.T))
        b2, t2 = _silu(torch.addmm(f.g2, b1, f.d2.T))
        decoded = torch.addmm(f.g3, b2, f.d3.T) * f.spread + f.mean
        # Few inputs: from them forwards.
        by_latent = (f.d3 * f.spread[:, None]) @ (t2[..., None] * (f.d2 @ (t1[..., None] * f.d1)))
        away = torch.eye(63, dtype=pose.dtype, device=pose.device) - by_latent @ by_pose
        jacobian = torch.cat([by_pose, away / self.sigma], 1).reshape(batch, 95, 21, 3).transpose(1, 2)
        jacobian = (jacobian @ inner).transpose(1, 2).reshape(batch, 95, 63)
        return torch.cat([latent, (pose - decoded) / self.sigma], 1), jacobian
