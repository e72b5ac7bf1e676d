"""A clip behind the avatar: the frame that was captured at the scene's frame where it is keyed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import bpy
import numpy as np
from numpy.typing import NDArray

from . import versions
from .camera import add_background

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")


def load_clip(path: str) -> bpy.types.Image | None:
    """A video file, or a folder of numbered pictures, as an image that moves; None if Blender can't read it."""
    source = Path(path)
    if source.is_dir():
        pictures = sorted((p for p in source.iterdir() if p.suffix.lower() in PICTURES), key=_natural)
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


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Numbers by their value: 2 before 10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", path.name)]


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
    user.frame_start = round(start)
    user.frame_duration = max(int(image.frame_duration), int(indices[-1]) + 1)
    user.use_auto_refresh = True

    def offset(frame: float) -> float:
        """So that (frame − start + 1) + offset is the number of the clip's frame, from 1."""
        return float(indices[0]) + (frame - start) * (clip_rate / frames_per_second - 1.0)

    user.frame_offset = int(offset(start))
    end = start + span * frames_per_second
    if abs(offset(end) - offset(start)) < 0.5:
        return
    index = len(camera.data.background_images) - 1
    curves = versions.channel_curves(bpy.data.actions.new(f"{camera.name} clip"), camera.data)
    path = f"background_images[{index}].image_user.frame_offset"
    # Blender cuts the value off to a whole number.
    values = np.array([offset(start), offset(end)]) + 0.5
    curve = versions.key_curve(curves, path, 0, "", np.array([start, end]), values)
    curve.extrapolation = "LINEAR"
