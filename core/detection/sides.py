"""Left and right that a detector mixed up in one picture, told by face, feet and hands. numpy only.

A body and its exchanged twin fit the same 2D points about equally well, so energy can't decide. What can: a face that
looks at the camera between shoulders that are ordered as from behind; shoulders and hips that contradict each other,
where face, feet and hands say which of them is right; elbows at the wrong shoulders, whose hands look like each
other's. Exchanging what was right is worse than leaving what was wrong: where the evidence is thin or mixed, all stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .observation import Observation, Points
from .vocabulary import POSE33

Array = NDArray[np.float32]

WHOLE, LEGS, ARMS = "whole body", "legs", "arms"
# Points of `pose33` that are exchanged; those of the face go with the whole body.
_PARTS: dict[str, tuple[str, ...]] = {
    ARMS: ("elbow", "wrist", "pinky", "index", "thumb"),
    LEGS: ("hip", "knee", "ankle", "heel", "foot_index"),
}
_HANDS = ("left_hand", "right_hand")
_MESH_RIGHT_EYE, _MESH_LEFT_EYE, _MESH_BROW, _MESH_CHIN = 33, 263, 10, 152


@dataclass(frozen=True)
class SideSettings:
    """From where on evidence counts. Widths are over the length of the trunk."""

    least_visibility: float = 0.6  # of each point that is judged by
    least_trunk: float = 0.12  # of the person's box: a trunk that is seen from its end tells nothing
    shoulders: float = 0.3  # shoulders that far apart are seen from before or behind
    all_shoulders: float = 0.75  # their whole width
    hips: float = 0.12  # hips; 0.35 is all of them
    twisted_shoulders: float = 0.4  # a trunk with more than both of these, in opposite orders, is not twisted: of
    twisted_hips: float = 0.2  # 10,000 random views of captured people two or three had so much
    impossible_turn: float = 100.0  # degrees of the head against the shoulders that nobody has
    hard_turn: float = 80.0  # that are an exchanged body's if hands or feet say so too
    hand: float = 0.25  # mean likeness of the hands to their sides below which they look like the others
    other_hand: float = 0.4  # and no hand has more; above it a hand may be its side's
    sure_hand: float = 0.7  # above which one looks like its own
    feet: float = 0.05  # toes that far below (above) the heels point to (from) the camera


@dataclass(frozen=True)
class SideEvidence:
    """What speaks for and against. Not-a-number where nothing does."""

    shoulders: float = np.nan  # > 0: in the order of somebody who is seen from before
    hips: float = np.nan
    face: float = np.nan  # cosine of the angle between face and camera, where a mesh was found
    hands: tuple[float, float] = (np.nan, np.nan)  # how much each looks like its side
    feet: tuple[float, float] = (np.nan, np.nan)  # > 0: toes point to the camera
    elbows_crossed: bool = False  # each elbow is nearer to the other shoulder


def evidence_of(observation: Observation, settings: SideSettings | None = None) -> SideEvidence:
    """What a picture tells of one person's sides."""
    s = settings or SideSettings()
    pose = observation.points.get("pose33")
    if pose is None:
        return SideEvidence()

    def at(part: str) -> tuple[Array, Array] | None:
        rows = [POSE33.index(f"{side}_{part}") for side in ("left", "right")]
        known = bool((pose.confidence[rows] >= s.least_visibility).all() and np.isfinite(pose.image_px[rows]).all())
        return (pose.image_px[rows[0]], pose.image_px[rows[1]]) if known else None

    shoulders, hips = at("shoulder"), at("hip")
    if shoulders is None or hips is None:
        return SideEvidence(face=_face(observation), hands=_hands(observation))
    up = 0.5 * (shoulders[0] + shoulders[1] - hips[0] - hips[1])
    trunk = float(np.linalg.norm(up))
    box = observation.box_px
    if trunk < s.least_trunk * max(float(box[2] - box[0]), float(box[3] - box[1]), 1.0):
        return SideEvidence(face=_face(observation), hands=_hands(observation))
    up = up / trunk
    # To the right in the picture, of somebody upright.
    aside = np.array([-up[1], up[0]], np.float32)
    feet = []
    for side in ("left", "right"):
        rows = [POSE33.index(f"{side}_{part}") for part in ("heel", "foot_index")]
        known = bool((pose.confidence[rows] >= s.least_visibility).all())
        feet.append(float((pose.image_px[rows[0]] - pose.image_px[rows[1]]) @ up) / trunk if known else np.nan)
    elbows = at("elbow")
    crossed = False
    if elbows is not None:
        own, other = (
            [float(np.linalg.norm(elbows[k] - shoulders[k if mine else 1 - k])) for k in (0, 1)]
            for mine in (True, False)
        )
        crossed = own[0] > other[0] and own[1] > other[1]
    return SideEvidence(
        float((shoulders[0] - shoulders[1]) @ aside) / trunk,
        float((hips[0] - hips[1]) @ aside) / trunk,
        _face(observation),
        _hands(observation),
        (feet[0], feet[1]),
        crossed,
    )


def _face(observation: Observation) -> float:
    """Cosine of the angle between where the face mesh looks and the camera; not-a-number without a mesh."""
    mesh = observation.points.get("face468")
    if mesh is None or mesh.world_m is None or float(mesh.confidence.max(initial=0.0)) < 0.9:
        return np.nan
    across = mesh.world_m[_MESH_LEFT_EYE] - mesh.world_m[_MESH_RIGHT_EYE]
    down = mesh.world_m[_MESH_CHIN] - mesh.world_m[_MESH_BROW]
    ahead = np.cross(down, across)  # to the person's left, and down: what the face looks at is their product
    return float(-ahead[2] / max(float(np.linalg.norm(ahead)), 1e-9))


def _hands(observation: Observation) -> tuple[float, float]:
    likeness = []
    for name in _HANDS:
        hand = observation.points.get(name)
        score = np.nan if hand is None or hand.left_score is None else hand.left_score
        likeness.append(score if name == "left_hand" else 1.0 - score)
    return likeness[0], likeness[1]


def mixed_up(evidence: SideEvidence, settings: SideSettings | None = None) -> str | None:
    """Which part's sides are exchanged: WHOLE, LEGS, ARMS; None where nothing is, or nothing can be said."""
    s = settings or SideSettings()
    e = evidence
    # Comparisons with what is not known are false.
    order = np.sign(e.shoulders) if abs(e.shoulders) > s.shoulders else 0
    agree = e.hips * order > s.hips
    known = [value for value in e.hands if value == value]
    hands_other = bool(known) and max(known) < s.other_hand and float(np.mean(known)) < s.hand
    hands_own = bool(known) and min(known) > s.other_hand and max(known) > s.sure_hand
    # 1: towards the camera, −1: away from it, 0: not told.
    feet = next((sign for sign in (1, -1) if all(sign * value > s.feet for value in e.feet)), 0)
    if order == 0:
        return None
    if e.hips * order < -s.twisted_hips and abs(e.shoulders) > s.twisted_shoulders:
        # A trunk does not twist that far: shoulders or hips are exchanged. Which, face, feet and hands say.
        pro = (e.face > 0 and order > 0) + (feet == order) + hands_own
        contra = (e.face > 0 and order < 0) + (feet == -order) + hands_other
        return LEGS if pro and not contra else None
    if not agree:
        return None
    if e.elbows_crossed and hands_other and not (e.face > 0 and order < 0):
        return ARMS
    if order < 0 and not hands_own and feet >= 0:
        # Said to be seen from behind. How far the head would have to turn for its face to be seen as it is:
        turned = math.degrees(math.acos(max(e.shoulders / s.all_shoulders, -1.0)) - math.acos(min(e.face, 1.0)))
        if turned > s.impossible_turn or (turned > s.hard_turn and (hands_other or feet > 0)):
            return WHOLE
    return None


def exchanged(observation: Observation, part: str) -> Observation:
    """The observation with left and right of a part exchanged: WHOLE, LEGS or ARMS."""
    names: Sequence[str] = _PARTS.get(part, ())
    order = np.arange(len(POSE33))
    for i, name in enumerate(POSE33):
        there = _other(name)
        if there != name and (part == WHOLE or any(name.endswith(f"_{end}") for end in names)):
            order[i] = POSE33.index(there)
    points = dict(observation.points)
    pose = points["pose33"]
    # A body that was taken for one seen from behind has its depth the wrong way too.
    world = None if pose.world_m is None or part == WHOLE else pose.world_m[order]
    points["pose33"] = Points(pose.image_px[order], pose.confidence[order], world)
    if part in (WHOLE, ARMS):
        hands = [points.pop(name, None) for name in _HANDS]
        for name, hand in zip(_HANDS, reversed(hands), strict=True):
            if hand is not None:
                points[name] = hand
    return replace(observation, points=points)


def put_right(observation: Observation, settings: SideSettings | None = None) -> tuple[Observation, str | None]:
    """The observation with sides that were mixed up exchanged, and which part's they were; None where none were."""
    part = mixed_up(evidence_of(observation, settings), settings)
    return (observation, None) if part is None else (exchanged(observation, part), part)


def _other(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(word, word) for word in name.split("_"))
