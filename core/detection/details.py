"""Hands and faces of people who are followed: looked for where the frame before had them, which costs half as much.

Where nothing is left to follow, they are looked for as in a photo. Everything that the next frame hangs on is in
`state`. MediaPipe's recipe for the next crop of a hand (Zhang et al., "MediaPipe Hands", 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate, pixels_per_metre
from .crops import Square, cut
from .face import FaceSettings, detect_face, face_in, head_px, square_of_mesh
from .hands import SIDES, FoundHand, HandSettings, assign, gap_m, in_picture, same_hand, search_hand, wrists_seen
from .landmarkers import HAND_INPUT_PX, RawHand
from .observation import Points

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

# Points of a hand that hardly depend on what fingers do: the next crop is laid by them.
_PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
LEAST_PRESENCE = 0.7  # of a hand that is followed; one less sure is looked for anew
# From so many frames in a row without it, a hand is looked for in every so manieth frame.
PAUSES = ((0, 1), (3, 3), (24, 6), (60, 12))


@dataclass
class Memory:
    """What is known of one person's hands and face from the frame before."""

    hands: dict[str, tuple[Array, Array]] = field(default_factory=dict)  # side → (21, 2) px, the pose's wrist (2,)
    missed: dict[str, int] = field(default_factory=dict)  # side → frames in a row without it
    face: tuple[Square, Array] | None = None  # its next crop, and the pose's head (2,)

    @property
    def state(self) -> Array:
        """Everything as numbers."""
        rows = []
        for side in SIDES:
            hand = self.hands.get(side)
            known = np.concatenate([[1.0], hand[0].ravel(), hand[1]]) if hand else np.zeros(45)
            rows.append(np.concatenate([known, [float(self.missed.get(side, 0))]]))
        face = np.zeros(7)
        if self.face is not None:
            square, head = self.face
            face = np.array([1.0, *square.centre_px, square.side_px, square.angle_rad, *head])
        return np.concatenate([*rows, face])

    @classmethod
    def of(cls, state: NDArray[np.generic]) -> Memory:
        """The memory that was in `state`."""
        memory = cls()
        values = np.asarray(state, np.float64)
        for side, row in zip(SIDES, values[:92].reshape(2, 46), strict=True):
            if row[0]:
                memory.hands[side] = (row[1:43].reshape(21, 2).astype(np.float32), row[43:45].astype(np.float32))
            memory.missed[side] = int(row[45])
        known, x, y, side_px, angle, *head = values[92:].tolist()
        if known:
            memory.face = (Square((x, y), side_px, angle), np.array(head, np.float32))
        return memory


def follow_hands(
    rgb: Image,
    pose: Candidate,
    trace: Callable[[Image], tuple[RawHand, float]],
    search: Callable[[Image], list[RawHand]],
    settings: HandSettings,
    memory: Memory,
) -> dict[str, Points]:
    """`left_hand` and `right_hand`, each where it is found. trace: points and presence of the one hand in a crop;
    search: hands in a crop."""
    size = (rgb.shape[1], rgb.shape[0])
    scale = pixels_per_metre(pose)
    wrists = wrists_seen(pose, size, scale, settings)
    traced: dict[str, FoundHand] = {}
    for side, wrist in wrists.items():
        if side in memory.hands:
            before, there = memory.hands[side]
            hand = _traced(rgb, before + (wrist - there), trace)
            if hand is not None and gap_m(hand, wrist, scale) <= settings.reach_m:
                traced[side] = hand
    if len(traced) == 2 and same_hand(*traced.values()):
        traced = {}  # both ended on one hand: which one it is, is seen anew
    found = list(traced.values())
    for number, side in enumerate(SIDES):
        if side not in wrists or side in traced:
            continue
        if due(memory.missed.get(side, 0), number):
            found += search_hand(rgb, pose, side, scale, search, settings)
    chosen = assign(found, wrists, pose, scale, size, settings)
    memory.hands = {side: (points.image_px, wrists[side]) for side, points in chosen.items()}
    memory.missed = {side: 0 if side in chosen else memory.missed.get(side, 0) + 1 for side in wrists}
    return chosen


def due(missed: int, number: int) -> bool:
    """Whether hand `number`, 0 or 1, is looked for after so many frames without it. Both take turns."""
    every = next(every for least, every in reversed(PAUSES) if missed >= least)
    return (missed + number * every // 2) % every == 0


def _traced(rgb: Image, before: Array, trace: Callable[[Image], tuple[RawHand, float]]) -> FoundHand | None:
    square = next_crop(before)
    if square.side_px < 8.0:
        return None
    raw, presence = trace(cut(rgb, square, HAND_INPUT_PX))
    if presence < LEAST_PRESENCE or not np.isfinite(raw.image_px).all():
        return None
    return in_picture(raw, square, HAND_INPUT_PX)


def next_crop(points: Array) -> Square:
    """Where a hand (21, 2) is looked for next: twice its palm and thumb, fingers up."""
    knuckles = (0.5 * (points[5] + points[13]) + points[9]) / 2.0
    along = knuckles - points[0]
    angle = float(np.arctan2(along[0], -along[1]))
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]], np.float32)
    own = points[list(_PALM)] @ turn
    low, high = own.min(axis=0), own.max(axis=0)
    size = high - low
    centre = turn @ ((low + high) / 2.0 - np.array([0.0, 0.1 * size[1]], np.float32))
    return Square((float(centre[0]), float(centre[1])), 2.0 * float(size.max()), angle)


def follow_face(
    rgb: Image,
    pose: Candidate,
    network: Callable[[Image], tuple[Array, float]],
    settings: FaceSettings,
    memory: Memory,
) -> Points | None:
    """The 468 points: one look where the face was, or as in a photo."""
    found, head = None, head_px(pose)
    if memory.face is not None:
        square, there = memory.face
        x, y = np.asarray(square.centre_px) + (head - there)
        moved = replace(square, centre_px=(float(x), float(y)))
        found = face_in(rgb, pose, moved, network, replace(settings, looks=1))
    if found is None:
        found = detect_face(rgb, pose, network, settings)
    memory.face = None if found is None else (square_of_mesh(found.image_px, settings.crop_scale), head)
    return found
