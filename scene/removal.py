"""Taking avatars away, with all data that only they use."""

from __future__ import annotations

import bpy

from .identity import UNFINISHED


def is_there(item: bpy.types.ID) -> bool:
    """Whether nobody deleted something that Python remembers."""
    try:
        return bool(item.name)
    except ReferenceError:
        return False


def remove_collection(collection: bpy.types.Collection) -> None:
    """Remove an avatar's collection, its objects and what nobody uses without them. Pictures stay."""
    data: list[bpy.types.ID] = []
    inner: list[bpy.types.ID] = []  # of data: they lose their last user with it
    for obj in list(collection.objects):
        inner += _actions(obj)
        if obj.data is not None:
            data.append(obj.data)
            inner += _actions(obj.data)
        if obj.type == "MESH":
            inner += [material for material in obj.data.materials if material is not None]
            inner += _actions(obj.data.shape_keys)
        bpy.data.objects.remove(obj)
    bpy.data.collections.remove(collection)
    for items in (data, inner):
        bpy.data.batch_remove([item for item in dict.fromkeys(items) if item.users == 0])


def _actions(owner: bpy.types.ID | None) -> list[bpy.types.ID]:
    animation = owner.animation_data if owner is not None else None
    if animation is None:
        return []
    found = [strip.action for track in animation.nla_tracks for strip in track.strips]
    return [action for action in (animation.action, *found) if action is not None]


def remove_unfinished() -> None:
    """Remove what undo brought back of an avatar that was being built at that time. It never was in a scene."""
    for collection in [c for c in bpy.data.collections if UNFINISHED in c]:
        remove_collection(collection)
