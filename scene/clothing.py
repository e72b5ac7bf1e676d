"""Which part of a body a garment would cover, as fields over its vertices; numpy only.

A field is positive inside the garment, negative outside, in metres near its edge at rest, and zero on the edge:
shaders cut it there, so that edges stay crisp on a coarse mesh. Everything is measured from the joints, so it fits any
body of the format.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_INDEX
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

    def arm_part(self) -> NDArray[np.bool_]:
        """Vertices that follow an arm below the shoulder joint."""
        names = [
            n for n in JOINT_INDEX if n.endswith(("_shoulder", "_elbow", "_wrist")) or (n[-1].isdigit() and "_" in n)
        ]
        return self._weight(*names) > 0.5

    def briefs(self) -> Floats:
        """Shorts from the waist to the upper thigh."""
        hip = self._joint("left_hip")[1]
        knee = self._joint("left_knee")[1]
        waist = 0.5 * (self._joint("spine1")[1] + self._joint("pelvis")[1]) + 0.03
        field = _between(self.points[:, 1], hip - 0.32 * (hip - knee), waist)
        return np.where(self.arm_part(), -1.0, field)

    def top(self) -> Floats:
        """A cropped sleeveless top around the chest."""
        spine2, spine3 = self._joint("spine2")[1], self._joint("spine3")[1]
        shoulder = self._joint("left_shoulder")
        low = spine2 + 0.1 * (spine3 - spine2)
        field = _between(self.points[:, 1], low, shoulder[1] - 0.055)
        return np.where(self.arm_part(), -1.0, field)

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
        return np.where(self.arm_part(), -1.0, field)

    def shoes(self) -> Floats:
        """Everything below the ankle."""
        field = self._joint("left_ankle")[1] + 0.01 - self.points[:, 1]
        return np.where(self.arm_part(), -1.0, field)

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

    def underwear(self) -> Floats:
        """Briefs and top together: what an avatar wears by default."""
        return np.maximum(self.briefs(), self.top())
