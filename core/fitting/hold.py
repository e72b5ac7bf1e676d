"""Which points of a body should stay where they are in the picture while others are pinned, and how firmly. numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ..body.model import BodyModel, VirtualPoints
from ..body.skeleton import JAW
from ..capture import Capture
from ..detection.vocabulary import HAND21, POINT_SETS
from .correction import FACE_SETS, Correction, CorrectSettings
from .pins import Holds

Floats = NDArray[np.float64]

BODY_SETS = ("pose33", "body25", "coco17")
HAND_SETS = ("left_hand", "right_hand")
MAX_FACE_POINTS = 100
FACE_REACH = 0.25  # of the face's size: points nearer to a pin go with it
# A detector's confidence, from not seen to seen well.
UNSEEN, SEEN = 0.2, 0.65
SEEN_ENOUGH = 0.5  # a face is refitted where that share of its points is at least so sure
# What goes along when the end of a limb is pinned: it would hold the hand or foot back where it was.
_ALONG = {
    "hand": ("pinky", "index", "thumb"),
    "foot": ("heel", "foot_index", "big_toe", "small_toe"),
}
_FEET = ("ankle", *_ALONG["foot"])
_HEAD = ("nose", "eye", "ear", "mouth")


def body_set(body: BodyModel, capture: Capture) -> str:
    """The set that shows the whole body: one that was seen, else any that the body has."""
    known = [name for name in BODY_SETS if name in body.points]
    return next((name for name in known if name in capture.points), known[0])


def hold_points(
    body: BodyModel,
    points: Callable[[str], VirtualPoints],
    capture: Capture,
    correction: Correction,
    shown: Callable[[str], Floats],
    settings: CorrectSettings,
) -> Holds:
    """The points that stay. `points`: the body's sets, prepared; `shown`: where the body as it was shows a set, px.

    In a refit they are drawn to where the detector saw them, instead.
    """
    pinned = _pinned_names(correction)
    carriers, pixels, weights, widths = [], [], [], []
    for name in _sets(body, points, capture, correction, settings):
        target, trust = shown(name), _trust(capture, name)
        index = np.flatnonzero(body.points[name].usable)
        if name in FACE_SETS:
            index = index[np.linspace(0, len(index) - 1, min(len(index), MAX_FACE_POINTS)).round().astype(int)]
        size = float(max(np.ptp(target[index], axis=0).max(), 4.0))
        if correction.refit and name in capture.points:
            target = np.asarray(capture.points[name][0, :, :2], np.float64)
            share = settings.refit_face_sigma if name in FACE_SETS else settings.refit_sigma
            strength = np.where(np.isfinite(target).all(-1), trust, 0.0)
            target = np.nan_to_num(target)
        else:
            share = settings.hold_share
            strength = settings.hold_unseen + (1 - settings.hold_unseen) * trust
            if name in FACE_SETS:
                moves = ~rigid(points(name), settings)
                strength = np.where(moves, (settings.hold_share / settings.face_share) ** 2, 1.0) * strength
        strength = strength * np.array([not _goes_along(point, name, pinned) for point in POINT_SETS[name]])
        if name in FACE_SETS:
            strength = strength * _far_from_pins(shown(name), name, correction, size)
        index = index[strength[index] > 0.01]
        carriers.append(take(points(name), index.tolist()))
        pixels.append(target[index])
        stands = np.array([POINT_SETS[name][point].endswith(_FEET) for point in index], bool)
        widths.append(np.where(stands, settings.hold_robust_feet, settings.hold_robust))
        weights.append(np.sqrt(strength[index]) / max(share * size, 0.5))
    return Holds(
        join(carriers),
        torch.as_tensor(np.concatenate(pixels), dtype=torch.float64),
        torch.as_tensor(np.concatenate(weights), dtype=torch.float64),
        torch.as_tensor(np.concatenate(widths), dtype=torch.float64),
    )


def rigid(points: VirtualPoints, settings: CorrectSettings) -> NDArray[np.bool_]:
    """Points (N,) that go with the head and that no expression moves."""
    length = np.linalg.norm(points.exprdirs, axis=1).max(-1, initial=0.0)
    still: NDArray[np.bool_] = (length < settings.face_rigid_m) & (points.weights[:, JAW] < 0.1)
    return still


def expressive(
    points: Callable[[str], VirtualPoints], capture: Capture, correction: Correction, settings: CorrectSettings
) -> bool:
    """Whether a point is pinned that an expression moves, or a refit can see the face."""
    if faces_seen(capture, correction):
        return True
    pinned = [(name, index) for name, index in correction.points if name in FACE_SETS]
    return any(not rigid(points(name), settings)[index] for name, index in pinned)


def faces_seen(capture: Capture, correction: Correction) -> list[str]:
    """The point sets of a face that a refit draws it to."""
    names = sorted(FACE_SETS & set(capture.points)) if correction.refit else []
    return [name for name in names if (_trust(capture, name) > SEEN_ENOUGH).mean() > SEEN_ENOUGH]


def _sets(
    body: BodyModel,
    points: Callable[[str], VirtualPoints],
    capture: Capture,
    correction: Correction,
    settings: CorrectSettings,
) -> list[str]:
    """The body always; a hand where a point of it is pinned, or where a refit can see it; the face likewise."""
    names = [body_set(body, capture)]
    pinned = {name for name, _ in correction.points}
    for name in HAND_SETS:
        if name in body.points and (name in pinned or (correction.refit and name in capture.points)):
            names.append(name)
    if expressive(points, capture, correction, settings):
        seen = [name for name in faces_seen(capture, correction) if name in body.points]
        names += sorted(FACE_SETS & (pinned | set(seen)))
    return names


def _trust(capture: Capture, name: str) -> Floats:
    """How well each point of a set was seen, 0…1; 1 where nothing is known of the set."""
    if name not in capture.points:
        return np.ones(len(POINT_SETS[name]))
    t = np.clip((np.nan_to_num(capture.points[name][0, :, 2].astype(np.float64)) - UNSEEN) / (SEEN - UNSEEN), 0, 1)
    return t * t * (3 - 2 * t)


def _pinned_names(correction: Correction) -> set[str]:
    """Names of pinned points and joints."""
    return {POINT_SETS[name][index] for name, index in correction.points} | set(correction.joints)


def _goes_along(point: str, set_name: str, pinned: set[str]) -> bool:
    """Whether a point must not hold its place: it is pinned itself, or belongs to the end of a limb that is."""
    if point in pinned:
        return True
    if set_name in FACE_SETS:
        return False  # near points go along by their distance
    side, _, part = point.partition("_")
    if side not in ("left", "right"):
        return _of_head(point) and any(_of_head(name) for name in pinned)
    if _of_head(point):
        return any(_of_head(name) for name in pinned)
    own = {name.removeprefix(f"{side}_") for name in pinned if name.startswith(f"{side}_")}
    if set_name in HAND_SETS:
        if "wrist" in own:
            return True
        finger, number = part[:-1], part[-1]
        return any(name[:-1] == finger and name in HAND21 and name[-1] < number for name in own)
    if part in _ALONG["hand"]:
        return any(name == "wrist" or name in _ALONG["hand"] or name in HAND21 for name in own)
    if part in _ALONG["foot"]:
        return any(name in ("ankle", "foot") or name in _ALONG["foot"] for name in own)
    return False


def _of_head(name: str) -> bool:
    bare = name.removeprefix("left_").removeprefix("right_")
    return bare.startswith((*_HEAD, "face", "ibug")) or bare in ("head", "jaw")


def _far_from_pins(shown: Floats, name: str, correction: Correction, size: float) -> Floats:
    """0 at a pinned point of the set, 1 far from all."""
    index = [number for of, number in correction.points if of == name]
    if not index:
        return np.ones(len(shown))
    distance = np.linalg.norm(shown[:, None] - shown[None, index], axis=-1).min(-1)
    far: Floats = 1 - np.exp(-((distance / (FACE_REACH * size)) ** 2))
    return far


def take(points: VirtualPoints, index: list[int]) -> VirtualPoints:
    """Some of the points."""
    return VirtualPoints(points.template[index], points.shapedirs[index], points.exprdirs[index], points.weights[index])


def join(parts: list[VirtualPoints]) -> VirtualPoints:
    """All points of several."""
    return VirtualPoints(
        np.concatenate([p.template for p in parts]),
        np.concatenate([p.shapedirs for p in parts]),
        np.concatenate([p.exprdirs for p in parts]),
        np.concatenate([p.weights for p in parts]),
    )
