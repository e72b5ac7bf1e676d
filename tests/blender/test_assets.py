"""Poses and motions as assets: marked, in their catalog, with a picture, and nothing assigned to the avatar."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.scene import assets
from pantomime.scene.avatar import AvatarError, build_avatar

bpy = pytest.importorskip("bpy")
pytestmark = pytest.mark.usefixtures("empty_file")

Make = Callable[..., Capture]


def test_a_pose_asset_holds_the_pose_and_its_picture(free_body: BodyModel, random_capture: Make) -> None:
    avatar = build_avatar(random_capture(free_body, 20), free_body)
    rig = avatar.armature
    action = assets.make_asset(rig, "Salute")
    assert rig.animation_data is None or rig.animation_data.action is None
    assert action.asset_data is not None and action.use_fake_user
    assert action.asset_data.catalog_id == assets.CATALOG_ID
    assert tuple(action.frame_range) in ((1.0, 1.0), (1.0, 2.0))
    assert tuple(action.preview.image_size) == (256, 256)
    pixels = np.array(action.preview.image_pixels_float[:]).reshape(256, 256, 4)
    assert 0.05 < (pixels[..., 3] > 0.5).mean() < 0.8
    assert pixels[pixels[..., 3] > 0.5][:, :3].std() > 0.05
    turns = [bone.rotation_quaternion.copy() for bone in rig.pose.bones]
    for bone in rig.pose.bones:
        bone.matrix_basis.identity()
    # As the pose library does.
    rig.pose.apply_pose_from_action(action, evaluation_time=1.0)
    assert all(
        abs(bone.rotation_quaternion.dot(turn)) > 1 - 1e-5 for bone, turn in zip(rig.pose.bones, turns, strict=True)
    )


def test_a_motion_asset_holds_all_frames(free_body: BodyModel, random_capture: Make) -> None:
    capture = random_capture(free_body, 21, 0.5, frames=3, frame_times_s=np.arange(3, dtype=np.float32) / 24.0)
    rig = build_avatar(capture, free_body).armature
    playing = rig.animation_data.action
    action = assets.make_asset(rig, whole_motion=True)
    assert tuple(action.frame_range) == (1.0, 3.0)
    assert rig.animation_data.action == playing
    bpy.context.scene.frame_set(2)
    assert assets.make_asset(rig).name == f"{rig.name} pose 2"
    still = build_avatar(random_capture(free_body, 22), free_body).armature
    with pytest.raises(AvatarError, match="no motion"):
        assets.make_asset(still, whole_motion=True)


def test_the_catalog_is_named_once_beside_the_file(tmp_path: Path) -> None:
    assert assets.write_catalog("") is None
    path = assets.write_catalog(str(tmp_path / "scene.blend"))
    assert path == tmp_path / "blender_assets.cats.txt"
    first = path.read_text("utf-8")
    assert first.count(assets.CATALOG_ID) == 1 and "VERSION 1" in first
    path.write_text(first.replace(assets.CATALOG_ID, "11111111-2222-3333-4444-555555555555"), "utf-8")
    again = assets.write_catalog(str(tmp_path / "other.blend")).read_text("utf-8")
    assert again.count(assets.CATALOG_ID) == 1 and "11111111-2222" in again
