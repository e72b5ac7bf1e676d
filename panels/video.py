"""Sidebar: *Video*. Clips to animated avatars."""

from __future__ import annotations

import bpy

from ..operators.video import PANTOMIME_OT_video_to_animation
from .sidebar import Tab


class PANTOMIME_PT_video(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_video"
    bl_label = "Video to animation"
    bl_order = 1
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        values = context.scene.pantomime_video
        row = layout.row()
        row.scale_y = 1.4
        row.operator(PANTOMIME_OT_video_to_animation.bl_idname, text="Video to animation", icon="FILE_MOVIE")
        if bpy.data.movieclips:
            row = layout.row(align=True)
            row.prop_search(values, "movie_clip", bpy.data, "movieclips", text="")
            button = row.row(align=True)
            button.enabled = values.movie_clip is not None
            button.operator(PANTOMIME_OT_video_to_animation.bl_idname, text="Capture").use_movie_clip = True


class PANTOMIME_PT_video_settings(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_video_settings"
    bl_label = "Settings"
    bl_parent_id = "PANTOMIME_PT_video"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        values = context.scene.pantomime_video
        layout.prop(values, "use_range")
        if values.use_range:
            column = layout.column(align=True)
            column.prop(values, "start")
            column.prop(values, "end")
        layout.prop(values, "step")
        layout.prop(values, "moving_camera")
        layout.prop(values, "preview")
        layout.separator()
        layout.prop(values, "timing")
        layout.prop(values, "reduce")
        if values.reduce:
            column = layout.column(align=True)
            column.prop(values, "tolerance_deg")
            column.prop(values, "tolerance_mm")
        layout.prop(values, "contact_markers")
        layout.prop(values, "push_down")
        layout.prop(values, "set_rate")


CLASSES = (PANTOMIME_PT_video, PANTOMIME_PT_video_settings)
