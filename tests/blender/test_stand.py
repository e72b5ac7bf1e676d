"""Feet that stand stay where they are in the frames that a correction is carried to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import bpy
import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, JOINT_NAMES
from pantomime.core.capture import Capture
from pantomime.scene import axes, carry, current, pins, stand
from pantomime.scene.avatar import AvatarSettings, build_avatar

pytestmark = pytest.mark.usefixtures("empty_file")
MakeCapture = Callable[..., Capture]
FRAMES, RATE, REACH = 41, 24.0, 12.0


def crouching(body: BodyModel, random_capture: MakeCapture, hz: float) -> tuple[bpy.types.Object, bpy.types.Object]:
    """Somebody whose knees and hips bend and stretch so many times a second while the pelvis stays."""
    times = (np.arange(FRAMES) / RATE).astype(np.float32)
    capture = random_capture(body, 3, 0.0, frames=FRAMES, frame_times_s=times)
    pose = np.zeros((FRAMES, 21, 3), np.float32)
    bend = 0.5 + 0.15 * np.sin(2 * np.pi * hz * times)
    for side, more in (("left", 0.0), ("right", 0.1)):
        pose[:, JOINT_INDEX[f"{side}_hip"] - 1, 0] = -bend - more
        pose[:, JOINT_INDEX[f"{side}_knee"] - 1, 0] = 2 * bend
    turn = np.tile(np.array([np.pi, 0.0, 0.0], np.float32), (FRAMES, 1))
    capture = replace(
        capture, body_pose=pose.reshape(FRAMES, -1), global_orient=turn,
        transl=np.tile(np.array([0.0, 0.0, 3.0], np.float32), (FRAMES, 1)),
    )  # fmt: skip
    avatar = build_avatar(capture, body, AvatarSettings(background=False))
    assert avatar.camera is not None
    return avatar.armature, avatar.camera


def played(rig: bpy.types.Object) -> dict[str, np.ndarray]:
    """Matrices (T, 4, 4) of the bones in armature space."""
    scene = bpy.context.scene
    found: dict[str, list[np.ndarray]] = {name: [] for name in JOINT_NAMES[:22]}
    for frame in range(FRAMES):
        scene.frame_set(scene.frame_start + frame)
        for name, poses in found.items():
            poses.append(np.array(rig.pose.bones[name].matrix))
    return {name: np.array(poses) for name, poses in found.items()}


def corrected(
    body: BodyModel, rig: bpy.types.Object, eye: bpy.types.Object, row: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Turn the pelvis by 12° about the upright at one frame; the motion before and after."""
    scene, was = bpy.context.scene, played(rig)
    scene.frame_set(scene.frame_start + row)
    now = current.current_capture(rig, body, eye, scene)
    turn = axes.rotation_matrices(np.array([0.0, np.radians(12.0), 0.0]))
    other = axes.axis_angle(turn @ axes.rotation_matrices(now.global_orient[0].astype(np.float64)))
    pose = replace(now, global_orient=other[None].astype(np.float32))
    current.apply_pose(rig, body, pose, eye, ["pelvis"], scene.frame_current, (REACH, REACH), RATE)
    return was, played(rig)


def test_slow_feet_keep_their_place_but_for_a_share_of_what_they_were_moved_by(
    free_body: BodyModel, random_capture: MakeCapture
) -> None:
    rig, eye = crouching(free_body, random_capture, 0.2)
    bpy.context.scene.render.fps = 24
    row = 20
    was, now = corrected(free_body, rig, eye, row)
    rows = np.arange(FRAMES, dtype=float)
    share = np.where(np.abs(rows - row) < REACH, carry.shares(rows, row, (REACH, REACH)), 0.0)
    for side in ("left", "right"):
        before, after = was[f"{side}_ankle"][:, :3, 3], now[f"{side}_ankle"][:, :3, 3]
        moved = after[row] - before[row]
        assert np.linalg.norm(moved) > 0.005
        np.testing.assert_allclose(after, before + share[:, None] * moved, atol=2e-4)
        # Bones keep their lengths, knees bend as they did.
        for upper, lower in (("hip", "knee"), ("knee", "ankle")):
            first, second = (now[f"{side}_{part}"][:, :3, 3] for part in (upper, lower))
            old = np.linalg.norm(was[f"{side}_{upper}"][:, :3, 3] - was[f"{side}_{lower}"][:, :3, 3], axis=-1)
            np.testing.assert_allclose(np.linalg.norm(first - second, axis=-1), old, atol=1e-5)
    far = np.abs(rows - row) > REACH
    for name, poses in now.items():
        np.testing.assert_allclose(poses[far], was[name][far], atol=1e-5, err_msg=name)


def test_fast_feet_and_locked_legs_are_carried_along_as_they_are(
    free_body: BodyModel, random_capture: MakeCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for case, hz, lock in (("fast", 3.0, False), ("locked", 0.2, True)):
        for held in (True, False):
            bpy.ops.wm.read_factory_settings(use_empty=True)
            rig, eye = crouching(free_body, random_capture, hz)
            if lock:
                pins.set_locked(rig, [*pins.LIMBS["left_leg"], *pins.LIMBS["right_leg"]], True)
            with monkeypatch.context() as patch:
                if not held:
                    patch.setattr(stand, "before", lambda *asked: None)
                found[case, held] = corrected(free_body, rig, eye, 19)[1]
        for name, poses in found[case, True].items():
            off = np.abs(poses - found[case, False][name]).max((1, 2))
            # Between strokes a foot is slow for a moment.
            assert (off < 1e-6).mean() > (0.99 if lock else 0.6), (case, name)


@pytest.mark.parametrize("weight", [1.0, 0.4])
@pytest.mark.parametrize("straight", [False, True])
def test_a_leg_of_two_bones_reaches_its_goal(straight: bool, weight: float) -> None:
    leg = np.tile(np.eye(4), (5, 1, 1))
    leg[:, :3, 3] = ((0, 0, 0.9), (0.1, 0, 0.9), (0.1, 0 if straight else -0.1, 0.5), (0.1, 0, 0.1), (0.1, -0.1, 0))
    goal = leg[3].copy()
    goal[:3, 3] += (0.03, -0.02, 0.05)
    goal[:3, :3] = axes.rotation_matrices(np.array([0.1, 0.0, 0.3]))
    ((thigh, shin, ankle),) = stand._bent(leg[None], goal[None], np.array([weight]), np.array([1.0, 0.0, 0.0]))
    knee = leg[1, :3, 3] + thigh @ (leg[2, :3, 3] - leg[1, :3, 3])
    reached = knee + shin @ (leg[3, :3, 3] - leg[2, :3, 3])
    np.testing.assert_allclose(reached, leg[3, :3, 3] + weight * (goal[:3, 3] - leg[3, :3, 3]), atol=1e-9)
    np.testing.assert_allclose(axes.axis_angle(ankle), weight * np.array([0.1, 0.0, 0.3]), atol=1e-9)
    # The knee stays in front of the line from hip to ankle.
    assert np.cross(knee - leg[1, :3, 3], reached - knee)[0] > 0
