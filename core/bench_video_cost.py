"""`pantomime bench video --cost`: what clips of growing length cost, frames against seconds and memory.

A rendered clip runs forth and back to any length. Its people are looked for once; after that each length is captured
by a process of its own, as a worker does it, from the same sightings over and over. `--cost-whole` has lengths for
which a video is written and people are looked for in every frame.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from .pipeline import Pipeline, PipelineSettings, Reporter
from .video_detection import PART as DETECTION_PART
from .video_job import Arrays, JobFolder
from .video_people import FEET, PACKED
from .video_pipeline import ClipSettings, capture_clip
from .whole_file import whole_file, write_whole

RATE = 30.0


@dataclass(frozen=True)
class Cost:
    """What one length cost. Seconds of the wall clock; seconds of the processor, a helper's with them; MiB of the
    process without its helper."""

    frames: int
    whole: bool  # with detection in every frame
    detect_s: float
    fit_s: float
    processor_s: float
    memory_mib: float  # at most
    steady_mib: float  # after the first 200 frames were solved
    file_mib: float


def measure(clip: Path, folder: Path, lengths: list[int], whole: list[int]) -> list[Cost]:
    """Capture each length in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline()
    try:
        first = folder / "once.npz"
        capture_clip(clip, first, ClipSettings(PipelineSettings(), keep_parts=True), pipeline)
    finally:
        pipeline.close()
    context = multiprocessing.get_context("spawn")
    found = []
    for count, everything in [*((n, False) for n in lengths), *((n, True) for n in whole)]:
        ours, theirs = context.Pipe()
        process = context.Process(target=_one, args=(theirs, clip, folder, count, everything))
        process.start()
        theirs.close()
        try:
            cost = ours.recv()
        except EOFError:
            raise RuntimeError(f"The capture of {count} frames ended early. What it said stands above.") from None
        finally:
            process.join()
        found.append(cost)
        print(table([cost]).splitlines()[-1], file=sys.stderr, flush=True)
    return found


def _one(pipe: Connection, clip: Path, folder: Path, count: int, whole: bool) -> None:
    """Capture one length; sends a `Cost`."""
    import torch

    torch.set_num_threads(1)
    out = folder / f"{count}{'-whole' if whole else ''}.npz"
    parts = Path(f"{out}.parts")
    shutil.rmtree(parts, ignore_errors=True)
    if whole:
        clip = _forth_and_back(clip, folder / f"{count}.mp4", count)
    else:
        _repeat(Path(f"{folder / 'once.npz'}.parts"), parts, count)
    steady: list[float] = []

    def on_window(path: Path) -> None:
        # File names count windows; the first ones are over after some seconds of the clip.
        if len(steady) == 0 or int(path.stem.rsplit("-", 1)[1]) * RATE < 200:
            steady[:] = [memory_mib()[0]]

    start = processor_s()
    result = capture_clip(clip, out, ClipSettings(PipelineSettings()), Pipeline(), Reporter(), on_window)
    timings = result.timings_s
    pipe.send(
        Cost(
            result.frames,
            whole,
            timings["detect"] if whole else 0.0,
            timings["fit"],
            processor_s() - start,
            memory_mib()[1],
            steady[0],
            out.stat().st_size / 2**20,
        )
    )
    pipe.close()


def processor_s() -> float:
    """Seconds of the processor that this process took, and those that it started and that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def memory_mib() -> tuple[float, float]:
    """What this process has in memory, and the most that it had, MiB. Linux only; elsewhere (nan, nan)."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return float("nan"), float("nan")
    values = {line.split(":")[0]: line.split() for line in text.splitlines()}
    return float(values["VmRSS"][1]) / 1024, float(values["VmHWM"][1]) / 1024


def _order(of: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Frames 0 … of − 1 forth and back, `count` in all."""
    at = np.arange(count) % max(1, 2 * of - 2)
    return np.where(at < of, at, 2 * of - 2 - at)


def _repeat(source: Path, target: Path, count: int) -> None:
    """Write parts of a finished detection of `count` frames, from those of a short clip."""
    from .bench_video import key_in

    files = sorted(source.glob("seen-*.npz"))
    key = key_in(files[0])
    with JobFolder(source) as folder:
        parts = [part for file in files if (part := folder.load(file.stem, key)) is not None]
    firsts = np.cumsum([0, *(len(part["frame_index"]) for part in parts)])
    rows = np.concatenate([part["row"] + first for part, first in zip(parts, firsts, strict=False)])
    people = {name: np.concatenate([part[name] for part in parts]) for name in _PER_SIGHTING if name in parts[0]}
    order = _order(int(firsts[-1]), count)
    target.mkdir(parents=True)
    with JobFolder(target) as folder:
        for number, start in enumerate(range(0, count, DETECTION_PART)):
            frames = order[start : start + DETECTION_PART]
            at = [(place, row) for place, frame in enumerate(frames) for row in np.flatnonzero(rows == frame)]
            chosen = np.array([row for _, row in at], np.int64)
            index = np.arange(start, start + len(frames))
            arrays: Arrays = {name: values[chosen] for name, values in people.items()}
            arrays |= {
                "row": np.array([place for place, _ in at], np.int64),
                "frame_index": index,
                "frame_time_s": index / RATE,
                "frame_cut": np.zeros(len(frames), bool),
                "frame_homography": np.zeros((0, 3, 3)),
                "finished": np.array(start + len(frames) == count),
            }
            folder.save(f"seen-{number:05d}", key, arrays)


_PER_SIGHTING = ("track", "edge", *PACKED, *FEET)


def _forth_and_back(clip: Path, target: Path, count: int) -> Path:
    """A video of `count` frames from those of a short one."""
    import cv2

    from .media.video import Clip

    frames = [frame.rgb for frame in Clip(clip).frames()]
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (width, height))
    for at in _order(len(frames), count).tolist():
        writer.write(cv2.cvtColor(frames[at], cv2.COLOR_RGB2BGR))
    writer.release()
    return target


def table(costs: list[Cost]) -> str:
    """A markdown table."""
    lines = [
        "| frames | detection s | fit s | fit ms/frame | processor s | memory MiB | after 200 frames | file MiB |",
        "|---" * 8 + "|",
    ]
    for c in costs:
        detect = f"{c.detect_s:.1f}" if c.whole else "recorded"
        lines.append(
            f"| {c.frames} | {detect} | {c.fit_s:.1f} | {1e3 * c.fit_s / c.frames:.1f} | {c.processor_s:.1f} "
            f"| {c.memory_mib:.0f} | {c.steady_mib:.0f} | {c.file_mib:.1f} |"
        )
    return "\n".join(lines)


def draw(costs: list[Cost], path: Path) -> None:
    """Frames against seconds of the processor (left) and memory (right), as a picture."""
    import cv2

    costs = sorted((c for c in costs if not c.whole), key=lambda c: c.frames)
    wide, high, edge = 520, 360, 70
    page = np.full((high, 2 * wide, 3), 255, np.uint8)
    grey, blue, orange = (120, 120, 120), (180, 110, 30), (30, 110, 220)
    most = max(c.frames for c in costs)
    panels = (
        ("seconds of processor, without detection", [[c.processor_s for c in costs]], [""]),
        ("memory MiB", [[c.memory_mib for c in costs], [1536.0] * len(costs)], ["the most", "1.5 GiB"]),
    )

    def write(text: str, x: float, y: float, colour: tuple[int, int, int] = (40, 40, 40)) -> None:
        cv2.putText(page, text, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    for number, (title, series, names) in enumerate(panels):
        left, right = number * wide + edge, (number + 1) * wide - 20
        top, bottom = 40, high - 50
        peak = 1.1 * max(max(values) for values in series)
        write(title, left, 25)
        write("frames", right - 60, high - 12)
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            y = bottom - share * (bottom - top)
            cv2.line(page, (left, round(y)), (right, round(y)), (225, 225, 225), 1)
            write(f"{share * peak:.0f}", left - 50, y + 4, grey)
            write(f"{share * most:.0f}", left + share * (right - left) - 10 - 20 * share, bottom + 20, grey)
        for values, name, colour in zip(series, names, (blue, orange), strict=False):
            points = [
                (left + c.frames / most * (right - left), bottom - value / peak * (bottom - top))
                for c, value in zip(costs, values, strict=True)
            ]
            line = np.array(points).round().astype(np.int32)
            cv2.polylines(page, [line[:, None]], False, colour, 2, cv2.LINE_AA)
            for x, y in line.tolist():
                cv2.circle(page, (x, y), 4, colour, -1, cv2.LINE_AA)
            write(name, points[-1][0] - 75, points[-1][1] - 10, colour)
    with whole_file(path, ".part.png") as part:
        if not cv2.imwrite(str(part), page):
            raise OSError(f"Can't write {path}")


def run(clip: Path, output: Path, lengths: list[int], whole: list[int]) -> str:
    """Measure, write table, figures and picture into `output`; the table."""
    costs = measure(clip, output / "cost", lengths, whole)
    text = table(costs)
    write_whole(output / "video_cost.md", text + "\n")
    facts = [asdict(cost) for cost in costs]
    write_whole(output / "video_cost.json", json.dumps(facts, indent=1))
    if lengths:
        draw(costs, output / "video_cost.png")
    return text
