"""Limbs that a picture does not show hang."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pantomime.core.body.load import load_body
from pantomime.core.body.skeleton import JOINT_INDEX, NUM_JOINTS
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.vocabulary import POSE33
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.unseen import (
    HangSettings,
    beside_the_other,
    hang,
    hidden_forearms,
    hidden_legs,
    without_guesses,
)
from pantomime.core.priors.regressor import DIRECTIONS, NUM_BETAS, NUM_BODY, Prediction

from .test_fitting_straight import standing

BELOW = ("hip", "knee", "ankle", "heel", "foot_index", "wrist", "pinky", "index", "thumb")
DOWN = np.array([0.0, 1.0, 0.0])


def prediction(trunk: tuple[float, float, float] = (0.0, -1.0, 0.0), sigma_deg: float = 20.0) -> Prediction:
    """Thighs and all else point at the camera; the trunk along `trunk`."""
    directions = torch.zeros(len(DIRECTIONS), 3)
    directions[:, 2] = -1
    directions[DIRECTIONS.index(("spine3", "x"))] = torch.tensor([1.0, 0.0, 0.0])
    directions[DIRECTIONS.index(("spine3", "y"))] = torch.tensor(trunk)
    sigma = float(np.radians(sigma_deg))
    return Prediction(
        torch.eye(3).repeat(1, NUM_JOINTS, 1, 1),
        torch.full((NUM_BODY,), sigma),
        torch.zeros(NUM_BETAS),
        torch.ones(NUM_BETAS),
        directions,
        torch.full((len(DIRECTIONS),), sigma),
    )


def unseen(*names: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    share = np.zeros(NUM_JOINTS, np.float32)
    share[[JOINT_INDEX[name] for name in names]] = 1
    return share


LEFT_LEG = ("left_hip", "left_knee", "left_ankle")
LEFT_THIGH, RIGHT_THIGH = (DIRECTIONS.index((f"{side}_hip", f"{side}_knee")) for side in ("left", "right"))


def with_right_thigh(degrees: float, aside: float = 0.0) -> Prediction:
    """The right thigh so far from hanging, turned outwards by `aside`."""
    found, a, b = prediction(), np.radians(degrees), np.radians(aside)
    line = [-np.sin(a) * np.sin(b), np.cos(a), -np.sin(a) * np.cos(b)]
    found.directions[RIGHT_THIGH] = torch.tensor(line, dtype=torch.float32)
    return found


def test_an_unseen_leg_hangs_and_the_other_keeps_what_was_said() -> None:
    before = with_right_thigh(30)
    after = hang(before, unseen(*LEFT_LEG), HangSettings())
    assert after.directions[LEFT_THIGH].numpy() @ DOWN > 0.99
    assert after.direction_sigma_rad[LEFT_THIGH] < np.radians(8)
    assert torch.equal(after.directions[RIGHT_THIGH], before.directions[RIGHT_THIGH])
    assert beside_the_other(before, unseen(*LEFT_LEG), HangSettings()) == ()


def test_an_unseen_leg_sits_with_one_that_was_seen_sitting() -> None:
    before = with_right_thigh(70, aside=20)
    after = hang(before, unseen(*LEFT_LEG), HangSettings())
    expected = before.directions[RIGHT_THIGH] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(after.directions[LEFT_THIGH], expected)
    assert torch.equal(after.directions[RIGHT_THIGH], before.directions[RIGHT_THIGH])
    hip_and_knee = JOINT_INDEX["left_hip"], JOINT_INDEX["left_knee"]
    assert beside_the_other(before, unseen(*LEFT_LEG), HangSettings()) == hip_and_knee
    both = unseen(*LEFT_LEG, "right_hip", "right_knee", "right_ankle")  # neither was seen: they stand
    assert hang(before, both, HangSettings()).directions[LEFT_THIGH].numpy() @ DOWN > 0.99
    assert beside_the_other(before, both, HangSettings()) == ()


@pytest.mark.parametrize("known", [prediction(trunk=(1.0, 0.0, 0.0)), prediction(sigma_deg=6.0)])
def test_who_lies_or_is_known_to_sit_is_let_be(known: Prediction) -> None:
    after = hang(known, unseen("left_hip", "right_hip"), HangSettings())
    at = [DIRECTIONS.index((f"{side}_hip", f"{side}_knee")) for side in ("left", "right")]
    assert torch.equal(after.directions[at], known.directions[at])


def test_legs_below_a_portrait_stand() -> None:
    torch.set_num_threads(1)
    whole = standing(0, 0)
    points = whole.points["pose33"]
    confidence = points.confidence.copy()
    confidence[[i for i, name in enumerate(POSE33) if name.partition("_")[2] in BELOW]] = 0
    portrait = replace(whole, points={"pose33": Points(points.image_px, confidence, points.world_m)})
    joints = Fitter(load_body()).fit(portrait).joints[0]
    for side in ("left", "right"):
        hip, ankle = (joints[JOINT_INDEX[f"{side}_{part}"]] for part in ("hip", "ankle"))
        leg = (ankle - hip) / np.linalg.norm(ankle - hip)
        assert np.degrees(np.arccos(leg @ DOWN)) < 8


def guessed_hand(mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None = None) -> Observation:
    """Somebody standing whose left wrist is guessed before the elbow."""
    whole = standing(0, 0)
    points = whole.points["pose33"]
    pixels, confidence = points.image_px.copy(), points.confidence.copy()
    wrist, elbow = POSE33.index("left_wrist"), POSE33.index("left_elbow")
    pixels[wrist] = pixels[elbow] + np.array([5.0, -10.0], np.float32)
    confidence[wrist] = 0.35
    box = None if mask is None else np.array([0.0, 0.0, *whole.image_size], np.float32)
    seen = Points(pixels, confidence, points.world_m)
    return replace(whole, points={"pose33": seen}, mask=mask, mask_box_px=box)


def test_a_hidden_hand_hangs_where_the_mask_allows() -> None:
    settings = HangSettings()
    assert hidden_forearms(standing(0, 0), settings) == {}
    assert hidden_forearms(guessed_hand(), settings) == {"left": 0.0}
    everywhere = np.full((100, 80), 255, np.uint8)
    assert hidden_forearms(guessed_hand(everywhere), settings) == {"left": 0.0}
    elbow = guessed_hand().points["pose33"].image_px[POSE33.index("left_elbow")]
    inward = everywhere.copy()
    inward[int(elbow[1] / 10) + 4 :, int(elbow[0] / 10) - 3 :] = 0  # something stands before the hanging forearm
    assert hidden_forearms(guessed_hand(inward), settings)["left"] > 0
    assert hidden_forearms(guessed_hand(np.zeros_like(everywhere)), settings) == {}


def test_a_guessed_wrist_says_nothing() -> None:
    left = without_guesses(guessed_hand(), ["left"], []).points["pose33"].confidence
    assert left[POSE33.index("left_wrist")] == 0 and left[POSE33.index("right_wrist")] == 1


def test_legs_behind_somebody_hang_and_their_guessed_length_says_nothing() -> None:
    whole = standing(0, 0)
    points = whole.points["pose33"]
    confidence, pixels = points.confidence.copy(), points.image_px.copy()
    below = [i for i, name in enumerate(POSE33) if name.partition("_")[2] in ("knee", "ankle", "heel", "foot_index")]
    confidence[below] = 0.3
    hips = pixels[[POSE33.index("left_hip"), POSE33.index("right_hip")], 1].mean()
    pixels[below, 1] = hips + 0.6 * (pixels[below, 1] - hips)  # guessed where the picture shows something else
    guessed = replace(whole, points={"pose33": Points(pixels, confidence, points.world_m)})
    assert hidden_legs(whole, HangSettings()) == ()
    assert hidden_legs(guessed, HangSettings()) == ("left", "right")
    left = without_guesses(guessed, [], ("right",)).points["pose33"].confidence
    assert left[POSE33.index("right_ankle")] == 0 and left[POSE33.index("left_ankle")] > 0
