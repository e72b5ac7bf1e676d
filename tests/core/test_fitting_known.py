"""Points that are known: limbs start in both depths."""

from __future__ import annotations

import numpy as np
import torch

from pantomime.core.body.model import BodyModel
from pantomime.core.fitting.kinematics import Skeleton, pose_chain
from pantomime.core.fitting.known import LIMBS, other_depths
from pantomime.core.fitting.state import BodyState
from pantomime.core.rotation import exp_so3


def test_each_other_start_mirrors_one_bone_and_keeps_what_is_beside_it(body: BodyModel) -> None:
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    rotmats = exp_so3(torch.as_tensor(np.random.default_rng(3).normal(0, 0.4, (1, 55, 3))))
    starts = other_depths(rotmats, skeleton)
    torch.testing.assert_close(starts[:1], rotmats)
    count = len(starts)
    assert count == 1 + len(LIMBS)
    zeros = torch.zeros(count, 3, dtype=torch.float64)
    shape = torch.zeros(count, body.num_betas + body.num_expressions, dtype=torch.float64)
    betas, expression = shape.split([body.num_betas, body.num_expressions], -1)
    joints = pose_chain(skeleton, BodyState(starts, zeros, zeros[:, 0], betas, expression)).joints
    flat = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    for row, (start, end) in enumerate(LIMBS, 1):
        bone, before = (joints[k, end] - joints[k, start] for k in (row, 0))
        torch.testing.assert_close(bone, before * flat)
        others = [(a, b) for a, b in LIMBS if a not in (start, end)]
        for a, b in others:
            torch.testing.assert_close(joints[row, b] - joints[row, a], joints[0, b] - joints[0, a])
