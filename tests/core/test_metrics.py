"""Distances between people, on figures whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from pantomime.core.body.bake_poses import rotations_of
from pantomime.core.fitting.metrics import aligned, box_iou, mask_iou, pa_error, pck, root_error, similarity


@pytest.fixture
def cloud() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(40, 3))


def test_a_similarity_is_found_exactly(cloud: np.ndarray) -> None:
    rotation = rotations_of(np.array([0.4, -1.9, 0.8]))
    shift = np.array([3.0, -1.0, 0.5])
    scale, found, moved = similarity(cloud, 1.7 * cloud @ rotation.T + shift)
    assert scale == pytest.approx(1.7)
    np.testing.assert_allclose(found, rotation, atol=1e-9)
    np.testing.assert_allclose(moved, shift, atol=1e-9)


def test_alignment_never_mirrors(cloud: np.ndarray) -> None:
    _, rotation, _ = similarity(cloud, cloud * np.array([-1.0, 1.0, 1.0]))
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert pa_error(cloud, cloud * np.array([-1.0, 1.0, 1.0])) > 0.3


def test_no_similarity_nearby_is_better_than_the_one_found(cloud: np.ndarray) -> None:
    target = cloud + 0.3 * np.random.default_rng(4).normal(size=cloud.shape)
    best = float(((aligned(cloud, target) - target) ** 2).sum())
    scale, rotation, shift = similarity(cloud, target)
    rng = np.random.default_rng(5)
    for _ in range(50):
        turned = rotations_of(0.05 * rng.normal(size=3)) @ rotation
        other = scale * (1 + 0.05 * rng.normal()) * cloud @ turned.T + shift + 0.05 * rng.normal(size=3)
        assert float(((other - target) ** 2).sum()) > best


def test_points_without_extent_can_be_aligned() -> None:
    point = np.ones((5, 3))
    np.testing.assert_allclose(aligned(point, 4 * point), 4 * point, atol=1e-9)


def test_root_error_forgets_the_place_and_nothing_else(cloud: np.ndarray) -> None:
    moved = cloud + np.array([1.0, 2.0, 3.0])
    assert root_error(moved, cloud, moved[0], cloud[0]) == pytest.approx(0.0, abs=1e-12)
    bent = moved.copy()
    bent[7] += [0.0, 0.4, 0.3]
    assert root_error(bent, cloud, moved[0], cloud[0]) == pytest.approx(0.5 / 40)


def test_pck_counts_the_chosen_points_within_the_threshold() -> None:
    true = np.zeros((4, 2))
    found = np.array([[3.0, 4.0], [6.0, 8.0], [0.0, 1.0], [50.0, 0.0]])
    assert pck(found, true, np.array([True, True, True, False]), 5.0) == pytest.approx(2 / 3)
    assert np.isnan(pck(found, true, np.zeros(4, bool), 5.0))


def test_overlap_of_masks_and_boxes() -> None:
    first, second = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    first[:2], second[1:3] = True, True
    assert mask_iou(first, second) == pytest.approx(1 / 3)
    assert np.isnan(mask_iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)))
    assert box_iou(np.array([0.0, 0, 2, 2]), np.array([1.0, 0, 3, 2])) == pytest.approx(1 / 3)
    assert box_iou(np.array([0.0, 0, 1, 1]), np.array([2.0, 2, 3, 3])) == 0.0
