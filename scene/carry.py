"""A correction of one frame of a motion, carried to the keys around it: all of it there, less and less farther off."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from . import axes, versions
from .rest import Floats

PARTS = 3  # on each side: a motion with few keys gets so many more, for the change to fade evenly


def carry(
    owner: bpy.types.ID, path: str, group: str, was: Floats, new: Floats, frame: float, before: float, after: float
) -> None:
    """Key the channel `path` with values `new` (C,) at `frame`, and change it `before` … `after` frames around by a
    share of that change. `was` (C,): what a channel without keys had all the time.

    Quaternions turn by a share of the turn; other values go a share of the way. Nothing is carried over a cut, which
    is a key that holds its value. Keys beyond stay as they are.
    """
    action = owner.animation_data.action if owner.animation_data is not None else None
    known = versions.channel_curves(action or bpy.data.actions.new(f"{owner.name} action"), owner)
    curves = [known.find(path, index=index) for index in range(len(new))]
    for index, curve in enumerate(curves):
        if curve is None:
            curves[index] = versions.key_curve(known, path, index, group, np.array([frame]), was[index : index + 1])
    times = times_around(curves, frame, (before, after), action)
    old = np.array([[curve.evaluate(t) for curve in curves] for t in times], np.float64)
    share = shares(times, frame, (before, after))
    here = int(np.flatnonzero(times == frame)[0])
    if path.endswith("rotation_quaternion"):
        values = turned(old, new, share, here)
    else:
        values = old + share[:, None] * (new - old[here])
    for curve, column in zip(curves, values.T, strict=True):
        put(curve, times, column)


def shares(times: Floats, frame: float, reach: tuple[float, float]) -> Floats:
    """How much of a correction of `frame` is carried to some times (T,), 0…1. reach: frames before and after it."""
    far = np.where(times < frame, *reach)
    share = 0.5 + 0.5 * np.cos(np.pi * np.clip(np.abs(times - frame) / np.maximum(far, 1e-6), 0.0, 1.0))
    return np.where(times == frame, 1.0, share)


def times_around(
    curves: list[Any], frame: float, reach: tuple[float, float], action: bpy.types.Action | None
) -> Floats:
    """The frames to which a correction of `frame` is carried, and itself, (T,)."""
    low, high = shot(curves[0], frame)
    span = action.frame_range if action is not None else (frame, frame)
    return _times(curves, frame, max(frame - reach[0], low), min(frame + reach[1], high), (span[0], span[1]))


def turned(old: Floats, new: Floats, share: Floats, here: int) -> Floats:
    """Quaternions (T, 4) turned, in their own axes, by shares (T,) of the turn from row `here` to `new`."""
    old = old / np.maximum(np.linalg.norm(old, axis=-1, keepdims=True), 1e-12)
    turn = axes.quaternion_product(old[here] * (1.0, -1.0, -1.0, -1.0), new / np.linalg.norm(new))
    turn = -turn if turn[0] < 0.0 else turn
    sine = float(np.linalg.norm(turn[1:]))
    half = share * np.arctan2(sine, turn[0])
    part = np.concatenate([np.cos(half)[:, None], np.sin(half)[:, None] * turn[1:] / max(sine, 1e-12)], axis=-1)
    return axes.quaternion_product(old, part)


def shot(curve: Any, frame: float) -> tuple[float, float]:
    """The stretch around a frame without a cut: from what follows a key that holds its value to the next such key."""
    keys = [(float(key.co[0]), key.interpolation == "CONSTANT") for key in curve.keyframe_points]
    low, high = -np.inf, np.inf
    for k, (time, holds) in enumerate(keys[:-1]):
        if not holds:
            continue
        if keys[k + 1][0] <= frame + 0.5:
            low = max(low, keys[k + 1][0])
        elif time >= frame - 0.5:
            high = min(high, time)
    return low, high


def _times(curves: list[Any], frame: float, low: float, high: float, span: tuple[float, float]) -> Floats:
    """Frames that are keyed within the reach, and some more in the action's `span` where keys are few; `frame`."""
    keyed = np.unique([float(key.co[0]) for curve in curves for key in curve.keyframe_points])
    inside = keyed[(keyed >= low) & (keyed <= high) & (np.abs(keyed - frame) > 0.5)]
    times = [float(frame), *inside.tolist()]
    for end in (low, high):
        for part in range(1, PARTS + 1):
            more = round(frame + part / PARTS * (end - frame))
            if span[0] <= more <= span[1] and np.abs(np.array(times) - more).min() >= 1.0:
                times.append(float(more))
    return np.array(sorted(times))


def put(curve: Any, times: Floats, values: Floats) -> None:
    """Set or insert keys; what keys there were keep their interpolation, and their handles go along."""
    known = {round(float(key.co[0]), 3): key for key in curve.keyframe_points}
    new = []
    for time, value in zip(times.tolist(), values.tolist(), strict=True):
        key = known.get(round(time, 3))
        if key is None:
            new.append((time, value))
            continue
        moved = value - key.co[1]
        key.co[1] = value
        key.handle_left[1] += moved
        key.handle_right[1] += moved
    for time, value in new:
        curve.keyframe_points.insert(time, value, options={"FAST"}).interpolation = "LINEAR"
    curve.update()
