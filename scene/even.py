"""How far a correction of one frame is carried: as far as what it moves goes on most evenly.

A mistake of a few frames wants a short reach, for the frames around it are right and would be spoiled. One that lasts
wants a long one, or what was moved would dart there and back. Which it is the accelerations tell.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

import bpy
import numpy as np

from ..core.body.skeleton import JOINT_NAMES, PARENTS
from . import carry, played
from .rest import Floats

BODY = JOINT_NAMES[:22]
PARTS = (1.0, 0.75, 0.5, 0.35, 0.2, 0.1)  # of the reach that are tried
LEAST = 2.0  # frames
BETTER = 0.98  # a shorter one has to be more even by so much
MOVED = 0.5  # joints that are moved by this share of what the farthest is are looked at
MOVED_M = 1e-3  # what is moved by less may go as far as it likes


def even_reach(
    rig: bpy.types.Object, bones: Collection[str], frame: int, reach: tuple[float, float]
) -> tuple[float, float]:
    """The part of `reach`, frames before and after, that a correction of `frame` is best carried over.

    bones: those whose channels were set for that frame, but not keyed yet. Without an action, or where a bone of the
    body does not turn by quaternions, it is all of it.
    """
    if max(reach) <= LEAST or rig.animation_data is None or rig.animation_data.action is None:
        return reach
    if any(rig.pose.bones[name].rotation_mode != "QUATERNION" for name in BODY):
        return reach
    known = [
        curve for name in BODY for curve in played.curves(rig, name, "rotation_quaternion", 4) if curve is not None
    ]
    if not known:
        return reach
    # Two frames beyond the reach: where it ends, too, there must be no jerk.
    low, high = carry.shot(known[0], frame)
    times = frame + np.arange(-np.ceil(reach[0]) - 2, np.ceil(reach[1]) + 3).astype(np.float64)
    times = times[(times >= min(low, frame)) & (times <= max(high, frame))]  # a cut may lie just beside the frame
    if len(times) < 5:
        return reach
    heads = partial(_heads, _carried(rig, bones, times, frame), rig)
    before = heads(np.zeros(len(times)))
    here = int(np.flatnonzero(times == frame)[0])
    moved = np.linalg.norm(heads((times == frame).astype(float))[here] - before[here], axis=-1)
    if moved.max() < MOVED_M:
        return reach
    looked_at = moved >= MOVED * moved.max()
    best, least = reach, np.inf
    for part in PARTS:
        tried = min(reach[0], max(part * reach[0], LEAST)), min(reach[1], max(part * reach[1], LEAST))
        way = heads(carry.shares(times, frame, tried))[:, looked_at]
        uneven = float((np.diff(way, 2, axis=0) ** 2).sum())
        if uneven < BETTER * least:
            best, least = tried, uneven
    return best


def _carried(
    rig: bpy.types.Object, bones: Collection[str], times: Floats, frame: int
) -> Callable[[Floats], list[Floats]]:
    """What gives each body bone's own matrices (T, 4, 4) where shares (T,) of the correction are carried."""
    here = int(np.flatnonzero(times == frame)[0])
    channels = []
    for name in BODY:
        turns = played.values(rig, name, "rotation_quaternion", 4, times)
        places = played.values(rig, name, "location", 3, times)
        bone, set_now = rig.pose.bones[name], name in bones
        turn = np.array(bone.rotation_quaternion, np.float64) if set_now else turns[here]
        place = np.array(bone.location, np.float64) if set_now and bone.parent is None else places[here]
        channels.append((turns, places, turn, place))

    def own(share: Floats) -> list[Floats]:
        return [
            played.matrices(carry.turned(turns, turn, share, here), places + share[:, None] * (place - places[here]))
            for turns, places, turn, place in channels
        ]

    return own


def _heads(own: Callable[[Floats], list[Floats]], rig: bpy.types.Object, share: Floats) -> Floats:
    """Where the body's joints are, (T, 22, 3) in armature space."""
    return played.in_armature(rig, BODY, PARENTS[: len(BODY)], own(share))[..., :3, 3]
