"""A prior on the fingers: how far each joint moves and which move together, around a relaxed hand.

What people's fingers do together comes from recordings of bare hands; their ranges from anatomy (`ranges`). The mean
is the body's own relaxed hand, so that unseen hands relax. The prior is kept in angles of flexion and spread, which
hold for any body; a body's T-pose gives them their axes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..body.points_file import write_npz
from ..body.skeleton import FINGERS, LEFT_HAND, RIGHT_HAND
from ..npz_errors import DAMAGED_NPZ
from .errors import PriorError
from .pose import GaussianParameters, GaussianPosePrior
from .ranges import range_table

Array = NDArray[np.float64]
HANDS_FILE = Path(__file__).parent / "data" / "hands.npz"
ANGLES = 4  # a finger: knuckle flexion, knuckle spread towards the thumb, middle and end joint flexion

# What the recordings don't hold, in degrees, as independent spread: single fingers that point, thumbs that oppose.
_OWN = np.array([20.0, 7.0, 22.0, 7.0])  # the last beside what follows the middle joint
_THUMB_OWN = np.array([18.0, 16.0, 18.0, 20.0])
_PLAY = 4.0  # side play and twist of every joint
# Unloaded, the end joint flexes by two thirds of the middle one (Rijpkema and Girard, SIGGRAPH 1991, section 2.3); the
# tracker reports equal angles for both.
_END_SHARE = 2.0 / 3.0


def finger_angles(joints_mm: Array, right: NDArray[np.bool_]) -> Array:
    """Angles of recorded hands. joints_mm (N, 21, 3): palm, then thumb to little finger from knuckle to tip.

    → (N, 5, 4) radians, fingers in the skeleton's order (index, middle, pinky, ring, thumb); the thumb's base zero.
    """
    bases = joints_mm[:, [5, 9, 13, 17]]
    forward = bases.mean(1) - joints_mm[:, 0]
    across = bases[:, 0] - bases[:, 3]  # towards the thumb
    normal = np.cross(across, forward) * np.where(right, 1.0, -1.0)[:, None]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    across = across - forward * ((across * forward).sum(1) / (forward**2).sum(1))[:, None]
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    result = np.zeros((len(joints_mm), 5, ANGLES))
    for finger, name in enumerate(FINGERS):
        first = 1 + 4 * ("thumb", "index", "middle", "ring", "pinky").index(name)
        bones = np.diff(joints_mm[:, first : first + 4], axis=1)
        bones /= np.linalg.norm(bones, axis=2, keepdims=True)
        bend = np.arccos(np.clip((bones[:, 1:] * bones[:, :-1]).sum(2), -1, 1))
        result[:, finger, 2] = bend[:, 0]
        result[:, finger, 3] = bend[:, 1] if name == "thumb" else _END_SHARE * bend[:, 0]
        if name != "thumb":
            result[:, finger, 0] = np.arcsin(np.clip((bones[:, 0] * normal).sum(1), -1, 1))
            result[:, finger, 1] = np.arcsin(np.clip((bones[:, 0] * across).sum(1), -1, 1))
    return result


def fit_hands(root: Path, path: Path = HANDS_FILE) -> Path:
    """Fit the spread of finger angles to ROOT/hands_leap/*.npz and write it. Raises PriorError.

    Samples with a confidence under 0.5 and the recording `brian` are left out; every recording weighs alike.
    """
    files = sorted(file for file in (root / "hands_leap").glob("*.npz") if file.stem != "brian")
    if not files:
        raise PriorError(f"{root} holds no hands_leap recordings. Name the folder of the motion capture with --root.")
    moments = []
    flat = np.zeros((5, ANGLES))
    recorded = {}
    for file in files:
        with np.load(file, allow_pickle=False) as data:
            sure = data["confidence"] >= 0.5
            recorded[file.stem] = finger_angles(data["joints_mm"][sure].astype(np.float64), data["side"][sure] == 1)
    # The palm's centre lies under the palm, so straight fingers read some 18 degrees: open hands give the zero.
    opened = [angles for name, angles in recorded.items() if "Splay" in name]
    if opened:
        flat[:, 0] = np.median(np.concatenate(opened)[:, :, 0], axis=0)
    middle = np.median(np.concatenate(list(recorded.values()))[:, :, 1], axis=0)
    relaxed = relaxed_angles()
    for angles in recorded.values():
        away = angles - flat - relaxed
        away[..., 1] = angles[..., 1] - middle
        away[:, 4, :2] = 0  # the tracker does not see the thumb's saddle joint
        rows = away.reshape(len(away), -1)
        moments.append(rows.T @ rows / len(rows))
    spread = np.mean(moments, axis=0) + _own_spread()
    card = {"recordings": {name: len(angles) for name, angles in recorded.items()}, "end_share": _END_SHARE}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, {"covariance": spread.astype(np.float32), "card": np.array(json.dumps(card))})
    return path


def _own_spread() -> Array:
    """(20, 20) what each finger does alone, its end joint following its middle one."""
    result = np.zeros((5, ANGLES, 5, ANGLES))
    follow = np.eye(ANGLES)
    follow[3, 2] = _END_SHARE
    for finger, name in enumerate(FINGERS):
        own = np.radians(_THUMB_OWN if name == "thumb" else _OWN)
        result[finger, :, finger, :] = np.diag(own**2) if name == "thumb" else follow @ np.diag(own**2) @ follow.T
    return result.reshape(5 * ANGLES, 5 * ANGLES)


def relaxed_angles() -> Array:
    """(5, 4) radians: a hand at rest, fingers curling more towards the little one."""
    degrees = {
        "index": (15, 0, 28, 14),
        "middle": (20, 0, 32, 16),
        "ring": (24, 0, 34, 17),
        "pinky": (26, 0, 32, 17),
        "thumb": (8, 0, 10, 14),
    }
    return np.radians(np.array([degrees[finger] for finger in FINGERS], dtype=np.float64))


def angle_axes(joints: tuple[int, ...], joint_positions: NDArray[np.float32] | NDArray[np.float64] | None) -> Array:
    """(45, 20) axis-angle of one hand's 15 joints for a unit of each angle, from the body's T-pose (55, 3)."""
    frames = range_table(joints, joint_positions).frame
    towards_thumb = 1.0 if joints[0] == LEFT_HAND.start else -1.0
    axes = np.zeros((5, 3, 3, 5, ANGLES))
    for finger in range(5):
        base = 3 * finger
        axes[finger, 0, :, finger, 0] = frames[base][:, 2]
        axes[finger, 0, :, finger, 1] = towards_thumb * frames[base][:, 1]
        axes[finger, 1, :, finger, 2] = frames[base + 1][:, 2]
        axes[finger, 2, :, finger, 3] = frames[base + 2][:, 2]
    return axes.reshape(45, 5 * ANGLES)


def load_hand_prior(
    right: bool,
    joint_positions: NDArray[np.float32] | NDArray[np.float64] | None = None,
    mean: NDArray[np.float32] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    path: Path | None = None,
) -> GaussianPosePrior:
    """The prior of one hand's 15 joints, for a body. Raises PriorError.

    joint_positions (55, 3): the body's T-pose. mean (45,): its relaxed hand as axis-angle; None: `relaxed_angles`.
    """
    path = path or HANDS_FILE
    try:
        with np.load(path, allow_pickle=False) as data:
            covariance = data["covariance"].astype(np.float64)
    except FileNotFoundError as error:
        raise PriorError(f"The hand prior {path.name} is missing. Install Pantomime again.") from error
    except DAMAGED_NPZ as error:
        raise PriorError(f"The hand prior {path.name} is damaged. Install Pantomime again.") from error
    side = RIGHT_HAND if right else LEFT_HAND
    joints = tuple(range(side.start, side.stop))
    axes = angle_axes(joints, joint_positions)
    full = axes @ covariance @ axes.T + np.radians(_PLAY) ** 2 * np.eye(45)
    centre = axes @ relaxed_angles().reshape(-1) if mean is None else np.asarray(mean, dtype=np.float64)
    whitening = np.linalg.inv(np.linalg.cholesky(full))
    parameters = GaussianParameters(
        centre[None].astype(np.float32), whitening[None].astype(np.float32), np.zeros(1, np.float32)
    )
    return GaussianPosePrior(parameters, dtype, device, joints)
