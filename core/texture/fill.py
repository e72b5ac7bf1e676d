"""Colours for what was not seen: they spread over the surface from what was. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Double = NDArray[np.float64]


def spread(
    colours: Float,
    trust: Float,
    edges: NDArray[np.int32],
    conductance: Float,
    fallback: Float,
    steps: int = 300,
    tolerance: float = 1e-3,
) -> Float:
    """Colours (V, 3) that are smooth along `edges` (E, 2) and near `colours` (V, 3) where `trust` (V,) is high.

    The minimum of Σ trust |c − colour|² + Σ conductance |cᵢ − cⱼ|² + a little |c − fallback|², by conjugate gradients
    with Jacobi's preconditioner. `fallback` (V, 3) or (3,) decides where nothing else does.
    """
    n, (a, b) = len(colours), edges.T
    weak = 1e-7
    target = np.broadcast_to(np.asarray(fallback, np.float64), (n, 3))
    weight = trust.astype(np.float64)
    degree = np.bincount(a, conductance, n) + np.bincount(b, conductance, n)
    diagonal = (degree + weight + weak)[:, None]

    # Neighbours as rows of equal length: gathering is several times faster than adding at indices.
    ends, others = np.concatenate([a, b]), np.concatenate([b, a])
    order = np.argsort(ends, kind="stable")
    counts = np.bincount(ends, minlength=n)
    slot = np.arange(len(ends)) - np.repeat(np.cumsum(counts) - counts, counts)
    neighbours = np.zeros((int(counts.max(initial=1)), n), np.int64)
    strength = np.zeros((*neighbours.shape, 1))
    neighbours[slot, ends[order]] = others[order]
    strength[slot, ends[order], 0] = np.concatenate([conductance, conductance])[order]

    def apply(x: Double) -> Double:
        result = diagonal * x
        for row, factor in zip(neighbours, strength, strict=True):
            result -= factor * x[row]
        return result

    right = weight[:, None] * colours + weak * target
    x = np.where(weight[:, None] > weak, colours, target).astype(np.float64)
    residual = right - apply(x)
    z = residual / diagonal
    direction, rho = z, float((residual * z).sum())
    enough = tolerance**2 * max(float((right * right / diagonal).sum()), 1e-12)
    for _ in range(steps):
        if rho <= enough:
            break
        image = apply(direction)
        step = rho / max(float((direction * image).sum()), 1e-30)
        x += step * direction
        residual -= step * image
        z = residual / diagonal
        previous, rho = rho, float((residual * z).sum())
        direction = z + (rho / previous) * direction
    return x.astype(np.float32)
