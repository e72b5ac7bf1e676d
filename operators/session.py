"""The one worker of this Blender, the jobs that wait for it, and what the interface shows of them.

Jobs that need no worker, such as exports, have a session of their own, `ASIDE`: they don't wait for a long clip.

Work of any kind goes through here: make a `Job` around a request of `core.messages`, `SESSION.submit(job)`, and its
functions are called when the worker answers: always in Blender's main thread, never while a request is written.
Jobs run one after another. The worker stays warm; one that died is reported, and the next job gets a new one.

No object of Blender is kept here, because undo and loading a file replace them all: a scene is found again by its name.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import bpy

from . import notify
from .busy import waits_for
from .jobs import Job, JobError, Status
from .notify import failed, report
from .settings import SolverSettings, log_path
from .stepping import Reported, Stepper

# The worker's client and messages are imported where they are used: enabling the extension is to cost little.
if TYPE_CHECKING:
    from ..core.client import Client
    from ..core.messages import Message


# Errors in one popup: more would cover the window, and the sidebar has them.
MOST_TOLD = 4


class Session(Stepper):
    """Starts the worker when it is needed, keeps it warm, runs one job after another."""

    def __init__(self) -> None:
        super().__init__()
        self.on_work: Callable[[], None] = lambda: None  # called when there is something to poll for
        self._client: Client | None = None
        self._command: list[str] = []
        self._waiting: deque[Job] = deque()
        self._trails: dict[tuple[str, bool], list[tuple[float, float]]] = {}  # by kind of request, and cold or warm
        self._trail_key = ("", True)
        self._warmed: tuple[SolverSettings, str, str] | None = None  # what the solver was last warmed for
        self._events: deque[Message] = deque()  # of the running job, not taken in yet
        self._held: Message | None = None  # the running job's last event, until the user's hand is free
        self._untold: list[tuple[str, str]] = []  # errors that a popup is to tell of, each under its title
        self.away_s = 0.0  # how long Blender lately took between two ticks: what it needs to draw its window

    # ------------------------------------------------------------------------------------------------------ state

    @property
    def log(self) -> str:
        """The end of the worker's log."""
        return "" if self._client is None else self._client.log_tail()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None where none was started."""
        return None if self._client is None else self._client.pid

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return self._job is not None or bool(self._waiting)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Labels of the jobs that wait, next first."""
        return tuple(job.label for job in self._waiting)

    def running(self, kind: str) -> bool:
        """Whether a job with a request of this type, such as "make_texture", runs or waits."""
        jobs = (*self._waiting, self._job)
        return any(job is not None and job.request is not None and job.request.type == kind for job in jobs)

    # ---------------------------------------------------------------------------------------------------- control

    def submit(self, job: Job) -> None:
        """Queue a job; it begins at once where nothing runs. Raises JobError when the worker can't be started."""
        if not self.busy:
            self.notices = []
        if job.key:
            for other in [other for other in self._waiting if other.key == job.key]:
                self._waiting.remove(other)
                self._end_of(other)
        if job.urgent:
            self._waiting.insert(sum(1 for other in self._waiting if other.urgent), job)
        else:
            self._waiting.append(job)
        if self._job is None and self._held is None:
            self._begin_next(raise_errors=True)
        self.on_work()

    def warm(self, settings: SolverSettings, gender: str = "neutral", quality: str = "normal") -> None:
        """Start an idle worker and let it load what photos need; once for the same settings.

        A solver that can't be started is no news to somebody who has not asked for anything: the first job tells.
        """
        from ..core.client import ClientError
        from ..core.messages import Warm

        if self.busy or self._warmed == (settings, gender, quality):
            return
        self._warmed = (settings, gender, quality)
        with contextlib.suppress(ClientError, OSError):
            self._ensure_worker(settings)
            assert self._client is not None
            self._client.warm(
                Warm(
                    settings.body,
                    settings.device,
                    settings.threads,
                    settings.cache_dir,
                    settings.models_dir,
                    gender if settings.body else "neutral",
                    quality,
                )
            )

    def cancel(self) -> None:
        """Ask for the end of the running job; `poll` will see it, and goes on with the next one."""
        from ..core.messages import Cancelled, Result

        if self._job is None:
            return
        if isinstance(self._acted, Result) or self._held is not None:
            # The worker has done its part.
            self._drop_steps()
            self._end(Cancelled(""))
            self.on_work()
        elif self._client is not None:
            self._drop_steps()
            self.status.cancelling = True
            self.status.text = "Cancelling"
            self._client.cancel()

    def cancel_all(self) -> None:
        """Drop what waits, then ask for the end of what runs."""
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            self._end_of(job)
        self.cancel()

    def poll(self) -> bool:
        """Take in what the worker said, and let jobs act on it. True while a job runs or waits.

        An ordinary function: a timer calls it in a window, a loop in background mode, a test as it likes.
        """
        if self._held is not None:
            self._finish(self._held)
        if self._client is not None:
            self._events.extend(self._client.poll())
        if self._acted is not None:
            self._go_on()
        while self._events and self._acted is None and self._held is None:
            event = self._events.popleft()
            request = self._job.request if self._job is not None else None
            if request is not None and getattr(event, "job", None) == request.job:
                self._take(event)
        if self._job is None and self._waiting:
            self._begin_next(raise_errors=False)
        return self.busy

    def wait(self) -> None:
        """Poll until all jobs have ended. For background mode, where no timer runs."""
        try:
            while self.poll():
                if not self.building:
                    time.sleep(0.005 if self.status.urgent else 0.02)
        except KeyboardInterrupt:
            self.cancel_all()
            while self.poll():
                time.sleep(0.02)
            raise

    def stop_worker(self) -> None:
        """End the worker and all jobs, if any. The next job starts a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None
        waiting, self._waiting = self._waiting, deque()
        self._drop_steps()
        running, self._job, self._held = self._job, None, None
        self._untold.clear()
        self._events.clear()
        self.status.running = self.status.cancelling = False
        for job in (running, *waiting):
            if job is not None:
                self._end_of(job)

    # --------------------------------------------------------------------------------------------------- internal

    def _begin_next(self, raise_errors: bool) -> None:
        from ..core.client import ClientError
        from ..core.messages import Result

        job = self._waiting.popleft()
        self.status = Status(
            running=True,
            label=job.label,
            urgent=job.urgent,
            place=job.place,
            text="Waiting for the solver",
            started_s=time.monotonic(),
        )
        if job.request is None:
            self._trail_key = (job.title, False)
            self.status.usual = self._trails.get(self._trail_key, [])
            self._job = job
            self._finish(Result("", []))
            return
        try:
            cold = self._ensure_worker(job.settings)
            if cold:
                self.status.text = "Starting the solver"
            self._trail_key = (job.request.type, cold)
            self.status.usual = self._trails.get(self._trail_key, [])
            assert self._client is not None
            self._job = job
            self._client.submit(job.request)
        except (ClientError, OSError) as error:
            self._job = None
            if self._client is not None:
                self._client.close()
                self._client = None
            self._fail(job, str(error))
            self._end_of(job)
            if raise_errors:
                raise JobError(str(error)) from error
            self._untold.append((job.title, str(error)))
            self._tell()

    def _ensure_worker(self, settings: SolverSettings) -> bool:
        """True if the worker had to be started."""
        from ..core.client import Client, worker_command

        command = worker_command(settings.python, settings.packages)
        if self._client is not None and (command != self._command or not self._client.alive):
            self._client.close()
            self._client = None
        if self._client is not None:
            return False
        self._client = Client(command, log_path=log_path())
        self._client.start()
        self._command = command
        return True

    def _take(self, event: Message) -> None:
        from ..core.messages import FINAL_EVENTS, Checkpoint, Progress, Stage, Warn

        status, job = self.status, self._job
        assert job is not None
        if isinstance(event, FINAL_EVENTS):
            self._finish(event)
        elif isinstance(event, Stage):
            if not status.cancelling:
                status.text = event.text
        elif isinstance(event, Progress):
            status.fraction = event.fraction
            status.trail.append((time.monotonic() - status.started_s, event.fraction))
        elif isinstance(event, Warn):
            status.warnings.append(event.text)
            self.say("warning", event.text, job.label)
        elif isinstance(event, Checkpoint) and job.on_checkpoint is not None and not status.cancelling:
            self._act(event)

    def _finish(self, event: Message) -> None:
        """The worker has done its part of the running job with `event`."""
        from ..core.messages import Result

        job = self._job
        assert job is not None
        self._held = None
        if not isinstance(event, Result):
            self._end(event)
        elif job.waits_for_hand and waits_for():
            self._held = event
            self.status.text, self.status.held = waits_for(), True
        else:
            self.status.text, self.status.held = job.doing, False
            self._act(event)

    def _end(self, event: Message, done: str = "") -> None:
        """The running job has ended; `done`: what its function says of a result."""
        from ..core.messages import Cancelled, Failed, Result

        status, job = self.status, self._job
        assert job is not None
        failed = ""
        if isinstance(event, Result):
            status.done, status.fraction = done, 1.0
            # Building the avatar is a part of it.
            self._trails[self._trail_key] = [
                (0.0, 0.0),
                *status.trail,
                (time.monotonic() - status.started_s, 1.0),
            ]
            if done:
                self.say("done", done, job.label)
        elif isinstance(event, Cancelled):
            status.done = "Cancelled"
            if job.cancelled:
                self.say("warning", job.cancelled, job.label)
        elif isinstance(event, Failed):
            failed = event.text
            self._fail(job, failed)
        self._close_job(failed)

    def _close_job(self, failed: str) -> None:
        job = self._job
        assert job is not None
        self.status.running = self.status.cancelling = False
        self._job = self._held = None
        self._end_of(job)
        if failed:
            self._untold.append((job.title, failed))
        self._tell()

    def _tell(self) -> None:
        """Of what failed, once, when all is done: the sidebar with the notices may be closed."""
        if self._untold and not self._waiting:
            told, self._untold = self._untold, []
            # What was done last may be another thing, and have gone well.
            notify.popup(told[-1][0], list(dict.fromkeys(text for _, text in told))[-MOST_TOLD:])

    def _end_of(self, job: Job) -> None:
        if job.on_end is not None:
            with contextlib.suppress(Reported):
                self._call(job, lambda: job.on_end(job))  # type: ignore[misc]


SESSION = Session()
ASIDE = Session()


def submit(operator: bpy.types.Operator, *jobs: Job, session: Session = SESSION) -> set[str]:
    """For operators whose work is jobs: queue them, and return what `execute` returns."""
    try:
        for job in jobs:
            session.submit(job)
    except JobError as error:
        return failed(operator, str(error))
    return wait(operator, session)


def wait(operator: bpy.types.Operator, session: Session = SESSION) -> set[str]:
    """For operators that queued a job. Without a window there is no timer: the call lasts until it is done."""
    if not bpy.app.background:
        return {"FINISHED"}
    session.wait()
    for notice in session.notices:
        if notice.kind in ("warning", "error"):
            report(operator, notice.kind.upper(), notice.text)
    return {"CANCELLED" if any(notice.kind == "error" for notice in session.notices) else "FINISHED"}
