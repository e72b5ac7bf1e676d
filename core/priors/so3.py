"""Rotations as numpy arrays, for reading and selecting motion capture. Batched over leading dimensions; radians."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def axis_rotation(axis: str, angle: Array) -> Array:
    """Rotation about a coordinate axis ("x", "y" or "z"). angle (…) → (…, 3, 3)."""
    cos, sin = np.cos(angle), np.sin(angle)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., :, :] = np.eye(3)
    matrix[..., first, first] = cos
    matrix[..., second, second] = cos
    matrix[..., first, second] = -sin
    matrix[..., second, first] = sin
    return matrix


def euler_matrix(order: str, angles: Array) -> Array:
    """Product of axis rotations, the first letter of `order` leftmost. angles (…, len(order)) → (…, 3, 3)."""
    result = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for k, axis in enumerate(order):
        result = result @ axis_rotation(axis, angles[..., k])
    return result


def skew(vector: Array) -> Array:
    """(…, 3) → (…, 3, 3) with skew(a) @ b = a × b."""
    matrix = np.zeros((*vector.shape[:-1], 3, 3))
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    matrix[..., 0, 1], matrix[..., 0, 2] = -z, y
    matrix[..., 1, 0], matrix[..., 1, 2] = z, -x
    matrix[..., 2, 0], matrix[..., 2, 1] = -y, x
    return matrix


def exp_so3(vector: Array) -> Array:
    """Axis-angle (…, 3) → rotation matrices (…, 3, 3), Rodrigues' formula."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    k = skew(vector)
    return np.asarray(np.eye(3) + np.sinc(angle / np.pi) * k + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (k @ k))


def log_so3(matrix: Array) -> Array:
    """Rotation matrices (…, 3, 3) → axis-angle (…, 3) with angle in [0, π], through the quaternion.

    The quaternion's largest component is found first, as its square root is the accurate one near π
    (Shepperd, "Quaternion from rotation matrix", 1978).
    """
    m = matrix
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    squares = np.stack([1 + trace] + [1 + 2 * m[..., i, i] - trace for i in range(3)], axis=-1)
    best = squares.argmax(axis=-1)
    w = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    rows = np.stack(
        [
            np.stack([squares[..., 0], w[0], w[1], w[2]], axis=-1),
            np.stack([w[0], squares[..., 1], xy, xz], axis=-1),
            np.stack([w[1], xy, squares[..., 2], yz], axis=-1),
            np.stack([w[2], xz, yz, squares[..., 3]], axis=-1),
        ],
        axis=-2,
    )
    quaternion = np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    vector = quaternion[..., 1:]
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(length, quaternion[..., :1])
    scale = np.where(length > 1e-9, angle / np.maximum(length, 1e-9), 2.0)
    return np.asarray(vector * scale)


def geodesic(first: Array, second: Array) -> Array:
    """Angle between rotations, (…, 3, 3) each → (…) radians."""
    return np.asarray(np.linalg.norm(log_so3(np.swapaxes(first, -1, -2) @ second), axis=-1))
