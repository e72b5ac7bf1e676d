"""Channels over time, before they become F-curves: at whole frames of the scene, and with no more keys than needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import axes
from .rest import Floats

# Rows, their shares of the way from the first to the last row (N, 1), first, last → errors in tolerances (N,).
Error = Callable[[NDArray[np.int64], Floats, int, int], Floats]
WHOLE = 1e-3  # frames: a key nearer than this to a whole frame is on it


@dataclass(frozen=True)
class Channels:
    """What is keyed, T keys. Times are frames of the scene."""

    times: Floats  # (T,) ascending
    locations: Floats  # (T, 55, 3) metres
    quaternions: Floats  # (T, 55, 4) w, x, y, z, without jumps of sign
    expression: Floats  # (T, E)
    shots: NDArray[np.int64]  # (T,) motion does not go on from one to the next
    contacts: NDArray[np.bool_]  # (T, 4) what stands, or (T, 0)


def at_whole_frames(channels: Channels) -> Channels:
    """The same motion with a key at every whole frame of the scene: resampled in time, as long as before.

    Rotations go the shortest way between neighbours; nothing is blended over a cut.
    """
    times = channels.times
    if len(times) < 2 or (np.abs(times - np.round(times)).max() < WHOLE and np.diff(times).max() < 1.0 + WHOLE):
        return channels
    wanted = np.arange(np.ceil(times[0] - WHOLE), np.floor(times[-1] + WHOLE) + 1.0)
    after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
    before = after - 1
    share = np.clip((wanted - times[before]) / (times[after] - times[before]), 0.0, 1.0)
    cut = channels.shots[before] != channels.shots[after]
    share = np.where(cut, np.round(share), share)
    nearest = np.where(share < 0.5, before, after)

    def mixed(values: Floats) -> Floats:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray((1.0 - weight) * values[before] + weight * values[after])

    turns = channels.quaternions
    # Neighbours may stand on two sides of a cut, where signs are free.
    signs = np.where(np.einsum("tja,tja->tj", turns[before], turns[after]) < 0.0, -1.0, 1.0)[..., None]
    weight = share[:, None, None]
    blended = (1.0 - weight) * turns[before] + weight * signs * turns[after]
    blended /= np.linalg.norm(blended, axis=-1, keepdims=True)
    return Channels(
        wanted,
        mixed(channels.locations),
        axes.continuous(blended),
        mixed(channels.expression),
        channels.shots[nearest],
        channels.contacts[nearest],
    )


def kept_turns(
    times: Floats, quaternions: Floats, tolerance_rad: float, breaks: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows of keys to keep so that straight lines between them turn by no more than the tolerance from (T, 4)."""

    def error(rows: NDArray[np.int64], shares: Floats, first: int, last: int) -> Floats:
        line = (1.0 - shares) * quaternions[first] + shares * quaternions[last]
        line /= np.maximum(np.linalg.norm(line, axis=-1, keepdims=True), 1e-12)
        dots = np.abs(np.einsum("ta,ta->t", line, quaternions[rows]))
        return 2.0 * np.arccos(np.clip(dots, 0.0, 1.0)) / tolerance_rad

    return _kept(times, error, breaks)


def kept_values(times: Floats, values: Floats, tolerance: float, breaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of keys to keep so that straight lines between them stay within the tolerance of (T, C)."""

    def error(rows: NDArray[np.int64], shares: Floats, first: int, last: int) -> Floats:
        line = (1.0 - shares) * values[first] + shares * values[last]
        return np.asarray(np.linalg.norm(line - values[rows], axis=-1)) / tolerance

    return _kept(times, error, breaks)


def _kept(times: Floats, error: Error, breaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ramer (1972), Douglas and Peucker (1973): the worst row is kept, and both sides are looked at again.

    `breaks`: rows that begin a shot; they and the rows before them are kept.
    """
    ends = {0, len(times) - 1, *breaks.tolist(), *(breaks - 1).tolist()}
    kept = sorted(row for row in ends if 0 <= row < len(times))
    stack = list(itertools.pairwise(kept))
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        rows = np.arange(first + 1, last)
        shares = ((times[rows] - times[first]) / (times[last] - times[first]))[:, None]
        errors = error(rows, shares, first, last)
        worst = int(errors.argmax())
        if errors[worst] > 1.0:
            middle = int(rows[worst])
            kept.append(middle)
            stack += [(first, middle), (middle, last)]
    return np.array(sorted(set(kept)), np.int64)


def contact_marks(channels: Channels) -> list[tuple[int, str]]:
    """Frames at which a foot comes down or goes up, with names: "Left down", "Left up", …; a foot is heel or toe."""
    if not channels.contacts.shape[1]:
        return []
    marks = []
    for side, columns in (("Left", (0, 1)), ("Right", (2, 3))):
        stands = channels.contacts[:, columns].any(1)
        for row in np.flatnonzero(np.diff(stands.astype(int))) + 1:
            marks.append((round(float(channels.times[row])), f"{side} {'down' if stands[row] else 'up'}"))
        if stands[0]:
            marks.append((round(float(channels.times[0])), f"{side} down"))
    return sorted(marks)
