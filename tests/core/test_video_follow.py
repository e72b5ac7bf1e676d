"""Somebody whom one crop does not show, on people that are made here: a crop shows what a test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.detection.candidates import Candidate
from pantomime.core.detection.detector import Detector
from pantomime.core.detection.follow import Follower, _without

from .test_video_tracking import colour, person

SIZE = (600, 400)
PICTURE = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
Look = tuple[float, bool]  # scale and mirroring of a crop


def follower(
    monkeypatch: pytest.MonkeyPatch, shows: Callable[[Look, NDArray[np.uint8]], list[Candidate]]
) -> tuple[Follower, list[Look]]:
    """One who follows somebody at x = 200 for long already; `shows`: what a crop does."""
    made, asked = Follower(cast(Any, None)), list[Look]()

    def crop(
        self: Follower, rgb: NDArray[np.uint8], box: Any, scale: float, mirrored: bool = False, turn_rad: float = 0.0
    ) -> list[Candidate]:
        asked.append((scale, mirrored))
        return shows((scale, mirrored), rgb)

    monkeypatch.setattr(Follower, "_crop", crop)
    made.tracker.begin(person(200, 100, 200), colour(1), 0.0)
    made.tracker.tracks = [replace(track, sightings=9) for track in made.tracker.tracks]
    return made, asked


def test_another_crop_shows_who_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Follower(cast(Detector, None)).settings.crop_scale
    made, asked = follower(monkeypatch, lambda look, rgb: [person(202, 100, 200)] if len(asked) > 1 else [])
    found = made._in_crops(PICTURE, 1 / 30)
    assert len(found) == 1 and found[0].image_px[0, 0] == pytest.approx(202 + -0.12 * 200)
    # The first look in vain, the second, and one that confirms it.
    assert asked == [(usual, False), made.settings.again[0], (usual, not made.settings.again[0][1])]
    assert made.tracker.update(found, [colour(1)], 1 / 30) == {0: 0}


@pytest.mark.parametrize("where", [202.0, 420.0])
def test_what_is_not_confirmed_or_elsewhere_is_not_believed(monkeypatch: pytest.MonkeyPatch, where: float) -> None:
    usual = Follower(cast(Detector, None)).settings.crop_scale

    def shows(look: Look, rgb: NDArray[np.uint8]) -> list[Candidate]:
        return [] if look[0] == usual else [person(where, 100, 200)]

    made, asked = follower(monkeypatch, shows)
    assert made._in_crops(PICTURE, 1 / 30) == []
    assert [look for look in asked if look[0] != usual] == list(made.settings.again)


def test_who_was_just_begun_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = follower(monkeypatch, lambda look, rgb: [])
    made.tracker.tracks = [replace(track, sightings=1) for track in made.tracker.tracks]
    assert made._in_crops(PICTURE, 1 / 30) == [] and len(asked) == 1


def test_others_are_painted_over_unless_they_overlap() -> None:
    box = np.array([100, 50, 300, 350], np.float32)
    kept = PICTURE.copy()
    assert _without(PICTURE, [person(200, 100, 200)], box, SIZE) is PICTURE
    painted = _without(PICTURE, [person(450, 100, 200)], box, SIZE)
    np.testing.assert_array_equal(PICTURE, kept)
    np.testing.assert_array_equal(painted[50:350, 100:300], PICTURE[50:350, 100:300])
    assert np.ptp(painted[150:250, 440:460].reshape(-1, 3), axis=0).max() == 0


def test_somebody_who_is_not_seen_keeps_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = follower(monkeypatch, lambda look, rgb: [])
    speeds = np.full((33, 2), 30.0, np.float32)
    speeds[15:23, 0] = 3000.0  # a hand that was seen badly
    track = replace(made.tracker.tracks[0], velocity_px_s=speeds)
    drifted, box = made._drifted(track, SIZE, 0.5)
    moved = drifted.image_px - track.image_px
    assert np.ptp(moved, axis=0).max() < 1e-3 and 5 < moved[0, 0] < 15
    assert box[2] - box[0] < 100
