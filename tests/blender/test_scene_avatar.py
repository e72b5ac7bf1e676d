"""The avatar that Blender shows is the body that core computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_NAMES, mirror_name
from pantomime.core.body.skinning import Body
from pantomime.core.capture import Capture
from pantomime.scene import axes, materials
from pantomime.scene.avatar import (
    Avatar,
    AvatarError,
    AvatarSettings,
    build_avatar,
    find_mesh,
)
from pantomime.scene.axes import continuous
from pantomime.scene.identity import PROPERTY
from pantomime.scene.render import world_vertices
from pantomime.scene.shapekeys import shape_name
from pantomime.scene.shaping import fit_rest_to_shape

bpy = pytest.importorskip("bpy")
pytestmark = pytest.mark.usefixtures("empty_file")

HALF_MILLIMETRE = 0.5e-3
Make = Callable[..., Capture]


def core_vertices(capture: Capture, body: BodyModel, frame: int = 0) -> NDArray[np.float64]:
    """Vertices of the solver's own skinning, camera frame."""
    vertices = Body(body, dtype=torch.float64).vertices(
        betas=torch.tensor(capture.betas, dtype=torch.float64),
        expression=torch.tensor(capture.expression[frame], dtype=torch.float64),
        rotmats=torch.tensor(axes.rotation_matrices(capture.full_pose()[frame].reshape(55, 3))),
        transl=torch.tensor(capture.transl[frame], dtype=torch.float64),
    )
    return vertices.numpy()


def in_world(points: NDArray[np.float64], avatar: Avatar) -> NDArray[np.float64]:
    """Points of the camera's frame in Blender's world."""
    rotation, centre = axes.camera_frame(np.array(avatar.camera.matrix_world))
    return points @ rotation.T + centre


def furthest(avatar: Avatar, capture: Capture, body: BodyModel, frame: int = 0) -> float:
    """Largest distance of a vertex from core's, metres."""
    expected = in_world(core_vertices(capture, body, frame), avatar)
    return float(np.linalg.norm(world_vertices(avatar.mesh) - expected, axis=1).max())


@pytest.mark.parametrize("seed", range(20))
def test_every_vertex_lies_where_core_puts_it(free_body: BodyModel, random_capture: Make, seed: int) -> None:
    capture = random_capture(free_body, seed)
    avatar = build_avatar(capture, free_body)
    assert furthest(avatar, capture, free_body) < HALF_MILLIMETRE


@pytest.mark.parametrize("correctives", ["driven", "current"])
def test_a_body_with_dense_correctives_and_moving_joints_lies_where_core_puts_it(
    smplx_like_body: BodyModel, random_capture: Make, correctives: str
) -> None:
    capture = random_capture(smplx_like_body, 1)
    avatar = build_avatar(capture, smplx_like_body, AvatarSettings(pose_correctives=correctives))
    assert furthest(avatar, capture, smplx_like_body) < HALF_MILLIMETRE


def test_correctives_that_nobody_feels_cost_no_key(smplx_like_body: BodyModel, random_capture: Make) -> None:
    weak = smplx_like_body.posedirs.copy()
    weak[:, :, 200:] *= 1e-4
    body = replace(smplx_like_body, posedirs=weak)
    capture = random_capture(body, 1)
    avatar = build_avatar(capture, body)
    names = avatar.mesh.data.shape_keys.key_blocks.keys()
    assert sum(name.startswith("Pose ") for name in names) == 200
    assert furthest(avatar, capture, body) < HALF_MILLIMETRE


def test_correctives_follow_a_bone_turned_by_hand(smplx_like_body: BodyModel, random_capture: Make) -> None:
    capture = random_capture(smplx_like_body, 2)
    avatar = build_avatar(capture, smplx_like_body, AvatarSettings(pose_correctives="driven"))
    elbow = JOINT_NAMES.index("left_elbow")
    bone = avatar.armature.pose.bones["left_elbow"]
    bone.rotation_mode = "XYZ"  # a driver must not depend on how the bone stores its rotation
    bone.rotation_euler = (0.9, 0.1, -0.2)
    own = np.array(bone.bone.matrix_local.to_3x3()).T @ axes.BODY_TO_BLENDER
    turn = own.T @ np.array(bone.rotation_euler.to_matrix()) @ own
    pose = capture.body_pose.copy()
    angle = np.arccos((np.trace(turn) - 1) / 2)
    skew = turn - turn.T
    axis = np.array([skew[2, 1], skew[0, 2], skew[1, 0]]) / (2 * np.sin(angle))
    pose[0, 3 * (elbow - 1) : 3 * elbow] = angle * axis
    assert furthest(avatar, replace(capture, body_pose=pose), smplx_like_body) < HALF_MILLIMETRE


def test_drivers_need_no_permission_to_run_scripts(smplx_like_body: BodyModel, random_capture: Make) -> None:
    avatar = build_avatar(
        random_capture(smplx_like_body, 3), smplx_like_body, AvatarSettings(pose_correctives="driven")
    )
    drivers = [curve.driver for curve in avatar.mesh.data.shape_keys.animation_data.drivers]
    assert len(drivers) == 486
    assert all(driver.is_simple_expression and driver.is_valid for driver in drivers)


def test_saving_and_loading_changes_nothing(free_body: BodyModel, random_capture: Make, tmp_path: Path) -> None:
    capture = random_capture(free_body, 4)
    avatar = build_avatar(capture, free_body)
    names = avatar.armature.name, avatar.mesh.name, avatar.camera.name
    before = world_vertices(avatar.mesh)
    identity = avatar.armature[PROPERTY].to_dict()
    lens = avatar.camera.data.lens, avatar.camera.data.shift_x, avatar.camera.data.shift_y
    path = str(tmp_path / "avatar ü.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=path)
    rig, skin, camera = (bpy.data.objects[name] for name in names)
    assert np.array_equal(world_vertices(skin), before)
    assert rig[PROPERTY].to_dict() == identity
    assert (camera.data.lens, camera.data.shift_x, camera.data.shift_y) == lens
    assert find_mesh(rig) == skin


def test_bones_move_to_a_shape_changed_by_hand(free_body: BodyModel, random_capture: Make) -> None:
    capture = random_capture(free_body, 5)
    avatar = build_avatar(capture, free_body)
    changed = capture.betas.copy()
    changed[:3] = (1.5, -2.0, 0.7)
    for k in range(3):
        avatar.mesh.data.shape_keys.key_blocks[shape_name(k)].value = changed[k]
    fit_rest_to_shape(avatar.armature, free_body)
    expected = core_vertices(replace(capture, betas=changed), free_body)
    # The avatar keeps its place, so only its form is compared: both are centred.
    expected = in_world(expected, avatar)
    actual = world_vertices(avatar.mesh)
    offset = actual.mean(axis=0) - expected.mean(axis=0)
    assert np.linalg.norm(actual - expected - offset, axis=1).max() < HALF_MILLIMETRE


def test_the_lowest_point_is_on_the_floor_and_the_pelvis_over_the_origin(
    free_body: BodyModel, random_capture: Make
) -> None:
    avatar = build_avatar(random_capture(free_body, 6), free_body)
    assert abs(world_vertices(avatar.mesh)[:, 2].min()) < HALF_MILLIMETRE
    pelvis = avatar.armature.matrix_world @ avatar.armature.pose.bones["pelvis"].head
    assert np.hypot(pelvis.x, pelvis.y) < HALF_MILLIMETRE


def test_an_upright_person_seen_from_the_front_faces_minus_y(free_body: BodyModel, random_capture: Make) -> None:
    avatar = build_avatar(random_capture(free_body, 0, amount=0.0), free_body)
    bpy.context.view_layer.update()
    bones = avatar.armature.pose.bones
    for name in JOINT_NAMES:
        assert abs(abs(bones[name].rotation_quaternion.w) - 1.0) < 1e-6, name
    assert bones["left_wrist"].head.x > 0.3 > -0.3 > bones["right_wrist"].head.x
    assert bones["left_foot"].head.y < bones["left_ankle"].head.y
    assert bones["head"].head.z > bones["pelvis"].head.z > 0.5
    assert avatar.camera.matrix_world.translation.y < -2.0


def test_a_tilted_camera_leaves_the_person_upright(free_body: BodyModel, random_capture: Make) -> None:
    tilt = np.radians(20.0)
    up = np.array([0.0, -np.cos(tilt), -np.sin(tilt)], np.float32)  # the camera looks down
    # Upright in the world means turned by the tilt in the camera's frame.
    orient = np.array([[np.pi + tilt, 0.0, 0.0]], np.float32)
    capture = random_capture(free_body, 0, amount=0.0, up_camera=up, global_orient=orient)
    avatar = build_avatar(capture, free_body)
    bpy.context.view_layer.update()
    bones = avatar.armature.pose.bones
    spine = np.array(bones["head"].head - bones["pelvis"].head)
    rest = np.array(bones["head"].bone.head_local - bones["pelvis"].bone.head_local)
    assert np.allclose(spine, rest, atol=1e-4)
    assert avatar.camera.matrix_world.to_3x3().col[2].z == pytest.approx(np.sin(tilt), abs=1e-5)


def test_a_mirrored_pose_is_the_mirror_image(free_body: BodyModel, random_capture: Make) -> None:
    avatar = build_avatar(random_capture(free_body, 7, amount=0.0), free_body)
    rig = avatar.armature
    rng = np.random.default_rng(0)
    for bone in rig.pose.bones:
        turn = axes.quaternions(0.3 * rng.normal(size=3))
        bone.rotation_quaternion = turn
    bpy.context.view_layer.update()
    before = {bone.name: bone.head.copy() for bone in rig.pose.bones}
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="POSE")
    bpy.ops.pose.select_all(action="SELECT")
    bpy.ops.pose.copy()
    bpy.ops.pose.paste(flipped=True)
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.view_layer.update()
    # Bones are as symmetric as the body is.
    rest = np.array([rig.data.bones[name].head_local for name in JOINT_NAMES])
    mirrored = np.array([rig.data.bones[mirror_name(name)].head_local for name in JOINT_NAMES]) * (-1, 1, 1)
    tolerance = 1e-4 + 2 * np.abs(rest - mirrored).max()
    assert tolerance < 3e-3
    for name, head in before.items():
        other = rig.pose.bones[mirror_name(name)].head
        assert np.allclose(other, (-head.x, head.y, head.z), atol=tolerance), name


def test_plus_x_bends_every_finger_into_the_palm(free_body: BodyModel, random_capture: Make) -> None:
    avatar = build_avatar(random_capture(free_body, 0, amount=0.0), free_body)
    bones = avatar.armature.pose.bones
    for side in ("left", "right"):
        for finger in ("index", "middle", "ring", "pinky"):
            tip = bones[f"{side}_{finger}3"].bone.tail_local
            for k in (1, 2, 3):
                bones[f"{side}_{finger}{k}"].rotation_quaternion = axes.quaternions(np.array([0.5, 0.0, 0.0]))
            bpy.context.view_layer.update()
            moved = bones[f"{side}_{finger}3"].tail - tip
            assert moved.z < -0.02, (side, finger)  # palms face down at rest
            assert abs(moved.y) < 0.5 * abs(moved.z), (side, finger)


def test_plus_x_bends_knees_and_elbows_the_way_they_go(free_body: BodyModel, random_capture: Make) -> None:
    avatar = build_avatar(random_capture(free_body, 0, amount=0.0), free_body)
    bones = avatar.armature.pose.bones
    for side in ("left", "right"):
        for name in ("knee", "elbow"):
            bones[f"{side}_{name}"].rotation_quaternion = axes.quaternions(np.array([1.0, 0.0, 0.0]))
    bones["jaw"].rotation_quaternion = axes.quaternions(np.array([0.3, 0.0, 0.0]))
    bpy.context.view_layer.update()
    for side in ("left", "right"):
        assert bones[f"{side}_ankle"].head.y > bones[f"{side}_ankle"].bone.head_local.y + 0.1  # heels go back
        assert bones[f"{side}_wrist"].head.y < bones[f"{side}_wrist"].bone.head_local.y - 0.1  # hands come forward
    assert bones["jaw"].tail.z < bones["jaw"].bone.tail_local.z - 0.01


def test_two_avatars_stand_side_by_side_without_sharing_anything(free_body: BodyModel, random_capture: Make) -> None:
    first, second = random_capture(free_body, 8), random_capture(free_body, 9, person_id=1)
    one = build_avatar(first, free_body, AvatarSettings(name="Pat"))
    two = build_avatar(second, free_body, AvatarSettings(name="Pat", camera=one.camera))
    assert two.camera == one.camera
    assert two.collection != one.collection
    assert {o.name for o in one.collection.objects}.isdisjoint(o.name for o in two.collection.objects)
    assert set(one.mesh.data.materials).isdisjoint(two.mesh.data.materials)
    assert furthest(one, first, free_body) < HALF_MILLIMETRE
    assert furthest(two, second, free_body) < HALF_MILLIMETRE
    one.armature.pose.bones["left_knee"].rotation_quaternion = (1.0, 0.0, 0.0, 0.0)
    assert furthest(two, second, free_body) < HALF_MILLIMETRE


def test_what_a_garment_covers_has_its_colour_in_solid_view_too(free_body: BodyModel, random_capture: Make) -> None:
    data = build_avatar(random_capture(free_body, 8), free_body).mesh.data
    kinds = [material.name.rpartition(" ")[2] for material in data.materials]
    field = np.array([value.value for value in data.attributes[materials.GARMENT_ATTRIBUTE].data])
    inside = np.array([field[list(face.vertices)].max() > 0.0 for face in data.polygons])
    slots = np.array([face.material_index for face in data.polygons])
    clothed = slots == kinds.index(materials.GARMENT_KIND)
    assert 500 < clothed.sum() < 0.5 * len(slots)
    assert not clothed[~inside].any()
    assert not (slots[inside] == kinds.index("skin")).any()
    garment, skin = (data.materials[kinds.index(kind)].diffuse_color[:] for kind in (materials.GARMENT_KIND, "skin"))
    assert garment == pytest.approx(materials.viewport_colour(materials.Look().garment), abs=1e-3)
    assert skin != garment
    # Teeth are lighter than solid shading can show.
    teeth = data.materials[kinds.index("teeth")]
    assert materials.albedo(teeth) == pytest.approx((0.9, 0.86, 0.77), abs=1e-3)
    bare = build_avatar(random_capture(free_body, 8), free_body, AvatarSettings(look=materials.Look(garment=None)))
    assert len(bare.mesh.data.materials) == len(data.materials) - 1


@pytest.mark.parametrize("licensed", [False, True], ids=["free", "licensed"])
def test_eyes_have_irises_and_pupils_in_solid_view(free_body: BodyModel, random_capture: Make, licensed: bool) -> None:
    body = free_body
    if licensed:  # whose file has no UVs, and does not tell irises from the rest of eyes
        eyes = np.isin(free_body.material_ids, [free_body.material_names.index(n) for n in ("sclera", "iris", "pupil")])
        body = replace(free_body, body_id="smplx-neutral", material_names=("skin", "sclera"),
                       material_ids=eyes.astype(np.uint8), quad_uvs=np.zeros((0, 4), np.int32),
                       uv_coords=np.zeros((0, 2), np.float32), vertex_groups={})  # fmt: skip
    data = build_avatar(random_capture(body, 8), body).mesh.data
    kinds = [material.name.rpartition(" ")[2] for material in data.materials]
    slots = np.array([face.material_index for face in data.polygons])
    direction = np.array([value.vector for value in data.attributes["eye_direction"].data])
    middles = np.array([direction[list(face.vertices)].mean(axis=0) for face in data.polygons])
    look = materials.Look()
    for part, colour, most in (("iris", look.iris, 0.5), ("pupil", materials.PUPIL_COLOUR, 0.25)):
        shown = data.materials[kinds.index(part)].diffuse_color[:]
        assert shown == pytest.approx(materials.viewport_colour(colour), abs=1e-3)
        faces = middles[slots == kinds.index(part)]
        assert len(faces) >= 4 and (faces[:, 1] < 0.0).all() and np.hypot(faces[:, 0], faces[:, 2]).max() < most
    assert min(data.materials[kinds.index("eyes")].diffuse_color) > 0.9


def test_nothing_else_in_the_scene_changes(free_body: BodyModel, random_capture: Make) -> None:
    bpy.ops.mesh.primitive_cube_add(location=(1.0, 2.0, 3.0))
    cube = bpy.context.object
    camera = bpy.data.objects.new("Mine", bpy.data.cameras.new("Mine"))
    scene = bpy.context.scene
    scene.collection.objects.link(camera)
    scene.camera = camera
    bpy.ops.object.mode_set(mode="EDIT")
    render = scene.render.resolution_x, scene.render.resolution_y, scene.render.engine
    frame = scene.frame_current, scene.frame_end
    avatar = build_avatar(random_capture(free_body, 10), free_body)
    assert bpy.context.view_layer.objects.active == cube
    assert cube.mode == "EDIT"
    assert cube.select_get()
    assert not avatar.armature.select_get()
    assert tuple(cube.location) == (1.0, 2.0, 3.0)
    assert scene.camera == camera
    assert (scene.render.resolution_x, scene.render.resolution_y, scene.render.engine) == render
    assert (scene.frame_current, scene.frame_end) == frame
    assert set(scene.objects) - set(avatar.collection.objects) == {cube, camera}


def test_a_scene_other_than_the_windows_can_be_built_into(free_body: BodyModel, random_capture: Make) -> None:
    other = bpy.data.scenes.new("Other")
    capture = random_capture(free_body, 11)
    avatar = build_avatar(capture, free_body, scene=other)
    assert set(other.objects) == set(avatar.collection.objects)
    assert not bpy.context.scene.objects
    assert [b.name for b in avatar.armature.data.bones] == [b.name for b in avatar.armature.pose.bones]
    assert set(JOINT_NAMES) == {b.name for b in avatar.armature.data.bones}


def test_expressions_have_the_names_and_limits_of_arkit(free_body: BodyModel, random_capture: Make) -> None:
    blocks = build_avatar(random_capture(free_body, 12), free_body).mesh.data.shape_keys.key_blocks
    assert len(free_body.expression_names) == 52
    for name in ("jawOpen", "mouthSmileLeft", "eyeBlinkRight", *free_body.expression_names):
        assert (blocks[name].slider_min, blocks[name].slider_max) == (0.0, 1.0)
    assert (blocks["Shape000"].slider_min, blocks["Shape000"].slider_max) == (-5.0, 5.0)
    assert blocks[0].name == "Basis"


def test_a_shape_beyond_the_slider_is_not_cut_off(free_body: BodyModel, random_capture: Make) -> None:
    capture = random_capture(free_body, 13)
    capture.betas[0] = 6.25
    avatar = build_avatar(capture, free_body)
    assert avatar.mesh.data.shape_keys.key_blocks["Shape000"].value == pytest.approx(6.25)


def test_uvs_are_those_of_the_body_corner_by_corner(free_body: BodyModel, random_capture: Make) -> None:
    data = build_avatar(random_capture(free_body, 14), free_body).mesh.data
    assert len(data.polygons) == len(free_body.quads)
    uvs = np.empty(2 * len(data.loops), np.float32)
    data.uv_layers.active.uv.foreach_get("vector", uvs)
    assert np.array_equal(uvs.reshape(-1, 4, 2), free_body.uv_coords[free_body.quad_uvs])
    corners = np.empty(len(data.loops), np.int32)
    data.loops.foreach_get("vertex_index", corners)
    assert np.array_equal(corners.reshape(-1, 4), free_body.quads)
    assert not data.validate()
    assert all(polygon.use_smooth for polygon in data.polygons)


def test_bones_are_sorted_into_collections(free_body: BodyModel, random_capture: Make) -> None:
    rig = build_avatar(random_capture(free_body, 15), free_body).armature
    sizes = {c.name: len(c.bones) for c in rig.data.collections}
    assert sizes == {"Body": 22, "Left hand": 15, "Right hand": 15, "Face": 3}


def test_a_capture_of_another_body_is_refused_in_one_sentence(free_body: BodyModel, random_capture: Make) -> None:
    capture = random_capture(free_body, 16, body_id="smplx-female")
    with pytest.raises(AvatarError, match="smplx-female"):
        build_avatar(capture, free_body)
    assert not bpy.data.objects


def test_a_capture_with_numbers_that_are_none_is_refused(free_body: BodyModel, random_capture: Make) -> None:
    capture = random_capture(free_body, 17)
    capture.body_pose[0, 3] = np.nan
    with pytest.raises(AvatarError, match="not numbers"):
        build_avatar(capture, free_body)
    assert not bpy.data.objects


def test_a_moving_capture_is_keyed_frame_by_frame(free_body: BodyModel, random_capture: Make) -> None:
    times = np.array([0.0, 0.5, 1.0], np.float32)
    capture = random_capture(free_body, 18, frames=3, frame_times_s=times)
    scene = bpy.context.scene
    scene.render.fps = 30
    avatar = build_avatar(capture, free_body)
    for k, frame in enumerate((1, 16, 31)):
        scene.frame_set(frame)
        assert furthest(avatar, capture, free_body, k) < HALF_MILLIMETRE


def test_expressions_that_move_joints_are_followed_through_a_clip(
    smplx_like_body: BodyModel, random_capture: Make
) -> None:
    capture = random_capture(smplx_like_body, 19, frames=2, frame_times_s=np.array([0.0, 1.0], np.float32))
    avatar = build_avatar(capture, smplx_like_body)
    for k in range(2):
        bpy.context.scene.frame_set(1 + k * bpy.context.scene.render.fps)
        assert furthest(avatar, capture, smplx_like_body, k) < HALF_MILLIMETRE


def test_turns_of_more_than_half_a_circle_are_keyed_without_a_jump() -> None:
    angles = np.linspace(0.0, 2.5 * np.pi, 40)
    wrapped = (angles + np.pi) % (2 * np.pi) - np.pi
    quaternions = continuous(axes.quaternions(wrapped[:, None] * np.array([0.0, 0.0, 1.0])))
    assert np.abs(np.diff(quaternions, axis=0)).max() < 0.2
    assert np.allclose(np.abs(quaternions[:, 0]), np.abs(np.cos(angles / 2)))


def test_a_build_that_fails_half_way_leaves_the_scene_as_it_was(
    free_body: BodyModel, random_capture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pantomime.scene.shapekeys.add_shape_and_expression", out_of_memory)
    with pytest.raises(MemoryError):
        build_avatar(random_capture(free_body, 20), free_body)
    assert not bpy.data.objects
    assert not bpy.data.collections
