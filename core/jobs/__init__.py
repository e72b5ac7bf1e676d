"""What the worker can do: one module for each kind of request, found through a table.

A handler is a function `run(request, work) -> Message` that returns the job's last event. It tells of its progress
through `work`, raises PipelineCancelled when it is to end and PipelineError for what the user should read. To add a
kind of work: a request class in `core.messages`, a module here, a line in `HANDLERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from ..messages import CheckSolver, Correct, FitPhoto, FitVideo, JobRequest, MakeTexture, Message
from ..pipeline import Pipeline, PipelineSettings, Reporter

# By name, so that a worker loads no more than what it is asked for.
HANDLERS: dict[type[JobRequest], str] = {
    FitPhoto: "photo",
    FitVideo: "video",
    Correct: "correct",
    CheckSolver: "check",
    MakeTexture: "texture",
}


@dataclass(frozen=True)
class Work:
    """What a handler gets beside its request."""

    job: str
    pipeline: Pipeline  # keeps bodies, detectors and fitters loaded from job to job
    reporter: Reporter  # stage, progress, warning, cancelled
    send: Callable[[Message], None]  # further events, such as a Checkpoint
    memory: dict[str, Any] = field(default_factory=dict)  # stays from job to job; a handler keeps to its own key


def settings_of(request: Message) -> PipelineSettings:
    """The pipeline's settings that a request has, under the same names; the others are as usual."""
    names = [item.name for item in fields(PipelineSettings) if hasattr(request, item.name)]
    return PipelineSettings(**{name: getattr(request, name) for name in names})


def handler_of(request: JobRequest) -> Callable[[Any, Work], Message]:
    """The function that does what `request` asks."""
    run: Callable[[Any, Work], Message] = importlib.import_module(f".{HANDLERS[type(request)]}", __package__).run
    return run
