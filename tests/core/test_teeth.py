"""Teeth that meet between parted lips: seen where all is bright between them, and then the jaw is shut."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pantomime.core.body.load import load_body
from pantomime.core.detection.face_picture import face_picture, picture_places, to_photo
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.evidence import FaceReaders, seen_face
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.priors.expressions import ExpressionReader, SeenExpression
from pantomime.core.priors.teeth import TeethSeen, teeth_seen, with_teeth

INNER = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
SKIN = 150


@pytest.fixture(scope="module")
def reader() -> ExpressionReader:
    return ExpressionReader()


def face_with(reader: ExpressionReader, gap_mm: float, upper: int, lower: int) -> Observation:
    """The mean face, its lips apart by so much, and between them two bands of these brightnesses."""
    mesh = reader.canonical.astype(np.float32).copy()
    mesh[INNER[1:10], 1] -= gap_mm / 2000.0
    mesh[INNER[11:], 1] += gap_mm / 2000.0
    image = (200.0 + 1200.0 * mesh[:, :2]).astype(np.float32)
    face = Points(image, np.ones(468, np.float32), mesh)
    rgb = np.full((400, 400, 3), SKIN, np.uint8)
    mouth = np.round(image[INNER]).astype(np.int32)
    cv2.fillPoly(rgb, [mouth], (lower,) * 3)
    middle = float(image[[13, 14], 1].mean())
    half = np.round(np.array([(x, min(y, middle)) for x, y in image[INNER]])).astype(np.int32)
    cv2.fillPoly(rgb, [half], (upper,) * 3)
    box = np.array([0, 0, 400, 400], np.float32)
    return Observation((400, 400), box, 1.0, {"face468": face}, face_picture=face_picture(rgb, face))


def test_places_in_the_picture_are_those_of_the_photo(reader: ExpressionReader) -> None:
    face = face_with(reader, 0.0, SKIN, SKIN).points["face468"]
    scale, offset = to_photo(face)
    rgb = np.zeros((400, 400, 3), np.uint8)
    point = face.image_px[4]
    cv2.circle(rgb, tuple(np.round(point).astype(int).tolist()), 6, (255,) * 3, -1)
    picture, places = face_picture(rgb, face), picture_places(face)
    assert picture is not None and places is not None and scale > 0 and np.isfinite(offset).all()
    y, x = np.nonzero(picture > 128)
    assert np.hypot(x.mean() - places[4, 0], y.mean() - places[4, 1]) < 1.0
    assert picture_places(replace(face, world_m=None)) is None


def test_teeth_from_lip_to_lip_are_seen_and_an_open_mouth_is_not(reader: ExpressionReader) -> None:
    teeth = teeth_seen(face_with(reader, 10.0, 165, 165))
    assert teeth.share == 1.0
    assert teeth.gap_mm == pytest.approx(10.0, abs=2.0)
    assert teeth_seen(face_with(reader, 10.0, 165, 30)).share == 0.0  # upper teeth, and the dark below them
    assert teeth_seen(face_with(reader, 10.0, 105, 105)).share == 0.0  # a tongue
    assert teeth_seen(face_with(reader, 1.0, 165, 165)).share == 0.0
    shut = face_with(reader, 10.0, 165, 165)
    assert teeth_seen(replace(shut, face_picture=None)) == TeethSeen(0.0, 0.0)


def test_a_jaw_is_shut_and_lips_part_where_teeth_meet() -> None:
    names = ("jawOpen", "mouthSmileLeft", "mouthUpperUpLeft", "mouthLowerDownRight")
    seen = SeenExpression(names, np.array([0.4, 0.9, 0.1, 0.95], "f4"), np.array([0.1, 0.1, 0.2, 0.2], "f4"))
    changed = with_teeth(seen, TeethSeen(1.0, 5.1))
    assert changed.values == pytest.approx([0.0, 0.9, 0.6, 0.95])
    assert changed.sigma[0] < seen.sigma[0] and changed.sigma[1:] == pytest.approx(seen.sigma[1:])
    assert with_teeth(seen, TeethSeen(0.5, 5.1)).values == pytest.approx([0.2, 0.9, 0.3, 0.95])
    assert with_teeth(seen, TeethSeen(0.0, 20.0)) is seen


def test_the_fit_is_told(reader: ExpressionReader) -> None:
    body = load_body()
    opened = {}
    for name, lower in (("teeth", 165), ("open", 20)):
        seen, _ = seen_face(body, face_with(reader, 12.0, 165, lower), FitSettings(), FaceReaders(reader))
        assert seen is not None
        opened[name] = float(seen.values[seen.names.index("jawOpen")])
    assert opened["teeth"] == 0.0 < 0.15 < opened["open"]
