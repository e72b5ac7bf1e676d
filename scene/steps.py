"""Work in steps: what takes longer than Blender may stand still is a generator that yields often.

Whoever has a window goes on with it for a moment at a time; scripts and background mode run it to its end at once. A
generator that is closed half-way takes back what it made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[bool, None, T]  # yields PAUSE or MORE
MORE = False
PAUSE = True  # let Blender draw, or wait for something else, before the next step
JOIN_S = 0.005


def finish(steps: Steps[T]) -> T:
    """Run to the end at once, and return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def in_thread(function: Callable[[], T]) -> Steps[T]:
    """What `function` returns or raises, which must not touch Blender: it runs in a thread."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="pantomime steps", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(JOIN_S)
        yield PAUSE
    if errors:
        raise errors[0]
    return results[0]
