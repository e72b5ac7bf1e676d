"""Blender's camera sees what the photo's camera saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pantomime.core.body.model import BodyModel
from pantomime.core.body.skinning import Body
from pantomime.core.capture import Capture
from pantomime.scene import axes
from pantomime.scene.avatar import Avatar, AvatarSettings, build_avatar
from pantomime.scene.camera import image_pixels, load_photo, upright
from pantomime.scene.studio import save_picture
from pantomime.scene.texture import projection_of

bpy = pytest.importorskip("bpy")
from bpy_extras.object_utils import world_to_camera_view  # noqa: E402

pytestmark = pytest.mark.usefixtures("empty_file")

Make = Callable[..., Capture]
CASES = {
    "landscape": ((1920, 1080), (960.0, 540.0), 1500.0),
    "portrait": ((900, 1600), (450.0, 800.0), 1400.0),
    "square": ((512, 512), (256.0, 256.0), 600.0),
    "off-centre landscape": ((1600, 900), (1000.0, 300.0), 1100.0),
    "off-centre portrait": ((700, 1200), (200.0, 900.0), 900.0),
}


def core_pixels(capture: Capture, body: BodyModel) -> NDArray[np.float64]:
    """Joints (55, 2) projected with the capture's pinhole."""
    rotations = axes.rotation_matrices(capture.full_pose()[0].reshape(55, 3))
    posed = Body(body, dtype=torch.float64).joints(
        betas=torch.tensor(capture.betas, dtype=torch.float64),
        expression=torch.tensor(capture.expression[0], dtype=torch.float64),
        rotmats=torch.tensor(rotations),
        transl=torch.tensor(capture.transl[0], dtype=torch.float64),
    )
    joints = posed.numpy()
    return capture.focal_px * joints[:, :2] / joints[:, 2:] + np.array(capture.principal_px, np.float64)


def blender_pixels(avatar: Avatar, scene: object, names: tuple[str, ...]) -> NDArray[np.float64]:
    """Joints (55, 2) in pixels of the render."""
    bpy.context.view_layer.update()
    render = scene.render
    views = [
        world_to_camera_view(scene, avatar.camera, avatar.armature.matrix_world @ avatar.armature.pose.bones[name].head)
        for name in names
    ]
    return np.array([[v.x * render.resolution_x, (1.0 - v.y) * render.resolution_y] for v in views])


@pytest.mark.parametrize("case", CASES)
def test_joints_project_to_the_same_pixels(free_body: BodyModel, random_capture: Make, case: str) -> None:
    size, principal, focal = CASES[case]
    capture = random_capture(
        free_body, 21, image_size=size, principal_px=np.array(principal, np.float32), focal_px=focal
    )
    scene = bpy.context.scene
    avatar = build_avatar(capture, free_body, AvatarSettings(set_render_size=True))
    assert (scene.render.resolution_x, scene.render.resolution_y) == size
    error = np.abs(blender_pixels(avatar, scene, capture.joint_names) - core_pixels(capture, free_body))
    assert error.max() < 0.5


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("frame", [(1920, 1080), (1080, 1920), (1000, 1000)])
def test_in_a_frame_of_another_shape_the_photo_still_fits(
    free_body: BodyModel, random_capture: Make, case: str, frame: tuple[int, int]
) -> None:
    size, principal, focal = CASES[case]
    capture = random_capture(
        free_body, 22, image_size=size, principal_px=np.array(principal, np.float32), focal_px=focal
    )
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = frame
    avatar = build_avatar(capture, free_body)
    # A background of this camera is fitted: whole, as large as the frame allows, in its middle.
    scale = min(frame[0] / size[0], frame[1] / size[1])
    expected = (core_pixels(capture, free_body) - 0.5 * np.array(size)) * scale + 0.5 * np.array(frame)
    error = np.abs(blender_pixels(avatar, scene, capture.joint_names) - expected)
    assert error.max() < 0.5
    assert (scene.render.resolution_x, scene.render.resolution_y) == frame


def picture_file(path: Path, width: int = 6, height: int = 4) -> NDArray[np.float32]:
    pixels = np.zeros((height, width, 4), np.float32)
    pixels[..., 0] = np.linspace(0, 1, width)[None, :]
    pixels[..., 1] = np.linspace(0, 1, height)[:, None]
    pixels[..., 3] = 1.0
    save_picture(pixels, path)
    return pixels


def test_the_photo_is_the_cameras_background(free_body: BodyModel, random_capture: Make, tmp_path: Path) -> None:
    path = tmp_path / "photo of José.png"
    picture_file(path)
    avatar = build_avatar(random_capture(free_body, 23, source=str(path)), free_body)
    (background,) = avatar.camera.data.background_images
    assert avatar.camera.data.show_background_images
    assert Path(bpy.path.abspath(background.image.filepath)) == path
    assert background.frame_method == "FIT"
    assert not avatar.warnings
    assert avatar.collection.name == "photo of José"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_is_shown_upright(tmp_path: Path, orientation: int) -> None:
    from PIL import Image, ImageOps

    path = tmp_path / "turned.png"
    stored = (picture_file(path) * 255).round().astype(np.uint8)
    # Pillow's reading of the tag is the reference.
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[274] = orientation
    image.info["exif"] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(image))
    shown = load_photo(path, orientation)
    assert np.abs(image_pixels(shown) * 255 - expected).max() <= 1.0
    assert upright(stored.astype(np.float32), orientation).shape == expected.shape


def test_a_missing_photo_is_a_warning_not_a_failure(free_body: BodyModel, random_capture: Make, tmp_path: Path) -> None:
    gone, broken = tmp_path / "gone.jpg", tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    for path in (gone, broken):
        avatar = build_avatar(random_capture(free_body, 24, source=str(path)), free_body)
        assert len(avatar.warnings) == 1
        assert str(path) in avatar.warnings[0]
        assert not avatar.camera.data.background_images


def test_a_scene_without_a_camera_gets_this_one(free_body: BodyModel, random_capture: Make) -> None:
    avatar = build_avatar(random_capture(free_body, 25), free_body)
    assert bpy.context.scene.camera == avatar.camera
    other = build_avatar(random_capture(free_body, 25), free_body)
    assert bpy.context.scene.camera == avatar.camera
    third = build_avatar(random_capture(free_body, 25), free_body, AvatarSettings(activate_camera=True))
    assert bpy.context.scene.camera == third.camera != other.camera


@pytest.mark.parametrize("fit", ["AUTO", "HORIZONTAL", "VERTICAL"])
def test_a_texture_is_projected_by_the_camera_as_it_is_now(
    free_body: BodyModel, random_capture: Make, fit: str
) -> None:
    size, principal, focal_px = CASES["off-centre landscape"]
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = size
    capture = random_capture(
        free_body, 2, image_size=size, focal_px=focal_px, principal_px=np.array(principal, np.float32)
    )
    avatar = build_avatar(capture, free_body)
    avatar.camera.data.sensor_fit = fit
    avatar.camera.data.lens *= 1.25
    avatar.camera.data.shift_x += 0.1
    view = projection_of(avatar.armature, avatar.camera, scene)
    names = ("left_wrist", "right_foot", "head")
    seen = blender_pixels(avatar, scene, names)
    rotation, centre = axes.camera_frame(np.array(avatar.camera.matrix_world, np.float64))
    heads = [avatar.armature.matrix_world @ avatar.armature.pose.bones[name].head for name in names]
    places = (np.array(heads) - centre) @ rotation
    np.testing.assert_allclose(
        places[:, :2] / places[:, 2:] * view.focal_px + np.array(view.principal_px), seen, atol=0.05
    )


def test_smallest_rotations_lay_directions_on_others() -> None:
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 20, 3))
    end[0], end[1] = -2.0 * start[0], 3.0 * start[1]
    turns = axes.smallest_rotations(start, end)
    laid = (turns @ start[..., None])[..., 0]
    lengths = np.linalg.norm(start, axis=-1) * np.linalg.norm(end, axis=-1)
    np.testing.assert_allclose((laid * end).sum(-1), lengths, rtol=1e-9)
    np.testing.assert_allclose(turns @ turns.swapaxes(-1, -2), np.broadcast_to(np.eye(3), turns.shape), atol=1e-12)
    # and no further: by the angle between them
    angles = np.linalg.norm(axes.axis_angle(turns), axis=-1)
    np.testing.assert_allclose(np.cos(angles), (start * end).sum(-1) / lengths, atol=1e-9)
