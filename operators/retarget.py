"""The avatar's motion on another armature of the scene: choose it, see and edit the mapping, transfer."""

from __future__ import annotations

from collections.abc import Generator

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, PointerProperty, StringProperty

from .avatars import avatar_of, why_not_read
from .jobs import Job, JobError, Steps
from .notify import failed, refuse, report
from .session import ASIDE
from .settings import solver_settings


def _is_target(_settings: bpy.types.PropertyGroup, obj: bpy.types.Object) -> bool:
    return obj.type == "ARMATURE"


def _detect(settings: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    """Fill in the mapping by the names of the target's bones."""
    from ..scene.retarget import detected
    from ..scene.retarget_plan import JOINT_NAMES

    found = detected(settings.target) if settings.target is not None else None
    settings.rig = found.rig.name if found is not None else ""
    settings.rows.clear()
    if settings.target is None:
        return
    for joint in JOINT_NAMES:
        row = settings.rows.add()
        row.name = joint
        row.bone = found.bones.get(joint, "") if found is not None else ""


class PANTOMIME_PG_mapped_bone(bpy.types.PropertyGroup):
    """A joint of the avatar (its name), and the target's bone."""

    bone: StringProperty(name="Bone", description="The target's bone that follows this one. Empty: none")


class PANTOMIME_PG_retarget(bpy.types.PropertyGroup):
    """Where the motion goes."""

    target: PointerProperty(
        name="Target",
        description="The armature that shall move as the avatar does",
        type=bpy.types.Object,
        poll=_is_target,
        update=_detect,
    )
    rig: StringProperty(name="Rig", description="The kind of rig, by the names of its bones")
    rows: CollectionProperty(type=PANTOMIME_PG_mapped_bone)
    active: IntProperty(options={"HIDDEN"})


class PANTOMIME_OT_retarget(bpy.types.Operator):
    """Give the target armature an action with the avatar's pose or motion. Limbs point where the avatar's do"""

    bl_idname = "pantomime.retarget"
    bl_label = "Retarget"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        settings = getattr(context.scene, "pantomime_retarget", None)
        rig = avatar_of(context)
        if why_not_read(rig):
            return refuse(cls, why_not_read(rig))
        if settings is None or settings.target is None or settings.target == rig:
            return refuse(cls, "Choose another armature as the target")
        return context.mode in ("OBJECT", "POSE") or refuse(cls, "Leave edit mode first")

    by_hand: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.by_hand = not bpy.app.background
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import rigs
        from ..scene.steps import finish

        settings = context.scene.pantomime_retarget
        mapping = {row.name: row.bone for row in settings.rows if row.bone}
        switches = next((rig.switches for rig in rigs.RIGS if rig.name == settings.rig), ())
        names = avatar_of(context).name, settings.target.name, context.scene.name
        if self.by_hand:

            def build(_job: Job, _result: object) -> Steps:
                said = yield from _steps(names, mapping, switches)
                bpy.ops.ed.undo_push(message="Retarget")
                return said

            solver = solver_settings(context)
            ASIDE.submit(Job(None, *names[1:], solver, build, title="Retarget", doing="Retargeting", place="RETARGET"))
            # Not finished yet: the undo step comes with the motion.
            return {"CANCELLED"}
        try:
            said = finish(_steps(names, mapping, switches))
        except JobError as error:
            return failed(self, str(error))
        report(self, "INFO", said)
        return {"FINISHED"}


def _steps(
    names: tuple[str, str, str], mapping: dict[str, str], switches: tuple[tuple[str, str, float], ...]
) -> Generator[bool, None, str]:
    """Of avatar, target and scene by their names. Raises JobError."""
    from ..scene.retarget import RetargetError, retarget_steps

    rig, target = (bpy.data.objects.get(name) for name in names[:2])
    scene = bpy.data.scenes.get(names[2])
    if rig is None or target is None or scene is None:
        raise JobError("The avatar or the target is gone. Choose another one.")
    try:
        done = yield from retarget_steps(rig, target, mapping, scene, switches, ASIDE.tell_fraction)
    except RetargetError as error:
        raise JobError(str(error)) from error
    frames = f"{done.frames} frames" if done.frames > 1 else "one pose"
    return f"{target.name} follows with {done.mapped} bones, {frames}"


class PANTOMIME_OT_detect_bones(bpy.types.Operator):
    """Fill in the mapping anew by the names of the target's bones"""

    bl_idname = "pantomime.detect_bones"
    bl_label = "Detect Bones"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        settings = getattr(context.scene, "pantomime_retarget", None)
        return (settings is not None and settings.target is not None) or refuse(cls, "Choose an armature as the target")

    def execute(self, context: bpy.types.Context) -> set[str]:
        _detect(context.scene.pantomime_retarget, context)
        return {"FINISHED"}


CLASSES = (PANTOMIME_PG_mapped_bone, PANTOMIME_PG_retarget, PANTOMIME_OT_retarget, PANTOMIME_OT_detect_bones)


def register() -> None:
    """Scenes hold what was chosen."""
    bpy.types.Scene.pantomime_retarget = PointerProperty(type=PANTOMIME_PG_retarget)


def unregister() -> None:
    """Scenes forget it."""
    del bpy.types.Scene.pantomime_retarget
