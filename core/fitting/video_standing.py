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
from .video_fit import ClipFitter
from .video_parts import Standing

Array = NDArray[np.float32]
TRUNK = [JOINT_INDEX[name] for name in ("pelvis", "spine3", "head")]
FEET = [JOINT_INDEX[name] for name in ("left_ankle", "left_ankle", "right_ankle", "right_ankle")]
BALANCE_S = 0.2  # how far apart bodies are asked for their balance


@dataclass(frozen=True)
class Footing:
    """What a stretch of T frames says of the ground. Axes of the first frame's camera, metres."""

    soles: Array  # (T, 4, 3)
    belief: Array  # (T, 4) 0…1
    trunk: Array  # (T, K, 3)
    ups: Array  # (N, 3) unit: of bodies in balance

    @classmethod
    def of(cls, clip: ClipFitter, seen: Seen, state: BodyState, turn: Array | None) -> Footing:
        """turn (T, 3, 3): each frame's camera axes to the first's, None for a camera that stands."""
        trust = joint_trusts(seen)
        soles = clip.probe_positions(state)[:, -4:]
        joints = pose_chain(clip.skeleton, state).joints.float().cpu().numpy()
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
        return cls(soles, trust[:, FEET], trunk, np.array(ups, np.float32).reshape(-1, 3))


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
