"""Fitting of the Gaussian pose prior and of the Gaussian mixture to motion capture. numpy only; development only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..body.points_file import write_npz
from ..body.skeleton import JOINT_INDEX
from .mocap import PoseSet, mirrored
from .pose import GAUSSIAN_FILE, GaussianParameters
from .so3 import Array, log_so3


@dataclass(frozen=True)
class GaussianSettings:
    """How to fit. The floors are what the capture can't tell or doesn't hold, added as independent noise."""

    seed: int = 0
    components: int = 8
    samples: int = 40000
    iterations: int = 25
    shrinkage: float = 0.05  # towards the diagonal, one Gaussian
    component_shrinkage: float = 0.15  # the same, each of a mixture
    floor_rad: float = 0.06
    # Markers see neither the split of a turn between vertebrae nor clavicles; wrists and toes are unreliable or absent.
    spine_floor_rad: float = 0.08
    collar_floor_rad: float = 0.09
    wrist_floor_rad: float = 0.22
    toes_floor_rad: float = 0.15


def floors(settings: GaussianSettings) -> Array:
    """(63,) noise of each coordinate, radians."""
    sigma = np.full((21, 3), settings.floor_rad)
    for joint in ("spine1", "spine2", "spine3", "neck", "head"):
        sigma[JOINT_INDEX[joint] - 1] = settings.spine_floor_rad
    for side in ("left", "right"):
        sigma[JOINT_INDEX[f"{side}_collar"] - 1] = settings.collar_floor_rad
        sigma[JOINT_INDEX[f"{side}_wrist"] - 1] = settings.wrist_floor_rad
        sigma[JOINT_INDEX[f"{side}_foot"] - 1] = settings.toes_floor_rad
    return sigma.reshape(63)


def body_vectors(poses: PoseSet, weights: Array, count: int, seed: int) -> Array:
    """`count` draws of the body's axis-angle by weight, half of them mirrored. (count, 63)."""
    random = np.random.default_rng(seed)
    index = random.choice(len(weights), size=count, p=weights)
    rotations = poses.rotations[index, :22]
    flip = random.random(count) < 0.5
    rotations = np.where(flip[:, None, None, None], mirrored(rotations), rotations)
    return log_so3(rotations[:, 1:].astype(np.float64)).reshape(count, 63)


def _whitening(covariance: Array) -> Array:
    """W with Wᵀ W = covariance⁻¹."""
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)))


def _shrunk(covariance: Array, share: float, noise: Array) -> Array:
    return np.asarray((1 - share) * covariance + share * np.diag(np.diag(covariance)) + np.diag(noise**2))


def single_gaussian(vectors: Array, settings: GaussianSettings) -> GaussianParameters:
    """One Gaussian with shrunk covariance. vectors (N, 63)."""
    mean = vectors.mean(0)
    whitening = _whitening(_shrunk(np.cov(vectors.T), settings.shrinkage, floors(settings)))
    return GaussianParameters(
        mean[None].astype(np.float32), whitening[None].astype(np.float32), np.zeros(1, np.float32)
    )


def gaussian_mixture(vectors: Array, settings: GaussianSettings) -> GaussianParameters:
    """Gaussians by expectation maximisation, started from random draws. vectors (N, 63)."""
    random = np.random.default_rng(settings.seed)
    count, noise = settings.components, floors(settings)
    means = vectors[random.choice(len(vectors), count, replace=False)]
    whitening = np.repeat(_whitening(_shrunk(np.cov(vectors.T), settings.shrinkage, noise))[None], count, axis=0)
    log_weights = np.full(count, -np.log(count))
    for _ in range(settings.iterations):
        scores = np.stack(
            [log_weights[k] + _log_density(vectors, means[k], whitening[k]) for k in range(count)], axis=1
        )
        scores -= scores.max(1, keepdims=True)
        share = np.exp(scores)
        share /= share.sum(1, keepdims=True)
        mass = share.sum(0) + 1e-9
        log_weights = np.log(mass / mass.sum())
        for k in range(count):
            means[k] = share[:, k] @ vectors / mass[k]
            centred = vectors - means[k]
            covariance = (centred * share[:, k : k + 1]).T @ centred / mass[k]
            whitening[k] = _whitening(_shrunk(covariance, settings.component_shrinkage, noise))
    offsets = -log_weights - np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(1)
    return GaussianParameters(
        means.astype(np.float32), whitening.astype(np.float32), (offsets - offsets.min()).astype(np.float32)
    )


def _log_density(vectors: Array, mean: Array, whitening: Array) -> Array:
    residual = (vectors - mean) @ whitening.T
    return np.asarray(-0.5 * (residual**2).sum(1) + np.log(np.diag(whitening)).sum())


def fit_gaussian(poses: PoseSet, path: Path = GAUSSIAN_FILE, settings: GaussianSettings | None = None) -> Path:
    """Fit both to the training split and write them with their configuration and the data's hash."""
    settings = settings or GaussianSettings()
    train = poses.part(poses.split == "train")
    vectors = body_vectors(train, train.weights(), settings.samples, settings.seed)
    card = asdict(settings) | {
        "data": "CMU Graphics Lab motion capture, four clips under MIT; training subjects, mirrored, balanced",
        "poses": len(train.split),
        "data_sha256": hashlib.sha256(train.rotations.tobytes()).hexdigest(),
    }
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    fitted = {"gaussian": single_gaussian(vectors, settings), "mixture": gaussian_mixture(vectors, settings)}
    for name, parameters in fitted.items():
        arrays[f"{name}_means"] = parameters.means
        arrays[f"{name}_whitening"] = parameters.whitening
        arrays[f"{name}_offsets"] = parameters.offsets
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, {"card": np.array(json.dumps(card)), **arrays})
    return path
