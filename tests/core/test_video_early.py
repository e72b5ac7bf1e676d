"""Whom the rough motion shows while a clip is still being looked at. What it shows is tested with whole clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pantomime.core import video_early
from pantomime.core.fitting.photo import PhotoCamera
from pantomime.core.fitting.video_shape import ClipShape
from pantomime.core.video_early import EarlyMotion
from pantomime.core.video_job import JobFolder
from pantomime.core.video_people import sightings_arrays

from .test_video_people import RATE, SIZE, sightings_of

PART = 20
LEFT, MIDDLE, RIGHT = 100.0, 300.0, 500.0
Shown = list[tuple[int, int, int]]


class Early(EarlyMotion):
    """Tells whom it would fit: number, track and generation. No shape comes of the tracks `unfit`."""

    unfit: frozenset[int] = frozenset()

    def _shape(self, sightings: Any, person: Any, number: int) -> ClipShape | None:
        shape = ClipShape(np.zeros(10, np.float32), 500.0, "given", (320.0, 240.0))
        return None if self.unfit & set(person.tracks) else shape

    def _capture(self, sightings: Any, person: Any, followed: Any, turns: Any, rows: Any) -> Any:
        return followed.number, person.tracks[0], followed.generation


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(video_early, "ClipFitter", lambda fitter: None)
    with JobFolder(tmp_path / "job") as folder:
        yield folder


def shown(
    job: JobFolder, people: int, parts: int, tracks: dict[int, tuple[range, float, float]], unfit: tuple[int, ...] = ()
) -> list[Shown]:
    """Who is shown of each part."""
    early = Early(None, job, "key", PhotoCamera(), SIZE, RATE, people, None)  # type: ignore[arg-type]
    early.unfit = frozenset(unfit)
    found = []
    for number in range(parts):
        frames = range(PART * number, PART * (number + 1))
        job.save(f"seen-{number:05d}", "key", sightings_arrays(sightings_of(frames, tracks)))
        found.append(sorted(early.part(number)))
    return found  # type: ignore[return-value]


def test_who_was_large_for_longest_so_far_takes_the_place_of_who_came_first(job: JobFolder) -> None:
    tracks = {0: (range(200), LEFT, 100.0), 1: (range(20, 200), RIGHT, 170.0)}
    # 100, 200, 300, 400 against 0, 170, 340, 510 of the larger one, who has to be there a fifth more.
    assert shown(job, 1, 6, tracks) == [[(0, 0, 1)]] * 3 + [[(0, 1, 2)]] * 3


def test_nobody_loses_the_place_to_somebody_who_is_about_as_large(job: JobFolder) -> None:
    beside = {0: (range(200), LEFT, 150.0), 1: (range(200), RIGHT, 155.0)}
    assert shown(job, 1, 4, beside) == [[(0, 1, 1)]] * 4
    late = {0: (range(40), LEFT, 150.0), 1: (range(20, 200), RIGHT, 150.0)}
    assert shown(job, 1, 3, late) == [[(0, 0, 1)], [(0, 0, 1)], []]


def test_of_two_who_are_wanted_the_lesser_one_gives_way(job: JobFolder) -> None:
    tracks = {0: (range(400), LEFT, 200.0), 1: (range(20), MIDDLE, 150.0), 2: (range(20, 80), RIGHT, 150.0)}
    found = shown(job, 2, 4, tracks)
    assert found[:2] == [[(0, 0, 1), (1, 1, 1)], [(0, 0, 1)]]
    assert found[2:] == [[(0, 0, 1), (1, 2, 2)]] * 2
    assert shown(job, 0, 2, tracks) == [[(0, 0, 1), (1, 1, 1)], [(0, 0, 1), (2, 2, 1)]]


def test_nobody_gives_way_to_somebody_who_cannot_be_shown(job: JobFolder) -> None:
    tracks = {0: (range(200), LEFT, 100.0), 1: (range(200), RIGHT, 300.0)}
    assert shown(job, 1, 2, tracks, unfit=(1,)) == [[(0, 0, 1)]] * 2
