"""The picture that sums up a result: photo | avatar over the photo | avatar from the side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np

from ..core.capture import Capture
from .avatar import Avatar
from .camera import image_pixels, load_photo
from .rest import Floats
from .studio import Picture, Quality, Studio, save_picture

BACKDROP = (0.42, 0.44, 0.46)
SIDE_ASPECT = (0.55, 1.0)  # width/height of the side view, at least and at most
OPACITY = 0.92


def render_overview(
    avatars: Avatar | Sequence[Avatar],
    capture: Capture,
    path: str | Path,
    height_px: int = 640,
    quality: Quality | None = None,
) -> None:
    """Write photo | avatar over the photo | avatar from the side, of equal height, to `path` (PNG).

    `avatars` share the first one's camera; `capture` names the photo. Where the photo can't be read, the
    first panel is left out and the overlay is over plain grey. Nothing in the user's scene is changed.
    """
    people = [avatars] if isinstance(avatars, Avatar) else list(avatars)
    width, height = capture.image_size
    size = (max(1, round(height_px * width / height)), height_px)
    photo = photo_pixels(capture.source, capture.source_exif_orientation, size)
    overlay = over(render_overlay(people, size, quality), plain(size, 0.75) if photo is None else photo, OPACITY)
    panels = [overlay, render_side(people, height_px, quality)]
    if photo is not None:
        panels.insert(0, photo)
    gap = plain((max(2, height_px // 80), height_px), 1.0)
    joined = [panels[0]]
    for panel in panels[1:]:
        joined += [gap, panel]
    save_picture(np.concatenate(joined, axis=1), path)


def render_overlay(avatars: Sequence[Avatar], size: tuple[int, int], quality: Quality | None = None) -> Picture:
    """The avatars alone through the matched camera, transparent around them."""
    camera = avatars[0].camera
    if camera is None:
        raise ValueError("the first avatar has no camera")
    low, high = bounds(avatars)
    with Studio(quality) as studio:
        studio.show(avatar.collection for avatar in avatars)
        centre = 0.5 * (low + high)
        towards = np.array(camera.matrix_world.translation, np.float64) - centre
        studio.three_lights(centre, towards, max(1.0, float((high - low).max())))
        return studio.render(camera, size, transparent=True)


def render_side(avatars: Sequence[Avatar], height_px: int, quality: Quality | None = None) -> Picture:
    """The avatars before a backdrop, from the photo camera's right."""
    low, high = bounds(avatars)
    camera = avatars[0].camera
    view = np.array([0.0, -1.0, 0.0])
    if camera is not None:
        view = np.array(camera.matrix_world.to_3x3().col[2], np.float64) * (1.0, 1.0, 0.0)
        view = view / max(float(np.linalg.norm(view)), 1e-9)
    side = np.array([-view[1], view[0], 0.0])
    return render_from(avatars, side + 0.12 * view, height_px, quality, SIDE_ASPECT, low, high)


def render_from(
    avatars: Sequence[Avatar],
    towards_viewer: Floats,
    height_px: int,
    quality: Quality | None = None,
    aspect_limits: tuple[float, float] = SIDE_ASPECT,
    low: Floats | None = None,
    high: Floats | None = None,
) -> Picture:
    """The avatars before a backdrop, seen from the direction `towards_viewer` (3,), all of them in the frame."""
    if low is None or high is None:
        low, high = bounds(avatars)
    towards = towards_viewer / np.linalg.norm(towards_viewer)
    across = np.cross(np.array([0.0, 0.0, 1.0]), towards)
    across = across / max(float(np.linalg.norm(across)), 1e-9)
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    wide, tall = float(np.ptp(corners @ across)), float(high[2] - low[2])
    aspect = float(np.clip(1.15 * wide / max(1.15 * tall, 1e-3), *aspect_limits))
    frame = 1.15 * max(tall, wide / aspect)
    centre = 0.5 * (low + high)
    field = np.radians(24.0)
    with Studio(quality) as studio:
        studio.show(avatar.collection for avatar in avatars)
        distance = 0.5 * frame / np.tan(0.5 * field) + 0.5 * float(np.ptp(corners @ towards))
        viewer = studio.camera(centre + distance * towards, centre, field)
        size = max(0.5, frame / 1.15)
        studio.three_lights(centre, towards, size)
        studio.backdrop(centre, towards, size, BACKDROP)
        return studio.render(viewer, (max(1, round(height_px * aspect)), height_px), transparent=False)


def bounds(avatars: Sequence[Avatar]) -> tuple[Floats, Floats]:
    """Corners (3,), (3,) of the box around the avatars as Blender deforms them, world space."""
    points = np.concatenate([world_vertices(avatar.mesh) for avatar in avatars])
    return points.min(axis=0), points.max(axis=0)


def world_vertices(obj: bpy.types.Object, scene: bpy.types.Scene | None = None) -> Floats:
    """Vertices (V, 3) of an object as Blender deforms it, world space. `scene`: one that has it; None: the window's."""
    layer = bpy.context.view_layer if scene is None or scene == bpy.context.scene else scene.view_layers[0]
    layer.update()
    evaluated = obj.evaluated_get(layer.depsgraph)
    flat = np.empty(len(evaluated.data.vertices) * 3, np.float32)
    evaluated.data.vertices.foreach_get("co", flat)
    matrix = np.array(evaluated.matrix_world, np.float64)
    return flat.reshape(-1, 3).astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def photo_pixels(photo: str | Path, exif_orientation: int, size: tuple[int, int]) -> Picture | None:
    """The photo, upright, at `size`; None if it can't be read."""
    if not Path(photo).is_file():
        return None
    image = load_photo(photo, exif_orientation)
    if image is None:
        return None
    scaled = image.copy()
    try:
        scaled.scale(*size)
        pixels = image_pixels(scaled).copy()
    finally:
        bpy.data.images.remove(scaled)
        if image.users == 0:
            bpy.data.images.remove(image)
    pixels[..., 3] = 1.0
    return pixels


def plain(size: tuple[int, int], value: float) -> Picture:
    """An even grey picture."""
    picture = np.full((size[1], size[0], 4), value, np.float32)
    picture[..., 3] = 1.0
    return picture


def over(front: Picture, back: Picture, opacity: float = 1.0) -> Picture:
    """`front` over `back`, display values."""
    alpha = front[..., 3:] * opacity
    result = np.ones_like(back)
    result[..., :3] = front[..., :3] * alpha + back[..., :3] * (1.0 - alpha)
    return result
