"""An avatar's armature: 55 bones with SMPL-X's names whose rest pose follows the shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import bpy
import numpy as np
from mathutils import Vector

from ..core.body.skeleton import (
    BODY_JOINTS,
    FACE_JOINTS,
    JOINT_NAMES,
    LEFT_HAND_JOINTS,
    PARENTS,
    RIGHT_HAND_JOINTS,
)
from .rest import Floats, RestSkeleton

BONE_COLLECTIONS = (
    ("Body", BODY_JOINTS, "THEME09"),
    ("Left hand", LEFT_HAND_JOINTS, "THEME04"),
    ("Right hand", RIGHT_HAND_JOINTS, "THEME01"),
    ("Face", FACE_JOINTS, "THEME03"),
)


@contextmanager
def edit_bones(data: bpy.types.Armature) -> Iterator[bpy.types.ArmatureEditBones]:
    """The edit bones of an armature; bones can only be made and moved in edit mode.

    It happens in a scene of its own, which is gone afterwards: nothing of the user's scene changes its mode or is
    evaluated meanwhile, and it makes no difference where the armature's objects are, or whether they are hidden.
    """
    scene = bpy.data.scenes.new("Pantomime")
    stand_in = bpy.data.objects.new("Pantomime", data)
    try:
        scene.collection.objects.link(stand_in)
        layer = scene.view_layers[0]
        layer.objects.active = stand_in
        # The context's active object is the window's, even where another scene is named: so it is named, too.
        with bpy.context.temp_override(scene=scene, view_layer=layer, object=stand_in, active_object=stand_in):
            bpy.ops.object.mode_set(mode="EDIT")
            try:
                yield data.edit_bones
            finally:
                bpy.ops.object.mode_set(mode="OBJECT")
    finally:
        bpy.data.objects.remove(stand_in)
        bpy.data.scenes.remove(scene)


def new_armature(name: str, collection: bpy.types.Collection, skeleton: RestSkeleton) -> bpy.types.Object:
    """An armature object in `collection` with the bones of `skeleton`."""
    data = bpy.data.armatures.new(name)
    data.display_type = "STICK"
    obj = bpy.data.objects.new(name, data)
    obj.show_in_front = True
    with edit_bones(data) as bones:
        for joint, bone_name in enumerate(JOINT_NAMES):
            bone = bones.new(bone_name)
            _place(bone, skeleton, joint)
            if PARENTS[joint] >= 0:
                bone.parent = bones[JOINT_NAMES[PARENTS[joint]]]
    collection.objects.link(obj)
    for pose_bone in obj.pose.bones:
        pose_bone.rotation_mode = "QUATERNION"
        # Only the root travels: a bone dragged off its joint would tear the skin.
        pose_bone.lock_location = (pose_bone.parent is not None,) * 3
    for title, names, palette in BONE_COLLECTIONS:
        group = data.collections.new(title)
        for bone_name in names:
            group.assign(data.bones[bone_name])
            data.bones[bone_name].color.palette = palette
    return obj


def move_rest(obj: bpy.types.Object, skeleton: RestSkeleton) -> None:
    """Give an existing armature the rest pose of `skeleton`. Pose channels keep their numbers."""
    with edit_bones(obj.data) as bones:
        for joint, bone_name in enumerate(JOINT_NAMES):
            _place(bones[bone_name], skeleton, joint)


def _place(bone: bpy.types.EditBone, skeleton: RestSkeleton, joint: int) -> None:
    bone.use_connect = False
    bone.head = Vector(skeleton.heads[joint])
    bone.tail = Vector(skeleton.tails[joint])
    bone.align_roll(Vector(skeleton.frames[joint, :, 2]))


def bone_frames(obj: bpy.types.Object) -> tuple[Floats, Floats]:
    """Heads (55, 3) and axes (55, 3, 3; columns X, Y, Z) as Blender stores them, object space, in joint order."""
    matrices = np.array([obj.data.bones[name].matrix_local for name in JOINT_NAMES], np.float64)
    return matrices[:, :3, 3], matrices[:, :3, :3]
