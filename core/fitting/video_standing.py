"""Where somebody stands in a clip, from a first fit: ground, gravity, and when heels and toes are on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..body.skeleton import JOINT_INDEX
from .contacts import ContactSettings, find_contacts, find_ground, find_still, speeds
from .ground import balance
from .kinematics import pose_chain
from .state import BodyState
from .video_evidence import Seen, joint_trusts
from .video_feet import FeetSettings, Look, rest_longer
from .video_fit import ClipFitter
from .video_parts import Standing

Array = NDArray[np.float32]
TRUNK = [JOINT_INDEX[name] for name in ("pelvis", "spine3", "head")]
FEET = [JOINT_INDEX[name] for name in ("left_ankle", "left_ankle", "right_ankle", "right_ankle")]
FOOT_JOINTS = [[JOINT_INDEX[f"{side}_{name}"] for name in ("ankle", "foot")] for side in ("left", "right")]
BALANCE_S = 0.2  # how far apart bodies are asked for their balance


@dataclass(frozen=True)
class Footing:
    """What a stretch of T frames says of the ground. Axes of the first frame's camera, metres."""

    soles: Array  # (T, 4, 3)
    belief: Array  # (T, 4) 0…1
    trunk: Array  # (T, K, 3)
    ups: Array  # (N, 3) unit: of bodies in balance
    feet_px: Array  # (T, 2, 4, 2) heel, toe, ankle and ball of each foot in the picture
    size_px: Array  # (T,) of the person

    @classmethod
    def of(
        cls, clip: ClipFitter, seen: Seen, state: BodyState, principal_px: tuple[float, float], turn: Array | None
    ) -> Footing:
        """turn (T, 3, 3): each frame's camera axes to the first's, None for a camera that stands."""
        trust = joint_trusts(seen)
        soles = clip.probe_positions(state)[:, -4:]
        joints = pose_chain(clip.skeleton, state).joints.float().cpu().numpy()
        feet = np.concatenate([soles.reshape(-1, 2, 2, 3), joints[:, FOOT_JOINTS]], 2)
        focal = np.exp(state.log_focal.float().cpu().numpy())[:, None, None, None]
        feet_px = focal * feet[..., :2] / np.maximum(feet[..., 2:], 0.05) + np.array(principal_px)
        box = seen.box_px
        size_px = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
        trunk = joints[:, TRUNK]
        ups, last_s = [], -np.inf
        for row, time_s in enumerate(seen.time_s):
            if seen.score[row] > 0 and time_s >= last_s + BALANCE_S - 1e-6:
                last_s = time_s
                up = balance(joints[row], trust[row])
                if up is not None:
                    ups.append(up if turn is None else turn[row] @ up)
        if turn is not None:
            soles, trunk = np.einsum("tij,tsj->tsi", turn, soles), np.einsum("tij,tsj->tsi", turn, trunk)
        balanced = np.array(ups, np.float32).reshape(-1, 3)
        return cls(soles, trust[:, FEET], trunk, balanced, feet_px.astype(np.float32), size_px)


def standing_of(
    footings: list[tuple[slice, Footing]],
    time_s: NDArray[np.float64],
    spans: list[tuple[int, int]],
    settings: ContactSettings,
) -> Standing:
    """Ground and contacts of a clip. footings: of the rows that were fitted; spans: rows over which motion goes on."""
    count = len(time_s)
    solved = np.zeros(count, bool)
    belief, speed = np.zeros((count, 4), np.float32), np.full((count, 4), 1e3, np.float32)
    soles, trunk = np.zeros((count, 4, 3), np.float32), np.zeros((count, len(TRUNK), 3), np.float32)
    for rows, part in footings:
        solved[rows] = True
        soles[rows], belief[rows], trunk[rows] = part.soles, part.belief, part.trunk
    for start, end in spans:
        speed[start:end] = speeds(soles[start:end], time_s[start:end], settings.depth_share)
    ups = np.concatenate([part.ups for _, part in footings])
    up = ups.mean(0) if len(ups) else None
    ground = find_ground(soles[solved], speed[solved], belief[solved], up, settings, trunk[solved])
    solid, still = np.zeros((count, 4), np.float32), np.zeros((count, 4), np.float32)
    for start, end in spans:
        span = slice(start, end)
        still[span] = find_still(speed[span], belief[span], time_s[span], settings)
        solid[span] = find_contacts(soles[span], speed[span], belief[span], ground, time_s[span], settings)
    return Standing(solid, ground.up, ground.height_m, np.maximum(solid, still))


def rests_seen(
    standing: Standing,
    footings: list[tuple[slice, Footing]],
    time_s: NDArray[np.float64],
    spans: list[tuple[int, int]],
    look: Look,
    settings: FeetSettings,
) -> Standing:
    """The same, and feet stand as long as the picture shows them where they rest; for a camera that stands. The rest of
    one who stands on the ground is on the ground. look: what shows a row's feet (`feet_picture`)."""
    count = len(time_s)
    solid, still = standing.solid.copy(), standing.still.copy()
    belief, size_px = np.zeros((count, 2), np.float32), np.zeros(count, np.float32)
    places = np.zeros((count, 2, 2 + len(FOOT_JOINTS[0]), 2), np.float32)
    for rows, part in footings:
        belief[rows], size_px[rows], places[rows] = part.belief[:, ::2], part.size_px, part.feet_px
    for start, end in spans:
        span = slice(start, end)
        rests = still[span].reshape(-1, 2, 2).min(-1)
        shared = rest_longer(
            rests, belief[span], places[span], size_px[span], time_s[span],
            lambda row, start=start: look(start + row), settings,  # type: ignore[misc]
        )  # fmt: skip
        for foot in range(2):
            found = np.flatnonzero(shared[:, foot] >= 0)
            for sole in (2 * foot, 2 * foot + 1):
                still[start + found, sole] = 1
                rested = standing.solid[start + shared[found, foot], sole]
                solid[start + found, sole] = np.maximum(solid[start + found, sole], rested)
    return Standing(solid, standing.up, standing.ground_m, still)
