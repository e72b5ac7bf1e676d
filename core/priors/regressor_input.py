"""What the regressor's network reads of a person: points as rays, 3D hints, and what the mask says (numpy and torch).

Any of it may be missing. `regressor` is the network and what it answers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..body.skeleton import mirror_name
from ..detection.observation import Observation, trust_of
from ..detection.vocabulary import POINT_SETS, POSE33
from .mask_statistics import MASK_FEATURES, Framing, mirror_mask

_SIDES = ("left", "right")
# Points that the network reads, and where they come from: (set, name in the set), the best first.
SOURCES: dict[str, tuple[tuple[str, str], ...]] = {
    "nose": (("pose33", "nose"), ("body25", "nose"), ("coco17", "nose")),
    "left_mouth": (("pose33", "mouth_left"),),
    "right_mouth": (("pose33", "mouth_right"),),
}
for _part in (
    "eye",
    "ear",
    "shoulder",
    "elbow",
    "wrist",
    "hip",
    "knee",
    "ankle",
    "heel",
    "toe",
    "index",
    "pinky",
    "thumb",
):
    for _side in _SIDES:
        _name = f"{_side}_{_part}"
        _other = {"toe": "foot_index"}.get(_part, _part)
        SOURCES[_name] = tuple(
            (source, name)
            for source, name in (
                (f"{_side}_hand", f"{_side}_{ {'thumb': 'thumb3'}.get(_part, _part + '1') }"),
                ("pose33", f"{_side}_{_other}"),
                ("body25", f"{_side}_{ {'toe': 'big_toe'}.get(_part, _part) }"),
                ("coco17", _name),
                ("feet6", f"{_side}_{ {'toe': 'big_toe'}.get(_part, _part) }"),
            )
            if name in POINT_SETS[source]
        )
POINTS: tuple[str, ...] = tuple(SOURCES)
POINT_MIRROR: tuple[int, ...] = tuple(POINTS.index(mirror_name(name)) for name in POINTS)


# Bones of `pose33` whose 3D directions the detector hints at, by names of POINTS.
HINTS: tuple[tuple[str, str], ...] = (
    ("right_shoulder", "left_shoulder"),
    ("right_hip", "left_hip"),
    *(
        (f"{s}_{a}", f"{s}_{b}")
        for a, b in (("hip", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"))
        for s in _SIDES
    ),
    *((f"{s}_{a}", f"{s}_{b}") for a, b in (("hip", "knee"), ("knee", "ankle"), ("heel", "toe")) for s in _SIDES),
    *((f"{s}_wrist", f"{s}_{b}") for b in ("index", "pinky") for s in _SIDES),
    ("right_ear", "left_ear"),
    *((f"{s}_ear", "nose") for s in _SIDES),
)
HINT_ENDS: tuple[tuple[int, int], ...] = tuple((POINTS.index(a), POINTS.index(b)) for a, b in HINTS)
_DOUBT = 0.5  # of a point's trust, in half of the ways that a person is told in
_LEAST_TRUST = 0.125  # of a point that is read at all
LEAST_HINT_TRUST = 0.08  # of a bone that the picture does not show: its detector's guess


def _hint_mirror() -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Which bone each becomes in a mirror, and 1, or −1 where it points the other way there."""
    order, sign = [], []
    for a, b in HINTS:
        there = (mirror_name(a), mirror_name(b))
        order.append(HINTS.index(there if there in HINTS else (there[1], there[0])))
        sign.append(1.0 if there in HINTS else -1.0)
    return tuple(order), tuple(sign)


HINT_MIRROR, HINT_SIGN = _hint_mirror()
NUM_FEATURES = 3 * len(POINTS) + 2 + 4 * len(HINTS) + MASK_FEATURES + 1
MOST_PRECISE = 4.0  # logarithm of a detector's error over that of points, from which on they are as good as known


def look_at(ray: Tensor) -> Tensor:
    """Rotation (…, 3, 3) of the camera's axes that brings a ray (…, 2), at depth 1, to straight ahead (0, 0, 1)."""
    z = nn.functional.normalize(torch.cat([ray, torch.ones_like(ray[..., :1])], -1), dim=-1)
    x = nn.functional.normalize(torch.stack([z[..., 2], torch.zeros_like(z[..., 0]), -z[..., 0]], -1), dim=-1)
    return torch.stack([x, torch.linalg.cross(z, x), z], -2)


def frame(rays: Tensor, trust: Tensor) -> Framing:
    """The camera that looks at the person, and the box of its points. rays (B, P, 2), at depth 1, trust (B, P) 0…1."""
    seen = trust[..., None] > 0
    far = torch.where(seen, rays, rays.new_tensor(float("inf"))).amin(1)
    near = torch.where(seen, rays, rays.new_tensor(float("-inf"))).amax(1)
    turn = look_at(0.5 * (far + near))
    turned = torch.cat([rays, torch.ones_like(rays[..., :1])], -1) @ turn.transpose(-1, -2)
    flat = turned[..., :2] / turned[..., 2:].clamp_min(0.05)
    low = torch.where(seen, flat, flat.new_tensor(float("inf"))).amin(1)
    high = torch.where(seen, flat, flat.new_tensor(float("-inf"))).amax(1)
    return Framing(turn, 0.5 * (low + high), (high - low).amax(-1).clamp_min(1e-4))


def features_of(
    rays: Tensor,
    trust: Tensor,
    plain: Tensor,
    hints: Tensor,
    hint_trust: Tensor,
    framing: Framing,
    mask: Tensor | None = None,
    precision: Tensor | None = None,
) -> Tensor:
    """What the network reads, (B, F), of rays (B, P, 2), at depth 1, with trust (B, P), and hints (B, K, 3), (B, K).

    plain (B,) is 1 where the points are not `pose33`'s: detectors differ in where they see a joint. hints are unit
    directions of HINTS in the camera that looks at the person: their detector sees no more than the person. mask
    (B, MASK_FEATURES) as `mask_statistics` has them, None without any. What is not trusted is not read. precision (B,):
    `precision_of` the points, None for a detector's.
    """
    seen = trust[..., None] > 0
    points = framing.place(rays)[0]
    points = torch.where(seen, points, torch.zeros_like(points))
    hints = torch.where(hint_trust[..., None] > 0, hints, torch.zeros_like(hints))
    if mask is None:
        mask = rays.new_zeros(len(rays), MASK_FEATURES)
    if precision is None:
        precision = torch.zeros_like(plain)
    size = framing.size.log()
    told = [points.flatten(1), trust, size[:, None], plain[:, None], hints.flatten(1), hint_trust, mask]
    return torch.cat([*told, precision[:, None]], 1)


def precision_of(noise_share: float) -> float:
    """How the network is told of points whose error is this share of a detector's: 0 for one, up to MOST_PRECISE."""
    return min(max(-math.log(max(noise_share, 1e-9)), 0.0), MOST_PRECISE)


def told_ways(features: Tensor) -> list[Tensor]:
    """Features (B, F) told in several ways: as they are and with points doubted more; each of these whole, and with
    hints, mask or both kept back, as far as there are any.

    Real detectors err in ways that training does not draw. Answers that lean less on any one kind of input keep the
    others in check, and where they disagree there is doubt.
    """
    count = len(POINTS)
    hinted = 3 * count + 2
    masked = hinted + 4 * len(HINTS)
    doubted = features.clone()
    trust = features[:, 2 * count : 3 * count]
    doubted[:, 2 * count : 3 * count] = torch.maximum(_DOUBT * trust, trust.clamp(max=_LEAST_TRUST))
    ways = [features, doubted]
    for part in (slice(hinted, masked), slice(masked, -1)):
        if bool((features[:, part] != 0).any()):
            for way in list(ways):
                less = way.clone()
                less[:, part] = 0
                ways.append(less)
    return ways


def mirror_features(features: Tensor) -> Tensor:
    """Features (B, F) of the same people in a mirror (x → −x)."""
    count, hinted = len(POINTS), 3 * len(POINTS) + 2
    masked = hinted + 4 * len(HINTS)
    points = features[:, : 2 * count].unflatten(1, (count, 2))[:, list(POINT_MIRROR)]
    points = points * points.new_tensor([-1.0, 1.0])
    trust = features[:, 2 * count : 3 * count][:, list(POINT_MIRROR)]
    hints = features[:, hinted : hinted + 3 * len(HINTS)].unflatten(1, (len(HINTS), 3))[:, list(HINT_MIRROR)]
    hints = hints * features.new_tensor(HINT_SIGN)[:, None] * features.new_tensor([-1.0, 1.0, 1.0])
    hint_trust = features[:, hinted + 3 * len(HINTS) : masked][:, list(HINT_MIRROR)]
    mask = mirror_mask(features[:, masked:-1])
    parts = [points.flatten(1), trust, features[:, 3 * count : hinted], hints.flatten(1), hint_trust, mask]
    return torch.cat([*parts, features[:, -1:]], 1)


def collect(observation: Observation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points that the network reads, (P, 2) px, and how far each is trusted, (P,) 0…1; of several sets the best."""
    pixels, trust = np.zeros((len(POINTS), 2)), np.zeros(len(POINTS))
    trusts = {name: trust_of(name, points.confidence) for name, points in observation.points.items()}
    for place, name in enumerate(POINTS):
        for source, point in SOURCES[name]:
            if source not in trusts:
                continue
            at = POINT_SETS[source].index(point)
            where = observation.points[source].image_px[at]
            if trusts[source][at] > trust[place] and bool(np.isfinite(where).all()):
                pixels[place], trust[place] = where, trusts[source][at]
    return pixels, trust


def collect_hints(observation: Observation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit directions of HINTS (K, 3), and how far each is trusted (K,) 0…1; all 0 where there are no metric points."""
    points = observation.points.get("pose33")
    if points is None or points.world_m is None:
        return np.zeros((len(HINTS), 3)), np.zeros(len(HINTS))
    return hints_of(points.world_m, points.confidence)


def hints_of(
    world_m: NDArray[np.float32], confidence: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same from metric points of `pose33` (…, 33, 3) and their confidence (…, 33)."""
    first, second = (list(ends) for ends in zip(*_HINT_POINTS, strict=True))
    bone = world_m[..., second, :].astype(np.float64) - world_m[..., first, :]
    length = np.linalg.norm(bone, axis=-1)
    known = np.isfinite(length) & (length > 1e-4)
    seen = trust_of("pose33", confidence)
    trust = np.maximum(np.minimum(seen[..., first], seen[..., second]), LEAST_HINT_TRUST) * known
    return np.where(known[..., None], bone / np.where(known, length, 1.0)[..., None], 0.0), trust


def _pose33_of(name: str) -> int:
    return next(POSE33.index(point) for source, point in SOURCES[name] if source == "pose33")


_HINT_POINTS = tuple((_pose33_of(a), _pose33_of(b)) for a, b in HINTS)
