"""The selected avatar's pose: captured, rest, T and A, relaxed hands, mirrored, on the floor."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import EnumProperty

from .avatars import PROPERTY, avatar_of, mesh_of, why_not_face, why_not_pose
from .notify import failed, refuse
from .settings import solver_settings


def _finish_pose(context: bpy.types.Context, rig: bpy.types.Object) -> None:
    if context.scene.tool_settings.use_keyframe_insert_auto:
        from ..scene.posing import key_pose

        key_pose(rig)


def _visible_mesh(context: bpy.types.Context, rig: bpy.types.Object) -> bpy.types.Object | None:
    skin = mesh_of(rig)
    return (
        skin if skin is not None and context.view_layer.objects.get(skin.name) == skin and skin.visible_get() else None
    )


class _PoseOperator:
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return refuse(cls, why_not_pose(avatar_of(context)))


class PANTOMIME_OT_set_pose(_PoseOperator, bpy.types.Operator):
    """Put the avatar in a pose"""

    bl_idname = "pantomime.set_pose"
    bl_label = "Set Pose"

    kind: EnumProperty(
        name="Pose",
        description="Which pose",
        items=(
            ("CAPTURED", "As captured", "The pose that the photo shows"),
            ("REST", "Rest", "The pose that the mesh was made in, at the avatar's origin"),
            ("T", "T", "Upright, arms to the sides, where the person stands"),
            ("A", "A", "Upright, arms lowered by 45°, where the person stands"),
            ("HANDS", "Relaxed hands", "Only the fingers: as they hang when nobody thinks of them"),
        ),
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import controls, posing, shaping
        from ..scene.avatar import CAPTURED, AvatarError

        rig = avatar_of(context)
        kept = rig[PROPERTY].get(CAPTURED)
        if self.kind == "CAPTURED" and kept is None:
            return failed(self, f"{rig.name} does not know its captured pose. Make the avatar anew.")
        try:
            if self.kind == "HANDS":
                posing.relax_hands(rig, shaping.body_of(rig, solver_settings(context).body))
            else:
                with controls.following(rig, context.scene):
                    self._set(context, rig, kept)
        except AvatarError as error:
            return failed(self, str(error))
        _finish_pose(context, rig)
        return {"FINISHED"}

    def _set(self, context: bpy.types.Context, rig: bpy.types.Object, kept: Any) -> None:
        from ..scene import posing

        if self.kind == "CAPTURED":
            posing.recall(rig, kept)
            return
        {"REST": posing.rest_pose, "T": posing.t_pose, "A": posing.a_pose}[self.kind](rig)
        skin = _visible_mesh(context, rig)
        if skin is not None:
            # Who was sitting now stands; on the floor.
            context.view_layer.update()
            posing.snap_to_floor(rig, skin, context.evaluated_depsgraph_get())


class PANTOMIME_OT_mirror_pose(_PoseOperator, bpy.types.Operator):
    """Swap left and right in the pose and the face. The person stays where they are and faces the same way"""

    bl_idname = "pantomime.mirror_pose"
    bl_label = "Mirror Pose"

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import controls, posing
        from ..scene.avatar import AvatarError

        rig = avatar_of(context)
        try:
            with controls.following(rig, context.scene):
                posing.mirror(rig, mesh_of(rig) if not why_not_face(rig) else None)
        except AvatarError as error:
            return failed(self, str(error))
        _finish_pose(context, rig)
        return {"FINISHED"}


class PANTOMIME_OT_snap_to_floor(_PoseOperator, bpy.types.Operator):
    """Move the avatar up or down until its lowest point is on the floor, Z = 0"""

    bl_idname = "pantomime.snap_to_floor"
    bl_label = "Snap to Floor"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        rig = avatar_of(context)
        why = why_not_pose(rig)
        if not why and (rig is None or _visible_mesh(context, rig) is None):
            why = "The avatar's body is hidden. Show it first"
        return refuse(cls, why)

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import controls, posing
        from ..scene.avatar import AvatarError

        rig = avatar_of(context)
        try:
            with controls.following(rig, context.scene):
                context.view_layer.update()
                posing.snap_to_floor(rig, _visible_mesh(context, rig), context.evaluated_depsgraph_get())
        except AvatarError as error:
            return failed(self, str(error))
        _finish_pose(context, rig)
        return {"FINISHED"}


CLASSES = (PANTOMIME_OT_set_pose, PANTOMIME_OT_mirror_pose, PANTOMIME_OT_snap_to_floor)
