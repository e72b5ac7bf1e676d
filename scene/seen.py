"""What the detector saw, kept with an avatar, so that points can be corrected long after the photo was solved.

The armature object holds it under its custom property `pantomime_seen`: per set a flat array of x, y (px of the upright
photo) and confidence, for each frame, and the scene's frames where they belong.
"""

from __future__ import annotations

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.capture import Capture
from .action import AnimationSettings
from .identity import SEEN_PROPERTY

FRAMES = "frames"
Floats = NDArray[np.float32]


def store(rig: bpy.types.Object, capture: Capture, frame: int, timing: AnimationSettings | None) -> None:
    """Keep the points of one frame of `capture`, or of all of them where they are animated."""
    if not capture.points:
        return
    if timing is None:
        frames, rows = np.zeros(1), slice(frame, frame + 1)
    else:
        frames = timing.first_frame + np.asarray(capture.frame_times_s, np.float64) * timing.frames_per_second
        rows = slice(None)
    rig[SEEN_PROPERTY] = {
        FRAMES: frames.astype(np.float32),
        **{name: points[rows].astype(np.float32).ravel() for name, points in capture.points.items()},
    }


def points(rig: bpy.types.Object, frame: float, counts: dict[str, int]) -> dict[str, Floats]:
    """What was seen at a scene's frame, or nearest to it: (N, 3) by set. `counts`: N of each set that is wanted."""
    stored = rig.get(SEEN_PROPERTY)
    if stored is None:
        return {}
    frames = np.array(stored[FRAMES], np.float32)
    row = int(np.argmin(np.abs(frames - frame)))
    found = {}
    for name, count in counts.items():
        if name in stored:
            flat = np.array(stored[name], np.float32)
            if len(flat) == 3 * count * len(frames):
                found[name] = flat.reshape(len(frames), count, 3)[row]
    return found
