"""Judging of pose priors on subjects that they never saw: likelihood, reconstruction, and what they distrust."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..body.load import load_body
from ..body.skeleton import PARENTS
from ..rotation import exp_so3
from .flow import FlowLayers, FlowPosePrior
from .gaussian import GaussianSettings, floors
from .mocap import PoseSet
from .pose import PosePrior, load_gaussian_prior, read_gaussian
from .train import flow_loss, squared_angle, with_mirror_images
from .vae import VaeLayers, VaePosePrior, decode, encode


def joint_positions(pose: Tensor) -> Tensor:
    """(B, 63) axis-angle → (B, 22, 3) joints of the free body's mean shape, pelvis at the origin, metres."""
    rest = torch.as_tensor(load_body().J_template[:22]).to(pose)
    local = exp_so3(pose.reshape(-1, 21, 3))
    turns = [torch.eye(3, dtype=pose.dtype).expand(len(pose), 3, 3)]
    places = [torch.zeros(len(pose), 3, dtype=pose.dtype)]
    for joint in range(1, 22):
        parent = PARENTS[joint]
        places.append(places[parent] + turns[parent] @ (rest[joint] - rest[parent]))
        turns.append(turns[parent] @ local[:, joint - 1])
    return torch.stack(places, 1)


def energy(prior: PosePrior, pose: Tensor) -> Tensor:
    """(B, 63) axis-angle → half the squared residual, (B,)."""
    values = [prior.residual(exp_so3(part.reshape(-1, 21, 3)))[0] for part in pose.split(500)]
    return 0.5 * (torch.cat(values) ** 2).sum(1)


def mixture_loss(name: str, pose: Tensor) -> Tensor:
    """(B,) negative log density of the committed Gaussian or mixture, nats."""
    parameters = read_gaussian(name)
    means, whitening = torch.as_tensor(parameters.means), torch.as_tensor(parameters.whitening)
    volume = torch.log(torch.diagonal(whitening, dim1=1, dim2=2)).sum(1)
    weights = torch.log_softmax(-torch.as_tensor(parameters.offsets) - volume, 0)
    residual = (pose[None] - means[:, None]) @ whitening.transpose(1, 2)
    each = (weights + volume)[:, None] - 0.5 * (residual**2).sum(-1)
    return 0.5 * 63 * math.log(2 * math.pi) - torch.logsumexp(each, 0)


@torch.no_grad()
def judge(layers: FlowLayers | VaeLayers, sigma_rad: float, poses: PoseSet, count: int = 4000) -> dict[str, float]:
    """Figures on the test subjects; also printed.

    `distrusted` is the share of true test poses with a higher energy than 99 of 100 poses of the training subjects.
    Likelihoods are of poses with the noise that the capture can't tell, as the priors were fitted to.
    """
    generator = torch.Generator().manual_seed(7)

    def sample(split: str) -> Tensor:
        every = with_mirror_images(poses.part(poses.split == split))
        return every[torch.randint(len(every), (count,), generator=generator)]

    noise = torch.as_tensor(floors(GaussianSettings())).float()
    known, unseen = sample("train"), sample("test")
    noisy = unseen + noise * torch.randn(unseen.shape, generator=generator)
    prior: PosePrior
    figures: dict[str, float] = {}
    if isinstance(layers, FlowLayers):
        prior = FlowPosePrior(layers)
        figures["nats"] = float(flow_loss(layers, noisy).mean())
        figures["nats_gaussian"] = float(mixture_loss("gaussian", noisy).mean())
        figures["nats_mixture"] = float(mixture_loss("mixture", noisy).mean())
    else:
        prior = VaePosePrior(layers, sigma_rad)
        back = decode(layers, encode(layers, unseen)[0])
        angle = squared_angle(back.reshape(-1, 21, 3), unseen.reshape(-1, 21, 3)).sqrt()
        figures["reconstruction_deg"] = float(torch.rad2deg(angle).mean())
        apart = (joint_positions(back) - joint_positions(unseen)).norm(dim=-1)
        figures["reconstruction_mm"] = 1000 * float(apart.mean())
    for name, candidate in (
        ("", prior),
        ("_gaussian", load_gaussian_prior()),
        ("_mixture", load_gaussian_prior("mixture")),
    ):
        border = float(np.quantile(energy(candidate, known).numpy(), 0.99))
        figures[f"distrusted{name}"] = float((energy(candidate, unseen) > border).float().mean())
    for key, value in figures.items():
        print(f"  {key}: {value:.3f}")
    return {key: round(value, 4) for key, value in figures.items()}
