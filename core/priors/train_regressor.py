"""`pantomime train-regressor`: train the network of `regressor` on motion capture. Development only, CPU."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..arguments import positive, whole, whole_from_0
from ..body.load import load_body
from ..body.model import BodyModel
from ..body.skeleton import BODY_JOINTS
from ..whole_file import whole_file
from .mocap import MocapError, PoseSet, load_poses
from .regressor import (
    NUM_BETAS,
    REGRESSOR_FILE,
    Network,
    NetworkSettings,
    Outputs,
    both_ways,
    read_outputs,
)
from .regressor_input import POINTS
from .view_pairs import Pairs, PairViews, load_pairs, pairs_hash
from .view_settings import ViewSettings
from .views import ViewMaker, Views, forward
from .weights import read_tensors, write_tensors

# Twelve joints of the limbs, as the errors of such networks are told.
LIMB_JOINTS = tuple(
    BODY_JOINTS.index(f"{side}_{part}")
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)


@dataclass(frozen=True)
class TrainSettings:
    """How to train. The seed fixes people, cameras and first weights; the number of threads changes the last digits."""

    seed: int = 0
    steps: int = 20000
    batch: int = 512
    rate: float = 1.5e-3
    warm_up: int = 200
    weight_decay: float = 0.02
    average: float = 0.998  # of the running mean of the weights, which is what is kept
    position_weight: float = 8.0  # of a metre of joint error
    direction_weight: float = 1.0
    betas_weight: float = 0.1
    sigma_weight: float = 0.05
    pairs_share: float = 0.25  # of a batch to be people as a detector really saw them, where there are such
    pairs_copies: int = 12  # views of each
    network: NetworkSettings = field(default_factory=NetworkSettings)
    views: ViewSettings = field(default_factory=ViewSettings)


def loss_of(raw: Tensor, views: Views, settings: TrainSettings) -> Tensor:
    """What training lowers: angles, joint places, bone directions and shape, and the σ that its errors ask for.

    σ are fitted by Gaussian likelihood to errors that are held fixed, so that they can't excuse a bad mean.
    """
    out = read_outputs(raw)
    angle = (((out.rotmats - views.rotmats) ** 2).sum((-1, -2)) / 2 + 1e-4).sqrt()
    joints = forward(out.rotmats, views.rest)[1] - views.rest[:, :1]
    place = ((joints - views.joints) ** 2).sum(-1).add(1e-5).sqrt()
    turned = ((out.directions - views.directions) ** 2).sum(-1)
    betas = out.betas - views.betas[:, :NUM_BETAS]
    likelihood = (
        _gaussian(true_angle(out.rotmats, views.rotmats), out.rotation_sigma, 3).sum(-1)
        + _gaussian(turned.detach(), out.direction_sigma, 2).sum(-1)
        + _gaussian(betas.detach() ** 2, out.betas_sigma, 1).sum(-1)
    )
    total = (
        angle.mean(-1) * 2
        + settings.position_weight * place.mean(-1)
        + settings.direction_weight * (turned + 1e-4).sqrt().mean(-1)
        + settings.betas_weight * (betas**2).mean(-1)
        + settings.sigma_weight * likelihood / 10
    )
    return total.mean()


def true_angle(rotmats: Tensor, true: Tensor) -> Tensor:
    """Squared angle between rotations, without a gradient."""
    chord = ((rotmats - true) ** 2).sum((-1, -2)).detach() / 8
    angle: Tensor = 2 * chord.clamp(0, 1).sqrt().asin()
    return angle**2


def _gaussian(squared: Tensor, sigma: Tensor, axes: int) -> Tensor:
    return squared / (2 * sigma * sigma) + axes * sigma.log()


def aligned_error(found: Tensor, true: Tensor) -> Tensor:
    """Distances (B, J) after the best similarity (Procrustes; Umeyama 1991) of each found set to its true one."""
    a = found - found.mean(1, keepdim=True)
    centre = true.mean(1, keepdim=True)
    b = true - centre
    u, s, vt = torch.linalg.svd(a.transpose(1, 2) @ b)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.sign(torch.linalg.det(u @ vt))
    turn = u @ (sign[..., None] * vt)
    scale = (s * sign).sum(-1) / (a * a).sum((1, 2)).clamp_min(1e-9)
    distance: Tensor = torch.linalg.vector_norm(scale[:, None, None] * a @ turn - b, dim=-1)
    return distance


@torch.no_grad()
def evaluate(network: Network, maker: ViewMaker, count: int = 2000) -> dict[str, float]:
    """Errors on `count` fresh views. z² is the mean squared error over σ², by axis: 1 where σ tell the truth."""
    return judge(network, maker.batch(count))


@torch.no_grad()
def judge(network: Network, views: Views) -> dict[str, float]:
    """Errors on views, asked one way and mirrored."""
    return measure(both_ways(network, views.features), views)


def measure(out: Outputs, views: Views) -> dict[str, float]:
    """Errors of outputs: millimetres, degrees."""
    joints = forward(out.rotmats, views.rest)[1] - views.rest[:, :1]
    squared = true_angle(out.rotmats, views.rotmats)
    turned = ((out.directions - views.directions) ** 2).sum(-1)
    limbs = list(LIMB_JOINTS)
    aligned = aligned_error(joints, views.joints).mean(1)
    betas = out.betas - views.betas[:, :NUM_BETAS]
    return {
        "mpjpe_mm": 1e3 * float((joints - views.joints).norm(dim=-1).mean()),
        "pa_mpjpe_mm": 1e3 * float(aligned.mean()),
        "pa_mpjpe_median_mm": 1e3 * float(aligned.median()),
        "pa_mpjpe_limbs_mm": 1e3 * float(aligned_error(joints[:, limbs], views.joints[:, limbs]).mean()),
        "root_deg": math.degrees(float(squared[:, 0].sqrt().mean())),
        "body_deg": math.degrees(float(squared[:, 1:].sqrt().mean())),
        "direction_deg": math.degrees(float(turned.sqrt().mean())),
        "betas_rms": float((betas**2).mean().sqrt()),
        "rotation_z2": float((squared / (3 * out.rotation_sigma**2)).mean()),
        "rotation_median_z2": float((squared / (3 * out.rotation_sigma**2)).median()),
        "direction_z2": float((turned / (2 * out.direction_sigma**2)).mean()),
    }


class Trainer:
    """Steps, running mean of the weights, and checkpoints from which a run goes on as if it had not stopped."""

    def __init__(self, body: BodyModel, poses: PoseSet, settings: TrainSettings, pairs: Pairs | None = None) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.pairs = None if pairs is None else PairViews(body, pairs.training(), settings.pairs_copies, settings.seed)
        self.maker = ViewMaker(body, poses.part(poses.split == "train"), settings.views, settings.seed + 1)
        self.network = Network(settings.network)
        torch.nn.init.zeros_(self.network.leave.bias)
        with torch.no_grad():
            self.network.leave.weight *= 0.1
        self.mean = Network(settings.network)
        self.mean.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), settings.rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98), fused=True
        )
        self.step = 0

    def begin_from(self, path: Path) -> None:
        """Begin with the weights of an earlier file. Inputs that its network did not have begin without effect."""
        weights = {name: value.float() for name, value in read_tensors(path)[0].items()}
        fewer = weights["enter.weight"]
        weights["enter.weight"] = torch.zeros_like(self.network.enter.weight)
        weights["enter.weight"][:, : fewer.shape[1]] = fewer
        for network in (self.network, self.mean):
            network.load_state_dict(weights)

    def rate(self) -> float:
        s = self.settings
        return s.rate * min(1.0, (self.step + 1) / s.warm_up) * 0.5 * (1 + math.cos(math.pi * self.step / s.steps))

    def advance(self) -> float:
        """One step; its loss."""
        drawn = self.settings.batch
        if self.pairs is not None:
            drawn -= round(self.settings.pairs_share * drawn)
        views = self.maker.batch(drawn)
        if self.pairs is not None:
            views = views.join(self.pairs.batch(self.settings.batch - drawn, self.maker.random))
        for group in self.optimizer.param_groups:
            group["lr"] = max(self.rate(), 1e-6)
        loss = loss_of(self.network(views.features), views, self.settings)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0, error_if_nonfinite=True)
        self.optimizer.step()
        keep = min(self.settings.average, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, value in zip(self.mean.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        self.step += 1
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.maker.random.get_state(),
            "step": self.step,
        }
        with whole_file(path) as part:
            torch.save(state, part)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.maker.random.set_state(state["random"])
        self.step = int(state["step"])


def data_hash(poses: PoseSet) -> str:
    """SHA-256 of the poses and their splits."""
    digest = hashlib.sha256(np.ascontiguousarray(poses.rotations[:, :22]).tobytes())
    digest.update("\n".join(poses.split.tolist()).encode())
    return digest.hexdigest()


def write_weights(network: Network, path: Path, metadata: dict[str, str]) -> None:
    """Write weights as half floats: their rounding is far below the network's errors."""
    write_tensors(path, {name: value.detach().half() for name, value in network.state_dict().items()}, metadata)


def train(
    body: BodyModel,
    poses: PoseSet,
    settings: TrainSettings,
    output: Path,
    checkpoint: Path | None = None,
    report: Callable[[str], None] = print,
    start: Path | None = None,
    pairs: list[Path] | None = None,
) -> dict[str, float]:
    """Train, write the weights, and return the errors on the validation split.

    start: weights to begin with. pairs: files of people as the detector saw them.
    """
    seen = load_pairs(pairs) if pairs else None
    trainer = Trainer(body, poses, settings, seen)
    kept_back = None if seen is None else PairViews(body, seen.validation(), 1, settings.seed).views
    if start is not None:
        trainer.begin_from(start)
    if checkpoint is not None and checkpoint.exists():
        trainer.resume(checkpoint)
        report(f"goes on from step {trainer.step}")
    start_hash = hashlib.sha256(start.read_bytes()).hexdigest() if start is not None else ""
    begin, first, mean_loss = time.monotonic(), trainer.step, 0.0
    while trainer.step < settings.steps:
        mean_loss = 0.98 * mean_loss + 0.02 * trainer.advance()
        if trainer.step % 500 == 0 or trainer.step == settings.steps:
            errors = validate(trainer.mean, body, poses, settings)
            pace = (time.monotonic() - begin) / (trainer.step - first)
            text = ", ".join(f"{name} {value:.2f}" for name, value in errors.items())
            report(f"step {trainer.step} ({pace * 1e3:.0f} ms each), loss {mean_loss:.3f}: {text}")
            if kept_back is not None:
                report("  as detected: " + ", ".join(f"{k} {v:.2f}" for k, v in judge(trainer.mean, kept_back).items()))
            if checkpoint is not None:
                trainer.save(checkpoint)
    errors = validate(trainer.mean, body, poses, settings)
    metadata = {
        "network": json.dumps(asdict(settings.network)),
        "points": ",".join(POINTS),
        "body_id": body.body_id,
        "settings": json.dumps(asdict(settings)),
        "data_sha256": data_hash(poses),
        "start_sha256": start_hash,
        "pairs_sha256": pairs_hash(pairs) if pairs else "",
        "pairs": "0" if seen is None else str(len(seen.training())),
        "validation": json.dumps({name: round(value, 3) for name, value in errors.items()}),
        "validation_as_detected": json.dumps(
            {name: round(value, 3) for name, value in judge(trainer.mean, kept_back).items()} if kept_back else {}
        ),
    }
    write_weights(trainer.mean, output, metadata)
    return errors


def validate(
    network: Network, body: BodyModel, poses: PoseSet, settings: TrainSettings, split: str = "validation"
) -> dict[str, float]:
    """Errors on people of another split, always the same views."""
    return evaluate(network, ViewMaker(body, poses.part(poses.split == split), settings.views, seed=12345))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime train-regressor`."""
    defaults = TrainSettings()
    parser.add_argument("--root", type=Path, required=True, help="folder with MANIFEST.csv and the capture files")
    parser.add_argument("--output", type=Path, default=REGRESSOR_FILE, help="file to write")
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights to begin with (default: random ones)")
    parser.add_argument(
        "--pairs",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="people as the detector saw them, of `pantomime paint-pairs`",
    )
    parser.add_argument("--checkpoint", type=Path, help="file to save to now and then, and to go on from")
    parser.add_argument("--steps", type=whole, default=defaults.steps, help="steps of training (default: %(default)s)")
    parser.add_argument("--batch", type=whole, default=defaults.batch, help="people in a step (default: %(default)s)")
    parser.add_argument("--rate", type=positive, default=defaults.rate, help="highest step size (default: %(default)s)")
    parser.add_argument("--seed", type=whole_from_0, default=defaults.seed, help="of all random numbers")
    parser.add_argument("--threads", type=whole, default=1, help="processor threads to use (default: 1)")


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime train-regressor`."""
    torch.set_num_threads(arguments.threads)
    try:
        poses = load_poses(arguments.root)
    except MocapError as error:
        print(error)
        return 1
    settings = TrainSettings(seed=arguments.seed, steps=arguments.steps, batch=arguments.batch, rate=arguments.rate)
    report = lambda text: print(text, flush=True)  # noqa: E731
    train(
        load_body(), poses, settings, arguments.output, arguments.checkpoint, report, arguments.start, arguments.pairs
    )
    print(f"wrote {arguments.output.name}, {arguments.output.stat().st_size} bytes")
    return 0
