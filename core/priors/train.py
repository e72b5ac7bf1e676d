"""Training of the learned pose prior, on CPU and seeded: `pantomime train-prior`. Development only."""

from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments import whole, whole_from_0
from ..body.skeleton import JOINT_INDEX
from .flow import SIZE, FlowLayers, flow_forward
from .gaussian import GaussianSettings, floors, single_gaussian
from .learned import LEARNED_FILE, write_learned
from .mocap import PoseSet, load_poses, mirrored
from .mocap_files import MocapError
from .so3 import log_so3
from .vae import LATENT, VaeLayers, decode, encode


@dataclass(frozen=True)
class TrainSettings:
    """How to train; written into the file."""

    kind: str = "flow"  # or "vae"
    seed: int = 0
    steps: int = 9000
    batch: int = 512
    rate: float = 2e-3
    layers: int = 6  # of the flow
    hidden: int = 128  # 256 for the auto-encoder
    sigma_rad: float = 0.12  # of the auto-encoder's reconstruction


# Parts of a body that move much on their own; with these chances a training pose takes them from another.
_PARTS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("neck", "head"), 0.3),
    (("left_wrist",), 0.4),
    (("right_wrist",), 0.4),
    (("left_collar", "left_shoulder", "left_elbow", "left_wrist"), 0.15),
    (("right_collar", "right_shoulder", "right_elbow", "right_wrist"), 0.15),
    (tuple(f"{side}_{joint}" for side in ("left", "right") for joint in ("hip", "knee", "ankle", "foot")), 0.2),
)


def _columns(names: tuple[str, ...]) -> list[int]:
    return [3 * (JOINT_INDEX[name] - 1) + axis for name in names for axis in range(3)]


def with_mirror_images(poses: PoseSet) -> Tensor:
    """(2N, 63) axis-angle of the body joints, the mirror images after the poses."""
    rotations = poses.rotations[:, :22]
    both = np.concatenate([rotations, mirrored(rotations)])[:, 1:].astype(np.float64)
    return torch.as_tensor(log_so3(both).reshape(-1, SIZE)).float()


class Batches:
    """Training poses: actions balanced, mirrored, parts exchanged, noise of what the capture can't tell."""

    def __init__(self, poses: PoseSet, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.vectors = with_mirror_images(poses)
        weights = torch.as_tensor(np.tile(poses.weights(), 2))
        self.pool = torch.multinomial(weights, 400_000, replacement=True, generator=self.generator)
        self.noise = torch.as_tensor(floors(GaussianSettings())).float()
        self.parts = [(_columns(names), chance) for names, chance in _PARTS]

    def draw(self, count: int, noise: bool = True) -> Tensor:
        """(count, 63)."""
        x = self.vectors[self._pick(count)]
        for columns, chance in self.parts:
            other = self.vectors[self._pick(count)][:, columns]
            exchange = torch.rand(count, 1, generator=self.generator) < chance
            x[:, columns] = torch.where(exchange, other, x[:, columns])
        return x + torch.randn(x.shape, generator=self.generator) * self.noise if noise else x

    def _pick(self, count: int) -> Tensor:
        return self.pool[torch.randint(len(self.pool), (count,), generator=self.generator)]


def start_flow(batches: Batches, settings: TrainSettings) -> FlowLayers:
    """A flow that starts as the data's Gaussian."""
    g = batches.generator
    none = GaussianSettings(0, 1, 0, 0, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    gaussian = single_gaussian(batches.draw(30_000).double().numpy(), none)
    count, hidden = settings.layers, settings.hidden
    turns = torch.stack([torch.linalg.qr(torch.randn(SIZE, SIZE, generator=g))[0] for _ in range(count)])
    return FlowLayers(
        torch.as_tensor(gaussian.means[0]),
        torch.as_tensor(gaussian.whitening[0]),
        turns,
        torch.randn(count, hidden, 31, generator=g) / 31**0.5,
        torch.zeros(count, hidden),
        torch.randn(count, 64, hidden, generator=g) * 0.01 / hidden**0.5,
        torch.zeros(count, 64),
        torch.zeros(SIZE),
    )


def start_vae(batches: Batches, settings: TrainSettings) -> VaeLayers:
    """An auto-encoder with random weights."""
    g, hidden = batches.generator, settings.hidden

    def weight(rows: int, columns: int, gain: float = 1.4) -> Tensor:
        drawn: Tensor = torch.randn(rows, columns, generator=g) * (gain / columns**0.5)
        return drawn

    sample = batches.draw(20_000)
    zero = torch.zeros
    return VaeLayers(
        sample.mean(0), sample.std(0).clamp_min(0.1),
        weight(hidden, SIZE), zero(hidden), weight(hidden, hidden), zero(hidden), weight(2 * LATENT, hidden, 0.3),
        torch.cat([zero(LATENT), torch.full((LATENT,), -1.0)]),
        weight(hidden, LATENT), zero(hidden), weight(hidden, hidden), zero(hidden),
        weight(SIZE, hidden, 0.3), zero(SIZE),
    )  # fmt: skip


def flow_loss(layers: FlowLayers, pose: Tensor) -> Tensor:
    """(B,) negative log density, nats."""
    latent, log_det = flow_forward(layers, pose)
    volume = float(torch.log(torch.diagonal(layers.whitening)).sum())
    loss: Tensor = 0.5 * (latent * latent).sum(1) - log_det - volume + 0.5 * SIZE * math.log(2 * math.pi)
    return loss


def squared_angle(first: Tensor, second: Tensor) -> Tensor:
    """Squared geodesic distance of rotations, each by its axis-angle (…, 3) → (…)."""
    from ..rotation import exp_so3

    chord = ((exp_so3(first) - exp_so3(second)) ** 2).sum((-1, -2)).clamp(1e-10, 7.999)
    angle: Tensor = 2 * torch.asin((chord / 8).sqrt())
    return angle * angle


def vae_loss(layers: VaeLayers, pose: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """(B,) negative evidence bound up to a constant: squared angles over 2σ², and the divergence of the latent."""
    mean, log_sigma = encode(layers, pose)
    latent = mean + torch.randn(mean.shape, generator=generator) * torch.exp(log_sigma)
    error = squared_angle(decode(layers, latent).reshape(-1, 21, 3), pose.reshape(-1, 21, 3)).sum(1)
    divergence = 0.5 * (mean**2 + torch.exp(2 * log_sigma) - 1).sum(1) - log_sigma.sum(1)
    return error / (2 * sigma**2) + divergence


def train(poses: PoseSet, settings: TrainSettings, report_every: int = 1000) -> FlowLayers | VaeLayers:
    """Train on the training split. Fixed steps, cosine schedule, no look at the other splits."""
    torch.manual_seed(settings.seed)
    batches = Batches(poses.part(poses.split == "train"), settings.seed)
    layers = start_flow(batches, settings) if settings.kind == "flow" else start_vae(batches, settings)
    fixed = ("mean", "whitening", "turns", "spread")
    weights = [getattr(layers, f.name).requires_grad_() for f in fields(layers) if f.name not in fixed]
    optimiser = torch.optim.Adam(weights, lr=settings.rate)
    began = time.monotonic()
    for step in range(settings.steps):
        share = step / settings.steps
        optimiser.param_groups[0]["lr"] = settings.rate * min(1, step / 200) * 0.5 * (1 + math.cos(math.pi * share))
        pose = batches.draw(settings.batch)
        if isinstance(layers, FlowLayers):
            loss = flow_loss(layers, pose).mean()
        else:
            loss = vae_loss(layers, pose, settings.sigma_rad, batches.generator).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimiser.step()
        if step % report_every == 0:
            print(f"step {step}: loss {loss.item():.2f}, {time.monotonic() - began:.0f} s", flush=True)
    for weight in weights:
        weight.requires_grad_(False)
    return layers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime train-prior`."""
    parser.add_argument("--root", type=Path, required=True, help="folder with MANIFEST.csv and the capture files")
    parser.add_argument("--kind", choices=("flow", "vae"), default="flow", help="kind of network (default flow)")
    parser.add_argument("--steps", type=whole, default=TrainSettings.steps, help="how many batches to train on")
    parser.add_argument("--seed", type=whole_from_0, default=0, help="of the start and the batches (default 0)")
    parser.add_argument("-o", "--output", type=Path, default=LEARNED_FILE, help="file to write")


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime train-prior`: train, judge on the test subjects, write weights and card."""
    from .judge import judge

    try:
        poses = load_poses(arguments.root)
    except MocapError as error:
        print(error, file=sys.stderr)
        return 1
    settings = TrainSettings(
        arguments.kind, arguments.seed, arguments.steps, hidden=128 if arguments.kind == "flow" else 256
    )
    layers = train(poses, settings)
    card: dict[str, Any] = asdict(settings) | {
        "data": "CMU Graphics Lab motion capture, four clips under MIT; training subjects, mirrored, balanced",
        "data_sha256": hashlib.sha256(poses.rotations.tobytes()).hexdigest(),
        "torch": torch.__version__,
        "test": judge(layers, settings.sigma_rad, poses),
    }
    write_learned(arguments.output, layers, card)
    print(f"wrote {arguments.output.name}, {arguments.output.stat().st_size} bytes")
    return 0
