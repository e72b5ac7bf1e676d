"""Faces of known expression as the face network sees them, to train `priors.expressions`. Development: needs anny.

People are anny's own, with every one of the 52 components acted alone and together, painted by `Mannequin`, seen from
all sides that show a face, near and far, large and small.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..detection.crops import Square
from ..detection.face import FaceSettings, metric_mesh, trace_mesh
from ..detection.face_network import FaceNetwork
from .bake_face import bake_expressions, shorten_lashes
from .bake_rig import TPose, fold_weights, people_in_t_pose
from .bake_source import load_source
from .calibrate_stage import turn
from .mannequin import Mannequin, random_look
from .model import BodyModel
from .skeleton import JOINT_INDEX

Array = NDArray[np.float32]


@dataclass(frozen=True)
class FaceViewSettings:
    people: int = 400
    picture_px: int = 224
    face_m: float = 0.2  # of the picture's side that a face of this size fills `fill` of
    fill: float = 0.62
    least_face_px: float = 26.0
    most_face_px: float = 220.0
    neutral_share: float = 0.2
    least_score: float = 0.9


@dataclass(frozen=True)
class FaceViews:
    """N faces. meshes (N, 468, 3) as `Points.world_m` of a face; expressions (N, 52) 0…1; person (N,)."""

    meshes: Array
    expressions: Array
    person: NDArray[np.int32]


# Actions that show much come more often than others.
_COMMON = ("jawOpen", "mouthSmile", "eyeBlink", "mouthPucker", "browInnerUp", "browOuterUp", "browDown", "mouthFrown")
_TOGETHER = (("mouthSmile", "cheekSquint"), ("browInnerUp", "browOuterUp"), ("eyeSquint", "cheekSquint"))
_LONE_SIDE = 0.3  # of actions of two sides, how many are of one


def draw_expression(rng: np.random.Generator, names: tuple[str, ...], neutral_share: float) -> Array:
    """Components (52,) 0…1: nothing, or one to four actions, each with its strength, and traces of others."""
    values = np.zeros(len(names), np.float32)
    if rng.random() < neutral_share:
        return values
    stems = sorted({name.removesuffix("Left").removesuffix("Right") for name in names} - {"tongueOut"})
    weights = np.array([4.0 if stem in _COMMON else 1.0 for stem in stems])
    chosen = rng.choice(
        len(stems), int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1])), False, weights / weights.sum()
    )
    acts = [(stems[i], float(rng.uniform(0.15, 1.0))) for i in chosen]
    for first, second in _TOGETHER:
        acts += [(second, strength * float(rng.uniform(0.3, 1.0))) for stem, strength in acts if stem == first][:1]
    for stem, strength in acts:
        sides = [i for i, name in enumerate(names) if name.removesuffix("Left").removesuffix("Right") == stem]
        alone = int(rng.integers(2)) if len(sides) == 2 and rng.random() < _LONE_SIDE else None
        for k, i in enumerate(sides):
            if alone is None or alone == k:
                values[i] = max(values[i], strength * float(rng.uniform(0.85, 1.0)))
    traces = rng.choice(len(names), 6, replace=False)
    values[traces] = np.maximum(values[traces], rng.uniform(0, 0.12, 6))
    values[[i for i, name in enumerate(names) if name == "tongueOut"]] = 0.0
    return values


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

    def draw(self, index: int) -> tuple[Array, Array, int] | None:
        """Mesh (468, 3), expression (52,) and person of one face; None where the network saw none."""
        s, rng = self.settings, np.random.default_rng([self.seed, index])
        person = int(rng.integers(s.people))
        expression = draw_expression(rng, self.body.expression_names, s.neutral_share)
        vertices = self.people[person] + np.einsum("e,evi->vi", expression, self.expressions)
        eyes = [int(JOINT_INDEX[f"{side}_eye_smplhf"]) for side in ("left", "right")]
        middle = self.joints[person, eyes].mean(axis=0) - np.array([0.0, 0.03, -0.06], np.float32)
        gaze = turn(float(rng.normal(0, 0.15)), float(rng.normal(0, 0.1)), 0.0) * np.array([[1], [-1], [-1]])
        for side, eye in zip(("left", "right"), eyes, strict=True):
            ball = self.body.vertex_groups[f"{side}_eyeball"]
            vertices[ball] = (vertices[ball] - self.joints[person, eye]) @ gaze.T + self.joints[person, eye]
        view = turn(
            float(np.clip(rng.normal(0, 0.4), -1.1, 1.1)), float(rng.normal(0, 0.22)), float(rng.normal(0, 0.12))
        )
        far = float(np.exp(rng.uniform(np.log(0.35), np.log(3.0))))
        posed = (vertices - middle) @ view.T + np.array([0.0, 0.0, far], np.float32)
        focal_px = s.fill * s.picture_px * far / s.face_m
        size = (s.picture_px, s.picture_px)
        rgb = self.mannequin.paint(posed.astype(np.float32), focal_px, size, random_look(rng), rng)
        face_px = float(np.exp(rng.uniform(np.log(s.least_face_px), np.log(s.most_face_px))))
        factor = min(1.0, face_px / (s.fill * s.picture_px))
        if factor < 1.0:
            rgb = cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        half = rgb.shape[0] / 2.0
        jitter = rng.normal(0, 0.04, 2) * half
        across = view @ np.array([1.0, 0.0, 0.0], np.float32)
        side_px = 2.0 * half * s.fill * FaceSettings().crop_scale * float(np.exp(rng.normal(0, 0.1)))
        square = Square((half + jitter[0], half + jitter[1]), side_px, float(np.arctan2(across[1], across[0])))
        traced = trace_mesh(rgb, square, self.network.detect, FaceSettings())
        if traced is None or traced[1] < s.least_score:
            return None
        points, _, square = traced
        return metric_mesh(points, square.angle_rad), expression, person

    def batch(self, start: int, count: int) -> FaceViews:
        """The faces of numbers from `start` on that were seen."""
        drawn = [face for face in map(self.draw, range(start, start + count)) if face is not None]
        return FaceViews(
            np.stack([face[0] for face in drawn]),
            np.stack([face[1] for face in drawn]),
            np.array([face[2] for face in drawn], np.int32),
        )
