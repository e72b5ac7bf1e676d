"""`pantomime bench speed`: time and memory of every part on one core, against the reference forward pass.

The unit of the last column is one forward + backward pass of the `smplx` package over the full mesh of the free body,
timed in the same run: it tells a slow machine from slow code.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core.arguments import whole
from ...core.client import Client, new_job_id
from ...core.messages import FINAL_EVENTS, Correct, FitPhoto, Ready, Result
from ...core.pipeline import limit_threads
from .blocks import blocks
from .measure import Clock, Measurement, times

REFERENCE = "smplx, full mesh, forward + backward"
REGISTER = """
import sys, time
import bpy
clock = getattr(time, sys.argv[1])
start = clock()
import pantomime
pantomime.register()
print("seconds", clock() - start)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pantomime bench speed`."""
    parser.add_argument("photos", nargs="*", metavar="PHOTO", help="photos to measure with (default: the demo's two)")
    parser.add_argument("--runs", type=whole, default=15, metavar="N", help="how often to measure (default: 15)")
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="count processor time instead of the clock on the wall: for a machine that is busy with other things",
    )
    parser.add_argument("--json", metavar="FILE", help="write the values there, too")


def main(arguments: argparse.Namespace) -> int:
    """Measure and print; 0 whether or not a budget is kept."""
    cores = _one_core()
    limit_threads(1)
    runs = max(3, arguments.runs)
    if arguments.cpu:
        Clock.name = "process_time"
    print(f"One core of {cores}, one thread, {Clock.words()}.")
    print(f"Median, smallest … largest of {runs} runs (fewer for what takes seconds)")
    print(f"{'':44} {'':34} {'× smplx':>10} {'at most':>9}")
    photos = [Path(photo) for photo in arguments.photos] or _demo_photos()
    measured = [_reference(runs)]
    unit = measured[0].median
    print(measured[0].line(unit), flush=True)
    for measurement in _all(photos, runs):
        measured.append(measurement)
        print(measurement.line(unit), flush=True)
    again = _reference(runs)
    print(
        f"The reference at the end: {1e3 * again.median:.1f} ms (the machine's own drift: {again.median / unit:.2f} ×)"
    )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([asdict(item) for item in measured], indent=1))
    return 0


def _all(photos: list[Path], runs: int) -> Iterator[Measurement]:
    few = max(3, runs // 3)
    captures = []
    for photo in photos:
        for measurement, capture in _solver(photo, runs):
            yield measurement
            captures.append(capture)
    yield _avatar(captures[-1], few)
    yield from blocks(captures[-1], few)
    yield from _worker(photos[0], few)
    yield _register(few)


def _solver(photo: Path, runs: int) -> Iterator[tuple[Measurement, Any]]:
    from ...core.body.load import load_body
    from ...core.detection.detector import DetectionSettings, Detector
    from ...core.detection.models import find_models
    from ...core.fitting.photo import Fitter
    from ...core.media.photo import read_photo

    frame = read_photo(photo)
    with contextlib.closing(Detector(find_models(), DetectionSettings())) as detector:
        detector.detect(frame)
        seconds = times(lambda: detector.detect(frame), runs)
        observations = detector.detect(frame)
    if not observations:
        print(f"{photo}: no person was found; choose another photo", file=sys.stderr)
        return
    fitter = Fitter(load_body())
    capture = fitter.fit(observations[0])
    name = photo.stem[:20]
    # The demo's own picture: one person, all of them, nothing hidden.
    easy = photo.name == "figure.png"
    kind = f"detection, hands and face: {name}{' (easy)' if easy else ''}"
    yield Measurement(kind, seconds, budget=0.15 if easy else 0.25), capture
    seconds = times(lambda: fitter.fit(observations[0]), runs)
    yield Measurement(f"fit: {name}", seconds, budget=0.1), capture


def _avatar(capture: Any, runs: int) -> Measurement:
    import bpy

    from ...core.body.load import load_body
    from ...scene.avatar import build_avatar

    body = load_body()
    values = []
    for _ in range(runs + 1):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        start = Clock.now()
        build_avatar(capture, body)
        bpy.context.view_layer.update()
        values.append(Clock.now() - start)
    # The first one also imports and warms up, as in a Blender that was just started: it is a run like the others for
    # a user, but not for a median.
    return Measurement("avatar in Blender, evaluated", tuple(values[1:]), budget=0.5)


def _worker(photo: Path, runs: int) -> Iterator[Measurement]:
    ready, first, warm, drags, memory = [], [], [], [], []
    for _ in range(runs):
        start = 0.0 if Clock.name == "process_time" else Clock.now()
        with tempfile.TemporaryDirectory() as folder, Client() as client:
            _wait(client, Ready)
            ready.append(Clock.of(client.pid) - start)
            client.submit(FitPhoto(new_job_id(), str(photo.resolve()), folder))
            _wait(client, Result)
            first.append(Clock.of(client.pid) - start)
            for _again in range(3):
                start = Clock.of(client.pid)
                client.submit(FitPhoto(new_job_id(), str(photo.resolve()), folder))
                _wait(client, Result)
                warm.append(Clock.of(client.pid) - start)
            drags += _corrections(client, Path(folder))
            memory.append(_peak_mb(client.pid))
    yield Measurement("worker, start to ready", tuple(ready))
    yield Measurement("worker, cold start to the first capture", tuple(first), budget=6.0)
    yield Measurement("worker, warm, a photo to its capture", tuple(warm))
    yield Measurement("worker, warm, a point dragged to its pose", tuple(drags), budget=0.2)
    if all(memory):
        yield Measurement("worker, peak memory", tuple(memory), unit="MB", budget=1200.0)


def _corrections(client: Client, folder: Path) -> list[float]:
    """The left wrist of the folder's capture, dragged a little further each time."""
    from ...core.capture import Capture

    (path,) = folder.glob("*.npz")
    x, y = (float(value) for value in Capture.load(path).points["pose33"][0, 15, :2])
    values = []
    for k in range(-1, 6):
        start = Clock.of(client.pid)
        pin = {"pose33/15": [x + 8.0 * k, y - 8.0 * k]}
        client.submit(Correct(new_job_id(), str(path), str(folder / "corrected"), pin))
        _wait(client, Result)
        values.append(Clock.of(client.pid) - start)
    return values[1:]  # the first one loads what later ones use


def _register(runs: int) -> Measurement:
    values = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", REGISTER, Clock.name], capture_output=True, text=True, check=True)
        values.append(float(done.stdout.split("seconds")[1].split()[0]))
    return Measurement("registering the extension", tuple(values), budget=0.05)


def _reference(runs: int) -> Measurement:
    import smplx
    import torch

    from ...core.body.export import export_smplx
    from ...core.body.load import load_body

    body = load_body()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        path = Path(folder) / "SMPLX_NEUTRAL.npz"
        export_smplx(body, path)
        model = smplx.create(
            str(path),
            model_type="smplx",
            use_pca=False,
            flat_hand_mean=True,
            num_betas=body.num_betas,
            num_expression_coeffs=body.num_expressions,
        )

    def both() -> None:
        model.zero_grad()
        torch.sum(model(return_verts=True).vertices ** 2).backward()

    both()
    return Measurement(REFERENCE, times(both, runs))


def _wait(client: Client, kind: type) -> None:
    while True:
        for event in client.poll():
            if isinstance(event, kind):
                return
            if isinstance(event, FINAL_EVENTS):
                raise RuntimeError(f"the worker said {event}")
        time.sleep(0.002)


def _peak_mb(pid: int | None) -> float:
    """Largest resident memory of a process so far; 0 where the system does not tell."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return 0.0


def _one_core() -> int:
    """Stay on one core from here on, and children too; how many the machine has."""
    count = os.cpu_count() or 1
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return count


def _demo_photos() -> list[Path]:
    from ...__main__ import demo_photos

    return demo_photos(Path("out"))
