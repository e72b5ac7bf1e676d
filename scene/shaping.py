"""The shape of an avatar that is there: its measures, and the bones that follow. Raises AvatarError throughout."""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.load import BodyError, load_body
from ..core.body.measure import MeasureError, Measures, measures_of
from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_NAMES
from . import armature as armatures
from . import axes, correctives, pose, rest, shapekeys
from .avatar import CAPTURED, AvatarError, shaped_mesh
from .identity import PROPERTY
from .rest import Floats
from .steps import finish


def body_of(rig: bpy.types.Object, folder: str | None) -> BodyModel:
    """The body that an avatar was made with. `folder`: where licensed bodies are; not read for the free one."""
    identity = rig[PROPERTY]
    free = identity["body_id"] == "free"
    if not free and not folder:
        raise AvatarError(
            f"{rig.name} was made with the licensed body “{identity['body_id']}”. Name its folder in the preferences."
        )
    try:
        body = load_body(None if free else folder, str(identity["gender"]))
    except BodyError as error:
        raise AvatarError(str(error)) from error
    if body.body_id != identity["body_id"]:
        raise AvatarError(f"{rig.name} was made with the body “{identity['body_id']}”. Name its folder.")
    return body


def measures(body: BodyModel) -> Measures:
    """What can be measured of a body, and changed."""
    try:
        return measures_of(body)
    except MeasureError as error:
        raise AvatarError(str(error)) from error


def set_shape(rig: bpy.types.Object, body: BodyModel, betas: NDArray[np.floating]) -> None:
    """Give an avatar another shape: mesh and bones, the pose kept, the feet where they were.

    The pelvis is raised as the legs grow, which is exact for who stands and near for everybody else.
    """
    skin = shaped_mesh(rig, body)
    names = shapekeys.shape_key_names(body)
    before = _pelvis_height(body, shapekeys.get_values(skin.data, names))
    bone = rig.pose.bones["pelvis"]
    heads, frames = armatures.bone_frames(rig)
    pelvis = heads[0] + frames[0] @ np.array(bone.location, np.float64)
    shapekeys.set_values(skin.data, names, np.clip(betas, -shapekeys.SHAPE_MOST, shapekeys.SHAPE_MOST))
    fit_rest_to_shape(rig, body)
    after = _pelvis_height(body, shapekeys.get_values(skin.data, names))
    heads, frames = armatures.bone_frames(rig)
    pelvis[2] *= after / max(before, 1e-6)
    bone.location = frames[0].T @ (pelvis - heads[0])


def fit_rest_to_shape(rig: bpy.types.Object, body: BodyModel) -> None:
    """Move the bones to where the joints of the current shape keys are; the pose stays. Raises AvatarError.

    To be called after `Shape…` values were changed by hand: the mesh follows them at once, bones can't.
    """
    if PROPERTY not in rig:
        raise AvatarError(f"{rig.name} is not an avatar. Select an avatar's armature.")
    if rig[PROPERTY]["body_id"] != body.body_id:
        raise AvatarError(f"{rig.name} was made with the body “{rig[PROPERTY]['body_id']}”. Choose that body.")
    skin = shaped_mesh(rig, body)
    betas = shapekeys.get_values(skin.data, shapekeys.shape_key_names(body))
    expression = shapekeys.get_values(skin.data, shapekeys.expression_key_names(body))
    ground = np.array(rig[PROPERTY]["ground_m"], np.float64)
    shaped = rest.to_object_space(rest.shaped_vertices(body, betas, expression), ground)
    joints = rest.to_object_space(rest.rest_joints(body, betas, expression), ground)
    _, before = armatures.bone_frames(rig)
    turns = pose.read_rotations(rig, before)
    armatures.move_rest(rig, rest.rest_skeleton(body, joints, shaped))
    _, after = armatures.bone_frames(rig)
    own = np.swapaxes(after, 1, 2) @ axes.BODY_TO_BLENDER
    quaternions = axes.quaternions_from_matrices(own @ turns @ np.swapaxes(own, 1, 2))
    locations = np.array([rig.pose.bones[bone].location for bone in JOINT_NAMES], np.float64)
    locations = np.einsum("jba,jbc,jc->ja", after, before, locations)
    pose.set_pose(rig, pose.BonePose(locations, quaternions))
    if correctives.are_in(skin.data):
        finish(correctives.drive(skin.data, body, rig, after))


def _pelvis_height(body: BodyModel, betas: NDArray[np.floating]) -> float:
    """Of the pelvis above the soles, at rest."""
    none = np.zeros(body.num_expressions)
    soles = measures(body).low @ np.concatenate([[1.0], betas])
    return float(rest.rest_joints(body, betas, none)[0, 1] - soles.min())


def captured_betas(rig: bpy.types.Object) -> Floats:
    """The shape that the avatar was built with."""
    kept = rig[PROPERTY].get(CAPTURED)
    if kept is None:
        raise AvatarError(f"{rig.name} does not know the shape that it was captured with. Make the avatar anew.")
    return np.array(kept["betas"], np.float64)
