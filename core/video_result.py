"""A person's motion in a clip as a capture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .body.skeleton import JOINT_NAMES
from .capture import Capture, pose_parts
from .detection.vocabulary import POINT_SETS
from .fitting.kinematics import pose_chain
from .fitting.video_evidence import FIRST, SETS, Seen
from .fitting.video_fit import ClipFitter, Motion
from .fitting.video_parts import Standing
from .fitting.video_shape import ClipShape
from .rotation import log_so3

AT_ONCE = 256  # frames that are turned into a capture together


@dataclass(frozen=True)
class Rows:
    """What is known of all T frames of a person beside the motion."""

    index: NDArray[np.int64]  # (T,) frames of the clip
    time_s: NDArray[np.float64]  # (T,)
    shot: NDArray[np.int64]  # (T,)
    turn: NDArray[np.float32] | None  # (T, 3, 3) each frame's camera axes to the first's
    seen: Callable[[int, int], Seen]  # what was seen in rows from … up to
    image_size: tuple[int, int]
    rate: float
    number: int  # of the person
    frames_seen: int


def capture_of(
    clip: ClipFitter, rows: Rows, which: slice, motion: Motion, shape: ClipShape, standing: Standing
) -> Capture:
    """The frames `which` of a person, whose motion is `motion`."""
    count = len(motion)
    rotvec, joints = np.zeros((count, 55, 3), np.float32), np.zeros((count, 55, 3), np.float32)
    # What a frame takes on the way is many times what is kept of it.
    for start in range(0, count, AT_ONCE):
        some = slice(start, start + AT_ONCE)
        state = clip.state_of(motion.rows(some), shape)
        rotvec[some] = log_so3(state.rotmats.double()).float().cpu().numpy()
        joints[some] = pose_chain(clip.skeleton, state).joints.float().cpu().numpy()

    body, warnings = clip.fitter.body, clip.fitter.warnings
    return Capture(
        betas=shape.betas,
        expression=motion.expression,
        **pose_parts(rotvec),
        transl=motion.transl,
        joints=joints,
        joint_names=JOINT_NAMES,
        focal_px=shape.focal_px,
        principal_px=np.array(shape.principal_px, np.float32),
        image_size=rows.image_size,
        focal_source=shape.focal_source,
        up_camera=standing.up,
        confidence=motion.confidence,
        joint_sigma_m=motion.sigma_m,
        joint_sigma_rad=motion.sigma_rad,
        frame_times_s=rows.time_s[which].astype(np.float32),
        mocap_frame_rate=rows.rate,
        gender=body.gender,
        surface_model_type=body.surface_model_type,
        body_id=body.body_id,
        person_id=rows.number,
        frame_indices=rows.index[which].astype(np.int32),
        shots=rows.shot[which].astype(np.int32),
        contacts=standing.solid[which],
        ground_m=standing.ground_m,
        camera_rotvec=_camera_rotvec(rows, which),
        points=_points(rows, which),
        diagnostics={"frames_seen": rows.frames_seen, **({"warnings": list(warnings)} if warnings else {})},
    )


def _points(rows: Rows, which: slice) -> dict[str, NDArray[np.float32]]:
    """What was seen, for corrections by hand; the face's many points are left out."""
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in SETS[:-1]}
    for start in range(which.start, which.stop, AT_ONCE):
        seen = rows.seen(start, min(start + AT_ONCE, which.stop))
        for name, found in parts.items():
            part = slice(FIRST[name], FIRST[name] + len(POINT_SETS[name]))
            found.append(np.concatenate([seen.image_px[:, part], seen.confidence[:, part, None]], -1))
    whole = {name: np.concatenate(found) for name, found in parts.items()}
    return {name: points for name, points in whole.items() if points[..., 2].any()}


def _camera_rotvec(rows: Rows, which: slice) -> NDArray[np.float32]:
    if rows.turn is None:
        return np.zeros((0, 3), np.float32)
    return log_so3(torch.as_tensor(rows.turn[which]).double()).float().numpy()
