"""The avatar that follows a clip: rough, then solved, then the animation. Views stay in its camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import EARLY, Capture
from pantomime.scene import axes
from pantomime.scene.action import AnimationSettings
from pantomime.scene.clip_preview import ClipPreview
from pantomime.scene.from_file import avatars_from_files
from pantomime.scene.identity import camera_of
from pantomime.scene.steps import finish

bpy = pytest.importorskip("bpy")

Make = Callable[..., Capture]
pytestmark = pytest.mark.usefixtures("empty_file")
TIMING = AnimationSettings(1.0, 24.0)


@pytest.fixture
def write(free_body: BodyModel, random_capture: Make, tmp_path: Path) -> Callable[..., str]:
    """Captures of stretches of one clip: rough ones have another shape and lens."""

    def stretch(first: int, last: int, early: int = 0, person: int = 0) -> str:
        capture = random_capture(free_body, 3, amount=0.1, frames=last - first)
        path = tmp_path / f"{first}-{last}-{early}-{person}.npz"
        replace(
            capture, frame_times_s=(np.arange(first, last) / 24.0).astype(np.float32), person_id=person,
            betas=capture.betas * (0.5 if early else 1.0), focal_px=capture.focal_px * (0.8 if early else 1.0),
            frame_indices=np.arange(first, last, dtype=np.int32), diagnostics={EARLY: early} if early else {},
        ).save(path)  # fmt: skip
        return str(path)

    return stretch


def rigs() -> list[bpy.types.Object]:
    return [obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE"]


def others(first: bpy.types.Object) -> list[bpy.types.Object]:
    return [rig for rig in rigs() if rig != first]


def last_frame(rig: bpy.types.Object) -> float:
    return float(rig.animation_data.action.frame_range[1])


def test_rough_motion_then_the_solved_one_then_the_animation(write: Callable[..., str]) -> None:
    scene, layer = bpy.context.scene, bpy.context.view_layer
    own = bpy.data.objects.new("own camera", bpy.data.cameras.new("own camera"))
    scene.collection.objects.link(own)
    # Somebody stands there already.
    avatars_from_files([write(3, 4)], None, scene)
    other = rigs()[0]
    preview = ClipPreview(None, TIMING)
    finish(preview.show(write(0, 10, early=1), scene))
    (rough,) = others(other)
    assert rough.location.x == pytest.approx(1.5)
    name = rough.name
    bpy.context.view_layer.update()
    finish(preview.show(write(10, 20, early=1), scene))
    assert others(other) == [rough] and last_frame(rough) == 20.0
    # What comes later goes on where the first stretch was.
    scene.frame_set(10)
    before = rough.matrix_world @ rough.pose.bones["pelvis"].head
    scene.frame_set(11)
    assert (rough.matrix_world @ rough.pose.bones["pelvis"].head - before).length < 0.5
    # Somebody looks through its camera, one view with a camera of its own; the rig is selected.
    scene.camera = camera_of(rough)
    spaces = [s for screen in bpy.data.screens for a in screen.areas for s in a.spaces if s.type == "VIEW_3D"]
    assert len(spaces) > 1
    spaces[0].camera, spaces[1].camera = camera_of(rough), own
    layer.objects.active = rough

    finish(preview.show(write(0, 8), scene))
    (solved,) = others(other)
    assert solved.name != name and last_frame(solved) == 8.0
    assert scene.camera == camera_of(solved) == spaces[0].camera and spaces[1].camera == own
    assert layer.objects.active == solved and solved.select_get()
    finish(preview.show(write(8, 20), scene))
    assert others(other) == [solved] and last_frame(solved) == 20.0

    # The animation stands where the preview did.
    place = solved.location.copy()
    made = avatars_from_files([write(0, 20)], None, scene, TIMING)
    preview.give_way(made)
    assert others(other) == [made[0].armature]
    assert (made[0].armature.location - place).length < 1e-6
    assert scene.camera == made[0].camera == spaces[0].camera and spaces[1].camera == own
    assert not [item for item in (*bpy.data.objects, *bpy.data.collections) if "preview" in item.name]
    assert len(bpy.data.cameras) == 3 and len(bpy.data.armatures) == 2


def test_rough_motion_of_somebody_else_takes_the_place_of_who_was_shown(write: Callable[..., str]) -> None:
    scene, layer = bpy.context.scene, bpy.context.view_layer
    preview = ClipPreview(None, TIMING)
    finish(preview.show(write(0, 10, early=1), scene))
    first, place = rigs()[0].name, rigs()[0].location.copy()
    layer.update()
    scene.camera, layer.objects.active = camera_of(rigs()[0]), rigs()[0]
    finish(preview.show(write(10, 20, early=2), scene))
    (rig,) = rigs()
    assert rig.name != first and (rig.location - place).length < 0.5 and layer.objects.active == rig
    assert scene.camera == camera_of(rig) and tuple(rig.animation_data.action.frame_range) == (11.0, 20.0)
    finish(preview.show(write(20, 30, early=2), scene))
    assert rigs() == [rig] and last_frame(rig) == 30.0
    assert len(bpy.data.cameras) == len(bpy.data.armatures) == 1


def test_what_a_cancel_leaves_is_an_avatar_like_others(write: Callable[..., str]) -> None:
    scene = bpy.context.scene
    preview = ClipPreview(None, TIMING)
    finish(preview.show(write(0, 5), scene))
    finish(preview.show(write(0, 5, early=1, person=1), scene))
    preview.keep()
    # The rough one is gone.
    (rig,) = rigs()
    assert not [item for item in (*bpy.data.objects, *bpy.data.collections) if "preview" in item.name]
    # The next one is set beside it.
    made = avatars_from_files([write(0, 5)], None, scene, TIMING)
    assert abs(made[0].armature.location.x - rig.location.x) > 1.0
    assert len(rigs()) == 2


def test_a_camera_that_turns_turns_in_the_preview_too(
    write: Callable[..., str], free_body: BodyModel, tmp_path: Path
) -> None:
    scene = bpy.context.scene
    preview = ClipPreview(None, TIMING)
    stretches = [Capture.load(write(first, first + 10)) for first in (0, 10, 20)]
    for number, capture in enumerate(stretches):
        turns = np.zeros((10, 3), np.float32)
        turns[:, 1] = 0.02 * (10 * number + np.arange(10))
        replace(capture, camera_rotvec=turns).save(tmp_path / "turned.npz")
        finish(preview.show(str(tmp_path / "turned.npz"), scene))
        scene.frame_set(6)  # somebody looks at it meanwhile
    (rig,) = rigs()
    eye = camera_of(rig)
    assert eye is not None
    for frame in (1, 8, 15, 28):
        scene.frame_set(frame)
        rotation, centre = axes.camera_frame(np.array(eye.matrix_world, np.float64))
        head = np.array(rig.matrix_world @ rig.pose.bones["pelvis"].head)
        capture, row = stretches[(frame - 1) // 10], (frame - 1) % 10
        expected = free_body.J_template[0] + free_body.J_shapedirs[0] @ capture.betas + capture.transl[row]
        np.testing.assert_allclose(rotation.T @ (head - centre), expected, atol=2e-3, err_msg=str(frame))


def test_people_of_one_clip_stand_before_one_camera(write: Callable[..., str]) -> None:
    scene = bpy.context.scene
    preview = ClipPreview(None, TIMING)
    finish(preview.show(write(0, 5, early=1), scene))
    finish(preview.show(write(0, 5, early=1, person=1), scene))
    bpy.context.view_layer.update()
    one, two = (camera_of(rig) for rig in rigs())
    assert one is not None and two is not None
    assert (one.matrix_world.translation - two.matrix_world.translation).length < 1e-5
    made = avatars_from_files([write(0, 5)], None, scene, TIMING)
    preview.give_way(made)
    # What came after the preview is not called the second of its name.
    assert not [item.name for item in (*bpy.data.objects, *bpy.data.cameras) if item.name.endswith(".001")]


def test_a_preview_that_was_taken_away_is_not_missed(write: Callable[..., str]) -> None:
    scene = bpy.context.scene
    preview = ClipPreview(None, TIMING)
    finish(preview.show(write(0, 5, early=1), scene))
    bpy.data.objects.remove(rigs()[0])
    finish(preview.show(write(5, 10, early=1), scene))
    assert not rigs()
    made = avatars_from_files([write(0, 10)], None, scene, TIMING)
    preview.give_way(made)
    assert rigs() == [made[0].armature]
