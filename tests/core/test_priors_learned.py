"""The learned pose priors as residuals of the solver, and their file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from pantomime.core.body.skeleton import NUM_JOINTS
from pantomime.core.priors.errors import PriorError
from pantomime.core.priors.flow import FlowLayers, FlowPosePrior, flow_forward, flow_inverse
from pantomime.core.priors.learned import best_pose_prior, load_learned_prior, read_learned, write_learned
from pantomime.core.priors.mocap import PoseSet
from pantomime.core.priors.so3 import exp_so3 as exp_numpy
from pantomime.core.priors.train import Batches, TrainSettings, squared_angle, start_vae, train
from pantomime.core.priors.vae import VaePosePrior, decode, encode
from pantomime.core.rotation import exp_so3

BENCH_POSES = Path(__file__).parents[2] / "core" / "body" / "data" / "bench_poses.npz"


def poses() -> PoseSet:
    data = np.load(BENCH_POSES)
    count = len(data["poses"])
    rotations = exp_numpy(data["poses"].astype(np.float64)).astype(np.float32)
    assert rotations.shape == (count, NUM_JOINTS, 3, 3)
    empty = np.full(count, "")
    return PoseSet(rotations, data["subject"], data["action"], data["split"], empty, np.arange(count))


def random_flow(layers: int = 3, hidden: int = 16) -> FlowLayers:
    g = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    turns = torch.stack([torch.linalg.qr(draw(63, 63))[0] for _ in range(layers)])
    whitening = torch.tril(draw(63, 63)) * 0.1 + 3 * torch.eye(63, dtype=torch.float64)
    return FlowLayers(
        0.1 * draw(63), whitening, turns, 0.2 * draw(layers, hidden, 31), 0.1 * draw(layers, hidden),
        0.2 * draw(layers, 64, hidden), 0.1 * draw(layers, 64), 0.1 * draw(63),
    )  # fmt: skip


def rotations(count: int = 3) -> torch.Tensor:
    g = torch.Generator().manual_seed(9)
    return exp_so3(0.4 * torch.randn(count, 21, 3, generator=g, dtype=torch.float64))


def check_jacobian(prior: FlowPosePrior | VaePosePrior) -> None:
    rotmats = rotations()
    jacobian = prior.residual(rotmats)[1]
    for column in range(0, 63, 4):
        tangent = torch.zeros(3, 63, dtype=torch.float64)
        tangent[:, column] = 1e-6
        turn = exp_so3(tangent.reshape(3, 21, 3))
        change = prior.residual(rotmats @ turn)[0] - prior.residual(rotmats @ turn.transpose(-1, -2))[0]
        torch.testing.assert_close(jacobian[..., column], change / 2e-6, atol=1e-6, rtol=1e-5)


def test_jacobian_of_the_flow_equals_finite_differences() -> None:
    check_jacobian(FlowPosePrior(random_flow(), torch.float64))


def test_jacobian_of_the_auto_encoder_equals_finite_differences() -> None:
    layers = start_vae(Batches(poses(), 0), TrainSettings("vae", hidden=24))
    check_jacobian(VaePosePrior(layers, 0.12, torch.float64))


def test_the_flow_is_inverted_and_its_volume_is_that_of_its_jacobian() -> None:
    layers = random_flow()
    g = torch.Generator().manual_seed(2)
    pose = 0.5 * torch.randn(4, 63, generator=g, dtype=torch.float64)
    latent, log_det = flow_forward(layers, pose)
    torch.testing.assert_close(flow_inverse(layers, latent), pose, atol=1e-8, rtol=1e-8)
    full = torch.func.jacrev(lambda x: flow_forward(layers, x[None])[0][0])(pose[0])
    expected = torch.linalg.slogdet(full)[1] - torch.log(torch.diagonal(layers.whitening)).sum()
    assert float(log_det[0]) == pytest.approx(float(expected), abs=1e-8)


def test_residuals_of_the_flow_hold_its_exact_density() -> None:
    layers = random_flow()
    prior = FlowPosePrior(layers, torch.float64)
    rotmats = rotations(8)
    from pantomime.core.rotation import log_so3

    latent, log_det = flow_forward(layers, log_so3(rotmats).reshape(8, 63))
    exact = 0.5 * (latent**2).sum(1) - log_det
    energy = 0.5 * (prior.residual(rotmats)[0] ** 2).sum(1)
    torch.testing.assert_close(energy - energy[0], exact - exact[0], atol=1e-8, rtol=1e-8)


def test_squared_angle_is_the_square_of_the_angle_between_rotations() -> None:
    one = torch.zeros(4, 3, dtype=torch.float64)
    other = torch.tensor([[0.0, 0, 0], [1e-3, 0, 0], [0, 1.5, 0], [0, 0, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(squared_angle(one, other).sqrt(), other.norm(dim=1), atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize("kind", ["flow", "vae"])
def test_training_is_the_same_twice_and_learns(kind: str) -> None:
    settings = TrainSettings(kind, seed=3, steps=12, batch=64, layers=2, hidden=16)
    first, second = (train(poses(), settings, report_every=100) for _ in range(2))
    for item in fields(first):
        assert torch.equal(getattr(first, item.name), getattr(second, item.name)), item.name
    untrained = train(poses(), TrainSettings(kind, seed=3, steps=0, batch=64, layers=2, hidden=16))
    changed = "w2" if kind == "flow" else "e3"
    assert not torch.equal(getattr(first, changed), getattr(untrained, changed))


def test_a_prior_file_is_read_back_with_its_card(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    layers = random_flow().to(torch.float32, "cpu")
    write_learned(path, layers, {"kind": "flow", "seed": 5})
    again, card = read_learned(path)
    assert card == {"kind": "flow", "seed": 5}
    assert all(torch.equal(getattr(layers, item.name), getattr(again, item.name)) for item in fields(layers))
    assert isinstance(load_learned_prior(path), FlowPosePrior)
    prior, name, warning = best_pose_prior(path=path)
    assert isinstance(prior, FlowPosePrior) and name == "flow" and not warning


def test_without_its_file_the_gaussian_stands_in_and_says_so(tmp_path: Path) -> None:
    prior, name, warning = best_pose_prior(path=tmp_path / "none.safetensors")
    assert name == "gaussian" and "missing" in warning and "simpler prior" in warning
    assert prior.residual(rotations(1).float())[0].shape == (1, 63)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not tensors")
    with pytest.raises(PriorError, match="damaged"):
        read_learned(broken)
    assert best_pose_prior(path=broken)[1] == "gaussian"


def test_the_auto_encoder_reads_and_writes_poses_of_21_joints() -> None:
    layers = start_vae(Batches(poses(), 0), TrainSettings("vae", hidden=24))
    mean, log_sigma = encode(layers, torch.zeros(2, 63))
    assert mean.shape == log_sigma.shape == (2, 32)
    assert decode(layers, mean).shape == (2, 63)
