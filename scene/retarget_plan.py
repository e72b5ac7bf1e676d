"""How an armature's bones follow an avatar's joints, by a mapping of names: rests aligned, travel scaled.

Each mapped bone turns in the world as the avatar's joint turns away from its T-pose. Rests differ: one stands in an
A-pose, faces another way, or has its bones rolled otherwise. So the target's rest is first aligned: the trunk as a
whole, upright and by the hips; the feet, which stand flat in either rest, by where they point; the hands by wrist and
knuckles; every other bone by the smallest rotation that lays its limb along the avatar's. A limb of the target then
points where the avatar's does, exactly. Trunk, shoulders and feet have their joints elsewhere in each kind of rig:
there the rest is kept, and back, head and soles turn away from it as the avatar's do. The root's travel is scaled by
the length of the legs.
"""

from __future__ import annotations

import itertools

import bpy
import numpy as np

from ..core.body.skeleton import FINGERS, JOINT_INDEX, JOINT_NAMES, PARENTS
from . import armature as armatures
from . import axes
from .rest import Floats

# Where a limb points: to this joint, if it is mapped. Others follow their parent's alignment.
_POINTS_TO = {
    f"{side}_{a}": f"{side}_{b}" for side in ("left", "right") for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "middle1"), ("hip", "knee"), ("knee", "ankle"),
        ("ankle", "foot"),
        *((f"{finger}{k}", f"{finger}{k + 1}") for finger in FINGERS for k in (1, 2)),
    )
}  # fmt: skip
# Two directions fix these wholly: to the joint above, and from one joint to another.
_ACROSS = {f"{side}_wrist": (f"{side}_index1", f"{side}_pinky1") for side in ("left", "right")}
_FEET = ("left_ankle", "right_ankle")
# Which way is up, from the first of these pairs that is mapped to the first one: a long way says it best.
_LOW, _HIGH = (_FEET, ("left_hip", "right_hip"), ("pelvis", "pelvis")), ("head", "neck", "spine3", "spine2", "spine1")


class Plan:
    """How the target's bones follow the avatar's joints. World space; B mapped bones in the target's order."""

    def __init__(self, rig: bpy.types.Object, target: bpy.types.Object, bones: dict[str, str]) -> None:
        order = {bone.name: k for k, bone in enumerate(_parents_first(target))}
        self.joints = sorted(bones, key=lambda joint: order[bones[joint]])
        self.names = [bones[joint] for joint in self.joints]
        self.target = target
        self._source_world = np.array(rig.matrix_world, np.float64)
        self.target_world = np.array(target.matrix_world, np.float64)
        heads, frames = armatures.bone_frames(rig)
        self._source_turn = rotation(self._source_world)
        self._source_rest = self._source_turn @ frames
        self._source_heads = heads @ self._source_world[:3, :3].T + self._source_world[:3, 3]
        rest = {bone.name: self.target_world @ np.array(bone.matrix_local, np.float64) for bone in target.data.bones}
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
        up = self._up()
        for joint, name in enumerate(JOINT_NAMES):
            before = result[PARENTS[joint]] if joint else np.eye(3)
            result[joint] = before
            along = self._direction(name, _POINTS_TO.get(name))
            across = self._between(*_ACROSS[name]) if name in _ACROSS else None
            if name == "pelvis":
                along, across = self._between("right_hip", "left_hip"), up
            elif name in _FEET and along is not None:
                along, across = up, along
            if along is None:
                continue
            ours, theirs = along
            if across is not None:
                result[joint] = _frame(ours, across[0]) @ _frame(theirs, across[1]).T
            else:
                result[joint] = axes.smallest_rotations(before @ theirs, ours) @ before
        return result

    def _up(self) -> tuple[Floats, Floats] | None:
        """Which way is up, on the avatar and on the target."""
        low = next((pair for pair in _LOW if all(joint in self._heads for joint in pair)), None)
        high = next((joint for joint in _HIGH if joint in self._heads), None)
        if low is None or high is None:
            return None
        ours = self._source_heads[JOINT_INDEX[high]] - np.mean(
            [self._source_heads[JOINT_INDEX[j]] for j in low], axis=0
        )
        theirs = self._heads[high] - np.mean([self._heads[joint] for joint in low], axis=0)
        return ours / np.linalg.norm(ours), theirs / np.linalg.norm(theirs)

    def _direction(self, joint: str, child: str | None) -> tuple[Floats, Floats] | None:
        return None if child is None else self._between(joint, child)

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
        rest = np.array([rotation(self._rest[bone]) for bone in self.names])
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
        inverse = np.linalg.inv(self.target_world)
        unturn = rotation(self.target_world).T
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


def _parents_first(target: bpy.types.Object) -> list[bpy.types.Bone]:
    return sorted(target.data.bones, key=lambda bone: len(bone.parent_recursive))


def _length(points: list[Floats]) -> float:
    return float(sum(np.linalg.norm(b - a) for a, b in itertools.pairwise(points)))


def rotation(matrix: Floats) -> Floats:
    """The rotation of a matrix with scale."""
    part = matrix[:3, :3]
    return part / np.maximum(np.linalg.norm(part, axis=0), 1e-12)


def _frame(first: Floats, second: Floats) -> Floats:
    """A rotation whose first column is `first` and whose second lies towards `second`."""
    y = second - (second @ first) * first
    y = y / max(float(np.linalg.norm(y)), 1e-9)
    return np.stack([first, y, np.cross(first, y)], axis=1)
