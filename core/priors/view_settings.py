"""How the people are posed, seen and detected that the regressor is trained on. Development only."""

from __future__ import annotations

from dataclasses import dataclass

from ..detection.observation import SURE_NOISE


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
    noise: float = SURE_NOISE  # of a sure point, median over people
    noise_spread: float = 0.5  # of its logarithm
    misjudged: float = 0.4  # spread of the logarithm of a point's error over what its confidence says
    exact: float = 0.3  # chance of points that are known better than a detector sees them, by up to MOST_PRECISE
    lost: float = 0.03  # chance of a person who is seen badly altogether
    hip_noise: float = 1.5  # times
    dim_point: float = 0.08
    dim_limb: float = 0.22  # chance, of each limb, to be guessed with low confidence
    dim_end: float = 0.12  # the same of hands and feet
    limb_shift: float = 0.06  # chance, of each limb, to be seen far off
    limb_shift_size: float = 0.1
    cut: float = 0.35  # chance of a picture whose edge cuts the person
    cut_sides: tuple[float, float, float, float] = (0.75, 0.17, 0.17, 0.25)  # chance of below, left, right and above
    cut_upright: float = 0.8  # chance, of those, of no other turn than the camera's
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
    # Masks: what they lack, and how they err in half sides of the box of the person's points
    masked: float = 0.8  # chance of a mask, where the detector gives such
    mask_lacks: float = 0.015  # chance, of each limb and each forearm and shin, not to be in the mask
    mask_lacks_dim: float = 0.08  # the same of one that is guessed
    mask_covered: float = 0.04  # chance that a thing covers all below a level
    mask_clothes: float = 0.015  # outward, half-normal
    mask_loose: float = 0.2  # chance of five times that
    mask_hair: float = 0.25  # up to this share of the head's radius
    mask_noise: float = 0.012
    mask_spill: float = 0.05  # chance of something beside the person in it
    betas_spread: float = 1.0
