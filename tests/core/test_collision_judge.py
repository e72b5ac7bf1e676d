"""The exact measure of what overlaps, on solids whose overlap is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.body.load import load_body
from pantomime.core.priors.intersection import FAR_M, Judge
from pantomime.core.priors.proxies import PLANS

PART = {plan.name: i for i, plan in enumerate(PLANS)}
PALM, HEAD, CHEST, BELLY = (PART[name] for name in ("left_palm", "head", "chest", "belly"))
SIDE = 0.1  # metres
Floats = NDArray[np.float64]
# Corners of a unit cube in binary order; triangles run counter-clockwise seen from outside.
CORNERS = np.array(list(product((0.0, 1.0), repeat=3)))
QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
TRIANGLES = np.array([t for a, b, c, d in QUADS for t in ((a, b, c), (a, c, d))])


def boxes(*parts: int) -> Judge:
    """A judge of as many boxes, each a part; their corners are 8 rows each."""
    judge = Judge(load_body())
    judge.faces = np.concatenate([TRIANGLES + 8 * i for i in range(len(parts))])
    judge.part = np.repeat(np.array(parts), len(TRIANGLES))
    judge.rest = np.repeat(np.arange(len(parts), dtype=float), len(TRIANGLES))[:, None] * np.ones(3)
    return judge


def at(*places: tuple[float, float, float], turn: float = 0.3, size: tuple[float, ...] = ()) -> Floats:
    """Boxes with their lower corner at these places, all turned together so that nothing lies along an axis."""
    sizes = size or (1.0,) * len(places)
    corners = np.concatenate([SIDE * s * CORNERS + np.array(p) for p, s in zip(places, sizes, strict=True)])
    c, s = np.cos(turn), np.sin(turn)
    about_z, about_x = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.asarray(corners @ about_z @ about_x)


@pytest.mark.parametrize("depth", [0.01, 0.03])
def test_volume_of_two_boxes_that_overlap(depth: float) -> None:
    found = boxes(PALM, HEAD).measure(at((0, 0, 0), (SIDE - depth, 0.02, 0.01)))
    expected = depth * (SIDE - 0.02) * (SIDE - 0.01)
    assert found.volume_m3.keys() == {tuple(sorted((PALM, HEAD)))}
    assert found.volume == pytest.approx(expected, rel=0.05)
    assert 0 < found.area <= 12 * SIDE**2


def test_a_box_wholly_inside_another_counts_whole_though_no_triangles_cross() -> None:
    found = boxes(PALM, HEAD).measure(at((0.03, 0.03, 0.03), (0, 0, 0), size=(0.4, 1.0)))
    assert found.volume == pytest.approx((0.4 * SIDE) ** 3, rel=0.08)
    assert found.area == 0


def test_boxes_apart_do_not_overlap_and_their_gap_is_known() -> None:
    judge = boxes(PALM, HEAD)
    beside = at((0, 0, 0), (SIDE + 0.007, 0.02, 0.01))
    assert judge.measure(beside).volume == 0
    assert judge.measure(beside).area == 0
    assert judge.gap(beside, (PALM,), (HEAD,)) == pytest.approx(0.007, abs=1e-6)
    corner = at((0, 0, 0), (SIDE + 0.003, SIDE + 0.004, SIDE + 0.012))
    assert judge.gap(corner, (PALM,), (HEAD,)) == pytest.approx(0.013, abs=1e-6)
    assert judge.gap(at((0, 0, 0), (SIDE - 0.01, 0.02, 0.01)), (PALM,), (HEAD,)) == 0
    assert judge.gap(at((0, 0, 0), (1.0, 0.0, 0.0)), (PALM,), (HEAD,)) == FAR_M


def test_neighbouring_parts_and_folds_may_overlap() -> None:
    overlapping = at((0, 0, 0), (SIDE - 0.03, 0.02, 0.01))
    assert boxes(CHEST, BELLY).measure(overlapping).volume == 0
    upper_arm = boxes(BELLY, PART["left_upper_arm"])
    assert upper_arm.measure(overlapping).volume > 0  # far from each other at rest
    upper_arm.rest = 0.01 * upper_arm.rest
    assert upper_arm.measure(overlapping).volume == 0  # a fold


def test_three_that_share_a_place_are_told_apart() -> None:
    judge = boxes(PALM, HEAD, PART["left_thigh"])
    found = judge.measure(at((0, 0, 0), (SIDE - 0.02, 0.0, 0.0), (0.0, SIDE - 0.03, 0.01)))
    palm_head, palm_thigh = tuple(sorted((PALM, HEAD))), tuple(sorted((PALM, PART["left_thigh"])))
    assert found.volume_m3[palm_head] == pytest.approx(0.02 * SIDE**2, rel=0.25)
    assert found.volume_m3[palm_thigh] == pytest.approx(0.03 * SIDE * (SIDE - 0.01), rel=0.25)
