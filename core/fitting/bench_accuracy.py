"""`pantomime bench accuracy`: how far fits of rendered people are from the truth, as the field reports it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..body.bench_labels import LabelError, PersonLabel, load_label
from ..body.load import load_body
from ..body.model import BodyModel
from ..capture import Capture
from ..detection.observation import Observation
from ..media.photo import read_photo
from .bench_evidence import (
    detection_digest,
    load_observations,
    matching,
    save_observations,
    true_observation,
    without,
)
from .bench_scores import Scorer, Scores, peer_score
from .photo import FitError, Fitter, PhotoCamera
from .settings import FitSettings


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
    """One fit. `scores` is empty where nothing could be fitted."""

    sample: Sample
    scores: Scores
    capture: Capture | None
    seconds: float


@dataclass(frozen=True)
class Variant:
    """One row of the table: which points the fit gets, what is taken away, which settings differ."""

    name: str
    points: str = "detected"  # "detected", "true", "true+hints", "occluded", "occluded+hints"
    without: tuple[str, ...] = ()  # "hints", "hands", "face", "mask", "prior"
    settings: tuple[tuple[str, Any], ...] = ()
    known_focal: bool = False


POINTS = ("detected", "true", "true+hints", "occluded", "occluded+hints")
ABLATIONS = (
    Variant("no 3D hints", without=("hints",)),
    Variant("no pose prior", without=("prior",)),
    Variant("no hands", without=("hands",)),
    Variant("no face", without=("face",)),
    Variant("no mask", without=("mask",)),
    Variant("known focal length", known_focal=True),
)


def load_samples(
    folder: Path, count: int | None, keep_detections: bool = False, report: Callable[[str], None] | None = None
) -> list[Sample]:
    """Pictures with labels; what the detector saw is read from beside them, or detected and kept there.

    Raises BenchError, LabelError, and what the detector raises.
    """
    photos = sorted(path for path in folder.glob("[0-9]*.jpg") if path.with_suffix(".npz").exists())[:count]
    if not photos:
        raise BenchError(f"There are no labelled pictures in {folder}. Make some with `pantomime render-people`.")
    digest = None if keep_detections else detection_digest()
    detector = None
    samples = []
    for photo in photos:
        label = load_label(photo.with_suffix(".npz"))
        kept = photo.parent / "detections" / f"{photo.stem}.npz"
        observations = load_observations(kept, digest)
        if observations is None:
            if detector is None:
                from ..detection.detector import Detector
                from ..detection.models import find_models

                detector = Detector(find_models())
            if report is not None:
                report(f"Looking at {photo.name} …")
            observations = detector.detect(read_photo(photo))
            kept.parent.mkdir(exist_ok=True)
            save_observations(kept, observations, detection_digest())
        samples.append(Sample(photo, label, matching(observations, label)))
    if detector is not None:
        detector.close()
    return samples


def observation_for(body: BodyModel, sample: Sample, variant: Variant) -> Observation | None:
    """What a variant's fit of a sample gets; None where the detector saw nothing and the variant needs it."""
    source, _, hints = variant.points.partition("+")
    if source == "detected":
        observation = sample.detected
    else:
        observation = true_observation(body, sample.label, source == "occluded", sample.detected if hints else None)
    return None if observation is None else without(observation, variant.without)


def changed(settings: FitSettings, changes: Sequence[tuple[str, Any]]) -> FitSettings:
    """Settings with other values; `name.key` changes one entry of a mapping. Raises BenchError."""
    known = {item.name for item in fields(settings)}
    for name, value in changes:
        name, _, key = name.partition(".")
        if name not in known:
            raise BenchError(f"The fit has no setting {name}. It has: {', '.join(sorted(known))}.")
        settings = replace(settings, **{name: {**getattr(settings, name), key: value} if key else value})
    return settings


def run_variant(
    body: BodyModel,
    samples: Sequence[Sample],
    variant: Variant,
    scorer: Scorer,
    settings: FitSettings | None = None,
    silhouettes: bool = True,
) -> list[Result]:
    """Fit every sample and score it."""
    base = changed(settings or FitSettings(), variant.settings)
    fitter = Fitter(body, base, priors=() if "prior" in variant.without else None)
    results = []
    for sample in samples:
        observation = observation_for(body, sample, variant)
        camera = PhotoCamera(sample.label.focal_px, "given") if variant.known_focal else None
        start = time.perf_counter()
        try:
            capture = fitter.fit(observation, camera) if observation is not None else None
        except FitError:
            capture = None
        seconds = time.perf_counter() - start
        scores = {} if capture is None else scorer.score(capture, sample.label, silhouettes)
        results.append(Result(sample, scores, capture, seconds))
    return results


def summary(results: Sequence[Result]) -> dict[str, float]:
    """Means over the fits (the median for the silhouette and the time), the share fitted, and the peer's error."""
    fitted = [result.scores for result in results if result.scores]
    row = {"fitted": len(fitted) / max(len(results), 1)}
    for name in fitted[0] if fitted else ():
        values = np.array([scores[name] for scores in fitted])
        row[name] = float((np.nanmedian if name == "iou" else np.nanmean)(values)) if len(values) else float("nan")
    peers = [
        peer_score(r.sample.detected, r.sample.label) for r in results if r.scores and r.sample.detected is not None
    ]
    row["mediapipe_pa_mpjpe_limbs"] = float(np.nanmean(peers)) if peers else float("nan")
    row["seconds"] = float(np.median([result.seconds for result in results if result.scores] or [float("nan")]))
    return row


COLUMNS = (
    ("fitted", "fitted", "{:.0%}"),
    ("pve", "PVE", "{:.1f}"),
    ("pa_pve", "PA-PVE", "{:.1f}"),
    ("pve_hands", "PVE hands", "{:.1f}"),
    ("pa_pve_hands", "PA-PVE hands", "{:.1f}"),
    ("pa_pve_seen_hands", "PA-PVE seen hands", "{:.1f}"),
    ("pve_face", "PVE face", "{:.1f}"),
    ("pa_pve_face", "PA-PVE face", "{:.1f}"),
    ("mpjpe", "MPJPE", "{:.1f}"),
    ("pa_mpjpe", "PA-MPJPE", "{:.1f}"),
    ("mpjpe_hands", "MPJPE hands", "{:.1f}"),
    ("pa_mpjpe_hands", "PA-MPJPE hands", "{:.1f}"),
    ("pa_mpjpe_limbs", "PA-MPJPE limbs", "{:.1f}"),
    ("mediapipe_pa_mpjpe_limbs", "MediaPipe limbs", "{:.1f}"),
    ("pck", "PCK@0.05", "{:.1%}"),
    ("iou", "median IoU", "{:.3f}"),
    ("seconds", "s a fit", "{:.2f}"),
)


def table(rows: dict[str, dict[str, float]]) -> str:
    """A markdown table, a row a variant."""
    used = [column for column in COLUMNS if any(column[0] in row for row in rows.values())]
    lines = ["| | " + " | ".join(title for _, title, _ in used) + " |", "|---|" + "---:|" * len(used)]
    for name, row in rows.items():
        cells = [form.format(row[key]) if np.isfinite(row.get(key, np.nan)) else "–" for key, _, form in used]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime bench accuracy`."""
    parser.add_argument(
        "--photos", type=Path, required=True, metavar="DIR", help="pictures and labels of `pantomime render-people`"
    )
    parser.add_argument("-n", "--count", type=int, help="how many pictures (default: all)")
    parser.add_argument(
        "--points", nargs="+", choices=POINTS, default=["detected"], help="what the fit gets (default: detected)"
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        choices=("hints", "hands", "face", "mask", "prior"),
        help="evidence to take away",
    )
    parser.add_argument("--ablations", action="store_true", help="also one row for each part that is taken away")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="other settings of the fit, e.g. pose_prior=0.3 sigma_2d.pose33=0.02",
    )
    parser.add_argument("--known-focal", action="store_true", help="tell the fit the true focal length")
    parser.add_argument(
        "--keep-detections", action="store_true", help="use the kept detections though the detector has changed"
    )
    parser.add_argument("--quick", action="store_true", help="leave out the silhouettes")
    parser.add_argument("--by-picture", action="store_true", help="print a line for each picture")


def parse_setting(text: str) -> tuple[str, float]:
    """`name=value` → (name, value). Raises BenchError."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise BenchError(f"{text} is not NAME=VALUE with a number.") from error


def main(args: argparse.Namespace) -> int:
    """Run `pantomime bench accuracy`; returns the exit status."""
    import torch

    torch.set_num_threads(1)
    try:
        body = load_body()
        samples = load_samples(args.photos, args.count, args.keep_detections, lambda text: print(text, file=sys.stderr))
        scorer = Scorer(body)
        settings = tuple(parse_setting(text) for text in args.set)
        variants = [Variant(points, points, tuple(args.without), settings, args.known_focal) for points in args.points]
        if args.ablations:
            variants += [replace(item, settings=settings) for item in ABLATIONS]
        rows = {}
        for variant in variants:
            results = run_variant(body, samples, variant, scorer, silhouettes=not args.quick)
            rows[variant.name] = summary(results)
            if args.by_picture:
                for result in results:
                    print(result.sample.photo.name, {key: round(value, 1) for key, value in result.scores.items()})
        print(table(rows))
    except (BenchError, LabelError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
