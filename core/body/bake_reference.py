"""anny's own surface in SMPL-X poses: what the baked body is measured against and what its correctives learn from.

Two versions. *Rigid*: every one of anny's 163 bones moves with the joint that it folds to. *Twist*: a rotation about a
limb's own axis is spread along the limb, as in a living arm, over the two bones that anny has for each segment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bake_rig import TPose, fold_table, joints_of_heads, pose_joints, t_pose_rotations
from .bake_source import AnnySource
from .skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS

Float = NDArray[np.float64]

# Of a twist about a segment's axis, what its upper and lower bone take. Thirds would be even over the three seams of a
# segment; less at the ends keeps the bones' own overlaps from pinching.
_SHARES = (0.25, 0.75)
_NECK_SHARES = (0.0, 0.3, 0.65)  # neck01…03 of the head's turning


@dataclass(frozen=True)
class ReferencePeople:
    """N people of anny's in the rest pose, with the rotations that take them to the T-pose."""

    rest_vertices: Float  # (N, V, 3)
    rest_joints: Float  # (N, 55, 3)
    to_t: Float  # (N, 55, 3, 3)
    t_joints: Float  # (N, 55, 3)


def reference_people(source: AnnySource, coefficients: Float, pose: TPose) -> ReferencePeople:
    """People of blend shape coefficients (N, K) in anny's rest pose, with what brings them to the T-pose."""
    joints = joints_of_heads(source, source.rest_heads(coefficients))
    rotations = t_pose_rotations(source, joints, source.rest_tails(coefficients), pose)
    return ReferencePeople(source.rest_vertices(coefficients), joints, rotations, pose_joints(joints, rotations))


def world_rotations(rotmats: Float) -> Float:
    """Local joint rotations (…, 55, 3, 3) → world rotations."""
    world = rotmats.copy()
    for j in range(1, NUM_JOINTS):
        world[..., j, :, :] = world[..., PARENTS[j], :, :] @ rotmats[..., j, :, :]
    return world


def twist_about(rotmats: Float, axis: Float, share: float) -> Float:
    """The part `share` of the rotations' twist about `axis` (swing–twist decomposition), (N, 3, 3)."""
    w = np.sqrt(np.maximum(1.0 + rotmats[:, 0, 0] + rotmats[:, 1, 1] + rotmats[:, 2, 2], 1e-12)) / 2.0
    vector = np.stack(
        [
            rotmats[:, 2, 1] - rotmats[:, 1, 2],
            rotmats[:, 0, 2] - rotmats[:, 2, 0],
            rotmats[:, 1, 0] - rotmats[:, 0, 1],
        ],
        axis=1,
    ) / (4.0 * w[:, None])
    angle = 2.0 * np.arctan2(vector @ axis, w)
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    return _about(axis, share * angle)


def _about(axis: Float, angle: Float) -> Float:
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    sin, cos = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    return np.asarray(np.eye(3) + sin * k + (1.0 - cos) * (k @ k))


def _segments() -> list[tuple[str, str | None, str, str, tuple[float, float, float]]]:
    """(joint, next joint whose twist reaches back, upper bone, lower bone, axis in the T-pose)."""
    rows: list[tuple[str, str | None, str, str, tuple[float, float, float]]] = []
    for side in ("left", "right"):
        s = side[0].upper()
        rows.append((f"{side}_shoulder", None, f"upperarm01.{s}", f"upperarm02.{s}", (1.0, 0.0, 0.0)))
        rows.append((f"{side}_elbow", f"{side}_wrist", f"lowerarm01.{s}", f"lowerarm02.{s}", (1.0, 0.0, 0.0)))
        rows.append((f"{side}_hip", None, f"upperleg01.{s}", f"upperleg02.{s}", (0.0, 1.0, 0.0)))
        rows.append((f"{side}_knee", None, f"lowerleg01.{s}", f"lowerleg02.{s}", (0.0, 1.0, 0.0)))
    return rows


def pose_reference(source: AnnySource, people: ReferencePeople, rotmats: Float, spread_twist: bool) -> Float:
    """anny's surface in SMPL-X poses (N, 55, 3, 3), the pelvis at its T-pose place. (N, V, 3)."""
    world = world_rotations(rotmats)
    positions = np.empty_like(people.t_joints)
    positions[:, 0] = people.t_joints[:, 0]
    for j in range(1, NUM_JOINTS):
        p = PARENTS[j]
        offset = people.t_joints[:, j] - people.t_joints[:, p]
        positions[:, j] = positions[:, p] + np.einsum("nab,nb->na", world[:, p], offset)
    table = fold_table(source)
    bone_rotations = world[:, table].copy()
    if spread_twist:
        for joint, following, upper, lower, axis_of in _segments():
            j = JOINT_INDEX[joint]
            axis = np.array(axis_of)
            above = world[:, PARENTS[j]]
            # R = swing · twist with the twist first, so that the segment keeps its direction
            own = twist_about(rotmats[:, j], axis, 1.0)
            swing = rotmats[:, j] @ np.swapaxes(own, -1, -2)
            for bone, share in ((upper, _SHARES[0]), (lower, _SHARES[1])):
                turned = swing @ twist_about(rotmats[:, j], axis, share)
                if following is not None:
                    turned = turned @ twist_about(rotmats[:, JOINT_INDEX[following]], axis, share)
                bone_rotations[:, source.bone(bone)] = above @ turned
        head = rotmats[:, JOINT_INDEX["head"]]
        for bone, share in zip(("neck01", "neck02", "neck03"), _NECK_SHARES, strict=True):
            turned = twist_about(head, np.array([0.0, 1.0, 0.0]), share)
            bone_rotations[:, source.bone(bone)] = world[:, JOINT_INDEX["neck"]] @ turned
    linear = bone_rotations @ people.to_t[:, table]
    shift = positions[:, table] - np.einsum("nbij,nbj->nbi", linear, people.rest_joints[:, table])
    transforms = np.concatenate([linear, shift[..., None]], axis=-1).reshape(len(rotmats), len(table), 12)
    result = np.empty_like(people.rest_vertices)
    weights = source.weights.astype(np.float32)
    for i, vertices in enumerate(people.rest_vertices):
        blended = (weights @ transforms[i].astype(np.float32)).reshape(-1, 3, 4)
        result[i] = np.einsum("vab,vb->va", blended[:, :, :3], vertices) + blended[:, :, 3]
    return result
