"""Errors of fits against labels, on somebody made from the free body here: that needs neither anny nor Blender."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.bench_labels import OUTSIDE, VISIBLE, PersonLabel
from pantomime.core.body.bench_people import GESTURES, finger_axes, hand_rotations
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from pantomime.core.capture import Capture
from pantomime.core.detection.observation import Points
from pantomime.core.fitting.bench_evidence import true_observation
from pantomime.core.fitting.bench_report import expression_rows, expression_table, gesture_rows, gesture_table
from pantomime.core.fitting.bench_scores import Scorer, peer_score
from pantomime.core.fitting.bench_types import Result, Sample
from pantomime.tests.core.bench_person import capture_of


def test_the_truth_scores_no_error(scorer: Scorer, person: tuple[Capture, PersonLabel]) -> None:
    scores = scorer.score(*person)
    errors = {name: value for name, value in scores.items() if name not in ("pck", "iou")}
    assert max(errors.values()) < 0.01
    assert scores["pck"] == 1.0 and scores["iou"] == 1.0


def test_a_wrong_place_costs_overlap_but_no_error_of_the_body(
    scorer: Scorer, person: tuple[Capture, PersonLabel]
) -> None:
    capture, label = person
    shift = np.array([0.4, 0.0, 0.0], np.float32)
    scores = scorer.score(replace(capture, transl=capture.transl + shift, joints=capture.joints + shift), label)
    assert scores["pve"] < 0.01 and scores["mpjpe"] < 0.01
    assert scores["pck"] == 0.0 and scores["iou"] < 0.5


def test_a_wrong_wrist_is_an_error_of_hands_that_alignment_forgives(
    body: BodyModel, scorer: Scorer, pose: np.ndarray, person: tuple[Capture, PersonLabel]
) -> None:
    capture, label = person
    bent = pose.copy()
    bent[JOINT_INDEX["left_wrist"]] = [0.0, 0.0, 0.8]
    scores = scorer.score(capture_of(body, bent, capture.betas.astype(np.float64), (0.05, 0.0, 2.4)), label)
    assert scores["pve_hands"] > 20 and scores["mpjpe_hands"] > 20
    assert scores["pa_mpjpe_hands"] < 0.01 and scores["pa_pve_hands"] < 4  # skin about the wrist does bend
    assert scores["mpjpe"] < 0.01 and scores["pve_face"] < 0.01


def test_hands_out_of_sight_do_not_count_as_seen(scorer: Scorer, person: tuple[Capture, PersonLabel]) -> None:
    capture, label = person
    nothing = replace(label, joint_visibility=np.full(NUM_JOINTS, OUTSIDE, np.uint8))
    assert np.isnan(scorer.score(capture, nothing)["pa_pve_seen_hands"])
    assert np.isfinite(scorer.score(capture, nothing)["pa_pve_hands"])


def test_the_face_is_what_expressions_move_and_hands_are_hands(body: BodyModel, scorer: Scorer) -> None:
    face = body.v_template[scorer.regions.face]
    assert face[:, 1].min() > body.J_template[JOINT_INDEX["neck"]][1] - 0.05
    assert len(scorer.regions.face) > 1000
    for part, sign in zip(scorer.regions.hands, (1, -1), strict=True):
        assert (sign * body.v_template[part][:, 0]).min() > 0.5
    assert len(scorer.regions.all) < body.num_vertices  # no teeth, no eyes


def test_the_peer_is_scored_over_twelve_joints(person: tuple[Capture, PersonLabel], body: BodyModel) -> None:
    _, label = person
    observation = true_observation(body, label)
    assert np.isnan(peer_score(observation, label)) and np.isnan(peer_score(None, label))
    from pantomime.core.fitting.bench_evidence import true_points

    places, _ = true_points(body, label)["pose33"]
    world = Points(
        observation.points["pose33"].image_px, np.ones(33, np.float32), (0.5 * places - 1.0).astype(np.float32)
    )
    # Shoulder and hip points of the detector are no joint centres, so the truth is near, not zero.
    assert peer_score(replace(observation, points={"pose33": world}), label) < 30


def test_fingers_are_judged_in_the_wrist_s_frame(
    body: BodyModel, scorer: Scorer, pose: np.ndarray, person: tuple[Capture, PersonLabel]
) -> None:
    capture, label = person
    betas = capture.betas.astype(np.float64)
    label = replace(label, joint_visibility=np.full(NUM_JOINTS, VISIBLE, np.uint8))
    bent = pose.copy()
    bent[JOINT_INDEX["left_wrist"]] = [0.0, 0.0, 0.8]
    bent[JOINT_INDEX["right_elbow"]] = [0.4, 0.3, 0.0]
    scores = scorer.score(capture_of(body, bent, betas, (0.05, 0.0, 2.4)), label, silhouettes=False)
    assert scores["fingers_hands"] < 0.01 < scores["mpjpe_hands"]
    bent = pose.copy()
    bent[JOINT_INDEX["left_index1"]] = [0.0, 0.0, -1.0]
    scores = scorer.score(capture_of(body, bent, betas, (0.05, 0.0, 2.4)), label, silhouettes=False)
    assert 1 < scores["fingers_seen_hands"] == pytest.approx(scores["fingers_hands"])


def test_expressions_that_follow_the_truth_correlate(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    capture, label = person
    names = body.expression_names
    rng = np.random.default_rng(2)
    results = []
    for k in range(30):
        true = np.zeros(len(names), np.float32)
        if k % 3:
            true[names.index("jawOpen")] = rng.uniform(0.4, 1.0)
        fitted = np.zeros((1, len(names)), np.float32)
        fitted[0, names.index("jawOpen")] = 0.5 * true[names.index("jawOpen")]
        fitted[0, names.index("mouthPucker")] = rng.uniform(0, 0.1)
        sample = Sample(Path("x.jpg"), replace(label, expression=true), None)
        results.append(Result(sample, {"pve": 1.0}, replace(capture, expression=fitted), 0.1))
    rows = expression_rows(results, names)
    assert rows["open mouth"]["correlation"] == pytest.approx(1.0, abs=1e-6)
    assert rows["open mouth"]["fitted"] == pytest.approx(0.5 * rows["open mouth"]["true"])
    assert "pucker" not in rows  # nobody puckered: there is nothing to follow
    assert 0 < rows["neutral faces, largest component"]["at_rest"] <= 0.1
    assert "| open mouth | 1.00 |" in expression_table(rows)


def test_fingers_are_told_by_what_the_true_hand_does(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    capture, label = person
    rotations = label.rotations.copy()
    fist = hand_rotations(finger_axes(body.hands_mean[0]), np.array(GESTURES["fist"]), 1.0)
    rotations[LEFT_HAND], rotations[RIGHT_HAND] = fist, np.diag([1.0, -1.0, -1.0])  # the right one is no gesture
    sample = Sample(Path("x.jpg"), replace(label, rotations=rotations), None)
    scores = {"fingers_seen_left_hand": 7.0, "fingers_seen_right_hand": 90.0}
    hidden = {"fingers_seen_left_hand": float("nan"), "fingers_seen_right_hand": float("nan")}
    rows = gesture_rows([Result(sample, scores, capture, 0.1), Result(sample, hidden, capture, 0.1)], body)
    assert rows == {"fist": {"fingers": 7.0, "hands": 1.0}}
    assert "| fist | 1 | 7.0 |" in gesture_table(rows)
