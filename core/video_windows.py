"""A person's stretches of frames in windows that may be solved two at a time, and who solves which one next.

Every other window looks ahead and back and is solved by itself; those between are solved from one neighbour to the
other, whose frames are held. No window waits for more than two others, and the result does not hang on who solved
which one, nor when.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

HELD = 2  # frames of a neighbour that are held: as many as an acceleration reaches over


@dataclass(frozen=True)
class Window:
    """Rows of a person: `context` … `end` are looked at, `first` … `last` kept. Ends are not included.

    held: how many of the first and of the last rows are as the neighbours left them; needs: these neighbours, as places
    in the list of all windows.
    """

    context: int
    first: int
    last: int
    end: int
    held: tuple[int, int] = (0, 0)
    needs: tuple[int, ...] = ()


def plan(spans: list[tuple[int, int]], keep: int, ahead: int) -> list[Window]:
    """The windows of all stretches: `keep` rows each; the free ones look `ahead` rows further on both sides."""
    windows: list[Window] = []
    for start, end in spans:
        edges = [start]
        while edges[-1] < end:
            last = min(edges[-1] + keep, end)
            edges.append(end if end - last < ahead else last)
        begun = len(windows)
        for first, last in itertools.pairwise(edges):
            number = len(windows)
            if (number - begun) % 2 == 0:
                windows.append(Window(max(start, first - ahead), first, last, min(last + ahead, end)))
            else:
                after = min(HELD, end - last)
                needs = (number - 1, number + 1) if after else (number - 1,)
                windows.append(Window(first - HELD, first, last, last + after, (HELD, after), needs))
    return windows


class Schedule:
    """Hands out what is to be done, from any thread: the earliest window whose neighbours are done."""

    def __init__(self, needs: Sequence[tuple[int, ...]], done: set[int]) -> None:
        """needs: for each thing the numbers of those that have to be done before it."""
        self._needs = needs
        # A window between two others comes right after the second one: what is shown meanwhile is in order.
        order = sorted(range(len(needs)), key=lambda number: number + 1.5 * bool(needs[number]))
        self._left = [number for number in order if number not in done]
        self._busy: set[int] = set()
        self.done = set(done)
        self._stopped = False
        self._changed = threading.Condition()

    def work(self, do: Callable[[int], None], between: Callable[[], None]) -> None:
        """Do whatever nobody else does, until all is done. between is called before each and while waiting, and may
        raise; then, as where `do` raises, nobody gets anything more."""
        try:
            between()
            while (number := self.take(between)) is not None:
                try:
                    do(number)
                except BaseException:
                    self.give_back(number)
                    raise
                self.finish(number)
                between()
        finally:
            self.stop()

    def take(self, poll: Callable[[], None] = lambda: None) -> int | None:
        """The next number, as soon as there is one; None when all are done, or after `stop`. poll is called while
        waiting, and may raise."""
        while True:
            with self._changed:
                if self._stopped or not (self._left or self._busy):
                    return None
                for number in self._left:
                    if set(self._needs[number]) <= self.done:
                        self._left.remove(number)
                        self._busy.add(number)
                        return number
                self._changed.wait(0.1)
            poll()

    def finish(self, number: int) -> None:
        """This is done, and where it has a part, that is written."""
        with self._changed:
            self._busy.discard(number)
            self.done.add(number)
            self._changed.notify_all()

    def give_back(self, number: int) -> None:
        """Somebody else has to do this."""
        with self._changed:
            self._busy.discard(number)
            self._left.insert(0, number)
            self._changed.notify_all()

    def stop(self) -> None:
        """Nothing more for anybody."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
