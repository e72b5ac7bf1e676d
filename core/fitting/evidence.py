"""From an observation to what the residuals need: points with σ, and bone directions with σ. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel, PointSet, VirtualPoints
from ..body.skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS
from ..detection.observation import Observation, trust_of
from ..detection.vocabulary import HAND21, POINT_SETS, POSE33
from ..priors.expressions import ExpressionReader, SeenExpression
from ..priors.gaze import SeenGaze, gaze_vectors, lid_components
from ..priors.gaze_reader import GazeReader
from ..priors.teeth import teeth_seen, with_teeth
from .settings import FitSettings

Array = NDArray[np.float32]

# (start, end, kind) by name in `pose33`.
POSE_BONES = (
    ("right_shoulder", "left_shoulder", "torso"),
    ("right_hip", "left_hip", "torso"),
    ("left_hip", "left_shoulder", "torso"),
    ("right_hip", "right_shoulder", "torso"),
    ("left_shoulder", "left_elbow", "limb"),
    ("right_shoulder", "right_elbow", "limb"),
    ("left_elbow", "left_wrist", "limb"),
    ("right_elbow", "right_wrist", "limb"),
    ("left_hip", "left_knee", "limb"),
    ("right_hip", "right_knee", "limb"),
    ("left_knee", "left_ankle", "limb"),
    ("right_knee", "right_ankle", "limb"),
    ("left_heel", "left_foot_index", "extremity"),
    ("right_heel", "right_foot_index", "extremity"),
    ("left_wrist", "left_index", "extremity"),
    ("right_wrist", "right_index", "extremity"),
    ("left_wrist", "left_pinky", "extremity"),
    ("right_wrist", "right_pinky", "extremity"),
    ("right_ear", "left_ear", "head"),
    ("left_ear", "nose", "head"),
    ("right_ear", "nose", "head"),
)
HAND_BONES = tuple(
    pair
    for finger in ("thumb", "index", "middle", "ring", "pinky")
    for pair in (
        ("wrist", f"{finger}1"),
        (f"{finger}1", f"{finger}2"),
        (f"{finger}2", f"{finger}3"),
        (f"{finger}3", f"{finger}4"),
    )
) + (("index1", "pinky1"),)


@dataclass(frozen=True)
class Evidence:
    """P image points and K bone directions of one person, with what carries them on the body."""

    sets: tuple[str, ...]
    set_of_point: NDArray[np.int32]  # (P,) index into `sets`
    carriers: VirtualPoints  # P points on the body
    image_px: Array  # (P, 2)
    inverse_sigma: Array  # (P,) 1/px, confidence and part weight included
    bone_start: NDArray[np.int32]  # (K,) indices into the P points
    bone_end: NDArray[np.int32]  # (K,)
    bone_direction: Array  # (K, 3) unit, camera axes
    bone_inverse_sigma: Array  # (K,) 1/rad
    bone_set: NDArray[np.int32]  # (K,) index into `sets`
    person_px: float  # size of the person in the picture
    noise_share: float  # σ of the points over `inverse_sigma`'s, which is a detector's
    expression: SeenExpression | None  # what the face says of the body's components, σ with the face's trust in it
    gaze: SeenGaze | None  # where both eyes look, drawn to straight ahead by how badly that is seen
    joint_trust: (
        Array  # (55,) 0…1: how well the part that a body joint turns was seen; 1 for joints that it does not judge
    )


@dataclass(frozen=True)
class FaceReaders:
    """What reads faces; None where it is switched off or its file can't be read."""

    mesh: ExpressionReader | None = None
    gaze: GazeReader | None = None


NO_READERS = FaceReaders()


def gather(
    body: BodyModel, observation: Observation, settings: FitSettings, readers: FaceReaders = NO_READERS
) -> Evidence:
    """Collect all sets that both the observation and the body know. P may be 0."""
    expression, gaze = seen_face(body, observation, settings, readers)
    sets = tuple(name for name in observation.points if name in body.points)
    person_px = person_size(observation)
    chosen: list[NDArray[np.int64]] = []
    carriers: list[VirtualPoints] = []
    pixels, weights, owners = [], [], []
    bones: list[tuple[int, int, Array, float, int]] = []
    offset = 0
    for number, name in enumerate(sets):
        seen, carrier = observation.points[name], body.points[name]
        trust = trust_of(name, seen.confidence) * carrier.usable * np.isfinite(seen.image_px).all(-1)
        index = np.flatnonzero(trust > 0)
        if name == "face468" and len(index) > settings.max_face_points:
            index = index[np.linspace(0, len(index) - 1, settings.max_face_points).round().astype(int)]
        size = person_px if name not in _SMALL else _extent(seen.image_px[index], person_px)
        sigma = settings.sigma_2d[name] * size
        share = settings.set_weight.get(name, 1.0)
        chosen.append(index)
        carriers.append(body.virtual_points(_take(carrier, index)))
        pixels.append(seen.image_px[index])
        weights.append(trust[index] * np.sqrt(share) / max(sigma, 0.3))
        owners.append(np.full(len(index), number, np.int32))
        place = {int(point): offset + i for i, point in enumerate(index)}
        if seen.world_m is not None:
            bones += _bones(name, seen.world_m, trust, place, number, settings)
        offset += len(index)
    return Evidence(
        sets,
        _join(owners, (0,), np.int32),
        _join_points(carriers, body),
        _join(pixels, (0, 2), np.float32),
        _join(weights, (0,), np.float32),
        np.array([b[0] for b in bones], np.int32),
        np.array([b[1] for b in bones], np.int32),
        np.array([b[2] for b in bones], np.float32).reshape(-1, 3),
        np.array([b[3] for b in bones], np.float32),
        np.array([b[4] for b in bones], np.int32),
        person_px,
        observation.noise_share,
        expression,
        gaze,
        joint_trust(observation),
    )


def expression_sigmas(body: BodyModel, settings: FitSettings) -> Array:
    """The standard deviation of each component (E,) before anything is seen."""
    if not body.bounded_expression:
        return np.full(body.num_expressions, settings.free_expression_sigma, np.float32)
    own = settings.expression_sigma_of
    named = [[sigma for start, sigma in own.items() if name.startswith(start)] for name in body.expression_names]
    return np.array([found[0] if found else settings.expression_sigma for found in named], np.float32)


def seen_face(
    body: BodyModel, observation: Observation, settings: FitSettings, readers: FaceReaders, mouth: bool = True
) -> tuple[SeenExpression | None, SeenGaze | None]:
    """The body's bounded components as readers of faces and a detector's own scores tell them, joined; and the gaze.

    A component of which nothing is known has an infinite σ. Lids follow the gaze, where there is one. mouth: False
    where its components are not needed, for which teeth are looked for.
    """
    face = observation.points.get("face468")
    trust = float((trust_of("face468", face.confidence) ** 2).mean()) if face is not None else 0.0
    shares: list[tuple[Sequence[str], Array, Array]] = []
    seen = readers.mesh.read(face) if readers.mesh is not None and face is not None and trust > 0 else None
    shut = 0.0
    if seen is not None:
        seen = with_teeth(seen, teeth_seen(observation)) if mouth else seen
        if body.bounded_expression:
            shares.append((seen.names, seen.values, (settings.expression_reader * trust / seen.sigma) ** 2))
        shut = min(float(value) for name, value in zip(seen.names, seen.values, strict=True) if "eyeBlink" in name)
    gaze = readers.gaze.read(observation, shut) if readers.gaze is not None and trust > 0 else None
    if gaze is not None:
        gaze = drawn_ahead(gaze, settings, trust)
    scores = {name: value for name, value in (observation.face_scores or {}).items() if np.isfinite(value)}
    if scores:
        values = np.clip(np.array([*scores.values()], np.float32), 0, 1)
        shares.append(([*scores], values, np.full(len(scores), settings.face_score_sigma**-2, np.float32)))
    if gaze is not None:
        lids = lid_components(gaze.angles)
        shares = [(names, values, weight * [name not in lids for name in names]) for names, values, weight in shares]
        own = np.array([*lids.values()], np.float32)
        shares.append(([*lids], own, np.full(len(own), settings.lid_sigma**-2, np.float32)))
    if not body.bounded_expression:
        return None, gaze
    precision, sums = np.zeros(body.num_expressions), np.zeros(body.num_expressions)
    place = {name: i for i, name in enumerate(body.expression_names)}
    for names, values, weight in shares:
        for name, value, share in zip(names, values, weight, strict=True):
            if name in place:
                precision[place[name]] += share
                sums[place[name]] += share * value
    if not precision.any():
        return None, gaze
    known = np.maximum(precision, 1e-9)
    sigma = np.where(precision > 0, known**-0.5, np.inf)
    return SeenExpression(body.expression_names, (sums / known).astype(np.float32), sigma.astype(np.float32)), gaze


def drawn_ahead(seen: SeenGaze, settings: FitSettings, trust: float) -> SeenGaze | None:
    """A gaze joined with looking straight ahead: where it is hardly seen, that is all that is left."""
    if settings.gaze_reader <= 0:
        return None
    precision = (settings.gaze_reader * trust / seen.sigma) ** 2
    whole = precision + np.array(settings.eye_sigma_rad) ** -2
    return SeenGaze((precision * seen.angles / whole).astype(np.float32), (whole**-0.5).astype(np.float32))


def eyes_at_rest(gaze: SeenGaze | None, settings: FitSettings) -> tuple[Array, Array]:
    """The rotation vector (3,) that draws both eyes, and its σ (3,): straight ahead where no gaze was seen."""
    side, up = settings.eye_sigma_rad if gaze is None else gaze.sigma
    vector = np.zeros(3) if gaze is None else gaze_vectors(gaze.angles)
    return vector.astype(np.float32), np.array([up, side, 0.5 * min(settings.eye_sigma_rad)], np.float32)


# What a body joint turns, nearest first, as ends of point names. A joint is trusted as its best seen part.
TURNS = {
    "hip": ("knee", "ankle"),
    "knee": ("ankle", "heel"),
    "ankle": ("heel", "foot_index", "big_toe"),
    "foot": ("foot_index", "big_toe"),
    "collar": ("shoulder", "elbow"),
    "shoulder": ("elbow", "wrist"),
    "elbow": ("wrist",),
    "wrist": ("index", "pinky", "middle1"),
}


def unseen_share(trust: Array, settings: FitSettings) -> tuple[Array, NDArray[np.bool_]]:
    """How strongly each joint is drawn to the relaxed pose (55,) 0…1, and whether only its far end is missing (55,).

    A shin below a seen thigh, or a forearm below a seen upper arm, may well be bent: it is drawn less.
    """
    share = np.clip(1 - trust / settings.relaxed_below, 0, 1)
    far_end = np.zeros(NUM_JOINTS, np.bool_)
    for joint in range(NUM_JOINTS):
        parent = PARENTS[joint]
        far_end[joint] = share[joint] > 0 and parent > 0 and share[parent] < 0.5 and joint in _HINGES
    return share, far_end


_HINGES = {JOINT_INDEX[f"{side}_{name}"] for side in ("left", "right") for name in ("knee", "elbow")}


def joint_trust(observation: Observation) -> Array:
    """(55,) 0…1. Spine, neck and head are always trusted: whatever was seen hangs on them."""
    best: dict[str, float] = {}
    for name, points in observation.points.items():
        trust = trust_of(name, points.confidence)
        for point, value in zip(POINT_SETS[name], trust, strict=True):
            best[point] = max(best.get(point, 0.0), float(value))
    result = np.ones(NUM_JOINTS, np.float32)
    for joint, parts in TURNS.items():
        for side in ("left", "right"):
            seen = [best[f"{side}_{part}"] for part in parts if f"{side}_{part}" in best]
            result[JOINT_INDEX[f"{side}_{joint}"]] = max(seen, default=0.0)
    return result


_SMALL = {"left_hand", "right_hand", "face468", "face68"}


def person_size(observation: Observation) -> float:
    """Size of a person in px: the longer side of the box around the points that were seen, at least 8."""
    x0, y0, x1, y1 = (float(v) for v in observation.box_px)
    return max(x1 - x0, y1 - y0, 8.0)


def _extent(pixels: Array, person_px: float) -> float:
    if len(pixels) < 3:
        return 0.1 * person_px
    return float(max(np.ptp(pixels, axis=0).max(), 0.02 * person_px))


def _bones(
    name: str, world: Array, trust: NDArray[np.float64], place: dict[int, int], number: int, settings: FitSettings
) -> list[tuple[int, int, Array, float, int]]:
    if name == "pose33":
        table = [(POSE33.index(a), POSE33.index(b), kind) for a, b, kind in POSE_BONES]
    elif name in ("left_hand", "right_hand"):
        table = [(HAND21.index(a), HAND21.index(b), "hand") for a, b in HAND_BONES]
    else:
        return []
    found = []
    for a, b, kind in table:
        bone = world[b] - world[a]
        length = float(np.linalg.norm(bone))
        if a in place and b in place and length > 1e-4 and np.isfinite(length):
            strength = float(np.sqrt(trust[a] * trust[b])) / settings.hint_sigma[kind]
            found.append((place[a], place[b], bone / length, strength, number))
    return found


def _take(points: PointSet, index: NDArray[np.int64]) -> PointSet:
    return PointSet(
        tuple(points.names[i] for i in index),
        points.joint_ids[index],
        points.offsets[index],
        points.offset_dirs[index],
        points.vertex_ids[index],
        points.barycentric[index],
        points.sigma_m[index],
        points.usable[index],
    )


def _join(parts: Sequence[NDArray[Any]], empty: tuple[int, ...], dtype: type) -> NDArray[Any]:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(empty, dtype)


def _join_points(parts: list[VirtualPoints], body: BodyModel) -> VirtualPoints:
    if not parts:
        zeros = np.zeros((0, 3), np.float32)
        return VirtualPoints(
            zeros,
            np.zeros((0, 3, body.num_betas), np.float32),
            np.zeros((0, 3, body.num_expressions), np.float32),
            np.zeros((0, 55), np.float32),
        )
    return VirtualPoints.join(parts)
