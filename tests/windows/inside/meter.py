"""How long Blender's main thread was away, and who kept it: calls of the extension, drawing, or Blender itself.

A timer ticks every 10 ms while Blender is free, so a longer time between two ticks is a block. Every function of the
extension that Blender calls is wrapped with a clock: operators, panels, gizmos, handlers, timers, answers of the
solver. The view's drawing is told by callbacks at its begin and end.
"""

from __future__ import annotations

import functools
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bpy

LEAST_S = 0.05  # shorter ones are not kept
METHODS = ("draw", "draw_header", "execute", "invoke", "modal", "poll", "poll_drop", "test_select", "setup")


@dataclass
class Call:
    """One call of a function of the extension's."""

    name: str
    began: float
    ended: float
    cpu_s: float
    outermost: bool

    @property
    def s(self) -> float:
        return self.ended - self.began


@dataclass
class Block:
    """The main thread was away."""

    step: str
    began: float
    ended: float
    calls: list[Call] = field(default_factory=list)
    drawing_s: float = 0.0

    @property
    def s(self) -> float:
        return self.ended - self.began

    @property
    def ours_s(self) -> float:
        return sum(call.s for call in self.calls if call.outermost)

    def words(self) -> str:
        ours = sorted((call for call in self.calls if call.outermost), key=lambda call: -call.s)[:3]
        names = ", ".join(f"{call.name} {call.s:.3f} s (computing {call.cpu_s:.3f})" for call in ours if call.s > 0.005)
        return f"{self.s:.3f} s in “{self.step}”: drawing the view {self.drawing_s:.3f} s; {names or 'nothing of ours'}"


class Meter:
    """Blocks and calls, from `watch` on."""

    def __init__(self) -> None:
        self.step = "start"
        self.blocks: list[Block] = []
        self.calls: list[Call] = []
        self.spent: dict[str, tuple[int, float]] = {}  # by function: calls that Blender made, and processor time in all
        self.draws: list[tuple[float, float]] = []  # begin and end of drawing the largest view
        self._last = time.perf_counter()
        self._depth = 0
        self._fresh_calls: list[Call] = []
        self._fresh_draws: list[tuple[float, float]] = []
        self._draw_began = 0.0
        self._wrapped: set[tuple[int, str]] = set()

    # ------------------------------------------------------------------------------------------------------- blocks

    def tick(self) -> None:
        """To be called by the timer."""
        now = time.perf_counter()
        if now - self._last >= LEAST_S:
            drawing = sum(ended - began for began, ended in self._fresh_draws)
            self.blocks.append(Block(self.step, self._last, now, self._fresh_calls, drawing))
        self._fresh_calls, self._fresh_draws, self._last = [], [], now

    def pause(self) -> None:
        """The test's own work is not the extension's: forget the time since the last tick."""
        self._fresh_calls, self._fresh_draws, self._last = [], [], time.perf_counter()

    def since(self, moment: float) -> list[Block]:
        """Blocks that ended after `moment`, longest first."""
        return sorted((block for block in self.blocks if block.ended > moment), key=lambda block: -block.s)

    def longest_calls(self, least_s: float) -> list[tuple[str, int, float, float]]:
        """By function: its name, calls that took `least_s` and more, the longest, what that one computed."""
        found: dict[str, list[Call]] = {}
        for call in self.calls:
            found.setdefault(call.name, []).append(call)
        rows = []
        for name, calls in found.items():
            longest = max(calls, key=lambda call: call.cpu_s)
            rows.append((name, sum(call.cpu_s >= least_s for call in calls), longest.s, longest.cpu_s))
        return sorted((row for row in rows if row[3] >= least_s / 2), key=lambda row: -row[3])

    # -------------------------------------------------------------------------------------------------------- calls

    def of(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function with a clock."""

        @functools.wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            self._depth += 1
            began, began_cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self._depth -= 1
                ended = time.perf_counter()
                if self._depth == 0:
                    count, seconds = self.spent.get(name, (0, 0.0))
                    self.spent[name] = count + 1, seconds + time.thread_time() - began_cpu
                if ended - began > 0.001:
                    call = Call(name, began, ended, time.thread_time() - began_cpu, self._depth == 0)
                    self.calls.append(call)
                    self._fresh_calls.append(call)

        return measured

    def for_blender(self, function: types.FunctionType, name: str) -> Callable[..., Any]:
        """The same with two, three or so named arguments: Blender counts those of a class's functions, and crashes."""
        measured = self.of(function, name)
        by_count: dict[int, Callable[..., Any]] = {
            1: lambda a: measured(a),
            2: lambda a, b: measured(a, b),
            3: lambda a, b, c: measured(a, b, c),
        }
        return by_count[function.__code__.co_argcount]

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Put a clock on a function of a class or module, in its place."""
        held = vars(owner).get(attribute)
        if held is None or (id(owner), attribute) in self._wrapped:
            return
        self._wrapped.add((id(owner), attribute))
        if isinstance(held, classmethod):
            setattr(owner, attribute, classmethod(self.for_blender(held.__func__, name)))  # type: ignore[arg-type]
        elif isinstance(held, types.FunctionType):
            ours = owner.__module__.endswith((".session", ".correcting"))
            setattr(owner, attribute, (self.of if ours else self.for_blender)(held, name))

    def watch(self, package: str) -> None:
        """Put clocks on all of the extension that Blender calls, and on the view's drawing."""
        classes = [*sys.modules[f"{package}.operators"].CLASSES, *sys.modules[f"{package}.panels"].CLASSES]
        for cls in classes:
            for base in cls.__mro__:
                if base.__module__.startswith(package):
                    for method in METHODS:
                        self.wrap(base, method, f"{cls.__name__}.{method}")
        session, correcting = (sys.modules[f"{package}.operators.{name}"] for name in ("session", "correcting"))
        for cls in (session.Session, correcting.Corrections):
            for method in [name for name, held in vars(cls).items() if isinstance(held, types.FunctionType)]:
                if not method.startswith("__"):
                    self.wrap(cls, method, f"{cls.__name__}.{method}")
        for name in dir(bpy.app.handlers):
            handlers = getattr(bpy.app.handlers, name)
            if isinstance(handlers, list):
                for index, function in enumerate(handlers):
                    if getattr(function, "__module__", "").startswith(package):
                        # The wrapper has what `persistent` leaves on a function.
                        handlers[index] = self.of(function, f"{function.__name__} ({name})")
        self._watch_timers(package)
        space = bpy.types.SpaceView3D
        space.draw_handler_add(self._draw_begins, (), "WINDOW", "PRE_VIEW")
        space.draw_handler_add(self._draw_ends, (), "WINDOW", "POST_PIXEL")

    def _watch_timers(self, package: str) -> None:
        timers = bpy.app.timers
        register, unregister, is_registered = timers.register, timers.unregister, timers.is_registered
        clocked: dict[Any, Any] = {}

        def registered(function: Any, **named: Any) -> None:
            if getattr(function, "__module__", "").startswith(package):
                clocked.setdefault(function, self.of(function, f"timer {function.__qualname__}"))
            register(clocked.get(function, function), **named)

        timers.register = registered
        timers.unregister = lambda function: unregister(clocked.get(function, function))
        timers.is_registered = lambda function: is_registered(clocked.get(function, function))

    def _draw_begins(self) -> None:
        self._draw_began = time.perf_counter()

    def _draw_ends(self) -> None:
        drawn = (self._draw_began, time.perf_counter())
        self.draws.append(drawn)
        self._fresh_draws.append(drawn)


METER = Meter()
