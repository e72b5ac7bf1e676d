"""Which part of a body a garment would cover, as fields over its vertices; numpy only.

A field is positive inside the garment, negative outside, in metres near its edge at rest, and zero on the edge:
shaders cut it there, so that edges stay crisp on a coarse mesh. Everything is measured from the joints, so it fits any
body of the format.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import ARMS, JOINT_INDEX
from .rest import Floats


def _between(heights: Floats, low: float, high: float) -> Floats:
    return np.minimum(heights - low, high - heights)


class Regions:
    """Garments of one body at rest (its template), as fields (V,)."""

    def __init__(self, body: BodyModel) -> None:
        self._body = body
        self.points = body.v_template.astype(np.float64)
        self._joints = body.J_template.astype(np.float64)

    def _joint(self, name: str) -> Floats:
        return self._joints[JOINT_INDEX[name]]

    def _weight(self, *names: str) -> Floats:
        return self._body.weights[:, [JOINT_INDEX[name] for name in names]].sum(axis=1).astype(np.float64)

    def _limb(self, side: str, start: str, end: str) -> Floats:
        """How far each vertex lies along a limb: 0 at its start, in metres."""
        a, b = self._joint(f"{side}_{start}"), self._joint(f"{side}_{end}")
        return (self.points - a) @ ((b - a) / np.linalg.norm(b - a))

    def _off_arms(self) -> Floats:
        """Positive off the arms, falling through zero where the arm's bones take over."""
        return 0.2 * (0.5 - self._body.weights[:, ARMS].sum(axis=1).astype(np.float64))

    def shirt(self, sleeve: float = 0.55) -> Floats:
        """A T-shirt: the torso to the hips, collar, sleeves down `sleeve` of the upper arm."""
        hip, neck = self._joint("left_hip")[1], self._joint("neck")
        torso = np.minimum(self.points[:, 1] - (hip - 0.02), 10.0)
        # A round collar that dips at the throat.
        collar = neck[1] - 0.005 - 0.35 * np.maximum(self.points[:, 2] - neck[2], 0.0) - self.points[:, 1]
        near = np.abs(self.points[:, 0]) < 0.8 * abs(self._joint("left_collar")[0] - self._joint("left_shoulder")[0])
        field = np.where(near | (self.points[:, 1] > neck[1] + 0.05), np.minimum(torso, collar), torso)
        for side in ("left", "right"):
            length = float(np.linalg.norm(self._joint(f"{side}_elbow") - self._joint(f"{side}_shoulder")))
            arm = self._weight(f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist") > 0.5
            arm |= np.sign(self._joint(f"{side}_elbow")[0]) * self.points[:, 0] > abs(self._joint(f"{side}_elbow")[0])
            field = np.where(arm, sleeve * length - self._limb(side, "shoulder", "elbow"), field)
        return field

    def trousers(self) -> Floats:
        """Long trousers from the waist to above the ankle."""
        waist = 0.5 * (self._joint("spine1")[1] + self._joint("pelvis")[1])
        field = _between(self.points[:, 1], self._joint("left_ankle")[1] + 0.035, waist)
        return np.minimum(self._off_arms(), field)

    def shoes(self) -> Floats:
        """Everything below the ankle."""
        field = self._joint("left_ankle")[1] + 0.01 - self.points[:, 1]
        return np.minimum(self._off_arms(), field)

    def hair(self) -> Floats:
        """A short cap of hair: above the forehead's line in front, down to the nape behind; ears stay free."""
        head = self._joint("head")
        eyes = 0.5 * (self._joint("left_eye_smplhf") + self._joint("right_eye_smplhf"))
        top = float(self.points[self._weight("head") > 0.5][:, 1].max())
        depth = eyes[2] - head[2]
        forward = np.clip((self.points[:, 2] - (head[2] - 0.6 * depth)) / max(1.6 * depth, 1e-3), 0.0, 1.0)
        nape = head[1] + 0.01
        line = nape + (eyes[1] + 0.6 * (top - eyes[1]) - nape) * forward**0.8
        # In front of the ears the line stays above them.
        ear = (self.points[:, 2] > head[2] - 0.2 * depth) & (np.abs(self.points[:, 0]) > 0.065)
        line = np.where(ear, np.maximum(line, eyes[1] + 0.035), line)
        return np.where(self._weight("head") > 0.5, self.points[:, 1] - line, -1.0)


@dataclass(frozen=True)
class Shell:
    """A garment's surface: a copy of the part of the body that it covers, lifted off the skin. N vertices."""

    vertex_ids: NDArray[np.int64]  # (N,) the body's vertices
    points: Floats  # (N, 3)
    field: Floats  # (N,)
    quads: NDArray[np.int64]  # (M, 4) into `points`; -1 in the last column of a triangle


def shell(
    faces: NDArray[np.integer],
    points: NDArray[np.floating],
    field: Floats,
    lift_m: float,
    smoothing: int = 0,
    edge: float = 0.25,
) -> Shell:
    """The garment of `field` (V,) on a posed body with `points` (V, 3).

    `faces` (Q, 4): −1 in the last column of a triangle. Faces that the edge crosses are kept whole; a shader cuts them
    at zero. `lift_m`: how far from the skin, 3 cm inside the edge; on the edge it is `edge` times that. `smoothing`:
    passes that even out what cloth spans.
    """
    kept = faces[(np.where(faces >= 0, field[faces], field[faces[:, :1]]) > 0.0).any(axis=1)]
    ids, inverse = np.unique(kept[kept >= 0], return_inverse=True)
    quads = np.full(kept.shape, -1, np.int64)
    quads[kept >= 0] = inverse
    lift = lift_m * (edge + (1.0 - edge) * np.clip(field[ids] / 0.03, 0.0, 1.0))
    skin, normals = np.asarray(points, np.float64)[ids], vertex_normals(faces, points)[ids]
    lifted = skin + lift[:, None] * normals
    for _ in range(smoothing):
        lifted = _smoothed(quads, lifted)
    # Evening out shrinks: what came too near the skin goes back out.
    clear = np.einsum("vi,vi->v", lifted - skin, normals)
    lifted += np.maximum(0.4 * lift - clear, 0.0)[:, None] * normals
    return Shell(ids, lifted, field[ids], quads)


def vertex_normals(faces: NDArray[np.integer], points: NDArray[np.floating]) -> Floats:
    """Unit normals (V, 3), faces weighted by their area."""
    last = np.where(faces[:, 3] >= 0, faces[:, 3], faces[:, 0])
    corners = np.asarray(points, np.float64)
    normals = np.cross(corners[faces[:, 2]] - corners[faces[:, 0]], corners[last] - corners[faces[:, 1]])
    triangles = faces[:, 3] < 0
    a, b, c = (corners[faces[triangles, k]] for k in range(3))
    normals[triangles] = np.cross(b - a, c - a)
    total = np.zeros_like(corners)
    for column in range(4):
        used = faces[:, column] >= 0
        np.add.at(total, faces[used, column], normals[used])
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def _smoothed(quads: NDArray[np.int64], points: Floats) -> Floats:
    """Each point half-way to the mean of its neighbours along edges."""
    total, count = np.zeros_like(points), np.zeros((len(points), 1))
    for k in range(4):
        a, b = quads[:, k], quads[:, (k + 1) % 4]
        b = np.where(b >= 0, b, quads[:, 0])
        used = a >= 0
        for here, there in ((a[used], b[used]), (b[used], a[used])):
            np.add.at(total, here, points[there])
            np.add.at(count, here, 1.0)
    return 0.5 * points + 0.5 * total / np.maximum(count, 1.0)
