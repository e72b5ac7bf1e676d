"""A photo to captures."""

from __future__ import annotations

from pathlib import Path

from ..messages import FitPhoto, Result
from ..pipeline import PipelineCancelled, save_captures, summary_line
from . import Work, settings_of


def run(request: FitPhoto, work: Work) -> Result:
    """Fit the people of a photo; a capture file for each."""
    result = work.pipeline.fit_photo(request.photo, settings_of(request), work.reporter)
    paths = save_captures(result.captures, request.out_dir, request.stem or Path(request.photo).stem)
    if work.reporter.cancelled():
        for path in paths:
            path.unlink(missing_ok=True)
        raise PipelineCancelled
    return Result(
        request.job,
        [str(path) for path in paths],
        [summary_line(capture) for capture in result.captures],
        result.timings_s,
    )
