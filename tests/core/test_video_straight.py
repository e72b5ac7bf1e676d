"""Straight legs of many frames at once: what photos get, without trembling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pantomime.core.body.load import load_body
from pantomime.core.fitting.straight import StraightSettings, straighten_hints, straighten_prediction, straightening
from pantomime.core.fitting.video_evidence import Seen
from pantomime.core.fitting.video_straight import (
    MOMENT_S,
    straight_shares,
    straighten_predictions,
    straighten_seen,
    straightenings,
)
from pantomime.core.priors.regressor import DIRECTIONS, Prediction
from pantomime.core.rotation import exp_so3

from .walking import SIZE, see, walk

SETTINGS = StraightSettings()


@pytest.fixture(scope="module")
def seen() -> Seen:
    body = load_body()
    return see(body, walk(body, 12))


def test_many_are_straightened_as_one_is() -> None:
    rng = np.random.default_rng(0)
    thigh = rng.normal(size=(40, 3))
    shin = thigh + 0.4 * rng.normal(size=(40, 3))
    shin[0], thigh[1] = thigh[0], 0.0
    share = rng.uniform(0, 1, 40)
    share[2] = 0.0
    many = straightenings(thigh, shin, share, SETTINGS)
    for row in range(40):
        one = straightening(thigh[row], shin[row], float(share[row]), SETTINGS) or (np.eye(3), np.eye(3))
        for turn, expected in zip(many, one, strict=True):
            np.testing.assert_allclose(turn[row], expected, atol=1e-12)


def test_hints_and_predictions_of_many_frames_are_those_of_photos(seen: Seen) -> None:
    share = np.linspace(0, 1, len(seen)).astype(np.float32)
    straight = straighten_seen(replace(seen, straight=share), SETTINGS)
    torch.manual_seed(0)
    turns = exp_so3(0.3 * torch.randn(len(seen), 55, 3))
    directions = torch.nn.functional.normalize(torch.randn(len(seen), len(DIRECTIONS), 3), dim=-1)
    ones = torch.ones(len(seen), len(DIRECTIONS))
    prediction = Prediction(turns.clone(), torch.ones(len(seen), 22), ones, ones, directions.clone(), ones)
    straighten_predictions(prediction, share, SETTINGS)
    for row in range(len(seen)):
        both = dict.fromkeys(("left", "right"), float(share[row]))
        hints = straighten_hints(seen.observation(row, SIZE), both, SETTINGS).points["pose33"].world_m
        np.testing.assert_allclose(straight.world_m[row, :33], hints, atol=1e-5)
        one = Prediction(turns[row : row + 1], ones[row], ones[row], ones[row], directions[row], ones[row])
        expected = straighten_prediction(one, both, SETTINGS)
        torch.testing.assert_close(prediction.rotmats[row], expected.rotmats[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(prediction.directions[row], expected.directions, atol=1e-5, rtol=0)


def test_a_share_is_a_mean_over_a_moment(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([1.0] * 6 + [0.0] * 6)
    monkeypatch.setattr(
        "pantomime.core.fitting.video_straight.straight_share", lambda *_: dict.fromkeys(("left", "right"), next(told))
    )
    shares = straight_shares(seen, SETTINGS)
    reach = round(MOMENT_S * 30)
    assert shares[0] == pytest.approx(6 / (reach + 1)) and (np.diff(shares[reach - 1 :]) <= 1e-6).all()
    assert np.abs(np.diff(shares)).max() < 0.2
