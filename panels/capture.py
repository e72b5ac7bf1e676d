"""Sidebar: *Capture*. Photos to avatars: the button, settings, progress, what went wrong."""

from __future__ import annotations

import os

import bpy

from ..operators.jobs import Notice
from ..operators.notify import translated
from ..operators.photo import PANTOMIME_OT_cancel, PANTOMIME_OT_open_log, PANTOMIME_OT_photo_to_avatar
from ..operators.session import SESSION
from ..operators.settings import solver_settings
from ..operators.warming import warm_soon
from .sidebar import Tab, paragraph

ICONS = {"done": "CHECKMARK", "warning": "INFO", "error": "ERROR"}
# More would push everything else out of the sidebar.
MOST_NOTICES = 6


class PANTOMIME_PT_capture(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_capture"
    bl_label = "Capture"
    bl_order = 0

    def draw(self, context: bpy.types.Context) -> None:
        warm_soon()
        layout = self.layout
        row = layout.row()
        row.scale_y = 1.4
        row.operator(PANTOMIME_OT_photo_to_avatar.bl_idname, text="Photo to avatar", icon="OUTLINER_OB_ARMATURE")
        _draw_progress(layout)
        notices = SESSION.notices[-MOST_NOTICES:]
        for notice in notices:
            _draw_notice(layout, context, notice)
        if any(notice.kind == "error" for notice in notices):
            layout.operator(PANTOMIME_OT_open_log.bl_idname, text="Open the log", icon="TEXT")
        # Corrections, which come and go while a point is dragged, must not make the sidebar jump.
        if not notices and not _works():
            paragraph(layout, context, "Choose photos of people, or drop some into the view")


def _works() -> bool:
    return SESSION.status.running and not SESSION.status.urgent


def _draw_progress(layout: bpy.types.UILayout) -> None:
    status = SESSION.status
    if _works():
        box = layout.box().column()
        box.label(text=status.label, icon="IMAGE_DATA", translate=False)
        translate = bpy.app.translations.pgettext_iface
        text, left = translate(status.text), status.left_s
        if left is not None:
            text += ", " + translate("{} s left").format(max(1, round(left)))
        box.progress(factor=status.fraction, text=text, translate=False)
        if SESSION.waiting:
            box.label(text=translate("{} more waiting").format(len(SESSION.waiting)), translate=False)
        box.operator(PANTOMIME_OT_cancel.bl_idname, icon="CANCEL")


def _draw_notice(layout: bpy.types.UILayout, context: bpy.types.Context, notice: Notice) -> None:
    text = translated(notice.text)
    # Errors of one photo of several would otherwise not say of which.
    if notice.kind == "error" and notice.label and os.path.basename(notice.label) not in text:
        text = f"{notice.label}: {text}"
    paragraph(layout, context, text, ICONS[notice.kind])


class PANTOMIME_PT_capture_settings(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_capture_settings"
    bl_label = "Settings"
    bl_parent_id = "PANTOMIME_PT_capture"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.pantomime_capture
        if solver_settings(context).body is not None:
            layout.prop(settings, "body")
            if settings.body == "LICENSED":
                layout.prop(settings, "gender")
        column = layout.column(align=True)
        column.prop(settings, "people")
        if settings.people == "NUMBER":
            column.prop(settings, "people_count")
        column = layout.column(align=True)
        column.prop(settings, "height_source")
        if settings.height_source == "KNOWN":
            column.prop(settings, "height_cm", text="cm")
        column = layout.column(align=True)
        column.prop(settings, "focal_source")
        if settings.focal_source == "KNOWN":
            column.prop(settings, "focal_mm", text="mm")


CLASSES = (PANTOMIME_PT_capture, PANTOMIME_PT_capture_settings)
