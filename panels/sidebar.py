"""The tab in the 3D view's sidebar."""

from __future__ import annotations

import os

import bpy

from ..operators.photo import (
    PANTOMIME_OT_cancel,
    PANTOMIME_OT_look_through_camera,
    PANTOMIME_OT_photo_to_avatar,
    camera_of,
)
from ..operators.session import SESSION, wrapped

# Width of a letter in the interface's font, in px at scale 1: labels do not wrap by themselves.
LETTER_PX = 7.0


class PANTOMIME_PT_photo(bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_photo"
    bl_label = "Photo to Avatar"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Pantomime"

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        status = SESSION.status
        width = max(16, int(context.region.width / (LETTER_PX * context.preferences.system.ui_scale)) - 6)
        row = layout.row()
        row.scale_y = 1.4
        row.operator(PANTOMIME_OT_photo_to_avatar.bl_idname, text="Photo to avatar", icon="OUTLINER_OB_ARMATURE")
        if status.photo:
            layout.label(text=os.path.basename(status.photo), icon="IMAGE_DATA", translate=False)
        if status.running:
            layout.progress(factor=status.fraction, text=status.text)
            layout.operator(PANTOMIME_OT_cancel.bl_idname, icon="CANCEL")
        elif status.error:
            _paragraph(layout, status.error, "ERROR", width)
        elif status.done:
            layout.label(text=status.done, icon="CHECKMARK", translate=False)
        if camera_of(context.object) is not None:
            layout.operator(
                PANTOMIME_OT_look_through_camera.bl_idname, text="Look through its camera", icon="VIEW_CAMERA"
            )
        for warning in status.warnings:
            _paragraph(layout, warning, "INFO", width)


def _paragraph(layout: bpy.types.UILayout, text: str, icon: str, width: int) -> None:
    column = layout.column(align=True)
    for number, line in enumerate(wrapped(text, width)):
        column.label(text=line, icon=icon if number == 0 else "BLANK1", translate=False)


CLASSES = (PANTOMIME_PT_photo,)
