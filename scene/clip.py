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

ALMOST_HALF = 0.49  # of a picture
BETWEEN_RUNS = 0.01  # frames: two keys can't lie on one
MOST_NUMBER = 1_000_000  # of a picture, that Blender's frames reach; names of some cameras are times in nanoseconds


def load_clip(path: str) -> bpy.types.Image | None:
    """A video file, or a folder of numbered pictures, as an image that moves; None if Blender can't read it, or can't
    count as far as its pictures' numbers."""
    source = Path(path)
    if source.is_dir():
        try:
            pictures = numbered_pictures(source)
        except MediaError:
            return None
        if not pictures or max(_number(picture) or 0 for picture in pictures) > MOST_NUMBER:
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


def _number(picture: Path) -> int | None:
    """The last one in its name."""
    digits = re.search(r"(\d+)\D*$", picture.stem)
    return int(digits[1]) if digits is not None else None


def _numbers(image: bpy.types.Image, least: int) -> NDArray[np.int64]:
    """How Blender counts the frames of a clip, `least` of them or more: of a video from 1 on, pictures by the numbers
    in their names, which may begin anywhere and leave some out."""
    if image.source != "SEQUENCE":
        return np.arange(1, max(int(image.frame_duration), least) + 1)
    found = [_number(picture) for picture in numbered_pictures(Path(bpy.path.abspath(image.filepath)).parent)]
    numbers = np.array([k + 1 if number is None else number for k, number in enumerate(found)], np.int64)
    return np.append(numbers, numbers[-1] + 1 + np.arange(least - len(numbers)))


def add_clip(
    camera: bpy.types.Object,
    image: bpy.types.Image,
    indices: NDArray[np.integer],
    times_s: NDArray[np.floating],
    first_frame: float,
    frames_per_second: float,
    turned_deg: int = 0,
) -> None:
    """Show the clip behind the scene, in step with the keys, and before and after them, when others may be there.

    turned_deg: by how much the file's metadata turns it clockwise, 0, 90, 180 or 270.

    Frame `indices[k]` of the clip (from 0) was captured at `times_s[k]`, which lies at the scene's frame
    `first_frame` + time × rate. Blender shows one frame of a clip at each frame of the scene, shifted by an offset:
    where the rates differ, or pictures' numbers leave some out, the offset is keyed.
    """
    add_background(camera, image)
    background = camera.data.background_images[-1]
    if not versions.TURNS_CLIPS and turned_deg:
        # It lies: Blender fits the picture as it is stored into the frame, and turns it then.
        background.rotation = math.radians(turned_deg)
        background.scale = max(image.size) / min(image.size) if turned_deg % 180 else 1.0
    user = background.image_user
    span, captured = float(times_s[-1] - times_s[0]), int(indices[-1] - indices[0])
    # Frames of the scene to one of the clip, and where its first one belongs.
    each = span * frames_per_second / captured if captured else 1.0
    start = first_frame + float(times_s[0]) * frames_per_second - int(indices[0]) * each
    numbers = _numbers(image, int(indices[-1]) + 1)
    last = len(numbers) - 1
    end = start + last * each

    # Runs of pictures without a gap in their numbers: each from half a picture before its first to half a picture after
    # its last, where numbers that are rounded do not yet reach into the gap.
    gaps = np.flatnonzero(np.diff(numbers) != 1)
    runs = (0, *(gaps + 0.5)), (*(gaps + 0.5), last)
    counted = (numbers[0], *(numbers[gaps + 1] - ALMOST_HALF)), (*(numbers[gaps] + ALMOST_HALF), numbers[last])
    frames = start + np.array(runs) * each
    # So that (frame − frame_start + 1) + offset is the number of the clip's frame, as Blender counts.
    user.frame_start = round(start)
    offsets = np.array(counted) - (frames - user.frame_start + 1)
    if np.ptp(offsets) < 0.5:
        user.frame_offset = math.floor(float(offsets[0, 0]) + 0.5)
    else:
        # Blender cuts keyed offsets off to whole numbers towards 0: where all are below it, −0.5 rounds them.
        shift = max(0, math.ceil(float(offsets.max())))
        user.frame_start -= shift
        index = len(camera.data.background_images) - 1
        curves = versions.channel_curves(bpy.data.actions.new(f"{camera.name} clip"), camera.data)
        path = f"background_images[{index}].image_user.frame_offset"
        frames[1, :-1] -= BETWEEN_RUNS
        held = 2 * np.arange(len(gaps)) + 1
        values = offsets.T.ravel() - shift - 0.5
        versions.key_curve(curves, path, 0, "", frames.T.ravel(), values, held).extrapolation = "LINEAR"
    # Beyond it Blender counts no further. Of the scene's frames: a slow clip lasts more of them than it has.
    user.frame_duration = max(last + 1, math.ceil(end) - user.frame_start + 1)
    user.use_auto_refresh = True
