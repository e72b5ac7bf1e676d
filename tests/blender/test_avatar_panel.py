"""What the panel *Avatar* does: shape, pose, face, certainty, in every state that a file may be in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest

from pantomime.core.body import measure
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_NAMES, MIRROR
from pantomime.core.capture import Capture
from pantomime.operators import avatars, certainty, face
from pantomime.operators.shape import betas_of, measures_of
from pantomime.scene import posing, rest
from pantomime.scene.avatar import Avatar, build_avatar
from pantomime.scene.axes import BODY_TO_BLENDER, axis_angle
from pantomime.scene.identity import PINNED_BONE
from pantomime.scene.shapekeys import get_values

pytestmark = pytest.mark.usefixtures("extension", "empty_file")

Maker = Callable[..., Capture]


@pytest.fixture
def avatar(free_body: BodyModel, random_capture: Maker, empty_file: None) -> Avatar:
    sigma = np.linspace(0.01, 0.2, 55, dtype=np.float32)[None]
    made = build_avatar(random_capture(free_body, 3, amount=0.6, joint_sigma_m=sigma), free_body)
    bpy.context.view_layer.objects.active = made.armature
    return made


def vertices(avatar: Avatar) -> np.ndarray:
    """As drawn, in the world."""
    shown = avatar.mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = shown.to_mesh()
    flat = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", flat)
    shown.to_mesh_clear()
    matrix = np.array(shown.matrix_world)
    return np.asarray(flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3])


def joints(avatar: Avatar) -> np.ndarray:
    bpy.context.view_layer.update()
    return np.array([bone.head for bone in avatar.armature.pose.bones])


def values(avatar: Avatar) -> list[float]:
    group = avatar.armature.pantomime_avatar
    return [group.height, group.weight, group.age, group.sex]


# ------------------------------------------------------------------------------------------------------------- shape


@pytest.mark.parametrize(
    ("name", "value", "index"), [("height", 150.0, 0), ("weight", 90.0, 1), ("age", 70.0, 2), ("sex", 1.0, 3)]
)
def test_a_slider_changes_what_it_is_called_and_the_bones_follow(
    avatar: Avatar, free_body: BodyModel, name: str, value: float, index: int
) -> None:
    wanted = values(avatar)
    if name == "height":
        wanted[1] *= (value / wanted[0]) ** 2
    if name == "age":
        mean = np.zeros(free_body.num_betas)
        measures = measure.measures_of(free_body)
        now, then = (measures.measure(measures.changed(mean, "age", years)) for years in (wanted[2], value))
        wanted[:2] = [value * ratio for value, ratio in zip(wanted[:2], (then / now).tolist(), strict=False)]
    wanted[index] = value
    setattr(avatar.armature.pantomime_avatar, name, value)
    assert values(avatar) == pytest.approx(wanted, rel=1e-3, abs=2e-3)
    betas = np.array(betas_of(avatar.armature))
    expression = get_values(avatar.mesh.data, free_body.expression_names)
    expected = rest.to_object_space(
        rest.rest_joints(free_body, betas, expression), np.array(avatar.armature["pantomime"]["ground_m"])
    )
    heads = [avatar.armature.data.bones[joint].head_local for joint in JOINT_NAMES]
    np.testing.assert_allclose(heads, expected, atol=1e-4)


def test_a_taller_person_stands_where_the_smaller_one_stood(avatar: Avatar) -> None:
    bpy.ops.pantomime.set_pose(kind="A")
    assert vertices(avatar)[:, 2].min() == pytest.approx(0.0, abs=1e-4)
    avatar.armature.pantomime_avatar.height = 200.0
    bpy.context.view_layer.update()
    assert vertices(avatar)[:, 2].min() == pytest.approx(0.0, abs=0.01)
    assert np.ptp(vertices(avatar)[:, 2]) == pytest.approx(2.0, abs=0.01)


def test_components_and_reset(avatar: Avatar) -> None:
    group = avatar.armature.pantomime_avatar
    captured = betas_of(avatar.armature)
    assert list(group.components)[:24] == pytest.approx(captured)
    group.components[2] = 1.5
    assert betas_of(avatar.armature)[2] == pytest.approx(1.5)
    assert avatar.mesh.data.shape_keys.key_blocks["Shape002"].value == pytest.approx(1.5)
    assert bpy.ops.pantomime.reset_shape(to="MEAN") == {"FINISHED"}
    assert betas_of(avatar.armature) == pytest.approx([0.0] * 24)
    assert bpy.ops.pantomime.reset_shape(to="CAPTURED") == {"FINISHED"}
    assert betas_of(avatar.armature) == pytest.approx(captured)
    heads = [tuple(bone.head_local) for bone in avatar.armature.data.bones]
    avatar.mesh.data.shape_keys.key_blocks["Shape000"].value += 1.0
    assert [tuple(bone.head_local) for bone in avatar.armature.data.bones] == heads
    assert bpy.ops.pantomime.reset_shape(to="NOW") == {"FINISHED"}
    assert [tuple(bone.head_local) for bone in avatar.armature.data.bones] != heads


def test_a_licensed_avatar_without_its_folder_says_what_to_do(
    smplx_like_body: BodyModel, random_capture: Maker
) -> None:
    made = build_avatar(random_capture(smplx_like_body, 1), smplx_like_body)
    bpy.context.view_layer.objects.active = made.armature
    assert measures_of(made.armature) == () and made.armature.pantomime_avatar.height == 0.0
    with pytest.raises(RuntimeError, match="preferences"):
        bpy.ops.pantomime.reset_shape(to="MEAN")
    assert not bpy.ops.pantomime.set_expression.poll()
    assert bpy.ops.pantomime.set_pose(kind="T") == {"FINISHED"}


# -------------------------------------------------------------------------------------------------------------- pose


def test_poses_are_what_they_are_called(avatar: Avatar) -> None:
    before = joints(avatar)
    place = np.array(avatar.armature.location)
    index = {bone.name: k for k, bone in enumerate(avatar.armature.pose.bones)}
    for kind, slope in (("T", 0.0), ("A", np.tan(np.radians(45.0)))):
        assert bpy.ops.pantomime.set_pose(kind=kind) == {"FINISHED"}
        at = joints(avatar)
        assert vertices(avatar)[:, 2].min() == pytest.approx(0.0, abs=1e-4)
        assert np.linalg.norm(at[index["pelvis"], :2] - before[index["pelvis"], :2]) < 1e-5
        for side in ("left", "right"):
            arm = at[index[f"{side}_elbow"]] - at[index[f"{side}_shoulder"]]
            assert -arm[2] / np.linalg.norm(arm[:2]) == pytest.approx(slope, abs=0.2)
    assert bpy.ops.pantomime.set_pose(kind="CAPTURED") == {"FINISHED"}
    np.testing.assert_allclose(joints(avatar), before, atol=1e-5)
    np.testing.assert_allclose(np.array(avatar.armature.location), place)
    assert bpy.ops.pantomime.set_pose(kind="REST") == {"FINISHED"}
    for bone in avatar.armature.pose.bones:
        assert tuple(bone.rotation_quaternion) == pytest.approx((1, 0, 0, 0), abs=1e-6)
    assert vertices(avatar)[:, 2].min() == pytest.approx(0.0, abs=1e-4)


def test_relaxed_hands_leave_the_rest(avatar: Avatar, free_body: BodyModel) -> None:
    before, _ = posing.read(avatar.armature)
    assert bpy.ops.pantomime.set_pose(kind="HANDS") == {"FINISHED"}
    after, _ = posing.read(avatar.armature)
    np.testing.assert_allclose(after[:25], before[:25], atol=1e-5)
    np.testing.assert_allclose(axis_angle(after[25:40]).ravel(), free_body.hands_mean[0], atol=1e-4)


def test_a_mirrored_person_is_the_picture_in_a_mirror(avatar: Avatar) -> None:
    """Joints of the mirrored pose are the mirrored joints: about the plane that the person faces along."""
    blocks = avatar.mesh.data.shape_keys.key_blocks
    blocks["mouthSmileLeft"].value, blocks["mouthSmileRight"].value = 0.7, 0.1
    rotations, pelvis = posing.read(avatar.armature)
    facing = posing.heading(rotations[0])

    def seen() -> np.ndarray:
        """Joints from the pelvis, in axes that turn with where the person faces."""
        bpy.context.view_layer.update()
        at = np.array([avatar.armature.pose.bones[name].head for name in JOINT_NAMES]) - pelvis
        return np.asarray(at @ BODY_TO_BLENDER @ facing)

    before = seen()
    assert bpy.ops.pantomime.mirror_pose() == {"FINISHED"}
    # Rest joints of a captured shape are not quite symmetrical.
    np.testing.assert_allclose(seen(), (before * [-1, 1, 1])[list(MIRROR)], atol=0.01)
    assert blocks["mouthSmileLeft"].value == pytest.approx(0.1)
    assert bpy.ops.pantomime.mirror_pose() == {"FINISHED"}
    np.testing.assert_allclose(seen(), before, atol=1e-4)


def test_the_lowest_point_comes_to_the_floor_wherever_the_avatar_is(avatar: Avatar) -> None:
    avatar.armature.location = (1.0, 2.0, 5.0)
    avatar.armature.rotation_euler = (0.2, 0.1, 1.0)
    assert bpy.ops.pantomime.snap_to_floor() == {"FINISHED"}
    bpy.context.view_layer.update()
    assert vertices(avatar)[:, 2].min() == pytest.approx(0.0, abs=1e-4)


def test_with_auto_keying_a_pose_is_keyed(avatar: Avatar) -> None:
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = True
    bpy.ops.pantomime.set_pose(kind="T")
    action = avatar.armature.animation_data.action
    assert action.frame_range[0] == bpy.context.scene.frame_current
    bpy.context.scene.tool_settings.use_keyframe_insert_auto = False


# -------------------------------------------------------------------------------------------------------------- face


def test_expressions_set_what_they_name_and_nothing_else(avatar: Avatar) -> None:
    blocks = avatar.mesh.data.shape_keys.key_blocks
    names = {block.name for block in blocks if any(block.name.startswith(prefix) for _, prefix in face.FACE_GROUPS)}
    captured = {name: blocks[name].value for name in names}
    assert len(names) == 52
    for identifier, (_, wanted) in face.EXPRESSIONS.items():
        assert set(wanted) <= names, identifier
        assert bpy.ops.pantomime.set_expression(kind=identifier) == {"FINISHED"}
        for name in names:
            assert blocks[name].value == pytest.approx(wanted.get(name, 0.0)), (identifier, name)
    assert bpy.ops.pantomime.set_expression(kind="CAPTURED") == {"FINISHED"}
    assert {name: blocks[name].value for name in names} == pytest.approx(captured, abs=1e-6)


def test_other_keys_and_removed_ones_do_not_mix_up_the_captured_face(avatar: Avatar) -> None:
    blocks = avatar.mesh.data.shape_keys.key_blocks
    avatar.mesh.shape_key_add(name="mouthArtist", from_mix=False).value = 0.7
    avatar.mesh.shape_key_remove(blocks["browInnerUp"])
    avatar.mesh.shape_key_remove(blocks["jawOpen"])
    names = [block.name for block in blocks if not block.name.startswith("Pose ")]
    captured = {name: blocks[name].value for name in names}
    assert bpy.ops.pantomime.set_expression(kind="SMILE") == {"FINISHED"}
    assert bpy.ops.pantomime.set_expression(kind="CAPTURED") == {"FINISHED"}
    assert {name: blocks[name].value for name in names} == pytest.approx(captured, abs=1e-6)


# --------------------------------------------------------------------------------------------------------- certainty


def test_limbs_are_listed_worst_first_and_bones_take_colours(avatar: Avatar) -> None:
    limbs = certainty.limbs(avatar.armature)
    assert [limb.name for limb in limbs][:2] == ["Right hand", "Left hand"]
    assert [limb.sigma_cm for limb in limbs] == sorted((limb.sigma_cm for limb in limbs), reverse=True)
    covered = {joint for _, names in certainty.LIMBS for joint in names}
    assert covered == {bone.name for bone in avatar.armature.data.bones} - {"pelvis"}
    bones = avatar.armature.pose.bones
    avatar.armature.pantomime_avatar.show_certainty = True
    sure, guess = bones["pelvis"].color.custom.normal, bones["right_thumb3"].color.custom.normal
    assert sure.g > sure.r and guess.r > guess.g
    avatar.armature.pantomime_avatar.show_certainty = False
    assert {bone.color.palette for bone in bones} == {"DEFAULT"}


def test_a_capture_that_says_nothing_has_no_limbs(free_body: BodyModel, random_capture: Maker) -> None:
    made = build_avatar(random_capture(free_body, 1), free_body)
    assert certainty.limbs(made.armature) == []
    made.armature.pantomime_avatar.show_certainty = True


# ------------------------------------------------------------------------------------------------------------ states


def test_an_avatar_is_known_by_each_of_its_parts(avatar: Avatar) -> None:
    own = bpy.data.objects.new("Own", bpy.data.armatures.new("Own"))
    pin = bpy.data.objects.new("Pin", None)
    pin[PINNED_BONE] = "left_wrist"
    avatar.collection.objects.link(pin)
    for obj in (avatar.armature, avatar.mesh, avatar.camera, pin):
        assert avatars.rig_of(obj) == avatar.armature
        bpy.context.view_layer.objects.active = obj
        # All panels and operators ask these.
        assert avatars.avatar_of(bpy.context) == avatar.armature and not avatars.refusal(bpy.context)
    assert avatars.rig_of(own) is None and avatars.rig_of(None) is None
    assert avatars.mesh_of(avatar.armature) == avatar.mesh
    avatar.mesh.name = "Renamed"
    assert avatars.mesh_of(avatar.armature) == avatar.mesh


OPERATORS = ("set_pose", "mirror_pose", "snap_to_floor", "reset_shape", "set_expression", "look_through_camera")


def test_without_an_avatar_nothing_can_be_pressed() -> None:
    for name in OPERATORS:
        assert not getattr(bpy.ops.pantomime, name).poll(), name
    bpy.ops.mesh.primitive_cube_add()
    for name in OPERATORS:
        assert not getattr(bpy.ops.pantomime, name).poll(), name


def test_in_edit_mode_nothing_moves_bones_and_in_pose_mode_all_does(avatar: Avatar) -> None:
    bpy.ops.object.mode_set(mode="EDIT")
    assert not bpy.ops.pantomime.set_pose.poll() and not bpy.ops.pantomime.reset_shape.poll()
    bpy.ops.object.mode_set(mode="POSE")
    assert bpy.ops.pantomime.set_pose(kind="T") == {"FINISHED"}
    assert bpy.ops.pantomime.reset_shape(to="MEAN") == {"FINISHED"}
    assert bpy.context.mode == "POSE"
    bpy.ops.object.mode_set(mode="OBJECT")


def test_while_another_object_is_edited_the_shape_follows_and_its_mode_stays(avatar: Avatar) -> None:
    bpy.ops.mesh.primitive_cube_add()
    cube = bpy.context.object
    bpy.ops.object.mode_set(mode="EDIT")
    avatar.armature.pantomime_avatar.height = 165.0
    assert bpy.context.mode == "EDIT_MESH" and bpy.context.object == cube
    assert values(avatar)[0] == pytest.approx(165.0, abs=0.01)
    bpy.ops.object.mode_set(mode="OBJECT")


@pytest.mark.parametrize("how", ["exclude", "hide", "collection", "other scene"])
def test_hidden_avatars_can_be_changed(avatar: Avatar, how: str) -> None:
    layer = bpy.context.view_layer
    if how == "exclude":
        layer.layer_collection.children[avatar.collection.name].exclude = True
    elif how == "hide":
        avatar.armature.hide_set(True)
        avatar.mesh.hide_set(True)
    elif how == "collection":
        avatar.collection.hide_viewport = True
    else:
        bpy.ops.scene.new(type="EMPTY")
    avatar.armature.pantomime_avatar.height = 165.0
    assert values(avatar)[0] == pytest.approx(165.0, abs=0.01)
    with bpy.context.temp_override(object=avatar.armature):
        assert bpy.ops.pantomime.set_pose(kind="T") == {"FINISHED"}
        assert not bpy.ops.pantomime.snap_to_floor.poll()


def test_each_step_is_one_undo_step(avatar: Avatar) -> None:
    bpy.ops.ed.undo_push(message="built")
    name = avatar.armature.name
    height = values(avatar)[0]
    bpy.ops.pantomime.reset_shape("EXEC_DEFAULT", True, to="MEAN")
    bpy.ops.pantomime.set_pose("EXEC_DEFAULT", True, kind="T")
    bpy.ops.ed.undo_history(item=0)
    rig = bpy.data.objects[name]
    assert rig.pantomime_avatar.height == pytest.approx(height, abs=1e-3)
    bpy.ops.ed.undo_history(item=1)
    rig = bpy.data.objects[name]
    assert rig.pantomime_avatar.height != pytest.approx(height, abs=0.1)
    assert len(bpy.data.scenes) == 1


def test_an_avatar_is_still_an_avatar_after_saving_and_opening(avatar: Avatar, tmp_path: Path) -> None:
    name, before = avatar.armature.name, values(avatar)
    avatar.armature.pantomime_avatar.show_certainty = True
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    rig = bpy.data.objects[name]
    bpy.context.view_layer.objects.active = rig
    group = rig.pantomime_avatar
    assert [group.height, group.weight, group.age, group.sex] == pytest.approx(before, rel=1e-5)
    assert group.show_certainty
    group.height = 160.0
    assert group.height == pytest.approx(160.0, abs=0.01)
    for kind in ("T", "CAPTURED"):
        assert bpy.ops.pantomime.set_pose(kind=kind) == {"FINISHED"}
    assert bpy.ops.pantomime.set_expression(kind="SMILE") == {"FINISHED"}
    assert len(certainty.limbs(rig)) == 8


def test_linked_and_overridden_avatars_are_left_alone_and_say_why(avatar: Avatar, tmp_path: Path) -> None:
    name, collection = avatar.armature.name, avatar.collection.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.collections = [collection]
    linked = bpy.data.collections[collection]
    bpy.context.scene.collection.children.link(linked)
    rig = linked.objects[name]
    bpy.context.view_layer.objects.active = rig
    height = rig.pantomime_avatar.height
    assert height > 100.0
    assert "linked" in avatars.why_not_pose(rig) and "linked" in avatars.why_not_shape(rig)
    for operator in ("set_pose", "mirror_pose", "snap_to_floor", "reset_shape", "set_expression"):
        assert not getattr(bpy.ops.pantomime, operator).poll(), operator
    local = linked.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    assert local is not None
    rig = next(obj for obj in local.all_objects if obj.type == "ARMATURE")
    bpy.context.view_layer.objects.active = rig
    assert avatars.why_not_pose(rig) == "" and avatars.why_not_shape(rig) != ""
    assert bpy.ops.pantomime.set_pose(kind="T") == {"FINISHED"}
    assert not bpy.ops.pantomime.reset_shape.poll()
    rig.pantomime_avatar.height = 150.0
    assert rig.pantomime_avatar.height == pytest.approx(height, abs=1e-3)
