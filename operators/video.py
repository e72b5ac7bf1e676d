"""Video to animation: queue a clip, show the avatar while it is solved, build its animation."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)
from bpy_extras.io_utils import ImportHelper

from . import bodies
from .building import CaptureImport, result_steps
from .capture_settings import photo_settings
from .jobs import Job, JobError, Steps
from .notify import failed
from .photo import Dropped
from .session import submit
from .settings import ROOT_PACKAGE, SolverSettings, solver_settings
from .warming import warm_soon

if TYPE_CHECKING:
    from ..core.messages import Checkpoint, Result
    from ..scene.clip_preview import ClipPreview

VIDEO_EXTENSIONS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".mts", ".ogv")
VIDEO_FILTER = ";".join(f"*{extension}" for extension in VIDEO_EXTENSIONS)


class Keying:
    """How a clip is keyed: properties of the scene's settings and of the import operator alike."""

    timing: EnumProperty(
        name="Keys",
        translation_context="Pantomime",
        description="Where keys are set. The motion lasts as long as in the clip either way",
        items=(
            ("WHOLE", "Scene's frames", "At every whole frame of the scene"),
            ("CLIP", "Clip's frames", "At the clip's own times, which may lie between the scene's frames"),
        ),
    )
    reduce: BoolProperty(name="Fewer keys", description="Leave out keys that straight lines between the others replace")
    tolerance_deg: FloatProperty(
        name="Degrees", description="How far rotations may stray", default=0.5, min=0.01, soft_max=5.0
    )
    tolerance_mm: FloatProperty(
        name="Millimetres", description="How far places may stray", default=1.0, min=0.01, soft_max=20.0
    )
    contact_markers: BoolProperty(
        name="Foot markers", description="Markers on the action where feet come down and go up"
    )
    push_down: BoolProperty(
        name="As NLA strip", description="Put the motion on a track of its own, for other actions to go on top"
    )
    set_rate: BoolProperty(
        name="Scene as the clip", description="Give the scene the clip's frame rate, and its range of frames"
    )


MOTION = tuple(Keying.__annotations__)


class PANTOMIME_PG_video(Keying, bpy.types.PropertyGroup):
    """How a clip is captured and keyed; kept with the scene."""

    movie_clip: PointerProperty(
        type=bpy.types.MovieClip, name="Clip", description="A movie clip or image sequence that is in this file"
    )
    use_range: BoolProperty(name="Part of the clip", description="Capture only some of its frames")
    start: IntProperty(name="First frame", description="Of the clip, counted from 1", default=1, min=1)
    end: IntProperty(name="Last frame", description="Of the clip, counted from 1", default=250, min=1)
    step: IntProperty(
        name="Frame step",
        description="2 leaves out every second frame, and so on: faster, and less exact",
        default=1,
        min=1,
        soft_max=10,
    )
    moving_camera: BoolProperty(
        name="The camera turns", description="Take the camera's rotation from the background of the clip"
    )
    preview: BoolProperty(
        name="Show while solving",
        description="The avatar follows while later frames are still being solved",
        default=True,
    )


@dataclass(frozen=True)
class VideoRequest:
    """A clip and what is wanted of it, as plain values."""

    clip: str
    start: int
    end: int | None
    step: int
    moving_camera: bool
    people: int
    focal_mm: float | None
    height_cm: float | None
    gender: str
    frame_rate: float | None = None


def output_of(clip: str) -> str:
    """Where the capture of a clip goes: the same place each time, so that what was stopped can go on."""
    import hashlib

    name = f"{Path(clip).stem}-{hashlib.sha1(os.path.abspath(clip).encode()).hexdigest()[:8]}.npz"
    try:
        folder = bpy.utils.extension_path_user(ROOT_PACKAGE, path="clips", create=True)
    except ValueError:  # not installed as an extension
        folder = os.path.join(bpy.app.tempdir, "pantomime_clips")
        os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, name)


def animation_settings(scene: bpy.types.Scene) -> dict[str, Any]:
    """The scene's settings as properties of the import operator."""
    return {name: getattr(scene.pantomime_video, name) for name in MOTION}


def video_job(request: VideoRequest, scene: bpy.types.Scene, solver: SolverSettings) -> Job:
    """The job that makes animated avatars of the people in a clip."""
    from ..core.client import new_job_id
    from ..core.messages import FitVideo

    message = FitVideo(
        job=new_job_id(),
        clip=request.clip,
        out=output_of(request.clip),
        start=request.start,
        end=request.end,
        step=request.step,
        frame_rate=request.frame_rate,
        moving_camera=request.moving_camera,
        early=scene.pantomime_video.preview,
        body=solver.body,
        people=request.people,
        focal_mm=request.focal_mm,
        device=solver.device,
        threads=solver.threads,
        cache_dir=solver.cache_dir,
        models_dir=solver.models_dir,
        height_cm=request.height_cm,
        gender=request.gender,
    )
    follower = _Follower(scene, solver.body)
    return Job(
        message,
        os.path.basename(request.clip.rstrip("/\\")),
        scene.name,
        solver,
        on_result=follower.build,
        on_checkpoint=follower.show if scene.pantomime_video.preview else None,
        on_end=follower.end,
        title="Video to animation",
        cancelled="Cancelled. Choose the same clip again with the same settings, and it goes on from there",
    )


class _Follower:
    """Between a clip's job and the scene: the preview, then the animation as one undo step."""

    def __init__(self, scene: bpy.types.Scene, body: str | None) -> None:
        self.options = animation_settings(scene)
        self.body = body
        self.preview: ClipPreview | None = None

    def show(self, job: Job, event: Checkpoint) -> Steps:
        from ..scene.action import AnimationSettings
        from ..scene.avatar import frame_rate
        from ..scene.clip_preview import ClipPreview
        from ..scene.from_file import FromFileError

        scene = bpy.data.scenes.get(job.scene_name)
        if scene is None:
            return
        if self.preview is None:
            self.preview = ClipPreview(self.body, AnimationSettings(scene.frame_start, frame_rate(scene)))
        try:
            yield from self.preview.show(event.path, scene)
        except FromFileError as error:
            # Of a job that has ended meanwhile the stretches are gone, and their whole follows.
            if os.path.isfile(event.path):
                raise JobError(str(error)) from error

    def build(self, job: Job, result: Result) -> Steps:
        instead = self.preview.give_way if self.preview is not None else lambda made: None
        step = "Video to Animation"
        return (
            yield from result_steps(result.captures, self.body, job.scene_name, step, self.options, instead=instead)
        )

    def end(self, job: Job) -> None:
        # After a cancel or an error.
        if self.preview is not None:
            self.preview.keep()


class PANTOMIME_OT_video_to_animation(bpy.types.Operator, ImportHelper):
    """Make animated avatars of the people in a video"""

    bl_idname = "pantomime.video_to_animation"
    bl_label = "Video to Animation"
    bl_options = {"REGISTER"}

    filter_glob: StringProperty(default=VIDEO_FILTER, options={"HIDDEN"})
    filepath: StringProperty(
        name="Video",
        description="A video of a person, or a folder of numbered pictures",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    use_movie_clip: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if self.filepath or self.use_movie_clip:
            return self.execute(context)
        warm_soon(0.0)
        return ImportHelper.invoke(self, context, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        scene = context.scene
        values = scene.pantomime_video
        clip, rate = _clip_path(self.filepath, values.movie_clip if self.use_movie_clip else None)
        if not clip or not os.path.exists(clip):
            return failed(self, f"There is no video {clip or 'named'}. Choose a video file.")
        if values.use_range and values.end < values.start:
            return failed(self, "The range of frames is empty. Give a last frame after the first one.")
        known = photo_settings(scene)
        solver = solver_settings(context)
        if known.free_body:
            solver = replace(solver, body=None)
        request = VideoRequest(
            clip,
            values.start - 1 if values.use_range else 0,
            values.end if values.use_range else None,
            values.step,
            values.moving_camera,
            known.people,
            known.focal_mm,
            known.height_cm,
            known.gender if solver.body else "neutral",
            rate,
        )
        bodies.read_early(solver.body, "neutral" if request.gender == "auto" else request.gender)
        return submit(self, video_job(request, scene, solver))


def _clip_path(filepath: str, movie_clip: bpy.types.MovieClip | None) -> tuple[str, float | None]:
    """The file or folder that is meant, and the frame rate where the file does not know it."""
    if movie_clip is None:
        return (os.path.abspath(bpy.path.abspath(filepath)) if filepath else ""), None
    path = os.path.abspath(bpy.path.abspath(movie_clip.filepath))
    if movie_clip.source == "SEQUENCE":
        return os.path.dirname(path), float(movie_clip.fps) or None
    return path, None


class PANTOMIME_OT_import_motion(CaptureImport, Keying, bpy.types.Operator):
    """Make animated avatars from the captures of a video"""

    bl_idname = "pantomime.import_motion"
    bl_label = "Import Motion"
    bl_options = {"REGISTER", "UNDO"}

    def motion(self) -> dict[str, Any]:
        """How the motion is keyed."""
        return {name: getattr(self, name) for name in MOTION}


class PANTOMIME_FH_video(Dropped, bpy.types.FileHandler):
    """Videos dropped into the 3D view or the outliner."""

    bl_idname = "PANTOMIME_FH_video"
    bl_label = "Video as animation"
    bl_import_operator = "pantomime.video_to_animation"
    bl_file_extensions = ";".join(VIDEO_EXTENSIONS)


def register() -> None:
    """Give scenes the settings."""
    bpy.types.Scene.pantomime_video = PointerProperty(type=PANTOMIME_PG_video)


def unregister() -> None:
    """Take them back."""
    del bpy.types.Scene.pantomime_video


CLASSES = (
    PANTOMIME_PG_video,
    PANTOMIME_OT_video_to_animation,
    PANTOMIME_OT_import_motion,
    PANTOMIME_FH_video,
)
