"""A clip to captures, with a checkpoint for each window of frames."""

from __future__ import annotations

from ..messages import Checkpoint, FitVideo, Result
from ..pipeline import PipelineSettings
from ..video_pipeline import ClipSettings, capture_clip, clip_summary
from . import Work


def run(request: FitVideo, work: Work) -> Result:
    """Capture the people of a clip; a file for each. What is done stays when the job is cancelled."""
    settings = ClipSettings(
        PipelineSettings(
            body=request.body,
            people=request.people,
            focal_px=request.focal_px,
            focal_mm=request.focal_mm,
            device=request.device,
            threads=request.threads,
            cache_dir=request.cache_dir,
            models_dir=request.models_dir,
            height_cm=request.height_cm,
            gender=request.gender,
        ),
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
