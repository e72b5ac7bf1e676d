"""Left and right that a detector mixed up for some frames, found by what would make the motion jump. numpy only.

Arms and legs are judged apart. Each frame is as it was seen or with both sides exchanged; the sequence is chosen whose
accelerations in the picture are least, by dynamic programming over pairs of frames (Viterbi, 1967).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..detection.vocabulary import POSE33
from .video_evidence import FIRST, NUM_WORLD, Seen

Array = NDArray[np.float32]

GROUPS: dict[str, tuple[str, ...]] = {
    "arms": ("shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
    "legs": ("hip", "knee", "ankle", "heel", "foot_index"),
}
JUDGED = {"arms": ("elbow", "wrist"), "legs": ("knee", "ankle")}


@dataclass(frozen=True)
class SwapSettings:
    sigma: float = 0.02  # of a person's size: how far a point may be off a straight path from frame to frame
    most: float = 12.0  # cost of one point at most, in σ²
    swapped: float = 1.5  # cost of each frame that is exchanged: detectors are right more often than not
    longest_gap_s: float = 0.3  # over a longer absence nothing is said


def find_swaps(
    pose_px: Array,
    confidence: Array,
    size_px: Array,
    time_s: NDArray[np.float64],
    shot: NDArray[np.int64],
    settings: SwapSettings | None = None,
) -> NDArray[np.bool_]:
    """Frames whose arms (column 0) or legs (column 1) are exchanged, (T, 2).

    pose_px (T, 33, 2) and confidence (T, 33) of `pose33`; size_px (T,) of the person.
    """
    s = settings or SwapSettings()
    swapped = np.zeros((len(pose_px), len(GROUPS)), bool)
    for column, group in enumerate(GROUPS):
        left, right = ([POSE33.index(f"{side}_{part}") for part in JUDGED[group]] for side in ("left", "right"))
        both = [*left, *right]
        there = np.flatnonzero((confidence[:, both] > 0.2).all(1))
        if len(there) < 3:
            continue
        away = (np.diff(time_s[there]) > s.longest_gap_s) | (np.diff(shot[there]) != 0)
        for run in np.split(there, np.flatnonzero(away) + 1):
            if len(run) >= 3:
                ways = np.stack([pose_px[run][:, both], pose_px[run][:, [*right, *left]]], 1)
                swapped[run, column] = _best(ways, size_px[run], time_s[run], s)
    return swapped


def _best(ways: Array, size: Array, time_s: NDArray[np.float64], s: SwapSettings) -> NDArray[np.bool_]:
    """Which of two ways each frame is, (N,): ways (N, 2, P, 2)."""
    count = len(ways)
    sigma = s.sigma * np.maximum(size, 8.0)
    # total[i, j]: the least cost up to frame t with the ways i at t − 1 and j at t.
    total = np.array([[0.0, s.swapped], [s.swapped, 2 * s.swapped]])
    back = np.zeros((count, 2, 2), np.int64)
    for t in range(2, count):
        before, after = time_s[t - 1] - time_s[t - 2], time_s[t] - time_s[t - 1]
        ahead = ways[t - 1][None] + (ways[t - 1][None] - ways[t - 2][:, None]) * min(after / max(before, 1e-6), 3.0)
        # off[h, i, j, P]
        off = np.linalg.norm(ways[t][None, None] - ahead[:, :, None], axis=-1) / sigma[t]
        cost = np.minimum(off**2, s.most).sum(-1) + total[:, :, None]
        back[t] = cost.argmin(0)
        total = cost.min(0) + np.array([0.0, s.swapped])
    i, j = np.unravel_index(int(total.argmin()), total.shape)
    result = np.zeros(count, bool)
    result[-1], result[-2] = bool(j), bool(i)
    for t in range(count - 1, 1, -1):
        i, j = back[t, i, j], i
        result[t - 2] = bool(i)
    return result


def exchange(seen: Seen, swapped: NDArray[np.bool_]) -> Seen:
    """The same with left and right exchanged where `swapped` (T, 2) says so."""
    if not swapped.any():
        return seen
    image, confidence, world = seen.image_px.copy(), seen.confidence.copy(), seen.world_m.copy()
    for column, parts in enumerate(GROUPS.values()):
        rows = np.flatnonzero(swapped[:, column])
        left, right = ([POSE33.index(f"{side}_{part}") for part in parts] for side in ("left", "right"))
        if column == 0:
            left += range(FIRST["left_hand"], FIRST["left_hand"] + 21)
            right += range(FIRST["right_hand"], FIRST["right_hand"] + 21)
        order = np.arange(NUM_WORLD)
        order[[*left, *right]] = [*right, *left]
        for array in (image, confidence, world):
            array[rows, :NUM_WORLD] = array[rows][:, order]
    return replace(seen, image_px=image, confidence=confidence, world_m=world)
