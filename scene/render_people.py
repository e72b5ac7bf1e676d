"""Pictures of people whose body is known: labels in, photos out. Cycles on the CPU, about two seconds each.

A label (`core.body.bench_labels`) holds the posed surface, the camera and what stands in the way; skin, clothes, light
and the room are drawn here from the label's seed and index, so that equal labels give equal pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from . import axes
from .materials import Colour, Nodes
from .mesh import new_mesh
from .people_look import as_colour, draw_look, dress, grow_hair, patterned, person_fields
from .rest import Floats
from .studio import Quality, Studio, look_at

SENSOR_MM = 36.0
DEFAULT_QUALITY = Quality(samples=3, denoise=True, threads=1)
# A clip has many frames: one sample and the denoiser keep what a detector looks at, in a second each.
CLIP_QUALITY = Quality(samples=1, denoise=True, threads=1)
_LOOK_STREAM = 7  # the label's own draws use other streams


@dataclass(frozen=True)
class Shot:
    """What a picture needs of a label. Camera frame: OpenCV, metres; world: y up, floor at y = 0."""

    seed: int
    index: int
    image_size: tuple[int, int]
    focal_px: float
    T_camera_world: Floats  # (4, 4)
    vertices: NDArray[np.float32]  # (V, 3) camera frame
    object_vertices: NDArray[np.float32]  # (M, 3) camera frame
    object_quads: NDArray[np.int32]  # (Q, 4)
    object_ids: NDArray[np.int32]  # (Q,)

    @classmethod
    def load(cls, path: str | Path) -> Shot:
        """Read what is needed of a label's file."""
        with np.load(path, allow_pickle=False) as data:
            width, height = data["image_size"]
            return cls(
                int(data["seed"]),
                int(data["index"]),
                (int(width), int(height)),
                float(data["focal_px"]),
                np.asarray(data["T_camera_world"], np.float64),
                data["vertices"],
                data["object_vertices"],
                data["object_quads"],
                data["object_ids"],
            )

    @property
    def world_from_camera(self) -> tuple[Floats, Floats]:
        """Rotation (3, 3) from the camera's frame to Blender's world, and the camera's centre (3,) there."""
        rotation = self.T_camera_world[:3, :3].T
        centre = -rotation @ self.T_camera_world[:3, 3]
        return axes.BODY_TO_BLENDER @ rotation, axes.body_to_blender(centre)

    def to_world(self, points: NDArray[np.floating]) -> Floats:
        """Camera frame → Blender's world, (N, 3)."""
        rotation, centre = self.world_from_camera
        return np.asarray(points, np.float64) @ rotation.T + centre


def render_shot(shot: Shot, body: BodyModel, path: str | Path, quality: Quality = DEFAULT_QUALITY) -> None:
    """Write the picture (JPEG)."""
    rng = np.random.default_rng([shot.seed, shot.index, _LOOK_STREAM])
    person = shot.to_world(shot.vertices)
    with Studio(quality) as studio:
        mesh = new_mesh("Person", body, person)
        for material in dress(mesh, body, draw_look(rng), "Person"):
            studio.keep(material)
        studio.add("Person", mesh)
        camera = _surroundings(studio, rng, shot, person)
        _render(studio, camera, shot.image_size, Path(path))


def render_clip(
    shot: Shot,
    frames: Iterable[NDArray[np.floating]],
    body: BodyModel,
    folder: Path,
    quality: Quality = CLIP_QUALITY,
) -> Iterator[Path]:
    """Write FOLDER/NNNN.jpg for each surface (V, 3) of `frames`, camera frame; only the person moves.

    The shot's own vertices (any number) say where the person goes: nothing else is put there.
    """
    rng = np.random.default_rng([shot.seed, shot.index, _LOOK_STREAM])
    look = draw_look(rng)
    hair = person_fields(body, look)["hair"]
    with Studio(quality) as studio:
        studio.scene.render.use_persistent_data = True
        mesh, camera = None, None
        for number, vertices in enumerate(frames):
            person = shot.to_world(vertices)
            if mesh is None:
                mesh = new_mesh("Person", body, person)
                for material in dress(mesh, body, look, "Person"):
                    studio.keep(material)
                studio.add("Person", mesh)
                camera = _surroundings(studio, rng, shot, shot.to_world(shot.vertices))
            else:
                mesh.vertices.foreach_set("co", person.astype(np.float32).ravel())
                mesh.update()
                grow_hair(mesh, hair, look.hair_m)
            path = folder / f"{number:04d}.jpg"
            _render(studio, camera, shot.image_size, path)
            yield path


def _surroundings(studio: Studio, rng: np.random.Generator, shot: Shot, person: Floats) -> bpy.types.Object:
    """Things, room and light around a person (N, 3); the camera."""
    for number in np.unique(shot.object_ids):
        quads = shot.object_quads[shot.object_ids == number]
        _add_thing(studio, rng, shot.to_world(shot.object_vertices), quads)
    room = Room(studio, rng, shot, person)
    room.build()
    _light(studio, rng, room)
    return _camera(studio, shot)


def _camera(studio: Studio, shot: Shot) -> bpy.types.Object:
    rotation, centre = shot.world_from_camera
    data = bpy.data.cameras.new("Camera")
    width, height = shot.image_size
    data.sensor_fit = "HORIZONTAL" if width >= height else "VERTICAL"
    data.sensor_width = data.sensor_height = SENSOR_MM
    data.lens = shot.focal_px / max(width, height) * SENSOR_MM
    data.clip_start, data.clip_end = 0.02, 500.0
    return studio.add("Camera", data, Matrix(axes.camera_object_matrix(rotation, centre)))


def _render(studio: Studio, camera: bpy.types.Object, size: tuple[int, int], path: Path) -> None:
    scene = studio.scene
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = False
    scene.render.image_settings.file_format = "JPEG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.image_settings.quality = 92
    scene.render.filepath = str(path)
    cycles: Any = scene.cycles
    # One bounce, few samples and the fast denoiser: what a detector looks at is there, in a third of the time.
    cycles.max_bounces = 1
    cycles.use_adaptive_sampling = False
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO", "NONE"
    if hasattr(cycles, "denoising_quality"):
        cycles.denoising_quality = "FAST"
    bpy.ops.render.render(write_still=True, scene=scene.name)
    path.write_bytes(without_comments(path.read_bytes()))


def without_comments(jpeg: bytes) -> bytes:
    """A JPEG file without its comments: dates and render times make equal pictures differ."""
    kept, place = [jpeg[:2]], 2
    while jpeg[place + 1] != 0xDA:  # start of scan: the picture itself, to the end
        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
        if jpeg[place + 1] != 0xFE:
            kept.append(jpeg[place:end])
        place = end
    return b"".join([*kept, jpeg[place:]])


def _material(studio: Studio, rng: np.random.Generator, scale: tuple[float, float] = (1.0, 12.0)) -> bpy.types.Material:
    """Any matt or slightly shiny stuff in any pattern."""
    material = studio.keep(bpy.data.materials.new("Stuff"))
    nodes = Nodes(material)
    where = nodes.node("ShaderNodeTexCoord").outputs["Object"]
    first = rng.choice([0.05, 0.25, 0.6]) * rng.uniform(0.4, 1.2, 3)
    second = np.clip(first * rng.uniform(0.3, 1.6) + rng.uniform(-0.05, 0.1, 3), 0.0, 0.9)
    colours: tuple[Colour, Colour] = (as_colour(first), as_colour(second))
    pattern = str(rng.choice(["plain", "noise", "noise", "stripes", "checks", "bricks"]))
    size = float(np.exp(rng.uniform(np.log(scale[0]), np.log(scale[1]))))
    nodes.finish(
        {"Base Color": patterned(nodes, where, colours, pattern, size), "Roughness": float(rng.uniform(0.3, 0.95))}
    )
    return material


def _add_thing(studio: Studio, rng: np.random.Generator, vertices: Floats, quads: NDArray[np.int32]) -> None:
    used = np.unique(quads)
    centre = vertices[used].mean(0)
    mesh = bpy.data.meshes.new("Thing")
    mesh.from_pydata((vertices[used] - centre).tolist(), [], np.searchsorted(used, quads).tolist())
    mesh.materials.append(_material(studio, rng, (3.0, 25.0)))
    studio.add("Thing", mesh, Matrix.Translation(centre.tolist()))


class Room:
    """Floor, walls and clutter around a person: nothing of it comes between camera and person."""

    def __init__(self, studio: Studio, rng: np.random.Generator, shot: Shot, person: Floats) -> None:
        self.studio, self.rng, self.shot = studio, rng, shot
        rotation, self.eye = shot.world_from_camera
        ahead = rotation[:, 2] * np.array([1.0, 1.0, 0.0])
        self.ahead = ahead / max(float(np.linalg.norm(ahead)), 1e-6)  # horizontal view direction
        self.right = np.array([self.ahead[1], -self.ahead[0], 0.0])
        depth = (person - self.eye) @ self.ahead
        self.near, self.far = float(depth.min()), float(depth.max())
        self.middle = 0.5 * (person.min(0) + person.max(0))
        self.spread = 0.5 * max(shot.image_size) / shot.focal_px  # half the field's tangent

    def build(self) -> None:
        """Add everything."""
        rng = self.rng
        self.indoors = bool(rng.random() < 0.7)
        back = self.far + float(rng.uniform(0.6, 5.0 if self.indoors else 12.0))
        self._plane("Floor", self.middle * (1, 1, 0), np.eye(3), 80.0)
        if self.indoors:
            turn = float(rng.normal(0.0, 0.35))
            self._wall(back, turn)
            if rng.random() < 0.5:
                self._wall(back + 1.0, turn + float(rng.choice([-1.0, 1.0])) * np.pi / 2, 2.0 + back * self.spread)
        for _ in range(int(rng.integers(4, 15))):
            self._clutter(back)

    def _place(self, depth: float, across: float, height: float) -> Floats:
        place = self.eye + depth * self.ahead + across * self.right
        place[2] = height
        return place

    def _plane(self, name: str, centre: Floats, rotation: Floats, size: float) -> None:
        mesh = bpy.data.meshes.new(name)
        half = 0.5 * size
        mesh.from_pydata([(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)], [], [(0, 1, 2, 3)])
        mesh.materials.append(_material(self.studio, self.rng, (0.8, 8.0)))
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = rotation, centre
        self.studio.add(name, mesh, Matrix(matrix))

    def _wall(self, depth: float, turn: float, beside: float = 0.0) -> None:
        normal = -(np.cos(turn) * self.ahead + np.sin(turn) * self.right)
        across = np.cross([0.0, 0.0, 1.0], normal)
        centre = self._place(depth if not beside else self.far, 0.0, 0.0) - normal * beside
        self._plane("Wall", centre, np.stack([across, [0.0, 0.0, 1.0], normal], axis=1), 60.0)

    def _clutter(self, back: float) -> None:
        rng = self.rng
        size = float(np.exp(rng.uniform(np.log(0.15), np.log(1.2))))
        depth = float(rng.uniform(self.far + 0.3 + size, max(back, self.far + 0.5 + size)))
        across = float(rng.uniform(-1.3, 1.3)) * depth * self.spread
        on_floor = rng.random() < 0.65
        height = 0.5 * size if on_floor else float(rng.uniform(0.5, 2.5))
        place = self._place(depth, across, height)
        scale = rng.uniform(0.4, 1.3, 3) * size
        kind = str(rng.choice(["box", "box", "cylinder", "ball", "picture"]))
        mesh = _primitive(kind)
        if kind == "picture":
            scale[1] = 0.02
        mesh.materials.append(_material(self.studio, rng, (2.0, 30.0)))
        facing = np.arctan2(self.ahead[1], self.ahead[0]) - np.pi / 2
        turn = facing if kind == "picture" else float(rng.uniform(0, np.pi))
        if on_floor:
            place[2] = 0.5 * scale[2]
        self.studio.add(
            kind,
            mesh,
            Matrix.LocRotScale(place.tolist(), Matrix.Rotation(turn, 3, "Z").to_quaternion(), scale.tolist()),
        )


def _primitive(kind: str) -> bpy.types.Mesh:
    """A unit solid around the origin."""
    mesh = bpy.data.meshes.new(kind)
    if kind in ("box", "picture"):
        corners = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]
        faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        mesh.from_pydata(corners, [], faces)
        return mesh
    rings = [(-0.5, 0.5), (0.5, 0.5)]
    if kind == "ball":
        rings = [(-0.5 * np.cos(a), 0.5 * np.sin(a)) for a in np.linspace(0.0, np.pi, 13)[1:-1]]
    count = 24
    angles = np.linspace(0.0, 2 * np.pi, count, endpoint=False)
    vertices = [(r * np.cos(a), r * np.sin(a), z) for z, r in rings for a in angles]
    sides = [
        (k * count + i, k * count + (i + 1) % count, (k + 1) * count + (i + 1) % count, (k + 1) * count + i)
        for k in range(len(rings) - 1)
        for i in range(count)
    ]
    last = (len(rings) - 1) * count
    mesh.from_pydata(vertices, [], [*sides, tuple(reversed(range(count))), tuple(range(last, last + count))])
    if kind == "ball":
        mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), np.bool_))
    return mesh


def _light(studio: Studio, rng: np.random.Generator, room: Room) -> None:
    """A key from the camera's side, mostly, a fill, and light from all around."""
    tint = 1.0 + rng.uniform(-0.15, 0.15) * np.array([1.0, 0.0, -1.0])
    studio.ambient(as_colour(np.clip(tint * rng.uniform(0.7, 1.0, 3), 0, 1)), float(rng.uniform(0.25, 0.8)))
    for strength, soft in ((rng.uniform(1.5, 4.0), rng.uniform(0.05, 0.7)), (rng.uniform(0.2, 1.2), 1.0)):
        turn = float(np.clip(rng.normal(0.0, 0.9), -2.4, 2.4))
        tilt = float(rng.uniform(0.35, 1.2))
        towards = np.cos(tilt) * (-np.cos(turn) * room.ahead + np.sin(turn) * room.right) + np.array(
            [0, 0, np.sin(tilt)]
        )
        data = bpy.data.lights.new("Sun", "SUN")
        data.energy, data.angle, data.color = float(strength), float(soft), as_colour(tint / tint.max())
        studio.add("Sun", data, look_at(room.middle + 20.0 * towards, room.middle))
