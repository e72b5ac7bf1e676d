"""`pantomime video`: a clip to capture files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .arguments import positive, whole, whole_from_0
from .capture import Capture, CaptureError
from .command import ProgressBar, add_solver_arguments, settings_from
from .media.video import Clip, FrameRange
from .pipeline import PipelineCancelled, PipelineError, Reporter, plain_errors
from .video_pipeline import ClipSettings, capture_clip, clip_summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pantomime video`."""
    parser.add_argument(
        "clip", metavar="CLIP", help="a video, or a folder of numbered pictures; with --preview a capture of one, too"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="FILE.npz: the capture (FILE.2.npz, … of further people); FILE.blend: a Blender file beside them",
    )
    parser.add_argument(
        "--preview", metavar="FILE.mp4", help="a video to check it by: clip, body over the clip, body from the side"
    )
    parser.add_argument("--start", type=whole_from_0, default=0, metavar="F", help="first frame, from 0 (default: 0)")
    parser.add_argument("--end", type=whole, metavar="F", help="the frame after the last one (default: the clip's end)")
    parser.add_argument("--step", type=whole, default=1, metavar="N", help="every N-th frame (default: 1)")
    parser.add_argument(
        "--fps", type=positive, metavar="R", help="frames a second of a folder of pictures (default: 30)"
    )
    parser.add_argument(
        "--moving-camera", action="store_true", help="the camera turns: take its rotation from the background"
    )
    parser.add_argument(
        "--cores", type=whole, default=2, metavar="N", help="1: one after another; the result is the same (default: 2)"
    )
    parser.add_argument("--keep-parts", action="store_true", help="leave the folder FILE.npz.parts in place at the end")
    add_solver_arguments(parser, several_people=True, photos=False)


def clip_settings(arguments: argparse.Namespace) -> ClipSettings:
    """Settings from parsed options."""
    return ClipSettings(
        settings_from(arguments),
        start=arguments.start,
        end=arguments.end,
        step=arguments.step,
        frame_rate=arguments.fps,
        moving_camera=arguments.moving_camera,
        keep_parts=arguments.keep_parts,
        cores=arguments.cores,
    )


def main(arguments: argparse.Namespace, build: Callable[[list[Path], Path], None] | None = None) -> int:
    """Run `pantomime video`; 0: captured, 1: failed, 2: wrong use.

    build makes a Blender file of capture files; without it only capture files can be written.
    """
    if arguments.preview and Path(arguments.preview).suffix != ".mp4":
        print(f"{arguments.preview} is not the name of a preview. Give one that ends in .mp4.", file=sys.stderr)
        return 2
    if Path(arguments.clip).suffix == ".npz" and arguments.preview and not arguments.output:
        return preview_of_captures(arguments)
    if not arguments.output:
        print("Name the capture to write: -o FILE.npz.", file=sys.stderr)
        return 2
    target = Path(arguments.output)
    if target.suffix not in (".npz", ".blend") or (target.suffix == ".blend" and build is None):
        print(f"{target} is not the name of a capture. Give one that ends in .npz, or .blend.", file=sys.stderr)
        return 2
    out = target.with_suffix(".npz")
    bar = ProgressBar(1, always=True)
    warnings: list[str] = []
    label = [arguments.clip]

    def stage(_: str, text: str) -> None:
        label[0] = text

    reporter = Reporter(stage=stage, progress=lambda fraction: bar.draw(label[0], fraction), warning=warnings.append)
    try:
        result = capture_clip(arguments.clip, out, clip_settings(arguments), reporter=reporter)
    except (PipelineError, PipelineCancelled) as error:
        bar.clear()
        print(error if arguments.clip in str(error) else f"{arguments.clip}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        bar.clear()
        print(f"Stopped. What is done is kept in {out}.parts: the same command goes on from there.", file=sys.stderr)
        return 130
    bar.clear()
    for warning in warnings:
        print(warning, file=sys.stderr)
    for path, capture in zip(result.paths, result.captures, strict=True):
        print(f"{path}: {clip_summary(capture)}", flush=True)
    if build is not None and target.suffix == ".blend":
        build(result.paths, target)
        print(target, flush=True)
    if arguments.preview:
        which = FrameRange(arguments.start, arguments.end, arguments.step)
        if not draw_preview(arguments, arguments.clip, which, result.captures):
            return 1
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in result.timings_s.items())
    print(f"{seconds} for {result.frames} frames", file=sys.stderr)
    return 0


def preview_of_captures(arguments: argparse.Namespace) -> int:
    """The preview of a capture that is there already, and of FILE.2.npz, … of its clip; 0: drawn, 1: failed."""
    first = Path(arguments.clip)
    try:
        captures = [Capture.load(first)]
        while (further := first.with_suffix(f".{len(captures) + 1}.npz")).is_file():
            captures.append(Capture.load(further))
    except CaptureError as error:
        print(error, file=sys.stderr)
        return 1
    source = captures[0].source
    return 0 if draw_preview(arguments, source, None, [c for c in captures if c.source == source]) else 1


def draw_preview(arguments: argparse.Namespace, clip: str, which: FrameRange | None, captures: list[Capture]) -> bool:
    """Write the preview; False, with a sentence on stderr, where that fails."""
    from .video_preview import preview_clip

    target = Path(arguments.preview)
    bar = ProgressBar(1, always=True)
    try:
        with plain_errors():
            preview_clip(
                Clip(clip, arguments.fps), which, captures, arguments.body, target,
                lambda fraction: bar.draw("Drawing the preview", fraction),
            )  # fmt: skip
    except PipelineError as error:
        bar.clear()
        print(error, file=sys.stderr)
        return False
    except KeyboardInterrupt:
        bar.clear()
        print("Stopped. The captures are whole, the preview was left out.", file=sys.stderr)
        return False
    bar.clear()
    print(target, flush=True)
    return True
