"""One shape and one focal length for a person in a clip, from frames that show much of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .photo import FitError, Fitter, PhotoCamera
from .video_evidence import Seen

Array = NDArray[np.float32]


@dataclass(frozen=True)
class ClipShape:
    """What all frames of a person share."""

    betas: Array  # (B,)
    focal_px: float
    focal_source: str  # "given" or "fitted"
    principal_px: tuple[float, float]


def fit_shape(
    fitter: Fitter,
    keys: Seen,
    image_size: tuple[int, int],
    camera: PhotoCamera,
    height_m: float | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> ClipShape:
    """Fit each key frame as a photo; the weighted median of what they say, first of the focal length, then, with that
    in all of them, of the shape. Raises FitError."""
    found = _fit_keys(fitter, keys, image_size, camera, height_m, is_cancelled)
    focal, source = camera.focal_px, camera.focal_source
    if focal is None:
        focal = math.exp(weighted_median(np.log([c[1] for c in found]), np.array([c[2] for c in found])))
        source = "fitted"
        known = PhotoCamera(focal, source, camera.principal_px)
        found = _fit_keys(fitter, keys, image_size, known, height_m, is_cancelled)
    weights = np.array([c[2] for c in found])
    betas = np.array([weighted_median(column, weights) for column in np.stack([c[0] for c in found]).T], np.float32)
    principal = camera.principal_px or (image_size[0] / 2, image_size[1] / 2)
    return ClipShape(betas, float(focal), source, principal)


def _fit_keys(
    fitter: Fitter,
    keys: Seen,
    image_size: tuple[int, int],
    camera: PhotoCamera,
    height_m: float | None,
    is_cancelled: Callable[[], bool] | None,
) -> list[tuple[Array, float, float]]:
    """Betas, focal length and belief of each key frame that could be fitted."""
    found = []
    for row in range(len(keys)):
        try:
            observation = keys.observation(row, image_size)
            capture = fitter.fit(observation, camera, 0, is_cancelled, height_m=height_m)
        except FitError:
            continue
        found.append((capture.betas, capture.focal_px, max(float(capture.confidence[0]), 1e-3)))
    if not found:
        raise FitError("No frame shows enough of this person to fit a body. Use a clip that shows more of them.")
    return found


def weighted_median(values: Any, weights: NDArray[np.float64]) -> float:
    """The value with half of the weight on each side; between two such values, the lower one."""
    array = np.asarray(values, np.float64)
    order = np.argsort(array, kind="stable")
    total = np.cumsum(weights[order])
    return float(array[order][np.searchsorted(total, 0.5 * total[-1])])
