"""`pantomime train-gaze`: train what `priors.gaze_reader` reads gazes with. Development only, CPU."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..arguments import whole, whole_from_0
from ..detection.face_network import FaceNetwork
from ..detection.models import ModelError, find_models
from ..priors.gaze import MIRROR_ORDER, MIRROR_SIGNS
from ..priors.gaze_reader import GAZE_FILE, SHUT, features, gaze_sigma, head_looks
from ..priors.weights import write_tensors
from .face_pictures import FacePictures, PictureMaker
from .face_views import FaceMaker, FaceViewSettings
from .load import load_body

Array = NDArray[np.float32]


@dataclass(frozen=True)
class GazeTraining:
    """How to train. Every tenth person is kept for validation."""

    seed: int = 0
    faces: int = 440
    ridge: float = 100.0
    least_px: float = 10.0  # width of an eye in the photo from which on it teaches


def table(faces: FacePictures, flipped: bool = False) -> Array:
    """Features (N, F) of faces, or of their mirror images."""
    eyes, _ = faces.gaze_features()
    looks, pictures = head_looks(faces.meshes), faces.pictures
    if flipped:
        pictures, eyes = pictures[:, :, ::-1], eyes[:, MIRROR_ORDER] * MIRROR_SIGNS
        looks = looks * np.array([-1.0, 1.0], np.float32)
    return features(pictures, eyes, looks, faces.size_px)


def train(
    faces: FacePictures, names: tuple[str, ...], settings: GazeTraining
) -> tuple[dict[str, Array], dict[str, float]]:
    """Tensors for the file, and errors in degrees on people that were left out: root mean squares sideways and up, of
    what is read and of looking straight ahead."""
    eye_px = faces.gaze_features()[1]
    known = (eye_px > settings.least_px) & (faces.shut(names) < SHUT)
    held = faces.person % 10 == 0
    seen, kept = faces.some(known & ~held), faces.some(known & held)
    x = np.concatenate([table(seen), table(seen, flipped=True)])
    y = np.concatenate([seen.gaze, seen.gaze * (-1.0, 1.0)]).astype(np.float64)
    mean, offset = x.mean(axis=0), y.mean(axis=0)
    # Ridge regression in its dual form: there are more features than faces.
    own = (x - mean).astype(np.float64)
    dual = own @ own.T
    dual[np.diag_indices(len(dual))] += settings.ridge
    linear = own.T @ np.linalg.solve(dual, y - offset)
    off = (table(kept) - mean) @ linear + offset - kept.gaze
    # The median error falls with the eyes' size; then all is scaled so that σ are what errors are.
    looks, px = head_looks(kept.meshes), eye_px[known & held]
    plain = gaze_sigma(px, looks, np.zeros((2, 2), np.float32))
    rows = np.stack([np.ones(len(px)), np.log(np.clip(px, 6.0, 40.0) / 20.0)], axis=1)
    sigma = np.linalg.lstsq(rows, np.log(np.maximum(np.abs(off), 0.01) / plain), rcond=None)[0]
    sigma[1] = np.minimum(sigma[1], 0.0)
    sigma[0] += 0.5 * np.log(((off / gaze_sigma(px, looks, sigma.astype(np.float32))) ** 2).mean(axis=0))
    errors = {}
    for title, gap in (("read", off), ("ahead", kept.gaze)):
        for axis, value in zip(("side", "up"), np.degrees(np.sqrt((gap**2).mean(axis=0))), strict=True):
            errors[f"{title}_{axis}_deg"] = float(value)
    tensors: dict[str, Any] = {"mean": mean, "linear": linear, "offset": offset, "sigma": sigma}
    return {key: np.ascontiguousarray(value, np.float32) for key, value in tensors.items()}, errors


def write(
    path: Path, tensors: dict[str, Array], faces: FacePictures, settings: GazeTraining, errors: dict[str, float]
) -> None:
    """Write the file that `GazeReader` reads, with its card."""
    digest = hashlib.sha256(faces.pictures.tobytes() + faces.meshes.tobytes() + faces.gaze.tobytes()).hexdigest()
    rounded = {key: round(value, 3) for key, value in errors.items()}
    card = {"settings": asdict(settings), "pictures": len(faces.person), "data_sha256": digest, "validation": rounded}
    stored = {key: torch.as_tensor(value) for key, value in tensors.items()}
    write_tensors(path, stored, {"card": json.dumps(card, sort_keys=True)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime train-gaze`."""
    defaults = GazeTraining()
    parser.add_argument("--output", type=Path, default=GAZE_FILE, help="file to write")
    parser.add_argument("--faces", type=whole, default=defaults.faces, help="faces to paint (default: %(default)s)")
    parser.add_argument(
        "--seed", type=whole_from_0, default=defaults.seed, help="of all random numbers (default: %(default)s)"
    )


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime train-gaze`: three minutes."""
    settings = GazeTraining(seed=arguments.seed, faces=arguments.faces)
    body = load_body()
    try:
        maker = FaceMaker(body, FaceNetwork(find_models().face_mesh), FaceViewSettings(), settings.seed)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"painting {settings.faces} faces …", flush=True)
    faces = PictureMaker(maker).batch(0, settings.faces)
    tensors, errors = train(faces, body.expression_names, settings)
    print(f"{len(faces.person)} pictures; " + ", ".join(f"{key} {value:.1f}" for key, value in errors.items()))
    write(arguments.output, tensors, faces, settings, errors)
    print(f"wrote {arguments.output.name}, {arguments.output.stat().st_size} bytes")
    return 0
