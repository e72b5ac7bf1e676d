"""Joint limits as soft one-sided residuals of the solver (torch).

A joint's rotation is read as a swing of its bone, in two coordinates around the middle of its range, and a twist about
it. Inside the range the residual is zero; outside it is the angle beyond the range, in radians, signed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.skeleton import JAW, LEFT_EYE, LEFT_HAND, RIGHT_EYE, RIGHT_HAND
from .ranges import range_table

BODY_AND_FACE: tuple[int, ...] = (*range(1, 22), JAW, LEFT_EYE, RIGHT_EYE)
HANDS: tuple[int, ...] = tuple(range(LEFT_HAND.start, RIGHT_HAND.stop))


class JointLimits:
    """Limits of K joints, three residuals a joint: swing (2) and twist, radians beyond the range.

    joints: SMPL-X indices. joint_positions (55, 3): the body's T-pose, for the directions of its fingers.
    """

    def __init__(
        self,
        joints: tuple[int, ...] = BODY_AND_FACE + HANDS,
        joint_positions: NDArray[np.float32] | NDArray[np.float64] | None = None,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        self.joints = joints
        table = range_table(joints, joint_positions)

        def tensor(array: NDArray[np.float64]) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(array)).to(device, dtype)

        # A rotation in the frame centred on the middle of its swing (rows 0–2) and in the frame itself (rows 3–5), from
        # one product each side. Columns: the bone's direction, and how a turn about the 2nd and 3rd axis moves it.
        self.left = tensor(np.swapaxes(np.concatenate([table.frame @ table.centre, table.frame], -1), 1, 2))
        moved = np.stack([table.frame[..., 0], -table.frame[..., 2], table.frame[..., 1]], -1)
        self.right = tensor(moved)
        self.frame_inverse = tensor(np.swapaxes(table.frame, 1, 2))
        self.inverse_bound = tensor(1 / table.bound)
        self.twist_middle = tensor(table.twist_middle)
        self.coupling = tensor(table.coupling)
        count = torch.arange(len(joints), device=device)
        self._rows = 3 * count[:, None] + torch.arange(3, device=device)

    def blocks(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, 3, 3) → residual (B, K, 3), Jacobian (B, K, 3, 3) of each joint by its own right tangent."""
        return self.beyond(*self.coordinates(rotmats))

    def coordinates(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, 3, 3) → swing and twist (B, K, 3) radians, and their derivative by right tangents (B, K, 3, 3)."""
        value, inner = self._coordinates(self.left @ rotmats @ self.right)
        return value, inner @ self.frame_inverse

    def beyond(self, value: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
        """What `blocks` gives, of `coordinates`."""
        # The length beyond the ellipse or interval, along the coordinate: x (1 − 1/ρ) where ρ = |x / bound| > 1.
        share = value * self.inverse_bound
        inverse_rho = self._rho_squared(share).clamp_min(1e-12).rsqrt()
        beyond = torch.relu(1 - inverse_rho)
        slope = value * inverse_rho**3 * (inverse_rho < 1)
        outer = slope[..., :, None] * self.coupling * (share * self.inverse_bound)[..., None, :]
        torch.diagonal(outer, dim1=-2, dim2=-1).add_(beyond)
        return value * beyond, outer @ inner

    def range_used(self, rotmats: Tensor) -> Tensor:
        """(B, K, 3, 3) → (B, K) how far towards the end of its range each joint is turned: 1 at the end."""
        value, _ = self.coordinates(rotmats)
        return self._rho_squared(value * self.inverse_bound).amax(-1).sqrt()

    def _rho_squared(self, share: Tensor) -> Tensor:
        """Squares of how far beyond the middle each coordinate is, in ellipses where two share one."""
        result: Tensor = ((share * share)[..., None, :] @ self.coupling)[..., 0, :]
        return result

    def residual(self, rotmats: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, 3, 3) → residual (B, 3K), Jacobian (B, 3K, 3K), block-diagonal but dense."""
        residual, blocks = self.blocks(rotmats)
        batch, count = residual.shape[:2]
        jacobian = rotmats.new_zeros(batch, 3 * count, 3 * count)
        jacobian[:, self._rows[:, :, None], self._rows[:, None, :]] = blocks
        return residual.reshape(batch, -1), jacobian

    def _coordinates(self, turned: Tensor) -> tuple[Tensor, Tensor]:
        """Swing and twist, (B, K, 3) radians, and their derivative by a right tangent in the joint's frame.

        Swing: the bone's direction d in the centred frame, on the sphere's logarithmic map at the centre,
        u = θ/sin θ (d₂, d₃); a turn about the 2nd (3rd) axis moves d by the 2nd (3rd) column. Twist: with
        R = swing · twist, atan2(R₃₂ − R₂₃, R₂₂ + R₃₃) in a frame whose first axis is the bone. Both are singular only
        where the bone points opposite to its rest or centre, which is far outside of any range; there the slope is cut.
        """
        cosine, side = turned[..., 0, :1], turned[..., 1:3, 0]
        sine = torch.linalg.vector_norm(side, dim=-1, keepdim=True).clamp_min(1e-3)
        ratio = torch.atan2(sine, cosine) / sine
        curve = (1 - ratio * cosine) / (sine * sine)
        # d ⟂ its moves, so dθ · sin θ = −(first component of the move).
        swing = ratio[..., None] * turned[..., 1:3, 1:] - (curve * side)[..., None] * turned[..., 0:1, 1:]
        b = turned[..., 4, 2] - turned[..., 5, 1]  # R22 + R33
        a = turned[..., 5, 2] + turned[..., 4, 1]  # R32 − R23
        inverse = 1 / (a * a + b * b).clamp_min(1e-4)
        r21, r31 = turned[..., 4, 0], turned[..., 5, 0]
        jacobian = torch.zeros_like(turned[..., :3, :])
        jacobian[..., :2, 1:] = swing
        jacobian[..., 2, 0] = 1
        jacobian[..., 2, 1] = -(b * r21 + a * r31) * inverse
        jacobian[..., 2, 2] = (a * r21 - b * r31) * inverse
        twist = torch.atan2(a, b) - self.twist_middle
        return torch.cat([ratio * side, twist[..., None]], -1), jacobian
