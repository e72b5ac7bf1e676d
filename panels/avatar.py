"""Sidebar: *Avatar*. Shape, pose, face of the selected avatar, and how sure its capture is."""

from __future__ import annotations

import bpy

from ..operators import bodies
from ..operators.avatars import avatar_of, camera_of, mesh_of, why_not_face, why_not_pose, why_not_shape
from ..operators.certainty import limbs
from ..operators.expression import PANTOMIME_OT_set_expression, has_named_face
from ..operators.face import EXPRESSIONS, FACE_GROUPS, readable
from ..operators.photo import PANTOMIME_OT_look_through_camera, PANTOMIME_OT_render_as_photo
from ..operators.pose import PANTOMIME_OT_mirror_pose, PANTOMIME_OT_set_pose, PANTOMIME_OT_snap_to_floor
from ..operators.shape import MOST_COMPONENTS, PANTOMIME_OT_reset_shape, betas_of, measures_of
from .sidebar import Tab, paragraph

MEASURES = (("height", "Height (cm)"), ("weight", "Weight (kg)"), ("age", "Age (years)"), ("sex", "Sex"))


class AvatarTab(Tab):
    """A part of the panel *Avatar*: there only where an avatar is selected."""

    bl_parent_id = "PANTOMIME_PT_avatar"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return avatar_of(context) is not None


class PANTOMIME_PT_avatar(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_avatar"
    bl_label = "Avatar"
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        rig = avatar_of(context)
        if rig is None:
            paragraph(layout, context, "Select an avatar to change its shape, pose and face", "INFO")
            return
        layout.label(text=rig.name, icon="OUTLINER_OB_ARMATURE", translate=False)
        if rig.library is not None:
            paragraph(layout, context, why_not_pose(rig), "LIBRARY_DATA_DIRECT")
        if camera_of(rig) is not None:
            row = layout.row(align=True)
            row.operator(PANTOMIME_OT_look_through_camera.bl_idname, text="Look through its camera", icon="VIEW_CAMERA")
            row.operator(PANTOMIME_OT_render_as_photo.bl_idname, text="", icon="OUTPUT")


class PANTOMIME_PT_avatar_shape(AvatarTab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_avatar_shape"
    bl_label = "Shape"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        rig = avatar_of(context)
        if rig is None:
            return
        why = why_not_shape(rig) or bodies.state(rig)
        if why:
            paragraph(layout, context, why, "TIME" if why == bodies.READING else "INFO")
            return
        values = rig.pantomime_avatar
        column = layout.column(align=True)
        for (name, text), _ in zip(MEASURES, measures_of(rig), strict=False):
            column.prop(values, name, text=text, slider=name == "sex")
        row = layout.row(align=True)
        row.operator(PANTOMIME_OT_reset_shape.bl_idname, text="As captured", icon="LOOP_BACK").to = "CAPTURED"
        row.operator(PANTOMIME_OT_reset_shape.bl_idname, text="Mean").to = "MEAN"
        header, body = layout.panel("pantomime_components", default_closed=True)
        header.label(text="Components")
        if body is not None:
            column = body.column(align=True)
            for k in range(min(len(betas_of(rig)), MOST_COMPONENTS)):
                column.prop(values, "components", index=k, text=f"Shape{k:03d}", slider=True, translate=False)
            column.separator()
            column.operator(PANTOMIME_OT_reset_shape.bl_idname, text="Bones to shape", icon="BONE_DATA").to = "NOW"


class PANTOMIME_PT_avatar_pose(AvatarTab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_avatar_pose"
    bl_label = "Pose"
    bl_order = 1

    def draw(self, context: bpy.types.Context) -> None:
        column = self.layout.column(align=True)
        column.operator(PANTOMIME_OT_set_pose.bl_idname, text="As captured", icon="LOOP_BACK").kind = "CAPTURED"
        row = column.row(align=True)
        for kind, text in (("REST", "Rest"), ("T", "T pose"), ("A", "A pose")):
            row.operator(PANTOMIME_OT_set_pose.bl_idname, text=text).kind = kind
        column = self.layout.column(align=True)
        column.operator(PANTOMIME_OT_set_pose.bl_idname, text="Relaxed hands", icon="VIEW_PAN").kind = "HANDS"
        column.operator(PANTOMIME_OT_mirror_pose.bl_idname, text="Mirror", icon="MOD_MIRROR")
        column.operator(PANTOMIME_OT_snap_to_floor.bl_idname, text="Snap to floor", icon="SNAP_FACE")


class PANTOMIME_PT_avatar_face(AvatarTab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_avatar_face"
    bl_label = "Face"
    bl_order = 2
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        rig = avatar_of(context)
        why = why_not_face(rig)
        skin = mesh_of(rig) if rig is not None else None
        if why or rig is None or skin is None:
            paragraph(layout, context, why, "INFO")
            return
        blocks = skin.data.shape_keys.key_blocks
        if not has_named_face(rig):
            column = layout.column(align=True)
            for block in blocks:
                if block.name.startswith("Exp"):
                    column.prop(block, "value", text=block.name, slider=True, translate=False)
            return
        operator = PANTOMIME_OT_set_expression.bl_idname
        layout.operator(operator, text="As captured", icon="LOOP_BACK").kind = "CAPTURED"
        grid = layout.grid_flow(row_major=True, columns=2, even_columns=True, align=True)
        for identifier, (title, _) in EXPRESSIONS.items():
            grid.operator(operator, text=title).kind = identifier
        for title, prefix in FACE_GROUPS:
            header, body = layout.panel(f"pantomime_face_{prefix}", default_closed=True)
            header.label(text=title)
            if body is not None:
                column = body.column(align=True)
                for block in blocks:
                    if block.name.startswith(prefix):
                        column.prop(block, "value", text=readable(block.name), slider=True)


class PANTOMIME_PT_avatar_certainty(AvatarTab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_avatar_certainty"
    bl_label = "How sure"
    bl_order = 3
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        rig = avatar_of(context)
        found = limbs(rig) if rig is not None else []
        if rig is None or not found:
            paragraph(layout, context, "The capture does not tell how sure it is", "INFO")
            return
        layout.prop(rig.pantomime_avatar, "show_certainty", icon="COLOR", toggle=True)
        column = layout.column(align=True)
        for limb in found:
            row = column.split(factor=0.5, align=True)
            row.label(text=limb.name)
            row.progress(factor=limb.share, text=f"± {limb.sigma_cm:.1f} cm", translate=False)


CLASSES = (
    PANTOMIME_PT_avatar,
    PANTOMIME_PT_avatar_shape,
    PANTOMIME_PT_avatar_pose,
    PANTOMIME_PT_avatar_face,
    PANTOMIME_PT_avatar_certainty,
)
