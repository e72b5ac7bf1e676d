"""The people of the accuracy bench are anny's own: in the poses that they are given, seen by the label's camera."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("anny")

from pantomime.core.body.bench import fit_betas
from pantomime.core.body.bench_draw import draw_label
from pantomime.core.body.bench_labels import OUTSIDE, PersonLabel
from pantomime.core.body.bench_people import GESTURES, People, bench_poses, hand_rotations, mirrored
from pantomime.core.body.bench_views import project
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, LEFT_HAND, NUM_JOINTS, PARENTS


@pytest.fixture(scope="module")
def people(body: BodyModel) -> People:
    return People(body)


@pytest.fixture(scope="module")
def label_at(people: People, body: BodyModel) -> Callable[[int], PersonLabel]:
    kept: dict[int, PersonLabel] = {}

    def label(index: int) -> PersonLabel:
        return kept.setdefault(index, draw_label(people, body, "tune", 11, index))

    return label


def test_test_and_tuning_poses_share_none() -> None:
    test, tune = bench_poses("test").rotations, bench_poses("tune").rotations
    assert len(test) == len(tune) == 50
    for pose in test:
        assert np.abs(tune - pose).max(axis=(1, 2, 3)).min() > 1e-3


def test_labels_repeat_and_differ_by_index(
    people: People, body: BodyModel, label_at: Callable[[int], PersonLabel]
) -> None:
    again = draw_label(people, body, "tune", 11, 0)
    np.testing.assert_array_equal(label_at(0).vertices, again.vertices)
    assert again.focal_px == label_at(0).focal_px
    assert label_at(1).pose_index != again.pose_index and label_at(1).focal_px != again.focal_px


def test_the_second_round_of_poses_is_mirrored(label_at: Callable[[int], PersonLabel]) -> None:
    first, second = label_at(0), label_at(50)
    assert first.pose_index == second.pose_index and not first.mirrored and second.mirrored
    body_joints = slice(0, 22)
    expected = mirrored(first.rotations.astype(np.float64))
    np.testing.assert_allclose(second.rotations[body_joints], expected[body_joints], atol=1e-6)


@pytest.mark.parametrize("index", [0, 1])
def test_a_label_is_consistent(label_at: Callable[[int], PersonLabel], index: int) -> None:
    label = label_at(index)
    pixels = project(label.joints.astype(np.float64), label.focal_px, label.image_size)
    np.testing.assert_allclose(label.joints_px, pixels, atol=0.01)
    outside = ((pixels < 0) | (pixels >= np.array(label.image_size))).any(1)
    np.testing.assert_array_equal(label.joint_visibility == OUTSIDE, outside)
    # The floor is where the lowest point is.
    rotation, shift = label.T_camera_world[:3, :3], label.T_camera_world[:3, 3]
    world = (label.vertices - shift) @ rotation
    assert world[:, 1].min() == pytest.approx(0.0, abs=1e-4)
    # Bones keep their lengths, and joints their rotations along the chain.
    for j in range(1, NUM_JOINTS):
        offset = label.t_joints[j] - label.t_joints[PARENTS[j]]
        moved = label.joint_rotations[PARENTS[j]] @ offset
        np.testing.assert_allclose(label.joints[j] - label.joints[PARENTS[j]], moved, atol=1e-5)
    assert label.expression.min() >= 0 and label.expression.max() <= 1


def test_people_are_in_the_free_body_s_vertex_order(body: BodyModel, label_at: Callable[[int], PersonLabel]) -> None:
    label = label_at(0)
    neutral = label.t_vertices - np.einsum("vie,e->vi", body.exprdirs, label.expression)
    betas = fit_betas(body, neutral[None].astype(np.float64))[0]
    fitted = body.v_template + body.shapedirs @ betas
    assert np.linalg.norm(fitted - neutral, axis=1).mean() < 0.004
    joints = body.J_template + body.J_shapedirs @ betas
    assert np.linalg.norm(joints - label.t_joints, axis=1).mean() < 0.006


def test_gestures_bend_the_fingers_that_they_name(people: People) -> None:
    def bend(rotations: np.ndarray, finger: str) -> float:
        rows = [JOINT_INDEX[f"left_{finger}{k}"] - LEFT_HAND.start for k in (1, 2, 3)]
        return float(sum(np.degrees(np.arccos((np.trace(rotations[row]) - 1) / 2)) for row in rows))

    axes = people._hands[0]
    victory = hand_rotations(axes, np.array(GESTURES["victory"]), 1.0)
    assert bend(victory, "index") < 20 and bend(victory, "middle") < 20
    assert bend(victory, "ring") > 180 and bend(victory, "pinky") > 180
    fist = hand_rotations(axes, np.array(GESTURES["fist"]), 1.0)
    person = people.pose(people.source.sample_people(1, 1, 30, 31), _with_left_hand(fist), np.zeros(52))
    palm, tip = person.joints[JOINT_INDEX["left_wrist"]], person.joints[JOINT_INDEX["left_middle3"]]
    knuckle = person.joints[JOINT_INDEX["left_middle1"]]
    assert tip[0] < knuckle[0] + 0.02 and tip[1] < palm[1]  # curled back, under the palm


def test_close_ups_show_the_named_face_or_hands(people: People, body: BodyModel) -> None:
    label = draw_label(people, body, "tune", 5, 3, "faces")  # the third expression after the neutral one
    acted = {body.expression_names[i] for i in np.flatnonzero(label.expression)}
    assert acted == {"jawOpen"} and label.framing == "face"
    face = [JOINT_INDEX[name] for name in ("jaw", "left_eye_smplhf", "right_eye_smplhf")]
    assert (label.joint_visibility[face] != OUTSIDE).all()
    assert label.joint_rotations[JOINT_INDEX["head"]][2, 2] < -0.5  # it looks at the camera
    label = draw_label(people, body, "tune", 5, 4, "hands")
    hands = [*range(LEFT_HAND.start, NUM_JOINTS)]
    assert (label.joint_visibility[hands] != OUTSIDE).all()
    wrists = [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]
    elbows = [JOINT_INDEX["left_elbow"], JOINT_INDEX["right_elbow"]]
    assert (label.joints_px[wrists, 1] < label.joints_px[elbows, 1]).all()  # forearms up
    assert not len(label.object_quads) or label.hidden_share < 0.3


def _with_left_hand(hand: np.ndarray) -> np.ndarray:
    rotations = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    rotations[LEFT_HAND] = hand
    return rotations
