"""A second process that solves windows of a clip, for its longest part: the fit of many windows.

It is started like the worker, by `core/launch.py`, so that it works wherever a worker does. On its standard input come
JSON lines: first what to fit, then one line for each window; it answers each with a line when the window's part is
written. The end of its input ends it at once. Parts are exchanged through the job's folder. Where it fails, whoever
asked solves the window itself and goes on alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from .video_windows import Schedule

LAUNCHER = Path(__file__).resolve().parent / "launch.py"
OPTION = "--help-fitting"
END_S = 3.0  # until a helper that does not end is killed


@dataclass(frozen=True)
class HelpedFit:
    """Everything that a helper needs to know of one person's fit. JSON keeps floats exactly."""

    folder: str
    detection_key: str
    parts: int
    number: int
    image_size: tuple[int, int]
    camera: dict[str, Any]
    rate: float
    key: str
    base: dict[str, Any]  # of PipelineSettings


class Helper:
    """A helper process from the side of whoever started it."""

    def __init__(self, fit: HelpedFit, warn: Callable[[str], None], command: list[str] | None = None) -> None:
        self._warn = warn
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._closing = False
        try:
            self._process = subprocess.Popen(
                command or helper_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
            self._say(asdict(fit))
        except OSError:
            self._fail()

    def work(self, name: str, schedule: Schedule) -> None:
        """Let the helper take part in one pass over the windows. Returns at once."""
        if self._process is not None:
            self._thread = threading.Thread(target=self._work, args=(name, schedule), name="helper", daemon=True)
            self._thread.start()

    def _work(self, name: str, schedule: Schedule) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        while (number := schedule.take()) is not None:
            try:
                self._say({"pass": name, "window": number})
                answer = json.loads(process.stdout.readline())
            except (OSError, ValueError):
                answer = {}
            if answer.get("done") != number:
                schedule.give_back(number)
                self._fail()
                return
            schedule.finish(number)

    def _say(self, message: dict[str, Any]) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()

    def _fail(self) -> None:
        if not self._closing:
            self._warn("The second solver process ended early; going on with one. The result is the same.")
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def close(self) -> None:
        """End the helper, whatever it is doing."""
        self._closing = True
        self._end()


def helper_command() -> list[str]:
    """The command that starts a helper with the Python and the packages of this process."""
    import numpy

    packages = str(Path(numpy.__file__).resolve().parent.parent)
    return [sys.executable, "-I", "-u", str(LAUNCHER), "--packages", packages, OPTION]


# --- inside of the helper ---------------------------------------------------------------------------------------------


def main() -> int:
    """Solve windows until the input ends; the exit status."""
    # Libraries print to fd 1, from native code too. So it is pointed at stderr, and answers go through a copy.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    # Ctrl-C goes to all processes of a terminal; whoever started this one ends it.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox = _Inbox(os.fdopen(os.dup(0), encoding="utf-8"))
    first = inbox.next()
    fit = None
    while (message := inbox.next()) is not None:
        try:
            fit = fit or _person_fit(HelpedFit(**first))
            fit.prepare(message["pass"])
            fit.solve(message["pass"], int(message["window"]))
            answer = {"done": int(message["window"])}
        except Exception:
            # Whoever asked solves the window itself, and meets the error where it can be told.
            print(traceback.format_exc(), file=sys.stderr)
            answer = {"failed": True}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


class _Inbox:
    """Lines as they come; the end of the input ends the process even in the middle of a window."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next(self) -> dict[str, Any]:
        return self._lines.get()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in self._stream:
                self._lines.put(json.loads(line))
        os._exit(0)


def _person_fit(fit: HelpedFit) -> Any:
    from .fitting.photo import PhotoCamera
    from .pipeline import Pipeline, PipelineSettings, limit_threads
    from .video_job import JobFolder
    from .video_people import Sightings
    from .video_person import PersonFit

    base = PipelineSettings(**fit.base)
    limit_threads(base.threads)
    pipeline = Pipeline()
    fitter = pipeline.clip_fitter(pipeline._bodies_for(base)[0], base.device)
    folder = JobFolder(Path(fit.folder))
    sightings = Sightings(folder, fit.detection_key, fit.parts)
    person = sightings.people()[fit.number]
    known = fit.camera["principal_px"]
    camera = PhotoCamera(fit.camera["focal_px"], fit.camera["focal_source"], tuple(known) if known else None)
    return PersonFit(
        fitter, sightings, person, fit.number, (fit.image_size[0], fit.image_size[1]), camera, fit.rate, None, folder,
        fit.key, lambda fraction: None, lambda: None,
    )  # fmt: skip
