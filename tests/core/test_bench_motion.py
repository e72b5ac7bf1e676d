"""Errors of motion: each has the value that follows from how the motion was made."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pantomime.core.fitting import bench_motion as scores
from pantomime.core.rotation import exp_so3

UP = np.array([0.0, -1.0, 0.0])


@pytest.fixture
def walk() -> np.ndarray:
    """22 joints for 60 frames at 30 a second, a metre a second along x."""
    rng = np.random.default_rng(1)
    shape = rng.normal(0, 0.4, (22, 3)) + [0.0, 0.0, 4.0]
    t = np.arange(60) / 30.0
    return shape + np.stack([t, 0 * t, 0 * t], 1)[:, None] + 0.05 * np.sin(9 * t)[:, None, None]


def test_turned_moved_and_scaled_the_motion_is_the_same(walk: np.ndarray) -> None:
    import torch

    turn = exp_so3(torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64))[0].numpy()
    other = 1.2 * walk @ turn.T + [1.0, 2.0, 3.0]
    assert scores.window_error(other, walk, 60) == pytest.approx(0.0, abs=1e-6)
    assert scores.pa_mpjpe(other, walk).max() == pytest.approx(0.0, abs=1e-6)
    assert scores.scale_of(other, walk) == pytest.approx(1 / 1.2)


def test_drift_counts_in_windows_and_not_by_frame(walk: np.ndarray) -> None:
    drifted = walk + np.linspace(0, 0.5, 60)[:, None, None] * np.array([0.0, 0.0, 1.0])
    assert scores.pa_mpjpe(drifted, walk).max() == pytest.approx(0.0, abs=1e-6)
    assert scores.window_error(drifted, walk, 60) > 50.0


def test_acceleration_error_of_a_known_tremble(walk: np.ndarray) -> None:
    trembling = walk.copy()
    trembling[::2, :, 0] += 0.001  # second differences of ±2 mm a frame²
    assert scores.acceleration_error(trembling, walk, 30.0) == pytest.approx(2.0 * 900.0, rel=1e-6)
    assert scores.jitter(trembling, 30.0) > scores.jitter(walk, 30.0) + 50.0


def test_missing_frames_do_not_count(walk: np.ndarray) -> None:
    holed = walk.copy()
    holed[10:20] = math.nan
    assert np.isnan(scores.pa_mpjpe(holed, walk)).sum() == 10
    assert scores.window_error(holed, walk, 60) == pytest.approx(0.0, abs=1e-6)
    assert scores.acceleration_error(holed, walk, 30.0) == pytest.approx(0.0, abs=1e-6)


def test_sliding_is_over_the_floor_and_of_those_who_stand() -> None:
    feet = np.zeros((10, 2, 3))
    feet[:, 0, 0] = 0.002 * np.arange(10)  # slides by 2 mm a frame
    feet[:, 0, 1] = 0.004 * np.arange(10) % 0.005  # and trembles upwards, which is no sliding
    feet[:, 1, 0] = 0.05 * np.arange(10)  # walks
    stands = scores.contacts_of(feet, np.zeros((10, 2)), 30.0)
    assert not stands[:, 1].any() and stands[:, 0].any()
    assert scores.sliding(feet, UP, stands) == pytest.approx(2.0)


def test_a_high_foot_does_not_stand() -> None:
    feet = np.zeros((5, 1, 3))
    assert scores.contacts_of(feet, np.zeros((5, 1)), 30.0).all()
    assert not scores.contacts_of(feet, np.full((5, 1), 0.3), 30.0).any()


def test_trembling_is_no_way() -> None:
    t = np.arange(91)
    places = np.stack([0.02 * t, 0 * t, 4.0 + 0.01 * (t % 2)], 1).astype(float)
    assert scores.path_length(places, UP, 10) == pytest.approx(1.8, rel=1e-6)


def test_only_hidden_joints_count_as_hidden(walk: np.ndarray) -> None:
    wrong = walk.copy()
    wrong[:, 5] += [0.1, 0.0, 0.0]
    hidden = np.zeros((60, 22), bool)
    assert math.isnan(scores.hidden_error(wrong, walk, hidden))
    hidden[:, 5] = True
    one = scores.hidden_error(wrong, walk, hidden)
    hidden[:] = True
    assert one > 60.0 and scores.hidden_error(wrong, walk, hidden) < 0.25 * one


def test_the_filter_calms_and_follows() -> None:
    rng = np.random.default_rng(2)
    still = rng.normal(0, 0.01, (200, 3))
    assert scores.one_euro(still, 30.0)[20:].std() < 0.6 * still.std()
    ramp = np.repeat(np.arange(60.0)[:, None] / 30.0, 3, 1)
    assert np.abs(scores.one_euro(ramp, 30.0) - ramp)[30:].max() < 0.1
    gap = still.copy()
    gap[50:60] = math.nan
    assert np.isfinite(scores.one_euro(gap, 30.0)[60:]).all()
