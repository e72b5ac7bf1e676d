"""Sidebar: *Use*. Photo texture, export, assets, IK controls, retarget."""

from __future__ import annotations

import bpy

from ..operators.avatars import avatar_of
from ..operators.retarget import PANTOMIME_OT_detect_bones, PANTOMIME_OT_retarget
from ..operators.session import ASIDE
from ..operators.texture import PHOTO_TEXTURE, PANTOMIME_OT_photo_texture, PANTOMIME_OT_remove_texture, textured
from ..operators.use import (
    FORMATS,
    IK,
    PANTOMIME_OT_add_controls,
    PANTOMIME_OT_cancel_aside,
    PANTOMIME_OT_export,
    PANTOMIME_OT_make_asset,
    PANTOMIME_OT_remove_controls,
    PANTOMIME_OT_snap_bones,
    PANTOMIME_OT_snap_controls,
    handles_of,
)
from .progress import draw_notices, draw_progress
from .sidebar import Tab, paragraph

HANDLE_NAMES = {"left_hand_ik": "Left hand", "left_foot_ik": "Left foot"} | {
    "right_hand_ik": "Right hand",
    "right_foot_ik": "Right foot",
}


class PANTOMIME_PT_use(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_use"
    bl_label = "Use"
    bl_order = 4
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        rig = avatar_of(context)
        if rig is None:
            paragraph(layout, context, "Select an avatar", "INFO")
        layout.label(text="Export", icon="EXPORT")
        row = layout.row(align=True)
        for identifier, name, _ in FORMATS:
            button = row.row(align=True)
            # Some of those who build Blender leave it out; the tooltip says so.
            button.enabled = identifier != "USD" or bpy.app.build_options.usd
            button.operator(PANTOMIME_OT_export.bl_idname, text=name).format = identifier
        draw_progress(layout, ASIDE, PANTOMIME_OT_cancel_aside.bl_idname, "EXPORT")
        draw_notices(layout, context, ASIDE)
        row = layout.row(align=True)
        row.operator(PANTOMIME_OT_make_asset.bl_idname, text="Pose asset", icon="ASSET_MANAGER").whole_motion = False
        row.operator(PANTOMIME_OT_make_asset.bl_idname, text="Motion asset", icon="ACTION").whole_motion = True
        skin = textured(rig)
        row = layout.row(align=True)
        row.operator(
            PANTOMIME_OT_photo_texture.bl_idname,
            text="Renew photo texture" if skin else "Photo texture",
            icon="TEXTURE",
        )
        if skin is not None:
            row.operator(PANTOMIME_OT_remove_texture.bl_idname, text="", icon="X")
            layout.prop(skin, f'["{PHOTO_TEXTURE}"]', text="Photo", slider=True)


class PANTOMIME_PT_controls(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_controls"
    bl_parent_id = "PANTOMIME_PT_use"
    bl_label = "IK controls"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return avatar_of(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        rig = avatar_of(context)
        names = handles_of(rig) if rig is not None else []
        if not names:
            layout.operator(PANTOMIME_OT_add_controls.bl_idname, text="Add IK controls", icon="CON_KINEMATIC")
            return
        column = layout.column(align=True)
        for name in names:
            column.prop(rig.pose.bones[name], f'["{IK}"]', text=HANDLE_NAMES[name], slider=True)
        column = layout.column(align=True)
        column.operator(PANTOMIME_OT_snap_controls.bl_idname, text="Snap handles to bones", icon="SNAP_ON")
        column.operator(PANTOMIME_OT_snap_bones.bl_idname, text="Snap bones to handles", icon="BONE_DATA")
        column.operator(PANTOMIME_OT_remove_controls.bl_idname, text="Remove", icon="X")


class PANTOMIME_UL_mapped_bones(bpy.types.UIList):
    bl_idname = "PANTOMIME_UL_mapped_bones"

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: bpy.types.PropertyGroup,
        item: bpy.types.PropertyGroup,
        _icon: int,
        _active: bpy.types.PropertyGroup,
        _active_name: str,
    ) -> None:
        split = layout.split(factor=0.38)
        split.label(text=item.name.replace("_", " "), translate=False)
        split.prop_search(item, "bone", data.target.data, "bones", text="", icon="BONE_DATA")


class PANTOMIME_PT_retarget(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_retarget"
    bl_parent_id = "PANTOMIME_PT_use"
    bl_label = "Retarget"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = context.scene.pantomime_retarget
        layout.prop(settings, "target", text="")
        if settings.target is not None:
            mapped = sum(1 for row in settings.rows if row.bone)
            if not settings.rig:
                paragraph(layout, context, "The names of its bones are not known. Fill in the mapping", "ERROR")
            row = layout.row()
            rig = bpy.app.translations.pgettext_iface(settings.rig or "Bones")
            row.label(text=f"{rig}: {mapped} / {len(settings.rows)}", translate=False)
            row.operator(PANTOMIME_OT_detect_bones.bl_idname, text="", icon="FILE_REFRESH")
            listing = PANTOMIME_UL_mapped_bones.bl_idname
            layout.template_list(listing, "", settings, "rows", settings, "active", rows=6)
        layout.operator(PANTOMIME_OT_retarget.bl_idname, icon="ARMATURE_DATA")
        draw_progress(layout, ASIDE, PANTOMIME_OT_cancel_aside.bl_idname, "ARMATURE_DATA", "RETARGET")
        draw_notices(layout, context, ASIDE, "RETARGET")


CLASSES = (PANTOMIME_PT_use, PANTOMIME_PT_controls, PANTOMIME_UL_mapped_bones, PANTOMIME_PT_retarget)
