"""Following people with networks that are made here: who is lost is looked for, but not in every frame for ever."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.detection.candidates import Candidate
from pantomime.core.detection.detector import Detector
from pantomime.core.detection.follow import Followed, Follower
from pantomime.core.media.frame import Frame

from .test_video_tracking import figure

RATE = 30.0
SIZE = (240, 320)
Image = NDArray[np.uint8]


class Networks:
    """Stands in for the detector: who is in the picture stands at fixed places, marked by its colour."""

    def __init__(self) -> None:
        self.looks = 0
        self.beside = 0

    def all_poses(self, pictures: list[Image], beside: Executor | None = None) -> list[list[Candidate]]:
        self.looks += len(pictures)
        self.beside += 0 if beside is None else len(pictures) // 2
        return [self._seen(picture) for picture in pictures]

    def find(self, rgb: Image, beside: Executor | None = None) -> list[Candidate]:
        return self._seen(rgb)

    @staticmethod
    def _seen(picture: Image) -> list[Candidate]:
        rows, columns = np.nonzero(picture[..., 0] > 200)
        if len(rows) < 50:
            return []
        height = float(np.ptp(rows)) + 1
        points = figure(float(columns.mean()), float(rows.min()), height)
        return [Candidate(points, np.full(33, 0.9, np.float32), np.zeros((33, 3), np.float32))]


def frame(index: int, there: bool) -> Frame:
    rgb = np.zeros((*SIZE, 3), np.uint8)
    # A picture that changes with the person alone is no cut: noise that is the same everywhere hides them.
    rgb[:] = np.random.default_rng(7).integers(0, 120, (*SIZE, 3))
    if there:
        rgb[60:180, 150:180, 0] = 255
    return Frame(rgb, "", index, index / RATE)


def followed(follower: Follower, frames: list[Frame]) -> tuple[list[Followed], list[int]]:
    """What was found in each frame, and how many places were looked at."""
    networks, result, looks = follower.detector, [], []
    for item in frames:
        before = networks.looks  # type: ignore[attr-defined]
        result.append(follower.follow(item))
        looks.append(networks.looks - before)  # type: ignore[attr-defined]
    return result, looks


def made(beside: Executor | None = None) -> Follower:
    stand_in: Any = Networks()
    return Follower(stand_in, beside=beside)


CLIP = [frame(index, not 30 <= index < 85) for index in range(120)]


def test_somebody_lost_is_looked_for_ever_more_rarely_and_found_when_they_are_back() -> None:
    found, looks = followed(made(), CLIP)
    assert all(len(item.people) == 1 for item in found[:30])
    assert not any(item.people for item in found[30:85])
    # The whole picture is searched once a second whatever happens; it costs three looks.
    lost = np.array([index for index in range(30, 85) if looks[index] == 2])
    pauses = np.diff(lost)
    assert (pauses[:3] == 1).all() and (np.diff(pauses[3:]) >= -2).all() and pauses[-1] >= 5
    assert len(lost) < 55 / 3
    back = next(index for index in range(85, 120) if found[index].people)
    assert back - 85 < 0.4 * RATE
    assert all(item.people for item in found[back:])
    assert {key for item in found for key, *_ in item.people} == {0}


@pytest.mark.parametrize("stop", [20, 50, 87])
def test_another_follower_goes_on_with_the_same_result(stop: int) -> None:
    whole, looks = followed(made(), CLIP)
    first, second = made(), made()
    followed(first, CLIP[:stop])
    second.restore(first.state)
    rest, rest_looks = followed(second, CLIP[stop:])
    assert rest_looks == looks[stop:]
    for one, other in zip(whole[stop:], rest, strict=True):
        assert [key for key, *_ in one.people] == [key for key, *_ in other.people]
        for (_, a, _), (_, b, _) in zip(one.people, other.people, strict=True):
            np.testing.assert_array_equal(a.image_px, b.image_px)


def test_two_threads_see_what_one_does() -> None:
    """Each picture goes to one of two networks, and what they show comes back in order."""

    class Pose:
        def __init__(self, name: str) -> None:
            self.name, self.seen = name, 0

        def detect(self, rgb: Image) -> list[Candidate]:
            self.seen += 1
            if rgb[0, 0, 0] == 0:
                assert rest_is_done.wait(30)  # a look that takes long: the other one does the rest
            elif rgb[0, 0, 0] == 4:
                rest_is_done.set()
            return [Candidate(np.full((33, 2), rgb[0, 0, 0], np.float32), np.ones(33, np.float32),
                              np.zeros((33, 3), np.float32))]  # fmt: skip

    rest_is_done = Event()
    detector: Any = Detector.__new__(Detector)
    detector._pose, detector._pose_beside = Pose("own"), Pose("beside")
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in range(5)]
    with ThreadPoolExecutor(1) as beside:
        both = detector.all_poses(pictures, beside)
    assert sorted((detector._pose.seen, detector._pose_beside.seen)) == [1, 4]
    assert [int(look[0].image_px[0, 0]) for look in both] == list(range(5))
    detector._pose_beside = None
    rest_is_done.set()
    alone = detector.all_poses(pictures)
    assert [int(look[0].image_px[0, 0]) for look in alone] == list(range(5))
