"""The active avatar's points as a 3D view shows them, its pins and locks: what operators and panels ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import bpy
from mathutils import Matrix

from ..scene.identity import BEFORE_CAMERA, PROPERTY
from .avatars import avatar_of, camera_of
from .correcting import LIVE
from .jobs import JobError
from .notify import translated

# An avatar that was moved by more is not over its photo any more.
MOVED_M, MOVED_RAD, MOVED_SCALE = 0.03, 0.03, 0.02
GRAB_PX = 14.0  # how near to a point the pointer must be, times the interface's scale


def settings_of(context: bpy.types.Context) -> Any:
    """The settings; None where the extension is not registered."""
    return getattr(context.window_manager, "pantomime_correct", None)


def in_view(context: bpy.types.Context) -> bool:
    """Whether this 3D view looks through the camera of the active avatar."""

    rig, space = avatar_of(context), context.space_data
    if rig is None or space is None or space.type != "VIEW_3D" or space.region_3d.view_perspective != "CAMERA":
        return False
    seen_through = space.camera if space.use_local_camera else context.scene.camera
    eye = camera_of(rig)
    return eye is not None and seen_through == eye


@dataclass(frozen=True)
class Spot:
    """A point as a view shows it. `at`, `body_at`: px of the region; `place`: px of the photo."""

    point: tuple[str, int]
    name: str
    side: str  # "left", "right", ""
    group: str  # "body", "hand", "face"
    place: tuple[float, float]
    at: tuple[float, float]
    body_at: tuple[float, float]  # where the avatar shows it
    confidence: float
    pinned: bool
    locked: bool

    @property
    def title(self) -> str:
        """The name as a sentence begins with it, in the interface's language."""
        text = translated(self.name)
        return text[:1].upper() + text[1:]


def region_matrix(context: bpy.types.Context) -> Any:
    """H (3, 3): px of the photo → px of this region, which looks through the avatar's camera."""
    from ..scene.handles import picture_to_region

    rig = avatar_of(context)
    region, view = context.region, context.space_data.region_3d
    return picture_to_region(rig, camera_of(rig), context.scene, view.perspective_matrix, (region.width, region.height))


def spots(context: bpy.types.Context) -> list[Spot]:
    """The points shown in this view; none while the body is read, or where it makes no sense."""
    from ..scene import handles
    from ..scene.avatar import AvatarError

    settings, rig = settings_of(context), avatar_of(context)
    if settings is None or rig is None:
        return []
    try:
        cache = LIVE.points_if_read(rig, context)
        if cache is None:
            return []
        found = handles.handles(rig, cache, camera_of(rig), context.scene, settings.hands, settings.face)
    except (AvatarError, JobError):
        # A drag says why.
        return []
    matrix = region_matrix(context)
    at = handles.transform(matrix, [handle.place for handle in found]).tolist()
    body_at = handles.transform(matrix, [handle.shown for handle in found]).tolist()
    return [
        Spot(h.point, h.name, h.side, h.group, h.place, tuple(a), tuple(b), h.confidence, h.pinned, h.locked)
        for h, a, b in zip(found, at, body_at, strict=True)
    ]


def spot_at(context: bpy.types.Context, here: tuple[float, float]) -> Spot | None:
    """The point under the pointer, if it is near to one."""
    found = spots(context)
    distances = [math.dist(spot.at, here) for spot in found]
    if not found or min(distances) > GRAB_PX * scale_of(context):
        return None
    return found[distances.index(min(distances))]


def selected_bones(context: bpy.types.Context) -> list[str]:
    """Names of the avatar's bones that are selected in pose mode."""
    from ..scene.pins import JOINT_NAMES

    rig = avatar_of(context)
    if rig is None or context.mode != "POSE":
        return []
    return [b.name for b in context.selected_pose_bones or () if b.id_data == rig and b.name in JOINT_NAMES]


def moves(context: bpy.types.Context) -> bool:
    """Whether the active avatar has a motion of its own, whose frames are corrected one by one."""
    data = avatar_of(context).animation_data
    return data is not None and data.action is not None


def moved_off_photo(rig: bpy.types.Object) -> bool:
    """Whether an avatar or its camera was moved, so that it no longer lies over its photo. Of a camera that turns with
    its clip: False."""
    eye, kept = camera_of(rig), rig[PROPERTY].get(BEFORE_CAMERA)
    if eye is None or kept is None or (eye.animation_data is not None and eye.animation_data.action is not None):
        return False
    values = list(kept)
    built = Matrix([values[k : k + 4] for k in range(0, 16, 4)])
    place, turn, scale = (built.inverted() @ eye.matrix_world.inverted() @ rig.matrix_world).decompose()
    return place.length > MOVED_M or turn.angle > MOVED_RAD or max(abs(side - 1.0) for side in scale) > MOVED_SCALE


def pin_counts(context: bpy.types.Context) -> tuple[int, int]:
    """How many points and how many bones are pinned."""
    from ..scene import pins

    rig = avatar_of(context)
    if rig is None:
        return 0, 0
    return len(pins.pinned_points(rig, context.scene.frame_current)), len(pins.empties(rig))


def locked_limbs(context: bpy.types.Context) -> set[str]:
    """Limbs whose bones are all locked."""
    from ..scene import pins

    rig = avatar_of(context)
    locked = pins.locked(rig) if rig is not None else set()
    return {limb for limb, bones in pins.LIMBS.items() if set(bones) <= locked}


def scale_of(context: bpy.types.Context) -> float:
    """The interface's scale."""
    return float(context.preferences.system.ui_scale)
