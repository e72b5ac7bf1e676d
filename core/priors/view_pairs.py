"""People as the detector really saw them, with what is true of them: a part of the regressor's training.

`pantomime paint-pairs` makes the file. From each pair several views are made: as it is, with the focal length guessed
wrong, cut by a closer edge, with limbs kept back. Development only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.model import BodyModel
from ..body.points_file import write_npz
from ..detection.observation import Observation
from .mask_statistics import LIMBS, mask_features, seen_mask
from .regressor import (
    BODY_MIRROR,
    DIRECTION_JOINTS,
    DIRECTION_MIRROR,
    DIRECTION_SIGN,
    NUM_BODY,
    mirror_rotations,
    rest_directions,
)
from .regressor_input import HINTS, POINTS, features_of, frame, mirror_features
from .view_detection import ENDS, HAND_POINTS, LIMB_POINTS
from .views import Views, forward

MASK_SIDE = 128
VALIDATION_SHARE = 0.1  # of the pairs, the last ones
_LEAST_POINTS = 6


def save_pairs(path: Path, rows: list[dict[str, NDArray[np.generic]]]) -> None:
    """Write pairs whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, {name: np.stack([row[name] for row in rows]) for name in rows[0]})


@dataclass(frozen=True)
class Pairs:
    """N people. Picture px; camera axes are OpenCV's; the principal point is the picture's middle."""

    pixels: NDArray[np.float32]  # (N, P, 2) of POINTS, as detected
    trust: NDArray[np.float32]  # (N, P)
    hints: NDArray[np.float32]  # (N, K, 3)
    hint_trust: NDArray[np.float32]  # (N, K)
    mask: NDArray[np.uint8]  # (N, MASK_SIDE² / 8) bits of what is the person within mask_box
    mask_box: NDArray[np.float32]  # (N, 4) all 0 where there is no mask
    true_px: NDArray[np.float32]  # (N, P, 2)
    rotmats: NDArray[np.float32]  # (N, 22, 3, 3) local; the pelvis's in camera axes
    betas: NDArray[np.float32]  # (N, B)
    focal_px: NDArray[np.float32]  # (N,)
    size: NDArray[np.int32]  # (N, 2)

    def __len__(self) -> int:
        return len(self.pixels)

    def part(self, rows: slice) -> Pairs:
        """Some of them."""
        return Pairs(**{name: value[rows] for name, value in vars(self).items()})

    def training(self) -> Pairs:
        """Those to learn from."""
        return self.part(slice(0, len(self) - round(VALIDATION_SHARE * len(self))))

    def validation(self) -> Pairs:
        """The last ones, kept back."""
        return self.part(slice(len(self) - round(VALIDATION_SHARE * len(self)), None))


def load_pairs(paths: list[Path]) -> Pairs:
    """The pairs of several files."""
    parts = []
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            parts.append({key: data[key] for key in data.files})
    return Pairs(**{key: np.concatenate([part[key] for part in parts]) for key in parts[0]})


def pairs_hash(paths: list[Path]) -> str:
    """SHA-256 of the files' contents."""
    digest = hashlib.sha256()
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            for key in sorted(data.files):
                digest.update(key.encode() + np.ascontiguousarray(data[key]).tobytes())
    return digest.hexdigest()


def views_of(body: BodyModel, pairs: Pairs, copies: int, seed: int, focal_sigma: float = 0.25) -> Views:
    """`copies` views of each pair; the first as it is, in the order of the pairs; then the second, and so on."""
    rng = np.random.default_rng(seed)
    features, turns = [], []
    for copy in range(copies):
        for i in range(len(pairs)):
            row, turn = _view(pairs, i, rng, copy, focal_sigma)
            features.append(row)
            turns.append(turn)
    rotmats = torch.as_tensor(pairs.rotmats).repeat(copies, 1, 1, 1)
    betas = torch.as_tensor(pairs.betas).repeat(copies, 1)
    turn = torch.stack(turns)
    rotmats = torch.cat([(turn @ rotmats[:, 0])[:, None], rotmats[:, 1:]], 1)
    rest = torch.as_tensor(body.J_template[:NUM_BODY]) + torch.einsum(
        "jkb,nb->njk", torch.as_tensor(body.J_shapedirs[:NUM_BODY]), betas
    )
    whole, joints = forward(rotmats, rest)
    directions = whole[:, list(DIRECTION_JOINTS)] @ torch.as_tensor(rest_directions(body.J_template))[..., None]
    return Views(torch.cat(features), rotmats, directions[..., 0], joints - joints[:, :1], rest, betas)


class PairViews:
    """Batches of them."""

    def __init__(self, body: BodyModel, pairs: Pairs, copies: int, seed: int) -> None:
        self.views = views_of(body, pairs, copies, seed)

    def batch(self, count: int, random: torch.Generator) -> Views:
        """`count` of the views; some of them without hints or mask, half of them in a mirror."""
        views = self.views.part(torch.randint(len(self.views.features), (count,), generator=random))
        features = views.features.clone()
        hinted = 3 * len(POINTS) + 2
        masked = hinted + 4 * len(HINTS)
        for part, share in ((slice(hinted, masked), 0.3), (slice(masked, None), 0.3)):
            features[torch.rand(count, generator=random) < share, part] = 0.0
        flip = torch.rand(count, generator=random) < 0.5
        sign = features.new_tensor([-1.0, 1.0, 1.0])
        turned = mirror_rotations(views.rotmats)
        aim = views.directions[:, list(DIRECTION_MIRROR)] * features.new_tensor(DIRECTION_SIGN)[:, None] * sign
        mirrored = Views(
            mirror_features(features),
            turned,
            aim,
            views.joints[:, list(BODY_MIRROR)] * sign,
            views.rest[:, list(BODY_MIRROR)] * sign,
            views.betas,
        )
        return Views(features, *(getattr(views, item.name) for item in fields(views)[1:])).choose(mirrored, flip)


def _view(pairs: Pairs, i: int, rng: np.random.Generator, copy: int, focal_sigma: float) -> tuple[Tensor, Tensor]:
    """Features (1, F) of a pair, and the camera (3, 3) that looks at it."""
    pixels, trust = pairs.pixels[i].astype(np.float64), pairs.trust[i].astype(np.float64)
    hints, hint_trust = pairs.hints[i].astype(np.float64), pairs.hint_trust[i].astype(np.float64)
    size, focal_px = pairs.size[i], float(pairs.focal_px[i])
    mask = np.unpackbits(pairs.mask[i]).reshape(MASK_SIDE, MASK_SIDE) * np.uint8(255)
    box = pairs.mask_box[i].astype(np.float64)
    if copy:
        focal_px *= float(np.exp(focal_sigma * rng.normal())) if rng.random() < 0.5 else 1.0
        _hands(pairs, i, rng, pixels, trust)
        kept = trust.copy()
        for limb in (*LIMB_POINTS, *ENDS):
            if rng.random() < 0.04:
                kept[limb] = 0.0
        if rng.random() < 0.15:
            size = _cut(rng, pixels, kept, size)
        if (kept > 0).sum() >= _LEAST_POINTS:
            trust = kept
        extent = float(np.ptp(pixels[trust > 0], axis=0).max())
        pixels = pixels + rng.normal(0.0, 0.003 * extent, pixels.shape)
    told = [torch.as_tensor(value[None]).float() for value in (pixels, trust, hints, hint_trust)]
    principal = (0.5 * float(pairs.size[i, 0]), 0.5 * float(pairs.size[i, 1]))
    rays = (told[0] - torch.tensor(principal)) / focal_px
    framing = frame(rays, told[1])
    masked = None
    if box.any():
        width, height = (int(value) for value in size)
        observation = Observation((width, height), box.astype(np.float32), 1.0, {}, *_cropped(mask, box, size))
        seen = seen_mask(observation)
        if seen is not None:
            limbs = [POINTS.index(name) for name in LIMBS]
            masked = mask_features(seen, framing, told[0][0, limbs], told[1][0, limbs], focal_px, principal)
    row = features_of(rays, told[1], torch.zeros(1), told[2], told[3], framing, masked)
    return torch.nan_to_num(row, posinf=0.0, neginf=0.0), framing.turn[0]


def _hands(
    pairs: Pairs, i: int, rng: np.random.Generator, pixels: NDArray[np.float64], trust: NDArray[np.float64]
) -> None:
    """In place: knuckles as a hand network sees them, near the truth, where it finds the hand."""
    extent = float(np.ptp(pairs.true_px[i], axis=0).max())
    for side, points in (("left", HAND_POINTS[:3]), ("right", HAND_POINTS[3:])):
        at = POINTS.index(f"{side}_wrist")
        right = np.linalg.norm(pixels[at] - pairs.true_px[i, at]) < 0.05 * extent
        if trust[at] > 0.5 and right and rng.random() < 0.6:
            pixels[points] = pairs.true_px[i, points] + rng.normal(0.0, 0.007 * extent, (3, 2))
            trust[points] = rng.uniform(0.8, 1.0)


def _cut(
    rng: np.random.Generator, pixels: NDArray[np.float64], trust: NDArray[np.float64], size: NDArray[np.int32]
) -> NDArray[np.int32]:
    """The size of a picture that ends higher; trust of what lies beyond it goes, in place."""
    seen = pixels[trust > 0, 1]
    level = float(seen.min() + (seen.max() - seen.min()) * rng.uniform(0.35, 0.95))
    if level >= size[1]:
        return size
    trust[pixels[:, 1] > level] = 0.0
    return np.array([size[0], max(int(level), 1)], np.int32)


def _cropped(
    mask: NDArray[np.uint8], box: NDArray[np.float64], size: NDArray[np.int32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The mask and its box within the picture."""
    last = int(np.ceil((float(size[1]) - box[1]) / max(box[3] - box[1], 1e-6) * MASK_SIDE))
    if last >= MASK_SIDE:
        return mask, box.astype(np.float32)
    last = max(last, 2)
    end = box[1] + (box[3] - box[1]) * last / MASK_SIDE
    return mask[:last], np.array([box[0], box[1], box[2], end], np.float32)
