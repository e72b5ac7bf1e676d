"""A pose moved onto pins that were set by hand. It is asked for many times a second, so nothing is loaded twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..capture import Capture
from ..messages import Correct, Result
from ..pipeline import PipelineCancelled, PipelineError, limit_threads, plain_errors
from . import Work

if TYPE_CHECKING:
    from ..fitting.correct import Corrector
    from ..fitting.correction import Correction


def run(request: Correct, work: Work) -> Result:
    """Correct the first frame of a capture file into another."""
    limit_threads(request.threads)
    with plain_errors():
        capture = Capture.load(request.capture)
        corrected = _corrector(capture, request, work).correct(capture, _correction(request))
        if work.reporter.cancelled():
            raise PipelineCancelled
        corrected.save(request.out)
    return Result(request.job, [request.out])


def _corrector(capture: Capture, request: Correct, work: Work) -> Corrector:
    from ..fitting.correct import Corrector

    body = work.pipeline.body(None if capture.body_id == "free" else request.body, capture.gender)
    known: dict[str, Corrector] = work.memory.setdefault("correct", {})
    if body.body_id not in known or known[body.body_id].body is not body:
        known[body.body_id] = Corrector(body)
    return known[body.body_id]


def _correction(request: Correct) -> Correction:
    from ..fitting.correction import Correction

    points = {}
    for key, place in request.points.items():
        name, _, index = key.rpartition("/")
        if not name or not index.isdecimal() or len(place) != 2:
            raise PipelineError(f"A pin of “{key}” makes no sense. Remove it and pin the point again.")
        points[name, int(index)] = (place[0], place[1])
    joints = {}
    for name, place in request.joints.items():
        if len(place) != 3:
            raise PipelineError(f"A pin of “{name}” makes no sense. Remove it and pin the bone again.")
        joints[name] = (place[0], place[1], place[2])
    return Correction(points, joints, frozenset(request.locked), request.refit)
