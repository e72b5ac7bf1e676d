"""Teeth that meet, seen between parted lips: a smile, where the mesh alone would say that the jaw is open.

The face mesh follows lips, but hardly the chin, so that lips that bare the teeth look to it as lips of an open mouth.
In the upright picture of the face they differ: all is bright from lip to lip where the teeth meet, and something is
dark where they do not. In 17 rendered open mouths the darkest part had at most 0.66 of the skin's brightness (but for
one, 0.29), in two real smiles with teeth at least 0.81.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..detection.face_picture import PICTURE_MM, PICTURE_PX, picture_places
from ..detection.observation import Observation
from .expressions import SeenExpression

Array = NDArray[np.float32]

_LIPS = ((82, 87), (13, 14), (312, 317))  # inner lips, upper and lower, at three places
_CHEEKS = (50, 280, 205, 425)
_BETWEEN = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)  # from the upper lip to the lower one
_LEAST_GAP_MM = (3.0, 5.0)  # between which it begins to count that lips are apart
_DARKEST, _MEAN = (0.55, 0.75), (0.85, 1.0)  # of the skin's brightness: ranges over which teeth are believed
PARTING_MM = 8.5  # by which `mouthUpperUp…` and `mouthLowerDown…` at 1 part the free body's lips
SIGMA = 0.05  # of a jaw that is shut, where that is seen


@dataclass(frozen=True)
class TeethSeen:
    share: float  # 0…1: how surely the teeth meet between parted lips
    gap_mm: float  # between the inner lips


def teeth_seen(observation: Observation) -> TeethSeen:
    """Whether teeth that meet are seen in the face's picture; nothing without a picture and a whole mesh."""
    face = observation.points.get("face468")
    places = picture_places(face) if face is not None else None
    if observation.face_picture is None or places is None:
        return TeethSeen(0.0, 0.0)
    grey = observation.face_picture.astype(np.float32)

    def bright(at: Array) -> Array:
        columns = np.ascontiguousarray(at.reshape(1, -1, 2), np.float32)
        shown: Array = np.asarray(cv2.remap(grey, columns[..., 0], columns[..., 1], cv2.INTER_LINEAR), np.float32)[0]
        return shown

    upper, lower = (places[[pair[i] for pair in _LIPS]] for i in (0, 1))
    gap_mm = float(np.median(np.linalg.norm(lower - upper, axis=1))) * PICTURE_MM / PICTURE_PX
    steps = np.array(_BETWEEN, np.float32)[:, None, None]
    inside = bright(upper + steps * (lower - upper)).reshape(len(_BETWEEN), -1)
    skin = max(float(bright(places[list(_CHEEKS)]).mean()), 1.0)
    profile = np.median(inside, axis=1) / skin
    share = _ramp(gap_mm, _LEAST_GAP_MM) * _ramp(float(profile.min()), _DARKEST) * _ramp(float(profile.mean()), _MEAN)
    return TeethSeen(share, gap_mm)


def with_teeth(seen: SeenExpression, teeth: TeethSeen) -> SeenExpression:
    """An expression whose jaw is as shut as teeth that meet tell, and whose lips part by themselves."""
    if teeth.share <= 0 or "jawOpen" not in seen.names:
        return seen
    values, sigma = seen.values.copy(), seen.sigma.copy()
    for i, name in enumerate(seen.names):
        if name == "jawOpen":
            values[i] *= 1 - teeth.share
            sigma[i] = min(sigma[i], SIGMA) if teeth.share > 0.5 else sigma[i]
        elif name.startswith(("mouthUpperUp", "mouthLowerDown")):
            values[i] = max(values[i], teeth.share * min(teeth.gap_mm / PARTING_MM, 1.0))
    return replace(seen, values=values, sigma=sigma)


def _ramp(value: float, over: tuple[float, float]) -> float:
    return float(np.clip((value - over[0]) / (over[1] - over[0]), 0, 1))
