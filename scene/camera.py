"""A Blender camera that sees what the photo's camera saw, with the photo behind the avatar."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from . import axes
from .rest import Floats

SENSOR_MM = 36.0
BACKGROUND_LIMIT_PX = 2048  # longer side of an upright copy: a viewport needs no more


@dataclass(frozen=True)
class Placement:
    """Where the photo's camera stands in Blender's world."""

    rotation: Floats  # (3, 3) world from camera (OpenCV axes)
    centre: Floats  # (3,) metres


def place_on_floor(vertices_camera: Floats, pelvis_camera: Floats, rotation: Floats) -> Placement:
    """Where the lowest of `vertices_camera` (V, 3) is on Z = 0 and `pelvis_camera` (3,) over the origin."""
    pelvis = rotation @ pelvis_camera
    lowest = float((vertices_camera @ rotation[2]).min())
    return Placement(rotation, np.array([-pelvis[0], -pelvis[1], -lowest]))


def placement_of(camera: bpy.types.Object) -> Placement:
    """The placement of a camera that exists: several people of one photo share one."""
    rotation, centre = axes.camera_frame(np.array(camera.matrix_world, np.float64))
    return Placement(rotation, centre)


# At Blender's own size a camera's black arrow covers the face of the avatar before it.
DISPLAY_M = 0.2


def new_camera(
    name: str,
    collection: bpy.types.Collection,
    placement: Placement,
    focal_px: float,
    principal_px: NDArray[np.floating],
    image_size: tuple[int, int],
    frame_aspect: float | None = None,
) -> bpy.types.Object:
    """A camera whose frame, at the photo's aspect, is the photo.

    `frame_aspect`: the render's width/height. In a wider frame the photo fills the height, in a taller one the width,
    and projection and background still agree; None: the photo's own.
    """
    data = bpy.data.cameras.new(name)
    match_lens(data, focal_px, principal_px, image_size, frame_aspect)
    data.clip_start = 0.01
    data.clip_end = max(1000.0, 10.0 * float(np.linalg.norm(placement.centre)))
    data.passepartout_alpha = 0.8
    data.display_size = DISPLAY_M
    camera = bpy.data.objects.new(name, data)
    camera.matrix_world = Matrix(axes.camera_object_matrix(placement.rotation, placement.centre))
    camera.lock_scale = (True, True, True)
    collection.objects.link(camera)
    return camera


def match_lens(
    data: bpy.types.Camera,
    focal_px: float,
    principal_px: NDArray[np.floating],
    image_size: tuple[int, int],
    frame_aspect: float | None = None,
) -> None:
    """Lens and shift of a pinhole with `focal_px` and `principal_px` (px from the top left corner).

    Blender counts shift in units of the side that the sensor fits, and a positive shift moves the frame, not the
    picture: right for x, up for y.
    """
    width, height = image_size
    aspect = width / height
    if aspect >= (aspect if frame_aspect is None else frame_aspect) - 1e-4:
        data.sensor_fit, side = "HORIZONTAL", width
    else:
        data.sensor_fit, side = "VERTICAL", height
    data.sensor_width = data.sensor_height = SENSOR_MM
    data.lens = focal_px * SENSOR_MM / side
    data.shift_x = (0.5 * width - float(principal_px[0])) / side
    data.shift_y = (float(principal_px[1]) - 0.5 * height) / side


def lens_of(data: bpy.types.Camera, image_size: tuple[int, int], frame_aspect: float) -> tuple[float, Floats]:
    """The inverse of `match_lens` for a camera as it is now: focal length and principal point (2,) in px of the photo.

    `frame_aspect`: the render's width/height, which counts for a camera whose sensor fits automatically.
    """
    width, height = image_size
    wide = data.sensor_fit == "HORIZONTAL" or (data.sensor_fit == "AUTO" and frame_aspect >= 1.0)
    side = width if wide else height
    sensor = data.sensor_height if data.sensor_fit == "VERTICAL" else data.sensor_width
    principal = np.array([0.5 * width - data.shift_x * side, 0.5 * height + data.shift_y * side])
    return data.lens * side / sensor, principal


def frame_aspect(scene: bpy.types.Scene) -> float:
    """Width/height of the scene's render."""
    render = scene.render
    return (render.resolution_x * render.pixel_aspect_x) / (render.resolution_y * render.pixel_aspect_y)


def set_render_size(scene: bpy.types.Scene, image_size: tuple[int, int]) -> None:
    """Render at the photo's size."""
    render = scene.render
    render.resolution_x, render.resolution_y = image_size
    render.resolution_percentage = 100
    render.pixel_aspect_x = render.pixel_aspect_y = 1.0


def look_instead(old: bpy.types.Object, new: bpy.types.Object) -> None:
    """Let all scenes and views that see through the camera `old` see through `new`, so that `old` may go."""
    for scene in bpy.data.scenes:
        if scene.camera == old:
            scene.camera = new
    for screen in bpy.data.screens:
        for space in (space for area in screen.areas for space in area.spaces if space.type == "VIEW_3D"):
            if space.camera == old:
                space.camera = new


def add_background(camera: bpy.types.Object, image: bpy.types.Image) -> None:
    """Show `image` behind the scene when looking through `camera`."""
    data = camera.data
    data.show_background_images = True
    background = data.background_images.new()
    background.image = image
    background.alpha = 1.0
    background.display_depth = "BACK"
    background.frame_method = "FIT"


def load_photo(path: str | Path, exif_orientation: int, upright_copy: str = "") -> bpy.types.Image | None:
    """The photo as an upright image; None if Blender can't read it.

    Blender ignores EXIF orientation, so a turned photo becomes a packed upright copy of at most
    `BACKGROUND_LIMIT_PX`; an upright one stays a link to its file. `upright_copy`: such a copy's file, where the solver
    wrote one, as turning a large photo here takes most of a second, and some kinds of files Blender can't read.
    """
    if upright_copy and Path(upright_copy).is_file():
        image = bpy.data.images.load(upright_copy, check_existing=False)
        image.pack()
        image.name, image.filepath = Path(path).name, ""
        return image
    try:
        image = bpy.data.images.load(str(path), check_existing=exif_orientation == 1)
    except RuntimeError:
        return None
    if image.size[0] == 0 or image.size[1] == 0:
        bpy.data.images.remove(image)
        return None
    if exif_orientation == 1:
        if bpy.data.filepath and bpy.context.preferences.filepaths.use_relative_paths:
            with contextlib.suppress(ValueError):  # another drive than the file's
                image.filepath = bpy.path.relpath(image.filepath)
        return image
    limit = max(image.size)
    if limit > BACKGROUND_LIMIT_PX:
        image.scale(*(max(1, round(side * BACKGROUND_LIMIT_PX / limit)) for side in image.size))
    pixels = upright(image_pixels(image), exif_orientation)
    copy = bpy.data.images.new(image.name, pixels.shape[1], pixels.shape[0])
    copy.pixels.foreach_set(np.ascontiguousarray(pixels[::-1], np.float32).ravel())
    copy.pack()
    bpy.data.images.remove(image)
    return copy


def image_pixels(image: bpy.types.Image) -> NDArray[np.float32]:
    """An image's pixels (H, W, 4), first row on top, as stored (no colour management)."""
    width, height = image.size
    flat = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(flat)
    pixels = flat.reshape(height, width, image.channels)[::-1]
    if image.channels == 4:
        return pixels
    filled = np.ones((height, width, 4), np.float32)
    filled[..., :3] = pixels[..., :3] if image.channels == 3 else pixels[..., :1]
    return filled


def upright(pixels: NDArray[np.float32], exif_orientation: int) -> NDArray[np.float32]:
    """Pixels (H, W, C) of a file with this EXIF orientation (1…8, TIFF 6.0 tag 274), turned upright."""
    turned = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: p.transpose(1, 0, 2)[:, ::-1],
        7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda p: p.transpose(1, 0, 2)[::-1],
    }.get(exif_orientation)
    return pixels if turned is None else turned(pixels)
