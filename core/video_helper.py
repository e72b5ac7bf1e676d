"""A second process that helps to fit a clip: it takes key frames and windows.

It is started like the worker, by `core/launch.py`, so that it works wherever a worker does, and while people are looked
for, so that it has loaded everything when the fit begins. On its standard input come JSON lines: first what to load,
which it answers when that is done; then for each person what to fit, and one line for each key frame or window, which
it answers when that is done and a window's part is written. The end of its input ends it at once. Parts are exchanged
through the job's folder. Where it fails, whoever asked does the same itself and goes on alone.
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
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .video_windows import Schedule

if TYPE_CHECKING:
    from .fitting.photo import Fitter, PhotoCamera
    from .fitting.video_shape import KeyFit
    from .video_person import PersonFit

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
    camera: dict[str, Any]  # of PhotoCamera
    rate: float
    height_m: float | None
    key: str


class Helper:
    """A helper process from the side of whoever started it. It takes no part until it has loaded what it needs."""

    def __init__(self, base: dict[str, Any], warn: Callable[[str], None], command: list[str] | None = None) -> None:
        """base: of PipelineSettings."""
        self._warn = warn
        self._process: subprocess.Popen[str] | None = None
        self._closing = False
        self._loaded = threading.Event()  # or failed
        try:
            self._process = subprocess.Popen(
                command or helper_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
            self._say(base)
        except OSError:
            self._fail()
            return
        threading.Thread(target=self._wait_for_it, name="helper-loads", daemon=True).start()

    def _wait_for_it(self) -> None:
        if not self._hear().get("loaded"):
            self._fail()
        self._loaded.set()

    def begin(self, fit: HelpedFit) -> None:
        """What is asked for from now on belongs to this fit."""
        if self._process is not None:
            try:
                self._say(asdict(fit))
            except (OSError, ValueError):
                self._fail()

    def fit_keys(self, camera: PhotoCamera, schedule: Schedule, found: dict[int, KeyFit | None]) -> None:
        """Let the helper fit some of the key frames into `found`. Returns at once."""
        from .fitting.video_shape import KeyFit

        def hear(number: int, answer: dict[str, Any]) -> None:
            key = answer["key"]
            found[number] = None if key is None else KeyFit(np.array(key[0], np.float32), key[1], key[2])

        self._take_part(schedule, lambda number: {"key": number, "camera": asdict(camera)}, hear)

    def solve(self, name: str, schedule: Schedule) -> None:
        """Let the helper solve some windows of one pass, into parts. Returns at once."""
        self._take_part(schedule, lambda number: {"pass": name, "window": number}, lambda number, answer: None)

    def _take_part(
        self, schedule: Schedule, ask: Callable[[int], dict[str, Any]], hear: Callable[[int, dict[str, Any]], None]
    ) -> None:
        def work() -> None:
            self._loaded.wait()
            while self._process is not None and (number := schedule.take()) is not None:
                with contextlib.suppress(OSError, ValueError):  # then the answer lacks, too
                    self._say(ask(number))
                answer = self._hear()
                if answer.get("done") != number:
                    schedule.give_back(number)
                    self._fail()
                    return
                hear(number, answer)
                schedule.finish(number)

        if self._process is not None:
            threading.Thread(target=work, name="helper", daemon=True).start()

    def _hear(self) -> dict[str, Any]:
        """The next answer; empty where there is none."""
        process = self._process
        if process is None or process.stdout is None:
            return {}
        try:
            answer = json.loads(process.stdout.readline())
        except (OSError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}

    def _say(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise BrokenPipeError
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()

    def _fail(self) -> None:
        if not self._closing:
            self._closing = True
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
    packages = str(Path(np.__file__).resolve().parent.parent)
    return [sys.executable, "-I", "-u", str(LAUNCHER), "--packages", packages, OPTION]


# --- inside of the helper ---------------------------------------------------------------------------------------------


def main() -> int:
    """Do what is asked for. The end of the input ends the process."""
    # Libraries print to fd 1, from native code too. So it is pointed at stderr, and answers go through a copy.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    # Ctrl-C goes to all processes of a terminal; whoever started this one ends it.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox = _Inbox(os.fdopen(os.dup(0), encoding="utf-8"))

    def answer(what: dict[str, Any]) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    fitter = _loaded(inbox.next())
    answer({"loaded": True})
    known = fit = None
    while True:
        message = inbox.next()
        if "folder" in message:
            known, fit = HelpedFit(**message), None
            continue
        try:
            assert known is not None
            fit = fit or _person_fit(known, fitter)
            answer(_done(fit, message))
        except Exception:
            # Whoever asked does it itself, and meets the error where it can be told.
            print(traceback.format_exc(), file=sys.stderr)
            answer({"failed": True})


def _done(fit: PersonFit, message: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked for; the answer."""
    if "key" in message:
        key = fit.fit_key(int(message["key"]), _camera(message["camera"]))
        told = None if key is None else [[float(value) for value in key.betas], key.focal_px, key.belief]
        return {"done": message["key"], "key": told}
    fit.prepare(message["pass"])
    fit.solve(message["pass"], int(message["window"]))
    return {"done": message["window"]}


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


def _loaded(base: dict[str, Any]) -> Fitter:
    from .pipeline import Pipeline, PipelineSettings, limit_threads, usable_device

    settings = PipelineSettings(**base)
    limit_threads(settings.threads)
    pipeline = Pipeline()
    return pipeline.clip_fitter(pipeline._bodies_for(settings)[0], usable_device(settings.device))


def _person_fit(known: HelpedFit, fitter: Fitter) -> PersonFit:
    from .video_job import JobFolder
    from .video_people import Sightings
    from .video_person import PersonFit

    folder = JobFolder(Path(known.folder))
    sightings = Sightings(folder, known.detection_key, known.parts)
    person = sightings.people()[known.number]
    size = known.image_size[0], known.image_size[1]
    return PersonFit(
        fitter, sightings, person, known.number, size, _camera(known.camera), known.rate, known.height_m, folder,
        known.key, lambda fraction: None, lambda: None,
    )  # fmt: skip


def _camera(known: dict[str, Any]) -> PhotoCamera:
    from .fitting.photo import PhotoCamera

    middle = known["principal_px"]
    return PhotoCamera(known["focal_px"], known["focal_source"], tuple(middle) if middle else None)
