"""What ties frames to each other: accelerations of points and of rotations, and feet that stand. Into block bands.

Times need not be even: differences are taken over the real times. Frames: a camera that turns is taken out by
`turn`, its rotation to the first frame's axes. Every residual is in units of its own σ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..rotation import inverse_right_jacobian, log_so3
from .banded import Bands, joint_blocks
from .residuals import reprojection, robust_weight
from .video_problem import Probe


def second_difference(time_s: Tensor) -> Tensor:
    """(T − 2, 3) coefficients of the second derivative at each inner time, for the frames before, at and after it."""
    before, after = time_s[1:-1] - time_s[:-2], time_s[2:] - time_s[1:-1]
    both = before + after
    return torch.stack([2 / (before * both), -2 / (before * after), 2 / (after * both)], -1)


def turn_acceleration(rotmats: Tensor, time_s: Tensor) -> tuple[Tensor, Tensor]:
    """Angular acceleration of K rotations, rad/s², and its Jacobian.

    rotmats (T, K, 3, 3), time_s (T,) → (T − 2, K, 3), and derivatives by the right tangents of the frames before, at
    and after (T − 2, 3, K, 3, 3). With Log(R_tᵀ R_{t+1}) = ω, a tangent step at t + 1 changes ω by J_r⁻¹(ω), at t by
    −J_r⁻¹(−ω). Both velocities that meet at t are read in its frame.
    """
    relative = log_so3(rotmats[:-1].transpose(-1, -2) @ rotmats[1:])
    step = time_s[1:] - time_s[:-1]
    velocity = relative / step[:, None, None]
    right = inverse_right_jacobian(relative) / step[:, None, None, None]
    left = -right.transpose(-1, -2)  # J_r⁻¹(−ω) is the transpose of J_r⁻¹(ω)
    span = (0.5 * (time_s[2:] - time_s[:-2]))[:, None, None]
    value = (velocity[1:] - velocity[:-1]) / span
    jacobian = torch.stack([-left[:-1], left[1:] - right[:-1], right[1:]], 1) / span[:, None, :, :, None]
    return value, jacobian


PIN_REACH_S = 0.3  # around a pin motion is smooth without exception


@dataclass(frozen=True)
class Contact:
    """What feet do: points that stand from one frame to the next, and points that are on the ground.

    probes: indices of the points among the probes. standing (T, C): the point stands still at frame t, grounded (T, C):
    on the ground; up (3,), ground_m: up · x = ground_m is the ground, in the first frame's camera axes.
    """

    probes: Tensor  # (C,)
    standing: Tensor  # (T, C) 0 or 1
    grounded: Tensor  # (T, C) 0 or 1
    up: Tensor  # (3,)
    ground_m: float
    speed_sigma: float  # m/s
    height_sigma: float  # m


@dataclass(frozen=True)
class Pins:
    """What the user fixed in some frames: M probes, each at a place in the picture or in space. Not robust, and stiff.

    A row of `target_px` or `target_m` that is not given has weight 0.
    """

    row: Tensor  # (M,) frames of the window
    probe: Tensor  # (M,) which of the probes
    target_px: Tensor  # (M, 2)
    inverse_sigma_px: Tensor  # (M,) 1/px
    target_m: Tensor  # (M, 3) in the camera's frame
    inverse_sigma_m: Tensor  # (M,) 1/m

    def add(self, probe: Probe, log_focal: Tensor, principal: Tensor, main: Tensor, gradient: Tensor) -> Tensor:
        """Add to the frames' own blocks (T, n, n) and gradient (T, n) in place; the cost."""
        place = probe.positions[self.row, self.probe][:, None]  # (M, 1, 3)
        rows = probe.rows[self.row, self.probe]  # (M, 3, n)
        seen, by_point, _ = reprojection(
            place, log_focal[self.row], principal, self.target_px[:, None], self.inverse_sigma_px[:, None]
        )
        off = (place[:, 0] - self.target_m) * self.inverse_sigma_m[:, None]
        r = torch.cat([seen[:, 0], off], -1)
        j = torch.cat([by_point[:, 0] @ rows, rows * self.inverse_sigma_m[:, None, None]], 1)
        transposed = j.transpose(1, 2)
        main.index_add_(0, self.row, transposed @ j)
        gradient.index_add_(0, self.row, (transposed @ r[..., None])[..., 0])
        return (r * r).sum()


@dataclass(frozen=True)
class Smoothness:
    """Between-frame terms of one window. A chain breaks where `linked` is 0: no term spans it.

    The probes that are smoothed are the first ones: point_scale (P, 3, 3) brings their accelerations, m/s², to σ; it
    may be another one across than up. joints: which rotations, turn_sigma (K,) rad/s².
    expression_sigma (E,) 1/s².
    """

    time_s: Tensor  # (T,)
    linked: Tensor  # (T − 1,) 1 where motion goes on from t to t + 1
    point_scale: Tensor  # (P, 3, 3) s²/m, in the first frame's axes
    joints: tuple[int, ...]
    turn_inverse_sigma: Tensor  # (K,)
    expression_inverse_sigma: Tensor  # (E,) or (0,)
    robust_width: float
    turn: Tensor | None  # (T, 3, 3) camera → first frame's axes, of a camera that turns
    contact: Contact | None = None
    pins: Pins | None = None  # the window adds them

    def add(
        self,
        rotmats: Tensor,
        expression: Tensor,
        probe: Probe,
        expression_at: int,
        bands: Bands,
        gradient: Tensor,
    ) -> Tensor:
        """Add to bands and gradient (T, n) in place; the cost, one number. `joints` are the first
        unknowns."""
        cost = gradient.new_zeros(())
        frames = len(self.time_s)
        if frames < 2:
            return cost
        positions, rows = probe.positions, probe.rows  # (T, S, 3), (T, S, 3, n)
        if self.turn is not None:
            positions = (self.turn[:, None] @ positions[..., None])[..., 0]
            rows = self.turn[:, None] @ rows
        whole = (self.linked[1:] * self.linked[:-1]) if frames > 2 else self.linked[:0]
        if frames > 2:
            cost = cost + self._points(positions, rows, whole, bands, gradient)
            cost = cost + self._turns(rotmats, whole, bands, gradient)
            if len(self.expression_inverse_sigma):
                cost = cost + self._expression(expression, expression_at, whole, bands, gradient)
        if self.contact is not None:
            cost = cost + self._stand(self.contact, positions, rows, bands, gradient)
        return cost

    def _robust(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Value and weight of squared terms (T − 2, K); plain around pins, which must not be taken for outliers."""
        value, weight = robust_weight(squared, self.robust_width)
        if self.pins is None:
            return value, weight
        gap = (self.time_s[1:-1, None] - self.time_s[self.pins.row]).abs().amin(1, keepdim=True)
        near = gap < PIN_REACH_S
        return torch.where(near, squared, value), torch.where(near, torch.ones_like(weight), weight)

    def _points(self, positions: Tensor, rows: Tensor, whole: Tensor, bands: Bands, gradient: Tensor) -> Tensor:
        count = len(self.point_scale)
        if count == 0:
            return gradient.new_zeros(())
        x = (self.point_scale @ positions[:, :count, :, None])[..., 0]
        a = self.point_scale @ rows[:, :count]
        c = second_difference(self.time_s)
        r = c[:, 0, None, None] * x[:-2] + c[:, 1, None, None] * x[1:-1] + c[:, 2, None, None] * x[2:]
        value, weight = self._robust((r * r).sum(-1))
        w = weight * whole[:, None]
        pulled = r * w[..., None]  # (T − 2, P, 3)
        frames, n = len(x), a.shape[-1]
        flat = a.reshape(frames, -1, n)
        _banded(flat, w.repeat_interleave(3, -1), c, bands)
        g = x.new_zeros(frames, *pulled.shape[1:])
        for k in range(3):
            g[k : frames - 2 + k] += c[:, k, None, None] * pulled
        gradient += (flat.transpose(1, 2) @ g.reshape(frames, -1, 1))[..., 0]
        return (value * whole[:, None]).sum()

    def _turns(self, rotmats: Tensor, whole: Tensor, bands: Bands, gradient: Tensor) -> Tensor:
        if not self.joints:
            return gradient.new_zeros(())
        local = rotmats[:, list(self.joints)]
        if self.turn is not None and 0 in self.joints:
            at = self.joints.index(0)
            local = local.clone()
            local[:, at] = self.turn @ local[:, at]
        value, jacobian = turn_acceleration(local, self.time_s)
        r = value * self.turn_inverse_sigma[:, None]
        j = jacobian * self.turn_inverse_sigma[:, None, None]
        cost, weight = self._robust((r * r).sum(-1))
        w = weight * whole[:, None]
        inner, count = len(r), len(self.joints)
        # The joints' columns are the first ones, in order: blocks of three on the diagonals.
        pulled = gradient[:, : 3 * count].unflatten(1, (count, 3))
        diagonals = [joint_blocks(band, count) for band in (bands.main, bands.next, bands.after)]
        for k in range(3):
            transposed = j[:, k].transpose(-1, -2) * w[..., None, None]
            pulled[k : inner + k] += (transposed @ r[..., None])[..., 0]
            for later in range(k, 3):
                diagonals[later - k][k : inner + k] += transposed @ j[:, later]
        return (cost * whole[:, None]).sum()

    def _expression(self, expression: Tensor, first: int, whole: Tensor, bands: Bands, gradient: Tensor) -> Tensor:
        c = second_difference(self.time_s) * whole[:, None]
        inverse = self.expression_inverse_sigma
        inner, count = len(c), expression.shape[1]
        r = (
            c[:, 0, None] * expression[:-2] + c[:, 1, None] * expression[1:-1] + c[:, 2, None] * expression[2:]
        ) * inverse
        at = first + torch.arange(count, device=expression.device)
        for k in range(3):
            gradient[k : inner + k, at] += c[:, k, None] * r * inverse
            for band, later in ((bands.main, k), (bands.next, k + 1), (bands.after, k + 2)):
                if later < 3:
                    band[k : inner + k, at, at] += (c[:, k] * c[:, later])[:, None] * inverse**2
        return (r * r).sum()

    def _stand(self, contact: Contact, positions: Tensor, rows: Tensor, bands: Bands, gradient: Tensor) -> Tensor:
        x, a = positions[:, contact.probes], rows[:, contact.probes]
        frames, n = len(x), a.shape[-1]
        flat = a.reshape(frames, -1, n)
        step = self.time_s[1:] - self.time_s[:-1]
        both = contact.standing[1:] * contact.standing[:-1] * self.linked[:, None]
        weight = both / (contact.speed_sigma * step[:, None]) ** 2  # (T − 1, C)
        r = x[1:] - x[:-1]
        pulled = r * weight[..., None]
        cost = (r * pulled).sum()
        w = weight.repeat_interleave(3, -1)
        around = torch.zeros_like(flat[..., 0])
        around[1:] += w
        around[:-1] += w
        bands.main += flat.transpose(1, 2) @ (flat * around[..., None])
        bands.next[:-1] -= flat[:-1].transpose(1, 2) @ (flat[1:] * w[..., None])
        g = torch.zeros_like(x)
        g[1:] += pulled
        g[:-1] -= pulled
        gradient += (flat.transpose(1, 2) @ g.reshape(frames, -1, 1))[..., 0]
        height = x @ contact.up - contact.ground_m  # (T, C)
        weight = contact.grounded / contact.height_sigma**2
        upward = (contact.up @ a).reshape(frames, -1, n)
        bands.main += upward.transpose(1, 2) @ (upward * weight[..., None])
        gradient += (upward.transpose(1, 2) @ (height * weight)[..., None])[..., 0]
        return cost + (height * height * weight).sum()


def _banded(flat: Tensor, weight: Tensor, c: Tensor, bands: Bands) -> None:
    """Add Σ_t (Σ_k c_tk A_{t+k})ᵀ W_t (Σ_l c_tl A_{t+l}): flat (T, R, n), weight (T − 2, R), c (T − 2, 3)."""
    frames, inner = len(flat), len(c)
    turned = flat.transpose(1, 2)
    for apart, band in enumerate((bands.main, bands.next, bands.after)):
        total = torch.zeros_like(flat[..., 0])
        for k in range(3 - apart):
            total[k : inner + k] += (c[:, k] * c[:, k + apart])[:, None] * weight
        last = frames - apart
        band[:last] += turned[:last] @ (flat[apart:] * total[:last, :, None])
