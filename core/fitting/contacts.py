"""Which way is up in a clip, where the ground is, and when heels and toes stand on it. numpy only.

Soles: left heel, left toe, right heel, right toe. Frames: camera axes (of the first frame, where the camera turns),
metres. The camera stands still, or its turning was taken out before.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

UP_SIGMA_RAD = np.radians(3.0)  # of gravity as the bodies and a roughly level camera say it
POINT_SIGMA_M = 0.04  # of a standing sole from the ground
ROBUST_M = 0.08


@dataclass(frozen=True)
class ContactSettings:
    speed: float = 0.35  # m/s: what stands is slower
    leave_speed: float = 0.6  # a point that stands goes on to do so up to this
    height_m: float = 0.07  # above the ground; higher points do not stand on it
    least_s: float = 0.1  # shorter contacts are chance
    gap_s: float = 0.08  # shorter gaps between contacts are noise


@dataclass(frozen=True)
class Ground:
    """The plane up · x = height_m."""

    up: Array  # (3,) unit, against gravity
    height_m: float
    points: int  # how many standing soles it rests on; 0: only the bodies' and the camera's word


def speeds(points: Array, time_s: NDArray[np.float64], depth_share: float = 0.35) -> Array:
    """Speed of points (T, S, 3) at each time, m/s, (T, S): central differences, one-sided at the ends.

    Motion along the line of sight counts by `depth_share`: a camera sees it many times worse than motion across.
    """
    if len(points) < 2:
        return np.zeros(points.shape[:2], np.float32)
    velocity = np.gradient(points.astype(np.float64), time_s, axis=0)
    ray = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-9)
    along = (velocity * ray).sum(-1, keepdims=True) * ray
    return np.asarray(np.linalg.norm(velocity - (1 - depth_share) * along, axis=-1), np.float32)


def find_ground(
    soles: Array, speed: Array, belief: Array, first_up: Array, settings: ContactSettings | None = None
) -> Ground:
    """The plane that slow soles rest on, near `first_up`, by iteratively re-weighted least squares.

    soles (T, 4, 3); speed (T, 4); belief (T, 4) 0…1; first_up (3,) a guess.
    """
    s = settings or ContactSettings()
    up = _unit(np.asarray(first_up, np.float64))
    prior = up.copy()
    slow = (speed < s.speed) & (belief > 0.3)
    # The lower foot carries: a lifted foot that is slow for a moment does not tell where the ground is.
    heights = soles @ up
    lowest = heights.min(axis=1, keepdims=True)
    carried = slow & (heights < lowest + 0.05)
    points = soles[carried].astype(np.float64)
    if len(points) < 4:
        low = heights[belief > 0.3] if bool((belief > 0.3).any()) else heights.reshape(-1)
        return Ground(up.astype(np.float32), float(np.percentile(low, 5)) if low.size else 0.0, 0)
    # Standing frames are not independent: a long stance says little more than a short one.
    scale = min(1.0, 60.0 / len(points))
    height = float(np.percentile(points @ up, 30))
    for _ in range(15):
        residual = points @ up - height
        weight = scale / (POINT_SIGMA_M**2 * (1 + (residual / ROBUST_M) ** 2) ** 2)
        # Two small turns about axes square to `up`, and the height.
        across = _basis(up)
        rows = np.concatenate([points @ across.T, -np.ones((len(points), 1))], axis=1)
        normal = rows.T @ (rows * weight[:, None])
        right = -rows.T @ (residual * weight)
        off = across @ prior
        normal[:2, :2] += np.eye(2) / UP_SIGMA_RAD**2
        right[:2] += off / UP_SIGMA_RAD**2
        step = np.linalg.solve(normal + 1e-9 * np.eye(3), right)
        up = _unit(up + step[0] * across[0] + step[1] * across[1])
        height += float(step[2])
        if float(np.abs(step).max()) < 1e-6:
            break
    return Ground(up.astype(np.float32), height, len(points))


def find_contacts(
    soles: Array,
    speed: Array,
    belief: Array,
    ground: Ground,
    time_s: NDArray[np.float64],
    settings: ContactSettings | None = None,
) -> Array:
    """1 where a sole stands on the ground, (T, 4): slow, low, seen, and for long enough."""
    s = settings or ContactSettings()
    above = soles @ ground.up - ground.height_m
    low = (above < s.height_m) & (above > -2.5 * s.height_m) & (belief > 0.2)
    stands = np.zeros(speed.shape, bool)
    for point in range(speed.shape[1]):
        sure = low[:, point] & (speed[:, point] < s.speed)
        maybe = low[:, point] & (speed[:, point] < s.leave_speed)
        for order in (range(len(speed)), range(len(speed) - 1, -1, -1)):
            on = False
            for t in order:
                on = bool(sure[t] or (on and maybe[t]))
                stands[t, point] |= on
        _clean(stands[:, point], time_s, s)
    return stands.astype(np.float32)


def _clean(on: NDArray[np.bool_], time_s: NDArray[np.float64], s: ContactSettings) -> None:
    """Close short gaps, then drop short contacts, in place."""
    for value, least in ((False, s.gap_s), (True, s.least_s)):
        edges = np.flatnonzero(np.diff(on.astype(np.int8))) + 1
        bounds = [0, *edges.tolist(), len(on)]
        for k, (start, end) in enumerate(pairwise(bounds)):
            inner = 0 < k < len(bounds) - 2
            span = time_s[end - 1] - time_s[start]
            if bool(on[start]) == value and span < least and (value or inner):
                on[start:end] = not value


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _basis(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two unit vectors square to `up` and to each other, (2, 3)."""
    helper = np.eye(3)[int(np.abs(up).argmin())]
    first = _unit(np.cross(up, helper))
    return np.stack([first, np.cross(up, first)])
