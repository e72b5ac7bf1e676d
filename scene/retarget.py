"""An avatar's motion on another armature, by a mapping of names.

Each mapped bone turns in the world as the avatar's joint turns away from its T-pose. Rests differ: one stands in an
A-pose, faces another way, or has its bones rolled otherwise. So the target's rest is first aligned: as a whole by hips
and spine, the hands by wrist and knuckles, every other bone by the smallest rotation that lays its limb along the
avatar's. A limb of the target then points where the avatar's does, exactly. The root's travel is scaled by the length
of the legs. Bones that nobody mapped keep their rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix, Quaternion

from ..core.body.skeleton import FINGERS, JOINT_INDEX, JOINT_NAMES, PARENTS
from . import armature as armatures
from . import axes, motion, rigs, versions
from .avatar import PROPERTY
from .rest import Floats

# Where a limb points: to this joint, if it is mapped. Others follow their parent's alignment.
_POINTS_TO = {
    "pelvis": "spine3", "spine1": "neck", "spine2": "neck", "spine3": "neck", "neck": "head",
    **{f"{side}_{a}": f"{side}_{b}" for side in ("left", "right") for a, b in (
        ("collar", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "middle1"),
        ("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"),
        *((f"{finger}{k}", f"{finger}{k + 1}") for finger in FINGERS for k in (1, 2)),
    )},
}  # fmt: skip
# Two directions fix these wholly: to the joint above, and from one joint to another.
_ACROSS = {
    "pelvis": ("right_hip", "left_hip"),
    "left_wrist": ("left_index1", "left_pinky1"),
    "right_wrist": ("right_index1", "right_pinky1"),
}


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
    switches: tuple[tuple[str, str, float], ...] = (),
    progress: Callable[[float], None] = lambda fraction: None,
) -> Retargeted:
    """Give `target` an action with the motion of the avatar `rig`. `mapping`: joint → bone. Raises RetargetError.

    `switches` (bone, property, value) are set and keyed, as Rigify's limbs need it to follow FK.
    """
    scene = scene or bpy.context.scene
    bones = _checked(rig, target, mapping)
    source = motion.sample_pose(rig, scene)
    plan = _Plan(rig, target, bones)
    turns, places = plan.wanted(source.poses)
    name = f"{rig.name} on {target.name}"
    for bone, key, value in switches:
        if bone in target.pose.bones and key in target.pose.bones[bone]:
            target.pose.bones[bone][key] = value
    if _is_plain(target, bones.values()):
        basis = plan.basis(turns, places)
    else:
        basis = _by_updates(target, plan, turns, places, scene, progress)
    action = _write(target, plan, basis, source.first, name, switches)
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


class _Plan:
    """How the target's bones follow the avatar's joints. World space; B mapped bones in the target's order."""

    def __init__(self, rig: bpy.types.Object, target: bpy.types.Object, bones: dict[str, str]) -> None:
        order = {bone.name: k for k, bone in enumerate(_parents_first(target))}
        self.joints = sorted(bones, key=lambda joint: order[bones[joint]])
        self.names = [bones[joint] for joint in self.joints]
        self.target = target
        self._source_world = np.array(rig.matrix_world, np.float64)
        self._target_world = np.array(target.matrix_world, np.float64)
        heads, frames = armatures.bone_frames(rig)
        self._source_turn = _rotation(self._source_world)
        self._source_rest = self._source_turn @ frames
        self._source_heads = heads @ self._source_world[:3, :3].T + self._source_world[:3, 3]
        rest = {bone.name: self._target_world @ np.array(bone.matrix_local, np.float64) for bone in target.data.bones}
        self._rest = rest
        self._heads = {joint: rest[bone][:3, 3] for joint, bone in bones.items()}
        self._align = self._alignments()
        legs = [(f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in ("left", "right")]
        lengths = [
            (_length([self._heads[j] for j in leg]), _length([self._source_heads[JOINT_INDEX[j]] for j in leg]))
            for leg in legs
            if all(joint in self._heads for joint in leg)
        ]
        self.scale = float(np.mean([a / max(b, 1e-9) for a, b in lengths])) if lengths else 1.0

    def _alignments(self) -> Floats:
        """For each joint (55, 3, 3) the rotation that lays the target's rest along the avatar's."""
        result = np.tile(np.eye(3), (len(JOINT_NAMES), 1, 1))
        for joint, name in enumerate(JOINT_NAMES):
            before = result[PARENTS[joint]] if joint else np.eye(3)
            result[joint] = before
            along = self._direction(name, _POINTS_TO.get(name))
            if along is None:
                continue
            ours, theirs = along
            across = _ACROSS.get(name)
            sides = self._between(*across) if across else None
            if sides is not None:
                # The pelvis by its hips first: they say which way the body faces, the spine leans as it likes.
                first, second = (sides, (ours, theirs)) if name == "pelvis" else ((ours, theirs), sides)
                result[joint] = _frame(first[0], second[0]) @ _frame(first[1], second[1]).T
            else:
                result[joint] = _smallest(before @ theirs, ours) @ before
        return result

    def _direction(self, joint: str, child: str | None) -> tuple[Floats, Floats] | None:
        if child == "spine3" and child not in self._heads:
            child = "neck"
        return None if child is None or joint not in self._heads else self._between(joint, child)

    def _between(self, a: str, b: str) -> tuple[Floats, Floats] | None:
        """From joint a to b: on the avatar and on the target, unit vectors."""
        if a not in self._heads or b not in self._heads:
            return None
        ours = self._source_heads[JOINT_INDEX[b]] - self._source_heads[JOINT_INDEX[a]]
        theirs = self._heads[b] - self._heads[a]
        if min(np.linalg.norm(ours), np.linalg.norm(theirs)) < 1e-6:
            return None
        return ours / np.linalg.norm(ours), theirs / np.linalg.norm(theirs)

    def wanted(self, poses: Floats) -> tuple[Floats, Floats]:
        """World rotations (T, B, 3, 3) of the mapped bones, and where the pelvis' bone goes (T, 3)."""
        index = [JOINT_INDEX[joint] for joint in self.joints]
        posed = self._source_turn @ poses[:, index, :3, :3]
        delta = posed @ np.swapaxes(self._source_rest[index], 1, 2)
        rest = np.array([_rotation(self._rest[bone]) for bone in self.names])
        turns = delta @ self._align[index] @ rest
        # The middle of the hips travels: a pelvis' bone may start anywhere.
        hips, ours, theirs = self._hips()
        middle = poses[:, hips][..., :3, 3].mean(axis=1) @ self._source_world[:3, :3].T + self._source_world[:3, 3]
        turn = delta[:, self.joints.index("pelvis")] @ self._align[0]
        return turns, theirs + self.scale * (middle - ours) + turn @ (self._heads["pelvis"] - theirs)

    def _hips(self) -> tuple[list[int], Floats, Floats]:
        """The joints whose middle travels, and that middle at rest: the avatar's and the target's."""
        names: list[str] = [name for name in ("left_hip", "right_hip") if name in self._heads]
        if len(names) < 2:
            names = ["pelvis"]
        joints = [JOINT_INDEX[name] for name in names]
        theirs = np.mean([self._heads[name] for name in names], axis=0)
        return joints, self._source_heads[joints].mean(axis=0), theirs

    def basis(self, turns: Floats, places: Floats) -> Floats:
        """Channels (T, B, 4, 4) of bones whose parents are moved by nothing else."""
        count = len(turns)
        inverse = np.linalg.inv(self._target_world)
        unturn = _rotation(self._target_world).T
        poses: dict[str, Floats] = {}
        result = np.tile(np.eye(4), (count, len(self.names), 1, 1))
        mapped = {bone: k for k, bone in enumerate(self.names)}
        for bone in _parents_first(self.target):
            rest = np.array(bone.matrix_local, np.float64)
            if bone.parent is None:
                unmoved = np.tile(rest, (count, 1, 1))
            else:
                parent_rest = np.array(bone.parent.matrix_local, np.float64)
                unmoved = poses[bone.parent.name] @ (np.linalg.inv(parent_rest) @ rest)
            k = mapped.get(bone.name)
            if k is None:
                poses[bone.name] = unmoved
                continue
            wanted = unmoved.copy()
            wanted[:, :3, :3] = unturn @ turns[:, k]
            if self.joints[k] == "pelvis":
                wanted[:, :3, 3] = places @ inverse[:3, :3].T + inverse[:3, 3]
            result[:, k] = np.linalg.inv(unmoved) @ wanted
            poses[bone.name] = wanted
        return result


def _by_updates(
    target: bpy.types.Object,
    plan: _Plan,
    turns: Floats,
    places: Floats,
    scene: bpy.types.Scene,
    progress: Callable[[float], None],
) -> Floats:
    """Channels as `_Plan.basis`, of a rig whose controls are moved by constraints: Blender is asked at each level."""
    layer = motion.layer_with(scene, target)
    world, unturn = np.linalg.inv(plan._target_world), _rotation(plan._target_world).T
    levels: dict[int, list[int]] = {}
    for k, name in enumerate(plan.names):
        levels.setdefault(len(target.data.bones[name].parent_recursive), []).append(k)
    result = np.tile(np.eye(4), (len(turns), len(plan.names), 1, 1))
    pose = target.pose.bones
    for frame in range(len(turns)):
        for depth in sorted(levels):
            layer.update()
            for k in levels[depth]:
                bone = pose[plan.names[k]]
                matrix = np.array(bone.matrix, np.float64)
                matrix[:3, :3] = unturn @ turns[frame, k]
                if plan.joints[k] == "pelvis":
                    matrix[:3, 3] = world[:3, :3] @ places[frame] + world[:3, 3]
                bone.matrix = Matrix(matrix.tolist())
                if plan.joints[k] != "pelvis":
                    bone.location = (0.0, 0.0, 0.0)
                result[frame, k] = np.array(bone.matrix_basis, np.float64)
        progress((frame + 1) / len(turns))
    return result


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
    target: bpy.types.Object,
    plan: _Plan,
    basis: Floats,
    first: int,
    name: str,
    switches: tuple[tuple[str, str, float], ...],
) -> bpy.types.Action:
    matrices = basis[..., :3, :3] / np.maximum(np.linalg.norm(basis[..., :3, :3], axis=-2, keepdims=True), 1e-12)
    quaternions = axes.continuous(axes.quaternions_from_matrices(matrices))
    frames = np.arange(len(basis)) + first
    action = bpy.data.actions.new(name)
    curves = versions.channel_curves(action, target)
    for k, bone_name in enumerate(plan.names):
        bone = target.pose.bones[bone_name]
        path = f'pose.bones["{bpy.utils.escape_identifier(bone_name)}"]'
        channel, values = _rotation_channel(bone, quaternions[:, k])
        for axis in range(values.shape[1]):
            versions.key_curve(curves, f"{path}.{channel}", axis, bone_name, frames, values[:, axis])
        setattr(bone, channel, values[0])
        if plan.joints[k] == "pelvis":
            for axis in range(3):
                versions.key_curve(curves, f"{path}.location", axis, bone_name, frames, basis[:, k, axis, 3])
            bone.location = basis[0, k, :3, 3]
    for bone_name, key, value in switches:
        if bone_name in target.pose.bones and key in target.pose.bones[bone_name]:
            path = f'pose.bones["{bone_name}"]["{key}"]'
            versions.key_curve(curves, path, 0, bone_name, frames[:1], np.array([value]))
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


def _parents_first(target: bpy.types.Object) -> list[bpy.types.Bone]:
    return sorted(target.data.bones, key=lambda bone: len(bone.parent_recursive))


def _length(points: list[Floats]) -> float:
    return float(sum(np.linalg.norm(b - a) for a, b in itertools.pairwise(points)))


def _rotation(matrix: Floats) -> Floats:
    """The rotation of a matrix with scale."""
    part = matrix[:3, :3]
    return part / np.maximum(np.linalg.norm(part, axis=0), 1e-12)


def _frame(first: Floats, second: Floats) -> Floats:
    """A rotation whose first column is `first` and whose second lies towards `second`."""
    y = second - (second @ first) * first
    y = y / max(float(np.linalg.norm(y)), 1e-9)
    return np.stack([first, y, np.cross(first, y)], axis=1)


def _smallest(source: Floats, destination: Floats) -> Floats:
    """The smallest rotation of one unit vector onto another."""
    axis = np.cross(source, destination)
    sine, cosine = float(np.linalg.norm(axis)), float(source @ destination)
    if sine < 1e-9:
        if cosine > 0.0:
            return np.eye(3)
        axis = np.cross(source, np.eye(3)[int(np.abs(source).argmin())])
        sine = float(np.linalg.norm(axis))
        return axes.rotation_matrices(axis / sine * np.pi)
    return axes.rotation_matrices(axis / sine * np.arctan2(sine, cosine))


def detected(target: bpy.types.Object) -> rigs.Detected | None:
    """Which known rig the armature is."""
    return rigs.detect(bone.name for bone in target.data.bones)
