"""Legs that are seen straight, in clips: what `straight` does for a photo, for many frames at once. numpy and torch.

How surely legs are seen straight is a mean over a moment: a share that flickers would make knees tremble.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..body.skeleton import JOINT_INDEX
from ..detection.vocabulary import POSE33
from ..priors.regressor import DIRECTIONS, Prediction
from .straight import _THIGH_SHARE, SIDES, StraightSettings, straight_share
from .video_evidence import Seen

Float = NDArray[np.float64]
_LEG = (("hip", "knee"), ("knee", "ankle"))
MOMENT_S = 0.2  # to both sides


def straight_shares(seen: Seen, settings: StraightSettings) -> NDArray[np.float32]:
    """0…1 in each frame, (T,): how surely both legs are seen, and seen straight and unshortened."""
    own = np.zeros(len(seen))
    for row in np.flatnonzero(seen.score > 0).tolist():
        own[row] = min(straight_share(seen.observation(row, (1, 1)), settings).values())
    total = np.concatenate([[0.0], np.cumsum(own)])
    first = np.searchsorted(seen.time_s, seen.time_s - MOMENT_S - 1e-6)
    last = np.searchsorted(seen.time_s, seen.time_s + MOMENT_S + 1e-6)
    return np.asarray((total[last] - total[first]) / np.maximum(last - first, 1), np.float32)


def straighten_seen(seen: Seen, settings: StraightSettings) -> Seen:
    """The same with the metric points of such legs moved, by `seen.straight`; a foot turns with its shin."""
    if seen.straight is None or not seen.straight.any():
        return seen
    world = seen.world_m.astype(np.float64)
    for side in SIDES:
        hip, knee, ankle = (POSE33.index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        at_hip, at_knee = world[:, hip].copy(), world[:, knee].copy()
        thigh, shin = at_knee - at_hip, world[:, ankle] - at_knee
        turn_thigh, turn_shin = straightenings(thigh, shin, seen.straight, settings)
        moved = at_hip + np.einsum("tij,tj->ti", turn_thigh, thigh)
        below = [POSE33.index(f"{side}_{part}") for part in ("ankle", "heel", "foot_index")]
        world[:, below] = moved[:, None] + np.einsum("tij,tpj->tpi", turn_shin, world[:, below] - at_knee[:, None])
        world[:, knee] = moved
    return replace(seen, world_m=world.astype(np.float32))


def straighten_predictions(prediction: Prediction, share: NDArray[np.float32], settings: StraightSettings) -> None:
    """Straighten such legs in a prediction of T frames, in place; trunk and feet keep their directions. share (T,)."""
    rows = np.flatnonzero(share > 0)
    if not len(rows):
        return
    index = torch.as_tensor(rows, device=prediction.rotmats.device)
    for side in SIDES:
        joints = [JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle")]
        local = prediction.rotmats[index][:, [0, *joints]].double().cpu().numpy()
        pelvis = local[:, 0]
        thigh = pelvis @ local[:, 1]
        shin = thigh @ local[:, 2]
        foot = shin @ local[:, 3]
        turn_thigh, turn_shin = straightenings(-thigh[:, :, 1], -shin[:, :, 1], share[rows], settings)
        thigh, shin = turn_thigh @ thigh, turn_shin @ shin
        pairs = ((pelvis, thigh), (thigh, shin), (shin, foot))
        straight = np.stack([a.transpose(0, 2, 1) @ b for a, b in pairs], 1)
        prediction.rotmats[index[:, None], torch.as_tensor(joints, device=index.device)] = torch.as_tensor(straight).to(
            prediction.rotmats
        )
        at = [DIRECTIONS.index((f"{side}_{a}", f"{side}_{b}")) for a, b in _LEG]
        bones = prediction.directions[index][:, at].double().cpu().numpy()
        turns = np.stack(straightenings(bones[:, 0], bones[:, 1], share[rows], settings), 1)
        moved = torch.as_tensor(np.einsum("tkij,tkj->tki", turns, bones)).to(prediction.directions)
        prediction.directions[index[:, None], torch.as_tensor(at, device=index.device)] = moved


def straightenings(
    thigh: Float, shin: Float, share: NDArray[np.floating[Any]], settings: StraightSettings
) -> tuple[Float, Float]:
    """What `straight.straightening` says of thighs and shins (T, 3): rotations (T, 3, 3) of each; identities where
    there is nothing to do."""
    lengths = np.linalg.norm(thigh, axis=-1), np.linalg.norm(shin, axis=-1)
    known = (share > 0) & (np.minimum(*lengths) > 1e-6)
    a = thigh / np.maximum(lengths[0], 1e-6)[:, None]
    b = shin / np.maximum(lengths[1], 1e-6)[:, None]
    axis = np.cross(a, b)
    sine = np.linalg.norm(axis, axis=-1)
    bend = np.arctan2(sine, (a * b).sum(-1))
    least, fade = np.radians(settings.bend_deg), np.radians(settings.fade_deg)
    change = share * np.minimum(bend, least) * np.exp(-((np.maximum(bend - least, 0.0) / fade) ** 2))
    change = np.where(known & (sine >= 1e-4), change, 0.0)
    axis = axis / np.maximum(sine, 1e-4)[:, None]
    return _turns(axis, _THIGH_SHARE * change), _turns(axis, -(1 - _THIGH_SHARE) * change)


def _turns(axis: Float, angle: Float) -> Float:
    """Rotations by `angle` (T,) about unit axes (T, 3) (Rodrigues)."""
    cross = np.zeros((len(axis), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]] = axis
    cross[:, [1, 2, 0], [2, 0, 1]] = -axis
    sine, cosine = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.asarray(np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross), np.float64)
