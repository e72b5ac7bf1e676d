"""`pantomime bench accuracy`: how far fits of rendered people are from the truth, as the field reports it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ..arguments import whole
from ..body.bench_labels import LabelError, load_label
from ..body.load import load_body
from ..body.model import BodyModel
from ..detection.observation import Observation
from ..media.files import MediaError
from ..media.photo import read_photo
from ..priors.errors import PriorError
from .bench_evidence import (
    detection_digest,
    load_observations,
    matching,
    save_observations,
    true_observation,
    without,
)
from .bench_report import summary, table, write_report, write_worst
from .bench_scores import Scorer
from .bench_types import PARTS, POINTS, PRIORS, BenchError, Result, Sample, Variant
from .photo import FitError, Fitter, PhotoCamera
from .settings import BODY_SETS, INF, FitSettings, Stage

TEST_SET = Path("out") / "people" / "test"
TEST_COUNT = 100
# The regressor's pose as it is; place, turn and shape have to come from the points.
_REGRESSED = Stage("regressed pose", 8, 8.0, BODY_SETS, betas=10, body=False)
ABLATIONS = (
    Variant("no 3D hints", without=("hints",)),
    Variant("Gaussian pose prior", priors="gaussian"),
    Variant("no pose prior", priors="none"),
    Variant("no collision", settings=(("collision_sigma_m", INF),)),
    Variant("no regressor", settings=(("regressor", 0.0),)),
    Variant("regressor alone", without=("hints",), settings=(("stages", (_REGRESSED,)),)),
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
        observation = true_observation(body, sample.label, source, sample.detected if hints else None)
    return None if observation is None else without(observation, variant.without)


def changed(settings: FitSettings, changes: Sequence[tuple[str, Any]]) -> FitSettings:
    """Settings with other values; `name.key` changes one entry of a mapping or of a part. Raises BenchError."""
    known = {item.name for item in fields(settings)}
    for setting, value in changes:
        name, _, key = setting.partition(".")
        part = getattr(settings, name, None)
        if not key and name in known:
            change = value
        elif isinstance(part, dict) and key in part:
            change = {**part, key: value}
        elif is_dataclass(part) and key in {item.name for item in fields(part)}:
            change = replace(part, **{key: value})  # type: ignore[type-var]
        else:
            raise BenchError(f"The fit has no setting {setting}. It has: {', '.join(sorted(known))}.")
        settings = replace(settings, **{name: change})
    return settings


def fitter_for(body: BodyModel, variant: Variant, settings: FitSettings | None = None) -> Fitter:
    """The fitter that a variant describes. Raises BenchError for a setting that there is not."""
    base = changed(settings or FitSettings(), variant.settings)
    if variant.priors == "none":
        return Fitter(body, base, priors=())
    if variant.priors == "gaussian":
        base = replace(base, learned_prior=False)
    return Fitter(body, base)


def is_redundant(body: BodyModel, variant: Variant) -> bool:
    """Whether a variant is the fit as it is by default, or needs a regressor that is not there."""
    plain, other = fitter_for(body, Variant("plain")), fitter_for(body, variant)
    if variant.settings == (("stages", (_REGRESSED,)),):
        return plain.regressor is None
    kinds = [[(type(prior), weight) for prior, weight in fitter.priors] for fitter in (plain, other)]
    same = plain.settings == other.settings and kinds[0] == kinds[1]
    return same and variant.points == "detected" and not variant.without and not variant.known_focal


def run_variant(
    body: BodyModel,
    samples: Sequence[Sample],
    variant: Variant,
    scorer: Scorer,
    settings: FitSettings | None = None,
    silhouettes: bool = True,
) -> list[Result]:
    """Fit every sample and score it."""
    fitter = fitter_for(body, variant, settings)
    results = []
    for sample in samples:
        observation = observation_for(body, sample, variant)
        camera = PhotoCamera(sample.label.focal_px, "given") if variant.known_focal else None
        start = time.process_time()
        try:
            capture = fitter.fit(observation, camera) if observation is not None else None
        except FitError:
            capture = None
        seconds = time.process_time() - start
        scores = {} if capture is None else scorer.score(capture, sample.label, silhouettes)
        results.append(Result(sample, scores, capture, seconds))
    return results


def render_test_set(folder: Path, count: int) -> None:
    """Make the test pictures that are not there yet, in a process of their own: it needs Blender. Raises BenchError."""
    package = (__package__ or "pantomime").partition(".")[0]
    command = [sys.executable, "-m", package, "render-people", "-n", str(count), "-o", str(folder)]
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        raise BenchError("The pictures could not be made. Name a folder that has them with --photos.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime bench accuracy`."""
    parser.add_argument(
        "--photos",
        type=Path,
        metavar="DIR",
        help=f"pictures and labels of `pantomime render-people` (default: the test set, made in {TEST_SET})",
    )
    parser.add_argument("-n", "--count", type=whole, help="how many pictures (default: all)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="folder for accuracy.md, .json and the worst fits"
    )
    parser.add_argument(
        "--points",
        nargs="+",
        choices=(*POINTS, "all"),
        default=["detected"],
        help="what the fit gets; +hints: with the detector's 3D hints (default: detected)",
    )
    parser.add_argument("--without", nargs="+", default=[], choices=PARTS, help="evidence to take away")
    parser.add_argument("--prior", choices=PRIORS, default="default", help="which pose prior")
    parser.add_argument("--ablations", action="store_true", help="also a row for each part that is taken away")
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
    parser.add_argument("--by-picture", action="store_true", help="print a line for each picture, worst first")


def parse_setting(text: str) -> tuple[str, float]:
    """`name=value` → (name, value). Raises BenchError."""
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError as error:
        raise BenchError(f"{text} is not a setting. Write NAME=VALUE with a number.") from error


def variants_of(args: argparse.Namespace, body: BodyModel) -> list[Variant]:
    """The rows that the options ask for, ablations that change nothing left out. Raises BenchError, PriorError."""
    points = POINTS if "all" in args.points else args.points
    settings = tuple(parse_setting(text) for text in args.set)
    rows = [Variant(name, name, tuple(args.without), settings, args.known_focal, args.prior) for name in points]
    if args.ablations:
        rows += [replace(row, settings=settings + row.settings) for row in ABLATIONS if not is_redundant(body, row)]
    return rows


def main(args: argparse.Namespace) -> int:
    """Run `pantomime bench accuracy`; returns the exit status."""
    import torch

    torch.set_num_threads(1)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        body = load_body()
        variants = variants_of(args, body)
        folder = args.photos
        if folder is None:
            folder = TEST_SET
            render_test_set(folder, args.count or TEST_COUNT)
        samples = load_samples(folder, args.count, args.keep_detections, say)
        scorer = Scorer(body)
        by_variant: dict[str, list[Result]] = {}
        for variant in variants:
            by_variant[variant.name] = run_variant(body, samples, variant, scorer, silhouettes=not args.quick)
            say(table({variant.name: summary(by_variant[variant.name])}).splitlines()[-1])
        if args.by_picture:
            _print_pictures(by_variant)
        if args.output is None:
            print(table({name: summary(results) for name, results in by_variant.items()}))
        else:
            print(write_report(args.output, folder.name, by_variant, body))
            for path in write_worst(args.output, by_variant[variants[0].name], scorer):
                say(str(path))
    except (BenchError, LabelError, MediaError, PriorError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _print_pictures(by_variant: dict[str, list[Result]]) -> None:
    names = ("pa_pve", "pve", "pa_mpjpe", "pa_pve_hands", "pa_pve_face", "pck")
    for variant, results in by_variant.items():
        print(f"{variant}: picture, action, framing, {', '.join(names)}")
        for result in sorted(results, key=lambda item: -item.scores.get("pa_pve", float("inf"))):
            label = result.sample.label
            figures = " ".join(f"{result.scores[name]:7.2f}" for name in names) if result.scores else "not fitted"
            print(f"{result.sample.photo.stem} {label.action:<10} {label.framing:<6} {figures}")
