"""What the user is in the middle of."""

from __future__ import annotations

import bpy

from . import notify

# What the user does with the mouse held down; an avatar that comes in between would end up in that undo step.
BUSY_OPERATORS = (
    "TRANSFORM_OT_",
    "SCULPT_OT_",
    "PAINT_OT_",
    "GPENCIL_OT_",
    "GREASE_PENCIL_OT_",
    "MESH_OT_",
    "POSE_OT_",
)


def waits_for() -> str:
    """Why the user's file is not to be changed now; "" where it may be."""
    if hand_is_busy():
        return "Waiting until you let go"
    # The undo steps of other modes hold the object that is edited, and no new ones.
    with notify.window_override():
        mode = "OBJECT" if bpy.app.background else bpy.context.mode
    return "" if mode in ("OBJECT", "POSE") else "Waiting until you are back in object mode"


def hand_is_busy() -> bool:
    """Whether the user drags something in a window."""
    manager = bpy.context.window_manager
    if bpy.app.background or manager is None:
        return False
    running = (operator.bl_idname for window in manager.windows for operator in getattr(window, "modal_operators", ()))
    return any(name.startswith(BUSY_OPERATORS) for name in running)
