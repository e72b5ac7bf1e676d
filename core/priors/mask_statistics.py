"""What a person's mask says in a few numbers: how far it reaches each way, and which points lie outside of it.

Both in the frame of the person's points, so that they mean the same at any size and place. A mask reaches where its
detector saw no point, and a limb that was guessed beside it is guessed wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.skeleton import mirror_name
from ..detection.observation import Observation

NUM_WAYS = 16
# Unit directions in the picture, x right, y down, (16, 2).
WAYS: NDArray[np.float32] = np.array(
    [(math.cos(angle), math.sin(angle)) for angle in (2 * math.pi * k / NUM_WAYS for k in range(NUM_WAYS))],
    np.float32,
)
_WAY_MIRROR = tuple((NUM_WAYS // 2 - k) % NUM_WAYS for k in range(NUM_WAYS))
# Points that are looked for in the mask.
LIMBS: tuple[str, ...] = tuple(
    f"{side}_{part}" for side in ("left", "right") for part in ("elbow", "wrist", "hip", "knee", "ankle", "toe")
)
_LIMB_MIRROR = tuple(LIMBS.index(mirror_name(name)) for name in LIMBS)
MASK_FEATURES = 2 * NUM_WAYS + 2 * len(LIMBS)
MOST_OUTSIDE = 0.5  # where a distance from the mask ends, half sides of the points' box
_MOST_REACH = 3.0
_INSIDE = 127  # of 255
_CELLS = 64  # along the longer side of the mask's box, for distances from it
_LEAST_CELLS = 12  # of the mask: fewer are no person's


@dataclass(frozen=True)
class Framing:
    """Where B people's points are: the camera that looks at each, and the middle and longer side of their box there."""

    turn: Tensor  # (B, 3, 3) the camera's axes to those of the camera that looks at the person
    middle: Tensor  # (B, 2) at depth 1
    size: Tensor  # (B,) at depth 1

    def place(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Rays (B, M, 2), at depth 1, in the box: −1…1 along its longer side, (B, M, 2); and, (B, M), what lengths are
        multiplied by that are given at depth 1."""
        turned = torch.cat([rays, torch.ones_like(rays[..., :1])], -1) @ self.turn.transpose(-1, -2)
        depth = turned[..., 2].clamp_min(0.05)
        scale = 2 / self.size[:, None]
        return (turned[..., :2] / depth[..., None] - self.middle[:, None]) * scale[..., None], scale / depth


@dataclass(frozen=True)
class SeenMask:
    """What is kept of a mask. Picture px."""

    rim_px: NDArray[np.float64]  # (M, 2) of its rows and columns the first and last
    cut: NDArray[np.bool_]  # (M,) those at the picture's edge: the person goes on there
    cells_px: NDArray[np.float64]  # (K, 2) all over it
    cell_px: float
    image_size: tuple[int, int]


def seen_mask(observation: Observation) -> SeenMask | None:
    """The person's mask, if there is one."""
    mask, box = observation.mask, observation.mask_box_px
    if mask is None or box is None or min(mask.shape) < 2:
        return None
    inside = mask > _INSIDE
    height, width = mask.shape
    scale = np.array([(box[2] - box[0]) / width, (box[3] - box[1]) / height], np.float64)
    step = max(1, round(max(mask.shape) / _CELLS))
    rows, columns = np.nonzero(inside[step // 2 :: step, step // 2 :: step])
    if len(rows) < _LEAST_CELLS:
        return None
    cells = (np.stack([columns, rows], 1) * step + step // 2 + 0.5) * scale + box[:2]
    ends = []
    for axis, there in ((0, inside), (1, inside.T)):
        lines = np.flatnonzero(there.any(1))
        for last in (False, True):
            at = there.shape[1] - 1 - there[lines, ::-1].argmax(1) if last else there[lines].argmax(1)
            # The pixel's outer side.
            place = np.stack([at + float(last), lines + 0.5], 1)
            ends.append(place if axis == 0 else place[:, ::-1])
    rim = np.concatenate(ends) * scale + box[:2]
    margin = 1.5 * scale.max()
    cut = (rim < margin).any(1) | (rim > np.array(observation.image_size) - margin).any(1)
    return SeenMask(rim, cut, cells, float(step * scale.max()), observation.image_size)


def mask_features(
    mask: SeenMask,
    framing: Framing,
    limbs_px: Tensor,
    trust: Tensor,
    focal_px: float,
    principal_px: tuple[float, float],
) -> Tensor:
    """MASK_FEATURES of one person, (1, F). limbs_px (L, 2) and trust (L,) are of LIMBS."""

    def rays(pixels: NDArray[np.float64]) -> Tensor:
        return (torch.as_tensor(pixels).to(limbs_px) - limbs_px.new_tensor(principal_px))[None] / focal_px

    ways = torch.as_tensor(WAYS).to(limbs_px)
    rim, _ = framing.place(rays(mask.rim_px))
    reach, furthest = (rim[0] @ ways.T).max(0)
    known = ~torch.as_tensor(mask.cut).to(limbs_px.device)[furthest]
    cells, scale = framing.place(rays(mask.cells_px))
    places = framing.place((limbs_px - limbs_px.new_tensor(principal_px))[None] / focal_px)[0][0]
    apart = (places[:, None] - cells).norm(dim=-1).amin(1)
    outside = apart - 0.7 * mask.cell_px / focal_px * scale.mean()
    within = ((limbs_px > 0) & (limbs_px < limbs_px.new_tensor(mask.image_size))).all(-1)
    return join_mask(reach[None], known[None], outside[None], ((trust > 0) & within)[None])


def join_mask(reach: Tensor, known: Tensor, outside: Tensor, told: Tensor) -> Tensor:
    """Features of reach (B, 16), where it is known, and of how far LIMBS are outside, (B, L), where they are told."""
    zero = torch.zeros_like(reach[:, :1])
    reach = torch.where(known, reach.clamp(-_MOST_REACH, _MOST_REACH), zero)
    outside = torch.where(told, outside.clamp(0, MOST_OUTSIDE) / MOST_OUTSIDE, zero)
    return torch.cat([reach, known.to(reach), outside, told.to(reach)], 1)


def mirror_mask(features: Tensor) -> Tensor:
    """Features (B, F) of the same masks in a mirror (x → −x)."""
    reach, known, outside, told = features.split([NUM_WAYS, NUM_WAYS, len(LIMBS), len(LIMBS)], 1)
    ways, limbs = list(_WAY_MIRROR), list(_LIMB_MIRROR)
    return torch.cat([reach[:, ways], known[:, ways], outside[:, limbs], told[:, limbs]], 1)
