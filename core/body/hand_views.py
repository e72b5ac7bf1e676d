"""Hands whose fingers are known as the hand network sees them, to train `priors.hand_reader`. Development only.

Hands of the free body with forearms, in all that single fingers do and what recorded hands do together, seen from all
sides, near and far, large and small, painted by `Mannequin` before clutter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..detection.landmarkers import RawHand
from ..priors.hands import ANGLES, HANDS_FILE, angle_axes, relaxed_angles
from ..rotation import exp_so3
from .bake_poses import rotations_of
from .face_views import photographed
from .mannequin import Mannequin, random_look
from .model import BodyModel
from .paint_pairs import clutter
from .skeleton import FINGERS, JOINT_INDEX, LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from .skinning import Body

Array = NDArray[np.float32]
Float = NDArray[np.float64]
Image = NDArray[np.uint8]

CROP_PX, CROP_M = 256, 0.46  # as the detector's crops (`HandSettings`)
# Degrees of knuckle, middle and end joint of a bent finger, and of a thumb; and of how far fingers spread.
_BENT = np.array([82.0, 98.0, 60.0])
_BENT_THUMB = np.array([28.0, 42.0, 62.0])
_SPREAD = {"index": 13.0, "middle": 1.0, "ring": -7.0, "pinky": -14.0}
_LEAST, _MOST = np.array([-12.0, -16.0, -4.0, -4.0]), np.array([92.0, 16.0, 108.0, 78.0])
_SIZES_PX = (13.0, 130.0)  # of a hand of 18 cm in the photo
_MATCH = 0.3  # of the hand's size: mean distance of its points from the true ones


@dataclass(frozen=True)
class HandViewSettings:
    """Which hands are painted, and how."""

    seed: int = 0
    shape_spread: float = 0.8  # of each beta
    captured: float = 0.35  # share of hands that do what recorded ones do
    photographed: float = 0.8  # share that is seen in any light and quality
    covered: float = 0.12  # share of pictures with a thing before the hand


@dataclass(frozen=True)
class HandViews:
    """N hands. image_px (N, 21, 2) in the photo; world_m (N, 21, 3) in camera axes; rotations (N, 15, 3) rotation
    vectors of the finger joints; right (N,); true_px (N, 16, 2) of the wrist and the finger joints."""

    image_px: Array
    world_m: Array
    left_score: Array
    rotations: Array
    right: NDArray[np.bool_]
    true_px: Array

    def some(self, which: NDArray[np.bool_]) -> HandViews:
        """Those of a mask (N,)."""
        return HandViews(*(getattr(self, item.name)[which] for item in fields(self)))


def draw_fingers(rng: np.random.Generator, axes: dict[str, Float], sign: float) -> Float:
    """Rotation vectors (15, 3) of fingers that are straight, bent or between, each by itself. sign: 1 is left."""
    vectors = np.zeros((len(FINGERS), 3, 3))
    together = rng.random() < 0.35  # all fingers alike, as in fists and flat hands
    common = float(rng.choice([rng.normal(0.0, 0.08), rng.uniform(0.1, 0.9), rng.normal(0.97, 0.08)]))
    spread = float(rng.choice([0.0, rng.uniform(-0.3, 1.1)]))
    for finger in FINGERS:
        own = float(rng.choice([rng.normal(0.0, 0.07), rng.normal(0.97, 0.07), rng.uniform(0, 1)], p=[0.4, 0.4, 0.2]))
        bent = common + rng.normal(0, 0.06) if together and finger != "thumb" else own
        if finger == "thumb":
            bent = float(rng.choice([rng.normal(-0.15, 0.2), rng.normal(0.7, 0.15), rng.uniform(-0.3, 1.0)]))
        degrees = (_BENT_THUMB if finger == "thumb" else _BENT) * (bent + rng.normal(0, 0.07, 3))
        rows = np.deg2rad(degrees)[:, None] * axes[finger]
        if finger in _SPREAD:
            side = spread * _SPREAD[finger] + rng.normal(0, 2.5)
            rows[0] += -sign * np.deg2rad(side) * np.array([0.0, 1.0, 0.0])
        else:
            rows[0] += np.deg2rad(rng.normal(0, 9.0, 3))
        vectors[FINGERS.index(finger)] = rows
    return vectors.reshape(15, 3)


class HandMaker:
    """Paints hands; equal makers and numbers give equal hands."""

    def __init__(self, body: BodyModel, network: Callable[[Image], list[RawHand]], settings: HandViewSettings) -> None:
        self.model, self.network, self.settings = body, network, settings
        self.body = Body(body)
        whole = Mannequin(body)
        self.sides = []
        for right, hand in ((False, LEFT_HAND), (True, RIGHT_HAND)):
            side = "right" if right else "left"
            x = body.v_template[:, 0] * (-1.0 if right else 1.0)
            elbow = abs(float(body.J_template[JOINT_INDEX[f"{side}_elbow"], 0]))
            arm = whole.of(x > elbow + 0.03)
            vectors = body.hands_mean[int(right)].astype(np.float64).reshape(5, 3, 3)
            axes = {name: vectors[i, 1] / np.linalg.norm(vectors[i, 1]) for i, name in enumerate(FINGERS)}
            captured = angle_axes(tuple(range(hand.start, hand.stop)), body.J_template)
            self.sides.append((arm, axes, captured, hand, f"{side}_wrist"))
        with np.load(HANDS_FILE, allow_pickle=False) as data:
            self.spread = np.linalg.cholesky(data["covariance"].astype(np.float64) + 1e-8 * np.eye(5 * ANGLES))

    def fingers(self, rng: np.random.Generator, right: bool) -> Float:
        """Rotation vectors (15, 3) of a hand."""
        _, axes, captured, _, _ = self.sides[int(right)]
        if rng.random() >= self.settings.captured:
            return draw_fingers(rng, axes, -1.0 if right else 1.0)
        angles = relaxed_angles() + (self.spread @ rng.normal(size=5 * ANGLES)).reshape(5, ANGLES)
        angles = np.clip(angles, np.deg2rad(_LEAST), np.deg2rad(_MOST))
        return np.asarray((captured @ angles.reshape(-1)).reshape(15, 3))

    @torch.inference_mode()
    def draw(self, index: int) -> tuple[Image, Array, float, bool, Float] | None:
        """A crop (256, 256, 3) with a hand; where its wrist and finger joints truly are in it (16, 2); pixels of the
        crop a pixel of the photo; whether it is a right one; the rotation vectors (15, 3)."""
        s = self.settings
        rng = np.random.default_rng([s.seed, 5, index])
        cv2.setRNGSeed(int(rng.integers(2**31)))
        right = bool(rng.integers(2))
        arm, _, _, hand, wrist_name = self.sides[int(right)]
        wrist = JOINT_INDEX[wrist_name]
        fingers = self.fingers(rng, right)
        rotmats = torch.eye(3).repeat(NUM_JOINTS, 1, 1)
        rotmats[hand] = torch.as_tensor(rotations_of(fingers)).float()
        bend = rng.normal(0, 1.0, 3) * np.deg2rad([25.0, 14.0, 28.0])
        rotmats[wrist] = torch.as_tensor(rotations_of(bend[None])[0]).float()
        betas = s.shape_spread * torch.as_tensor(rng.normal(0, 1, self.model.num_betas)).float()
        vertices = self.body.vertices(betas, torch.zeros(self.model.num_expressions), rotmats, torch.zeros(3)).numpy()
        world, places = self.body.chain(self.body.rest_joints(betas), rotmats, None)
        rows = [wrist, *range(hand.start, hand.stop)]
        joints = places.numpy()[rows]
        # Any side of the hand, the forearm more often below than above.
        own = world.numpy()[wrist]
        view = exp_so3(torch.as_tensor(random_rotation(rng))).numpy() @ own.T
        if rng.random() < 0.35 and (view @ own)[1, 0] * (-1.0 if right else 1.0) > 0.3:
            view = np.diag([-1.0, -1.0, 1.0]) @ view
        middle = joints.mean(axis=0)
        far = float(np.exp(rng.uniform(np.log(0.45), np.log(5.0))))
        at = (vertices - middle) @ view.T + np.array([0, 0, far])
        crop_m = CROP_M * float(np.exp(rng.normal(-0.05, 0.22)))
        focal_px = CROP_PX * far / crop_m
        if float(at[np.unique(arm.faces), 2].min()) < 0.08:
            return None
        shift = rng.normal(0, 0.05, 2) * CROP_PX
        at[:, :2] += shift / focal_px * far
        size = (CROP_PX, CROP_PX)
        behind = clutter(rng, size)
        look = random_look(rng)
        if rng.random() < 0.3:  # the person's own shirt or skin
            behind[:] = 0.3 * behind + 0.7 * (look.shirt if rng.random() < 0.7 else look.skin)
        painted = arm.paint(at.astype(np.float32), focal_px, size, look, rng, 1, behind)
        true = (joints - middle) @ view.T + np.array([0, 0, far])
        true[:, :2] += shift / focal_px * far
        pixels = focal_px * true[:, :2] / true[:, 2:] + CROP_PX / 2.0
        hand_px = float(np.exp(rng.uniform(*np.log(_SIZES_PX))))
        factor = min(1.0, hand_px / (0.18 * CROP_PX / crop_m))
        if rng.random() < s.covered:
            self._cover(rng, painted, pixels)
        small = cv2.resize(painted, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        rgb = np.asarray(small, np.uint8)
        if rng.random() < s.photographed:
            rgb = photographed(rgb, rng)
        crop = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        return crop, pixels.astype(np.float32), 1.0 / factor, right, fingers

    @staticmethod
    def _cover(rng: np.random.Generator, picture: Image, pixels: Float) -> None:
        from .paint_pairs import shape

        at = pixels[int(rng.integers(len(pixels)))] + rng.normal(0, 6, 2)
        shape(rng, picture, at, float(rng.uniform(15, 60)))

    def see(self, index: int) -> tuple[Array, Array, float, Float, bool, Array] | None:
        """A row of `HandViews`; None where the network does not find the hand."""
        drawn = self.draw(index)
        if drawn is None:
            return None
        crop, pixels, scale, right, fingers = drawn
        knuckles = [0, *range(1, 16)]
        best, least = None, _MATCH
        order = _POINTS_OF_JOINTS
        size = max(float(np.ptp(pixels[knuckles], axis=0).max()), 1.0)
        for raw in self.network(crop):
            gap = float(np.linalg.norm(raw.image_px[order] - pixels, axis=1).mean()) / size
            if gap < least:
                best, least = raw, gap
        if best is None:
            return None
        return best.image_px / scale, best.world_m, best.left_score, fingers, right, pixels / scale

    def batch(self, start: int, count: int) -> HandViews:
        """The hands of numbers from `start` on that were seen."""
        rows = [row for index in range(start, start + count) if (row := self.see(index)) is not None]
        columns = [np.asarray(column) for column in zip(*rows, strict=True)]
        image, world, score, fingers, right, true = columns
        kind = np.float32
        return HandViews(
            image.astype(kind), world.astype(kind), score.astype(kind), fingers.astype(kind), right, true.astype(kind)
        )


# The network's points that lie at the wrist and the finger joints, in the skeleton's order.
_POINTS_OF_JOINTS = [0] + [
    1 + 4 * ("thumb", "index", "middle", "ring", "pinky").index(finger) + k for finger in FINGERS for k in range(3)
]


def random_rotation(rng: np.random.Generator) -> Float:
    """A rotation vector of a rotation that is equally likely any."""
    q = rng.normal(size=4)
    q /= np.linalg.norm(q)
    angle = 2 * np.arctan2(np.linalg.norm(q[1:]), q[0])
    return np.asarray(q[1:] / max(float(np.linalg.norm(q[1:])), 1e-9) * angle)
