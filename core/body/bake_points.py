"""First attachment of the points that detectors see, by anatomy; calibration refines it. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detection.vocabulary import POINT_SETS
from .model import BodyModel, PointSet
from .skeleton import JOINT_INDEX

# A point is the name of a joint, or a landmark of `surface_landmarks`.
_JOINT_OF = {"shoulder": "shoulder", "elbow": "elbow", "wrist": "wrist", "hip": "hip", "knee": "knee", "ankle": "ankle"}
ANATOMY_SIGMA_M = 0.015  # how far a point placed by anatomy is expected to lie from what a detector sees


def surface_landmarks(body: BodyModel, bone_tips: dict[str, NDArray[np.float64]]) -> dict[str, int]:
    """Vertices at anatomical places. `bone_tips`: ends of the last finger and toe bones in the T-pose."""
    v = body.v_template
    skin = np.zeros(len(v), bool)
    skin[np.unique(body.quads[body.material_ids == body.material_names.index("skin")])] = True
    head = np.zeros(len(v), bool)
    head[body.vertex_groups["head"]] = True

    def extreme(mask: NDArray[np.bool_], score: NDArray[Any]) -> int:
        ids = np.flatnonzero(mask)
        return int(ids[np.argmax(score[ids])])

    def nearest(mask: NDArray[np.bool_], place: NDArray[Any]) -> int:
        return extreme(mask, -np.linalg.norm(v - place, axis=1))

    marks = {"nose": extreme(skin & head & (np.abs(v[:, 0]) < 0.01), v[:, 2])}
    lips = np.zeros(len(v), bool)
    lips[body.vertex_groups["lips"]] = True
    nose_y = v[marks["nose"], 1]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        x = v[:, 0] * sign
        eye = body.J_template[JOINT_INDEX[f"{side}_eye_smplhf"]]
        eyeball = np.zeros(len(v), bool)
        eyeball[body.vertex_groups[f"{side}_eyeball"]] = True
        marks[f"{side}_eye"] = extreme(eyeball, v[:, 2])
        rim = skin & head & (np.abs(v[:, 1] - eye[1]) < 0.006) & (np.linalg.norm(v - eye, axis=1) < 0.021)
        marks[f"{side}_eye_inner"] = extreme(rim, -x)
        marks[f"{side}_eye_outer"] = extreme(rim, x)
        marks[f"{side}_mouth"] = extreme(lips, x)
        # the tragus: in front of the ear's hole, at the height between eye and nose
        ear = skin & head & (np.abs(v[:, 1] - 0.5 * (eye[1] + nose_y)) < 0.012) & (v[:, 2] < eye[2] - 0.05)
        marks[f"{side}_ear"] = extreme(ear, x)
        foot = np.zeros(len(v), bool)
        foot[body.vertex_groups[f"{side}_foot"]] = True
        low = v[:, 1] < v[foot, 1].min() + 0.03
        marks[f"{side}_heel"] = extreme(foot & low, -v[:, 2])
        for name, tip in bone_tips.items():
            if name.startswith(side):
                marks[name] = nearest(~eyeball, tip)
    return marks


def anatomical_points(body: BodyModel, marks: dict[str, int]) -> dict[str, PointSet]:
    """Point sets with what anatomy can tell; the face sets follow from calibration."""

    def source_of(name: str) -> str | int | tuple[str, ...]:
        if name in marks:
            return marks[name]
        special: dict[str, str | int | tuple[str, ...]] = {
            "mouth_left": marks["left_mouth"],
            "mouth_right": marks["right_mouth"],
            "neck": ("left_shoulder", "right_shoulder"),
            "mid_hip": ("left_hip", "right_hip"),
        }
        if name in special:
            return special[name]
        side, _, part = name.partition("_")
        if part in _JOINT_OF:
            return f"{side}_{_JOINT_OF[part]}"
        per_side: dict[str, str | int] = {
            "pinky": f"{side}_pinky1",
            "index": f"{side}_index1",
            "thumb": f"{side}_thumb3",
            "foot_index": marks[f"{side}_big_toe"],
        }
        if part in per_side:
            return per_side[part]
        finger, digit = part[:-1], part[-1]  # a hand point
        return marks[f"{side}_{finger}_tip"] if digit == "4" else f"{side}_{finger}{digit}"

    return {
        name: attach(body, POINT_SETS[name], [source_of(point) for point in POINT_SETS[name]])
        for name in ("pose33", "left_hand", "right_hand", "body25", "coco17", "feet6")
    }


def attach(body: BodyModel, names: tuple[str, ...], sources: list[str | int | tuple[str, ...]]) -> PointSet:
    """A point set from sources: a joint's name, a vertex, or two joints to lie midway between."""
    count = len(names)
    joint_ids = np.full(count, -1, np.int32)
    offsets = np.zeros((count, 3), np.float32)
    offset_dirs = np.zeros((count, 3, body.num_betas), np.float32)
    vertex_ids = np.zeros((count, 3), np.int32)
    barycentric = np.zeros((count, 3), np.float32)
    parent_of_pair = {"left_shoulder": "spine3", "left_hip": "pelvis"}
    for i, source in enumerate(sources):
        if isinstance(source, int):
            vertex_ids[i] = source
            barycentric[i, 0] = 1.0
        elif isinstance(source, str):
            joint_ids[i] = JOINT_INDEX[source]
        else:
            pair = [JOINT_INDEX[name] for name in source]
            frame = JOINT_INDEX[parent_of_pair[source[0]]]
            joint_ids[i] = frame
            offsets[i] = body.J_template[pair].mean(0) - body.J_template[frame]
            offset_dirs[i] = body.J_shapedirs[pair].mean(0) - body.J_shapedirs[frame]
    return PointSet(
        names=names,
        joint_ids=joint_ids,
        offsets=offsets,
        offset_dirs=offset_dirs,
        vertex_ids=vertex_ids,
        barycentric=barycentric,
        sigma_m=np.full(count, ANATOMY_SIGMA_M, np.float32),
        usable=np.ones(count, np.bool_),
    )
