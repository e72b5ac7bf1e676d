"""Faces of known expression as the face network sees them, to train `priors.expressions`. Development: needs anny.

People are anny's own, with every one of the 52 components acted alone and together, painted by `Mannequin`, seen from
all sides that show a face, near and far, large and small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ..detection.crops import Square, apply
from ..detection.face import FaceSettings, metric_mesh, trace_mesh
from ..detection.face_network import FACE_INPUT_PX, MESH_POINTS, FaceNetwork
from .bake_face import bake_expressions, shorten_lashes
from .bake_rig import TPose, fold_weights, people_in_t_pose
from .bake_source import load_source
from .calibrate_stage import turn
from .face_draws import SEEN, draw_expression
from .mannequin import Look, Mannequin, random_look
from .model import BodyModel
from .skeleton import JOINT_INDEX

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FaceViewSettings:
    """Who is painted, and how large."""

    people: int = 400
    plain: int = 4000  # faces of numbers below it are painted plainly, the others as variously as photos are
    picture_px: int = 224
    face_m: float = 0.2  # of the picture's side that a face of this size fills `fill` of
    fill: float = 0.62
    least_score: float = 0.9


@dataclass(frozen=True)
class _Kind:
    """How faces are drawn. Angles: standard deviations, rad."""

    neutral_share: float
    common: tuple[str, ...]  # actions that show much come more often than others
    gaze: tuple[float, float]  # sideways, up and down
    nod: float
    least_px: tuple[float, ...]  # a print each: its least size; all are up to 220 px
    photographed: bool  # in any light and quality, and any look


_MOST_PX = 220.0


@dataclass(frozen=True)
class FaceViews:
    """N faces. meshes (N, 468, 3) as `Points.world_m` of a face; size_px (N,) of the meshes in the picture;
    expressions (N, 52) 0…1; person (N,)."""

    meshes: Array
    size_px: Array
    expressions: Array
    person: NDArray[np.int32]

    def some(self, which: NDArray[np.bool_]) -> FaceViews:
        """Those of a mask (N,)."""
        return FaceViews(self.meshes[which], self.size_px[which], self.expressions[which], self.person[which])


_PLAIN = _Kind(0.2, SEEN, (0.15, 0.1), 0.22, (26.0,), False)
_VARIOUS = _Kind(0.25, (*SEEN, "eyeWide", "noseSneer"), (0.2, 0.13), 0.24, (90.0, 16.0, 16.0), True)


def random_face_look(rng: np.random.Generator) -> Look:
    """Any skin, hair or none, and brows that may be light, thin, or a little higher or lower than others'."""
    look = random_look(rng)
    skin = look.skin * float(np.exp(rng.uniform(np.log(0.5), np.log(1.05))))
    brows = look.hair
    if rng.random() < 0.3:
        brows = look.hair + float(rng.uniform(0.1, 0.6)) * (skin - look.hair)
    return replace(
        look,
        skin=skin.astype(np.float32),
        hair=skin.astype(np.float32) if rng.random() < 0.12 else look.hair,
        brows=brows.astype(np.float32),
        brow_raise_m=float(rng.normal(0, 0.0006)),
        brow_size=float(np.exp(rng.normal(0, 0.2))),
    )


def photographed(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture in any light, a little blurred or not, with a camera's noise, kept as JPEG."""
    light = float(np.exp(rng.uniform(np.log(0.2), np.log(1.3)))) * rng.uniform(0.8, 1.2, 3)
    shown = np.clip((rgb / 255.0) ** 2.2 * light, 0, 1) ** (1 / 2.2)
    if rng.random() < 0.3:
        shown = cv2.GaussianBlur(shown, (0, 0), float(rng.uniform(0.3, 0.8)))
    noise = cv2.randn(np.empty(shown.shape, np.float32), 0.0, float(rng.uniform(0.0, 0.025)))
    whole = (np.clip(shown + noise, 0, 1) * 255.0 + 0.5).astype(np.uint8)
    _, data = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 97))])
    kept: NDArray[np.uint8] = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return kept


class FaceMaker:
    """Draws faces; equal seeds and numbers give equal faces. Raises BakeError without anny."""

    def __init__(self, body: BodyModel, network: FaceNetwork, settings: FaceViewSettings, seed: int) -> None:
        self.body, self.network, self.settings, self.seed = body, network, settings, seed
        self.mannequin = Mannequin(body).above(float(body.J_template[JOINT_INDEX["neck"], 1]) - 0.06)
        source = shorten_lashes(load_source())
        grown = int(0.85 * settings.people)
        coefficients = np.concatenate(
            [
                source.sample_people(grown, seed, 16.0, 85.0),
                source.sample_people(settings.people - grown, seed, 4.0, 16.0),
            ]
        )
        weights = fold_weights(source)
        parts = [people_in_t_pose(source, rows[None], weights, TPose())[:2] for rows in coefficients]
        self.people = np.concatenate([vertices for vertices, _ in parts]).astype(np.float32)
        self.joints = np.concatenate([joints for _, joints in parts]).astype(np.float32)
        self.expressions = bake_expressions(source, body.vertex_groups).transpose(2, 0, 1).astype(np.float32)

    def draw(self, index: int) -> list[tuple[Array, float, Array, int]]:
        """Mesh (468, 3), size in px, expression (52,) and person of each print of a face in which it was seen."""
        s = self.settings
        kind, number = (_PLAIN, index) if index < s.plain else (_VARIOUS, index - s.plain)
        rng = np.random.default_rng([self.seed, number])
        if kind.photographed:
            cv2.setRNGSeed(int(rng.integers(2**31)))
        person = int(rng.integers(s.people))
        expression = draw_expression(rng, self.body.expression_names, kind.neutral_share, kind.common)
        vertices = self.people[person] + np.einsum("e,evi->vi", expression, self.expressions)
        eyes = [int(JOINT_INDEX[f"{side}_eye_smplhf"]) for side in ("left", "right")]
        middle = self.joints[person, eyes].mean(axis=0) - np.array([0.0, 0.03, -0.06], np.float32)
        gaze = turn(float(rng.normal(0, kind.gaze[0])), float(rng.normal(0, kind.gaze[1])), 0.0) * np.array(
            [[1], [-1], [-1]]
        )
        for side, eye in zip(("left", "right"), eyes, strict=True):
            ball = self.body.vertex_groups[f"{side}_eyeball"]
            vertices[ball] = (vertices[ball] - self.joints[person, eye]) @ gaze.T + self.joints[person, eye]
        view = turn(
            float(np.clip(rng.normal(0, 0.4), -1.1, 1.1)), float(rng.normal(0, kind.nod)), float(rng.normal(0, 0.12))
        )
        far = float(np.exp(rng.uniform(np.log(0.35), np.log(3.0))))
        posed = (vertices - middle) @ view.T + np.array([0.0, 0.0, far], np.float32)
        focal_px = s.fill * s.picture_px * far / s.face_m
        size = (s.picture_px, s.picture_px)
        look = random_face_look(rng) if kind.photographed else random_look(rng)
        painted = self.mannequin.paint(posed.astype(np.float32), focal_px, size, look, rng)
        across = view @ np.array([1.0, 0.0, 0.0], np.float32)
        faces = []
        for least_px in kind.least_px:
            face_px = float(np.exp(rng.uniform(np.log(least_px), np.log(_MOST_PX))))
            factor = min(1.0, face_px / (s.fill * s.picture_px))
            rgb = np.asarray(cv2.resize(painted, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
            if kind.photographed:
                rgb = photographed(rgb, rng)
            half = rgb.shape[0] / 2.0
            jitter = rng.normal(0, 0.04, 2) * half
            side_px = 2.0 * half * s.fill * FaceSettings().crop_scale * float(np.exp(rng.normal(0, 0.1)))
            square = Square((half + jitter[0], half + jitter[1]), side_px, float(np.arctan2(across[1], across[0])))
            traced = trace_mesh(rgb, square, self.network.detect, FaceSettings())
            if traced is None or traced[1] < s.least_score:
                continue
            points, _, square = traced
            points = points[:MESH_POINTS]
            seen_px = float(np.ptp(apply(square.matrix(FACE_INPUT_PX), points[:, :2]), axis=0).max())
            faces.append((metric_mesh(points, square.angle_rad), seen_px, expression, person))
        return faces

    def batch(self, start: int, count: int) -> FaceViews:
        """The faces of numbers from `start` on that were seen."""
        drawn = [face for index in range(start, start + count) for face in self.draw(index)]
        return FaceViews(
            np.stack([face[0] for face in drawn]),
            np.array([face[1] for face in drawn], np.float32),
            np.stack([face[2] for face in drawn]),
            np.array([face[3] for face in drawn], np.int32),
        )
