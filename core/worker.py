"""The process that solves. `core/launch.py` starts it; `python -m pantomime.core.worker` does as well.

Standard input: requests, one JSON object a line. Standard output: events, one JSON object a line. Jobs run one
after another in the main thread, and models stay loaded between them. Another thread reads the input, so a cancel is
seen while a job runs. The end of the input means that the client is gone: the job is dropped and the process ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from typing import Any, BinaryIO

from . import messages
from .jobs import Work, handler_of, settings_of
from .messages import Cancel, Cancelled, Failed, JobRequest, Message, Progress, Quit, Ready, Stage, Warm, Warn
from .pipeline import Pipeline, PipelineCancelled, PipelineError, Reporter

# How long a job may go on after its client is gone.
ORPHAN_GRACE_S = 5.0
# What MediaPipe imports for drawing, which nothing here does: two thirds of the time that MediaPipe takes to load, and
# 40 MB that the packed solver does without.
UNUSED = ("matplotlib", "matplotlib.pyplot")


class Channel:
    """The way to the client: one line an event, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.broken = threading.Event()

    def send(self, event: Message) -> None:
        """Write an event at once. A client that no longer listens is noted, not raised."""
        try:
            with self._lock:
                self._stream.write(event.to_line().encode("utf-8"))
                self._stream.flush()
        except (OSError, ValueError):
            self.broken.set()


class Inbox:
    """Requests as they come; cancels are applied at once, jobs wait their turn."""

    def __init__(self, stream: BinaryIO, channel: Channel) -> None:
        self._stream = stream
        self._channel = channel
        self._jobs: queue.SimpleQueue[JobRequest | Warm | None] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self.gone = threading.Event()

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next_job(self) -> JobRequest | Warm | None:
        """Wait for a job; None when the client is gone."""
        return self._jobs.get()

    def cancelled(self, job: str) -> bool:
        """Whether the job is no longer wanted."""
        return self.gone.is_set() or self._channel.broken.is_set() or job in self._cancelled

    def forget(self, job: str) -> None:
        """The job has ended: a later one may have the same id."""
        self._cancelled.discard(job)

    def _read(self) -> None:
        try:
            for line in self._lines():
                if len(line) > messages.MAX_LINE_BYTES:
                    self._refuse(f"a line of more than {messages.MAX_LINE_BYTES} bytes", "")
                elif line.strip() and not self._take(line):
                    break
        finally:
            self.gone.set()
            self._jobs.put(None)
            # A job that is deep in native code does not see that nobody waits for it.
            timer = threading.Timer(ORPHAN_GRACE_S, os._exit, (1,))
            timer.daemon = True
            timer.start()

    def _lines(self) -> Iterator[bytes]:
        """What comes in until the input ends, or breaks; of a line that is too long its beginning, which tells."""
        with contextlib.suppress(OSError, ValueError):
            while line := self._stream.readline(messages.MAX_LINE_BYTES + 1):
                rest = line
                while len(line) > messages.MAX_LINE_BYTES and rest and not rest.endswith(b"\n"):
                    rest = self._stream.readline(messages.MAX_LINE_BYTES)
                yield line

    def _take(self, line: bytes) -> bool:
        """False: the client said that it is done."""
        try:
            request = messages.parse_request(line)
        except messages.MessageError as error:
            self._refuse(str(error), error.job)
            return True
        if isinstance(request, Quit):
            return False
        if isinstance(request, Cancel):
            self._cancelled.add(request.job)
        elif isinstance(request, JobRequest):
            self._cancelled.discard(request.job)
            self._jobs.put(request)
        elif isinstance(request, Warm):
            self._jobs.put(request)
        return True

    def _refuse(self, why: str, job: str) -> None:
        self._channel.send(
            Failed(job, f"The solver does not understand a request: {why}. Update Pantomime on both sides.")
        )


def run_job(request: JobRequest, pipeline: Pipeline, channel: Channel, inbox: Inbox, memory: dict[str, Any]) -> None:
    """Run one job and send its events, the last of them exactly one of result, cancelled, error."""
    job = request.job
    reporter = Reporter(
        stage=lambda name, text: channel.send(Stage(job, name, text)),
        progress=lambda fraction: channel.send(Progress(job, fraction)),
        warning=lambda text: channel.send(Warn(job, text)),
        cancelled=lambda: inbox.cancelled(job),
    )
    try:
        channel.send(handler_of(request)(request, Work(job, pipeline, reporter, channel.send, memory)))
    except PipelineCancelled:
        channel.send(Cancelled(job))
    except PipelineError as error:
        channel.send(Failed(job, str(error)))
    except Exception as error:
        detail = traceback.format_exc()
        print(detail, file=sys.stderr)
        channel.send(
            Failed(
                job,
                f"The fit met an error in Pantomime itself ({type(error).__name__}: {str(error)[:200]}). "
                "Try another photo, and report this one with the log.",
                detail,
            )
        )


def warm(request: Warm, pipeline: Pipeline) -> None:
    """Load what photos need. Where that fails, the next job fails with the same error, and tells of it."""
    try:
        pipeline.prepare(settings_of(request))
    except Exception:
        print(traceback.format_exc(), file=sys.stderr)


def leave_out(names: tuple[str, ...]) -> None:
    """Let these modules be imported as empty ones. For a process of our own alone: nobody else's code runs here."""
    for name in names:
        sys.modules.setdefault(name, types.ModuleType(name))


def main() -> int:
    """Serve until the input ends; the exit status."""
    # Libraries print to fd 1, from native code too. So it is pointed at stderr, and events go through a copy.
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    requests = os.fdopen(os.dup(0), "rb")
    channel = Channel(events)
    inbox = Inbox(requests, channel)
    from .. import __version__

    leave_out(UNUSED)
    channel.send(Ready(__version__, os.getpid()))
    inbox.start()
    pipeline = Pipeline()
    memory: dict[str, Any] = {}
    while (request := inbox.next_job()) is not None:
        if isinstance(request, Warm):
            warm(request, pipeline)
            continue
        run_job(request, pipeline, channel, inbox, memory)
        inbox.forget(request.job)
    # Native libraries of detectors may hang or crash in their destructors; there is nothing left to save.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
