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
from collections.abc import Callable
from dataclasses import dataclass, field

import bpy

from ..core.client import Client, ClientError, worker_command
from ..core.messages import (
    FINAL_EVENTS,
    Cancelled,
    Checkpoint,
    Failed,
    JobRequest,
    Message,
    Progress,
    Result,
    Stage,
    Warn,
)
from . import notify
from .settings import SolverSettings, log_path

TICK_S = 0.1
URGENT_TICK_S = 0.01
# The time left of a job that is the first of its kind is told from its speed, where it tells of its progress often.
LEFT_AFTER_S, LEFT_AFTER_STEPS = 5.0, 8
# What the user does with the mouse held down; an avatar that comes in between would end up in that undo step.
BUSY_OPERATORS = (
    "TRANSFORM_OT_",
    "SCULPT_OT_",
    "PAINT_OT_",
    "GPENCIL_OT_",
    "GREASE_PENCIL_OT_",
    "MESH_OT_",
    "POSE_OT_",
)


class JobError(Exception):
    """Raised by a job's own function: a sentence with a next step, shown as the job's error."""


@dataclass
class Job:
    """Work for the worker, and what Blender does about it.

    The functions run in the main thread, and may call operators (a window is in the context where there is one). They
    may raise JobError. A result that an operator applies with undo is one undo step.
    """

    request: JobRequest  # its `job` is a `core.client.new_job_id()`
    label: str  # what people call it, such as a file's name
    scene_name: str  # for the functions: the scene that it was asked for in
    settings: SolverSettings
    on_result: Callable[[Job, Result], str]  # returns what is said of it, "" for nothing
    on_checkpoint: Callable[[Job, Checkpoint], None] | None = None
    on_end: Callable[[Job], None] | None = None  # after any end: result, cancel, error
    title: str = "Photo to avatar"  # of the message that reports an error
    urgent: bool = False  # goes before jobs that wait, is polled often, and shows no progress
    key: str = ""  # a waiting job of the same key is dropped: of a drag, only the last position counts
    waits_for_hand: bool = True  # the result is not applied while the user drags something


@dataclass
class Notice:
    """Something said of a job that has ended, or goes on."""

    kind: str  # "done", "warning", "error"
    text: str
    label: str = ""


@dataclass
class Status:
    """What is shown of the running job, or of the last one. Plain values."""

    running: bool = False
    cancelling: bool = False
    urgent: bool = False
    label: str = ""
    text: str = ""
    fraction: float = 0.0
    started_s: float = 0.0
    trail: list[tuple[float, float]] = field(default_factory=list)  # seconds since the start, and the fraction then
    usual: list[tuple[float, float]] = field(default_factory=list)  # the trail of the last job that was like this one
    error: str = ""
    done: str = ""  # what its function said, such as the name of the avatar's collection
    warnings: list[str] = field(default_factory=list)

    @property
    def left_s(self) -> float | None:
        """Seconds that the job still needs, by the last one like it, else by its speed. None: too early to say."""
        if not self.running or self.cancelling:
            return None
        elapsed = time.monotonic() - self.started_s
        if self.usual:
            since = next((at_s for at_s, fraction in self.usual if fraction >= self.fraction), self.usual[-1][0])
            here = self.trail[-1][0] if self.trail else 0.0
            return max(0.0, self.usual[-1][0] - since - (elapsed - here))
        if elapsed < LEFT_AFTER_S or len(self.trail) < LEFT_AFTER_STEPS or self.fraction <= 0.0:
            return None
        return elapsed * (1.0 - self.fraction) / self.fraction


class Session:
    """Starts the worker when it is needed, keeps it warm, runs one job after another."""

    def __init__(self) -> None:
        self.status = Status()
        self.notices: list[Notice] = []  # of all jobs since the session was last idle
        self._client: Client | None = None
        self._command: list[str] = []
        self._job: Job | None = None
        self._waiting: deque[Job] = deque()
        self._trails: dict[tuple[str, bool], list[tuple[float, float]]] = {}  # by kind of request, and cold or warm
        self._trail_key = ("", True)
        self._held: Message | None = None  # the running job's last event, until the user's hand is free

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

    def running(self, request_type: type[JobRequest]) -> bool:
        """Whether a job of this kind runs or waits."""
        jobs = (*self._waiting, self._job)
        return any(job is not None and isinstance(job.request, request_type) for job in jobs)

    # ---------------------------------------------------------------------------------------------------- control

    def submit(self, job: Job) -> None:
        """Queue a job; it begins at once where nothing runs. Raises ClientError when the worker can't be started."""
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
        watch()

    def cancel(self) -> None:
        """Ask for the end of the running job; `poll` will see it, and goes on with the next one."""
        if self._job is not None and self._held is None and self._client is not None:
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
            for event in self._client.poll():
                if self._job is not None and getattr(event, "job", None) == self._job.request.job:
                    self._take(event)
        if self._job is None and self._waiting:
            self._begin_next(raise_errors=False)
        return self.busy

    def wait(self) -> None:
        """Poll until all jobs have ended. For background mode, where no timer runs."""
        try:
            while self.poll():
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
        running, self._job, self._held = self._job, None, None
        self.status.running = self.status.cancelling = False
        for job in (running, *waiting):
            if job is not None:
                self._end_of(job)

    def say(self, kind: str, text: str, label: str = "") -> None:
        """Show a notice in the sidebar."""
        self.notices.append(Notice(kind, text, label))

    # --------------------------------------------------------------------------------------------------- internal

    def _begin_next(self, raise_errors: bool) -> None:
        job = self._waiting.popleft()
        self.status = Status(
            running=True, label=job.label, urgent=job.urgent, text="Waiting for the solver", started_s=time.monotonic()
        )
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
                raise ClientError(str(error)) from error
            self._tell(job, str(error))

    def _ensure_worker(self, settings: SolverSettings) -> bool:
        """True if the worker had to be started."""
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
            with contextlib.suppress(_Reported):
                self._call(job, lambda: job.on_checkpoint(job, event))  # type: ignore[misc]

    def _finish(self, event: Message) -> None:
        """The running job has ended with `event`."""
        status, job = self.status, self._job
        assert job is not None
        if isinstance(event, Result):
            if job.waits_for_hand and _hand_is_busy():
                self._held = event
                status.text = "Waiting until you let go"
                return
            status.text = "Building the avatar"
        self._held = None
        failed = ""
        try:
            if isinstance(event, Result):
                status.done = self._call(job, lambda: job.on_result(job, event))
                status.fraction = 1.0
                # Building the avatar is a part of it.
                self._trails[self._trail_key] = [*status.trail, (time.monotonic() - status.started_s, 1.0)]
                if status.done:
                    self.say("done", status.done, job.label)
            elif isinstance(event, Cancelled):
                status.done = "Cancelled"
            elif isinstance(event, Failed):
                failed = event.text
                self._fail(job, event.text)
        except _Reported as error:
            failed = str(error)
        finally:
            status.running = status.cancelling = False
            self._job = None
            self._end_of(job)
        if failed:
            self._tell(job, failed)

    def _call(self, job: Job, function: Callable[[], str | None]) -> str:
        """What the job's function returns. Raises _Reported after its error is shown."""
        try:
            with notify.window_override():
                return function() or ""
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


class _Reported(Exception):
    """A job's function failed, and the user was told."""


SESSION = Session()


def watch() -> None:
    """Let a timer poll while there are jobs. Timers do not run in background mode: there, call `SESSION.wait`."""
    if bpy.app.background:
        return
    interval = URGENT_TICK_S if SESSION.status.urgent else TICK_S
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=interval, persistent=True)
    notify.show(SESSION.status)


def _tick() -> float | None:
    """The timer: seconds until the next call, None for no further one."""
    try:
        busy = SESSION.poll()
    except Exception:
        # A timer that raises is dropped without a word, and its job would never end.
        traceback.print_exc()
        SESSION.stop_worker()
        SESSION.say("error", notify.own_error(traceback.format_exc().strip().rpartition("\n")[2]))
        busy = False
    notify.show(SESSION.status)
    if not busy:
        return None
    return URGENT_TICK_S if SESSION.status.urgent else TICK_S


def _hand_is_busy() -> bool:
    """Whether the user drags something in a window."""
    manager = bpy.context.window_manager
    if bpy.app.background or manager is None:
        return False
    running = (operator.bl_idname for window in manager.windows for operator in getattr(window, "modal_operators", ()))
    return any(name.startswith(BUSY_OPERATORS) for name in running)


@bpy.app.handlers.persistent
def _before_load(*_: object) -> None:
    """What jobs make belongs to the file that they were asked for in."""
    if SESSION.busy:
        SESSION.stop_worker()
        SESSION.status.done = "Cancelled, because another file was opened"
        SESSION.say("warning", SESSION.status.done)


def register() -> None:
    """Watch for another file being opened."""
    bpy.app.handlers.load_pre.append(_before_load)


def unregister() -> None:
    """Leave nothing: no worker, no timer, no handler, no text."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _before_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_before_load)
    SESSION.stop_worker()
    SESSION.status = Status()
    SESSION.notices = []
    # A Blender that quits also unregisters, when its windows are half gone and must be left alone.
    if bpy.context.window is not None:
        notify.show(SESSION.status)
