"""Avatars come, and can be corrected, whatever state the file is in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.operators import avatars
from pantomime.operators.building import result_steps
from pantomime.operators.jobs import Job
from pantomime.operators.session import SESSION
from pantomime.operators.settings import SolverSettings
from pantomime.scene import pins
from pantomime.scene.avatar import Avatar, AvatarSettings, build_avatar
from pantomime.scene.identity import camera_of
from pantomime.scene.texture import projection_of

pytestmark = pytest.mark.usefixtures("extension", "empty_file")
Maker = Callable[..., Capture]
WRIST = 15  # of pose33


@pytest.fixture
def capture(free_body: BodyModel, random_capture: Maker, tmp_path: Path) -> str:
    """A capture's file."""
    path = tmp_path / "person.npz"
    random_capture(free_body, 2, 0.4).save(path)
    return str(path)


@pytest.fixture
def avatar(free_body: BodyModel, random_capture: Maker) -> Avatar:
    """The active object is its armature."""
    made = build_avatar(random_capture(free_body, 2, 0.4), free_body, AvatarSettings(name="Ann", background=False))
    bpy.context.view_layer.objects.active = made.armature
    return made


def drag() -> set[str]:
    return bpy.ops.pantomime.drag_point(set_name="pose33", index=WRIST, x=420.0, y=200.0)


def arm(rig: bpy.types.Object) -> np.ndarray:
    return np.array([rig.pose.bones[f"left_{name}"].rotation_quaternion for name in ("shoulder", "elbow")])


def test_what_is_edited_stays_in_its_mode_when_an_avatar_comes(capture: str) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.object.mode_set(mode="EDIT")
    assert bpy.ops.pantomime.import_capture(filepath=capture) == {"FINISHED"}
    assert bpy.context.mode == "EDIT_MESH" and bpy.context.object == cube
    assert len(bpy.data.armatures) == 1 and bpy.context.scene.collection.children
    bpy.ops.object.mode_set(mode="OBJECT")


def test_who_is_posed_stays_in_pose_mode_when_another_comes(capture: str, avatar: Avatar) -> None:
    bpy.ops.object.mode_set(mode="POSE")
    assert bpy.ops.pantomime.import_capture(filepath=capture) == {"FINISHED"}
    assert bpy.context.mode == "POSE" and bpy.context.object == avatar.armature
    bpy.ops.object.mode_set(mode="OBJECT")


def test_an_avatar_whose_scene_is_gone_comes_into_the_one_that_is_shown(capture: str) -> None:
    first, second = bpy.context.scene, bpy.data.scenes.new("Second")

    def build(_job: Job, _result: object) -> object:
        bpy.data.scenes.remove(second)
        return result_steps([capture], None, "Second", "Photo to Avatar")

    SESSION.submit(Job(None, "person", "Second", SolverSettings(), build))  # type: ignore[arg-type]
    SESSION.wait()
    assert not SESSION.status.error
    assert [obj.type for obj in first.objects].count("ARMATURE") == 1


def test_scenes_have_avatars_of_their_own(capture: str) -> None:
    first = bpy.context.scene
    bpy.ops.scene.new(type="EMPTY")
    second = bpy.context.scene
    assert bpy.ops.pantomime.import_capture(filepath=capture) == {"FINISHED"}
    assert not first.objects and len(second.objects) == 3 and second.camera is not None
    assert bpy.ops.pantomime.import_capture(filepath=capture, scene_name=first.name) == {"FINISHED"}
    assert len(first.objects) == 3 and first.camera != second.camera
    assert bpy.context.scene == second and bpy.context.object.name in second.objects


def test_an_avatar_in_edit_mode_is_not_corrected(avatar: Avatar) -> None:
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(RuntimeError, match="Leave edit mode"):
        drag()
    bpy.ops.object.mode_set(mode="OBJECT")


def test_an_avatar_whose_bones_were_renamed_says_so(avatar: Avatar) -> None:
    bone = avatar.armature.data.bones["left_elbow"]
    bone.name = "forearm.L"
    for change in (
        drag,
        bpy.ops.pantomime.set_pose,
        bpy.ops.pantomime.mirror_pose,
        bpy.ops.pantomime.snap_to_floor,
        bpy.ops.pantomime.reset_shape,
        bpy.ops.pantomime.refit,
        bpy.ops.pantomime.photo_texture,
        bpy.ops.pantomime.make_asset,
        bpy.ops.pantomime.add_controls,
        bpy.ops.pantomime.export,
    ):
        with pytest.raises(RuntimeError, match="Bones of this avatar were renamed or removed"):
            change()
    height = avatar.armature.pantomime_avatar.height
    avatar.armature.pantomime_avatar.height = height - 20
    assert avatar.armature.pantomime_avatar.height == height
    bone.name = "left_elbow"
    assert drag() == {"FINISHED"}


def test_an_expression_whose_key_was_removed_is_none(avatar: Avatar) -> None:
    rig, skin = avatar.armature, avatar.mesh
    skin.shape_key_remove(skin.data.shape_keys.key_blocks["jawOpen"])
    before = arm(rig)
    assert drag() == {"FINISHED"}
    assert np.abs(arm(rig) - before).max() > 0.01
    rig.pantomime_avatar.height = 150.0
    assert rig.pantomime_avatar.height == pytest.approx(150.0, abs=0.1)
    skin.shape_key_remove(skin.data.shape_keys.key_blocks["Shape000"])
    for change in (drag, bpy.ops.pantomime.reset_shape):
        with pytest.raises(RuntimeError, match="lacks shape keys"):
            change()


@pytest.mark.parametrize("how", ["pose mode", "hidden", "collection"])
def test_hidden_and_posed_avatars_are_corrected(avatar: Avatar, how: str) -> None:
    before = arm(avatar.armature)
    if how == "pose mode":
        bpy.ops.object.mode_set(mode="POSE")
    elif how == "hidden":
        avatar.armature.hide_set(True)
        avatar.mesh.hide_set(True)
    else:
        avatar.collection.hide_viewport = True
    with bpy.context.temp_override(active_object=avatar.armature, object=avatar.armature):
        assert drag() == {"FINISHED"}
    assert np.abs(arm(avatar.armature) - before).max() > 0.01
    if how == "pose mode":
        assert bpy.context.mode == "POSE"
        bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize("with_pin", [False, True])
def test_a_copy_of_an_avatar_has_its_own_pins(avatar: Avatar, with_pin: bool) -> None:
    rig = avatar.armature
    pin = pins.pin_bone(rig, "left_wrist", rig.matrix_world @ rig.pose.bones["left_wrist"].head)
    for obj in (rig, avatar.mesh, *([pin] if with_pin else [])):
        obj.select_set(True)
    bpy.ops.object.duplicate()
    copy = next(obj for obj in bpy.data.objects if obj.type == "ARMATURE" and obj != rig)
    assert copy.users_collection == rig.users_collection
    assert pins.empties(rig) == {"left_wrist": pin} and avatars.rig_of(pin) == rig
    own = pins.empties(copy)
    assert len(own) == with_pin and pin not in own.values()
    assert all(avatars.rig_of(other) == copy for other in own.values())


def test_a_linked_avatar_is_refused_and_its_override_corrected(avatar: Avatar, tmp_path: Path) -> None:
    collection = avatar.collection.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.collections = [collection]
    linked = bpy.data.collections[collection]
    bpy.context.scene.collection.children.link(linked)
    bpy.context.view_layer.objects.active = next(obj for obj in linked.objects if obj.type == "ARMATURE")
    with pytest.raises(RuntimeError, match="linked"):
        drag()
    # As File ▸ Link brings it.
    instance = bpy.data.objects.new("instance", None)
    instance.instance_type, instance.instance_collection = "COLLECTION", linked
    bpy.context.scene.collection.objects.link(instance)
    bpy.context.view_layer.objects.active = instance
    with pytest.raises(RuntimeError, match=r"linked.*Library Override"):
        drag()
    local = linked.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer, do_fully_editable=True)
    rig = next(obj for obj in local.all_objects if obj.type == "ARMATURE")
    bpy.context.view_layer.objects.active = rig
    before = arm(rig)
    assert drag() == {"FINISHED"}
    assert np.abs(arm(rig) - before).max() > 0.01
    # What was corrected is kept by the file that links.
    after = arm(rig)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    rig = next(obj for obj in bpy.data.objects if obj.type == "ARMATURE" and obj.override_library is not None)
    np.testing.assert_allclose(arm(rig), after, atol=1e-6)


def test_a_project_that_was_moved_still_finds_its_photo(
    free_body: BodyModel, random_capture: Maker, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    image = bpy.data.images.new("photo", 64, 48)
    image.filepath_raw, image.file_format = str(old / "photo.png"), "PNG"
    image.save()
    bpy.data.images.remove(image)
    bpy.ops.wm.save_as_mainfile(filepath=str(old / "shot.blend"))
    bpy.context.preferences.filepaths.use_relative_paths = True
    build_avatar(random_capture(free_body, 1, source=str(old / "photo.png")), free_body)
    bpy.ops.wm.save_mainfile()
    shutil.move(old, new)
    bpy.ops.wm.open_mainfile(filepath=str(new / "shot.blend"))
    rig = next(obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE")
    eye = camera_of(rig)
    assert eye is not None
    assert Path(projection_of(rig, eye).photo) == new / "photo.png"
    (new / "photo.png").unlink()
    assert Path(projection_of(rig, eye).photo) == old / "photo.png"
