"""The fit of a photo on people whose pose is known: random captured poses of the free body, projected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import pantomime.core.body as body_package
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import FitError, Fitter, PhotoCamera
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.state import BodyState
from pantomime.core.fitting.straight import StraightSettings
from pantomime.core.rotation import exp_so3

FOCAL_PX, SIZE = 600.0, (512, 512)
SETS = ("pose33", "left_hand", "right_hand")
Floats = NDArray[np.float64]

# For points without error: tight σ, no robust kernel, priors only where the points say nothing.
EXACT = replace(
    FitSettings(),
    stages=tuple(
        replace(stage, robust_width=float("inf"), max_steps=40, tolerance=1e-6) for stage in FitSettings().stages
    ),
    sigma_2d=dict.fromkeys(FitSettings().sigma_2d, 0.0005),
    hint_sigma=dict.fromkeys(FitSettings().hint_sigma, 0.02),
    hint_robust_width=float("inf"),
    focal_known_sigma=1e-4,
    betas_sigma=3.0,
    hand_prior=0.2,
    hand_limit=FitSettings().joint_limit,
    upright_sigma=float("inf"),
    collision_sigma_m=float("inf"),
    regressor=0.0,
    hand_reader=False,  # which sets right what detectors get wrong
    straight=StraightSettings(bend_deg=0.0),  # exact hints bend no knee
)


@dataclass(frozen=True)
class Person:
    observation: Observation
    joints: Floats  # (55, 3) camera frame, metres


def person(body: BodyModel, seed: int, noise_px: float = 0.0, hints: bool = True) -> Person:
    """A person of random shape in a captured pose that the prior was not made from, facing the camera within 70°."""
    rng = np.random.default_rng(seed)
    with np.load(Path(body_package.__file__).parent / "data" / "bench_poses.npz") as data:
        poses = data["poses"][data["split"] == "test"]
    rotmats = exp_so3(torch.as_tensor(poses[rng.integers(len(poses))]).double())
    hands = body.hands_mean.reshape(-1, 3) + rng.normal(0, 0.15, (30, 3))
    rotmats[LEFT_HAND.start : RIGHT_HAND.stop] = exp_so3(torch.as_tensor(hands))
    facing = exp_so3(torch.tensor([np.pi, 0.0, 0.0], dtype=torch.float64))
    rotmats[0] = facing @ exp_so3(torch.tensor([0.0, rng.uniform(-1.2, 1.2), 0.0], dtype=torch.float64))
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    state = BodyState(
        rotmats[None],
        torch.tensor([[rng.uniform(-0.2, 0.2), 0.0, rng.uniform(3, 5)]], dtype=torch.float64),
        torch.tensor([np.log(FOCAL_PX)]),
        torch.as_tensor(rng.normal(0, 0.7, (1, body.num_betas))),
        torch.zeros(1, body.num_expressions, dtype=torch.float64),
    )
    chain = pose_chain(skeleton, state)
    points = {}
    for name in SETS:
        table = PointTable.of(skeleton, body.virtual_points(body.points[name]), (0,))
        position = table.positions(chain)[0].numpy()
        pixels = FOCAL_PX * position[:, :2] / position[:, 2:] + np.array(SIZE) / 2
        pixels = pixels + rng.normal(0, noise_px, pixels.shape) if noise_px else pixels
        hint = (position - position.mean(0)).astype(np.float32) if hints else None
        points[name] = Points(pixels.astype(np.float32), np.ones(len(pixels), np.float32), hint)
    everything = np.concatenate([p.image_px for p in points.values()])
    box = np.concatenate([everything.min(0), everything.max(0)])
    return Person(Observation(SIZE, box, 1.0, points, source="synthetic"), chain.joints[0].numpy())


def error_mm(capture_joints: NDArray[np.float32], truth: Floats) -> Floats:
    """Distance of each joint with the pelves laid on each other, (55,)."""
    return 1000 * np.linalg.norm((capture_joints - capture_joints[0]) - (truth - truth[0]), axis=1)


def aligned_error_mm(capture_joints: NDArray[np.float32], truth: Floats) -> Floats:
    """Distance of each joint after the best similarity transform (PA-MPJPE, Umeyama 1991), (55,)."""
    a, b = capture_joints - capture_joints.mean(0), truth - truth.mean(0)
    u, singular, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = (singular * sign).sum() / (a * a).sum()
    return 1000 * np.linalg.norm(scale * a @ (u * sign) @ vt - b, axis=1)


def hide(observation: Observation, hidden: dict[str, list[int]]) -> Observation:
    points = dict(observation.points)
    for name, index in hidden.items():
        confidence = points[name].confidence.copy()
        confidence[index] = 0
        garbage = points[name].image_px.copy()
        garbage[index] = 1e4
        points[name] = Points(garbage, confidence, points[name].world_m)
    return replace(observation, points=points)


def test_exact_points_recover_the_pose_to_5_mm(body: BodyModel) -> None:
    fitter = Fitter(body, EXACT)
    errors = []
    for seed in range(12):
        someone = person(body, seed)
        capture = fitter.fit(someone.observation, PhotoCamera(FOCAL_PX, "given"))
        errors.append(error_mm(capture.joints[0], someone.joints).mean())
    assert np.mean(errors) <= 5.0
    assert np.max(errors) <= 20.0


def test_points_that_are_known_are_followed_more_closely(body: BodyModel) -> None:
    fitter = Fitter(body)
    errors: dict[float, list[float]] = {1.0: [], 0.0: []}
    for seed in range(8):
        someone = person(body, seed)
        for share in errors:
            observation = replace(someone.observation, noise_share=share)
            capture = fitter.fit(observation, PhotoCamera(FOCAL_PX, "given"))
            errors[share].append(aligned_error_mm(capture.joints[0], someone.joints).mean())
    assert np.median(errors[0.0]) < 0.75 * np.median(errors[1.0])


def test_noise_of_3_px_in_512_keeps_the_pose(body: BodyModel) -> None:
    fitter = Fitter(body)
    errors = []
    for seed in range(12):
        someone = person(body, seed, noise_px=3.0)
        capture = fitter.fit(someone.observation, PhotoCamera(FOCAL_PX, "given"))
        errors.append(aligned_error_mm(capture.joints[0], someone.joints).mean())
        assert all(value < 8.0 for value in capture.diagnostics["residual_px"].values())  # type: ignore[attr-defined]
    assert np.mean(errors) <= 45.0


def test_points_without_3d_hints_are_fitted_from_several_orientations(body: BodyModel) -> None:
    fitter = Fitter(body)
    errors = []
    for seed in range(8):
        someone = person(body, seed, hints=False)
        capture = fitter.fit(someone.observation, PhotoCamera(FOCAL_PX, "given"))
        errors.append(error_mm(capture.joints[0], someone.joints)[:22].mean())
        assert capture.diagnostics["residual_px"]["pose33"] < 4.0  # type: ignore[index]
    assert np.median(errors) <= 90.0


def test_a_hidden_arm_relaxes_and_is_reported_as_unsure(body: BodyModel) -> None:
    someone = person(body, 3)
    observation = hide(someone.observation, {"pose33": [13, 15, 17, 19, 21], "left_hand": list(range(21))})
    fitter, camera = Fitter(body), PhotoCamera(FOCAL_PX, "given")
    capture, whole = fitter.fit(observation, camera), fitter.fit(someone.observation, camera)
    right = [JOINT_INDEX[f"right_{name}"] for name in ("shoulder", "elbow", "wrist")]
    moved = np.linalg.norm((capture.joints - whole.joints)[0, right] - (capture.joints - whole.joints)[0, :1], axis=1)
    assert moved.max() < 0.03  # metres
    sigma = capture.joint_sigma_m[0]
    assert sigma[JOINT_INDEX["left_wrist"]] > 1.1 * sigma[JOINT_INDEX["right_wrist"]]
    bend = np.linalg.norm(capture.body_pose[0].reshape(21, 3)[JOINT_INDEX["left_elbow"] - 1])
    assert bend < 1.0


def test_a_person_half_outside_the_picture_is_fitted_where_seen(body: BodyModel) -> None:
    someone = person(body, 5)
    legs = [25, 26, 27, 28, 29, 30, 31, 32]
    capture = Fitter(body).fit(hide(someone.observation, {"pose33": legs}), PhotoCamera(FOCAL_PX, "given"))
    errors = error_mm(capture.joints[0], someone.joints)
    assert errors[[JOINT_INDEX[n] for n in ("left_elbow", "right_elbow", "left_wrist", "right_wrist")]].mean() < 80
    knees = capture.body_pose[0].reshape(21, 3)[[JOINT_INDEX["left_knee"] - 1, JOINT_INDEX["right_knee"] - 1]]
    assert np.linalg.norm(knees, axis=1).max() < 0.7
    assert np.isfinite(capture.joints).all()


def test_nothing_of_one_person_leaks_into_the_next(body: BodyModel) -> None:
    fitter, camera = Fitter(body), PhotoCamera(FOCAL_PX, "given")
    first, other = person(body, 1), person(body, 2)
    before = fitter.fit(first.observation, camera)
    fitter.fit(other.observation, camera)
    after = fitter.fit(first.observation, camera)
    np.testing.assert_array_equal(before.full_pose(), after.full_pose())
    np.testing.assert_array_equal(before.transl, after.transl)


def test_points_that_are_not_numbers_are_left_out(body: BodyModel) -> None:
    someone = person(body, 4)
    pixels = someone.observation.points["pose33"].image_px.copy()
    pixels[15] = np.nan
    points = dict(someone.observation.points)
    points["pose33"] = replace(points["pose33"], image_px=pixels)
    capture = Fitter(body).fit(replace(someone.observation, points=points), PhotoCamera(FOCAL_PX, "given"))
    assert np.isfinite(capture.full_pose()).all()
    assert np.isfinite(capture.joint_sigma_m).all()


def test_too_few_points_are_refused_with_a_next_step(body: BodyModel) -> None:
    someone = person(body, 0)
    hidden = {name: list(range(len(points.confidence))) for name, points in someone.observation.points.items()}
    with pytest.raises(FitError, match="Use a picture that shows more"):
        Fitter(body).fit(hide(someone.observation, hidden))


def test_a_cancelled_fit_stops_and_says_so(body: BodyModel) -> None:
    capture = Fitter(body).fit(person(body, 0).observation, is_cancelled=lambda: True)
    assert capture.diagnostics["stop"] == "cancelled"


def test_the_focal_length_that_was_given_is_kept(body: BodyModel) -> None:
    capture = Fitter(body).fit(person(body, 6).observation, PhotoCamera(FOCAL_PX, "exif"))
    assert abs(capture.focal_px / FOCAL_PX - 1) < 0.03
    assert capture.focal_source == "exif"
    assert Fitter(body).fit(person(body, 6).observation).focal_source == "fitted"
