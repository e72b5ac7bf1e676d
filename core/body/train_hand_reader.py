"""`pantomime train-hand-reader`: train the network of `priors.hand_reader` on painted hands. Development only, CPU."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..arguments import whole, whole_from_0
from ..detection.landmarkers import HandNetwork
from ..detection.models import ModelError, find_models
from ..priors.hand_reader import BONES, HAND_READER_FILE, STEP, bone_directions, features, in_palm, palm_axes
from ..priors.weights import write_tensors
from .bake_poses import rotations_of
from .hand_views import HandMaker, HandViews, HandViewSettings
from .load import load_body
from .model import BodyModel
from .skeleton import LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from .skinning import Body

Array = NDArray[np.float32]
Float = NDArray[np.float64]

_LEAST_SCORE = 0.2  # of a palm, as the detector asks


@dataclass(frozen=True)
class HandTraining:
    """How to train. One hand in ten is kept for validation."""

    seed: int = 0
    hands: int = 20_000
    width: int = 160
    epochs: int = 50
    batch: int = 128
    rate: float = 3e-3
    weight_decay: float = 0.02
    noise: float = 0.08  # of what is read, in its own spread
    dropout: float = 0.1
    doubt: float = 0.2  # of a direction (unit vector), above which an error counts less and less
    views: HandViewSettings = field(default_factory=HandViewSettings)


@torch.inference_mode()
def true_directions(model: BodyModel, views: HandViews) -> Float:
    """The directions (N, 15, 3) of the bones of hands in the palm's axes, between the body's own points of a hand."""
    body, result = Body(model), np.zeros((len(views.right), len(BONES), 3))
    for right, hand in ((False, LEFT_HAND), (True, RIGHT_HAND)):
        rows = np.flatnonzero(views.right == right)
        rotmats = torch.eye(3).repeat(len(rows), NUM_JOINTS, 1, 1)
        turns = rotations_of(views.rotations[rows].reshape(-1, 3).astype(np.float64)).reshape(len(rows), -1, 3, 3)
        rotmats[:, hand] = torch.as_tensor(turns).float()
        carriers = model.virtual_points(model.points["right_hand" if right else "left_hand"])
        points = body.points(carriers, rotmats=rotmats).numpy().astype(np.float64)
        result[rows] = bone_directions(in_palm(points, np.full(len(rows), right), palm_axes(points)))
    return result


def train(
    model: BodyModel, views: HandViews, s: HandTraining, say: Callable[[str], None]
) -> tuple[dict[str, Array], dict[str, object]]:
    """The tensors that `HandReader` reads, and errors in degrees on the hands that were kept."""
    torch.manual_seed(s.seed)
    rng = np.random.default_rng(s.seed)
    x, seen = features(views.image_px.astype(np.float64), views.world_m.astype(np.float64), views.right)
    true = true_directions(model, views).astype(np.float32)
    kept = rng.random(len(x)) < 0.1
    rows = np.flatnonzero(~kept)
    mean, spread = x[rows].mean(axis=0), x[rows].std(axis=0) + 0.2
    wide = [nn.Linear(x.shape[1], s.width), nn.Linear(s.width, s.width), nn.Linear(s.width, 3 * len(BONES))]
    network = nn.Sequential(
        wide[0], nn.SiLU(), nn.Dropout(s.dropout), wide[1], nn.SiLU(), nn.Dropout(s.dropout), wide[2]
    )
    at, read, goal = (torch.as_tensor(v) for v in ((x - mean) / spread, seen, true))
    optimiser = torch.optim.AdamW(network.parameters(), s.rate, weight_decay=s.weight_decay)
    steps = len(rows) // s.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, s.rate, total_steps=s.epochs * steps)

    def directions(which: Tensor, noise: float) -> Tensor:
        told = network(at[which] + noise * torch.randn(len(which), at.shape[1])).reshape(-1, len(BONES), 3)
        return nn.functional.normalize(read[which] + STEP * told, dim=2)

    for epoch in range(s.epochs):
        network.train()
        order = torch.as_tensor(rng.permutation(rows))
        for step in range(steps):
            which = order[step * s.batch : (step + 1) * s.batch]
            squared = (directions(which, s.noise) - goal[which]).square().sum(dim=2)
            loss = torch.log1p(squared / s.doubt**2).mean()  # Cauchy's: some hands are not seen at all
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        if epoch % 10 == 9:
            say(f"epoch {epoch + 1}: loss {loss.item():.3f}")
    network.eval()
    with torch.no_grad():
        told = directions(torch.as_tensor(np.flatnonzero(kept)), 0.0).numpy()
    errors = judge(seen[kept], told, true[kept], views.image_px[kept])
    tensors = {"mean": mean, "spread": spread}
    for i, layer in enumerate(wide):
        tensors |= {f"weight{i}": layer.weight.detach().numpy(), f"bias{i}": layer.bias.detach().numpy()}
    return tensors, errors


def judge(seen: Array, told: Array, true: Array, image_px: Array) -> dict[str, object]:
    """Mean angles to the true directions, degrees, as detected and as read: of all, by bone, and by the hand's size."""
    before, after = (np.degrees(np.arccos(np.clip((v * true).sum(axis=2), -1, 1))) for v in (seen, told))
    size = np.ptp(image_px, axis=1).max(axis=1)
    by_size = {}
    for least, most in ((0, 20), (20, 40), (40, 70), (70, 1000)):
        inside = (size >= least) & (size < most)
        if inside.any():
            by_size[f"{least} px"] = [int(inside.sum()), *(round(float(v[inside].mean()), 1) for v in (before, after))]
    return {
        "all": [round(float(v.mean()), 1) for v in (before, after)],
        "bones_before": before.mean(axis=0).round(1).tolist(),
        "bones_after": after.mean(axis=0).round(1).tolist(),
        "by_size": by_size,
    }


def write(
    path: Path, tensors: dict[str, Array], views: HandViews, settings: HandTraining, errors: dict[str, object]
) -> None:
    """Write the file that `HandReader` reads, with its card."""
    digest = hashlib.sha256(views.world_m.tobytes() + views.rotations.tobytes()).hexdigest()
    card = {"settings": asdict(settings), "seen": len(views.right), "data_sha256": digest, "validation": errors}
    stored = {key: torch.as_tensor(value) for key, value in tensors.items()}
    write_tensors(path, stored, {"card": json.dumps(card, sort_keys=True)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime train-hand-reader`."""
    defaults = HandTraining()
    parser.add_argument("--output", type=Path, default=HAND_READER_FILE, help="file to write")
    parser.add_argument("--hands", type=whole, default=defaults.hands, help="hands to paint (default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole_from_0, default=defaults.seed, help="of all random numbers (default: %(default)s)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime train-hand-reader`: about half an hour, nearly all of it painting."""
    settings = HandTraining(seed=arguments.seed, hands=arguments.hands, views=HandViewSettings(seed=arguments.seed))
    body = load_body()
    try:
        network = HandNetwork(find_models().hand, 2, _LEAST_SCORE)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"painting {settings.hands} hands …", flush=True)
    views = HandMaker(body, network.detect, settings.views).batch(0, settings.hands)
    tensors, errors = train(body, views, settings, lambda text: print(text, flush=True))
    print(json.dumps(errors, indent=1))
    write(arguments.output, tensors, views, settings, errors)
    print(f"wrote {arguments.output.name}, {arguments.output.stat().st_size} bytes")
    return 0
