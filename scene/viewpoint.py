"""An avatar's camera, with what it was captured from behind it: a photo, or a clip in step with the keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import bpy
import numpy as np

from ..core.capture import Capture
from . import action, camera, clip
from .steps import MORE, Steps

if TYPE_CHECKING:
    from .avatar import Avatar, AvatarSettings


def add_camera(
    avatar: Avatar,
    capture: Capture,
    settings: AvatarSettings,
    scene: bpy.types.Scene,
    placement: camera.Placement,
    timing: action.AnimationSettings | None,
) -> Steps[None]:
    """Give the avatar the camera that the settings ask for. timing: of a motion's keys; None for a photo. In steps."""
    if settings.set_render_size:
        camera.set_render_size(scene, capture.image_size)
    if avatar.camera is not None:
        # Another person's of the clip, who may be there at other times.
        if timing is not None and action.turn_curves(avatar.camera):
            action.turn_camera(avatar.camera, capture, placement, timing)
        return
    if not settings.make_camera:
        return
    avatar.camera = camera.new_camera(
        f"{avatar.collection.name} camera",
        avatar.collection,
        placement,
        capture.focal_px,
        capture.principal_px,
        capture.image_size,
        camera.frame_aspect(scene),
    )
    yield MORE
    if timing is not None:
        action.turn_camera(avatar.camera, capture, placement, timing)
    if settings.background and timing is not None:
        _add_clip(avatar, settings.photo or capture.source, capture, timing)
    elif settings.background:
        _add_photo(avatar, settings, capture)
    yield MORE


def _add_photo(avatar: Avatar, settings: AvatarSettings, capture: Capture) -> None:
    path, turned = settings.photo or capture.source, capture.source_exif_orientation
    if not path:
        return
    image = camera.load_photo(path, turned, settings.upright_copy) if Path(path).is_file() else None
    if image is None:
        avatar.warnings.append(
            f"The photo {path} can't be shown behind the avatar. Choose it again in the camera's settings."
        )
    else:
        camera.add_background(avatar.camera, image)


def _add_clip(avatar: Avatar, path: str, capture: Capture, timing: action.AnimationSettings) -> None:
    if not path:
        return
    image = clip.load_clip(path) if Path(path).exists() else None
    if image is None:
        avatar.warnings.append(
            f"The clip {path} can't be shown behind the avatar. Choose it again in the camera's settings."
        )
        return
    times = capture.frame_times_s
    indices = capture.frame_indices if len(capture.frame_indices) else np.arange(capture.num_frames)
    turned = capture.diagnostics.get("clip_turned_deg", 0)
    clip.add_clip(
        avatar.camera, image, indices, times, timing.first_frame, timing.frames_per_second,
        turned if isinstance(turned, int) else 0,
    )  # fmt: skip
