"""Motion from a clip: keys in time, fewer keys, markers, the clip behind the avatar, growing while it is solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.scene import action, axes, camera, keyframes, versions
from pantomime.scene.action import AnimationSettings
from pantomime.scene.avatar import AvatarSettings, build_avatar
from pantomime.scene.clip import add_clip, load_clip
from pantomime.scene.from_file import avatars_from_files
from pantomime.scene.identity import camera_of
from pantomime.scene.steps import finish

bpy = pytest.importorskip("bpy")

Make = Callable[..., Capture]
pytestmark = pytest.mark.usefixtures("empty_file")


def swinging(make: Make, body: BodyModel, frames: int = 31, rate: float = 30.0) -> Capture:
    """An elbow that swings, a mouth that opens, a person who moves along x."""
    capture = make(body, 3, amount=0.0, frames=frames)
    t = np.arange(frames) / rate
    pose = capture.body_pose.copy()
    pose[:, 17 * 3 + 1] = -1.0 + 0.8 * np.sin(4.0 * t)
    expression = capture.expression.copy()
    expression[:, body.expression_names.index("jawOpen")] = 0.5 - 0.5 * np.cos(3.0 * t)
    transl = np.repeat(capture.transl[:1], frames, axis=0)
    transl[:, 0] = t
    return replace(
        capture, body_pose=pose, expression=expression, transl=transl, frame_times_s=t.astype(np.float32),
        frame_indices=np.arange(frames, dtype=np.int32),
    )  # fmt: skip


def curves_of(owner: bpy.types.ID) -> dict[tuple[str, int], bpy.types.FCurve]:
    found = versions.channel_curves(owner.animation_data.action, owner)
    return {(curve.data_path, curve.array_index): curve for curve in found}


def elbow(curves: dict[tuple[str, int], bpy.types.FCurve], frame: float) -> np.ndarray:
    path = 'pose.bones["left_elbow"].rotation_quaternion'
    turn = np.array([curves[path, axis].evaluate(frame) for axis in range(4)])
    return turn / np.linalg.norm(turn)


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(2.0 * np.arccos(min(1.0, abs(float(a @ b))))))


def test_a_clip_of_another_rate_keeps_its_length_and_gets_whole_frames(
    free_body: BodyModel, random_capture: Make
) -> None:
    capture = swinging(random_capture, free_body)
    scene = bpy.context.scene
    scene.render.fps = 24
    own = build_avatar(capture, free_body, AvatarSettings(animation=AnimationSettings(1.0, 24.0, whole_frames=False)))
    avatar = build_avatar(capture, free_body)
    assert (scene.render.fps, scene.frame_end) == (24, 250)
    exact, resampled = curves_of(own.armature), curves_of(avatar.armature)
    key_times = np.array([k.co[0] for k in resampled['pose.bones["pelvis"].location', 0].keyframe_points])
    np.testing.assert_allclose(key_times, np.arange(1, 26), atol=1e-4)  # one second
    assert len(exact['pose.bones["left_elbow"].rotation_quaternion', 0].keyframe_points) == 31
    for frame in np.linspace(1, 25, 60):
        assert angle_deg(elbow(exact, frame), elbow(resampled, frame)) < 0.5


def test_fewer_keys_stay_within_the_tolerance(free_body: BodyModel, random_capture: Make) -> None:
    capture = swinging(random_capture, free_body, frames=121)
    settings = AnimationSettings(1.0, 30.0, reduce=True, tolerance_deg=1.0, tolerance_mm=2.0)
    full = curves_of(
        build_avatar(capture, free_body, AvatarSettings(animation=replace(settings, reduce=False))).armature
    )
    few = curves_of(build_avatar(capture, free_body, AvatarSettings(animation=settings)).armature)
    path = 'pose.bones["left_elbow"].rotation_quaternion'
    counts = {len(few[path, axis].keyframe_points) for axis in range(4) if len(few[path, axis].keyframe_points) > 1}
    assert len(counts) == 1 and counts.pop() < 45
    assert len(full[path, 0].keyframe_points) == 121
    for frame in range(1, 122):
        assert angle_deg(elbow(full, frame), elbow(few, frame)) < 1.01
    moved = 'pose.bones["pelvis"].location'
    places = [[[c[moved, k].evaluate(f) for k in range(3)] for f in range(1, 122)] for c in (full, few)]
    assert np.linalg.norm(np.subtract(*places), axis=1).max() < 0.00201
    # A straight way needs its ends only.
    assert max(len(few[moved, axis].keyframe_points) for axis in range(3)) == 2


def test_motion_does_not_go_on_over_a_cut(free_body: BodyModel, random_capture: Make) -> None:
    capture = swinging(random_capture, free_body, frames=20, rate=10.0)
    transl = capture.transl.copy()
    transl[10:, 0] += 5.0
    capture = replace(capture, transl=transl, shots=np.repeat([0, 1], 10).astype(np.int32))
    for whole in (True, False):
        settings = AnimationSettings(1.0, 25.0, whole_frames=whole, reduce=True, tolerance_mm=50.0)
        avatar = build_avatar(capture, free_body, AvatarSettings(animation=settings))
        curves = curves_of(avatar.armature)
        path = 'pose.bones["pelvis"].location'
        xs = np.array([[curves[path, k].evaluate(f) for k in range(3)] for f in np.arange(1.0, 49.0, 1.0)])
        jumps = np.linalg.norm(np.diff(xs, axis=0), axis=1)
        assert (jumps > 4.0).sum() == 1
        assert jumps[jumps < 4.0].max() < 0.2


def test_markers_tell_when_feet_come_down(free_body: BodyModel, random_capture: Make) -> None:
    capture = swinging(random_capture, free_body, frames=9)
    contacts = np.zeros((9, 4), np.float32)
    contacts[2:5, 0] = contacts[4:7, 1] = 1.0  # left: heel, then toe
    contacts[:, 2] = 1.0
    capture = replace(capture, contacts=contacts)
    settings = AnimationSettings(10.0, 30.0, contact_markers=True)
    avatar = build_avatar(capture, free_body, AvatarSettings(animation=settings))
    markers = avatar.armature.animation_data.action.pose_markers
    assert {(m.frame, m.name) for m in markers} == {(10, "Right down"), (12, "Left down"), (17, "Left up")}
    assert not bpy.context.scene.timeline_markers


def test_pushed_down_the_motion_is_a_strip_and_plays_as_before(free_body: BodyModel, random_capture: Make) -> None:
    capture = swinging(random_capture, free_body)
    settings = AnimationSettings(5.0, 30.0, push_down=True)
    avatar = build_avatar(capture, free_body, AvatarSettings(animation=settings))
    plain = build_avatar(capture, free_body, AvatarSettings(animation=replace(settings, push_down=False)))
    assert avatar.armature.animation_data.action is None
    assert len(avatar.armature.animation_data.nla_tracks) == 1
    for frame in (5, 17, 33):
        bpy.context.scene.frame_set(frame)
        for name in ("left_elbow", "pelvis"):
            a, b = (x.armature.pose.bones[name].matrix_basis for x in (avatar, plain))
            assert np.abs(np.array(a) - np.array(b)).max() < 1e-5
        jaws = [x.mesh.data.shape_keys.key_blocks["jawOpen"].value for x in (avatar, plain)]
        assert abs(jaws[0] - jaws[1]) < 1e-5


def test_the_floor_of_a_clip_is_the_floor_of_the_scene(free_body: BodyModel, random_capture: Make) -> None:
    capture = replace(swinging(random_capture, free_body), ground_m=-1.5)  # up is −y: the floor is at y = 1.5
    avatar = build_avatar(capture, free_body)
    place = camera.placement_of(avatar.camera)
    np.testing.assert_allclose((place.rotation @ [0.3, 1.5, 4.0] + place.centre)[2], 0.0, atol=1e-6)


def test_a_camera_that_turned_is_keyed_and_the_person_stays_in_its_picture(
    free_body: BodyModel, random_capture: Make
) -> None:
    capture = swinging(random_capture, free_body, frames=11)
    turns = np.zeros((11, 3), np.float32)
    turns[:, 1] = np.linspace(0.0, 1.0, 11)
    capture = replace(capture, camera_rotvec=turns)
    scene = bpy.context.scene
    avatar = build_avatar(capture, free_body, AvatarSettings(animation=AnimationSettings(1.0, 30.0)))
    for k in (0, 5, 10):
        scene.frame_set(k + 1)
        rotation, centre = axes.camera_frame(np.array(avatar.camera.matrix_world, np.float64))
        bone = avatar.armature.pose.bones["pelvis"]
        head = np.array(avatar.armature.matrix_world @ bone.head)
        seen = rotation.T @ (head - centre)
        expected = free_body.J_template[0] + free_body.J_shapedirs[0] @ capture.betas + capture.transl[k]
        np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_who_is_there_while_the_first_is_not_stays_in_the_picture_of_a_camera_that_turns(
    free_body: BodyModel, random_capture: Make, tmp_path: Path
) -> None:
    turns = np.zeros((31, 3), np.float32)
    turns[:, 1] = np.linspace(0.0, 1.0, 31)
    people = []
    for person, there in ((0, slice(10, 21)), (1, slice(0, 31))):
        count = there.stop - there.start
        capture = replace(
            swinging(random_capture, free_body, frames=count), person_id=person, source=str(tmp_path / "clip.mp4"),
            camera_rotvec=turns[there], frame_times_s=(np.arange(there.start, there.stop) / 30).astype(np.float32),
            frame_indices=np.arange(there.start, there.stop, dtype=np.int32), mocap_frame_rate=30.0,
        )  # fmt: skip
        capture.save(tmp_path / f"{person}.npz")
        people.append(capture)
    scene = bpy.context.scene
    scene.render.fps = 30
    files = [str(tmp_path / f"{person}.npz") for person in (0, 1)]
    second = avatars_from_files(files, None, scene, AnimationSettings(1.0, 30.0))[1]
    eye = camera_of(second.armature)
    assert eye is not None
    for k in (0, 5, 15, 25, 30):
        scene.frame_set(k + 1)
        rotation, centre = axes.camera_frame(np.array(eye.matrix_world, np.float64))
        head = np.array(second.armature.matrix_world @ second.armature.pose.bones["pelvis"].head)
        expected = free_body.J_template[0] + free_body.J_shapedirs[0] @ people[1].betas + people[1].transl[k]
        np.testing.assert_allclose(rotation.T @ (head - centre), expected, atol=1e-3, err_msg=str(k))


def movie(path: Path, frames: int = 40, rate: float = 10.0) -> Path:
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48))
    for k in range(frames):
        writer.write(np.full((48, 64, 3), 6 * k, np.uint8))
    writer.release()
    return path


def shown_frame(data: bpy.types.Camera, frame: int) -> int:
    """Which frame of the clip (from 0) the background shows at a frame of the scene."""
    bpy.context.scene.frame_set(frame)
    user = data.background_images[0].image_user
    return frame - user.frame_start + user.frame_offset


@pytest.mark.parametrize(("scene_rate", "first"), [(10.0, 1.0), (30.0, 5.0), (24.0, 1.0)])
def test_the_clip_behind_the_avatar_runs_with_the_keys(tmp_path: Path, scene_rate: float, first: float) -> None:
    image = load_clip(str(movie(tmp_path / "a.mp4")))
    assert image is not None and image.source == "MOVIE"
    eye = bpy.data.objects.new("eye", bpy.data.cameras.new("eye"))
    bpy.context.scene.collection.objects.link(eye)
    indices = np.arange(4, 34, 2)
    add_clip(eye, image, indices, indices / 10.0 - 0.4, first, scene_rate)
    for k, index in enumerate(indices):
        frame = first + (index / 10.0 - 0.4) * scene_rate
        assert abs(shown_frame(eye.data, round(frame)) - index) <= 1, k


@pytest.mark.parametrize("scene_rate", [10.0, 24.0, 30.0, 5.0])
def test_the_clip_runs_on_before_and_after_the_person_is_there(tmp_path: Path, scene_rate: float) -> None:
    image = load_clip(str(movie(tmp_path / "clip.mp4")))
    assert image is not None
    eye = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(eye)
    add_clip(eye, image, np.arange(10, 21), np.arange(10, 21) / 10.0, 1.0, scene_rate)
    user = eye.data.background_images[0].image_user
    for index in range(0, 40, 2):
        frame = 1 + round(index / 10.0 * scene_rate)
        bpy.context.scene.frame_set(frame)
        # As Blender counts when it draws.
        counted = min(max(frame - user.frame_start + 1, 1), user.frame_duration) + user.frame_offset
        assert abs(counted - 1 - (frame - 1) / scene_rate * 10.0) <= 1.0, index


@pytest.mark.parametrize(("turned", "scale"), [(0, 1.0), (90, 64 / 48), (180, 1.0), (270, 64 / 48)])
def test_a_clip_that_its_metadata_turns_stands_behind_the_avatar(tmp_path: Path, turned: int, scale: float) -> None:
    path = movie(tmp_path / "a.mp4")
    turn_in_metadata(path, turned)
    image = load_clip(str(path))
    eye = bpy.data.objects.new("eye", bpy.data.cameras.new("eye"))
    assert image is not None
    add_clip(eye, image, np.arange(10), np.arange(10) / 10.0, 1.0, 10.0, turned)
    background = eye.data.background_images[0]
    if bpy.app.version < (4, 5, 0):
        # A real window of 4.3 showed that this turns clockwise, and that the scale fills the frame.
        assert tuple(image.size) == (64, 48)
        assert background.rotation == pytest.approx(np.radians(turned)) and background.scale == pytest.approx(scale)
    else:
        assert tuple(image.size) == ((48, 64) if turned % 180 else (64, 48))
        assert background.rotation == 0.0 and background.scale == 1.0


def turn_in_metadata(path: Path, degrees: int) -> None:
    """Let an MP4 file say that it is to be shown turned clockwise (ISO 14496-12, 8.3.2: the track header's matrix)."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") - 4
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    values = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    data[header + 48 : header + 84] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(data)


def test_numbered_pictures_are_a_sequence_and_a_text_is_none(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    for k in (1, 2, 10):
        cv2.imwrite(str(tmp_path / f"shot{k}.png"), np.zeros((8, 8, 3), np.uint8))
    image = load_clip(str(tmp_path))
    assert image is not None and image.source == "SEQUENCE" and image.filepath.endswith("shot1.png")
    (tmp_path / "no.mp4").write_text("no clip")
    assert load_clip(str(tmp_path / "no.mp4")) is None


@pytest.mark.parametrize("first", [2_000_000, 1712345678901, 1403636579763555584, 10**20])
def test_pictures_that_are_named_by_the_clock_leave_the_camera_without_a_clip(
    free_body: BodyModel, random_capture: Make, tmp_path: Path, first: int
) -> None:
    cv2 = pytest.importorskip("cv2")
    for k in range(6):
        cv2.imwrite(str(tmp_path / f"{first + 50 * k}.png"), np.zeros((8, 8, 3), np.uint8))
    times = (np.arange(6) / 20).astype(np.float32)
    capture = random_capture(free_body, 3, frames=6, frame_times_s=times, source=str(tmp_path))
    avatar = build_avatar(capture, free_body)
    assert avatar.camera is not None and not avatar.camera.data.background_images
    assert [text for text in avatar.warnings if "can't be shown" in text]


@pytest.mark.parametrize("first", [0, 1, 101])
@pytest.mark.parametrize("rate", [12.0, 24.0, 48.0])
def test_each_frame_shows_its_own_picture_whatever_number_they_begin_with(
    tmp_path: Path, first: int, rate: float
) -> None:
    cv2 = pytest.importorskip("cv2")
    for k in range(6):
        cv2.imwrite(str(tmp_path / f"take2_{first + k:04d}_v.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / ".hidden0000.png").write_bytes(b"")
    image = load_clip(str(tmp_path))
    assert image is not None
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    # Captured from the second picture on.
    add_clip(camera, image, np.arange(1, 6), np.arange(1, 6) / rate, 11.0, 24.0)
    user = camera.data.background_images[0].image_user
    for index in range(1, 6):
        frame = 11.0 + index / rate * 24.0
        if frame == round(frame):
            bpy.context.scene.frame_set(round(frame))
            # As Blender counts when it draws. Without a window `frame_current` may still be of the offset before.
            counted = min(max(round(frame) - user.frame_start + 1, 1), user.frame_duration)
            assert counted + user.frame_offset == first + index


@pytest.mark.parametrize("left_out", [{3}, {2, 3, 7}, {2, 4, 6, 8}])
@pytest.mark.parametrize("rate", [12.0, 24.0, 48.0, 10.0])
def test_pictures_whose_numbers_leave_some_out_are_shown_one_after_another(
    tmp_path: Path, left_out: set[int], rate: float
) -> None:
    cv2 = pytest.importorskip("cv2")
    numbers = [k for k in range(1, 16) if k not in left_out]
    for k in numbers:
        cv2.imwrite(str(tmp_path / f"shot{k}.png"), np.zeros((8, 8, 3), np.uint8))
    image = load_clip(str(tmp_path))
    assert image is not None
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    bpy.context.scene.collection.objects.link(camera)
    indices = np.arange(1, len(numbers))
    add_clip(camera, image, indices, indices / rate, 11.0, 24.0)
    last = 11.0 + indices[-1] / rate * 24.0
    for frame in range(round(11.0 + 24.0 / rate), int(last) + 1):
        bpy.context.scene.frame_set(frame)
        user = camera.data.background_images[0].image_user
        number = min(max(frame - user.frame_start + 1, 1), user.frame_duration) + user.frame_offset
        index = (frame - 11.0) / 24.0 * rate
        # The nearest picture, either where two are equally near.
        assert number in numbers and abs(numbers.index(number) - index) <= 0.51, (frame, number)


def test_stretches_that_come_one_by_one_become_one_motion(free_body: BodyModel, random_capture: Make) -> None:
    capture = swinging(random_capture, free_body, frames=40)
    timing = AnimationSettings(1.0, 30.0)
    whole = curves_of(build_avatar(capture, free_body, AvatarSettings(animation=timing)).armature)

    def piece(rows: slice) -> Capture:
        names = ("expression", "global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose",
                 "right_hand_pose", "transl", "joints", "frame_times_s", "frame_indices")  # fmt: skip
        return replace(capture, **{name: getattr(capture, name)[rows] for name in names})

    avatar = build_avatar(piece(slice(0, 20)), free_body, AvatarSettings(animation=timing))
    joints = free_body.J_template + free_body.J_shapedirs @ capture.betas
    place = camera.placement_of(avatar.camera)
    for rows in (slice(16, 30), slice(28, 40)):
        channels = finish(action.motion_steps(avatar.armature, piece(rows), free_body, place, joints, timing))
        finish(action.extend_animation(avatar.armature, avatar.mesh, channels, free_body))
    grown = curves_of(avatar.armature)
    assert len(bpy.data.actions) == 4
    for frame in range(1, 41):
        assert angle_deg(elbow(whole, frame), elbow(grown, frame)) < 0.1
    path = 'pose.bones["pelvis"].location'
    ends = [[c[path, k].evaluate(f) for k in range(3) for f in (1, 18, 29, 40)] for c in (whole, grown)]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-4)


def test_no_jump_of_sign_where_neighbours_are_resampled() -> None:
    turns = axes.continuous(axes.quaternions(np.linspace(0.0, 9.0, 30)[:, None] * np.array([0.0, 1.0, 0.0])))
    channels = keyframes.Channels(
        np.linspace(1.0, 20.0, 30), np.zeros((30, 1, 3)), turns[:, None], np.zeros((30, 1)),
        np.zeros(30, np.int64), np.zeros((30, 0), np.bool_),
    )  # fmt: skip
    result = keyframes.at_whole_frames(channels)
    np.testing.assert_array_equal(result.times, np.arange(1.0, 21.0))
    assert np.abs(np.diff(result.quaternions[:, 0], axis=0)).max() < 0.3
