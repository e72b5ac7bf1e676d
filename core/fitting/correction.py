"""What a correction by hand says, how a body gives way to it, and what is refused. numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..body.model import BodyModel
from ..body.skeleton import JOINT_INDEX
from ..capture import Capture

FACE_SETS = frozenset({"face468", "face68"})


class CorrectError(Exception):
    """A correction that can't be made; the message says what to do next."""


@dataclass(frozen=True)
class Correction:
    """What the user says. Points are px of the upright picture, places are metres in the camera's frame."""

    points: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)  # (set, index): x, y
    joints: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # name: where the joint is
    locked: frozenset[str] = frozenset()  # joints whose own rotation stays as it is
    refit: bool = False  # also draw the body to the points that were seen, and to likely poses


def _stiffness() -> dict[str, float]:
    return {
        "pelvis": 0.03, "spine1": 0.04, "spine2": 0.04, "spine3": 0.04, "neck": 0.15, "head": 0.2, "collar": 0.08,
        "shoulder": 0.6, "elbow": 0.8, "wrist": 0.45, "hip": 0.5, "knee": 0.7, "ankle": 0.45, "foot": 0.3,
        "jaw": 0.1, "eye": 0.3, "finger": 0.5,
    }  # fmt: skip


@dataclass(frozen=True)
class CorrectSettings:
    """How a body gives way to a pin. σ are standard deviations: smaller resists more."""

    stay_rad: dict[str, float] = field(default_factory=_stiffness)  # rotation from before, by kind of joint
    stay_transl_m: tuple[float, float, float] = (0.01, 0.01, 0.01)
    stay_expression: float = 0.3
    stay_far: float = 0.25  # times those σ for joints that a pin does not need: other limbs
    stay_far_legs: float = 0.6  # the same of legs, which keep the feet where they stand
    likeness: float = 0.6  # weight of the change as the pose prior measures it
    limit: float = 8.0  # 1/rad beyond a joint's range
    hold_share: float = 0.01  # σ of points that should stay, as a share of the person, hand or face in the picture
    hold_unseen: float = 0.15  # how much of that counts for points that the detector did not see
    hold_robust: float = 3.0  # in σ: how far they hold on
    hold_robust_feet: float = 15.0  # the same of feet, which stand
    face_share: float = 0.04  # σ of points of the face that expressions move
    face_rigid_m: float = 0.003  # points that no expression moves by more belong to the skull
    pin_share: float = 0.004  # σ of the pins while the solver still searches, as a share of the person
    max_steps: int = 12
    tolerance: float = 1e-3
    meet_steps: int = 12
    close_px: float = 0.02  # pins are met when they are no farther off; a millimetre counts as a px
    still_rad: float = math.radians(0.25)  # less than that is no change
    still_far_rad: float = math.radians(1.0)  # the same of other limbs, which only make up for a trunk that moves
    still_m: float = 0.0005
    still_expression: float = 0.004
    refit_sigma: float = 0.02  # σ of seen points in a refit, as a share
    refit_face_sigma: float = 0.04  # the same of a face, whose points are many and go wrong together
    refit_loosen: float = 4.0  # times the σ of stay
    refit_prior: float = 0.6


def check(capture: Capture, body: BodyModel, correction: Correction) -> None:
    """Raises CorrectError for a correction that makes no sense for this capture and body."""
    if capture.body_id != body.body_id:
        raise CorrectError(f"The avatar has the body “{capture.body_id}”, not “{body.body_id}”. Choose that body.")
    values = (capture.full_pose(), capture.transl, capture.betas, capture.expression, [capture.focal_px])
    if capture.num_frames < 1 or not all(np.isfinite(value).all() for value in values) or capture.focal_px <= 0:
        raise CorrectError("The avatar's pose or camera holds values that are not numbers. Undo, or reset the pose.")
    for (name, index), place in correction.points.items():
        if name not in body.points:
            raise CorrectError(f"This body has no points “{name}”. Pin a point of another kind.")
        if not 0 <= index < len(body.points[name].names) or not body.points[name].usable[index]:
            raise CorrectError(f"“{name}” has no point {index} on this body. Pin another point.")
        if not np.isfinite(place).all() or len(place) != 2:
            raise CorrectError(f"The pin of {body.points[name].names[index]} is at no place. Remove it and pin again.")
    for name, where in correction.joints.items():
        if name not in JOINT_INDEX:
            raise CorrectError(f"There is no bone “{name}”. Pin one of the avatar's 55 bones.")
        if not np.isfinite(where).all() or len(where) != 3:
            raise CorrectError(f"The pin of {name} is at no place. Remove it and pin again.")
        if where[2] <= 0.05:
            raise CorrectError(f"The pin of {name} lies behind the camera. Move it into the picture.")
    for name in correction.locked:
        if name not in JOINT_INDEX:
            raise CorrectError(f"There is no bone “{name}”. Lock some of the avatar's 55 bones.")
