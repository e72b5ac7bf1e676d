"""Hands and faces that are followed from frame to frame; the networks are stand-ins that say what a test wants."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.detection.candidates import Candidate
from pantomime.core.detection.crops import Square, apply
from pantomime.core.detection.details import PAUSES, Memory, due, follow_face, follow_hands, next_crop
from pantomime.core.detection.face import FaceSettings
from pantomime.core.detection.hands import HandSettings, hand_square
from pantomime.core.detection.landmarkers import HAND_INPUT_PX, RawHand
from pantomime.core.detection.vocabulary import POSE33

Array = NDArray[np.float32]
PICTURE = np.zeros((700, 600, 3), np.uint8)
PX_M = 300.0
# An upright hand, fingers up, in metres from its wrist.
HAND = np.array(
    [(0, 0), (0.03, -0.02), (0.05, -0.05), (0.06, -0.07), (0.07, -0.09)]
    + [(x, y) for x in (0.02, 0.0, -0.02, -0.04) for y in (-0.09, -0.12, -0.14, -0.16)]
)


def person(shift: float = 0.0, hidden: tuple[str, ...] = ()) -> Candidate:
    """Somebody with both hands up, `shift` px to the right."""
    world = np.zeros((33, 3), np.float32)
    for side, x in (("left", 0.4), ("right", -0.4)):
        places = {"shoulder": (x / 2, -0.4), "elbow": (x, -0.3), "wrist": (x, -0.5), "hip": (x / 4, 0.0),
                  "knee": (x / 4, 0.4), "ankle": (x / 4, 0.8)}  # fmt: skip
        for part in ("pinky", "index", "thumb"):
            places[part] = (x, -0.58)
        for part, place in places.items():
            world[POSE33.index(f"{side}_{part}"), :2] = place
    for name, place in (("nose", (0.0, -0.62)), ("left_eye", (0.03, -0.65)), ("right_eye", (-0.03, -0.65)),
                        ("left_ear", (0.07, -0.64)), ("right_ear", (-0.07, -0.64)), ("mouth_left", (0.02, -0.58)),
                        ("mouth_right", (-0.02, -0.58))):  # fmt: skip
        world[POSE33.index(name), :2] = place
    visibility = np.ones(33, np.float32)
    for name in hidden:
        visibility[POSE33.index(name)] = 0
    image = world[:, :2] * PX_M + np.array((300 + shift, 300), np.float32)
    return Candidate(image.astype(np.float32), visibility, world)


def wrist(pose: Candidate, side: str) -> Array:
    return np.asarray(pose.image_px[POSE33.index(f"{side}_wrist")])


class Networks:
    """Hands where they truly are; counts how often it is asked. A crop is black: which one it is, is told by order."""

    def __init__(self, presence: float = 0.95, found: bool = True) -> None:
        self.presence, self.found = presence, found
        self.pose = person()
        self.memory = Memory()
        self.traced: list[str] = []
        self.searched: list[str] = []

    def frame(self, pose: Candidate) -> dict[str, Array]:
        self.pose = pose
        self._trace = [side for side in ("left", "right") if f"{side}_hand" in self.memory.hands]
        self._search = ["left", "right"]
        before = {side: self.memory.hands[f"{side}_hand"] for side in self._trace}
        self._crops = {side: next_crop(hand + (wrist(pose, side) - there)) for side, (hand, there) in before.items()}
        points = follow_hands(PICTURE, pose, self.trace, self.search, HandSettings(), self.memory)
        return {name: hand.image_px for name, hand in points.items()}

    def trace(self, rgb: NDArray[np.uint8]) -> tuple[RawHand, float]:
        side = self._trace.pop(0)
        self.traced.append(side)
        return self.hand(side, self._crops[side], HAND_INPUT_PX), self.presence

    def search(self, rgb: NDArray[np.uint8]) -> list[RawHand]:
        self.searched.append("")
        if not self.found:
            return []
        scale = PX_M * HandSettings().crop_m
        squares = [hand_square(self.pose, f"{side}_hand", scale) for side in ("left", "right")]
        # The picture is black: the hand of the side whose turn it is.
        side = self._search.pop(0) if len(self._search) > 1 else self._search[0]
        return [self.hand(side, squares[0 if side == "left" else 1], HandSettings().crop_px)]

    def hand(self, side: str, square: Square, out_px: int) -> RawHand:
        image = HAND * PX_M + wrist(self.pose, side)
        matrix = square.matrix(out_px).astype(np.float64)
        inverse = np.linalg.inv(matrix[:, :2])
        crop = (image - matrix[:, 2]) @ inverse.T
        return RawHand(crop.astype(np.float32), np.zeros((21, 3), np.float32), float(side == "left"))


def test_a_crop_for_the_next_frame_turns_with_the_hand_and_holds_it() -> None:
    upright = next_crop((HAND * 500).astype(np.float32))
    assert upright.angle_rad == pytest.approx(0.0, abs=0.05)
    c, s = np.cos(1.1), np.sin(1.1)
    turned = next_crop((HAND @ np.array([[c, s], [-s, c]]) * 500 + 90).astype(np.float32))
    assert turned.angle_rad - upright.angle_rad == pytest.approx(1.1, abs=1e-3)
    assert turned.side_px == pytest.approx(upright.side_px, rel=1e-3)
    corners = apply(upright.matrix(1.0), np.array([[0, 0], [1, 1]], np.float32))
    assert (corners[0] <= HAND * 500).all() and (corners[1] >= HAND * 500).all()


def test_hands_are_followed_without_being_looked_for() -> None:
    networks = Networks()
    first = networks.frame(person())
    assert set(first) == {"left_hand", "right_hand"} and len(networks.searched) == 2 and not networks.traced
    moved = person(25.0)
    second = networks.frame(moved)
    assert networks.traced == ["left", "right"] and len(networks.searched) == 2
    for side in ("left", "right"):
        np.testing.assert_allclose(second[f"{side}_hand"], HAND * PX_M + wrist(moved, side), atol=0.02)


def test_a_hand_that_is_not_sure_is_looked_for_and_one_that_is_never_found_only_now_and_then() -> None:
    networks = Networks()
    networks.frame(person())
    networks.presence = 0.4
    networks.frame(person())
    assert networks.traced == ["left", "right"] and len(networks.searched) == 4
    networks = Networks(found=False)
    asked = []
    for _ in range(9):
        before = len(networks.searched)
        networks.frame(person())
        asked.append(len(networks.searched) - before)
    # Each look in vain is two, one of them tighter; later the sides take turns.
    assert asked[:3] == [4] * 3
    assert sorted(asked[3:6]) == [0, 2, 2] == sorted(asked[6:])


def test_a_hand_that_is_lost_for_long_is_looked_for_ever_more_rarely_but_always_again() -> None:
    for number in (0, 1):
        looked = [missed for missed in range(200) if due(missed, number)]
        pauses = np.diff(looked)
        for (least, every), (end, _) in zip(PAUSES, (*PAUSES[1:], (200, 0)), strict=True):
            inside = [pause for start, pause in zip(looked, pauses, strict=False) if least <= start < end - every]
            assert set(inside) <= {every}, (number, least, inside)
        assert looked[-1] >= 200 - PAUSES[-1][1] and len(looked) < 200 / 5
        assert not any(due(missed, 1 - number) for missed in looked if missed >= PAUSES[-1][0])


def test_a_wrist_that_is_hidden_forgets_its_hand() -> None:
    networks = Networks()
    networks.frame(person())
    assert set(networks.frame(person(hidden=("left_wrist",)))) == {"right_hand"}
    assert set(networks.memory.hands) == {"right_hand"}


def test_a_face_is_one_look_where_it_was() -> None:
    asked: list[int] = []

    def network(rgb: NDArray[np.uint8]) -> tuple[Array, float]:
        asked.append(1)
        points = np.zeros((468, 3), np.float32)
        points[:, 0] = 96 + 60 * np.sin(np.arange(468))
        points[:, 1] = 96 + 60 * np.cos(np.arange(468))
        points[33, :2], points[263, :2] = (60, 90), (130, 90)
        return points, 0.99

    memory, settings = Memory(), FaceSettings()
    assert follow_face(PICTURE, person(), network, settings, memory) is not None and len(asked) == settings.looks
    assert follow_face(PICTURE, person(8.0), network, settings, memory) is not None
    assert len(asked) == settings.looks + 1
    assert follow_face(PICTURE, person(), lambda rgb: (np.zeros((468, 3), np.float32), 0.0), settings, memory) is None
    assert memory.face is None


def test_a_memory_goes_on_from_its_state() -> None:
    networks = Networks()
    networks.frame(person(0.3))
    networks.memory.missed["left_hand"] = 7
    networks.memory.face = (Square((1.1, 2.2), 3.3, 0.4), np.array([5.5, 6.6], np.float32))
    again = Memory.of(networks.memory.state)
    np.testing.assert_array_equal(again.state, networks.memory.state)
    assert again.missed["left_hand"] == 7 and again.face is not None and again.face[0] == networks.memory.face[0]
    for side, (hand, there) in networks.memory.hands.items():
        np.testing.assert_array_equal(again.hands[side][0], hand)
        np.testing.assert_array_equal(again.hands[side][1], there)
