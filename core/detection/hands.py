"""Both hands of a person, found in crops around the pose's wrists at the photo's full resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, inside, pixels_per_metre
from .crops import Square, apply, cut
from .landmarkers import RawHand
from .observation import Points

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

# Indices in pose33: wrist, pinky, index and thumb knuckles, elbow.
SIDES = {"left_hand": (15, 17, 19, 21, 13), "right_hand": (16, 18, 20, 22, 14)}


@dataclass(frozen=True)
class HandSettings:
    """Where hands are looked for, and which are believed."""

    crop_m: float = 0.46  # side of a crop: about two and a half hand lengths, which palm detection likes
    crop_px: int = 256  # what the networks are given
    retry_scale: float = 0.62  # a second, tighter look where the first finds nothing
    least_visibility: float = 0.3  # of the wrist; below it no hand is looked for
    reach_m: float = 0.16  # how far a hand's wrist may lie from the pose's
    least_px: float = 10.0  # hands smaller than this on the picture are left out


@dataclass(frozen=True)
class FoundHand:
    """A hand in a crop, brought to the picture."""

    raw: RawHand
    image_px: Array  # (21, 2) in the picture
    world_m: Array  # (21, 3) camera axes


def detect_hands(
    rgb: Image, pose: Candidate, network: Callable[[Image], list[RawHand]], settings: HandSettings
) -> dict[str, Points]:
    """`left_hand` and `right_hand`, each where it is found. `network` finds hands in a crop."""
    size = (rgb.shape[1], rgb.shape[0])
    scale = pixels_per_metre(pose)
    wrists = wrists_seen(pose, size, scale, settings)
    found = [hand for side in wrists for hand in search_hand(rgb, pose, side, scale, network, settings)]
    return assign(found, wrists, pose, scale, size, settings)


def wrists_seen(pose: Candidate, size: tuple[int, int], scale: float, settings: HandSettings) -> dict[str, Array]:
    """The wrists (2,) at which it is worth to look for a hand. scale: px a metre."""
    return {
        side: pose.image_px[indices[0]]
        for side, indices in SIDES.items()
        if pose.visibility[indices[0]] >= settings.least_visibility
        and inside(pose.image_px[indices[0]][None], size)[0]
        and 0.18 * scale >= settings.least_px
    }


def search_hand(
    rgb: Image,
    pose: Candidate,
    side: str,
    scale: float,
    network: Callable[[Image], list[RawHand]],
    settings: HandSettings,
) -> list[FoundHand]:
    """Hands in the crop at one wrist, and in a tighter one where none of them hangs on it."""
    square = hand_square(pose, side, scale * settings.crop_m)
    hands = _in_crop(rgb, square, network, settings.crop_px)
    if not any(gap_m(hand, pose.image_px[SIDES[side][0]], scale) <= settings.reach_m for hand in hands):
        tight = Square(square.centre_px, square.side_px * settings.retry_scale)
        hands += _in_crop(rgb, tight, network, settings.crop_px)
    return hands


def hand_square(pose: Candidate, side: str, side_px: float) -> Square:
    """The crop around a hand: from the wrist towards the knuckles that the pose network guesses."""
    wrist, pinky, index, thumb, elbow = (pose.image_px[i] for i in SIDES[side])
    along = (pinky + index + thumb) / 3.0 - wrist
    reach = float(np.linalg.norm(along))
    if reach < 1.0:
        along, reach = wrist - elbow, float(np.linalg.norm(wrist - elbow)) + 1e-6
    # The middle of a hand is half its length, some 9 cm of a crop of 46 cm, from the wrist.
    centre = wrist + along / reach * min(reach, 0.16 * side_px)
    # A hand that is nearer to the camera than the body looks larger.
    return Square((float(centre[0]), float(centre[1])), max(side_px, 4.0 * reach))


def assign(
    hands: list[FoundHand],
    wrists: dict[str, Array],
    pose: Candidate,
    scale: float,
    size: tuple[int, int],
    settings: HandSettings,
) -> dict[str, Points]:
    """Hands to the wrists on which they hang: nearest first, each hand and each wrist once.

    The network's own idea of left and right only breaks near-ties, as where both hands are joined.
    """
    pairs = []
    for i, hand in enumerate(hands):
        for side, wrist in wrists.items():
            gap = gap_m(hand, wrist, scale)
            if gap <= settings.reach_m:
                likeness = hand.raw.left_score if side == "left_hand" else 1.0 - hand.raw.left_score
                pairs.append((gap + 0.04 * (1.0 - likeness), i, side, gap, likeness))
    chosen: dict[str, Points] = {}
    taken: list[FoundHand] = []
    for _, i, side, gap, likeness in sorted(pairs):
        hand = hands[i]
        if side in chosen or any(same_hand(hand, other) for other in taken):
            continue
        taken.append(hand)
        belief = float(np.exp(-((gap / settings.reach_m) ** 2))) * (0.6 + 0.4 * likeness)
        belief *= 0.5 + 0.5 * float(pose.visibility[SIDES[side][0]])
        confidence = np.where(inside(hand.image_px, size), belief, 0.0).astype(np.float32)
        chosen[side] = Points(hand.image_px, confidence, hand.world_m, hand.raw.left_score)
    return chosen


def _in_crop(rgb: Image, square: Square, network: Callable[[Image], list[RawHand]], out_px: int) -> list[FoundHand]:
    return [in_picture(raw, square, out_px) for raw in network(cut(rgb, square, out_px))]


def in_picture(raw: RawHand, square: Square, out_px: int) -> FoundHand:
    """A hand in a crop's pixels brought to the picture's."""
    c, s = np.cos(square.angle_rad), np.sin(square.angle_rad)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)
    image = apply(square.matrix(out_px), raw.image_px).astype(np.float32)
    return FoundHand(raw, image, (raw.world_m @ turn.T).astype(np.float32))


def gap_m(hand: FoundHand, wrist: Array, scale: float) -> float:
    """From a hand's wrist to the pose's, in metres; scale: px a metre."""
    return float(np.linalg.norm(hand.image_px[0] - wrist)) / scale


def same_hand(a: FoundHand, b: FoundHand) -> bool:
    """Whether two detections, perhaps from overlapping crops, are one hand."""
    size = max(float(np.ptp(a.image_px, axis=0).max()), float(np.ptp(b.image_px, axis=0).max()), 1.0)
    return float(np.linalg.norm(a.image_px - b.image_px, axis=1).mean()) < 0.3 * size
