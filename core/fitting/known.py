"""Points that are known better than a detector sees them: followed closely, from starts in both depths of each limb.

A detector's points are some 1 % of the person off, by which a limb that is 20° out of the picture's plane looks
shorter by no more than they err. Exact points tell that angle, but not its sign, and where they pull hard there is a
valley for either.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..body.skeleton import JOINT_INDEX, PARENTS
from ..rotation import rotation_between
from .kinematics import Skeleton, pose_chain
from .state import BodyState

# (joint, its child) of the bones whose other depth is tried.
LIMBS = tuple(
    (JOINT_INDEX[f"{side}_{start}"], JOINT_INDEX[f"{side}_{end}"])
    for side in ("left", "right")
    for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
)


@dataclass(frozen=True)
class KnownSettings:
    """What is done about points that are known; how closely each stage follows them: `Stage.least_noise`."""

    below: float = 0.5  # of a detector's noise, from which on points are known
    steps: int = 2  # times as many: hard pulls make narrow valleys
    tolerance: float = 0.25  # times


def other_depths(rotmats: Tensor, skeleton: Skeleton) -> Tensor:
    """Local rotations (1, 55, 3, 3), and the same with one limb bone after the other mirrored at the picture's plane,
    what hangs on it turning with it: (1 + len(LIMBS), 55, 3, 3)."""
    one = rotmats.new_zeros(1)
    at_rest = BodyState(
        rotmats,
        rotmats.new_zeros(1, 3),
        one,
        rotmats.new_zeros(1, skeleton.num_betas),
        rotmats.new_zeros(1, skeleton.num_expressions),
    )
    chain = pose_chain(skeleton, at_rest)
    found = [rotmats]
    for start, end in LIMBS:
        bone = chain.joints[:, end] - chain.joints[:, start]
        turn = rotation_between(bone, bone * bone.new_tensor([1.0, 1.0, -1.0]))
        above = chain.globals[:, PARENTS[start]]
        other = rotmats.clone()
        other[:, start] = above.transpose(-1, -2) @ turn @ chain.globals[:, start]
        found.append(other)
    return torch.cat(found)
