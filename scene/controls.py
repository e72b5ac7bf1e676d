"""IK controls for an avatar's hands and feet, on its own armature: made, snapped, switched and taken away again.

Controls are bones of their own collection that deform nothing. Each limb has a handle and a pole and a property `ik`
on the handle, 0 (the bones' own rotations) … 1 (the handle leads). The 55 bones and their channels stay as they are,
so export and retarget know nothing of controls. While a pose is corrected or set at a stroke they are suspended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from . import armature as armatures
from . import motion
from .avatar import AvatarError
from .identity import HANDLES, IK

COLLECTION = "IK controls"
CONSTRAINT = "Pantomime IK"
POLE_DISTANCE_M = 0.45
_STRAIGHT_M = 0.01  # a limb that bends less shows no direction to bend to


@dataclass(frozen=True)
class Limb:
    """One limb's bones and controls."""

    upper: str
    lower: str
    end: str
    handle: str
    pole: str


LIMBS = tuple(
    Limb(f"{side}_{upper}", f"{side}_{lower}", f"{side}_{end}", HANDLES[side, name], f"{side}_{lower}_pole")
    for side in ("left", "right")
    for upper, lower, end, name in (("shoulder", "elbow", "wrist", "hand"), ("hip", "knee", "ankle", "foot"))
)


def add_controls(rig: bpy.types.Object, scene: bpy.types.Scene | None = None) -> None:
    """Make the controls on the present pose, which does not change. An animated avatar keeps its motion: `ik` is 0."""
    scene = scene or bpy.context.scene
    rest = {bone.name: bone.matrix_local.copy() for bone in rig.data.bones}
    with armatures.edit_bones(rig.data) as bones:
        for limb in _absent(rig):
            end = bones[limb.end]
            handle = bones.new(limb.handle)
            handle.head, handle.tail, handle.roll = end.head, end.tail, end.roll
            place = rest[limb.lower].translation - rest[limb.upper].col[2].to_3d() * POLE_DISTANCE_M
            pole = bones.new(limb.pole)
            pole.head, pole.tail = place, place + Vector((0.0, 0.0, 0.06))
            for bone in (handle, pole):
                bone.use_deform = False
    _collect(rig)
    layer = motion.layer_with(scene, rig)
    layer.update()
    for limb in LIMBS:
        _constrain(rig, limb)
    animated = motion.frame_range(rig, None) is not None
    snap_to_pose(rig, scene, {} if animated else {limb.handle: 1.0 for limb in LIMBS})


def remove_controls(rig: bpy.types.Object, scene: bpy.types.Scene | None = None) -> None:
    """Take the controls away; the bones keep the pose that they lead to."""
    if motion.frame_range(rig, None) is None:
        snap_to_controls(rig, scene)
    for limb in LIMBS:
        for name in (limb.lower, limb.end):
            bone = rig.pose.bones[name]
            for constraint in [c for c in bone.constraints if c.name == CONSTRAINT]:
                constraint.driver_remove("influence")
                bone.constraints.remove(constraint)
    with armatures.edit_bones(rig.data) as bones:
        for limb in LIMBS:
            for name in (limb.handle, limb.pole):
                if name in bones:
                    bones.remove(bones[name])
    group = rig.data.collections.get(COLLECTION)
    if group is not None:
        rig.data.collections.remove(group)


def snap_to_pose(
    rig: bpy.types.Object, scene: bpy.types.Scene | None = None, values: Mapping[str, float] | None = None
) -> None:
    """Lay handles and poles on the pose that the bones have without them, wherever `ik` stands.

    `values`: how far the handles lead from then on; None: as before.
    """
    scene = scene or bpy.context.scene
    bones = rig.pose.bones
    if values is None:
        values = leading(rig)
    # A pose that is keyed once, as auto keying does, is not what was just set.
    with motion.Alone(rig, scene, played=motion.frame_range(rig, None) is not None) as alone:
        for limb in _present(rig):
            bones[limb.handle][IK] = 0.0
        posed = alone.bones()
        for limb in _present(rig):
            bones[limb.handle].matrix = posed[limb.end].matrix.copy()
            bones[limb.pole].matrix = Matrix.Translation(_pole_place(posed, limb))
        for limb in _present(rig):
            if values.get(limb.handle, 0.0) > 0.0:
                _aim(rig, limb, alone)
                bones[limb.handle][IK] = values[limb.handle]
    rig.update_tag()
    motion.layer_with(scene, rig).update()


def leading(rig: bpy.types.Object) -> dict[str, float]:
    """Handles that lead their limbs, and how far (their property `ik`)."""
    values = {limb.handle: float(rig.pose.bones[limb.handle][IK]) for limb in _present(rig)}
    return {handle: value for handle, value in values.items() if value > 0.0}


def suspend(rig: bpy.types.Object, scene: bpy.types.Scene) -> dict[str, float]:
    """Let the bones lead, in the pose that the handles led to. Raises AvatarError.

    Returns the `values` with which `snap_to_pose` lets them lead again.
    """
    values = leading(rig)
    if values and motion.frame_range(rig, None) is not None:
        raise AvatarError(
            f"Handles lead limbs of {rig.name}, which moves. Set their sliders to 0 in the panel IK controls, then "
            "try again."
        )
    if values:
        snap_to_controls(rig, scene)
    return values


@contextmanager
def following(rig: bpy.types.Object, scene: bpy.types.Scene) -> Iterator[None]:
    """For a pose that is set at a stroke: handles that lead let go of the bones, then follow. Raises AvatarError."""
    values = suspend(rig, scene)
    try:
        yield
    finally:
        if values:
            snap_to_pose(rig, scene, values)


def snap_to_controls(rig: bpy.types.Object, scene: bpy.types.Scene | None = None) -> None:
    """Give the bones the pose that the handles lead to, and let them lead again (`ik` 0)."""
    layer = motion.layer_with(scene or bpy.context.scene, rig)
    layer.update()
    posed = {bone.name: np.array(bone.matrix) for bone in rig.pose.bones}
    for limb in _present(rig):
        for name in (limb.upper, limb.lower, limb.end):
            bone = rig.pose.bones[name]
            parent = bone.parent
            local = np.linalg.inv(np.array(parent.bone.matrix_local)) @ np.array(bone.bone.matrix_local)
            basis = np.linalg.inv(local) @ np.linalg.inv(posed[parent.name]) @ posed[name]
            location = bone.location.copy()
            bone.matrix_basis = Matrix(basis.tolist())
            bone.location, bone.scale = location, (1.0, 1.0, 1.0)
        rig.pose.bones[limb.handle][IK] = 0.0
    rig.update_tag()
    layer.update()


def _absent(rig: bpy.types.Object) -> list[Limb]:
    return [limb for limb in LIMBS if limb.handle not in rig.data.bones]


def _present(rig: bpy.types.Object) -> Iterator[Limb]:
    return (limb for limb in LIMBS if limb.handle in rig.pose.bones)


def _collect(rig: bpy.types.Object) -> None:
    group = rig.data.collections.get(COLLECTION) or rig.data.collections.new(COLLECTION)
    for limb in LIMBS:
        for name in (limb.handle, limb.pole):
            group.assign(rig.data.bones[name])
            rig.data.bones[name].color.palette = "THEME09" if name == limb.handle else "THEME10"
            rig.pose.bones[name].rotation_mode = "QUATERNION"


def _constrain(rig: bpy.types.Object, limb: Limb) -> None:
    bones = rig.pose.bones
    ik = bones[limb.lower].constraints.new("IK")
    ik.target, ik.subtarget = rig, limb.handle
    ik.pole_target, ik.pole_subtarget = rig, limb.pole
    ik.chain_count = 2
    ik.use_stretch = False
    turn = bones[limb.end].constraints.new("COPY_ROTATION")
    turn.target, turn.subtarget = rig, limb.handle
    handle = bones[limb.handle]
    handle[IK] = 0.0
    handle.id_properties_ui(IK).update(
        min=0.0, max=1.0, default=1.0, description="0: the bones' own rotations, 1: this handle leads the limb"
    )
    handle.property_overridable_library_set(f'["{IK}"]', True)
    for constraint in (ik, turn):
        constraint.name = CONSTRAINT
        curve = constraint.driver_add("influence")
        while curve.modifiers:
            curve.modifiers.remove(curve.modifiers[0])
        driver = curve.driver
        driver.type = "AVERAGE"
        variable = driver.variables.new()
        variable.targets[0].id = rig
        variable.targets[0].data_path = f'pose.bones["{limb.handle}"]["{IK}"]'


def _pole_place(bones: Any, limb: Limb) -> Vector:
    """In front of the joint that bends, where it points to; behind the hinge's axis for a straight limb."""
    start, joint, end = bones[limb.upper].head, bones[limb.lower].head, bones[limb.lower].tail
    along = (end - start).normalized()
    out = (joint - start) - along * (joint - start).dot(along)
    if out.length < _STRAIGHT_M:
        out = -bones[limb.upper].matrix.col[2].to_3d()
    return joint + out.normalized() * POLE_DISTANCE_M


def _aim(rig: bpy.types.Object, limb: Limb, alone: motion.Alone) -> None:
    """Set the pole's angle so that the limb keeps its turn: measured rather than computed from rolls."""
    handle, ik = rig.pose.bones[limb.handle], rig.pose.bones[limb.lower].constraints[CONSTRAINT]
    handle[IK] = 0.0
    wanted = alone.bones()[limb.upper].matrix.to_3x3()
    handle[IK] = 1.0
    ik.pole_angle = 0.0
    for _ in range(2):
        now = alone.bones()[limb.upper].matrix.to_3x3()
        across, axis = now.col[0], now.col[1]
        angle = float(np.arctan2(across.cross(wanted.col[0]).dot(axis), across.dot(wanted.col[0])))
        ik.pole_angle = float((ik.pole_angle + angle + np.pi) % (2.0 * np.pi) - np.pi)
