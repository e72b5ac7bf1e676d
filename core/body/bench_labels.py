"""What is known of a rendered person: the label beside each picture of the accuracy bench. numpy only.

One `.npz` a picture, `NNNN.npz` beside `NNNN.jpg`, loadable with `numpy.load(allow_pickle=False)`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..npz_errors import DAMAGED_NPZ
from .points_file import write_npz

Array = NDArray[np.float32]
Int = NDArray[np.int32]

FORMAT_VERSION = 1
# Values of `joint_visibility`.
OUTSIDE, BEHIND_OBJECT, BEHIND_BODY, VISIBLE = 0, 1, 2, 3


class LabelError(Exception):
    """A label that can't be read; the message says what to do next."""


@dataclass(frozen=True)
class PersonLabel:
    """One person in one picture. V vertices in the free body's order, joints in SMPL-X's, K blend shapes of the source.

    Camera frame: OpenCV, metres. World: y up, the floor at y = 0.
    """

    seed: int  # of the whole set
    index: int  # of the picture in its set
    pose_index: int  # among the poses of its split
    mirrored: bool
    action: str
    framing: str  # "full", "knees", "hips" or "chest": how far down the picture reaches
    image_size: tuple[int, int]  # width, height in px
    focal_px: float
    principal_px: Array  # (2,)
    T_camera_world: Array  # (4, 4)
    vertices: Array  # (V, 3) camera frame
    joints: Array  # (55, 3) camera frame
    joints_px: Array  # (55, 2)
    joint_visibility: NDArray[np.uint8]  # (55,)
    rotations: Array  # (55, 3, 3) local; the root's is in the world
    joint_rotations: Array  # (55, 3, 3) of each joint's frame in the camera frame
    t_vertices: Array  # (V, 3) the person in the T-pose with this expression's skin, body frame
    t_joints: Array  # (55, 3)
    expression: Array  # (52,) 0…1
    phenotype: Array  # (K,) blend shape coefficients of the source
    object_vertices: Array  # (M, 3) camera frame: things that stand before or under the person
    object_quads: Int  # (Q, 4)
    object_ids: Int  # (Q,) which thing a face belongs to
    hidden_share: float  # of the person's silhouette in the picture that things hide
    format_version: int = FORMAT_VERSION


def save_label(path: Path, label: PersonLabel) -> None:
    """Write a label whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, {item.name: np.asarray(getattr(label, item.name)) for item in fields(label)})


def load_label(path: Path) -> PersonLabel:
    """Read a label. Raises LabelError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            stored = {key: data[key] for key in data.files}
    except DAMAGED_NPZ as error:
        raise LabelError(
            f"{path} is not a label of a rendered person. Make them with `pantomime render-people`."
        ) from error
    if int(stored.get("format_version", 0)) != FORMAT_VERSION:
        raise LabelError(f"{path} has another version. Make the pictures anew with `pantomime render-people`.")
    values: dict[str, object] = {}
    for item in fields(PersonLabel):
        if item.name not in stored:
            raise LabelError(f"{path} lacks {item.name}. Make the pictures anew with `pantomime render-people`.")
        value = stored[item.name]
        if item.name == "image_size":
            values[item.name] = (int(value[0]), int(value[1]))
        elif value.ndim == 0:
            values[item.name] = value.item()
        else:
            values[item.name] = value
    return PersonLabel(**values)  # type: ignore[arg-type]
