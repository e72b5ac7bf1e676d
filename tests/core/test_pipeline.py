"""From a photo to captures: what is told to the fits of several people, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pantomime.core import pipeline
from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.core.fitting.photo import PhotoCamera
from pantomime.core.pipeline import Pipeline, PipelineCancelled, PipelineError, PipelineSettings, Reporter
from pantomime.tests.core.bench_person import somebody


class Fits:
    """Stands in for the fit: keeps what it is told; each person comes out with another focal length."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.cameras: list[PhotoCamera] = []
        self.heights: list[float | None] = []

    def __call__(
        self, fitters: object, observation: object, camera: PhotoCamera, index: int, reporter: Reporter, height: object
    ) -> Capture:
        assert height is None or isinstance(height, float)
        self.cameras.append(camera)
        self.heights.append(height)
        focal_px, source = (
            camera.focal_px or 700.0 + 100.0 * index,
            camera.focal_source if camera.focal_px else "fitted",
        )
        warnings = {"warnings": ["No prior.", f"Person {index}."]}
        return replace(self.capture, focal_px=focal_px, focal_source=source, person_id=index, diagnostics=warnings)


@pytest.fixture
def fits(body: BodyModel, monkeypatch: pytest.MonkeyPatch) -> Fits:
    """Three people are seen in every photo."""
    made = Fits(somebody(body)[0])
    monkeypatch.setattr(pipeline, "_fit", made)
    monkeypatch.setattr(pipeline, "_observations", lambda *_: [None] * 3)
    monkeypatch.setattr(Pipeline, "_load", lambda *_: (None, []))
    return made


def test_people_of_one_photo_share_its_camera(fits: Fits, portrait: Path) -> None:
    captures = Pipeline().fit_photo(portrait, PipelineSettings(people=0)).captures
    assert [camera.focal_px for camera in fits.cameras] == [None, 700.0, 700.0]
    assert {(capture.focal_px, capture.focal_source) for capture in captures} == {(700.0, "fitted")}


def test_a_focal_length_that_is_given_is_everybody_s_and_a_height_the_main_person_s(fits: Fits, portrait: Path) -> None:
    captures = Pipeline().fit_photo(portrait, PipelineSettings(people=0, focal_px=900.0, height_cm=170.0)).captures
    assert {(camera.focal_px, camera.focal_source) for camera in fits.cameras} == {(900.0, "given")}
    assert fits.heights == [1.7, None, None]
    assert {Path(capture.source) for capture in captures} == {portrait}


def test_each_warning_is_told_once(fits: Fits, portrait: Path) -> None:
    told: list[str] = []
    Pipeline().fit_photo(portrait, PipelineSettings(people=0), Reporter(warning=told.append))
    assert told == ["No prior.", "Person 0.", "Person 1.", "Person 2."]


def test_a_cancel_ends_it_before_the_next_person(fits: Fits, portrait: Path) -> None:
    with pytest.raises(PipelineCancelled):
        Pipeline().fit_photo(portrait, PipelineSettings(people=0), Reporter(cancelled=lambda: len(fits.cameras) == 2))
    assert len(fits.cameras) == 2


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (PipelineSettings(focal_px=500.0, focal_mm=35.0), "not both"),
        (PipelineSettings(focal_px=0.0), "impossible"),
        (PipelineSettings(focal_mm=float("nan")), "impossible"),
        (PipelineSettings(height_cm=30.0), "no person's"),
        (PipelineSettings(height_cm=float("nan")), "no person's"),
        (PipelineSettings(gender="other"), "no gender"),
        (PipelineSettings(quality="perfect"), "no quality"),
        (PipelineSettings(people=-1), "negative"),
        (PipelineSettings(threads=0), "threads"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: PipelineSettings, word: str) -> None:
    with pytest.raises(PipelineError, match=word):
        Pipeline().fit_photo("nowhere.jpg", settings)


def test_the_free_body_has_no_gender(portrait: Path) -> None:
    with pytest.raises(PipelineError, match="free body has no female version"):
        Pipeline().fit_photo(portrait, PipelineSettings(gender="female"))
