"""From a clip to captures, one for each person, in parts that are kept: a run that was stopped goes on where it was.

Stages: find people in all frames; a shape and a camera for each person; every window of frames together; ground and
contacts; every window again with them, then hands and face. Memory does not grow with the clip's length but for the
result itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .capture import Capture
from .media.frame import focal_px_of_film
from .pipeline import (
    Pipeline,
    PipelineCancelled,
    PipelineError,
    PipelineSettings,
    Reporter,
    check_settings,
    limit_threads,
    plain_errors,
    save_captures,
    usable_device,
)
from .video_job import JobFolder, key_of

if TYPE_CHECKING:
    from .fitting.photo import Fitter, PhotoCamera
    from .media.video import Clip
    from .video_helper import Helper

# Change whenever parts of an older version can't be gone on with; settings are in the keys anyway.
DETECTION_VERSION, FIT_VERSION = 10, 14
SHARE_DETECTION = 0.7  # of the whole time, for the progress


@dataclass(frozen=True)
class ClipSettings:
    """What of a clip to capture, and how."""

    base: PipelineSettings = field(default_factory=PipelineSettings)
    start: int = 0  # frames of the clip, from 0
    end: int | None = None  # not included
    step: int = 1
    frame_rate: float | None = None  # instead of the file's; needed for folders of pictures that are not at 30
    moving_camera: bool = False
    keep_parts: bool = False
    cores: int = 2  # that may be used at once; the result is the same for any number
    early: bool = False  # also rough motions of what was looked at so far, for whoever watches; the result is the same


@dataclass
class ClipResult:
    """Captures, the person first who was large for longest, their files, and seconds by stage."""

    captures: list[Capture]
    paths: list[Path]
    timings_s: dict[str, float] = field(default_factory=dict)
    frames: int = 0


def capture_clip(
    clip: str | Path,
    out: str | Path,
    settings: ClipSettings,
    pipeline: Pipeline | None = None,
    reporter: Reporter | None = None,
    checkpoint: Callable[[Path], None] | None = None,
) -> ClipResult:
    """Capture the people of a clip to OUT.npz, OUT.2.npz, …

    checkpoint gets the file of a capture of each window as soon as it is solved; with `early`, before that those of
    parts that were looked at, whose diagnostics say "early". Raises PipelineError and PipelineCancelled; then what is
    done stays in the folder OUT.npz.parts, and the same call goes on from there.
    """
    reporter = reporter or Reporter()
    check_settings(settings.base)
    _check_range(settings)
    limit_threads(settings.base.threads)
    own = pipeline is None
    pipeline = pipeline or Pipeline()
    try:
        with plain_errors(), JobFolder(Path(f"{out}.parts")) as folder:
            job = _Job(Path(clip), Path(out), settings, pipeline, reporter, checkpoint, folder)
            return job.run()
    finally:
        if own:
            pipeline.close()


class _Job:
    def __init__(
        self,
        path: Path,
        out: Path,
        settings: ClipSettings,
        pipeline: Pipeline,
        reporter: Reporter,
        checkpoint: Callable[[Path], None] | None,
        folder: JobFolder,
    ) -> None:
        self.path, self.out, self.settings, self.pipeline = path, out, settings, pipeline
        self.reporter, self.checkpoint, self.folder = reporter, checkpoint, folder
        self.timings: dict[str, float] = {}
        self.helper: Helper | None = None

    def run(self) -> ClipResult:
        from .media.video import Clip

        s, base = self.settings, self.settings.base
        self._stage("read", "Opening the clip")
        clip = Clip(self.path, s.frame_rate)
        self.identity, self.turned_deg = clip.identity(), clip.info.rotation_deg
        detection_key = key_of(
            version=DETECTION_VERSION, clip=self.identity, start=s.start, end=s.end, step=s.step, rate=s.frame_rate,
            models=base.models_dir, people=base.people, moving=s.moving_camera,
        )  # fmt: skip
        self._stage("load", "Loading the solver")
        body = self.pipeline._bodies_for(base)[0]
        fitter = self.pipeline.clip_fitter(body, usable_device(base.device))
        try:
            # It loads while people are looked for.
            self.helper = self._start_helper(clip)
            captures = self._captures(clip, detection_key, fitter)
        finally:
            if self.helper is not None:
                self.helper.close()
        paths = save_captures(captures, self.out.parent, self.out.name.removesuffix(".npz"))
        if not s.keep_parts:
            self.folder.remove()
        self.reporter.progress(1.0)
        return ClipResult(captures, paths, self.timings, captures[0].num_frames)

    def _captures(self, clip: Clip, detection_key: str, fitter: Fitter) -> list[Capture]:
        start = time.perf_counter()
        self._stage("detect", "Looking for people")
        parts = self._detect(clip, detection_key, fitter)
        self.timings["detect"] = time.perf_counter() - start
        for warning in clip.warnings:
            self.reporter.warning(warning)
        start = time.perf_counter()
        self._stage("fit", "Fitting the motion")
        captures = self._fit(clip, detection_key, parts, fitter)
        self.timings["fit"] = time.perf_counter() - start
        return captures

    def _start_helper(self, clip: Clip) -> Helper | None:
        """Another process for the fit, where a second core may be used and the clip is worth it."""
        from .fitting.video_settings import VideoSettings
        from .media.video import FrameRange
        from .video_helper import Helper

        s, told = self.settings, clip.info.frame_count
        long = not told or FrameRange(s.start, s.end, s.step).count(told) >= VideoSettings().helped_frames
        return Helper(asdict(s.base), self.reporter.warning) if long and usable_cores(s.cores) > 1 else None

    # --- detection ----------------------------------------------------------------------------------------------

    def _detect(self, clip: Clip, key: str, fitter: Fitter) -> int:
        """Sightings of all frames as parts in the folder; how many parts."""
        from .media.video import FrameRange
        from .video_detection import ClipDetection, finished_parts

        s = self.settings
        number, _, finished, _ = finished_parts(self.folder, key)
        if finished:
            return number
        parts = ClipDetection(
            clip, FrameRange(s.start, s.end, s.step), self.pipeline.detector(s.base, masks=False), s.base.people,
            s.moving_camera, self.folder, key, usable_cores(s.cores) > 1,
            lambda fraction: self.reporter.progress(SHARE_DETECTION * fraction), self._stop_if_cancelled,
            self._check_clip, self._early(clip, key, fitter),
        ).run()  # fmt: skip
        if parts == 0:
            raise PipelineError(f"No frame of {self.path.name} is in the chosen range. Choose an earlier start.")
        return parts

    def _early(self, clip: Clip, key: str, fitter: Fitter) -> Callable[[int], None]:
        """What shows parts that were looked at."""
        from .video_early import EarlyMotion

        s, base = self.settings, self.settings.base
        if not s.early or self.checkpoint is None:
            return lambda number: None
        early = EarlyMotion(
            fitter, self.folder, key, self._camera(clip.info.size), clip.info.size, clip.info.frame_rate / s.step,
            base.people, base.height_cm / 100 if base.height_cm else None,
        )  # fmt: skip

        def show(number: int) -> None:
            for k, capture in enumerate(early.part(number)):
                self._on_window(capture, f"early-{number:05d}-{k}")

        return show

    # --- fitting ------------------------------------------------------------------------------------------------

    def _fit(self, clip: Clip, detection_key: str, parts: int, fitter: Fitter) -> list[Capture]:
        from .fitting.video_settings import VideoSettings
        from .video_helper import HelpedFit
        from .video_people import Sightings
        from .video_person import PersonFit

        video = VideoSettings()
        s, base = self.settings, self.settings.base
        sightings = Sightings(self.folder, detection_key, parts)
        people = sightings.people()
        if not people:
            raise PipelineError(
                f"No person was found in {self.path.name} for longer than a moment. "
                "Choose one that shows a person larger."
            )
        wanted = people[: base.people or None]
        if base.people > len(people):
            self.reporter.warning(f"Only {len(people)} of {base.people} people were found in {self.path.name}")
        size = clip.info.size
        rate = clip.info.frame_rate / s.step
        camera = self._camera(size)
        captures = []
        for number, person in enumerate(wanted):
            fit_key = key_of(
                version=FIT_VERSION, number=number,
                detection=detection_key, tracks=person.tracks, body=fitter.body.body_id, camera=asdict(camera),
                moving=s.moving_camera, height=base.height_cm, settings=asdict(fitter.settings),
                video=asdict(video), dtype=str(fitter.dtype),
            )  # fmt: skip
            height_m = base.height_cm / 100 if base.height_cm and number == 0 else None
            if self.helper is not None:
                self.helper.begin(HelpedFit(
                    str(self.folder.path), detection_key, parts, number, size, asdict(camera), rate, height_m, fit_key,
                ))  # fmt: skip
            fit = PersonFit(
                fitter, sightings, person, number, size, camera, rate, height_m, self.folder, fit_key,
                lambda fraction, number=number: self._fit_progress((number + fraction) / len(wanted)),  # type: ignore[misc]
                self._stop_if_cancelled,
                self._on_window if self.checkpoint is not None else None, video, self.helper,
            )  # fmt: skip
            captures.append(self._signed(fit.run()))
            camera = camera.for_others(captures[-1])
        return captures

    def _camera(self, size: tuple[int, int]) -> PhotoCamera:
        from .fitting.photo import PhotoCamera

        base = self.settings.base
        if base.focal_px is not None:
            return PhotoCamera(base.focal_px, "given")
        if base.focal_mm is not None:
            return PhotoCamera(focal_px_of_film(base.focal_mm, size), "given")
        return PhotoCamera()

    def _signed(self, capture: Capture) -> Capture:
        """The capture with what it tells of the clip itself."""
        turned = {"clip_turned_deg": self.turned_deg} if self.turned_deg else {}
        return replace(capture, source=os.path.abspath(self.path), diagnostics=capture.diagnostics | turned)

    def _on_window(self, capture: Capture, name: str) -> None:
        assert self.checkpoint is not None
        path = self.folder.path / f"{name}.npz"
        self._signed(capture).save(path)
        self.checkpoint(path)

    # --- small things -------------------------------------------------------------------------------------------

    def _stage(self, name: str, text: str) -> None:
        self._stop_if_cancelled()
        self.reporter.stage(name, text)

    def _fit_progress(self, fraction: float) -> None:
        self._check_clip()
        self.reporter.progress(SHARE_DETECTION + (1 - SHARE_DETECTION) * fraction)

    def _stop_if_cancelled(self) -> None:
        if self.reporter.cancelled():
            raise PipelineCancelled

    def _check_clip(self) -> None:
        """Raises PipelineError where the clip is not the one that the run began with."""
        if self.path.is_dir():
            return
        try:
            stat = self.path.stat()
            same = (stat.st_size, stat.st_mtime_ns) == (self.identity["bytes"], self.identity["changed_ns"])
        except OSError:
            same = False
        if not same:
            raise PipelineError(f"{self.path.name} was changed or removed while it was captured. Start again.")


def usable_cores(wanted: int) -> int:
    """So many cores, or as many as there are."""
    return max(1, min(wanted, os.cpu_count() or 1))


def _check_range(settings: ClipSettings) -> None:
    if settings.step < 1:
        raise PipelineError("The step must be 1 or more.")
    if settings.start < 0 or (settings.end is not None and settings.end <= settings.start):
        raise PipelineError("The range of frames is empty. Give an end after the start.")
    if settings.frame_rate is not None and not 0.01 < settings.frame_rate < 10_000:
        raise PipelineError(f"A frame rate of {settings.frame_rate:g} is impossible. Give one above 0.")
    if settings.cores < 1:
        raise PipelineError("The number of cores must be 1 or more.")
    if settings.base.points:
        raise PipelineError("A file of points belongs to a photo. Leave it out for a clip.")


def clip_summary(capture: Capture) -> str:
    """What a person at a terminal wants to know of a captured clip, in one line."""
    times = capture.frame_times_s
    seen = capture.confidence > 0
    parts = [
        f"{capture.num_frames} frames, {float(times[0]):.2f} to {float(times[-1]):.2f} s",
        f"seen in {100 * float(seen.mean()):.0f} %",
        f"focal length {capture.focal_px:.0f} px ({capture.focal_source})",
        f"confidence {float(capture.confidence[seen].mean()) if seen.any() else 0.0:.2f}",
    ]
    return "; ".join(parts)
