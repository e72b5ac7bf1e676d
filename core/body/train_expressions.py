"""`pantomime train-expressions`: train the network of `priors.expressions` on painted faces. Development only, CPU."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arguments import whole, whole_from_0
from ..detection.face_network import LEFT_EYE, RIGHT_EYE, FaceNetwork
from ..detection.models import ModelError, find_models
from ..priors.expressions import EXPRESSION_FILE, LEAST_SIGMA, REST_PX, at_rest, features, inputs, upright_mesh
from ..priors.weights import write_tensors
from .face_views import FaceMaker, FaceViews, FaceViewSettings
from .load import load_body

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ExpressionTraining:
    """How to train. Every tenth person is kept for validation."""

    seed: int = 0
    faces: int = 6250
    ridge: float = 300.0  # of the linear guess, mm²
    axes: int = 100  # principal axes that its correction reads
    width: int = 64
    epochs: int = 30
    batch: int = 128
    rate: float = 3e-3
    weight_decay: float = 0.1
    noise: float = 0.1  # of the axes, in their own spread
    dropout: float = 0.2
    sigma_weight: float = 0.002
    rest_share: float = 0.9  # of faces at rest that are to be read as nothing
    views: FaceViewSettings = field(default_factory=FaceViewSettings)


def mirror_points(canonical: Array) -> NDArray[np.int64]:
    """The point on the other side of each of the mesh's points, from a mesh that is nearly symmetric (468, 3)."""
    flipped = canonical * np.array([-1.0, 1.0, 1.0], np.float32)
    gaps = np.linalg.norm(flipped[:, None] - canonical[None], axis=2)
    gaps = gaps + gaps.T
    twins = np.full(len(gaps), -1)
    twins[list(RIGHT_EYE)], twins[list(LEFT_EYE)] = LEFT_EYE, RIGHT_EYE
    for i, k in zip(*np.unravel_index(np.argsort(gaps, axis=None), gaps.shape), strict=True):
        if twins[i] < 0 and twins[k] < 0:
            twins[i], twins[k] = k, i
    return twins


def mirror_names(names: tuple[str, ...]) -> list[int]:
    """The component of the other side."""

    def other(name: str) -> str:
        if name.endswith("Left"):
            return name[:-4] + "Right"
        if name.endswith("Right"):
            return name[:-5] + "Left"
        return {"jawLeft": "jawRight", "mouthLeft": "mouthRight"}.get(name, name)

    return [names.index(other(name)) for name in names]


def canonical_mesh(meshes: Array) -> Array:
    """The mean of neutral faces, upright: of those that look ahead, then of all laid on it, and made symmetric."""
    ahead = meshes[np.abs(meshes[:, 454, 2] - meshes[:, 234, 2]) < 0.01]
    mean = ahead.mean(axis=0)
    for _ in range(5):
        laid, _ = upright_mesh(meshes, mean)
        mean = laid.mean(axis=0)
        mean = mean - mean.mean(axis=0)
    twins = mirror_points(mean)
    mean = 0.5 * (mean + mean[twins] * np.array([-1.0, 1.0, 1.0]))
    return np.asarray(mean, np.float32)


def with_mirrored(views: FaceViews, names: tuple[str, ...], twins: NDArray[np.int64]) -> FaceViews:
    """The faces and their mirror images."""
    flipped = views.meshes[:, twins] * np.array([-1.0, 1.0, 1.0], np.float32)
    return FaceViews(
        np.concatenate([views.meshes, flipped]),
        np.concatenate([views.size_px, views.size_px]),
        np.concatenate([views.expressions, views.expressions[:, mirror_names(names)]]),
        np.concatenate([views.person, views.person]),
    )


def train(
    views: FaceViews, names: tuple[str, ...], settings: ExpressionTraining, report: Callable[[str], None] = print
) -> tuple[dict[str, Array], dict[str, dict[str, float]]]:
    """Tensors for the file, and the errors on people that were left out."""
    torch.manual_seed(settings.seed)
    canonical = canonical_mesh(views.meshes[views.expressions.max(axis=1) == 0])
    held = views.person % 10 == 0
    seen = with_mirrored(views.some(~held), names, mirror_points(canonical))
    tensors = {"canonical": canonical, **_linear(seen, canonical, settings)}
    mean, linear, offset, axes = (tensors[name] for name in ("mean", "linear", "offset", "axes"))

    def read(some: FaceViews) -> tuple[Tensor, Tensor]:
        off, view = features(some.meshes, canonical, some.size_px)
        off = off - mean
        guess = off @ linear + offset
        return torch.as_tensor(inputs(off, view, axes, guess)).float(), torch.as_tensor(guess).float()

    z, guess = read(seen)
    network = _correction(z, guess, torch.as_tensor(seen.expressions), settings)
    z_held, guess_held = read(views.some(held))
    with torch.no_grad():
        correction, log_sigma = network(z_held).chunk(2, dim=1)
    values = (guess_held + correction).clamp(0, 1).numpy()
    true, size_px = views.expressions[held], views.size_px[held]
    large = size_px > REST_PX
    tensors["rest"] = np.array(
        [
            np.quantile(value[large & (there == 0)], settings.rest_share)
            for value, there in zip(values.T, true.T, strict=True)
        ]
    )
    values = at_rest(values, tensors["rest"], size_px)
    errors = judge(values, torch.exp(log_sigma.clamp(-4, 1)).numpy(), true, names)
    report(f"{len(z)} faces, mean correlation {np.mean([row['correlation'] for row in errors.values()]):.3f}")
    for i, layer in enumerate(part for part in network if isinstance(part, nn.Linear)):
        tensors[f"weight{i}"] = layer.weight.detach().numpy()
        tensors[f"bias{i}"] = layer.bias.detach().numpy()
    small = {"linear", "axes", "weight0", "weight1", "weight2"}
    kept: dict[str, Any] = {
        key: np.ascontiguousarray(value, np.float16 if key in small else np.float32) for key, value in tensors.items()
    }
    return kept, errors


def _linear(seen: FaceViews, canonical: Array, settings: ExpressionTraining) -> dict[str, NDArray[Any]]:
    """The linear guess of K expressions by ridge regression of the F features' offsets from their `mean` (F,): `linear`
    (F, K) and `offset` (K,); and `axes` (F, A), the principal ones that its correction reads, in units of their spread.
    """
    x, true = features(seen.meshes, canonical, seen.size_px)[0].astype(np.float64), seen.expressions
    mean = x.mean(axis=0)
    moments = (x - mean).T @ (x - mean)
    offset = true.mean(axis=0)
    linear = np.linalg.solve(moments + settings.ridge * np.eye(len(moments)), (x - mean).T @ (true - offset))
    axes = np.linalg.eigh(moments)[1][:, ::-1][:, : settings.axes]
    return {"mean": mean, "linear": linear, "offset": offset, "axes": axes / ((x - mean) @ axes).std(axis=0)}


def _correction(z: Tensor, guess: Tensor, true: Tensor, settings: ExpressionTraining) -> nn.Sequential:
    """The network that corrects the guess (N, K) of faces with inputs z (N, I), and tells log σ, trained."""
    noise = settings.noise * (torch.arange(z.shape[1]) < settings.axes)
    network = nn.Sequential(
        nn.Linear(z.shape[1], settings.width),
        nn.SiLU(),
        nn.Dropout(settings.dropout),
        nn.Linear(settings.width, settings.width),
        nn.SiLU(),
        nn.Dropout(settings.dropout),
        nn.Linear(settings.width, 2 * guess.shape[1]),
    )
    optimizer = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=settings.weight_decay)
    batches = len(z) // settings.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, settings.epochs * batches)
    for _ in range(settings.epochs):
        network.train()
        for rows in torch.randperm(len(z))[: batches * settings.batch].reshape(-1, settings.batch):
            raw = network(z[rows] + noise * torch.randn_like(z[rows]))
            loss = _loss(raw, guess[rows], true[rows], settings)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def _loss(raw: Tensor, guess: Tensor, true: Tensor, settings: ExpressionTraining) -> Tensor:
    """Squared errors, and the likelihood of σ for errors that are held fixed, so that they can't excuse a bad mean."""
    correction, log_sigma = raw.chunk(2, dim=1)
    squared = (guess + correction - true).square()
    log_sigma = log_sigma.clamp(-4, 1)
    likelihood = squared.detach() / (2 * torch.exp(2 * log_sigma)) + log_sigma
    return squared.mean() + settings.sigma_weight * likelihood.mean()


def judge(values: Array, sigma: Array, true: Array, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """By component: correlation, root mean square error, and mean squared error over σ² (1: σ tell the truth)."""
    result = {}
    for i, name in enumerate(names):
        if true[:, i].std() < 1e-3:
            continue
        gap = values[:, i] - true[:, i]
        result[name] = {
            "correlation": float(np.corrcoef(values[:, i], true[:, i])[0, 1]) if values[:, i].std() > 1e-6 else 0.0,
            "rms": float(np.sqrt((gap**2).mean())),
            "z2": float(((gap / np.maximum(sigma[:, i], LEAST_SIGMA)) ** 2).mean()),
        }
    return result


def write(
    path: Path,
    tensors: dict[str, Array],
    names: tuple[str, ...],
    views: FaceViews,
    settings: ExpressionTraining,
    errors: dict[str, dict[str, float]],
) -> None:
    """Write the file that `ExpressionReader` reads, with its card."""
    digest = hashlib.sha256(views.meshes.tobytes() + views.expressions.tobytes()).hexdigest()
    rounded = {name: {key: round(value, 3) for key, value in row.items()} for name, row in errors.items()}
    card = {"settings": asdict(settings), "seen": len(views.person), "data_sha256": digest, "validation": rounded}
    stored = {key: torch.as_tensor(value) for key, value in tensors.items()}
    write_tensors(path, stored, {"names": ",".join(names), "card": json.dumps(card, sort_keys=True)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime train-expressions`."""
    defaults = ExpressionTraining()
    parser.add_argument("--output", type=Path, default=EXPRESSION_FILE, help="file to write")
    parser.add_argument("--faces", type=whole, default=defaults.faces, help="faces to paint (default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole_from_0, default=defaults.seed, help="of all random numbers (default: %(default)s)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime train-expressions`: about ten minutes."""
    settings = ExpressionTraining(seed=arguments.seed, faces=arguments.faces)
    body = load_body()
    try:
        network = FaceNetwork(find_models().face_mesh)
    except ModelError as error:
        print(error)
        return 1
    maker = FaceMaker(body, network, settings.views, settings.seed)
    print(f"painting {settings.faces} faces …", flush=True)
    views = maker.batch(0, settings.faces)
    tensors, errors = train(views, body.expression_names, settings)
    for name, row in errors.items():
        print(f"{name:22} correlation {row['correlation']:.2f}, rms {row['rms']:.3f}, z² {row['z2']:.2f}")
    write(arguments.output, tensors, body.expression_names, views, settings, errors)
    print(f"wrote {arguments.output.name}, {arguments.output.stat().st_size} bytes")
    return 0
