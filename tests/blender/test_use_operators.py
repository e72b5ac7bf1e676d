"""The buttons of *Use* do what they say, refuse with a reason, and are one undo step each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.core.detection.models import ModelError, find_models
from pantomime.scene.avatar import Avatar, build_avatar
from pantomime.scene.studio import save_picture
from pantomime.scene.texture import apply_texture, has_texture, photo_node, remove_texture

bpy = pytest.importorskip("bpy")
pytestmark = pytest.mark.usefixtures("extension", "empty_file")

Make = Callable[..., Capture]


def select(obj: object) -> None:
    layer = bpy.context.view_layer
    for other in layer.objects:
        other.select_set(False)
    obj.select_set(True)
    layer.objects.active = obj


@pytest.fixture
def avatar(free_body: BodyModel, random_capture: Make, tmp_path: Path) -> Avatar:
    """A selected avatar with a photo of even colours."""
    photo = np.ones((480, 640, 4), np.float32)
    photo[..., :3] = (0.8, 0.2, 0.1)
    save_picture(photo, tmp_path / "photo.png")
    capture = random_capture(free_body, 30, 0.3, source=str(tmp_path / "photo.png"))
    made = build_avatar(capture, free_body)
    select(made.armature)
    return made


def test_without_an_avatar_every_button_says_what_to_do() -> None:
    for name in ("export", "make_asset", "add_controls", "remove_controls", "photo_texture", "remove_texture"):
        operator = getattr(bpy.ops.pantomime, name)
        assert not operator.poll()
        with pytest.raises(RuntimeError, match="Select an avatar"):
            operator()
    assert not bpy.ops.pantomime.retarget.poll()


def test_export_writes_the_chosen_format(avatar: Avatar, tmp_path: Path) -> None:
    select(avatar.mesh)
    for kind, suffix in (("FBX", ".fbx"), ("BVH", ".bvh")):
        assert bpy.ops.pantomime.export(filepath=str(tmp_path / "out"), format=kind) == {"FINISHED"}
        assert (tmp_path / f"out{suffix}").stat().st_size > 1000
    with pytest.raises(RuntimeError, match="no folder"):
        bpy.ops.pantomime.export(filepath=str(tmp_path / "nowhere" / "out"))


def test_a_pose_becomes_an_asset(avatar: Avatar) -> None:
    assert bpy.ops.pantomime.make_asset(asset_name="Wave") == {"FINISHED"}
    assert bpy.data.actions["Wave"].asset_data is not None
    with pytest.raises(RuntimeError, match="no motion"):
        bpy.ops.pantomime.make_asset(whole_motion=True)


def test_controls_come_and_go(avatar: Avatar) -> None:
    assert not bpy.ops.pantomime.snap_bones.poll()
    assert bpy.ops.pantomime.add_controls() == {"FINISHED"}
    assert bpy.ops.pantomime.snap_controls() == {"FINISHED"}
    assert bpy.ops.pantomime.snap_bones() == {"FINISHED"}
    assert bpy.ops.pantomime.remove_controls() == {"FINISHED"}
    assert len(avatar.armature.data.bones) == 55


def test_retarget_shows_its_mapping(avatar: Avatar) -> None:
    other = avatar.armature.copy()
    other.data = avatar.armature.data.copy()
    bpy.context.scene.collection.objects.link(other)
    for bone in other.data.bones:
        bone.name = f"mixamorig:{bone.name}"
    settings = bpy.context.scene.pantomime_retarget
    settings.target = other
    assert settings.rig == "SMPL-X"
    assert len(settings.rows) == 55 and settings.rows["left_elbow"].bone == "mixamorig:left_elbow"
    settings.rows["jaw"].bone = ""
    assert bpy.ops.pantomime.retarget() == {"FINISHED"}
    assert other.animation_data.action is not None
    assert bpy.ops.pantomime.detect_bones() == {"FINISHED"}
    assert settings.rows["jaw"].bone == "mixamorig:jaw"


def test_linked_avatars_are_refused_but_can_be_exported(avatar: Avatar, tmp_path: Path) -> None:
    name = avatar.armature.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, data):
        data.collections = [avatar_collection for avatar_collection in _.collections if avatar_collection]
    for collection in data.collections:
        bpy.context.scene.collection.children.link(collection)
    rig = bpy.data.objects[name]
    bpy.context.view_layer.objects.active = rig
    for operator in ("add_controls", "photo_texture"):
        with pytest.raises(RuntimeError, match="linked"):
            getattr(bpy.ops.pantomime, operator)()
    assert bpy.ops.pantomime.export(filepath=str(tmp_path / "linked"), format="FBX") == {"FINISHED"}


def _models_missing() -> bool:
    try:
        find_models(None, None)
    except ModelError:
        return True
    return False


def test_a_copy_gets_a_photo_of_its_own(avatar: Avatar, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.png" for name in ("first", "second")]
    for path, colour in zip(paths, ("red", "blue"), strict=True):
        Image.new("RGB", (8, 8), colour).save(path)
    first = apply_texture(avatar.armature, paths[0])
    for obj in bpy.context.scene.objects:
        obj.select_set(obj in (avatar.armature, avatar.mesh))
    bpy.ops.object.duplicate()
    copy = next(o for o in bpy.context.selected_objects if o.type == "ARMATURE")
    skin = next(child for child in copy.children if child.type == "MESH")

    def shown(mesh: bpy.types.Mesh) -> bpy.types.Image | None:
        node = photo_node(mesh.materials[0])
        return node.image if node is not None else None

    assert shown(skin.data) == shown(avatar.mesh.data) == first
    remove_texture(copy)
    assert not has_texture(skin) and has_texture(avatar.mesh) and shown(avatar.mesh.data) == first
    second = apply_texture(copy, paths[1])
    assert shown(skin.data) == second and shown(avatar.mesh.data) == first
    assert [slot == skin.data.materials[4] for slot in skin.data.materials] == [
        slot == avatar.mesh.data.materials[4] for slot in avatar.mesh.data.materials
    ]
    remove_texture(copy)
    assert shown(skin.data) is None and shown(avatar.mesh.data) == first and has_texture(avatar.mesh)


@pytest.mark.skipif(_models_missing(), reason="needs `pantomime models`")
@pytest.mark.models
def test_the_photo_comes_onto_the_skin_and_off_again(avatar: Avatar, tmp_path: Path) -> None:
    skin = avatar.mesh
    material = skin.data.materials[0]
    plain = {n.name for n in material.node_tree.nodes}
    assert bpy.ops.pantomime.photo_texture() == {"FINISHED"}
    assert skin["photo_texture"] == 1.0
    image = material.node_tree.nodes["Pantomime photo"].image
    assert image.packed_file is not None
    red = np.array(image.pixels[:4])
    assert red[:3] == pytest.approx((0.8, 0.2, 0.1), abs=0.03)
    assert bpy.ops.pantomime.photo_texture() == {"FINISHED"}
    assert len([i for i in bpy.data.images if "texture" in i.name]) == 1
    assert bpy.ops.pantomime.export(filepath=str(tmp_path / "photo_texture.fbx")) == {"FINISHED"}
    image = material.node_tree.nodes["Pantomime photo"].image
    assert image.packed_file is not None and not image.filepath  # as it was
    assert bpy.ops.pantomime.remove_texture() == {"FINISHED"}
    assert "photo_texture" not in skin
    assert {n.name for n in material.node_tree.nodes} == plain
    assert not [i for i in bpy.data.images if "texture" in i.name]
    (tmp_path / "photo.png").unlink()
    with pytest.raises(RuntimeError, match="no photo"):
        bpy.ops.pantomime.photo_texture()


@pytest.mark.parametrize("kind", ["T", "A", "REST", "CAPTURED", "MIRROR", "FLOOR"])
def test_poses_at_a_stroke_take_limbs_with_them_that_handles_lead(avatar: Avatar, kind: str) -> None:
    rig = avatar.armature

    def press() -> None:
        if kind == "MIRROR":
            assert bpy.ops.pantomime.mirror_pose() == {"FINISHED"}
        elif kind == "FLOOR":
            assert bpy.ops.pantomime.snap_to_floor() == {"FINISHED"}
        else:
            assert bpy.ops.pantomime.set_pose(kind=kind) == {"FINISHED"}

    def ends() -> np.ndarray:
        bpy.context.view_layer.update()
        names = ("left_wrist", "right_wrist", "left_ankle", "right_ankle", "head")
        return np.array([rig.pose.bones[name].head for name in names])

    if kind == "CAPTURED":
        bpy.ops.pantomime.set_pose(kind="T")
    rig.location.z += 0.4
    before = {bone.name: bone.matrix_basis.copy() for bone in rig.pose.bones}
    press()
    wanted = ends()
    for name, matrix in before.items():
        rig.pose.bones[name].matrix_basis = matrix
    assert bpy.ops.pantomime.add_controls() == {"FINISHED"}
    press()
    np.testing.assert_allclose(ends(), wanted, atol=3e-3)
    assert all(rig.pose.bones[name]["ik"] == 1.0 for name in ("left_hand_ik", "right_foot_ik"))


def test_a_pose_that_auto_keying_keyed_before_does_not_hold_the_handles(avatar: Avatar) -> None:
    rig = avatar.armature
    assert bpy.ops.pantomime.add_controls() == {"FINISHED"}
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    raised = {}
    for kind in ("T", "A"):
        assert bpy.ops.pantomime.set_pose(kind=kind) == {"FINISHED"}
        bpy.context.scene.frame_set(bpy.context.scene.frame_current)  # as it is keyed
        places = [rig.pose.bones[name].head for name in ("left_shoulder", "left_wrist", "left_hand_ik")]
        assert (places[1] - places[2]).length < 3e-3
        raised[kind] = places[1].z - places[0].z
    assert abs(raised["T"]) < 0.05 and raised["A"] < -0.2


def test_handles_that_lead_a_motion_refuse_a_pose_at_a_stroke(avatar: Avatar) -> None:
    rig = avatar.armature
    assert bpy.ops.pantomime.add_controls() == {"FINISHED"}
    for frame in (1, 10):
        rig.pose.bones["left_hand_ik"].location.x += 0.1
        rig.pose.bones["left_hand_ik"].keyframe_insert("location", frame=frame)
    for press in (lambda: bpy.ops.pantomime.set_pose(kind="T"), bpy.ops.pantomime.mirror_pose):
        with pytest.raises(RuntimeError, match=r"Handles lead limbs of .*to 0"):
            press()
    assert bpy.ops.pantomime.set_pose(kind="HANDS") == {"FINISHED"}
