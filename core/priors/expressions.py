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

from ..detection.face_picture import STEADY, lay
from ..detection.observation import Points
from .errors import PriorError
from .weights import DAMAGED, read_tensors

Array = NDArray[np.float32]

EXPRESSION_FILE = Path(__file__).parent / "data" / "expressions.safetensors"
NUM_POINTS = 468
LEAST_SIGMA = 0.02
# Sizes of the mesh in the picture, px, between which it matters how large it is.
LEAST_PX, MOST_PX = 14.0, 140.0
REST_PX = 60.0  # size from which faces at rest are read as well as the largest
TURNED_AXES = 40  # leading axes whose meaning changes with where the head looks

TENSORS = (
    "canonical", "mean", "linear", "offset", "axes", "rest",
    "weight0", "bias0", "weight1", "bias1", "weight2", "bias2",
)  # fmt: skip


@dataclass(frozen=True)
class SeenExpression:
    """Components (E,) 0…1 by name, and their standard deviations (E,)."""

    names: tuple[str, ...]
    values: Array
    sigma: Array


def upright_mesh(mesh: Array, canonical: Array) -> tuple[Array, Array]:
    """Meshes (N, 468, 3) in camera axes laid on the canonical one by their steady points, and their turn (N, 3, 3).

    The best similarity over STEADY.
    """
    goal = canonical[list(STEADY)]
    scale, turn, centre = lay(mesh[:, list(STEADY)], goal)
    laid = scale[:, None, None] * (mesh - centre) @ turn + goal.mean(axis=0)
    return laid.astype(np.float32), turn.astype(np.float32)


def mesh_size_px(image_px: Array) -> float:
    """The longer side of the box around a mesh's points in the picture (468, 2); 0 where there are none."""
    seen = image_px[np.isfinite(image_px).all(axis=-1)]
    return float(np.ptp(seen, axis=0).max()) if len(seen) else 0.0


def features(mesh: Array, canonical: Array, size_px: Array) -> tuple[Array, Array]:
    """What is read of meshes (N, 468, 3): how they lie off the canonical one, mm, where they look, and how large they
    are in the picture, size_px (N,). → (N, F), and where they look sideways and up and their size (N, 3)."""
    laid, turn = upright_mesh(mesh, canonical)
    look = turn[:, :, 2]
    off = 1000 * (laid - canonical)[..., :2].reshape(len(mesh), -1)
    size = np.log(np.clip(size_px, LEAST_PX, MOST_PX) / 60.0)[:, None]
    x = np.concatenate([off, 10 * look, 10 * look[:, :1] * look[:, 1:2], 10 * look[:, :2] ** 2, 10 * size], axis=1)
    return x.astype(np.float32), np.concatenate([2 * look[:, :1], 3 * look[:, 1:2], size], axis=1).astype(np.float32)


def inputs(x: Array, view: Array, axes: Array, guess: Array) -> Array:
    """What the network reads: centred features on the axes, as they are and times where the head looks; the guess."""
    on_axes = x @ axes
    turned = [on_axes[:, :TURNED_AXES] * view[:, i : i + 1] for i in (0, 1)]
    return np.concatenate([on_axes, guess, *turned, view[:, 2:]], axis=1)


def at_rest(values: Array, rest: Array, size_px: Array) -> Array:
    """Values (N, E) of which what faces at rest are often read as is nothing: 0 up to `rest` (E,), whole from twice it.

    Firm shrinkage (Gao and Bruce, WaveShrink with firm shrinkage, 1997). `rest` is that of large faces; it grows as
    they get smaller than REST_PX, size_px (N,): what can't be seen is at rest.
    """
    least = rest * np.maximum(1.0, REST_PX / np.maximum(size_px, LEAST_PX))[:, None]
    return np.clip(np.minimum(values, 2 * (values - least)), 0, 1).astype(np.float32)


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
        size_px = np.array([mesh_size_px(points.image_px)])
        values, sigma = self._read(points.world_m[None].astype(np.float32), size_px)
        return SeenExpression(self.names, values[0], sigma[0])

    def _read(self, meshes: Array, size_px: Array) -> tuple[Array, Array]:
        s = self._stored
        x, view = features(meshes, s["canonical"], size_px)
        x = x - s["mean"]
        guess = x @ s["linear"] + s["offset"]
        x = inputs(x, view, s["axes"], guess)
        for i in range(2):
            x = _silu(x @ s[f"weight{i}"].T + s[f"bias{i}"])
        correction, log_sigma = np.split(x @ s["weight2"].T + s["bias2"], 2, axis=1)
        values = at_rest(np.clip(guess + correction, 0, 1), s["rest"], size_px)
        return values, np.maximum(np.exp(np.clip(log_sigma, -4, 1)), LEAST_SIGMA).astype(np.float32)


def _silu(x: Array) -> Array:
    result: Array = x / (1 + np.exp(-np.clip(x, -60, 60)))
    return result
