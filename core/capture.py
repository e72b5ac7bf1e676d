"""The solver's result for one person in a photo or clip, as arrays with SMPL-X/AMASS names. numpy only.

A capture is the one value that crosses from the solver to Blender, to disk and to other tools. On disk it is one
`.npz` a person, loadable with `numpy.load(allow_pickle=False)`.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from .capture_check import what_is_wrong
from .npz_errors import DAMAGED_NPZ
from .whole_file import write_whole

Array = NDArray[np.float32]
IntArray = NDArray[np.int32]
# In diagnostics of a rough motion that only shows how far a clip was looked at: 1, and one more each time that another
# person is shown in somebody's place.
EARLY = "early"
CONTACTS = ("left_heel", "left_toe", "right_heel", "right_toe")
# Keys that came later: files without them are read all the same.
LATER = {"frame_indices", "shots", "contacts", "ground_m", "camera_rotvec"}
FORMAT_VERSION = 1
_AGAIN = "Run the fit again to make a new one."
POINTS = "points_"  # what the keys of `Capture.points` begin with in a file


class PoseParts(TypedDict):
    """A pose in parts, in joint order, axis-angle."""

    global_orient: Array  # (T, 3)
    body_pose: Array  # (T, 63)
    jaw_pose: Array  # (T, 3)
    leye_pose: Array  # (T, 3)
    reye_pose: Array  # (T, 3)
    left_hand_pose: Array  # (T, 45)
    right_hand_pose: Array  # (T, 45)


def pose_parts(full_pose: Array) -> PoseParts:
    """What `Capture.full_pose` joins: all rotations, (T, 165) or (T, 55, 3) → `global_orient`, `body_pose`, …"""
    flat = np.asarray(full_pose, np.float32).reshape(len(full_pose), -1)
    orient, body, jaw, left_eye, right_eye, left, right = np.split(flat, (3, 66, 69, 72, 75, 120), axis=1)
    return PoseParts(
        global_orient=orient, body_pose=body, jaw_pose=jaw, leye_pose=left_eye, reye_pose=right_eye,
        left_hand_pose=left, right_hand_pose=right,
    )  # fmt: skip


class CaptureError(Exception):
    """A capture file that can't be read or written; the message says what to do next."""


@dataclass
class Capture:
    """One person over T frames, B betas, E expression components, J = 55 joints.

    Rotations are axis-angle (radians), SMPL-X order. `global_orient` and `transl` place the body in the camera frame
    (OpenCV: x right, y down, z forward; metres) as `smplx` does: the pelvis joint stays at
    J_0(betas) + transl and the body turns about it.
    """

    betas: Array  # (B,)
    expression: Array  # (T, E)
    global_orient: Array  # (T, 3)
    body_pose: Array  # (T, 63)
    jaw_pose: Array  # (T, 3)
    leye_pose: Array  # (T, 3)
    reye_pose: Array  # (T, 3)
    left_hand_pose: Array  # (T, 45) full axis-angle; the hand mean is included
    right_hand_pose: Array  # (T, 45)
    transl: Array  # (T, 3)
    joints: Array  # (T, 55, 3) camera frame, metres
    joint_names: tuple[str, ...]
    focal_px: float
    principal_px: Array  # (2,) x right, y down, from the upright picture's top left corner
    image_size: tuple[int, int]  # width, height in px, upright
    distortion: Array = field(default_factory=lambda: np.zeros(5, np.float32))  # OpenCV k1 k2 p1 p2 k3
    focal_source: str = "guessed"  # "given", "exif", "fitted", "guessed"
    up_camera: Array = field(default_factory=lambda: np.array([0, -1, 0], np.float32))  # (3,) unit, against gravity
    confidence: Array = field(default_factory=lambda: np.zeros(0, np.float32))  # (T,) 0…1
    joint_sigma_m: Array = field(default_factory=lambda: np.zeros((0, 55), np.float32))  # (T, 55) position
    joint_sigma_rad: Array = field(default_factory=lambda: np.zeros((0, 55), np.float32))  # (T, 55) rotation
    frame_times_s: Array = field(default_factory=lambda: np.zeros(1, np.float32))  # (T,)
    mocap_frame_rate: float = 1.0
    gender: str = "neutral"
    surface_model_type: str = "smplx"
    body_id: str = "free"
    person_id: int = 0
    source: str = ""  # the photo or clip, its whole path
    source_exif_orientation: int = 1
    diagnostics: dict[str, object] = field(default_factory=dict)  # JSON-able: residual by part, iterations, stop reason
    # What was seen, by the detector's point sets ("pose33", "left_hand" …): (T, N, 3) x, y in px of the upright
    # picture, confidence 0…1. In the file each is an array of its own, "points_pose33" …; older files have none.
    points: dict[str, Array] = field(default_factory=dict)
    # Of clips; older files lack these. For a photo they are empty.
    frame_indices: IntArray = field(default_factory=lambda: np.zeros(0, np.int32))  # (T,) frame of the clip, from 0
    shots: IntArray = field(default_factory=lambda: np.zeros(0, np.int32))  # (T,) motion does not go on over a cut
    contacts: Array = field(default_factory=lambda: np.zeros((0, 4), np.float32))  # (T, 4) 1 = stands, by CONTACTS
    ground_m: float = float("nan")  # up_camera · x = ground_m is the ground, in the axes of the first frame's camera
    camera_rotvec: Array = field(default_factory=lambda: np.zeros((0, 3), np.float32))  # (T, 3) turn of the camera:
    # a point x of frame t's camera is Exp(camera_rotvec[t]) x in the first frame's axes. Empty: the camera stands
    format_version: int = FORMAT_VERSION

    @property
    def num_frames(self) -> int:
        return int(self.global_orient.shape[0])

    def full_pose(self) -> Array:
        """All 55 rotations in joint order, (T, 165) axis-angle."""
        return np.concatenate([getattr(self, name) for name in PoseParts.__annotations__], axis=1)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to `path` whole or not at all. Raises CaptureError."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "points":
                arrays.update({POINTS + name: np.asarray(points, np.float32) for name, points in value.items()})
                continue
            if item.name == "diagnostics":
                value = json.dumps(value)
            arrays[item.name] = np.asarray(value)
        # AMASS readers look for these two.
        arrays["poses"] = self.full_pose()
        arrays["trans"] = self.transl
        target = Path(path)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, buffer.getvalue())
        except OSError as error:
            raise CaptureError(
                f"Can't write {target}: {error.strerror or error}. Free some space or choose another folder."
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Capture:
        """Read a capture. Raises CaptureError for a missing, corrupt or foreign file, or one whose parts don't fit."""
        stored = _stored(path)
        version = _version(stored)
        if version < 1:
            raise CaptureError(f"{path} is not a Pantomime capture. Make one with `pantomime fit`.")
        if version > FORMAT_VERSION:
            raise CaptureError(f"{path} was written by a newer Pantomime. Update Pantomime to read it.")
        missing = [item.name for item in fields(cls) if item.name not in {*stored, *LATER, "points"}]
        if missing:
            raise CaptureError(f"{path} lacks {', '.join(missing)}. {_AGAIN}")
        wrong = what_is_wrong(stored, POINTS)
        if wrong:
            raise CaptureError(f"{path} can't be used: {wrong}. {_AGAIN}")
        points = {
            key.removeprefix(POINTS): np.asarray(value, np.float32)
            for key, value in stored.items()
            if key.startswith(POINTS)
        }
        values = {item.name: _from_array(item.name, stored[item.name]) for item in fields(cls) if item.name in stored}
        return cls(**values, points=points)  # type: ignore[arg-type]


def _stored(path: str | os.PathLike[str]) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file. Raises CaptureError."""
    foreign = f"{path} is not a capture, or is damaged. {_AGAIN}"
    try:
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            raise CaptureError(foreign)
        with data:
            return {key: data[key] for key in data.files}
    except FileNotFoundError as error:
        raise CaptureError(f"There is no file {path}. Check the name.") from error
    except DAMAGED_NPZ as error:
        if isinstance(error, OSError) and error.strerror:
            raise CaptureError(f"{path} can't be read: {error.strerror}. Check it and its permissions.") from error
        raise CaptureError(foreign) from error


def _version(stored: dict[str, NDArray[np.generic]]) -> int:
    """Of the file's format; 0 for a file of another kind."""
    version = stored.get("format_version")
    if version is None or version.shape != () or version.dtype.kind not in "iu":
        return 0
    return int(version.item())


def _from_array(name: str, value: NDArray[np.generic]) -> object:
    if name == "diagnostics":
        return json.loads(str(value))
    if name == "joint_names":
        return tuple(str(item) for item in value)
    if name == "image_size":
        return int(value[0]), int(value[1])
    if value.dtype.kind == "U":
        return str(value)
    if value.ndim == 0:
        return value.item()
    return value
