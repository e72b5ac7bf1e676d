"""Joint limits: zero inside the range, the angle beyond it outside, with exact Jacobians."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pantomime.core.body.skeleton import JOINT_INDEX, MIRROR, NUM_JOINTS
from pantomime.core.priors.limits import BODY_AND_FACE, HANDS, JointLimits
from pantomime.core.rotation import exp_so3

BENCH_POSES = Path(__file__).parents[2] / "core" / "body" / "data" / "bench_poses.npz"


def pose_with(**degrees: tuple[float, float, float]) -> torch.Tensor:
    """(1, 55, 3, 3) the T-pose with some joints turned by axis-angle in degrees."""
    vectors = torch.zeros(NUM_JOINTS, 3, dtype=torch.float64)
    for name, angle in degrees.items():
        vectors[JOINT_INDEX[name]] = torch.deg2rad(torch.tensor(angle, dtype=torch.float64))
    return exp_so3(vectors)[None]


def beyond(name: str, degrees: tuple[float, float, float]) -> np.ndarray:  # type: ignore[type-arg]
    """The joint's three residuals in degrees when it alone is turned."""
    limits = JointLimits((JOINT_INDEX[name],), dtype=torch.float64)
    rotmats = pose_with(**{name: degrees})[:, [JOINT_INDEX[name]]]
    return np.degrees(limits.residual(rotmats)[0][0].numpy())


def test_the_t_pose_breaks_no_limit() -> None:
    limits = JointLimits(dtype=torch.float64)
    residual, _ = limits.residual(pose_with()[:, list(limits.joints)])
    assert residual.abs().max() == 0
    assert set(limits.joints) == set(range(1, NUM_JOINTS))


@pytest.mark.parametrize(
    ("name", "inside", "outside", "by"),
    [
        # Left elbow flexes about −y, right about +y; knees about +x; a positive turn the other way hyperextends.
        ("left_elbow", (0, -140, 0), (0, 24, 0), 20),
        ("right_elbow", (0, 140, 0), (0, -24, 0), 20),
        ("left_knee", (150, 0, 0), (-24, 0, 0), 20),
        ("right_knee", (150, 0, 0), (-24, 0, 0), 20),
        # Fingers of the left hand curl about −z, of the right about +z.
        ("left_index2", (0, 0, -105), (0, 0, 28), 20),
        ("right_pinky3", (0, 0, 80), (0, 0, -35), 20),
    ],
)
def test_hinges_bend_freely_one_way_and_are_pushed_back_the_other(
    name: str, inside: tuple[float, float, float], outside: tuple[float, float, float], by: float
) -> None:
    assert np.abs(beyond(name, inside)).max() < 1e-6
    residual = beyond(name, outside)
    assert residual[0] == pytest.approx(-by, abs=1e-6)  # negative: below the flexion that it may have
    assert np.abs(residual[1:]).max() < 1e-6


@pytest.mark.parametrize("name", ["left_elbow", "right_knee", "left_middle3"])
def test_a_step_against_the_gradient_takes_a_hyperextended_hinge_back(name: str) -> None:
    limits = JointLimits((JOINT_INDEX[name],), dtype=torch.float64)
    axis = {"left_elbow": (0, 30, 0), "right_knee": (-30, 0, 0), "left_middle3": (0, 0, 40)}[name]
    rotmats = pose_with(**{name: axis})[:, [JOINT_INDEX[name]]]
    residual, jacobian = limits.residual(rotmats)
    step = -0.5 * torch.linalg.pinv(jacobian[0]) @ residual[0]
    after, _ = limits.residual(rotmats @ exp_so3(step))
    assert after.norm() == pytest.approx(0.5 * float(residual.norm()), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "degrees", "allowed"),
    [
        ("left_shoulder", (0, 0, -85), True),  # hanging
        ("left_shoulder", (0, 0, 80), True),  # overhead
        ("left_shoulder", (0, -110, 0), True),  # across the chest
        ("left_shoulder", (0, 90, 0), False),  # straight back
        ("right_shoulder", (0, 110, 0), True),
        ("right_shoulder", (0, -90, 0), False),
        ("left_hip", (-110, 0, 0), True),  # knee up
        ("left_hip", (60, 0, 0), False),  # leg far back
        ("left_hip", (0, 0, 40), True),  # out
        ("left_hip", (0, 0, -60), False),  # across the other leg
        ("right_hip", (0, 0, -40), True),
        ("right_hip", (0, 0, 60), False),
        ("left_wrist", (0, 0, -75), True),  # flexed
        ("left_wrist", (0, -70, 0), False),  # far towards the thumb
        ("left_wrist", (80, 0, 0), True),  # pronated
        ("left_wrist", (130, 0, 0), False),
        ("head", (0, 40, 0), True),
        ("head", (0, 80, 0), False),
        ("spine2", (30, 0, 0), True),
        ("spine2", (-40, 0, 0), False),
        ("jaw", (25, 0, 0), True),
        ("jaw", (-15, 0, 0), False),
        ("left_eye_smplhf", (0, 70, 0), False),
        ("right_eye_smplhf", (0, 20, 0), True),
    ],
)
def test_ranges_admit_what_people_do_and_nothing_far_beyond(
    name: str, degrees: tuple[float, float, float], allowed: bool
) -> None:
    largest = np.abs(beyond(name, degrees)).max()
    assert largest < 1e-6 if allowed else largest > 5


def test_jacobian_equals_finite_differences_for_wild_poses() -> None:
    limits = JointLimits(BODY_AND_FACE + HANDS, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    rotmats = exp_so3(torch.randn(8, len(limits.joints), 3, generator=generator, dtype=torch.float64) * 0.9)
    residual, blocks = limits.blocks(rotmats)
    assert (residual.abs() > 0).double().mean() > 0.3
    step = 1e-6
    for axis in range(3):
        tangent = torch.zeros(3, dtype=torch.float64)
        tangent[axis] = step
        plus = limits.blocks(rotmats @ exp_so3(tangent))[0]
        minus = limits.blocks(rotmats @ exp_so3(-tangent))[0]
        numeric = (plus - minus) / (2 * step)
        # Leave out the few joints whose twist wraps or whose limit starts just here.
        near = ((residual.abs() > 1e-5) == (plus.abs() > 0)) & ((plus - minus).abs() < 0.1)
        difference = torch.where(near, blocks[..., axis] - numeric, torch.zeros_like(numeric))
        assert near.double().mean() > 0.99
        assert difference.abs().max() < 1e-4 * (1 + float(numeric[near].abs().max()))


def test_the_dense_jacobian_holds_the_blocks() -> None:
    limits = JointLimits((1, 2, 18), dtype=torch.float64)
    rotmats = exp_so3(torch.full((2, 3, 3), 1.3, dtype=torch.float64))
    residual, dense = limits.residual(rotmats)
    blocks = limits.blocks(rotmats)[1]
    for k in range(3):
        assert torch.equal(dense[:, 3 * k : 3 * k + 3, 3 * k : 3 * k + 3], blocks[:, k])
    assert dense.count_nonzero() == blocks.count_nonzero() and residual.shape == (2, 9)


def test_a_pose_and_its_mirror_image_break_limits_alike() -> None:
    limits = JointLimits(tuple(range(1, NUM_JOINTS)), dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    rotmats = exp_so3(torch.randn(4, NUM_JOINTS, 3, generator=generator, dtype=torch.float64) * 0.7)
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    other = flip @ rotmats[:, list(MIRROR)] @ flip
    sizes = [limits.blocks(r[:, 1:])[0].norm(dim=-1) for r in (rotmats, other)]
    order = [MIRROR[j] - 1 for j in range(1, NUM_JOINTS)]
    torch.testing.assert_close(sizes[0], sizes[1][:, order])


def test_few_poses_of_real_people_break_a_limit() -> None:
    data = np.load(BENCH_POSES)
    poses = torch.as_tensor(data["poses"][data["split"] == "test"]).double()
    # Captured wrists are left out: their markers say little about flexion and deviation.
    joints = tuple(j for j in range(1, 20))
    residual, _ = JointLimits(joints, dtype=torch.float64).blocks(exp_so3(poses[:, list(joints)]))
    broken = (residual.abs() > np.radians(5)).flatten(1).any(1)
    assert broken.double().mean() < 0.05


def test_limits_take_finger_directions_from_the_body() -> None:
    straight = JointLimits(HANDS, dtype=torch.float64)
    positions = np.zeros((NUM_JOINTS, 3))
    for finger in ("index", "middle", "ring", "pinky", "thumb"):
        for k in range(3):
            positions[JOINT_INDEX[f"left_{finger}{k + 1}"]] = (0.03 * k, 0.0, 0.01 * k)
    spread = JointLimits(HANDS, positions, torch.float64)
    assert not torch.allclose(straight.frame_inverse, spread.frame_inverse)
    bone = spread.frame_inverse[0, 0]
    assert float(bone[2] / bone[0]) == pytest.approx(1 / 3)
