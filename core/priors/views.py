"""Random people seen by random cameras and imperfect detectors: what the regressor is trained on. Development only.

Everything is drawn anew for each batch from motion capture, the body's shape space and a model of how detectors err.
Cameras look at the person; where the person is in the picture does not matter to a network that turns its camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ..body.model import BodyModel
from ..body.skeleton import JOINT_INDEX, PARENTS, joint_levels
from ..rotation import exp_so3
from .mocap import PoseSet
from .proxies import PLANS
from .proxies_file import proxies_of
from .regressor import DIRECTION_JOINTS, NUM_BODY, mirror_rotations, rest_directions
from .regressor_input import MOST_PRECISE, POINTS, SOURCES, features_of, frame
from .view_detection import Drawing, ViewDetector, between
from .view_settings import ViewSettings


@dataclass(frozen=True)
class Posed:
    """B posed people."""

    rest: Tensor  # (B, 22, 3) rest joints
    joints: Tensor  # (B, 22, 3)
    points: Tensor  # (B, P, 3)
    directions: Tensor  # (B, K, 3) unit
    balls: Tensor  # (B, N, 3)

    def join(self, other: Posed) -> Posed:
        """These people and others."""
        return Posed(
            torch.cat([self.rest, other.rest]),
            torch.cat([self.joints, other.joints]),
            torch.cat([self.points, other.points]),
            torch.cat([self.directions, other.directions]),
            torch.cat([self.balls, other.balls]),
        )


@dataclass(frozen=True)
class Views:
    """A batch of B people as the network sees them, and what is true of them, in the camera that looks at them."""

    features: Tensor  # (B, F)
    rotmats: Tensor  # (B, 22, 3, 3) local; the pelvis's in camera axes
    directions: Tensor  # (B, K, 3) unit
    joints: Tensor  # (B, 22, 3) metres, the pelvis at the origin
    rest: Tensor  # (B, 22, 3) rest joints
    betas: Tensor  # (B, all of the body's)

    def part(self, rows: Tensor) -> Views:
        """Some of them."""
        return Views(*(getattr(self, item.name)[rows] for item in fields(self)))

    def join(self, other: Views) -> Views:
        """These and others."""
        return Views(*(torch.cat([getattr(self, item.name), getattr(other, item.name)]) for item in fields(self)))

    def choose(self, other: Views, rows: Tensor) -> Views:
        """These, and the other ones where rows (B,) say so."""
        pairs = ((getattr(self, item.name), getattr(other, item.name)) for item in fields(self))
        return Views(*(torch.where(rows.view(-1, *[1] * (a.dim() - 1)), b, a) for a, b in pairs))


_FINGERTIPS = ("middle2", "middle3", "thumb3")
_ARM = ("collar", "shoulder", "elbow", "wrist")
_LEG = ("hip", "knee", "ankle", "foot")


def _joints(side: str, parts: tuple[str, ...]) -> list[int]:
    return [JOINT_INDEX[f"{side}_{part}"] for part in parts]


@dataclass(frozen=True)
class Carried:
    """N points of the body in its T-pose: template (N, 3), dirs (N, 3, B), weights (N, 22) of the joints."""

    template: Tensor
    dirs: Tensor
    weights: Tensor

    def posed(self, betas: Tensor, turns: Tensor, shift: Tensor) -> Tensor:
        """Where they are on people of betas (B, C), with each joint's turn (B, 22, 3, 3) and shift (B, 22, 3)."""
        points = self.template + torch.einsum("pkb,nb->npk", self.dirs, betas)
        blend = torch.einsum("pj,njk->npk", self.weights, torch.cat([turns.flatten(2), shift], -1))
        x, y, z = points[..., None].unbind(-2)
        return blend[..., 0::3][..., :3] * x + blend[..., 1:9:3] * y + blend[..., 2:9:3] * z + blend[..., 9:]


def _folded(weights: Tensor) -> Tensor:
    """Weights of all joints (N, 55) as those of the body's (N, 22): fingers are at rest."""
    folded = weights[:, :NUM_BODY].clone()
    for joint in range(NUM_BODY, len(PARENTS)):
        above = joint
        while above >= NUM_BODY:
            above = PARENTS[above]
        folded[:, above] += weights[:, joint]
    return folded


class ViewMaker(Drawing):
    """Makes batches. All randomness comes from one generator, so that a seed fixes them."""

    def __init__(self, body: BodyModel, poses: PoseSet, settings: ViewSettings, seed: int) -> None:
        super().__init__(settings, torch.Generator().manual_seed(seed))
        self.detector = ViewDetector(settings, self.random)
        self.poses = torch.as_tensor(poses.rotations[:, :NUM_BODY])
        self.weights = torch.as_tensor(poses.weights()).float()
        self.J_template = torch.as_tensor(body.J_template[:NUM_BODY])
        self.J_dirs = torch.as_tensor(body.J_shapedirs[:NUM_BODY])
        self.rest_directions = torch.as_tensor(rest_directions(body.J_template))
        # MediaPipe's points, then all as OpenPose and COCO have them, as far as they do; then hands from hand models.
        orders = (("pose33",), ("body25", "pose33"))
        self.carriers = [self._carriers(body, order) for order in orders]

        self.balls, self.ball_radius, self.ball_radius_dirs, parts = self._balls(body)
        self.ball_limbs = ViewDetector.limbs_of(parts)

    @staticmethod
    def _carriers(body: BodyModel, order: tuple[str, ...]) -> Carried:
        """Where POINTS are on the body."""
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for name in POINTS:
            source, point = next((s, p) for wanted in order for s, p in SOURCES[name] if s == wanted)
            points = body.virtual_points(body.points[source])
            at = body.points[source].names.index(point)
            parts = (points.template[at], points.shapedirs[at], points.weights[at])
            found.append((torch.as_tensor(parts[0]), torch.as_tensor(parts[1]), torch.as_tensor(parts[2])))
        template, dirs, weights = (torch.stack(part) for part in zip(*found, strict=True))
        return Carried(template, dirs, _folded(weights))

    @staticmethod
    def _balls(body: BodyModel) -> tuple[Carried, Tensor, Tensor, list[str]]:
        """Balls that fill the body, of its capsules: both ends, and the middle of long ones. Radius (N,), its change
        with the shape (N, B), and the name of the part of each."""
        proxies = proxies_of(body)[0][0]
        ends = proxies.ends
        number = proxies.count
        first = np.arange(number)
        names = [PLANS[part].name for part in proxies.part]
        fingers = ("index", "middle", "ring", "pinky", "thumb")
        kept = first[[name.split("_")[-1] in _FINGERTIPS or not any(f in name for f in fingers) for name in names]]
        columns = [
            np.concatenate([a[kept], a[kept + number], 0.5 * (a[kept] + a[kept + number])])
            for a in (ends.template, ends.shapedirs, ends.weights, proxies.radius, proxies.radius_dirs)
        ]
        template, dirs, weights, radius, radius_dirs = (torch.as_tensor(column) for column in columns)
        parts = 3 * [names[k] for k in kept]
        carried = Carried(template, dirs, _folded(weights))
        return carried, radius, radius_dirs[:, : body.num_betas], parts

    # --- drawing --------------------------------------------------------------------------------------------

    def _draw(self, count: int) -> Tensor:
        """Poses (count, 22, 3, 3), half of them mirrored."""
        rows = torch.multinomial(self.weights, count, replacement=True, generator=self.random)
        poses = self.poses[rows]
        return torch.where(self._chance(count, 0.5)[:, None, None, None], mirror_rotations(poses), poses)

    # --- people ---------------------------------------------------------------------------------------------

    def people(self, cut: Tensor) -> Tensor:
        """Local rotations (B, 22, 3, 3), upright and without a heading: SMPL axes for the pelvis.

        cut (B,): of these people the picture shows a part, and legs that nothing shows should be their own.
        """
        s = self.settings
        count = len(cut)
        poses = self._draw(count)
        other = self._draw(count)
        upper = list(range(3, NUM_BODY))
        upper = [j for j in upper if not any(j in _joints(side, _LEG) for side in ("left", "right"))]
        rows = (self._chance(count, s.swap_upper) & ~cut)[:, None, None, None]
        poses[:, upper] = torch.where(rows, other[:, upper], poses[:, upper])
        other = self._draw(count)
        for side in ("left", "right"):
            for parts in (_ARM, _LEG):
                limb = _joints(side, parts)
                rows = self._chance(count, s.swap_limb)
                rows = (rows & ~cut if parts is _LEG else rows)[:, None, None, None]
                poses[:, limb] = torch.where(rows, other[:, limb], poses[:, limb])
        self._sit(poses)
        noise = s.joint_noise_rad * self._normal(count, NUM_BODY, 3)
        for side in ("left", "right"):
            noise[:, JOINT_INDEX[f"{side}_wrist"]] *= s.wrist_noise_rad / s.joint_noise_rad
        poses = poses @ exp_so3(noise)
        heading = torch.atan2(poses[:, 0, 0, 2], poses[:, 0, 2, 2])
        poses[:, 0] = _turn("y", -heading) @ poses[:, 0]
        return poses

    def _sit(self, poses: Tensor) -> None:
        """Some sit, squat or kneel, in place: hips flexed and spread, knees bent, the trunk leaning."""
        count = len(poses)
        rows = self._chance(count, self.settings.sitting)[:, None, None]
        both = self._uniform(count)
        knee = self._uniform(count)
        for side, sign in (("left", 1.0), ("right", -1.0)):
            flexion = -(0.7 + 1.3 * both + 0.25 * self._normal(count)).clamp(0.3, 2.2)
            spread = sign * (0.15 + 0.3 * self._normal(count)).clamp(-0.4, 0.9)
            twist = sign * 0.3 * self._normal(count)
            hip = _turn("y", spread) @ _turn("x", flexion) @ _turn("y", twist)
            bend = (2.2 * knee + 0.2 * self._normal(count)).clamp(0.0, 2.5)
            for part, turned in (("hip", hip), ("knee", _turn("x", bend))):
                joint = JOINT_INDEX[f"{side}_{part}"]
                poses[:, joint] = torch.where(rows, turned, poses[:, joint])

    def place(self, poses: Tensor, cut: Tensor) -> Tensor:
        """Turn people (B, 22, 3, 3) to cameras that look at them, in place of the pelvis's rotation.

        cut (B,): nobody frames a cartwheel by its knees, so that most of these are upright.
        """
        s = self.settings
        count = len(poses)
        facing = self._chance(count, s.facing)
        yaw = torch.where(facing, s.facing_rad * self._normal(count), 2 * math.pi * self._uniform(count))
        root = _turn("y", yaw) @ poses[:, 0]
        upright = cut & self._chance(count, s.cut_upright)
        lying = self._chance(count, s.lying) & ~upright
        side = _turn("y", 2 * math.pi * self._uniform(count))
        tilt = torch.where(lying, math.pi / 2 + 0.25 * self._normal(count), torch.zeros(count))
        root = side @ _turn("x", tilt) @ side.transpose(-1, -2) @ root
        pitch = 0.08 + s.pitch_rad * self._normal(count)
        pitch = torch.where(self._chance(count, s.steep), s.steep_rad * self._normal(count), pitch)
        roll = s.roll_rad * self._normal(count)
        roll = torch.where(self._chance(count, s.steep), 4 * roll, roll)
        root = _turn("z", roll) @ _turn("x", pitch + math.pi) @ root
        tumbling = self._chance(count, s.tumbling) & ~upright
        anyhow = exp_so3(math.pi * torch.nn.functional.normalize(self._normal(count, 3), dim=-1)) @ exp_so3(
            2 * self._normal(count, 3)
        )
        root = torch.where(tumbling[:, None, None], anyhow, root)
        return torch.cat([root[:, None], poses[:, 1:]], 1)

    def pose(self, rotmats: Tensor, betas: Tensor, plain: bool) -> Posed:
        """People of given rotations and shapes, the pelvis near the origin; plain: points as OpenPose and COCO."""
        rest = self.J_template + torch.einsum("jkb,nb->njk", self.J_dirs, betas)
        turns, joints = forward(rotmats, rest)
        shift = joints - (turns @ rest[..., None])[..., 0]
        points = self.carriers[plain].posed(betas, turns, shift)
        balls = self.balls.posed(betas, turns, shift)
        directions = (turns[:, list(DIRECTION_JOINTS)] @ self.rest_directions[..., None])[..., 0]
        return Posed(rest, joints, points, directions, balls)

    # --- pictures -------------------------------------------------------------------------------------------

    def batch(self, count: int) -> Views:
        """`count` people as they are detected."""
        s = self.settings
        cut = self._chance(count, s.cut)
        rotmats = self.place(self.people(cut), cut)
        betas = s.betas_spread * self._normal(count, self.J_dirs.shape[-1])
        first = count - round(s.plain * count)
        posed = self.pose(rotmats[:first], betas[:first], False).join(self.pose(rotmats[first:], betas[first:], True))
        points = posed.points
        plain = (torch.arange(count) >= first).float()
        low, high = points.amin(1), points.amax(1)
        extent = (high - low)[:, :2].amax(-1).clamp_min(0.5)
        focal = torch.exp(between(self._uniform(count), *(math.log(mm / 36) for mm in s.focal_mm)))
        depth = (extent * focal / between(self._uniform(count), *s.share)).clamp_min(0.8)
        ahead = torch.cat([torch.zeros(count, 2), depth[:, None]], -1)
        moved = (ahead - 0.5 * (low + high))[:, None]
        points, balls = points + moved, posed.balls + moved
        rays, ball_rays = (p[..., :2] / p[..., 2:].clamp_min(0.2) for p in (points, balls))
        radius = self.ball_radius + betas @ self.ball_radius_dirs.T
        edges = self.detector.edges(rays, cut)
        guessed = self._chance(count, s.focal_guessed)
        wrong = torch.where(guessed, s.focal_sigma * self._normal(count), 0.01 * self._normal(count))
        wrong = torch.exp(wrong)[:, None, None]
        exact = self._chance(count, s.exact)
        precision = exact * MOST_PRECISE * self._uniform(count)
        rays, trust = self.detector.detect(rays, plain > 0, edges, exact, torch.exp(-precision))
        hinted = (plain == 0) & ~exact & self._chance(count, s.hinted)
        hints, hint_trust = self.detector.hints(points, rotmats[:, 0], trust, hinted)
        framing = frame(rays * wrong, trust)
        seen = (ball_rays, radius / balls[..., 2].clamp_min(0.2), self.ball_limbs, edges)
        mask = self.detector.mask(*seen, rays, trust, framing, wrong, (plain > 0) | exact)
        features = features_of(rays * wrong, trust, plain, hints, hint_trust, framing, mask, precision)
        turn = framing.turn
        rotmats = torch.cat([(turn @ rotmats[:, 0])[:, None], rotmats[:, 1:]], 1)
        back = turn.transpose(-1, -2)
        joints = (posed.joints - posed.joints[:, :1]) @ back
        return Views(features, rotmats, posed.directions @ back, joints, posed.rest, betas)


_LEVELS = tuple([j for j in level if j < NUM_BODY] for level in joint_levels()[1:] if any(j < NUM_BODY for j in level))


def forward(rotmats: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Global rotations (B, 22, 3, 3) and joints (B, 22, 3) of local rotations, the pelvis at its rest place."""
    turns: list[Tensor] = [rotmats[:, 0]] * NUM_BODY
    joints: list[Tensor] = [rest[:, 0]] * NUM_BODY
    for level in _LEVELS:
        parents = [PARENTS[j] for j in level]
        above = torch.stack([turns[p] for p in parents], 1)
        moved = (above @ (rest[:, level] - rest[:, parents])[..., None])[..., 0]
        turned = above @ rotmats[:, level]
        for i, joint in enumerate(level):
            turns[joint] = turned[:, i]
            joints[joint] = joints[parents[i]] + moved[:, i]
    return torch.stack(turns, 1), torch.stack(joints, 1)


def _turn(axis: str, angle: Tensor) -> Tensor:
    """Rotations (B, 3, 3) about an axis."""
    vector = torch.zeros(len(angle), 3)
    vector[:, "xyz".index(axis)] = angle
    return exp_so3(vector)
