"""Left and right that a detector mixed up for some frames, found by what would make the motion jump. numpy only.

Arms and legs are judged apart. Each frame is as it was seen, with the ends of both limbs exchanged, with the whole
limbs exchanged, or not to be believed; the sequence is chosen whose accelerations in the picture are least, by dynamic
programming over pairs of frames (Viterbi, 1967). Where limbs cross in the picture, the depth that the detector's 3D
points have tells which is which. Then ends are exchanged that lie off the path from before to after them for a few
frames, with their depth or without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..detection.vocabulary import POSE33
from .video_evidence import FIRST, NUM_WORLD, Seen

Array = NDArray[np.float32]

AS_SEEN, ENDS, WHOLE, LOST, FLAT = 0, 1, 2, 3, 4  # FLAT: the ends, but not their depth
# What of a limb is exchanged, or lost, in each way.
GROUPS: dict[str, dict[int, tuple[str, ...]]] = {
    "arms": {ENDS: ("wrist", "pinky", "index", "thumb"), FLAT: ("wrist", "pinky", "index", "thumb"),
             WHOLE: ("shoulder", "elbow", "wrist", "pinky", "index", "thumb")},
    "legs": {ENDS: ("ankle", "heel", "foot_index"), FLAT: ("ankle", "heel", "foot_index"),
             WHOLE: ("hip", "knee", "ankle", "heel", "foot_index")},
}  # fmt: skip
JUDGED = {"arms": ("elbow", "wrist"), "legs": ("knee", "ankle")}
_MIDDLE = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")  # judged points are seen from there
# Judged points are left ones, then right ones: which one is where, in each way.
_ORDER = ((0, 1, 2, 3), (0, 3, 2, 1), (2, 3, 0, 1))


@dataclass(frozen=True)
class SwapSettings:
    sigma: float = 0.02  # of a person's size: how far a point may be off a straight path from frame to frame
    most: float = 20.0  # cost of one point at most, in σ²
    depth_sigma: float = 0.06  # of a person's size: the same along the line of sight
    depth_most: float = 4.0
    swapped: float = 1.5  # cost of each frame that is exchanged: detectors are right more often than not
    lost: float = 12.0  # cost of each frame that is not believed: over one that shows neither, exchanges would be free
    change: float = 3.0  # cost of every change
    # A few frames in which both ends jump off the path from before to after them, and lie on it when exchanged:
    bridge_s: float = 0.17  # from the first of them to the last, at most
    beside: int = 3  # frames on each side that tell the path
    beside_sigma: float = 0.4  # in σ: how far these may be off it themselves
    bridge_gain: float = 80.0  # how much better the exchange must be, in σ²
    longest_gap_s: float = 0.3  # over a longer absence nothing is said


def find_swaps(
    pose_px: Array,
    confidence: Array,
    size_px: Array,
    time_s: NDArray[np.float64],
    shot: NDArray[np.int64],
    settings: SwapSettings | None = None,
    depth: Array | None = None,
) -> NDArray[np.int64]:
    """Which way each frame's arms (column 0) and legs (column 1) are exchanged, (T, 2): AS_SEEN, ENDS, …, FLAT.

    pose_px (T, 33, 2) and confidence (T, 33) of `pose33`; size_px (T,) of the person; depth (T, 33) of the points along
    the line of sight, in sizes of a person.
    """
    s = settings or SwapSettings()
    swapped = np.zeros((len(pose_px), len(GROUPS)), np.int64)
    if depth is None:
        depth = np.zeros(pose_px.shape[:2], np.float32)
    middle = pose_px[:, [POSE33.index(name) for name in _MIDDLE]].mean(1, keepdims=True)
    for column, group in enumerate(GROUPS):
        both = [POSE33.index(f"{side}_{part}") for side in ("left", "right") for part in JUDGED[group]]
        # A hidden elbow says nothing of the wrists: it weighs little, but the frame is judged.
        there = np.flatnonzero((confidence[:, both[1::2]] > 0.2).all(1))
        if len(there) < 3:
            continue
        away = (np.diff(time_s[there]) > s.longest_gap_s) | (np.diff(shot[there]) != 0)
        for run in np.split(there, np.flatnonzero(away) + 1):
            if len(run) >= 3:
                off = np.concatenate(
                    [(pose_px - middle)[run][:, both] / (s.sigma * np.maximum(size_px[run], 8.0))[:, None, None],
                     depth[run][:, both, None] / s.depth_sigma], -1
                )  # fmt: skip
                ways = np.stack([off[:, list(order)] for order in _ORDER], 1)
                weights = np.stack([confidence[run][:, both][:, list(order)] for order in _ORDER], 1)
                swapped[run, column] = _best(ways, weights, time_s[run], s)
                ends = off[:, 1::2], confidence[run][:, both[1::2]]
                swapped[run, column] = _bridged(swapped[run, column], *ends, time_s[run], s)
    return swapped


def _bridged(
    which: NDArray[np.int64], ends: Array, weight: Array, time_s: NDArray[np.float64], s: SwapSettings
) -> NDArray[np.int64]:
    """The same ways, and short runs exchanged that jump off the path from before to after them.

    ends (N, 2, 3): left and right as seen, in units of σ; weight (N, 2) 0…1. What goes on from the frames before
    follows a mistake that lasts for two frames or more. Here the path is a cubic through frames on both sides. Whether
    the depth is exchanged, too, it says as well.
    """
    count, k = len(ends), s.beside
    put_right = np.where((which == AS_SEEN)[:, None, None], ends, ends[:, ::-1])
    found: list[tuple[float, slice, NDArray[np.int64]]] = []
    for n in range(1, count - 2 * k + 1):
        first = np.arange(k, count - k - n + 1)
        first = first[time_s[first + n - 1] - time_s[first] <= s.bridge_s + 1e-6]
        if not len(first):
            break
        inside, sides = first[:, None] + np.arange(n), first[:, None] + np.array([*range(-k, 0), *range(n, n + k)])
        begin, end = time_s[sides[:, :1]], time_s[sides[:, -1:]]
        at_sides, at_inside = (
            ((2 * time_s[rows] - begin - end) / (end - begin))[..., None] ** np.arange(4) for rows in (sides, inside)
        )
        goal = put_right[sides].reshape(len(first), 2 * k, 6)
        cubic = np.linalg.pinv(at_sides) @ goal
        off = np.sqrt(((at_sides @ cubic - goal)[..., [0, 1, 3, 4]] ** 2).mean((1, 2)))
        path = (at_inside @ cubic).reshape(len(first), n, 2, 3)
        # As seen, and exchanged: squares off the path in the picture, and along the line of sight.
        square = [(ends[inside][..., order, :] - path) ** 2 for order in ([0, 1], [1, 0])]
        trust = [weight[inside], weight[inside][..., ::-1]]
        straight, crossed = (
            (own * np.minimum(off_path[..., :2].sum(-1), s.most)).sum(-1)
            for own, off_path in zip(trust, square, strict=True)
        )
        deep = [np.minimum(off_path[..., 2], s.depth_most).sum(-1) for off_path in square]
        cost = np.stack([straight, crossed + s.swapped, np.full_like(straight, s.lost)], -1)
        best = cost.argmin(-1)
        now = np.take_along_axis(cost, np.array([0, 1, 1, 2])[which[inside]][..., None], -1)
        gain = (now[..., 0] - cost.min(-1)).sum(-1) - 2 * s.change
        sure = (off < s.beside_sigma) & (which[sides] != LOST).all(1) & (weight[sides] > 0.3).all((1, 2))
        exchanges = (best == 1).sum(1)
        for i in np.flatnonzero(sure & (gain > s.bridge_gain) & (exchanges >= max(2, 0.5 * n))):
            as_labelled = deep[0][i][best[i] == 1].sum() < deep[1][i][best[i] == 1].sum()
            ways = np.array([AS_SEEN, FLAT if as_labelled else ENDS, LOST])[best[i]]
            found.append((float(gain[i]), slice(first[i], first[i] + n), ways))
    result, taken = which.copy(), np.zeros(count, bool)
    for _, rows, ways in sorted(found, key=lambda one: -one[0]):
        if not taken[rows].any():
            result[rows], taken[rows] = ways, True
    return result


def _best(ways: Array, weights: Array, time_s: NDArray[np.float64], s: SwapSettings) -> NDArray[np.int64]:
    """Which of the ways each frame is, (N,): ways (N, 3, P, 3), in units of σ; weights (N, 3, P) 0…1."""
    count, number = len(ways), LOST + 1
    wrong = np.array([0.0, s.swapped, s.swapped, s.lost])
    change = s.change * (np.arange(number)[:, None] != np.arange(number))
    # total[i, j]: the least cost up to frame t with the ways i at t − 1 and j at t; where the points are then.
    total = wrong[:, None] + wrong[None, :] + change
    first = np.concatenate([ways[:, :LOST], ways[:, :1]], 1)
    before = np.repeat(first[0][:, None], number, 1)
    last = np.repeat(first[1][None], number, 0)
    back = np.zeros((count, number, number), np.int64)
    for t in range(2, count):
        gone, step = time_s[t - 1] - time_s[t - 2], time_s[t] - time_s[t - 1]
        ahead = last + (last - before) * min(step / max(gone, 1e-6), 3.0)  # [h, i, P, 3]
        off = ways[t] - ahead[:, :, None]  # [h, i, j, P, 3]
        flat = np.minimum((off[..., :2] ** 2).sum(-1), s.most)
        deep = np.minimum(off[..., 2] ** 2, s.depth_most)
        own = (weights[t] * (flat + deep)).sum(-1)
        cost = np.concatenate([own, np.zeros_like(own[..., :1])], -1) + total[:, :, None]
        back[t] = cost.argmin(0)
        total = cost.min(0) + wrong + change
        rows = np.arange(number)[:, None]
        before = last[back[t], rows]
        lost = ahead[back[t][:, LOST], np.arange(number)]
        last = np.concatenate([np.repeat(ways[t][None], number, 0), lost[:, None]], 1)
    i, j = np.unravel_index(int(total.argmin()), total.shape)
    result = np.zeros(count, np.int64)
    result[-1], result[-2] = j, i
    for t in range(count - 1, 1, -1):
        i, j = back[t, i, j], i
        result[t - 2] = i
    # A jump without an exchange is left to the fit, whose kernels take it for an outlier.
    for run in np.split(np.arange(count), np.flatnonzero(np.diff(result == LOST)) + 1):
        around = result[max(run[0] - 1, 0)], result[min(run[-1] + 1, count - 1)]
        if result[run[0]] == LOST and not {ENDS, WHOLE} & set(around):
            result[run] = AS_SEEN
    return result


def exchange(seen: Seen, swapped: NDArray[np.int64]) -> Seen:
    """The same with left and right exchanged, or the ends of limbs taken out, as `swapped` (T, 2) says."""
    if not swapped.any():
        return seen
    image, confidence, world = seen.image_px.copy(), seen.confidence.copy(), seen.world_m.copy()
    for column, group in enumerate(GROUPS.values()):
        for way, parts in group.items():
            rows = np.flatnonzero(swapped[:, column] == way)
            left, right = ([POSE33.index(f"{side}_{part}") for part in parts] for side in ("left", "right"))
            if column == 0:
                left += range(FIRST["left_hand"], FIRST["left_hand"] + 21)
                right += range(FIRST["right_hand"], FIRST["right_hand"] + 21)
            order = np.arange(NUM_WORLD)
            order[[*left, *right]] = [*right, *left]
            depth = world[rows, : len(POSE33), 2]  # points of the hands are seen from their own wrist, and stay whole
            for array in (image, confidence, world):
                array[rows, :NUM_WORLD] = array[rows][:, order]
            if way == FLAT:
                world[rows, : len(POSE33), 2] = depth
            if way == ENDS:
                lost = np.flatnonzero(swapped[:, column] == LOST)
                confidence[lost[:, None], [*left, *right]] = 0
    return replace(seen, image_px=image, confidence=confidence, world_m=world)
