"""A capture of several frames as keyframes: bones and expressions in ordinary F-curves."""

from __future__ import annotations

import bpy
import numpy as np

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_NAMES
from ..core.capture import Capture
from . import armature as armatures
from . import axes, camera, pose, rest, shapekeys, versions
from .rest import Floats
from .versions import STILL


def write_animation(
    rig: bpy.types.Object,
    skin: bpy.types.Object,
    capture: Capture,
    body: BodyModel,
    placement: camera.Placement,
    rest_joints: Floats,
    frames_per_second: float,
    first_frame: float = 1.0,
) -> None:
    """Key all frames of `capture` on an avatar.

    `rest_joints` (55, 3): the joints that the bones rest on, body frame. A frame of the capture lies at
    `first_frame` + its time × `frames_per_second`.
    """
    heads, frames = armatures.bone_frames(rig)
    origin = np.array(rig.matrix_world.translation, np.float64)
    poses = capture.full_pose().astype(np.float64)
    betas = capture.betas.astype(np.float64)
    values = np.zeros((capture.num_frames, body.num_expressions))
    values[:, : capture.expression.shape[1]] = capture.expression
    places, turns = [], []
    for k in range(capture.num_frames):
        joints = rest.rest_joints(body, np.pad(betas, (0, body.num_betas - len(betas))), values[k])
        pelvis = placement.rotation @ (joints[0] + capture.transl[k]) + placement.centre - origin
        shift = axes.body_to_blender(joints - rest_joints)
        posed = pose.bone_pose(poses[k], pelvis, frames, heads, shift, placement.rotation)
        places.append(posed.locations)
        turns.append(posed.quaternions)
    locations, quaternions = np.stack(places), axes.continuous(np.stack(turns))
    times = first_frame + np.asarray(capture.frame_times_s, np.float64) * frames_per_second

    curves = versions.channel_curves(bpy.data.actions.new(f"{rig.name} pose"), rig)
    for joint, name in enumerate(JOINT_NAMES):
        path = f'pose.bones["{name}"]'
        if joint == 0 or np.abs(locations[:, joint]).max() > STILL:
            for axis in range(3):
                versions.key_curve(curves, f"{path}.location", axis, name, times, locations[:, joint, axis])
        for axis in range(4):
            versions.key_curve(curves, f"{path}.rotation_quaternion", axis, name, times, quaternions[:, joint, axis])
    keys = skin.data.shape_keys
    curves = versions.channel_curves(bpy.data.actions.new(f"{rig.name} expression"), keys)
    for k, name in enumerate(shapekeys.expression_key_names(body)):
        if np.abs(values[:, k]).max() > STILL:
            shapekeys.widen(keys.key_blocks[name], float(values[:, k].min()), float(values[:, k].max()))
            versions.key_curve(curves, f'key_blocks["{name}"].value', 0, "", times, values[:, k])
