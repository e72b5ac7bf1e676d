"""What the parts of the accuracy bench hand to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..body.bench_labels import PersonLabel
from ..capture import Capture
from ..detection.observation import Observation


class BenchError(Exception):
    """The bench can't run; the message says what to do next."""


@dataclass(frozen=True)
class Sample:
    """One rendered picture with its label and what the detector saw of the labelled person (None: missed)."""

    photo: Path
    label: PersonLabel
    detected: Observation | None


@dataclass(frozen=True)
class Result:
    """One fit. `scores` is empty and `capture` None where nothing could be fitted."""

    sample: Sample
    scores: dict[str, float]
    capture: Capture | None
    seconds: float  # of the processor


@dataclass(frozen=True)
class Variant:
    """One row of the table: which points the fit gets, what is taken away, which settings differ."""

    name: str
    points: str = "detected"  # one of POINTS
    without: tuple[str, ...] = ()  # of PARTS
    settings: tuple[tuple[str, Any], ...] = ()
    known_focal: bool = False
    priors: str = "default"  # of the pose: one of PRIORS


# "+hints": the detector's 3D hints beside the true 2D points. "occluded": hidden points are not given; "whole": those
# beyond the picture are.
POINTS = ("detected", "true", "whole", "true+hints", "occluded", "occluded+hints")
PRIORS = ("default", "gaussian", "none")
PARTS = ("hints", "hands", "face", "mask")
