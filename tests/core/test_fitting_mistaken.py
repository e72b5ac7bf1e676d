"""Hands taken for the other side's: read across where that lets the wrist turn back, or known by their middle alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.vocabulary import HAND21
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.mistaken import (
    ACROSS,
    MIDDLE,
    MistakenSettings,
    mistaken_hands,
    without_mistakes,
)
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState
from pantomime.core.priors.limits import JointLimits
from pantomime.core.rotation import exp_so3

FOCAL_PX, SIZE = 900.0, (800, 800)
WRIST = JOINT_INDEX["right_wrist"]


def state_of(body: BodyModel, wrist: NDArray[np.float64]) -> BodyState:
    """Somebody who stands, the right arm stretched out, its hand's back to the camera, and its wrist turned."""
    pose = relaxed_pose()
    pose[LEFT_HAND.start : RIGHT_HAND.stop] = torch.as_tensor(body.hands_mean.reshape(-1, 3)).double()
    pose[0, 0] = np.pi
    pose[JOINT_INDEX["right_shoulder"]] = torch.tensor([-1.2, 0.0, 0.0])
    pose[JOINT_INDEX["right_elbow"]] = 0.0
    pose[WRIST] = torch.as_tensor(wrist)
    return BodyState(
        exp_so3(pose)[None],
        torch.tensor([[0.0, 0.2, 3.0]], dtype=torch.float64),
        torch.tensor([np.log(FOCAL_PX)], dtype=torch.float64),
        torch.zeros(1, body.num_betas, dtype=torch.float64),
        torch.zeros(1, body.num_expressions, dtype=torch.float64),
    )


def observed(body: BodyModel, state: BodyState) -> Observation:
    skeleton, points = Skeleton.of(body, torch.float64, "cpu"), {}
    chain = pose_chain(skeleton, state)
    for name in ("pose33", "left_hand", "right_hand"):
        where = PointTable.of(skeleton, body.virtual_points(body.points[name]), (0,)).positions(chain)[0].numpy()
        pixels = FOCAL_PX * where[:, :2] / where[:, 2:] + np.array(SIZE) / 2
        score = {"left_hand": 0.95, "right_hand": 0.05}.get(name)
        ones = np.ones(len(pixels), np.float32)
        points[name] = Points(pixels.astype(np.float32), ones, (where - where.mean(0)).astype(np.float32), score)
    everything = np.concatenate([p.image_px for p in points.values()])
    return Observation(SIZE, np.concatenate([everything.min(0), everything.max(0)]), 1.0, points, source="synthetic")


def taken_for_a_left_one(observation: Observation) -> Observation:
    """The right hand as seen from its other side: opposite fingers, a thumb where there is none, depth mirrored."""
    hand = observation.points["right_hand"]
    assert hand.world_m is not None
    order = [i if i < 5 else HAND21.index(f"{OTHERS[HAND21[i][:-1]]}{HAND21[i][-1]}") for i in range(len(HAND21))]
    image, world = hand.image_px[order].copy(), hand.world_m[order].copy()
    for array, middle in ((image, hand.image_px[[9, 13]].mean(0)), (world, hand.world_m[[9, 13]].mean(0))):
        along = middle - array[0]
        along = along / np.linalg.norm(along)
        offset = array[1:5] - array[0]
        array[1:5] = array[0] + 2 * (offset @ along)[:, None] * along - offset
    world[:, 2] *= -1
    return replace(
        observation, points={**observation.points, "right_hand": Points(image, 0.7 * hand.confidence, world, 0.9)}
    )


OTHERS = {"index": "pinky", "middle": "ring", "ring": "middle", "pinky": "index"}


def wrist_error_deg(
    body: BodyModel, truth: BodyState, settings: FitSettings, seen: Observation
) -> tuple[float, object]:
    """How far the right hand is turned from the true one, and what the fit says of mistaken hands."""
    capture = Fitter(body, settings).fit(seen, PhotoCamera(FOCAL_PX, "given"))
    found = exp_so3(torch.as_tensor(capture.full_pose()[0]).double().reshape(-1, 3))
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    there, here = (
        pose_chain(skeleton, replace(truth, rotmats=rotmats)).globals[0, WRIST]
        for rotmats in (truth.rotmats, found[None])
    )
    cosine = (torch.trace(there.T @ here) - 1) / 2
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))), capture.diagnostics.get("mistaken_hands")


def test_a_hand_taken_for_a_left_one_is_read_across(body: BodyModel) -> None:
    truth = state_of(body, np.array([0.2, 0.1, 0.1]))
    seen = taken_for_a_left_one(observed(body, truth))
    believing = replace(FitSettings(), mistaken=MistakenSettings(likeness=0.0))
    wrong, nothing = wrist_error_deg(body, truth, believing, seen)
    right, how = wrist_error_deg(body, truth, FitSettings(), seen)
    assert nothing is None and how == {"right": ACROSS}
    assert wrong > 60 and right < 20


def test_hands_that_look_like_their_side_are_believed(body: BodyModel) -> None:
    truth = state_of(body, np.array([0.2, 0.1, 0.1]))
    seen = observed(body, truth)
    error, how = wrist_error_deg(body, truth, FitSettings(), seen)
    assert how is None and error < 20


@pytest.mark.parametrize(
    ("score", "degrees", "mistaken"),
    [(0.9, 85, True), (0.5, 85, False), (0.9, 20, False), (None, 85, False)],
)
def test_it_takes_both_a_strange_hand_and_a_turned_wrist(
    body: BodyModel, score: float | None, degrees: float, mistaken: bool
) -> None:
    state = state_of(body, np.radians([degrees, 0.0, 0.0]))
    seen = observed(body, state)
    hand = seen.points["right_hand"]
    seen.points["right_hand"] = replace(hand, left_score=score)
    limits = JointLimits((JOINT_INDEX["left_wrist"], WRIST), body.J_template, torch.float64)
    settings = MistakenSettings()
    assert mistaken_hands(seen, state, limits, settings, settled=False) == (("right",) if mistaken else ())
    # read across, it is judged at the end alone
    across = without_mistakes(seen, {"right": ACROSS})
    assert mistaken_hands(across, state, limits, settings, settled=False) == ()
    assert mistaken_hands(across, state, limits, settings, settled=True) == (("right",) if mistaken else ())


def test_read_across_fingers_change_places_and_the_thumb_is_gone(body: BodyModel) -> None:
    seen = observed(body, state_of(body, np.zeros(3)))
    before, after = seen.points["left_hand"], without_mistakes(seen, {"left": ACROSS}).points["left_hand"]
    for name, other in (("index3", "pinky3"), ("ring1", "middle1"), ("wrist", "wrist")):
        np.testing.assert_array_equal(after.image_px[HAND21.index(name)], before.image_px[HAND21.index(other)])
    assert (after.confidence[1:5] == 0).all() and (after.confidence[5:] == 1).all() and after.world_m is None


def test_of_the_middle_nothing_says_which_side_it_is_of(body: BodyModel) -> None:
    seen = observed(body, state_of(body, np.zeros(3)))
    hand, across = (without_mistakes(s, {"left": MIDDLE}).points["left_hand"] for s in (seen, read_across(seen)))
    np.testing.assert_allclose(hand.image_px[hand.confidence > 0], across.image_px[across.confidence > 0])
    assert (hand.confidence > 0).sum() == 9 and hand.world_m is None and hand.left_score is None


def read_across(observation: Observation) -> Observation:
    return without_mistakes(observation, {"left": ACROSS})
