"""The forward pass against an independent slow one, and its batching."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pantomime.core.body.load import load_body
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import NUM_JOINTS, PARENTS
from pantomime.core.body.skinning import Body

Float = NDArray[np.float64]


@pytest.fixture(scope="module")
def model() -> BodyModel:
    return load_body()


@pytest.fixture(scope="module")
def body(model: BodyModel) -> Body:
    return Body(model, dtype=torch.float64)


def random_rotations(generator: np.random.Generator, *lead: int) -> torch.Tensor:
    """Rotations by quaternions, (*lead, 55, 3, 3), up to a few tens of degrees."""
    q = generator.normal(scale=0.25, size=(*lead, NUM_JOINTS, 4))
    q[..., 0] = 1.0
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.as_tensor(np.moveaxis(np.array(rows), (0, 1), (-2, -1)))


def slow_vertices(
    model: BodyModel, betas: Float, expression: Float, rotmats: Float, transl: Float
) -> tuple[Float, Float]:
    """One body, joint by joint and with 4 × 4 matrices: vertices and joints."""
    rest = model.v_template + model.shapedirs @ betas + model.exprdirs @ expression
    joints = model.J_template + model.J_shapedirs @ betas + model.J_exprdirs @ expression
    features = (rotmats[1:] - np.eye(3)).reshape(-1)[model.posedirs_features]
    rest = rest + model.posedirs @ features
    world = []
    for j, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotmats[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else -transl)
        world.append(local if parent < 0 else world[parent] @ local)
    posed = np.array([matrix[:3, 3] for matrix in world])
    skin = []
    for j, matrix in enumerate(world):
        back = np.eye(4)
        back[:3, 3] = -joints[j]
        skin.append(matrix @ back)
    blended = np.tensordot(model.weights.astype(np.float64), np.array(skin), axes=1)
    homogeneous = np.concatenate([rest, np.ones((len(rest), 1))], axis=1)
    return np.einsum("vab,vb->va", blended, homogeneous)[:, :3], posed


def test_vertices_and_joints_equal_a_slow_reference(model: BodyModel, body: Body) -> None:
    generator = np.random.default_rng(0)
    for _ in range(3):
        betas, expression = generator.normal(size=model.num_betas), generator.random(model.num_expressions)
        rotmats, transl = random_rotations(generator), generator.normal(size=3)
        vertices, joints = slow_vertices(model, betas, expression, rotmats.numpy(), transl)
        args = (torch.as_tensor(betas), torch.as_tensor(expression), rotmats, torch.as_tensor(transl))
        np.testing.assert_allclose(body.vertices(*args).numpy(), vertices, atol=1e-6)
        np.testing.assert_allclose(body.joints(*args).numpy(), joints, atol=1e-6)


def test_float32_agrees_with_float64_to_a_hundredth_of_a_millimetre(model: BodyModel, body: Body) -> None:
    generator = np.random.default_rng(1)
    single = Body(model)
    args = (
        torch.as_tensor(generator.normal(size=model.num_betas)),
        torch.as_tensor(generator.random(model.num_expressions)),
        random_rotations(generator),
        torch.as_tensor(generator.normal(size=3)),
    )
    low = single.vertices(*(value.float() for value in args))
    assert low.dtype == torch.float32
    assert float((low.double() - body.vertices(*args)).norm(dim=-1).max()) < 1e-5


def test_leading_dimensions_broadcast_and_bodies_of_a_batch_stay_apart(model: BodyModel, body: Body) -> None:
    generator = np.random.default_rng(2)
    betas = torch.as_tensor(generator.normal(size=(3, model.num_betas)))
    expression = torch.as_tensor(generator.random(model.num_expressions))
    rotmats = random_rotations(generator, 2, 3)
    transl = torch.as_tensor(generator.normal(size=(2, 1, 3)))
    vertices = body.vertices(betas, expression, rotmats, transl)
    joints = body.joints(betas, expression, rotmats, transl)
    assert vertices.shape == (2, 3, model.num_vertices, 3)
    assert joints.shape == (2, 3, NUM_JOINTS, 3)
    for i in range(2):
        for k in range(3):
            alone = (betas[k], expression, rotmats[i, k], transl[i, 0])
            torch.testing.assert_close(vertices[i, k], body.vertices(*alone), atol=1e-9, rtol=0)
            torch.testing.assert_close(joints[i, k], body.joints(*alone), atol=1e-9, rtol=0)


def test_nothing_given_is_the_template(model: BodyModel, body: Body) -> None:
    np.testing.assert_allclose(body.vertices().numpy(), model.v_template, atol=1e-6)
    np.testing.assert_allclose(body.joints().numpy(), model.J_template, atol=1e-7)


def test_the_pelvis_stays_at_its_rest_place_plus_transl(model: BodyModel, body: Body) -> None:
    generator = np.random.default_rng(3)
    betas, transl = torch.as_tensor(generator.normal(size=model.num_betas)), torch.as_tensor([1.0, 2.0, 3.0])
    joints = body.joints(betas, None, random_rotations(generator), transl.double())
    expected = model.J_template[0] + model.J_shapedirs[0] @ betas.numpy() + transl.numpy()
    np.testing.assert_allclose(joints[0].numpy(), expected, atol=1e-6)


def test_fewer_betas_leave_the_last_components_at_zero(model: BodyModel, body: Body) -> None:
    few = torch.as_tensor(np.random.default_rng(4).normal(size=10))
    full = torch.cat([few, torch.zeros(model.num_betas - 10, dtype=torch.float64)])
    torch.testing.assert_close(body.vertices(few), body.vertices(full), atol=1e-12, rtol=0)


def test_points_follow_the_surface_and_the_joints(model: BodyModel, body: Body) -> None:
    generator = np.random.default_rng(5)
    args = (
        torch.as_tensor(generator.normal(size=model.num_betas)),
        torch.as_tensor(generator.random(model.num_expressions)),
        random_rotations(generator),
        torch.as_tensor(generator.normal(size=3)),
    )
    surface = body.vertices(*args, pose_correctives=False)
    joints = body.joints(*args)
    checked = 0
    for points in model.points.values():
        places = body.points(model.virtual_points(points), *args)
        rigid = torch.as_tensor(points.joint_ids >= 0)
        corners = surface[torch.as_tensor(points.vertex_ids).long()]
        on_surface = (corners * torch.as_tensor(points.barycentric)[..., None]).sum(-2)
        gap = (places - on_surface)[~rigid].norm(dim=-1)
        assert gap.numel() == 0 or float(gap.max()) < 2e-3
        at_joint = rigid & torch.as_tensor((points.offsets == 0).all(1) & (points.offset_dirs == 0).all((1, 2)))
        expected = joints[torch.as_tensor(points.joint_ids).long()[at_joint]]
        torch.testing.assert_close(places[at_joint], expected, atol=1e-9, rtol=0)
        checked += len(points.names)
    assert checked > 100


def test_a_rigid_point_keeps_its_distance_to_its_joint(model: BodyModel, body: Body) -> None:
    points = model.points["left_hand"]
    moved = points.offsets + np.float32([0.01, 0.02, 0.03])
    shifted = type(points)(**{**points.__dict__, "offsets": moved})
    rotmats = random_rotations(np.random.default_rng(6))
    places = body.points(model.virtual_points(shifted), None, None, rotmats)
    joints = body.joints(None, None, rotmats)
    rigid = points.joint_ids >= 0
    distance = (places[torch.as_tensor(rigid)] - joints[points.joint_ids[rigid].tolist()]).norm(dim=-1)
    np.testing.assert_allclose(distance.numpy(), np.linalg.norm(moved[rigid], axis=1), atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_surface(model: BodyModel, body: Body) -> None:
    rotmats = random_rotations(np.random.default_rng(7))
    on_device = Body(model, device="cuda", dtype=torch.float64).vertices(rotmats=rotmats.cuda())
    torch.testing.assert_close(on_device.cpu(), body.vertices(rotmats=rotmats), atol=1e-9, rtol=0)
