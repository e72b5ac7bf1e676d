"""Legs of motion capture that bend because their skeleton's bones are too long for the markers. numpy only.

A skeleton whose thighs and shins are one or two per cent too long has to bend its knees where the person stands on
straight legs: cos(flexion / 2) is the hip-ankle distance over the length of both bones, so that 2 % make 23 degrees of
a straight knee and 3 degrees more of one that is bent by 65. Such knees tell on themselves where it is known how
straight legs are: nobody goes long without stretching a leg; who stands still stands on straight legs; and the course
of the knee in walking is known (Winter, Biomechanics and Motor Control of Human Movement, 2009: over a cycle a quarter
of it below 10 degrees, half below 17, at most 65).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..body.skeleton import JOINT_INDEX
from .so3 import Array, exp_so3

# Flexion in degrees that the knees should have, and the percentile of the flexion that should have it.
_EVER = (5.0, 5.0)  # of all that a subject does
_OWN = (12.0, 5.0)  # of a file of some seconds, where somebody may crouch all the time; so this stretches less
_STANDING = (6.0, 25.0)  # of frames in which nothing of the legs moves
_WALKING = (10.0, 25.0)
_LEAST_FRAMES, _LEAST_STANDING = 90, 30
_MOST_OWN = 1.02
_STILL_RAD = 0.06  # turn of pelvis and legs (root of summed squares of matrices, a frame) within _STILL_FRAMES
_STILL_FRAMES = 10
_UPRIGHT = 0.93  # cosine of trunk and thighs to the vertical of who stands
_MOST = 1.04  # further than this no leg is stretched, whatever it seems
# Where legs end, as shares of their length: at knees of 3 degrees, and with a smooth clamp.
_LEAST_SHORT, _SOFT = 0.00034, 0.0005

Stretch = tuple[float, float]  # of hip-ankle distances, left and right
NO_STRETCH: Stretch = (1.0, 1.0)


@dataclass(frozen=True)
class LegMotion:
    """What a file's legs do over T frames."""

    flexion_rad: Array  # (T, 2) of the left and the right knee
    standing: NDArray[np.bool_]  # (T,)


def leg_motion(rotations: Array) -> LegMotion:
    """Knees and standing frames of local rotations (T, 55, 3, 3), y up."""
    knees = [JOINT_INDEX[f"{side}_knee"] for side in ("left", "right")]
    flexion = np.arccos(np.clip(rotations[:, knees, 1, 1], -1.0, 1.0))
    pelvis = rotations[:, 0]
    thighs = [(pelvis @ rotations[:, JOINT_INDEX[f"{side}_hip"]])[:, 1, 1] for side in ("left", "right")]
    legs = rotations[:, [0, *(JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("hip", "knee"))]]
    standing = np.zeros(len(rotations), np.bool_)
    half = _STILL_FRAMES // 2
    if len(rotations) > _STILL_FRAMES:
        moved = ((legs[_STILL_FRAMES:] - legs[:-_STILL_FRAMES]) ** 2).sum((1, 2, 3))
        standing[half : len(standing) - half] = np.sqrt(moved / _STILL_FRAMES) < _STILL_RAD
    standing &= (pelvis[:, 1, 1] > _UPRIGHT) & (np.minimum(*thighs) > _UPRIGHT)
    return LegMotion(flexion, standing)


def stretch_of(whole: Iterable[LegMotion], own: LegMotion, walks: bool) -> Stretch:
    """How far the legs of a file have to be stretched.

    whole: all that its subject does; own: the file; walks: whether it is of walking.
    """
    ever = np.concatenate([motion.flexion_rad for motion in whole])
    found = [_needed(ever, *_EVER)]
    if len(own.flexion_rad) >= _LEAST_FRAMES:
        found.append(np.minimum(_needed(own.flexion_rad, *_OWN), _MOST_OWN))
    if own.standing.sum() >= _LEAST_STANDING:
        found.append(_needed(own.flexion_rad[own.standing], *_STANDING))
    if walks:
        found.append(_needed(own.flexion_rad, *_WALKING))
    left, right = np.clip(np.max(found, axis=0), 1.0, _MOST)
    return float(left), float(right)


def _needed(flexion_rad: Array, target_deg: float, percentile: float) -> Array:
    """The stretch (2,) that brings a percentile of flexions (T, 2) to a target."""
    return np.asarray(np.cos(np.radians(target_deg) / 2) / np.cos(np.percentile(flexion_rad, percentile, axis=0) / 2))


def straightened(rotations: Array, stretch: Stretch) -> Array:
    """Local rotations (T, 55, 3, 3) with hip-ankle distances stretched, (left, right), as far as legs reach.

    Thigh and shin are taken for equally long. The line from hip to ankle keeps its direction, the knee its plane, the
    foot its global rotation; no knee is bent further than it was.
    """
    result = rotations.copy()
    for side, factor in zip(("left", "right"), stretch, strict=True):
        if factor <= 1.0:
            continue
        hip, knee, ankle = (JOINT_INDEX[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        bend = rotations[:, knee]
        down = -bend[..., 1]  # the shin in the thigh's frame, in which the thigh is −y
        flexion = np.arccos(np.clip(bend[:, 1, 1], -1.0, 1.0))
        short = 1.0 - factor * np.cos(flexion / 2) - _LEAST_SHORT
        short = _LEAST_SHORT + 0.5 * (short + np.sqrt(short**2 + 4 * _SOFT**2))
        short = np.minimum(short, 1.0 - np.cos(flexion / 2))
        less = 0.5 * (flexion - 2 * np.arccos(1.0 - short))[:, None]
        axis = np.stack([-down[:, 2], np.zeros(len(down)), down[:, 0]], -1)  # thigh × shin, in the thigh's frame
        axis /= np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)
        forward, back = exp_so3(less * axis), exp_so3(-less * axis)
        result[:, hip] = rotations[:, hip] @ forward
        # The thigh turned by `forward`, the shin by `back`, both about an axis that either leaves in its place.
        result[:, knee] = back @ back @ bend
        result[:, ankle] = np.swapaxes(bend, -1, -2) @ np.swapaxes(back, -1, -2) @ bend @ rotations[:, ankle]
    return result
