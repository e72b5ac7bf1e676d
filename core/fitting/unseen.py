"""Limbs that nobody saw hang: legs below the pelvis, arms beside the trunk, shins from knees, forearms from elbows.

A regressor makes up some captured pose for them, kneeling or in mid-stride, and says how little it knows; people cut
off by a portrait's edge mostly stand or sit, and gravity draws what is hidden. A leg that was seen raised, as of who
sits, has the other beside it. A hand that is hidden behind something is guessed before the chest by the detector, its
forearm pointing at the camera: such a forearm hangs as well, or lies across the belly where the mask leaves no other
place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.skeleton import JOINT_INDEX, PARENTS
from ..detection.observation import Observation, Points, trust_of
from ..detection.vocabulary import POSE33
from ..priors.regressor import DIRECTIONS, NUM_BODY, Prediction
from ..rotation import rotation_between

Array = NDArray[np.float32]
Float = NDArray[np.float64]

SIDES = ("left", "right")
UP = np.array([0.0, -1.0, 0.0])  # a camera is held level; and in the T-pose, y up, where legs point
ACROSS = np.array([1.0, 0.0, 0.0])  # where the left arm points in the T-pose


@dataclass(frozen=True)
class HangSettings:
    """σ in degrees of how limbs hang, and by how much less the regressor is believed about them."""

    hidden_wrist: float = 0.25  # trust in a wrist without a hand, below which it is a guess
    short_forearm: float = 0.5  # and its forearm over its upper arm in the picture, below which it is a poor one
    hidden_leg: float = 0.3  # trust in knee and ankle, below which a leg is a guess
    leg_down_deg: float = 20.0  # of thigh and shin in the picture: such a guess hangs
    inward_deg: tuple[float, ...] = (0.0, 25.0, 50.0, 75.0)  # from hanging: where a hidden forearm may be, best first
    below: float = 0.1  # trust in what a joint turns, below which it was not seen: beyond the picture, not only hidden
    thigh_deg: float = 7.0
    shin_deg: float = 9.0
    raised_deg: float = 45.0  # from hanging: a thigh that was seen so high has the other, unseen, beside it
    beside_deg: float = 7.0
    bent_deg: float = 60.0  # of a shin or forearm whose thigh or upper arm was seen
    upper_arm_deg: float = 10.0
    forearm_deg: float = 14.0
    doubt: float = 4.0  # times σ of the regressor's rotations there
    sure_deg: tuple[float, float] = (9.0, 16.0)  # the regressor's own σ, from which on it is believed less
    level: tuple[float, float] = (0.5, 0.8)  # cosine of the trunk from upright: who lies does not hang


def hidden_forearms(observation: Observation, settings: HangSettings) -> dict[str, float]:
    """Sides whose hand is hidden and guessed poorly, and how far inward from hanging (degrees) its forearm may be."""
    points = observation.points.get("pose33")
    found: dict[str, float] = {}
    if points is None:
        return found
    trust = trust_of("pose33", points.confidence)
    image = points.image_px.astype(np.float64)
    left, right = (image[POSE33.index(f"{side}_shoulder")] for side in SIDES)
    for side in SIDES:
        shoulder, elbow, wrist = (POSE33.index(f"{side}_{part}") for part in ("shoulder", "elbow", "wrist"))
        upper = float(np.linalg.norm(image[elbow] - image[shoulder]))
        fore = float(np.linalg.norm(image[wrist] - image[elbow]))
        guessed = 0 < trust[wrist] < settings.hidden_wrist and f"{side}_hand" not in observation.points
        if not guessed or min(trust[shoulder], trust[elbow]) < settings.hidden_wrist:
            continue
        if fore >= settings.short_forearm * upper:
            continue
        inward = np.sign((right if side == "left" else left)[0] - image[shoulder][0])
        for angle in settings.inward_deg:
            a = np.radians(angle)
            along = np.array([inward * np.sin(a), np.cos(a)]) * upper
            if all(_may_be(observation, image[elbow] + reach * along) for reach in (0.5, 0.9, 1.5)):
                found[side] = angle
                break
    return found


def hidden_legs(observation: Observation, settings: HangSettings) -> tuple[str, ...]:
    """Both sides where both legs are hidden, as behind somebody, and guessed to hang, or none."""
    points = observation.points.get("pose33")
    if points is None:
        return ()
    trust = trust_of("pose33", points.confidence)
    for side in SIDES:
        hip, knee, ankle = (POSE33.index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        if max(trust[knee], trust[ankle]) >= settings.hidden_leg or min(trust[knee], trust[ankle]) == 0:
            return ()
        bones = np.diff(points.image_px[[hip, knee, ankle]].astype(np.float64), axis=0)
        down = bones[:, 1] / np.maximum(np.linalg.norm(bones, axis=1), 1e-6)
        if down.min() <= np.cos(np.radians(settings.leg_down_deg)):
            return ()
    return SIDES


def without_guesses(observation: Observation, forearms: Iterable[str], legs: Iterable[str]) -> Observation:
    """The same observation without what `pose33` says of these sides' wrists and hands, and legs below the hips."""
    points = observation.points.get("pose33")
    gone = [POSE33.index(f"{side}_{part}") for side in forearms for part in ("wrist", "pinky", "index", "thumb")]
    gone += [POSE33.index(f"{side}_{part}") for side in legs for part in ("knee", "ankle", "heel", "foot_index")]
    if points is None or not gone:
        return observation
    confidence = points.confidence.copy()
    confidence[gone] = 0
    left = Points(points.image_px, confidence, points.world_m)
    return replace(observation, points={**observation.points, "pose33": left})


def _may_be(observation: Observation, place: Float) -> bool:
    """Whether a part of the person may be there unseen: beyond the picture, or within the mask."""
    width, height = observation.image_size
    if observation.mask is None or observation.mask_box_px is None:
        return True
    if not (0 <= place[0] < width and 0 <= place[1] < height):
        return True
    x0, y0, x1, y1 = (float(value) for value in observation.mask_box_px)
    rows, columns = observation.mask.shape
    column, row = int((place[0] - x0) / (x1 - x0) * columns), int((place[1] - y0) / (y1 - y0) * rows)
    return 0 <= row < rows and 0 <= column < columns and observation.mask[row, column] > 127


def hang(
    prediction: Prediction, share: Array, settings: HangSettings, forearms: dict[str, float] | None = None
) -> Prediction:
    """One person whose unseen limbs hang. share (55,) 0…1: 1 where nothing that a joint turns was seen.

    forearms: by side, those known to be hidden, and by how many degrees they point inward.
    """
    hidden = forearms or {}
    found = {name: prediction.directions[i].double().cpu().numpy() for i, name in enumerate(DIRECTIONS)}
    chest_up = found["spine3", "y"]
    steady = _rise(float(chest_up @ UP), settings.level)
    joints = [JOINT_INDEX[f"{side}_{part}"] for side in SIDES for part in ("hip", "knee", "shoulder", "elbow")]
    if steady == 0 or not (share[joints].any() or hidden):
        return prediction
    directions, sigmas = prediction.directions.clone(), prediction.direction_sigma_rad.clone()
    rotmats, rotation_sigmas = prediction.rotmats.clone(), prediction.sigma_rad.clone()
    left = found["spine3", "x"] - (found["spine3", "x"] @ UP) * UP
    left /= max(float(np.linalg.norm(left)), 1e-6)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        limbs = _limbs(side, left, found, share, hidden, settings)
        for joint, end, line, sigma in limbs:
            unseen = steady * float(share[JOINT_INDEX[f"{side}_{joint}"]])
            if unseen <= 0:
                continue
            at = DIRECTIONS.index((f"{side}_{joint}", f"{side}_{end}"))
            if joint != "elbow" or side not in hidden:
                unseen *= _rise(float(np.degrees(float(sigmas[at]))), settings.sure_deg)
            known = (1 - unseen) / float(sigmas[at]) ** 2
            hanging = unseen / np.radians(sigma) ** 2
            mean = known * found[f"{side}_{joint}", f"{side}_{end}"] + hanging * line / np.linalg.norm(line)
            directions[at] = torch.as_tensor(mean / max(float(np.linalg.norm(mean)), 1e-9)).to(directions)
            sigmas[at] = float((known + hanging) ** -0.5)
            rest = UP if joint in ("hip", "knee") else sign * ACROSS
            _point(rotmats, JOINT_INDEX[f"{side}_{joint}"], rest, directions[at])
            rotation_sigmas[JOINT_INDEX[f"{side}_{joint}"]] *= 1 + (settings.doubt - 1) * unseen
        unseen = steady * float(share[JOINT_INDEX[f"{side}_elbow"]])
        if unseen > 0:
            out_at, up_at = (DIRECTIONS.index((f"{side}_wrist", axis)) for axis in ("out", "y"))
            forearm = limbs[-1][2]
            hand = (1 - unseen) * found[f"{side}_wrist", "out"] + unseen * forearm / np.linalg.norm(forearm)
            directions[out_at] = torch.as_tensor(hand / max(float(np.linalg.norm(hand)), 1e-9)).to(directions)
            sigmas[up_at] *= 1 + (settings.doubt - 1) * unseen
            rotation_sigmas[JOINT_INDEX[f"{side}_wrist"]] *= 1 + (settings.doubt - 1) * unseen
        foot, unseen = JOINT_INDEX[f"{side}_ankle"], steady * float(share[JOINT_INDEX[f"{side}_ankle"]])
        sigmas[DIRECTIONS.index((f"{side}_ankle", f"{side}_foot"))] *= 1 + (settings.doubt - 1) * unseen
        rotation_sigmas[foot] *= 1 + (settings.doubt - 1) * unseen
    assert len(rotation_sigmas) == NUM_BODY
    return replace(
        prediction,
        rotmats=rotmats,
        directions=directions,
        direction_sigma_rad=sigmas,
        sigma_rad=rotation_sigmas,
    )


def _limbs(
    side: str,
    left: Float,
    found: Mapping[tuple[str, str], Float],
    share: Array,
    hidden: Mapping[str, float],
    settings: HangSettings,
) -> tuple[tuple[str, str, Float, float], ...]:
    """Where a side's unseen thigh, shin, upper arm and forearm point, each with its joints and with σ in degrees.

    left (3,): level, towards the person's left; found: the regressor's directions.
    """
    ahead, out = np.cross(left, UP), left if side == "left" else -left
    near_hip, near_arm = (float(share[JOINT_INDEX[f"{side}_{part}"]]) for part in ("hip", "shoulder"))
    thigh, thigh_deg = -UP + 0.03 * out, settings.thigh_deg
    raised = _other_thigh(found, share, side, settings)
    if raised is not None:  # who sits with one leg sits with both
        thigh, thigh_deg, near_hip = raised - 2 * (raised @ left) * left, settings.beside_deg, 0.0
    inward = np.radians(hidden.get(side, 0.0))
    forearm = -np.cos(inward) * UP - np.sin(inward) * out + 0.3 * ahead
    bent = settings.forearm_deg if side in hidden else _between(settings.bent_deg, settings.forearm_deg, near_arm)
    return (
        ("hip", "knee", thigh, thigh_deg),
        ("knee", "ankle", -UP - 0.03 * ahead, _between(settings.bent_deg, settings.shin_deg, near_hip)),
        ("shoulder", "elbow", -UP + 0.17 * out, settings.upper_arm_deg),
        ("elbow", "wrist", forearm, bent),
    )


def beside_the_other(prediction: Prediction, share: Array, settings: HangSettings) -> tuple[int, ...]:
    """Hips and knees of legs that were not seen, but lie beside the other one: nothing is to draw them to standing."""
    found = {name: prediction.directions[i].double().cpu().numpy() for i, name in enumerate(DIRECTIONS)}
    sides = [
        side
        for side in SIDES
        if share[JOINT_INDEX[f"{side}_hip"]] > 0 and _other_thigh(found, share, side, settings) is not None
    ]
    return tuple(JOINT_INDEX[f"{side}_{part}"] for side in sides for part in ("hip", "knee"))


def _other_thigh(
    found: Mapping[tuple[str, str], Float], share: Array, side: str, settings: HangSettings
) -> Float | None:
    """Where the other side's thigh points, if it was seen and is raised, as that of somebody who sits."""
    other = SIDES[side == SIDES[0]]
    line = found[f"{other}_hip", f"{other}_knee"]
    seen = float(share[JOINT_INDEX[f"{other}_hip"]]) == 0
    return line if seen and float(-line @ UP) < np.cos(np.radians(settings.raised_deg)) else None


def _point(rotmats: Tensor, joint: int, rest: Float, line: Tensor) -> None:
    """Turn a local rotation of (1, 55, 3, 3), in place, so that what points along `rest` does along `line`."""
    above, at = torch.eye(3, dtype=rotmats.dtype, device=rotmats.device), PARENTS[joint]
    while at >= 0:
        above, at = rotmats[0, at] @ above, PARENTS[at]
    turn = above @ rotmats[0, joint]
    now = turn @ torch.as_tensor(rest).to(rotmats)
    rotmats[0, joint] = above.T @ rotation_between(now, line.to(rotmats)) @ turn


def _rise(value: float, span: tuple[float, float]) -> float:
    return float(np.clip((value - span[0]) / (span[1] - span[0]), 0, 1))


def _between(seen: float, unseen: float, share: float) -> float:
    return seen + (unseen - seen) * share
