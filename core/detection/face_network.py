"""The face mesh with attention to lips, eyes and brows, through OpenCV: MediaPipe's own face task needs another model.

Kartynnik et al., "Real-time facial surface geometry" (2019), refined as in Grishchenko et al., "Attention Mesh" (2020):
a first network gives 468 points and a map of features; three small ones look at the mouth's and the eyes' part of that
map and give those points anew, more exactly. In the file the four are one graph, joined by operations that OpenCV does
not know; `bundles.attention_parts` takes it apart, and the joints are here.
"""

from __future__ import annotations

import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .landmarkers import LandmarkerError

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

FACE_INPUT_PX = 192
MESH_PART = "mesh.tflite"
_FEATURES = "p_re_lu_3"  # what the parts look at
_MAP_PX = 48  # side of the map of features
_LOOK_PX = 16  # side of what a part sees of it
_UNIT = 64.0  # a part's points are in 1/64 of what it sees
_MARGIN = 1.5  # what a part sees over the box of its points
MESH_POINTS, IRIS_POINTS = 468, 5  # the right iris follows the mesh, then the left: its middle, and four of its rim

# Points that each part gives anew, in its order (MediaPipe's graph, tensors_to_face_landmarks_with_attention).
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
    76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408,
    62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407,
)  # fmt: skip
RIGHT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173,
    130, 25, 110, 24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190,
    226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189,
    35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245,
    156, 70, 63, 105, 66, 107, 55, 193,
)  # fmt: skip
LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398,
    359, 255, 339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414,
    446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413,
    265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465,
    383, 300, 293, 334, 296, 336, 285, 417,
)  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """A network that looks closer: its file, its points, and the two points that lie level in what it sees."""

    name: str
    points: tuple[int, ...]
    level: tuple[int, int]
    iris: slice | None = None  # where its iris goes, of an eye


# Sides are the person's.
_PARTS = (
    _Part("lips.tflite", LIPS, (61, 291)),
    _Part("right_eye.tflite", RIGHT_EYE, (33, 133), slice(468, 473)),
    _Part("left_eye.tflite", LEFT_EYE, (362, 263), slice(473, 478)),
)


class FaceNetwork:
    """468 points and 10 of the irises from a square crop with level eyes. Raises LandmarkerError."""

    def __init__(self, path: Path) -> None:
        try:
            # From memory, since OpenCV too opens paths in the platform's encoding.
            with zipfile.ZipFile(path) as archive:
                self._mesh: Any = _network(archive.read(MESH_PART))
                self._parts: list[tuple[_Part, Any]] = [(part, _network(archive.read(part.name))) for part in _PARTS]
        except (cv2.error, AttributeError, KeyError, zipfile.BadZipFile) as error:
            raise LandmarkerError(f"{path} is not a face model. Run `pantomime models` again.") from error
        except OSError as error:
            raise LandmarkerError(
                f"Can't read {path}: {error.strerror or error}. Run `pantomime models` again."
            ) from error
        self._one_at_a_time = threading.Lock()
        self._outputs = [*self._mesh.getUnconnectedOutLayersNames(), _FEATURES]

    def detect(self, rgb: Image) -> tuple[Array, float]:
        """Points (478, 3) in the crop's pixels (z to the same scale, away from the camera) and the face score 0…1."""
        with self._one_at_a_time:
            return self._detect(rgb)

    def _detect(self, rgb: Image) -> tuple[Array, float]:
        self._mesh.setInput(cv2.dnn.blobFromImage(rgb, 1.0 / 255.0, (FACE_INPUT_PX, FACE_INPUT_PX)))
        flag, mesh, features = sorted(self._mesh.forward(self._outputs), key=lambda item: item.size)
        score = 1.0 / (1.0 + np.exp(-float(flag.reshape(-1)[0])))
        points = np.full((MESH_POINTS + 2 * IRIS_POINTS, 3), np.nan, np.float32)
        points[:MESH_POINTS] = mesh.reshape(MESH_POINTS, 3)
        if np.isfinite(mesh).all():
            coarse = points[:MESH_POINTS, :2].copy()
            for part, network in self._parts:
                found = _look_closer(coarse, features[0], part, network)
                points[list(part.points), :2] = found[0]
                if part.iris is not None:
                    points[part.iris, :2] = found[1]
                    points[part.iris, 2] = points[list(part.level), 2].mean()
        return points, score

    def close(self) -> None:
        """Let go of the networks."""
        self._mesh, self._parts = None, []


def _network(data: bytes) -> Any:
    return cv2.dnn.readNetFromTFLite(np.frombuffer(data, np.uint8))


def _look_closer(mesh: Array, features: Array, part: _Part, network: Any) -> list[Array]:
    """The part's points (N, 2), and its iris's, in the crop's pixels, from the mesh (468, 2) and the features
    (C, 48, 48) under it."""
    turn, centre, size = _box(mesh[list(part.points)], mesh[part.level[1]] - mesh[part.level[0]])
    scale = _MAP_PX / FACE_INPUT_PX
    steps = (np.arange(_LOOK_PX, dtype=np.float32) + 0.5) / _LOOK_PX - 0.5
    grid = np.stack(np.meshgrid(steps, steps), -1) * size
    network.setInput(_sample(features, (grid @ turn.T + centre) * scale - 0.5)[None])
    found = sorted(network.forward(network.getUnconnectedOutLayersNames()), key=lambda item: -item.size)
    return [((item.reshape(-1, 2) / _UNIT - 0.5) * size @ turn.T + centre).astype(np.float32) for item in found]


def _box(points: Array, level: Array) -> tuple[Array, Array, Array]:
    """The turned box around points: its rotation (2, 2) into the picture, centre (2,) and size (2,), with a margin."""
    angle = float(np.arctan2(level[1], level[0]))
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]], np.float32)
    own = points @ turn
    low, high = own.min(axis=0), own.max(axis=0)
    return turn, turn @ ((low + high) / 2.0), (high - low) * _MARGIN


def _sample(features: Array, places: Array) -> Array:
    """Features (C, H, W) at places (h, w, 2) as x and y index, bilinear; zero outside. (C, h, w)."""
    last = np.array([features.shape[2] - 1, features.shape[1] - 1])
    inside = ((places >= 0) & (places <= last)).all(-1)
    near = np.clip(np.floor(places).astype(int), 0, last)
    far = np.minimum(near + 1, last)
    share = np.clip(places - near, 0, 1)[None]
    x, y = share[..., 0], share[..., 1]
    above = features[:, near[..., 1], near[..., 0]] * (1 - x) + features[:, near[..., 1], far[..., 0]] * x
    below = features[:, far[..., 1], near[..., 0]] * (1 - x) + features[:, far[..., 1], far[..., 0]] * x
    result: Array = ((above * (1 - y) + below * y) * inside).astype(np.float32)
    return result
