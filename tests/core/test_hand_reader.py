"""Bending the detector's metric points of hands: what stays, mirrored and rolled hands, damaged files, clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.hand_views import HandViews, draw_fingers
from pantomime.core.body.model import BodyModel
from pantomime.core.body.train_hand_reader import true_directions
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.video_evidence import Seen, bend_seen, pack
from pantomime.core.priors import hand_reader
from pantomime.core.priors.errors import PriorError
from pantomime.core.priors.hand_reader import (
    BONES,
    HAND_READER_FILE,
    HandReader,
    bend_fingers,
    bone_directions,
    in_palm,
    palm_axes,
)


@pytest.fixture(scope="module")
def reader() -> HandReader:
    return HandReader()


@pytest.fixture(scope="module")
def hand(body: BodyModel) -> np.ndarray:
    """A right hand's points (21, 3), flat, its fingers up and its back towards the camera."""
    points = body.virtual_points(body.points["right_hand"]).template.astype(np.float64)
    points = (points - points[0]) @ palm_axes(points[None])[0]
    turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    return points @ turn.T


def seen_from(points: np.ndarray, pixels: float = 400.0) -> np.ndarray:
    return (points[..., :2] * pixels + 200.0).astype(np.float32)


def test_wrist_knuckles_and_lengths_stay(reader: HandReader, hand: np.ndarray) -> None:
    world = np.stack([hand, hand @ np.diag([1.0, -1.0, -1.0])]).astype(np.float32)
    bent = reader.bend(seen_from(world), world, np.array([True, True]))
    fixed = [0, 1, 5, 9, 13, 17]
    assert np.abs(bent[:, fixed] - world[:, fixed]).max() < 1e-6
    for start, end in BONES:
        before, after = (np.linalg.norm(v[:, end] - v[:, start], axis=1) for v in (world, bent))
        assert np.abs(before - after).max() < 1e-6


def test_a_mirrored_hand_is_bent_the_mirrored_way(reader: HandReader, hand: np.ndarray) -> None:
    mirror = np.array([-1.0, 1.0, 1.0], np.float32)
    right, left = hand.astype(np.float32), (hand * mirror).astype(np.float32)
    image = seen_from(right)
    mirrored = image.copy()
    mirrored[:, 0] = 640 - image[:, 0]
    as_right = reader.bend(image[None], right[None], np.array([True]))[0]
    as_left = reader.bend(mirrored[None], left[None], np.array([False]))[0]
    assert np.abs(as_right * mirror - as_left).max() < 1e-5


def test_how_the_camera_rolls_does_not_matter(reader: HandReader, hand: np.ndarray) -> None:
    c, s = np.cos(0.7), np.sin(0.7)
    roll = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    rolled = (hand @ roll.T).astype(np.float32)
    upright = reader.bend(seen_from(hand[None]), hand[None].astype(np.float32), np.array([True]))[0]
    turned = reader.bend(seen_from(rolled[None]), rolled[None], np.array([True]))[0]
    angles = (bone_directions((upright @ roll.T)[None]) * bone_directions(turned[None])).sum(axis=2)
    assert np.degrees(np.arccos(np.clip(angles, -1, 1))).max() < 0.1


def test_hands_that_make_no_sense_stay_as_they_are(reader: HandReader, hand: np.ndarray) -> None:
    world = np.stack([hand, hand, np.zeros((21, 3))]).astype(np.float32)
    world[0, 7] = np.nan
    image = np.stack([seen_from(hand)] * 3)
    image[1, 3] = np.nan
    bent = reader.bend(image, world, np.array([True, False, True]))
    assert np.array_equal(bent, world, equal_nan=True)
    assert len(reader.bend(image[:0], world[:0], np.zeros(0, np.bool_))) == 0


def test_photos_and_clips_are_bent_alike(reader: HandReader, hand: np.ndarray) -> None:
    points = Points(seen_from(hand), np.full(21, 0.9, np.float32), hand.astype(np.float32))
    observation = Observation((640, 480), np.array([0, 0, 640, 480], np.float32), 0.9, {"left_hand": points})
    (bent,) = bend_fingers(observation, reader).points.values()
    assert bent.world_m is not None and np.abs(bent.world_m - hand).max() > 1e-3
    frame = pack(observation)
    one = np.zeros(1)
    seen = Seen(one.astype(np.int64), one, one.astype(np.int64), **{key: value[None] for key, value in frame.items()})
    again = bend_seen(seen, reader).observation(0, (640, 480)).points["left_hand"]
    assert again.world_m is not None and np.abs(again.world_m - bent.world_m).max() < 1e-6
    assert bend_fingers(observation, None).points["left_hand"] is points
    assert bend_seen(seen, None) is seen


def test_truth_for_training_is_the_same_on_both_sides(body: BodyModel) -> None:
    vectors = body.hands_mean.astype(np.float64).reshape(2, 15, 3)
    rng = np.random.default_rng(3)
    axes = {
        name: v[1] / np.linalg.norm(v[1])
        for name, v in zip(("index", "middle", "pinky", "ring", "thumb"), vectors[0].reshape(5, 3, 3), strict=True)
    }
    left = draw_fingers(rng, axes, 1.0)
    right = left * np.array([1.0, -1.0, -1.0])  # mirrored in x
    empty = np.zeros((2, 21, 2), np.float32)
    views = HandViews(
        empty, np.zeros((2, 21, 3), np.float32), empty[:, 0, 0], np.stack([left, right]).astype(np.float32),
        np.array([False, True]), empty[:, :16],
    )  # fmt: skip
    told = true_directions(body, views)
    assert np.degrees(np.arccos(np.clip((told[0] * told[1]).sum(axis=1), -1, 1))).max() < 3.0
    rest = body.virtual_points(body.points["left_hand"]).template.astype(np.float64)[None]
    flat = bone_directions(in_palm(rest, np.array([False]), palm_axes(rest)))
    assert np.degrees(np.arccos(np.clip((told[0] * flat[0]).sum(axis=1), -1, 1))).max() > 20.0


def test_a_missing_or_damaged_file_is_said_and_the_fit_goes_on(
    body: BodyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PriorError, match="is missing"):
        HandReader(tmp_path / "none.safetensors")
    damaged = bytearray(HAND_READER_FILE.read_bytes())
    damaged[-100] ^= 0xFF
    path = tmp_path / "hand_reader.safetensors"
    path.write_bytes(bytes(damaged))
    with pytest.raises(PriorError, match="is damaged"):
        HandReader(path)
    monkeypatch.setattr(hand_reader, "HAND_READER_FILE", path)
    fitter = Fitter(body)
    assert fitter.hand_reader is None
    assert any("reader of hands" in warning for warning in fitter.warnings)
    assert Fitter(body, replace(FitSettings(), hand_reader=False)).hand_reader is None
