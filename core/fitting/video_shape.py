"""One shape and one focal length for a person in a clip, from frames that show much of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class KeyFit(NamedTuple):
    """What one frame says of the shape."""

    betas: Array  # (B,)
    focal_px: float
    belief: float


FitKeys = Callable[[PhotoCamera], list[KeyFit | None]]


def fit_shape(fit_keys: FitKeys, image_size: tuple[int, int], camera: PhotoCamera) -> ClipShape:
    """Fit each key frame as a photo; the weighted median of what they say, first of the focal length, then, with that
    in all of them, of the shape. Raises FitError.

    fit_keys: `fit_key` of all of them, with what is known of the camera.
    """
    found = _those_fitted(fit_keys(camera))
    focal, source = camera.focal_px, camera.focal_source
    if focal is None:
        focal = math.exp(weighted_median(np.log([key.focal_px for key in found]), np.array([k.belief for k in found])))
        source = "fitted"
        found = _those_fitted(fit_keys(PhotoCamera(focal, source, camera.principal_px)))
    weights = np.array([key.belief for key in found])
    betas = np.array([weighted_median(column, weights) for column in np.stack([k.betas for k in found]).T], np.float32)
    principal = camera.principal_px or (image_size[0] / 2, image_size[1] / 2)
    return ClipShape(betas, float(focal), source, principal)


def fit_key(
    fitter: Fitter, keys: Seen, row: int, image_size: tuple[int, int], camera: PhotoCamera, height_m: float | None
) -> KeyFit | None:
    """One frame fitted as a photo; None where too little of the person is seen in it."""
    try:
        capture = fitter.fit(keys.observation(row, image_size), camera, 0, height_m=height_m)
    except FitError:
        return None
    return KeyFit(capture.betas, float(capture.focal_px), max(float(capture.confidence[0]), 1e-3))


def _those_fitted(keys: list[KeyFit | None]) -> list[KeyFit]:
    found = [key for key in keys if key is not None]
    if not found:
        raise FitError("No frame shows enough of this person to fit a body. Use a clip that shows more of them.")
    return found


def weighted_median(values: Any, weights: NDArray[np.float64]) -> float:
    """The value with half of the weight on each side; between two such values, the lower one."""
    array = np.asarray(values, np.float64)
    order = np.argsort(array, kind="stable")
    total = np.cumsum(weights[order])
    return float(array[order][np.searchsorted(total, 0.5 * total[-1])])
