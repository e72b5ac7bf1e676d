"""The search for people keeps who is there, however they are turned, and drops who is made up.

The network here reads, from the colours of a crop, where in the picture the crop lies, and answers as a pose network
would: it finds upright people best, swaps the sides of mirrored ones, and makes people up, elsewhere each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from pantomime.core.detection.candidates import LIMBS, MIRROR33, Candidate, distance
from pantomime.core.detection.people import PeopleSettings, _tiles, find_people

WIDTH, HEIGHT = 1000, 640
SETTINGS = PeopleSettings()


def map_picture() -> np.ndarray:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([x * 0.25, y * 0.25, np.full_like(x, 255)], axis=2).astype(np.uint8)


# A standing figure of height 1: x to the picture's right, y down, z away; the person faces the camera.
FIGURE = np.zeros((33, 3))
for _index, _place in {
    0: (0, -0.44, -0.06), 7: (0.04, -0.45, 0), 8: (-0.04, -0.45, 0), 11: (0.1, -0.32, 0), 12: (-0.1, -0.32, 0),
    13: (0.14, -0.17, 0.02), 14: (-0.14, -0.17, 0.02), 15: (0.16, -0.03, -0.05), 16: (-0.16, -0.03, -0.05),
    23: (0.06, 0.0, 0), 24: (-0.06, 0.0, 0), 25: (0.07, 0.22, -0.02), 26: (-0.07, 0.22, -0.02), 27: (0.07, 0.44, 0),
    28: (-0.07, 0.44, 0),
}.items():  # fmt: skip
    FIGURE[_index] = _place
for _index in range(1, 33):
    if not FIGURE[_index].any():
        near = 0 if _index < 11 else (15, 16)[_index % 2 == 0] if _index < 23 else (27, 28)[_index % 2 == 0]
        FIGURE[_index] = FIGURE[near] + np.array([0.01, 0.02, 0.0])


def figure(centre: tuple[float, float], height: float, turn: float = 0.0, visibility: float = 0.97) -> Candidate:
    c, s = np.cos(turn), np.sin(turn)
    world = 1.7 * FIGURE @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    image = world[:, :2] / 1.7 * height + np.array(centre)
    return Candidate(image.astype(np.float32), np.full(33, visibility, np.float32), world.astype(np.float32))


@dataclass
class PaperNetwork:
    people: list[Candidate]
    ghosts: int = 0
    error: float = 0.01  # of a person's size
    blind_to: float = 4.0  # turn in the crop beyond which a person is taken for another pose
    smallest: float = 0.0  # of the crop: people smaller than this are not found
    calls: int = 0
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def __call__(self, pictures: list[np.ndarray]) -> list[list[Candidate]]:
        return [self.look(picture) for picture in pictures]

    def look(self, rgb: np.ndarray) -> list[Candidate]:
        self.calls += 1
        matrix = picture_to_crop(rgb)
        linear = matrix[:, :2] / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        mirrored = np.linalg.det(linear) < 0
        order = MIRROR33 if mirrored else np.arange(33)
        side = max(rgb.shape[:2])
        found = []
        for person in self.people:
            image = person.image_px @ matrix[:, :2].T + matrix[:, 2]
            upper = image[:25]
            if upper.min() < -0.2 * side or upper.max() > 1.2 * side:
                continue
            size = np.ptp(image, axis=0).max()
            if size < self.smallest * side:
                continue
            world = person.world_m.copy()
            world[:, :2] = world[:, :2] @ linear.T
            up = world[11:13].mean(axis=0) - world[23:25].mean(axis=0)
            image = image + self.rng.normal(0.0, self.error * size, image.shape)
            visibility = person.visibility
            if abs(np.arctan2(up[0], -up[1])) > self.blind_to:
                image = image[self.rng.permutation(33)]
                visibility = visibility * 0.9
            found.append(Candidate(image[order].astype("f4"), visibility[order], world[order].astype("f4")))
        for _ in range(self.ghosts):
            ghost = figure(
                tuple(self.rng.uniform(0.2, 0.8, 2) * side), self.rng.uniform(0.3, 0.9) * side, visibility=0.9
            )
            jumble = self.rng.normal(0.0, 0.1 * side, (33, 2)).astype("f4")
            found.append(Candidate(ghost.image_px + jumble, ghost.visibility, ghost.world_m))
        return found


def picture_to_crop(rgb: np.ndarray) -> np.ndarray:
    y, x = (8 * item for item in np.nonzero(rgb[::8, ::8, 2] > 250))
    places = np.stack([x + 0.5, y + 0.5], axis=1)
    values = rgb[y, x, :2].astype(float) * 4.0 + 1.5 + 0.5  # the middle of what was cut off, and of the pixel
    solution, *_ = np.linalg.lstsq(np.column_stack([values, np.ones(len(values))]), places, rcond=None)
    return np.asarray(solution.T)


def limb_error(found: Candidate, true: Candidate) -> float:
    return float(np.linalg.norm(found.image_px - true.image_px, axis=1)[LIMBS].mean() / true.size_px())


def test_one_clear_person_takes_two_looks() -> None:
    true = figure((480.0, 320.0), 500.0)
    network = PaperNetwork([true])
    (found,) = find_people(map_picture(), network, SETTINGS, 5)
    assert limb_error(found, true) < 0.03
    assert network.calls == 2
    assert np.abs(found.world_m - true.world_m).max() < 0.02


def test_people_that_are_made_up_are_dropped() -> None:
    true = figure((480.0, 320.0), 500.0)
    found = find_people(map_picture(), PaperNetwork([true], ghosts=3), SETTINGS, 20)
    assert len(found) == 1
    assert limb_error(found[0], true) < 0.03


def test_clutter_is_looked_at_a_few_times_and_then_left() -> None:
    def calls(patience: int) -> int:
        network = PaperNetwork([], ghosts=4)
        find_people(map_picture(), network, replace(SETTINGS, patience=patience), 20)
        return network.calls

    # The whole picture, its tiles, and for each of the searches of both what one proposal is looked at with.
    fixed = 1 + len(_tiles((WIDTH, HEIGHT), SETTINGS))
    a_look = 2 + len(SETTINGS.looks) + len(SETTINGS.far_looks)
    assert calls(SETTINGS.patience) <= fixed + 2 * SETTINGS.patience * a_look
    assert calls(2) < calls(SETTINGS.patience) < calls(SETTINGS.most_proposals)


def test_who_is_there_is_found_among_more_clutter_than_is_looked_at() -> None:
    people = [figure((250.0, 320.0), 430.0), figure((650.0, 320.0), 500.0)]
    found = find_people(map_picture(), PaperNetwork(people, ghosts=8), SETTINGS, 20)
    assert len(found) == 2
    for candidate, index in zip(found, (1, 0), strict=True):
        assert limb_error(candidate, people[index]) < 0.05


def test_a_picture_of_nobody_gives_nobody() -> None:
    assert find_people(map_picture(), PaperNetwork([]), SETTINGS, 5) == []
    unsure = [PaperNetwork([], ghosts=2, rng=np.random.default_rng(seed)) for seed in range(3)]
    for network in unsure:
        for ghost in find_people(map_picture(), network, SETTINGS, 5):
            assert ghost.limb_visibility <= 0.5  # a guess, and said to be one


def test_everybody_is_found_largest_first_also_small_ones() -> None:
    people = [figure((200.0, 300.0), 420.0), figure((520.0, 330.0), 560.0), figure((850.0, 400.0), 110.0)]
    network = PaperNetwork(people, smallest=0.2)
    found = find_people(map_picture(), network, SETTINGS, 10)
    assert len(found) == 3
    for candidate, index in zip(found, (1, 0, 2), strict=True):
        assert limb_error(candidate, people[index]) < 0.05
    assert len(find_people(map_picture(), network, SETTINGS, 2)) == 2


def test_a_pose_that_is_only_understood_turned_is_found_in_a_turned_crop() -> None:
    true = figure((480.0, 320.0), 420.0, turn=1.5)
    (found,) = find_people(map_picture(), PaperNetwork([true], blind_to=0.9), SETTINGS, 5)
    assert limb_error(found, true) < 0.05


class Overturning(PaperNetwork):
    """Takes an arm for somebody upside down, unless it sees the first of the people whole in a crop."""

    def look(self, rgb: np.ndarray) -> list[Candidate]:
        upright, overturned = self.people
        whole, size = self.calls == 0, max(rgb.shape[:2])
        self.people = [upright]
        found = [] if whole else [item for item in super().look(rgb) if np.ptp(item.image_px[:, 1]) < size]
        self.people = [overturned]
        found = found or super().look(rgb)
        self.people = [upright, overturned]
        return found


def test_who_is_seen_upside_down_in_narrow_crops_alone_is_upright() -> None:
    upright = figure((480.0, 330.0), 380.0, visibility=0.7)
    overturned = figure((480.0, 260.0), 200.0, turn=np.pi, visibility=0.75)
    (found,) = find_people(map_picture(), Overturning([upright, overturned]), SETTINGS, 5)
    assert limb_error(found, upright) < 0.05


def test_who_is_upside_down_stays_so() -> None:
    for visibility in (0.75, 0.95):
        true = figure((480.0, 300.0), 400.0, turn=np.pi, visibility=visibility)
        (found,) = find_people(map_picture(), PaperNetwork([true]), SETTINGS, 5)
        assert limb_error(found, true) < 0.05


def test_points_that_views_do_not_agree_on_are_believed_less() -> None:
    true = figure((480.0, 320.0), 500.0, visibility=0.6)
    steady = find_people(map_picture(), PaperNetwork([true], error=0.002), SETTINGS, 5)[0]
    shaky = find_people(map_picture(), PaperNetwork([true], error=0.05), SETTINGS, 5)[0]
    assert steady.visibility.mean() > 0.95 * 0.6
    assert shaky.visibility.mean() < 0.9 * steady.visibility.mean()


def test_a_body_squeezed_into_the_picture_yields_to_one_of_the_heads_scale() -> None:
    true = figure((480.0, 560.0), 1000.0, visibility=0.7)

    class Squeezing(PaperNetwork):
        """Every second answer squeezes the body below the head into the picture, with more visible limbs."""

        def look(self, rgb: np.ndarray) -> list[Candidate]:
            people = self.people
            if self.calls % 2 == 1:
                small = true.image_px.copy()
                small[:, 1] = 120.0 + 0.5 * (small[:, 1] - 120.0)
                small[:, 0] = 480.0 + 0.5 * (small[:, 0] - 480.0)
                self.people = [Candidate(small, np.full(33, 0.9, np.float32), true.world_m)]
            found = super().look(rgb)
            self.people = people
            return found

    scale = 1000.0 / 1.7
    plain = find_people(map_picture(), Squeezing([true]), SETTINGS, 5)[0]
    guided = find_people(map_picture(), Squeezing([true]), SETTINGS, 5, lambda person: scale)[0]
    assert limb_error(plain, true) > 0.1
    assert limb_error(guided, true) < 0.05
    assert distance(plain, guided) > 0.1
