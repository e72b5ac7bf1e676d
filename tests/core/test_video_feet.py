"""Feet that rest in the picture, whatever a detector's points do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pantomime.core.detection.feet_picture import SHAPE, feet_picture, no_feet
from pantomime.core.detection.follow import FrameSightings, Sighting
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.vocabulary import POSE33
from pantomime.core.fitting.video_feet import FeetSettings, rest_longer
from pantomime.core.fitting.video_parts import Standing
from pantomime.core.fitting.video_standing import Footing, rests_seen
from pantomime.core.video_job import JobFolder
from pantomime.core.video_people import Sightings, sightings_arrays

COUNT, RATE = 60, 30.0
TIME_S = np.arange(COUNT) / RATE
PERSON_PX = 192.0
BOX = np.array([100.0, 50.0, 228.0, 146.0], np.float32)  # of the pictures in the clip
AT = (40, 50)  # the foot's corner in the picture
SIDE = (12, 28)


class Clip:
    """Pictures with a foot that is where `moved` says, from `AT` on; nan: it is away."""

    def __init__(self, foot: float = 60.0) -> None:
        random = np.random.default_rng(0)
        self.floor = 120 + 25 * random.standard_normal(SHAPE)
        self.foot = 60 + foot * random.standard_normal(SIDE) / 3
        self.moved = np.zeros(COUNT)
        self.covered = np.zeros(COUNT, bool)
        self.noise = random.standard_normal((COUNT, *SHAPE))

    def look(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        picture = self.floor + 2 * self.noise[row]
        if np.isfinite(self.moved[row]):
            y, x = AT[0], AT[1] + int(self.moved[row])
            picture[y : y + SIDE[0], x : x + SIDE[1]] = self.foot + 2 * self.noise[row, : SIDE[0], : SIDE[1]]
        if self.covered[row]:
            picture[30:70, 30:110] = 200 + 20 * self.noise[row, 30:70, 30:110]
        return picture.clip(0, 255).astype(np.uint8), BOX


def places() -> np.ndarray:
    """Of the left foot, which is watched, and of the right one, which is beside it."""
    corners = np.array([[AT[1], AT[0]], [AT[1] + SIDE[1], AT[0] + SIDE[0]]], np.float32) + BOX[:2]
    both = np.stack([corners, corners + np.array([0, 40], np.float32)])
    return np.tile(both, (COUNT, 1, 1, 1))


def rests(*where: slice) -> np.ndarray:
    result = np.zeros((COUNT, 2), np.float32)
    for part in where:
        result[part, 0] = 1
    return result


def longer(
    clip: Clip,
    rest: np.ndarray,
    belief: float = 1.0,
    settings: FeetSettings | None = None,
    at: np.ndarray | None = None,
) -> list[int]:
    """The frames in which the left foot rests, beside `rest`."""
    size, sure = np.full(COUNT, PERSON_PX, np.float32), np.full((COUNT, 2), belief, np.float32)
    shared = rest_longer(rest, sure, places() if at is None else at, size, TIME_S, clip.look, settings)
    assert (shared[:, 1] == -1).all()
    found = np.flatnonzero(shared[:, 0] >= 0)
    assert (rest[shared[found, 0], 0] == 1).all()
    return list(found)


def test_a_foot_rests_as_long_as_the_picture_shows_it_where_it_was() -> None:
    clip = Clip()
    clip.moved[:6] = clip.moved[44:] = np.nan
    assert longer(clip, rests(slice(15, 30))) == [*range(6, 15), *range(30, 44)]


@pytest.mark.parametrize("moved", [3, 20])
def test_a_foot_that_moves_does_not_rest(moved: int) -> None:
    clip = Clip()
    clip.moved[:15] = clip.moved[30:] = moved
    assert longer(clip, rests(slice(15, 30))) == []


def test_a_moment_at_the_end_of_a_rest_is_the_foot_leaving_but_not_between_two_rests() -> None:
    clip = Clip()
    clip.moved[:13] = clip.moved[32:] = np.nan
    assert longer(clip, rests(slice(15, 30))) == []
    assert longer(Clip(), rests(slice(0, 30), slice(32, COUNT))) == [30, 31]


def test_a_foot_that_something_covers_rests_where_it_is_there_again_and_nobody_says_otherwise() -> None:
    clip = Clip()
    clip.covered[28:44] = True
    two = rests(slice(0, 28), slice(44, COUNT))
    assert longer(clip, two, belief=0.3) == [*range(28, 44)]
    assert longer(clip, two, belief=1.0) == []
    clip.covered[28:44], clip.moved[28:44] = False, np.nan
    assert longer(clip, two, belief=1.0) == []
    clip.moved[44:] = 20
    assert longer(clip, two, belief=0.3) == []


def test_what_may_be_the_other_foot_says_nothing() -> None:
    clip, rest = Clip(), rests(slice(15, 30))
    at = places()
    at[40:, 1] = at[40:, 0] + 4  # the right foot comes to where the left one was, and looks like it
    assert longer(clip, rest, at=at) == [*range(15), *range(30, 40)]
    at[:] = places()
    at[25:30, 1] = at[25:30, 0] + 4
    assert longer(clip, rest, at=at) == [*range(15)]


def test_a_foot_like_the_floor_and_one_outside_the_picture_say_nothing() -> None:
    assert longer(Clip(), rests(slice(15, 30)))
    flat = Clip(foot=0.0)
    flat.floor[:] = 60
    assert longer(flat, rests(slice(15, 30))) == []
    near = FeetSettings(margin=0.3)  # so much around it is not in the picture
    assert longer(Clip(), rests(slice(15, 30)), settings=near) == []


def test_what_is_found_makes_a_clip_stand_longer_and_on_the_ground_where_it_did_before() -> None:
    clip = Clip()
    still = np.zeros((COUNT, 4), np.float32)
    still[20:30, :2] = 1
    solid = still * np.array([1, 0, 0, 0], np.float32)
    nothing = np.zeros((COUNT, 4, 3), np.float32)
    footing = Footing(
        nothing, np.ones((COUNT, 4), np.float32), nothing[:, :3], nothing[0, :0], np.concatenate([places()] * 2, 2),
        np.full(COUNT, PERSON_PX, np.float32),
    )  # fmt: skip
    found = rests_seen(
        Standing(solid, np.array([0, -1, 0], np.float32), -1.5, still), [(slice(None), footing)], TIME_S,
        [(0, 10), (12, COUNT)], clip.look, FeetSettings(),
    )  # fmt: skip
    assert found.still[12:, :2].all() and not found.still[:12].any() and not found.still[:, 2:].any()
    assert found.solid[12:, 0].all() and not found.solid[:, 1:].any()
    assert still.sum() == 20


def observation(left: tuple[float, float], right: tuple[float, float], confidence: float = 0.9) -> Observation:
    points = np.full((33, 2), 100.0, np.float32)
    for side, place in (("left", left), ("right", right)):
        for name in ("ankle", "heel", "foot_index"):
            points[POSE33.index(f"{side}_{name}")] = place
    box = np.array([150.0, 60.0, 350.0, 460.0], np.float32)
    return Observation((640, 480), box, 0.9, {"pose33": Points(points, np.full(33, confidence, np.float32), None)})


@pytest.mark.parametrize("x", [2, 300, 636])
def test_the_picture_shows_both_feet_where_its_box_says(x: int) -> None:
    rgb = np.full((480, 640, 3), 40, np.uint8)
    rgb[450:460, max(x - 5, 0) : x + 5] = 240
    picture, box = feet_picture(rgb, observation((x, 455), (x - 60 if x > 400 else x + 60, 440)))
    assert picture.shape == SHAPE and (box[2:] - box[:2] >= np.array([60, 15]) + 2 * 0.1 * 400).all()
    y_bright, x_bright = np.argwhere(picture > 150).mean(0)
    scale = (box[2:] - box[:2]) / np.array(SHAPE[::-1])
    there = box[:2] + scale * (np.array([x_bright, y_bright]) + 0.5)
    # The edge goes on beyond the picture: what is there is as bright.
    assert abs(there[1] - 455) < 2 and (abs(there[0] - x) < 2 or x in (2, 636))


def test_without_feet_there_is_no_picture() -> None:
    rgb = np.full((480, 640, 3), 40, np.uint8)
    for seen in (observation((300, 455), (360, 440), 0.0), observation((2000, 455), (2060, 440))):
        picture, box = feet_picture(rgb, seen)
        assert not picture.any() and not box.any()


def test_each_row_has_its_own_picture_of_the_feet(tmp_path: Path) -> None:
    def sighting(at: int) -> Sighting:
        feet = np.full(SHAPE, at, np.uint8), np.full(4, at, np.float32)
        return Sighting(3, observation((300, 455), (360, 440)), feet)

    frames = [FrameSightings(at, at / RATE, False, [sighting(at)] if at != 4 else []) for at in range(2, 12)]
    with JobFolder(tmp_path / "job") as folder:
        folder.save("seen-00000", "key", sightings_arrays(frames[:5]))
        folder.save("seen-00001", "key", sightings_arrays(frames[5:]))
        sightings = Sightings(folder, "key", 2)
        (person,) = sightings.people()
        found = [sightings.feet(person, row)[0].max() for row in range(10)]
        assert found == [2, 3, 0, 5, 6, 7, 8, 9, 10, 11]
        assert (sightings.feet(person, 2)[1] == no_feet()[1]).all()
