"""Who is who in a clip, on people that are made here: crossings, absences, newcomers; and left taken for right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.detection.candidates import Candidate
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.tracking import COLOUR_BINS, Tracker, assign, colour_distance
from pantomime.core.fitting.video_evidence import Seen, pack
from pantomime.core.fitting.video_swaps import ENDS, FLAT, LOST, WHOLE, exchange, find_swaps

Array = NDArray[np.float32]


def figure(x: float, y: float, size: float, step: float = 0.0) -> Array:
    """33 points of a standing figure that is as high as `size`; `step` moves the legs apart."""
    points = np.zeros((33, 2), np.float32)
    for rows, height in (((0, 11), 0.0), ((11, 13), 0.2), ((13, 15), 0.35), ((15, 23), 0.5), ((23, 25), 0.5)):
        points[slice(*rows), 1] = height
    for rows, height in (((25, 27), 0.75), ((27, 29), 0.95), ((29, 33), 1.0)):
        points[slice(*rows), 1] = height
    for row in range(33):
        points[row, 0] = 0.12 if row % 2 else -0.12
        if row >= 25:
            points[row, 0] += step if row % 2 else -step
    return (points * size + np.array([x, y])).astype(np.float32)


def person(x: float, y: float, size: float, step: float = 0.0) -> Candidate:
    return Candidate(figure(x, y, size, step), np.full(33, 0.9, np.float32), np.zeros((33, 3), np.float32))


def colour(which: int) -> Array:
    histogram = np.zeros(COLOUR_BINS**3, np.float32)
    histogram[which] = 1.0
    return histogram


def follow(
    tracker: Tracker, frames: list[list[tuple[str, Candidate, Array]]], rate: float = 30.0
) -> list[dict[str, int]]:
    """Names of people → ids, frame by frame. Nobody's detection begins a track but in the first frame."""
    found = []
    for t, people in enumerate(frames):
        now = t / rate
        if t == 0:
            found.append({name: tracker.begin(item, tint, now) for name, item, tint in people})
            continue
        taken = tracker.update([item for _, item, _ in people], [tint for *_, tint in people], now)
        tracker.forget(now)
        found.append({people[j][0]: key for key, j in taken.items()})
    return found


@pytest.mark.parametrize("coloured", [True, False])
def test_two_people_who_cross_keep_their_ids(coloured: bool) -> None:
    frames = []
    for t in range(60):
        a, b = person(100 + 8 * t, 50, 200), person(580 - 8 * t, 60, 210)
        tints = (colour(3), colour(90)) if coloured else (np.zeros(COLOUR_BINS**3, np.float32),) * 2
        seen = [("a", a, tints[0]), ("b", b, tints[1])]
        # Where they overlap the detector sees one of them: who is in front.
        frames.append(seen if abs((100 + 8 * t) - (580 - 8 * t)) > 45 else seen[:1])
    ids = follow(Tracker(), frames)
    assert ids[-1] == ids[0] and len(set(ids[0].values())) == 2
    for frame in ids:
        assert all(frame[name] == ids[0][name] for name in frame)


def test_a_short_absence_is_bridged_and_a_long_one_is_not() -> None:
    for gone, kept in ((20, True), (80, False)):
        tracker = Tracker()
        frames: list[list[tuple[str, Candidate, Array]]] = [
            [("a", person(100 + 4 * t, 50, 200), colour(1))] if t < 20 or t >= 20 + gone else []
            for t in range(30 + gone)
        ]
        ids = follow(tracker, frames)
        assert ids[-1] == (ids[0] if kept else {})


def test_somebody_far_away_does_not_take_a_track() -> None:
    tracker = Tracker()
    ids = follow(tracker, [[("a", person(100, 50, 200), colour(1))]] * 5 + [[("b", person(700, 50, 200), colour(1))]])
    assert ids[-1] == {}


def test_a_glimpse_far_away_is_not_somebody_who_was_lost() -> None:
    """A few points at the picture's edge, the rest guessed far and wide: large enough to be near everybody."""
    tracker = Tracker()
    hints = np.concatenate([figure(0, 0, 1.7), np.zeros((33, 1), np.float32)], 1)
    lost = replace(person(800, 200, 170), world_m=hints)
    key = tracker.begin(lost, colour(1), 0.0)
    for t in range(1, 6):
        assert tracker.update([lost], [colour(1)], t / 30) == {key: 0}
    spread = figure(150, 100, 1200)
    few = np.where(np.arange(33) < 6, 0.9, 0.0).astype(np.float32)
    spread[:6] = (10.0, 700.0)
    glimpse = Candidate(spread, few, hints * 0.2)
    assert tracker.update([glimpse], [colour(1)], 2.0) == {}
    near = replace(person(900, 260, 170), world_m=hints)
    assert tracker.update([near], [colour(1)], 2.0) == {key: 0}


def test_two_tracks_of_one_person_become_one() -> None:
    tracker = Tracker()
    tracker.begin(person(100, 50, 200), colour(1), 0.0)
    tracker.begin(person(104, 50, 200), colour(1), 0.0)
    for t in range(1, 10):
        both = [person(100, 50, 200), person(103, 50, 200)]
        tracker.update(both, [colour(1)] * 2, t / 30)
    assert [track.id for track in tracker.tracks] == [0]


def test_a_tracker_goes_on_in_another_with_the_same_result() -> None:
    def frame(t: int) -> list[Candidate]:
        return [person(100 + 8 * t, 50, 200), person(580 - 8 * t, 60, 210)]

    tints = [colour(3), colour(90)]
    whole, first, second = Tracker(), Tracker(), Tracker()
    for tracker in (whole, first):
        for item, tint in zip(frame(0), tints, strict=True):
            tracker.begin(item, tint, 0.0)
    for t in range(1, 40):
        expected = whole.update(frame(t), tints, t / 30)
        if t == 20:
            second.restore(first.state)
            first = second
        assert first.update(frame(t), tints, t / 30) == expected
    for name, value in whole.state.items():
        np.testing.assert_array_equal(value, first.state[name])


def test_assignment_is_the_best_in_sum_not_the_nearest_first() -> None:
    # The nearest pair first (0.1) would leave the other with 2.0.
    cost = np.array([[0.1, 0.3], [0.2, 2.0]])
    assert assign(cost, 5.0) == [1, 0]
    assert assign(np.array([[np.inf, np.inf]]), 1.0) == [-1]
    assert assign(np.zeros((0, 3)), 1.0) == [] and assign(np.zeros((2, 0)), 1.0) == [-1, -1]
    scipy = pytest.importorskip("scipy.optimize")
    random = np.random.default_rng(0)
    for _ in range(20):
        square = random.random((5, 5))
        rows, columns = scipy.linear_sum_assignment(square)
        assert assign(square, 10.0) == [int(c) for _, c in sorted(zip(rows, columns, strict=True))]


def test_colours_tell_people_apart() -> None:
    assert colour_distance(colour(1), colour(1)) == pytest.approx(0.0)
    assert colour_distance(colour(1), colour(2)) == pytest.approx(1.0)


def test_legs_that_were_exchanged_are_found() -> None:
    time_s = np.arange(60) / 30
    walk = np.stack([figure(100 + 5 * t, 50, 300, 0.2 * np.sin(2 * np.pi * t / 33)) for t in range(60)])
    wrong = walk.copy()
    mixed = [*range(10, 14), 40]
    for row in (25, 27, 29, 31):
        wrong[np.ix_(mixed, [row, row + 1])] = wrong[np.ix_(mixed, [row + 1, row])]
    confidence = np.full((60, 33), 0.9, np.float32)
    noise = np.random.default_rng(0).normal(scale=1.5, size=walk.shape).astype(np.float32)
    size, shot = np.full(60, 300.0, np.float32), np.zeros(60, np.int64)
    found = find_swaps(wrong + noise, confidence, size, time_s, shot)
    # Where the legs cross it does not matter, and nothing tells.
    apart = np.abs(walk[:, 27, 0] - walk[:, 28, 0]) > 20
    expected = np.isin(np.arange(60), mixed)
    assert not found[:, 0].any()
    np.testing.assert_array_equal(found[apart, 1], WHOLE * expected[apart])
    assert not find_swaps(walk + noise, confidence, size, time_s, shot).any()


def test_feet_that_were_exchanged_are_found_though_the_knees_were_not() -> None:
    time_s = np.arange(60) / 30
    walk = np.stack([figure(100 + 5 * t, 50, 300, 0.2 * np.sin(2 * np.pi * t / 33)) for t in range(60)])
    wrong, between = walk.copy(), 10
    mixed = [*range(6, 10)]
    for row in (27, 29, 31):
        wrong[np.ix_(mixed, [row, row + 1])] = wrong[np.ix_(mixed, [row + 1, row])]
        wrong[between, [row, row + 1]] = wrong[between, [row, row + 1]].mean(0)
    confidence = np.full((60, 33), 0.9, np.float32)
    noise = np.random.default_rng(0).normal(scale=1.5, size=walk.shape).astype(np.float32)
    size, shot = np.full(60, 300.0, np.float32), np.zeros(60, np.int64)
    found = find_swaps(wrong + noise, confidence, size, time_s, shot)
    assert (found[mixed, 1] == ENDS).all()
    assert found[between, 1] in (ENDS, LOST)
    assert not np.delete(found[:, 1], [*mixed, between]).any() and not found[:, 0].any()
    parts = [
        pack(Observation((900, 400), np.array([0, 0, 300, 300], np.float32), 1.0, {"pose33": Points(p, c, None)}))
        for p, c in zip(wrong, confidence, strict=True)
    ]
    rows = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    seen = exchange(Seen(np.arange(60), time_s, shot, **rows), found)
    np.testing.assert_allclose(seen.image_px[mixed, 27], walk[mixed, 27])
    np.testing.assert_allclose(seen.image_px[mixed, 25], walk[mixed, 25])
    assert found[between, 1] != LOST or seen.confidence[between, [27, 28, 31, 32]].max() == 0


def test_depth_tells_legs_apart_that_cross_in_the_picture() -> None:
    time_s = np.arange(30) / 30
    walk = np.stack([figure(100, 50, 300, 0.0)] * 30)
    way = np.linspace(-8, 8, 30)
    walk[:, 27, 0], walk[:, 28, 0] = 150 + way, 150 - way
    depth = np.zeros((30, 33), np.float32)
    depth[:, 27] = 0.3
    mixed = np.arange(13, 17)  # about the crossing, where the picture alone says little
    for array in (walk, depth):
        array[np.ix_(mixed, [27, 28])] = array[np.ix_(mixed, [28, 27])]
    confidence = np.full((30, 33), 1.0, np.float32)
    size, shot = np.full(30, 300.0, np.float32), np.zeros(30, np.int64)
    assert not find_swaps(walk, confidence, size, time_s, shot)[mixed, 1].any()
    found = find_swaps(walk, confidence, size, time_s, shot, depth=depth)
    np.testing.assert_array_equal(np.flatnonzero(found[:, 1] == ENDS), mixed)


def arms(seed: int, noise_px: float) -> tuple[Array, Array]:
    """40 frames of a figure of 300 px whose hands are moved evenly, (T, 33, 2), and the same as a detector sees it."""
    walk = np.stack([figure(200, 50, 300)] * 40)
    t = np.arange(40, dtype=np.float32)
    walk[:, 15, 0] += 2 * t - 90
    walk[:, 16, 1] += 0.05 * (t - 20) ** 2 + 40
    noise = np.random.default_rng(seed).normal(scale=noise_px, size=walk.shape).astype(np.float32)
    return walk, walk + noise


def test_a_hidden_elbow_does_not_hide_that_hands_were_exchanged() -> None:
    _, seen = arms(0, 1.0)
    mixed, size = [*range(15, 21)], np.full(40, 300.0, np.float32)
    seen[np.ix_(mixed, [15, 16])] = seen[np.ix_(mixed, [16, 15])]
    confidence = np.full((40, 33), 0.9, np.float32)
    confidence[10:25, 14] = 0.1
    found = find_swaps(seen, confidence, size, np.arange(40) / 30, np.zeros(40, np.int64))
    np.testing.assert_array_equal(found[:, 0], ENDS * np.isin(np.arange(40), mixed))
    confidence[15:18, 16] = 0.1  # a hidden hand does: nothing is said of these frames
    found = find_swaps(seen, confidence, size, np.arange(40) / 30, np.zeros(40, np.int64))
    assert not found[15:18, 0].any()


def test_a_short_exchange_is_seen_from_both_sides_though_everything_trembles() -> None:
    mixed, size = [*range(15, 20)], np.full(40, 300.0, np.float32)
    exchanged, elsewhere = [], []
    for seed in range(10):
        # By 1.2 % of the person: from frame to frame all points jump.
        _, seen = arms(seed, 3.5)
        seen[np.ix_(mixed, [15, 16])] = seen[np.ix_(mixed, [16, 15])]
        confidence = np.full((40, 33), 0.9, np.float32)
        found = find_swaps(seen, confidence, size, np.arange(40) / 30, np.zeros(40, np.int64))[:, 0]
        exchanged.append(np.isin(found[mixed], (ENDS, FLAT)).mean())
        elsewhere.append(np.delete(found, mixed).any())
    assert np.mean(exchanged) > 0.7 and sum(elsewhere) <= 1


def test_a_short_exchange_takes_the_depth_along_only_where_that_jumps_too() -> None:
    _, seen = arms(2, 3.5)
    mixed = [*range(15, 20)]
    seen[np.ix_(mixed, [15, 16])] = seen[np.ix_(mixed, [16, 15])]
    confidence, size = np.full((40, 33), 0.9, np.float32), np.full(40, 300.0, np.float32)
    depth = np.zeros((40, 33), np.float32)
    depth[:, 15], depth[:, 16] = -0.25, 0.25
    for way in (FLAT, ENDS):
        found = find_swaps(seen, confidence, size, np.arange(40) / 30, np.zeros(40, np.int64), depth=depth)
        assert way in found[mixed, 0] and not {FLAT, ENDS} - {way} & set(found[mixed, 0])
        world = np.zeros((33, 3), np.float32)
        world[[15, 16]] = (1, 2, 3), (4, 5, 6)
        hands = {f"{side}_hand": Points(np.zeros((21, 2), np.float32), np.ones(21, np.float32),
                                        np.full((21, 3), value, np.float32))
                 for side, value in (("left", 7.0), ("right", 8.0))}  # fmt: skip
        box = np.array([0, 0, 300, 300], np.float32)
        points = [{"pose33": Points(seen[t], confidence[t], world), **hands} for t in mixed]
        parts = [pack(Observation((900, 400), box, 1.0, each)) for each in points]
        rows = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        there = Seen(np.arange(5), np.arange(5) / 30, np.zeros(5, np.int64), **rows)
        at = int(np.flatnonzero(found[mixed, 0] == way)[0])
        right = exchange(there, found[mixed])
        np.testing.assert_array_equal(right.image_px[at, 15], seen[mixed[at], 16])
        np.testing.assert_array_equal(right.world_m[at, 15], (4, 5, 3 if way == FLAT else 6))
        # A hand is the other one as a whole, not half of either.
        assert (right.world_m[at, 33:54] == 8).all() and (right.world_m[at, 54:75] == 7).all()
        depth[np.ix_(mixed, [15, 16])] = depth[np.ix_(mixed, [16, 15])]


def test_hands_that_really_dart_to_each_other_s_side_and_back_are_not_exchanged() -> None:
    walk, _ = arms(0, 0.0)
    t = np.arange(40)
    dart = np.exp(-(((t - 18) / 3.0) ** 2)).astype(np.float32)[:, None]
    middle = walk[:, [15, 16]].mean(1)
    for hand in (15, 16):
        walk[:, hand] += 1.2 * dart * (middle - walk[:, hand])
    noise = np.random.default_rng(0).normal(scale=0.7, size=walk.shape).astype(np.float32)
    found = find_swaps(
        walk + noise, np.full((40, 33), 0.9, np.float32), np.full(40, 300.0, np.float32), t / 30, np.zeros(40, np.int64)
    )
    assert not found.any()
