"""All weights of fits of clips beyond those of photos, as data, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from .contacts import ContactSettings
from .video_feet import FeetSettings
from .video_swaps import SwapSettings


def _position_sigmas() -> dict[str, float]:
    return {
        "pelvis": 8.0,
        "spine3": 8.0,
        "head": 12.0,
        **{f"{side}_{name}": value for side in ("left", "right") for name, value in (
            ("shoulder", 12.0), ("elbow", 25.0), ("wrist", 40.0), ("knee", 25.0), ("ankle", 30.0), ("foot", 35.0),
        )},
    }  # fmt: skip


def _turn_sigmas() -> dict[str, float]:
    return {
        "pelvis": 30.0,
        "neck": 40.0,
        "head": 60.0,
        **{f"spine{k}": 25.0 for k in (1, 2, 3)},
        **{f"{side}_{name}": value for side in ("left", "right") for name, value in (
            ("collar", 30.0), ("shoulder", 80.0), ("elbow", 100.0), ("wrist", 120.0),
            ("hip", 60.0), ("knee", 80.0), ("ankle", 100.0), ("foot", 80.0),
        )},
    }  # fmt: skip


@dataclass(frozen=True)
class VideoSettings:
    """How to fit a clip. σ of accelerations are per frame, so that the cut-off frequency does not hang on the rate."""

    # Windows: what is kept of one, and how far it looks beyond that. Both in seconds, but at least so many frames.
    keep_s: float = 4.0
    ahead_s: float = 0.7
    detail_ahead_s: float = 0.2  # of fingers and face
    least_keep: int = 24
    least_ahead: int = 12
    most_keep: int = 240
    helped_frames: int = 150  # from so many on another process helps: it takes some seconds to start
    # How far a joint's path bends from frame to frame: σ of its acceleration, m/s² and rad/s².
    position_sigma: dict[str, float] = field(default_factory=_position_sigmas)
    # The same across, where it is less: one leaps up with more than the ground's friction gives. Depth is across.
    level_sigma: dict[str, float] = field(default_factory=lambda: {"pelvis": 2.0, "spine3": 3.0})
    turn_sigma: dict[str, float] = field(default_factory=_turn_sigmas)
    finger_turn_sigma: float = 250.0
    face_turn_sigma: float = 150.0
    expression_sigma: float = 150.0  # of an expression component, 1/s²
    blink_sigma: float = 500.0  # of those that close the eyes
    smooth_robust_width: float = 4.0  # Geman–McClure, in σ: a blow or a landing is an outlier of smoothness
    robust_width: float = 3.0  # of image points
    # Solver.
    anchor_s: float = 0.1  # apart: frames that are fitted alone, for the others to start between
    start_steps: int = 5  # each frame alone, wide
    frame_steps: int = 4  # each frame alone
    plain_steps: int = 2  # of `rough_steps`: a window plainly smooth, before what breaks the smoothness is let do so
    rough_steps: int = 4  # a window without contacts
    contact_steps: int = 5
    detail_steps: int = 4  # fingers and face of a window
    tolerance: float = 2e-3
    # Gaps.
    bridge_s: float = 1.0  # a person who is away for longer is not followed through
    unseen_full_s: float = 1.0  # a limb unseen for so long is drawn to the relaxed pose as in a photo
    # Frames that a shape is taken from.
    key_frames: int = 16
    # Focal length from travel in depth.
    focal_travel: float = 1.3  # how many times farther away somebody must be at one time than at another
    focal_step: float = 1.35  # factor between the focal lengths that are tried
    focal_apart_s: float = 0.1  # between the moments that are looked at
    focal_moments: int = 90  # at most
    focal_believed: float = 0.05  # how much of what contacts say: frames are not independent
    # The user's pins: σ beside which all other evidence gives way.
    pin_px: float = 0.2
    pin_m: float = 0.001
    # Contacts: σ of what a foot does while it stands.
    contact_speed_sigma: float = 0.03  # m/s
    contact_height_sigma: float = 0.01  # m
    contacts: ContactSettings = field(default_factory=ContactSettings)
    feet: FeetSettings = field(default_factory=FeetSettings)
    swaps: SwapSettings = field(default_factory=SwapSettings)
