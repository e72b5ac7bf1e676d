"""What is measured, and by which clock."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Clock:
    """Which clock counts: one for the whole run, and for other processes."""

    name = "perf_counter"

    @classmethod
    def now(cls) -> float:
        now: float = getattr(time, cls.name)()
        return now

    @classmethod
    def of(cls, pid: int | None) -> float:
        """For what another process does; its processor time is rounded to 10 ms by the system."""
        if cls.name == "perf_counter":
            return time.perf_counter()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @classmethod
    def words(cls) -> str:
        return "wall clock" if cls.name == "perf_counter" else "processor time"


@dataclass(frozen=True)
class Measurement:
    """Values of one thing measured several times."""

    name: str
    values: tuple[float, ...]  # seconds, or MB
    unit: str = "s"
    budget: float | None = None  # at most; in the same unit

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def line(self, reference: float | None) -> str:
        """A row of the table."""
        low, high = min(self.values), max(self.values)
        if self.unit == "s":
            shown = f"{1e3 * self.median:9.1f} ms {1e3 * low:9.1f} … {1e3 * high:.1f}"
            budget = "" if self.budget is None else f"{1e3 * self.budget:.0f} ms"
        else:
            shown = f"{self.median:9.0f} {self.unit} {low:9.0f} … {high:.0f}"
            budget = "" if self.budget is None else f"{self.budget:.0f} {self.unit}"
        ratio = f"{self.median / reference:.2f} ×" if reference and self.unit == "s" else ""
        verdict = "" if self.budget is None else ("within" if self.median <= self.budget else "OVER")
        return f"{self.name:44} {shown:34} {ratio:>10} {budget:>9} {verdict}"


def times(action: Callable[[], object], runs: int) -> tuple[float, ...]:
    """How long an action takes, each time."""
    values = []
    for _ in range(runs):
        start = Clock.now()
        action()
        values.append(Clock.now() - start)
    return tuple(values)
