"""Capsules lie on the surface of the body they are fitted to, in any shape; pairs leave out what always overlaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.priors.pairs import MOST_M, part_distance
from pantomime.core.priors.proxies import PLANS, Proxies, fit_proxies, part_of_joint
from pantomime.core.priors.proxies_file import PROXIES_PATH, fingerprint, proxies_of
from pantomime.core.priors.proxy_fit import connected_shell, outer_shell, union_distance

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def fitted(body: BodyModel) -> Proxies:
    torch.set_num_threads(1)
    return fit_proxies(body)


def capsules(proxies: Proxies, coefficients: Floats) -> Floats:
    """(P, 8) at rest in a shape."""
    dirs = np.concatenate([proxies.ends.shapedirs, proxies.ends.exprdirs], -1)
    ends = proxies.ends.template + dirs @ coefficients
    radius = proxies.radius + proxies.radius_dirs @ coefficients
    count = proxies.count
    return np.concatenate([ends[:count], ends[count:], radius[:count, None], radius[count:, None]], 1)


def off_surface_mm(body: BodyModel, proxies: Proxies, coefficients: Floats) -> float:
    """Mean distance of the skin from the capsules of its own part, weighted by area."""
    shell = outer_shell(body)
    points = shell.points + shell.dirs @ coefficients
    owner = part_of_joint()[shell.weights.argmax(1)]
    all_capsules, total = capsules(proxies, coefficients), 0.0
    for part in range(len(PLANS)):
        mine = owner == part
        if mine.any():
            distance = union_distance(points[mine], all_capsules[proxies.part == part])
            total += float(np.abs(distance) @ shell.areas[mine])
    return 1000 * total / float(shell.areas.sum())


def test_capsules_lie_on_the_skin_at_rest(body: BodyModel, fitted: Proxies) -> None:
    assert off_surface_mm(body, fitted, np.zeros(body.num_betas + body.num_expressions)) < 2.5
    assert fitted.count <= 120


def test_capsules_follow_the_shape(body: BodyModel, fitted: Proxies) -> None:
    rng = np.random.default_rng(0)
    still = replace(
        fitted,
        ends=replace(fitted.ends, shapedirs=0 * fitted.ends.shapedirs, exprdirs=0 * fitted.ends.exprdirs),
        radius_dirs=0 * fitted.radius_dirs,
    )
    at_rest = off_surface_mm(body, fitted, np.zeros(body.num_betas + body.num_expressions))
    for _ in range(4):
        shape = np.concatenate([rng.normal(0, 1, body.num_betas), np.zeros(body.num_expressions)])
        off = off_surface_mm(body, fitted, shape)
        assert off < 4.0
        assert off - at_rest < 0.3 * (off_surface_mm(body, still, shape) - at_rest)


def test_capsules_hang_on_the_joints_of_their_part(body: BodyModel, fitted: Proxies) -> None:
    weights = fitted.ends.weights
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    owner = part_of_joint()
    for i, heaviest in enumerate(weights.argmax(1)):
        assert part_distance()[owner[heaviest], fitted.part[i % fitted.count]] <= 1


def test_both_sides_of_a_symmetric_body_get_the_same_number_of_capsules(fitted: Proxies) -> None:
    counts = {plan.name: int((fitted.part == i).sum()) for i, plan in enumerate(PLANS)}
    for name, count in counts.items():
        if name.startswith("left_"):
            assert abs(count - counts["right_" + name[5:]]) <= 1
        assert count >= 1


def test_a_body_of_another_size_gets_capsules_of_that_size(body: BodyModel, fitted: Proxies) -> None:
    small = replace(
        body,
        body_id="small",
        v_template=0.9 * body.v_template,
        shapedirs=0.9 * body.shapedirs,
        exprdirs=0.9 * body.exprdirs,
        J_template=0.9 * body.J_template,
        J_shapedirs=0.9 * body.J_shapedirs,
        J_exprdirs=0.9 * body.J_exprdirs,
    )
    nothing = np.zeros(body.num_betas + body.num_expressions)
    assert fingerprint(small) != fingerprint(body)
    assert off_surface_mm(small, fitted, nothing) > 10  # the file's would not do
    assert off_surface_mm(small, fit_proxies(small), nothing) < 2.5


def test_the_file_that_ships_is_of_the_body_that_ships(body: BodyModel, fitted: Proxies) -> None:
    with np.load(PROXIES_PATH, allow_pickle=False) as data:
        assert str(data["fingerprint"]) == fingerprint(body)
    (kept, pairs, contact_m), warning = proxies_of(body)
    assert warning == ""
    # the order of additions differs from one processor to the next: capsules agree where it matters
    assert abs(kept.count - fitted.count) <= 2
    nothing = np.zeros(body.num_betas + body.num_expressions)
    assert abs(off_surface_mm(body, kept, nothing) - off_surface_mm(body, fitted, nothing)) < 0.2
    assert pairs.max() < kept.count and len(pairs) == len(contact_m)


def test_pairs_are_of_parts_that_are_no_neighbours(body: BodyModel) -> None:
    (proxies, pairs, contact_m), _ = proxies_of(body)
    assert (part_distance()[proxies.part[pairs[:, 0]], proxies.part[pairs[:, 1]]] >= 2).all()
    off = proxies.error_m[pairs[:, 0]] + proxies.error_m[pairs[:, 1]]
    assert ((contact_m >= off - 1e-6) & (contact_m <= np.float32(MOST_M))).all()
    assert proxies.error_m.min() > 0 and proxies.error_m.max() < 0.005
    names = {tuple(sorted((PLANS[proxies.part[i]].name, PLANS[proxies.part[j]].name))) for i, j in pairs}
    for wanted in (
        ("left_forearm", "pelvis"),
        ("head", "left_palm"),
        ("left_palm", "right_palm"),
        ("left_shin", "right_shin"),
        ("left_palm", "left_thigh"),
        ("belly", "right_forearm"),
    ):
        assert wanted in names


def test_the_shell_is_the_skin_without_eyes_and_teeth(body: BodyModel) -> None:
    inside = connected_shell(body)
    assert inside[body.vertex_groups["skin"]].all()
    assert not inside[body.vertex_groups["left_eyeball"]].any()
    assert not inside[body.vertex_groups["teeth"]].any()
