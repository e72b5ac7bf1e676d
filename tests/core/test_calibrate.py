"""Calibration finds points that are where we put them, and its pictures lead back to the surface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pantomime.core.body.calibrate import FACE68_IN_MESH, derived, training_poses
from pantomime.core.body.calibrate_face import LIP_CORNERS, LOWER_LIP, UPPER_LIP, calibrate_face, nearest_on_surface
from pantomime.core.body.calibrate_pose import attachment, calibrate_hands, calibrate_pose, hand_attachment
from pantomime.core.body.calibrate_stage import CalibrationSettings, Sight, Stage, residuals, turn
from pantomime.core.body.load import load_body
from pantomime.core.body.model import PointSet
from pantomime.core.body.raster import rasterise
from pantomime.core.body.skeleton import JOINT_INDEX, NUM_JOINTS
from pantomime.core.body.skinning import Body
from pantomime.core.detection.vocabulary import HAND21, POINT_SETS, POSE33
from pantomime.core.rotation import exp_so3

SETTINGS = CalibrationSettings(picture_px=128)


def test_a_pixel_sees_the_nearest_triangle_at_the_right_place_and_depth() -> None:
    vertices = np.array(
        [[-1, -1, 4], [-1, 1, 4], [1, 1, 4], [1, -1, 4], [-0.3, -0.3, 2], [-0.3, 0.3, 2], [0.3, 0.3, 3]], np.float32
    )
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]], np.int32)
    hits = rasterise(vertices, faces, 100.0, (80, 60))
    y, x = np.nonzero(hits.triangles >= 0)
    corners = vertices[faces[hits.triangles[y, x]]]
    place = np.einsum("nk,nki->ni", hits.barycentric[y, x], corners)
    image = place[:, :2] / place[:, 2:] * 100.0 + np.array([40.0, 30.0])
    assert np.abs(image - np.stack([x + 0.5, y + 0.5], axis=1)).max() < 1e-3
    assert np.abs(place[:, 2] - hits.depth[y, x]).max() < 1e-5
    assert hits.triangles[32, 38] == 2  # the small one lies before the large ones
    assert set(np.unique(hits.triangles)) == {-1, 0, 1, 2}
    assert (hits.triangles >= 0).sum() == pytest.approx(50 * 50, abs=60)


def test_what_turns_away_or_lies_behind_the_camera_is_not_seen() -> None:
    vertices = np.array([[-1, -1, 4], [-1, 1, 4], [1, 1, 4]], np.float32)
    facing, away = np.array([[0, 1, 2]], np.int32), np.array([[2, 1, 0]], np.int32)
    assert (rasterise(vertices, facing, 50.0, (40, 40)).triangles == 0).any()
    assert (rasterise(vertices, away, 50.0, (40, 40)).triangles == -1).all()
    assert (rasterise(vertices * np.array([1, 1, -1], np.float32), facing, 50.0, (40, 40)).triangles == -1).all()


def test_the_nearest_place_on_a_surface_is_nearest() -> None:
    rng = np.random.default_rng(0)
    vertices = rng.normal(0.0, 1.0, (30, 3)).astype(np.float32)
    faces = rng.permuted(np.tile(np.arange(30), (40, 1)), axis=1)[:, :3].astype(np.int32)
    targets = rng.normal(0.0, 1.2, (25, 3)).astype(np.float32)
    ids, barycentric = nearest_on_surface(vertices, faces, targets)
    found = np.einsum("nk,nki->ni", barycentric, vertices[ids])
    assert barycentric.min() >= -1e-6 and np.allclose(barycentric.sum(axis=1), 1.0, atol=1e-6)
    shares = rng.dirichlet(np.ones(3) * 0.5, 3000)
    for target, place in zip(targets, found, strict=True):
        anywhere = np.einsum("sk,fki->sfi", shares, vertices[faces]).reshape(-1, 3)
        best = np.linalg.norm(anywhere - target, axis=1).min()
        assert np.linalg.norm(place - target) <= best + 1e-5


def random_offsets(names: tuple[str, ...], seed: int, betas: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and their change with betas for the left points; the right ones mirrored."""
    rng = np.random.default_rng(seed)
    offsets, dirs = rng.normal(0.0, 0.03, (len(names), 3)), np.zeros((len(names), 3, betas))
    dirs[:, :, :3] = rng.normal(0.0, 0.004, (len(names), 3, 3))
    flip = np.array([-1.0, 1.0, 1.0])
    for index, name in enumerate(names):
        if "right" in name and name.replace("right", "left") in names:
            twin = names.index(name.replace("right", "left"))
            offsets[index], dirs[index] = flip * offsets[twin], flip[:, None] * dirs[twin]
        elif "left" not in name:
            offsets[index, 0], dirs[index, 0] = 0.0, 0.0
    return offsets, dirs


def planted(names: tuple[str, ...], attachments: list[tuple[str, str]], seed: int) -> PointSet:
    """Points near their anchors, whose place calibration does not know."""
    body = load_body()
    offsets, dirs = random_offsets(names, seed, body.num_betas)
    frames = np.array([JOINT_INDEX[frame] for frame, _ in attachments], np.int32)
    anchors = np.array([JOINT_INDEX[anchor] for _, anchor in attachments], np.int32)
    count = len(names)
    return PointSet(
        names, frames, (offsets + body.J_template[anchors] - body.J_template[frames]).astype(np.float32),
        (dirs + body.J_shapedirs[anchors] - body.J_shapedirs[frames]).astype(np.float32),
        np.zeros((count, 3), np.int32), np.zeros((count, 3), np.float32), np.zeros(count, np.float32),
        np.ones(count, np.bool_),
    )  # fmt: skip


def sights_of(points: PointSet, count: int, noise_px: float, outliers: float, seed: int) -> list[Sight]:
    """Perfect detections of `points` on random people in random poses from all sides, with noise and gross misses."""
    model = load_body()
    body = Body(model)
    rng = np.random.default_rng(seed)
    tensors = body.point_tensors(model.virtual_points(points))
    sights = []
    for _ in range(count):
        betas = rng.normal(0.0, 0.8, model.num_betas).astype(np.float32)
        angles = rng.normal(0.0, 0.3, (NUM_JOINTS, 3)).astype(np.float32)
        rotmats = exp_so3(torch.as_tensor(angles))
        rotmats[0] = torch.as_tensor(turn(rng.uniform(-np.pi, np.pi), rng.uniform(-0.4, 0.4), 0.0))
        transl = torch.tensor([0.0, 0.3, 3.5])
        beta, no_expression = torch.as_tensor(betas), torch.zeros(model.num_expressions)
        posed = body.points(tensors, beta, no_expression, rotmats, transl).numpy()
        frames, joints = body.chain(body.rest_joints(beta), rotmats, transl)
        image = posed[:, :2] / posed[:, 2:] * 600.0 + rng.normal(0.0, noise_px, (len(posed), 2))
        wild = rng.random(len(posed)) < outliers
        image[wild] += rng.uniform(-60.0, 60.0, (int(wild.sum()), 2))
        sights.append(
            Sight(
                image.astype(np.float32), np.ones(len(posed), np.float32), 600.0, betas, no_expression.numpy(),
                rotmats.numpy(), transl.numpy(), frames.numpy(), joints.numpy(),
            )
        )  # fmt: skip
    return sights


def places(points: PointSet, betas: np.ndarray) -> np.ndarray:
    virtual = load_body().virtual_points(points)
    return virtual.template + virtual.shapedirs @ betas


def test_body_points_are_found_where_they_were_put_in_spite_of_noise_and_misses() -> None:
    truth = planted(POSE33, [attachment(name) for name in POSE33], 1)
    found, agreement = calibrate_pose(load_body(), sights_of(truth, 150, 1.0, 0.08, 2), SETTINGS)
    assert found.names == POSE33 and found.usable.all()
    rng = np.random.default_rng(5)
    for _ in range(5):
        betas = rng.normal(0.0, 0.8, load_body().num_betas)
        assert np.linalg.norm(places(found, betas) - places(truth, betas), axis=1).max() < 0.006
    # One pixel of noise at 3.5 m and 600 px of focal length is 5.8 mm.
    assert 0.004 < np.median(found.sigma_m) < 0.012
    assert (agreement.usable, agreement.points, agreement.pictures) == (33, 33, 150)


def test_the_points_of_both_hands_are_mirror_images_and_where_they_were_put() -> None:
    mirror = np.array([-1.0, 1.0, 1.0], np.float32)
    left = planted(POINT_SETS["left_hand"], [hand_attachment("left", name) for name in HAND21], 1)
    right = replace(
        left,
        names=POINT_SETS["right_hand"],
        joint_ids=np.array([JOINT_INDEX[hand_attachment("right", name)[0]] for name in HAND21], np.int32),
        offsets=left.offsets * mirror,
        offset_dirs=left.offset_dirs * mirror[:, None],
    )
    sights = [sights_of(points, 80, 0.3, 0.05, seed) for seed, points in enumerate((left, right))]
    results = calibrate_hands(load_body(), sights[0], sights[1], SETTINGS)
    for (found, _), truth in zip(results, (left, right), strict=True):
        assert np.linalg.norm(found.offsets - truth.offsets, axis=1).max() < 0.004
    assert np.allclose(results[0][0].sigma_m, results[1][0].sigma_m)


def test_face_points_are_found_on_the_surface_where_they_were_put() -> None:
    model = load_body()
    rng = np.random.default_rng(3)
    names = POINT_SETS["face468"]
    truth = model.points["face468"]
    sights = sights_of(truth, 24, 0.0, 0.0, 4)
    exact = np.einsum("nk,nki->ni", truth.barycentric, model.v_template[truth.vertex_ids])
    seen = []
    for sight in sights:
        hit = exact + rng.normal(0.0, 0.0005, exact.shape)
        hit[rng.random(len(hit)) < 0.1] += 0.03
        seen.append(replace(sight, places=hit.astype(np.float32), weight=np.ones(len(names), np.float32)))
    found, _ = calibrate_face(model, seen, SETTINGS)
    place = np.einsum("nk,nki->ni", found.barycentric, model.v_template[found.vertex_ids])
    assert np.linalg.norm(place - exact, axis=1).max() < 0.0015
    assert found.usable.all()


def test_a_picture_leads_back_to_the_surface() -> None:
    stage = Stage(load_body(), SETTINGS)
    rotmats = np.tile(np.eye(3, dtype=np.float32), (NUM_JOINTS, 1, 1))
    rotmats[0] = turn(0.4, 0.1, 0.0)
    betas, expression = stage.person(), np.zeros(stage.model.num_expressions, np.float32)
    rgb, sight, triangles, barycentric = stage.take(betas, expression, rotmats, lambda joints: joints[0], 150.0, 3.0)
    assert rgb.shape == (128, 128, 3) and rgb.dtype == np.uint8
    y, x = np.nonzero(triangles >= 0)
    assert 500 < len(y) < 8000
    vertices = stage.body.vertices(
        *(torch.as_tensor(item) for item in (betas, expression, rotmats, sight.transl))
    ).numpy()
    place = np.einsum("nk,nki->ni", barycentric[y, x], vertices[stage.model.faces[triangles[y, x]]])
    image = place[:, :2] / place[:, 2:] * 150.0 + 64.0
    assert np.abs(image - np.stack([x + 0.5, y + 0.5], axis=1)).max() < 1e-2
    background = rgb[triangles < 0].astype(float).std(axis=0).max()
    assert rgb[y, x].astype(float).std(axis=0).max() > background


def test_the_bodys_own_points_are_calibrated_and_all_sets_are_there() -> None:
    points = load_body().points
    assert points.keys() == POINT_SETS.keys()
    for name, point_set in points.items():
        assert point_set.names == POINT_SETS[name]
    assert points["face468"].usable.mean() > 0.95
    assert np.median(points["face468"].sigma_m) < 0.003
    assert points["pose33"].usable.all() and points["pose33"].sigma_m.max() < 0.04
    assert points["left_hand"].usable.mean() > 0.9


def test_an_open_mouth_takes_the_points_of_the_lower_lip_along() -> None:
    model = load_body()
    mesh = model.points["face468"]
    drop = -model.exprdirs[:, 1, model.expression_names.index("jawOpen")]
    own = (mesh.barycentric * drop[mesh.vertex_ids]).sum(axis=1)
    for upper, lower in ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318)):
        assert own[lower] > own[upper] + 0.01
    assert own[list(LOWER_LIP)].min() > own[list(LIP_CORNERS)].mean() > own[list(UPPER_LIP)].max()


def test_the_68_points_are_where_their_names_say() -> None:
    model = load_body()
    assert len(FACE68_IN_MESH) == 68 == len(set(FACE68_IN_MESH))
    place = model.virtual_points(derived(model.points)["face68"]).template
    eyes = model.J_template[[JOINT_INDEX["right_eye_smplhf"], JOINT_INDEX["left_eye_smplhf"]]]
    assert np.linalg.norm(place[36:42].mean(axis=0)[:2] - eyes[0][:2]) < 0.006
    assert np.linalg.norm(place[42:48].mean(axis=0)[:2] - eyes[1][:2]) < 0.006
    assert np.argmax(place[:, 2]) in (29, 30, 33)  # the nose
    assert abs(place[8, 0]) < 0.004 and place[8, 1] == pytest.approx(place[:, 1].min(), abs=0.004)  # the chin
    for a, b in ((36, 45), (39, 42), (48, 54), (17, 26), (31, 35), (21, 22), (60, 64)):
        assert np.linalg.norm(place[a] * np.array([-1, 1, 1]) - place[b]) < 0.006
    assert (place[[17, 19, 21, 22, 24, 26], 1] > eyes[0][1] + 0.008).all()
    brows_and_lips = place[19:25, 1].mean() - place[48:60, 1].mean()
    assert 0.06 < brows_and_lips < 0.12


def test_poses_for_calibration_are_not_those_of_the_test() -> None:
    from pantomime.core.body.calibrate import BENCH_POSES_PATH

    with np.load(BENCH_POSES_PATH) as data:
        test = data["poses"][data["split"] == "test"]
    poses = training_poses(BENCH_POSES_PATH)
    assert len(poses) >= 200
    assert min(np.abs(poses - pose).max(axis=(1, 2)).min() for pose in test) > 1e-3


def test_residuals_are_zero_for_exact_points_and_nan_where_unseen() -> None:
    truth = planted(POSE33, [attachment(name) for name in POSE33], 7)
    sights = sights_of(truth, 3, 0.0, 0.0, 8)
    sights[1] = replace(sights[1], weight=np.where(np.arange(33) == 4, 0.0, 1.0).astype(np.float32))
    mm, px = residuals(load_body(), truth, sights)
    assert np.isnan(mm[1, 4]) and np.isnan(px).sum() == 1
    assert np.nanmax(mm) < 0.02 and np.nanmax(px) < 0.01
