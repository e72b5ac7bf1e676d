"""How far a correction of one frame is carried: a mistake of some frames asks for less than one that lasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import bpy
import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX
from pantomime.core.capture import Capture
from pantomime.scene import current
from pantomime.scene.avatar import AvatarSettings, build_avatar
from pantomime.scene.even import LEAST, even_reach

pytestmark = pytest.mark.usefixtures("empty_file")
MakeCapture = Callable[..., Capture]
FRAMES, RATE, ROW = 49, 24.0, 24
REACH = (12.0, 12.0)
ELBOW = JOINT_INDEX["left_elbow"] - 1


def bent(wrong: np.ndarray) -> np.ndarray:
    """An elbow that bends evenly, and by so much (T,) wrongly: (T, 63)."""
    pose = np.zeros((FRAMES, 21, 3), np.float32)
    pose[:, ELBOW, 1] = -0.6 - 0.3 * np.sin(2 * np.pi * 0.5 * np.arange(FRAMES) / RATE) + wrong
    return pose.reshape(FRAMES, -1)


def avatar(body: BodyModel, make: MakeCapture, wrong: np.ndarray) -> tuple[bpy.types.Object, bpy.types.Object]:
    times = (np.arange(FRAMES) / RATE).astype(np.float32)
    capture = make(body, 3, 0.0, frames=FRAMES, frame_times_s=times)
    capture = replace(
        capture, body_pose=bent(wrong), global_orient=np.tile(np.array([np.pi, 0, 0], np.float32), (FRAMES, 1)),
        transl=np.tile(np.array([0.0, 0.0, 3.0], np.float32), (FRAMES, 1)),
    )  # fmt: skip
    built = build_avatar(capture, body, AvatarSettings(background=False))
    assert built.camera is not None
    bpy.context.scene.render.fps = round(RATE)
    return built.armature, built.camera


def correct(
    body: BodyModel, rig: bpy.types.Object, eye: bpy.types.Object, even: bool, reach: tuple[float, float] = REACH
) -> np.ndarray:
    """Give the elbow its true bend at one frame, and where the wrist is in all frames then (T, 3)."""
    scene = bpy.context.scene
    scene.frame_set(scene.frame_start + ROW)
    now = current.current_capture(rig, body, eye, scene)
    pose = now.body_pose.copy()
    pose[0] = bent(np.zeros(FRAMES))[ROW]
    current.apply_pose(
        rig, body, replace(now, body_pose=pose), eye, ["left_elbow"], scene.frame_current, reach, RATE, even
    )
    return wrist(rig)


def wrist(rig: bpy.types.Object) -> np.ndarray:
    scene, found = bpy.context.scene, []
    for row in range(FRAMES):
        scene.frame_set(scene.frame_start + row)
        found.append(np.array(rig.pose.bones["left_wrist"].head))
    return np.array(found)


def bump(width: float) -> np.ndarray:
    return 0.8 * np.exp(-(((np.arange(FRAMES) - ROW) / width) ** 2))


def test_a_short_mistake_is_put_right_without_spoiling_the_frames_around_it(
    free_body: BodyModel, random_capture: MakeCapture
) -> None:
    true = wrist(avatar(free_body, random_capture, np.zeros(FRAMES))[0])
    off = {}
    for even in (False, True):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        rig, eye = avatar(free_body, random_capture, bump(2.0))
        before = np.linalg.norm(wrist(rig) - true, axis=-1)
        off[even] = np.linalg.norm(correct(free_body, rig, eye, even) - true, axis=-1)
    assert off[True][ROW] < 1e-3 and off[False][ROW] < 1e-3
    assert off[True].sum() < 0.5 * before.sum() < 0.5 * off[False].sum()


def test_a_lasting_mistake_is_put_right_over_all_of_the_reach(
    free_body: BodyModel, random_capture: MakeCapture
) -> None:
    found = []
    for even in (False, True):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        rig, eye = avatar(free_body, random_capture, np.full(FRAMES, 0.5))
        found.append(correct(free_body, rig, eye, even))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize("reach", [(12.0, 12.0), (3.0, 12.0), (12.0, 1.0)])
def test_the_part_of_the_reach_is_no_more_than_it_and_some_frames_at_least(
    free_body: BodyModel, random_capture: MakeCapture, reach: tuple[float, float]
) -> None:
    rig, _ = avatar(free_body, random_capture, bump(2.0))
    scene = bpy.context.scene
    frame = scene.frame_start + ROW
    scene.frame_set(frame)
    assert even_reach(rig, ["left_elbow"], frame, reach) == reach  # nothing is moved
    rig.pose.bones["left_elbow"].rotation_quaternion = (1.0, 0.0, 0.0, 0.0)
    found = even_reach(rig, ["left_elbow"], frame, reach)
    assert found != reach
    assert all(min(LEAST, most) <= part <= most for part, most in zip(found, reach, strict=True))
    assert even_reach(rig, ["left_elbow"], frame, (0.0, 0.0)) == (0.0, 0.0)
    rig.pose.bones["spine1"].rotation_mode = "XYZ"
    assert even_reach(rig, ["left_elbow"], frame, reach) == reach
    rig.pose.bones["spine1"].rotation_mode = "QUATERNION"
    rig.animation_data.action = None
    assert even_reach(rig, ["left_elbow"], frame, reach) == reach
