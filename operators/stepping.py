"""A job's own steps: done a slice at a time in between whatever else happens in Blender."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from . import notify
from .busy import waits_for
from .jobs import APART, Job, JobError, Notice, Status, Steps

if TYPE_CHECKING:
    from ..core.messages import Checkpoint, Message, Result

# How long a job's own steps may compute before Blender gets back to its window. Where drawing that takes long, as in
# software, slices are longer, by this share of it: drawing after each of many would be most of what is done.
SLICE_S = 0.04
SHARE, LONGEST_SLICE_S = 0.3, 0.07
# How much longer than it computes a slice may be by the clock, on a machine with much else to do.
MOST_WAITING = 4.0


class Stepper:
    """Runs the steps of one job at a time, and tells of their errors. A base of the session."""

    def __init__(self) -> None:
        self.status = Status()
        self.notices: list[Notice] = []  # of all jobs since the session was last idle
        self._job: Job | None = None
        self._acted: Result | Checkpoint | None = None  # the event that the running job's steps are for
        self._steps: Steps | None = None  # None beside an event: they are to begin
        self._apart = False  # whether the steps said that they touch nothing of Blender's any more
        self._left = 0.0  # when a slice of them ended

    @property
    def building(self) -> bool:
        """Whether a job's own steps are being done."""
        return self._acted is not None and not self._apart

    def begin_steps_anew(self) -> None:
        """Take back what the running job's steps made so far; `poll` begins them again. For undo."""
        if self._steps is not None and not self._apart:
            with notify.window_override():
                self._steps.close()
            self._steps = None

    def finish_steps(self) -> None:
        """Do all that is left of the running job's steps, so that a file that is saved now has its result."""
        if self.building:
            self._step(float("inf"))

    def say(self, kind: str, text: str, label: str = "", log: str = "", place: str = "") -> None:
        """Show a notice in the sidebar, where the running job is shown if no `place` is named."""
        if not place and self._job is not None:
            place = self._job.place
        self.notices.append(Notice(kind, text, label, log, place))

    def tell_fraction(self, fraction: float) -> None:
        """For steps: how far they are, 0 … 1."""
        self.status.fraction = fraction

    # --------------------------------------------------------------------------------------------------- internal

    def _end(self, event: Message, done: str = "") -> None:
        raise NotImplementedError

    def _close_job(self, failed: str) -> None:
        raise NotImplementedError

    def _act(self, event: Result | Checkpoint) -> None:
        """Begin what the running job does about an event: all of it, or the first of its steps."""
        self._acted = event
        self._step(SLICE_S)

    def _go_on(self) -> None:
        """Another slice of the steps."""
        drawing_s = time.monotonic() - self._left
        self._step(max(SLICE_S, min(LONGEST_SLICE_S, SHARE * drawing_s)))

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
                self._apart = not ended and done is APART
                if ended:
                    self._steps = None
                elif self._apart or ((done or over()) and not to_end):
                    return
        except Reported as error:
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
        steps, self._steps, self._acted, self._apart = self._steps, None, None, False
        if steps is not None:
            steps.close()

    def _call(self, job: Job, function: Callable[[], Any]) -> Any:
        """What a function of the job's returns. Raises Reported after its error is shown."""
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
        raise Reported(text)

    def _fail(self, job: Job, text: str) -> None:
        self.status.running = self.status.cancelling = False
        self.status.error = text
        self.say("error", text, job.label, job.log_of_errors, job.place)


def _next(steps: Steps | None) -> tuple[bool, Any]:
    """The next one of some steps: whether that was their end, and what came of them or whether to pause."""
    try:
        return False, next(steps) if steps is not None else False
    except StopIteration as end:
        return True, end.value


class Reported(Exception):
    """A job's function failed, and the user was told."""
