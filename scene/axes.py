"""The only place where core's axes become Blender's. numpy only.

Body (SMPL): x to the person's left, y up, z forward. Camera (OpenCV): x right, y down, z forward.
Blender: z up, a person at rest faces −Y; a camera object looks along its own −Z with +Y up.
Lengths are metres everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Columns are the source's axes in Blender's.
BODY_TO_BLENDER: Floats = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
OPENCV_TO_CAMERA_OBJECT: Floats = np.diag([1.0, -1.0, -1.0])
LEVEL_CAMERA_TO_BLENDER: Floats = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def body_to_blender(vectors: NDArray[np.floating]) -> Floats:
    """Points or directions (…, 3) of the body's frame in an avatar's object space."""
    return np.asarray(vectors, np.float64) @ BODY_TO_BLENDER.T


def add_offsets(places: NDArray[np.float32], offsets: NDArray[np.floating]) -> None:
    """Add offsets (V, 3) of the body's frame to places (V, 3) in object space, in place.

    As `body_to_blender`, but in single precision: shape keys are hundreds of such arrays.
    """
    places[:, 0] += offsets[:, 0]
    places[:, 1] -= offsets[:, 2]
    places[:, 2] += offsets[:, 1]


def rotation_matrices(axis_angle: NDArray[np.floating]) -> Floats:
    """Rotation vectors (…, 3), radians, as matrices (…, 3, 3). Rodrigues' formula."""
    vectors = np.asarray(axis_angle, np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    axis = vectors / np.maximum(angle[..., 0], 1e-12)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def quaternions(axis_angle: NDArray[np.floating]) -> Floats:
    """Rotation vectors (…, 3), radians, as unit quaternions (…, 4) in Blender's order w, x, y, z."""
    vectors = np.asarray(axis_angle, np.float64)
    half = 0.5 * np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.concatenate([np.cos(half), 0.5 * vectors * np.sinc(half / np.pi)], axis=-1)


def quaternions_from_matrices(matrices: NDArray[np.floating]) -> Floats:
    """Rotation matrices (…, 3, 3) as unit quaternions (…, 4), w ≥ 0, order w, x, y, z.

    The eigenvector of Bar-Itzhack's symmetric 4×4 matrix (J. Guidance 23(6), 2000), which has no bad case.
    """
    m = np.asarray(matrices, np.float64)
    k = np.empty((*m.shape[:-2], 4, 4))
    k[..., 0, 0] = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    k[..., 1, 1] = m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2]
    k[..., 2, 2] = m[..., 1, 1] - m[..., 0, 0] - m[..., 2, 2]
    k[..., 3, 3] = m[..., 2, 2] - m[..., 0, 0] - m[..., 1, 1]
    k[..., 0, 1] = k[..., 1, 0] = m[..., 2, 1] - m[..., 1, 2]
    k[..., 0, 2] = k[..., 2, 0] = m[..., 0, 2] - m[..., 2, 0]
    k[..., 0, 3] = k[..., 3, 0] = m[..., 1, 0] - m[..., 0, 1]
    k[..., 1, 2] = k[..., 2, 1] = m[..., 0, 1] + m[..., 1, 0]
    k[..., 1, 3] = k[..., 3, 1] = m[..., 0, 2] + m[..., 2, 0]
    k[..., 2, 3] = k[..., 3, 2] = m[..., 1, 2] + m[..., 2, 1]
    largest = np.linalg.eigh(k)[1][..., -1]
    return np.where(largest[..., :1] < 0.0, -largest, largest)


def quaternion_product(first: Floats, second: Floats) -> Floats:
    """Hamilton's product of quaternions (…, 4), order w, x, y, z: the turn `second`, then `first` (outer axes)."""
    w, v = first[..., :1], first[..., 1:]
    other, u = second[..., :1], second[..., 1:]
    scalar = w * other - (v * u).sum(-1, keepdims=True)
    return np.concatenate([scalar, w * u + other * v + np.cross(v, u)], axis=-1)


def continuous(quaternions: Floats) -> Floats:
    """The same rotations (T, …, 4) with signs such that neighbours in time are near: curves without jumps."""
    dots = np.einsum("t...a,t...a->t...", quaternions[1:], quaternions[:-1])
    flips = np.cumprod(np.where(dots < 0.0, -1.0, 1.0), axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * flips[..., None]])


def axis_angle(matrices: NDArray[np.floating]) -> Floats:
    """The inverse of `rotation_matrices`; angles are in 0…π."""
    return axis_angle_of(quaternions_from_matrices(matrices))


def axis_angle_of(quaternions: Floats) -> Floats:
    """Unit quaternions (…, 4), order w, x, y, z, as rotation vectors (…, 3), radians; angles are in 0…π where w ≥ 0."""
    sine = np.linalg.norm(quaternions[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, quaternions[..., :1])
    vectors: Floats = quaternions[..., 1:] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)
    return vectors


def smallest_rotations(start: Floats, end: Floats) -> Floats:
    """The smallest rotations (…, 3, 3) of directions (…, 3), of any length, onto others; of opposite ones any such."""
    axis, cosine = np.cross(start, end), (start * end).sum(-1, keepdims=True)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    aside = np.cross(start, np.eye(3)[np.abs(start).argmin(-1)])
    axis = np.where((sine < 1e-9 * np.abs(cosine)) & (cosine < 0.0), aside, axis)
    return rotation_matrices(
        axis * np.arctan2(sine, cosine) / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-12)
    )


def level_camera_rotation(gravity_camera: NDArray[np.floating] | None = None) -> Floats:
    """Rotation (3, 3) from the camera's frame (OpenCV) to Blender's world.

    `gravity_camera` (3,) is the direction of gravity in the camera's frame; None: the camera is level (0, 1, 0). The
    rotation is the smallest one that brings gravity to −Z, so the camera still looks towards +Y.
    """
    if gravity_camera is None:
        return LEVEL_CAMERA_TO_BLENDER.copy()
    down = np.asarray(gravity_camera, np.float64)
    down = down / np.linalg.norm(down)
    level = np.array([0.0, 1.0, 0.0])
    axis = np.cross(down, level)
    sine, cosine = float(np.linalg.norm(axis)), float(down @ level)
    turn = axis / max(sine, 1e-12) * np.arctan2(sine, cosine)
    return LEVEL_CAMERA_TO_BLENDER @ rotation_matrices(turn)


def camera_object_matrix(world_from_camera: NDArray[np.floating], centre: NDArray[np.floating]) -> Floats:
    """World matrix (4, 4) of a Blender camera at `centre` (3,) whose OpenCV frame has this rotation (3, 3)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(world_from_camera, np.float64) @ OPENCV_TO_CAMERA_OBJECT
    matrix[:3, 3] = centre
    return matrix


def camera_frame(object_matrix: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """The inverse of `camera_object_matrix`: rotation (3, 3) from the camera's frame to the world, and centre (3,)."""
    matrix = np.asarray(object_matrix, np.float64)
    rotation = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return rotation @ OPENCV_TO_CAMERA_OBJECT, matrix[:3, 3].copy()
