"""Corrections by hand: pins hold, locks hold, the rest stays; Jacobians against finite differences."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, JOINT_NAMES, NUM_JOINTS
from pantomime.core.capture import Capture
from pantomime.core.client import Client, new_job_id
from pantomime.core.detection.vocabulary import HAND21, POSE33
from pantomime.core.fitting.correct import Corrector
from pantomime.core.fitting.correction import CorrectError, Correction
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState
from pantomime.core.messages import Correct, Failed, Message, Result
from pantomime.core.rotation import exp_so3

FOCAL_PX = 900.0
PRINCIPAL = np.array([300.0, 400.0])
Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def corrector(body: BodyModel) -> Corrector:
    return Corrector(body)


def state_of(capture: Capture, body: BodyModel) -> BodyState:
    return BodyState(
        exp_so3(torch.as_tensor(capture.full_pose()[:1], dtype=torch.float64).reshape(1, NUM_JOINTS, 3)),
        torch.as_tensor(capture.transl[:1], dtype=torch.float64),
        torch.full((1,), np.log(capture.focal_px), dtype=torch.float64),
        torch.as_tensor(capture.betas, dtype=torch.float64)[None],
        torch.as_tensor(capture.expression[:1], dtype=torch.float64),
    )


def shown(capture: Capture, body: BodyModel, name: str) -> Floats:
    """Where the capture's first frame shows a point set, px."""
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    table = PointTable.of(skeleton, body.virtual_points(body.points[name]), (0,))
    position = table.positions(pose_chain(skeleton, state_of(capture, body)))[0].numpy()
    return capture.focal_px * position[:, :2] / position[:, 2:] + capture.principal_px


def joints(capture: Capture, body: BodyModel) -> Floats:
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    return pose_chain(skeleton, state_of(capture, body)).joints[0].numpy()


@pytest.fixture(scope="module")
def standing(body: BodyModel) -> Capture:
    """A person who stands 3 m before the camera, elbows and knees a little bent, all points seen."""
    pose = relaxed_pose().numpy()
    pose[0] = [np.pi, 0.0, 0.0]
    pose[JOINT_INDEX["left_elbow"], 1], pose[JOINT_INDEX["right_elbow"], 1] = -0.6, 0.6
    pose[JOINT_INDEX["left_knee"], 0] = pose[JOINT_INDEX["right_knee"], 0] = 0.2
    pose[25:] = body.hands_mean.reshape(-1, 3)
    flat = pose.astype(np.float32)
    capture = Capture(
        betas=np.zeros(body.num_betas, np.float32),
        expression=np.full((1, body.num_expressions), 0.05, np.float32),
        global_orient=flat[:1], body_pose=flat[1:22].reshape(1, -1), jaw_pose=flat[22:23], leye_pose=flat[23:24],
        reye_pose=flat[24:25], left_hand_pose=flat[25:40].reshape(1, -1), right_hand_pose=flat[40:].reshape(1, -1),
        transl=np.array([[0.0, 0.1, 3.0]], np.float32), joints=np.zeros((1, 55, 3), np.float32),
        joint_names=JOINT_NAMES, focal_px=FOCAL_PX, principal_px=PRINCIPAL.astype(np.float32), image_size=(600, 800),
        body_id=body.body_id,
    )  # fmt: skip
    pixels = shown(capture, body, "pose33")
    seen = np.concatenate([pixels, np.ones((33, 1))], 1)[None].astype(np.float32)
    return replace(capture, points={"pose33": seen})


def moved(corrected: Capture) -> set[str]:
    return set(corrected.diagnostics["correction"]["moved"])  # type: ignore[index]


WRIST, NOSE, HIP = POSE33.index("left_wrist"), POSE33.index("nose"), POSE33.index("left_hip")


@pytest.mark.parametrize(
    "correction",
    [
        Correction(points={("pose33", WRIST): (420.0, 350.0), ("pose33", HIP): (330.0, 420.0)}),
        Correction(points={("left_hand", 8): (400.0, 400.0)}, joints={"right_wrist": (-0.3, 0.0, 2.8)}),
        Correction(points={("face468", 61): (290.0, 180.0)}, locked=frozenset({"head", "left_knee"})),
        Correction(joints={"left_foot": (0.1, 0.9, 2.9)}, refit=True),
    ],
    ids=["body", "hand and space", "face", "refit"],
)
def test_gradient_and_constraints_match_finite_differences(
    correction: Correction, standing: Capture, corrector: Corrector
) -> None:
    reference, _ = corrector._states(standing)
    principal = torch.as_tensor(PRINCIPAL)
    unknowns = corrector._unknowns(standing, correction)
    problem = corrector._problem(standing, correction, reference, principal, unknowns)
    rng = np.random.default_rng(0)
    away = torch.as_tensor(rng.uniform(-0.02, 0.02, (1, unknowns.size)))
    state = problem.move(reference, away)
    gradient = problem.linearise(state).gradient[0]
    rows = problem.constraints(state)[1][0]
    step = 1e-6
    for column in rng.permutation(unknowns.size)[:20].tolist():
        d = torch.zeros(1, unknowns.size, dtype=torch.float64)
        d[0, column] = step
        ahead, behind = problem.move(state, d), problem.move(state, -d)
        slope = (problem.linearise(ahead).cost - problem.linearise(behind).cost)[0] / (4 * step)
        assert float(gradient[column]) == pytest.approx(float(slope), rel=2e-4, abs=2e-3 * float(gradient.abs().mean()))
        change = (problem.constraints(ahead)[0] - problem.constraints(behind)[0])[0] / (2 * step)
        torch.testing.assert_close(rows[:, column], change, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("shift", [(15.0, -5.0), (60.0, -90.0), (150.0, -250.0)], ids=["near", "far", "overhead"])
def test_a_dragged_wrist_is_where_it_was_put(
    shift: tuple[float, float], standing: Capture, body: BodyModel, corrector: Corrector
) -> None:
    target = shown(standing, body, "pose33")[WRIST] + shift
    corrected = corrector.correct(standing, Correction(points={("pose33", WRIST): tuple(target)}))
    assert np.linalg.norm(shown(corrected, body, "pose33")[WRIST] - target) < 0.1
    assert moved(corrected) >= {"left_shoulder", "left_elbow"}
    assert corrected.num_frames == 1
    np.testing.assert_allclose(corrected.joints[0], joints(corrected, body), atol=1e-5)


def test_far_limbs_keep_their_very_numbers(standing: Capture, body: BodyModel, corrector: Corrector) -> None:
    target = shown(standing, body, "pose33")[WRIST] + (20.0, -20.0)
    corrected = corrector.correct(standing, Correction(points={("pose33", WRIST): tuple(target)}))
    assert moved(corrected) <= {"left_collar", "left_shoulder", "left_elbow", "left_wrist"}
    before, after = standing.full_pose()[0].reshape(55, 3), corrected.full_pose()[0].reshape(55, 3)
    still = [name not in moved(corrected) for name in JOINT_NAMES]
    np.testing.assert_array_equal(after[still], before[still])
    np.testing.assert_array_equal(corrected.betas, standing.betas)
    np.testing.assert_array_equal(corrected.expression, standing.expression)
    others = [JOINT_INDEX[name] for name in ("right_wrist", "left_ankle", "right_ankle", "head", "pelvis")]
    assert np.linalg.norm(joints(corrected, body) - joints(standing, body), axis=1)[others].max() < 0.003


def test_what_is_pinned_where_it_is_moves_nothing(standing: Capture, body: BodyModel, corrector: Corrector) -> None:
    place = shown(standing, body, "pose33")[WRIST]
    knee = joints(standing, body)[JOINT_INDEX["left_knee"]]
    correction = Correction({("pose33", WRIST): tuple(place)}, {"left_knee": tuple(knee)})
    corrected = corrector.correct(standing, correction)
    np.testing.assert_array_equal(corrected.full_pose(), standing.full_pose())
    np.testing.assert_array_equal(corrected.transl, standing.transl)


def test_a_bone_pinned_in_space_is_there_to_a_millimetre(
    standing: Capture, body: BodyModel, corrector: Corrector
) -> None:
    foot = joints(standing, body)[JOINT_INDEX["right_ankle"]] + [0.1, -0.25, -0.2]
    hand = joints(standing, body)[JOINT_INDEX["left_wrist"]] + [0.1, -0.2, -0.1]
    pins = {"right_ankle": tuple(foot), "left_wrist": tuple(hand)}
    corrected = corrector.correct(standing, Correction(joints=pins))
    there = joints(corrected, body)
    assert np.linalg.norm(there[JOINT_INDEX["right_ankle"]] - foot) < 0.001
    assert np.linalg.norm(there[JOINT_INDEX["left_wrist"]] - hand) < 0.001


def test_several_pins_hold_together(standing: Capture, body: BodyModel, corrector: Corrector) -> None:
    place = shown(standing, body, "pose33")
    shifts = {"left_wrist": (60, -60), "left_elbow": (25, -5), "right_ankle": (-40, -20), "nose": (10, 5)}
    pins = {("pose33", POSE33.index(name)): tuple(place[POSE33.index(name)] + s) for name, s in shifts.items()}
    there = shown(corrector.correct(standing, Correction(points=pins)), body, "pose33")
    for (_, index), target in pins.items():
        assert np.linalg.norm(there[index] - target) < 0.5, POSE33[index]


def test_a_wrist_beyond_the_arm_takes_the_body_along(standing: Capture, body: BodyModel, corrector: Corrector) -> None:
    target = shown(standing, body, "pose33")[WRIST] + (300.0, -100.0)
    corrected = corrector.correct(standing, Correction(points={("pose33", WRIST): tuple(target)}))
    assert np.linalg.norm(shown(corrected, body, "pose33")[WRIST] - target) < 0.5
    assert moved(corrected) & {"spine1", "spine2", "spine3"} or np.abs(corrected.transl - standing.transl).max() > 0.01


def test_pins_that_contradict_each_other_are_told_and_nothing_breaks(
    standing: Capture, body: BodyModel, corrector: Corrector
) -> None:
    knee = joints(standing, body)[JOINT_INDEX["left_knee"]]
    pins = {"left_knee": tuple(knee), "left_ankle": tuple(knee + [0.0, 1.2, 0.0])}
    corrected = corrector.correct(standing, Correction(joints=pins))
    assert np.isfinite(corrected.full_pose()).all()
    assert corrected.diagnostics["correction"]["pins_off_m"] > 0.1  # type: ignore[index]


def test_locked_joints_keep_their_very_rotations(standing: Capture, body: BodyModel, corrector: Corrector) -> None:
    locked = frozenset({"left_elbow", "left_wrist", "left_collar"})
    target = shown(standing, body, "pose33")[WRIST] + (80.0, -60.0)
    corrected = corrector.correct(standing, Correction({("pose33", WRIST): tuple(target)}, locked=locked))
    rows = [JOINT_INDEX[name] for name in locked]
    before, after = standing.full_pose()[0].reshape(55, 3), corrected.full_pose()[0].reshape(55, 3)
    np.testing.assert_array_equal(after[rows], before[rows])
    assert np.linalg.norm(shown(corrected, body, "pose33")[WRIST] - target) < 0.5


def test_a_locked_pelvis_stands_where_it_is(standing: Capture, body: BodyModel, corrector: Corrector) -> None:
    target = shown(standing, body, "pose33")[WRIST] + (300.0, -100.0)
    corrected = corrector.correct(
        standing, Correction({("pose33", WRIST): tuple(target)}, locked=frozenset({"pelvis"}))
    )
    np.testing.assert_array_equal(corrected.global_orient, standing.global_orient)
    np.testing.assert_array_equal(corrected.transl, standing.transl)


def test_a_dragged_fingertip_bends_its_finger(standing: Capture, body: BodyModel, corrector: Corrector) -> None:
    tip = HAND21.index("index4")
    place = shown(standing, body, "left_hand")
    target = place[tip] + (6.0, -8.0)
    corrected = corrector.correct(standing, Correction(points={("left_hand", tip): tuple(target)}))
    there = shown(corrected, body, "left_hand")
    assert np.linalg.norm(there[tip] - target) < 0.5
    assert moved(corrected) & {"left_index1", "left_index2", "left_index3"}
    assert not any(name.startswith("right_") for name in moved(corrected))
    # The other fingers hardly follow.
    assert np.linalg.norm(there - place, axis=1)[HAND21.index("pinky4")] < 3.0


def test_a_dragged_mouth_corner_changes_the_expression(
    standing: Capture, body: BodyModel, corrector: Corrector
) -> None:
    near = replace(standing, transl=np.array([[0.0, 0.5, 1.0]], np.float32), points={})
    place = shown(near, body, "face468")
    target = place[291] + (6.0, -5.0)  # the left corner, out and up
    corrected = corrector.correct(near, Correction(points={("face468", 291): tuple(target)}))
    there = shown(corrected, body, "face468")
    assert np.linalg.norm(there[291] - target) < 0.5
    assert corrected.expression.min() >= 0.0 and corrected.expression.max() <= 1.0
    names = body.expression_names
    change = corrected.expression[0] - near.expression[0]
    assert {names[i] for i in np.argsort(-change)[:6]} & {"mouthSmileLeft", "mouthStretchLeft", "mouthDimpleLeft"}
    assert np.linalg.norm(there[[10, 33, 263]] - place[[10, 33, 263]], axis=1).max() < 4.0


def test_faces_are_corrected_with_head_and_expression_alone(
    standing: Capture, body: BodyModel, corrector: Corrector
) -> None:
    near = replace(standing, transl=np.array([[0.0, 0.5, 1.0]], np.float32), points={})
    place = shown(near, body, "face468")
    names = body.expression_names
    lip = corrector.correct(near, Correction(points={("face468", 17): tuple(place[17] + (0.0, 7.0))}))
    assert moved(lip) <= {"neck", "head"} and (lip.transl == near.transl).all()
    change = lip.expression[0] - near.expression[0]
    assert names[int(np.argmax(change))] == "jawOpen"
    # The tip of the nose goes with the skull: the head turns, and the face stays as it is.
    nose = corrector.correct(near, Correction(points={("face468", 1): tuple(place[1] + (8.0, 0.0))}))
    assert moved(nose) == {"neck", "head"}
    np.testing.assert_array_equal(nose.expression, near.expression)


def test_a_result_does_not_hang_on_the_way_there(standing: Capture, body: BodyModel, corrector: Corrector) -> None:
    """While dragging, the pose on the screen is one more start; back at the old place all is as before."""
    place = shown(standing, body, "pose33")[WRIST]
    away = corrector.correct(standing, Correction(points={("pose33", WRIST): tuple(place + (90.0, -120.0))}))

    def both(name: str) -> NDArray[np.float32]:
        return np.concatenate([getattr(standing, name), getattr(away, name)])

    fields = (
        "expression", "global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose",
        "right_hand_pose", "transl", "joints",
    )  # fmt: skip
    two = replace(standing, **{name: both(name) for name in fields})  # type: ignore[arg-type]
    back = corrector.correct(two, Correction(points={("pose33", WRIST): tuple(place)}))
    np.testing.assert_array_equal(back.full_pose(), standing.full_pose())
    target = place + (20.0, -30.0)
    direct = corrector.correct(standing, Correction(points={("pose33", WRIST): tuple(target)}))
    detour = corrector.correct(two, Correction(points={("pose33", WRIST): tuple(target)}))
    assert np.abs(joints(direct, body) - joints(detour, body)).max() < 0.01


def test_a_refit_goes_to_what_was_seen_and_keeps_the_pins(
    standing: Capture, body: BodyModel, corrector: Corrector
) -> None:
    truth = shown(standing, body, "pose33")
    turned = standing.body_pose.copy()
    turned[0, 3 * (JOINT_INDEX["right_shoulder"] - 1) + 2] -= 0.5
    wrong = replace(standing, body_pose=turned)
    elbow = POSE33.index("right_elbow")
    assert np.linalg.norm(shown(wrong, body, "pose33")[elbow] - truth[elbow]) > 30
    free = shown(corrector.correct(wrong, Correction(refit=True)), body, "pose33")
    assert np.linalg.norm(free[elbow] - truth[elbow]) < 12
    target = truth[WRIST] + (10.0, -10.0)
    corrected = corrector.correct(wrong, Correction(points={("pose33", WRIST): tuple(target)}, refit=True))
    there = shown(corrected, body, "pose33")
    assert np.linalg.norm(there[WRIST] - target) < 0.5
    assert np.linalg.norm(there[elbow] - truth[elbow]) < 12


def test_a_refit_brings_the_expression_back_that_was_seen(
    standing: Capture, body: BodyModel, corrector: Corrector
) -> None:
    names = list(body.expression_names)
    truth = replace(standing, transl=np.array([[0.0, 0.5, 1.2]], np.float32), expression=standing.expression.copy())
    for name, value in (("jawOpen", 0.7), ("mouthSmileLeft", 0.6), ("mouthSmileRight", 0.6)):
        truth.expression[0, names.index(name)] = value
    points = {}
    for name in ("pose33", "face468"):
        pixels = shown(truth, body, name)
        points[name] = np.concatenate([pixels, np.full((len(pixels), 1), 0.9)], 1)[None].astype(np.float32)
    wrong = replace(truth, expression=standing.expression, points=points)
    corrected = corrector.correct(wrong, Correction(refit=True))
    usable = np.flatnonzero(body.points["face468"].usable)

    def off(capture: Capture) -> float:
        distance = np.linalg.norm(shown(capture, body, "face468") - points["face468"][0, :, :2], axis=1)
        return float(distance[usable].mean())

    assert off(corrected) < 0.3 * off(wrong)
    found = dict(zip(names, corrected.expression[0].tolist(), strict=True))
    assert found["jawOpen"] > 0.5 and min(found["mouthSmileLeft"], found["mouthSmileRight"]) > 0.2
    assert corrected.expression.min() >= 0.0 and corrected.expression.max() <= 1.0
    # A face that was not seen, or is locked, stays as it is.
    unseen = points["face468"] * (1.0, 1.0, 0.1)
    for capture, correction in (
        (replace(wrong, points={**points, "face468": unseen.astype(np.float32)}), Correction(refit=True)),
        (wrong, Correction(refit=True, locked=frozenset({"jaw"}))),
    ):
        np.testing.assert_array_equal(corrector.correct(capture, correction).expression, wrong.expression)


@pytest.mark.parametrize(
    ("correction", "sentence"),
    [
        (Correction(points={("pose99", 0): (0.0, 0.0)}), "no points “pose99”"),
        (Correction(points={("pose33", 33): (0.0, 0.0)}), "no point 33"),
        (Correction(points={("pose33", 3): (np.nan, 0.0)}), "at no place"),
        (Correction(joints={"tail": (0.0, 0.0, 2.0)}), "no bone “tail”"),
        (Correction(joints={"head": (0.0, 0.0, -2.0)}), "behind the camera"),
        (Correction(locked=frozenset({"tail"})), "no bone “tail”"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(
    correction: Correction, sentence: str, standing: Capture, corrector: Corrector
) -> None:
    with pytest.raises(CorrectError, match=sentence):
        corrector.correct(standing, correction)


def test_a_pose_of_another_body_or_without_numbers_is_refused(standing: Capture, corrector: Corrector) -> None:
    with pytest.raises(CorrectError, match="Choose that body"):
        corrector.correct(replace(standing, body_id="smplx-neutral"), Correction())
    broken = replace(standing, transl=np.full((1, 3), np.nan, np.float32))
    with pytest.raises(CorrectError, match="not numbers"):
        corrector.correct(broken, Correction())


def test_the_worker_corrects_a_file_and_refuses_in_a_sentence(
    standing: Capture, body: BodyModel, tmp_path: Path
) -> None:
    standing.save(tmp_path / "before.npz")
    target = shown(standing, body, "pose33")[WRIST] + (30.0, -20.0)
    files = (str(tmp_path / "before.npz"), str(tmp_path / "after.npz"))
    pin = {f"pose33/{WRIST}": [float(value) for value in target]}
    with Client() as client:

        def answer(request: Correct) -> Message:
            client.submit(request)
            events: list[Message] = []
            while client.job is not None:
                events += client.poll()
                time.sleep(0.005)
            return events[-1]

        done = answer(Correct(new_job_id(), *files, pin, locked=["left_wrist"]))
        assert isinstance(done, Result) and done.captures == [files[1]], done
        corrected = Capture.load(files[1])
        assert np.linalg.norm(shown(corrected, body, "pose33")[WRIST] - target) < 0.5
        assert "left_wrist" not in moved(corrected)
        for request, word in (
            (Correct(new_job_id(), *files, {"pose33": [1.0, 2.0]}), "makes no sense"),
            (Correct(new_job_id(), *files, {"pose33/99": [1.0, 2.0]}), "no point 99"),
            (Correct(new_job_id(), str(tmp_path / "none.npz"), files[1], pin), "none.npz"),
        ):
            failed = answer(request)
            assert isinstance(failed, Failed) and word in failed.text and failed.detail == "", failed
