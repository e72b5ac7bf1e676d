"""Hands of which the points are those of a hand that is not there.

Where half of a hand is hidden, the network that places its points may take it for one of the other side: the palm for
its back, and with it the little finger for the index finger. Such points turn the wrist to the end of its range.
Neither alone says enough: networks often doubt which side a hand is of, and wrists do turn far. Read across, from the
other edge of the palm, the same points are mostly right; where the wrist is still turned that far, they tell where the
middle of the hand is, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..body.skeleton import JOINT_INDEX
from ..detection.observation import Observation, Points
from ..detection.vocabulary import HAND21
from ..priors.limits import JointLimits
from .state import BodyState

WRISTS = {side: JOINT_INDEX[f"{side}_wrist"] for side in ("left", "right")}
ACROSS, MIDDLE = "read across", "middle alone"
_OPPOSITE = {"index": "pinky", "middle": "ring", "ring": "middle", "pinky": "index"}


@dataclass(frozen=True)
class MistakenSettings:
    """When a hand is not believed."""

    likeness: float = 0.35  # of a hand to its side, below which it looks like the other's; 0: all are believed
    range_used: float = 0.7  # share of the wrist's range from which on such points have turned it


def mistaken_hands(
    observation: Observation, state: BodyState, limits: JointLimits, settings: MistakenSettings, settled: bool
) -> tuple[str, ...]:
    """Sides whose hand is not believed, in one body that was fitted to it. limits: of both wrists, left first.

    settled: whether that was the last stage. Hands read across are judged only then: they still turn the wrist back.
    """
    used = limits.range_used(state.rotmats[:, list(WRISTS.values())])[0].tolist()
    found = []
    for side, share in zip(WRISTS, used, strict=True):
        hand = observation.points.get(f"{side}_hand")
        if hand is None or hand.left_score is None or (hand.world_m is None and not settled):
            continue
        likeness = hand.left_score if side == "left" else 1 - hand.left_score
        if likeness < settings.likeness and share > settings.range_used:
            found.append(side)
    return tuple(found)


def without_mistakes(observation: Observation, how: Mapping[str, str]) -> Observation:
    """The observation with hands, by side, read ACROSS, or with their MIDDLE alone."""
    read = {ACROSS: _across, MIDDLE: _middle}
    changed = {f"{side}_hand": read[what](observation.points[f"{side}_hand"]) for side, what in how.items()}
    return replace(observation, points={**observation.points, **changed})


def _across(hand: Points) -> Points:
    """A hand whose fingers are the opposite ones. Its thumb, and what is said of depth, are of no hand."""
    order, kept = np.arange(len(HAND21)), np.ones(len(HAND21), np.float32)
    for i, name in enumerate(HAND21):
        finger, number = name[:-1], name[-1]
        if finger in _OPPOSITE:
            order[i] = HAND21.index(_OPPOSITE[finger] + number)
        elif finger == "thumb":
            kept[i] = 0
    return Points(hand.image_px[order], hand.confidence[order] * kept, None, hand.left_score)


def _middle(hand: Points) -> Points:
    """A hand of which only the wrist and the line between middle and ring finger are known, whichever is which."""
    image, kept = hand.image_px.copy(), np.zeros(len(HAND21), np.float32)
    kept[0] = 1
    for k in range(1, 5):
        pair = [HAND21.index(f"{finger}{k}") for finger in ("middle", "ring")]
        image[pair], kept[pair] = hand.image_px[pair].mean(0), 1
    return Points(image, hand.confidence * kept, None, None)
