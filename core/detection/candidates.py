"""What a pose network returned for one person, seen from several crops: bring together, compare, choose. numpy only.

The choice follows a trial on real photos: the candidate with the highest mean limb visibility, then the median of
those that agree with it. Averaging all of them helps nothing, for the network's error is bias, not noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .vocabulary import POSE33

Array = NDArray[np.float32]

LIMBS = np.array([11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28])  # shoulders … wrists, hips … ankles
MIRROR33 = np.array(
    [
        POSE33.index(
            name.replace("left", "\0").replace("right", "left").replace("\0", "right")
            if "left" in name or "right" in name
            else name
        )
        for name in POSE33
    ]
)


@dataclass(frozen=True)
class Candidate:
    """One detection of one person, in the picture's pixels."""

    image_px: Array  # (33, 2)
    visibility: Array  # (33,) 0…1
    world_m: Array  # (33, 3) camera axes, origin mid-hip
    mask: Array | None = None  # (h, w) 0…1 in the crop
    mask_matrix: Array | None = None  # (2, 3) crop pixels → picture pixels

    @property
    def limb_visibility(self) -> float:
        return float(self.visibility[LIMBS].mean())

    def size_px(self) -> float:
        """The longer side of the box around all points: the yardstick for agreement."""
        return float(np.ptp(self.image_px, axis=0).max())


def from_crop(candidate: Candidate, matrix: Array, angle_rad: float, mirrored: bool) -> Candidate:
    """A candidate in a crop's pixels brought to the picture's: points, 3D hints, sides and mask.

    `matrix` (2, 3) maps crop to picture and holds the turn and the mirroring; `angle_rad` as in `Square`.
    """
    image = (candidate.image_px @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    world = candidate.world_m.copy()
    visibility = candidate.visibility
    if mirrored:
        world[:, 0] *= -1.0
        image, world, visibility = image[MIRROR33], world[MIRROR33], visibility[MIRROR33]
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    world[:, :2] = world[:, :2] @ np.array([[c, s], [-s, c]], np.float32)
    return replace(candidate, image_px=image, world_m=world, visibility=visibility, mask_matrix=matrix)


def distance(a: Candidate, b: Candidate) -> float:
    """Mean distance of limb points, relative to the larger one's size; points believed in neither count less."""
    weight = np.maximum(a.visibility[LIMBS], b.visibility[LIMBS]) + 0.05
    gaps = np.linalg.norm(a.image_px[LIMBS] - b.image_px[LIMBS], axis=1)
    return float((weight * gaps).sum() / weight.sum() / max(a.size_px(), b.size_px(), 1.0))


def distinct_people(candidates: list[Candidate], same: float) -> list[list[Candidate]]:
    """Candidates grouped by person, each group best first: `same` is the largest `distance` within a person.

    A candidate belongs to a group also where its torso alone coincides: a second guess at the same person often
    differs only in the legs that the picture does not show.
    """
    groups: list[list[Candidate]] = []
    for candidate in sorted(candidates, key=lambda item: -item.limb_visibility):
        for group in groups:
            best = group[0]
            if distance(best, candidate) <= same or _torso_distance(best, candidate) <= 0.5 * same:
                group.append(candidate)
                break
        else:
            groups.append([candidate])
    return groups


def _torso_distance(a: Candidate, b: Candidate) -> float:
    upper = np.arange(0, 17)
    weight = np.minimum(a.visibility[upper], b.visibility[upper])
    if weight.sum() < 3.0:
        return float("inf")
    gaps = np.linalg.norm(a.image_px[upper] - b.image_px[upper], axis=1)
    return float((weight * gaps).sum() / weight.sum() / max(a.size_px(), b.size_px(), 1.0))


def choose(candidates: list[Candidate], agree: float, rank: Callable[[Candidate], float]) -> Candidate:
    """The consensus around the candidate of highest `rank`, as its limb visibility.

    Points and hints are the median of those within `agree` of the best; visibility is their mean, so that a limb
    that only one crop sees is believed less. The mask stays the best one's.
    """
    best = max(candidates, key=rank)
    agreeing = [item for item in candidates if item is best or distance(best, item) <= agree]
    if len(agreeing) < 3:
        return best
    return replace(
        best,
        image_px=np.median([item.image_px for item in agreeing], axis=0).astype(np.float32),
        world_m=np.median([item.world_m for item in agreeing], axis=0).astype(np.float32),
        visibility=np.mean([item.visibility for item in agreeing], axis=0).astype(np.float32),
    )


def inside(image_px: Array, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which points (N, 2) lie in a picture of `size` (width, height)."""
    return np.asarray(((image_px >= 0.0) & (image_px <= np.asarray(size, np.float32))).all(axis=-1), bool)


def box_of(candidate: Candidate, size: tuple[int, int]) -> Array:
    """(4,) x0, y0, x1, y1 of what is seen of the person, clipped to the picture."""
    points = candidate.image_px[(candidate.visibility >= 0.4) & inside(candidate.image_px, size)]
    if len(points) < 3:
        points = candidate.image_px
    low, high = points.min(axis=0), points.max(axis=0)
    # Points end at the face and the wrists: hair, hands and soles reach further.
    margin = 0.06 * float((high - low).max())
    limit = np.asarray(size, np.float32)
    box: Array = np.concatenate([np.clip(low - margin, 0, limit), np.clip(high + margin, 0, limit)]).astype(np.float32)
    return box


def pixels_per_metre(candidate: Candidate) -> float:
    """Scale of the weak-perspective camera that best maps the 3D hints' x, y on the image points; least squares."""
    weight = candidate.visibility[:, None] + 1e-3
    image = candidate.image_px - (weight * candidate.image_px).sum(0) / weight.sum()
    world = candidate.world_m[:, :2] - (weight * candidate.world_m[:, :2]).sum(0) / weight.sum()
    norm = float((weight * world**2).sum())
    return max(float((weight * image * world).sum()) / max(norm, 1e-6), 1.0)
