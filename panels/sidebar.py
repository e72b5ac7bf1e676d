"""The tab in the 3D view's sidebar. Its panels are the modules beside this one, in the order of `bl_order`."""

from __future__ import annotations

import bpy

from ..operators.notify import wrapped

# Width of a letter in the interface's font, in px at scale 1: labels do not wrap by themselves.
LETTER_PX = 7.0


class Tab:
    """What the tab's panels have in common. Order: Capture 0, Video 1, Avatar 2, Correct 3, Use 4."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Pantomime"


def paragraph(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """A text of any length, broken where the sidebar ends."""
    width = max(16, int(context.region.width / (LETTER_PX * context.preferences.system.ui_scale)) - 6)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(wrapped(bpy.app.translations.pgettext_iface(text), width)):
        column.label(text=line, icon=icon if number == 0 or icon == "NONE" else "BLANK1", translate=False)
