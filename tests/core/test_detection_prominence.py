"""Whom a picture is of comes first."""

from __future__ import annotations

import cv2
import numpy as np

from pantomime.core.detection.candidates import box_of
from pantomime.core.detection.prominence import by_prominence

from .test_detection_people import figure

SIZE = (1000, 640)


def picture() -> np.ndarray:
    """Fine detail everywhere."""
    return np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)


def test_of_whole_people_the_largest_comes_first() -> None:
    people = [figure((300.0, 330.0), 300.0), figure((520.0, 330.0), 480.0), figure((800.0, 330.0), 120.0)]
    found = by_prominence(people, picture())
    assert all(item is people[i] for item, i in zip(found, (1, 0, 2), strict=True))


def test_somebody_cut_off_at_the_edge_yields_to_somebody_whole_in_the_middle() -> None:
    passing, meant = figure((960.0, 560.0), 700.0), figure((480.0, 320.0), 500.0)
    assert by_prominence([passing, meant], picture())[0] is meant


def test_somebody_blurred_before_the_lens_yields_to_somebody_sharp() -> None:
    near, meant = figure((250.0, 330.0), 560.0), figure((650.0, 330.0), 500.0)
    rgb = picture()
    x0, y0, x1, y1 = (int(value) for value in box_of(near, SIZE))
    rgb[y0:y1, x0:x1] = cv2.GaussianBlur(rgb[y0:y1, x0:x1], (0, 0), 12)
    assert by_prominence([near, meant], rgb)[0] is meant


def test_of_equals_the_first_stays_first() -> None:
    people = [figure((300.0, 320.0), 300.0), figure((700.0, 320.0), 300.0)]
    flat = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    assert by_prominence(people, flat)[0] is people[0]
    assert by_prominence([], flat) == []
