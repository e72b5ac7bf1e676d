"""Where eyes look: conventions, what a gaze is read from, and what the fit makes of one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pantomime.core.body.load import load_body
from pantomime.core.detection.face_picture import STEADY, STEADY_MM
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.evidence import drawn_ahead, eyes_at_rest
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.priors.gaze import (
    _BALL_MM,
    _BALL_OFF_MM,
    _CORNERS,
    MIRROR_ORDER,
    MIRROR_SIGNS,
    NUM_FEATURES,
    SeenGaze,
    eye_width,
    gaze_features,
    gaze_of_vectors,
    gaze_vectors,
    lid_components,
    metric_irises,
)
from pantomime.core.rotation import exp_so3

CAMERA = np.diag([1.0, -1.0, -1.0])


def rotation(vector: np.ndarray) -> np.ndarray:
    return exp_so3(torch.as_tensor(vector, dtype=torch.float64)).numpy()


def face(gaze: np.ndarray, head: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metric mesh and irises, camera axes, of the mean face with eyes that look along a gaze; head (3,) turns it."""
    mesh = np.zeros((468, 3))
    mesh[list(STEADY)] = STEADY_MM
    for (upper, lower), (a, b) in zip(((159, 145), (386, 374)), _CORNERS, strict=True):
        middle = 0.5 * (mesh[a] + mesh[b])
        mesh[upper], mesh[lower] = middle + [0, -5.0, 0], middle + [0, 4.0, 0]
    ahead = CAMERA @ rotation(gaze_vectors(gaze)) @ np.array([0.0, 0.0, 1.0])
    irises = np.zeros((10, 3))
    for eye, (a, b) in enumerate(_CORNERS):
        irises[5 * eye : 5 * eye + 5] = 0.5 * (mesh[a] + mesh[b]) + _BALL_OFF_MM + _BALL_MM * ahead
    turn = rotation(head)
    return (mesh @ turn.T / 1000).astype(np.float32), (irises @ turn.T / 1000)[:, :2].astype(np.float32)


def test_a_gaze_turns_eyes_to_the_persons_left_and_up_and_back() -> None:
    left, up = rotation(gaze_vectors(np.array([0.3, 0.0]))), rotation(gaze_vectors(np.array([0.0, 0.3])))
    np.testing.assert_allclose(left[:, 2], [np.sin(0.3), 0, np.cos(0.3)], atol=1e-9)
    np.testing.assert_allclose(up[:, 2], [0, np.sin(0.3), np.cos(0.3)], atol=1e-9)
    some = np.random.default_rng(0).normal(0, 0.3, (20, 2))
    np.testing.assert_allclose(gaze_of_vectors(gaze_vectors(some)), some, atol=1e-6)


def test_lids_follow_a_gaze_within_bounds() -> None:
    aside = lid_components(np.array([0.26, 0.0]))
    assert aside["eyeLookOutLeft"] == aside["eyeLookInRight"] == pytest.approx(0.26 / np.deg2rad(30))
    assert aside["eyeLookInLeft"] == aside["eyeLookOutRight"] == aside["eyeLookUpLeft"] == 0
    down = lid_components(np.array([0.0, -2.0]))
    assert down["eyeLookDownLeft"] == down["eyeLookDownRight"] == 1.0
    assert set(down) == {name for name in load_body().expression_names if name.startswith("eyeLook")}


@pytest.mark.parametrize("head", [(0.0, 0.0, 0.0), (0.2, -0.3, 0.1), (-0.15, 0.4, -0.2)])
@pytest.mark.parametrize("gaze", [(0.0, 0.0), (0.25, 0.1), (-0.2, -0.25)])
def test_irises_give_the_gaze_whatever_the_head_does(gaze: tuple[float, float], head: tuple[float, ...]) -> None:
    x = gaze_features(*face(np.array(gaze), np.array(head)))
    np.testing.assert_allclose(x[:2], gaze, atol=0.01)
    np.testing.assert_allclose(x[2:4], 0, atol=0.01)


def test_features_of_a_mirror_image_are_known() -> None:
    from pantomime.core.body.train_expressions import mirror_points
    from pantomime.core.priors.expressions import ExpressionReader

    twins = mirror_points(ExpressionReader().canonical)
    mesh, irises = face(np.array([0.2, -0.1]), np.array([0.1, 0.3, 0.0]))
    flipped = mesh[twins] * np.array([-1, 1, 1], np.float32)
    other = irises[[5, 6, 7, 8, 9, 0, 1, 2, 3, 4]] * np.array([-1, 1], np.float32)
    expected = gaze_features(mesh, irises)[MIRROR_ORDER] * MIRROR_SIGNS
    np.testing.assert_allclose(gaze_features(flipped, other), expected, atol=1e-4)
    assert len(expected) == NUM_FEATURES


def test_irises_come_into_the_meshs_axes() -> None:
    mesh, irises = face(np.array([0.1, 0.1]), np.zeros(3))
    points = Points(700 * mesh[:, :2] + [40, 50], np.ones(468, np.float32), mesh, irises_px=700 * irises + [40, 50])
    found = metric_irises(points)
    assert found is not None and found[1] == pytest.approx(700, rel=1e-4)
    np.testing.assert_allclose(found[0], irises, atol=1e-5)
    assert eye_width(mesh) == pytest.approx(0.0275, abs=0.002)
    assert metric_irises(replace(points, irises_px=None)) is None
    assert metric_irises(replace(points, irises_px=np.full((10, 2), np.nan, np.float32))) is None


def test_what_is_hardly_seen_looks_ahead() -> None:
    settings = FitSettings()
    sure = SeenGaze(np.array([0.3, -0.2], np.float32), np.array([0.02, 0.02], np.float32))
    found = drawn_ahead(sure, settings, 1.0)
    assert found is not None
    np.testing.assert_allclose(found.angles, sure.angles, atol=0.02)
    unsure = drawn_ahead(replace(sure, sigma=np.array([5.0, 5.0], np.float32)), settings, 1.0)
    assert unsure is not None and np.abs(unsure.angles).max() < 0.01
    assert drawn_ahead(sure, replace(settings, gaze_reader=0.0), 1.0) is None
    vector, sigma = eyes_at_rest(found, settings)
    np.testing.assert_allclose(gaze_of_vectors(vector), found.angles, atol=1e-5)
    assert (sigma[:2] < 0.05).all()
    vector, sigma = eyes_at_rest(None, settings)
    assert not vector.any() and (sigma > 0.05).all()


def test_observations_without_irises_are_as_before() -> None:
    seen = Observation((10, 10), np.array([0, 0, 9, 9], np.float32), 1.0)
    assert seen.face_picture is None
