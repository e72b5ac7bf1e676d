"""A capture's pose on an avatar's bones, and back. Bones carry it as ordinary channels.

How a pose is divided: the armature object stands on the floor under the pelvis, upright; the bone `pelvis` carries
the global orientation and the height (its location), every other bone its joint's own rotation. A bone's
channels are in its own axes, so with C = (bone's axes)ᵀ · (body's axes in Blender), a joint's axis-angle a becomes
C a, and the pelvis takes the whole rotation from camera to world.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS, joint_levels
from . import axes
from .rest import Floats, rest_joints


@dataclass(frozen=True)
class BonePose:
    """Pose channels of the 55 bones, in joint order; of several frames with a leading axis."""

    locations: Floats  # (…, 55, 3) metres
    quaternions: Floats  # (…, 55, 4) w, x, y, z


def bone_pose(
    full_pose: NDArray[np.floating],
    pelvis: NDArray[np.floating],
    frames: Floats,
    heads: Floats,
    joint_shift: Floats | None = None,
    world_from_camera: Floats | None = None,
) -> BonePose:
    """Channels for one frame, or for any number of them with leading axes.

    `full_pose` (…, 165) or (55, 3): axis-angle, SMPL-X order. `pelvis` (…, 3): where the pelvis joint goes, object
    space. `frames`, `heads`: the bones at rest. `joint_shift` (…, 55, 3): how far the frame's rest joints lie from
    `heads`, object space, when expression or shape moves them after the rest pose was made; a joint off its bone's
    head by Δ turns about its own place if the bone is moved by (I − R) Δ. `world_from_camera` (…, 3, 3): as
    `axes.level_camera_rotation`.
    """
    pelvis = np.asarray(pelvis, np.float64)
    turns = np.asarray(full_pose, np.float64).reshape(*pelvis.shape[:-1], NUM_JOINTS, 3)
    own = np.swapaxes(frames, 1, 2) @ axes.BODY_TO_BLENDER
    quaternions = axes.quaternions(np.einsum("jab,...jb->...ja", own, turns))
    world = axes.level_camera_rotation() if world_from_camera is None else world_from_camera
    root = world @ axes.rotation_matrices(turns[..., 0, :]) @ axes.BODY_TO_BLENDER.T
    quaternions[..., 0, :] = axes.quaternions_from_matrices(frames[0].T @ root @ frames[0])
    locations = np.zeros(turns.shape)
    locations[..., 0, :] = (pelvis - heads[0]) @ frames[0]
    if joint_shift is not None and np.abs(joint_shift).max() > 1e-6:
        rotations = axes.rotation_matrices(axes.body_to_blender(turns))
        rotations[..., 0, :, :] = root
        shift = joint_shift - np.einsum("...jab,...jb->...ja", rotations, joint_shift)
        shift[..., 0, :] -= joint_shift[..., 0, :]  # the pelvis joint itself lands on `pelvis`
        locations += np.einsum("jba,...jb->...ja", frames, shift)
    return BonePose(locations, quaternions)


def set_pose(armature: bpy.types.Object, pose: BonePose, only: Collection[str] | None = None) -> None:
    """Write the channels, of all bones or some; bones in another rotation mode get the same rotation in theirs."""
    bones = armature.pose.bones
    for joint, name in enumerate(JOINT_NAMES):
        if only is not None and name not in only:
            continue
        bone = bones[name]
        bone.location = pose.locations[joint]
        if bone.rotation_mode == "QUATERNION":
            bone.rotation_quaternion = pose.quaternions[joint]
        else:
            from mathutils import Matrix, Quaternion

            turn = Quaternion(pose.quaternions[joint]).to_matrix().to_4x4()
            bone.matrix_basis = Matrix.Translation(pose.locations[joint]) @ turn


def read_rotations(armature: bpy.types.Object, frames: Floats) -> Floats:
    """The bones' rotations (55, 3, 3) as joint rotations in the body's axes.

    The pelvis is given in the body's axes as seen from the object: identity for an upright person who faces −Y.
    """
    bones = armature.pose.bones
    turns = np.array([bones[name].matrix_basis.to_3x3().normalized() for name in JOINT_NAMES], np.float64)
    own = np.swapaxes(frames, 1, 2) @ axes.BODY_TO_BLENDER
    return np.swapaxes(own, 1, 2) @ turns @ own


def posed_vertices(
    body: BodyModel, shaped: Floats, joints: Floats, full_pose: NDArray[np.floating], transl: NDArray[np.floating]
) -> Floats:
    """Linear blend skinning in numpy: vertices (V, 3) in the frame of `transl` (the camera's).

    `shaped` (V, 3) and `joints` (55, 3): the body at rest. Here to find the floor; the solver has its own.
    """
    rotations = axes.rotation_matrices(np.asarray(full_pose, np.float64).reshape(NUM_JOINTS, 3))
    turned, places = _chain(joints, rotations)
    if len(body.posedirs_features):
        feature = (rotations[1:] - np.eye(3)).reshape(-1)[body.posedirs_features]
        shaped = shaped + body.posedirs @ feature.astype(np.float32)
    shift = places - np.einsum("jab,jb->ja", turned, joints)
    transforms = np.concatenate([turned, shift[..., None]], axis=-1).reshape(NUM_JOINTS, 12)
    blended = (body.weights @ transforms.astype(np.float32)).reshape(-1, 3, 4)
    return (
        np.einsum("vab,vb->va", blended[..., :3], shaped.astype(np.float32), dtype=np.float64)
        + blended[..., 3]
        + np.asarray(transl, np.float64)
    )


def posed_joints(
    body: BodyModel,
    betas: NDArray[np.floating],
    expression: NDArray[np.floating],
    full_pose: NDArray[np.floating],
    transl: NDArray[np.floating],
) -> Floats:
    """Joints (55, 3) in the frame of `transl` (the camera's)."""
    joints = rest_joints(body, betas, expression)
    rotations = axes.rotation_matrices(np.asarray(full_pose, np.float64).reshape(NUM_JOINTS, 3))
    return _chain(joints, rotations)[1] + np.asarray(transl, np.float64)


def _chain(joints: Floats, rotations: Floats) -> tuple[Floats, Floats]:
    """World rotations (55, 3, 3) and places (55, 3) of the joints; the pelvis stays."""
    turned, places = rotations.copy(), joints.copy()
    for level in joint_levels()[1:]:
        for joint in level:
            parent = PARENTS[joint]
            turned[joint] = turned[parent] @ rotations[joint]
            places[joint] = places[parent] + turned[parent] @ (joints[joint] - joints[parent])
    return turned, places
