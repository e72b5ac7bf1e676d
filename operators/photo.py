"""Photo to avatar: queue photos, cancel, and building avatars from captures."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import bpy
from bpy.props import CollectionProperty, EnumProperty, FloatProperty, StringProperty
from bpy_extras.io_utils import ImportHelper

from . import bodies
from .avatars import avatar_of, camera_of
from .building import CaptureImport, chosen_files, result_steps
from .capture_settings import PhotoSettings, photo_settings
from .jobs import Job, Steps, job_folder
from .notify import failed, refuse, report
from .session import SESSION, submit
from .settings import SolverSettings, export_log_path, log_path, solver_settings
from .warming import warm_soon

if TYPE_CHECKING:
    from ..core.messages import Result

# HEIC, which phones write, can't be read: whoever drops one is to be told, where Blender would do nothing.
PHOTO_EXTENSIONS = (
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".tga", ".jp2", ".avif", ".heic", ".heif",
)  # fmt: skip
PHOTO_FILTER = ";".join(f"*{extension}" for extension in PHOTO_EXTENSIONS)


def photo_job(photo: str, scene_name: str, solver: SolverSettings, settings: PhotoSettings | None = None) -> Job:
    """The job that makes avatars of the people in a photo."""
    from ..core.client import new_job_id
    from ..core.messages import FitPhoto

    settings = settings or PhotoSettings()
    if settings.free_body:
        solver = replace(solver, body=None)
    folder = job_folder()
    request = FitPhoto(
        job=new_job_id(),
        photo=photo,
        out_dir=folder,
        body=solver.body,
        people=settings.people,
        focal_mm=settings.focal_mm,
        device=solver.device,
        threads=solver.threads,
        cache_dir=solver.cache_dir,
        models_dir=solver.models_dir,
        height_cm=settings.height_cm,
        gender=settings.gender if solver.body else "neutral",
        quality=settings.quality,
        upright=os.path.join(folder, "upright.jpg"),
    )
    return Job(request, os.path.basename(photo), scene_name, solver, on_result=_build)


def _build(job: Job, result: Result) -> Steps:
    upright = getattr(job.request, "upright", "")
    return result_steps(result.captures, job.settings.body, job.scene_name, "Photo to Avatar", upright_copy=upright)


class PANTOMIME_OT_photo_to_avatar(bpy.types.Operator, ImportHelper):
    """Make posed avatars of the people in photos"""

    bl_idname = "pantomime.photo_to_avatar"
    bl_label = "Photo to Avatar"
    bl_options = {"REGISTER"}

    filter_glob: StringProperty(default=PHOTO_FILTER, options={"HIDDEN"})
    filepath: StringProperty(
        name="Photo", description="A picture of a person", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    focal_mm: FloatProperty(
        name="Focal length",
        description="Equivalent on 35 mm film, in mm. 0: as the scene's settings say",
        default=0.0,
        min=0.0,
        soft_max=300.0,
    )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        # Dropped files come with the call; else the user chooses some.
        if self.filepath or self.files:
            return self.execute(context)
        warm_soon(0.0)
        return ImportHelper.invoke(self, context, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        photos = chosen_files(self)
        if not photos:
            return failed(self, "There is no photo named. Choose a picture file.")
        missing = [photo for photo in photos if not os.path.isfile(photo)]
        if missing:
            return failed(self, f"There is no photo {missing[0]}. Choose a picture file.")
        solver, settings = solver_settings(context), photo_settings(context.scene)
        if self.focal_mm:
            settings = replace(settings, focal_mm=self.focal_mm)
        if solver.body is None or settings.free_body:
            bodies.read_early(None)
        elif settings.gender != "auto":
            bodies.read_early(solver.body, settings.gender)
        return submit(self, *(photo_job(photo, context.scene.name, solver, settings) for photo in photos))


class Dropped:
    """File handlers of the 3D view and the outliner."""

    early = True  # whether the solver is started while the file still hangs over the window

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        if cls.early:
            warm_soon(0.0)
        return context.area is not None and context.area.type in ("VIEW_3D", "OUTLINER")


class PANTOMIME_FH_photo(Dropped, bpy.types.FileHandler):
    """Photos dropped into the 3D view or the outliner."""

    bl_idname = "PANTOMIME_FH_photo"
    bl_label = "Photo as avatar"
    bl_import_operator = "pantomime.photo_to_avatar"
    bl_file_extensions = ";".join(PHOTO_EXTENSIONS)


class PANTOMIME_FH_capture(Dropped, bpy.types.FileHandler):
    """Captures dropped into the 3D view or the outliner."""

    bl_idname = "PANTOMIME_FH_capture"
    bl_label = "Capture as avatar"
    bl_import_operator = "pantomime.import_capture"
    bl_file_extensions = ".npz"
    early = False


class PANTOMIME_OT_cancel(bpy.types.Operator):
    """Stop what the solver works on, and drop what waits for it"""

    bl_idname = "pantomime.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return SESSION.busy and not SESSION.status.cancelling

    def execute(self, context: bpy.types.Context) -> set[str]:
        SESSION.cancel_all()
        return {"FINISHED"}


class PANTOMIME_OT_open_log(bpy.types.Operator):
    """Open the log in the program that shows text files"""

    bl_idname = "pantomime.open_log"
    bl_label = "Open Log"
    bl_options = {"INTERNAL"}

    of: EnumProperty(
        name="Of",
        translation_context="Pantomime",
        items=(("SOLVER", "Solver", "What the solver said"), ("EXPORT", "Export", "What the last exporter said")),
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        path = export_log_path() if self.of == "EXPORT" else log_path()
        if not os.path.isfile(path):
            return failed(self, "There is no log yet")
        bpy.ops.wm.path_open(filepath=path)
        report(self, "INFO", path)
        return {"FINISHED"}


class PANTOMIME_OT_import_capture(CaptureImport, bpy.types.Operator):
    """Make an avatar from a capture file"""

    bl_idname = "pantomime.import_capture"
    bl_label = "Import Capture"
    bl_options = {"REGISTER", "UNDO"}


class PANTOMIME_OT_look_through_camera(bpy.types.Operator):
    """See the selected avatar over its photo, through the camera that took it"""

    bl_idname = "pantomime.look_through_camera"
    bl_label = "Look Through Camera"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        rig = avatar_of(context)
        if rig is None:
            return refuse(cls, "Select an avatar")
        return camera_of(rig) is not None or refuse(cls, "The avatar's camera is gone")

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.camera = camera_of(avatar_of(context))
        area = context.area if context.area and context.area.type == "VIEW_3D" else None
        if area is not None:
            area.spaces.active.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


class PANTOMIME_OT_render_as_photo(bpy.types.Operator):
    """Give the scene the size of the selected avatar's photo, so that renders show what the photo shows"""

    bl_idname = "pantomime.render_as_photo"
    bl_label = "Render Size of the Photo"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return refuse(cls, "" if avatar_of(context) is not None else "Select an avatar")

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene.camera import set_render_size
        from ..scene.handles import image_size

        width, height = image_size(avatar_of(context))
        set_render_size(context.scene, (width, height))
        report(self, "INFO", f"The scene renders {width} × {height} pixels")
        return {"FINISHED"}


CLASSES = (
    PANTOMIME_FH_photo,
    PANTOMIME_FH_capture,
    PANTOMIME_OT_photo_to_avatar,
    PANTOMIME_OT_cancel,
    PANTOMIME_OT_open_log,
    PANTOMIME_OT_import_capture,
    PANTOMIME_OT_look_through_camera,
    PANTOMIME_OT_render_as_photo,
)
