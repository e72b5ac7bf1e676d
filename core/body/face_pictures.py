"""Painted pictures of faces with known expression and gaze, as `detection.face_picture` lays them, to train readers.

Needs the package anny.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..detection.crops import Square, apply
from ..detection.face import FaceSettings, metric_mesh, trace_mesh
from ..detection.face_network import FACE_INPUT_PX, MESH_POINTS
from ..detection.face_picture import PICTURE_PX, face_picture
from ..detection.observation import Observation, Points
from ..priors.expressions import mesh_size_px
from ..priors.gaze import eye_width, gaze_features, gaze_vectors, metric_irises
from .bake_poses import rotations_of
from .calibrate_stage import turn
from .face_draws import draw_face
from .face_views import FaceMaker, photographed, random_face_look
from .mannequin import Look, developed
from .skeleton import JOINT_INDEX

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

# Sizes of faces, px: of the prints of a face in its first and in its second look.
PRINTS_PX = (((110.0, 190.0), (40.0, 150.0)), ((90.0, 190.0), (18.0, 80.0)))
_PAINTED_PX, _FACE_M, _FILL = 288, 0.2, 0.72


@dataclass(frozen=True)
class FacePictures:
    """N faces. pictures (N, 112, 112) grey; meshes (N, 468, 3) metric, and irises (N, 10, 2) in their axes; px_per_m
    (N,) in the photo; size_px (N,) of the mesh there; expressions (N, 52); gaze (N, 2) rad; person (N,)."""

    pictures: Image
    meshes: Array
    irises: Array
    px_per_m: Array
    size_px: Array
    expressions: Array
    gaze: Array
    person: NDArray[np.int32]

    def some(self, which: NDArray[np.bool_]) -> FacePictures:
        """Those of a mask (N,)."""
        return FacePictures(*(getattr(self, item.name)[which] for item in fields(self)))

    def gaze_features(self) -> tuple[Array, Array]:
        """What gazes are read from (N, 18), and how wide the eyes are in the photo, px (N,)."""
        x = np.stack([gaze_features(*pair) for pair in zip(self.meshes, self.irises, strict=True)])
        return x, self.px_per_m * np.array([eye_width(mesh) for mesh in self.meshes], np.float32)

    def shut(self, names: tuple[str, ...]) -> Array:
        """How far the more open eye is shut, 0…1 (N,)."""
        blinks = self.expressions[:, [names.index(f"eyeBlink{side}") for side in ("Left", "Right")]]
        return np.asarray(blinks.min(axis=1), np.float32)

    @classmethod
    def join(cls, parts: list[FacePictures]) -> FacePictures:
        """All of several."""
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(cls)))

    @classmethod
    def of(cls, rows: list[tuple[Observation, Array, Array, int]]) -> FacePictures:
        """Observations of faces with their expressions (52,), gazes (2,) and persons; others are left out."""
        kept: list[tuple[object, ...]] = []
        for seen, expression, gaze, person in rows:
            face = seen.points["face468"]
            irises = metric_irises(face)
            if seen.face_picture is None or irises is None:
                continue
            size = mesh_size_px(face.image_px)
            kept.append((seen.face_picture, face.world_m, *irises, size, expression, gaze, person))
        columns = list(zip(*kept, strict=True)) or [() for _ in range(8)]
        shapes = ((PICTURE_PX, PICTURE_PX), (468, 3), (10, 2), (), (), (52,), (2,), ())
        kinds = (np.uint8, *(np.float32,) * 6, np.int32)
        return cls(
            *(
                np.asarray(column, kind).reshape(len(kept), *shape)
                for column, kind, shape in zip(columns, kinds, shapes, strict=True)
            )
        )


def picture_look(rng: np.random.Generator, brows: tuple[float, float], lowered: float, raised: float) -> Look:
    """A look for which brows, skin and hair are as various as people's. `lowered`, `raised`: how brows act, 0…1.

    Half of the brows sit where they usually do, the others up to 7 mm lower or 2 mm higher: where somebody's brows rest
    does not tell what they do.
    """
    look = random_face_look(rng)
    raise_m = rng.normal(0, 0.0008) if rng.random() < 0.5 else rng.uniform(*brows)
    tint = float(rng.uniform(0.2, 1.0))
    waves = np.concatenate([rng.normal(0, 180.0, (6, 3)), rng.uniform(0, 6.28, (6, 1))], axis=1)
    return replace(
        look,
        brow_raise_m=float(raise_m),
        brow_size=float(np.exp(rng.normal(0.05, 0.3))),
        brow_slant=float(rng.normal(0, 0.06)),
        fringe_m=float(rng.uniform(0.01, 0.05)) if rng.random() < 0.12 else 0.0,
        beard=float(rng.uniform(0.2, 0.9)) if rng.random() < 0.2 else 0.0,
        frame_m=float(rng.uniform(0.001, 0.0035)) if rng.random() < 0.15 else 0.0,
        frame_size=float(rng.uniform(0.85, 1.25)),
        forehead_lines=float(np.clip(rng.uniform(-0.3, 0.25) + rng.choice([0.0, 0.35]) * raised, 0.0, 0.5)),
        frown_lines=float(np.clip(rng.uniform(-0.3, 0.3) + rng.choice([0.0, 0.4]) * lowered, 0.0, 0.6)),
        mottled=float(rng.uniform(0.0, 0.35)),
        mottle=waves.astype(np.float32),
        iris=(tint * rng.uniform((0.05, 0.05, 0.03), (0.3, 0.4, 0.5))).astype(np.float32),
    )


class PictureMaker:
    """Paints faces; equal makers and numbers give equal faces."""

    def __init__(self, maker: FaceMaker) -> None:
        self.maker = maker

    def draw(self, index: int) -> list[tuple[Observation, Array, Array, int]]:
        """Prints of a face in which it was seen, with its expression, gaze and person."""
        m = self.maker
        rng = np.random.default_rng([m.seed, 77, index])
        cv2.setRNGSeed(int(rng.integers(2**31)))
        names = m.body.expression_names
        person = int(rng.integers(len(m.people)))
        expression, gaze = draw_face(rng, names)
        acts = dict(zip(names, expression.tolist(), strict=True))
        vertices = m.people[person] + np.einsum("e,evi->vi", expression, m.expressions)
        eyes = [int(JOINT_INDEX[f"{side}_eye_smplhf"]) for side in ("left", "right")]
        ball_turn = rotations_of(gaze_vectors(gaze).astype(np.float64)).astype(np.float32)
        for side, eye in zip(("left", "right"), eyes, strict=True):
            ball = m.body.vertex_groups[f"{side}_eyeball"]
            vertices[ball] = (vertices[ball] - m.joints[person, eye]) @ ball_turn.T + m.joints[person, eye]
        middle = m.joints[person, eyes].mean(axis=0) - np.array([0.0, 0.03, -0.06], np.float32)
        view = turn(
            float(np.clip(rng.normal(0, 0.3), -0.75, 0.75)), float(rng.normal(0, 0.2)), float(rng.normal(0, 0.12))
        )
        far = float(np.exp(rng.uniform(np.log(0.35), np.log(3.0))))
        posed = (vertices - middle) @ view.T + np.array([0.0, 0.0, far], np.float32)
        focal_px = _FILL * _PAINTED_PX * far / _FACE_M
        raised = max(acts["browInnerUp"], acts["browOuterUpLeft"], acts["browOuterUpRight"])
        lowered = max(acts["browDownLeft"], acts["browDownRight"])
        sight = m.mannequin.sight(posed.astype(np.float32), focal_px, (_PAINTED_PX, _PAINTED_PX))
        across = view @ np.array([1.0, 0.0, 0.0], np.float32)
        found = []
        for sizes in PRINTS_PX:
            look = picture_look(rng, (-0.007, 0.002), lowered, raised)
            painted = developed(m.mannequin.shade(sight, look, rng), rng)
            for least, most in sizes:
                seen = self._print(painted, float(np.arctan2(across[1], across[0])), least, most, rng)
                if seen is not None:
                    found.append((seen, expression, gaze, person))
        return found

    def _print(
        self, painted: Image, angle: float, least_px: float, most_px: float, rng: np.random.Generator
    ) -> Observation | None:
        face_px = float(np.exp(rng.uniform(np.log(least_px), np.log(most_px))))
        factor = min(1.0, face_px / (_FILL * _PAINTED_PX))
        small = cv2.resize(painted, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        rgb = photographed(np.asarray(small, np.uint8), rng)
        half = rgb.shape[0] / 2.0
        jitter = rng.normal(0, 0.025, 2) * half
        side_px = 2.0 * half * _FILL * FaceSettings().crop_scale * float(np.exp(rng.normal(0, 0.07)))
        square = Square((half + jitter[0], half + jitter[1]), side_px, angle)
        # The detector looks twice; the first look at a crop that the painter lays is as good, in half the time.
        return see_face(rgb, square, self.maker, looks=1)

    def batch(self, start: int, count: int) -> FacePictures:
        """The faces of numbers from `start` on that were seen."""
        return FacePictures.of([row for index in range(start, start + count) for row in self.draw(index)])


def see_face(rgb: Image, square: Square, maker: FaceMaker, looks: int = 2) -> Observation | None:
    """What a detector's face part sees in a square of a picture."""
    traced = trace_mesh(rgb, square, maker.network.detect, FaceSettings(looks=looks))
    if traced is None or traced[1] < maker.settings.least_score:
        return None
    points, score, square = traced
    image = apply(square.matrix(FACE_INPUT_PX), points[:, :2]).astype(np.float32)
    confidence = np.full(MESH_POINTS, score, np.float32)
    mesh = metric_mesh(points[:MESH_POINTS], square.angle_rad)
    face = Points(image[:MESH_POINTS], confidence, mesh, irises_px=image[MESH_POINTS:])
    size = (rgb.shape[1], rgb.shape[0])
    box = np.array([0, 0, *size], np.float32)
    return Observation(size, box, 1.0, {"face468": face}, face_picture=face_picture(rgb, face))
