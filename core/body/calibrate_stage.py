"""The stage of calibration: bodies posed before a camera, their pictures, and how well points meet detections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .mannequin import Mannequin, random_look
from .model import BodyModel, PointSet
from .skinning import Body

Float = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class CalibrationSettings:
    """How many pictures are painted, and which detections count."""

    heads: int = 240
    bodies: int = 320
    hands: int = 160  # of each side
    finger_spread: float = 0.3  # of each hand component
    picture_px: int = 448
    seed: int = 3
    shape_spread: float = 0.8  # of each beta
    least_face_score: float = 0.9
    least_visibility: float = 0.6  # of a body point
    least_share: float = 0.25  # of the pictures in which a face point must be seen from outside
    most_face_sigma_m: float = 0.005
    most_outline_sigma_m: float = 0.008  # of the face's outline, which is never seen squarely
    most_pose_sigma_m: float = 0.04
    most_hand_sigma_m: float = 0.015
    grazing: float = 0.3  # cosine between normal and view below which a hit on the face is not believed
    shape_terms: int = 8  # leading betas that body offsets may follow


@dataclass(frozen=True)
class Agreement:
    """How well calibrated points meet the detections: distances at the point's depth (mm) and in the picture (px)."""

    label: str
    pictures: int
    usable: int
    points: int
    mean_mm: float
    p95_mm: float
    mean_px: float
    p95_px: float

    def line(self) -> str:
        """For people, in one line."""
        return (
            f"{self.label}: {self.usable} of {self.points} points usable, {self.pictures} pictures, "
            f"{self.mean_mm:.1f} mm mean, {self.p95_mm:.1f} mm p95 ({self.mean_px:.2f} px, {self.p95_px:.2f} px)"
        )


@dataclass(frozen=True)
class Sight:
    """One detection with the truth beside it. Camera frame; focal in px, principal point in the middle."""

    image_px: Float  # (N, 2) relative to the principal point
    weight: Float  # (N,) 0…1
    focal_px: float
    betas: Float  # (B,)
    expression: Float  # (E,)
    rotmats: Float  # (55, 3, 3) local
    transl: Float  # (3,)
    frames: Float  # (55, 3, 3) joints' rotations in the camera
    joints: Float  # (55, 3)
    places: Float | None = None  # (N, 3) template places that were hit, nan where none


def turn(yaw: float, pitch: float, roll: float) -> Float:
    """Rotation (3, 3) of a body that faces the camera at zero; body axes (y up) to camera axes (y down)."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    result: Float = (np.diag([1.0, -1.0, -1.0]) @ about_z @ about_x @ about_y).astype(np.float32)
    return result


class Stage:
    """Poses bodies before a camera and takes pictures of them."""

    def __init__(self, body: BodyModel, settings: CalibrationSettings) -> None:
        self.model, self.settings = body, settings
        self.body = Body(body)
        self.mannequin = Mannequin(body)
        self.rng = np.random.default_rng(settings.seed)
        self.size = (settings.picture_px, settings.picture_px)

    def person(self) -> Float:
        """Betas (B,) of somebody."""
        return self.rng.normal(0.0, self.settings.shape_spread, self.model.num_betas).astype(np.float32)

    def take(
        self,
        betas: Float,
        expression: Float,
        rotmats: Float,
        aim: Callable[[Float], Float],
        focal_px: float,
        far_m: float,
    ) -> tuple[Image, Sight, NDArray[np.int32], Float]:
        """A picture with `aim(joints)` in its middle at `far_m`; also the triangles and places that pixels see."""
        tensors = [torch.as_tensor(item) for item in (betas, expression, rotmats)]
        transl = far_m * np.array([0.0, 0.0, 1.0], np.float32)
        joints = self.body.joints(tensors[0], tensors[1], tensors[2]).numpy()
        transl = (transl - aim(joints)).astype(np.float32)
        vertices = self.body.vertices(tensors[0], tensors[1], tensors[2], torch.as_tensor(transl)).numpy()
        frames, joints_t = self.body.chain(
            self.body.rest_joints(tensors[0], tensors[1]), tensors[2], torch.as_tensor(transl)
        )
        rgb, hits = self.mannequin.picture(vertices, focal_px, self.size, random_look(self.rng), self.rng)
        sight = Sight(
            np.zeros((0, 2), np.float32),
            np.zeros(0, np.float32),
            focal_px,
            betas,
            expression,
            rotmats,
            transl,
            frames.numpy(),
            joints_t.numpy(),
        )
        return rgb, sight, hits.triangles, hits.barycentric


def residuals(model: BodyModel, points: PointSet, sights: list[Sight]) -> tuple[Float, Float]:
    """Distances (S, N) of projected points from detections: mm at the point's depth, and px; nan where unseen."""
    body = Body(model)
    tensors = body.point_tensors(model.virtual_points(points))
    mm = np.full((len(sights), len(points.names)), np.nan, np.float32)
    px = mm.copy()
    for i, sight in enumerate(sights):
        values = (sight.betas, sight.expression, sight.rotmats, sight.transl)
        posed = body.points(tensors, *(torch.as_tensor(value) for value in values)).numpy()
        image = posed[:, :2] / posed[:, 2:] * sight.focal_px
        gap = np.linalg.norm(image - sight.image_px, axis=1)
        gap = np.where(sight.weight > 0, gap, np.nan)
        px[i], mm[i] = gap, gap * posed[:, 2] / sight.focal_px * 1000.0
    return mm, px


def agreement(label: str, points: PointSet, mm: Float, px: Float) -> Agreement:
    """Sum up distances of points, mm and px (pictures, points); NaN where one was not seen."""
    use = points.usable
    if not use.any():
        return Agreement(label, len(mm), 0, len(use), *(float("nan"),) * 4)
    return Agreement(
        label,
        len(mm),
        int(use.sum()),
        len(use),
        float(np.nanmean(mm[:, use])),
        float(np.nanpercentile(mm[:, use], 95)),
        float(np.nanmean(px[:, use])),
        float(np.nanpercentile(px[:, use], 95)),
    )


def spread(distances: Float) -> Float:
    """Standard deviation a coordinate of each column of 2D distances; gross misses are cut at four times the median."""
    result = np.full(distances.shape[1], np.inf, np.float32)
    for i, column in enumerate(distances.T):
        seen = column[np.isfinite(column)]
        if len(seen) >= 10:
            result[i] = np.sqrt(np.mean(np.minimum(seen, 4.0 * np.median(seen)) ** 2) / 2.0)
    return np.where(np.isfinite(result), result, 1000.0).astype(np.float32)
