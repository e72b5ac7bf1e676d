"""Poses in which parts of a body touch, made for the collision benchmark: found by reaching, checked on the mesh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .body.bake_poses import read_poses
from .body.model import BodyModel, VirtualPoints
from .body.skeleton import JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from .body.skinning import Body
from .detection.observation import Observation, Points
from .fitting.collision import Collision
from .fitting.kinematics import PointTable, Skeleton, pose_chain
from .fitting.residuals import rotation_offset
from .fitting.settings import FitSettings
from .fitting.solver import Linearisation, SolverSettings, solve
from .fitting.start import relaxed_pose
from .fitting.state import BodyState, Unknowns, retract
from .priors.intersection import Judge
from .priors.limits import JointLimits
from .priors.proxies import PLANS, part_of_joint
from .priors.proxy_fit import outer_shell
from .rotation import exp_so3

Floats = NDArray[np.float64]
Direction = tuple[float, float, float]
PART = {plan.name: i for i, plan in enumerate(PLANS)}

PALM = (0.0, -1.0, 0.0)  # where palms face in the T-pose
FOCAL_PX, SIZE = 1100.0, (1024, 1024)
SETS = ("pose33", "left_hand", "right_hand")


@dataclass(frozen=True)
class Touch:
    """The skin of `part` towards `facing` lies on that of `target` towards `at` (directions in the T-pose)."""

    part: str
    facing: Direction
    target: str
    at: Direction
    along: float = 0.0  # −1…1: where along the target's longest axis


@dataclass(frozen=True)
class Recipe:
    """A kind of contact. base: axis-angle by joint, on top of standing with the arms down."""

    name: str
    touches: tuple[Touch, ...]
    base: tuple[tuple[str, Direction], ...] = ()


def _both(touch: Touch) -> tuple[Touch, Touch]:
    def other(name: str) -> str:
        return "right_" + name[5:] if name.startswith("left_") else name

    def flip(d: Direction) -> Direction:
        return (-d[0], d[1], d[2])

    return touch, Touch(other(touch.part), flip(touch.facing), other(touch.target), flip(touch.at), touch.along)


BENT_ARMS = (
    ("left_shoulder", (0.3, -0.7, -0.9)),
    ("right_shoulder", (0.3, 0.7, 0.9)),
    ("left_elbow", (0.0, -1.7, 0.0)),
    ("right_elbow", (0.0, 1.7, 0.0)),
)
RAISED_ARMS = (
    ("left_shoulder", (0.0, 0.2, 0.6)),
    ("right_shoulder", (0.0, -0.2, -0.6)),
    ("left_elbow", (0.0, -2.1, 0.0)),
    ("right_elbow", (0.0, 2.1, 0.0)),
)
SITTING = (
    ("left_hip", (-1.5, 0.0, 0.12)),
    ("right_hip", (-1.5, 0.0, -0.12)),
    ("left_knee", (1.5, 0.0, 0.0)),
    ("right_knee", (1.5, 0.0, 0.0)),
)
RECIPES: tuple[Recipe, ...] = (
    Recipe("hands on hips", _both(Touch("left_palm", PALM, "pelvis", (1.0, 0.5, 0.2)))),
    Recipe(
        "crossed arms",
        (
            Touch("left_palm", PALM, "right_upper_arm", (0.0, 0.0, 1.0), -0.4),
            Touch("right_palm", PALM, "left_forearm", (0.0, -1.0, 0.0), -0.6),
        ),
        BENT_ARMS,
    ),
    Recipe("crossed forearms", (Touch("left_forearm", PALM, "right_forearm", (0.0, 1.0, 0.0)),), BENT_ARMS),
    Recipe("crossed ankles", (Touch("left_shin", (0.0, 0.0, -1.0), "right_shin", (0.0, 0.0, 1.0), -0.6),)),
    Recipe("knee over knee", (Touch("left_thigh", (0.0, 0.0, -1.0), "right_thigh", (0.0, 0.0, 1.0), -0.7),), SITTING),
    Recipe("ankle on knee", (Touch("left_shin", (1.0, 0.0, 0.0), "right_thigh", (0.0, 0.0, 1.0), -0.7),), SITTING),
    Recipe("hand on face", (Touch("left_palm", PALM, "head", (0.8, -0.3, 0.7)),), BENT_ARMS),
    Recipe("hands on face", _both(Touch("left_palm", PALM, "head", (0.5, 0.0, 0.9))), BENT_ARMS),
    Recipe("hands behind the head", _both(Touch("left_palm", PALM, "head", (0.4, 0.1, -1.0))), RAISED_ARMS),
    Recipe("prayer", (Touch("left_palm", PALM, "right_palm", PALM),), BENT_ARMS),
    Recipe("hands on the belly", _both(Touch("left_palm", PALM, "belly", (0.4, -0.2, 1.0))), BENT_ARMS),
    Recipe(
        "hand on the other shoulder", (Touch("left_palm", PALM, "right_upper_arm", (0.0, 1.0, 0.2), 0.7),), BENT_ARMS
    ),
    Recipe("hand on the side of the thigh", _both(Touch("left_palm", PALM, "left_thigh", (1.0, 0.0, 0.0), 0.2))),
    Recipe("sitting, hands on thighs", _both(Touch("left_palm", PALM, "left_thigh", (0.1, 0.0, 1.0), -0.4)), SITTING),
    Recipe(
        "sitting, forearms on thighs", _both(Touch("left_forearm", PALM, "left_thigh", (0.0, 0.0, 1.0), -0.6)), SITTING
    ),
)


@dataclass(frozen=True)
class Contact:
    """Two groups of parts (indices in PLANS) that touch."""

    first: tuple[int, ...]
    second: tuple[int, ...]


def _group(*names: str) -> tuple[int, ...]:
    return tuple(i for name, i in PART.items() if name in names)


def _contacts() -> tuple[Contact, ...]:
    """All pairs of groups that may touch and are not joined."""
    trunk = {"torso": _group("pelvis", "belly", "chest"), "head": _group("head", "neck")}
    limbs = {}
    for side in ("left", "right"):
        limbs[f"{side} hand"] = tuple(
            i for name, i in PART.items() if name.startswith(side) and (name.endswith("palm") or name[-1] in "123")
        )
        limbs[f"{side} forearm"] = _group(f"{side}_forearm")
        limbs[f"{side} upper arm"] = _group(f"{side}_upper_arm")
        limbs[f"{side} thigh"] = _group(f"{side}_thigh")
        limbs[f"{side} shin"] = _group(f"{side}_shin", f"{side}_foot")
    groups = trunk | limbs
    joined = {("forearm", "hand"), ("forearm", "upper arm"), ("shin", "thigh")}
    pairs = []
    for first in groups:
        for second in list(groups)[list(groups).index(first) + 1 :]:
            one, other = first.partition(" ")[::2], second.partition(" ")[::2]
            if first in trunk and (second in trunk or other[1] in ("upper arm", "thigh")):
                continue  # joined, or as good as joined
            if one[0] == other[0] and tuple(sorted((one[1], other[1]))) in joined:
                continue
            if one[1] == other[1] == "thigh":
                continue  # meet at the groin
            pairs.append(Contact(groups[first], groups[second]))
    return tuple(pairs)


CONTACTS = _contacts()
TOUCH_M = 0.004


@dataclass(frozen=True)
class Example:
    """One person in camera axes, metres, and what a detector would have seen."""

    name: str
    state: BodyState  # one body, float64
    vertices: Floats  # (V, 3)
    contacts: tuple[Contact, ...]  # those that the mesh confirms
    observation: Observation


class ContactMaker:
    """Makes examples of one body. The same seed makes the same example."""

    def __init__(self, body: BodyModel, collision: Collision, judge: Judge) -> None:
        self.body, self.judge = body, judge
        self.collision = collision.to(Skeleton.of(body, torch.float64, "cpu"))
        self.skeleton = self.collision.skeleton
        self.mesh = Body(body, dtype=torch.float64)
        self.shell = outer_shell(body)
        self.owner = part_of_joint()[self.shell.weights.argmax(1)]
        self.limits = JointLimits(tuple(range(1, 22)), body.J_template, torch.float64)

    def examples(self, count: int, seed: int) -> Iterator[Example]:
        """Three of four touch by a recipe, one is a captured pose of the test split with whatever overlaps in it."""
        captured = read_poses("test")
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            if number % 4 == 3:
                yield self.captured(captured[rng.integers(len(captured))], rng)
            else:
                yield self.made(RECIPES[(number - number // 4) % len(RECIPES)], rng)

    def captured(self, pose: Floats, rng: np.random.Generator) -> Example:
        """Somebody in a captured pose (55, 3, 3)."""
        rotmats = torch.as_tensor(pose)
        return self._example("captured", self._state(rotmats, rng), rng)

    def made(self, recipe: Recipe, rng: np.random.Generator) -> Example:
        """Somebody who does what a recipe says, about as it says: parts are drawn to each other until they touch."""
        pose = relaxed_pose()
        for joint, turn in recipe.base:
            pose[JOINT_INDEX[joint]] = torch.tensor(turn, dtype=torch.float64)
        pose[1:22] += torch.as_tensor(rng.normal(0, 0.08, (21, 3)))
        state = self._state(exp_so3(pose), rng)
        ends = [
            (self._vertex(t.part, t.facing, 0.0, rng), self._vertex(t.target, t.at, t.along, rng))
            for t in recipe.touches
        ]
        low, high, best = -0.015, 0.03, None
        reaching = {PART[touch.part] for touch in recipe.touches}
        for touch in recipe.touches:
            if touch.part.endswith("palm"):
                reaching |= {i for name, i in PART.items() if name.startswith(touch.part[:5]) and name[-1] in "123"}
        for _ in range(6):
            offset = (low + high) / 2
            reached = solve(
                _Reach(self, state, ends, offset), state, SolverSettings(max_steps=25, tolerance=1e-4)
            ).state
            overlap = self.judge.volume(self._vertices(reached))
            if sum(volume for pair, volume in overlap.items() if reaching & set(pair)) > 1e-6:
                low = offset
            else:
                high, best = offset, reached
        return self._example(recipe.name, best if best is not None else reached, rng)

    # --- parts ----------------------------------------------------------------------------------------------

    def _vertex(self, part: str, direction: Direction, along: float, rng: np.random.Generator) -> int:
        """The row of the shell that is seen from the middle of a part in a direction."""
        mine = np.flatnonzero(self.owner == PART[part])
        points = self.shell.points[mine]
        low, high = points.min(0), points.max(0)
        middle, longest = (low + high) / 2, int((high - low).argmax())
        # towards the end of a limb is away from the body's middle, sideways or down
        outwards = np.sign(middle[longest]) or 1.0
        middle[longest] -= outwards * (along + rng.normal(0, 0.08)) * (high - low)[longest] / 2
        aim = np.array(direction) / np.linalg.norm(direction) + rng.normal(0, 0.06, 3)
        offset = points - middle
        cosine = (offset @ aim) / np.maximum(np.linalg.norm(offset, axis=1), 1e-6)
        return int(mine[(cosine + 0.3 * self.shell.normals[mine] @ aim).argmax()])

    def _state(self, rotmats: Tensor, rng: np.random.Generator) -> BodyState:
        rotmats = rotmats.clone()
        hands = self.body.hands_mean.reshape(-1, 3) * rng.uniform(0.2, 1.0) + rng.normal(0, 0.05, (30, 3))
        rotmats[LEFT_HAND.start : RIGHT_HAND.stop] = exp_so3(torch.as_tensor(hands).double())
        facing = exp_so3(torch.tensor([np.pi, 0.0, 0.0], dtype=torch.float64))
        rotmats[0] = facing @ exp_so3(torch.tensor([0.0, rng.uniform(-1.0, 1.0), 0.0], dtype=torch.float64))
        return BodyState(
            rotmats[None],
            torch.tensor([[rng.uniform(-0.2, 0.2), 0.0, rng.uniform(2.6, 4.5)]], dtype=torch.float64),
            torch.tensor([np.log(FOCAL_PX)]),
            torch.as_tensor(rng.normal(0, 0.7, (1, self.body.num_betas))),
            torch.zeros(1, self.body.num_expressions, dtype=torch.float64),
        )

    def _vertices(self, state: BodyState) -> Floats:
        posed = self.mesh.vertices(state.betas, state.expression, state.rotmats, state.transl)
        return np.asarray(posed[0].numpy())

    def _example(self, name: str, state: BodyState, rng: np.random.Generator) -> Example:
        vertices = self._vertices(state)
        contacts = tuple(pair for pair in CONTACTS if self.judge.gap(vertices, pair.first, pair.second) < TOUCH_M)
        return Example(name, state, vertices, contacts, observe(self.body, self.skeleton, state, rng))


def observe(body: BodyModel, skeleton: Skeleton, state: BodyState, rng: np.random.Generator) -> Observation:
    """Points of body and hands as a detector gives them: 1 % of the person's height of noise, 3D hints with more."""
    chain = pose_chain(skeleton, state)
    points, spread = {}, 0.0
    for name in SETS:
        table = PointTable.of(skeleton, body.virtual_points(body.points[name]), (0,))
        position = table.positions(chain)[0].numpy()
        pixels = FOCAL_PX * position[:, :2] / position[:, 2:] + np.array(SIZE) / 2
        if name == "pose33":
            spread = 0.01 * float(np.linalg.norm(np.ptp(pixels, 0)))
        hand = name != "pose33"
        pixels = pixels + rng.normal(0, spread * (0.35 if hand else 1.0), pixels.shape)
        noise = np.array([0.004, 0.004, 0.008]) if hand else np.array([0.02, 0.02, 0.05])
        hint = position - position.mean(0) + rng.normal(0, 1, position.shape) * noise
        points[name] = Points(pixels.astype(np.float32), np.ones(len(pixels), np.float32), hint.astype(np.float32))
    everything = np.concatenate([p.image_px for p in points.values()])
    box = np.concatenate([everything.min(0), everything.max(0)])
    return Observation(SIZE, box, 1.0, points, source="made")


class _Reach:
    """Bring points of the skin onto others, skin against skin, near a pose and within the joints' limits."""

    def __init__(self, maker: ContactMaker, base: BodyState, ends: list[tuple[int, int]], offset_m: float) -> None:
        self.maker = maker
        self.unknowns = Unknowns(tuple(range(1, 22)), False, False, 0, 0)
        self.columns = torch.arange(63).reshape(21, 3)
        self.base_inverse = base.rotmats[0, 1:22].transpose(-1, -2)
        shell, body = maker.shell, maker.body
        rows = [(a, 0.0) for a, _ in ends] + [(a, 0.04) for a, _ in ends]
        rows += [(b, offset_m) for _, b in ends] + [(b, offset_m - 0.04) for _, b in ends]
        vertex = shell.rows[[row for row, _ in rows]]
        template = shell.points[[row for row, _ in rows]]
        template = template + np.array([[lift] for _, lift in rows]) * shell.normals[[row for row, _ in rows]]
        points = VirtualPoints(
            template.astype(np.float32), body.shapedirs[vertex], body.exprdirs[vertex], body.weights[vertex]
        )
        self.count = 2 * len(ends)
        self.table = PointTable.of(maker.skeleton, points, self.unknowns.joints)
        sigma = torch.tensor([0.002] * len(ends) + [0.02] * len(ends), dtype=torch.float64)
        self.inverse_sigma = 1 / sigma[:, None]

    def linearise(self, state: BodyState) -> Linearisation:
        chain = pose_chain(self.maker.skeleton, state)
        moving = self.table.differentiate(chain, self.unknowns)
        apart = moving.positions[:, : self.count] - moving.positions[:, self.count :]
        axes = torch.eye(3, dtype=torch.float64).expand(1, 2 * self.count, 3, 3)
        rows = moving.rows(axes, self.unknowns)
        r = (apart * self.inverse_sigma).flatten(1)
        j = ((rows[:, : self.count] - rows[:, self.count :]) * self.inverse_sigma[..., None]).flatten(1, 2)
        parts = [(r, j)]
        local = state.rotmats[:, 1:22]
        for value, blocks in (
            rotation_offset(local, self.base_inverse, _stiffness()),
            tuple(10 * x for x in self.maker.limits.blocks(local)),
        ):
            wide = torch.zeros(1, 21, 3, 63, dtype=torch.float64)
            wide[:, torch.arange(21)[:, None, None], torch.arange(3)[:, None], self.columns[:, None]] = blocks
            parts.append((value.flatten(1), wide.flatten(1, 2)))
        overlap = self.maker.collision.overlap(chain, self.unknowns)
        if overlap is not None:
            parts.append((overlap.depth / 0.01, overlap.jacobian / 0.01))
        r, j = torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1)
        return Linearisation((r * r).sum(-1), j.transpose(1, 2) @ j, (j.transpose(1, 2) @ r[..., None])[..., 0])

    def move(self, state: BodyState, step: Tensor) -> BodyState:
        return retract(state, step, self.unknowns, False)

    def held(self, state: BodyState, gradient: Tensor) -> Tensor | None:
        return None


def _stiffness() -> Tensor:
    """(21, 3) 1/rad: limbs reach, the spine and the head stay."""
    stiff = torch.full((21, 3), 1.5, dtype=torch.float64)
    stiff[[JOINT_INDEX[name] - 1 for name in ("spine1", "spine2", "spine3", "neck", "head")]] = 12.0
    return stiff


def without_collision(settings: FitSettings) -> FitSettings:
    """The same settings with parts free to overlap."""
    return replace(settings, collision_sigma_m=float("inf"))
