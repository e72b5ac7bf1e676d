"""Correct an avatar by hand: show the points over the photo, pin bones in space, lock limbs, refit."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty

from ..scene.identity import PINNED_BONE, SEEN_PROPERTY
from .avatars import OnAvatar, avatar_of, rig_of
from .busy import hand_is_busy
from .correcting import LIVE, NEAR_M, redraw
from .jobs import JobError
from .notify import failed, refuse, translated
from .points import in_view, pin_counts, selected_bones, settings_of
from .session import SESSION, wait

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
        description="In a motion: how long before and after this frame a correction pulls along at most, less and less",
        default=0.5, min=0.0, soft_max=2.0, unit="TIME_ABSOLUTE",
    )  # fmt: skip


class _Solving(OnAvatar):
    """Operators that ask the solver for a pose."""

    def solve(self, context: bpy.types.Context, **how: object) -> set[str]:
        """Ask for a pose, and wait for it where no timer would."""
        try:
            LIVE.ask(context, avatar_of(context), **how)  # type: ignore[arg-type]
        except JobError as error:
            return failed(self, str(error))
        return wait(self)  # type: ignore[arg-type]


class _OnBones(_Solving):
    """Operators on bones that are selected in pose mode."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        bones = selected_bones(context)
        return super().poll(context) and refuse(cls, "" if bones else "Select bones of the avatar in pose mode")


class PANTOMIME_OT_correct(OnAvatar, bpy.types.Operator):
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
            return self.solve(context, label=translated(f"Correct {translated(bone.replace('_', ' '))}"), key=True)
        for bone in bones:
            pins.pin_bone(rig, bone, rig.matrix_world @ rig.pose.bones[bone].head)
        return {"FINISHED"}


class PANTOMIME_OT_remove_pins(OnAvatar, bpy.types.Operator):
    """Remove all pins of the avatar, at this frame. The pose stays"""

    bl_idname = "pantomime.remove_pins"
    bl_label = "Remove All Pins"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return super().poll(context) and refuse(cls, "" if any(pin_counts(context)) else "Nothing is pinned")

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import pins

        rig = avatar_of(context)
        # The active object may be one of the empties.
        context.view_layer.objects.active = rig
        pins.clear(rig, context.scene.frame_current)
        redraw()
        return {"FINISHED"}


class PANTOMIME_OT_refit(_Solving, bpy.types.Operator):
    """Fit pose and face again to all points of the photo. Pins are kept, and so are shape, camera and locked bones"""

    bl_idname = "pantomime.refit"
    bl_label = "Refit"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        old = SEEN_PROPERTY not in avatar_of(context)
        why = "This avatar was made by an older version, without the points. Solve its photo again"
        return refuse(cls, why if old else "")

    def execute(self, context: bpy.types.Context) -> set[str]:
        return self.solve(context, label="Refit", key=True, refit=True)


class PANTOMIME_OT_lock_limb(OnAvatar, bpy.types.Operator):
    """Lock a limb: its bones keep their own rotations while something else is corrected"""

    bl_idname = "pantomime.lock_limb"
    bl_label = "Lock Limb"
    bl_options = {"REGISTER", "UNDO"}

    limb: EnumProperty(name="Limb", items=LIMB_ITEMS, translation_context="Pantomime")

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
        if update.is_updated_transform and isinstance(update.id, bpy.types.Object) and PINNED_BONE in update.id
    ]
    if not moved or context.scene != scene or _plays(context):
        return
    for name in moved:
        empty = bpy.data.objects.get(name)
        rig = rig_of(empty) if empty is not None else None
        if rig is None or rig.mode == "EDIT":
            continue
        head = rig.matrix_world @ rig.pose.bones[empty[PINNED_BONE]].head
        # After undo the pin lies where its bone is: nothing to do.
        if (head - empty.matrix_world.translation).length < NEAR_M:
            continue
        try:
            LIVE.follow(context, rig, hand_is_busy())
        except JobError as error:
            SESSION.say("error", str(error), place="CORRECT")


def _plays(context: bpy.types.Context) -> bool:
    return any(window.screen.is_animation_playing for window in context.window_manager.windows)


@bpy.app.handlers.persistent
def _after_load(*_: object) -> None:
    LIVE.reset()


CLASSES = (
    PANTOMIME_PG_correct,
    PANTOMIME_OT_correct,
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
