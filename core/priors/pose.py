"""Body-pose priors as residuals of the solver (torch).

Every prior here speaks one interface: local rotations of its joints in, residuals and their Jacobian by right tangents
(R ← R · Exp(ω)) out, so that another prior can take its place. Residuals are whitened: half their squared sum is a
negative log density, up to a constant.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

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


@dataclass(frozen=True)
class GaussianParameters:
    """A Gaussian mixture over the axis-angle of the 21 body joints. M components.

    `whitening` W has Wᵀ W = Σ⁻¹; `offsets` are −log(weight · det W), less their least.
    """

    means: np.ndarray[tuple[int, ...], np.dtype[np.float32]]  # (M, 63) radians
    whitening: np.ndarray[tuple[int, ...], np.dtype[np.float32]]  # (M, 63, 63)
    offsets: np.ndarray[tuple[int, ...], np.dtype[np.float32]]  # (M,)


def read_gaussian(name: str = "gaussian", path: Path = GAUSSIAN_FILE) -> GaussianParameters:
    """Read "gaussian" (one component) or "mixture" from a prior file. Raises PriorError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            parameters = GaussianParameters(data[f"{name}_means"], data[f"{name}_whitening"], data[f"{name}_offsets"])
    except FileNotFoundError as error:
        raise PriorError(f"The pose prior {path.name} is missing. Install Pantomime again.") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise PriorError(f"The pose prior {path.name} is damaged. Install Pantomime again.") from error
    count = len(parameters.means)
    if parameters.means.shape != (count, 63) or parameters.whitening.shape != (count, 63, 63):
        raise PriorError(f"The pose prior {path.name} is not for 21 body joints. Install Pantomime again.")
    return parameters


class GaussianPosePrior:
    """Gaussian, or the likeliest of several Gaussians, over the axis-angle of the body's 21 joints.

    With several components the energy is the least over components of ½ |r|² + offset, as in SMPLify (Bogo et al., ECCV
    2016, eq. 6); the offset is one more residual, √(2 offset), so that energies of two components compare.
    """

    joints = BODY_JOINTS

    def __init__(
        self,
        parameters: GaussianParameters,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.means = torch.as_tensor(parameters.means).to(device, dtype)
        self.whitening = torch.as_tensor(parameters.whitening).to(device, dtype)
        # One joint's columns at a time: (M, 21, 63, 3).
        self.by_joint = self.whitening.reshape(len(self.means), 63, 21, 3).transpose(1, 2).contiguous()
        self.extra = torch.as_tensor(np.sqrt(2 * parameters.offsets)).to(device, dtype)

    def residual(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 21, 3, 3) → (B, R), (B, R, 63); R is 63, and 64 with several components."""
        batch = rotmats.shape[0]
        vector, inner = log_with_jacobian(rotmats)
        pose = vector.reshape(batch, 63)
        if len(self.means) == 1:
            residual = (pose - self.means) @ self.whitening[0].T
            return residual, (self.by_joint @ inner).transpose(1, 2).reshape(batch, 63, 63)
        candidates = ((pose[None] - self.means[:, None]) @ self.whitening.transpose(1, 2)).transpose(0, 1)
        energies = (candidates * candidates).sum(-1) + self.extra**2
        best = energies.argmin(-1)
        rows = torch.arange(batch, device=best.device)
        jacobian = pose.new_zeros(batch, 64, 63)
        jacobian[:, :63] = (self.by_joint[best] @ inner).transpose(1, 2).reshape(batch, 63, 63)
        return torch.cat([candidates[rows, best], self.extra[best][:, None]], -1), jacobian


def load_gaussian_prior(
    name: str = "gaussian", dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> GaussianPosePrior:
    """The committed Gaussian ("gaussian") or mixture ("mixture"). Raises PriorError."""
    return GaussianPosePrior(read_gaussian(name), dtype, device)
