"""From a photo to captures: read, detect, fit. The worker and the command line both run this.

Nothing heavy is imported until the first photo; models and bodies stay loaded for the next one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .capture import Capture, CaptureError
from .fitting.quality import QUALITIES
from .media.frame import focal_px_of_film

if TYPE_CHECKING:
    from .body.model import BodyModel
    from .detection.detector import Detector
    from .detection.observation import Observation
    from .fitting.photo import Fitter, PhotoCamera
    from .fitting.settings import FitSettings
    from .media.frame import Frame

# What may be asked for; auto fits the bodies of all three and keeps the one that fits best.
GENDERS = ("neutral", "male", "female", "auto")
# What heights are taken for a person's.
LEAST_HEIGHT_CM, MOST_HEIGHT_CM = 40.0, 260.0


# Point sets as people call them, for summaries.
PART_NAMES = {
    "pose33": "body",
    "body25": "body",
    "coco17": "body",
    "feet6": "feet",
    "face468": "face",
    "face68": "face",
    "left_hand": "left hand",
    "right_hand": "right hand",
}


class PipelineError(Exception):
    """A photo that can't be fitted; the message is one sentence with a next step."""


class PipelineCancelled(Exception):
    """The caller asked for an end."""


@dataclass(frozen=True)
class PipelineSettings:
    """What to fit and with what."""

    body: str | None = None  # None: the free body
    points: str | None = None  # OpenPose or COCO-WholeBody JSON
    points_error_px: float | None = None  # how far those may be off, one σ; None: as a detector's
    people: int = 1  # the main person first; 0 = all
    focal_px: float | None = None
    focal_mm: float | None = None  # equivalent on 35 mm film
    device: str = "cpu"
    threads: int = 1
    cache_dir: str | None = None
    models_dir: str | None = None
    height_cm: float | None = None  # of the main person, standing: it fixes the scale
    gender: str = "neutral"  # of a licensed body: one of GENDERS
    quality: str = "normal"  # of photos: one of QUALITIES
    upright: str = ""  # gets an upright copy of a photo that Blender would show turned or not at all


@dataclass(frozen=True)
class Reporter:
    """How the pipeline speaks to its caller while it works."""

    stage: Callable[[str, str], None] = lambda name, text: None
    progress: Callable[[float], None] = lambda fraction: None
    warning: Callable[[str], None] = lambda text: None
    cancelled: Callable[[], bool] = lambda: False


@dataclass
class PhotoResult:
    """Captures, the main person first, and how long each stage took (seconds)."""

    captures: list[Capture]
    timings_s: dict[str, float] = field(default_factory=dict)


class Pipeline:
    """Keeps what is slow to load. One at a time; not for several threads."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str | None, str], BodyModel] = {}
        self._detectors: dict[tuple[str | None, str | None, bool], Detector] = {}
        self._fitters: dict[tuple[str, str, str], Fitter] = {}

    def fit_photo(
        self, photo: str | os.PathLike[str], settings: PipelineSettings, reporter: Reporter | None = None
    ) -> PhotoResult:
        """Fit the people in a photo. Raises PipelineError, PipelineCancelled."""
        reporter = reporter or Reporter()
        check_settings(settings)
        timings: dict[str, float] = {}
        limit_threads(settings.threads)

        @contextmanager
        def stage(name: str, text: str, fraction: float) -> Iterator[None]:
            _stop_if_cancelled(reporter)
            reporter.stage(name, text)
            reporter.progress(fraction)
            start = time.perf_counter()
            yield
            timings[name] = time.perf_counter() - start
            _stop_if_cancelled(reporter)

        with plain_errors():
            with stage("read", "Reading the photo", 0.0):
                from .media.photo import needs_copy, read_photo, save_upright

                frame = read_photo(photo)
                if settings.upright and needs_copy(frame):
                    save_upright(frame, settings.upright)
            with stage("load", "Loading the solver", 0.05):
                detector, fitters = self._load(settings)
            with stage("detect", "Looking for people", 0.4):
                observations = _observations(frame, detector, settings, reporter)
            with stage("fit", "Fitting the body", 0.6):
                captures = []
                camera = _camera(frame, settings)
                for index, observation in enumerate(observations):
                    _stop_if_cancelled(reporter)
                    reporter.progress(0.6 + 0.4 * index / len(observations))
                    height_m = settings.height_cm / 100 if settings.height_cm and index == 0 else None
                    capture = _fit(fitters, observation, camera, index, reporter, height_m)
                    # The whole path: whoever opens the capture may be in another folder.
                    source = os.path.abspath(frame.source)
                    captures.append(replace(capture, source=source, source_exif_orientation=frame.exif_orientation))
                    camera = camera.for_others(capture)
                for text in _warnings(captures):
                    reporter.warning(text)
        reporter.progress(1.0)
        return PhotoResult(captures, timings)

    def prepare(self, settings: PipelineSettings) -> None:
        """Load what photos with these settings need. Raises what `fit_photo` raises."""
        limit_threads(settings.threads)
        with plain_errors():
            from .media import photo  # noqa: F401

            self._load(settings)

    def _load(self, settings: PipelineSettings) -> tuple[Detector | None, list[Fitter]]:
        bodies = self._bodies_for(settings)
        detector = None if settings.points else self.detector(settings)
        return detector, [self._fitter(body, settings.device, settings.quality) for body in bodies]

    def close(self) -> None:
        """Let go of the detectors' native resources."""
        for detector in self._detectors.values():
            detector.close()
        self._detectors.clear()

    def _bodies_for(self, settings: PipelineSettings) -> list[BodyModel]:
        """The body that is asked for, or all that `auto` compares. Raises PipelineError, BodyError."""
        from .body.load import genders_in

        if settings.body in (None, "", "free"):
            if settings.gender not in ("neutral", "auto"):
                raise PipelineError(
                    f"The free body has no {settings.gender} version: its shape goes from one sex to the other. "
                    "Choose neutral, or name a folder with licensed bodies."
                )
            return [self.body(None, "neutral")]
        if settings.gender != "auto":
            body = self.body(settings.body, settings.gender)
            if settings.gender not in ("neutral", body.gender):
                raise PipelineError(
                    f"{settings.body} is a {body.gender} body, not a {settings.gender} one. "
                    "Name the folder that holds the SMPL-X files."
                )
            return [body]
        return [self.body(settings.body, gender) for gender in genders_in(settings.body)]

    def body(self, spec: str | None, gender: str) -> BodyModel:
        """A body, read once. Raises BodyError."""
        from .body.load import load_body

        if (spec, gender) not in self._bodies:
            self._bodies[spec, gender] = load_body(spec, gender)
        return self._bodies[spec, gender]

    def detector(self, settings: PipelineSettings, masks: bool = True) -> Detector:
        """The detector, loaded once. `masks`: whether it also outlines people. Raises ModelError, DetectionError."""
        from .detection.detector import DetectionSettings, Detector
        from .detection.models import find_models

        key = (settings.models_dir, settings.cache_dir, masks)
        if key not in self._detectors:
            # Made here they are not: that may fetch a file, which the user has to ask for.
            paths = find_models(settings.models_dir, settings.cache_dir)
            self._detectors[key] = Detector(paths, DetectionSettings(masks=masks))
        return self._detectors[key]

    def _fitter(self, body: BodyModel, device: str, quality: str) -> Fitter:
        from .fitting.quality import settings_of

        return self._kept_fitter(body, device, quality, lambda: settings_of(quality))

    def clip_fitter(self, body: BodyModel, device: str) -> Fitter:
        """What fits the frames of clips."""
        from .fitting.quality import clip_settings

        return self._kept_fitter(body, device, "clip", clip_settings)

    def _kept_fitter(self, body: BodyModel, device: str, purpose: str, settings: Callable[[], FitSettings]) -> Fitter:
        from .fitting.photo import Fitter

        key = (body.body_id, device, purpose)
        if key not in self._fitters or self._fitters[key].body is not body:
            self._fitters[key] = Fitter(body, settings(), device=usable_device(device))
        return self._fitters[key]


def save_captures(captures: list[Capture], out_dir: str | os.PathLike[str], stem: str) -> list[Path]:
    """Write STEM.npz, STEM.2.npz, … Raises PipelineError; then no file of this photo is left."""
    paths: list[Path] = []
    try:
        for index, capture in enumerate(captures):
            path = Path(out_dir) / (f"{stem}.npz" if index == 0 else f"{stem}.{index + 1}.npz")
            capture.save(path)
            paths.append(path)
    except CaptureError as error:
        for path in paths:
            path.unlink(missing_ok=True)
        raise PipelineError(str(error)) from error
    return paths


def limit_threads(threads: int) -> None:
    """Let every library use at most this many threads. Best called before they are imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)


def summary_line(capture: Capture) -> str:
    """What a person at a terminal wants to know of a fit, in one line."""
    width, height = capture.image_size
    parts = [
        f"{width}×{height} px",
        f"{capture.joints[0, 0, 2]:.2f} m from the camera",
        f"focal length {capture.focal_px:.0f} px ({capture.focal_source})",
    ]
    residuals = capture.diagnostics.get("residual_px")
    if isinstance(residuals, dict):
        named = (f"{PART_NAMES.get(part, part)} {value:.1f} px" for part, value in residuals.items())
        parts.append("mean error " + ", ".join(named))
    if capture.confidence.size:
        parts.append(f"confidence {float(capture.confidence[0]):.2f}")
    return "; ".join(parts)


def _fit(
    fitters: list[Fitter],
    observation: Observation,
    camera: PhotoCamera,
    index: int,
    reporter: Reporter,
    height_m: float | None,
) -> Capture:
    """One person with the one body, or with the best of several."""
    captures = []
    for fitter in fitters:
        _stop_if_cancelled(reporter)
        captures.append(fitter.fit(observation, camera, index, reporter.cancelled, height_m=height_m))
    if len(captures) == 1:
        return captures[0]
    from .fitting.gender import best_gender

    return best_gender(captures, fitters[0].settings.gender_margin)


def _warnings(captures: list[Capture]) -> list[str]:
    """What the fits warn of, each once."""
    told: dict[str, None] = {}
    for capture in captures:
        warnings = capture.diagnostics.get("warnings")
        told.update(dict.fromkeys(map(str, warnings)) if isinstance(warnings, list) else {})
    return list(told)


def check_settings(settings: PipelineSettings) -> None:
    """Raises PipelineError for a focal length that is impossible, or given twice."""
    if settings.focal_px is not None and settings.focal_mm is not None:
        raise PipelineError("Give the focal length in px or in mm, not both.")
    for value in (settings.focal_px, settings.focal_mm):
        if value is not None and not 0.0 < value < 1e6:
            raise PipelineError(f"A focal length of {value:g} is impossible. Give one above 0.")
    error_px = settings.points_error_px
    if error_px is not None and not (settings.points and 0.0 <= error_px < 1e6):
        raise PipelineError(
            "How far points may be off is a number of pixels, from 0 on, and goes with a file of points."
        )
    height = settings.height_cm
    if height is not None and not LEAST_HEIGHT_CM <= height <= MOST_HEIGHT_CM:
        raise PipelineError(
            f"A height of {height:g} cm is no person's. Give one from {LEAST_HEIGHT_CM:g} to {MOST_HEIGHT_CM:g} cm."
        )
    if settings.gender not in GENDERS:
        raise PipelineError(f"{settings.gender} is no gender of a body. Choose one of {', '.join(GENDERS)}.")
    if settings.quality not in QUALITIES:
        raise PipelineError(f"{settings.quality} is no quality of a fit. Choose one of {', '.join(QUALITIES)}.")
    if settings.people < 0:
        raise PipelineError("The number of people can't be negative. Give 1 or more, or all.")
    if settings.threads < 1:
        raise PipelineError("The number of threads must be 1 or more.")


def _stop_if_cancelled(reporter: Reporter) -> None:
    if reporter.cancelled():
        raise PipelineCancelled


def _observations(
    frame: Frame, detector: Detector | None, settings: PipelineSettings, reporter: Reporter
) -> list[Observation]:
    if detector is None:
        from .detection.points_json import read_points

        assert settings.points is not None
        found = read_points(settings.points, frame.size, frame.source, settings.points_error_px)
        where = Path(settings.points).name
    else:
        found = detector.detect(frame, settings.people or None)
        where = Path(frame.source).name
    if not found:
        raise PipelineError(f"No person was found in {where}. Choose a photo that shows a person larger or clearer.")
    wanted = settings.people or len(found)
    if wanted > len(found):
        reporter.warning(f"Only {len(found)} of {wanted} people were found in {where}")
    return found[:wanted]


def _camera(frame: Frame, settings: PipelineSettings) -> PhotoCamera:
    """What is known of the camera: from the user first, then from the file."""
    from .fitting.photo import PhotoCamera

    if settings.focal_px is not None:
        return PhotoCamera(settings.focal_px, "given")
    if settings.focal_mm is not None:
        return PhotoCamera(focal_px_of_film(settings.focal_mm, frame.size), "given")
    if frame.focal_px is not None:
        return PhotoCamera(frame.focal_px, "exif")
    return PhotoCamera()


def usable_device(name: str) -> str:
    """A device by its `name`, if torch can compute there. Raises PipelineError."""
    import torch

    try:
        torch.zeros(1, device=name).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PipelineError(f"The device {name} can't be used on this machine. Use cpu.") from error
    return name


@contextmanager
def plain_errors() -> Iterator[None]:
    """The modules' own errors, and those of the machine, as one sentence for the user."""
    try:
        yield
    except (PipelineError, PipelineCancelled):
        raise
    except MemoryError as error:
        raise PipelineError(
            "There is not enough memory for this photo. Close other programs, or make it smaller."
        ) from error
    except ModuleNotFoundError as error:
        raise PipelineError(
            f"The solver's Python lacks the package {error.name}. Install Pantomime there with pip, "
            "or choose another Python in the preferences."
        ) from error
    except Exception as error:
        if _is_for_users(error):
            raise PipelineError(str(error)) from error
        raise


def _is_for_users(error: Exception) -> bool:
    """Whether the error is one of this package's own, whose text is a sentence with a next step."""
    package = __name__.rpartition(".")[0]
    return type(error).__module__.startswith(package + ".")
