"""A body as a few tapered capsules: what its parts keep clear of each other with. numpy only.

The capsules are fitted to the rest mesh of any SMPL-X-format body, part by part. Their ends are skinned points, and
ends and radii are linear in betas and expression, as the body's surface is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel, VirtualPoints
from ..body.skeleton import FINGERS, JOINT_INDEX
from .proxy_fit import Shell, add_ball, distances, first_guess, free_space, outer_shell, refine, shape_directions

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PartPlan:
    """Which vertices make a part, and how many capsules it may take."""

    name: str
    joints: tuple[str, ...]  # the part's vertices are those that hang on these most
    towards: str  # the part is cut into slabs across the line from its first joint to this one
    slabs: int
    most: int  # capsules
    ball_m: float = 0.03  # first radius of capsules added where the slabs' leave the surface bare


def _sides(name: str, joints: tuple[str, ...], towards: str, slabs: int, most: int, ball_m: float) -> list[PartPlan]:
    return [
        PartPlan(f"{s}_{name}", tuple(f"{s}_{j}" for j in joints), f"{s}_{towards}", slabs, most, ball_m)
        for s in ("left", "right")
    ]


PLANS: tuple[PartPlan, ...] = (
    PartPlan("pelvis", ("pelvis",), "spine2", 2, 6, 0.06),
    PartPlan("belly", ("spine1", "spine2"), "spine3", 3, 6, 0.06),
    PartPlan("chest", ("spine3", "left_collar", "right_collar"), "neck", 2, 6, 0.06),
    PartPlan("neck", ("neck",), "head", 1, 2),
    PartPlan("head", ("head", "jaw", "left_eye_smplhf", "right_eye_smplhf"), "neck", 3, 8, 0.035),
    *_sides("upper_arm", ("shoulder",), "elbow", 2, 3, 0.03),
    *_sides("forearm", ("elbow",), "wrist", 2, 3, 0.02),
    *_sides("palm", ("wrist", "thumb1"), "middle1", 2, 4, 0.012),
    *_sides("thigh", ("hip",), "knee", 2, 4, 0.05),
    *_sides("shin", ("knee",), "ankle", 2, 4, 0.03),
    *_sides("foot", ("ankle", "foot"), "foot", 3, 5, 0.02),
    *(
        plan
        for finger in FINGERS
        for k in (1, 2, 3)
        if (finger, k) != ("thumb", 1)
        for plan in _sides(f"{finger}{k}", (f"{finger}{k}",), f"{finger}{k + 1 if k < 3 else k - 1}", 1, 1, 0.01)
    ),
)
MOST_POINTS = 700  # vertices of a part that are fitted
GOOD_M = 0.002  # mean distance at which a part needs no further capsule


@dataclass(frozen=True)
class Proxies:
    """P tapered capsules of a body with B betas and E expression components."""

    ends: VirtualPoints  # 2P points: the starts, then the ends
    radius: Floats  # (2P,) metres
    radius_dirs: Floats  # (2P, B + E)
    part: NDArray[np.int32]  # (P,) index into PLANS
    error_m: Floats  # (P,) mean distance of the part's skin from its capsules, at rest

    @property
    def count(self) -> int:
        return len(self.part)


def fit_proxies(body: BodyModel) -> Proxies:
    """Fit all parts to the rest mesh. Takes some seconds."""
    shell = outer_shell(body)
    owner = part_of_joint()[shell.weights.argmax(1)]
    pieces = [_fit_part(body, shell, owner, number) for number in range(len(PLANS))]
    capsules = np.concatenate([piece[0] for piece in pieces])
    dirs = np.concatenate([piece[1] for piece in pieces])
    weights = np.concatenate([piece[2] for piece in pieces])
    part = np.concatenate([np.full(len(piece[0]), number, np.int32) for number, piece in enumerate(pieces)])

    def both(array: NDArray[np.float64]) -> Floats:
        joined: Floats = np.concatenate([array[:, 0], array[:, 1]]).astype(np.float32)
        return joined

    ends_dirs = both(dirs[:, :6].reshape(len(dirs), 2, 3, -1))
    ends = VirtualPoints(
        both(capsules[:, :6].reshape(-1, 2, 3)),
        ends_dirs[..., : body.num_betas],
        ends_dirs[..., body.num_betas :],
        both(weights),
    )
    error = np.concatenate([np.full(len(piece[0]), piece[3], np.float32) for piece in pieces])
    return Proxies(ends, both(capsules[:, 6:]), both(dirs[:, 6:]), part, error)


def part_of_joint() -> NDArray[np.int64]:
    """(55,) the index in PLANS of the part that each joint's vertices belong to."""
    part = np.zeros(len(JOINT_INDEX), np.int64)
    for number, plan in enumerate(PLANS):
        for joint in plan.joints:
            part[JOINT_INDEX[joint]] = number
    return part


def _thinned(chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """At most MOST_POINTS of the chosen, spread evenly over their order."""
    rows = np.flatnonzero(chosen)
    if len(rows) <= MOST_POINTS:
        return chosen
    kept = np.zeros_like(chosen)
    kept[rows[np.linspace(0, len(rows) - 1, MOST_POINTS).round().astype(int)]] = True
    return kept


def _fit_part(
    body: BodyModel, shell: Shell, owner: NDArray[np.int64], number: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Capsules (K, 8), their derivative by the coefficients (K, 8, C), the ends' skin weights (K, 2, 55), the error."""
    plan = PLANS[number]
    mine = owner == number
    if mine.sum() < 6:
        return np.zeros((0, 8)), np.zeros((0, 8, shell.dirs.shape[2])), np.zeros((0, 2, shell.weights.shape[1])), 0.0
    mine = _thinned(mine)
    points, areas = shell.points[mine], shell.areas[mine]
    low, high = points.min(0) - 0.03, points.max(0) + 0.03
    close = (owner != number) & ((shell.points > low) & (shell.points < high)).all(1)
    close = _thinned(close)
    space, space_areas = free_space(shell.points[mine | close], shell.normals[mine | close], shell.areas[mine | close])
    others = np.concatenate([shell.points[close], space])
    other_areas = np.concatenate([shell.areas[close], space_areas])
    axis = body.J_template[JOINT_INDEX[plan.towards]] - body.J_template[JOINT_INDEX[plan.joints[0]]]
    axis = axis.astype(np.float64) / np.linalg.norm(axis)
    capsules = refine(first_guess(points, areas, axis, plan.slabs), points, areas, others, other_areas)
    while len(capsules) < plan.most:
        value = np.abs(distances(points, capsules)[0].min(1))
        if (value * areas).sum() / areas.sum() < GOOD_M:
            break
        more = add_ball(capsules, points, shell.normals[mine], areas, plan.ball_m)
        capsules = refine(more, points, areas, others, other_areas)
    dirs, near = shape_directions(capsules, points, areas, shell.dirs[mine], shell.points[close], shell.dirs[close])
    error = float(np.abs(distances(points, capsules)[0].min(1)) @ areas / areas.sum())
    return capsules, dirs, near @ shell.weights[mine], error
