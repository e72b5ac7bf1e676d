"""Cameras and framing for the people of the accuracy bench. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bench_people import PosedPerson, facing
from .skeleton import JOINT_INDEX

Float = NDArray[np.float64]

SIZES = ((512, 512), (576, 448), (448, 576), (640, 448), (448, 640))
# How far down the picture reaches, with its share of pictures; and the lowest joint that is framed.
FRAMINGS = {"full": 0.72, "knees": 0.12, "hips": 0.1, "chest": 0.06}
_LOWEST = {"knees": "knee", "hips": "hip", "chest": "spine2", "face": "neck"}


@dataclass(frozen=True)
class View:
    """A pinhole camera in the world (y up)."""

    rotation: Float  # (3, 3) rows: right, down, ahead
    centre: Float  # (3,)
    focal_px: float
    size: tuple[int, int]

    def to_camera(self, points: Float) -> Float:
        """World → camera frame, (…, 3)."""
        return (points - self.centre) @ self.rotation.T

    def project(self, points: Float) -> Float:
        """World → px, (…, 2)."""
        return project(self.to_camera(points), self.focal_px, self.size)


def project(points_camera: Float, focal_px: float, size: tuple[int, int]) -> Float:
    """Camera frame (…, 3) → px (…, 2), the principal point in the middle."""
    depth = np.maximum(points_camera[..., 2:], 1e-2)
    return np.asarray(focal_px * points_camera[..., :2] / depth + 0.5 * np.array(size))


def look_at(centre: Float, target: Float, roll_rad: float) -> Float:
    """Rows right, down, ahead of a camera at `centre` that looks at `target`, turned about its axis."""
    ahead = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(ahead, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    cos, sin = np.cos(roll_rad), np.sin(roll_rad)
    return np.stack([cos * right + sin * down, -sin * right + cos * down, ahead])


def draw_close_view(rng: np.random.Generator, person: PosedPerson, framing: str) -> View:
    """A camera before the face or the chest that sees it large."""
    size = SIZES[int(rng.integers(3))]
    focal_px = float(np.exp(rng.uniform(np.log(35.0), np.log(100.0)))) / 36.0 * max(size)
    ahead = person.joint_rotations[JOINT_INDEX["head"]][:, 2] if framing == "face" else facing(person)
    turn = float(np.clip(rng.normal(0, 0.3), -0.6, 0.6))
    direction = turned(ahead / np.linalg.norm(ahead[[0, 2]]), turn)
    shown = framed_vertices(person, framing)
    height = float(shown[:, 1].mean() + rng.normal(0, 0.1))
    fill = rng.uniform(0.4, 0.7) if framing == "face" else rng.uniform(0.8, 0.95)
    return filling(direction, height, float(rng.normal(0, 0.03)), shown, focal_px, size, fill, rng)


def turned(direction: Float, turn_rad: float) -> Float:
    """The horizontal part of a direction (3,), turned about the vertical."""
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    return np.array([cos * direction[0] + sin * direction[2], 0.0, -sin * direction[0] + cos * direction[2]])


def draw_view(rng: np.random.Generator, person: PosedPerson) -> tuple[View, str]:
    """A camera that sees the person, mostly from before, and the name of the framing."""
    size = SIZES[int(rng.integers(len(SIZES)))]
    focal_mm = float(np.exp(rng.uniform(np.log(24.0), np.log(135.0))))
    focal_px = focal_mm / 36.0 * max(size)
    framing = str(rng.choice(list(FRAMINGS), p=list(FRAMINGS.values())))
    if min(person.joint_rotations[JOINT_INDEX[name]][1, 1] for name in ("pelvis", "spine3")) < 0.5:
        framing = "full"  # nobody frames a cartwheel by its knees
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.08 else np.clip(rng.normal(0, 0.5), -1.2, 1.2)
    direction = turned(facing(person), float(turn))
    height = float(np.clip(rng.normal(1.45, 0.3), 0.8, 2.2))
    roll = float(rng.normal(0, np.deg2rad(1.5)))
    shown = framed_vertices(person, framing)
    fill = rng.uniform(0.6, 0.92) if framing == "full" else rng.uniform(0.85, 1.1)
    return filling(direction, height, roll, shown, focal_px, size, fill, rng), framing


def filling(
    direction: Float,
    height: float,
    roll: float,
    shown: Float,
    focal_px: float,
    size: tuple[int, int],
    fill: float,
    rng: np.random.Generator,
) -> View:
    """The camera in a direction from which the shown (N, 3) fills a share of the picture's side, off its middle."""
    near, far = 0.4, 60.0
    for _ in range(30):  # the box shrinks with distance
        distance = float(np.sqrt(near * far))
        view = _aimed(direction, distance, height, roll, shown, focal_px, size, np.zeros(2))
        if _filled(view, shown) > fill:
            near = distance
        else:
            far = distance
    slack = np.maximum(0.0, np.array(size) * 0.96 - _box(view, shown)) * 0.5
    offset = rng.uniform(-0.8, 0.8, 2) * slack
    return _aimed(direction, far, height, roll, shown, focal_px, size, offset)


def framed_vertices(person: PosedPerson, framing: str) -> Float:
    """What of the person must be in the picture, (N, 3)."""
    if framing == "full":
        return person.vertices
    name = _LOWEST[framing]
    names = [name] if name in JOINT_INDEX else [f"left_{name}", f"right_{name}"]
    level = np.mean([person.t_joints[JOINT_INDEX[joint]][1] for joint in names])
    shown: Float = person.vertices[person.t_vertices[:, 1] > level]
    return shown


def _aimed(
    direction: Float,
    distance: float,
    height: float,
    roll: float,
    shown: Float,
    focal_px: float,
    size: tuple[int, int],
    offset_px: Float,
) -> View:
    """The camera at a distance, aimed so that the middle of the shown's box lies `offset_px` off the picture's."""
    target = 0.5 * (shown.min(0) + shown.max(0))
    centre = np.array([target[0], 0.0, target[2]]) + distance * direction
    # Near cameras stay near eye level: nobody takes portraits from above the head.
    centre[1] = target[1] + np.clip(height - target[1], -0.6 * distance, 0.6 * distance)
    centre[1] = max(centre[1], 0.15)
    for _ in range(6):
        view = View(look_at(centre, target, roll), centre, focal_px, size)
        pixels = view.project(shown)
        error = 0.5 * (pixels.min(0) + pixels.max(0)) - 0.5 * np.array(size) - offset_px
        depth = float(np.linalg.norm(target - centre))
        step = np.clip(error / focal_px, -0.5, 0.5) * depth
        target = target + view.rotation[0] * step[0] + view.rotation[1] * step[1]
    return View(look_at(centre, target, roll), centre, focal_px, size)


def _box(view: View, shown: Float) -> Float:
    pixels = view.project(shown)
    return np.asarray(pixels.max(0) - pixels.min(0))


def _filled(view: View, shown: Float) -> float:
    if float(view.to_camera(shown)[:, 2].min()) < 0.15:
        return np.inf
    return float((_box(view, shown) / np.array(view.size)).max())
