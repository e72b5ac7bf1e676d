"""Start, poll and cancel a worker process. Standard library only: this is what runs inside Blender.

Nothing here blocks except `close`, which waits a moment for the worker to end. Threads read the worker's output, so
`poll` may be called from a timer, from a loop on the command line, or from a test.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from . import messages
from .messages import Cancel, Cancelled, Failed, JobRequest, Message, Quit, Ready, Warm

LAUNCHER = Path(__file__).resolve().parent / "launch.py"
LOG_LINES = 200
# Of the launcher: this Python can't solve.
UNUSABLE = 3


class ClientError(Exception):
    """The worker can't be started or spoken to; the message says what to do next."""


def worker_command(python: str | None = None, packages: str | None = None) -> list[str]:
    """The command that starts a worker.

    `python`: the interpreter, by default the running one (inside Blender that is Blender's own Python).
    `packages`: a folder with the solver's packages, which only the worker has on its path.
    The worker is started by its file's path, because the folder of the package has another name in every place where
    it is installed; -I keeps the user's own environment variables and packages out.
    """
    command = [python or sys.executable, "-I", "-u", str(LAUNCHER)]
    if packages:
        command += ["--packages", packages]
    return command


def new_job_id() -> str:
    """An id that no other job has."""
    return uuid.uuid4().hex[:12]


class Client:
    """One worker process. `start`, then `submit` and `poll` for each job, then `close`."""

    def __init__(
        self,
        command: Sequence[str] | None = None,
        cancel_grace_s: float = 3.0,
        log_path: str | os.PathLike[str] | None = None,
    ) -> None:
        """`log_path`: a file, begun anew, that gets what the worker writes to its standard error."""
        self._command = list(command) if command is not None else worker_command()
        self._log_path = log_path
        self._cancel_grace_s = cancel_grace_s
        self._process: subprocess.Popen[bytes] | None = None
        self._events: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._reader: threading.Thread | None = None
        self._log_reader: threading.Thread | None = None
        self._write_lock = threading.Lock()
        self._job: str | None = None
        self._cancel_sent_s: float | None = None
        self._terminated = False
        self.ready: Ready | None = None

    # ------------------------------------------------------------------------------------------------------ state

    @property
    def job(self) -> str | None:
        """The id of the job that runs; None when the worker is idle."""
        return self._job

    @property
    def pid(self) -> int | None:
        """The worker's process id; None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the worker's process runs."""
        return self._process is not None and self._process.poll() is None

    def log_tail(self, lines: int = LOG_LINES) -> str:
        """The last lines that the worker wrote to its standard error, for a log."""
        return "\n".join(list(self._log)[-lines:])

    # ---------------------------------------------------------------------------------------------------- control

    def start(self) -> None:
        """Start the process; does not wait for it. Raises ClientError."""
        if self.alive:
            return
        self._events = queue.SimpleQueue()
        self._log.clear()
        self.ready = None
        self._job = None
        self._cancel_sent_s = None
        self._terminated = False
        # A group of its own, so that Ctrl+C in the terminal that Blender was started from does not hit it.
        extra: dict[str, object] = {"start_new_session": True}
        if sys.platform == "win32":
            extra = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **extra,  # type: ignore[call-overload]
            )
        except OSError as error:
            raise ClientError(
                f"The solver can't be started with {self._command[0]}: {error.strerror or error}. "
                "Choose another Python in the preferences."
            ) from error
        process = self._process
        assert process is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._read_events, args=(process.stdout, self._events), daemon=True)
        self._log_reader = threading.Thread(target=self._read_log, args=(process.stderr, self._log_file()), daemon=True)
        self._reader.start()
        self._log_reader.start()
        atexit.register(self.close)

    def submit(self, request: JobRequest) -> None:
        """Give the worker a job. Raises ClientError when it has one, or is gone."""
        if self._job is not None:
            raise ClientError("The solver is busy with another job. Wait for it, or cancel it first.")
        if not self.alive:
            raise ClientError(self._death_sentence())
        self._job = request.job
        self._cancel_sent_s = None
        if not self._write(request):
            self._job = None
            raise ClientError(self._death_sentence())

    def warm(self, request: Warm) -> None:
        """Let an idle worker load early; a job that is submitted meanwhile begins after that."""
        if self._job is None and self.alive:
            self._write(request)

    def cancel(self) -> None:
        """Ask for the running job to end. `poll` reports `Cancelled`, at the latest after the grace time."""
        if self._job is None or self._cancel_sent_s is not None:
            return
        self._cancel_sent_s = time.monotonic()
        self._write(Cancel(self._job))

    def poll(self) -> list[Message]:
        """Events since the last call, in order. Never blocks.

        Events of jobs that have ended are dropped. A worker that died during a job gives `Failed`; one that ignores
        a cancel is terminated, then killed, and gives `Cancelled`.
        """
        events: list[Message] = []
        ended = self._process is not None and self._process.poll() is not None
        if ended and self._reader is not None:
            # What the process wrote before its end is still in the pipe; its reader ends with it.
            self._reader.join(timeout=1.0)
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, Ready):
                self.ready = event
            elif getattr(event, "job", None) != self._job or self._job is None:
                continue
            events.append(event)
            if isinstance(event, messages.FINAL_EVENTS):
                self._finish_job()
        if self._job is None:
            return events
        if ended:
            job, was_cancelled = self._job, self._cancel_sent_s is not None
            events.append(Cancelled(job) if was_cancelled else Failed(job, self._death_sentence(), self.log_tail()))
            self._finish_job()
        elif self._cancel_sent_s is not None:
            self._press_cancel(time.monotonic() - self._cancel_sent_s)
        return events

    def close(self, timeout_s: float = 2.0) -> None:
        """End the worker: by closing its input, else by terminating, else by killing it. Safe to call twice."""
        process = self._process
        if process is None:
            return
        atexit.unregister(self.close)
        if process.poll() is None:
            self._write(Quit())
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        for press in (None, process.terminate, process.kill):
            if press is not None:
                press()
            try:
                process.wait(timeout_s)
                break
            except subprocess.TimeoutExpired:
                continue
        for thread in (self._reader, self._log_reader):
            if thread is not None:
                thread.join(timeout=1.0)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError, ValueError):
                    stream.close()
        self._process = None
        self._finish_job()

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --------------------------------------------------------------------------------------------------- internal

    def _finish_job(self) -> None:
        self._job = None
        self._cancel_sent_s = None
        self._terminated = False

    def _press_cancel(self, waited_s: float) -> None:
        assert self._process is not None
        if waited_s > 2 * self._cancel_grace_s:
            self._process.kill()
        elif waited_s > self._cancel_grace_s and not self._terminated:
            self._process.terminate()
            self._terminated = True

    def _write(self, message: Message) -> bool:
        process = self._process
        if process is None or process.stdin is None:
            return False
        try:
            with self._write_lock:
                process.stdin.write(message.to_line().encode("utf-8"))
                process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def _death_sentence(self) -> str:
        code = None if self._process is None else self._process.poll()
        if code is None:
            why = "is not running"
        elif code < 0:
            name = f"signal {-code}"
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
            if name in ("SIGKILL", "SIGTERM"):
                return (
                    f"The solver was ended from outside ({name}), perhaps for lack of memory. "
                    "Close other programs and try again."
                )
            why = f"crashed ({name})"
        else:
            why = f"stopped unexpectedly (exit status {code})"
        # The last line of a traceback is the best short reason there is.
        last = next((line.strip() for line in reversed(self._log) if line.strip()), "")
        if code == UNUSABLE and last:
            return last
        reason = f": {last[:200].rstrip('.')}" if last else ""
        return f"The solver {why}{reason}. Try again; if it stays so, look at the log."

    @staticmethod
    def _read_events(stream: IO[bytes], events: queue.SimpleQueue[Message]) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in stream:
                # A line that is no event can only come from a library that writes past the worker: not our concern.
                with contextlib.suppress(messages.MessageError):
                    events.put(messages.parse_event(line))

    def _log_file(self) -> IO[str] | None:
        """A log that can't be written is no reason not to solve."""
        if self._log_path is None:
            return None
        with contextlib.suppress(OSError):
            Path(self._log_path).parent.mkdir(parents=True, exist_ok=True)
            return open(self._log_path, "w", encoding="utf-8", buffering=1)
        return None

    def _read_log(self, stream: IO[bytes], file: IO[str] | None) -> None:
        with contextlib.suppress(OSError, ValueError), file or contextlib.nullcontext():
            for line in stream:
                text = line.decode("utf-8", "replace").rstrip()
                self._log.append(text)
                if file is not None:
                    with contextlib.suppress(OSError):
                        print(text, file=file)
            if file is not None and self._process is not None and (code := self._process.poll()):
                with contextlib.suppress(OSError):
                    print(f"ended with exit status {code}", file=file)
