"""Out to a file and in again: bones, skin, keys and size are still those of the avatar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.body.garment import read_garment
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_NAMES
from pantomime.core.capture import Capture
from pantomime.scene import materials
from pantomime.scene.avatar import Avatar, AvatarSettings, build_avatar
from pantomime.scene.export import ExportError, ExportSettings, export_avatar
from pantomime.scene.export_paint import paint_skin
from pantomime.scene.render import world_vertices

bpy = pytest.importorskip("bpy")
pytestmark = pytest.mark.usefixtures("empty_file")

MILLIMETRE = 1e-3
Make = Callable[..., Capture]

FORMATS = [
    ExportSettings("FBX", pose_corrective=True, influences=8),
    ExportSettings("FBX", pose_corrective=True, influences=8, centimetres=True),
    ExportSettings("GLTF", pose_corrective=True, influences=8),
    ExportSettings("USD", pose_corrective=True, influences=8),
]
NAMES = ["fbx", "fbx in centimetres", "gltf", "usd"]


def joints(rig: object) -> NDArray[np.float64]:
    """Heads of the 55 posed bones, world space."""
    bpy.context.view_layer.update()
    bones = rig.evaluated_get(bpy.context.view_layer.depsgraph).pose.bones
    return np.array([rig.matrix_world @ bones[name].head for name in JOINT_NAMES])


def read(path: Path) -> None:
    """Import into an empty scene, which is then the file's only one."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.render.fps = 24
    if path.suffix == ".fbx":
        bpy.ops.import_scene.fbx(filepath=str(path), automatic_bone_orientation=False)
    elif path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path), guess_original_bind_pose=True)
    elif path.suffix == ".bvh":
        bpy.ops.import_anim.bvh(filepath=str(path), axis_forward="-Z", axis_up="Y")
    else:
        bpy.ops.wm.usd_import(filepath=str(path))


def imported(kind: str) -> object:
    found = [o for o in bpy.context.scene.objects if o.type == kind and not o.name.startswith("Icosphere")]
    assert len(found) == 1
    return found[0]


def at_origin(avatar: Avatar, points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points - np.array(avatar.armature.matrix_world.translation)


@pytest.mark.parametrize("settings", FORMATS, ids=NAMES)
def test_a_posed_avatar_comes_back_as_it_went(
    free_body: BodyModel, random_capture: Make, tmp_path: Path, settings: ExportSettings
) -> None:
    avatar = build_avatar(random_capture(free_body, 3, 0.7), free_body, AvatarSettings(name="Ada Test"))
    places = at_origin(avatar, joints(avatar.armature))
    vertices = at_origin(avatar, world_vertices(avatar.mesh))
    blocks = avatar.mesh.data.shape_keys.key_blocks
    values = {name: blocks[name].value for name in free_body.expression_names}

    notes = export_avatar(avatar.armature, tmp_path / "ada", settings)
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    read(notes.path)

    rig, skin = imported("ARMATURE"), imported("MESH")
    assert {bone.name for bone in rig.data.bones} == set(JOINT_NAMES)
    bpy.context.scene.frame_set(bpy.context.scene.frame_start)
    assert np.linalg.norm(joints(rig) - places, axis=1).max() < MILLIMETRE
    keys = skin.data.shape_keys.key_blocks
    assert set(keys.keys()) - {"Basis", "basis"} == set(values) | {"PoseCorrective"}
    assert max(abs(keys[name].value - value) for name, value in values.items()) < 1e-4
    assert any(modifier.type == "ARMATURE" for modifier in skin.modifiers)
    assert not any(o.type in ("CAMERA", "LIGHT") for o in bpy.context.scene.objects)
    back = world_vertices(skin)
    assert max(nearest(vertices, back), nearest(back, vertices)) < MILLIMETRE
    # Standing on its feet, facing −Y, as tall as before.
    rest = np.array([rig.matrix_world @ rig.data.bones[name].head_local for name in JOINT_NAMES])
    index = {name: k for k, name in enumerate(JOINT_NAMES)}
    assert rest[index["head"], 2] - rest[index["left_ankle"], 2] > 1.0
    assert rest[index["left_foot"], 1] < rest[index["left_ankle"], 1] - 0.05
    assert rest[index["left_hip"], 0] > 0.02


@pytest.mark.parametrize("name", ["ada.fbx", "ada.glb", "ada.usda", "ada.bvh"])
def test_an_animation_comes_back_at_its_frames(
    free_body: BodyModel, random_capture: Make, tmp_path: Path, name: str
) -> None:
    capture = random_capture(free_body, 4, 0.5, frames=4, frame_times_s=np.arange(4, dtype=np.float32) / 24.0)
    avatar = build_avatar(capture, free_body)
    scene = bpy.context.scene
    expected, faces = [], []
    for frame in range(1, 5):
        scene.frame_set(frame)
        expected.append(at_origin(avatar, joints(avatar.armature)))
        faces.append(avatar.mesh.data.shape_keys.key_blocks["jawOpen"].value)
    scene.frame_set(2)
    kind = {".fbx": "FBX", ".glb": "GLTF", ".usda": "USD", ".bvh": "BVH"}[Path(name).suffix]
    notes = export_avatar(avatar.armature, tmp_path / name, ExportSettings(kind))
    assert notes.frames == 4
    assert scene.frame_current == 2
    assert notes.left_out
    read(notes.path)
    rig = imported("ARMATURE")
    first = round(rig.animation_data.action.frame_range[0]) if rig.animation_data and rig.animation_data.action else 1
    for k in range(4):
        bpy.context.scene.frame_set(first + k)
        assert np.linalg.norm(joints(rig) - expected[k], axis=1).max() < MILLIMETRE
        if kind != "BVH":
            assert imported("MESH").data.shape_keys.key_blocks["jawOpen"].value == pytest.approx(faces[k], abs=1e-3)


def test_the_users_scene_stays_as_it_was(free_body: BodyModel, random_capture: Make, tmp_path: Path) -> None:
    avatar = build_avatar(random_capture(free_body, 5), free_body)
    other = bpy.data.objects.new("Other", None)
    bpy.context.scene.collection.objects.link(other)
    other.select_set(True)
    bpy.context.view_layer.objects.active = other

    def state() -> object:
        kinds = ("objects", "meshes", "armatures", "materials", "actions", "scenes", "images", "shape_keys", "cameras")
        ids = {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in kinds}
        selected = [o.name for o in bpy.context.selected_objects]
        pose = [tuple(b.rotation_quaternion) for b in avatar.armature.pose.bones]
        return ids, selected, bpy.context.view_layer.objects.active.name, bpy.context.scene.name, pose

    before = state()
    for kind in ("FBX", "GLTF", "USD", "BVH"):
        export_avatar(avatar.armature, tmp_path / "ada", ExportSettings(kind))
    assert state() == before


def test_by_default_four_bones_move_a_vertex_and_the_shape_is_in_the_mesh(
    free_body: BodyModel, random_capture: Make, tmp_path: Path
) -> None:
    avatar = build_avatar(random_capture(free_body, 6), free_body)
    notes = export_avatar(avatar.armature, tmp_path / "ada.fbx")
    assert any("4 bones" in note for note in notes.left_out)
    read(notes.path)
    skin = imported("MESH")
    assert max(len(vertex.groups) for vertex in skin.data.vertices) <= 4
    assert all(abs(sum(g.weight for g in vertex.groups) - 1.0) < 1e-3 for vertex in skin.data.vertices)
    assert not any(key.name.startswith(("Shape", "Pose")) for key in skin.data.shape_keys.key_blocks)
    assert {"skin", "garment", "iris", "pupil"} <= {m.name.split("_")[-2] for m in skin.data.materials}


@pytest.mark.parametrize("settings", [FORMATS[0], FORMATS[2], FORMATS[3]], ids=["fbx", "gltf", "usd"])
def test_skin_and_underwear_share_a_picture(
    free_body: BodyModel, random_capture: Make, tmp_path: Path, settings: ExportSettings
) -> None:
    avatar = build_avatar(random_capture(free_body, 8), free_body, AvatarSettings(name="Ada"))
    path = export_avatar(avatar.armature, tmp_path / "ada", settings).path
    # Where it was written is nobody's business.
    assert tmp_path.name.encode() not in path.read_bytes() and b".pantomime" not in path.read_bytes()
    read(path)
    images = []
    for material in imported("MESH").data.materials:
        if any(kind in material.name for kind in ("skin", "garment")):
            shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
            images.append(shader.inputs["Base Color"].links[0].from_node.image)
    assert len(images) == 2 and images[0] == images[1] and images[0].size[0] > 1000
    # It is there as pixels, not as the name of a file that is not.
    assert np.ptp(np.array(images[0].pixels[:400_000])) > 0.1
    if settings.format == "FBX":
        # Other programs unpack it under this name.
        assert images[0].filepath.endswith("/Ada_body_skin.png"), images[0].filepath


def test_the_picture_has_the_underwear_where_the_mesh_has_it(free_body: BodyModel, random_capture: Make) -> None:
    skin, cloth, brow = (0.5, 0.25, 0.2), (0.0, 0.1, 0.4), (0.9, 0.9, 0.0)
    mesh = build_avatar(random_capture(free_body, 8), free_body).mesh.data
    slots = {k for k, m in enumerate(mesh.materials) if m.name.split(" ")[-1] in ("skin", "garment")}
    image = paint_skin(mesh, slots, skin, cloth, brow, "painted")
    assert image is not None
    pixels = np.array(image.pixels, np.float32).reshape(image.size[1], image.size[0], 4)[..., :3]
    field = read_garment(free_body)
    loops = np.array([loop.vertex_index for loop in mesh.loops])
    uvs = np.array([tuple(item.vector) for item in mesh.uv_layers.active.uv])
    painted = np.isin(
        np.repeat([p.material_index for p in mesh.polygons], [p.loop_total for p in mesh.polygons]), [*slots]
    )
    row, column = (np.clip((uvs[:, k] * image.size[k]).astype(int), 0, image.size[k] - 1) for k in (1, 0))
    seen = pixels[row, column]
    face = np.array([item.vector for item in mesh.attributes["face_position"].data])

    def srgb(colour: materials.Colour) -> NDArray[np.float64]:
        return np.array([1.055 * c ** (1 / 2.4) - 0.055 if c > 0.0031308 else 12.92 * c for c in colour])

    inside, outside = (painted & (way * field[loops] > 0.004) for way in (1.0, -1.0))
    outside &= (np.abs(face[loops]) > 0.05).any(axis=1)
    assert inside.sum() > 1000 and outside.sum() > 5000
    assert np.abs(seen[inside] - srgb(cloth)).max() < 0.02
    assert np.abs(seen[outside] - srgb(skin)).max() < 0.02
    # On the brow's arc, above the middle of each eye.
    out, back, up = face[loops].T
    arc = painted & (np.abs(out - 0.008) < 0.009) & (back < 0.01) & (np.abs(up - 0.021) < 0.0015)
    assert arc.sum() >= 4 and np.abs(seen[arc] - srgb(skin)).max(axis=1).min() > 0.1
    assert paint_skin(mesh, slots, skin, None, None, "nothing") is None


def test_what_cannot_be_written_is_said(free_body: BodyModel, random_capture: Make, tmp_path: Path) -> None:
    avatar = build_avatar(random_capture(free_body, 7), free_body)
    with pytest.raises(ExportError, match="no folder"):
        export_avatar(avatar.armature, tmp_path / "nowhere" / "ada.fbx")
    with pytest.raises(ExportError, match="not an avatar"):
        export_avatar(avatar.camera, tmp_path / "ada.fbx")
    bpy.ops.preferences.addon_disable(module="io_anim_bvh")
    try:
        with pytest.raises(ExportError, match="switched off"):
            export_avatar(avatar.armature, tmp_path / "ada.bvh", ExportSettings("BVH"))
    finally:
        bpy.ops.preferences.addon_enable(module="io_anim_bvh")


def nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """The largest distance of one of `points` from the nearest of `others`: importers may split vertices at seams."""
    from mathutils import kdtree

    tree = kdtree.KDTree(len(others))
    for index, other in enumerate(others):
        tree.insert(other, index)
    tree.balance()
    return max(tree.find(point)[2] for point in points)
