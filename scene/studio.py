"""A scene of its own to render avatars in, which leaves the user's scene as it was. Cycles on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from . import versions
from .camera import image_pixels
from .rest import Floats

Picture = NDArray[np.float32]  # (H, W, 4) display values 0…1, straight alpha, first row on top


@dataclass(frozen=True)
class Quality:
    """How a picture is rendered."""

    samples: int = 8
    denoise: bool = True
    threads: int = 0  # 0: all


class Studio:
    """A temporary scene; a context manager that removes on exit what it made."""

    def __init__(self, quality: Quality | None = None) -> None:
        self._quality = quality or Quality()
        self._made: list[bpy.types.ID] = []

    def __enter__(self) -> Studio:
        scene = bpy.data.scenes.new("Pantomime studio")
        self.scene = scene
        quality = self._quality
        scene.render.engine = "CYCLES"
        cycles: Any = scene.cycles
        cycles.device = "CPU"
        cycles.samples = quality.samples
        cycles.use_adaptive_sampling = True
        cycles.use_denoising = quality.denoise
        # A third of the time of the defaults, and no difference to be seen at these sizes.
        cycles.denoising_prefilter = "NONE"
        cycles.denoising_quality = "FAST"
        cycles.max_bounces = 4
        cycles.seed = 0
        if quality.threads:
            scene.render.threads_mode, scene.render.threads = "FIXED", quality.threads
        scene.view_settings.view_transform = "Standard"
        scene.view_settings.look = "None"
        versions.compositing_off(scene)
        world = self.keep(bpy.data.worlds.new("Pantomime studio"))
        scene.world = world
        if world.node_tree is None:
            world.use_nodes = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        bpy.data.scenes.remove(self.scene)
        bpy.data.batch_remove(self._made)

    def keep(self, data: Any) -> Any:
        """Have `data` removed with the studio."""
        self._made.append(data)
        return data

    def ambient(self, colour: tuple[float, float, float], strength: float) -> None:
        """Even light from all around."""
        background = next(n for n in self.scene.world.node_tree.nodes if n.type == "BACKGROUND")
        background.inputs["Color"].default_value = (*colour, 1.0)
        background.inputs["Strength"].default_value = strength

    def show(self, collections: Iterable[bpy.types.Collection]) -> None:
        """Link avatars' collections; the user's scene keeps them too."""
        for collection in collections:
            self.scene.collection.children.link(collection)

    def add(self, name: str, data: Any, matrix: Matrix | None = None) -> bpy.types.Object:
        """A temporary object with `data`, which is temporary too."""
        obj = self.keep(bpy.data.objects.new(name, data))
        self.keep(data)
        if matrix is not None:
            obj.matrix_world = matrix
        self.scene.collection.objects.link(obj)
        return obj

    def light(self, position: Floats, target: Floats, power_w: float, size_m: float, colour: Any = (1, 1, 1)) -> None:
        """A square area light at `position` (3,) that shines at `target` (3,)."""
        data = bpy.data.lights.new("Light", "AREA")
        data.energy, data.size, data.color = power_w, size_m, colour
        self.add("Light", data, look_at(position, target))

    def three_lights(self, target: Floats, towards_viewer: Floats, size_m: float) -> None:
        """Soft key, fill and rim for a subject of `size_m` at `target`, seen from `towards_viewer` (3,)."""
        front = np.array([towards_viewer[0], towards_viewer[1], 0.0])
        front = front / max(float(np.linalg.norm(front)), 1e-9)
        side, up = np.array([-front[1], front[0], 0.0]), np.array([0.0, 0.0, 1.0])
        # An area light's power for the same brightness grows with the square of its distance.
        unit = size_m**2
        self.light(target + size_m * (1.6 * front - 1.3 * side + 1.5 * up), target, 70.0 * unit, 1.3 * size_m)
        self.light(target + size_m * (1.5 * front + 1.8 * side + 0.3 * up), target, 22.0 * unit, 1.6 * size_m)
        self.light(target + size_m * (-1.5 * front + 1.2 * side + 1.6 * up), target, 50.0 * unit, 1.0 * size_m)
        self.ambient((1.0, 1.0, 1.0), 0.35)

    def backdrop(
        self, target: Floats, towards_viewer: Floats, size_m: float, colour: tuple[float, float, float]
    ) -> None:
        """A floor at Z = 0 that curves up into a wall behind the subject, as in a photographer's studio."""
        radius, steps, width = 1.2 * size_m, 24, 14.0 * size_m
        angles = np.linspace(0.0, np.pi / 2, steps)
        back = 1.3 * size_m
        depth = np.concatenate([[-12.0 * size_m], back + radius * np.sin(angles), [back + radius]])
        height = np.concatenate([[0.0], radius * (1.0 - np.cos(angles)), [8.0 * size_m]])
        front = np.array([towards_viewer[0], towards_viewer[1], 0.0])
        front = front / max(float(np.linalg.norm(front)), 1e-9)
        side = np.array([-front[1], front[0], 0.0])
        base = np.array([target[0], target[1], 0.0])
        profile = base - depth[:, None] * front + height[:, None] * np.array([0.0, 0.0, 1.0])
        points = np.concatenate([profile - width * side, profile + width * side])
        n = len(profile)
        faces = [(i, i + 1, n + i + 1, n + i) for i in range(n - 1)]
        mesh = bpy.data.meshes.new("Backdrop")
        mesh.from_pydata(points.tolist(), [], faces)
        mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), np.bool_))
        mesh.materials.append(self.matt("Backdrop", colour))
        self.add("Backdrop", mesh)

    def matt(self, name: str, colour: tuple[float, float, float], roughness: float = 0.9) -> bpy.types.Material:
        """A temporary matt material."""
        from .materials import plain_nodes

        material = self.keep(bpy.data.materials.new(name))
        plain_nodes(material, colour, roughness)
        return material

    def camera(self, position: Floats, target: Floats, field_of_view_rad: float) -> bpy.types.Object:
        """A camera at `position` that looks at `target`; the field is the frame's height's."""
        data = bpy.data.cameras.new("Camera")
        data.sensor_fit = "VERTICAL"
        data.angle = field_of_view_rad
        data.clip_end = 1000.0
        return self.add("Camera", data, look_at(position, target))

    def render(self, camera: bpy.types.Object, size: tuple[int, int], transparent: bool) -> Picture:
        """What `camera` sees, `size` = (width, height) in px."""
        scene = self.scene
        scene.camera = camera
        scene.render.resolution_x, scene.render.resolution_y = size
        scene.render.resolution_percentage = 100
        scene.render.film_transparent = transparent
        scene.render.image_settings.file_format = "PNG"
        scene.render.image_settings.color_mode = "RGBA"
        scene.render.image_settings.color_depth = "8"
        with tempfile.TemporaryDirectory(prefix="pantomime") as folder:
            path = str(Path(folder) / "render.png")
            scene.render.filepath = path
            bpy.ops.render.render(write_still=True, scene=scene.name)
            image = bpy.data.images.load(path, check_existing=False)
            try:
                return image_pixels(image).copy()
            finally:
                bpy.data.images.remove(image)


def look_at(position: Floats, target: Floats) -> Matrix:
    """World matrix of a camera or light at `position` whose −Z points at `target`, upright."""
    direction = Vector(np.asarray(target, float) - np.asarray(position, float))
    return Matrix.Translation(Vector(position)) @ direction.to_track_quat("-Z", "Y").to_matrix().to_4x4()


def save_picture(picture: Picture, path: str | Path) -> None:
    """Write a picture as PNG."""
    height, width = picture.shape[:2]
    image = bpy.data.images.new("Pantomime picture", width, height, alpha=True)
    try:
        image.pixels.foreach_set(np.ascontiguousarray(picture[::-1], np.float32).ravel())
        image.file_format = "PNG"
        image.filepath_raw = str(path)
        image.save()
    finally:
        bpy.data.images.remove(image)
