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
Float = NDArray[np.float64]

# What is known of gravity beside standing soles: cameras are held about level and at the height of a chest or of eyes,
# and bodies keep their balance.
ROLL_SIGMA_RAD, PITCH_SIGMA_RAD = np.radians(3.5), np.radians(10.0)
CAMERA_HEIGHT_M, CAMERA_HEIGHT_SIGMA_M = 1.5, 0.4
# In σ: somebody may stand on a box, or below the camera. Where no body tells the upright, the height has to.
CAMERA_ROBUST, ALONE_ROBUST = 2.5, 5.0
BODY_SIGMA_RAD = np.radians(6.0)
POINT_SIGMA_M = 0.15  # of a standing sole from the ground: depth is uncertain, and the ground is seen at a low angle
ROBUST_M = 0.08
TRUNK_RADIUS_M = 0.09  # from joints of the trunk and the head to the skin
LYING_M = 0.25  # above the ground: the trunk of somebody who lies or sits there is lower


@dataclass(frozen=True)
class ContactSettings:
    """When a sole stands."""

    depth_share: float = 0.1  # how far motion along the line of sight counts: a camera hardly sees it
    speed: float = 0.35  # m/s: what stands is slower
    leave_speed: float = 0.6  # a point that stands goes on to do so up to this
    height_m: float = 0.08  # above the ground; higher points do not stand on it
    below_m: float = 0.4  # under the ground is nobody: it is depth that is off, and contact mends it
    least_s: float = 0.1  # shorter contacts are chance
    gap_s: float = 0.08  # shorter gaps between contacts are noise
    still_speed: float = 0.2  # m/s: what is slower for `still_s` rests on something, whatever its height
    still_s: float = 0.3


@dataclass(frozen=True)
class Ground:
    """The plane up · x = height_m."""

    up: Array  # (3,) unit, against gravity
    height_m: float
    points: int  # how many standing soles it rests on; 0: only the bodies' and the camera's word


def speeds(points: Array, time_s: Float, depth_share: float = ContactSettings.depth_share) -> Array:
    """Speed of points (T, S, 3) at each time, m/s, (T, S): central differences, one-sided at the ends.

    Motion along the line of sight counts by `depth_share`: a camera sees it many times worse than motion across. A foot
    that stays where it is in the picture stands, even if a first fit moves the whole person in depth.
    """
    if len(points) < 2:
        return np.zeros(points.shape[:2], np.float32)
    velocity = np.gradient(points.astype(np.float64), time_s, axis=0)
    ray = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-9)
    along = (velocity * ray).sum(-1, keepdims=True) * ray
    return np.asarray(np.linalg.norm(velocity - (1 - depth_share) * along, axis=-1), np.float32)


def find_ground(
    soles: Array,
    speed: Array,
    belief: Array,
    body_up: Array | None,
    settings: ContactSettings | None = None,
    trunk: Array | None = None,
) -> Ground:
    """The plane that slow soles rest on, by iteratively re-weighted least squares.

    soles (T, 4, 3); speed (T, 4); belief (T, 4) 0…1; body_up (3,): what upright bodies say in the mean, if any were;
    trunk (T, K, 3): joints of the trunk and the head, which are not in the ground either when somebody lies on it.
    """
    body = None if body_up is None else _unit(np.asarray(body_up, np.float64))
    up = np.array([0.0, -1.0, 0.0]) if body is None else body
    points, found = _carrying(soles, speed, belief, up, settings or ContactSettings())
    height = float(np.percentile(points @ up, 30))
    for _ in range(20):
        across = _basis(up)
        a, r, w = _equations(points, up, across, height, body)
        step = np.linalg.solve(a.T @ (a * w[:, None]) + 1e-9 * np.eye(3), -a.T @ (r * w))
        up = _unit(up + step[0] * across[0] + step[1] * across[1])
        height += float(step[2])
        if float(np.abs(step).max()) < 1e-6:
            break
    if trunk is not None:
        lowest = (trunk @ up).min(axis=1)
        # Who lies or sits on the ground most of the time; a few frames are somebody who jumped from a box.
        if float(np.median(lowest)) < height + LYING_M:
            height = min(height, float(np.percentile(lowest, 10)) - TRUNK_RADIUS_M)
    return Ground(up.astype(np.float32), height, found)


def _carrying(soles: Array, speed: Array, belief: Array, up: Float, s: ContactSettings) -> tuple[Float, int]:
    """Soles (N, 3) that may be on the ground, and how many of them stand; 0: nobody does, and these are the lowest."""
    slow = (speed < s.speed) & (belief > 0.3)
    # The lower foot carries: a lifted foot that is slow for a moment does not tell where the ground is.
    heights = soles @ up
    carried = slow & (heights < heights.min(axis=1, keepdims=True) + 0.05)
    found = int(carried.sum())
    if found < 4:
        found, carried = 0, heights <= np.percentile(heights, 10)
    return soles[carried].astype(np.float64), found


def _equations(
    points: Float, up: Float, across: Float, height: float, body: Float | None
) -> tuple[Float, Float, Float]:
    """Rows (M, 3), residuals (M,) and weights (M,) in two small turns about axes square to `up`, and the height.

    across (2, 3): square to `up`; body (3,): what upright bodies say of it.
    """
    # Standing frames are not independent: a long stance says little more than a short one.
    scale = min(1.0, 60.0 / len(points))
    off = points @ up - height
    rows = [np.concatenate([points @ across.T, -np.ones((len(points), 1))], axis=1)]
    residuals, weights = [off], [scale / (POINT_SIGMA_M**2 * (1 + (off / ROBUST_M) ** 2) ** 2)]
    robust = ALONE_ROBUST if body is None else CAMERA_ROBUST
    raised = (-height - CAMERA_HEIGHT_M) / (CAMERA_HEIGHT_SIGMA_M * robust)
    known = [
        ([*across[:, 0], 0.0], up[0], ROLL_SIGMA_RAD**-2),
        ([*across[:, 2], 0.0], up[2], PITCH_SIGMA_RAD**-2),
        ([0.0, 0.0, -1.0], -height - CAMERA_HEIGHT_M,
         1 / (CAMERA_HEIGHT_SIGMA_M * (1 + raised**2)) ** 2),
    ]  # fmt: skip
    if body is not None:
        known += [
            ([1.0, 0.0, 0.0], -float(across[0] @ body), BODY_SIGMA_RAD**-2),
            ([0.0, 1.0, 0.0], -float(across[1] @ body), BODY_SIGMA_RAD**-2),
        ]
    for row, residual, weight in known:
        rows.append(np.array([row]))
        residuals.append(np.array([residual]))
        weights.append(np.array([weight]))
    return np.concatenate(rows), np.concatenate(residuals), np.concatenate(weights)


def find_contacts(
    soles: Array,
    speed: Array,
    belief: Array,
    ground: Ground,
    time_s: Float,
    settings: ContactSettings | None = None,
) -> Array:
    """1 where a sole stands on the ground, (T, 4): slow, low, seen, and for long enough."""
    s = settings or ContactSettings()
    above = soles @ ground.up - ground.height_m
    low = (above < s.height_m) & (above > -s.below_m) & (belief > 0.2)
    stands = np.zeros(speed.shape, bool)
    for point in range(speed.shape[1]):
        sure = low[:, point] & (speed[:, point] < s.speed)
        stands[:, point] = _spread(sure, low[:, point] & (speed[:, point] < s.leave_speed))
        _clean(stands[:, point], time_s, s.gap_s, s.least_s)
    return stands.astype(np.float32)


def find_still(speed: Array, belief: Array, time_s: Float, settings: ContactSettings | None = None) -> Array:
    """1 where a sole rests on something, on the ground or not, (T, 4): hardly moving, and for longer than one falls."""
    s = settings or ContactSettings()
    rests = (speed < s.still_speed) & (belief > 0.3)
    for point in range(speed.shape[1]):
        rests[:, point] = _spread(rests[:, point], (speed[:, point] < s.speed) & (belief[:, point] > 0.2))
        _clean(rests[:, point], time_s, s.gap_s, s.still_s)
    return rests.astype(np.float32)


def _spread(sure: NDArray[np.bool_], maybe: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is sure, and what may be before and after it without a break."""
    result = np.zeros_like(sure)
    for order in (range(len(sure)), range(len(sure) - 1, -1, -1)):
        on = False
        for t in order:
            on = bool(sure[t] or (on and maybe[t]))
            result[t] |= on
    return result


def _clean(on: NDArray[np.bool_], time_s: Float, gap_s: float, least_s: float) -> None:
    """Close short gaps, then drop short contacts, in place."""
    for value, least in ((False, gap_s), (True, least_s)):
        edges = np.flatnonzero(np.diff(on.astype(np.int8))) + 1
        bounds = [0, *edges.tolist(), len(on)]
        for k, (start, end) in enumerate(pairwise(bounds)):
            inner = 0 < k < len(bounds) - 2
            span = time_s[end - 1] - time_s[start]
            if bool(on[start]) == value and span < least and (value or inner):
                on[start:end] = not value


def _unit(vector: Float) -> Float:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _basis(up: Float) -> Float:
    """Two unit vectors square to `up` and to each other, (2, 3)."""
    helper = np.eye(3)[int(np.abs(up).argmin())]
    first = _unit(np.cross(up, helper))
    return np.stack([first, np.cross(up, first)])
