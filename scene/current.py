"""An avatar's pose as it is on the screen, as a capture, and a corrected capture back on its bones.

The user may have turned bones, moved the object, the camera or the shape since the avatar was built: all of it is read
from the scene. An object that was scaled evenly is seen as the same person nearer to a camera at the origin: scaling
about the camera changes no picture.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import ArrayLike

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_NAMES, NUM_JOINTS
from ..core.capture import Capture, pose_parts
from . import armature as armatures
from . import axes, camera, carry, controls, pose, rest, seen, shapekeys, stand
from .avatar import AvatarError, find_mesh, shaped_mesh
from .even import even_reach
from .identity import PROPERTY
from .rest import Floats

EVEN = 1e-3  # how unequal the axes of a scale may be


@dataclass(frozen=True)
class View:
    """How an avatar's object stands before the camera that took its photo."""

    camera_rotation: Floats  # (3, 3) world from camera (OpenCV axes)
    camera_centre: Floats  # (3,) world
    rotation: Floats  # (3, 3) world from object
    centre: Floats  # (3,) the object's origin in the world
    scale: float

    def to_camera(self, world: ArrayLike) -> Floats:
        """Points (…, 3) of the world in the camera's frame, at the body's own size."""
        moved: Floats = (np.asarray(world, np.float64) - self.camera_centre) @ self.camera_rotation / self.scale
        return moved

    def to_object(self, places: Floats) -> Floats:
        """Points (…, 3) of the camera's frame in object space."""
        world = self.scale * np.asarray(places, np.float64) @ self.camera_rotation.T + self.camera_centre
        moved: Floats = (world - self.centre) @ self.rotation / self.scale
        return moved


def view_of(rig: bpy.types.Object, eye: bpy.types.Object) -> View:
    """The view of an avatar through a camera. Raises AvatarError."""
    if eye.data.type != "PERSP":
        raise AvatarError(f"{eye.name} is not a perspective camera. Set its type to Perspective.")
    matrix = np.array(rig.matrix_world, np.float64)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if lengths.min() < 1e-6 or np.ptp(lengths) > EVEN * lengths.max() or np.linalg.det(matrix[:3, :3]) < 0:
        raise AvatarError(f"{rig.name} is scaled unevenly or mirrored. Apply its scale, or clear it.")
    placed = camera.placement_of(eye)
    return View(placed.rotation, placed.centre, matrix[:3, :3] / lengths, matrix[:3, 3].copy(), float(lengths.mean()))


@dataclass(frozen=True)
class Shape:
    """The shape keys of an avatar, and what they make of its joints."""

    betas: Floats  # (B,)
    expression: Floats  # (E,)
    joints: Floats  # (55, 3) at rest, body frame
    shift: Floats  # (55, 3) object space: how far they are from the bones' heads


def shape_of(rig: bpy.types.Object, body: BodyModel, heads: Floats, expression: Floats | None = None) -> Shape:
    """The shape as the keys say; `expression` instead of theirs where given. Raises AvatarError."""
    skin = shaped_mesh(rig, body)
    betas = shapekeys.get_values(skin.data, shapekeys.shape_key_names(body)).astype(np.float64)
    if expression is None:
        expression = shapekeys.get_values(skin.data, shapekeys.expression_key_names(body)).astype(np.float64)
    joints = rest.rest_joints(body, betas, expression)
    ground = np.array(rig[PROPERTY]["ground_m"], np.float64)
    return Shape(betas, expression, joints, rest.to_object_space(joints, ground) - heads)


def current_capture(
    rig: bpy.types.Object, body: BodyModel, eye: bpy.types.Object, scene: bpy.types.Scene, led: bool = False
) -> Capture:
    """What the avatar shows now, through the camera `eye`, as a capture of one frame. Raises AvatarError.

    `led`: of limbs that IK controls lead, take the bones' own pose.
    """
    check(rig, body, led)
    view = view_of(rig, eye)
    heads, frames = armatures.bone_frames(rig)
    shape = shape_of(rig, body, heads)
    turns = pose.read_rotations(rig, frames)
    root = view.rotation @ axes.BODY_TO_BLENDER @ turns[0] @ axes.BODY_TO_BLENDER.T
    location = np.array(rig.pose.bones[JOINT_NAMES[0]].location, np.float64)
    pelvis = heads[0] + frames[0] @ location + view.rotation.T @ root @ shape.shift[0]
    there = view.to_camera(view.scale * view.rotation @ pelvis + view.centre)
    turns[0] = view.camera_rotation.T @ root @ axes.BODY_TO_BLENDER
    flat = axes.axis_angle(turns).astype(np.float32)
    identity = rig[PROPERTY]
    size = (int(identity["image_size"][0]), int(identity["image_size"][1]))
    focal_px, principal = camera.lens_of(eye.data, size, camera.frame_aspect(scene))
    counts = {name: len(points.names) for name, points in body.points.items()}
    return Capture(
        betas=shape.betas.astype(np.float32),
        expression=shape.expression.astype(np.float32)[None],
        **pose_parts(flat[None]),
        transl=(there - shape.joints[0]).astype(np.float32)[None],
        joints=np.zeros((1, NUM_JOINTS, 3), np.float32),
        joint_names=JOINT_NAMES,
        focal_px=float(focal_px),
        principal_px=principal.astype(np.float32),
        image_size=size,
        gender=body.gender,
        surface_model_type=body.surface_model_type,
        body_id=body.body_id,
        points={name: rows[None] for name, rows in seen.points(rig, scene.frame_current, counts).items()},
    )


def check(rig: bpy.types.Object, body: BodyModel, led: bool = False) -> None:
    """Raises AvatarError where corrections of the bones would show nothing, or the body is another."""
    if rig[PROPERTY]["body_id"] != body.body_id:
        raise AvatarError(f"{rig.name} was made with the body “{rig[PROPERTY]['body_id']}”. Choose that body.")
    missing = [name for name in JOINT_NAMES if name not in rig.pose.bones]
    if missing:
        raise AvatarError(f"{rig.name} lacks the bone {missing[0]}. Undo, or make the avatar anew.")
    for name in JOINT_NAMES:
        active = [c for c in rig.pose.bones[name].constraints if not c.mute and c.influence > 0]
        if any(c.name != controls.CONSTRAINT or not led for c in active):
            raise AvatarError(
                f"The bone {name} of {rig.name} is moved by constraints. Mute or remove them to correct the pose."
            )


def apply_pose(
    rig: bpy.types.Object,
    body: BodyModel,
    capture: Capture,
    eye: bpy.types.Object,
    bones: Collection[str],
    key_frame: int | None = None,
    reach: tuple[float, float] = (0.0, 0.0),
    frame_rate: float = 24.0,
    even: bool = False,
) -> None:
    """Put the first frame of a capture on the bones named, the expression on the shape keys. Raises AvatarError.

    Where the body stands is the pelvis bone's location, which is always written. `key_frame`: also key what changed
    there, for an avatar with an action. `reach`: so many frames before and after it are pulled along, less and less;
    feet that stand in them stay, as far as the correction leaves them. `even`: only so far as leaves the motion most
    even. `frame_rate`: of the scene, frames a second.
    """
    view = view_of(rig, eye)
    heads, frames = armatures.bone_frames(rig)
    expression = np.zeros(body.num_expressions)
    expression[: capture.expression.shape[1]] = capture.expression[0]
    before = shape_of(rig, body, heads)
    shape = shape_of(rig, body, heads, expression)
    pelvis = view.to_object(shape.joints[0] + capture.transl[0].astype(np.float64))
    posed = pose.bone_pose(
        capture.full_pose()[0], pelvis, frames, heads, shape.shift, view.rotation.T @ view.camera_rotation
    )
    changed = set(bones) | {JOINT_NAMES[0]}
    if np.abs(shape.shift - before.shift).max() > 1e-6:
        changed = set(JOINT_NAMES)  # an expression that moves joints moves their bones
    old = rig.pose.bones
    for joint, name in enumerate(JOINT_NAMES):
        # The sign nearer to the one before: curves without jumps.
        if np.dot(posed.quaternions[joint], old[name].rotation_quaternion) < 0.0:
            posed.quaternions[joint] *= -1.0
    pose.set_pose(rig, posed, changed)
    keys = _set_expression(rig, body, before.expression, expression)
    if key_frame is not None:
        if even:
            reach = even_reach(rig, changed, key_frame, reach)
        feet = stand.before(rig, key_frame, reach, frame_rate)
        _key(rig, changed, keys, key_frame, reach)
        if feet is not None:
            stand.hold(rig, feet, key_frame, reach)


def _set_expression(
    rig: bpy.types.Object, body: BodyModel, before: Floats, after: Floats
) -> dict[bpy.types.ShapeKey, float]:
    """Set the keys that changed, and return them with their values before."""
    skin = find_mesh(rig)
    names = shapekeys.expression_key_names(body)
    changed = [names[k] for k in np.flatnonzero(np.abs(after - before) > 1e-5)]
    if skin is None or not changed:
        return {}
    blocks = skin.data.shape_keys.key_blocks
    changed = [name for name in changed if name in blocks]  # others were removed by hand
    shapekeys.set_values(skin.data, changed, np.array([after[names.index(name)] for name in changed]))
    return {blocks[name]: float(before[names.index(name)]) for name in changed}


def _key(
    rig: bpy.types.Object,
    bones: Collection[str],
    keys: dict[bpy.types.ShapeKey, float],
    frame: int,
    reach: tuple[float, float],
) -> None:
    """Keys for bones and shape keys as they are now; the motion around them is pulled along."""
    for name in bones:
        bone = rig.pose.bones[name]
        path = {"QUATERNION": "rotation_quaternion", "AXIS_ANGLE": "rotation_axis_angle"}.get(
            bone.rotation_mode, "rotation_euler"
        )
        paths = [path, "location"] if bone.parent is None else [path]
        for channel in paths:
            if channel == "rotation_axis_angle":
                bone.keyframe_insert(channel, frame=frame, group=name)
                continue
            now = np.array(getattr(bone, channel), np.float64)
            carry.carry(rig, bone.path_from_id(channel), name, now, now, frame, *reach)
    for key, before in keys.items():
        was, now = np.array([before]), np.array([key.value], np.float64)
        carry.carry(key.id_data, key.path_from_id("value"), "", was, now, frame, *reach)
