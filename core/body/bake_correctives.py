"""Pose correctives (`posedirs`): what linear blend skinning with folded bones misses, learned by least squares.

The target is anny's surface with twists spread along the limbs (see bake_reference). A corrective is linear in
entries of R − I of a joint's local rotation, and it is local: a vertex only listens to joints near it. For a vertex v,
with the skinning matrix M_n = Σ w_j R_j of pose n, features φ_n and the error e_n left, the directions D minimise

    Σ_n ‖ M_n D φ_n − e_n ‖² + λ ‖D‖²      with normal matrix Σ_n (φ φᵀ) ⊗ (Mᵀ M),

so one matrix product serves all vertices that listen to the same joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bake_poses import rotations_of
from .bake_reference import pose_reference, reference_people, world_rotations
from .bake_rig import TPose, inverse_skinning
from .bake_source import AnnySource
from .skeleton import JOINT_INDEX, MIRROR, NUM_JOINTS, PARENTS

Float = NDArray[np.float64]
Single = NDArray[np.float32]

CORRECTED = tuple(
    f"{side}_{part}"
    for part in ("collar", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
) + ("neck", "head", "spine3")


@dataclass(frozen=True)
class CorrectiveSettings:
    """How the correctives are learned."""

    num_features: int = 96  # columns kept of 9 for each joint, left and right alike
    ridge: float = 30.0  # in poses: the weight of λ against that many samples of mean feature size
    min_size_m: float = 0.0002  # directions that never move a vertex this far are dropped
    min_error_m: float = 0.0010  # vertices whose error never grows beyond are left alone
    mixed_poses: int = 300  # poses put together from parts of several, for variety
    wrist_poses: int = 200  # further ones whose forearms turn all the way: captured wrists hardly do
    min_age: float = 16.0
    seed: int = 5


@dataclass(frozen=True)
class Samples:
    """What the correctives learn from. N poses, each on a person of its own."""

    rotmats: Single  # (N, 55, 3, 3) local
    world: Single  # (N, 55, 3, 3)
    errors: Single  # (N, V, 3) metres, posed


def mirror_poses(rotmats: Float) -> Float:
    """The same poses seen in a mirror: left and right swap, and rotations reflect at x = 0."""
    flip = np.array([-1.0, 1.0, 1.0])
    return np.asarray(rotmats[:, list(MIRROR)] * flip[:, None] * flip[None, :])


def training_poses(poses: Float, settings: CorrectiveSettings) -> Float:
    """The poses, their mirror images, mixtures of their limbs, and mixtures with wrists turned at random."""
    generator = np.random.default_rng(settings.seed)
    both = np.concatenate([poses, mirror_poses(poses)])
    limbs: list[list[int]] = []
    for root in ("left_collar", "right_collar", "left_hip", "right_hip", "neck"):
        limb = [JOINT_INDEX[root]]
        limb += [j for j in range(NUM_JOINTS) if _descends(j, limb[0])]
        limbs.append(limb)
    count = settings.mixed_poses + settings.wrist_poses
    mixed = both[generator.integers(len(both), size=count)].copy()
    for limb in limbs:
        mixed[:, limb] = both[generator.integers(len(both), size=count)][:, limb]
    for wrist in ("left_wrist", "right_wrist"):
        turn = generator.normal(scale=0.35, size=(settings.wrist_poses, 3))
        turn[:, 0] = generator.uniform(-1.75, 1.75, size=settings.wrist_poses)
        mixed[settings.mixed_poses :, JOINT_INDEX[wrist]] = rotations_of(turn)
    result: Float = np.concatenate([both, mixed])
    result[:, 0] = np.eye(3)  # where the body faces plays no part
    return result


def _descends(joint: int, ancestor: int) -> bool:
    while joint > 0:
        joint = PARENTS[joint]
        if joint == ancestor:
            return True
    return False


def make_samples(
    source: AnnySource, weights: Float, rotmats: Float, pose: TPose, settings: CorrectiveSettings
) -> Samples:
    """Pose one random person a pose with plain skinning and as the reference; the errors are the difference."""
    people = source.sample_people(len(rotmats), settings.seed, settings.min_age)
    errors = np.empty((len(rotmats), len(source.template), 3), np.float32)
    world = world_rotations(rotmats)
    for start in range(0, len(rotmats), 50):
        part = slice(start, start + 50)
        reference = reference_people(source, people[part], pose)
        theirs = pose_reference(source, reference, rotmats[part], spread_twist=True)
        surface = inverse_skinning(
            reference.rest_vertices, reference.rest_joints, reference.to_t, reference.t_joints, weights
        )
        errors[part] = theirs - _plain_skinning(surface, reference.t_joints, world[part], weights)
    return Samples(rotmats.astype(np.float32), world.astype(np.float32), errors)


def _plain_skinning(surface: Float, joints: Float, world: Float, weights: Float) -> Float:
    positions = np.empty_like(joints)
    positions[:, 0] = joints[:, 0]
    for j in range(1, NUM_JOINTS):
        p = PARENTS[j]
        positions[:, j] = positions[:, p] + np.einsum("nab,nb->na", world[:, p], joints[:, j] - joints[:, p])
    shift = positions - np.einsum("njab,njb->nja", world, joints)
    transforms = np.concatenate([world, shift[..., None]], axis=-1).reshape(len(world), NUM_JOINTS, 12)
    result = np.empty_like(surface)
    for i, vertices in enumerate(surface):
        blended = (weights @ transforms[i]).reshape(-1, 3, 4)
        result[i] = np.einsum("vab,vb->va", blended[:, :, :3], vertices) + blended[:, :, 3]
    return result


def features_of(joints: tuple[str, ...]) -> NDArray[np.int64]:
    """Indices into the 486 entries for all nine of each joint."""
    return np.concatenate([np.arange(9) + 9 * (JOINT_INDEX[name] - 1) for name in joints])


def listeners(weights: Float, features: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(V, P): a vertex listens to the joints that hold it, to their children, and to their parents."""
    holds = weights > 0.01
    near = holds.copy()
    for joint in range(1, NUM_JOINTS):
        near[:, joint] |= holds[:, PARENTS[joint]]
        near[:, PARENTS[joint]] |= holds[:, joint]
    return near[:, features // 9 + 1]


def solve(
    samples: Samples, weights: Float, features: NDArray[np.int64], settings: CorrectiveSettings
) -> NDArray[np.float32]:
    """Directions (V, 3, P) for the given features."""
    count = len(samples.rotmats)
    values = (samples.rotmats[:, 1:] - np.eye(3, dtype=np.float32)).reshape(count, -1)[:, features].astype(np.float64)
    directions = np.zeros((len(weights), 3, len(features)), np.float32)
    near = listeners(weights, features)
    near[np.linalg.norm(samples.errors, axis=2).max(0) < settings.min_error_m] = False
    keys, group_of = np.unique(near, axis=0, return_inverse=True)
    for index, key in enumerate(keys):
        used = np.flatnonzero(key)
        members = np.flatnonzero(group_of.reshape(-1) == index)
        if len(used) == 0:
            continue
        phi = values[:, used]
        outer = (phi[:, :, None] * phi[:, None, :]).reshape(count, -1)
        ridge = settings.ridge * float((phi**2).mean()) * np.eye(3 * len(used))
        for chunk in np.array_split(members, max(1, len(members) // 100)):
            blend = np.einsum("vj,njab->nvab", weights[chunk], samples.world, optimize=True)
            gram = np.einsum("nvab,nvac->nvbc", blend, blend).reshape(count, -1)
            normal = (outer.T @ gram).reshape(len(used), len(used), len(chunk), 3, 3)
            normal = normal.transpose(2, 0, 3, 1, 4).reshape(len(chunk), 3 * len(used), 3 * len(used))
            back = np.einsum("nvab,nva->nvb", blend, samples.errors[:, chunk]).reshape(count, -1)
            right = (phi.T @ back).reshape(len(used), len(chunk), 3).transpose(1, 0, 2).reshape(len(chunk), -1)
            solution = np.linalg.solve(normal + ridge, right[..., None])[..., 0]
            directions[np.ix_(chunk, np.arange(3), used)] = solution.reshape(len(chunk), len(used), 3).transpose(
                0, 2, 1
            )
    return directions


def choose_features(
    samples: Samples, directions: NDArray[np.float32], features: NDArray[np.int64], settings: CorrectiveSettings
) -> NDArray[np.int64]:
    """The features that move the surface most over the samples; a joint's mirror keeps the same entries."""
    values = (samples.rotmats[:, 1:] - np.eye(3, dtype=np.float32)).reshape(len(samples.rotmats), -1)[:, features]
    power = (values**2).mean(0) * (directions.astype(np.float64) ** 2).sum((0, 1))
    by_key: dict[tuple[int, int], float] = {}
    for feature, value in zip(features, power, strict=True):
        joint, entry = int(feature) // 9 + 1, int(feature) % 9
        key = min(joint, MIRROR[joint]), entry
        by_key[key] = by_key.get(key, 0.0) + float(value)
    chosen: set[int] = set()
    for joint, entry in sorted(by_key, key=lambda key: -by_key[key]):
        wanted = {9 * (joint - 1) + entry, 9 * (MIRROR[joint] - 1) + entry}
        if len(chosen | wanted) <= settings.num_features:
            chosen |= wanted
    return np.array(sorted(chosen), np.int64)


def learn_correctives(
    source: AnnySource, weights: Float, poses: Float, pose: TPose, settings: CorrectiveSettings | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Directions (V, 3, P) and the features that they go with, (P,), from poses (N, 55, 3, 3)."""
    settings = settings or CorrectiveSettings()
    samples = make_samples(source, weights, training_poses(poses, settings), pose, settings)
    features = features_of(CORRECTED)
    features = choose_features(samples, solve(samples, weights, features, settings), features, settings)
    directions = solve(samples, weights, features, settings)
    values = (samples.rotmats[:, 1:] - np.eye(3, dtype=np.float32)).reshape(len(samples.rotmats), -1)[:, features]
    reach = np.linalg.norm(directions, axis=1) * np.percentile(np.abs(values), 95, axis=0)
    directions = np.where((reach < settings.min_size_m)[:, None, :], np.float32(0.0), directions)
    return directions, features.astype(np.int32)
