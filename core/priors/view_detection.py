"""How detectors err, as drawn for the regressor's training: points, hints, masks, sides. Development only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .mask_statistics import LIMBS, NUM_WAYS, WAYS, Framing, join_mask
from .regressor_input import HINT_ENDS, HINTS, LEAST_HINT_TRUST, POINT_MIRROR, POINTS
from .view_settings import ViewSettings


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


class Drawing:
    """Random numbers from one generator."""

    def __init__(self, settings: ViewSettings, random: torch.Generator) -> None:
        self.settings = settings
        self.random = random

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.random)

    def _chance(self, count: int, share: float) -> Tensor:
        return self._uniform(count) < share


class ViewDetector(Drawing):
    """What a detector makes of people that a camera sees."""

    def __init__(self, settings: ViewSettings, random: torch.Generator) -> None:
        super().__init__(settings, random)
        self.hint_table = _hint_table()

    def detect(
        self, rays: Tensor, plain: Tensor, edges: Tensor, exact: Tensor, noise_share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Noise, cuts, losses and swaps: rays (B, P, 2), edges (B, 4) → rays and trust (B, P).

        exact (B,): of these people all points are known, to noise_share (B,) of what sure points err by.
        """
        s = self.settings
        count, number = rays.shape[:2]
        beyond = self.beyond(rays, edges)
        inside = torch.where(beyond[..., None], torch.full_like(rays, float("nan")), rays)
        box = (_nan_max(inside) + _nan_max(-inside)).amax(-1).clamp_min(1e-3)
        level = s.noise * torch.exp(s.noise_spread * self._normal(count)) * box
        level = torch.where(self._chance(count, s.lost) & ~exact, 5 * level, level)
        known = rays + (level * noise_share)[:, None, None] * self._normal(count, number, 2)
        # By what a point's error is multiplied, as its detector believes.
        times = torch.exp(0.3 * self._normal(count, number)).clamp_min(1.0)
        dim = self._uniform(count, number) < s.dim_point
        times = torch.where(dim, times * (1 + 5 * self._uniform(count, number)), times)
        shift = torch.zeros_like(rays)
        for limbs, chance in ((LIMB_POINTS, s.dim_limb), (ENDS, s.dim_end)):
            for limb in limbs:
                rows = self._chance(count, chance)
                guess = torch.exp(between(self._uniform(count), math.log(1.3), math.log(8.0)))
                guess = torch.where(rows, guess, torch.ones(count))
                times[:, limb] *= guess[:, None]
                shift[:, limb] += (0.7 * level * (guess - 1))[:, None, None] * self._normal(count, 1, 2)
                far = self._chance(count, s.limb_shift)
                shift[:, limb] += (s.limb_shift_size * box * far)[:, None, None] * self._normal(count, 1, 2)
                guess = torch.exp(self._uniform(count) * math.log(8.0))
                times[:, limb] *= torch.where(far, guess, torch.ones(count))[:, None]
        times[:, MIDDLES] = times[:, MIDDLES] ** 0.7
        # What is beyond the edge is not seen, or seen just within it.
        squeezed = beyond & (self._chance(count, s.squeezed) & ~exact)[:, None]
        within = edges[:, :1] - 0.05 * box[:, None] * self._normal(count, number).abs()
        height = torch.where(squeezed, rays[..., 1].clamp(edges[:, 3:]).minimum(within), rays[..., 1])
        aside = torch.where(squeezed, rays[..., 0].clamp(edges[:, 1:2], edges[:, 2:3]), rays[..., 0])
        rays = torch.stack([aside, height], -1)
        times = torch.where(squeezed, times * (1.5 + 6.5 * self._uniform(count, number)), times)
        times = times.clamp(1.0, 8.0)
        scale = level[:, None] * times * torch.exp(s.misjudged * self._normal(count, number) - s.misjudged**2 / 2)
        scale[:, _points(("hip",))] *= s.hip_noise
        rays = rays + shift + scale[..., None] * self._normal(count, number, 2)
        rays = torch.where(exact[:, None, None], known, rays)
        trust = torch.where(exact[:, None], torch.ones_like(times), 1 / times)
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
        return self._swap(rays, trust, ~exact)

    def hints(self, points: Tensor, root: Tensor, trust: Tensor, hinted: Tensor) -> tuple[Tensor, Tensor]:
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

    def edges(self, rays: Tensor, cut: Tensor) -> Tensor:
        """The picture's lower, left, right and upper edge (B, 4), where they cut people `cut` (B,)."""
        count = len(rays)
        low, high = rays.amin(1), rays.amax(1)
        below = low[:, 1] + (high - low)[:, 1] * between(self._uniform(count), 0.3, 1.0)
        left = low[:, 0] + (high - low)[:, 0] * between(self._uniform(count), 0.0, 0.35)
        right = high[:, 0] - (high - low)[:, 0] * between(self._uniform(count), 0.0, 0.35)
        above = low[:, 1] + (high - low)[:, 1] * between(self._uniform(count), -0.05, 0.15)
        edges = torch.stack([below, left, right, above], 1)
        there = torch.stack([self._chance(count, p) for p in self.settings.cut_sides], 1)
        far = edges.new_tensor([1e3, -1e3, 1e3, -1e3])
        return torch.where(there & cut[:, None], edges, far)

    @staticmethod
    def beyond(rays: Tensor, edges: Tensor) -> Tensor:
        """Which of rays (B, P, 2) lie beyond the edges, (B, P)."""
        below, left, right, above = edges[:, None].unbind(-1)
        x, y = rays.unbind(-1)
        return (y > below) | (x < left) | (x > right) | (y < above)

    @staticmethod
    def limbs_of(parts: list[str]) -> Tensor:
        """Whether balls of these parts belong to the upper, then the lower half of each of LIMB_POINTS, and to the
        head, (N, 9)."""
        halves = (("upper_arm",), ("thigh",)), (("forearm", "palm", "middle2", "middle3", "thumb3"), ("shin", "foot"))
        rows = []
        for part in parts:
            side, _, name = part.partition("_")
            row = [side == s and name in half[limb] for half in halves for s in ("left", "right") for limb in (0, 1)]
            rows.append([*row, part == "head"])
        return torch.tensor(rows)

    def mask(
        self,
        balls: Tensor,
        radius: Tensor,
        limbs: Tensor,
        edges: Tensor,
        rays: Tensor,
        trust: Tensor,
        framing: Framing,
        wrong: Tensor,
        plain: Tensor,
    ) -> Tensor:
        """Statistics of masks (B, MASK_FEATURES).

        balls (B, N, 2) and radius (B, N) at depth 1, limbs (N, 9) which of `limbs_of`, rays (B, P, 2) and trust (B, P)
        as detected, framing of them times `wrong` (B, 1, 1).
        """
        s = self.settings
        count = len(balls)
        # What is not in the mask: beyond the picture, covered, or taken for something else.
        dim = torch.stack([trust[:, points].mean(1) < 0.4 for points in LIMB_POINTS], 1).repeat(1, 2)
        lacks = self._uniform(count, 8) < s.mask_lacks + s.mask_lacks_dim * dim
        lacks[:, 4:] |= lacks[:, :4]
        low, high = balls[..., 1].amin(1), balls[..., 1].amax(1)
        level = low + (high - low) * between(self._uniform(count), 0.35, 1.0)
        level = torch.where(self._chance(count, s.mask_covered), level, high)
        away = (
            (lacks.float() @ limbs[:, :8].float().T > 0) | (balls[..., 1] > level[:, None]) | self.beyond(balls, edges)
        )
        hair = 1 + s.mask_hair * self._uniform(count, 1)
        radius = torch.where(limbs[:, 8], radius * hair, radius) * wrong[..., 0]
        places, scale = framing.place(balls * wrong)
        radius = torch.where(away, radius.new_tensor(-1e3), radius * scale)
        ways = torch.as_tensor(WAYS)
        reach, furthest = (ways @ places.transpose(1, 2) + radius[:, None]).max(2)
        # The furthest ball may reach beyond the picture.
        at = torch.gather(balls, 1, furthest[..., None].expand(-1, -1, 2))
        reached = at + ways * (torch.gather(radius / scale, 1, furthest) / wrong[..., 0])[..., None]
        margin = 0.01 * (framing.size[:, None] / wrong[..., 0])
        known = ~self.beyond(reached, edges + margin * edges.new_tensor([-1.0, 1.0, -1.0, 1.0])) & (reach > -100)
        clothes = s.mask_clothes * self._normal(count, 1).abs()
        clothes = clothes * (1 + 4 * self._chance(count, s.mask_loose)[:, None])
        spill = (self._uniform(count, 1) * NUM_WAYS - torch.arange(NUM_WAYS)).abs() < 2
        spill = 0.6 * spill * (self._uniform(count, 1) * self._chance(count, s.mask_spill)[:, None])
        reach = reach + clothes + spill + s.mask_noise * self._normal(count, NUM_WAYS)
        chosen = [POINTS.index(name) for name in LIMBS]
        limb = framing.place(rays[:, chosen] * wrong)[0]
        apart = (torch.cdist(limb, places) - radius[:, None]).amin(-1)
        outside = apart - clothes + s.mask_noise * self._normal(count, len(LIMBS))
        told = (trust[:, chosen] > 0) & ~self.beyond(rays[:, chosen], edges)
        there = ((~plain) & self._chance(count, s.masked) & (~away).sum(1).gt(8))[:, None]
        return join_mask(reach, known & there, outside, told & there)

    def _swap(self, rays: Tensor, trust: Tensor, guessed: Tensor) -> tuple[Tensor, Tensor]:
        """Detectors sometimes take left for right: the legs, the arms, or the whole body. guessed (B,): of these."""
        s = self.settings
        legs = _points(("hip", "knee", "ankle", "heel", "toe"))
        arms = _points(("elbow", "wrist", "index", "pinky", "thumb"))
        mirror = torch.tensor(POINT_MIRROR)
        for points, share in ((list(range(len(POINTS))), s.swap_all), (legs, s.swap_legs), (arms, s.swap_arms)):
            order = torch.arange(len(POINTS))
            order[points] = mirror[points]
            rows = self._chance(len(rays), share) & guessed
            rays = torch.where(rows[:, None, None], rays[:, order], rays)
            trust = torch.where(rows[:, None], trust[:, order], trust)
        return rays, trust


def between(share: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * share


def _nan_max(values: Tensor) -> Tensor:
    """Largest over the points (B, P, 2) → (B, 2), not-a-number left out."""
    return torch.nan_to_num(values, nan=-1e9).amax(1)
