"""Distances between a fitted and a true person, as the field reports them. numpy only; metres in, metres out.

PVE, MPJPE: mean Euclidean distance of vertices or joints after moving the root (or the wrist, or the neck) of one
onto the other's.
PA-…: after the best similarity transform (Gower, "Generalized Procrustes analysis", Psychometrika 40(1), 1975;
closed form by Umeyama, PAMI 13(4), 1991).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def similarity(source: Float, target: Float) -> tuple[float, Float, Float]:
    """Scale s, rotation R (3, 3), translation t (3,) that minimise Σ |s R source + t − target|² (Umeyama, eq. 40–42).

    (N, 3), (N, 3) with N ≥ 3. A source without extent keeps scale 1.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    mean_a, mean_b = a.mean(0), b.mean(0)
    spread = float(((a - mean_a) ** 2).sum())
    u, singular, vt = np.linalg.svd((b - mean_b).T @ (a - mean_a))
    sign = np.ones(3)
    if np.linalg.det(u) * np.linalg.det(vt) < 0:
        sign[2] = -1.0
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum()) / spread if spread > 1e-18 else 1.0
    return scale, rotation, mean_b - scale * rotation @ mean_a


def aligned(source: Float, target: Float) -> Float:
    """`source` (N, 3) after the best similarity transform onto `target` (N, 3)."""
    scale, rotation, shift = similarity(source, target)
    return np.asarray(scale * source @ rotation.T + shift)


def mean_distance(source: Float, target: Float) -> float:
    """Mean Euclidean distance of paired points (N, D)."""
    return float(np.linalg.norm(np.asarray(source) - target, axis=-1).mean())


def root_error(source: Float, target: Float, source_root: Float, target_root: Float) -> float:
    """Mean distance (N, 3) after moving the roots (3,) onto each other."""
    return mean_distance(source - source_root, target - target_root)


def pa_error(source: Float, target: Float) -> float:
    """Mean distance after the best similarity transform."""
    return mean_distance(aligned(source, target), target)


def pck(source_px: Float, target_px: Float, counted: NDArray[np.bool_], threshold_px: float) -> float:
    """Share of the counted points (N, 2) that lie within the threshold; nan when none counts."""
    if not counted.any():
        return float("nan")
    distance = np.linalg.norm(source_px - target_px, axis=-1)[counted]
    return float((distance <= threshold_px).mean())


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; nan when both are empty."""
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else float("nan")


def box_iou(first: Float, second: Float) -> float:
    """Intersection over union of boxes x0, y0, x1, y1."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    overlap = float(np.prod(np.maximum(high - low, 0.0)))
    areas = [float(np.prod(np.maximum(box[2:] - box[:2], 0.0))) for box in (first, second)]
    union = areas[0] + areas[1] - overlap
    return overlap / union if union > 0 else 0.0
