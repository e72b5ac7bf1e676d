"""A job for the worker, and what is shown of jobs: plain values."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import bpy

from .settings import SolverSettings

if TYPE_CHECKING:
    from ..core.messages import Checkpoint, JobRequest, Result

Steps = Generator[object, None, Any]  # as scene.steps has it
# Yielded by steps that from here on touch nothing of Blender's, such as those that wait for a program: undo and saving
# let them be.
APART = object()
# The time left of a job that is the first of its kind is told from its speed, where it tells of its progress often.
LEFT_AFTER_S, LEFT_AFTER_STEPS = 5.0, 8


class JobError(Exception):
    """A sentence with a next step, for the user: from a job's own function, or of a worker that can't be started."""


def job_folder() -> str:
    """A new folder for files of a job. Blender removes it when it quits; until then, redo reads them again."""
    import tempfile

    return tempfile.mkdtemp(prefix="pantomime_", dir=bpy.app.tempdir)


@dataclass
class Job:
    """Work for the worker, and what Blender does about it.

    The functions run in the main thread, and may call operators (a window is in the context where there is one). They
    may raise JobError. A result that an operator applies with undo is one undo step.

    `on_result` and `on_checkpoint` may return a generator instead: steps of some milliseconds that are done in between
    whatever else happens in Blender. Closed half-way, by a cancel, they leave nothing. Undo closes them and begins
    them anew, as it replaces all objects; saving finishes them.
    """

    request: JobRequest | None  # its `job` is a `core.client.new_job_id()`; None: nothing to ask, `on_result` is all
    label: str  # what people call it, such as a file's name
    scene_name: str  # for the functions: the scene that it was asked for in
    settings: SolverSettings
    on_result: Callable[[Job, Result], str | Steps]  # returns what is said of it, "" for nothing
    on_checkpoint: Callable[[Job, Checkpoint], Steps | None] | None = None
    on_end: Callable[[Job], None] | None = None  # after any end: result, cancel, error
    title: str = "Photo to avatar"  # of the message that reports an error
    doing: str = "Building the avatar"  # while its own steps are done
    cancelled: str = ""  # what is said where it was cancelled, "" for nothing
    urgent: bool = False  # goes before jobs that wait, is polled often, and shows no progress
    key: str = ""  # a waiting job of the same key is dropped: of a drag, only the last position counts
    waits_for_hand: bool = True  # the result is not applied while the user drags something
    place: str = ""  # where in the sidebar it is shown: "" where its session is, else "CORRECT" or "RETARGET"
    log: str = ""  # which log tells of its errors, as `open_log` names it; "": the solver's where there is a request

    @property
    def log_of_errors(self) -> str:
        """Which log says more of an error: "SOLVER", "EXPORT", "" for none."""
        return self.log or ("SOLVER" if self.request is not None else "")


@dataclass
class Notice:
    """Something said of a job that has ended, or goes on."""

    kind: str  # "done", "warning", "error"
    text: str
    label: str = ""
    log: str = ""  # which log says more, as `Job.log_of_errors`
    place: str = ""  # as `Job.place`


@dataclass
class Status:
    """What is shown of the running job, or of the last one. Plain values."""

    running: bool = False
    cancelling: bool = False
    held: bool = False  # it waits for the user, who is in the middle of something
    urgent: bool = False
    place: str = ""  # as `Job.place`
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
    def shown_fraction(self) -> float:
        """How far the progress bar goes: work that tells nothing of itself is judged by the time it took before."""
        if self.fraction or not self.usual or self.usual[-1][0] <= 0.0:
            return self.fraction
        return min(0.95, (time.monotonic() - self.started_s) / self.usual[-1][0])

    @property
    def left_s(self) -> float | None:
        """Seconds that the job still needs, by the last one like it, else by its speed. None: not known (yet)."""
        if not self.running or self.cancelling or self.held:
            return None
        elapsed = time.monotonic() - self.started_s
        if self.usual:
            since = next((at_s for at_s, fraction in self.usual if fraction >= self.fraction), self.usual[-1][0])
            here = self.trail[-1][0] if self.trail else 0.0
            return max(0.0, self.usual[-1][0] - since - (elapsed - here))
        if elapsed < LEFT_AFTER_S or len(self.trail) < LEFT_AFTER_STEPS or self.fraction <= 0.0:
            return None
        return elapsed * (1.0 - self.fraction) / self.fraction
