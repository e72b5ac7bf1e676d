"""The one worker of this Blender, the jobs that wait for it, and what the interface shows of them.

Work of any kind goes through here: make a `Job` around a request of `core.messages`, `SESSION.submit(job)`, and its
functions are called when the worker answers: always in Blender's main thread, never while a request is written.
Jobs run one after another. The worker stays warm; one that died is reported, and the next job gets a new one.

No object of Blender is kept here, because undo and loading a file replace them all: a scene is found again by its name.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import bpy

from . import notify
from .busy import waits_for
from .jobs import Job, JobError, Notice, Status, Steps
from .notify import failed, report
from .settings import SolverSettings, log_path

# The worker's client and messages are imported where they are used: enabling the extension is to cost little.
if TYPE_CHECKING:
    from ..core.client import Client
    from ..core.messages import Checkpoint, Message, Result

# How long a job's own steps may compute before Blender gets back to its window. Where drawing that takes long, as in
# software, slices are longer, by this share of it: drawing after each of many would be most of what is done.
SLICE_S = 0.04
SHARE, LONGEST_SLICE_S = 0.3, 0.09
# How much longer than it computes a slice may be by the clock, on a machine with much else to do.
MOST_WAITING = 4.0


class Session:
    """Starts the worker when it is needed, keeps it warm, runs one job after another."""

    def __init__(self) -> None:
        self.status = Status()
        self.notices: list[Notice] = []  # of all jobs since the session was last idle
        self.on_work: Callable[[], None] = lambda: None  # called when there is something to poll for
        self._client: Client | None = None
        self._command: list[str] = []
        self._job: Job | None = None
        self._waiting: deque[Job] = deque()
        self._trails: dict[tuple[str, bool], list[tuple[float, float]]] = {}  # by kind of request, and cold or warm
        self._trail_key = ("", True)
        self._warmed: tuple[SolverSettings, str] | None = None  # what the solver was last warmed for
        self._events: deque[Message] = deque()  # of the running job, not taken in yet
        self._held: Message | None = None  # the running job's last event, until the user's hand is free
        self._acted: Result | Checkpoint | None = None  # the event that the running job's steps are for
        self._steps: Steps | None = None  # None beside an event: they are to begin
        self._left = 0.0  # when a slice of them ended
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

    @property
    def building(self) -> bool:
        """Whether a job's own steps are being done."""
        return self._acted is not None

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

    def warm(self, settings: SolverSettings, gender: str = "neutral") -> None:
        """Start an idle worker and let it load what photos need; once for the same settings.

        A solver that can't be started is no news to somebody who has not asked for anything: the first job tells.
        """
        from ..core.client import ClientError
        from ..core.messages import Warm

        if self.busy or self._warmed == (settings, gender):
            return
        self._warmed = (settings, gender)
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
            drawing_s = time.monotonic() - self._left
            self._step(max(SLICE_S, min(LONGEST_SLICE_S, SHARE * drawing_s)))
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
        self._events.clear()
        self.status.running = self.status.cancelling = False
        for job in (running, *waiting):
            if job is not None:
                self._end_of(job)

    def begin_steps_anew(self) -> None:
        """Take back what the running job's steps made so far; `poll` begins them again. For undo."""
        if self._steps is not None:
            with notify.window_override():
                self._steps.close()
            self._steps = None

    def finish_steps(self) -> None:
        """Do all that is left of the running job's steps, so that a file that is saved now has its result."""
        if self._acted is not None:
            self._step(float("inf"))

    def say(self, kind: str, text: str, label: str = "") -> None:
        """Show a notice in the sidebar."""
        self.notices.append(Notice(kind, text, label))

    # --------------------------------------------------------------------------------------------------- internal

    def _begin_next(self, raise_errors: bool) -> None:
        from ..core.client import ClientError
        from ..core.messages import Result

        job = self._waiting.popleft()
        self.status = Status(
            running=True, label=job.label, urgent=job.urgent, text="Waiting for the solver", started_s=time.monotonic()
        )
        if job.request is None:
            self._trail_key = ("", False)
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
            self._tell(job, str(error))

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
            self.status.text = waits_for()
        else:
            self.status.text = "Building the avatar"
            self._act(event)

    def _act(self, event: Result | Checkpoint) -> None:
        """Begin what the running job does about an event: all of it, or the first of its steps."""
        self._acted = event
        self._step(SLICE_S)

    def _step(self, slice_s: float) -> None:
        """Go on with the running job's steps for so long, or to their end."""
        began, began_computing = time.monotonic(), time.thread_time()
        try:
            self._steps_until(
                lambda: (
                    time.thread_time() - began_computing >= slice_s
                    or time.monotonic() - began >= MOST_WAITING * slice_s
                ),
                slice_s == float("inf"),
            )
        finally:
            self._left = time.monotonic()

    def _steps_until(self, over: Callable[[], bool], to_end: bool) -> None:
        from ..core.messages import Result

        job, event = self._job, self._acted
        assert job is not None and event is not None
        if job.waits_for_hand and not to_end and waits_for():
            return
        done: Any = None
        try:
            if self._steps is None:
                done = self._call(job, lambda: self._begun(job, event))
                self._steps = done if isinstance(done, Generator) else None
            while self._steps is not None:
                ended, done = self._call(job, lambda: _next(self._steps))
                if ended:
                    self._steps = None
                elif (done or over()) and not to_end:
                    return
        except _Reported as error:
            self._drop_steps()
            if isinstance(event, Result):
                self._close_job(str(error))
            return
        self._drop_steps()
        if isinstance(event, Result):
            self._end(event, str(done or ""))

    @staticmethod
    def _begun(job: Job, event: Result | Checkpoint) -> str | Steps | None:
        from ..core.messages import Result

        if isinstance(event, Result):
            return job.on_result(job, event)
        return job.on_checkpoint(job, event) if job.on_checkpoint is not None else None

    def _drop_steps(self) -> None:
        steps, self._steps, self._acted = self._steps, None, None
        if steps is not None:
            steps.close()

    def _end(self, event: Message, done: str = "") -> None:
        """The running job has ended; `done`: what its function says of a result."""
        from ..core.messages import Cancelled, Failed, Result

        status, job = self.status, self._job
        assert job is not None
        failed = ""
        if isinstance(event, Result):
            status.done, status.fraction = done, 1.0
            # Building the avatar is a part of it.
            self._trails[self._trail_key] = [*status.trail, (time.monotonic() - status.started_s, 1.0)]
            if done:
                self.say("done", done, job.label)
        elif isinstance(event, Cancelled):
            status.done = "Cancelled"
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
            self._tell(job, failed)

    def _call(self, job: Job, function: Callable[[], Any]) -> Any:
        """What a function of the job's returns. Raises _Reported after its error is shown."""
        try:
            with notify.window_override():
                return function()
        except JobError as error:
            text = str(error)
        except RuntimeError as error:
            # That is how operators report.
            text = notify.sentence(str(error))
        except Exception as error:
            traceback.print_exc()
            text = notify.own_error(f"{type(error).__name__}: {error}")
        self._fail(job, text)
        raise _Reported(text)

    def _fail(self, job: Job, text: str) -> None:
        self.status.running = self.status.cancelling = False
        self.status.error = text
        self.say("error", text, job.label)

    def _tell(self, job: Job, error: str) -> None:
        """Once, when all is done: the sidebar has the others."""
        if not self._waiting:
            notify.popup(job.title, error)

    def _end_of(self, job: Job) -> None:
        if job.on_end is not None:
            with contextlib.suppress(_Reported):
                self._call(job, lambda: job.on_end(job))  # type: ignore[misc]


def _next(steps: Steps | None) -> tuple[bool, Any]:
    """The next one of some steps: whether that was their end, and what came of them or whether to pause."""
    try:
        return False, next(steps) if steps is not None else False
    except StopIteration as end:
        return True, end.value


class _Reported(Exception):
    """A job's function failed, and the user was told."""


SESSION = Session()


def submit(operator: bpy.types.Operator, *jobs: Job) -> set[str]:
    """For operators whose work is jobs: queue them, and return what `execute` returns."""
    try:
        for job in jobs:
            SESSION.submit(job)
    except JobError as error:
        return failed(operator, str(error))
    return wait(operator)


def wait(operator: bpy.types.Operator) -> set[str]:
    """For operators that queued a job. Without a window there is no timer: the call lasts until it is done."""
    if not bpy.app.background:
        return {"FINISHED"}
    SESSION.wait()
    for notice in SESSION.notices:
        if notice.kind in ("warning", "error"):
            report(operator, notice.kind.upper(), notice.text)
    return {"CANCELLED" if any(notice.kind == "error" for notice in SESSION.notices) else "FINISHED"}
