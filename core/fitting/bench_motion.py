"""Errors of a captured motion against the true one. numpy only; metres and seconds in, millimetres out.

Motion of the field's papers: PA-MPJPE by frame; WA-MPJPE: mean joint error after one similarity transform for a whole
window (Ye et al., "Decoupling Human and Camera Motion from Videos in the Wild", CVPR 2023, section 4); acceleration
error by second differences (Kanazawa et al., "Learning 3D Human Dynamics from Video", CVPR 2019, section 4).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .metrics import Float, aligned, mean_distance, pa_error, similarity

MM = 1000.0
STILL_M_S = 0.15  # a foot that moves slower and is low stands
LOW_M = 0.05


def pa_mpjpe(joints: Float, true: Float) -> Float:
    """By frame, (T, J, 3) → (T,) mm; nan where the capture has nothing."""
    return np.array(
        [MM * pa_error(a, b) if np.isfinite(a).all() else math.nan for a, b in zip(joints, true, strict=True)]
    )


def hidden_error(joints: Float, true: Float, hidden: NDArray[np.bool_]) -> float:
    """Mean error in mm of the hidden joints (T, J) after each frame's alignment."""
    errors = [
        np.linalg.norm(aligned(a, b) - b, axis=1)[h]
        for a, b, h in zip(joints, true, hidden, strict=True)
        if h.any() and np.isfinite(a).all()
    ]
    return MM * float(np.concatenate(errors).mean()) if errors else math.nan


def window_error(joints: Float, true: Float, frames: int) -> float:
    """WA-MPJPE in mm: one similarity transform for each window of so many frames."""
    errors = []
    for start in range(0, max(len(true) - frames // 2, 1), frames):
        a, b = joints[start : start + frames].reshape(-1, 3), true[start : start + frames].reshape(-1, 3)
        known = np.isfinite(a).all(1)
        if known.sum() >= 3:
            errors.append(mean_distance(aligned(a[known], b[known]), b[known]))
    return MM * float(np.mean(errors)) if errors else math.nan


def acceleration_error(joints: Float, true: Float, fps: float) -> float:
    """Mean distance of accelerations, mm/s², of joints (T, J, 3) in the same axes and scale."""
    return MM * fps**2 * float(np.nanmean(np.linalg.norm(np.diff(joints - true, n=2, axis=0), axis=-1)))


def jitter(joints: Float, fps: float) -> float:
    """Mean length of the third derivative, m/s³."""
    return fps**3 * float(np.nanmean(np.linalg.norm(np.diff(joints, n=3, axis=0), axis=-1)))


def contacts_of(feet: Float, height: Float, fps: float) -> NDArray[np.bool_]:
    """Which foot points (T, F, 3) stand from one frame to the next, (T − 1, F); height (T, F) over the floor."""
    speed = np.linalg.norm(np.diff(feet, axis=0), axis=-1) * fps
    return np.asarray((speed < STILL_M_S) & (np.maximum(height[1:], height[:-1]) < LOW_M))


def sliding(feet: Float, up: Float, stands: NDArray[np.bool_]) -> float:
    """How far points that stand move over the floor from frame to frame, mean in mm. up (3,): the floor's normal."""
    step = np.diff(feet, axis=0)
    over_floor = step - (step @ up)[..., None] * up
    moved = np.linalg.norm(over_floor, axis=-1)[stands]
    return MM * float(np.nanmean(moved)) if moved.size and np.isfinite(moved).any() else math.nan


def path_length(places: Float, up: Float, stride: int) -> float:
    """Metres over the floor along places (T, 3), in steps of so many frames: trembling is no way."""
    known = places[np.isfinite(places).all(1)]
    points = known[::stride] if len(known) > stride else known[[0, -1]]
    flat = points - (points @ up)[:, None] * up
    return float(np.linalg.norm(np.diff(flat, axis=0), axis=1).sum())


def scale_of(joints: Float, true: Float) -> float:
    """The factor that brings the captured person to the true one's size: median over frames."""
    known = np.isfinite(joints).all((1, 2))
    factors = [similarity(a, b)[0] for a, b in zip(joints[known], true[known], strict=True)]
    return float(np.median(factors)) if factors else math.nan


def one_euro(
    values: Float, fps: float, min_cutoff_hz: float = 1.7, beta: float = 0.3, derivative_cutoff_hz: float = 1.0
) -> Float:
    """The 1€ filter (Casiez, Roussel, Vogel, "1€ Filter", CHI 2012, algorithm 1) of (T, …); nan restarts it.

    Defaults: what removes most trembling on the clips without lag of more than a frame or two.
    """

    def smoothing(cutoff_hz: Float | float) -> Float:
        rate = 2.0 * np.pi * np.asarray(cutoff_hz) / fps
        return np.asarray(rate / (rate + 1.0))

    result = np.array(values, np.float64)
    speed = np.zeros(values.shape[1:])
    for t in range(1, len(result)):
        before = result[t - 1]
        if not np.isfinite(before).all() or not np.isfinite(values[t]).all():
            speed = np.zeros(values.shape[1:])
            continue
        now = (values[t] - before) * fps
        speed = speed + smoothing(derivative_cutoff_hz) * (now - speed)
        result[t] = before + smoothing(min_cutoff_hz + beta * np.abs(speed)) * (values[t] - before)
    return result
