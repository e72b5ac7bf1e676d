"""Who is drawn in a preview of a clip, and the camera beside them: bodies by frame, and the ground they stand on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .capture import Capture

if TYPE_CHECKING:
    from .body.model import BodyModel


Float = NDArray[np.float32]
Double = NDArray[np.float64]
Picture = NDArray[np.uint8]

FLOOR, LINE, MAIN_LINE = (58, 60, 64), (84, 87, 92), (112, 116, 122)  # RGB
NOT_FOLLOWED_M = 0.99  # joint_sigma_m of frames whose pose nobody knows


@dataclass(frozen=True)
class PreviewSettings:
    """How the preview looks."""

    height_px: int = 360  # of a tile, at most
    opacity: float = 0.7
    side_deg: float = 70.0  # how far the third tile's camera goes around, to the clip camera's left
    rise_deg: float = 12.0  # how far it looks down
    grid_m: float = 0.5


@dataclass(frozen=True)
class Pose:
    """One person in one frame. V vertices, 4 soles in the order of a capture's contacts."""

    vertices: Float  # (V, 3) in the frame's camera
    world: Float  # (V, 3) in the first frame's camera axes
    soles: Float  # (4, 3) the same
    standing: NDArray[np.bool_]  # (4,)
    seen: bool


class Figure:
    """A captured person with a body: frame of the clip → surface."""

    def __init__(self, capture: Capture, model: BodyModel, tint: tuple[int, int, int]) -> None:
        import torch

        from .body.skinning import Body
        from .fitting.video_parts import sole_points
        from .rotation import exp_so3

        self.capture, self.tint = capture, np.array(tint, np.float32)
        self.faces = np.ascontiguousarray(model.faces, np.int32)
        self.body = Body(model)
        self.soles = self.body.point_tensors(sole_points(model))
        self.rows = {int(index): row for row, index in enumerate(capture.frame_indices)}
        self.known = known_frames(capture)
        turn = torch.as_tensor(capture.camera_rotvec).double()
        self.turn = exp_so3(turn).float().numpy() if len(turn) else None
        self._torch, self._exp = torch, exp_so3

    def at(self, index: int) -> Pose | None:
        """The person in a frame of the clip; None where nobody knows."""
        row = self.rows.get(index)
        if row is None or not self.known[row]:
            return None
        capture, torch = self.capture, self._torch
        one = slice(row, row + 1)
        pose = np.concatenate(
            [
                getattr(capture, name)[one]
                for name in (
                    "global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose",
                    "right_hand_pose",
                )
            ],
            axis=1,
        ).reshape(55, 3)  # fmt: skip
        values = (
            torch.as_tensor(capture.betas),
            torch.as_tensor(capture.expression[row]),
            self._exp(torch.as_tensor(pose).double()).float(),
            torch.as_tensor(capture.transl[row]),
        )
        with torch.no_grad():
            vertices = self.body.vertices(*values).numpy()
            soles = self.body.points(self.soles, *values).numpy()
        world = vertices
        if self.turn is not None:
            world, soles = vertices @ self.turn[row].T, soles @ self.turn[row].T
        standing = capture.contacts[row] > 0.5 if len(capture.contacts) else np.zeros(4, bool)
        return Pose(vertices, world, soles, standing, bool(capture.confidence[row] > 0))

    def ground_m(self, up: Double) -> float:
        """How high along `up` the ground is that was found for this person."""
        if np.isfinite(self.capture.ground_m):
            # Planes of several people need not be parallel: each counts where its person is.
            own = self.capture.up_camera.astype(np.float64)
            middle = np.median(self.path(), axis=0) if self.known.any() else np.zeros(3)
            return float((middle - (middle @ own - self.capture.ground_m) * own) @ up)
        # None was found: where the lowest joints are, which lie some centimetres above the sole.
        return float(np.percentile(self.path() @ up, 1)) - 0.05 if self.known.any() else 0.0

    def path(self) -> Float:
        """Joints (N, 3) of some known frames, in the first frame's camera axes."""
        rows = np.flatnonzero(self.known)
        rows = rows[:: max(1, len(rows) // 500)]
        joints = self.capture.joints[rows]
        if self.turn is not None:
            joints = np.einsum("tij,tnj->tni", self.turn[rows], joints)
        return np.asarray(joints.reshape(-1, 3), np.float32)


def known_frames(capture: Capture) -> NDArray[np.bool_]:
    """(T,) frames where the person was seen, or is followed through a gap."""
    known = capture.confidence > 0
    if len(capture.joint_sigma_m):
        known = known | (capture.joint_sigma_m.min(axis=1) < NOT_FOLLOWED_M)
    return np.asarray(known, bool)


class Side:
    """A camera that stands to the side, and the ground that it sees."""

    def __init__(self, figures: Sequence[Figure], size: tuple[int, int], settings: PreviewSettings) -> None:
        self.size = size
        self.focal_px = 1.8 * size[1]
        first = figures[0].capture
        up = first.up_camera.astype(np.float64) / np.linalg.norm(first.up_camera)
        points = np.concatenate([figure.path() for figure in figures]).astype(np.float64)
        if not len(points):
            points = np.array([[0.0, 0.0, 4.0]])
        self.up = up
        # The grid lies under the lowest; who stands on something keeps the own ground.
        self.ground_m = min(figure.ground_m(up) for figure in figures)
        ahead = np.array([0.0, 0.0, 1.0]) - up[2] * up
        if np.linalg.norm(ahead) < 0.2:  # the camera looks straight down: its upper edge lies ahead
            ahead = np.array([0.0, -1.0, 0.0]) + up[1] * up
        self.ahead = ahead / np.linalg.norm(ahead)
        self.right = np.cross(self.ahead, up)
        turn, rise = math.radians(settings.side_deg), math.radians(settings.rise_deg)
        level = math.cos(turn) * self.ahead + math.sin(turn) * self.right
        z = math.cos(rise) * level - math.sin(rise) * up
        x = np.cross(-up, z) / np.linalg.norm(np.cross(-up, z))
        self.axes = np.stack([x, np.cross(z, x), z])  # world to view
        # Room for all places but the wildest.
        onto = points - ((points @ up - self.ground_m)[:, None] * up)
        seen = np.concatenate([points, onto]) @ self.axes.T
        low, high = np.percentile(seen, (0.5, 99.5), axis=0)
        self.middle = (low + high) / 2
        off = seen - self.middle
        half = 0.5 * 0.84 * np.array(size) / self.focal_px
        self.away_m = max(2.0, float(np.percentile((np.abs(off[:, :2]) / half).max(axis=1) - off[:, 2], 99.5)))
        self.points = points
        self.floor = self._draw_floor(settings.grid_m)

    def to_view(self, world: Float | Double) -> Float:
        """World places (…, 3) in this camera's frame."""
        return np.asarray(world @ self.axes.T - self.middle + [0.0, 0.0, self.away_m], np.float32)

    def to_pixels(self, view: Float) -> Double:
        """Image places (…, 2) of view places before the camera."""
        return np.asarray(view[..., :2] / view[..., 2:] * self.focal_px + np.array(self.size) / 2.0, np.float64)

    def on_ground(self, world: Float | Double, ground_m: float) -> Double:
        """Places straight below, or above, on a ground."""
        return np.asarray(world - (world @ self.up - ground_m)[..., None] * self.up, np.float64)

    def _draw_floor(self, step: float) -> Picture:
        import cv2

        picture = np.full((self.size[1], self.size[0], 3), FLOOR, np.uint8)
        places = np.stack([self.points @ self.right, self.points @ self.ahead], axis=1)
        low = np.floor((places.min(0) - 1.5) / step).astype(int)
        high = np.ceil((places.max(0) + 1.5) / step).astype(int)
        low, high = np.maximum(low, high - 400), high
        origin = self.ground_m * self.up
        for way, along, across in ((0, self.right, self.ahead), (1, self.ahead, self.right)):
            for k in range(low[1 - way], high[1 - way] + 1):
                ends = np.stack([origin + k * step * across + end[way] * step * along for end in (low, high)])
                view = self.to_view(ends).astype(np.float64)
                if (view[:, 2] < 0.1).all():
                    continue
                behind = view[:, 2] < 0.1
                if behind.any():
                    share = (0.1 - view[behind, 2]) / (view[~behind, 2] - view[behind, 2])
                    view[behind] += share[:, None] * (view[~behind] - view[behind])
                a, b = np.clip(self.to_pixels(view.astype(np.float32)) * 16 - 8, -(2**20), 2**20).astype(int)
                colour = MAIN_LINE if (k * step) % 1.0 == 0 else LINE
                cv2.line(picture, a.tolist(), b.tolist(), colour, 1, cv2.LINE_AA, 4)
        return picture
