"""The face laid upright: where its places come to lie, whatever the head does."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from pantomime.core.detection.face_picture import (
    PICTURE_MM,
    PICTURE_PX,
    STEADY,
    STEADY_MM,
    face_picture,
    face_places,
    lay,
)
from pantomime.core.detection.observation import Points
from pantomime.core.rotation import exp_so3


def seen(head: tuple[float, ...], px_per_m: float = 1500.0) -> tuple[np.ndarray, Points]:
    """A dark photo with bright dots at three places of the mean face's surface, and the face's points."""
    turn = exp_so3(torch.tensor(head, dtype=torch.float64)).numpy()
    mesh = np.random.default_rng(0).normal(0, 0.03, (468, 3))
    mesh[list(STEADY)] = STEADY_MM / 1000 @ turn.T
    image = px_per_m * mesh[:, :2] + [320, 240]
    photo = np.zeros((480, 640, 3), np.uint8)
    places = face_places()
    for row, column in DOTS:
        x, y = px_per_m * (places[row, column] / 1000 @ turn.T)[:2] + [320, 240]
        cv2.circle(photo, (round(float(x)), round(float(y))), 5, (255, 255, 255), -1)
    return photo, Points(image.astype(np.float32), np.ones(468, np.float32), mesh.astype(np.float32))


DOTS = ((30, 40), (36, 70), (85, 56))


@pytest.mark.parametrize("head", [(0.0, 0.0, 0.0), (0.0, 0.0, 0.6), (0.2, 0.3, 0.0), (-0.2, -0.3, -0.3)])
def test_places_lie_the_same_whatever_the_head_does(head: tuple[float, ...]) -> None:
    found = face_picture(*seen(head))
    assert found is not None and found.shape == (PICTURE_PX, PICTURE_PX) and found.dtype == np.uint8
    _, _, stats, middles = cv2.connectedComponentsWithStats((found > 100).astype(np.uint8))
    assert len(middles) - 1 == len(DOTS)
    for row, column in DOTS:
        assert np.linalg.norm(middles[1:] - [column, row], axis=1).min() < 1.5
    assert stats[1:, cv2.CC_STAT_AREA].max() < 60


def test_a_similarity_lays_points_on_their_goal() -> None:
    turn = exp_so3(torch.tensor([0.3, -0.5, 0.2])).numpy()
    own = (STEADY_MM @ turn.T * 0.002 + [1.0, 2.0, 3.0]).astype(np.float32)
    scale, turns, middle = lay(own[None], STEADY_MM)
    np.testing.assert_allclose(scale[0] * (own - middle[0]) @ turns[0] + STEADY_MM.mean(0), STEADY_MM, atol=1e-2)
    assert np.ptp(STEADY_MM[:, 0]) < PICTURE_MM


def test_a_broken_mesh_has_no_picture() -> None:
    photo, points = seen((0.0, 0.0, 0.0))
    assert face_picture(photo, replace(points, world_m=None)) is None
    assert face_picture(photo, replace(points, world_m=np.full((468, 3), np.nan, np.float32))) is None
    assert face_picture(photo, replace(points, world_m=np.zeros((468, 3), np.float32))) is None
