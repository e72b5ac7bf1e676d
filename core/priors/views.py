"""Random people seen by random cameras and imperfect detectors: what the regressor is trained on. Development only.

Everything is drawn anew for each batch from motion capture, the body's shape space and a model of how detectors err.
Cameras look at the person; where the person is in the picture does not matter to a network that turns its camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..body.model import BodyModel
from ..body.skeleton import JOINT_INDEX, PARENTS, joint_levels
from ..rotation import exp_so3
from .mocap import PoseSet
from .regressor import (
    DIRECTION_JOINTS,
    HINT_ENDS,
    HINTS,
    LEAST_HINT_TRUST,
    NUM_BODY,
    POINT_MIRROR,
    POINTS,
    SOURCES,
    features_of,
    mirror_rotations,
    rest_directions,
)


@dataclass(frozen=True)
class ViewSettings:
    """How people are posed, seen and detected. Lengths are shares of the longer side of the person's seen box."""

    # Poses
    swap_upper: float = 0.25  # chance of an upper body from another pose
    swap_limb: float = 0.12  # chance, of each limb, to come from another pose
    sitting: float = 0.12
    joint_noise_rad: float = 0.09
    wrist_noise_rad: float = 0.3
    lying: float = 0.06  # chance of a body on its back, front or side
    tumbling: float = 0.03  # chance of any orientation at all
    # Cameras
    facing: float = 0.7  # chance of a yaw around facing the camera, else all round
    facing_rad: float = 0.8
    pitch_rad: float = 0.2
    steep: float = 0.12
    steep_rad: float = 0.7
    roll_rad: float = 0.07
    focal_mm: tuple[float, float] = (24.0, 135.0)  # on 36 mm of the longer side
    share: tuple[float, float] = (0.3, 1.4)  # person's size over the picture's longer side
    focal_guessed: float = 0.5  # chance that the focal length is not known
    focal_sigma: float = 0.25
    # Detectors. A point's error is `noise` times what its confidence says (1…8, see `trust_of`).
    plain: float = 0.25  # chance of points as OpenPose and COCO have them, with no hands
    noise: float = 0.009  # of a sure point, median over people
    noise_spread: float = 0.5  # of its logarithm
    misjudged: float = 0.4  # spread of the logarithm of a point's error over what its confidence says
    lost: float = 0.03  # chance of a person who is seen badly altogether
    hip_noise: float = 1.5  # times
    dim_point: float = 0.08
    dim_limb: float = 0.22  # chance, of each limb, to be guessed with low confidence
    dim_end: float = 0.12  # the same of hands and feet
    limb_shift: float = 0.06  # chance, of each limb, to be seen far off
    limb_shift_size: float = 0.1
    cut: float = 0.35  # chance of a picture whose edge cuts the person
    squeezed: float = 0.2  # chance that what is beyond the edge is taken to be just within it
    hidden_limb: float = 0.06
    hidden_point: float = 0.02
    no_hands: float = 0.25
    no_feet: float = 0.1
    no_face: float = 0.06
    hinted: float = 0.7  # chance of 3D hints, where the detector gives such
    hint_spread: float = 0.35  # of the logarithm of a person's errors of hints
    wrong_hints: float = 0.02  # chance of hints that are somebody else's
    swap_all: float = 0.015
    swap_legs: float = 0.02
    swap_arms: float = 0.015
    betas_spread: float = 1.0


@dataclass(frozen=True)
class Posed:
    """B posed people."""

    rest: Tensor  # (B, 22, 3) rest joints
    joints: Tensor  # (B, 22, 3)
    points: Tensor  # (B, P, 3)
    directions: Tensor  # (B, K, 3) unit

    def join(self, other: Posed) -> Posed:
        """These people and others."""
        return Posed(
            torch.cat([self.rest, other.rest]),
            torch.cat([self.joints, other.joints]),
            torch.cat([self.points, other.points]),
            torch.cat([self.directions, other.directions]),
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


@dataclass(frozen=True)
class HintNoise:
    """How hints of one kind of bone err: elevation towards the camera and angle in the picture, in degrees.

    hinted elevation = slope × true one + bend × cosine of the heading + noise. Both as (sure, guessed).
    """

    slope: tuple[float, float]
    bend: tuple[float, float]
    sigma: tuple[float, float]
    sigma_in_picture: tuple[float, float]
    group_share: float  # of the variance that the bones of a group have in common


# As measured on rendered pictures, by kind; and the bones of HINTS that err together.
_NOISE = {
    "across": HintNoise((0.90, 0.90), (0.0, 0.0), (11.5, 25.0), (5.5, 20.0), 0.6),
    "trunk": HintNoise((0.62, 0.50), (-5.0, -5.0), (9.6, 18.0), (6.0, 20.0), 0.9),
    "upper arm": HintNoise((0.56, 0.50), (-3.0, 3.0), (12.4, 20.0), (9.0, 23.0), 0.3),
    "forearm": HintNoise((0.49, 0.55), (-8.0, -4.0), (15.5, 24.0), (8.6, 32.0), 0.6),
    "hand": HintNoise((0.20, 0.45), (-23.0, -10.0), (15.0, 24.0), (20.0, 45.0), 0.8),
    "thigh": HintNoise((0.72, 0.05), (1.0, 1.0), (10.2, 14.0), (8.3, 33.0), 0.3),
    "shin": HintNoise((0.58, 0.12), (9.0, 31.0), (10.8, 16.0), (6.1, 23.0), 0.5),
    "foot": HintNoise((0.33, 0.20), (-32.0, -36.0), (11.6, 22.0), (17.4, 37.0), 0.3),
    "ears": HintNoise((1.00, 0.80), (-1.0, 0.0), (14.0, 30.0), (12.0, 30.0), 0.5),
    "nose": HintNoise((0.93, 0.80), (-9.0, -9.0), (15.5, 30.0), (16.0, 30.0), 0.5),
}
_KINDS = {
    ("shoulder", "shoulder"): ("across", "across"),
    ("hip", "hip"): ("across", "across"),
    ("hip", "shoulder"): ("trunk", "trunk"),
    ("shoulder", "elbow"): ("upper arm", "arm"),
    ("elbow", "wrist"): ("forearm", "arm"),
    ("wrist", "index"): ("hand", "arm"),
    ("wrist", "pinky"): ("hand", "arm"),
    ("hip", "knee"): ("thigh", "leg"),
    ("knee", "ankle"): ("shin", "shins"),
    ("heel", "toe"): ("foot", "leg"),
    ("ear", "ear"): ("ears", "head"),
    ("ear", "nose"): ("nose", "head"),
}


def _hint_table() -> tuple[Tensor, Tensor, Tensor]:
    """By bone of HINTS: (K, 4, 2) slope, bend, σ, σ in the picture; which group (K,); share in common (K,)."""
    rows, groups, shares = [], [], []
    for a, b in HINTS:
        (side, first), (_, second) = (name.split("_") if "_" in name else ("", name) for name in (a, b))
        kind, group = _KINDS[first, second]
        noise = _NOISE[kind]
        rows.append((noise.slope, noise.bend, noise.sigma, noise.sigma_in_picture))
        groups.append(f"{side} {group}" if group in ("arm", "leg") else group)
        shares.append(noise.group_share)
    names = sorted(set(groups))
    return torch.tensor(rows), torch.tensor([names.index(name) for name in groups]), torch.tensor(shares)


_ARM = ("collar", "shoulder", "elbow", "wrist")
_LEG = ("hip", "knee", "ankle", "foot")


def _joints(side: str, parts: tuple[str, ...]) -> list[int]:
    return [JOINT_INDEX[f"{side}_{part}"] for part in parts]


def _points(names: tuple[str, ...], side: str | None = None) -> list[int]:
    sides = (side,) if side else ("left", "right")
    return [POINTS.index(f"{s}_{name}") for s in sides for name in names if f"{s}_{name}" in POINTS]


FACE = [POINTS.index("nose"), *_points(("eye", "ear", "mouth"))]
MOUTH = _points(("mouth",))
HAND_POINTS = _points(("index", "pinky", "thumb"))
FEET = _points(("heel", "toe"))
MIDDLES = _points(("elbow", "knee"))
LIMB_POINTS = [
    _points(parts, side)
    for side in ("left", "right")
    for parts in (("elbow", "wrist", "index", "pinky", "thumb"), ("knee", "ankle", "heel", "toe"))
]
ENDS = [
    _points(parts, side)
    for side in ("left", "right")
    for parts in (("wrist", "index", "pinky", "thumb"), ("ankle", "heel", "toe"))
]


class ViewMaker:
    """Makes batches. All randomness comes from one generator, so that a seed fixes them."""

    def __init__(self, body: BodyModel, poses: PoseSet, settings: ViewSettings, seed: int) -> None:
        self.settings = settings
        self.random = torch.Generator().manual_seed(seed)
        self.poses = torch.as_tensor(poses.rotations[:, :NUM_BODY])
        self.weights = torch.as_tensor(poses.weights()).float()
        self.J_template = torch.as_tensor(body.J_template[:NUM_BODY])
        self.J_dirs = torch.as_tensor(body.J_shapedirs[:NUM_BODY])
        self.hint_table = _hint_table()
        self.rest_directions = torch.as_tensor(rest_directions(body.J_template))
        # MediaPipe's points, then all as OpenPose and COCO have them, as far as they do; then hands from hand models.
        orders = (("pose33",), ("body25", "pose33"))
        self.carriers = [self._carriers(body, order) for order in orders]

    @staticmethod
    def _carriers(body: BodyModel, order: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Where the points are on the body: template (P, 3), dirs (P, 3, B), weights (P, 22); fingers are at rest."""
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        for name in POINTS:
            source, point = next((s, p) for wanted in order for s, p in SOURCES[name] if s == wanted)
            points = body.virtual_points(body.points[source])
            at = body.points[source].names.index(point)
            weights = torch.as_tensor(points.weights[at])
            folded = weights[:NUM_BODY].clone()
            for joint in range(NUM_BODY, len(PARENTS)):
                above = joint
                while above >= NUM_BODY:
                    above = PARENTS[above]
                folded[above] += weights[joint]
            found.append((torch.as_tensor(points.template[at]), torch.as_tensor(points.shapedirs[at]), folded))
        template, dirs, skin = (torch.stack(part) for part in zip(*found, strict=True))
        return template, dirs, skin

    # --- drawing --------------------------------------------------------------------------------------------

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.random)

    def _chance(self, count: int, share: float) -> Tensor:
        return self._uniform(count) < share

    def _draw(self, count: int) -> Tensor:
        """Poses (count, 22, 3, 3), half of them mirrored."""
        rows = torch.multinomial(self.weights, count, replacement=True, generator=self.random)
        poses = self.poses[rows]
        return torch.where(self._chance(count, 0.5)[:, None, None, None], mirror_rotations(poses), poses)

    # --- people ---------------------------------------------------------------------------------------------

    def people(self, count: int) -> Tensor:
        """Local rotations (count, 22, 3, 3), upright and without a heading: SMPL axes for the pelvis."""
        s = self.settings
        poses = self._draw(count)
        other = self._draw(count)
        upper = list(range(3, NUM_BODY))
        upper = [j for j in upper if not any(j in _joints(side, _LEG) for side in ("left", "right"))]
        rows = self._chance(count, s.swap_upper)[:, None, None, None]
        poses[:, upper] = torch.where(rows, other[:, upper], poses[:, upper])
        other = self._draw(count)
        for side in ("left", "right"):
            for parts in (_ARM, _LEG):
                limb = _joints(side, parts)
                rows = self._chance(count, s.swap_limb)[:, None, None, None]
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

    def place(self, poses: Tensor) -> Tensor:
        """Turn people (B, 22, 3, 3) to cameras that look at them, in place of the pelvis's rotation."""
        s = self.settings
        count = len(poses)
        facing = self._chance(count, s.facing)
        yaw = torch.where(facing, s.facing_rad * self._normal(count), 2 * math.pi * self._uniform(count))
        root = _turn("y", yaw) @ poses[:, 0]
        lying = self._chance(count, s.lying)
        side = _turn("y", 2 * math.pi * self._uniform(count))
        tilt = torch.where(lying, math.pi / 2 + 0.25 * self._normal(count), torch.zeros(count))
        root = side @ _turn("x", tilt) @ side.transpose(-1, -2) @ root
        pitch = 0.08 + s.pitch_rad * self._normal(count)
        pitch = torch.where(self._chance(count, s.steep), s.steep_rad * self._normal(count), pitch)
        roll = s.roll_rad * self._normal(count)
        roll = torch.where(self._chance(count, s.steep), 4 * roll, roll)
        root = _turn("z", roll) @ _turn("x", pitch + math.pi) @ root
        tumbling = self._chance(count, s.tumbling)
        anyhow = exp_so3(math.pi * torch.nn.functional.normalize(self._normal(count, 3), dim=-1)) @ exp_so3(
            2 * self._normal(count, 3)
        )
        root = torch.where(tumbling[:, None, None], anyhow, root)
        return torch.cat([root[:, None], poses[:, 1:]], 1)

    def pose(self, rotmats: Tensor, betas: Tensor, plain: bool) -> Posed:
        """People of given rotations and shapes, the pelvis near the origin; plain: points as OpenPose and COCO."""
        rest = self.J_template + torch.einsum("jkb,nb->njk", self.J_dirs, betas)
        turns, joints = forward(rotmats, rest)
        template, dirs, skin = self.carriers[plain]
        points = template + torch.einsum("pkb,nb->npk", dirs, betas)
        shift = joints - (turns @ rest[..., None])[..., 0]
        blend = torch.einsum("pj,njk->npk", skin, torch.cat([turns.flatten(2), shift], -1))
        points = (blend[..., :9].unflatten(-1, (3, 3)) @ points[..., None])[..., 0] + blend[..., 9:]
        directions = (turns[:, list(DIRECTION_JOINTS)] @ self.rest_directions[..., None])[..., 0]
        return Posed(rest, joints, points, directions)

    # --- pictures -------------------------------------------------------------------------------------------

    def batch(self, count: int) -> Views:
        """`count` people as they are detected."""
        s = self.settings
        rotmats = self.place(self.people(count))
        betas = s.betas_spread * self._normal(count, self.J_dirs.shape[-1])
        first = count - round(s.plain * count)
        posed = self.pose(rotmats[:first], betas[:first], False).join(self.pose(rotmats[first:], betas[first:], True))
        points = posed.points
        plain = (torch.arange(count) >= first).float()
        low, high = points.amin(1), points.amax(1)
        extent = (high - low)[:, :2].amax(-1).clamp_min(0.5)
        focal = torch.exp(_between(self._uniform(count), *(math.log(mm / 36) for mm in s.focal_mm)))
        depth = (extent * focal / _between(self._uniform(count), *s.share)).clamp_min(0.8)
        ahead = torch.cat([torch.zeros(count, 2), depth[:, None]], -1)
        points = points - 0.5 * (low + high)[:, None] + ahead[:, None]
        rays = points[..., :2] / points[..., 2:].clamp_min(0.2)
        rays, trust = self._detect(rays, plain > 0)
        guessed = self._chance(count, s.focal_guessed)
        wrong = torch.where(guessed, s.focal_sigma * self._normal(count), 0.01 * self._normal(count))
        hinted = (plain == 0) & self._chance(count, s.hinted)
        hints, hint_trust = self._hints(points, rotmats[:, 0], trust, hinted)
        features, turn = features_of(rays * torch.exp(wrong)[:, None, None], trust, plain, hints, hint_trust)
        rotmats = torch.cat([(turn @ rotmats[:, 0])[:, None], rotmats[:, 1:]], 1)
        back = turn.transpose(-1, -2)
        joints = (posed.joints - posed.joints[:, :1]) @ back
        return Views(features, rotmats, posed.directions @ back, joints, posed.rest, betas)

    def _detect(self, rays: Tensor, plain: Tensor) -> tuple[Tensor, Tensor]:
        """Noise, cuts, losses and swaps: rays (B, P, 2) → rays and trust (B, P)."""
        s = self.settings
        count, number = rays.shape[:2]
        beyond, edge = self._cut(rays)
        inside = torch.where(beyond[..., None], torch.full_like(rays, float("nan")), rays)
        box = (_nan_max(inside) + _nan_max(-inside)).amax(-1).clamp_min(1e-3)
        level = s.noise * torch.exp(s.noise_spread * self._normal(count)) * box
        level = torch.where(self._chance(count, s.lost), 5 * level, level)
        # By what a point's error is multiplied, as its detector believes.
        times = torch.exp(0.3 * self._normal(count, number)).clamp_min(1.0)
        dim = self._uniform(count, number) < s.dim_point
        times = torch.where(dim, times * (1 + 5 * self._uniform(count, number)), times)
        shift = torch.zeros_like(rays)
        for limbs, chance in ((LIMB_POINTS, s.dim_limb), (ENDS, s.dim_end)):
            for limb in limbs:
                rows = self._chance(count, chance)
                guess = torch.exp(_between(self._uniform(count), math.log(1.3), math.log(8.0)))
                guess = torch.where(rows, guess, torch.ones(count))
                times[:, limb] *= guess[:, None]
                shift[:, limb] += (0.7 * level * (guess - 1))[:, None, None] * self._normal(count, 1, 2)
                far = self._chance(count, s.limb_shift)
                shift[:, limb] += (s.limb_shift_size * box * far)[:, None, None] * self._normal(count, 1, 2)
                guess = torch.exp(self._uniform(count) * math.log(8.0))
                times[:, limb] *= torch.where(far, guess, torch.ones(count))[:, None]
        times[:, MIDDLES] = times[:, MIDDLES] ** 0.7
        # What is beyond the edge is not seen, or seen just within it.
        squeezed = beyond & self._chance(count, s.squeezed)[:, None]
        within = edge[:, None] - 0.05 * box[:, None] * self._normal(count, number).abs()
        height = torch.where(squeezed & (rays[..., 1] > within), within, rays[..., 1])
        rays = torch.stack([rays[..., 0], height], -1)
        times = torch.where(squeezed, times * (1.5 + 6.5 * self._uniform(count, number)), times)
        times = times.clamp(1.0, 8.0)
        scale = level[:, None] * times * torch.exp(s.misjudged * self._normal(count, number) - s.misjudged**2 / 2)
        scale[:, _points(("hip",))] *= s.hip_noise
        rays = rays + shift + scale[..., None] * self._normal(count, number, 2)
        trust = 1 / times
        trust = torch.where(beyond & ~squeezed, torch.zeros_like(trust), trust)
        for limb in (*LIMB_POINTS, *ENDS):
            trust[:, limb] *= (~self._chance(count, s.hidden_limb))[:, None]
        for points, share in ((HAND_POINTS, s.no_hands), (FEET, s.no_feet), (FACE, s.no_face)):
            trust[:, points] *= (~self._chance(count, share))[:, None]
        # A hand model may add hands to such points; their mouth is not known.
        trust[:, HAND_POINTS] *= (~(plain & self._chance(count, 0.7)))[:, None]
        trust[:, MOUTH] *= (~plain)[:, None]
        trust = trust * (self._uniform(count, number) > s.hidden_point)
        few = (trust > 0).sum(1) < 6
        trust = torch.where(few[:, None], 1 - beyond.float(), trust)
        none = (trust > 0).sum(1) < 6
        trust = torch.where(none[:, None], torch.ones_like(trust), trust)
        return self._swap(rays, trust)

    def _hints(self, points: Tensor, root: Tensor, trust: Tensor, hinted: Tensor) -> tuple[Tensor, Tensor]:
        """3D hints (B, K, 3) as detectors give them, and their trust (B, K).

        points (B, P, 3) in the camera's frame, root (B, 3, 3) the pelvis's rotation there, trust (B, P), hinted (B,).
        The picture's centre is about where the person is, so that no turn is needed here.
        """
        s = self.settings
        count = len(points)
        first, second = (list(ends) for ends in zip(*HINT_ENDS, strict=True))
        bone = points[:, second] - points[:, first]
        flat = bone[..., :2].norm(dim=-1).clamp_min(1e-6)
        elevation, angle = torch.atan2(bone[..., 2], flat), torch.atan2(bone[..., 1], bone[..., 0])
        sure = torch.minimum(trust[:, first], trust[:, second])
        guess = ((1 - sure) / 0.75).clamp(0, 1)[..., None]  # guessed from a trust of 1/4 on
        table, groups, share = self.hint_table
        slope, bend, sigma, in_picture = (table[..., 0] + guess * (table[..., 1] - table[..., 0])).unbind(-1)
        common = self._normal(count, int(groups.max()) + 1)[:, groups]
        noise = share.sqrt() * common + (1 - share).sqrt() * self._normal(count, len(HINTS))
        spread = torch.exp(s.hint_spread * self._normal(count, 1))
        heading = -root[:, 2, 2]  # 1 facing the camera, −1 from behind
        off = torch.deg2rad(bend * heading[:, None] / 0.85 + sigma * spread * noise)
        seen = (slope * elevation + off).clamp(-1.5, 1.5)
        turned = torch.deg2rad(in_picture * spread * self._normal(count, len(HINTS))) / elevation.cos().clamp_min(0.3)
        angle = angle + turned
        hints = torch.stack([seen.cos() * angle.cos(), seen.cos() * angle.sin(), seen.sin()], -1)
        wrong = self._chance(count, s.wrong_hints)[:, None, None]
        hints = torch.where(wrong, hints.roll(1, 0), hints)
        return hints, sure.clamp_min(LEAST_HINT_TRUST) * hinted[:, None]

    def _cut(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Which points (B, P) lie beyond the picture's edge, most often below it; and the lower edge (B,)."""
        count = len(rays)
        low, high = rays.amin(1), rays.amax(1)
        below = low[:, 1] + (high - low)[:, 1] * _between(self._uniform(count), 0.3, 1.0)
        beyond = (rays[..., 1] > below[:, None]) & self._chance(count, s_below := 0.75)[:, None]
        left = low[:, 0] + (high - low)[:, 0] * _between(self._uniform(count), 0.0, 0.35)
        right = high[:, 0] - (high - low)[:, 0] * _between(self._uniform(count), 0.0, 0.35)
        beyond = beyond | ((rays[..., 0] < left[:, None]) & self._chance(count, (1 - s_below) / 1.5)[:, None])
        beyond = beyond | ((rays[..., 0] > right[:, None]) & self._chance(count, (1 - s_below) / 1.5)[:, None])
        return beyond & self._chance(count, self.settings.cut)[:, None], below

    def _swap(self, rays: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
        """Detectors sometimes take left for right: the legs, the arms, or the whole body."""
        s = self.settings
        legs = _points(("hip", "knee", "ankle", "heel", "toe"))
        arms = _points(("elbow", "wrist", "index", "pinky", "thumb"))
        mirror = torch.tensor(POINT_MIRROR)
        for points, share in ((list(range(len(POINTS))), s.swap_all), (legs, s.swap_legs), (arms, s.swap_arms)):
            order = torch.arange(len(POINTS))
            order[points] = mirror[points]
            rows = self._chance(len(rays), share)
            rays = torch.where(rows[:, None, None], rays[:, order], rays)
            trust = torch.where(rows[:, None], trust[:, order], trust)
        return rays, trust


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


def _between(share: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * share


def _nan_max(values: Tensor) -> Tensor:
    """Largest over the points (B, P, 2) → (B, 2), not-a-number left out."""
    return torch.nan_to_num(values, nan=-1e9).amax(1)
