"""From seen 2D points to a first body: rotations, shape and bone directions, each with its uncertainty (torch).

A small residual network reads the body's points as rays in a camera that is turned to look at the person, so that
neither the person's place in the picture nor the focal length changes what it sees. It starts fits where no 3D hint
does and holds them away from the wrong one of two depths: SPIN's regression in the loop (Kolotouros et al., ICCV 2019)
with the input of "Learning to Estimate 3D Human Pose and Shape" (Pavlakos et al., CVPR 2018): points, no pixels.
`train_regressor` makes the weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..body.skeleton import BODY_JOINTS, JOINT_INDEX, MIRROR, NUM_JOINTS, mirror_name
from ..detection.observation import Observation
from .errors import PriorError
from .mask_statistics import LIMBS, SeenMask, mask_features, seen_mask
from .regressor_input import (
    NUM_FEATURES,
    POINTS,
    collect,
    collect_hints,
    features_of,
    frame,
    mirror_features,
    precision_of,
    told_ways,
)
from .weights import DAMAGED, read_tensors

REGRESSOR_FILE = Path(__file__).parent / "data" / "regressor.safetensors"
NUM_BODY = len(BODY_JOINTS)  # 22, the pelvis included
NUM_BETAS = 10
MIN_POINTS = 4
_SIDES = ("left", "right")

BODY_MIRROR: tuple[int, ...] = MIRROR[:NUM_BODY]

# Directions that are told beside the rotations, in camera axes. Each turns with one joint: it is where the bone to a
# child joint points, or where one of the joint's axes does ("x" to the person's left, "y" up, "z" forward in the
# T-pose; "out" along the arm). A local rotation inherits every doubt of the joints above it; a direction does not.
DIRECTIONS: tuple[tuple[str, str], ...] = (
    *((joint, axis) for joint in ("pelvis", "spine3", "head") for axis in ("x", "y")),
    *((f"{s}_{a}", f"{s}_{b}") for a, b in (("hip", "knee"), ("knee", "ankle"), ("ankle", "foot")) for s in _SIDES),
    *((f"{s}_{a}", f"{s}_{b}") for a, b in (("shoulder", "elbow"), ("elbow", "wrist")) for s in _SIDES),
    *((f"{s}_wrist", axis) for axis in ("out", "y") for s in _SIDES),
)
DIRECTION_JOINTS: tuple[int, ...] = tuple(JOINT_INDEX[joint] for joint, _ in DIRECTIONS)
DIRECTION_MIRROR: tuple[int, ...] = tuple(DIRECTIONS.index((mirror_name(a), mirror_name(b))) for a, b in DIRECTIONS)
# What a mirror makes of them beside x → −x: an axis that points to the left stays the left's.
DIRECTION_SIGN: tuple[float, ...] = tuple(-1.0 if axis == "x" else 1.0 for _, axis in DIRECTIONS)


def rest_directions(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """DIRECTIONS of a body in the T-pose, unit, (K, 3). joints (55, 3)."""
    axes = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0)}
    found = []
    for joint, end in DIRECTIONS:
        if end in axes:
            direction = np.array(axes[end])
        elif end == "out":
            direction = np.array([1.0 if joint.startswith("left") else -1.0, 0.0, 0.0])
        else:
            direction = joints[JOINT_INDEX[end]] - joints[JOINT_INDEX[joint]]
        found.append(direction / np.linalg.norm(direction))
    return np.array(found, np.float32)


# Where each kind of output begins.
OUTPUTS = {
    "rotations": 6 * NUM_BODY,
    "rotation_sigma": NUM_BODY,
    "directions": 3 * len(DIRECTIONS),
    "direction_sigma": len(DIRECTIONS),
    "betas": NUM_BETAS,
    "betas_sigma": NUM_BETAS,
}


@dataclass(frozen=True)
class NetworkSettings:
    """Size of the network."""

    width: int = 640
    blocks: int = 3


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.outer(nn.functional.silu(self.inner(self.norm(x))))
        return y


class Network(nn.Module):
    """Residual multi-layer perceptron, features (B, F) → outputs (B, sum of OUTPUTS)."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.enter = nn.Linear(NUM_FEATURES, settings.width)
        self.blocks = nn.ModuleList([_Block(settings.width) for _ in range(settings.blocks)])
        self.norm = nn.LayerNorm(settings.width)
        self.leave = nn.Linear(settings.width, sum(OUTPUTS.values()))

    def forward(self, features: Tensor) -> Tensor:
        x = self.enter(features)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.leave(self.norm(x))
        return out


@dataclass(frozen=True)
class Outputs:
    """What the network says of B people, in the camera that looks at each. σ are standard deviations per axis."""

    rotmats: Tensor  # (B, 22, 3, 3) local; the pelvis's in camera axes
    rotation_sigma: Tensor  # (B, 22) radians
    directions: Tensor  # (B, K, 3) unit, camera axes
    direction_sigma: Tensor  # (B, K) radians
    betas: Tensor  # (B, 10)
    betas_sigma: Tensor  # (B, 10)


def read_outputs(raw: Tensor) -> Outputs:
    """Network outputs (B, O) as rotations and the rest. Logarithms of σ are kept in a range that can't overflow."""
    rotations, rotation_sigma, directions, direction_sigma, betas, betas_sigma = raw.split(list(OUTPUTS.values()), -1)
    return Outputs(
        from_six(rotations.unflatten(-1, (NUM_BODY, 6))),
        rotation_sigma.clamp(-5, 2).exp(),
        nn.functional.normalize(directions.unflatten(-1, (len(DIRECTIONS), 3)), dim=-1, eps=1e-6),
        direction_sigma.clamp(-5, 2).exp(),
        betas,
        betas_sigma.clamp(-5, 2).exp(),
    )


def from_six(six: Tensor) -> Tensor:
    """6D representation less that of the identity, (…, 6), → rotations (…, 3, 3) by Gram–Schmidt.

    Zhou et al., "On the continuity of rotation representations in neural networks", CVPR 2019, eq. 15–16.
    """
    first, second = (six + six.new_tensor([1.0, 0, 0, 0, 1, 0])).unflatten(-1, (2, 3)).unbind(-2)
    x = nn.functional.normalize(first, dim=-1, eps=1e-6)
    y = nn.functional.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1, eps=1e-6)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def mirror_rotations(rotmats: Tensor) -> Tensor:
    """Local rotations (B, 22, 3, 3) of the same people in a mirror (x → −x)."""
    sign = rotmats.new_tensor([-1.0, 1.0, 1.0])
    return rotmats[:, list(BODY_MIRROR)] * (sign[:, None] * sign)


def both_ways(network: nn.Module, features: Tensor, asked: int = 1) -> Outputs:
    """What the network says of people and of their mirror images, joined: right and left are treated alike.

    features (asked · B, F): so many ways of telling of the same B people, all of the first before the second's; their
    answers are joined too. Where answers disagree, σ grows by how far they are from their mean.
    """
    out = read_outputs(network(torch.cat([features, mirror_features(features)])))
    count = len(features)
    sign = out.directions.new_tensor(DIRECTION_SIGN)[:, None] * out.directions.new_tensor([-1.0, 1.0, 1.0])

    def ways(values: Tensor, mirrored: Tensor) -> Tensor:
        return torch.cat([values[:count], mirrored]).reshape(2 * asked, count // asked, *values.shape[1:])

    rotmats = ways(out.rotmats, mirror_rotations(out.rotmats[count:]))
    directions = ways(out.directions, out.directions[count:, list(DIRECTION_MIRROR)] * sign)
    mean, middle = rotmats.mean(0), directions.mean(0)
    six = mean[..., :2].transpose(-1, -2).flatten(-2) - mean.new_tensor([1.0, 0, 0, 0, 1, 0])
    # Half of the squared Frobenius distance is the squared angle between rotations, for small angles.
    apart = ((rotmats - mean) ** 2).sum((-1, -2)).mean(0) / (2 * 3)
    directions_apart = ((directions - middle) ** 2).sum(-1).mean(0) / 2

    def variance(sigma: Tensor, order: tuple[int, ...] | None = None) -> Tensor:
        mirrored = sigma[count:] if order is None else sigma[count:, list(order)]
        return (ways(sigma, mirrored) ** 2).mean(0)

    return Outputs(
        from_six(six),
        (variance(out.rotation_sigma, BODY_MIRROR) + apart).sqrt(),
        nn.functional.normalize(middle, dim=-1, eps=1e-6),
        (variance(out.direction_sigma, DIRECTION_MIRROR) + directions_apart).sqrt(),
        ways(out.betas, out.betas[count:]).mean(0),
        variance(out.betas_sigma).sqrt(),
    )


@dataclass(frozen=True)
class Prediction:
    """A person's pose and shape as regressed. Camera axes are the picture's (OpenCV). σ are per axis.

    Of N frames (`predict_frames`) every array but `rotmats` has an axis of N before what is said here.
    """

    rotmats: Tensor  # (1 or N, 55, 3, 3) local; hands, jaw and eyes at rest
    sigma_rad: Tensor  # (22,) of the pelvis and the 21 body joints
    betas: Tensor  # (10,) the first components of the body that the network was trained on
    betas_sigma: Tensor  # (10,)
    directions: Tensor  # (K, 3) unit, DIRECTIONS
    direction_sigma_rad: Tensor  # (K,)


class Regressor:
    """The trained network, ready to be asked any number of times."""

    def __init__(self, network: Network, body_id: str, dtype: torch.dtype, device: str | torch.device) -> None:
        self.network = network.to(device, dtype).eval().requires_grad_(False)
        self.body_id = body_id  # whose shape components the betas are
        self.dtype, self.device = dtype, device

    @torch.inference_mode()
    def predict(
        self, observation: Observation, focal_px: float, principal_px: tuple[float, float]
    ) -> Prediction | None:
        """What one person's points say; None when fewer than four of the points it knows were seen."""
        pixels, trust = collect(observation)
        if int((trust > 0).sum()) < MIN_POINTS:
            return None
        plain = np.array([0.0 if "pose33" in observation.points else 1.0])
        hints, hint_trust = collect_hints(observation)
        out = self.predict_frames(
            pixels[None],
            trust[None],
            plain,
            hints[None],
            hint_trust[None],
            focal_px,
            principal_px,
            seen_mask(observation),
            observation.noise_share,
        )
        return Prediction(
            out.rotmats,
            out.sigma_rad[0],
            out.betas[0],
            out.betas_sigma[0],
            out.directions[0],
            out.direction_sigma_rad[0],
        )

    @torch.inference_mode()
    def predict_frames(
        self,
        pixels: NDArray[np.float64],
        trust: NDArray[np.float64],
        plain: NDArray[np.float64],
        hints: NDArray[np.float64],
        hint_trust: NDArray[np.float64],
        focal_px: float,
        principal_px: tuple[float, float],
        mask: SeenMask | None = None,
        noise_share: float = 1.0,
    ) -> Prediction:
        """The same for N frames at once: pixels (N, P, 2), trust (N, P) of POINTS, the rest as in `features_of`.

        mask: of one frame, where there is one. noise_share: as in `Observation`, of all frames.
        What is said of a frame with fewer than MIN_POINTS trusted points means nothing.
        """
        rays = self._tensor((pixels - np.asarray(principal_px)) / focal_px)
        believed = self._tensor(trust)
        framing = frame(rays, believed)
        turn = framing.turn
        masked = None
        if mask is not None:
            limbs = [POINTS.index(name) for name in LIMBS]
            limb_px = self._tensor(pixels[0, limbs])
            masked = mask_features(mask, framing, limb_px, believed[0, limbs], focal_px, principal_px)
        told = (self._tensor(plain), self._tensor(hints), self._tensor(hint_trust))
        precision = torch.full_like(told[0], precision_of(noise_share))
        ways = told_ways(features_of(rays, believed, *told, framing, masked, precision))
        out = both_ways(self.network, torch.nan_to_num(torch.cat(ways), posinf=0.0, neginf=0.0), len(ways))
        back = turn.transpose(-1, -2)
        rotmats = torch.eye(3, dtype=self.dtype, device=self.device).repeat(len(trust), NUM_JOINTS, 1, 1)
        rotmats[:, :NUM_BODY] = out.rotmats
        rotmats[:, 0] = back @ out.rotmats[:, 0]
        return Prediction(
            rotmats,
            out.rotation_sigma,
            out.betas,
            out.betas_sigma,
            out.directions @ turn,
            out.direction_sigma,
        )

    def _tensor(self, array: NDArray[np.float64]) -> Tensor:
        return torch.as_tensor(array).to(self.device, self.dtype)


def load_regressor(
    dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu", path: Path | None = None
) -> Regressor:
    """The committed network. Raises PriorError when its file is missing, damaged, or of another layout."""
    path = path or REGRESSOR_FILE
    try:
        tensors, metadata = read_tensors(path)
        network = Network(NetworkSettings(**json.loads(metadata["network"])))
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except FileNotFoundError as error:
        raise PriorError(
            f"The regressor's file {path.name} is missing, so fits start without it. Install Pantomime again."
        ) from error
    except DAMAGED as error:
        raise PriorError(
            f"The regressor's file {path.name} is damaged, so fits start without it. Install Pantomime again."
        ) from error
    if metadata.get("points") != ",".join(POINTS) or not all(
        bool(torch.isfinite(value).all()) for value in network.state_dict().values()
    ):
        raise PriorError(
            f"The regressor's file {path.name} does not fit this version, so fits start without it. "
            "Install Pantomime again."
        )
    return Regressor(network, metadata.get("body_id", ""), dtype, device)
