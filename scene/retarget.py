"""An avatar's motion on another armature, by a mapping of names.

Each mapped bone turns in the world as the avatar's joint turns away from its T-pose. Rests differ: one stands in an
A-pose, faces another way, or has its bones rolled otherwise. So the target's rest is first aligned: as a whole by hips
and spine, the hands by wrist and knuckles, every other bone by the smallest rotation that lays its limb along the
avatar's. A limb of the target then points where the avatar's does, exactly. The root's travel is scaled by the length
of the legs. Bones that nobody mapped keep their rest.
"""

from __future__ import annotations

import itertools
import time
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
from .steps import MORE, Steps, finish

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
    plan = _Plan(rig, target, bones)
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

    def above(self) -> list[int]:
        """For each mapped bone the next one above it that is mapped, −1 for none."""
        number = {name: k for k, name in enumerate(self.names)}
        parents = [self.target.data.bones[name].parent_recursive for name in self.names]
        return [next((number[bone.name] for bone in bones if bone.name in number), -1) for bones in parents]

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
    switches: Switches,
    progress: Callable[[float], None],
) -> Steps[Floats]:
    """Channels as `_Plan.basis`, of a rig whose controls are moved by constraints: Blender is asked where they are.

    Each control is supposed to follow the next one above it like a stick. Where that is so one update is enough;
    what else moves it shows in the next one.
    """
    result = np.tile(np.eye(4), (len(turns), len(plan.names), 1, 1))
    above = plan.above()
    world, unturn = np.linalg.inv(plan._target_world), _rotation(plan._target_world).T
    frame, basis = 0, result[0].copy()
    while frame < len(turns):
        with _Borrowed(target, plan.names, switches), motion.Alone(target, scene) as alone:
            until = time.monotonic() + motion.STEP_S
            while True:
                place = world[:3, :3] @ places[frame] + world[:3, 3]
                for _ in range(MOST_UPDATES):
                    for k, name in enumerate(plan.names):
                        target.pose.bones[name].matrix_basis = Matrix(basis[k].tolist())
                    bones = alone.bones()
                    there = np.array([bones[name].matrix for name in plan.names], np.float64)
                    turned = np.array([_rotation(matrix) for matrix in there])
                    root = plan.joints.index("pelvis")
                    off = np.abs(turned - unturn @ turns[frame]).max()
                    off_root = np.abs(there[root, :3, 3] - place).max() / max(1.0, float(np.abs(place).max()))
                    if max(off, off_root) < NEAR:
                        break
                    basis = _nearer(there, basis, above, unturn @ turns[frame], root, place)
                result[frame] = basis
                frame += 1
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
    target: bpy.types.Object, plan: _Plan, basis: Floats, first: int, name: str, switches: Switches
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
