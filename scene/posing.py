"""Poses that are set at a stroke: T, A, relaxed hands, mirrored, on the floor, as captured. Where the person stands
and faces stays, but for *rest* and *captured*.

Rotations are joints' (55, 3, 3) in the body's axes, as `pose.read_rotations` gives them; the pelvis' place is in
object space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import bpy
import numpy as np

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_INDEX, LEFT_HAND, MIRROR, NUM_JOINTS, RIGHT_HAND
from . import armature as armatures
from . import axes, pose
from .rest import Floats

A_POSE_RAD = np.radians(45.0)
_MIRROR = np.diag([-1.0, 1.0, 1.0])


def read(rig: bpy.types.Object) -> tuple[Floats, Floats]:
    """Rotations (55, 3, 3) and the pelvis' place (3,)."""
    heads, frames = armatures.bone_frames(rig)
    location = np.array(rig.pose.bones["pelvis"].location, np.float64)
    return pose.read_rotations(rig, frames), heads[0] + frames[0] @ location


def write(rig: bpy.types.Object, rotations: Floats, pelvis: Floats) -> None:
    """Set the channels of all bones."""
    heads, frames = armatures.bone_frames(rig)
    own = np.swapaxes(frames, 1, 2) @ axes.BODY_TO_BLENDER
    locations = np.zeros((NUM_JOINTS, 3))
    locations[0] = frames[0].T @ (pelvis - heads[0])
    quaternions = axes.quaternions_from_matrices(own @ rotations @ np.swapaxes(own, 1, 2))
    pose.set_pose(rig, pose.BonePose(locations, quaternions))


def heading(root: Floats) -> Floats:
    """The turn about the vertical that is in the pelvis' rotation (3, 3): where the person faces."""
    left, forward = root[:, 0], root[:, 2]
    # Who lies on the back or looks straight down faces nowhere; then the shoulders tell.
    if np.hypot(forward[0], forward[2]) >= np.hypot(left[0], left[2]):
        yaw = np.arctan2(forward[0], forward[2])
    else:
        yaw = np.arctan2(-left[2], left[0])
    turn: Floats = axes.rotation_matrices(np.array([0.0, yaw, 0.0]))
    return turn


def rest_pose(rig: bpy.types.Object) -> None:
    """All channels cleared, feet on the floor at the object's origin."""
    pelvis = armatures.bone_frames(rig)[0][0]
    write(rig, np.broadcast_to(np.eye(3), (NUM_JOINTS, 3, 3)), pelvis)


def t_pose(rig: bpy.types.Object) -> None:
    """Upright, arms to the sides."""
    rotations, pelvis = read(rig)
    turned = np.broadcast_to(np.eye(3), (NUM_JOINTS, 3, 3)).copy()
    turned[0] = heading(rotations[0])
    write(rig, turned, pelvis)


def a_pose(rig: bpy.types.Object) -> None:
    """Upright, arms lowered by 45°."""
    t_pose(rig)
    rotations, pelvis = read(rig)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        turn = axes.rotation_matrices(np.array([0.0, 0.0, sign * A_POSE_RAD]))
        rotations[JOINT_INDEX[f"{side}_shoulder"]] = turn
    write(rig, rotations, pelvis)


def relax_hands(rig: bpy.types.Object, body: BodyModel) -> None:
    """Fingers as they hang when nobody thinks of them: the body's mean hands."""
    rotations, pelvis = read(rig)
    for joints, mean in ((LEFT_HAND, body.hands_mean[0]), (RIGHT_HAND, body.hands_mean[1])):
        rotations[joints] = axes.rotation_matrices(mean.reshape(-1, 3))
    write(rig, rotations, pelvis)


def mirror(rig: bpy.types.Object, skin: bpy.types.Object | None) -> None:
    """Left becomes right in the pose and, on `skin`, the face; the person stays where they are and faces as before."""
    rotations, pelvis = read(rig)
    facing = heading(rotations[0])
    rotations[0] = facing.T @ rotations[0]
    mirrored = _MIRROR @ rotations[list(MIRROR)] @ _MIRROR
    mirrored[0] = facing @ mirrored[0]
    write(rig, mirrored, pelvis)
    if skin is None or skin.data.shape_keys is None:
        return
    blocks = skin.data.shape_keys.key_blocks
    for left in blocks:
        right = blocks.get(left.name[: -len("Left")] + "Right") if left.name.endswith("Left") else None
        if right is not None:
            left.value, right.value = right.value, left.value


def snap_to_floor(rig: bpy.types.Object, skin: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> None:
    """Move the pelvis so that the lowest vertex of `skin`, as it is drawn, is at Z = 0 of the world."""
    shown = skin.evaluated_get(depsgraph)
    mesh = shown.to_mesh()
    coordinates = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", coordinates)
    shown.to_mesh_clear()
    matrix = np.array(shown.matrix_world, np.float64)
    lowest = float((coordinates.reshape(-1, 3) @ matrix[2, :3] + matrix[2, 3]).min())
    up = np.linalg.inv(np.array(rig.matrix_world, np.float64)[:3, :3]) @ np.array([0.0, 0.0, -lowest])
    frame = armatures.bone_frames(rig)[1][0]
    bone = rig.pose.bones["pelvis"]
    bone.location = np.array(bone.location, np.float64) + frame.T @ up


def remember(rig: bpy.types.Object) -> dict[str, list[float]]:
    """The pose as it is now, as plain values."""
    rotations, pelvis = read(rig)
    return {"pose": axes.axis_angle(rotations).ravel().tolist(), "pelvis_m": pelvis.tolist()}


def recall(rig: bpy.types.Object, kept: Mapping[str, Sequence[float]]) -> None:
    """What `remember` gave, back on the bones."""
    turns = np.array(kept["pose"], np.float64).reshape(NUM_JOINTS, 3)
    write(rig, axes.rotation_matrices(turns), np.array(kept["pelvis_m"], np.float64))


def key_pose(rig: bpy.types.Object) -> None:
    """Keyframes for the pose, here and now, as Blender makes them where auto keying is on."""
    for bone in rig.pose.bones:
        path = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(
            bone.rotation_mode, "rotation_euler"
        )
        bone.keyframe_insert(path, group=bone.name)
        if bone.parent is None:
            bone.keyframe_insert("location", group=bone.name)
