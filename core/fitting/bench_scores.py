"""The errors of one fitted person against the label of a rendered one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..body.bench_labels import OUTSIDE, VISIBLE, PersonLabel
from ..body.model import BodyModel
from ..body.raster import rasterise
from ..body.skeleton import JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from ..body.skinning import Body
from ..capture import Capture
from ..detection.observation import Observation
from ..detection.vocabulary import POSE33
from ..rotation import exp_so3
from .bench_evidence import to_pixels, true_box
from .metrics import mask_iou, mean_distance, pa_error, pck, root_error

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
Scores = dict[str, float]

BODY_JOINTS = 22
_LIMBS = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
PCK_SHARE = 0.05  # of the person's longer side in the picture
_SHRINK = 2  # silhouettes are compared at half size
_SEEN_SHARE = 0.5  # a hand counts as seen when so many of its joints are


@dataclass(frozen=True)
class Regions:
    """Vertices that each error is over."""

    all: NDArray[np.int64]  # skin, lips and nails: what is seen from outside
    hands: tuple[NDArray[np.int64], NDArray[np.int64]]
    face: NDArray[np.int64]  # what expressions move

    @classmethod
    def of(cls, body: BodyModel) -> Regions:
        """Of the free body: needs its vertex groups."""
        groups = body.vertex_groups
        outside = np.unique(np.concatenate([groups[name] for name in ("skin", "lips", "nails")]))
        moved = np.flatnonzero(np.linalg.norm(body.exprdirs, axis=1).max(axis=1) > 0.001)
        head = np.intersect1d(groups["head"], outside)
        return cls(
            outside,
            (groups["left_hand"].astype(np.int64), groups["right_hand"].astype(np.int64)),
            np.intersect1d(moved, head),
        )


class Scorer:
    """Scores captures of one body against labels in the free body's vertex order."""

    def __init__(self, body: BodyModel) -> None:
        self.body = body
        self.regions = Regions.of(body)
        self._posing = Body(body)
        self._silhouettes: dict[tuple[int, int], Mask] = {}

    @torch.inference_mode()
    def joint_rotations(self, capture: Capture) -> Float:
        """World rotations (55, 3, 3) of the captured joints, in the camera's frame."""
        rotmats = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)))
        world, _ = self._posing.chain(self._posing.rest_joints(torch.as_tensor(capture.betas)), rotmats, None)
        return world.numpy().astype(np.float64)

    @torch.inference_mode()
    def surface(self, capture: Capture) -> Float:
        """The captured surface (V, 3) in the camera's frame."""
        rotmats = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)))
        vertices = self._posing.vertices(
            torch.as_tensor(capture.betas),
            torch.as_tensor(capture.expression[0]),
            rotmats,
            torch.as_tensor(capture.transl[0]),
        )
        return vertices.numpy().astype(np.float64)

    def silhouette(self, vertices: Float, focal_px: float, size: tuple[int, int]) -> Mask:
        """Where the surface is in the picture, at a fraction of its size."""
        small = (size[0] // _SHRINK, size[1] // _SHRINK)
        hits = rasterise(vertices.astype(np.float32), self.body.faces, focal_px / _SHRINK, small)
        return hits.triangles >= 0

    def true_silhouette(self, label: PersonLabel) -> Mask:
        """The label's silhouette, made once."""
        key = (label.seed, label.index)
        if key not in self._silhouettes:
            self._silhouettes[key] = self.silhouette(
                label.vertices.astype(np.float64), label.focal_px, label.image_size
            )
        return self._silhouettes[key]

    def score(self, capture: Capture, label: PersonLabel, silhouettes: bool = True) -> Scores:
        """Errors in millimetres; shares 0…1. The left and right hand count as one error, their mean."""
        fitted, true = self.surface(capture), label.vertices.astype(np.float64)
        joints, true_joints = capture.joints[0].astype(np.float64), label.joints.astype(np.float64)
        scores: Scores = {}

        def add(name: str, part: NDArray[np.int64], root: str) -> None:
            r = JOINT_INDEX[root]
            scores[name] = 1000 * root_error(fitted[part], true[part], joints[r], true_joints[r])
            scores[f"pa_{name}"] = 1000 * pa_error(fitted[part], true[part])

        add("pve", self.regions.all, "pelvis")
        add("pve_face", self.regions.face, "neck")
        sides = ("left", "right")
        for side, part in zip(sides, self.regions.hands, strict=True):
            add(f"pve_{side}_hand", part, f"{side}_wrist")
        body = slice(0, BODY_JOINTS)
        scores["mpjpe"] = 1000 * root_error(joints[body], true_joints[body], joints[0], true_joints[0])
        scores["pa_mpjpe"] = 1000 * pa_error(joints[body], true_joints[body])
        limbs = [JOINT_INDEX[name] for name in _LIMBS]
        scores["pa_mpjpe_limbs"] = 1000 * pa_error(joints[limbs], true_joints[limbs])
        rotations = self.joint_rotations(capture)
        seen = []
        for side, fingers in zip(sides, (LEFT_HAND, RIGHT_HAND), strict=True):
            wrist = JOINT_INDEX[f"{side}_wrist"]
            rows = [wrist, *range(fingers.start, fingers.stop)]
            scores[f"mpjpe_{side}_hand"] = 1000 * root_error(
                joints[fingers], true_joints[fingers], joints[wrist], true_joints[wrist]
            )
            scores[f"pa_mpjpe_{side}_hand"] = 1000 * pa_error(joints[rows], true_joints[rows])
            # In the wrist's own frame: what is left is the fingers' doing.
            own = (joints[fingers] - joints[wrist]) @ rotations[wrist]
            true_own = (true_joints[fingers] - true_joints[wrist]) @ label.joint_rotations[wrist]
            scores[f"fingers_{side}_hand"] = 1000 * mean_distance(own, true_own)
            if float((label.joint_visibility[rows] == VISIBLE).mean()) >= _SEEN_SHARE:
                seen.append(side)
        for side in sides:
            scores[f"fingers_seen_{side}_hand"] = scores[f"fingers_{side}_hand"] if side in seen else float("nan")
        for name in ("pve", "pa_pve", "mpjpe", "pa_mpjpe", "fingers"):
            values = {side: scores.pop(f"{name}_{side}_hand") for side in sides}
            scores[f"{name}_hands"] = float(np.mean(list(values.values())))
            scores[f"{name}_seen_hands"] = float(np.mean([values[side] for side in seen])) if seen else float("nan")
        pixels = to_pixels(joints[body], capture.focal_px, capture.principal_px)
        box = true_box(label)
        size_px = float(max(box[2] - box[0], box[3] - box[1]))
        counted = label.joint_visibility[body] != OUTSIDE
        scores["pck"] = pck(pixels, label.joints_px[body].astype(np.float64), counted, PCK_SHARE * size_px)
        if silhouettes:
            drawn = self.silhouette(fitted, capture.focal_px, label.image_size)
            scores["iou"] = mask_iou(drawn, self.true_silhouette(label))
        return scores


def peer_score(observation: Observation | None, label: PersonLabel) -> float:
    """PA-MPJPE in millimetres of the detector's own 3D points over the twelve limb joints; nan without them."""
    points = None if observation is None else observation.points.get("pose33")
    if points is None or points.world_m is None:
        return float("nan")
    theirs = points.world_m[[POSE33.index(name) for name in _LIMBS]].astype(np.float64)
    true = label.joints[[JOINT_INDEX[name] for name in _LIMBS]].astype(np.float64)
    return 1000 * pa_error(theirs, true)
