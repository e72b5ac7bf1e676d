"""Sidebar: *Capture*. Photos to avatars: the button, the progress, what went wrong."""

from __future__ import annotations

import bpy

from ..operators.photo import (
    PANTOMIME_OT_cancel,
    PANTOMIME_OT_look_through_camera,
    PANTOMIME_OT_photo_to_avatar,
    camera_of,
)
from ..operators.session import SESSION
from .sidebar import Tab, paragraph

ICONS = {"done": "CHECKMARK", "warning": "INFO", "error": "ERROR"}


class PANTOMIME_PT_capture(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_capture"
    bl_label = "Capture"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        row = layout.row()
        row.scale_y = 1.4
        row.operator(PANTOMIME_OT_photo_to_avatar.bl_idname, text="Photo to avatar", icon="OUTLINER_OB_ARMATURE")
        _draw_progress(layout)
        for notice in SESSION.notices:
            paragraph(layout, context, notice.text, ICONS[notice.kind])
        if camera_of(context.object) is not None:
            layout.operator(
                PANTOMIME_OT_look_through_camera.bl_idname, text="Look through its camera", icon="VIEW_CAMERA"
            )


def _draw_progress(layout: bpy.types.UILayout) -> None:
    status = SESSION.status
    if status.running and not status.urgent:
        layout.label(text=status.label, icon="IMAGE_DATA", translate=False)
        layout.progress(factor=status.fraction, text=status.text)
        layout.operator(PANTOMIME_OT_cancel.bl_idname, icon="CANCEL")


CLASSES = (PANTOMIME_PT_capture,)
