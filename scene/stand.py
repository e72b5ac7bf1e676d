"""Feet that stand stay where they are, where a correction of one frame is carried to the frames around it.

Carried turns add up from joint to joint: a pelvis that is turned or moved, or a thigh, takes the foot with it, in each
frame to another place. So where a foot hardly moves, thigh and shin are turned once more until it is where it was, but
for its share of what the correction itself moved it by: a leg of two bones has one answer, with the knee's plane kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import axes, carry, pins, played, versions
from .rest import Floats

STANDS_M_S, MOVES_M_S = 0.2, 0.6  # a foot that is slower stands, one that is faster does not; between, partly
CHANGED_M = 1e-4  # what is less is left alone
# Pelvis to ball: only thigh, shin and ankle are turned.
LEGS = tuple(("pelvis", f"{side}_hip", f"{side}_knee", f"{side}_ankle", f"{side}_foot") for side in ("left", "right"))


@dataclass(frozen=True)
class Feet:
    """The legs around a frame before it is corrected. T frames: `times`."""

    times: Floats  # (T,)
    legs: Floats  # (L, T, 5, 4, 4) matrices of the bones of LEGS in armature space
    stands: Floats  # (L, T) 0…1


def before(rig: bpy.types.Object, frame: float, reach: tuple[float, float], frame_rate: float) -> Feet | None:
    """The legs of an avatar with an action, in the frames that a correction is carried to; None: there are none."""
    curves = _all_curves(rig)
    if not curves or any(rig.pose.bones[name].rotation_mode != "QUATERNION" for leg in LEGS for name in leg):
        return None
    times = carry.times_around(curves, frame, reach, rig.animation_data.action)
    wanted, at = np.unique(np.concatenate([times, times - 1.0, times + 1.0]), return_inverse=True)
    whole = _legs(rig, wanted)
    legs, *near = (whole[:, rows] for rows in np.split(at, 3))
    # Of a foot that comes or goes, the slower side counts; of a heel that lifts, the ball.
    here = legs[:, :, 3:, :3, 3]
    moved = np.min([np.linalg.norm(there[:, :, 3:, :3, 3] - here, axis=-1) for there in near], axis=0).min(-1)
    moved *= frame_rate
    stands = np.clip((MOVES_M_S - moved) / (MOVES_M_S - STANDS_M_S), 0.0, 1.0)
    return Feet(times, legs, stands)


def hold(rig: bpy.types.Object, feet: Feet, frame: float, reach: tuple[float, float]) -> None:
    """Put feet that stood back to where they were, after the correction was carried."""
    now = _legs(rig, feet.times)
    here = int(np.abs(feet.times - frame).argmin())
    share = carry.shares(feet.times, frame, reach)
    locked = pins.locked(rig)
    for names, old, new, stands in zip(LEGS, feet.legs, now, feet.stands, strict=True):
        if locked & set(names[1:4]):
            continue
        goal = _goal(old, new[here], share, here)
        off = np.linalg.norm(goal[:, :3, 3] - new[:, 3, :3, 3], axis=-1)
        held = (stands > 0) & (off > CHANGED_M) & (np.arange(len(off)) != here)
        if not held.any():
            continue
        # The armature's x, in the thigh's axes.
        sideways = np.array(rig.data.bones[names[1]].matrix_local, np.float64)[0, :3]
        turned = new[:, 1:4, :3, :3].copy()
        turned[held] = _bent(new[held], goal[held], stands[held], sideways)
        # In all frames, to the ends of the reach: a channel may have had few keys.
        _key(rig, names, feet.times, new, turned)


def _goal(old: Floats, corrected: Floats, share: Floats, here: int) -> Floats:
    """Where an ankle is to be, (T, 4, 4): as before, but for its share of the way that it was moved by itself."""
    goal = old[:, 3].copy()
    goal[:, :3, 3] += share[:, None] * (corrected[3, :3, 3] - old[here, 3, :3, 3])
    turn = corrected[3, :3, :3] @ old[here, 3, :3, :3].T
    goal[:, :3, :3] = _part(turn, share) @ old[:, 3, :3, :3]
    return goal


def _bent(legs: Floats, goal: Floats, weight: Floats, sideways: Floats) -> Floats:
    """Rotations (T, 3, 3, 3) of thigh, shin and ankle in armature space that bring the ankles of legs (T, 5, 4, 4) to
    their goals (T, 4, 4), or a part (T,) of the way there. sideways (3,): about which straight knees bend, in the
    thigh's axes."""
    hip, knee, ankle = (legs[:, k, :3, 3] for k in (1, 2, 3))
    wanted = ankle + weight[:, None] * (goal[:, :3, 3] - ankle)
    thigh, shin = knee - hip, ankle - knee
    upper, lower = np.linalg.norm(thigh, axis=-1), np.linalg.norm(shin, axis=-1)
    axis = np.cross(thigh, shin)
    straight = np.linalg.norm(axis, axis=-1) < 1e-3 * upper * lower
    axis[straight] = (legs[:, 1, :3, :3] @ sideways)[straight]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    far = np.clip(np.linalg.norm(wanted - hip, axis=-1), np.abs(upper - lower) + 1e-4, upper + lower - 1e-4)
    # The knee's bend that makes the leg so long (law of cosines), beside the one that it has.
    bend = np.arccos(np.clip((far**2 - upper**2 - lower**2) / (2 * upper * lower), -1.0, 1.0))
    has = np.arctan2((np.cross(thigh, shin) * axis).sum(-1), (thigh * shin).sum(-1))
    hinge = axes.rotation_matrices((bend - has)[:, None] * axis)
    swing = axes.smallest_rotations(thigh + (hinge @ shin[..., None])[..., 0], wanted - hip)
    ankle_turn = _part(goal[:, :3, :3] @ np.swapaxes(legs[:, 3, :3, :3], -1, -2), weight)
    return np.stack(
        [swing @ legs[:, 1, :3, :3], swing @ hinge @ legs[:, 2, :3, :3], ankle_turn @ legs[:, 3, :3, :3]], axis=1
    )


def _part(turns: Floats, share: Floats) -> Floats:
    """Shares (T,) of rotations (T, 3, 3) or (3, 3)."""
    part: Floats = axes.rotation_matrices(share[:, None] * axes.axis_angle(turns))
    return part


def _key(rig: bpy.types.Object, names: tuple[str, ...], times: Floats, legs: Floats, turned: Floats) -> None:
    """Keys of thigh, shin and ankle: rotations `turned` (T, 3, 3, 3) of legs (T, 5, 4, 4), in armature space."""
    rest = [np.array(rig.data.bones[name].matrix_local, np.float64)[:3, :3] for name in names]
    parents = np.concatenate([legs[:, :1, :3, :3], turned[:, :2]], axis=1)
    for k in range(3):
        own_rest = rest[k].T @ rest[k + 1]
        basis = np.swapaxes(parents[:, k] @ own_rest, -1, -2) @ turned[:, k]
        name = names[k + 1]
        quaternions = axes.quaternions_from_matrices(basis)
        old = played.values(rig, name, "rotation_quaternion", 4, times)
        quaternions[(quaternions * old).sum(-1) < 0] *= -1.0
        path = rig.pose.bones[name].path_from_id("rotation_quaternion")
        for index, curve in enumerate(played.curves(rig, name, "rotation_quaternion", 4)):
            if curve is None:
                known = versions.channel_curves(rig.animation_data.action, rig)
                versions.key_curve(known, path, index, name, times, quaternions[:, index])
            else:
                carry.put(curve, times, quaternions[:, index])


def _legs(rig: bpy.types.Object, times: Floats) -> Floats:
    """Matrices (L, T, 5, 4, 4) of the bones of LEGS in armature space, as the action has them at some times."""
    found = []
    for leg in LEGS:
        own = [
            played.matrices(
                played.values(rig, name, "rotation_quaternion", 4, times),
                played.values(rig, name, "location", 3, times),
            )
            for name in leg
        ]
        found.append(played.in_armature(rig, leg, range(-1, len(leg) - 1), own))
    return np.array(found)


def _all_curves(rig: bpy.types.Object) -> list[Any]:
    """All curves that move the legs."""
    if rig.animation_data is None or rig.animation_data.action is None:
        return []
    names = list(dict.fromkeys(name for leg in LEGS for name in leg))
    channels = [(names[0], "location", 3), *((name, "rotation_quaternion", 4) for name in names)]
    return [curve for one in channels for curve in played.curves(rig, *one) if curve is not None]
