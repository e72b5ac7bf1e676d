"""Where the eyes of a seen face look: a line through edges of its picture around the eyes, and through its irises.

MediaPipe's irises follow a gaze sideways, but hardly up and down; lids and what is white around the iris show that.
Trained by `body.train_gaze`; model card: docs/expressions.md. It runs in numpy, in about a millisecond.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..detection.face_picture import STEADY, STEADY_MM, lay
from ..detection.observation import Observation
from .errors import PriorError
from .expressions import LEAST_PX, MOST_PX, mesh_size_px
from .gaze import MOST_RAD, SeenGaze, eye_width, gaze_features, metric_irises
from .weights import DAMAGED, read_tensors

Array = NDArray[np.float32]

GAZE_FILE = Path(__file__).parent / "data" / "gaze.safetensors"
BLOCK_PX, DIRECTIONS = 4, 6  # edges are summed over blocks, of which four make a cell, in so many directions
ROWS, COLUMNS = slice(6, 13), slice(2, 26)  # of cells: the eyes
TURNED = 4.0
GAZE_SIGMA_RAD = (0.05, 0.6)
LEAST_EYE_PX = 8.0  # width of an eye in the photo below which nothing is said of its gaze
SHUT = 0.55  # blink from which on an eye does not tell where it looks

TENSORS = ("mean", "linear", "offset", "sigma")


def edges(pictures: NDArray[np.uint8]) -> Array:
    """Grey pictures (N, 112, 112) → how strong edges are in each cell and direction, evened out for light, (N, F)."""
    x = pictures.astype(np.float32)
    across, down = np.zeros_like(x), np.zeros_like(x)
    across[:, :, 1:-1] = x[:, :, 2:] - x[:, :, :-2]
    down[:, 1:-1] = x[:, 2:] - x[:, :-2]
    # Over the mean strength around: shadows and bright sides show their edges alike.
    around = _blocks(np.hypot(across, down))
    rows, columns = around.shape[1:]
    for _ in range(3):
        padded = np.pad(around, ((0, 0), (1, 1), (1, 1)), mode="edge")
        shifted = [padded[:, i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
        around = np.mean(shifted, axis=0)
    even = 1.0 / (around + 3.0)
    parts = []
    for angle in np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS):
        blocks = _blocks(np.maximum(np.cos(angle) * across + np.sin(angle) * down, 0.0)) * even
        cells = 0.25 * (blocks[:, 1:, 1:] + blocks[:, 1:, :-1] + blocks[:, :-1, 1:] + blocks[:, :-1, :-1])
        parts.append(cells[:, ROWS, COLUMNS])
    found: Array = np.sqrt(np.stack(parts, axis=1)).reshape(len(x), -1).astype(np.float32)
    return found


def _blocks(x: Array) -> Array:
    n, height, width = x.shape
    return np.asarray(x.reshape(n, height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX).mean(axis=(2, 4)))


def head_looks(meshes: Array) -> Array:
    """Where heads look (N, 2), of metric meshes (N, 468, 3): x and y of the axis into the head, camera frame."""
    _, turns, _ = lay(meshes[:, list(STEADY)], STEADY_MM / 1000.0)
    return np.asarray(turns[:, :2, 2], np.float32)


def features(pictures: NDArray[np.uint8], eyes: Array, looks: Array, size_px: Array) -> Array:
    """What is read (N, F): edges about the eyes; `gaze_features` (N, 18); where the head looks (N, 2); the mesh's size
    in the photo, px (N,)."""
    size = np.log(np.clip(size_px, LEAST_PX, MOST_PX) / 60.0)
    x, y = 2 * looks[:, 0], 3 * looks[:, 1]
    beside = np.stack([x, y, x * x, y * y, x * y, size, x * size, y * size], axis=1)
    x = np.concatenate([edges(pictures), 3 * eyes, beside], axis=1)
    return np.asarray(x, np.float32)


def gaze_sigma(eye_px: Array, looks: Array, line: Array) -> Array:
    """σ (N, 2), rad, of gazes of eyes that are eye_px (N,) wide, by a line (2, 2) through its logarithm.

    It doubles at half a radian of turn: the far eye goes out of sight.
    """
    rows = np.stack([np.ones(len(eye_px)), np.log(np.clip(eye_px, 6.0, 40.0) / 20.0)], axis=1)
    return np.asarray(np.exp(rows @ line) * (1.0 + TURNED * (looks**2).sum(axis=1))[:, None], np.float32)


class GazeReader:
    """Reads the gaze off observations. Raises PriorError for a file that is missing or damaged."""

    def __init__(self, path: Path | None = None) -> None:
        path = path or GAZE_FILE
        try:
            tensors, _ = read_tensors(path)
            self._stored: dict[str, Array] = {key: tensors[key].float().numpy() for key in TENSORS}
            if self._stored["linear"].shape != (len(self._stored["mean"]), 2):
                raise ValueError
        except FileNotFoundError as error:
            raise PriorError(f"The reader of gazes {path.name} is missing. Install Pantomime again.") from error
        except DAMAGED as error:
            raise PriorError(f"The reader of gazes {path.name} is damaged. Install Pantomime again.") from error

    def read(self, observation: Observation, shut: float = 0.0) -> SeenGaze | None:
        """Where both eyes look; None where that is not seen. shut (0…1): how far the more open eye is shut."""
        face = observation.points.get("face468")
        irises = metric_irises(face) if face is not None else None
        if observation.face_picture is None or face is None or face.world_m is None or irises is None:
            return None
        eye_px = irises[1] * eye_width(face.world_m)
        if eye_px < LEAST_EYE_PX or shut > SHUT:
            return None
        s, looks = self._stored, head_looks(face.world_m[None])
        eyes, size_px = gaze_features(face.world_m, irises[0])[None], np.array([mesh_size_px(face.image_px)])
        x = features(observation.face_picture[None], eyes, looks, size_px)
        angles = ((x - s["mean"]) @ s["linear"] + s["offset"])[0]
        sigma = gaze_sigma(np.array([eye_px]), looks, s["sigma"])[0] / (1.0 - shut)
        most = np.array(MOST_RAD)
        return SeenGaze(
            np.clip(angles, -most, most).astype(np.float32), np.clip(sigma, *GAZE_SIGMA_RAD).astype(np.float32)
        )
