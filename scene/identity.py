"""How Blender's data is known to be an avatar's: custom properties, names of bones; and its camera.

Without numpy, as registering the extension and drawing a panel ask for it.
"""

from __future__ import annotations

import bpy

PROPERTY = "pantomime"  # of the armature: what the avatar was made from
CAMERA_PROPERTY = "pantomime_camera"  # of the armature: the camera, which other avatars may share
BEFORE_CAMERA = "before_camera"  # under PROPERTY: the armature in its camera's axes as built, a matrix by rows
SEEN_PROPERTY = "pantomime_seen"  # of the armature: the points that the detector saw
PINNED_BONE = "pantomime_pinned_bone"  # of an empty that pins a bone: the bone
PIN_OWNER = "pantomime_pinned_avatar"  # of such an empty: the armature
UNFINISHED = "pantomime_unfinished"  # of a collection: it is being built
PREVIEW = "pantomime_preview"  # of a collection: another one will take its place
PHOTO_TEXTURE = "photo_texture"  # of the mesh: 0 plain … 1 photo
IK = "ik"  # of the bone of an IK handle: 0 the bones' own pose … 1 the handle's
# The handles of hands and feet, by side and part.
HANDLES = {(side, part): f"{side}_{part}_ik" for side in ("left", "right") for part in ("hand", "foot")}


def camera_of(rig: bpy.types.Object) -> bpy.types.Object | None:
    """The camera that sees an avatar as the photo does: its own, or that of the others in the photo."""
    camera = rig.get(CAMERA_PROPERTY)
    if isinstance(camera, bpy.types.Object) and camera.type == "CAMERA":
        return camera
    beside = (other for collection in rig.users_collection for other in collection.objects)
    return next((other for other in beside if other.type == "CAMERA"), None)


def handles_of(rig: bpy.types.Object) -> list[str]:
    """The IK handles that an avatar has."""
    return [name for name in HANDLES.values() if name in rig.pose.bones]
