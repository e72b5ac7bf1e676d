"""An avatar's motion on another armature, by a mapping of names.

`retarget_plan` says how the bones are to turn; here that becomes channels and an action. Bones that nobody mapped keep
their rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from ..core.body.skeleton import JOINT_INDEX
from . import axes, motion, rigs, versions
from .identity import PROPERTY
from .rest import Floats
from .retarget_plan import Plan, rotation
from .steps import MORE, Steps, finish

Switches = tuple[tuple[str, str, float], ...]  # bone, property, value
# Of a rig's controls: as often at most is Blender asked for one frame, and that near they are to be.
MOST_UPDATES, NEAR = 24, 1e-4


class RetargetError(Exception):
    """A motion that can't be transferred; the message says what to do next."""


@dataclass(frozen=True)
class Retargeted:
    """What was done."""

    action: bpy.types.Action
    frames: int
    mapped: int
    scale: float  # of the root's travel


def retarget(
    rig: bpy.types.Object,
    target: bpy.types.Object,
    mapping: Mapping[str, str],
    scene: bpy.types.Scene | None = None,
    switches: Switches = (),
    progress: Callable[[float], None] = lambda fraction: None,
) -> Retargeted:
    """Give `target` an action with the motion of the avatar `rig`. `mapping`: joint → bone. Raises RetargetError.

    `switches` (bone, property, value) are set and keyed, as Rigify's limbs need it to follow FK.
    """
    return finish(retarget_steps(rig, target, mapping, scene or bpy.context.scene, switches, progress))


def retarget_steps(
    rig: bpy.types.Object,
    target: bpy.types.Object,
    mapping: Mapping[str, str],
    scene: bpy.types.Scene,
    switches: Switches = (),
    progress: Callable[[float], None] = lambda fraction: None,
) -> Steps[Retargeted]:
    """`retarget` in steps: the target is as it was until the last one. Closed half-way, they leave nothing."""
    bones = _checked(rig, target, mapping)
    source = yield from motion.sample_pose_steps(rig, scene)
    plan = Plan(rig, target, bones)
    yield MORE
    turns, places = plan.wanted(source.poses)
    if _is_plain(target, bones.values()):
        basis = plan.basis(turns, places)
    else:
        basis = yield from _by_updates(target, plan, turns, places, scene, switches, progress)
    yield MORE
    action = yield from _write(target, plan, basis, source.first, f"{rig.name} on {target.name}", switches)
    return Retargeted(action, len(source.poses), len(bones), plan.scale)


def _checked(rig: bpy.types.Object, target: bpy.types.Object, mapping: Mapping[str, str]) -> dict[str, str]:
    if PROPERTY not in rig:
        raise RetargetError(f"{rig.name} is not an avatar. Select an avatar.")
    if target is None or target.type != "ARMATURE" or target == rig:
        raise RetargetError("There is no other armature to move. Choose one as the target.")
    if target.library is not None or (
        target.override_library is not None and target.override_library.is_system_override
    ):
        raise RetargetError(f"{target.name} is linked from another file. Make a library override of it first.")
    bones = {joint: bone for joint, bone in mapping.items() if joint in JOINT_INDEX and bone in target.data.bones}
    if "pelvis" not in bones or len(bones) < 5:
        raise RetargetError(
            f"The bones of {target.name} are not known by their names. Fill in the mapping, the pelvis at least."
        )
    return bones


def _by_updates(
    target: bpy.types.Object,
    plan: Plan,
    turns: Floats,
    places: Floats,
    scene: bpy.types.Scene,
    switches: Switches,
    progress: Callable[[float], None],
) -> Steps[Floats]:
    """Channels as `Plan.basis`, of a rig whose controls are moved by constraints: Blender is asked where they are.

    Each control is supposed to follow the next one above it like a stick. Where that is so one update is enough;
    what else moves it shows in the next one.
    """
    result = np.tile(np.eye(4), (len(turns), len(plan.names), 1, 1))
    above = plan.above()
    world, unturn = np.linalg.inv(plan.target_world), rotation(plan.target_world).T
    root = plan.joints.index("pelvis")
    frame, tries, basis = 0, 0, result[0].copy()
    while frame < len(turns):
        # Between two steps the target is the user's.
        with _Borrowed(target, plan.names, switches), motion.Alone(target, scene) as alone:
            until = time.monotonic() + motion.STEP_S
            while True:
                place = world[:3, :3] @ places[frame] + world[:3, 3]
                for k, name in enumerate(plan.names):
                    target.pose.bones[name].matrix_basis = Matrix(basis[k].tolist())
                bones = alone.bones()
                there = np.array([bones[name].matrix for name in plan.names], np.float64)
                turned = np.array([rotation(matrix) for matrix in there])
                off = np.abs(turned - unturn @ turns[frame]).max()
                off_root = np.abs(there[root, :3, 3] - place).max() / max(1.0, float(np.abs(place).max()))
                near, tries = max(off, off_root) < NEAR, tries + 1
                if not near:
                    basis = _nearer(there, basis, above, unturn @ turns[frame], root, place)
                if near or tries == MOST_UPDATES:
                    result[frame] = basis
                    frame, tries = frame + 1, 0
                # A rig of many constraints takes most of a step for one update.
                if frame == len(turns) or time.monotonic() >= until:
                    break
        progress(frame / len(turns))
        yield MORE
    return result


def _nearer(there: Floats, basis: Floats, above: list[int], turns: Floats, root: int, place: Floats) -> Floats:
    """Channels (B, 4, 4) that turn bones as wanted (`turns`, armature space), where `basis` brings them `there`."""
    result, posed = basis.copy(), there.copy()
    for k, parent in enumerate(above):
        unmoved = there[k] @ np.linalg.inv(basis[k])
        if parent >= 0:
            unmoved = posed[parent] @ np.linalg.inv(there[parent]) @ unmoved
        wanted = unmoved.copy()
        wanted[:3, :3] = turns[k]
        if k == root:
            wanted[:3, 3] = place
        result[k] = np.linalg.inv(unmoved) @ wanted
        if k != root:
            result[k][:3, 3] = 0.0
        posed[k] = unmoved @ result[k]
    return result


class _Borrowed:
    """The target without its own motion, to try channels on; all is put back at the end."""

    _CHANNELS = ("location", "rotation_quaternion", "rotation_euler", "rotation_axis_angle", "scale")

    def __init__(self, target: bpy.types.Object, names: list[str], switches: Switches) -> None:
        self._target, self._names, self._switches = target, names, _there(target, switches)

    def __enter__(self) -> None:
        bones, data = self._target.pose.bones, self._target.animation_data
        self._before = [
            {channel: tuple(getattr(bones[name], channel)) for channel in self._CHANNELS} for name in self._names
        ]
        self._values = [bones[bone][key] for bone, key, _ in self._switches]
        for bone, key, value in self._switches:
            bones[bone][key] = value
        self._motion = None
        if data is not None:
            self._motion = (data.action, getattr(data, "action_slot", None), data.use_nla)
            data.action, data.use_nla = None, False

    def __exit__(self, *_: object) -> None:
        bones, data = self._target.pose.bones, self._target.animation_data
        for name, channels in zip(self._names, self._before, strict=True):
            for channel, values in channels.items():
                setattr(bones[name], channel, values)
        for (bone, key, _value), was in zip(self._switches, self._values, strict=True):
            bones[bone][key] = was
        if self._motion is not None:
            action, slot, data.use_nla = self._motion
            data.action = action
            if slot is not None:
                data.action_slot = slot
        self._target.update_tag(refresh={"OBJECT", "DATA", "TIME"})


def _there(target: bpy.types.Object, switches: Switches) -> Switches:
    """Those switches that the target has."""
    bones = target.pose.bones
    return tuple((bone, key, value) for bone, key, value in switches if bone in bones and key in bones[bone])


def _is_plain(target: bpy.types.Object, bones: Iterable[str]) -> bool:
    """Whether nothing but their parents moves the mapped bones: no constraints, and all that parents do inherited."""
    for name in bones:
        bone = target.pose.bones[name]
        for link in (bone, *bone.parent_recursive):
            if any(not c.mute for c in link.constraints) or not link.bone.use_inherit_rotation:
                return False
            if not link.bone.use_local_location and link.parent is None:
                return False
    return True


def _write(
    target: bpy.types.Object, plan: Plan, basis: Floats, first: int, name: str, switches: Switches
) -> Steps[bpy.types.Action]:
    matrices = basis[..., :3, :3] / np.maximum(np.linalg.norm(basis[..., :3, :3], axis=-2, keepdims=True), 1e-12)
    quaternions = axes.continuous(axes.quaternions_from_matrices(matrices))
    frames = np.arange(len(basis)) + first
    action = bpy.data.actions.new(name)
    now: list[tuple[bpy.types.PoseBone, str, Floats]] = []
    try:
        curves = versions.unbound_curves(action, target.id_type, target.name)
        for k, bone_name in enumerate(plan.names):
            bone = target.pose.bones[bone_name]
            path = f'pose.bones["{bpy.utils.escape_identifier(bone_name)}"]'
            channels = [_rotation_channel(bone, quaternions[:, k])]
            if plan.joints[k] == "pelvis":
                channels.append(("location", basis[:, k, :3, 3]))
            for channel, values in channels:
                for axis in range(values.shape[1]):
                    versions.key_curve(curves, f"{path}.{channel}", axis, bone_name, frames, values[:, axis])
                now.append((bone, channel, values[0]))
            yield MORE
        for bone_name, key, value in _there(target, switches):
            path = f'pose.bones["{bone_name}"]["{key}"]'
            versions.key_curve(curves, path, 0, bone_name, frames[:1], np.array([value]))
    except BaseException:
        bpy.data.actions.remove(action)
        raise
    for bone_name, key, value in _there(target, switches):
        target.pose.bones[bone_name][key] = value
    for bone, channel, pose in now:
        setattr(bone, channel, pose)
    versions.channel_curves(action, target)
    target.update_tag(refresh={"OBJECT", "DATA", "TIME"})
    return action


def _rotation_channel(bone: bpy.types.PoseBone, quaternions: Floats) -> tuple[str, Floats]:
    """The bone's own channel, whatever its rotation mode, and its values (T, 3 or 4)."""
    if bone.rotation_mode == "QUATERNION":
        return "rotation_quaternion", quaternions
    turns = [Quaternion(quaternion) for quaternion in quaternions]
    if bone.rotation_mode == "AXIS_ANGLE":
        pairs = [turn.to_axis_angle() for turn in turns]
        return "rotation_axis_angle", np.array([(angle, *axis) for axis, angle in pairs])
    eulers = [turns[0].to_euler(bone.rotation_mode)]
    for turn in turns[1:]:
        eulers.append(turn.to_euler(bone.rotation_mode, eulers[-1]))
    return "rotation_euler", np.array([tuple(euler) for euler in eulers])


def detected(target: bpy.types.Object) -> rigs.Detected | None:
    """Which known rig the armature is."""
    return rigs.detect(bone.name for bone in target.data.bones)
