"""`pantomime bench video`: captured motion of rendered clips, whose motion is known, against the truth.

Beside the whole pipeline, in the same run and from the same detections: every frame fitted by itself, and MediaPipe's
own 3D points behind a 1€ filter.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .arguments import whole
from .bench_video_cost import run as cost
from .body.bench_clips import ClipLabel, load_clip_label
from .body.bench_labels import LabelError
from .body.skeleton import JOINT_INDEX
from .capture import Capture
from .detection.vocabulary import POSE33
from .fitting import bench_motion as scores
from .fitting.bench_report import provenance
from .fitting.metrics import Float
from .pipeline import Pipeline, PipelineError, PipelineSettings
from .video_pipeline import ClipSettings, capture_clip
from .whole_file import write_whole

BODY = 22
LIMBS = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
FEET = [JOINT_INDEX[name] for name in ("left_ankle", "left_foot", "right_ankle", "right_foot")]
METHODS = {"video": "whole pipeline", "frames": "every frame by itself", "mediapipe": "MediaPipe 3D, 1€ filter"}
COLUMNS = {
    "fitted": ("frames", "{:.0%}"),
    "pa_mpjpe": ("PA-MPJPE", "{:.1f}"),
    "pa_limbs": ("PA-MPJPE limbs", "{:.1f}"),
    "pa_hidden": ("hidden joints", "{:.1f}"),
    "wa_mpjpe": ("WA-MPJPE 2 s", "{:.1f}"),
    "acceleration": ("acceleration error", "{:.0f}"),
    "acceleration_root": ("the same, pelvis held", "{:.0f}"),
    "jitter": ("jitter m/s³", "{:.0f}"),
    "jitter_true": ("true jitter", "{:.0f}"),
    "sliding": ("sliding mm/frame", "{:.1f}"),
    "sliding_true": ("true sliding", "{:.1f}"),
    "foot_height": ("foot height error", "{:.0f}"),
    "path": ("path", "{:.0%}"),
}


class BenchVideoError(Exception):
    """A bench that can't run; the message says what to do next."""


@dataclass
class ClipRun:
    """What one clip gave: joints (T, 55, 3) by method in the camera's frame, nan where there is nothing."""

    label: ClipLabel
    joints: dict[str, Float]
    limbs: Float  # (T, 12, 3) MediaPipe's, filtered
    up: Float  # (3,) of the capture
    ground_m: float
    detect_s: float
    fit_s: float
    frames_fit_s: float
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


def run_clip(path: Path, label: ClipLabel, folder: Path, pipeline: Pipeline) -> ClipRun:
    """Capture a clip, fit its frames one by one, filter MediaPipe's points."""
    out = folder / f"{path.stem}.npz"
    settings = ClipSettings(PipelineSettings(), keep_parts=True)
    result = capture_clip(path, out, settings, pipeline)
    capture = result.captures[0]
    joints = {"video": _on_frames(capture, capture.joints, label)}
    start = time.perf_counter()
    joints["frames"], limbs = _each_frame(Path(f"{out}.parts"), label, pipeline)
    frames_fit_s = time.perf_counter() - start
    joints["mediapipe"] = np.full((label.num_frames, 55, 3), math.nan)
    return ClipRun(
        label,
        joints,
        scores.one_euro(limbs, label.fps),
        capture.up_camera.astype(np.float64),
        capture.ground_m,
        result.timings_s["detect"],
        result.timings_s["fit"],
        frames_fit_s,
    )


def _on_frames(capture: Capture, values: NDArray[np.float32], label: ClipLabel) -> Float:
    result = np.full((label.num_frames, *values.shape[1:]), math.nan)
    rows = capture.frame_indices
    kept = rows < label.num_frames
    result[rows[kept]] = values[kept]
    return result


def _each_frame(parts: Path, label: ClipLabel, pipeline: Pipeline) -> tuple[Float, Float]:
    """Joints of single fits (T, 55, 3), and MediaPipe's limbs (T, 12, 3), from what the pipeline's run had seen."""
    from .fitting.photo import FitError
    from .video_job import JobFolder
    from .video_people import Sightings

    joints = np.full((label.num_frames, 55, 3), math.nan)
    limbs = np.full((label.num_frames, len(LIMBS), 3), math.nan)
    files = sorted(parts.glob("seen-*.npz"))
    with JobFolder(parts) as folder:
        sightings = Sightings(folder, key_in(files[0]), len(files))
        person = sightings.people()[0]
        seen = sightings.seen(person, 0, person.last - person.first + 1)
        fitter = pipeline.clip_fitter(pipeline.body(None, "neutral"), "cpu")
        for row in range(len(seen)):
            if seen.score[row] <= 0 or seen.index[row] >= label.num_frames:
                continue
            observation = seen.observation(row, label.image_size)
            at = int(seen.index[row])
            points = observation.points.get("pose33")
            if points is not None and points.world_m is not None:
                limbs[at] = points.world_m[[POSE33.index(name) for name in LIMBS]]
            try:
                joints[at] = fitter.fit(observation).joints[0]
            except FitError:
                continue
    return joints, limbs


def key_in(path: Path) -> str:
    """The key under which a part was written."""
    with np.load(path, allow_pickle=False) as data:
        return str(data["key"])


def score(run: ClipRun) -> None:
    """Fill in the errors by method."""
    label = run.label
    true = label.joints.astype(np.float64)
    rotation, shift = label.T_camera_world[:3, :3].astype(np.float64), label.T_camera_world[:3, 3].astype(np.float64)
    true_up = rotation[:, 1]
    height = ((true[:, FEET] - shift) @ rotation)[..., 1]
    height = height - np.percentile(height, 5, axis=0)
    stands = scores.contacts_of(true[:, FEET], height, label.fps)
    limbs = [JOINT_INDEX[name] for name in LIMBS]
    window = round(2 * label.fps)
    for method in METHODS:
        row: dict[str, float] = {}
        run.scores[method] = row
        if method == "mediapipe":
            own, theirs = run.limbs, true[:, limbs]
            root = own[:, 6:8].mean(1, keepdims=True), theirs[:, 6:8].mean(1, keepdims=True)
            row["fitted"] = float(np.isfinite(own).all((1, 2)).mean())
            row["pa_limbs"] = float(np.nanmean(scores.pa_mpjpe(own, theirs)))
            factor = scores.scale_of(own, theirs)
            row["acceleration_root"] = scores.acceleration_error(factor * (own - root[0]), theirs - root[1], label.fps)
            continue
        joints = run.joints[method][:, :BODY]
        body = true[:, :BODY]
        factor = scores.scale_of(joints, body)
        row["fitted"] = float(np.isfinite(joints).all((1, 2)).mean())
        row["pa_mpjpe"] = float(np.nanmean(scores.pa_mpjpe(joints, body)))
        row["pa_limbs"] = float(np.nanmean(scores.pa_mpjpe(joints[:, limbs], body[:, limbs])))
        row["pa_hidden"] = scores.hidden_error(joints, body, label.hidden[:, :BODY])
        row["wa_mpjpe"] = scores.window_error(joints, body, window)
        row["acceleration"] = scores.acceleration_error(factor * joints, body, label.fps)
        row["acceleration_root"] = scores.acceleration_error(
            factor * (joints - joints[:, :1]), body - body[:, :1], label.fps
        )
        row["jitter"], row["jitter_true"] = scores.jitter(factor * joints, label.fps), scores.jitter(body, label.fps)
        up = run.up if method == "video" else true_up
        row["sliding"] = scores.sliding(factor * joints[:, FEET], up, stands)
        row["sliding_true"] = scores.sliding(body[:, FEET], true_up, stands)
        stride = max(1, round(label.fps / 3))
        way = scores.path_length(body[:, 0], true_up, stride)
        # Who hardly moves has no way to compare.
        if way > 1.5:
            row["path"] = factor * scores.path_length(joints[:, 0], up, stride) / way
        if method == "video" and math.isfinite(run.ground_m):
            above = factor * (run.joints["video"][:, FEET] @ up - run.ground_m)
            true_height = ((true[:, FEET] - shift) @ rotation)[..., 1]
            row["foot_height"] = scores.MM * float(np.nanmean(np.abs(above - true_height)[1:][stands]))


def table(rows: dict[str, dict[str, float]]) -> str:
    """A markdown table; columns in mm and mm/s² but where they say otherwise."""
    lines = ["| | " + " | ".join(title for title, _ in COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for title, row in rows.items():
        cells = [
            form.format(row[key]) if key in row and math.isfinite(row[key]) else "–"
            for key, (_, form) in COLUMNS.items()
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def means(runs: list[ClipRun], method: str) -> dict[str, float]:
    """Mean over the clips that have a figure."""
    keys = {key for run in runs for key in run.scores[method]}
    return {
        key: float(np.mean(values))
        for key in keys
        if (values := [v for run in runs if math.isfinite(v := run.scores[method].get(key, math.nan))])
    }


def report(runs: list[ClipRun]) -> str:
    """The whole report in markdown."""
    frames = sum(run.label.num_frames for run in runs)
    parts = [
        f"{len(runs)} clips, {frames} frames. mm; acceleration error in mm/s². Scale is set by the person's true size; "
        "sliding: ankles and balls of feet that truly stand, over the floor; path: of whoever walks more than 1.5 m.",
        table({title: means(runs, method) for method, title in METHODS.items()}),
    ]
    parts += [f"\n{title}, by clip:\n\n" + table({run.label.name: run.scores[m] for run in runs})
              for m, title in METHODS.items() if m != "mediapipe"]  # fmt: skip
    detect, fit, single = (sum(getattr(run, name) for run in runs) for name in ("detect_s", "fit_s", "frames_fit_s"))
    parts.append(
        f"\nSeconds a frame on this machine in this run: detection {detect / frames:.3f}, fit {fit / frames:.3f}; "
        f"single fits {single / frames:.3f}. The whole pipeline runs at {detect / (detect + fit):.2f} × the rate of "
        "detection alone."
    )
    return "\n".join(parts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime bench video`."""
    parser.add_argument(
        "--clips", type=Path, required=True, metavar="DIR", help="clips and labels of `pantomime render-clips`"
    )
    parser.add_argument("--only", nargs="+", metavar="NN", help="only these clips, such as 00 03")
    parser.add_argument(
        "--cost", type=whole, nargs="+", metavar="N", help="instead: seconds and memory of clips of so many frames"
    )
    parser.add_argument(
        "--cost-whole", type=whole, nargs="+", metavar="N", help="the same with detection in every frame, which is slow"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="captures and the report")


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime bench video`; the exit status."""
    import torch

    torch.set_num_threads(1)
    paths = sorted(arguments.clips.glob("*.mp4"))
    paths = [path for path in paths if not arguments.only or path.stem in arguments.only]
    pipeline = Pipeline()
    runs = []
    try:
        if not paths:
            raise BenchVideoError(f"There are no clips in {arguments.clips}. Make some with `pantomime render-clips`.")
        if arguments.cost or arguments.cost_whole:
            print(cost(paths[0], arguments.output, arguments.cost or [], arguments.cost_whole or []))
            return 0
        arguments.output.mkdir(parents=True, exist_ok=True)
        for path in paths:
            run = run_clip(path, load_clip_label(path.with_suffix(".npz")), arguments.output, pipeline)
            score(run)
            runs.append(run)
            print(f"{path.stem} {run.label.name}\n" + table(run.scores), file=sys.stderr, flush=True)
        text = report(runs)
        write_whole(arguments.output / "video.md", text + "\n")
        facts = {
            **provenance(),
            "clips": {run.label.name: run.scores for run in runs},
            "mean": {method: means(runs, method) for method in METHODS},
        }
        write_whole(arguments.output / "video.json", json.dumps(facts, indent=1))
        print(text)
    except (BenchVideoError, LabelError, PipelineError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        pipeline.close()
    return 0
