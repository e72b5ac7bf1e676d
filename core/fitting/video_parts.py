"""What fits of clips share: the problems, ties and states of the body, the hands and the face of one body model."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.model import VirtualPoints
from ..body.skeleton import JOINT_INDEX, LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from ..priors.regressor import MIN_POINTS
from ..rotation import exp_so3
from .photo import Fitter
from .regressed import Regressed
from .start import relaxed_pose
from .state import BodyState
from .video_evidence import (
    FACE_FRAME,
    FIRST,
    PALM,
    Seen,
    carriers_of,
    evidence_of,
    joint_trusts,
    layout,
    regressor_hints,
    regressor_input,
    seen_faces,
)
from .video_problem import PARTS, FramesProblem
from .video_settings import VideoSettings
from .video_shape import ClipShape
from .video_smooth import Contact, Pins, Smoothness
from .video_straight import straighten_predictions

Array = NDArray[np.float32]
HAND_PARTS = ("left_hand", "right_hand")
LEVEL_UP = np.array([0.0, -1.0, 0.0], np.float32)  # of a camera that is level: as long as the ground is not known
_COLUMNS = ("template", "shapedirs", "exprdirs", "weights")


@dataclass(frozen=True)
class Standing:
    """Contacts of a stretch of frames: left heel, left toe, right heel, right toe; ground as a plane."""

    solid: Array  # (T, 4) 0 or 1: on the ground
    up: Array  # (3,)
    ground_m: float
    still: Array  # (T, 4) 0 or 1: on the ground or on anything else

    def rows(self, which: slice) -> Standing:
        return Standing(self.solid[which], self.up, self.ground_m, self.still[which])


@dataclass(frozen=True)
class Pin:
    """Something that the user fixed in one frame of a window: a joint, or a point of a detector's set (name, index).

    place: (x, y) px of the upright picture, or (x, y, z) metres in the camera's frame.
    """

    row: int
    place: tuple[float, ...]
    joint: str = ""
    point: tuple[str, int] | None = None


class ClipParts:
    """One body model, ready for any clip."""

    def __init__(self, fitter: Fitter, settings: VideoSettings) -> None:
        self.fitter, self.settings = fitter, settings
        self.body, self.skeleton = fitter.body, fitter.skeleton
        self.layouts = {part: layout(part, fitter.body, fitter.settings) for part in PARTS}
        self.carriers = {
            part: carriers_of(fitter.body, chosen) for part, chosen in self.layouts.items() if len(chosen.points)
        }
        self.joint_names = tuple(settings.position_sigma)
        # Probes: the joints whose paths are smooth, the soles, and what may be pinned: all joints and points.
        self.probes = _join_points(self.joint_points(), sole_points(fitter.body))

    def tensor(self, array: object) -> Tensor:
        like = self.skeleton.J_template
        return torch.as_tensor(array).to(dtype=like.dtype, device=like.device)

    def state(self, seen: Seen, shape: ClipShape) -> BodyState:
        """A standing body a few metres away in every frame."""
        count, like = len(seen), self.skeleton.J_template
        rotmats = exp_so3(relaxed_pose().to(like)).repeat(count, 1, 1, 1)
        rotmats[:, 0] = exp_so3(like.new_tensor([math.pi, 0.0, 0.0]))
        hands = exp_so3(self.tensor(self.body.hands_mean).reshape(-1, 3))
        rotmats[:, LEFT_HAND.start : RIGHT_HAND.stop] = hands
        return BodyState(
            rotmats,
            like.new_zeros(count, 3),
            like.new_full((count,), math.log(shape.focal_px)),
            self.tensor(shape.betas).expand(count, -1),
            like.new_zeros(count, self.body.num_expressions),
        )

    def problem(
        self,
        part: str,
        seen: Seen,
        shape: ClipShape,
        image_size: tuple[int, int],
        robust_width: float,
        regressed: Regressed | None,
        probes: VirtualPoints | None = None,
    ) -> FramesProblem:
        f = self.fitter
        evidence = evidence_of(seen, self.layouts[part], self.carriers[part], f.settings)
        joints = tuple(joint for joint in PARTS[part] if joint)
        trust, faces = None, None
        if part == "face":
            faces = seen_faces(self.body, seen, f.settings, f.readers, image_size)
        if part == "body":
            trust = spread_in_time(joint_trusts(seen), seen.time_s, self.settings.unseen_full_s)
        return FramesProblem(
            part,
            self.body,
            self.skeleton,
            evidence,
            shape.principal_px,
            f.priors,
            f.settings,
            robust_width,
            f._joint_limits(joints),
            regressed,
            trust,
            probes,
            faces,
        )

    def regressed(self, seen: Seen, shape: ClipShape) -> tuple[Regressed | None, Tensor | None]:
        regressor = self.fitter.regressor
        if regressor is None:
            return None, None
        pixels, trust = regressor_input(seen)
        hints, hint_trust = regressor_hints(seen)
        inputs = pixels, trust, np.zeros(len(seen)), hints, hint_trust
        prediction = regressor.predict_frames(*inputs, shape.focal_px, shape.principal_px)
        if seen.straight is not None:
            straighten_predictions(prediction, seen.straight, self.fitter.settings.straight)
        silent = torch.as_tensor((trust > 0).sum(1) < MIN_POINTS).to(prediction.rotmats.device)
        prediction.sigma_rad[silent] = 1e4
        prediction.direction_sigma_rad[silent] = 1e4
        prediction.rotmats[silent] = torch.eye(3).to(prediction.rotmats)
        prediction.directions[silent] = 0
        return Regressed(prediction, self.body, self.skeleton, self.fitter.settings), prediction.rotmats

    def pinned(self, pins: list[Pin]) -> VirtualPoints:
        """The probes, and after them what is pinned, in the order of `pins`."""
        probes = self.probes
        for pin in pins:
            if pin.point is None:
                probes = _join_points(probes, self.joint_points((JOINT_INDEX[pin.joint],)))
            else:
                name, index = pin.point
                one = self.body.virtual_points(self.body.points[name])
                rows = [getattr(one, part)[index : index + 1] for part in _COLUMNS]
                probes = _join_points(probes, VirtualPoints(*rows))
        return probes

    def pins(self, pins: list[Pin]) -> Pins | None:
        """Pins as stiff residuals on the last of the probes."""
        if not pins:
            return None
        s, first, device = self.settings, len(self.probes.template), self.skeleton.J_template.device
        flat = [len(pin.place) == 2 for pin in pins]
        return Pins(
            torch.tensor([pin.row for pin in pins], device=device),
            torch.arange(first, first + len(pins), device=device),
            self.tensor([pin.place if is_flat else (0.0, 0.0) for pin, is_flat in zip(pins, flat, strict=True)]),
            self.tensor([1 / s.pin_px if is_flat else 0.0 for is_flat in flat]),
            self.tensor([(0.0,) * 3 if is_flat else pin.place for pin, is_flat in zip(pins, flat, strict=True)]),
            self.tensor([0.0 if is_flat else 1 / s.pin_m for is_flat in flat]),
        )

    def smoothness(self, part: str, seen: Seen, standing: Standing | None, turn: Array | None) -> Smoothness:
        s, like = self.settings, self.skeleton.J_template
        joints = PARTS[part]
        names = {index: name for name, index in JOINT_INDEX.items()}
        points, expression, contact = like.new_zeros(0, 3, 3), like.new_zeros(0), None
        if part == "body":
            sigma = [s.turn_sigma[names[joint]] for joint in joints]
            points = self.tensor(point_scales(s, LEVEL_UP if standing is None else standing.up))
        elif part == "face":
            sigma = [s.face_turn_sigma] * len(joints)
            wide = [s.blink_sigma if "link" in name else s.expression_sigma for name in self.body.expression_names]
            expression = 1 / self.tensor(wide)
        else:
            sigma = [s.finger_turn_sigma] * len(joints)
        if standing is not None:
            contact = Contact(
                torch.arange(len(self.joint_names), len(self.joint_names) + 4, device=like.device),
                self.tensor(standing.still),
                self.tensor(standing.solid),
                self.tensor(standing.up),
                standing.ground_m,
                s.contact_speed_sigma,
                s.contact_height_sigma,
            )
        return Smoothness(
            self.tensor(seen.time_s - seen.time_s[0]),
            self.tensor((np.diff(seen.shot) == 0).astype(np.float32)),
            points,
            joints,
            1 / self.tensor(sigma),
            expression,
            s.smooth_robust_width,
            None if turn is None else self.tensor(turn),
            contact,
        )

    def anchors(self, part: str) -> list[int]:
        """Places in a part's evidence of the points that the rest of the body carries."""
        wanted = [FIRST[part] + i for i in PALM] if part in HAND_PARTS else [FIRST["face468"] + i for i in FACE_FRAME]
        points = self.layouts[part].points.tolist()
        return [points.index(point) for point in wanted if point in points]

    def relaxed(self, state: BodyState, part: str, frozen: Tensor) -> BodyState:
        rotmats = state.rotmats.clone()
        joints = list(PARTS[part])
        if part == "face":
            rest = torch.eye(3, dtype=rotmats.dtype, device=rotmats.device).expand(3, 3, 3)
            expression = torch.where(frozen[:, None], state.expression, torch.zeros_like(state.expression))
            state = replace(state, expression=expression)
        else:
            side = 0 if part == "left_hand" else 1
            rest = exp_so3(self.tensor(self.body.hands_mean.reshape(2, -1, 3)[side]))
        moved = rotmats[:, joints]
        rotmats[:, joints] = torch.where(frozen[:, None, None, None], moved, rest.expand_as(moved))
        return replace(state, rotmats=rotmats)

    def joint_points(self, joints: tuple[int, ...] | None = None) -> VirtualPoints:
        index = list(joints) if joints is not None else [JOINT_INDEX[name] for name in self.joint_names]
        weights = np.eye(NUM_JOINTS, dtype=np.float32)[index]
        body = self.body
        return VirtualPoints(body.J_template[index], body.J_shapedirs[index], body.J_exprdirs[index], weights)


def point_scales(settings: VideoSettings, up: Array) -> Array:
    """What brings accelerations of the smoothed joints to their σ, (P, 3, 3); up (3,) unit."""
    upward = np.outer(up, up)
    level = np.eye(3) - upward
    across = settings.level_sigma
    return np.stack(
        [upward / sigma + level / across.get(name, sigma) for name, sigma in settings.position_sigma.items()]
    ).astype(np.float32)


def spread_in_time(trust: Array, time_s: NDArray[np.float64], full_s: float) -> Array:
    """Trust (T, J) raised by what was seen a moment before or after: what is known of a limb fades in `full_s`."""
    result = trust.copy()
    for order in (range(1, len(trust)), range(len(trust) - 2, -1, -1)):
        step = 1 if order.step == 1 else -1
        for t in order:
            fade = abs(float(time_s[t] - time_s[t - step])) / full_s
            result[t] = np.maximum(result[t], result[t - step] - fade)
    return result


def sole_points(body: Any) -> VirtualPoints:
    """Four points under the feet, left heel, left toe, right heel, right toe: where the surface is lowest in the T-pose
    at the back of the ankle's part and at the front of the foot."""
    index = []
    for side in ("left", "right"):
        ankle, foot = JOINT_INDEX[f"{side}_ankle"], JOINT_INDEX[f"{side}_foot"]
        part = np.flatnonzero(body.weights[:, ankle] + body.weights[:, foot] > 0.6)
        v = body.v_template[part]
        back, front = v[:, 2].min(), v[:, 2].max()
        along = (v[:, 2] - back) / (front - back)
        for low, high in ((0.05, 0.22), (0.68, 0.82)):
            there = part[(along > low) & (along < high)]
            index.append(int(there[body.v_template[there, 1].argmin()]))
    return VirtualPoints(
        body.v_template[index], body.shapedirs[index], body.exprdirs[index], body.weights[index].astype(np.float32)
    )


def _join_points(first: VirtualPoints, second: VirtualPoints) -> VirtualPoints:
    both = (np.concatenate([getattr(first, name), getattr(second, name)]) for name in _COLUMNS)
    return VirtualPoints(*(part.astype(np.float32) for part in both))
