"""From sightings to people: whose tracks are joined over an absence and over a cut, and whose are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pantomime.core.detection.follow import FrameSightings, Sighting
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.video_job import JobFolder
from pantomime.core.video_people import Person, Sightings, sightings_arrays

from .test_video_tracking import figure

RATE = 30.0
SIZE = (640, 480)


def observation(x: float, size: float) -> Observation:
    points = figure(x, 100.0, size)
    box = np.array([*points.min(0), *points.max(0)], np.float32)
    confidence = np.full(33, 0.9, np.float32)
    return Observation(SIZE, box, 0.9, {"pose33": Points(points, confidence, np.zeros((33, 3), np.float32))})


def sightings_of(
    frames: range, tracks: dict[int, tuple[range, float, float]], cuts: tuple[int, ...] = ()
) -> list[FrameSightings]:
    """Each track is seen in some frames, at x px and so many px high."""
    return [
        FrameSightings(
            at, at / RATE, at in cuts,
            [Sighting(track, observation(x, size)) for track, (rows, x, size) in tracks.items() if at in rows],
        )
        for at in frames
    ]  # fmt: skip


def people(
    folder: Path, count: int, tracks: dict[int, tuple[range, float, float]], cuts: tuple[int, ...] = ()
) -> list[Person]:
    """Who is found where each track is seen in some frames, at x px and so many px high."""
    with JobFolder(folder) as parts:
        parts.save("seen-00000", "key", sightings_arrays(sightings_of(range(count), tracks, cuts)))
        return Sightings(parts, "key", 1).people()


def groups(found: list[Person]) -> set[tuple[int, ...]]:
    return {tuple(sorted(person.tracks)) for person in found}


def test_somebody_who_is_lost_in_a_shot_and_found_nearby_is_one_person(tmp_path: Path) -> None:
    (person,) = people(tmp_path / "a", 200, {0: (range(60), 200, 150), 3: (range(140, 200), 280, 165)})
    assert person.tracks == (0, 3) and (person.first, person.last) == (0, 199)
    gap = person.quality[60:140]
    assert not gap.any() and (np.delete(person.quality, np.arange(60, 140)) > 0).all()


def test_three_stretches_of_one_person_are_joined(tmp_path: Path) -> None:
    found = people(
        tmp_path / "a",
        300,
        {0: (range(60), 200, 150), 1: (range(100, 160), 210, 150), 2: (range(200, 300), 215, 150)},
    )
    assert groups(found) == {(0, 1, 2)} and found[0].sightings == 220


def test_who_is_elsewhere_or_of_another_size_or_there_at_once_or_much_later_is_somebody_else(tmp_path: Path) -> None:
    first = (range(60), 200.0, 150.0)
    for number, other in enumerate((
        (range(90, 200), 540.0, 150.0),
        (range(90, 200), 200.0, 300.0),
        (range(50, 200), 215.0, 150.0),
        (range(190, 300), 200.0, 150.0),
    )):  # fmt: skip
        found = people(tmp_path / str(number), 300, {0: first, 1: other})
        assert groups(found) == {(0,), (1,)}, other


def test_somebody_who_fell_far_in_the_middle_of_the_picture_is_one_person_and_who_left_it_is_not(
    tmp_path: Path,
) -> None:
    far = {0: (range(60), 200.0, 150.0), 1: (range(120, 200), 480.0, 140.0)}
    assert groups(people(tmp_path / "a", 200, far)) == {(0, 1)}
    left = {0: (range(60), 10.0, 150.0), 1: (range(120, 200), 290.0, 140.0)}
    assert groups(people(tmp_path / "b", 200, left)) == {(0,), (1,)}
    back = {0: (range(60), 10.0, 150.0), 1: (range(90, 200), 60.0, 140.0)}
    assert groups(people(tmp_path / "c", 200, back)) == {(0, 1)}


def test_where_two_come_into_question_nobody_is_joined(tmp_path: Path) -> None:
    lost = {0: (range(60), 200.0, 150.0)}
    both = {1: (range(90, 200), 160.0, 150.0), 2: (range(90, 200), 240.0, 150.0)}
    assert groups(people(tmp_path / "a", 200, lost | both)) == {(0,), (1,), (2,)}
    two_lost = {0: (range(60), 160.0, 150.0), 1: (range(60), 240.0, 150.0), 2: (range(90, 200), 200.0, 150.0)}
    assert groups(people(tmp_path / "b", 200, two_lost)) == {(0,), (1,), (2,)}


def test_nobody_is_joined_over_a_cut_by_place_alone_where_two_are_there(tmp_path: Path) -> None:
    tracks = {
        0: (range(60), 200.0, 150.0), 1: (range(60), 450.0, 150.0),
        2: (range(60, 120), 200.0, 150.0), 3: (range(60, 120), 450.0, 150.0),
    }  # fmt: skip
    assert groups(people(tmp_path / "a", 120, tracks, cuts=(60,))) == {(0,), (1,), (2,), (3,)}


def test_a_passer_by_does_not_keep_shots_apart(tmp_path: Path) -> None:
    tracks = {0: (range(60), 200.0, 150.0), 1: (range(60, 120), 400.0, 200.0), 2: (range(62, 75), 100.0, 40.0)}
    found = people(tmp_path / "a", 120, tracks, cuts=(60,))
    assert groups(found) == {(0, 1), (2,)}
    assert found[0].tracks == (0, 1) and found[0].sightings == 120
