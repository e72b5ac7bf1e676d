"""The motion capture poses that the bake learns correctives from and that the bench measures on. numpy only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

BENCH_POSES_PATH = Path(__file__).parent / "data" / "bench_poses.npz"


def read_poses(split: str) -> Float:
    """Local rotations (N, 55, 3, 3) of one split, "train" or "test"; the splits share no subject."""
    with np.load(BENCH_POSES_PATH, allow_pickle=False) as data:
        return rotations_of(np.asarray(data["poses"], np.float64)[data["split"] == split])


def rotations_of(axis_angle: Float) -> Float:
    """Rodrigues' formula, (…, 3) → (…, 3, 3)."""
    angle = np.linalg.norm(axis_angle, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angle, -1, 0)
    zero = np.zeros_like(x)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    return np.asarray(np.eye(3) + np.sinc(angle / np.pi) * k + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (k @ k))
