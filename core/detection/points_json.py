"""OpenPose and COCO-WholeBody JSON to observations: points from other detectors, or set by hand. numpy only.

OpenPose: `people[].pose_keypoints_2d` (BODY_25 or the older 18), `face_keypoints_2d` (70),
`hand_left_keypoints_2d`, `hand_right_keypoints_2d` (21 each), as (x, y, confidence) triples; zeros are "not seen".
COCO-WholeBody: annotations with `keypoints` (17), `foot_kpts` (6), `face_kpts` (68), `lefthand_kpts`,
`righthand_kpts` (21 each); or `keypoints` of all 133 in that order, flat or in rows, as MMPose writes them too.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .observation import Observation, Points, sure_noise_px
from .vocabulary import BODY25, COCO17

Array = NDArray[np.float32]

# OpenPose's older 18 points in BODY_25's order: the same names without the middle of the hips and the feet.
BODY18 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
    "right_ear", "left_ear",
)  # fmt: skip
# COCO-WholeBody's 133 points: which run belongs to which set.
WHOLEBODY = {
    "coco17": slice(0, 17),
    "feet6": slice(17, 23),
    "face68": slice(23, 91),
    "left_hand": slice(91, 112),
    "right_hand": slice(112, 133),
}
_WHOLEBODY_KEYS = {
    "coco17": "keypoints",
    "feet6": "foot_kpts",
    "face68": "face_kpts",
    "left_hand": "lefthand_kpts",
    "right_hand": "righthand_kpts",
}
_LIMB_NAMES = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
_FORMATS = "OpenPose's and COCO-WholeBody's JSON can be read."
_LEAST_POINTS = 3


class PointsFileError(Exception):
    """A file of points that can't be read or does not fit the picture; the message says what to do next."""


def read_points(
    path: str | os.PathLike[str],
    image_size: tuple[int, int],
    photo: str | os.PathLike[str] | None = None,
    error_px: float | None = None,
) -> list[Observation]:
    """The people in a file of points, largest first; those with fewer than three seen points are left out.

    `image_size`: width and height of the upright photo, px. `photo`: its name, to choose by in an annotation file
    of several pictures. `error_px`: how far sure points may be off, one σ; None: as a detector's.
    Raises PointsFileError.
    """
    name = Path(path)
    people, source = _people(_load(name), name, Path(photo).name if photo else None)
    observations = []
    for person in people:
        points = _openpose(person, name) if source == "openpose-json" else _wholebody(person, name)
        points = {key: _to_pixels(value, image_size) for key, value in points.items()}
        observation = _observation(points, image_size, source)
        if observation is not None:
            if error_px is not None:
                observation = replace(observation, noise_share=error_px / sure_noise_px(observation.box_px))
            observations.append(observation)
    _check_fit(observations, image_size, name)
    return sorted(observations, key=lambda item: -_area(item.box_px))


def _load(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return json.loads(text)
    except FileNotFoundError as error:
        raise PointsFileError(f"There is no file {path}. Check the name.") from error
    except OSError as error:
        raise PointsFileError(f"Can't read {path}: {error.strerror or error}. Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise PointsFileError(f"{path} is not JSON, or is cut off. {_FORMATS}") from error


def _people(content: Any, path: Path, photo: str | None) -> tuple[list[dict[str, Any]], str]:
    """The people's own records and the kind of file."""
    if isinstance(content, dict) and isinstance(content.get("people"), list):
        return _records(content["people"], path), "openpose-json"
    people = content
    if isinstance(content, dict):
        people = next(
            (content[key] for key in ("annotations", "instance_info", "predictions", "instances") if key in content),
            [content] if "keypoints" in content else None,
        )
    if not isinstance(people, list) or not people:
        raise PointsFileError(f"{path} holds no people. {_FORMATS}")
    if all(isinstance(item, list) for item in people):  # MMPose nests a list for each picture of a batch
        people = [person for batch in people for person in batch]
    records = _records(people, path)
    pictures = {str(item["image_id"]) for item in records if "image_id" in item}
    if len(pictures) > 1:
        records = _of_picture(content, records, photo, path)
    return records, "coco-wholebody-json"


def _records(people: list[Any], path: Path) -> list[dict[str, Any]]:
    if not all(isinstance(item, dict) for item in people):
        raise PointsFileError(f"{path} does not list people as records of points. {_FORMATS}")
    return people


def _of_picture(content: Any, records: list[dict[str, Any]], photo: str | None, path: Path) -> list[dict[str, Any]]:
    images = content.get("images", []) if isinstance(content, dict) else []
    for image in images if isinstance(images, list) else []:
        if isinstance(image, dict) and photo and Path(str(image.get("file_name", ""))).name == photo:
            return [item for item in records if item.get("image_id") == image.get("id")]
    raise PointsFileError(
        f"{path} holds points of several pictures, and none is named as this photo. Keep only this photo's."
    )


def _openpose(person: dict[str, Any], path: Path) -> dict[str, Array]:
    body = _table(person.get("pose_keypoints_2d"), path, "pose_keypoints_2d")
    if len(body) == len(BODY18):
        full = np.zeros((len(BODY25), 3), np.float32)
        full[[BODY25.index(name) for name in BODY18]] = body
        hips = full[[BODY25.index("right_hip"), BODY25.index("left_hip")]]
        if hips[:, 2].min() > 0.0:
            full[BODY25.index("mid_hip")] = hips.mean(axis=0)
        body = full
    result = {"body25": body}
    for key, name in (
        ("face68", "face_keypoints_2d"),
        ("left_hand", "hand_left_keypoints_2d"),
        ("right_hand", "hand_right_keypoints_2d"),
    ):
        result[key] = _table(person.get(name), path, name)
    if len(result["face68"]) == 70:  # the last two are the pupils
        result["face68"] = result["face68"][:68]
    return _of_right_length(result, path)


def _wholebody(person: dict[str, Any], path: Path) -> dict[str, Array]:
    table = _table(person.get("keypoints"), path, "keypoints", person.get("keypoint_scores"))
    if len(table) == 133:
        return {key: table[run] for key, run in WHOLEBODY.items()}
    result = {"coco17": table}
    for key, name in list(_WHOLEBODY_KEYS.items())[1:]:
        result[key] = _table(person.get(name), path, name)
    return _of_right_length(result, path)


def _of_right_length(tables: dict[str, Array], path: Path) -> dict[str, Array]:
    expected = {"body25": 25, "coco17": 17, "feet6": 6, "face68": 68, "left_hand": 21, "right_hand": 21}
    for key, table in tables.items():
        if len(table) not in (0, expected[key]):
            raise PointsFileError(
                f"{path} has {len(table)} points where {expected[key]} belong ({key}). Export it in another layout: "
                "BODY_25 for OpenPose, 133 points for COCO-WholeBody."
            )
    return {key: table for key, table in tables.items() if len(table)}


def _table(values: Any, path: Path, name: str, scores: Any = None) -> Array:
    """(N, 3) x, y, confidence from a flat list of triples or rows; (0, 3) where there is nothing."""
    if values is None or (isinstance(values, list) and not values):
        return np.zeros((0, 3), np.float32)
    try:
        table = np.asarray(values, np.float64)
        if table.ndim == 1:
            table = table.reshape(-1, 3)
        if scores is not None and table.shape[1] == 2:
            table = np.concatenate([table, np.asarray(scores, np.float64).reshape(-1, 1)], axis=1)
        if table.ndim != 2 or table.shape[1] != 3:
            raise ValueError
    except (ValueError, TypeError, IndexError) as error:
        raise PointsFileError(f"{name} in {path} is not a list of x, y and confidence. {_FORMATS}") from error
    if not np.isfinite(table).all() or np.abs(table).max() > 1e6:
        raise PointsFileError(f"{name} in {path} has values that are no pixels. Export it again.")
    flags = table[:, 2]
    if name != "pose_keypoints_2d" and flags.max() > 1.0 and np.isin(flags, (0.0, 1.0, 2.0)).all():
        # COCO's flags: 0 not there, 1 there but hidden, 2 seen.
        table[:, 2] = flags / 2.0
    table[:, 2] = np.clip(table[:, 2], 0.0, 1.0)
    table[(table[:, :2] == 0.0).all(axis=1), 2] = 0.0
    return table.astype(np.float32)


def _to_pixels(table: Array, image_size: tuple[int, int]) -> Array:
    """OpenPose can write shares of the picture instead of pixels: then nothing reaches beyond 1."""
    seen = table[table[:, 2] > 0.0]
    if len(seen) >= _LEAST_POINTS and seen[:, :2].min() >= 0.0 and seen[:, :2].max() <= 1.0:
        return np.concatenate([table[:, :2] * np.asarray(image_size, np.float32), table[:, 2:]], axis=1)
    return table


def _observation(tables: dict[str, Array], image_size: tuple[int, int], source: str) -> Observation | None:
    points = {
        key: Points(table[:, :2].copy(), table[:, 2].copy()) for key, table in tables.items() if table[:, 2].any()
    }
    seen = [table[table[:, 2] > 0.0, :2] for table in tables.values()]
    together = np.concatenate(seen) if seen else np.zeros((0, 2), np.float32)
    if len(together) < _LEAST_POINTS:
        return None
    body = "body25" if "body25" in tables else "coco17"
    names = BODY25 if body == "body25" else COCO17
    score = 0.0
    if body in tables:
        score = float(tables[body][[names.index(name) for name in _LIMB_NAMES], 2].mean())
    limit = np.asarray(image_size, np.float32)
    box = np.concatenate([np.clip(together.min(axis=0), 0, limit), np.clip(together.max(axis=0), 0, limit)])
    return Observation(image_size, box.astype(np.float32), score, points, source=source)


def _check_fit(observations: list[Observation], image_size: tuple[int, int], path: Path) -> None:
    every = [points.image_px[points.confidence > 0.0] for item in observations for points in item.points.values()]
    if not every:
        return
    together = np.concatenate(every)
    inside = ((together >= 0.0) & (together <= np.asarray(image_size))).all(axis=1)
    if inside.mean() < 0.5:
        raise PointsFileError(
            f"Most points in {path} lie outside of the photo ({image_size[0]} × {image_size[1]}). "
            "Name the file that belongs to this photo."
        )


def _area(box: Array) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
