"""What was seen of one person in the frames of a clip, in one layout; evidence for a batch of frames. numpy only.

T frames. The layout of points is `pose33`, `left_hand`, `right_hand`, `face468`; what was not seen has confidence 0.
Beside them what faces are read from: the metric mesh, irises and the face's picture, zeros where there were none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel, VirtualPoints
from ..body.skeleton import JOINT_INDEX, NUM_JOINTS
from ..detection.face_picture import PICTURE_PX
from ..detection.observation import Observation, Points, trust_of
from ..detection.vocabulary import HAND21, POINT_SETS, POSE33
from ..priors.hand_reader import HandReader
from ..priors.regressor_input import POINTS as REGRESSOR_POINTS
from ..priors.regressor_input import SOURCES, hints_of
from .evidence import HAND_BONES, POSE_BONES, TURNS, FaceReaders, eyes_at_rest, seen_face
from .settings import FitSettings

Array = NDArray[np.float32]

SETS = ("pose33", "left_hand", "right_hand", "face468")
FIRST = {name: sum(len(POINT_SETS[s]) for s in SETS[:i]) for i, name in enumerate(SETS)}
NUM_POINTS = sum(len(POINT_SETS[name]) for name in SETS)
NUM_WORLD = FIRST["face468"]  # points that have metric hints

# Points of the hands and the face that move with the wrist and the head, whatever fingers and face do.
PALM = tuple(HAND21.index(name) for name in ("wrist", "index1", "middle1", "ring1", "pinky1"))
FACE_FRAME = (33, 133, 362, 263, 168, 6, 1, 4, 10, 151, 234, 454, 127, 356, 98, 327)
# Points of the face that show what it does: brows, lids, lips, chin, cheeks.
FACE_MOVING = (
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    159, 145, 386, 374, 33, 133, 362, 263, 160, 158, 144, 153, 385, 387, 373, 380,
    61, 291, 0, 17, 13, 14, 37, 267, 84, 314, 40, 270, 91, 321, 78, 308, 82, 312, 87, 317,
    152, 148, 377, 176, 400, 50, 280, 205, 425, 1, 4, 98, 327, 168, 6, 10, 151, 127, 356,
)  # fmt: skip


# Each joint with the points that tell how well the part that it turns was seen.
_TURNING = tuple(
    (
        JOINT_INDEX[f"{side}_{joint}"],
        [
            FIRST[name] + at
            for name in SETS[:3]
            for at, point in enumerate(POINT_SETS[name])
            if point in {f"{side}_{part}" for part in parts}
        ],
    )
    for joint, parts in TURNS.items()
    for side in ("left", "right")
)


@dataclass(frozen=True)
class Seen:
    """One person in T frames. Frames without the person are rows with confidence 0 throughout."""

    index: NDArray[np.int64]  # (T,) the clip's frame
    time_s: NDArray[np.float64]  # (T,)
    shot: NDArray[np.int64]  # (T,) number of the shot: motion does not go on from one to the next
    image_px: Array  # (T, NUM_POINTS, 2)
    confidence: Array  # (T, NUM_POINTS)
    world_m: Array  # (T, NUM_WORLD, 3) metric hints, camera axes
    score: Array  # (T,) 0…1, 0 where the person was not seen
    box_px: Array  # (T, 4)
    face_m: Array  # (T, 468, 3) metric mesh
    irises_px: Array  # (T, 10, 2)
    face_picture: NDArray[np.uint8]  # (T, 112, 112)
    straight: Array | None = None  # (T,) 0…1: how surely both legs are seen straight, where that was asked

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, which: slice | NDArray[Any]) -> Seen:
        """Some of the frames."""
        values = (getattr(self, item.name) for item in fields(self))
        return Seen(*(None if value is None else value[which] for value in values))  # type: ignore[arg-type]

    @classmethod
    def join(cls, parts: list[Seen]) -> Seen:
        columns = ([getattr(part, item.name) for part in parts] for item in fields(cls))
        return cls(*(None if any(value is None for value in column) else np.concatenate(column) for column in columns))  # type: ignore[arg-type]

    def observation(self, row: int, image_size: tuple[int, int]) -> Observation:
        """One frame as a photo's observation."""
        points: dict[str, Points] = {}
        for name in SETS:
            part = slice(FIRST[name], FIRST[name] + len(POINT_SETS[name]))
            confidence = self.confidence[row, part]
            if confidence.max() > 0:
                world = self.world_m[row, part] if part.stop <= NUM_WORLD else None
                points[name] = Points(self.image_px[row, part], confidence, world)
        picture = None
        if "face468" in points and self.face_m[row].any():
            irises = self.irises_px[row] if self.irises_px[row].any() else None
            points["face468"] = replace(points["face468"], world_m=self.face_m[row], irises_px=irises)
            picture = self.face_picture[row] if self.face_picture[row].any() else None
        box, score = self.box_px[row], float(self.score[row])
        return Observation(image_size, box, score, points, source="mediapipe", face_picture=picture)


def pack(observation: Observation | None) -> dict[str, NDArray[Any]]:
    """The arrays of one frame (T left out); zeros where nothing was seen."""
    image = np.zeros((NUM_POINTS, 2), np.float32)
    confidence = np.zeros(NUM_POINTS, np.float32)
    world = np.zeros((NUM_WORLD, 3), np.float32)
    score, box = np.float32(0), np.zeros(4, np.float32)
    mesh, irises = np.zeros((468, 3), np.float32), np.zeros((10, 2), np.float32)
    picture = np.zeros((PICTURE_PX, PICTURE_PX), np.uint8)
    if observation is not None:
        for name in SETS:
            seen = observation.points.get(name)
            if seen is None:
                continue
            part = slice(FIRST[name], FIRST[name] + len(POINT_SETS[name]))
            finite = np.isfinite(seen.image_px).all(-1)
            image[part] = np.where(finite[:, None], seen.image_px, 0)
            confidence[part] = np.where(finite, np.nan_to_num(seen.confidence), 0)
            if seen.world_m is not None and part.stop <= NUM_WORLD:
                world[part] = np.nan_to_num(seen.world_m)
        score, box = np.float32(max(observation.score, 1e-3)), observation.box_px
        face = observation.points.get("face468")
        if face is not None and face.world_m is not None:
            mesh = np.nan_to_num(face.world_m).astype(np.float32)
            irises = irises if face.irises_px is None else np.nan_to_num(face.irises_px).astype(np.float32)
            picture = picture if observation.face_picture is None else observation.face_picture
    return {
        "image_px": image,
        "confidence": confidence,
        "world_m": world,
        "score": np.asarray(score),
        "box_px": box,
        "face_m": mesh,
        "irises_px": irises,
        "face_picture": picture,
    }


def bend_seen(seen: Seen, reader: HandReader | None) -> Seen:
    """The same with the metric points of hands bent as read (`bend_fingers`, of all frames at once)."""
    if reader is None:
        return seen
    world = seen.world_m.copy()
    for name in ("left_hand", "right_hand"):
        part = slice(FIRST[name], FIRST[name] + len(POINT_SETS[name]))
        rows = np.flatnonzero(seen.confidence[:, part].max(axis=1) > 0)
        right = np.full(len(rows), name == "right_hand")
        world[rows, part] = reader.bend(seen.image_px[rows, part], world[rows, part], right)
    return replace(seen, world_m=world)


@dataclass(frozen=True)
class FrameEvidence:
    """P points and K bones for N frames, each frame with its own weights."""

    carriers: VirtualPoints  # P points on the body
    image_px: Array  # (N, P, 2)
    inverse_sigma: Array  # (N, P) 1/px; 0 where unseen
    bone_start: NDArray[np.int64]  # (K,) indices into the P points
    bone_end: NDArray[np.int64]
    bone_direction: Array  # (N, K, 3) unit
    bone_inverse_sigma: Array  # (N, K) 1/rad


@dataclass(frozen=True)
class SeenFaces:
    """What N frames show of a face beside its points."""

    expression: Array  # (N, E)
    expression_inverse_sigma: Array  # (N, E); 0 where nothing is known
    eyes: Array  # (N, 3) rotation vector of both eyes
    eyes_sigma: Array  # (N, 3) rad


def seen_faces(
    body: BodyModel, seen: Seen, settings: FitSettings, readers: FaceReaders, image_size: tuple[int, int]
) -> SeenFaces:
    """Where eyes look in each frame, and the lids that follow them, as a photo's are read."""
    count, e = len(seen), body.num_expressions
    values, inverse = np.zeros((count, e), np.float32), np.zeros((count, e), np.float32)
    eyes, sigma = np.zeros((count, 3), np.float32), np.zeros((count, 3), np.float32)
    lids = np.array([name.startswith("eyeLook") for name in body.expression_names], np.float32)
    for row in range(count):
        expression, gaze = None, None
        observation = seen.observation(row, image_size) if seen.face_m[row].any() else None
        # Lids follow the gaze; where eyes are too small for one, an expression would be read for nothing.
        if observation is not None and readers.gaze is not None and readers.gaze.read(observation) is not None:
            expression, gaze = seen_face(body, observation, settings, readers, False)
        if expression is not None and gaze is not None:
            values[row], inverse[row] = expression.values, lids / expression.sigma
        eyes[row], sigma[row] = eyes_at_rest(gaze, settings)
    return SeenFaces(values, inverse, eyes, sigma)


@dataclass(frozen=True)
class Layout:
    """Which points and bones a part of the fit looks at: indices in the layout above."""

    points: NDArray[np.int64]  # (P,)
    sets: NDArray[np.int64]  # (P,) index in SETS
    bones: NDArray[np.int64]  # (K, 2) places in `points`
    bone_sigma: Array  # (K,) radians
    share: Array  # (P,) in the energy


def layout(part: str, body: BodyModel, settings: FitSettings) -> Layout:
    """What "body", "left_hand", "right_hand" and "face" are fitted to."""
    points: list[int] = []
    bones: list[tuple[int, int, float]] = []

    def usable(name: str, index: tuple[int, ...] | range) -> list[int]:
        known = body.points.get(name)
        return [] if known is None else [FIRST[name] + i for i in index if known.usable[i]]

    if part == "body":
        points += usable("pose33", range(33))
        for name in ("left_hand", "right_hand"):
            points += usable(name, PALM)
        points += usable("face468", FACE_FRAME)
        place = {point: i for i, point in enumerate(points)}
        for a, b, kind in POSE_BONES:
            ends = POSE33.index(a), POSE33.index(b)
            if all(end in place for end in ends):
                bones.append((place[ends[0]], place[ends[1]], settings.hint_sigma[kind]))
        for name in ("left_hand", "right_hand"):
            for i, j in ((PALM[0], PALM[1]), (PALM[0], PALM[4]), (PALM[1], PALM[4])):
                pair = FIRST[name] + i, FIRST[name] + j
                if all(end in place for end in pair):
                    bones.append((place[pair[0]], place[pair[1]], settings.hint_sigma["hand"]))
    elif part in ("left_hand", "right_hand"):
        points += usable(part, range(21))
        place = {point: i for i, point in enumerate(points)}
        for first, second in HAND_BONES:
            pair = FIRST[part] + HAND21.index(first), FIRST[part] + HAND21.index(second)
            if all(end in place for end in pair):
                bones.append((place[pair[0]], place[pair[1]], settings.hint_sigma["hand"]))
    else:
        points += usable("face468", tuple(dict.fromkeys(FACE_MOVING)))
    index = np.array(points, np.int64)
    sets = np.searchsorted([FIRST[name] for name in SETS], index, side="right") - 1
    weight = np.array([settings.set_weight.get(SETS[i], 1.0) if part != "body" else 1.0 for i in sets], np.float32)
    return Layout(
        index,
        sets.astype(np.int64),
        np.array([bone[:2] for bone in bones], np.int64).reshape(-1, 2),
        np.array([bone[2] for bone in bones], np.float32),
        weight,
    )


def carriers_of(body: BodyModel, chosen: Layout) -> VirtualPoints:
    """The chosen points on the body."""
    all_sets = {i: body.virtual_points(body.points[SETS[i]]) for i in np.unique(chosen.sets).tolist()}
    first = np.array([FIRST[SETS[i]] for i in chosen.sets], np.int64)
    rows = chosen.points - first

    def take(name: str) -> Array:
        parts = [getattr(all_sets[int(s)], name)[r] for s, r in zip(chosen.sets, rows, strict=True)]
        return np.asarray(np.stack(parts), np.float32)

    return VirtualPoints(take("template"), take("shapedirs"), take("exprdirs"), take("weights"))


def evidence_of(seen: Seen, chosen: Layout, carriers: VirtualPoints, settings: FitSettings) -> FrameEvidence:
    """Points with σ and bone directions with σ of each frame."""
    trust = trusts(seen).astype(np.float32)
    sizes = set_sizes(seen, trust)
    pixels = seen.image_px[:, chosen.points]
    believed = trust[:, chosen.points]
    sigma = np.stack([settings.sigma_2d[name] * sizes[name] for name in SETS], 1)[:, chosen.sets]
    inverse_sigma = believed * np.sqrt(chosen.share) / np.maximum(sigma, 0.3)
    ends = chosen.points[chosen.bones]
    # The face has no metric hints, and no bones here.
    bone = seen.world_m[:, ends[:, 1]] - seen.world_m[:, ends[:, 0]]
    length = np.linalg.norm(bone, axis=-1)
    strength = np.sqrt(trust[:, ends[:, 0]] * trust[:, ends[:, 1]]) / chosen.bone_sigma
    known = length > 1e-4
    return FrameEvidence(
        carriers,
        pixels,
        inverse_sigma.astype(np.float32),
        chosen.bones[:, 0],
        chosen.bones[:, 1],
        np.where(known[..., None], bone / np.maximum(length, 1e-4)[..., None], 0).astype(np.float32),
        np.where(known, strength, 0).astype(np.float32),
    )


def set_sizes(seen: Seen, trust: Array) -> dict[str, Array]:
    """Size in px of what each set shows, (T,): the person, each hand, the face."""
    box = seen.box_px
    person = np.maximum(np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]), 8.0)
    sizes = {"pose33": person}
    for name in SETS[1:]:
        part = slice(FIRST[name], FIRST[name] + len(POINT_SETS[name]))
        pixels = seen.image_px[:, part]
        there = (trust[:, part] > 0)[..., None]
        low = np.where(there, pixels, np.inf).min(1)
        high = np.where(there, pixels, -np.inf).max(1)
        extent = np.maximum(high - low, 0).max(-1)
        sizes[name] = np.where(np.isfinite(extent), np.maximum(extent, 0.02 * person), 0.1 * person)
    return sizes


def regressor_input(seen: Seen) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points that the regressor reads, (T, P, 2) px, and how far each is trusted (T, P)."""
    trust_all = trusts(seen)
    pixels = np.zeros((len(seen), len(REGRESSOR_POINTS), 2))
    trust = np.zeros((len(seen), len(REGRESSOR_POINTS)))
    for place, name in enumerate(REGRESSOR_POINTS):
        for source, point in SOURCES[name]:
            if source not in SETS:
                continue
            at = FIRST[source] + POINT_SETS[source].index(point)
            better = trust_all[:, at] > trust[:, place]
            trust[better, place] = trust_all[better, at]
            pixels[better, place] = seen.image_px[better, at]
    return pixels, trust


def regressor_hints(seen: Seen) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions of bones that the regressor reads, (T, K, 3), and how far each is trusted (T, K)."""
    part = slice(FIRST["pose33"], FIRST["pose33"] + len(POSE33))
    hints, trust = hints_of(seen.world_m[:, part], seen.confidence[:, part])
    return hints, trust * (seen.score > 0)[:, None]


def trusts(seen: Seen) -> NDArray[np.float64]:
    """How far each point is trusted, (T, NUM_POINTS)."""
    parts = [slice(FIRST[name], FIRST[name] + len(POINT_SETS[name])) for name in SETS]
    return np.concatenate([trust_of(name, seen.confidence[:, part]) for name, part in zip(SETS, parts, strict=True)], 1)


def joint_trusts(seen: Seen) -> Array:
    """(T, 55): how well the part that each joint turns was seen; what `joint_trust` says, of all frames at once."""
    trust = trusts(seen)
    result = np.ones((len(seen), NUM_JOINTS), np.float32)
    for joint, columns in _TURNING:
        result[:, joint] = trust[:, columns].max(1)
    return result
