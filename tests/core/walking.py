"""A person of the free body who walks, as a camera that stands sees them: truth for tests of clips.

The gait is made, not captured: hips, knees and arms swing in sines, the foot that stands is flat and does not move, and
the pelvis goes where that puts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX as J
from pantomime.core.body.skeleton import LEFT_HAND, RIGHT_HAND
from pantomime.core.detection.vocabulary import POINT_SETS
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.state import BodyState
from pantomime.core.fitting.video_evidence import FIRST, NUM_POINTS, NUM_WORLD, SETS, Seen
from pantomime.core.fitting.video_parts import sole_points
from pantomime.core.rotation import exp_so3

SIZE, FOCAL_PX = (1280, 720), 1400.0
STRIDE_S = 1.1  # two steps


@dataclass(frozen=True)
class Walk:
    """T frames. Camera axes; `up` and `ground_m` are the plane up · x = ground_m."""

    time_s: NDArray[np.float64]
    state: BodyState
    joints: NDArray[np.float32]  # (T, 55, 3)
    soles: NDArray[np.float32]  # (T, 4, 3)
    solid: NDArray[np.bool_]  # (T, 2) left, right foot stands
    up: NDArray[np.float32]
    ground_m: float


def walk(
    body: BodyModel,
    frames: int,
    rate: float = 30.0,
    heading_deg: float = 60.0,
    tilt_deg: float = 6.0,
    distance_m: float = 6.5,
    betas: tuple[float, ...] = (),
) -> Walk:
    """Walking at about 1.2 m/s. heading: 0 towards the camera, 90 to the right; tilt: how far it looks down."""
    time_s = np.arange(frames) / rate
    phase = 2 * math.pi * time_s / STRIDE_S
    pose = torch.zeros(frames, 55, 3, dtype=torch.float64)
    solid = np.zeros((frames, 2), bool)
    for side, name in enumerate(("left", "right")):
        p = np.mod(phase + math.pi * side, 2 * math.pi)
        stands = p < math.pi
        solid[:, side] = stands
        swing = (p - math.pi) / math.pi
        # Stance: the thigh goes from before to behind as the foot stays; swing: back with the knee bent.
        hip = np.where(stands, 0.42 * np.cos(p), -0.42 * np.cos(math.pi * swing))
        knee = np.where(stands, 0.15 * np.sin(p) ** 2, 0.9 * np.sin(math.pi * np.clip(swing, 0, 1)) ** 2)
        pose[:, J[f"{name}_hip"], 0] = torch.as_tensor(-hip)
        pose[:, J[f"{name}_knee"], 0] = torch.as_tensor(knee)
        pose[:, J[f"{name}_ankle"], 0] = torch.as_tensor(hip - knee)
        sign = 1.0 if name == "left" else -1.0
        pose[:, J[f"{name}_shoulder"], 2] = -sign * 1.25
        pose[:, J[f"{name}_elbow"], 1] = -sign * (0.35 + 0.1 * torch.as_tensor(np.sin(p)))
        pose[:, J[f"{name}_shoulder"], 1] = torch.as_tensor(sign * 0.35 * np.cos(p + math.pi))
    pose[:, J["spine2"], 1] = torch.as_tensor(0.08 * np.cos(phase))
    hands = torch.as_tensor(body.hands_mean, dtype=torch.float64).reshape(-1, 3)
    pose[:, LEFT_HAND.start : RIGHT_HAND.stop] = hands
    rotmats = exp_so3(pose)
    # World: y up, the body faces its heading; camera: looks along −z of the world, tilted down.
    heading = exp_so3(torch.tensor([0.0, math.radians(heading_deg), 0.0], dtype=torch.float64))
    to_camera = exp_so3(torch.tensor([math.radians(180 + tilt_deg), 0.0, 0.0], dtype=torch.float64))
    rotmats[:, 0] = to_camera @ heading
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    shape = torch.zeros(frames, body.num_betas, dtype=torch.float64)
    shape[:, : len(betas)] = torch.tensor(betas, dtype=torch.float64)
    state = BodyState(
        rotmats,
        torch.zeros(frames, 3, dtype=torch.float64),
        torch.full((frames,), math.log(FOCAL_PX), dtype=torch.float64),
        shape,
        torch.zeros(frames, body.num_expressions, dtype=torch.float64),
    )
    table = PointTable.of(skeleton, sole_points(body), (0,))
    soles = table.positions(pose_chain(skeleton, state))
    # The standing foot stays where it is: what it would move from frame to frame is the pelvis's way.
    foot = torch.where(torch.as_tensor(solid[:, :1]), soles[:, :2].mean(1), soles[:, 2:].mean(1))
    same = torch.as_tensor(solid[1:, 0] == solid[:-1, 0])
    step = -(foot[1:] - foot[:-1])
    other = torch.where(
        torch.as_tensor(solid[:-1, :1]),
        -(soles[1:, :2] - soles[:-1, :2]).mean(1),
        -(soles[1:, 2:] - soles[:-1, 2:]).mean(1),
    )
    way = torch.cat([torch.zeros(1, 3, dtype=torch.float64), torch.where(same[:, None], step, other).cumsum(0)])
    pelvis = pose_chain(skeleton, state).joints[:, 0]
    middle = way.mean(0) + pelvis.mean(0)
    centre = torch.tensor([0.0, 0.1, distance_m], dtype=torch.float64)
    state = BodyState(state.rotmats, way - middle + centre, state.log_focal, state.betas, state.expression)
    chain = pose_chain(skeleton, state)
    soles = table.positions(chain)
    up = to_camera @ torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    stand = np.repeat(solid, 2, axis=1)
    ground = float((soles @ up).numpy()[stand].mean())
    return Walk(time_s, state, chain.joints.float().numpy(), soles.float().numpy(), solid, up.float().numpy(), ground)


def see(
    body: BodyModel, walk_: Walk, seed: int = 0, noise_px: float = 2.0, hint_m: float = 0.03, slow_px: float = 2.0
) -> Seen:
    """What a detector sees of it: points with white noise and with slowly changing bias, metric hints with noise."""
    random = np.random.default_rng(seed)
    frames = len(walk_.time_s)
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    chain = pose_chain(skeleton, walk_.state)
    image = np.zeros((frames, NUM_POINTS, 2))
    confidence = np.zeros((frames, NUM_POINTS))
    world = np.zeros((frames, NUM_WORLD, 3))
    for name in SETS:
        part = slice(FIRST[name], FIRST[name] + len(POINT_SETS[name]))
        table = PointTable.of(skeleton, body.virtual_points(body.points[name]), (0,))
        points = table.positions(chain).numpy()
        pixels = FOCAL_PX * points[..., :2] / points[..., 2:] + np.array(SIZE) / 2
        small = 0.3 if name != "pose33" else 1.0
        drift = np.cumsum(random.normal(size=pixels.shape), axis=0)
        drift = slow_px * drift / np.sqrt(np.arange(1, frames + 1))[:, None, None]
        image[:, part] = pixels + small * (random.normal(scale=noise_px, size=pixels.shape) + drift)
        confidence[:, part] = 0.95
        if part.stop <= NUM_WORLD:
            scale = hint_m if name == "pose33" else 0.2 * hint_m
            world[:, part] = points - points.mean(1, keepdims=True) + random.normal(scale=scale, size=points.shape)
    body_px = image[:, :33]
    box = np.concatenate([body_px.min(1) - 10, body_px.max(1) + 10], 1)
    return Seen(
        np.arange(frames),
        walk_.time_s,
        np.zeros(frames, np.int64),
        image.astype(np.float32),
        confidence.astype(np.float32),
        world.astype(np.float32),
        np.full(frames, 0.95, np.float32),
        box.astype(np.float32),
        np.zeros((frames, 468, 3), np.float32),
        np.zeros((frames, 10, 2), np.float32),
        np.zeros((frames, 112, 112), np.uint8),
    )
