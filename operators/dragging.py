"""Drag a detector's point over the photo to where it belongs: it is pinned there, and the avatar follows."""

from __future__ import annotations

import bpy
from bpy.props import FloatProperty, IntProperty, StringProperty

from .avatars import OnAvatar, avatar_of
from .correcting import LIVE, redraw
from .jobs import JobError
from .notify import failed, report, translated
from .points import region_matrix, scale_of, spot_at
from .session import SESSION, wait

CLICK_PX = 3.0  # a shorter way than this is a click
SLOW_DRAWING_S = 0.06
SLOW = 0.2  # of the pointer's way while Shift is held


class PANTOMIME_OT_drag_point(OnAvatar, bpy.types.Operator):
    """Drag the point to where it is in the photo. A click pins it, or removes its pin"""

    bl_idname = "pantomime.drag_point"
    bl_label = "Drag Point"
    bl_options = {"INTERNAL"}

    set_name: StringProperty(name="Points", default="pose33", options={"SKIP_SAVE"})
    index: IntProperty(name="Number", translation_context="Pantomime", min=0, options={"SKIP_SAVE"})
    x: FloatProperty(name="X", description="In px of the photo, from the left", options={"SKIP_SAVE"})
    y: FloatProperty(name="Y", description="In px of the photo, from the top", options={"SKIP_SAVE"})

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: pin a point at a place."""
        try:
            LIVE.begin(context, avatar_of(context), (self.set_name, self.index), (self.x, self.y))
            LIVE.move(context, (self.x, self.y))
            LIVE.release(context)
        except JobError as error:
            LIVE.cancel(context)
            return failed(self, str(error))
        return wait(self)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        handle = spot_at(context, (event.mouse_region_x, event.mouse_region_y))
        if handle is None:
            return {"PASS_THROUGH"}
        self._start = self._last = (event.mouse_region_x, event.mouse_region_y)
        self._place, self._moved, self._was_pinned = handle.place, False, handle.pinned
        try:
            LIVE.begin(context, avatar_of(context), handle.point, handle.place)
        except JobError as error:
            return failed(self, str(error))
        context.window_manager.modal_handler_add(self)
        context.area.header_text_set(
            translated(f"{handle.title}. Shift: slowly. Esc or right button: back to where it was")
        )
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        if LIVE.drag is None:
            return self._end(context, {"CANCELLED"})
        try:
            if event.type in ("MOUSEMOVE", "INBETWEEN_MOUSEMOVE"):
                if event.type == "MOUSEMOVE":
                    self._move(context, event)
            elif event.type == "LEFTMOUSE" and event.value == "RELEASE":
                return self._release(context)
            elif event.type in ("ESC", "RIGHTMOUSE") and event.value == "PRESS":
                LIVE.cancel(context)
                return self._end(context, {"CANCELLED"})
        except JobError as error:
            LIVE.cancel(context)
            report(self, "ERROR", str(error))
            return self._end(context, {"CANCELLED"})
        return {"RUNNING_MODAL"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender ends the drag, as when a window closes."""
        LIVE.cancel(context)

    def _move(self, context: bpy.types.Context, event: bpy.types.Event) -> None:
        import numpy as np

        from ..scene.handles import transform

        here = (event.mouse_region_x, event.mouse_region_y)
        if max(abs(here[k] - self._start[k]) for k in (0, 1)) > CLICK_PX * scale_of(context):
            self._moved = True
        before, now = transform(np.linalg.inv(region_matrix(context)), [self._last, here])
        self._last = here
        step = (now - before) * (SLOW if event.shift else 1.0)
        self._place = (float(self._place[0] + step[0]), float(self._place[1] + step[1]))
        if self._moved:
            LIVE.move(context, self._place)
            # Where drawing takes long, once a move is enough: with the answer, which is there sooner than a picture.
            if SESSION.away_s < SLOW_DRAWING_S:
                context.region.tag_redraw()

    def _release(self, context: bpy.types.Context) -> set[str]:
        drag = LIVE.drag
        assert drag is not None
        if self._moved:
            LIVE.release(context)
        elif self._was_pinned:
            LIVE.cancel(context)
            bpy.ops.pantomime.unpin_point("EXEC_DEFAULT", True, set_name=drag.point[0], index=drag.point[1])
        else:
            LIVE.move(context, self._place)
            LIVE.release(context)
        return self._end(context, {"FINISHED"})

    def _end(self, context: bpy.types.Context, result: set[str]) -> set[str]:
        if context.area is not None:
            context.area.header_text_set(None)
        redraw()
        return result


class PANTOMIME_OT_unpin_point(OnAvatar, bpy.types.Operator):
    """Remove the pin of a point. The pose stays"""

    bl_idname = "pantomime.unpin_point"
    bl_label = "Unpin Point"
    bl_options = {"UNDO", "INTERNAL"}

    set_name: StringProperty(name="Points", default="pose33", options={"SKIP_SAVE"})
    index: IntProperty(name="Number", translation_context="Pantomime", min=0, options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        handle = spot_at(context, (event.mouse_region_x, event.mouse_region_y))
        if handle is None or not handle.pinned:
            return {"PASS_THROUGH"}
        self.set_name, self.index = handle.point
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import pins

        rig = avatar_of(context)
        if not pins.unpin_point(rig, context.scene.frame_current, (self.set_name, self.index)):
            report(self, "WARNING", "This point is not pinned")
            return {"CANCELLED"}
        redraw()
        return {"FINISHED"}


CLASSES = (PANTOMIME_OT_drag_point, PANTOMIME_OT_unpin_point)
