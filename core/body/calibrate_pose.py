"""Body and hand points in joints' frames: where the rays through all detections meet.

A detector's hip or ankle is no joint of the skeleton, but keeps its place in a joint's frame; that offset, and how it
goes with the body's shape, is a linear least-squares problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..detection.candidates import LIMBS, MIRROR33, Candidate
from ..detection.landmarkers import RawHand
from ..detection.vocabulary import HAND21, POINT_SETS, POSE33
from ..rotation import exp_so3
from .calibrate_stage import (
    Agreement,
    CalibrationSettings,
    Float,
    Image,
    Sight,
    Stage,
    agreement,
    residuals,
    spread,
    turn,
)
from .model import BodyModel, PointSet
from .skeleton import JOINT_INDEX, LEFT_HAND, NUM_JOINTS, RIGHT_HAND

Double = NDArray[np.float64]

# For each point: the joint in whose frame it keeps its place, and the joint near which it lies. A hip's point moves
# with the pelvis, a shoulder's with the collar bone, a knuckle's with the wrist: limbs turn under what a detector sees.
POSE_ATTACHMENTS = {
    "shoulder": ("collar", "shoulder"), "elbow": ("elbow", "elbow"), "wrist": ("elbow", "wrist"),
    "pinky": ("wrist", "pinky1"), "index": ("wrist", "index1"), "thumb": ("thumb1", "thumb2"),
    "hip": ("pelvis", "hip"), "knee": ("knee", "knee"), "ankle": ("ankle", "ankle"), "heel": ("ankle", "ankle"),
    "foot_index": ("foot", "foot"),
}  # fmt: skip
_MIDLINE = ("pelvis", "head")


def see_bodies(
    stage: Stage,
    network: Callable[[Image], list[Candidate]],
    poses: Float,
    report: Callable[[float], None] = lambda share: None,
) -> list[Sight]:
    """Pose detections of whole bodies. `poses` (P, 55, 3): axis-angle, whose root rotation is replaced by views."""
    settings, model = stage.settings, stage.model
    rotations = exp_so3(torch.as_tensor(poses, dtype=torch.float32)).numpy()
    sights = []
    for i in range(settings.bodies):
        report(i / settings.bodies)
        rng = stage.rng
        rotmats = rotations[rng.integers(len(rotations))].copy()
        rotmats[0] = turn(rng.uniform(-np.pi, np.pi), rng.uniform(-0.15, 0.4), rng.uniform(-0.1, 0.1))
        far = float(rng.uniform(2.5, 6.0))
        focal_px = float(settings.picture_px * far / rng.uniform(2.2, 3.0))

        def middle(joints: Float) -> Float:
            box: Float = (joints.min(axis=0) + joints.max(axis=0)) / 2.0
            return box

        no_expression = np.zeros(model.num_expressions, np.float32)
        rgb, sight, _, _ = stage.take(stage.person(), no_expression, rotmats, middle, focal_px, far)
        truth = sight.joints[:, :2] / sight.joints[:, 2:] * focal_px
        limbs = truth[[JOINT_INDEX[POSE33[k]] for k in LIMBS]]
        size = float(np.ptp(truth, axis=0).max())
        best = None
        for candidate in network(rgb):
            image = candidate.image_px - settings.picture_px / 2.0
            gap = float(np.median(np.linalg.norm(image[LIMBS] - limbs, axis=1))) / size
            if gap < 0.06 and (best is None or gap < best[0]):
                best = (gap, image, candidate.visibility)
        if best is not None:
            weight = np.where(best[2] >= settings.least_visibility, best[2], 0.0).astype(np.float32)
            sights.append(replace(sight, image_px=best[1].astype(np.float32), weight=weight))
    return sights


def see_hands(
    stage: Stage,
    network: Callable[[Image], list[RawHand]],
    side: str,
    report: Callable[[float], None] = lambda share: None,
) -> list[Sight]:
    """Detections of one hand from near and from all sides, the arm stretched out, the fingers at ease."""
    settings, model = stage.settings, stage.model
    fingers = LEFT_HAND if side == "left" else RIGHT_HAND
    row = 0 if side == "left" else 1
    own = [JOINT_INDEX[f"{side}_{name}"] for name in ("wrist", "index1", "pinky1", "middle3", "thumb3")]
    marks = [JOINT_INDEX[hand_attachment(side, name)[1]] for name in HAND21]
    sights = []
    for i in range(settings.hands):
        report(i / settings.hands)
        rng = stage.rng
        angles = np.zeros((NUM_JOINTS, 3), np.float32)
        amounts = settings.finger_spread * rng.normal(0.0, 1.0, model.hands_components.shape[1])
        angles[fingers] = (model.hands_mean[row] + amounts @ model.hands_components[row]).reshape(15, 3)
        rotmats = exp_so3(torch.as_tensor(angles, dtype=torch.float32)).numpy()
        rotmats[0] = turn(
            rng.uniform(-0.7, 0.7) + np.pi * rng.integers(2), rng.uniform(-1.6, 1.6), rng.uniform(-3.1, 3.1)
        )
        far = float(rng.uniform(1.5, 3.0))
        focal_px = float(settings.picture_px * far / rng.uniform(0.36, 0.55))

        def middle(joints: Float) -> Float:
            aim: Float = joints[own].mean(axis=0)
            return aim

        no_expression = np.zeros(model.num_expressions, np.float32)
        rgb, sight, _, _ = stage.take(stage.person(), no_expression, rotmats, middle, focal_px, far)
        truth = sight.joints[:, :2] / sight.joints[:, 2:] * focal_px
        size = max(float(np.ptp(truth[marks], axis=0).max()), 1.0)
        for hand in network(rgb):
            image = hand.image_px - settings.picture_px / 2.0
            # Tips lie beyond their last joint: they are left out of this comparison.
            gaps = np.linalg.norm(image - truth[marks], axis=1)[[k for k in range(21) if k == 0 or k % 4]]
            if float(np.median(gaps)) < 0.15 * size:
                sights.append(replace(sight, image_px=image.astype(np.float32), weight=np.ones(21, np.float32)))
                break
    return sights


def attachment(name: str) -> tuple[str, str]:
    """Frame and anchor joints of one of the 33 points."""
    side, _, part = name.partition("_")
    if side in ("left", "right") and part in POSE_ATTACHMENTS:
        frame, anchor = POSE_ATTACHMENTS[part]
        return frame if frame in _MIDLINE else f"{side}_{frame}", f"{side}_{anchor}"
    return "head", "head"


def hand_attachment(side: str, name: str) -> tuple[str, str]:
    """Frame and anchor joints of one of a hand's 21 points: joints keep their place in the bone before them."""
    if name == "wrist":
        return f"{side}_wrist", f"{side}_wrist"
    finger, digit = name[:-1], int(name[-1])
    before = f"{side}_{finger}{digit - 1}" if digit > 1 else f"{side}_wrist"
    return before, before if digit == 4 else f"{side}_{finger}{digit}"


def calibrate_pose(model: BodyModel, sights: list[Sight], settings: CalibrationSettings) -> tuple[PointSet, Agreement]:
    """The 33 points, the same on both sides (mirrored); offsets follow the leading betas."""
    solutions = {}
    for k, name in enumerate(POSE33):
        if "right" in name:
            continue
        twin = int(MIRROR33[k])
        views = [(sights, k, attachment(name), False), (sights, twin, attachment(POSE33[twin]), True)]
        solutions[k] = meet_rays(views, settings.shape_terms)
        if twin == k:
            solutions[k][0] = 0.0
        else:
            solutions[twin] = _mirrored(solutions[k])
    points = _attached(model, POSE33, [attachment(name) for name in POSE33], solutions)
    mm, px = residuals(model, points, sights)
    sigma = spread(np.concatenate([mm, mm[:, MIRROR33]])) / 1000.0
    points = replace(points, sigma_m=sigma, usable=sigma <= settings.most_pose_sigma_m)
    return points, agreement("pose33", points, mm, px)


def calibrate_hands(
    model: BodyModel, left: list[Sight], right: list[Sight], settings: CalibrationSettings
) -> list[tuple[PointSet, Agreement]]:
    """Both hands' 21 points, mirror images of each other."""
    solutions = {}
    for k, name in enumerate(HAND21):
        views = [(left, k, hand_attachment("left", name), False), (right, k, hand_attachment("right", name), True)]
        solutions[k] = meet_rays(views, settings.shape_terms)
    hands, gaps = [], []
    for side, sights in (("left", left), ("right", right)):
        own = solutions if side == "left" else {k: _mirrored(value) for k, value in solutions.items()}
        attachments = [hand_attachment(side, name) for name in HAND21]
        hands.append(_attached(model, POINT_SETS[f"{side}_hand"], attachments, own))
        gaps.append(residuals(model, hands[-1], sights))
    # Mirror images are equally good: their spread is that of both.
    sigma = spread(np.concatenate([mm for mm, _ in gaps])) / 1000.0
    result = []
    for label, points, (mm, px) in zip(("left_hand", "right_hand"), hands, gaps, strict=True):
        judged = replace(points, sigma_m=sigma, usable=sigma <= settings.most_hand_sigma_m)
        result.append((judged, agreement(label, judged, mm, px)))
    return result


def _attached(
    model: BodyModel, names: tuple[str, ...], attachments: list[tuple[str, str]], solutions: dict[int, Double]
) -> PointSet:
    """Offsets from the frame's joint: to the anchor, which is exact for every shape, and from there as solved."""
    count = len(names)
    frames = np.array([JOINT_INDEX[frame] for frame, _ in attachments], np.int32)
    anchors = np.array([JOINT_INDEX[anchor] for _, anchor in attachments], np.int32)
    offsets = model.J_template[anchors] - model.J_template[frames]
    dirs = model.J_shapedirs[anchors] - model.J_shapedirs[frames]
    for k in range(count):
        offsets[k] += solutions[k][:, 0]
        dirs[k, :, : solutions[k].shape[1] - 1] += solutions[k][:, 1:]
    return PointSet(
        names, frames, offsets.astype(np.float32), dirs.astype(np.float32), np.zeros((count, 3), np.int32),
        np.zeros((count, 3), np.float32), np.zeros(count, np.float32), np.ones(count, np.bool_),
    )  # fmt: skip


def _mirrored(solution: Double) -> Double:
    flipped: Double = solution * np.array([-1.0, 1.0, 1.0])[:, None]
    return flipped


def _ray_equations(
    sights: list[Sight], point: int, joints: tuple[str, str], mirrored: bool, terms: int
) -> tuple[Double, Double, Double]:
    """Rows A x = b with weights: what keeps anchor + frame @ flip(offset + dirs @ betas) on each ray, in metres."""
    frame_id, anchor_id = (JOINT_INDEX[name] for name in joints)
    flip = np.array([-1.0 if mirrored else 1.0, 1.0, 1.0])
    rows, sides, weights = [np.zeros((0, 3 * (terms + 1)))], [np.zeros(0)], [np.zeros(0)]
    for sight in sights:
        if sight.weight[point] <= 0.0:
            continue
        ray = np.append(sight.image_px[point] / sight.focal_px, 1.0)
        ray /= np.linalg.norm(ray)
        off_ray = np.eye(3) - np.outer(ray, ray)
        factors = np.concatenate([[1.0], sight.betas[:terms]])
        rows.append(np.einsum("ij,t->ijt", off_ray @ (sight.frames[frame_id] * flip), factors).reshape(3, -1))
        sides.append(-off_ray @ sight.joints[anchor_id])
        weights.append(np.full(3, sight.weight[point]))
    return np.concatenate(rows), np.concatenate(sides), np.concatenate(weights)


def meet_rays(
    views: list[tuple[list[Sight], int, tuple[str, str], bool]], terms: int, scale_m: float = 0.02, ridge: float = 1.0
) -> Double:
    """(3, 1 + terms): offset and its change with betas, by re-weighted least squares (Geman–McClure).

    `views`: detections, which of their points, its joints, whether mirrored. `ridge` holds the change with betas back:
    one unit of it weighs like one sight at `scale_m`.
    """
    parts = [_ray_equations(sights, point, joints, mirrored, terms) for sights, point, joints, mirrored in views]
    rows, sides, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(rows) < 3 * 20:
        return np.zeros((3, 1 + terms))
    hold = np.diag(np.tile(np.concatenate([[1e-6], np.full(terms, ridge)]), 3))
    robust = weights
    solution = np.zeros(rows.shape[1])
    for _ in range(12):
        solution = np.linalg.solve(rows.T @ (robust[:, None] * rows) + hold, rows.T @ (robust * sides))
        gaps = (rows @ solution - sides).reshape(-1, 3)
        kernel = 1.0 / (1.0 + (gaps**2).sum(axis=1) / scale_m**2) ** 2
        robust = weights * np.repeat(kernel, 3)
    return solution.reshape(3, 1 + terms)
