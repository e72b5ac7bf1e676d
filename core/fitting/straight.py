"""Legs that are seen straight: what bends them in depth, where a picture says nothing, is straightened.

Seen from ahead, a knee that is bent by 25° looks like a straight one, and all that is known besides the picture bends
it. In the motion capture that priors and regressor learned from, people who stand and laugh, wash windows or direct
traffic bend the straighter knee by 17 to 25° (median; legs one or two per cent too long for their subject would do
that), and MediaPipe's metric points of somebody who stands upright show 17 to 24° too. An error of
length hardly changes a knee that is truly bent, so what is taken away fades there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..body.skeleton import JOINT_INDEX
from ..detection.observation import Observation, trust_of
from ..detection.vocabulary import POINT_SETS, POSE33
from ..priors.regressor import DIRECTIONS, Prediction

Float = NDArray[np.float64]

SIDES = ("left", "right")
_LEG = (("hip", "knee"), ("knee", "ankle"))
_SETS = ("pose33", "body25", "coco17")
_THIGH_SHARE = 0.53  # of a change of the knee's angle, by which the thigh turns: the shin over the leg


@dataclass(frozen=True)
class StraightSettings:
    """When a leg is seen straight, each a range over which the answer fades, and how far it is straightened."""

    bend_deg: float = 25.0  # of a knee that is straight, as what knows no better has it
    fade_deg: float = 14.0  # above which, less and less is taken from a knee's bend
    alone: float = 0.0  # how much a leg counts beside one that is not straight
    sole_deg: float = 6.0  # σ of the soles of somebody who stands on two straight legs from level
    trust: tuple[float, float] = (0.15, 0.4)  # of the worst of hip, knee and ankle
    seen_bend_deg: tuple[float, float] = (14.0, 6.0)  # of the knee in the picture
    leg_over_trunk: tuple[float, float] = (1.1, 1.4)  # hip to ankle over shoulder to hip, in the picture
    thigh_over_shin: tuple[float, float] = (0.55, 0.75)  # in the picture, and its inverse


def straight_share(observation: Observation, settings: StraightSettings) -> dict[str, float]:
    """By side, 0…1: how surely the leg is seen, and seen straight and unshortened."""
    shares = dict.fromkeys(SIDES, 0.0)
    for name in _SETS:
        points = observation.points.get(name)
        if points is None:
            continue
        place = {point: i for i, point in enumerate(POINT_SETS[name])}
        image, trust = points.image_px.astype(np.float64), trust_of(name, points.confidence)
        trunk = _trunk_px(image, trust, place)
        for side in SIDES:
            at = [place[f"{side}_{part}"] for part in ("hip", "knee", "ankle")]
            if np.isfinite(image[at]).all():
                seen = float(trust[at].min())
                hip, knee, ankle = image[at]
                shares[side] = max(shares[side], _straight(hip, knee, ankle, trunk, seen, settings))
    both = min(shares.values())
    return {side: settings.alone * shares[side] + (1 - settings.alone) * both for side in SIDES}


def straighten_hints(observation: Observation, shares: dict[str, float], settings: StraightSettings) -> Observation:
    """The same observation with the metric points of such legs moved; a foot turns with its shin."""
    points = observation.points.get("pose33")
    if points is None or points.world_m is None or not any(shares.values()):
        return observation
    world = points.world_m.astype(np.float64)
    for side in SIDES:
        hip, knee, ankle = (POSE33.index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        thigh, shin = world[knee] - world[hip], world[ankle] - world[knee]
        turns = straightening(thigh, shin, shares[side], settings)
        if turns is None:
            continue
        moved_knee = world[hip] + turns[0] @ thigh
        below = [POSE33.index(f"{side}_{part}") for part in ("ankle", "heel", "foot_index")]
        world[below] = moved_knee + (world[below] - world[knee]) @ turns[1].T
        world[knee] = moved_knee
    moved = replace(points, world_m=world.astype(np.float32))
    return replace(observation, points={**observation.points, "pose33": moved})


def straighten_prediction(prediction: Prediction, shares: dict[str, float], settings: StraightSettings) -> Prediction:
    """The same prediction of one person with such legs straightened; trunk and feet keep their directions."""
    if not any(shares.values()):
        return prediction
    rotmats, directions = prediction.rotmats.clone(), prediction.directions.clone()
    for side in SIDES:
        hip, knee, ankle = (JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        local = rotmats[0, [0, hip, knee, ankle]].double().cpu().numpy()
        pelvis, thigh, shin, foot = (np.linalg.multi_dot([np.eye(3), *local[: k + 1]]) for k in range(4))
        turns = straightening(-thigh[:, 1], -shin[:, 1], shares[side], settings)
        if turns is not None:
            thigh, shin = turns[0] @ thigh, turns[1] @ shin
            straight = np.stack([pelvis.T @ thigh, thigh.T @ shin, shin.T @ foot])
            rotmats[0, [hip, knee, ankle]] = torch.as_tensor(straight).to(rotmats)
        at = [DIRECTIONS.index((f"{side}_{a}", f"{side}_{b}")) for a, b in (("hip", "knee"), ("knee", "ankle"))]
        bones = directions[at].double().cpu().numpy()
        turns = straightening(bones[0], bones[1], shares[side], settings)
        if turns is not None:
            moved = np.stack([turn @ bone for turn, bone in zip(turns, bones, strict=True)])
            directions[at] = torch.as_tensor(moved).to(directions)
    return replace(prediction, rotmats=rotmats, directions=directions)


def flatten_feet(
    prediction: Prediction, shares: dict[str, float], rest: NDArray[np.float32], settings: StraightSettings
) -> Prediction:
    """The same prediction with the soles of somebody who stands on two straight legs flat, each with its own heading.

    Flat: square to what is up, between the line of the legs and the camera's. rest: `rest_directions` of the body.
    """
    both = min(shares.values())
    if both <= 0:
        return prediction
    rotmats, directions = prediction.rotmats.clone(), prediction.directions.clone()
    rotation_sigma, direction_sigma = prediction.sigma_rad.clone(), prediction.direction_sigma_rad.clone()
    bones = [DIRECTIONS.index((f"{side}_{a}", f"{side}_{b}")) for side in SIDES for a, b in _LEG]
    legs = directions[bones].double().cpu().numpy().sum(0)
    up = np.array([0.0, -1.0, 0.0]) - legs / np.linalg.norm(legs)
    up /= np.linalg.norm(up)
    sigma = float(np.radians(settings.sole_deg)) / both
    for side in SIDES:
        hip, knee, ankle = (JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        local = rotmats[0, [0, hip, knee, ankle]].double().cpu().numpy()
        shin = local[0] @ local[1] @ local[2]
        ahead = (shin @ local[3])[:, 2]
        ahead = ahead - (ahead @ up) * up
        if float(np.linalg.norm(ahead)) < 0.5:
            continue
        ahead /= np.linalg.norm(ahead)
        flat = np.stack([np.cross(up, ahead), up, ahead], 1)
        rotmats[0, ankle] = torch.as_tensor(shin.T @ flat).to(rotmats)
        rotation_sigma[ankle] = rotation_sigma[ankle].clamp_max(sigma)
        at = DIRECTIONS.index((f"{side}_ankle", f"{side}_foot"))
        directions[at] = torch.as_tensor(flat @ rest[at]).to(directions)
        direction_sigma[at] = direction_sigma[at].clamp_max(sigma)
    return replace(
        prediction,
        rotmats=rotmats,
        sigma_rad=rotation_sigma,
        direction_sigma_rad=direction_sigma,
        directions=directions,
    )


def straightening(thigh: Float, shin: Float, share: float, settings: StraightSettings) -> tuple[Float, Float] | None:
    """Rotations (3, 3) that straighten a thigh and a shin (3,), any lengths, towards each other; None: nothing to do.

    The line from hip to ankle stays where it is, for a thigh and a shin of usual lengths.
    """
    lengths = float(np.linalg.norm(thigh)), float(np.linalg.norm(shin))
    if share <= 0 or min(lengths) < 1e-6 or not np.isfinite(lengths).all():
        return None
    a, b = thigh / lengths[0], shin / lengths[1]
    axis = np.cross(a, b)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-4:
        return None
    bend = float(np.arctan2(sine, a @ b))
    least, fade = np.radians(settings.bend_deg), np.radians(settings.fade_deg)
    change = share * min(bend, least) * float(np.exp(-((max(bend - least, 0.0) / fade) ** 2)))
    axis = axis / sine
    return _turn(axis, _THIGH_SHARE * change), _turn(axis, -(1 - _THIGH_SHARE) * change)


def _straight(hip: Float, knee: Float, ankle: Float, trunk: float | None, trust: float, s: StraightSettings) -> float:
    thigh, shin = knee - hip, ankle - knee
    lengths = float(np.linalg.norm(thigh)), float(np.linalg.norm(shin))
    if min(lengths) < 1.0:
        return 0.0
    cosine = float(thigh @ shin) / (lengths[0] * lengths[1])
    share = _fade(trust, s.trust) * _fade(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))), s.seen_bend_deg)
    share *= _fade(min(lengths) / max(lengths), s.thigh_over_shin)
    if trunk is not None:
        share *= _fade(float(np.linalg.norm(ankle - hip)) / max(trunk, 1.0), s.leg_over_trunk)
    return share


def _trunk_px(image: Float, trust: Float, place: dict[str, int]) -> float | None:
    """From the middle of the shoulders to that of the hips; None when they are not seen."""
    at = [place[f"{side}_{part}"] for part in ("shoulder", "hip") for side in SIDES]
    if trust[at].min() < 0.3 or not np.isfinite(image[at]).all():
        return None
    return float(np.linalg.norm(image[at[:2]].mean(0) - image[at[2:]].mean(0)))


def _fade(value: float, span: tuple[float, float]) -> float:
    """0 at span[0], 1 at span[1], smooth between; either way round."""
    t = min(max((value - span[0]) / (span[1] - span[0]), 0.0), 1.0)
    return t * t * (3 - 2 * t)


def _turn(axis: Float, angle: float) -> Float:
    """Rotation by `angle` about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turn: Float = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return turn
