"""What an avatar is made for: export, pose assets, IK controls."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper

from ..scene.identity import IK as IK  # panels ask here
from ..scene.identity import handles_of as handles_of
from .avatars import OnAvatar, avatar_of, why_not_read
from .exporting import export_soon
from .jobs import JobError
from .notify import failed, refuse, report, translated
from .session import ASIDE

FORMATS = (
    ("FBX", "FBX", "For Unreal, Unity, Maya and most others"),
    ("GLTF", "glTF", "One .glb file, for the web, Godot and engines"),
    ("USD", "USD", "For Omniverse, Houdini and film pipelines"),
    ("BVH", "BVH", "Bones and motion alone"),
)
SUFFIXES = {"FBX": ".fbx", "GLTF": ".glb", "USD": ".usdc", "BVH": ".bvh"}


@contextlib.contextmanager
def waiting(context: bpy.types.Context) -> Iterator[None]:
    """The wait cursor, while Blender does something that can't be done beside it."""
    window = context.window
    if window is not None:
        window.cursor_set("WAIT")
    try:
        yield
    finally:
        if window is not None:
            window.cursor_set("DEFAULT")


class PANTOMIME_OT_export(bpy.types.Operator, ExportHelper):
    """Write the avatar alone to a file for another program, with settings that work there"""

    bl_idname = "pantomime.export"
    bl_label = "Export Avatar"
    bl_options = {"REGISTER", "PRESET"}

    filter_glob: StringProperty(default="*.fbx;*.glb;*.usd;*.usda;*.usdc;*.usdz;*.bvh", options={"HIDDEN"})
    filepath: StringProperty(name="File", description="Where to write", subtype="FILE_PATH")
    format: EnumProperty(name="Format", items=FORMATS, default="FBX")
    engine: EnumProperty(
        name="Units",
        description="How lengths are written to FBX",
        items=(
            ("UNITY", "m (Unity)", "For Unity and Blender: metres, no scale on any object"),
            ("UNREAL", "cm (Unreal)", "For Unreal and Maya: centimetres, no scale on any object"),
        ),
        default="UNREAL",
    )
    shape_keys: EnumProperty(
        name="Shape keys",
        translation_context="Pantomime",
        items=(
            ("FACE", "Expressions", "The body's shape goes into the mesh; expressions stay shape keys"),
            (
                "ALL",
                "Expressions and shape",
                "The shape can be changed in the other program, where bones can't follow",
            ),
            ("NONE", "None", "The face as it is now goes into the mesh"),
        ),
        default="FACE",
    )
    pose_corrective: BoolProperty(
        name="Pose correction",
        description="Add a shape key that corrects the skin in the pose of this frame. The correctives that follow "
        "bones can't be exported, as other programs have no drivers",
        default=False,
    )
    animation: BoolProperty(name="Animation", description="Write the avatar's motion, if it has one", default=True)
    by_hand: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        if properties.format == "USD" and not bpy.app.build_options.usd:
            return "This Blender was built without USD. Choose another format, or get Blender from blender.org"
        return next(text for identifier, _, text in FORMATS if identifier == properties.format)

    @property
    def filename_ext(self) -> str:
        return SUFFIXES[self.format]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return refuse(cls, why_not_read(avatar_of(context)))

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        rig = avatar_of(context)
        if rig is not None and not self.filepath:
            folder = os.path.dirname(bpy.data.filepath) if bpy.data.filepath else ""
            name = bpy.path.clean_name(rig.name)
            self.filepath = os.path.join(folder, name + self.filename_ext)
        self.by_hand = not bpy.app.background
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, _context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(self, "format")
        if self.format == "FBX":
            layout.prop(self, "engine")
        if self.format != "BVH":
            layout.prop(self, "shape_keys")
            layout.prop(self, "pose_corrective")
        layout.prop(self, "animation")

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene.export import ExportError, ExportSettings, export_avatar, target_of
        from ..scene.export_apart import can_hand_over

        settings = ExportSettings(
            format=self.format,
            centimetres=self.engine == "UNREAL",
            shape_keys=self.shape_keys,
            pose_corrective=self.pose_corrective,
            animation=self.animation,
        )
        rig = avatar_of(context)
        try:
            target = target_of(Path(bpy.path.abspath(self.filepath)), self.format)
            if self.by_hand and can_hand_over(rig):
                export_soon(rig, target, settings, context.scene)
                return {"FINISHED"}
            with waiting(context):
                notes = export_avatar(rig, target, settings, context.scene)
        except (ExportError, JobError) as error:
            return failed(self, str(error))
        report(self, "INFO", ". ".join([translated(f"Wrote {notes.path.name}"), *map(translated, notes.left_out)]))
        return {"FINISHED"}


class PANTOMIME_OT_cancel_aside(bpy.types.Operator):
    """Stop what is done aside, such as an export, and drop what waits for it"""

    bl_idname = "pantomime.cancel_aside"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return ASIDE.busy

    def execute(self, context: bpy.types.Context) -> set[str]:
        ASIDE.cancel_all()
        return {"FINISHED"}


class PANTOMIME_OT_make_asset(bpy.types.Operator):
    """Make an asset of the avatar's pose or motion, with a preview, for the asset browser"""

    bl_idname = "pantomime.make_asset"
    bl_label = "Make Pose Asset"
    bl_options = {"REGISTER", "UNDO"}

    asset_name: StringProperty(name="Name", description="Of the asset. Empty: the avatar's", options={"SKIP_SAVE"})
    whole_motion: BoolProperty(
        name="Whole motion", description="An action with all frames, rather than the pose of this one"
    )

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: bpy.types.OperatorProperties) -> str:
        if properties.whole_motion:
            return "Make an asset of the avatar's motion, with a preview, for the asset browser"
        return "Make an asset of the avatar's pose, with a preview, for the asset browser and pose library"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return refuse(cls, why_not_read(avatar_of(context)))

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene.assets import make_asset, write_catalog
        from ..scene.avatar import AvatarError

        try:
            with waiting(context):
                action = make_asset(avatar_of(context), self.asset_name, self.whole_motion, context.scene)
        except AvatarError as error:
            return failed(self, str(error))
        try:
            catalog = write_catalog(bpy.data.filepath)
        except OSError as error:
            report(self, "WARNING", f"The asset's catalog can't be written beside the file: {error.strerror or error}")
            return {"FINISHED"}
        if catalog is None:
            report(self, "INFO", f"Made the asset {action.name}. Save the file to see it in the asset browser")
        else:
            report(self, "INFO", f"Made the asset {action.name}")
        return {"FINISHED"}


class PANTOMIME_OT_add_controls(OnAvatar, bpy.types.Operator):
    """Add IK handles and poles for hands and feet. The pose stays, and they can be removed again"""

    bl_idname = "pantomime.add_controls"
    bl_label = "Add IK Controls"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        rig = avatar_of(context)
        return (rig is not None and rig.data.library is None) or refuse(
            cls, "The avatar's armature is linked. Make it local"
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import controls

        rig = avatar_of(context)
        if handles_of(rig):
            report(self, "WARNING", "This avatar has its controls already")
            return {"CANCELLED"}
        controls.add_controls(rig, context.scene)
        return {"FINISHED"}


class _ControlsOperator(OnAvatar):
    """For avatars that have controls: calls the function `action` of `scene.controls`."""

    bl_options = {"REGISTER", "UNDO"}
    action = ""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        return bool(handles_of(avatar_of(context))) or refuse(cls, "Add IK controls first")

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import controls

        getattr(controls, self.action)(avatar_of(context), context.scene)
        return {"FINISHED"}


class PANTOMIME_OT_remove_controls(_ControlsOperator, bpy.types.Operator):
    """Remove the IK controls. The bones keep the pose that they are in"""

    bl_idname = "pantomime.remove_controls"
    bl_label = "Remove IK Controls"
    action = "remove_controls"


class PANTOMIME_OT_snap_controls(_ControlsOperator, bpy.types.Operator):
    """Lay the IK handles on the bones' own pose"""

    bl_idname = "pantomime.snap_controls"
    bl_label = "Snap Handles to Bones"
    action = "snap_to_pose"


class PANTOMIME_OT_snap_bones(_ControlsOperator, bpy.types.Operator):
    """Give the bones the pose that the IK handles lead to, and switch to the bones"""

    bl_idname = "pantomime.snap_bones"
    bl_label = "Snap Bones to Handles"
    action = "snap_to_controls"


CLASSES = (
    PANTOMIME_OT_export,
    PANTOMIME_OT_cancel_aside,
    PANTOMIME_OT_make_asset,
    PANTOMIME_OT_add_controls,
    PANTOMIME_OT_remove_controls,
    PANTOMIME_OT_snap_controls,
    PANTOMIME_OT_snap_bones,
)
