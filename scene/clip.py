"""A clip behind the avatar: the frame that was captured at the scene's frame where it is keyed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.media.files import MediaError, numbered_pictures
from . import versions
from .camera import add_background


def load_clip(path: str) -> bpy.types.Image | None:
    """A video file, or a folder of numbered pictures, as an image that moves; None if Blender can't read it."""
    source = Path(path)
    if source.is_dir():
        try:
            pictures = numbered_pictures(source)
        except MediaError:
            return None
        if not pictures:
            return None
        source = pictures[0]
    try:
        image = bpy.data.images.load(str(source), check_existing=True)
    except RuntimeError:
        return None
    if image.size[0] == 0:
        bpy.data.images.remove(image)
        return None
    if Path(path).is_dir():
        image.source = "SEQUENCE"
    return image


def _first_number(image: bpy.types.Image) -> int:
    """How Blender counts a clip's first frame: of a video 1, of pictures the number in the first one's name."""
    digits = re.search(r"(\d+)\D*$", Path(image.filepath).stem) if image.source == "SEQUENCE" else None
    return int(digits[1]) if digits is not None else 1


def add_clip(
    camera: bpy.types.Object,
    image: bpy.types.Image,
    indices: NDArray[np.integer],
    times_s: NDArray[np.floating],
    first_frame: float,
    frames_per_second: float,
    turned_deg: int = 0,
) -> None:
    """Show the clip behind the scene, in step with the keys.

    turned_deg: by how much the file's metadata turns it clockwise, 0, 90, 180 or 270.

    Frame `indices[k]` of the clip (from 0) was captured at `times_s[k]`, which lies at the scene's frame
    `first_frame` + time × rate. Blender shows one frame of a clip at each frame of the scene, shifted by an offset:
    where the rates differ, the offset is keyed.
    """
    add_background(camera, image)
    background = camera.data.background_images[-1]
    if not versions.TURNS_CLIPS and turned_deg:
        # It lies: Blender fits the picture as it is stored into the frame, and turns it then.
        background.rotation = math.radians(turned_deg)
        background.scale = max(image.size) / min(image.size) if turned_deg % 180 else 1.0
    user = background.image_user
    span = float(times_s[-1] - times_s[0])
    clip_rate = float(indices[-1] - indices[0]) / span if span > 0 else frames_per_second
    start = first_frame + float(times_s[0]) * frames_per_second
    end = start + span * frames_per_second
    first_number = _first_number(image)
    user.frame_start = round(start)
    slow = clip_rate < frames_per_second
    if slow:
        # The offset shrinks, from 0 on: Blender cuts it off to a whole number towards 0, so it must not pass that.
        user.frame_start -= max(0, first_number - 1 + int(indices[0]))
    # Beyond it Blender counts no further. Of the scene's frames: a slow clip lasts more of them than it has.
    user.frame_duration = max(int(image.frame_duration), int(indices[-1]) + 1, math.ceil(end) - user.frame_start + 1)
    user.use_auto_refresh = True

    def offset(frame: float) -> float:
        """So that (frame − frame_start + 1) + offset is the number of the clip's frame, as Blender counts."""
        number = first_number + float(indices[0]) + (frame - start) * clip_rate / frames_per_second
        return number - (frame - user.frame_start + 1)

    user.frame_offset = math.floor(offset(start) + 0.5)
    if abs(offset(end) - offset(start)) < 0.5:
        return
    index = len(camera.data.background_images) - 1
    curves = versions.channel_curves(bpy.data.actions.new(f"{camera.name} clip"), camera.data)
    path = f"background_images[{index}].image_user.frame_offset"
    values = np.array([offset(start), offset(end)]) + (-0.5 if slow else 0.5)
    curve = versions.key_curve(curves, path, 0, "", np.array([start, end]), values)
    curve.extrapolation = "LINEAR"
