"""Left and right that a detector mixed up: what is found, what is left alone, and how it is put right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pantomime.core.body as body_package
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skinning import Body
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.sides import (
    ARMS,
    LEGS,
    WHOLE,
    SideEvidence,
    evidence_of,
    exchanged,
    mixed_up,
    put_right,
)
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.rotation import exp_so3

SIZE, FOCAL_PX = (600, 600), 700.0


def person(body: BodyModel, yaw: float = 0.0, pose: int | None = None) -> Observation:
    """Somebody with arms let down, or in a pose of the bench, seen with all points; from behind there is no face."""
    rotmats = torch.eye(3).repeat(55, 1, 1).double()
    if pose is None:
        for joint, sign in ((16, -1.0), (17, 1.0)):
            rotmats[joint] = exp_so3(torch.tensor([0.0, 0.0, sign * 1.2], dtype=torch.float64))
    else:
        with np.load(Path(body_package.__file__).parent / "data" / "bench_poses.npz") as data:
            rotmats = exp_so3(torch.as_tensor(data["poses"][pose % len(data["poses"])]).double())
    camera = exp_so3(torch.tensor([np.pi + 0.12, 0.0, 0.0], dtype=torch.float64))
    rotmats[0] = camera @ exp_so3(torch.tensor([0.0, yaw, 0.0], dtype=torch.float64))
    transl = torch.tensor([[0.0, 0.1, 4.0]], dtype=torch.float64)
    posing = Body(body, dtype=torch.float64)
    points = {}
    for name in ("pose33", "left_hand", "right_hand", "face468"):
        where = posing.points(body.virtual_points(body.points[name]), None, None, rotmats[None], transl)[0].numpy()
        flat = FOCAL_PX * where[:, :2] / where[:, 2:] + 300.0
        score = {"left_hand": 0.9, "right_hand": 0.1}.get(name)
        world = where - where.mean(0)
        points[name] = Points(flat.astype(np.float32), np.ones(len(flat), np.float32), world.astype(np.float32), score)
    mesh = points["face468"].world_m
    assert mesh is not None
    ahead = np.cross(mesh[152] - mesh[10], mesh[263] - mesh[33])
    if ahead[2] > -0.3 * np.linalg.norm(ahead):
        del points["face468"]
    everything = points["pose33"].image_px
    box = np.concatenate([everything.min(0) - 20, everything.max(0) + 20]).astype(np.float32)
    return Observation(SIZE, box, 1.0, points, source="synthetic")


def test_nothing_is_found_in_poses_as_they_are(body: BodyModel) -> None:
    rng = np.random.default_rng(1)
    for pose in range(60):
        assert mixed_up(evidence_of(person(body, rng.uniform(-np.pi, np.pi), 3 * pose))) is None


@pytest.mark.parametrize("part", [WHOLE, LEGS, ARMS])
@pytest.mark.parametrize("yaw", [-0.4, 0.0, 0.5])
def test_what_was_exchanged_is_put_right(body: BodyModel, part: str, yaw: float) -> None:
    observation = person(body, yaw)
    found, told = put_right(exchanged(observation, part))
    assert told == part
    np.testing.assert_array_equal(found.points["pose33"].image_px, observation.points["pose33"].image_px)
    for name in ("left_hand", "right_hand"):
        np.testing.assert_array_equal(found.points[name].image_px, observation.points[name].image_px)
    again, none = put_right(observation)
    assert again is observation and none is None


def test_exchanged_legs_of_somebody_who_is_seen_from_behind(body: BodyModel) -> None:
    observation = person(body, np.pi)
    assert "face468" not in observation.points
    assert mixed_up(evidence_of(observation)) is None
    assert mixed_up(evidence_of(exchanged(observation, LEGS))) == LEGS


def test_without_face_feet_and_hands_all_stays(body: BodyModel) -> None:
    observation = person(body)
    pose = observation.points["pose33"]
    confidence = pose.confidence.copy()
    confidence[29:33] = 0.1
    bare = replace(observation, points={"pose33": replace(pose, confidence=confidence)})
    for part in (WHOLE, LEGS, ARMS):
        assert mixed_up(evidence_of(exchanged(bare, part))) is None


def test_in_profile_all_stays(body: BodyModel) -> None:
    for part in (WHOLE, LEGS, ARMS):
        assert mixed_up(evidence_of(exchanged(person(body, np.pi / 2), part))) is None


def test_a_look_over_the_shoulder_is_no_exchange() -> None:
    # The trunk half from behind, the head turned as far as it goes.
    assert mixed_up(SideEvidence(shoulders=-0.45, hips=-0.3, face=0.8, hands=(0.8, np.nan))) is None
    assert mixed_up(SideEvidence(shoulders=-0.35, hips=-0.3, face=0.9)) is None
    assert mixed_up(SideEvidence(shoulders=-0.7, hips=-0.35, face=0.95)) == WHOLE
    assert mixed_up(SideEvidence(shoulders=-0.7, hips=-0.35, face=0.95, feet=(-0.2, -0.1))) is None
    assert mixed_up(SideEvidence(shoulders=-0.7, hips=-0.35, face=0.95, hands=(0.9, 0.8))) is None


def test_crossed_arms_are_no_exchange(body: BodyModel) -> None:
    evidence = evidence_of(exchanged(person(body), ARMS))
    assert evidence.elbows_crossed
    assert mixed_up(replace(evidence, hands=(0.9, 0.9))) is None
    assert mixed_up(replace(evidence, hands=(np.nan, np.nan))) is None


def test_fits_put_sides_right_and_say_so(body: BodyModel) -> None:
    observation = person(body, 0.3)
    fitter = Fitter(body)
    captures = [
        fitter.fit(seen, PhotoCamera(FOCAL_PX, "given")) for seen in (observation, exchanged(observation, LEGS))
    ]
    assert "exchanged_sides" not in captures[0].diagnostics
    assert captures[1].diagnostics["exchanged_sides"] == LEGS
    np.testing.assert_allclose(captures[1].joints, captures[0].joints, atol=1e-4)
