"""Overlap of capsules: the distance is the least, its Jacobian is right, and it is zero where nothing overlaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, NUM_JOINTS
from pantomime.core.fitting.collision import Collision
from pantomime.core.fitting.kinematics import Skeleton, pose_chain
from pantomime.core.fitting.state import BodyState, Unknowns, retract
from pantomime.core.priors.clearance import clearance
from pantomime.core.rotation import exp_so3


@pytest.fixture(scope="module")
def collision(body: BodyModel) -> Collision:
    torch.set_num_threads(1)
    return Collision.of(body, Skeleton.of(body, torch.float64, "cpu"))


def arms_in_hips(body: BodyModel, count: int = 2) -> BodyState:
    """Arms that hang into the hips, a little different in each body of the batch."""
    rng = np.random.default_rng(0)
    pose = torch.zeros(count, NUM_JOINTS, 3, dtype=torch.float64)
    pose[:, JOINT_INDEX["left_shoulder"], 2] = -1.75
    pose[:, JOINT_INDEX["right_shoulder"], 2] = 1.75
    pose += torch.as_tensor(rng.normal(0, 0.05, pose.shape))
    return BodyState(
        exp_so3(pose),
        torch.as_tensor(rng.normal(0, 0.1, (count, 3))),
        torch.zeros(count, dtype=torch.float64),
        torch.as_tensor(rng.normal(0, 0.7, (count, body.num_betas))),
        torch.zeros(count, body.num_expressions, dtype=torch.float64),
    )


def test_clearance_is_the_least_over_both_axes() -> None:
    rng = np.random.default_rng(1)
    a, b = torch.as_tensor(rng.normal(0, 0.2, (2, 200, 2, 3)))
    # one end's ball never swallows the other's
    radius_a, radius_b = torch.as_tensor(rng.uniform(0.03, 0.06, (2, 200, 2)))
    distance, s, t, normal = clearance(a, b, radius_a, radius_b)
    places = torch.linspace(0, 1, 201, dtype=torch.float64)

    def along(x: Tensor, at: Tensor) -> Tensor:
        return x[:, :1] + at[:, None] * (x[:, 1:] - x[:, :1])

    on_a, on_b = along(a, places), along(b, places)
    ra = radius_a[:, :1] + places * (radius_a[:, 1:] - radius_a[:, :1])
    rb = radius_b[:, :1] + places * (radius_b[:, 1:] - radius_b[:, :1])
    everywhere = torch.cdist(on_a, on_b) - ra[:, :, None] - rb[:, None]
    least = everywhere.amin((1, 2))
    assert bool((distance <= least + 1e-4).all())  # metres
    assert bool((distance >= least - 2e-3).all())  # the grid is coarse
    apart = (a[:, 0] + s[:, None] * (a[:, 1] - a[:, 0])) - (b[:, 0] + t[:, None] * (b[:, 1] - b[:, 0]))
    torch.testing.assert_close(torch.nn.functional.normalize(apart, dim=-1), normal)


UNKNOWNS = {
    "all": lambda body: Unknowns(tuple(range(NUM_JOINTS)), True, True, body.num_betas, body.num_expressions),
    "body alone": lambda body: Unknowns(tuple(range(22)), True, False, 4, 0),
}


@pytest.mark.parametrize("which", list(UNKNOWNS))
def test_jacobian_of_overlap_matches_finite_differences(body: BodyModel, collision: Collision, which: str) -> None:
    unknowns, state = UNKNOWNS[which](body), arms_in_hips(body)
    found = collision.overlap(pose_chain(collision.skeleton, state), unknowns)
    assert found is not None and found.depth.shape[1] >= 8
    step, columns = 1e-6, []
    for i in range(unknowns.size):
        d = torch.zeros(2, unknowns.size, dtype=torch.float64)
        d[:, i] = step
        both = [
            collision.overlap(pose_chain(collision.skeleton, retract(state, sign * d, unknowns, False)), unknowns)
            for sign in (1, -1)
        ]
        assert both[0] is not None and both[1] is not None
        assert both[0].depth.shape == both[1].depth.shape == found.depth.shape  # the same pairs
        columns.append((both[0].depth - both[1].depth) / (2 * step))
    torch.testing.assert_close(found.jacobian, torch.stack(columns, -1), atol=2e-5, rtol=1e-4)


def test_nothing_overlaps_in_the_t_pose(body: BodyModel, collision: Collision) -> None:
    state = arms_in_hips(body, 1)
    rest = BodyState(
        torch.eye(3, dtype=torch.float64).expand(1, NUM_JOINTS, 3, 3),
        state.transl,
        state.log_focal,
        0 * state.betas,
        state.expression,
    )
    unknowns = UNKNOWNS["all"](body)
    found = collision.overlap(pose_chain(collision.skeleton, rest), unknowns)
    assert found is None


def test_a_batch_finds_what_each_of_its_bodies_finds(body: BodyModel, collision: Collision) -> None:
    unknowns, state = UNKNOWNS["body alone"](body), arms_in_hips(body, 3)
    state = state.where(
        torch.tensor([True, True, False]),
        BodyState(
            torch.eye(3, dtype=torch.float64).expand(3, NUM_JOINTS, 3, 3),
            state.transl,
            state.log_focal,
            0 * state.betas,
            state.expression,
        ),
    )
    together = collision.overlap(pose_chain(collision.skeleton, state), unknowns)
    assert together is not None
    for i in range(2):
        alone = collision.overlap(pose_chain(collision.skeleton, state.select(torch.tensor([i]))), unknowns)
        assert alone is not None
        torch.testing.assert_close((together.depth[i] ** 2).sum(), (alone.depth[0] ** 2).sum())
        torch.testing.assert_close(together.jacobian[i].T @ together.depth[i], alone.jacobian[0].T @ alone.depth[0])
    assert bool((together.depth[2] == 0).all()) and bool((together.jacobian[2] == 0).all())
