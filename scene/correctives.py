"""Pose correctives: shape keys that follow the bones.

SMPL's pose blend shapes (Loper et al., SMPL, SIGGRAPH Asia 2015, eq. 9) are linear in the entries of R − I of each
joint's rotation. Each entry is a shape key whose value a driver computes from the bone's rotation. The drivers use
only transform channels and arithmetic, Blender's "simple expressions", which work where Python scripts of a file
are not trusted, and which follow constraints, IK and any rotation mode.
"""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_NAMES
from . import axes
from .rest import Floats
from .shapekeys import KeyWriter
from .steps import MORE, Steps

LIMITS = (-2.5, 2.5)  # entries of R − I lie in −2…1
CURRENT = "PoseCurrent"
MANY = 200  # keys, from which on finding them takes Blender long
FELT_M = 2e-5  # for a whole unit of the feature


def feature_name(feature: int) -> str:
    """The key of entry `feature` of the 486: joint and matrix element, as `Pose left_elbow 01`."""
    joint, row, column = _entry(feature)
    return f"Pose {JOINT_NAMES[joint]} {row}{column}"


def _entry(feature: int) -> tuple[int, int, int]:
    return 1 + feature // 9, feature % 9 // 3, feature % 3


def are_many(body: BodyModel) -> bool:
    """Whether keys and drivers are so many that Blender feels it.

    It looks for a driver's key by its name, from the first key on, several times for each driver, whenever the pose
    changes or something comes into the scene. So many keys are to stand first, before those of shape and expression,
    and to get their drivers when the avatar is in the scene, a slice at a time. The free body's are few: there the keys
    that people look for stand first.
    """
    return len(body.posedirs_features) > MANY


def add_keys(writer: KeyWriter, body: BodyModel) -> Steps[None]:
    """A key, without a driver, for each column of `posedirs` that moves any vertex by `FELT_M` and more. In steps.

    Files have all 486. Each key costs memory in every undo step, and its driver time in each change of the pose.
    """
    for k, feature in enumerate(body.posedirs_features.tolist()):
        offsets = body.posedirs[:, :, k]
        if np.max(np.einsum("vi,vi->v", offsets, offsets), initial=0.0) >= FELT_M**2:
            writer.add(feature_name(feature), offsets, LIMITS)
        yield MORE


def are_in(mesh: bpy.types.Mesh) -> bool:
    """Whether a mesh has the keys that follow the bones."""
    return any(block.name.startswith("Pose ") for block in mesh.shape_keys.key_blocks)


def drive(mesh: bpy.types.Mesh, body: BodyModel, armature: bpy.types.Object, frames: Floats) -> Steps[None]:
    """Write the drivers of the keys that are there, or bring them up to date: they depend on the bones' rolls at rest.
    In steps."""
    keys = mesh.shape_keys
    there = set(keys.key_blocks.keys())
    for feature in body.posedirs_features.tolist():
        name = feature_name(feature)
        if name not in there:
            continue
        joint, row, column = _entry(feature)
        path = f'key_blocks["{name}"].value'
        curve = keys.animation_data.drivers.find(path) if keys.animation_data is not None else None
        driver = curve.driver if curve is not None else _new_driver(keys, path, armature, JOINT_NAMES[joint])
        driver.expression = expression(row, column, axes.BODY_TO_BLENDER.T @ frames[joint])
        yield MORE


def _new_driver(keys: bpy.types.Key, path: str, armature: bpy.types.Object, bone: str) -> bpy.types.Driver:
    curve = keys.driver_add(path)
    while curve.modifiers:  # a generator that 4.x adds, harmless but not wanted
        curve.modifiers.remove(curve.modifiers[0])
    driver = curve.driver
    driver.type = "SCRIPTED"
    for channel in "wxyz":
        variable = driver.variables.new()
        variable.name = channel
        variable.type = "TRANSFORMS"
        target = variable.targets[0]
        target.id = armature
        target.bone_target = bone
        target.transform_type = f"ROT_{channel.upper()}"
        target.transform_space = "LOCAL_SPACE"
        target.rotation_mode = "QUATERNION"
    return driver


def expression(row: int, column: int, body_from_bone: Floats) -> str:
    """Entry (row, column) of R − I from the bone's quaternion w, x, y, z.

    A change of axes turns a quaternion's vector part only, so R's vector part is `body_from_bone` @ (x, y, z).
    """

    def component(axis: int) -> str:
        terms = [f"{c:+.5f}*{v}" for c, v in zip(body_from_bone[axis].tolist(), "xyz", strict=True) if abs(c) > 5e-6]
        return "(" + "".join(terms).lstrip("+") + ")"

    if row == column:
        a, b = (component(axis) for axis in range(3) if axis != row)
        return f"-2*({a}*{a}+{b}*{b})"
    third = 3 - row - column
    sign = "-" if (row, column) in ((0, 1), (1, 2), (2, 0)) else "+"
    return f"2*({component(row)}*{component(column)}{sign}w*{component(third)})"


def add_current(writer: KeyWriter, body: BodyModel, rotations: NDArray[np.floating]) -> None:
    """One key that holds the correction of one pose: `rotations` (55, 3, 3), body axes, as `pose.read_rotations`."""
    writer.add(CURRENT, correction(body, rotations), (0.0, 1.0)).value = 1.0


def correction(body: BodyModel, rotations: NDArray[np.floating]) -> NDArray[np.float32]:
    """The offsets (V, 3), body axes, that the pose adds to the body at rest."""
    features = (np.asarray(rotations)[1:] - np.eye(3)).reshape(-1)[body.posedirs_features]
    return (body.posedirs @ features.astype(np.float32)).astype(np.float32)
