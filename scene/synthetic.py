"""A picture of a person that nobody needs to be asked for: rendered from the free body, with its truth known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_INDEX, JOINT_NAMES
from ..core.capture import Capture, pose_parts
from . import axes, clothing, materials, pose, rest
from .avatar import Avatar, AvatarSettings, build_avatar
from .camera import match_lens
from .removal import remove_collection
from .render import world_vertices
from .studio import Quality, Studio, save_picture

Colour = tuple[float, float, float]
FIELD_ATTRIBUTE = "field"


@dataclass(frozen=True)
class SyntheticPhoto:
    """What the picture shows."""

    size: tuple[int, int] = (720, 1080)
    focal_px: float = 1750.0
    distance_m: float = 3.9
    camera_height_m: float = 1.4
    look: materials.Look = field(default_factory=lambda: materials.Look(garment=None))
    shirt: Colour = (0.07, 0.2, 0.24)
    trousers: Colour = (0.07, 0.085, 0.13)
    shoes: Colour = (0.35, 0.33, 0.3)
    hair: Colour = (0.03, 0.018, 0.011)


# Joint rotations in degrees about the body's x, then y, then z (to the person's left, up, forward); the T-pose is 0.
# Standing on the left leg, the right hand raised in greeting, the left arm hanging free of the hip.
CASUAL_POSE: dict[str, tuple[float, float, float]] = {
    "left_hip": (0.0, 0.0, -3.0),
    "right_hip": (-8.0, -16.0, 2.0),
    "right_knee": (14.0, 0.0, 0.0),
    "right_ankle": (-4.0, 0.0, 0.0),
    "spine1": (2.0, 3.0, 2.0),
    "spine2": (0.0, 3.0, 2.0),
    "spine3": (-2.0, 2.0, 1.0),
    "neck": (4.0, -5.0, -2.0),
    "head": (-2.0, -7.0, -4.0),
    "left_collar": (0.0, 0.0, -5.0),
    "left_shoulder": (6.0, 8.0, -58.0),
    "left_elbow": (0.0, -24.0, 0.0),
    "left_wrist": (0.0, 0.0, -6.0),
    "right_shoulder": (-78.0, 8.0, 60.0),
    "right_elbow": (0.0, 122.0, 0.0),
    "right_wrist": (6.0, 0.0, -8.0),
}
CASUAL_BETAS = (0.3, -0.9, 0.5)
CASUAL_EXPRESSION = {"mouthSmileLeft": 0.55, "mouthSmileRight": 0.6, "cheekSquintLeft": 0.2, "cheekSquintRight": 0.2}


def casual_capture(body: BodyModel, settings: SyntheticPhoto | None = None) -> Capture:
    """The truth of the picture: a person in a casual pose before a camera that looks slightly down."""
    settings = settings or SyntheticPhoto()
    turns = np.zeros((55, 3), np.float32)
    for name, degrees in CASUAL_POSE.items():
        about_x, about_y, about_z = axes.rotation_matrices(np.diag(np.radians(degrees)))
        turns[JOINT_INDEX[name]] = axes.axis_angle(about_z @ about_y @ about_x)
    turns[25:40] = 0.55 * body.hands_mean[0].reshape(15, 3)
    turns[40:55] = 0.12 * body.hands_mean[1].reshape(15, 3)
    expression = np.zeros((1, body.num_expressions), np.float32)
    for name, value in CASUAL_EXPRESSION.items():
        if name in body.expression_names:
            expression[0, body.expression_names.index(name)] = value
    betas = np.zeros(body.num_betas, np.float32)
    betas[: len(CASUAL_BETAS)] = CASUAL_BETAS
    joints = rest.rest_joints(body, betas, expression[0])

    # The camera looks at a point near the hips from its height.
    floor = float(rest.shaped_vertices(body, betas, expression[0])[:, 1].min())
    hips_m = joints[0, 1] - floor
    down = float(np.arctan2(settings.camera_height_m - 0.95 * hips_m, settings.distance_m))
    up = np.array([0.0, -np.cos(down), -np.sin(down)])
    world_from_camera = axes.level_camera_rotation(-up)
    turn = axes.rotation_matrices(np.radians([0.0, 0.0, 14.0]))  # the body turns a little to its left
    orient = world_from_camera.T @ turn @ axes.BODY_TO_BLENDER
    turns[0] = axes.axis_angle(orient)
    pelvis = world_from_camera.T @ np.array([0.0, settings.distance_m, hips_m - settings.camera_height_m])
    transl = (pelvis - joints[0]).astype(np.float32)
    full = turns.reshape(1, 165)
    posed = pose.posed_joints(body, betas, expression[0], full[0], transl)
    width, height = settings.size
    return Capture(
        betas=betas,
        expression=expression,
        **pose_parts(full),
        transl=transl[None],
        joints=posed[None].astype(np.float32),
        joint_names=JOINT_NAMES,
        focal_px=settings.focal_px,
        principal_px=np.array([0.5 * width, 0.5 * height], np.float32),
        image_size=settings.size,
        focal_source="given",
        up_camera=up.astype(np.float32),
        confidence=np.ones(1, np.float32),
        gender=body.gender,
        surface_model_type=body.surface_model_type,
        body_id=body.body_id,
    )


def render_synthetic_photo(
    body: BodyModel, path: str | Path, settings: SyntheticPhoto | None = None, quality: Quality | None = None
) -> Capture:
    """Render the picture to `path` (PNG) and give back its truth, which is saved beside it as `NAME.truth.npz`.

    The user's scene is left as it was. Raises CaptureError where the truth can't be written.
    """
    settings = settings or SyntheticPhoto()
    capture = casual_capture(body, settings)
    save_picture(render_person(body, capture, settings, quality), path)
    capture.source = str(path)
    capture.save(Path(path).with_suffix(".truth.npz"))
    return capture


def render_person(
    body: BodyModel, capture: Capture, settings: SyntheticPhoto | None = None, quality: Quality | None = None
) -> NDArray[np.float32]:
    """The dressed person of `capture` in a room, through the capture's camera; (H, W, 4) display values."""
    settings = settings or SyntheticPhoto()
    with Studio(quality or Quality(samples=8)) as studio:
        own = AvatarSettings(name="Person", background=False, look=settings.look)
        avatar = build_avatar(capture, body, own, studio.scene)
        try:
            assert avatar.camera is not None
            match_lens(avatar.camera.data, capture.focal_px, capture.principal_px, capture.image_size)
            _dress(studio, avatar, body, settings)
            _room(studio)
            return studio.render(avatar.camera, capture.image_size, transparent=False)
        finally:
            remove_collection(avatar.collection)


def _dress(studio: Studio, avatar: Avatar, body: BodyModel, settings: SyntheticPhoto) -> None:
    regions = clothing.Regions(body)
    points = world_vertices(avatar.mesh, studio.scene)
    skin = body.quads[
        np.isin(body.material_ids, [k for k, n in enumerate(body.material_names) if n in ("skin", "nails")])
    ]
    for name, covered, lift, smoothing, edge, colour in (
        ("Trousers", regions.trousers(), 0.012, 3, 0.25, settings.trousers),
        ("Shirt", regions.shirt(), 0.016, 4, 0.25, settings.shirt),
        ("Hair", regions.hair(), 0.016, 1, 0.05, settings.hair),
    ):
        shell = clothing.shell(skin, points, covered, lift, smoothing, edge)
        mesh = bpy.data.meshes.new(name)
        mesh.from_pydata(shell.points.tolist(), [], [[c for c in quad if c >= 0] for quad in shell.quads.tolist()])
        mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), np.bool_))
        mesh.attributes.new(FIELD_ATTRIBUTE, "FLOAT", "POINT").data.foreach_set("value", shell.field.astype(np.float32))
        material = studio.keep(bpy.data.materials.new(name))
        materials.cloth_nodes(material, colour, FIELD_ATTRIBUTE, hair=name == "Hair")
        mesh.materials.append(material)
        studio.add(name, mesh)
    normals = clothing.vertex_normals(skin, points)
    leather = studio.matt("Shoes", settings.shoes, 0.45)
    for side in (-1.0, 1.0):
        inside = (regions.shoes() > 0.0) & (side * body.v_template[:, 0] > 0.0)
        _shoe(studio, (points + 0.008 * normals)[inside], leather)


def _shoe(studio: Studio, points: NDArray[np.float64], material: bpy.types.Material) -> None:
    """A plain shoe around `points` (N, 3): their hull, rounded. Toes would show through a shell."""
    import bmesh  # which exists only once bpy is loaded

    form = bmesh.new()
    for point in points:
        form.verts.new(point)
    hull = bmesh.ops.convex_hull(form, input=form.verts)
    unused = {v for key in ("geom_interior", "geom_unused") for v in hull[key] if isinstance(v, bmesh.types.BMVert)}
    bmesh.ops.delete(form, geom=list(unused), context="VERTS")
    mesh = bpy.data.meshes.new("Shoe")
    form.to_mesh(mesh)
    form.free()
    mesh.materials.append(material)
    shoe = studio.add("Shoe", mesh)
    even: Any = shoe.modifiers.new("Even", "REMESH")
    even.mode, even.voxel_size, even.use_smooth_shade = "VOXEL", 0.006, True
    rounded: Any = shoe.modifiers.new("Rounded", "SMOOTH")
    rounded.factor, rounded.iterations = 0.5, 10


def _room(studio: Studio) -> None:
    """A floor, a wall with a skirting board, daylight from a window on the left."""
    floor = _box("Floor", (-6.0, -8.0, -0.1), (6.0, 2.2, 0.0))
    floor.materials.append(studio.matt("Floor", (0.34, 0.24, 0.16), 0.55))
    studio.add("Floor", floor)
    wall = _box("Wall", (-6.0, 1.6, 0.0), (6.0, 1.8, 4.0))
    wall.materials.append(studio.matt("Wall", (0.55, 0.53, 0.48)))
    studio.add("Wall", wall)
    board = _box("Board", (-6.0, 1.58, 0.0), (6.0, 1.6, 0.12))
    board.materials.append(studio.matt("Board", (0.8, 0.79, 0.76), 0.5))
    studio.add("Board", board)
    target = np.array([0.0, 0.0, 1.0])
    studio.light(np.array([-2.6, -2.6, 2.6]), target, 190.0, 2.0, (1.0, 0.97, 0.92))
    studio.light(np.array([2.8, -3.0, 1.6]), target, 60.0, 2.5, (0.92, 0.96, 1.0))
    studio.ambient((0.95, 0.97, 1.0), 0.45)


def _box(name: str, low: tuple[float, float, float], high: tuple[float, float, float]) -> bpy.types.Mesh:
    corners = [(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], faces)
    return mesh
