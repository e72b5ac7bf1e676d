"""Body-pose priors as residuals of the solver (torch).

Every prior here speaks one interface: local rotations of its joints in, residuals and their Jacobian by right tangents
(R ← R · Exp(ω)) out, so that another prior can take its place. Residuals are whitened: half their squared sum is a
negative log density, up to a constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..npz_errors import DAMAGED_NPZ
from .errors import PriorError
from .tangent import log_with_jacobian

BODY_JOINTS: tuple[int, ...] = tuple(range(1, 22))
GAUSSIAN_FILE = Path(__file__).parent / "data" / "gaussian_pose.npz"


class PosePrior(Protocol):
    """A prior on the local rotations of `joints` (indices in SMPL-X order). K joints."""

    joints: tuple[int, ...]

    def residual(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, 3, 3) → residual (B, R), Jacobian (B, R, 3K) by right tangents. Frame: each joint's own."""
        ...

    def from_tangent(self, vector: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """The same from what `log_with_jacobian` makes of the rotations: (B, K, 3), (B, K, 3, 3)."""
        ...


@dataclass(frozen=True)
class GaussianParameters:
    """A Gaussian mixture over the axis-angle of K joints (21 of the body). M components.

    `whitening` W has Wᵀ W = Σ⁻¹; `offsets` are −log(weight · det W), less their least.
    """

    means: np.ndarray[tuple[int, ...], np.dtype[np.float32]]  # (M, 3K) radians
    whitening: np.ndarray[tuple[int, ...], np.dtype[np.float32]]  # (M, 3K, 3K)
    offsets: np.ndarray[tuple[int, ...], np.dtype[np.float32]]  # (M,)


def read_gaussian(name: str = "gaussian", path: Path | None = None) -> GaussianParameters:
    """Read "gaussian" (one component) or "mixture" from a prior file. Raises PriorError."""
    path = path or GAUSSIAN_FILE
    try:
        with np.load(path, allow_pickle=False) as data:
            parameters = GaussianParameters(data[f"{name}_means"], data[f"{name}_whitening"], data[f"{name}_offsets"])
    except FileNotFoundError as error:
        raise PriorError(f"The pose prior {path.name} is missing. Install Pantomime again.") from error
    except DAMAGED_NPZ as error:
        raise PriorError(f"The pose prior {path.name} is damaged. Install Pantomime again.") from error
    count = len(parameters.means)
    if parameters.means.shape != (count, 63) or parameters.whitening.shape != (count, 63, 63):
        raise PriorError(f"The pose prior {path.name} is not for 21 body joints. Install Pantomime again.")
    return parameters


class GaussianPosePrior:
    """Gaussian, or the likeliest of several Gaussians, over the axis-angle of K joints: the body's 21, or a hand's 15.

    With several components the energy is the least over components of ½ |r|² + offset, as in SMPLify (Bogo et al., ECCV
    2016, eq. 6); the offset is one more residual, √(2 offset), so that energies of two components compare.
    """

    def __init__(
        self,
        parameters: GaussianParameters,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        joints: tuple[int, ...] = BODY_JOINTS,
    ) -> None:
        self.joints = joints
        self.size = 3 * len(joints)
        self.means = torch.as_tensor(parameters.means).to(device, dtype)
        self.whitening = torch.as_tensor(parameters.whitening).to(device, dtype)
        # One joint's columns at a time: (M, K, 3K, 3).
        self.by_joint = self.whitening.reshape(len(self.means), self.size, len(joints), 3).transpose(1, 2).contiguous()
        self.extra = torch.as_tensor(np.sqrt(2 * parameters.offsets)).to(device, dtype)

    def residual(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, 3, 3) → (B, R), (B, R, 3K); R is 3K, and one more with several components."""
        return self.from_tangent(*log_with_jacobian(rotmats))

    def from_tangent(self, vector: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """The same from logarithms and their derivatives."""
        batch, size = vector.shape[0], self.size
        pose = vector.reshape(batch, size)
        if len(self.means) == 1:
            residual = (pose - self.means) @ self.whitening[0].T
            return residual, (self.by_joint @ inner).transpose(1, 2).reshape(batch, size, size)
        candidates = ((pose[None] - self.means[:, None]) @ self.whitening.transpose(1, 2)).transpose(0, 1)
        energies = (candidates * candidates).sum(-1) + self.extra**2
        best = energies.argmin(-1)
        rows = torch.arange(batch, device=best.device)
        jacobian = pose.new_zeros(batch, size + 1, size)
        jacobian[:, :size] = (self.by_joint[best] @ inner).transpose(1, 2).reshape(batch, size, size)
        return torch.cat([candidates[rows, best], self.extra[best][:, None]], -1), jacobian


def load_gaussian_prior(
    name: str = "gaussian", dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> GaussianPosePrior:
    """The committed Gaussian ("gaussian") or mixture ("mixture"). Raises PriorError."""
    return GaussianPosePrior(read_gaussian(name), dtype, device)
