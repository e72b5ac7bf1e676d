"""Points to drag over a photo: where they are in the picture, what they are called, and where that is in a viewport.

Picture: px of the upright photo, x right, y down, from the top left corner. Region: px of a viewport, y up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel, VirtualPoints
from ..core.body.skeleton import JOINT_NAMES
from . import axes, camera, pins, rest, seen, shapekeys
from .avatar import shaped_mesh
from .current import view_of
from .identity import PROPERTY
from .rest import Floats

BODY_SETS = ("pose33", "body25", "coco17")
HAND_SETS = ("left_hand", "right_hand")
FACE_SETS = ("face468",)
# Of the body's 33 points those that say something of their own: eyes and mouth are the face's.
_LEFT_OUT = {
    "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer", "mouth_left",
    "mouth_right", "left_thumb", "right_thumb",
}  # fmt: skip
# Of the face mesh the points that one can tell in a photo (numbers of MediaPipe's mesh).
FACE_POINTS = {
    1: "nose tip", 168: "nose bridge", 152: "chin", 10: "forehead", 0: "upper lip", 17: "lower lip",
    61: "right mouth corner", 291: "left mouth corner", 40: "right upper lip", 270: "left upper lip",
    91: "right lower lip", 321: "left lower lip", 33: "right eye, outer corner", 133: "right eye, inner corner",
    159: "right upper lid", 145: "right lower lid", 263: "left eye, outer corner", 362: "left eye, inner corner",
    386: "left upper lid", 374: "left lower lid", 107: "right brow, inner end", 105: "right brow",
    46: "right brow, outer end", 336: "left brow, inner end", 334: "left brow", 276: "left brow, outer end",
    172: "right jaw", 397: "left jaw", 205: "right cheek", 425: "left cheek", 234: "right side of the face",
    454: "left side of the face",
}  # fmt: skip


@dataclass(frozen=True)
class Handle:
    """One point to drag."""

    point: pins.PointKey
    name: str  # for people
    side: str  # "left", "right", ""
    group: str  # "body", "hand", "face"
    place: tuple[float, float]  # px: the pin, else what was seen, else the body's own point
    shown: tuple[float, float]  # px: where the body shows it
    confidence: float  # 0…1; 0 where it was not seen
    pinned: bool
    locked: bool  # the bone that carries it


class PointCache:
    """Point sets of a body in the solver's form. Made once for a body."""

    def __init__(self, body: BodyModel) -> None:
        self.body = body
        self._sets: dict[str, tuple[NDArray[np.int64], VirtualPoints]] = {}

    def chosen(self, name: str) -> tuple[NDArray[np.int64], VirtualPoints]:
        """Numbers of a set's points that are shown, and these points."""
        if name not in self._sets:
            known = self.body.points[name]
            number = np.array(
                [i for i in range(len(known.names)) if known.usable[i] and _is_shown(name, i, known.names)]
            )
            self._sets[name] = number, self.body.virtual_points(known).take(number)
        return self._sets[name]


def handles(
    rig: bpy.types.Object,
    cache: PointCache,
    eye: bpy.types.Object,
    scene: bpy.types.Scene,
    hands: bool = False,
    face: bool = False,
) -> list[Handle]:
    """The points of an avatar at the current frame. Raises AvatarError."""
    body = cache.body
    counts = {name: len(points.names) for name, points in body.points.items()}
    found = seen.points(rig, scene.frame_current, counts)
    pinned = pins.pinned_points(rig, scene.frame_current)
    locked = pins.locked(rig)
    bodies = [name for name in BODY_SETS if name in body.points]
    listed = [next((name for name in bodies if name in found), bodies[0])] if bodies else []
    listed += [name for name in HAND_SETS if hands and name in body.points]
    listed += [name for name in FACE_SETS if face and name in body.points]
    # What is pinned is seen, whatever else is shown.
    extra = sorted({name for name, _ in pinned if name in body.points} - set(listed))
    posed = _Posed(rig, body, eye, scene)
    result = []
    for name in (*listed, *extra):
        number, points = cache.chosen(name)
        rows = posed.project(points)
        carriers = points.weights.argmax(-1)
        for row, index in enumerate(number.tolist()):
            key = (name, index)
            if name in extra and key not in pinned:
                continue
            sight = found[name][index] if name in found else None
            confidence = float(sight[2]) if sight is not None and np.isfinite(sight).all() else 0.0
            shown = (float(rows[row, 0]), float(rows[row, 1]))
            place = pinned.get(key) or ((float(sight[0]), float(sight[1])) if confidence > 0 else shown)  # type: ignore[index]
            title = _title(name, index, body.points[name].names[index])
            result.append(
                Handle(
                    key,
                    title,
                    "left" if "left" in title.lower() else "right" if "right" in title.lower() else "",
                    "hand" if name in HAND_SETS else "face" if name in FACE_SETS else "body",
                    place,
                    shown,
                    confidence,
                    key in pinned,
                    JOINT_NAMES[int(carriers[row])] in locked,
                )
            )
    return result


def point_title(body: BodyModel, point: pins.PointKey) -> str:
    """A point's name for people, "left wrist"."""
    return _title(point[0], point[1], body.points[point[0]].names[point[1]])


def _title(name: str, index: int, own: str) -> str:
    if name in FACE_SETS:
        return FACE_POINTS.get(index, f"face point {index}")
    words = own.replace("_", " ")
    if name in HAND_SETS and words[-1].isdigit():
        finger, number = words[:-1], int(words[-1])
        if finger.endswith("thumb"):
            return f"{finger} tip" if number == 4 else f"{finger}, joint {number}"
        return f"{finger} fingertip" if number == 4 else f"{finger} finger, joint {number}"
    return words.replace("foot index", "toes")


def _is_shown(name: str, index: int, names: tuple[str, ...]) -> bool:
    if name in FACE_SETS:
        return index in FACE_POINTS
    return names[index] not in _LEFT_OUT


class _Posed:
    """An avatar as the camera sees it now, ready for several sets of points."""

    def __init__(self, rig: bpy.types.Object, body: BodyModel, eye: bpy.types.Object, scene: bpy.types.Scene) -> None:
        skin = shaped_mesh(rig, body)
        self._view = view_of(rig, eye)
        self._betas = shapekeys.get_values(skin.data, shapekeys.shape_key_names(body))
        self._expression = shapekeys.get_values(skin.data, shapekeys.expression_key_names(body))
        self._ground = np.array(rig[PROPERTY]["ground_m"], np.float64)
        self._bones = rig.pose.bones
        self._moves: dict[int, Floats] = {}
        self._lens = camera.lens_of(eye.data, image_size(rig), camera.frame_aspect(scene))

    def _move(self, joint: int) -> Floats:
        """(4, 4) how a bone carries what rests on it, object space."""
        if joint not in self._moves:
            bone = self._bones[JOINT_NAMES[joint]]
            self._moves[joint] = np.array(bone.matrix @ bone.bone.matrix_local.inverted(), np.float64)
        return self._moves[joint]

    def project(self, points: VirtualPoints) -> Floats:
        """Where the bones as they are show points of the body: px (N, 2)."""
        at_rest = points.template + points.shapedirs @ self._betas + points.exprdirs @ self._expression
        at_rest = np.pad(rest.to_object_space(at_rest, self._ground), ((0, 0), (0, 1)), constant_values=1.0)
        used = np.flatnonzero(points.weights.any(0)).tolist()
        moves = np.stack([self._move(joint) for joint in used])
        posed = np.einsum("nk,kab,nb->na", points.weights[:, used].astype(np.float64), moves, at_rest)[:, :3]
        view = self._view
        there = view.to_camera(view.scale * posed @ view.rotation.T + view.centre)
        focal_px, principal = self._lens
        projected: Floats = focal_px * there[:, :2] / np.maximum(there[:, 2:], 0.05) + principal
        return projected


def image_size(rig: bpy.types.Object) -> tuple[int, int]:
    """Width and height of the avatar's photo, px."""
    width, height = rig[PROPERTY]["image_size"]
    return int(width), int(height)


def picture_to_region(
    rig: bpy.types.Object,
    eye: bpy.types.Object,
    scene: bpy.types.Scene,
    perspective: NDArray[np.floating],
    region_size: tuple[int, int],
) -> Floats:
    """H (3, 3) of region px ∼ H (x, y, 1) in camera view: any zoom, offset, lens shift and aspect.

    perspective (4, 4): the region's world → clip matrix (`RegionView3D.perspective_matrix`). A pixel is a ray from the
    camera's centre, which a view through the same camera shows as one point.
    """
    focal_px, principal = camera.lens_of(eye.data, image_size(rig), camera.frame_aspect(scene))
    rays = np.array(
        [[1 / focal_px, 0, -principal[0] / focal_px], [0, 1 / focal_px, -principal[1] / focal_px], [0, 0, 1]]
    )
    rotation, _ = axes.camera_frame(np.array(eye.matrix_world, np.float64))
    clip = np.asarray(perspective, np.float64)[[0, 1, 3], :3] @ rotation @ rays
    half = np.array(region_size, np.float64) / 2
    to_region = np.array([[half[0], 0, half[0]], [0, half[1], half[1]], [0, 0, 1]])
    matrix: Floats = to_region @ clip
    return matrix / matrix[2, 2]


def transform(matrix: Floats, points: Iterable[tuple[float, float]]) -> Floats:
    """Points (N, 2) through a homography (3, 3)."""
    flat = np.array(list(points), np.float64).reshape(-1, 2)
    moved = np.pad(flat, ((0, 0), (0, 1)), constant_values=1.0) @ matrix.T
    result: Floats = moved[:, :2] / moved[:, 2:]
    return result
