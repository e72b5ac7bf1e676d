"""What keeps the sessions going in a window: a timer that polls; handlers for what replaces or keeps all objects."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

import bpy

from ..scene.identity import UNFINISHED
from . import notify
from .jobs import Status
from .session import ASIDE, SESSION

TICK_S = 0.1
URGENT_TICK_S = 0.01


BOTH = (SESSION, ASIDE)


def watch() -> None:
    """Let a timer poll while there are jobs. Timers do not run in background mode: there, call `wait` of a session."""
    if bpy.app.background:
        return
    interval = URGENT_TICK_S if SESSION.status.urgent else TICK_S
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=interval, persistent=True)
    _show()


def _show() -> None:
    """What runs, in the status bar and the sidebar: of two the solver's."""
    notify.show(ASIDE.status if ASIDE.status.running and not SESSION.status.running else SESSION.status)


_ticked: float | None = None  # when the timer was last left, if it is to come back at once


def _tick() -> float | None:
    """The timer: seconds until the next call, None for no further one."""
    global _ticked
    now = time.monotonic()
    # Few ticks come after a drawing: the longest of about the last second tells.
    SESSION.away_s = max(now - (_ticked or now), 0.98 * SESSION.away_s)
    _ticked = None
    busy = False
    for session in BOTH:
        try:
            busy = session.poll() or busy
        except Exception:
            # A timer that raises is dropped without a word, and its job would never end.
            traceback.print_exc()
            session.stop_worker()
            session.say("error", notify.own_error(traceback.format_exc().strip().rpartition("\n")[2]))
    _show()
    if not busy:
        return None
    if not SESSION.status.urgent and not any(session.building for session in BOTH):
        return TICK_S
    _ticked = time.monotonic()
    return URGENT_TICK_S


@bpy.app.handlers.persistent
def _before_load(*_: object) -> None:
    """What jobs make belongs to the file that they were asked for in."""
    for session in BOTH:
        if session.busy:
            session.stop_worker()
            session.status.done = "Cancelled, because another file was opened"
            session.say("warning", session.status.done)


@bpy.app.handlers.persistent
def _before_undo(*_: object) -> None:
    for session in BOTH:
        session.begin_steps_anew()


@bpy.app.handlers.persistent
def _after_undo(*_: object) -> None:
    """A step that was made while an avatar was being built holds a part of it."""
    if any(UNFINISHED in collection for collection in bpy.data.collections):
        from ..scene.removal import remove_unfinished

        remove_unfinished()


@bpy.app.handlers.persistent
def _before_save(*_: object) -> None:
    for session in BOTH:
        session.finish_steps()


def _handlers() -> tuple[tuple[list[Callable[..., None]], Callable[..., None]], ...]:
    lists = bpy.app.handlers
    return (
        (lists.load_pre, _before_load),
        (lists.undo_pre, _before_undo),
        (lists.redo_pre, _before_undo),
        (lists.undo_post, _after_undo),
        (lists.redo_post, _after_undo),
        (lists.save_pre, _before_save),
    )


def register() -> None:
    """Poll while there is work; watch for another file, undo, saving."""
    SESSION.on_work = ASIDE.on_work = watch
    for handlers, function in _handlers():
        handlers.append(function)


def unregister() -> None:
    """Leave nothing: no worker, no timer, no handler, no text."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    for handlers, function in _handlers():
        if function in handlers:
            handlers.remove(function)
    for session in BOTH:
        session.stop_worker()
        session.status = Status()
        session.notices = []
    # A Blender that quits also unregisters, when its windows are half gone and must be left alone.
    if bpy.context.window is not None:
        _show()
