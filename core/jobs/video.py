"""A clip to captures, with a checkpoint for each window of frames."""

from __future__ import annotations

from ..messages import Checkpoint, FitVideo, Result
from ..video_pipeline import ClipSettings, capture_clip, clip_summary
from . import Work, settings_of


def run(request: FitVideo, work: Work) -> Result:
    """Capture the people of a clip; a file for each. What is done stays when the job is cancelled."""
    settings = ClipSettings(
        settings_of(request),
        start=request.start,
        end=request.end,
        step=request.step,
        frame_rate=request.frame_rate,
        moving_camera=request.moving_camera,
        early=request.early,
    )
    result = capture_clip(
        request.clip,
        request.out,
        settings,
        work.pipeline,
        work.reporter,
        lambda path: work.send(Checkpoint(request.job, str(path))),
    )
    return Result(
        request.job,
        [str(path) for path in result.paths],
        [clip_summary(capture) for capture in result.captures],
        result.timings_s,
    )
