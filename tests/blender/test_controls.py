"""IK controls: there without a change of the pose, leading when they are moved, gone without a trace."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_NAMES
from pantomime.core.capture import Capture
from pantomime.scene import controls
from pantomime.scene.avatar import build_avatar
from pantomime.scene.identity import handles_of
from pantomime.scene.motion import sample_pose

bpy = pytest.importorskip("bpy")
pytestmark = pytest.mark.usefixtures("empty_file")

Make = Callable[..., Capture]


def poses(rig: object) -> NDArray[np.float64]:
    """Places and turns of the 55 bones as Blender shows them, armature space."""
    return sample_pose(rig, bpy.context.scene, animation=False).poses[0]


@pytest.mark.parametrize("seed", [12, 13, 14])
def test_controls_come_and_go_without_a_change_of_the_pose(
    free_body: BodyModel, random_capture: Make, seed: int
) -> None:
    rig = build_avatar(random_capture(free_body, seed), free_body).armature
    before = poses(rig)
    channels = [tuple(bone.rotation_quaternion) for bone in rig.pose.bones]
    controls.add_controls(rig)
    assert handles_of(rig)
    assert all(rig.pose.bones[limb.handle]["ik"] == 1.0 for limb in controls.LIMBS)
    assert not any(rig.data.bones[limb.handle].use_deform for limb in controls.LIMBS)
    assert np.abs(poses(rig) - before)[:, :3, 3].max() < 2e-3
    assert np.abs(poses(rig) - before)[:, :3, :3].max() < 0.02
    controls.remove_controls(rig)
    assert not handles_of(rig)
    assert {bone.name for bone in rig.data.bones} == set(JOINT_NAMES)
    assert "IK controls" not in rig.data.collections
    assert rig.animation_data is None or not rig.animation_data.drivers
    assert np.abs(poses(rig) - before)[:, :3, 3].max() < 2e-3
    assert np.abs(np.array(channels) - [tuple(b.rotation_quaternion) for b in rig.pose.bones]).max() < 0.02


def test_a_handle_leads_its_limb_and_the_pose_it_led_to_stays(free_body: BodyModel, random_capture: Make) -> None:
    rig = build_avatar(random_capture(free_body, 15, 0.5), free_body).armature
    controls.add_controls(rig)
    handle = rig.pose.bones["left_hand_ik"]
    shoulder, wrist = rig.pose.bones["left_shoulder"].head.copy(), handle.head.copy()
    handle.matrix = handle.matrix.copy()
    goal = wrist + 0.3 * (shoulder - wrist)
    matrix = handle.matrix.copy()
    matrix.translation = goal
    handle.matrix = matrix
    bpy.context.view_layer.update()
    assert (rig.pose.bones["left_wrist"].head - goal).length < 2e-3
    led = poses(rig)
    controls.snap_to_controls(rig)
    assert handle["ik"] == 0.0
    assert np.abs(poses(rig) - led)[:, :3, 3].max() < 2e-3
    handle.location.x += 0.2
    bpy.context.view_layer.update()
    assert np.abs(poses(rig) - led)[:, :3, 3].max() < 2e-3
    controls.snap_to_pose(rig)
    assert (handle.head - rig.pose.bones["left_wrist"].head).length < 1e-4


def test_controls_leave_an_animation_alone_until_they_are_switched_on(
    free_body: BodyModel, random_capture: Make
) -> None:
    capture = random_capture(free_body, 16, 0.5, frames=3, frame_times_s=np.arange(3, dtype=np.float32) / 24.0)
    rig = build_avatar(capture, free_body).armature
    before = sample_pose(rig, bpy.context.scene).poses
    controls.add_controls(rig)
    assert all(rig.pose.bones[limb.handle]["ik"] == 0.0 for limb in controls.LIMBS)
    assert np.abs(sample_pose(rig, bpy.context.scene).poses - before).max() < 1e-4
    controls.remove_controls(rig)
    assert np.abs(sample_pose(rig, bpy.context.scene).poses - before).max() < 1e-4
