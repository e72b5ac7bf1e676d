"""A learned pose prior as an exact density: a normalising flow over the axis-angle of the body's 21 joints (torch).

A flow is an invertible map f from poses to a 63-dimensional standard normal; −log p(x) = ½ |f(x)|² − log |det f′(x)| up
to a constant. Both terms are sums of squares, √(2 (bound − log det)) being one more residual, so that the solver
minimises the exact density with the exact Jacobian, which a variational auto-encoder does not offer. Layers are affine
couplings (Dinh et al., "Density estimation using Real NVP", ICLR 2017) between fixed rotations of the space, after a
Gaussian whitening.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .pose import BODY_JOINTS
from .tangent import log_with_jacobian

SIZE = 63
FIRST = 31  # coordinates that a coupling reads; it moves the other 32


LIMIT = 0.35  # a layer scales each coordinate by at most exp(±LIMIT)


@dataclass(frozen=True)
class FlowLayers:
    """Weights of a flow of L layers with H hidden units.

    A layer turns its input by `turn`, reads its first 31 coordinates, and scales and shifts the other 32:
    b ← b · exp(s) + t with (s, t) from one hidden layer of tanh; s is bounded by `limit` · tanh.
    """

    mean: Tensor  # (63,)
    whitening: Tensor  # (63, 63)
    turns: Tensor  # (L, 63, 63) orthogonal
    w1: Tensor  # (L, H, 31)
    b1: Tensor  # (L, H)
    w2: Tensor  # (L, 64, H)
    b2: Tensor  # (L, 64)
    scale: Tensor  # (63,) log of the last scaling

    def to(self, dtype: torch.dtype, device: str | torch.device) -> FlowLayers:
        """The same weights in another precision or place."""
        return FlowLayers(**{item.name: getattr(self, item.name).to(device, dtype) for item in fields(self)})


def flow_forward(layers: FlowLayers, pose: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 63) → latent (B, 63), log |det| (B,) without the whitening's constant."""
    x = (pose - layers.mean) @ layers.whitening.T
    log_det = layers.scale.sum().expand(x.shape[0])
    for k in range(len(layers.turns)):
        x = x @ layers.turns[k].T
        first, second = x[:, :FIRST], x[:, FIRST:]
        hidden = torch.tanh(first @ layers.w1[k].T + layers.b1[k])
        out = hidden @ layers.w2[k].T + layers.b2[k]
        s = LIMIT * torch.tanh(out[:, :32])
        x = torch.cat([first, second * torch.exp(s) + out[:, 32:]], 1)
        log_det = log_det + s.sum(1)
    return x * torch.exp(layers.scale), log_det


def flow_inverse(layers: FlowLayers, latent: Tensor) -> Tensor:
    """Latent (B, 63) → pose (B, 63) axis-angle: sampling."""
    x = latent * torch.exp(-layers.scale)
    for k in reversed(range(len(layers.turns))):
        first, second = x[:, :FIRST], x[:, FIRST:]
        hidden = torch.tanh(first @ layers.w1[k].T + layers.b1[k])
        out = hidden @ layers.w2[k].T + layers.b2[k]
        s = LIMIT * torch.tanh(out[:, :32])
        x = torch.cat([first, (second - out[:, 32:]) * torch.exp(-s)], 1) @ layers.turns[k]
    inverse: Tensor = torch.linalg.inv(layers.whitening)
    return x @ inverse.T + layers.mean


class FlowPosePrior:
    """The flow as residuals: 63 latent coordinates and one for the volume; half their squared sum is −log p + c."""

    joints = BODY_JOINTS

    def __init__(
        self, layers: FlowLayers, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
    ) -> None:
        self.layers = layers.to(dtype, device)
        self.by_joint = self.layers.whitening.reshape(63, 21, 3).transpose(0, 1).contiguous()
        # No pose has a larger log det: every scale at its bound.
        self.bound = float(self.layers.scale.sum()) + 32 * LIMIT * len(layers.turns)
        self.out_scale = torch.exp(self.layers.scale)

    def residual(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 21, 3, 3) → residual (B, 64), Jacobian (B, 64, 63) by right tangents."""
        return self.from_tangent(*log_with_jacobian(rotmats))

    def from_tangent(self, vector: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """The same from logarithms and their derivatives."""
        f, batch = self.layers, vector.shape[0]
        # Points and their derivatives go through together: the last column is x.
        both = vector.new_empty(batch, 63, 64)
        torch.matmul(vector.reshape(batch, 63) - f.mean, f.whitening.T, out=both[..., 63])
        both[..., :63].unflatten(2, (21, 3)).copy_((self.by_joint @ inner).transpose(1, 2))
        bend = both.new_zeros(batch, 63)  # derivative of the log det
        log_det = both.new_zeros(batch)
        for k in range(len(f.turns)):
            both = f.turns[k] @ both
            read, moved = both[:, :FIRST], both[:, FIRST:]
            hidden = torch.tanh(torch.addmm(f.b1[k], read[..., 63], f.w1[k].T))
            out = torch.addmm(f.b2[k], hidden, f.w2[k].T)
            slope = (f.w2[k] * (1 - hidden * hidden)[:, None]) @ f.w1[k]  # (B, 64, 31)
            by = slope @ read[..., :63]
            bounded = torch.tanh(out[:, :32])
            s = LIMIT * bounded
            by_s = by[:, :32].mul_((LIMIT - s * bounded)[..., None])
            moved *= torch.exp(s)[..., None]
            moved[..., :63].addcmul_(moved[..., 63:], by_s).add_(by[:, 32:])
            moved[..., 63] += out[:, 32:]
            log_det += s.sum(1)
            bend += by_s.sum(1)
        last = torch.sqrt(2 * (self.bound - log_det - f.scale.sum()).clamp_min(1e-3))[:, None]
        both *= self.out_scale[:, None]
        residual = torch.cat([both[..., 63], last], 1)
        return residual, torch.cat([both[..., :63], (-bend / last)[:, None]], 1)
