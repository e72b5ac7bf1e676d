"""What a seen face mesh says of its expression: a small network from its points to ARKit's components, each with its σ.

The face mesh bends less than the face, and every face has its own shape: where the mesh's points lie on a body says
little of small components, and drags the wrong ones along. Learned from faces of known expression and many shapes
(`train_expressions`), it knows how far the mesh goes and what it confuses. The network runs in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..detection.observation import Points
from .errors import PriorError
from .weights import DAMAGED, read_tensors

Array = NDArray[np.float32]

EXPRESSION_FILE = Path(__file__).parent / "data" / "expressions.safetensors"
NUM_POINTS = 468
LEAST_SIGMA = 0.02
# Points that expressions hardly move: forehead, temples, bridge of the nose, corners of the eyes.
STEADY = (
    10, 67, 103, 109, 297, 332, 338, 54, 284, 21, 251, 127, 356, 162, 389, 234, 454, 6, 197, 195, 168,
    33, 133, 263, 362,
)  # fmt: skip

TENSORS = (
    "canonical", "mean", "linear", "offset", "axes", "weight0", "bias0", "weight1", "bias1", "weight2", "bias2",
)  # fmt: skip


@dataclass(frozen=True)
class SeenExpression:
    """Components (E,) 0…1 by name, and their standard deviations (E,)."""

    names: tuple[str, ...]
    values: Array
    sigma: Array


def upright_mesh(mesh: Array, canonical: Array) -> tuple[Array, Array]:
    """Meshes (N, 468, 3) in camera axes laid on the canonical one by their steady points, and their turn (N, 3, 3).

    The best similarity over STEADY (Umeyama 1991).
    """
    steady = list(STEADY)
    goal = canonical[steady] - canonical[steady].mean(axis=0)
    centre = mesh[:, steady].mean(axis=1, keepdims=True)
    own = mesh[:, steady] - centre
    u, singular, vt = np.linalg.svd(own.transpose(0, 2, 1) @ goal)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    turn = u @ (sign[..., None] * vt)
    scale = (singular * sign).sum(-1) / (own * own).sum((1, 2)).clip(1e-12)
    laid = scale[:, None, None] * (mesh - centre) @ turn + canonical[steady].mean(axis=0)
    return laid.astype(np.float32), turn.astype(np.float32)


def features(mesh: Array, canonical: Array) -> Array:
    """What is read of meshes (N, 468, 3): how they lie off the canonical one, mm, and where they look. (N, F)."""
    laid, turn = upright_mesh(mesh, canonical)
    look = turn[:, :, 2]
    off = 1000 * (laid - canonical)[..., :2].reshape(len(mesh), -1)
    return np.concatenate([off, 10 * look, 10 * look[:, :1] * look[:, 1:2], 10 * look[:, :2] ** 2], axis=1)


class ExpressionReader:
    """A linear guess, and a small network that corrects it. Raises PriorError for a file that is missing or damaged."""

    def __init__(self, path: Path | None = None) -> None:
        path = path or EXPRESSION_FILE
        try:
            tensors, metadata = read_tensors(path)
            self.names = tuple(metadata["names"].split(","))
            self._stored: dict[str, Array] = {key: tensors[key].float().numpy() for key in TENSORS}
            if self._stored["bias2"].shape != (2 * len(self.names),):
                raise ValueError
        except FileNotFoundError as error:
            raise PriorError(f"The reader of expressions {path.name} is missing. Install Pantomime again.") from error
        except DAMAGED as error:
            raise PriorError(f"The reader of expressions {path.name} is damaged. Install Pantomime again.") from error

    @property
    def canonical(self) -> Array:
        """The mean of neutral faces, upright, (468, 3) metres."""
        mesh: Array = self._stored["canonical"]
        return mesh

    def read(self, points: Points) -> SeenExpression | None:
        """The expression of one face (`face468` with its metric mesh); None without a whole mesh."""
        if points.world_m is None or not np.isfinite(points.world_m).all():
            return None
        s = self._stored
        x = features(points.world_m[None].astype(np.float32), s["canonical"]) - s["mean"]
        guess = x @ s["linear"] + s["offset"]
        x = np.concatenate([x @ s["axes"], guess], axis=1)
        for i in range(2):
            x = _silu(x @ s[f"weight{i}"].T + s[f"bias{i}"])
        correction, log_sigma = np.split((x @ s["weight2"].T + s["bias2"])[0], 2)
        values, sigma = guess[0] + correction, np.maximum(np.exp(np.clip(log_sigma, -4, 1)), LEAST_SIGMA)
        return SeenExpression(self.names, np.clip(values, 0, 1).astype(np.float32), sigma.astype(np.float32))


def _silu(x: Array) -> Array:
    result: Array = x / (1 + np.exp(-np.clip(x, -60, 60)))
    return result
