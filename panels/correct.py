"""Sidebar: *Correct*. Points over the photo, pins, locks."""

from __future__ import annotations

import bpy

from ..operators.avatars import avatar_of, refusal
from ..operators.correct import (
    LIMB_ITEMS,
    PANTOMIME_OT_correct,
    PANTOMIME_OT_lock_bones,
    PANTOMIME_OT_lock_limb,
    PANTOMIME_OT_pin_bones,
    PANTOMIME_OT_refit,
    PANTOMIME_OT_remove_pins,
)
from ..operators.points import (
    in_view,
    locked_limbs,
    moved_off_photo,
    moves,
    pin_counts,
    selected_bones,
    settings_of,
)
from ..operators.session import SESSION
from .progress import draw_notices
from .sidebar import Tab, paragraph


class PANTOMIME_PT_correct(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_correct"
    bl_label = "Correct"
    bl_order = 3

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        settings = settings_of(context)
        why = refusal(context)
        row = layout.row(align=True)
        row.scale_y = 1.4
        row.operator(
            PANTOMIME_OT_correct.bl_idname, text="Correct points", icon="HANDLETYPE_FREE_VEC", depress=settings.on
        )
        if why:
            paragraph(layout, context, why, "INFO")
            return
        if settings.on:
            if not in_view(context):
                paragraph(layout, context, "Look through the avatar's camera to see the points", "INFO")
                layout.operator("pantomime.look_through_camera", text="Look through its camera", icon="VIEW_CAMERA")
            elif not context.space_data.show_gizmo:
                paragraph(layout, context, "Gizmos are hidden in this view: show them to see the points", "INFO")
            rig = avatar_of(context)
            if rig is not None and moved_off_photo(rig):
                text = "The avatar was moved off its photo, and points pull it back. Move it, or its camera, back first"
                paragraph(layout, context, text, "ERROR")
            row = layout.row(align=True)
            row.prop(settings, "hands", toggle=True)
            row.prop(settings, "face", toggle=True)
        if moves(context):
            layout.prop(settings, "reach_s")
        column = layout.column(align=True)
        points, bones = pin_counts(context)
        for text in _counted(points, bones):
            column.label(text=text, icon="PINNED", translate=False)
        if selected_bones(context):
            column.operator(PANTOMIME_OT_pin_bones.bl_idname, text="Pin bones here", icon="EMPTY_AXIS")
            column.operator(
                PANTOMIME_OT_pin_bones.bl_idname, text="Pin active at 3D cursor", icon="PIVOT_CURSOR"
            ).at_cursor = True
        column.operator(PANTOMIME_OT_remove_pins.bl_idname, text="Remove all pins", icon="UNPINNED")
        column.operator(PANTOMIME_OT_refit.bl_idname, text="Refit", icon="FILE_REFRESH")
        draw_notices(layout, context, SESSION, "CORRECT")


class PANTOMIME_PT_correct_locks(Tab, bpy.types.Panel):
    bl_idname = "PANTOMIME_PT_correct_locks"
    bl_label = "Lock"
    bl_parent_id = "PANTOMIME_PT_correct"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return not refusal(context)

    def draw(self, context: bpy.types.Context) -> None:
        locked = locked_limbs(context)
        # As one looks at a person in a photo: the right side is on the left.
        grid = self.layout.grid_flow(row_major=True, columns=2, even_columns=True, align=True)
        titles = {limb: title for limb, title, _ in LIMB_ITEMS}
        for limb in (
            "right_arm",
            "left_arm",
            "right_leg",
            "left_leg",
            "right_hand",
            "left_hand",
            "head",
            "trunk",
            "face",
        ):
            grid.operator(
                PANTOMIME_OT_lock_limb.bl_idname,
                text=titles[limb],
                text_ctxt="Pantomime",
                icon="LOCKED" if limb in locked else "UNLOCKED",
                depress=limb in locked,
            ).limb = limb
        if selected_bones(context):
            self.layout.operator(PANTOMIME_OT_lock_bones.bl_idname, text="Lock selected bones", icon="LOCKED")


def _counted(points: int, bones: int) -> list[str]:
    """What is pinned, in the interface's language."""
    translate = bpy.app.translations.pgettext_iface
    told = []
    if points:
        told.append(translate("1 point pinned" if points == 1 else "{} points pinned").format(points))
    if bones:
        told.append(translate("1 bone pinned" if bones == 1 else "{} bones pinned").format(bones))
    return told


CLASSES = (PANTOMIME_PT_correct, PANTOMIME_PT_correct_locks)
