"""Feet that stay where they are in the picture, whatever points a detector finds there. numpy and OpenCV.

Points of a foot jump where it is half hidden, or taken for another part, and then motion alone does not tell that it
stands. But a camera that stands sees a foot that stands in the same pixels. From where a foot surely rests it is looked
for, in frames before and after, as a small picture of it: as long as that is found at its place, the foot has not left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Grey = NDArray[np.uint8]
Look = Callable[[int], tuple[Grey, Array]]


@dataclass(frozen=True)
class FeetSettings:
    person_px: float = 192.0  # scale of what is compared: the person's size becomes so many pixels
    margin: float = 0.02  # of a person's size, around the foot's points
    search_px: int = 6  # how far around its place the foot is looked for
    apart_px: float = 1.0  # it stands where it is found no farther off
    alike: float = 0.85  # least correlation with what it looked like
    contrast: float = (
        6.0  # least standard deviation of its grey values, of 255: a dark foot on a dark floor says nothing
    )
    overlap: float = 0.2  # of its box, from which on what is there may be the other foot, and says nothing
    missing_s: float = 0.07  # so long it may not be found,
    hidden_s: float = 0.7  # and so long where the detector hardly sees it either
    hidden: float = 0.45  # belief below which that is so
    inside_s: float = 0.1  # how far from the end of its rest it is looked at: there it may be leaving already
    least_s: float = 0.1  # what is shorter is the foot coming or leaving, but between two rests at one place


def rest_longer(
    rests: Array,
    belief: Array,
    places: Array,
    size_px: Array,
    time_s: NDArray[np.float64],
    look: Look,
    settings: FeetSettings | None = None,
) -> NDArray[np.int64]:
    """For each frame and foot the frame whose rest it shares, (T, 2), or -1.

    rests (T, 2): 1 where a foot surely rests; belief (T, 2) 0…1 in where it was seen; places (T, 2, K, 2) its points,
    px; size_px (T,) of the person; time_s (T,), all of one shot of a camera that stands; look: the picture (H, W) of a
    frame and its box in the clip's px (4,).
    """
    s = settings or FeetSettings()
    shared = np.full(rests.shape, -1, np.int64)
    for foot in range(2):
        on, hidden = rests[:, foot] > 0, belief[:, foot] < s.hidden
        edges = np.flatnonzero(np.diff(on.astype(np.int8), prepend=0, append=0))
        for start, end in edges.reshape(-1, 2).tolist():
            for row, order in ((end - 1, range(end, len(on))), (start, range(start - 1, -1, -1))):
                inside = np.flatnonzero(np.abs(time_s[start:end] - time_s[row]) >= s.inside_s - 1e-6)
                if not len(inside):
                    continue
                at = start + int(inside[-1] if order.step > 0 else inside[0])
                one = _Foot.of(places[at, foot], float(size_px[at]), *look(at), s)
                if one is not None and not one.meets(places[at, 1 - foot], s):
                    shared[_stays(one, order, on, hidden, places[:, 1 - foot], time_s, look, s), foot] = at
    shared[rests > 0] = -1
    return shared


@dataclass(frozen=True)
class _Foot:
    """What a foot looks like that rests, and where that is."""

    low: Array  # (2,) px of the clip
    high: Array
    step: float  # px of the clip for one of what it looks like
    looks: NDArray[np.float32]

    @classmethod
    def of(cls, points: Array, size_px: float, picture: Grey, box: Array, s: FeetSettings) -> _Foot | None:
        """None where it is not in the picture, or shows nothing."""
        step = max(size_px, 16.0) / s.person_px
        low, high = points.min(0) - s.margin * size_px, points.max(0) + s.margin * size_px
        if not _within(low, high, box):
            return None
        width, height = np.ceil((high - low) / step).astype(int).tolist()
        looks = _piece(picture, box, low, (width, height), step)
        return cls(low, high, step, looks) if looks.std() >= s.contrast else None

    def meets(self, other: Array, s: FeetSettings) -> bool:
        """Whether points of the other foot, (K, 2) px, are so near that it may be taken for this one."""
        margin = s.margin * s.person_px * self.step
        low, high = np.maximum(self.low, other.min(0) - margin), np.minimum(self.high, other.max(0) + margin)
        return bool(np.prod(np.maximum(high - low, 0)) > s.overlap * np.prod(self.high - self.low))

    def is_in(self, picture: Grey, box: Array, s: FeetSettings) -> bool:
        """Whether it is where it was."""
        if not _within(self.low, self.high, box):
            return False
        reach = s.search_px
        shape = (self.looks.shape[1] + 2 * reach, self.looks.shape[0] + 2 * reach)
        alike = cv2.matchTemplate(
            _piece(picture, box, self.low - reach * self.step, shape, self.step), self.looks, cv2.TM_CCOEFF_NORMED
        )
        y, x = divmod(int(alike.argmax()), alike.shape[1])
        return bool(np.hypot(x - reach, y - reach) <= s.apart_px and alike[y, x] >= s.alike)


def _stays(
    foot: _Foot,
    order: range,
    on: NDArray[np.bool_],
    hidden: NDArray[np.bool_],
    other: Array,
    time_s: NDArray[np.float64],
    look: Look,
    s: FeetSettings,
) -> list[int]:
    """The frames of `order`, from its start on, in which it stays where it is. other (T, K, 2): the other foot, px."""
    if not order:
        return []
    before = order.start - order.step
    last, next_rest = before, None
    for row in order:
        if on[row]:
            # Between two rests at one place it has not left.
            next_rest = row if next_rest is None else next_rest
            if abs(time_s[row] - time_s[next_rest]) > s.inside_s + 1e-6:
                break
        if not foot.meets(other[row], s) and foot.is_in(*look(row), s):
            last = row
            if next_rest is not None:
                break
            continue
        away = abs(time_s[row] - time_s[last])
        between = range(last + order.step, row + order.step, order.step)
        if next_rest is None and away > (s.hidden_s if hidden[between].all() else s.missing_s) + 1e-6:
            break
    found = list(range(order.start, last + order.step, order.step))
    long = abs(time_s[last] - time_s[before]) >= s.least_s - 1e-6
    return found if long or on[last] or last in (0, len(on) - 1) else []


def _within(low: Array, high: Array, box: Array) -> bool:
    return bool((low >= box[:2]).all() and (high <= box[2:]).all())


def _piece(picture: Grey, box: Array, low: Array, shape: tuple[int, ...], step: float) -> NDArray[np.float32]:
    """The part of a picture from `low` on, px of the clip, `shape` (width, height) pixels of `step` px each."""
    scale = (box[2:] - box[:2]) / np.array([picture.shape[1], picture.shape[0]])
    first = (low + 0.5 * step - box[:2]) / scale - 0.5
    matrix = np.array([[step / scale[0], 0, first[0]], [0, step / scale[1], first[1]]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    piece = cv2.warpAffine(picture.astype(np.float32), matrix, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(piece, np.float32)
