"""The regressor: what its network reads and says, its file, its training, and what it does for fits."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

import pantomime.core.body as body_package
import pantomime.core.priors.regressor as regressor_module
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX
from pantomime.core.body.skinning import Body
from pantomime.core.detection.observation import Observation, Points, trust_of
from pantomime.core.detection.vocabulary import COCO17, POSE33
from pantomime.core.fitting.kinematics import Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.fitting.regressed import turned_direction
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.state import BodyState, Unknowns, retract
from pantomime.core.priors.errors import PriorError
from pantomime.core.priors.mocap import PoseSet
from pantomime.core.priors.regressor import (
    BODY_MIRROR,
    DIRECTION_JOINTS,
    DIRECTIONS,
    NUM_BODY,
    REGRESSOR_FILE,
    Regressor,
    from_six,
    load_regressor,
    mirror_rotations,
    rest_directions,
)
from pantomime.core.priors.regressor_input import (
    MOST_PRECISE,
    NUM_FEATURES,
    POINTS,
    features_of,
    frame,
    hints_of,
    look_at,
    mirror_features,
    precision_of,
)
from pantomime.core.priors.train_regressor import (
    NetworkSettings,
    Trainer,
    TrainSettings,
    aligned_error,
    train,
)
from pantomime.core.priors.view_settings import ViewSettings
from pantomime.core.priors.views import ViewMaker
from pantomime.core.priors.weights import write_tensors
from pantomime.core.rotation import exp_so3, log_so3

SIZE, FOCAL_PX = (600, 600), 700.0
TINY = TrainSettings(seed=3, steps=6, batch=24, warm_up=2, network=NetworkSettings(width=32, blocks=1))


@pytest.fixture(scope="module")
def regressor() -> Regressor:
    return load_regressor(torch.float64)


@pytest.fixture(scope="module")
def poses() -> PoseSet:
    with np.load(Path(body_package.__file__).parent / "data" / "bench_poses.npz") as data:
        rows = data["split"] == "train"
        rotations = exp_so3(torch.as_tensor(data["poses"][rows])).numpy().astype(np.float32)
        subject, action = data["subject"][rows], data["action"][rows]
    count = len(rotations)
    split = np.where(np.arange(count) % 5 == 0, "validation", "train")
    return PoseSet(rotations, subject, action, split, np.full(count, "bench"), np.arange(count))


def person(
    body: BodyModel,
    seed: int,
    names: tuple[str, ...] = ("pose33",),
    noise: float = 0.01,
    hint_noise: float | None = None,
) -> tuple[Observation, NDArray[np.float64]]:
    """Someone in a pose of people that nothing was trained on, and the true joints (22, 3).

    noise: of a point, as a share of the longer side of the person's box; hint_noise: of 3D hints, m, if there are any.
    """
    rng = np.random.default_rng(seed)
    with np.load(Path(body_package.__file__).parent / "data" / "bench_poses.npz") as data:
        test = data["poses"][data["split"] == "test"]
    rotmats = exp_so3(torch.as_tensor(test[seed % len(test)]).double())
    facing = exp_so3(torch.tensor([np.pi + 0.1, 0.0, 0.0], dtype=torch.float64))
    rotmats[0] = facing @ exp_so3(torch.tensor([0.0, rng.uniform(-1.3, 1.3), 0.0], dtype=torch.float64))
    transl = torch.tensor([[rng.uniform(-0.3, 0.3), 0.1, 4.0]], dtype=torch.float64)
    posing = Body(body, dtype=torch.float64)
    betas = torch.as_tensor(rng.normal(0, 0.7, (1, body.num_betas)))
    joints = posing.joints(betas, None, rotmats[None], transl)[0].numpy()
    points, pixels = {}, []
    for name in names:
        where = posing.points(body.virtual_points(body.points[name]), betas, None, rotmats[None], transl)[0].numpy()
        flat = FOCAL_PX * where[:, :2] / where[:, 2:] + np.array(SIZE) / 2
        flat = flat + noise * float(np.ptp(flat, axis=0).max()) * rng.normal(size=flat.shape)
        pixels.append(flat)
        hints = None if hint_noise is None else (where + hint_noise * rng.normal(size=where.shape)).astype(np.float32)
        points[name] = Points(flat.astype(np.float32), np.ones(len(flat), np.float32), hints)
    everything = np.concatenate(pixels)
    box = np.concatenate([everything.min(0), everything.max(0)]).astype(np.float32)
    return Observation(SIZE, box, 1.0, points, source="synthetic"), joints[:NUM_BODY]


def predicted_joints(body: BodyModel, rotmats: Tensor) -> Tensor:
    return Body(body, dtype=torch.float64).joints(None, None, rotmats.double(), None)[:, :NUM_BODY]


def mirrored_observation(observation: Observation) -> Observation:
    width = observation.image_size[0]
    points = {}
    for name, seen in observation.points.items():
        order = [_other_side(point) for point in POSE33]
        pixels = seen.image_px[order] * np.array([-1, 1], np.float32) + np.array([width, 0], np.float32)
        points[name] = Points(pixels, seen.confidence[order])
    return replace(observation, points=points)


def _other_side(point: str) -> int:
    swap = {"left": "right", "right": "left"}
    return POSE33.index("_".join(swap.get(word, word) for word in point.split("_")))


# --- what it reads and says -----------------------------------------------------------------------------------


def test_people_that_it_never_saw_come_out_within_60_mm_after_alignment(body: BodyModel, regressor: Regressor) -> None:
    errors, at_rest, z2 = [], [], []
    for seed in range(40):
        observation, joints = person(body, seed)
        prediction = regressor.predict(observation, FOCAL_PX, (SIZE[0] / 2, SIZE[1] / 2))
        assert prediction is not None
        true = torch.as_tensor(joints)[None]
        errors.append(float(aligned_error(predicted_joints(body, prediction.rotmats), true).mean()))
        rest = torch.eye(3, dtype=torch.float64).expand(1, 55, 3, 3)
        at_rest.append(float(aligned_error(predicted_joints(body, rest), true).mean()))
        assert float(prediction.sigma_rad.min()) > 0
        assert float(prediction.direction_sigma_rad.max()) < 2
        start, end = JOINT_INDEX["left_shoulder"], JOINT_INDEX["left_elbow"]
        along = DIRECTIONS.index(("left_shoulder", "left_elbow"))
        bone = (joints[end] - joints[start]) / np.linalg.norm(joints[end] - joints[start])
        away = ((prediction.directions[along].numpy() - bone) ** 2).sum() / 2
        z2.append(away / float(prediction.direction_sigma_rad[along]) ** 2)
    assert np.mean(errors) < 0.060
    assert np.mean(errors) < 0.4 * np.mean(at_rest)
    assert 0.3 < np.mean(z2) < 2.5  # σ that tell the truth give 1


def test_a_mirrored_person_is_the_mirror_image(body: BodyModel, regressor: Regressor) -> None:
    observation, _ = person(body, 5)
    principal = (SIZE[0] / 2, SIZE[1] / 2)
    one = regressor.predict(observation, FOCAL_PX, principal)
    other = regressor.predict(mirrored_observation(observation), FOCAL_PX, principal)
    assert one is not None and other is not None
    torch.testing.assert_close(
        mirror_rotations(other.rotmats[:, :NUM_BODY]), one.rotmats[:, :NUM_BODY], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(other.sigma_rad[list(BODY_MIRROR)], one.sigma_rad, atol=1e-4, rtol=1e-3)


def test_scale_of_the_picture_does_not_matter(body: BodyModel, regressor: Regressor) -> None:
    observation, _ = person(body, 6)
    seen = observation.points["pose33"]
    larger = replace(observation, points={"pose33": Points(2 * seen.image_px, seen.confidence)})
    one = regressor.predict(observation, FOCAL_PX, (300.0, 300.0))
    other = regressor.predict(larger, 2 * FOCAL_PX, (600.0, 600.0))
    assert one is not None and other is not None
    torch.testing.assert_close(one.rotmats, other.rotmats, atol=1e-5, rtol=0)


def test_looking_elsewhere_turns_the_whole_person_only(body: BodyModel, regressor: Regressor) -> None:
    observation, _ = person(body, 7)
    seen = observation.points["pose33"]
    rays = (seen.image_px - 300.0) / FOCAL_PX
    pan = exp_so3(torch.tensor([0.05, 0.35, 0.0], dtype=torch.float64)).numpy()
    turned = np.concatenate([rays, np.ones((len(rays), 1))], 1) @ pan.T
    pixels = (FOCAL_PX * turned[:, :2] / turned[:, 2:] + 300.0).astype(np.float32)
    panned = replace(observation, points={"pose33": Points(pixels, seen.confidence)})
    one = regressor.predict(observation, FOCAL_PX, (300.0, 300.0))
    other = regressor.predict(panned, FOCAL_PX, (300.0, 300.0))
    assert one is not None and other is not None
    root = log_so3(torch.as_tensor(pan) @ one.rotmats[0, 0] @ other.rotmats[0, 0].T).norm()
    rest = log_so3(one.rotmats[0, 1:22] @ other.rotmats[0, 1:22].transpose(-1, -2)).norm(dim=-1)
    assert float(root) < 0.1
    assert float(rest.max()) < 0.15


def test_other_detectors_points_do_as_well(body: BodyModel, regressor: Regressor) -> None:
    for names in (("body25",), ("coco17",), ("coco17", "feet6", "left_hand", "right_hand")):
        errors = []
        for seed in range(20):
            observation, joints = person(body, seed, names)
            prediction = regressor.predict(observation, FOCAL_PX, (300.0, 300.0))
            assert prediction is not None
            found = predicted_joints(body, prediction.rotmats)
            errors.append(float(aligned_error(found, torch.as_tensor(joints)[None]).mean()))
        assert np.mean(errors) < 0.075


def test_points_without_confidence_are_not_read(body: BodyModel, regressor: Regressor) -> None:
    observation, _ = person(body, 8)
    seen = observation.points["pose33"]
    hidden = [POSE33.index(name) for name in ("left_knee", "left_ankle", "left_heel", "left_foot_index")]
    confidence = seen.confidence.copy()
    confidence[hidden] = 0.0
    predictions = []
    for garbage in (seen.image_px[hidden], -1e4, np.nan):
        pixels = seen.image_px.copy()
        pixels[hidden] = garbage
        found = regressor.predict(
            replace(observation, points={"pose33": Points(pixels, confidence)}), FOCAL_PX, (300.0, 300.0)
        )
        assert found is not None
        predictions.append(found)
    torch.testing.assert_close(predictions[0].rotmats, predictions[1].rotmats)
    torch.testing.assert_close(predictions[0].rotmats, predictions[2].rotmats)
    whole = regressor.predict(observation, FOCAL_PX, (300.0, 300.0))
    assert whole is not None
    knee = JOINT_INDEX["left_knee"]
    assert float(predictions[0].sigma_rad[knee]) > 1.2 * float(whole.sigma_rad[knee])


def test_hints_of_depth_make_it_better(body: BodyModel, regressor: Regressor) -> None:
    errors: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(120):
        observation, joints = person(body, seed, hint_noise=0.04)
        for hinted in errors:
            seen = observation.points["pose33"]
            given = observation if hinted else replace(observation, points={"pose33": replace(seen, world_m=None)})
            prediction = regressor.predict(given, FOCAL_PX, (300.0, 300.0))
            assert prediction is not None
            found = predicted_joints(body, prediction.rotmats)
            errors[hinted].append(float(aligned_error(found, torch.as_tensor(joints)[None]).mean()))
    assert np.mean(errors[True]) < 0.9 * np.mean(errors[False])


def test_hints_have_a_mirror_image() -> None:
    world = np.random.default_rng(1).normal(size=(1, 33, 3)).astype(np.float32)
    mirrored = world[:, [_other_side(point) for point in POSE33]] * np.array([-1, 1, 1], np.float32)
    confidence = np.ones((1, 33), np.float32)
    features = []
    for points in (world, mirrored):
        hints, trust = hints_of(points, confidence)
        rays, believed = torch.zeros(1, len(POINTS), 2, dtype=torch.float64), torch.zeros(1, len(POINTS)).double()
        parts = (rays, believed, torch.zeros(1), torch.as_tensor(hints), torch.as_tensor(trust))
        features.append(features_of(*parts, frame(rays, believed)))
    torch.testing.assert_close(mirror_features(features[0]), features[1])


def test_points_that_are_known_are_told_so_in_the_mirror_too(body: BodyModel, regressor: Regressor) -> None:
    observation, _ = person(body, 2)
    known = replace(observation, noise_share=0.0)
    usual, told = (regressor.predict(seen, FOCAL_PX, (300.0, 300.0)) for seen in (observation, known))
    assert usual is not None and told is not None
    assert float(told.direction_sigma_rad.mean()) < float(usual.direction_sigma_rad.mean())
    features = torch.randn(3, NUM_FEATURES, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mirror_features(features)[:, -1], features[:, -1])
    assert precision_of(1.0) == precision_of(3.0) == 0.0
    assert 0.0 < precision_of(0.5) < precision_of(1e-12) == MOST_PRECISE


def test_trust_falls_with_confidence_and_ends_where_nothing_was_seen() -> None:
    for source, none in (("pose33", 0.0), ("coco17", 0.15)):
        values = trust_of(source, np.linspace(none, 1, 50, dtype=np.float32))
        assert values[0] == 0 and values[-1] == 1
        assert (np.diff(values) >= 0).all()
    assert 0.1 < float(trust_of("pose33", np.array([0.05], np.float32))[0]) < 0.2  # seldom seen, seldom far off
    assert float(trust_of("pose33", np.array([np.nan], np.float32))[0]) == 0


def test_three_points_are_too_few(regressor: Regressor) -> None:
    confidence = np.zeros(17, np.float32)
    confidence[:3] = 1
    points = Points(np.random.default_rng(0).uniform(0, 500, (17, 2)).astype(np.float32), confidence)
    observation = Observation(SIZE, np.array([0, 0, 1, 1], np.float32), 1.0, {"coco17": points})
    assert regressor.predict(observation, FOCAL_PX, (300.0, 300.0)) is None
    assert len(COCO17) == 17


def test_looking_at_a_ray_brings_it_straight_ahead() -> None:
    ray = torch.tensor([[0.4, -0.3], [0.0, 0.0], [-1.5, 2.0]], dtype=torch.float64)
    turn = look_at(ray)
    ahead = (turn @ torch.cat([ray, torch.ones(3, 1, dtype=torch.float64)], -1)[..., None])[..., 0]
    torch.testing.assert_close(ahead[:, :2], torch.zeros(3, 2, dtype=torch.float64))
    assert bool((ahead[:, 2] > 0).all())
    torch.testing.assert_close(turn @ turn.transpose(-1, -2), torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    assert bool((turn[:, 0, 1].abs() < 1e-12).all())  # the horizon stays level


def test_six_numbers_are_always_a_rotation() -> None:
    turn = from_six(torch.as_tensor(np.random.default_rng(0).normal(0, 3, (50, 6))))
    torch.testing.assert_close(turn @ turn.transpose(-1, -2), torch.eye(3, dtype=torch.float64).expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(from_six(torch.zeros(6)), torch.eye(3))


# --- in the fit -----------------------------------------------------------------------------------------------


def test_fits_without_hints_are_better_with_it(body: BodyModel) -> None:
    means = {}
    for weight in (0.0, FitSettings().regressor):
        fitter = Fitter(body, replace(FitSettings(), regressor=weight))
        errors = []
        for seed in range(10, 26):
            observation, joints = person(body, seed, noise=0.015)
            capture = fitter.fit(observation, PhotoCamera(FOCAL_PX, "given"))
            assert "warnings" not in capture.diagnostics
            found = torch.as_tensor(capture.joints[:, :NUM_BODY]).double()
            errors.append(float(aligned_error(found, torch.as_tensor(joints)[None]).mean()))
        means[weight] = float(np.mean(errors))
    assert FitSettings().regressor > 0
    assert means[FitSettings().regressor] < 0.8 * means[0.0]


def test_turned_directions_match_finite_differences(body: BodyModel) -> None:
    rng = np.random.default_rng(4)
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    state = BodyState(
        exp_so3(torch.as_tensor(rng.normal(0, 0.6, (2, 55, 3)))),
        torch.zeros(2, 3, dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
        torch.zeros(2, body.num_betas, dtype=torch.float64),
        torch.zeros(2, body.num_expressions, dtype=torch.float64),
    )
    joints = torch.tensor(DIRECTION_JOINTS)
    rest = torch.as_tensor(rest_directions(body.J_template)).double()
    seen = torch.nn.functional.normalize(torch.as_tensor(rng.normal(size=rest.shape)), dim=-1)
    inverse_sigma = torch.as_tensor(rng.uniform(1, 5, len(rest)))
    below = skeleton.ancestors[joints, :NUM_BODY]
    unknowns = Unknowns(tuple(range(NUM_BODY)), False, False, 0, 0)

    def at(step: Tensor) -> tuple[Tensor, Tensor]:
        turns = pose_chain(skeleton, retract(state, step, unknowns, False)).globals[:, :NUM_BODY]
        return turned_direction(turns, joints, below, rest, seen, inverse_sigma)

    zero = torch.zeros(2, unknowns.size, dtype=torch.float64)
    jacobian = at(zero)[1].flatten(-2)
    for column in range(unknowns.size):
        step = zero.clone()
        step[:, column] = 1e-6
        numeric = (at(step)[0] - at(-step)[0]) / 2e-6
        torch.testing.assert_close(jacobian[..., column], numeric, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file", "cut"])
def test_without_a_good_file_fits_go_on_and_say_so(
    body: BodyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str | None
) -> None:
    path = tmp_path / "regressor.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "cut":
        path.write_bytes(REGRESSOR_FILE.read_bytes()[:100000])
    with pytest.raises(PriorError, match=r"^The regressor's file .* Install Pantomime again\.$"):
        load_regressor(path=path)
    monkeypatch.setattr(regressor_module, "REGRESSOR_FILE", path)
    observation, _ = person(body, 3)
    capture = Fitter(body).fit(observation, PhotoCamera(FOCAL_PX, "given"))
    assert len(capture.diagnostics["warnings"]) == 1
    assert "regressor" in capture.diagnostics["warnings"][0]
    assert np.isfinite(capture.joints).all()


# --- its file and its training --------------------------------------------------------------------------------


def test_the_file_is_small_and_tells_where_it_comes_from() -> None:
    assert REGRESSOR_FILE.stat().st_size < 6e6
    with safe_open(str(REGRESSOR_FILE), framework="pt") as file:
        metadata = file.metadata()
    assert set(json.loads(metadata["settings"])) == set(asdict(TrainSettings()))
    assert len(metadata["data_sha256"]) == 64
    assert json.loads(metadata["validation"])["pa_mpjpe_mm"] > 0


def test_training_lowers_the_error_and_its_file_loads(body: BodyModel, poses: PoseSet, tmp_path: Path) -> None:
    settings = replace(TINY, steps=60, batch=64, rate=3e-3)
    path = tmp_path / "regressor.safetensors"
    trainer = Trainer(body, poses, settings)
    before = trainer.advance()
    errors = train(body, poses, settings, path, report=lambda text: None)
    assert trainer.settings == settings
    assert np.isfinite(list(errors.values())).all()
    for _ in range(59):
        after = trainer.advance()
    assert after < 0.8 * before
    observation, _ = person(body, 1)
    loaded = load_regressor(path=path)
    assert loaded.body_id == body.body_id
    prediction = loaded.predict(observation, FOCAL_PX, (300.0, 300.0))
    assert prediction is not None and bool(torch.isfinite(prediction.rotmats).all())


def test_training_goes_on_from_a_file_of_fewer_inputs(body: BodyModel, poses: PoseSet, tmp_path: Path) -> None:
    first = Trainer(body, poses, TINY)
    first.advance()
    fewer = {name: value.detach().clone() for name, value in first.network.state_dict().items()}
    fewer["enter.weight"] = fewer["enter.weight"][:, : 3 * len(POINTS) + 2].contiguous()
    write_tensors(tmp_path / "start.safetensors", fewer, {})
    second = Trainer(body, poses, replace(TINY, seed=4))
    second.begin_from(tmp_path / "start.safetensors")
    features = torch.randn(5, NUM_FEATURES, generator=torch.Generator().manual_seed(0))
    features[:, 3 * len(POINTS) + 2 :] = 0
    torch.testing.assert_close(second.network(features), first.network(features))


def test_training_is_the_same_twice_and_after_a_pause(body: BodyModel, poses: PoseSet, tmp_path: Path) -> None:
    whole, paused = Trainer(body, poses, TINY), Trainer(body, poses, TINY)
    for _ in range(6):
        whole.advance()
    for _ in range(3):
        paused.advance()
    paused.save(tmp_path / "checkpoint")
    resumed = Trainer(body, poses, TINY)
    resumed.resume(tmp_path / "checkpoint")
    for _ in range(3):
        resumed.advance()
    for one, other in zip(whole.mean.parameters(), resumed.mean.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_views_are_what_a_camera_sees_of_the_body(body: BodyModel, poses: PoseSet) -> None:
    clear = ViewSettings(
        noise=1e-6, lost=0, limb_shift=0, cut=0, hidden_limb=0, hidden_point=0, no_hands=0, no_feet=0, no_face=0,
        dim_limb=0, dim_end=0, dim_point=0, misjudged=0, hinted=0,
        swap_all=0, swap_legs=0, swap_arms=0, focal_guessed=0, plain=0, tumbling=0, exact=0,
    )  # fmt: skip
    views = ViewMaker(body, poses, clear, seed=2).batch(40)
    count = len(POINTS)
    assert float(views.features[:, 2 * count : 3 * count].min()) > 0.3  # nobody is lost
    rotmats = torch.eye(3).repeat(40, 55, 1, 1)
    rotmats[:, :NUM_BODY] = views.rotmats
    posing = Body(body)
    joints = posing.joints(views.betas, None, rotmats, None)[:, :NUM_BODY]
    torch.testing.assert_close(joints - joints[:, :1], views.joints, atol=1e-5, rtol=0)
    # Shoulders and knees, projected from far off, lie as the features say but for perspective.
    points = views.features[:, : 2 * count].unflatten(1, (count, 2))
    for name in ("left_knee", "right_knee", "left_elbow", "right_wrist"):
        joint, hips = views.joints[:, JOINT_INDEX[name], :2], views.joints[:, 1:3, :2].mean(1)
        middle = points[:, [POINTS.index("left_hip"), POINTS.index("right_hip")]].mean(1)
        seen = points[:, POINTS.index(name)] - middle
        cosine = torch.nn.functional.cosine_similarity(seen, joint - hips)
        assert float(cosine.median()) > 0.97


def test_views_are_cut_hidden_and_noisy_and_never_empty(body: BodyModel, poses: PoseSet) -> None:
    views = ViewMaker(body, poses, ViewSettings(), seed=4).batch(800)
    count = len(POINTS)
    trust = views.features[:, 2 * count : 3 * count]
    assert bool(torch.isfinite(views.features).all())
    assert bool(((trust > 0).sum(1) >= 6).all())
    assert 0.5 < float((trust > 0).float().mean()) < 0.85
    ankles = trust[:, [POINTS.index("left_ankle"), POINTS.index("right_ankle")]]
    assert 0.08 < float((ankles.sum(1) == 0).float().mean()) < 0.5
    assert float(views.features[:, : 2 * count].abs().max()) <= 1.0001
