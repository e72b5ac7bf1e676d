"""Photo to avatar: start, cancel, and building the avatar from a capture."""

from __future__ import annotations

import os

import bpy
from bpy.props import FloatProperty, StringProperty
from bpy_extras.io_utils import ImportHelper

from ..core.client import ClientError
from . import session
from .settings import solver_settings

PHOTO_FILTER = "*.jpg;*.jpeg;*.png;*.webp;*.tif;*.tiff;*.bmp"


class PANTOMIME_OT_photo_to_avatar(bpy.types.Operator, ImportHelper):
    """Make a posed avatar of the person in a photo"""

    bl_idname = "pantomime.photo_to_avatar"
    bl_label = "Photo to Avatar"
    bl_options = {"REGISTER"}

    filter_glob: StringProperty(default=PHOTO_FILTER, options={"HIDDEN"})
    filepath: StringProperty(
        name="Photo", description="A picture of a person", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )
    focal_mm: FloatProperty(
        name="Focal length",
        description="Equivalent on 35 mm film, in mm. 0: from the photo's own data, else found with the pose",
        default=0.0,
        min=0.0,
        soft_max=300.0,
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if session.SESSION.status.running:
            cls.poll_message_set("A photo is being solved")
            return False
        return context.mode == "OBJECT" or _refuse(cls, "Leave edit or pose mode first")

    def execute(self, context: bpy.types.Context) -> set[str]:
        photo = os.path.abspath(bpy.path.abspath(self.filepath)) if self.filepath else ""
        if not os.path.isfile(photo):
            self.report({"ERROR"}, f"There is no photo {photo or 'named'}. Choose a picture file.")
            return {"CANCELLED"}
        try:
            session.SESSION.start(photo, context.scene.name, solver_settings(context), self.focal_mm or None)
        except ClientError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not bpy.app.background:
            session.begin(context)
            return {"FINISHED"}
        session.SESSION.wait()
        status = session.SESSION.status
        for warning in status.warnings:
            self.report({"WARNING"}, warning)
        if status.error:
            self.report({"ERROR"}, status.error)
            return {"CANCELLED"}
        return {"FINISHED"}


class PANTOMIME_OT_cancel(bpy.types.Operator):
    """Stop the photo that is being solved"""

    bl_idname = "pantomime.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        status = session.SESSION.status
        return status.running and not status.cancelling

    def execute(self, context: bpy.types.Context) -> set[str]:
        session.SESSION.cancel()
        return {"FINISHED"}


class PANTOMIME_OT_import_capture(bpy.types.Operator, ImportHelper):
    """Make an avatar from a capture file"""

    bl_idname = "pantomime.import_capture"
    bl_label = "Import Capture"
    bl_options = {"REGISTER", "UNDO"}

    filter_glob: StringProperty(default="*.npz", options={"HIDDEN"})
    filepath: StringProperty(name="Capture", description="A capture (.npz)", subtype="FILE_PATH")
    body: StringProperty(
        name="Body",
        description="The licensed body that the capture was fitted with. Empty: as in the preferences",
        options={"HIDDEN", "SKIP_SAVE"},
    )
    scene_name: StringProperty(options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        # numpy comes with this, and is not to be loaded by registering.
        from ..scene.from_file import FromFileError, avatar_from_file

        scene = bpy.data.scenes.get(self.scene_name) or context.scene
        body = self.body or solver_settings(context).body
        try:
            avatar = avatar_from_file(bpy.path.abspath(self.filepath), body, scene)
        except FromFileError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for warning in avatar.warnings:
            self.report({"WARNING"}, warning)
        _select(context, avatar.armature)
        return {"FINISHED"}


class PANTOMIME_OT_look_through_camera(bpy.types.Operator):
    """See the selected avatar over its photo, through the camera that took it"""

    bl_idname = "pantomime.look_through_camera"
    bl_label = "Look Through Camera"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return camera_of(context.object) is not None or _refuse(cls, "Select an avatar")

    def execute(self, context: bpy.types.Context) -> set[str]:
        context.scene.camera = camera_of(context.object)
        area = context.area if context.area and context.area.type == "VIEW_3D" else None
        if area is not None:
            area.spaces.active.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


def _select(context: bpy.types.Context, obj: bpy.types.Object) -> None:
    """As importers do: what came in is what is selected."""
    layer = context.view_layer
    if obj.name not in layer.objects:
        return
    for other in layer.objects:
        other.select_set(False, view_layer=layer)
    obj.select_set(True, view_layer=layer)
    layer.objects.active = obj


def camera_of(obj: bpy.types.Object | None) -> bpy.types.Object | None:
    """The camera beside an avatar's armature or mesh."""
    rig = obj.parent if obj is not None and obj.type == "MESH" and obj.parent is not None else obj
    if rig is None or "pantomime" not in rig:
        return None
    beside = (other for collection in rig.users_collection for other in collection.objects)
    return next((other for other in beside if other.type == "CAMERA"), None)


def _refuse(operator: type[bpy.types.Operator], why: str) -> bool:
    operator.poll_message_set(why)
    return False


CLASSES = (
    PANTOMIME_OT_photo_to_avatar,
    PANTOMIME_OT_cancel,
    PANTOMIME_OT_import_capture,
    PANTOMIME_OT_look_through_camera,
)
