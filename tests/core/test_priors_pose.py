"""The Gaussian pose priors as residuals of the solver."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pantomime.core.body.skeleton import JOINT_INDEX
from pantomime.core.priors.errors import PriorError
from pantomime.core.priors.pose import BODY_JOINTS, load_gaussian_prior, read_gaussian
from pantomime.core.priors.tangent import log_with_jacobian
from pantomime.core.rotation import exp_so3

BENCH_POSES = Path(__file__).parents[2] / "core" / "body" / "data" / "bench_poses.npz"


def test_poses(split: str = "test") -> torch.Tensor:
    data = np.load(BENCH_POSES)
    return torch.as_tensor(data["poses"][data["split"] == split]).double()


test_poses.__test__ = False  # type: ignore[attr-defined]


def numeric_jacobian(function, rotmats: torch.Tensor, step: float = 1e-6) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """(B, R, 3K) by central differences along right tangents."""
    batch, joints = rotmats.shape[:2]
    columns = []
    for joint in range(joints):
        for axis in range(3):
            tangent = torch.zeros(batch, joints, 3, dtype=rotmats.dtype)
            tangent[:, joint, axis] = step
            plus = function(rotmats @ exp_so3(tangent))
            minus = function(rotmats @ exp_so3(-tangent))
            columns.append((plus - minus) / (2 * step))
    return torch.stack(columns, -1)


def test_log_and_its_jacobian_agree_with_differences_from_tiny_to_nearly_half_a_turn() -> None:
    generator = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator, dtype=torch.float64), dim=-1)
    angle = torch.cat([torch.logspace(-9, -1, 20), torch.linspace(0.2, 3.13, 20)]).double()
    vector = axis * angle[:, None]
    rotmats = exp_so3(vector)[:, None]
    value, jacobian = log_with_jacobian(rotmats)
    torch.testing.assert_close(value[:, 0], vector, atol=1e-9, rtol=1e-8)
    expected = numeric_jacobian(lambda r: log_with_jacobian(r)[0][:, 0], rotmats)
    torch.testing.assert_close(jacobian[:, 0], expected, atol=2e-6, rtol=2e-5)


def test_log_is_finite_at_half_a_turn_and_at_rest() -> None:
    for rotmats in (torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, -1.0]))):
        value, jacobian = log_with_jacobian(rotmats[None])
        assert torch.isfinite(value).all() and torch.isfinite(jacobian).all()


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_jacobian_of_a_gaussian_prior_equals_finite_differences(name: str) -> None:
    prior = load_gaussian_prior(name, torch.float64)
    rotmats = exp_so3(test_poses()[:6, 1:22])
    residual, jacobian = prior.residual(rotmats)
    expected = numeric_jacobian(lambda r: prior.residual(r)[0], rotmats)
    assert residual.shape == (6, 63 if name == "gaussian" else 64)
    torch.testing.assert_close(jacobian, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "mixture"])
def test_unseen_real_poses_are_far_likelier_than_random_ones(name: str) -> None:
    prior = load_gaussian_prior(name, torch.float64)
    real = test_poses()[:, 1:22]
    # Every joint turned as far as in some real pose, but in a direction of chance.
    generator = torch.Generator().manual_seed(1)
    direction = torch.nn.functional.normalize(torch.randn(real.shape, generator=generator, dtype=torch.float64), dim=-1)
    scrambled = direction * real.norm(dim=-1, keepdim=True)
    energy = [(prior.residual(exp_so3(pose))[0] ** 2).sum(-1) for pose in (real, scrambled)]
    assert (energy[0] < energy[1]).double().mean() > 0.98
    assert energy[0].median() < 126  # twice the dimension
    assert energy[1].median() > 3 * energy[0].median()


def test_the_prior_is_the_same_for_a_pose_and_its_mirror_image() -> None:
    from pantomime.core.priors.mocap import mirrored

    prior = load_gaussian_prior("gaussian", torch.float64)
    rotmats = exp_so3(test_poses()[:, :22])
    other = torch.as_tensor(mirrored(rotmats.numpy()))
    energy = [(prior.residual(r[:, 1:])[0] ** 2).sum(-1) for r in (rotmats, other)]
    assert ((energy[0] - energy[1]).abs() / energy[0]).median() < 0.05


def test_the_mean_pose_is_that_of_a_person_with_hanging_arms_and_slightly_bent_limbs() -> None:
    mean = read_gaussian("gaussian").means[0].reshape(21, 3)
    assert mean[JOINT_INDEX["left_shoulder"] - 1, 2] < -0.5 and mean[JOINT_INDEX["right_shoulder"] - 1, 2] > 0.5
    assert 0.2 < mean[JOINT_INDEX["left_knee"] - 1, 0] < 1.2
    assert mean[JOINT_INDEX["left_elbow"] - 1, 1] < -0.4 and mean[JOINT_INDEX["right_elbow"] - 1, 1] > 0.4
    assert tuple(range(1, 22)) == BODY_JOINTS


def test_a_missing_or_damaged_prior_file_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PriorError, match="missing"):
        read_gaussian("gaussian", tmp_path / "none.npz")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(PriorError, match="damaged"):
        read_gaussian("gaussian", broken)
    np.savez(
        tmp_path / "small.npz",
        gaussian_means=np.zeros((1, 6)),
        gaussian_whitening=np.zeros((1, 6, 6)),
        gaussian_offsets=np.zeros(1),
    )
    with pytest.raises(PriorError, match="21 body joints"):
        read_gaussian("gaussian", tmp_path / "small.npz")
