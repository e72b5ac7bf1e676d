"""How sure a fit is of each joint, from the normal equations that it ends with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ..body.model import VirtualPoints
from ..body.skeleton import NUM_JOINTS
from .kinematics import Chain, PointTable, Skeleton
from .settings import FitSettings
from .state import Unknowns

Array = NDArray[np.float32]


def joint_uncertainty(
    skeleton: Skeleton, chain: Chain, unknowns: Unknowns, hessian: torch.Tensor, settings: FitSettings
) -> tuple[Array, Array]:
    """One σ of each joint: position against the pelvis in metres (55,), and own rotation in radians (55,).

    (JᵀWJ)⁻¹ is the covariance of the unknowns (Laplace's approximation at the minimum); it takes the residuals' σ at
    their word. A joint that the fit did not turn has its prior's σ.
    """
    size = unknowns.size
    like = hessian.new_zeros(())
    points = VirtualPoints(
        skeleton.J_template.cpu().numpy(),
        skeleton.dirs[..., : skeleton.num_betas].cpu().numpy(),
        skeleton.dirs[..., skeleton.num_betas :].cpu().numpy(),
        np.eye(NUM_JOINTS, dtype=np.float32),
    )
    moving = PointTable.of(skeleton, points, unknowns.joints).differentiate(chain, unknowns)
    axes = torch.eye(3, dtype=like.dtype, device=like.device).expand(1, NUM_JOINTS, 3, 3)
    rows = moving.rows(axes, unknowns)[0]
    rows = (rows - rows[:1]).reshape(-1, size).double()
    exact = hessian.double()
    scale = torch.diagonal(exact).clamp_min(1e-12).rsqrt()
    scaled = exact * scale[:, None] * scale[None, :] + 1e-9 * torch.eye(size, dtype=torch.float64, device=like.device)
    factor = torch.linalg.cholesky_ex(scaled)[0]
    half = torch.linalg.solve_triangular(factor, (rows * scale).T, upper=False)
    position = (half * half).sum(0).reshape(NUM_JOINTS, 3).sum(-1).sqrt()
    inverse = torch.linalg.solve_triangular(factor, torch.diag(scale), upper=False)
    variance = (inverse * inverse).sum(0)
    rotation = np.full(NUM_JOINTS, settings.hand_sigma_rad, np.float32)
    turned = variance[: 3 * len(unknowns.joints)].reshape(-1, 3).mean(-1).sqrt().cpu().numpy()
    rotation[list(unknowns.joints)] = turned
    return position.float().cpu().numpy(), np.minimum(rotation, np.pi).astype(np.float32)
