"""What the accuracy bench lets fits see, on people that are made from the free body here: points, cameras, things."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pantomime.core.body.bake_poses import rotations_of
from pantomime.core.body.bench_labels import BEHIND_BODY, BEHIND_OBJECT, OUTSIDE, VISIBLE, PersonLabel
from pantomime.core.body.bench_people import PosedPerson, facing
from pantomime.core.body.bench_things import Things, draw_obstacle, hidden_share, point_visibility, seat_for
from pantomime.core.body.bench_views import draw_view, look_at
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX
from pantomime.core.body.skinning import Body
from pantomime.core.capture import Capture
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.bench_evidence import (
    load_observations,
    matching,
    save_observations,
    true_observation,
    without,
)
from pantomime.core.rotation import exp_so3
from pantomime.tests.core.bench_person import FOCAL, SIZE, label_of


def test_true_points_are_where_the_body_has_them(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    capture, label = person
    observation = true_observation(body, label)
    posing = Body(body)
    rotmats = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)))
    for name, points in observation.points.items():
        virtual = body.virtual_points(body.points[name])
        places = posing.points(
            virtual, torch.as_tensor(capture.betas), None, rotmats, torch.as_tensor(capture.transl[0])
        )
        pixels = (FOCAL * places[:, :2] / places[:, 2:]).numpy() + np.array(SIZE) / 2
        assert np.abs(points.image_px - pixels).max() < 0.6, name
    assert {"pose33", "left_hand", "right_hand"} <= set(observation.points)


def test_what_a_thing_hides_is_not_given_when_occluded(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    capture, _ = person
    knee = capture.joints[0, JOINT_INDEX["left_knee"]].astype(np.float64)
    near = 0.7 * knee
    things = Things.none().with_box(near - [0.12, 0.12, 0.02], near + [0.12, 0.12, 0.02])
    label = label_of(body, capture, things)
    assert label.joint_visibility[JOINT_INDEX["left_knee"]] == BEHIND_OBJECT
    assert 0.01 < label.hidden_share < 0.3
    knee_point = body.points["pose33"].names.index("left_knee")
    assert true_observation(body, label, "occluded").points["pose33"].confidence[knee_point] == 0
    assert true_observation(body, label).points["pose33"].confidence[knee_point] == 1


def test_the_whole_holds_what_lies_beyond_the_picture(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    _, label = person
    cut = replace(label, image_size=(SIZE[0], SIZE[1] // 2))
    ankle = body.points["pose33"].names.index("left_ankle")
    inside, whole = (true_observation(body, cut, which).points["pose33"] for which in ("true", "whole"))
    assert whole.image_px[ankle, 1] > SIZE[1] // 2
    assert inside.confidence[ankle] == 0 and whole.confidence.min() == 1


def test_visibility_tells_things_from_the_body_and_the_frame(
    body: BodyModel, person: tuple[Capture, PersonLabel]
) -> None:
    _, label = person
    chest = label.joints[JOINT_INDEX["spine3"]].astype(np.float64)
    points = np.array([chest + [0, 0, 1.0], chest + [0, 0, -0.6], chest + [9.0, 0, 0]])
    none = Things.none()
    seen = point_visibility(
        points, np.full(3, 0.01), label.vertices, body.faces, none.vertices, none.triangles, FOCAL, SIZE
    )
    assert seen.tolist() == [BEHIND_BODY, VISIBLE, OUTSIDE]


def test_parts_of_the_evidence_can_be_taken_away() -> None:
    zeros = Points(np.zeros((1, 2), np.float32), np.ones(1, np.float32), np.zeros((1, 3), np.float32))
    mask = np.zeros((2, 2), np.uint8)
    whole = Observation(
        SIZE,
        np.zeros(4, np.float32),
        1.0,
        dict.fromkeys(("pose33", "left_hand", "face468"), zeros),
        mask,
        np.zeros(4),
    )
    assert set(without(whole, ("hands",)).points) == {"pose33", "face468"}
    assert set(without(whole, ("face",)).points) == {"pose33", "left_hand"}
    assert all(points.world_m is None for points in without(whole, ("hints",)).points.values())
    assert without(whole, ("mask",)).mask is None and without(whole, ()).mask is mask


def test_detections_survive_being_kept(tmp_path: Path, body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    seen = true_observation(body, person[1], "occluded")
    seen = replace(
        seen, mask=np.full((4, 3), 200, np.uint8), mask_box_px=seen.box_px, face_scores={"jawOpen": 0.5}, source="test"
    )
    save_observations(tmp_path / "a.npz", [seen], "digest")
    (back,) = load_observations(tmp_path / "a.npz", "digest") or []
    assert back.image_size == seen.image_size and back.source == "test" and back.face_scores == {"jawOpen": 0.5}
    np.testing.assert_array_equal(back.mask, seen.mask)
    for name, points in seen.points.items():
        np.testing.assert_array_equal(back.points[name].image_px, points.image_px)
        np.testing.assert_array_equal(back.points[name].confidence, points.confidence)
        assert back.points[name].world_m is None
    assert load_observations(tmp_path / "a.npz", "another") is None
    assert load_observations(tmp_path / "a.npz", None) is not None
    (tmp_path / "b.npz").write_bytes(b"no archive")
    assert load_observations(tmp_path / "b.npz", None) is None


def test_the_labelled_person_is_told_from_others(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    right = true_observation(body, person[1])
    beside = replace(right, box_px=np.array([0, 0, 20, 400], np.float32))
    assert matching([beside, right], person[1]) is right
    assert matching([beside], person[1]) is None
    assert matching([], person[1]) is None


@pytest.fixture(scope="module")
def standing(body: BodyModel, pose: np.ndarray) -> Callable[..., PosedPerson]:
    """Makes a person in the world, turned about the vertical."""

    def make(turn_rad: float, sits: bool = False) -> PosedPerson:
        vectors = pose.copy()
        for side in ("left", "right") if sits else ():
            vectors[JOINT_INDEX[f"{side}_hip"]] = [-1.5, 0, 0]
            vectors[JOINT_INDEX[f"{side}_knee"]] = [1.5, 0, 0]
        vectors[0] = [0.0, turn_rad, 0.0]
        posing = Body(body)
        rotmats = torch.as_tensor(rotations_of(vectors), dtype=torch.float32)
        vertices = posing.vertices(rotmats=rotmats).numpy().astype(np.float64)
        world, joints = (item.numpy().astype(np.float64) for item in posing.chain(posing.J_template, rotmats, None))
        shift = -np.array([joints[0, 0], vertices[:, 1].min(), joints[0, 2]])
        template, rest = body.v_template.astype(np.float64), body.J_template.astype(np.float64)
        return PosedPerson(
            vertices + shift, joints + shift, world, rotations_of(vectors), template, rest, np.zeros(52), np.zeros(3)
        )

    return make


def test_people_face_where_they_are_turned(standing: Callable[..., PosedPerson]) -> None:
    np.testing.assert_allclose(facing(standing(0.7)), [np.sin(0.7), 0, np.cos(0.7)], atol=1e-6)


def test_cameras_see_whom_they_frame_mostly_from_before(standing: Callable[..., PosedPerson]) -> None:
    whole = standing(0.4)
    person = replace(whole, vertices=whole.vertices[::9], t_vertices=whole.t_vertices[::9])
    before = 0
    for seed in range(40):
        view, framing = draw_view(np.random.default_rng(seed), person)
        camera = view.to_camera(person.vertices)
        assert camera[:, 2].min() > 0.1
        assert 0 < view.centre[1] < 3
        np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(view.rotation) == pytest.approx(1.0)
        assert 23.9 < view.focal_px / max(view.size) * 36 < 135.1
        pixels = view.project(person.vertices)
        if framing == "full":
            assert pixels.min() > -1 and (pixels <= np.array(view.size) + 1).all()
        else:
            assert pixels[:, 1].max() > view.size[1]  # the feet are cut off
        before += bool((view.centre - person.joints[0]) @ facing(person) > 0)
    assert before >= 34


def test_a_camera_looks_at_its_target_upright() -> None:
    rotation = look_at(np.array([0.0, 1.0, 3.0]), np.zeros(3), 0.0)
    np.testing.assert_allclose(rotation @ (np.zeros(3) - [0.0, 1.0, 3.0]), [0, 0, np.sqrt(10)], atol=1e-9)
    assert rotation[1, 1] < 0  # down in the picture is down in the world


def test_things_in_the_way_hide_some_of_a_person_and_touch_nothing(
    body: BodyModel, standing: Callable[..., PosedPerson]
) -> None:
    person = standing(0.0)
    made = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        view, _ = draw_view(rng, person)
        things = draw_obstacle(rng, person, view, Things.none(), body.faces)
        if len(things.quads):
            made += 1
            assert 0.02 < hidden_share(person.vertices, things, view, body.faces) < 0.4
            low, high = things.vertices.min(0), things.vertices.max(0)
            assert not ((person.vertices > low) & (person.vertices < high)).all(1).any()
    assert made >= 4


def test_only_sitters_get_a_seat(standing: Callable[..., PosedPerson]) -> None:
    assert not len(seat_for(standing(0.3)).quads)
    person = standing(0.4, sits=True)
    seat = seat_for(person)
    assert len(seat.quads) == 6
    assert seat.vertices[:, 1].min() == pytest.approx(0.0)
    # Its top just touches what sits on it.
    lowest = person.vertices[np.linalg.norm((person.vertices - seat.vertices.mean(0))[:, [0, 2]], axis=1) < 0.1][:, 1]
    assert 0 < lowest.min() - seat.vertices[:, 1].max() < 0.02
