"""Which capsules of a body are to keep clear of each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from ..body.bake_poses import read_poses
from ..body.model import BodyModel
from ..body.skeleton import NUM_JOINTS, PARENTS
from ..body.skinning import Body
from .clearance import clearance
from .proxies import PLANS, Proxies, part_of_joint

ORDINARY = 0.92  # of captured poses: what they overlap is not judged, for soft parts do (an arm hanging at the ribs)
MOST_M = 0.02  # and no more than this
OFTEN_AT_REST = 0.2  # of random shapes: a pair that overlaps in so many of them in the T-pose is left out
SHAPES = 20
# Parts that fold onto each other where they are joined through a third: joint limits judge those, not overlap.
TRUNK = ("pelvis", "belly", "chest", "neck", "head")
FOLDING = (*((a, b) for a in TRUNK for b in TRUNK), ("neck", "left_upper_arm"), ("neck", "right_upper_arm"))
Indices = NDArray[np.int64]


def choose_pairs(body: BodyModel, proxies: Proxies) -> tuple[Indices, NDArray[np.float32]]:
    """Pairs (M, 2) of capsules to keep apart, and the overlap (M,) of each, in metres, that counts as contact.

    They are of parts that are not neighbours and don't fold onto each other; those that overlap at rest are left out.
    Overlap by what the capsules are off the skin, or as in most captured poses, is contact.
    """
    part = proxies.part
    first, second = np.triu_indices(proxies.count, 1)
    apart = (part_distance() >= 2) & ~_folding()
    apart = apart[part[first], part[second]]
    first, second = first[apart], second[apart]
    depths: dict[bool, list[NDArray[np.float32]]] = {True: [], False: []}
    for at_rest, depth in _sampled(body, proxies, first, second):
        depths[at_rest].append(depth)
    off = proxies.error_m[first] + proxies.error_m[second]
    resting = (np.stack(depths[True]) > off).mean(0)
    contact = np.clip(np.quantile(np.stack(depths[False]), ORDINARY, axis=0), off, MOST_M)
    allowed = resting < OFTEN_AT_REST
    return np.stack([first[allowed], second[allowed]], 1), contact[allowed].astype(np.float32)


def _folding() -> NDArray[np.bool_]:
    """(parts, parts) True for pairs in FOLDING, either way round."""
    place = {plan.name: i for i, plan in enumerate(PLANS)}
    fold = np.zeros((len(PLANS), len(PLANS)), bool)
    for first, second in FOLDING:
        fold[place[first], place[second]] = fold[place[second], place[first]] = True
    return fold


def part_distance() -> Indices:
    """(parts, parts) how many steps along the tree parts are from each other; 1: neighbours."""
    owner = part_of_joint()
    steps = np.where(np.eye(len(PLANS), dtype=bool), 0, len(PLANS))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0 and owner[joint] != owner[parent]:
            steps[owner[joint], owner[parent]] = steps[owner[parent], owner[joint]] = 1
    for middle in range(len(PLANS)):
        steps = np.minimum(steps, steps[:, middle, None] + steps[None, middle])
    return steps


def _sampled(
    body: BodyModel, proxies: Proxies, first: Indices, second: Indices
) -> Iterator[tuple[bool, NDArray[np.float32]]]:
    """Overlap of pairs, metres, at rest in random shapes and in captured poses; True for those at rest."""
    posed = Body(body)
    ends = posed.point_tensors(proxies.ends)
    rng = np.random.default_rng(0)
    shapes = np.concatenate([np.zeros((1, body.num_betas)), rng.normal(0, 0.8, (SHAPES - 1, body.num_betas))])
    still = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    cases = [(True, shape, still) for shape in shapes]
    cases += [(False, shapes[i % SHAPES] / 2, pose) for i, pose in enumerate(read_poses("train"))]
    for at_rest, shape, pose in cases:
        betas = torch.as_tensor(shape).float()
        points = posed.points(ends, betas, None, torch.as_tensor(pose).float()).unflatten(0, (2, -1)).transpose(0, 1)
        radius = torch.as_tensor(proxies.radius + proxies.radius_dirs[:, : body.num_betas] @ shape).float()
        radius = radius.unflatten(0, (2, -1)).T
        distance = clearance(points[first], points[second], radius[first], radius[second])[0]
        yield at_rest, -distance.numpy()
