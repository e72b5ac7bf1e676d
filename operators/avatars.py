"""Which avatar is meant, and what may be done to it. Cheap enough to be asked whenever a panel is drawn."""

from __future__ import annotations

from typing import Any

import bpy

from ..core.body.skeleton import JOINT_NAMES
from ..scene.identity import PIN_OWNER, PINNED_BONE, PROPERTY
from ..scene.identity import camera_of as camera_of  # panels ask here
from .notify import refuse

# The mesh of each armature by name: an object's children are found by walking all objects of the file.
_meshes: dict[str, str] = {}


def rig_of(obj: bpy.types.Object | None) -> bpy.types.Object | None:
    """The avatar that an object belongs to, by its armature: from the armature, the mesh, clothes on it, the camera, a
    bone's pin, an instance of its collection, as which a linked one comes."""
    if obj is None:
        return None
    if obj.type == "ARMATURE":
        return obj if PROPERTY in obj else None
    if obj.type == "CAMERA":
        beside = (other for collection in obj.users_collection for other in collection.objects)
        return next((other for other in beside if other.type == "ARMATURE" and camera_of(other) == obj), None)
    if obj.type == "EMPTY" and PINNED_BONE in obj:
        beside = (other for collection in obj.users_collection for other in collection.objects)
        avatars = (other for other in beside if other.type == "ARMATURE" and PROPERTY in other)
        return next((rig for rig in avatars if obj.get(PIN_OWNER, rig) == rig), None)
    if obj.type == "EMPTY" and obj.instance_type == "COLLECTION" and obj.instance_collection is not None:
        within = obj.instance_collection.all_objects
        return next((other for other in within if other.type == "ARMATURE" and PROPERTY in other), None)
    rig = obj.parent if obj.parent is not None else obj.find_armature()
    return rig if rig is not None and rig.type == "ARMATURE" and PROPERTY in rig else None


def avatar_of(context: bpy.types.Context) -> Any:
    """The avatar of the active object, by its armature; None where another thing is active."""
    return rig_of(context.object)


def mesh_of(rig: bpy.types.Object) -> bpy.types.Object | None:
    """The body of an avatar: the mesh with its shape keys."""
    key = rig.name_full
    known = bpy.data.objects.get(_meshes.get(key, ""))
    if known is not None and _is_body(known, rig):
        return known
    found = next((child for child in rig.children if _is_body(child, rig)), None)
    if found is not None:
        _meshes[key] = found.name_full
    return found


def _is_body(obj: bpy.types.Object, rig: bpy.types.Object) -> bool:
    if obj.type != "MESH" or obj.parent != rig or obj.data.shape_keys is None:
        return False
    return any(modifier.type == "ARMATURE" and modifier.object == rig for modifier in obj.modifiers)


def why_not_read(rig: bpy.types.Object | None) -> str:
    """Why the pose can't even be read; "" where it can."""
    if rig is None:
        return "Select an avatar"
    # Of the armature, whose bones are found by name; those of the pose are searched.
    bones = rig.data.bones
    if any(name not in bones for name in JOINT_NAMES):
        return "Bones of this avatar were renamed or removed. Undo that first"
    return ""


def why_not_pose(rig: bpy.types.Object | None) -> str:
    """Why the pose can't be changed; "" where it can."""
    why = why_not_read(rig)
    if why or rig is None:
        return why
    if rig.library is not None:
        return "The avatar is linked from another file. Make it editable first: Object ▸ Library Override ▸ Make"
    if rig.mode == "EDIT":
        return "Leave edit mode first"
    return ""


def refusal(context: bpy.types.Context) -> str:
    """Why the active avatar can't be changed here; "" where it can."""
    rig = avatar_of(context)
    why = why_not_pose(rig)
    if not why and rig.override_library is not None and rig.override_library.is_system_override:
        return "This avatar is linked from another file. Make it local or an editable override first"
    return why or ("" if context.mode in ("OBJECT", "POSE") else "Leave edit mode first")


class OnAvatar:
    """Operators that change the active avatar."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return refuse(cls, refusal(context))


def why_not_face(rig: bpy.types.Object | None) -> str:
    """Why shape keys can't be changed; "" where they can."""
    if rig is None:
        return "Select an avatar"
    skin = mesh_of(rig)
    if skin is None:
        return "The avatar's body is gone, or has no shape keys"
    if skin.data.library is not None:
        return "The avatar's mesh is linked from another file"
    return ""


def why_not_shape(rig: bpy.types.Object | None) -> str:
    """Why the shape can't be changed, which moves bones at rest, too; "" where it can."""
    why = why_not_pose(rig) or why_not_face(rig)
    if why or rig is None:
        return why
    if rig.data.library is not None or rig.data.override_library is not None:
        return "Bones of a linked avatar can't follow another shape. Make it local first"
    return "Leave edit mode first" if rig.data.is_editmode else ""


def forget() -> None:
    """Another file has other objects."""
    _meshes.clear()


@bpy.app.handlers.persistent
def _after_load(*_: object) -> None:
    forget()


def register() -> None:
    """Forget what a file held when another is opened."""
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    """Leave nothing."""
    if _after_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_after_load)
    forget()
