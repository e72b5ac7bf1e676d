"""A photo to captures."""

from __future__ import annotations

from pathlib import Path

from ..messages import FitPhoto, Result
from ..pipeline import PipelineCancelled, PipelineSettings, save_captures, summary_line
from . import Work


def run(request: FitPhoto, work: Work) -> Result:
    """Fit the people of a photo; a capture file for each."""
    settings = PipelineSettings(
        body=request.body,
        points=request.points,
        people=request.people,
        focal_px=request.focal_px,
        focal_mm=request.focal_mm,
        device=request.device,
        threads=request.threads,
        cache_dir=request.cache_dir,
        models_dir=request.models_dir,
        height_cm=request.height_cm,
        gender=request.gender,
        quality=request.quality,
        upright=request.upright,
    )
    result = work.pipeline.fit_photo(request.photo, settings, work.reporter)
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
