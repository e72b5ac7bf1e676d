"""Jacobians of the fit against finite differences, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pantomime.core.body.model import VirtualPoints
from pantomime.core.body.skeleton import NUM_JOINTS, PARENTS
from pantomime.core.fitting.directions import Directions, DirectionTerms
from pantomime.core.fitting.kinematics import PointTable, Skeleton, by_own_turns, joints_above, pose_chain
from pantomime.core.fitting.regressed import turned_direction
from pantomime.core.fitting.residuals import bone_direction, reprojection, robust_weight, rotation_offset, upright
from pantomime.core.fitting.state import BodyState, Unknowns, retract
from pantomime.core.rotation import exp_so3, inverse_right_jacobian, log_so3, rotation_between

NUM_BETAS, NUM_EXPRESSIONS, NUM_POINTS, NUM_BODIES = 4, 3, 12, 2
ALL = Unknowns(tuple(range(NUM_JOINTS)), True, True, NUM_BETAS, NUM_EXPRESSIONS)
SOME = Unknowns((0, 3, 9, 12, 15, 16, 18, 20, 22, 40), True, False, 2, 0)


def numeric(function: Callable[[Tensor], Tensor], size: int, step: float = 1e-6) -> Tensor:
    """Central differences of function(d) at d = 0, (…, size)."""
    columns = []
    for i in range(size):
        d = torch.zeros(NUM_BODIES, size, dtype=torch.float64)
        d[:, i] = step
        columns.append((function(d) - function(-d)) / (2 * step))
    return torch.stack(columns, -1)


@pytest.fixture(scope="module")
def scene() -> tuple[Skeleton, VirtualPoints, BodyState]:
    rng = np.random.default_rng(3)
    template = rng.normal(0, 0.4, (NUM_JOINTS, 3))
    dirs = torch.as_tensor(rng.normal(0, 0.03, (NUM_JOINTS, 3, NUM_BETAS + NUM_EXPRESSIONS)))
    parents = torch.tensor([max(p, 0) for p in PARENTS])
    offset_dirs = dirs - dirs[parents]
    offset_dirs[0] = dirs[0]
    ancestors = torch.zeros(NUM_JOINTS, NUM_JOINTS, dtype=torch.float64)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            ancestors[joint] = ancestors[parent]
        ancestors[joint, joint] = 1
    above = joints_above("cpu")
    skeleton = Skeleton(
        torch.as_tensor(template), dirs, offset_dirs, NUM_BETAS, NUM_EXPRESSIONS, ancestors, above, parents, True
    )
    weights = np.zeros((NUM_POINTS, NUM_JOINTS))
    for row in weights:
        bones = rng.choice(NUM_JOINTS, 3, replace=False)
        row[bones] = rng.dirichlet([1, 1, 1])
    points = VirtualPoints(
        rng.normal(0, 0.5, (NUM_POINTS, 3)),
        rng.normal(0, 0.03, (NUM_POINTS, 3, NUM_BETAS)),
        rng.normal(0, 0.03, (NUM_POINTS, 3, NUM_EXPRESSIONS)),
        weights,
    )
    state = BodyState(
        exp_so3(torch.as_tensor(rng.normal(0, 0.7, (NUM_BODIES, NUM_JOINTS, 3)))),
        torch.as_tensor(rng.normal(0, 0.2, (NUM_BODIES, 3)) + [0, 0, 6]),
        torch.as_tensor(np.log(rng.uniform(400, 900, NUM_BODIES))),
        torch.as_tensor(rng.normal(0, 1, (NUM_BODIES, NUM_BETAS))),
        torch.as_tensor(rng.uniform(0.2, 0.8, (NUM_BODIES, NUM_EXPRESSIONS))),
    )
    return skeleton, points, state


@pytest.mark.parametrize("unknowns", [ALL, SOME], ids=["all unknowns", "some unknowns"])
def test_point_rows_match_finite_differences(
    scene: tuple[Skeleton, VirtualPoints, BodyState], unknowns: Unknowns
) -> None:
    skeleton, points, state = scene
    table = PointTable.of(skeleton, points, unknowns.joints)
    axes = torch.eye(3, dtype=torch.float64).expand(NUM_BODIES, NUM_POINTS, 3, 3)
    analytic = table.differentiate(pose_chain(skeleton, state), unknowns).rows(axes, unknowns)
    expected = numeric(
        lambda d: table.positions(pose_chain(skeleton, retract(state, d, unknowns, False))), unknowns.size
    )
    torch.testing.assert_close(analytic, expected, atol=1e-7, rtol=1e-6)


def test_global_rotations_are_products_along_the_tree(scene: tuple[Skeleton, VirtualPoints, BodyState]) -> None:
    skeleton, _, state = scene
    chain = pose_chain(skeleton, state)
    for joint, parent in enumerate(PARENTS):
        own = state.rotmats[:, joint]
        expected = own if parent < 0 else chain.globals[:, parent] @ own
        torch.testing.assert_close(chain.globals[:, joint], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("unknowns", [ALL, SOME], ids=["all unknowns", "some unknowns"])
def test_equations_by_turns_in_the_cameras_axes_become_those_by_own_turns(
    scene: tuple[Skeleton, VirtualPoints, BodyState], unknowns: Unknowns
) -> None:
    skeleton, points, state = scene
    chain = pose_chain(skeleton, state)
    table = PointTable.of(skeleton, points, unknowns.joints)
    rng = np.random.default_rng(6)
    pulls = torch.as_tensor(rng.normal(size=(NUM_BODIES, NUM_POINTS, 2, 3)))
    residual = torch.as_tensor(rng.normal(size=(NUM_BODIES, 2 * NUM_POINTS, 1)))
    found = []
    for own_axes in (True, False):
        rows = table.differentiate(chain, unknowns, own_axes).rows(pulls, unknowns).flatten(1, 2)
        both = torch.cat([rows, residual], -1)
        found.append(both.transpose(1, 2) @ both)
    size = unknowns.size
    turned = by_own_turns(found[1], chain.globals[:, unknowns.joints])
    torch.testing.assert_close(turned[:, :size], found[0][:, :size], atol=1e-9, rtol=1e-9)


def test_equations_of_directions_are_those_of_their_rows(scene: tuple[Skeleton, VirtualPoints, BodyState]) -> None:
    skeleton, _, state = scene
    chain = pose_chain(skeleton, state)
    rng = np.random.default_rng(7)
    unit = torch.nn.functional.normalize
    joints = torch.tensor([0, 16, 18, 4])
    rest, seen = (unit(torch.as_tensor(rng.normal(size=(4, 3))), dim=-1) for _ in range(2))
    inverse_sigma, width = torch.as_tensor(rng.uniform(1, 5, 4)), torch.tensor([1.5, 3.0, 3.0, float("inf")])
    size = SOME.size
    equations = torch.zeros(NUM_BODIES, size + 1, size + 1, dtype=torch.float64)
    terms = DirectionTerms(skeleton, SOME, Directions(joints, rest, seen, inverse_sigma, width.double()))
    cost = terms.add(chain, equations)
    turned = by_own_turns(equations, chain.globals[:, SOME.joints])
    turns = chain.globals[:, SOME.joints]
    carriers = [SOME.joints.index(joint) if joint in SOME.joints else -1 for joint in joints.tolist()]
    expected, total = torch.zeros_like(turned), torch.zeros_like(cost)
    for k, joint in enumerate(joints.tolist()):
        above = skeleton.ancestors[joint, list(SOME.joints)][None]
        # a direction whose own joint stays is turned by those above it
        carried = turns if carriers[k] >= 0 else torch.cat([turns, chain.globals[:, [joint]]], 1)
        at = torch.tensor([carriers[k] if carriers[k] >= 0 else carried.shape[1] - 1])
        below = above if carriers[k] >= 0 else torch.cat([above, above.new_zeros(1, 1)], 1)
        r, j = turned_direction(carried, at, below, rest[[k]], seen[[k]], inverse_sigma[[k]])
        rows = j[:, 0, :, : len(SOME.joints)].reshape(NUM_BODIES, 3, -1)
        value, weight = robust_weight((r * r).sum(-1)[:, 0], float(width[k]))
        total += value
        turning = slice(0, 3 * len(SOME.joints))
        expected[:, turning, turning] += weight[:, None, None] * rows.transpose(1, 2) @ rows
        expected[:, turning, -1] += weight[:, None] * (rows.transpose(1, 2) @ r[:, 0, :, None])[..., 0]
    torch.testing.assert_close(cost, total)
    torch.testing.assert_close(turned[:, :, :size], expected[:, :, :size], atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(turned[:, :size, size], expected[:, :size, size], atol=1e-9, rtol=1e-9)


def test_taken_points_have_the_rows_of_the_whole(scene: tuple[Skeleton, VirtualPoints, BodyState]) -> None:
    skeleton, points, state = scene
    moving = PointTable.of(skeleton, points, ALL.joints).differentiate(pose_chain(skeleton, state), ALL)
    axes = torch.eye(3, dtype=torch.float64).expand(NUM_BODIES, NUM_POINTS, 3, 3)
    index = torch.tensor([7, 2, 2])
    torch.testing.assert_close(moving.take(index).rows(axes[:, :3], ALL), moving.rows(axes, ALL)[:, index])


def test_reprojection_jacobian_matches_finite_differences() -> None:
    rng = np.random.default_rng(0)
    points = torch.as_tensor(rng.normal(0, 1, (NUM_BODIES, 5, 3)) + [0, 0, 4])
    focal = torch.as_tensor(np.log([500.0, 800.0]))
    principal = torch.tensor([320.0, 240.0], dtype=torch.float64)
    observed = torch.as_tensor(rng.uniform(0, 500, (5, 2)))
    inverse_sigma = torch.as_tensor(rng.uniform(0.05, 0.5, 5))
    _, by_point, by_focal = reprojection(points, focal, principal, observed, inverse_sigma)

    def at(d: Tensor) -> Tensor:
        return reprojection(points + d[:, None, :3], focal + d[:, 3], principal, observed, inverse_sigma)[0]

    expected = numeric(at, 4)
    torch.testing.assert_close(by_point, expected[..., :3], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(by_focal, expected[..., 3], atol=1e-6, rtol=1e-6)


def test_bone_direction_jacobian_matches_finite_differences() -> None:
    rng = np.random.default_rng(1)
    start = torch.as_tensor(rng.normal(0, 1, (NUM_BODIES, 4, 3)))
    end = torch.as_tensor(rng.normal(0, 1, (NUM_BODIES, 4, 3)))
    observed = torch.nn.functional.normalize(torch.as_tensor(rng.normal(0, 1, (4, 3))), dim=-1)
    inverse_sigma = torch.as_tensor(rng.uniform(1, 4, 4))
    _, by_end = bone_direction(start, end, observed, inverse_sigma)
    expected = numeric(lambda d: bone_direction(start, end + d[:, None], observed, inverse_sigma)[0], 3)
    torch.testing.assert_close(by_end, expected, atol=1e-7, rtol=1e-6)
    by_start = numeric(lambda d: bone_direction(start + d[:, None], end, observed, inverse_sigma)[0], 3)
    torch.testing.assert_close(-by_end, by_start, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-5, 0.4, 1.5, 2.9])
def test_rotation_offset_jacobian_matches_finite_differences(angle: float) -> None:
    rng = np.random.default_rng(2)
    axis = torch.nn.functional.normalize(torch.as_tensor(rng.normal(0, 1, (NUM_BODIES, 3, 3))), dim=-1)
    mean = exp_so3(torch.as_tensor(rng.normal(0, 0.5, (3, 3))))
    rotmats = mean @ exp_so3(axis * angle)
    inverse_sigma = torch.as_tensor(rng.uniform(1, 4, (3, 3)))
    _, jacobian = rotation_offset(rotmats, mean.transpose(-1, -2), inverse_sigma)

    def at(d: Tensor) -> Tensor:
        return rotation_offset(rotmats @ exp_so3(d[:, None]), mean.transpose(-1, -2), inverse_sigma)[0]

    torch.testing.assert_close(jacobian, numeric(at, 3), atol=1e-6, rtol=1e-5)


def test_upright_jacobian_matches_finite_differences() -> None:
    root = exp_so3(torch.as_tensor(np.random.default_rng(5).normal(0, 1, (NUM_BODIES, 3))))
    _, jacobian = upright(root, 0.4)
    torch.testing.assert_close(jacobian, numeric(lambda d: upright(root @ exp_so3(d), 0.4)[0], 3), atol=1e-7, rtol=1e-6)


def test_inverse_right_jacobian_is_its_definition() -> None:
    theta = torch.tensor([[0.3, -1.2, 0.8], [0.0, 0.0, 1e-4]], dtype=torch.float64)
    expected = numeric(lambda d: log_so3(exp_so3(theta) @ exp_so3(d)), 3)
    torch.testing.assert_close(inverse_right_jacobian(theta), expected, atol=1e-6, rtol=1e-6)


def test_rotation_between_turns_one_direction_into_the_other_even_when_opposite() -> None:
    source = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 1], [0.3, 0.2, -0.5]], dtype=torch.float64)
    target = torch.tensor([[-1.0, 0, 0], [0, 1, 0], [1, 1, 0], [-0.3, -0.2, 0.5]], dtype=torch.float64)
    turned = (rotation_between(source, target) @ source[..., None])[..., 0]
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(turned, dim=-1), unit(target, dim=-1), atol=1e-9, rtol=0)


def test_robust_weight_is_the_slope_of_the_kernel() -> None:
    squared = torch.linspace(0, 50, 40, dtype=torch.float64)
    value, weight = robust_weight(squared, 3.0)
    slope = (robust_weight(squared + 1e-6, 3.0)[0] - robust_weight(squared - 1e-6, 3.0)[0]) / 2e-6
    torch.testing.assert_close(weight, slope, atol=1e-6, rtol=1e-6)
    assert bool((value <= 9.0).all())
