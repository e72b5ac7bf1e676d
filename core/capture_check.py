"""Whether the arrays of a capture file fit together. numpy only."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# A number: so many; "T": as many as there are frames; "t": as many, or none; another letter: any number.
_Shape = tuple[int | str, ...]
_POSE: dict[str, _Shape] = {
    "global_orient": ("T", 3),
    "body_pose": ("T", 63),
    "jaw_pose": ("T", 3),
    "leye_pose": ("T", 3),
    "reye_pose": ("T", 3),
    "left_hand_pose": ("T", 45),
    "right_hand_pose": ("T", 45),
    "betas": ("B",),
    "expression": ("T", "E"),
    "transl": ("T", 3),
    "joints": ("T", 55, 3),
    "focal_px": (),
    "principal_px": (2,),
    "image_size": (2,),
    "distortion": (5,),
    "up_camera": (3,),
    "mocap_frame_rate": (),
    "frame_times_s": ("T",),
}
_OTHER: dict[str, _Shape] = {
    "confidence": ("t",),
    "joint_sigma_m": ("t", 55),
    "joint_sigma_rad": ("t", 55),
    "person_id": (),
    "source_exif_orientation": (),
    "frame_indices": ("t",),
    "shots": ("t",),
    "contacts": ("t", 4),
    "ground_m": (),
    "camera_rotvec": ("t", 3),
}
_TEXT: dict[str, _Shape] = {
    "joint_names": (55,),
    "focal_source": (),
    "gender": (),
    "surface_model_type": (),
    "body_id": (),
    "source": (),
    "diagnostics": (),
}
_ABOVE_0 = ("focal_px", "image_size", "mocap_frame_rate")
_POINTS: _Shape = ("T", "N", 3)


def what_is_wrong(stored: Mapping[str, NDArray[np.generic]], points: str) -> str:
    """What of a capture's arrays, by key, does not fit the rest, as half a sentence; "" where all do.

    The keys of `core.capture.Capture` are there, but for those that came later. points: what the keys of point sets
    begin with. Poses, places and the camera have to be finite; of what says how sure they are, nothing is asked.
    """
    frames = stored["global_orient"].shape[0] if stored["global_orient"].ndim else 0
    if frames == 0:
        return "there are no frames"
    numbers = _POSE | _OTHER | dict.fromkeys((key for key in stored if key.startswith(points)), _POINTS)
    for name, shape in (numbers | _TEXT).items():
        if name not in stored:
            continue
        value = stored[name]
        if value.dtype.kind not in ("U" if name in _TEXT else "fiu"):
            return f"{name} holds no {'text' if name in _TEXT else 'numbers'}"
        if not _fits(value.shape, shape, frames):
            wanted = " × ".join(str(frames) if size in ("T", "t") else str(size) for size in shape) or "one value"
            return f"{name} has the shape {value.shape}, not {wanted}"
    for name in _POSE:
        if not np.isfinite(np.asarray(stored[name], np.float64)).all():
            return f"{name} holds values that are not finite"
    for name in _ABOVE_0:
        if not (np.asarray(stored[name], np.float64) > 0.0).all():
            return f"{name} is not above 0"
    return "" if _is_json_object(str(stored["diagnostics"])) else "diagnostics is no JSON object"


def _fits(have: tuple[int, ...], wanted: _Shape, frames: int) -> bool:
    if len(have) != len(wanted):
        return False
    allowed = {"T": (frames,), "t": (0, frames)}
    return all(
        size == want if isinstance(want, int) else size in allowed.get(want, (size,))
        for size, want in zip(have, wanted, strict=True)
    )


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
