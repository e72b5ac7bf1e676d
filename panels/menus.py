"""Entries in Blender's own menus."""

from __future__ import annotations

import bpy

from ..operators.photo import PANTOMIME_OT_import_capture, PANTOMIME_OT_photo_to_avatar
from ..operators.video import PANTOMIME_OT_video_to_animation


def _draw_import(menu: bpy.types.Menu, _context: bpy.types.Context) -> None:
    menu.layout.operator(PANTOMIME_OT_photo_to_avatar.bl_idname, text="Photo as avatar")
    menu.layout.operator(PANTOMIME_OT_video_to_animation.bl_idname, text="Video as animation")
    menu.layout.operator(PANTOMIME_OT_import_capture.bl_idname, text="Capture as avatar (.npz)")


def register() -> None:
    """Add to File ▸ Import."""
    bpy.types.TOPBAR_MT_file_import.append(_draw_import)


def unregister() -> None:
    """Remove from File ▸ Import."""
    bpy.types.TOPBAR_MT_file_import.remove(_draw_import)
