"""Pose ↔ capture, points ↔ viewport, pins on the avatar: what corrections stand on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Euler, Matrix, Vector

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_NAMES
from pantomime.core.capture import Capture
from pantomime.operators.points import moved_off_photo
from pantomime.scene import current, handles, pins, pose, seen
from pantomime.scene.avatar import AvatarError, AvatarSettings, build_avatar, find_mesh
from pantomime.scene.identity import camera_of

pytestmark = pytest.mark.usefixtures("empty_file")
MakeCapture = Callable[..., Capture]


def built(capture: Capture, body: BodyModel) -> tuple[bpy.types.Object, bpy.types.Object]:
    avatar = build_avatar(capture, body, AvatarSettings(background=False))
    bpy.context.view_layer.update()
    assert avatar.camera is not None
    return avatar.armature, avatar.camera


def joints_px(capture: Capture, body: BodyModel) -> np.ndarray:
    joints = pose.posed_joints(body, capture.betas, capture.expression[0], capture.full_pose()[0], capture.transl[0])
    return capture.focal_px * joints[:, :2] / joints[:, 2:] + capture.principal_px


@pytest.mark.parametrize("size", [(640, 480), (480, 800)], ids=["landscape", "portrait"])
def test_an_avatar_gives_back_the_capture_it_was_made_from(
    free_body: BodyModel, random_capture: MakeCapture, size: tuple[int, int]
) -> None:
    principal = np.array([0.45 * size[0], 0.56 * size[1]], np.float32)
    points = {"pose33": np.random.default_rng(1).uniform(0, 400, (1, 33, 3)).astype(np.float32)}
    capture = random_capture(free_body, 4, image_size=size, principal_px=principal, points=points)
    rig, eye = built(capture, free_body)
    assert camera_of(rig) == eye
    back = current.current_capture(rig, free_body, eye, bpy.context.scene)
    np.testing.assert_allclose(joints_px(back, free_body), joints_px(capture, free_body), atol=0.02)
    np.testing.assert_allclose(back.body_pose, capture.body_pose, atol=2e-5)
    np.testing.assert_allclose(back.left_hand_pose, capture.left_hand_pose, atol=2e-5)
    np.testing.assert_allclose(back.transl, capture.transl, atol=2e-5)
    np.testing.assert_allclose(back.betas, capture.betas, atol=1e-6)
    np.testing.assert_allclose([back.focal_px, *back.principal_px], [capture.focal_px, *principal], rtol=1e-4)
    assert back.image_size == size and list(back.points) == ["pose33"]
    np.testing.assert_array_equal(back.points["pose33"], points["pose33"])


def test_a_moved_turned_and_scaled_avatar_is_seen_as_the_camera_sees_it(
    free_body: BodyModel, random_capture: MakeCapture
) -> None:
    rig, eye = built(random_capture(free_body, 2, 0.5), free_body)
    rig.matrix_world = Matrix.LocRotScale(Vector((0.3, 0.2, 0.1)), Euler((0.1, 0.2, 0.5)), Vector((1.4, 1.4, 1.4)))
    eye.location.x += 0.2
    bpy.context.view_layer.update()
    back = current.current_capture(rig, free_body, eye, bpy.context.scene)
    shown = joints_px(back, free_body)
    for joint, name in enumerate(JOINT_NAMES):
        place = world_to_camera_view(bpy.context.scene, eye, rig.matrix_world @ rig.pose.bones[name].head)
        # The render's frame is wider than the photo, which fills its height.
        render = bpy.context.scene.render
        frame_width = back.image_size[1] * render.resolution_x / render.resolution_y
        across = 0.5 * back.image_size[0] + (place.x - 0.5) * frame_width
        down = back.image_size[1] * (1 - place.y)
        np.testing.assert_allclose(shown[joint], [across, down], atol=0.05)


def test_a_pose_put_on_the_bones_comes_back(free_body: BodyModel, random_capture: MakeCapture) -> None:
    rig, eye = built(random_capture(free_body, 2, 0.5), free_body)
    rig.matrix_world = Matrix.LocRotScale(Vector((0.3, 0.2, 0.1)), Euler((0.1, 0.2, 0.5)), Vector((0.8, 0.8, 0.8)))
    bpy.context.view_layer.update()
    before = current.current_capture(rig, free_body, eye, bpy.context.scene)
    other = random_capture(free_body, 9, 0.5)
    other = replace(other, betas=before.betas, expression=np.clip(before.expression + 0.1, 0, 1))
    current.apply_pose(rig, free_body, other, eye, JOINT_NAMES)
    bpy.context.view_layer.update()
    back = current.current_capture(rig, free_body, eye, bpy.context.scene)
    np.testing.assert_allclose(back.full_pose()[:, 3:], other.full_pose()[:, 3:], atol=5e-5)
    np.testing.assert_allclose(joints_px(back, free_body), joints_px(other, free_body), atol=0.02)
    np.testing.assert_allclose(back.transl, other.transl, atol=5e-5)
    np.testing.assert_allclose(back.expression, other.expression, atol=1e-6)


def test_bones_that_are_not_named_keep_their_channels(free_body: BodyModel, random_capture: MakeCapture) -> None:
    rig, eye = built(random_capture(free_body, 2, 0.5), free_body)
    before = {bone.name: bone.matrix_basis.copy() for bone in rig.pose.bones}
    capture = current.current_capture(rig, free_body, eye, bpy.context.scene)
    turned = replace(capture, body_pose=capture.body_pose + 0.2)
    current.apply_pose(rig, free_body, turned, eye, ["left_elbow"])
    changed = {bone.name for bone in rig.pose.bones if bone.matrix_basis != before[bone.name]}
    assert "left_elbow" in changed and changed <= {"left_elbow", "pelvis"}


def test_expressions_that_move_joints_are_met_too(smplx_like_body: BodyModel, random_capture: MakeCapture) -> None:
    rig, eye = built(random_capture(smplx_like_body, 5, 0.5), smplx_like_body)
    other = random_capture(smplx_like_body, 6, 0.5)
    before = current.current_capture(rig, smplx_like_body, eye, bpy.context.scene)
    other = replace(other, betas=before.betas)
    current.apply_pose(rig, smplx_like_body, other, eye, JOINT_NAMES)
    bpy.context.view_layer.update()
    back = current.current_capture(rig, smplx_like_body, eye, bpy.context.scene)
    np.testing.assert_allclose(joints_px(back, smplx_like_body), joints_px(other, smplx_like_body), atol=0.05)


def test_handles_are_where_the_detector_saw_points_else_where_the_body_shows_them(
    free_body: BodyModel, random_capture: MakeCapture
) -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(50, 400, (1, 33, 2)), rng.uniform(0.3, 1, (1, 33, 1))], -1).astype(np.float32)
    points[0, 16, 2] = 0.0
    rig, eye = built(random_capture(free_body, 3, 0.4, points={"pose33": points}), free_body)
    cache = handles.PointCache(free_body)
    found = {handle.point: handle for handle in handles.handles(rig, cache, eye, bpy.context.scene)}
    assert {name for name, _ in found} == {"pose33"}
    nose, wrist = found["pose33", 0], found["pose33", 16]
    np.testing.assert_allclose(nose.place, points[0, 0, :2], atol=1e-3)
    assert nose.name == "nose" and nose.confidence == pytest.approx(points[0, 0, 2])
    assert wrist.place == wrist.shown and wrist.confidence == 0.0 and wrist.side == "right"
    everything = handles.handles(rig, cache, eye, bpy.context.scene, hands=True, face=True)
    assert {handle.group for handle in everything} == {"body", "hand", "face"}
    # Hands and face hang on the same bones: they lie near the body's own points.
    by_name = {handle.name: np.array(handle.shown) for handle in everything}
    assert np.linalg.norm(by_name["left wrist"] - by_name["left index finger, joint 1"]) < 60
    assert np.linalg.norm(by_name["chin"] - by_name["nose"]) < 60
    pins.pin_point(rig, 1, ("pose33", 0), (12.0, 34.0))
    pins.set_locked(rig, ["right_elbow"], True)
    found = {handle.point: handle for handle in handles.handles(rig, cache, eye, bpy.context.scene)}
    assert found["pose33", 0].pinned and found["pose33", 0].place == (12.0, 34.0)
    assert found["pose33", 16].locked and not found["pose33", 15].locked


def test_points_on_bones_are_where_the_solver_has_them(free_body: BodyModel, random_capture: MakeCapture) -> None:
    """The wrist's point is rigid in the forearm: its place by Blender's bones is the one by core's chain."""
    capture = random_capture(free_body, 8, 0.6)
    rig, eye = built(capture, free_body)
    rotations, places = pose._chain(
        current.shape_of(rig, free_body, current.armatures.bone_frames(rig)[0]).joints,
        current.axes.rotation_matrices(capture.full_pose()[0].astype(np.float64).reshape(55, 3)),
    )
    cache = handles.PointCache(free_body)
    found = {handle.point: handle for handle in handles.handles(rig, cache, eye, bpy.context.scene, True, True)}
    joints = current.shape_of(rig, free_body, current.armatures.bone_frames(rig)[0]).joints
    for name in ("pose33", "left_hand", "face468"):
        points = free_body.virtual_points(free_body.points[name])
        at_rest = points.template + points.shapedirs @ capture.betas + points.exprdirs @ capture.expression[0]
        for (set_name, index), handle in found.items():
            if set_name == name:
                local = at_rest[index] - joints
                carried = np.einsum("kab,kb->ka", rotations, local) + places
                there = points.weights[index] @ carried + capture.transl[0]
                expected = capture.focal_px * there[:2] / there[2] + capture.principal_px
                np.testing.assert_allclose(handle.shown, expected, atol=0.2)


@pytest.mark.parametrize("size", [(640, 480), (480, 800), (1000, 400)])
@pytest.mark.parametrize("render", [(1920, 1080), (500, 900)])
def test_the_picture_lies_in_the_viewport_where_the_camera_sees_it(
    free_body: BodyModel, random_capture: MakeCapture, size: tuple[int, int], render: tuple[int, int]
) -> None:
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = render
    principal = np.array([0.4 * size[0], 0.55 * size[1]], np.float32)
    capture = random_capture(free_body, 1, 0.3, image_size=size, principal_px=principal)
    rig, eye = built(capture, free_body)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    projection = eye.calc_matrix_camera(depsgraph, x=render[0], y=render[1])
    # A view that is zoomed and moved, as the viewport's camera view may be.
    zoom = Matrix.Translation((0.3, -0.2, 0.0)) @ Matrix.Diagonal((1.7, 1.7, 1.0, 1.0))
    perspective = zoom @ projection @ eye.matrix_world.normalized().inverted()
    region = (900, 700)
    matrix = handles.picture_to_region(rig, eye, scene, np.array(perspective), region)
    corners = [(0.0, 0.0), (float(size[0]), 0.0), (0.3 * size[0], 0.7 * size[1])]
    there = handles.transform(matrix, corners)
    for (x, y), place in zip(corners, there, strict=True):
        ray = Vector(((x - principal[0]) / capture.focal_px, -(y - principal[1]) / capture.focal_px, -1.0)) * 2.5
        clip = perspective @ (eye.matrix_world @ ray).to_4d()
        expected = [(1 + clip.x / clip.w) * region[0] / 2, (1 + clip.y / clip.w) * region[1] / 2]
        np.testing.assert_allclose(place, expected, atol=0.05)
    np.testing.assert_allclose(handles.transform(np.linalg.inv(matrix), there), corners, atol=0.01)
    # The photo's frame is the camera's: its corners are at the edges of a frame of the same shape.
    if render[0] / render[1] == pytest.approx(size[0] / size[1]):
        np.testing.assert_allclose(world_to_camera_view(scene, eye, eye.matrix_world @ ray)[:2], [0.3, 0.3], atol=1e-3)


def test_pins_and_locks_are_saved_with_the_file(
    free_body: BodyModel, random_capture: MakeCapture, tmp_path: Path
) -> None:
    points = {"pose33": np.ones((1, 33, 3), np.float32)}
    rig, _ = built(random_capture(free_body, 3, points=points), free_body)
    pins.pin_point(rig, 1, ("pose33", 15), (10.5, 20.25))
    pins.set_locked(rig, pins.LIMBS["left_leg"], True)
    pins.pin_bone(rig, "left_wrist", Vector((0.1, 0.2, 0.3)))
    name = rig.name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    rig = bpy.data.objects[name]
    assert pins.pinned_points(rig, 77) == {("pose33", 15): (10.5, 20.25)}
    assert pins.locked(rig) == set(pins.LIMBS["left_leg"])
    assert list(pins.empties(rig)) == ["left_wrist"]
    assert camera_of(rig) is not None
    assert seen.points(rig, 1, {"pose33": 33})["pose33"].shape == (33, 3)
    pins.clear(rig, 1)
    assert pins.pinned_points(rig, 1) == {} and pins.empties(rig) == {}
    assert pins.locked(rig) == set(pins.LIMBS["left_leg"])
    pins.set_locked(rig, JOINT_NAMES, False)
    assert pins.PROPERTY not in rig


def test_pins_of_an_avatar_with_an_action_belong_to_their_frame(
    free_body: BodyModel, random_capture: MakeCapture
) -> None:
    points = {"pose33": np.arange(2 * 33 * 3, dtype=np.float32).reshape(2, 33, 3)}
    capture = random_capture(free_body, 3, frames=2, frame_times_s=np.array([0, 1], np.float32), points=points)
    rig, _ = built(capture, free_body)
    pins.pin_point(rig, 1, ("pose33", 15), (1.0, 2.0))
    pins.pin_point(rig, 25, ("pose33", 15), (3.0, 4.0))
    assert pins.pinned_points(rig, 1) == {("pose33", 15): (1.0, 2.0)}
    assert pins.pinned_points(rig, 2) == {}
    first = bpy.context.scene.frame_start
    rate = bpy.context.scene.render.fps
    np.testing.assert_array_equal(seen.points(rig, first, {"pose33": 33})["pose33"], points["pose33"][0])
    np.testing.assert_array_equal(seen.points(rig, first + rate, {"pose33": 33})["pose33"], points["pose33"][1])
    pins.clear(rig, 25)
    assert pins.pinned_points(rig, 25) == {} and pins.pinned_points(rig, 1)


def test_what_corrections_cannot_serve_is_said(free_body: BodyModel, random_capture: MakeCapture) -> None:
    rig, eye = built(random_capture(free_body, 3), free_body)
    scene = bpy.context.scene

    def refused(sentence: str) -> None:
        with pytest.raises(AvatarError, match=sentence):
            current.current_capture(rig, free_body, eye, scene)

    rig.scale = (1, 2, 1)
    bpy.context.view_layer.update()
    refused("scaled unevenly")
    rig.scale = (1, 1, 1)
    eye.data.type = "ORTHO"
    bpy.context.view_layer.update()
    refused("perspective camera")
    eye.data.type = "PERSP"
    constraint = rig.pose.bones["left_wrist"].constraints.new("LIMIT_ROTATION")
    refused("The bone left_wrist of .* is moved by constraints")
    constraint.mute = True
    skin = find_mesh(rig)
    assert skin is not None
    skin.modifiers.clear()
    bpy.context.view_layer.update()
    refused("no body with shape keys")


def test_who_was_moved_off_the_photo_is_known(free_body: BodyModel, random_capture: Callable[..., Capture]) -> None:
    first, second = random_capture(free_body, 8), random_capture(free_body, 9, person_id=1)
    one = build_avatar(first, free_body, AvatarSettings(name="Pat"))
    two = build_avatar(second, free_body, AvatarSettings(name="Pat", camera=one.camera))
    rig, eye = one.armature, one.camera
    assert eye is not None

    def moved() -> bool:
        bpy.context.view_layer.update()
        return moved_off_photo(rig)

    assert not moved() and not moved_off_photo(two.armature)
    rig.location.x += 0.2
    assert moved() and not moved_off_photo(two.armature)
    eye.location.x += 0.2  # the camera along with it
    assert not moved() and moved_off_photo(two.armature)
    rig.rotation_euler.z = 0.2
    assert moved()
    rig.rotation_euler.z, rig.scale = 0.0, (1.1, 1.1, 1.1)
    assert moved()
    rig.scale = (1.0, 1.0, 1.0)
    one.armature.pose.bones["pelvis"].location.x += 0.5  # a pose is no concern of it
    assert not moved()
