"""`pantomime fit`: photos to capture files. Also what other commands share with it: options and the progress bar."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from .arguments import not_negative, people_count, positive, whole
from .fitting.quality import QUALITIES
from .pipeline import (
    GENDERS,
    Pipeline,
    PipelineCancelled,
    PipelineError,
    PipelineSettings,
    Reporter,
    save_captures,
    summary_line,
)

BAR_WIDTH = 24


def add_solver_arguments(parser: argparse.ArgumentParser, several_people: bool, photos: bool = True) -> None:
    """The options of every command that fits photos or clips."""
    parser.add_argument(
        "--body",
        metavar="FILE|FOLDER",
        help="a licensed SMPL-X file (.npz or .pkl), or the folder that holds it; without it, the free body",
    )
    parser.add_argument(
        "--gender",
        choices=GENDERS,
        default="neutral",
        help="which body of a licensed folder; auto fits all and takes the best, neutral where it makes little "
        "difference (default: neutral); the free body finds it with the shape",
    )
    parser.add_argument(
        "--height-cm",
        type=positive,
        metavar="H",
        help="how tall the person is, in cm: it fixes the scale of the body and its distance; with several people, of "
        "the first",
    )
    if photos:
        parser.add_argument(
            "--points",
            metavar="FILE.json",
            help="points of OpenPose (BODY_25, hands, face) or COCO-WholeBody, instead of the built-in detector; "
            "for one photo",
        )
        parser.add_argument(
            "--points-error-px",
            type=not_negative,
            metavar="E",
            help="how far those points may be off, in pixels: 0 for exact ones; the fit then follows them more closely "
            "(default: as a detector's, 1 %% of the person's size)",
        )
    if several_people:
        parser.add_argument(
            "--people",
            type=people_count,
            default=1,
            metavar="N|all",
            help=f"how many people of {'each photo' if photos else 'the clip'}, whom it is of first (default: 1)",
        )
    if photos:
        parser.add_argument(
            "--quality",
            choices=QUALITIES,
            default="normal",
            help="fast leaves out the person's outline, the learned pose prior, and keeping parts of the body apart "
            "(default: normal)",
        )
    focal = parser.add_mutually_exclusive_group()
    focal.add_argument(
        "--focal-px",
        type=positive,
        metavar="F",
        help="focal length in pixels; without it, "
        + ("from the photo's EXIF data, else it is fitted" if photos else "it is fitted"),
    )
    focal.add_argument("--focal-mm", type=positive, metavar="F", help="the same as the equivalent on 35 mm film, in mm")
    parser.add_argument("--device", default="cpu", metavar="D", help="where to solve: cpu, cuda or mps (default: cpu)")
    parser.add_argument("--threads", type=whole, default=1, metavar="N", help="threads of the solver (default: 1)")
    parser.add_argument(
        "--models",
        metavar="FOLDER",
        help="a folder with MediaPipe's official .task files, which take precedence over the usual models",
    )
    parser.add_argument("--cache", metavar="FOLDER", help="where the models are kept (default: the user's cache)")


def settings_from(arguments: argparse.Namespace) -> PipelineSettings:
    """The pipeline's settings from parsed options."""
    return PipelineSettings(
        body=arguments.body,
        points=getattr(arguments, "points", None),
        points_error_px=getattr(arguments, "points_error_px", None),
        people=getattr(arguments, "people", 1),
        focal_px=arguments.focal_px,
        focal_mm=arguments.focal_mm,
        device=arguments.device,
        threads=arguments.threads,
        cache_dir=arguments.cache,
        models_dir=arguments.models,
        height_cm=arguments.height_cm,
        gender=arguments.gender,
        quality=getattr(arguments, "quality", "normal"),
    )


def points_of_one_photo(arguments: argparse.Namespace) -> bool:
    """Whether --points, if it is given, has the one photo that it is of; if not, a sentence on stderr says so."""
    if not arguments.points or len(arguments.photos) == 1:
        return True
    print("--points is of one photo: name that photo, and give each other one a run of its own.", file=sys.stderr)
    return False


class ProgressBar:
    """A bar at the foot of a terminal; silent where the stream is none."""

    def __init__(self, total: int, stream: TextIO | None = None, always: bool = False) -> None:
        self._total = total
        self._done = 0
        self._stream = stream if stream is not None else sys.stderr
        self._shown = (total > 1 or always) and self._stream.isatty()

    def draw(self, label: str, fraction: float = 0.0) -> None:
        """Show the item at work, and how far it has come (0…1)."""
        if not self._shown:
            return
        whole_fraction = (self._done + min(max(fraction, 0.0), 1.0)) / self._total
        filled = round(whole_fraction * BAR_WIDTH)
        bar = "█" * filled + "░" * (BAR_WIDTH - filled)
        self._stream.write(f"\r\x1b[K{bar} {self._done + 1}/{self._total} {label[-40:]}")
        self._stream.flush()

    def step(self) -> None:
        """One item is done."""
        self._done += 1

    def clear(self) -> None:
        """Make room for a line of text."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def unique_stems(photos: Iterable[str]) -> list[str]:
    """A file stem for each photo; photos of one name in different folders get a number."""
    taken: set[str] = set()
    stems = []
    for photo in photos:
        stem = base = Path(photo).stem or "photo"
        number = 2
        while stem.casefold() in taken:
            stem = f"{base}-{number}"
            number += 1
        taken.add(stem.casefold())
        stems.append(stem)
    return stems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pantomime fit`."""
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="a picture with at least one person")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="DIR",
        help="folder for the captures: STEM.npz for each photo, STEM.2.npz, … for further people",
    )
    add_solver_arguments(parser, several_people=True)


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime fit`; 0: all photos were fitted, 1: some failed, 2: wrong use."""
    if not points_of_one_photo(arguments):
        return 2
    settings = settings_from(arguments)
    pipeline = Pipeline()
    bar = ProgressBar(len(arguments.photos))
    failed: list[str] = []
    for photo, stem in zip(arguments.photos, unique_stems(arguments.photos), strict=True):
        bar.draw(photo)
        warnings: list[str] = []
        reporter = Reporter(
            progress=lambda fraction, photo=photo: bar.draw(photo, fraction),  # type: ignore[misc]
            warning=warnings.append,
        )
        try:
            result = pipeline.fit_photo(photo, settings, reporter)
            paths = save_captures(result.captures, arguments.output, stem)
        except (PipelineError, PipelineCancelled) as error:
            bar.clear()
            print(error if Path(photo).name in str(error) else f"{photo}: {error}", file=sys.stderr)
            failed.append(photo)
        else:
            bar.clear()
            for warning in warnings:
                print(f"{photo}: {warning}", file=sys.stderr)
            for path, capture in zip(paths, result.captures, strict=True):
                print(f"{path}: {summary_line(capture)}", flush=True)
        bar.step()
    pipeline.close()
    if failed and len(arguments.photos) > 1:
        print(f"{len(failed)} of {len(arguments.photos)} photos failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0
