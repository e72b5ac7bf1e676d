"""What a hand's points say of its fingers: a small network that bends the detector's metric points as hands bend.

MediaPipe's metric points of a hand are too straight: knuckles that bend by 80° are shown bent by 50°, and hands that
are small, or seen end-on, look relaxed. The same points in the picture say more. Learned from painted hands whose
fingers are known (`body.train_hand_reader`). The network runs in numpy.

Everything is read in the axes of the palm (`palm_axes`), left hands mirrored, so that it does not matter how a hand is
held, but for where it is seen from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..detection.observation import Observation
from ..detection.vocabulary import HAND21
from .errors import PriorError
from .weights import DAMAGED, read_tensors

Array = NDArray[np.float32]
Float = NDArray[np.float64]

HAND_READER_FILE = Path(__file__).parent / "data" / "hand_reader.safetensors"
# Bones of the fingers, thumb to little finger, knuckle to tip, as pairs of points.
BONES = tuple((1 + 4 * finger + k, 2 + 4 * finger + k) for finger in range(5) for k in range(3))
LEAST_PX, MOST_PX, USUAL_PX = 8.0, 150.0, 40.0  # sizes of hands in the picture between which it matters
STEP = 0.5  # of what the network says, over the length of a bone
TENSORS = ("mean", "spread", "weight0", "bias0", "weight1", "bias1", "weight2", "bias2")
_WRIST, _INDEX, _MIDDLE, _PINKY = (HAND21.index(name) for name in ("wrist", "index1", "middle1", "pinky1"))


def palm_axes(points: Float) -> Float:
    """Axes (N, 3, 3), as columns: along, across and out of the palms of hands (N, 21, 3)."""
    ahead = 0.5 * (points[:, _INDEX] + points[:, _PINKY]) - points[:, _WRIST]
    out = np.cross(ahead, points[:, _INDEX] - points[:, _PINKY])
    ahead, out = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-9) for v in (ahead, out))
    return np.stack([ahead, np.cross(out, ahead), out], axis=-1)


def in_palm(points: Float, right: NDArray[np.bool_], axes: Float) -> Float:
    """Hands (N, 21, 3) in the axes of their palms, from the wrist, left ones mirrored, the palm 1 long."""
    own = np.einsum("npa,nab->npb", points - points[:, :1], axes)
    own[~right, :, 2] *= -1
    return np.asarray(own / np.maximum(np.linalg.norm(own[:, _MIDDLE], axis=1), 1e-9)[:, None, None])


def bone_directions(points: Float) -> Float:
    """Unit vectors (N, 15, 3) of BONES."""
    bones = np.stack([points[:, end] - points[:, start] for start, end in BONES], axis=1)
    return np.asarray(bones / np.maximum(np.linalg.norm(bones, axis=2, keepdims=True), 1e-9))


def features(image_px: Float, world_m: Float, right: NDArray[np.bool_]) -> tuple[Array, Array]:
    """What is read of hands: their points in the photo (N, 21, 2) and metric ones (N, 21, 3) in camera axes, and which
    are right ones. → (N, F), and the directions of their bones as they are seen (N, 15, 3), in the palm's axes."""
    axes = palm_axes(world_m)
    own = in_palm(world_m, right, axes)
    seen = bone_directions(own)
    view = axes[:, 2].copy()  # away from the camera
    view[~right, 2] *= -1
    flat = image_px - image_px[:, :1]
    size = np.maximum(np.linalg.norm(flat, axis=2).max(axis=1), 1e-6)  # the same however the camera rolls
    flat = flat / size[:, None, None]
    flat[~right, :, 0] *= -1
    angle = np.arctan2(flat[:, _MIDDLE, 0], -flat[:, _MIDDLE, 1])[:, None]
    c, s = np.cos(angle), np.sin(angle)
    flat = np.stack([c * flat[..., 0] + s * flat[..., 1], c * flat[..., 1] - s * flat[..., 0]], axis=-1)
    log_size = np.log(np.clip(size, LEAST_PX, MOST_PX) / USUAL_PX)[:, None]
    parts = (3 * seen, 2 * own[:, 1:], 5 * flat[:, 1:], 2 * view, log_size)
    return np.concatenate([p.reshape(len(own), -1) for p in parts], axis=1).astype(np.float32), seen.astype(np.float32)


class HandReader:
    """Bends the metric points of hands. Raises PriorError for a file that is missing or damaged."""

    def __init__(self, path: Path | None = None) -> None:
        path = path or HAND_READER_FILE
        try:
            tensors, _ = read_tensors(path)
            self._stored: dict[str, Array] = {key: tensors[key].float().numpy() for key in TENSORS}
            if self._stored["bias2"].shape != (3 * len(BONES),):
                raise ValueError
        except FileNotFoundError as error:
            raise PriorError(f"The reader of hands {path.name} is missing. Install Pantomime again.") from error
        except DAMAGED as error:
            raise PriorError(f"The reader of hands {path.name} is damaged. Install Pantomime again.") from error

    def bend(self, image_px: Array, world_m: Array, right: NDArray[np.bool_]) -> Array:
        """Metric points (N, 21, 3), camera axes, whose fingers are bent as read; wrists, knuckles and lengths stay.

        image_px (N, 21, 2) in the photo; right (N,). Hands without finite points stay as they are.
        """
        result = world_m.astype(np.float32).copy()
        whole = (
            np.isfinite(image_px).all((1, 2)) & np.isfinite(world_m).all((1, 2)) & (np.ptp(world_m, 1).max(1) > 1e-4)
        )
        rows = np.flatnonzero(whole)
        if not len(rows):
            return result
        image, world, side = image_px[rows].astype(np.float64), world_m[rows].astype(np.float64), right[rows]
        directions = self.directions(*features(image, world, side)).astype(np.float64)
        directions[~side, :, 2] *= -1
        directions = np.einsum("nab,nkb->nka", palm_axes(world), directions)
        bent = world.copy()
        for bone, (start, end) in enumerate(BONES):
            length = np.linalg.norm(world[:, end] - world[:, start], axis=1, keepdims=True)
            bent[:, end] = bent[:, start] + length * directions[:, bone]
        result[rows] = bent
        return result

    def directions(self, x: Array, seen: Array) -> Array:
        """The bones' directions (N, 15, 3) in the palm's axes, of `features`."""
        s = self._stored
        x = (x - s["mean"]) / s["spread"]
        for i in range(2):
            x = x @ s[f"weight{i}"].T + s[f"bias{i}"]
            x = x / (1 + np.exp(-np.clip(x, -60, 60)))
        step = (x @ s["weight2"].T + s["bias2"]).reshape(seen.shape)
        turned = seen + STEP * step
        return np.asarray(turned / np.maximum(np.linalg.norm(turned, axis=2, keepdims=True), 1e-9), np.float32)


def bend_fingers(observation: Observation, reader: HandReader | None) -> Observation:
    """An observation whose hands' metric points are bent as read; itself without a reader."""
    if reader is None:
        return observation
    points = dict(observation.points)
    for side in ("left", "right"):
        hand = points.get(f"{side}_hand")
        if hand is not None and hand.world_m is not None:
            right = np.array([side == "right"])
            points[f"{side}_hand"] = replace(
                hand, world_m=reader.bend(hand.image_px[None], hand.world_m[None], right)[0]
            )
    return replace(observation, points=points)
