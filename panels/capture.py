"""Sidebar: *Capture*. Photos to avatars: the button, settings, progress, what went wrong."""

from __future__ import annotations

import bpy

from ..operators.photo import PANTOMIME_OT_cancel, PANTOMIME_OT_photo_to_avatar
from ..operators.session import SESSION
from ..operators.settings import lacks_solver, solver_settings
from ..operators.warming import warm_soon
from .progress import draw_notices, draw_preferences_button, draw_progress, notices_at, works
from .sidebar import Tab, paragraph


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
        draw_progress(layout, SESSION, PANTOMIME_OT_cancel.bl_idname)
        draw_notices(layout, context, SESSION)
        # Corrections, which come and go while a point is dragged, must not make the sidebar jump.
        if notices_at(SESSION) or works(SESSION):
            return
        if lacks_solver(context):
            paragraph(layout, context, "Name a Python that has the solver's packages in the preferences first", "INFO")
            draw_preferences_button(layout)
        else:
            paragraph(layout, context, "Choose photos of people, or drop some into the view")


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
        layout.prop(settings, "quality")


CLASSES = (PANTOMIME_PT_capture, PANTOMIME_PT_capture_settings)
