"""The tab in the 3D view's sidebar. Its panels are the modules beside this one, in the order of `bl_order`."""

from __future__ import annotations

from functools import lru_cache

import blf
import bpy

# px at scale 1 that a panel's edges with the tab, and an icon, take of a sidebar's width, until Blender cuts a text.
EDGE_PX, ICON_PX = 52.0, 26.0


class Tab:
    """What the tab's panels have in common. Order: Capture 0, Video 1, Avatar 2, Correct 3, Use 4."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Pantomime"
    # Blender knows some of these words by another meaning: its face is a polygon.
    bl_translation_context = "Pantomime"


def paragraph(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """A text of any length, broken where the sidebar ends: labels in Blender do not wrap."""
    scale = context.preferences.system.ui_scale
    room = context.region.width - scale * (EDGE_PX + (ICON_PX if icon != "NONE" else 0.0))
    size = scale * context.preferences.ui_styles[0].widget.points
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(broken(bpy.app.translations.pgettext_iface(text), room, size)):
        column.label(text=line, icon=icon if number == 0 or icon == "NONE" else "BLANK1", translate=False)


@lru_cache(maxsize=64)
def broken(text: str, room_px: float, size_px: float) -> tuple[str, ...]:
    """Lines that are at most `room_px` wide in the interface's font, where words allow it.

    `size_px` is the size that is drawn: letters are whole pixels wide, so another size has other proportions.
    """
    blf.size(0, size_px)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and blf.dimensions(0, longer)[0] <= room_px:
            lines[-1] = longer
            continue
        # A path has no spaces to break at.
        while len(word) > 1 and blf.dimensions(0, word)[0] > room_px:
            fits = next(k for k in range(len(word) - 1, 0, -1) if k == 1 or blf.dimensions(0, word[:k])[0] <= room_px)
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return tuple(lines)
