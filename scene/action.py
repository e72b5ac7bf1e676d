"""A capture of several frames as keyframes: bones and expressions in ordinary F-curves."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_NAMES
from ..core.capture import Capture
from . import armature as armatures
from . import axes, camera, keyframes, pose, shapekeys, versions
from .keyframes import Channels
from .rest import Floats
from .steps import MORE, Steps, in_thread
from .versions import STILL


@dataclass(frozen=True)
class AnimationSettings:
    """How a motion is keyed."""

    first_frame: float = 1.0  # of the scene, where the clip's time 0 lies
    frames_per_second: float = 24.0  # the scene's
    whole_frames: bool = True  # keys at every whole frame of the scene; False: at the clip's own times
    reduce: bool = False  # leave out keys that straight lines between the others replace
    tolerance_deg: float = 0.5
    tolerance_mm: float = 1.0
    tolerance_expression: float = 0.01
    contact_markers: bool = False  # markers on the action where feet come down and go up
    push_down: bool = False  # as a strip of the NLA, for other actions to go on top


def motion_steps(
    rig: bpy.types.Object,
    capture: Capture,
    body: BodyModel,
    placement: camera.Placement,
    rest_joints: Floats,
    settings: AnimationSettings,
) -> Steps[Channels]:
    """All frames of `capture` as values of an avatar's channels. In steps.

    `rest_joints` (55, 3): the joints that the bones rest on, body frame. A frame of the capture lies at
    `first_frame` + its time × `frames_per_second`.
    """
    heads, frames = armatures.bone_frames(rig)
    origin = np.array(rig.matrix_world.translation, np.float64)

    def channels() -> Channels:
        return _channels(capture, body, placement, rest_joints, settings, heads, frames, origin)

    return (yield from in_thread(channels))


def _channels(
    capture: Capture,
    body: BodyModel,
    placement: camera.Placement,
    rest_joints: Floats,
    settings: AnimationSettings,
    heads: Floats,
    frames: Floats,
    origin: Floats,
) -> Channels:
    betas = np.zeros(body.num_betas)
    betas[: len(capture.betas)] = capture.betas
    values = np.zeros((capture.num_frames, body.num_expressions))
    values[:, : capture.expression.shape[1]] = capture.expression
    joints = body.J_template + body.J_shapedirs @ betas + np.einsum("jae,te->tja", body.J_exprdirs, values)
    world = camera_turns(capture, placement)
    pelvis = np.einsum("tab,tb->ta", world, joints[:, 0] + capture.transl) + placement.centre - origin
    shift = axes.body_to_blender(joints - rest_joints)
    posed = pose.bone_pose(capture.full_pose(), pelvis, frames, heads, shift, world)
    times = settings.first_frame + np.asarray(capture.frame_times_s, np.float64) * settings.frames_per_second
    shots = capture.shots if len(capture.shots) else np.zeros(capture.num_frames, np.int64)
    contacts = capture.contacts > 0.5 if len(capture.contacts) else np.zeros((capture.num_frames, 0), np.bool_)
    channels = Channels(
        times, posed.locations, axes.continuous(posed.quaternions), values, shots.astype(np.int64), contacts
    )
    return keyframes.at_whole_frames(channels) if settings.whole_frames else channels


def camera_turns(capture: Capture, placement: camera.Placement) -> Floats:
    """Rotations (T, 3, 3) from each frame's camera to the world: all the same where the camera stands."""
    if not len(capture.camera_rotvec):
        return np.broadcast_to(placement.rotation, (capture.num_frames, 3, 3))
    return np.asarray(placement.rotation @ axes.rotation_matrices(capture.camera_rotvec))


def write_animation(
    rig: bpy.types.Object, skin: bpy.types.Object, channels: Channels, body: BodyModel, settings: AnimationSettings
) -> Steps[None]:
    """Key `channels` on an avatar as a new action for the bones and one for the expression. In steps."""
    breaks = np.flatnonzero(np.diff(channels.shots)) + 1
    rows = _Rows(channels.times, breaks, settings)
    poses = bpy.data.actions.new(f"{rig.name} pose")
    curves = versions.channel_curves(poses, rig)
    for joint, name in enumerate(JOINT_NAMES):
        path = f'pose.bones["{name}"]'
        places, turns = channels.locations[:, joint], channels.quaternions[:, joint]
        if joint == 0 or np.abs(places).max() > STILL:
            rows.key(curves, f"{path}.location", name, places, rows.of_places(places))
        rows.key(curves, f"{path}.rotation_quaternion", name, turns, rows.of_turns(turns))
        yield MORE
    if settings.contact_markers:
        for frame, mark in keyframes.contact_marks(channels):
            poses.pose_markers.new(mark).frame = frame
    keys = skin.data.shape_keys
    faces = bpy.data.actions.new(f"{rig.name} expression")
    curves = versions.channel_curves(faces, keys)
    for k, name in enumerate(shapekeys.expression_key_names(body)):
        values = channels.expression[:, k : k + 1]
        if np.abs(values).max() > STILL:
            shapekeys.widen(keys.key_blocks[name], float(values.min()), float(values.max()))
            rows.key(curves, f'key_blocks["{name}"].value', "", values, rows.of_expression(values))
            yield MORE
    if settings.push_down:
        for owner, action in ((rig, poses), (keys, faces)):
            versions.push_down(owner, action)


def turn_camera(
    eye: bpy.types.Object, capture: Capture, placement: camera.Placement, settings: AnimationSettings
) -> None:
    """Key the rotation of a camera that turned while it filmed; one that was keyed for another person or stretch of
    the clip gets the frames of this one, too."""
    if not len(capture.camera_rotvec):
        return
    matrices = camera_turns(capture, placement) @ axes.OPENCV_TO_CAMERA_OBJECT
    turns = axes.continuous(axes.quaternions_from_matrices(matrices))
    times = settings.first_frame + np.asarray(capture.frame_times_s, np.float64) * settings.frames_per_second
    known = turn_curves(eye)
    if known:
        low, high = min(curve.range()[0] for curve in known), max(curve.range()[1] for curve in known)
        nearest = int(np.abs(times - np.clip(times, low, high)).argmin())
        before = np.array([curve.evaluate(float(times[nearest])) for curve in known])
        turns *= -1.0 if before @ turns[nearest] < 0.0 else 1.0
        for axis in range(4):
            versions.merge_keys(eye, "rotation_quaternion", axis, "", times, turns[:, axis])
        return
    eye.rotation_mode = "QUATERNION"
    eye.rotation_quaternion = turns[0]
    curves = versions.channel_curves(bpy.data.actions.new(f"{eye.name} turn"), eye)
    for axis in range(4):
        versions.key_curve(curves, "rotation_quaternion", axis, "", times, turns[:, axis])


def turn_curves(eye: bpy.types.Object) -> list[bpy.types.FCurve]:
    """The four curves that turn a camera as it filmed; none where it stands."""
    if eye.animation_data is None or eye.animation_data.action is None:
        return []
    curves = versions.channel_curves(eye.animation_data.action, eye)
    known = [curves.find("rotation_quaternion", index=axis) for axis in range(4)]
    return known if all(curve is not None for curve in known) else []


@dataclass(frozen=True)
class _Rows:
    """Which keys of a channel are written."""

    times: Floats
    breaks: NDArray[np.int64]
    settings: AnimationSettings

    def of_turns(self, turns: Floats) -> NDArray[np.int64] | slice:
        if not self.settings.reduce:
            return slice(None)
        return keyframes.kept_turns(self.times, turns, np.radians(self.settings.tolerance_deg), self.breaks)

    def of_places(self, places: Floats) -> NDArray[np.int64] | slice:
        if not self.settings.reduce:
            return slice(None)
        return keyframes.kept_values(self.times, places, self.settings.tolerance_mm / 1000.0, self.breaks)

    def of_expression(self, values: Floats) -> NDArray[np.int64] | slice:
        if not self.settings.reduce:
            return slice(None)
        return keyframes.kept_values(self.times, values, self.settings.tolerance_expression, self.breaks)

    def key(self, curves: object, path: str, group: str, values: Floats, rows: NDArray[np.int64] | slice) -> None:
        """Curves through the rows; the last key before a cut holds its value until the cut."""
        times, held = self.times[rows], np.isin(np.arange(len(self.times)), self.breaks - 1)[rows]
        for axis in range(values.shape[1]):
            versions.key_curve(curves, path, axis, group, times, values[rows, axis], held)


def extend_animation(rig: bpy.types.Object, skin: bpy.types.Object, channels: Channels, body: BodyModel) -> Steps[None]:
    """Put a further stretch of a motion into the actions that `write_animation` made; what it covers is replaced.

    In steps.
    """
    for joint, name in enumerate(JOINT_NAMES):
        path = f'pose.bones["{name}"]'
        places, turns = channels.locations[:, joint], channels.quaternions[:, joint]
        if joint == 0 or np.abs(places).max() > STILL:
            for axis in range(3):
                versions.merge_keys(rig, f"{path}.location", axis, name, channels.times, places[:, axis])
        before = [
            versions.value_before(rig, f"{path}.rotation_quaternion", axis, channels.times[0]) for axis in range(4)
        ]
        sign = -1.0 if None not in before and float(turns[0] @ np.array(before, float)) < 0.0 else 1.0
        for axis in range(4):
            versions.merge_keys(rig, f"{path}.rotation_quaternion", axis, name, channels.times, sign * turns[:, axis])
        yield MORE
    keys = skin.data.shape_keys
    for k, name in enumerate(shapekeys.expression_key_names(body)):
        values = channels.expression[:, k]
        if np.abs(values).max() > STILL:
            shapekeys.widen(keys.key_blocks[name], float(values.min()), float(values.max()))
            versions.merge_keys(keys, f'key_blocks["{name}"].value', 0, "", channels.times, values)
            yield MORE
