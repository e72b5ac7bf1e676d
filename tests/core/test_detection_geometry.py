"""Crops lead back to the picture; detections from crops are brought together, compared and chosen rightly."""

from __future__ import annotations

import numpy as np
import pytest

from pantomime.core.detection.candidates import (
    LIMBS,
    MIRROR33,
    Candidate,
    box_of,
    choose,
    distance,
    distinct_people,
    from_crop,
    pixels_per_metre,
)
from pantomime.core.detection.crops import Square, apply, cut, fit_within
from pantomime.core.detection.face import EYE_CORNERS_M, MESH_LEFT_EYE, MESH_RIGHT_EYE, metric_mesh
from pantomime.core.detection.hands import FoundHand, HandSettings, assign, hand_square
from pantomime.core.detection.landmarkers import RawHand
from pantomime.core.detection.vocabulary import POSE33


def ramp(width: int, height: int) -> np.ndarray:
    """A picture whose red and green tell where in it one is: x and y of pixel centres, a level a pixel."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y, np.full_like(x, 7)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.2, np.pi])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("side", [60.0, 100.0])
def test_what_a_crop_shows_lies_where_its_matrix_says(angle: float, mirrored: bool, side: float) -> None:
    square = Square((101.0, 90.0), side, angle, mirrored)
    crop = cut(ramp(200, 190), square, 80)
    y, x = np.mgrid[2:78, 2:78]
    places = apply(square.matrix(80), np.stack([x + 0.5, y + 0.5], axis=-1).astype(np.float32)) - 0.5
    assert np.abs(crop[2:78, 2:78, :2].astype(float) - places).max() <= 1.0


def test_a_strongly_reduced_crop_averages_what_it_covers() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3)).astype(np.uint8)
    crop = cut(noise, Square((400.0, 400.0), 640.0), 40)
    assert abs(float(crop.mean()) - 127.5) < 2.0
    assert float(crop[4:-4, 4:-4].std()) < 12.0  # 16 × 16 pixels of noise each, of spread 74
    gradient = np.repeat(np.linspace(0, 255, 800)[None, :, None], 800, axis=0).repeat(3, axis=2).astype(np.uint8)
    reduced = cut(gradient, Square((400.0, 400.0), 640.0), 40).astype(float)
    expected = (80.0 + (np.arange(40) + 0.5) * 16.0 - 0.5) * 255.0 / 799.0
    assert np.abs(reduced[20, 2:-2, 0] - expected[2:-2]).max() < 2.0


def test_a_crop_over_the_edge_is_black_there() -> None:
    crop = cut(np.full((50, 50, 3), 200, np.uint8), Square((0.0, 25.0), 40.0), 40)
    assert (crop[:, :18] == 0).all()
    assert (crop[:, 22:] == 200).all()
    assert (cut(np.full((50, 50, 3), 200, np.uint8), Square((-500.0, 25.0), 40.0), 10) == 0).all()


def test_a_large_picture_is_reduced_and_leads_back() -> None:
    small, back = fit_within(np.zeros((1500, 3001, 3), np.uint8), 1000)
    assert small.shape == (500, 1000, 3)
    assert np.allclose(apply(back, np.array([[1000.0, 500.0]], np.float32)), [[3001.0, 1500.0]])
    same, identity = fit_within(np.zeros((90, 80, 3), np.uint8), 100)
    assert same.shape == (90, 80, 3) and np.array_equal(identity, np.eye(2, 3))


def person(seed: int = 0, centre: tuple[float, float] = (300.0, 250.0), scale: float = 200.0) -> Candidate:
    """A made-up person whose picture is the weak-perspective view of their 3D hints."""
    rng = np.random.default_rng(seed)
    world = rng.normal(0.0, 0.4, (33, 3)).astype(np.float32)
    image = (world[:, :2] * scale + np.array(centre)).astype(np.float32)
    return Candidate(image, rng.uniform(0.6, 1.0, 33).astype(np.float32), world)


def seen_in(square: Square, out_px: int, true: Candidate) -> Candidate:
    """What a perfect network says of `true` in a crop: it knows of no turn, and takes a mirrored left for right."""
    matrix = square.matrix(out_px)
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    linear = matrix[:, :2] / np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    world = true.world_m.copy()
    world[:, :2] = world[:, :2] @ linear  # the inverse of an orthogonal map, from the right
    image = true.image_px @ inverse[:, :2].T + inverse[:, 2]
    order = MIRROR33 if square.mirrored else np.arange(33)
    return Candidate(image[order].astype(np.float32), true.visibility[order], world[order].astype(np.float32))


@pytest.mark.parametrize("angle", [0.0, 0.7, -2.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_detection_in_a_turned_or_mirrored_crop_comes_back_whole(angle: float, mirrored: bool) -> None:
    true = person()
    square = Square((280.0, 260.0), 350.0, angle, mirrored)
    back = from_crop(seen_in(square, 256, true), square.matrix(256), angle, mirrored)
    assert np.abs(back.image_px - true.image_px).max() < 1e-2
    assert np.abs(back.world_m - true.world_m).max() < 1e-5
    assert np.array_equal(back.visibility, true.visibility)


def test_mirroring_swaps_the_sides_and_nothing_else() -> None:
    for index, name in enumerate(POSE33):
        twin = POSE33[MIRROR33[index]]
        if "left" in name or "right" in name:
            assert twin != name and twin.replace("left", "").replace("right", "") == name.replace("left", "").replace(
                "right", ""
            )
        else:
            assert twin == name
    assert np.array_equal(MIRROR33[MIRROR33], np.arange(33))


def moved(candidate: Candidate, px: float, visibility: float | None = None, seed: int = 0) -> Candidate:
    shift = np.random.default_rng(seed).normal(0.0, px, candidate.image_px.shape).astype(np.float32)
    seen = candidate.visibility if visibility is None else np.full(33, visibility, np.float32)
    return Candidate(candidate.image_px + shift, seen, candidate.world_m)


def test_the_distance_is_relative_to_size_and_zero_for_the_same() -> None:
    a = person()
    assert distance(a, a) == 0.0
    b = Candidate(a.image_px + np.array([30.0, 40.0], np.float32), a.visibility, a.world_m)
    assert distance(a, b) == pytest.approx(50.0 / a.size_px(), rel=1e-4)
    assert distance(a, b) == distance(b, a)


def test_the_choice_is_the_median_of_what_agrees_with_the_most_visible() -> None:
    true = person()
    good = [moved(true, 3.0, 0.8 + 0.01 * i, seed=i) for i in range(5)]
    wrong = [moved(person(seed=9), 2.0, 0.7, seed=i) for i in range(4)]
    chosen = choose(wrong + good, 0.12, lambda item: item.limb_visibility)
    assert np.allclose(chosen.image_px, np.median([item.image_px for item in good], axis=0))
    assert np.abs(chosen.image_px - true.image_px)[LIMBS].mean() < 2.0


def test_second_guesses_at_one_person_are_one_group_and_neighbours_are_two() -> None:
    a, b = person(0), person(0, centre=(800.0, 250.0))
    groups = distinct_people([moved(a, 5.0, seed=1), moved(b, 5.0, seed=2), moved(a, 5.0, seed=3)], 0.25)
    assert sorted(len(group) for group in groups) == [1, 2]


def test_the_same_upper_body_with_other_legs_is_the_same_person() -> None:
    a = person()
    legs = a.image_px.copy()
    legs[23:] += np.array([0.0, 400.0], np.float32)
    hidden = a.visibility.copy()
    hidden[23:] = 0.05
    other = Candidate(legs, hidden, a.world_m)
    assert len(distinct_people([Candidate(a.image_px, hidden, a.world_m), other], 0.25)) == 1


def test_the_box_holds_what_is_seen_and_stays_in_the_picture() -> None:
    a = person()
    a.visibility[5] = 0.0
    a.image_px[5] = (-4000.0, 9000.0)
    x0, y0, x1, y1 = box_of(a, (640, 480))
    seen = a.image_px[(a.visibility > 0.5) & (a.image_px >= 0).all(axis=1) & (a.image_px <= (640, 480)).all(axis=1)]
    assert (seen >= (x0, y0)).all() and (seen <= (x1, y1)).all()
    assert 0 <= x0 < x1 <= 640 and 0 <= y0 < y1 <= 480


def test_the_scale_is_that_of_the_weak_perspective_camera() -> None:
    assert pixels_per_metre(person(scale=321.0)) == pytest.approx(321.0, rel=1e-3)


def test_the_metric_mesh_has_the_eyes_at_their_distance_and_undoes_the_turn() -> None:
    rng = np.random.default_rng(0)
    mesh = rng.normal(0.0, 30.0, (468, 3)).astype(np.float32)
    level = metric_mesh(mesh, 0.0)
    assert np.linalg.norm(level[MESH_LEFT_EYE] - level[MESH_RIGHT_EYE]) == pytest.approx(EYE_CORNERS_M, rel=1e-5)
    assert np.abs(level.mean(axis=0)).max() < 1e-6
    square = Square((0.0, 0.0), 192.0, 0.5)
    turned = metric_mesh(mesh, 0.5)
    in_picture = mesh[:, :2] @ square.matrix(192)[:, :2].T
    scale = (turned[:, 0] @ (in_picture[:, 0] - in_picture[:, 0].mean())) / (turned[:, 0] @ turned[:, 0])
    assert np.allclose(turned[:, :2] * scale, in_picture - in_picture.mean(axis=0), atol=1e-2)
    assert np.allclose(turned[:, 2], level[:, 2], atol=1e-6)


def hand_at(place: tuple[float, float], left_score: float, seed: int = 0) -> FoundHand:
    rng = np.random.default_rng(seed)
    image = (rng.uniform(-20.0, 20.0, (21, 2)) + np.array(place)).astype(np.float32)
    image[0] = place
    world = rng.normal(0.0, 0.05, (21, 3)).astype(np.float32)
    return FoundHand(RawHand(image, world, left_score), image, world)


WRISTS = {"left_hand": np.array([400.0, 300.0], np.float32), "right_hand": np.array([200.0, 300.0], np.float32)}
SIZE = (640, 480)


def test_a_hand_belongs_to_the_wrist_it_hangs_on_whatever_it_looks_like() -> None:
    hands = [hand_at((205.0, 298.0), left_score=0.99), hand_at((395.0, 305.0), left_score=0.01, seed=1)]
    given = assign(hands, WRISTS, person(), 200.0, SIZE, HandSettings())
    assert np.array_equal(given["right_hand"].image_px, hands[0].image_px)
    assert np.array_equal(given["left_hand"].image_px, hands[1].image_px)


def test_one_hand_seen_in_both_crops_is_given_once() -> None:
    wrists = {"left_hand": WRISTS["left_hand"], "right_hand": WRISTS["left_hand"] + np.float32(18.0)}
    given = assign(
        [hand_at((401.0, 300.0), 0.9), hand_at((402.0, 300.0), 0.9)], wrists, person(), 200.0, SIZE, HandSettings()
    )
    assert list(given) == ["left_hand"]


def test_joined_hands_are_told_apart_by_their_looks() -> None:
    wrists = {"left_hand": np.array([300.0, 300.0], np.float32), "right_hand": np.array([302.0, 300.0], np.float32)}
    left, right = hand_at((301.0, 298.0), 0.95), hand_at((301.0, 302.0), 0.05, seed=4)
    given = assign([right, left], wrists, person(), 200.0, SIZE, HandSettings())
    assert np.array_equal(given["left_hand"].image_px, left.image_px)
    assert np.array_equal(given["right_hand"].image_px, right.image_px)


def test_a_far_hand_is_nobodys_and_points_outside_are_not_believed() -> None:
    assert assign([hand_at((300.0, 100.0), 0.9)], WRISTS, person(), 200.0, SIZE, HandSettings()) == {}
    wrists = {"left_hand": np.array([636.0, 300.0], np.float32)}
    points = assign([hand_at((636.0, 300.0), 0.9)], wrists, person(), 200.0, SIZE, HandSettings())["left_hand"]
    outside = points.image_px[:, 0] > 640
    assert outside.any() and not outside.all()
    assert (points.confidence[outside] == 0.0).all() and (points.confidence[~outside] > 0.3).all()


def test_the_crop_of_a_hand_holds_the_hand() -> None:
    body = person()
    body.image_px[15] = (400.0, 300.0)
    body.image_px[[17, 19, 21]] = [(440.0, 330.0), (450.0, 310.0), (430.0, 290.0)]
    square = hand_square(body, "left_hand", 200.0)
    for place in body.image_px[[15, 17, 19, 21]]:
        assert np.abs(place - np.array(square.centre_px)).max() < 0.5 * square.side_px
