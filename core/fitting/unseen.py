"""Limbs that nobody saw hang: legs below the pelvis, arms beside the trunk, shins from knees, forearms from elbows.

A regressor makes up some captured pose for them, kneeling or in mid-stride, and says how little it knows; people cut
off by a portrait's edge mostly stand or sit, and gravity draws what is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..body.skeleton import JOINT_INDEX
from ..priors.regressor import DIRECTIONS, NUM_BODY, Prediction

Array = NDArray[np.float32]
Float = NDArray[np.float64]

SIDES = ("left", "right")
UP = np.array([0.0, -1.0, 0.0])  # a camera is held level


@dataclass(frozen=True)
class HangSettings:
    """σ in degrees of how limbs hang, and by how much less the regressor is believed about them."""

    below: float = 0.1  # trust in what a joint turns, below which it was not seen: beyond the picture, not only hidden
    thigh_deg: float = 7.0
    shin_deg: float = 9.0
    bent_deg: float = 60.0  # of a shin or forearm whose thigh or upper arm was seen
    upper_arm_deg: float = 10.0
    forearm_deg: float = 14.0
    doubt: float = 4.0  # times σ of the regressor's rotations there
    sure_deg: tuple[float, float] = (9.0, 16.0)  # the regressor's own σ, from which on it is believed less
    level: tuple[float, float] = (0.5, 0.8)  # cosine of the trunk from upright: who lies does not hang


def hang(prediction: Prediction, share: Array, settings: HangSettings) -> Prediction:
    """One person whose unseen limbs hang. share (55,) 0…1: 1 where nothing that a joint turns was seen."""
    found = {name: prediction.directions[i].double().cpu().numpy() for i, name in enumerate(DIRECTIONS)}
    chest_up = found["spine3", "y"]
    steady = _rise(float(chest_up @ UP), settings.level)
    joints = [JOINT_INDEX[f"{side}_{part}"] for side in SIDES for part in ("hip", "knee", "shoulder", "elbow")]
    if steady == 0 or not share[joints].any():
        return prediction
    directions, sigmas = prediction.directions.clone(), prediction.direction_sigma_rad.clone()
    rotation_sigmas = prediction.sigma_rad.clone()
    left = found["spine3", "x"] - (found["spine3", "x"] @ UP) * UP
    left /= max(float(np.linalg.norm(left)), 1e-6)
    ahead = np.cross(left, UP)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        out = sign * left
        near_hip, near_arm = (float(share[JOINT_INDEX[f"{side}_{part}"]]) for part in ("hip", "shoulder"))
        limbs = (
            ("hip", "knee", -UP + 0.03 * out, settings.thigh_deg),
            ("knee", "ankle", -UP - 0.03 * ahead, _between(settings.bent_deg, settings.shin_deg, near_hip)),
            ("shoulder", "elbow", -UP + 0.17 * out, settings.upper_arm_deg),
            ("elbow", "wrist", -UP + 0.3 * ahead, _between(settings.bent_deg, settings.forearm_deg, near_arm)),
        )
        for joint, end, line, sigma in limbs:
            unseen = steady * float(share[JOINT_INDEX[f"{side}_{joint}"]])
            if unseen <= 0:
                continue
            at = DIRECTIONS.index((f"{side}_{joint}", f"{side}_{end}"))
            unseen *= _rise(float(np.degrees(float(sigmas[at]))), settings.sure_deg)
            known = (1 - unseen) / float(sigmas[at]) ** 2
            hanging = unseen / np.radians(sigma) ** 2
            mean = known * found[f"{side}_{joint}", f"{side}_{end}"] + hanging * line / np.linalg.norm(line)
            directions[at] = torch.as_tensor(mean / max(float(np.linalg.norm(mean)), 1e-9)).to(directions)
            sigmas[at] = float((known + hanging) ** -0.5)
            rotation_sigmas[JOINT_INDEX[f"{side}_{joint}"]] *= 1 + (settings.doubt - 1) * unseen
        foot, unseen = JOINT_INDEX[f"{side}_ankle"], steady * float(share[JOINT_INDEX[f"{side}_ankle"]])
        sigmas[DIRECTIONS.index((f"{side}_ankle", f"{side}_foot"))] *= 1 + (settings.doubt - 1) * unseen
        rotation_sigmas[foot] *= 1 + (settings.doubt - 1) * unseen
    assert len(rotation_sigmas) == NUM_BODY
    return replace(prediction, directions=directions, direction_sigma_rad=sigmas, sigma_rad=rotation_sigmas)


def _rise(value: float, span: tuple[float, float]) -> float:
    return float(np.clip((value - span[0]) / (span[1] - span[0]), 0, 1))


def _between(seen: float, unseen: float, share: float) -> float:
    return seen + (unseen - seen) * share
