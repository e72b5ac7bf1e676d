"""Corrections in Blender with the real worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Quaternion, Vector

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_NAMES
from pantomime.core.capture import Capture, CaptureError
from pantomime.operators import avatars
from pantomime.operators import points as shown_points
from pantomime.operators.correcting import LIVE
from pantomime.operators.session import SESSION
from pantomime.scene import controls, handles, pins
from pantomime.scene.avatar import AvatarSettings, build_avatar
from pantomime.scene.identity import SEEN_PROPERTY, camera_of

pytestmark = pytest.mark.usefixtures("extension")
MakeCapture = Callable[..., Capture]
WRIST, ELBOW, NOSE = 15, 13, 0


@pytest.fixture
def cache(free_body: BodyModel) -> handles.PointCache:
    return handles.PointCache(free_body)


@pytest.fixture(scope="module")
def saved(free_body: BodyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a person with arms and legs a little bent; the detector saw all, some px off."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    pose = 0.2 * np.random.default_rng(11).normal(size=(55, 3)).astype(np.float32)
    pose[0] = (np.pi, 0.1, 0.0)
    pose[JOINT_NAMES.index("left_elbow")] = (0.0, -1.0, 0.0)
    pose[JOINT_NAMES.index("left_shoulder")] = (0.0, 0.0, -0.6)
    capture = Capture(
        betas=np.zeros(free_body.num_betas, np.float32),
        expression=np.zeros((1, free_body.num_expressions), np.float32),
        global_orient=pose[:1], body_pose=pose[1:22].reshape(1, -1), jaw_pose=pose[22:23], leye_pose=pose[23:24],
        reye_pose=pose[24:25], left_hand_pose=pose[25:40].reshape(1, -1), right_hand_pose=pose[40:].reshape(1, -1),
        transl=np.array([[0.1, 0.2, 3.0]], np.float32), joints=np.zeros((1, 55, 3), np.float32),
        joint_names=JOINT_NAMES, focal_px=700.0, principal_px=np.array([320.0, 240.0], np.float32),
        image_size=(640, 480), points={"pose33": np.zeros((1, 33, 3), np.float32)},
    )  # fmt: skip
    avatar = build_avatar(capture, free_body, AvatarSettings(name="Avatar", background=False))
    rig = avatar.armature
    bpy.context.view_layer.objects.active = rig
    rig.select_set(True)
    bpy.context.view_layer.update()
    points = np.zeros((33, 3), np.float32)
    for (_, index), place in shown(rig, handles.PointCache(free_body)).items():
        points[index] = (*place + (3.0, -2.0), 0.9)
    rig[SEEN_PROPERTY]["pose33"] = points.ravel()
    path = tmp_path_factory.mktemp("correct") / "person.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


@pytest.fixture
def rig(saved: Path) -> Iterator[bpy.types.Object]:
    bpy.ops.wm.open_mainfile(filepath=str(saved))
    bpy.ops.ed.undo_push(message="avatar")
    yield bpy.data.objects["Avatar"]
    SESSION.notices = []


def shown(rig: bpy.types.Object, cache: handles.PointCache, hands: bool = False) -> dict[tuple[str, int], np.ndarray]:
    bpy.context.view_layer.update()
    found = handles.handles(rig, cache, camera_of(rig), bpy.context.scene, hands)
    return {handle.point: np.array(handle.shown) for handle in found}


def channels(rig: bpy.types.Object) -> dict[str, tuple[float, ...]]:
    return {b.name: (*b.location, *b.rotation_quaternion) for b in rig.pose.bones}


def drag(index: int, place: np.ndarray, set_name: str = "pose33") -> set[str]:
    return bpy.ops.pantomime.drag_point(set_name=set_name, index=index, x=float(place[0]), y=float(place[1]))


def test_a_dragged_wrist_takes_the_arm_along_and_nothing_else(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    before, objects = channels(rig), set(bpy.data.objects.keys())
    target = shown(rig, cache)["pose33", WRIST] + (-25.0, 15.0)
    assert drag(WRIST, target) == {"FINISHED"}
    np.testing.assert_allclose(shown(rig, cache)["pose33", WRIST], target, atol=0.5)
    after = channels(rig)
    changed = {name for name in before if before[name] != after[name]}
    assert "left_elbow" in changed
    assert changed <= {"left_collar", "left_shoulder", "left_elbow", "left_wrist", "pelvis"}
    np.testing.assert_allclose(after["pelvis"], before["pelvis"], atol=1e-5)
    assert set(bpy.data.objects.keys()) == objects
    assert pins.pinned_points(rig, 1)["pose33", WRIST] == pytest.approx(tuple(target), abs=1e-3)


def test_each_drag_is_one_undo_step(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    name = rig.name
    states = [channels(rig)]
    for index, shift in ((WRIST, (20.0, -10.0)), (ELBOW, (6.0, 4.0))):
        drag(index, shown(rig, cache)["pose33", index] + shift)
        states.append(channels(rig))
    assert states[0] != states[1] != states[2]
    # Without a window one undoes through the history, whose first step is the file as it was opened.
    for step in (0, 1, 2, 1):
        bpy.ops.ed.undo_history(item=step)
        rig = bpy.data.objects[name]
        assert channels(rig) == states[step]
        assert len(pins.pinned_points(rig, 1)) == step


@pytest.mark.parametrize("ik", [1.0, 0.5])
def test_limbs_that_ik_handles_lead_are_corrected_and_led_again(
    rig: bpy.types.Object, cache: handles.PointCache, ik: float
) -> None:
    controls.add_controls(rig)
    handle = rig.pose.bones["left_hand_ik"]
    handle.location.z += 0.05
    handle["ik"] = ik
    rig.update_tag()
    bpy.context.view_layer.update()
    target = shown(rig, cache)["pose33", WRIST] + (-20.0, 10.0)
    knee = shown(rig, cache)["pose33", 25]
    assert drag(WRIST, target) == {"FINISHED"}
    assert {limb.handle: rig.pose.bones[limb.handle]["ik"] for limb in controls.LIMBS} == {
        limb.handle: ik if limb.handle == "left_hand_ik" else 1.0 for limb in controls.LIMBS
    }
    np.testing.assert_allclose(shown(rig, cache)["pose33", WRIST], target, atol=0.5)
    np.testing.assert_allclose(shown(rig, cache)["pose33", 25], knee, atol=0.5)
    assert (handle.head - rig.pose.bones["left_wrist"].head).length < 1e-3
    handle.location.z -= 0.05
    bpy.context.view_layer.update()
    assert np.abs(shown(rig, cache)["pose33", WRIST] - target).max() > 2.0


def test_a_motion_that_ik_handles_lead_is_refused_with_a_way_out(rig: bpy.types.Object) -> None:
    controls.add_controls(rig)
    for frame in (1, 10):
        rig.pose.bones["left_hand_ik"].keyframe_insert("location", frame=frame)
    with pytest.raises(RuntimeError, match="Set their sliders to 0"):
        drag(WRIST, np.array([300.0, 200.0]))
    assert rig.pose.bones["left_hand_ik"]["ik"] == 1.0


def test_pins_of_earlier_drags_hold(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    wrist = shown(rig, cache)["pose33", WRIST] + (20.0, -15.0)
    drag(WRIST, wrist)
    nose = shown(rig, cache)["pose33", NOSE] + (-8.0, 3.0)
    drag(NOSE, nose)
    drag(ELBOW, shown(rig, cache)["pose33", ELBOW] + (5.0, 5.0))
    np.testing.assert_allclose(shown(rig, cache)["pose33", WRIST], wrist, atol=0.5)
    np.testing.assert_allclose(shown(rig, cache)["pose33", NOSE], nose, atol=0.5)


def test_of_many_positions_the_last_one_counts(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    start = shown(rig, cache)["pose33", WRIST]
    LIVE.begin(bpy.context, rig, ("pose33", WRIST), tuple(start))
    for k in range(1, 31):
        LIVE.move(bpy.context, (float(start[0] + k), float(start[1] - k)))
        assert len(SESSION.waiting) <= 1
        SESSION.poll()
    LIVE.release(bpy.context)
    SESSION.wait()
    np.testing.assert_allclose(shown(rig, cache)["pose33", WRIST], start + (30, -30), atol=0.5)
    assert list(Path(bpy.app.tempdir).glob("pantomime_*_before.npz")) == []


def test_escape_puts_back_pose_and_pins(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    before = channels(rig)
    start = shown(rig, cache)["pose33", WRIST]
    LIVE.begin(bpy.context, rig, ("pose33", WRIST), tuple(start))
    LIVE.move(bpy.context, tuple(start + (30.0, -30.0)))
    SESSION.wait()
    assert channels(rig) != before
    LIVE.move(bpy.context, tuple(start + (50.0, -30.0)))
    LIVE.cancel(bpy.context)
    SESSION.wait()  # what was on its way comes to nothing
    after = channels(rig)
    for name, values in before.items():
        np.testing.assert_allclose(after[name], values, atol=2e-6)
    assert pins.pinned_points(rig, 1) == {}
    assert LIVE.drag is None


def test_locked_limbs_keep_their_channels(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    assert bpy.ops.pantomime.lock_limb(limb="left_arm") == {"FINISHED"}
    assert shown_points.locked_limbs(bpy.context) == {"left_arm"}
    before = channels(rig)
    target = shown(rig, cache)["pose33", WRIST] + (10.0, -10.0)
    drag(WRIST, target)
    after = channels(rig)
    assert all(after[name] == before[name] for name in pins.LIMBS["left_arm"])
    np.testing.assert_allclose(shown(rig, cache)["pose33", WRIST], target, atol=0.5)
    bpy.ops.pantomime.lock_limb(limb="left_arm")
    assert shown_points.locked_limbs(bpy.context) == set()
    assert not bpy.ops.pantomime.lock_bones.poll()
    bpy.ops.object.mode_set(mode="POSE")
    select(rig, ["jaw", "head"])
    assert bpy.ops.pantomime.lock_bones() == {"FINISHED"}
    assert pins.locked(rig) == {"jaw", "head"}
    assert bpy.ops.pantomime.lock_bones() == {"FINISHED"}
    assert pins.locked(rig) == set()


def test_a_pin_is_removed_and_the_pose_stays(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    assert not bpy.ops.pantomime.remove_pins.poll()
    drag(WRIST, shown(rig, cache)["pose33", WRIST] + (10.0, -10.0))
    drag(NOSE, shown(rig, cache)["pose33", NOSE] + (3.0, 3.0))
    before = channels(rig)
    assert bpy.ops.pantomime.unpin_point(set_name="pose33", index=WRIST) == {"FINISHED"}
    assert list(pins.pinned_points(rig, 1)) == [("pose33", NOSE)]
    assert bpy.ops.pantomime.remove_pins() == {"FINISHED"}
    assert pins.pinned_points(rig, 1) == {} and channels(rig) == before


def test_a_hand_point_turns_fingers(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    before = channels(rig)
    target = shown(rig, cache, hands=True)["right_hand", 8] + (2.0, -2.0)
    drag(8, target, "right_hand")
    np.testing.assert_allclose(shown(rig, cache, hands=True)["right_hand", 8], target, atol=0.5)
    after = channels(rig)
    assert any(after[f"right_index{k}"] != before[f"right_index{k}"] for k in (1, 2, 3))


def test_bones_are_pinned_in_space_and_follow_their_empties(rig: bpy.types.Object) -> None:
    assert not bpy.ops.pantomime.pin_bones.poll()
    bpy.ops.object.mode_set(mode="POSE")
    select(rig, ["left_wrist", "right_ankle"])
    assert bpy.ops.pantomime.pin_bones() == {"FINISHED"}
    empties = pins.empties(rig)
    assert set(empties) == {"left_wrist", "right_ankle"}
    bpy.context.view_layer.update()
    for bone, empty in empties.items():
        assert (empty.matrix_world.translation - rig.matrix_world @ rig.pose.bones[bone].head).length < 1e-6
    bpy.ops.object.mode_set(mode="OBJECT")
    foot = empties["right_ankle"].location.copy()
    shown_points.settings_of(bpy.context).on = True
    empties["left_wrist"].location += Vector((0.05, -0.08, 0.1))
    bpy.context.view_layer.update()
    SESSION.wait()
    bpy.context.view_layer.update()
    shown_points.settings_of(bpy.context).on = False
    hand = rig.matrix_world @ rig.pose.bones["left_wrist"].head
    assert (hand - empties["left_wrist"].location).length < 0.001
    assert (rig.matrix_world @ rig.pose.bones["right_ankle"].head - foot).length < 0.001
    assert bpy.ops.pantomime.remove_pins() == {"FINISHED"}
    assert pins.empties(rig) == {} and "left_wrist" in rig.pose.bones


def select(rig: bpy.types.Object, names: list[str]) -> None:
    """Bones are selected on the pose since 5.0, before on the armature."""
    for bone in rig.pose.bones:
        owner = bone if "select" in bone.bl_rna.properties else bone.bone
        owner.select = bone.name in names
    rig.data.bones.active = rig.data.bones[names[0]]


def test_an_active_bone_is_pinned_at_the_cursor(rig: bpy.types.Object) -> None:
    bpy.ops.object.mode_set(mode="POSE")
    select(rig, ["left_wrist"])
    place = rig.matrix_world @ rig.pose.bones["left_wrist"].head + Vector((0.0, -0.1, 0.08))
    bpy.context.scene.cursor.location = place
    assert bpy.ops.pantomime.pin_bones(at_cursor=True) == {"FINISHED"}
    bpy.context.view_layer.update()
    assert (rig.matrix_world @ rig.pose.bones["left_wrist"].head - place).length < 0.001


def test_a_refit_goes_back_to_what_was_seen(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    truth = shown(rig, cache)["pose33", ELBOW]
    bone = rig.pose.bones["left_shoulder"]
    bone.rotation_quaternion = bone.rotation_quaternion @ Quaternion((0, 0, 1), 0.6)
    assert np.linalg.norm(shown(rig, cache)["pose33", ELBOW] - truth) > 15
    assert bpy.ops.pantomime.refit() == {"FINISHED"}
    assert np.linalg.norm(shown(rig, cache)["pose33", ELBOW] - truth) < 10


@pytest.mark.usefixtures("empty_file")
def test_an_avatar_with_an_action_is_keyed_at_the_frame(
    free_body: BodyModel, random_capture: MakeCapture, cache: handles.PointCache
) -> None:
    capture = random_capture(free_body, 11, 0.3, frames=3, frame_times_s=np.array([0, 1, 2], np.float32))
    rig = build_avatar(capture, free_body, AvatarSettings(background=False)).armature
    bpy.context.view_layer.objects.active = rig
    scene = bpy.context.scene
    scene.frame_set(scene.frame_start + 12)
    target = shown(rig, cache)["pose33", WRIST] + (15.0, -15.0)
    drag(WRIST, target)
    scene.frame_set(scene.frame_start + 12)
    np.testing.assert_allclose(shown(rig, cache)["pose33", WRIST], target, atol=0.5)
    there = scene.frame_current
    scene.frame_set(scene.frame_start + 60)
    assert pins.pinned_points(rig, scene.frame_current) == {} and pins.pinned_points(rig, there)


@pytest.mark.usefixtures("empty_file")
def test_a_correction_pulls_the_frames_around_along_and_leaves_the_rest(
    free_body: BodyModel, random_capture: MakeCapture, cache: handles.PointCache
) -> None:
    times = np.arange(0, 4, 0.25).astype(np.float32)
    capture = random_capture(free_body, 11, 0.3, frames=16, frame_times_s=times)
    rig = build_avatar(capture, free_body, AvatarSettings(background=False)).armature
    bpy.context.view_layer.objects.active = rig
    scene = bpy.context.scene
    first, rate = scene.frame_start, scene.render.fps / scene.render.fps_base
    frames = list(range(first, first + round(3.75 * rate) + 1))

    def arms() -> np.ndarray:
        found = []
        for frame in frames:
            scene.frame_set(frame)
            found.append([rig.pose.bones[name].rotation_quaternion.copy() for name in ("left_shoulder", "left_elbow")])
        return np.array(found)

    def turned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.degrees(2 * np.arccos(np.clip(np.abs((a * b).sum(-1)), 0, 1))).max(-1)

    before = arms()
    at, other = round(1.5 * rate), round(1.75 * rate)
    targets = {}
    for row, move in ((at, (20.0, -20.0)), (other, (-10.0, 10.0))):
        scene.frame_set(frames[row])
        targets[row] = shown(rig, cache)["pose33", WRIST] + move
        drag(WRIST, targets[row])
        if row == at:
            change = turned(before, arms())
            near = change[at - round(0.4 * rate) : at + round(0.4 * rate)]
            assert change[at] > 1.0 and (np.diff(change[at : at + round(0.5 * rate)]) < 0.2).all() and near.min() > 0.01
            far = np.abs(np.arange(len(frames)) - at) > 0.5 * rate
            assert change[far].max() < 0.1
    # The second correction, a moment later, leaves what was pinned before it.
    for row, target in targets.items():
        scene.frame_set(frames[row])
        np.testing.assert_allclose(shown(rig, cache)["pose33", WRIST], target, atol=0.5)


def test_pins_go_on_after_saving_and_opening(rig: bpy.types.Object, cache: handles.PointCache, tmp_path: Path) -> None:
    name = rig.name
    target = shown(rig, cache)["pose33", WRIST] + (15.0, -15.0)
    drag(WRIST, target)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    rig = bpy.data.objects[name]
    bpy.context.view_layer.objects.active = rig
    drag(NOSE, shown(rig, cache)["pose33", NOSE] + (4.0, 2.0))
    np.testing.assert_allclose(shown(rig, cache)["pose33", WRIST], target, atol=0.5)


def test_where_there_is_nothing_to_correct_it_says_so(rig: bpy.types.Object) -> None:
    operators = ("correct", "drag_point", "unpin_point", "pin_bones", "refit", "lock_limb", "remove_pins")
    bpy.context.view_layer.objects.active = None
    assert avatars.refusal(bpy.context) == "Select an avatar"
    assert not any(getattr(bpy.ops.pantomime, name).poll() for name in operators)
    bpy.context.view_layer.objects.active = rig
    assert avatars.refusal(bpy.context) == ""
    bpy.ops.object.mode_set(mode="EDIT")
    assert avatars.refusal(bpy.context) == "Leave edit mode first"
    assert not any(getattr(bpy.ops.pantomime, name).poll() for name in operators)
    bpy.ops.object.mode_set(mode="OBJECT")
    skin = next(child for child in rig.children if child.type == "MESH")
    bpy.context.view_layer.objects.active = skin
    assert avatars.avatar_of(bpy.context) == rig


def test_what_goes_wrong_is_one_sentence_and_leaves_no_pin(rig: bpy.types.Object, cache: handles.PointCache) -> None:
    place = shown(rig, cache)["pose33", WRIST]
    before = channels(rig)
    bpy.data.objects.remove(camera_of(rig))
    with pytest.raises(RuntimeError, match="has no camera"):
        drag(WRIST, place)
    assert pins.pinned_points(rig, 1) == {} and channels(rig) == before
    assert LIVE.drag is None


def test_a_full_disk_is_one_sentence_and_leaves_no_pin(
    rig: bpy.types.Object, cache: handles.PointCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_capture: Capture, path: str) -> None:
        raise CaptureError(f"Can't write {path}: No space left on device. Free some space or choose another folder.")

    place, before = shown(rig, cache)["pose33", WRIST], channels(rig)
    monkeypatch.setattr(Capture, "save", full)
    with pytest.raises(RuntimeError, match="No space left") as caught:
        drag(WRIST, place + (10.0, 10.0))
    assert "Traceback" not in str(caught.value)
    assert pins.pinned_points(rig, 1) == {} and channels(rig) == before
    assert LIVE.drag is None


def test_two_avatars_are_corrected_each_for_itself(
    rig: bpy.types.Object, free_body: BodyModel, random_capture: MakeCapture, cache: handles.PointCache
) -> None:
    other = build_avatar(random_capture(free_body, 5, 0.3), free_body, AvatarSettings(background=False)).armature
    still = channels(other)
    drag(WRIST, shown(rig, cache)["pose33", WRIST] + (10.0, -10.0))
    assert channels(other) == still
    bpy.context.view_layer.objects.active = other
    moved = channels(rig)
    target = shown(other, cache)["pose33", WRIST] + (10.0, -10.0)
    drag(WRIST, target)
    np.testing.assert_allclose(shown(other, cache)["pose33", WRIST], target, atol=0.5)
    assert channels(rig) == moved


def test_what_is_moved_while_the_solver_wakes_stays_where_it_is(rig: bpy.types.Object) -> None:
    before = channels(rig)
    LIVE.ask(bpy.context, rig, pinned=False)
    rig.location.x += 0.5
    bpy.context.view_layer.update()
    SESSION.wait()
    assert channels(rig) == before
