"""Build an avatar from a capture: one collection with mesh, armature and camera. Capture and body in, objects out.

The armature object holds, under its custom property `pantomime`, what made it: the capture's identity, the camera,
the body, the point of the body's frame that is its origin. No registration is needed to read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from ..core.body.garment import GarmentError, read_garment
from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_NAMES
from ..core.capture import Capture
from . import (
    action,
    axes,
    camera,
    correctives,
    materials,
    mesh,
    pose,
    posing,
    rest,
    seen,
    shapekeys,
    viewpoint,
)
from . import armature as armatures
from .identity import BEFORE_CAMERA, CAMERA_PROPERTY, PROPERTY, UNFINISHED
from .removal import is_there, remove_collection
from .rest import Floats
from .steps import MORE, PAUSE, Steps, finish

CAPTURED = "captured"  # under it: pose and shape as built
LAYOUT_VERSION = 1


class AvatarError(Exception):
    """An avatar that can't be built; the message says what to do next."""


@dataclass(frozen=True)
class AvatarSettings:
    """How to build an avatar."""

    name: str = ""  # "": from the photo's file name
    frame: int = 0  # which frame of the capture the rest pose and the camera's place are made for
    animate: bool = True  # key all frames of a capture that has several
    animation: action.AnimationSettings | None = None  # how; None: from the scene's first frame, at its rate
    placement: camera.Placement | None = None  # where the photo's camera stands; None: from `camera`, or on the floor
    camera: bpy.types.Object | None = None  # share this camera and its world; None: a new one, person on the floor
    make_camera: bool = True  # False with camera None: the person is placed, no camera is made
    background: bool = True  # the photo behind the camera's view
    photo: str = ""  # "": the capture's source
    upright_copy: str = ""  # of a photo that Blender would not show as it is, where the solver wrote one
    set_render_size: bool = False  # True: the scene renders at the photo's size
    activate_camera: bool = False  # True: it becomes the scene's camera, even if there is one
    gravity_camera: tuple[float, float, float] | None = None  # down, in the camera's frame; None: from the capture
    pose_correctives: str = "driven"  # they follow the bones; "current": one key, for the built pose; "none"
    look: materials.Look = field(default_factory=materials.Look)


@dataclass
class Avatar:
    """What was built. Objects are Blender's and become invalid with undo: find them by name afterwards."""

    collection: bpy.types.Collection
    mesh: bpy.types.Object
    armature: bpy.types.Object
    camera: bpy.types.Object | None
    warnings: list[str] = field(default_factory=list)

    @property
    def is_there(self) -> bool:
        """Whether nobody deleted a part of it since it was built."""
        return all(map(is_there, (self.collection, self.mesh, self.armature)))


def build_avatar(
    capture: Capture, body: BodyModel, settings: AvatarSettings | None = None, scene: bpy.types.Scene | None = None
) -> Avatar:
    """Build the person of `capture` with `body` into `scene` (the window's if None). Raises AvatarError.

    Nothing else in the scene is changed, but that a scene without a camera gets this one (see `AvatarSettings`).
    """
    settings = settings or AvatarSettings()
    scene = scene or bpy.context.scene
    avatar = finish(avatar_steps(capture, body, settings, scene))
    finish(show_steps(avatar, body, scene, settings))
    return avatar


def avatar_steps(capture: Capture, body: BodyModel, settings: AvatarSettings, scene: bpy.types.Scene) -> Steps[Avatar]:
    """`build_avatar` in steps of some milliseconds. The avatar is in no scene until `show_steps`. Raises AvatarError.

    Closed half-way, it leaves nothing.
    """
    _check(capture, body, settings)
    person = _person(capture, body, settings.frame)
    yield MORE
    placement = _placement(capture, body, settings, person)
    yield MORE
    collection = bpy.data.collections.new(settings.name or _name(capture))
    collection[UNFINISHED] = True
    pictures = set(bpy.data.images)
    try:
        avatar = yield from _build(capture, body, settings, scene, collection, placement, person)
    except BaseException:
        remove_collection(collection)
        bpy.data.batch_remove([image for image in bpy.data.images if image not in pictures and image.users == 0])
        raise
    return avatar


def show_steps(
    avatar: Avatar, body: BodyModel, scene: bpy.types.Scene, settings: AvatarSettings | None = None
) -> Steps[None]:
    """Put a built avatar into the scene, and then what its evaluation would take too long for at once. In steps.

    Closed half-way, it leaves the avatar as it is then: take its collection away. Ends early where somebody does so.
    """
    if avatar.camera is not None and not is_there(avatar.camera):
        avatar.camera = None  # that of the others, who were deleted meanwhile
    scene.collection.children.link(avatar.collection)
    activate = settings is not None and settings.activate_camera
    if avatar.camera is not None and (activate or scene.camera is None):
        scene.camera = avatar.camera
    del avatar.collection[UNFINISHED]
    if correctives.are_many(body) and correctives.are_in(avatar.mesh.data):
        yield PAUSE
        _, frames = armatures.bone_frames(avatar.armature)
        for step in correctives.drive(avatar.mesh.data, body, avatar.armature, frames):
            yield step
            if not avatar.is_there:
                return


def frame_rate(scene: bpy.types.Scene) -> float:
    """Frames a second of the scene."""
    return float(scene.render.fps / scene.render.fps_base)


@dataclass(frozen=True)
class _Person:
    """One frame of a capture, brought to the body's number of components."""

    betas: Floats  # (B,)
    expression: Floats  # (E,)
    full_pose: Floats  # (165,)
    transl: Floats  # (3,)
    shaped: Floats  # (V, 3) at rest, body frame
    joints: Floats  # (55, 3) at rest, body frame


def _person(capture: Capture, body: BodyModel, frame: int) -> _Person:
    betas = _fit_length(capture.betas, body.num_betas)
    expression = _fit_length(capture.expression[frame], body.num_expressions)
    return _Person(
        betas=betas,
        expression=expression,
        full_pose=capture.full_pose()[frame].astype(np.float64),
        transl=capture.transl[frame].astype(np.float64),
        shaped=rest.shaped_vertices(body, betas, expression),
        joints=rest.rest_joints(body, betas, expression),
    )


def _build(
    capture: Capture,
    body: BodyModel,
    settings: AvatarSettings,
    scene: bpy.types.Scene,
    collection: bpy.types.Collection,
    placement: camera.Placement,
    person: _Person,
) -> Steps[Avatar]:
    name, shaped, joints = collection.name, person.shaped, person.joints
    ground = rest.ground_offset(joints, shaped)
    skeleton = rest.rest_skeleton(body, rest.to_object_space(joints, ground), rest.to_object_space(shaped, ground))
    yield MORE
    rig = armatures.new_armature(name, collection, skeleton)
    heads, frames = armatures.bone_frames(rig)
    yield MORE

    skin = yield from _build_mesh(f"{name} body", body, ground, settings, collection)
    skin.parent = rig
    modifier = skin.modifiers.new("Armature", "ARMATURE")
    modifier.object = rig
    modifier.use_deform_preserve_volume = False  # the format is made for linear blending

    moving = settings.animate and capture.num_frames > 1
    writer = shapekeys.KeyWriter(skin)
    yield from _add_keys(writer, body, settings, moving)
    shapekeys.set_values(skin.data, shapekeys.shape_key_names(body), person.betas)
    shapekeys.set_values(skin.data, shapekeys.expression_key_names(body), person.expression)
    yield MORE

    pelvis_world = placement.rotation @ (joints[0] + person.transl) + placement.centre
    rig.location = (pelvis_world[0], pelvis_world[1], 0.0)
    rig.matrix_world = Matrix.Translation(rig.location)
    posed = pose.bone_pose(
        person.full_pose, pelvis_world - np.array(rig.location), frames, heads, world_from_camera=placement.rotation
    )
    pose.set_pose(rig, posed)
    yield MORE
    yield from _correct(writer, body, rig, frames, settings)
    timing = settings.animation or action.AnimationSettings(scene.frame_start, frame_rate(scene))
    if moving:
        channels = yield from action.motion_steps(rig, capture, body, placement, joints, timing)
        yield from action.write_animation(rig, skin, channels, body, timing)

    avatar = Avatar(collection, skin, rig, settings.camera)
    yield from viewpoint.add_camera(avatar, capture, settings, scene, placement, timing if moving else None)
    rig[PROPERTY] = {
        **_identity(capture, body, settings, ground),
        CAPTURED: _captured(rig, person),
        **_certainty(capture, settings.frame),
    }
    if avatar.camera is not None:
        rig[CAMERA_PROPERTY] = avatar.camera
        before = avatar.camera.matrix_basis.inverted() @ rig.matrix_basis
        rig[PROPERTY][BEFORE_CAMERA] = [value for row in before for value in row]
    yield MORE
    seen.store(rig, capture, settings.frame, timing if moving else None)
    return avatar


def _check(capture: Capture, body: BodyModel, settings: AvatarSettings) -> None:
    if capture.body_id != body.body_id:
        raise AvatarError(
            f"This capture was made with the body “{capture.body_id}”, not “{body.body_id}”. "
            "Choose that body, or fit again."
        )
    if not 0 <= settings.frame < capture.num_frames:
        raise AvatarError(f"The capture has {capture.num_frames} frames; there is no frame {settings.frame}.")
    if len(capture.betas) > body.num_betas or capture.expression.shape[1] > body.num_expressions:
        raise AvatarError(
            "The capture has more shape or expression values than the body. Choose the body it was made with."
        )
    values = (capture.betas, capture.expression, capture.full_pose(), capture.transl, [capture.focal_px])
    if not all(np.isfinite(value).all() for value in values):
        raise AvatarError("The capture holds values that are not numbers. Fit the photo again.")
    if capture.focal_px <= 0 or min(capture.image_size) < 1:
        raise AvatarError("The capture's camera has no focal length or size. Fit the photo again.")


def _fit_length(values: Any, length: int) -> Floats:
    padded = np.zeros(length)
    padded[: len(values)] = values
    return padded


def _name(capture: Capture) -> str:
    stem = Path(capture.source.replace("\\", "/")).stem or "Avatar"
    return stem if capture.person_id == 0 else f"{stem} {capture.person_id + 1}"


def _placement(capture: Capture, body: BodyModel, settings: AvatarSettings, person: _Person) -> camera.Placement:
    if settings.placement is not None:
        return settings.placement
    if settings.camera is not None:
        return camera.placement_of(settings.camera)
    gravity = settings.gravity_camera if settings.gravity_camera is not None else -capture.up_camera
    rotation = axes.level_camera_rotation(np.array(gravity, np.float64))
    vertices = pose.posed_vertices(body, person.shaped, person.joints, person.full_pose, person.transl)
    placement = camera.place_on_floor(vertices, person.joints[0] + person.transl, rotation)
    if np.isfinite(capture.ground_m):
        # Of a clip the floor is known from all of its frames: in the first one the person may be in the air.
        placement.centre[2] = -capture.ground_m
    return placement


def _build_mesh(
    name: str, body: BodyModel, ground: Floats, settings: AvatarSettings, collection: bpy.types.Collection
) -> Steps[bpy.types.Object]:
    data = bpy.data.meshes.new(name)
    obj = bpy.data.objects.new(name, data)
    collection.objects.link(obj)
    yield from mesh.fill_mesh(data, body, rest.to_object_space(body.v_template, ground))
    mesh.add_vector_attribute(data, mesh.EYE_ATTRIBUTE, mesh.eye_directions(body))
    if settings.look.brows is not None:
        yield MORE
        mesh.add_vector_attribute(data, mesh.FACE_ATTRIBUTE, mesh.face_positions(body))
    if settings.look.garment is not None and body.body_id == "free":
        yield MORE
        mesh.add_scalar_attribute(data, materials.GARMENT_ATTRIBUTE, _garment(body))
    yield MORE
    yield from materials.add_materials(data, body, settings.look, name)
    yield from mesh.add_skin_weights(obj, body)
    return obj


def _garment(body: BodyModel) -> Floats:
    """What the free body wears, as a field over its vertices. Raises AvatarError."""
    try:
        return read_garment(body).astype(np.float64)
    except GarmentError as error:
        raise AvatarError(str(error)) from error


def _add_keys(writer: shapekeys.KeyWriter, body: BodyModel, settings: AvatarSettings, moving: bool) -> Steps[None]:
    follow = settings.pose_correctives == "driven" or (moving and settings.pose_correctives != "none")
    many = correctives.are_many(body)
    if follow and many:
        yield from correctives.add_keys(writer, body)
    yield from shapekeys.add_shape_and_expression(writer, body)
    if follow and not many:
        yield from correctives.add_keys(writer, body)


def _correct(
    writer: shapekeys.KeyWriter, body: BodyModel, rig: bpy.types.Object, frames: Floats, settings: AvatarSettings
) -> Steps[None]:
    """Let the skin follow the pose, where keys for it are there and not too many, else fit this pose."""
    if correctives.are_in(writer.obj.data):
        if not correctives.are_many(body):
            yield from correctives.drive(writer.obj.data, body, rig, frames)
    elif settings.pose_correctives != "none" and len(body.posedirs_features):
        correctives.add_current(writer, body, pose.read_rotations(rig, frames))


def _identity(capture: Capture, body: BodyModel, settings: AvatarSettings, ground: Floats) -> dict[str, Any]:
    return {
        "layout_version": LAYOUT_VERSION,
        "source": capture.source,
        "person_id": int(capture.person_id),
        "frame": int(settings.frame),
        "body_id": body.body_id,
        "gender": capture.gender,
        "surface_model_type": capture.surface_model_type,
        "ground_m": [float(value) for value in ground],
        "focal_px": float(capture.focal_px),
        "focal_source": capture.focal_source,
        "principal_px": [float(value) for value in capture.principal_px],
        "image_size": [int(value) for value in capture.image_size],
        "num_betas": int(body.num_betas),
    }


def _captured(rig: bpy.types.Object, person: _Person) -> dict[str, Any]:
    """Pose and shape as built, to come back to."""
    return {
        **posing.remember(rig),
        "betas": person.betas.tolist(),
        "expression": person.expression.tolist(),
    }


def _certainty(capture: Capture, frame: int) -> dict[str, Any]:
    """One σ of each joint's place, against the pelvis, where the fit told."""
    if len(capture.joint_sigma_m) <= frame:
        return {}
    return {"joint_sigma_m": dict(zip(JOINT_NAMES, capture.joint_sigma_m[frame].astype(float).tolist(), strict=True))}


def find_mesh(rig: bpy.types.Object) -> bpy.types.Object | None:
    """The mesh object of an avatar's armature."""
    for child in rig.children:
        if child.type == "MESH" and any(m.type == "ARMATURE" and m.object == rig for m in child.modifiers):
            return child
    return None


def shaped_mesh(rig: bpy.types.Object, body: BodyModel) -> bpy.types.Object:
    """The mesh object of an avatar, with a shape key for each of the body's betas. Raises AvatarError."""
    skin = find_mesh(rig)
    if skin is None or skin.data.shape_keys is None:
        raise AvatarError(f"{rig.name} has no body with shape keys. Make the avatar anew.")
    if not set(skin.data.shape_keys.key_blocks.keys()).issuperset(shapekeys.shape_key_names(body)):
        raise AvatarError(f"{skin.name} lacks shape keys of the body “{body.body_id}”. Make the avatar anew.")
    return skin
