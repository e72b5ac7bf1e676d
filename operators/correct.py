"""Correct an avatar by hand: drag points over the photo, pin bones in space, lock limbs."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from .avatars import PIN_PROPERTY, avatar_of, refusal, rig_of
from .busy import hand_is_busy
from .correcting import LIVE, NEAR_M, redraw
from .jobs import JobError
from .notify import failed, report
from .points import (
    in_view,
    pin_counts,
    region_matrix,
    scale_of,
    selected_bones,
    settings_of,
    spot_at,
)
from .session import SESSION, wait

CLICK_PX = 3.0  # a shorter way than this is a click
SLOW_DRAWING_S = 0.06
SLOW = 0.2  # of the pointer's way while Shift is held

LIMB_ITEMS = (
    ("left_arm", "Left arm", "Collar, shoulder, elbow, wrist"),
    ("right_arm", "Right arm", "Collar, shoulder, elbow, wrist"),
    ("left_leg", "Left leg", "Hip, knee, ankle, foot"),
    ("right_leg", "Right leg", "Hip, knee, ankle, foot"),
    ("trunk", "Trunk", "Pelvis and spine: the body stays where it stands"),
    ("head", "Head", "Neck and head"),
    ("left_hand", "Left hand", "Fingers"),
    ("right_hand", "Right hand", "Fingers"),
    ("face", "Face", "Jaw, eyes and expression"),
)


def _redraw(_settings: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    redraw()


class PANTOMIME_PG_correct(bpy.types.PropertyGroup):
    """What the interface shows while correcting. Not saved, and no concern of undo."""

    on: BoolProperty(name="Correct", description="Show the points of the selected avatar over its photo, to drag them")
    hands: BoolProperty(name="Hands", description="Show the points of the hands", update=_redraw)
    face: BoolProperty(
        name="Face", description="Show points of the face", update=_redraw, translation_context="Pantomime"
    )
    reach_s: FloatProperty(
        name="Reach",
        description="In a motion: how long before and after this frame a correction pulls along, less and less",
        default=0.5, min=0.0, soft_max=2.0, unit="TIME_ABSOLUTE",
    )  # fmt: skip


class _OnAvatar:
    """Operators on the active avatar."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        why = refusal(context)
        if why:
            cls.poll_message_set(why)  # type: ignore[attr-defined]
        return not why

    def solve(self, context: bpy.types.Context, **how: object) -> set[str]:
        """Ask for a pose, and wait for it where no timer would."""
        try:
            LIVE.ask(context, avatar_of(context), **how)  # type: ignore[arg-type]
        except JobError as error:
            return failed(self, str(error))
        return wait(self)  # type: ignore[arg-type]


class _OnBones(_OnAvatar):
    """Operators on bones that are selected in pose mode."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if not selected_bones(context):
            cls.poll_message_set("Select bones of the avatar in pose mode")  # type: ignore[attr-defined]
            return False
        return True


class PANTOMIME_OT_correct(_OnAvatar, bpy.types.Operator):
    """Show the points that were found in the photo, to drag those that are wrong: the avatar follows"""

    bl_idname = "pantomime.correct"
    bl_label = "Correct"
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = settings_of(context)
        settings.on = not settings.on
        if settings.on:
            if context.space_data is not None and context.space_data.type == "VIEW_3D" and not in_view(context):
                bpy.ops.pantomime.look_through_camera("EXEC_DEFAULT", True)
            try:
                # Wakes the worker, so that the first drag does not wait for it.
                LIVE.ask(context, avatar_of(context), pinned=False)
            except JobError as error:
                settings.on = False
                return failed(self, str(error))
        redraw()
        return {"FINISHED"}


class PANTOMIME_OT_drag_point(_OnAvatar, bpy.types.Operator):
    """Drag the point to where it is in the photo. A click pins it, or removes its pin"""

    bl_idname = "pantomime.drag_point"
    bl_label = "Drag Point"
    bl_options = {"INTERNAL"}

    set_name: StringProperty(name="Points", default="pose33", options={"SKIP_SAVE"})
    index: IntProperty(name="Number", min=0, options={"SKIP_SAVE"})
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
            f"{_capital(handle.name)}. Shift: slowly. Esc or right button: back to where it was"
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


class PANTOMIME_OT_unpin_point(_OnAvatar, bpy.types.Operator):
    """Remove the pin of a point. The pose stays"""

    bl_idname = "pantomime.unpin_point"
    bl_label = "Unpin Point"
    bl_options = {"UNDO", "INTERNAL"}

    set_name: StringProperty(name="Points", default="pose33", options={"SKIP_SAVE"})
    index: IntProperty(name="Number", min=0, options={"SKIP_SAVE"})

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


class PANTOMIME_OT_pin_bones(_OnBones, bpy.types.Operator):
    """Pin the selected bones where they are, each with an empty: move it, and the avatar follows"""

    bl_idname = "pantomime.pin_bones"
    bl_label = "Pin Bones Here"
    bl_options = {"REGISTER", "UNDO"}

    at_cursor: BoolProperty(name="At the 3D cursor", description="Pin the active bone at the 3D cursor instead")

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import pins

        rig = avatar_of(context)
        bones = selected_bones(context)
        if self.at_cursor:
            active = context.active_pose_bone
            bone = active.name if active is not None and active.name in bones else bones[0]
            pins.pin_bone(rig, bone, context.scene.cursor.location)
            return self.solve(context, label=f"Correct {bone.replace('_', ' ')}", key=True)
        for bone in bones:
            pins.pin_bone(rig, bone, rig.matrix_world @ rig.pose.bones[bone].head)
        return {"FINISHED"}


class PANTOMIME_OT_remove_pins(_OnAvatar, bpy.types.Operator):
    """Remove all pins of the avatar, at this frame. The pose stays"""

    bl_idname = "pantomime.remove_pins"
    bl_label = "Remove All Pins"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if sum(pin_counts(context)) == 0:
            cls.poll_message_set("Nothing is pinned")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import pins

        rig = avatar_of(context)
        # The active object may be one of the empties.
        context.view_layer.objects.active = rig
        pins.clear(rig, context.scene.frame_current)
        redraw()
        return {"FINISHED"}


class PANTOMIME_OT_refit(_OnAvatar, bpy.types.Operator):
    """Fit pose and face again to all points of the photo. Pins are kept, and so are shape, camera and locked bones"""

    bl_idname = "pantomime.refit"
    bl_label = "Refit"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if "pantomime_seen" not in avatar_of(context):
            cls.poll_message_set("This avatar was made by an older version, without the points. Solve its photo again")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self.solve(context, label="Refit", key=True, refit=True)


class PANTOMIME_OT_lock_limb(_OnAvatar, bpy.types.Operator):
    """Lock a limb: its bones keep their own rotations while something else is corrected"""

    bl_idname = "pantomime.lock_limb"
    bl_label = "Lock Limb"
    bl_options = {"REGISTER", "UNDO"}

    limb: EnumProperty(name="Limb", items=LIMB_ITEMS)

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import pins

        rig, bones = avatar_of(context), pins.LIMBS[self.limb]
        pins.set_locked(rig, bones, not set(bones) <= pins.locked(rig))
        redraw()
        return {"FINISHED"}


class PANTOMIME_OT_lock_bones(_OnBones, bpy.types.Operator):
    """Lock the selected bones, or unlock them if all of them are locked"""

    bl_idname = "pantomime.lock_bones"
    bl_label = "Lock Selected Bones"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import pins

        rig, bones = avatar_of(context), selected_bones(context)
        pins.set_locked(rig, bones, not set(bones) <= pins.locked(rig))
        redraw()
        return {"FINISHED"}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


@bpy.app.handlers.persistent
def _after_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """A bone's pin in space was moved: the avatar follows, while the mode is on."""
    context = bpy.context
    settings = settings_of(context)
    if settings is None or not settings.on or LIVE.drag is not None:
        return
    moved = [
        update.id.name
        for update in depsgraph.updates
        if update.is_updated_transform and isinstance(update.id, bpy.types.Object) and PIN_PROPERTY in update.id
    ]
    if not moved or context.scene != scene or _plays(context):
        return
    for name in moved:
        empty = bpy.data.objects.get(name)
        rig = rig_of(empty) if empty is not None else None
        if rig is None or rig.mode == "EDIT":
            continue
        head = rig.matrix_world @ rig.pose.bones[empty[PIN_PROPERTY]].head
        # After undo the pin lies where its bone is: nothing to do.
        if (head - empty.matrix_world.translation).length < NEAR_M:
            continue
        try:
            LIVE.follow(context, rig, hand_is_busy())
        except JobError as error:
            SESSION.say("error", str(error))


def _plays(context: bpy.types.Context) -> bool:
    return any(window.screen.is_animation_playing for window in context.window_manager.windows)


@bpy.app.handlers.persistent
def _after_load(*_: object) -> None:
    LIVE.reset()


CLASSES = (
    PANTOMIME_PG_correct,
    PANTOMIME_OT_correct,
    PANTOMIME_OT_drag_point,
    PANTOMIME_OT_unpin_point,
    PANTOMIME_OT_pin_bones,
    PANTOMIME_OT_remove_pins,
    PANTOMIME_OT_refit,
    PANTOMIME_OT_lock_limb,
    PANTOMIME_OT_lock_bones,
)


def register() -> None:
    """Watch pins that are moved in space."""
    bpy.types.WindowManager.pantomime_correct = PointerProperty(type=PANTOMIME_PG_correct)
    bpy.app.handlers.depsgraph_update_post.append(_after_update)
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    """Leave nothing."""
    for handlers, function in (
        (bpy.app.handlers.depsgraph_update_post, _after_update),
        (bpy.app.handlers.load_post, _after_load),
    ):
        if function in handlers:
            handlers.remove(function)
    LIVE.reset()
    del bpy.types.WindowManager.pantomime_correct
