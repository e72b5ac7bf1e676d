"""What the user said about an avatar: points pinned in the picture, bones pinned in space, bones that are locked.

Points and locks are a JSON text in the armature object's custom property `pantomime_pins`, so that saving and undo keep
them. A bone's pin in space is an empty in the avatar's collection, which the user moves, animates or deletes like any
object. Pins in the picture of an avatar that has an action belong to one frame each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import bpy
from mathutils import Matrix, Vector

from ..core.body.skeleton import JOINT_NAMES
from .identity import PIN_OWNER, PINNED_BONE

PROPERTY = "pantomime_pins"
STILL = "still"
# What is locked together.
LIMBS: dict[str, tuple[str, ...]] = {
    "left_arm": ("left_collar", "left_shoulder", "left_elbow", "left_wrist"),
    "right_arm": ("right_collar", "right_shoulder", "right_elbow", "right_wrist"),
    "left_leg": ("left_hip", "left_knee", "left_ankle", "left_foot"),
    "right_leg": ("right_hip", "right_knee", "right_ankle", "right_foot"),
    "trunk": ("pelvis", "spine1", "spine2", "spine3"),
    "head": ("neck", "head"),
    "left_hand": JOINT_NAMES[25:40],
    "right_hand": JOINT_NAMES[40:55],
    "face": JOINT_NAMES[22:25],
}

PointKey = tuple[str, int]  # set, index
Place = tuple[float, float]


def frame_key(rig: bpy.types.Object, frame: int) -> str:
    """Under what the pins of this frame are kept: one key for all frames of an avatar that does not move."""
    moving = rig.animation_data is not None and rig.animation_data.action is not None
    return str(frame) if moving else STILL


def pinned_points(rig: bpy.types.Object, frame: int) -> dict[PointKey, Place]:
    """Points pinned in the picture at this frame: px of the upright photo."""
    stored = _read(rig)["points"].get(frame_key(rig, frame), {})
    return {_parse(key): (float(x), float(y)) for key, (x, y) in stored.items()}


def free_reach(rig: bpy.types.Object, frame: int, most: float) -> tuple[float, float]:
    """How many frames before and after one a correction may pull along: `most`, but not frames that are pinned."""
    frames = [int(key) for key in _read(rig)["points"] if key != STILL and int(key) != frame]
    before = min([most, *(float(frame - other) for other in frames if other < frame)])
    after = min([most, *(float(other - frame) for other in frames if other > frame)])
    return before, after


def pin_point(rig: bpy.types.Object, frame: int, point: PointKey, place: Place) -> None:
    """Pin a point, or move its pin."""
    data = _read(rig)
    data["points"].setdefault(frame_key(rig, frame), {})[name_of(point)] = [float(place[0]), float(place[1])]
    _write(rig, data)


def unpin_point(rig: bpy.types.Object, frame: int, point: PointKey) -> bool:
    """Remove a pin; False if there was none."""
    data = _read(rig)
    here = data["points"].get(frame_key(rig, frame), {})
    if here.pop(name_of(point), None) is None:
        return False
    _write(rig, data)
    return True


def set_points(rig: bpy.types.Object, frame: int, points: dict[PointKey, Place]) -> None:
    """Replace all pins in the picture at this frame."""
    data = _read(rig)
    data["points"][frame_key(rig, frame)] = {name_of(key): list(place) for key, place in points.items()}
    _write(rig, data)


def clear(rig: bpy.types.Object, frame: int) -> None:
    """Remove the pins in the picture at this frame, and all pins in space. Locks stay."""
    set_points(rig, frame, {})
    for empty in list(empties(rig).values()):
        bpy.data.objects.remove(empty)


def locked(rig: bpy.types.Object) -> set[str]:
    """Names of bones whose own rotation corrections leave alone."""
    return set(_read(rig)["locked"])


def set_locked(rig: bpy.types.Object, bones: Iterable[str], lock: bool) -> None:
    """Lock bones, or let them go."""
    data = _read(rig)
    names = set(data["locked"])
    data["locked"] = sorted(names | set(bones) if lock else names - set(bones))
    _write(rig, data)


def empties(rig: bpy.types.Object) -> dict[str, bpy.types.Object]:
    """Pins in space: the empty of each pinned bone."""
    found: dict[str, bpy.types.Object] = {}
    for collection in rig.users_collection:
        for obj in collection.objects:
            bone = obj.get(PINNED_BONE)
            # A copy of an avatar is in the same collection. Pins of older files don't say whose they are.
            mine = obj.get(PIN_OWNER, rig) == rig
            if obj.type == "EMPTY" and mine and isinstance(bone, str) and bone in rig.data.bones:
                found.setdefault(bone, obj)
    return found


def pin_bone(rig: bpy.types.Object, bone: str, place: Vector) -> bpy.types.Object:
    """Pin a bone's head at a place in the world, with an empty to move it by; an existing one moves there."""
    empty = empties(rig).get(bone)
    if empty is None:
        empty = bpy.data.objects.new(f"{rig.name} {bone} pin", None)
        empty.empty_display_type = "SPHERE"
        empty.empty_display_size = 0.03
        empty.show_in_front = True
        empty[PINNED_BONE] = bone
        empty[PIN_OWNER] = rig
        rig.users_collection[0].objects.link(empty)
    empty.matrix_world = Matrix.Translation(place)
    return empty


def name_of(point: PointKey) -> str:
    """How a point is called in messages and in the file."""
    return f"{point[0]}/{point[1]}"


def _parse(key: str) -> PointKey:
    name, _, index = key.rpartition("/")
    return name, int(index)


def _read(rig: bpy.types.Object) -> dict[str, Any]:
    text = rig.get(PROPERTY)
    data = json.loads(text) if isinstance(text, str) else {}
    return {"points": data.get("points", {}), "locked": data.get("locked", [])}


def _write(rig: bpy.types.Object, data: dict[str, Any]) -> None:
    data["points"] = {frame: points for frame, points in data["points"].items() if points}
    if data["points"] or data["locked"]:
        rig[PROPERTY] = json.dumps(data)
    elif PROPERTY in rig:
        del rig[PROPERTY]
