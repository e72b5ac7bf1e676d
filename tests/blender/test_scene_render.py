"""Pictures that the project renders show what they say, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.scene import clothing
from pantomime.scene.avatar import AvatarSettings, build_avatar
from pantomime.scene.camera import image_pixels
from pantomime.scene.render import over, render_overlay, render_overview
from pantomime.scene.studio import Picture, Quality, save_picture
from pantomime.scene.synthetic import SyntheticPhoto, casual_capture, render_synthetic_photo

bpy = pytest.importorskip("bpy")
pytestmark = pytest.mark.usefixtures("empty_file")

QUICK = Quality(samples=1, denoise=False)
SMALL = SyntheticPhoto(size=(120, 180), focal_px=1750.0 / 6.0)
Make = Callable[..., Capture]


def read(path: Path) -> Picture:
    image = bpy.data.images.load(str(path), check_existing=False)
    try:
        return image_pixels(image).copy()
    finally:
        bpy.data.images.remove(image)


def contents() -> dict[str, int]:
    """How many of everything the file holds."""
    kinds = ("objects", "meshes", "armatures", "materials", "cameras", "lights", "scenes", "worlds", "collections")
    counts = {kind: len(getattr(bpy.data, kind)) for kind in (*kinds, "shape_keys", "actions")}
    # Blender keeps one slot of its own for what was rendered last.
    return counts | {"images": sum(image.type != "RENDER_RESULT" for image in bpy.data.images)}


def projected(capture: Capture) -> np.ndarray:
    """The capture's joints in pixels, (55, 2)."""
    joints = capture.joints[0].astype(np.float64)
    return capture.focal_px * joints[:, :2] / joints[:, 2:] + capture.principal_px


def test_the_overlay_covers_the_joints_and_leaves_the_rest_clear(free_body: BodyModel) -> None:
    capture = casual_capture(free_body, SMALL)
    avatar = build_avatar(capture, free_body, AvatarSettings(background=False))
    picture = render_overlay([avatar], SMALL.size, QUICK)
    assert picture.shape == (180, 120, 4)
    for name, (x, y) in zip(capture.joint_names, projected(capture), strict=True):
        if not name[-1].isdigit() or name.startswith("spine"):
            assert picture[int(y), int(x), 3] > 0.5, name
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1], 3]
    assert not corners.any()
    assert 0.03 < (picture[..., 3] > 0.5).mean() < 0.5


def test_the_overview_shows_photo_overlay_and_side_view(
    free_body: BodyModel, random_capture: Make, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    flat = np.ones((40, 30, 4), np.float32)
    flat[..., :3] = (0.2, 0.6, 0.4)
    save_picture(flat, photo)
    capture = casual_capture(free_body, SMALL)
    capture.source = str(photo)
    avatar = build_avatar(capture, free_body)
    before = contents()
    render_overview(avatar, capture, tmp_path / "overview.png", height_px=90, quality=QUICK)
    assert contents() == before
    picture = read(tmp_path / "overview.png")
    assert picture.shape[0] == 90
    assert picture.shape[1] > 2 * 60 + 90 * 0.5
    assert np.allclose(picture[:, :60, :3], (0.2, 0.6, 0.4), atol=0.01)
    assert np.allclose(picture[0, 64, :3], (0.2, 0.6, 0.4), atol=0.01)
    assert not np.allclose(picture[:, 62:122, :3], (0.2, 0.6, 0.4), atol=0.05)


def test_the_pictures_own_photo_is_made_whole_and_cleans_up(free_body: BodyModel, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    before = contents()
    truth = render_synthetic_photo(free_body, path, SMALL, QUICK)
    assert contents() == before
    picture = read(path)
    assert picture.shape == (180, 120, 4)
    assert truth.source == str(path)
    assert truth.image_size == SMALL.size
    saved = Capture.load(tmp_path / "figure.truth.npz")
    assert np.array_equal(saved.full_pose(), truth.full_pose())
    assert np.array_equal(saved.joints, truth.joints)
    # The person is whole in the frame.
    pixels = projected(truth)
    assert (pixels > 3).all()
    assert (pixels < np.array(SMALL.size) - 3).all()


def test_the_room_is_hidden_where_the_truth_says_the_person_is(free_body: BodyModel, tmp_path: Path) -> None:
    truth = render_synthetic_photo(free_body, tmp_path / "figure.png", SMALL, Quality(samples=8, denoise=False))
    picture = read(tmp_path / "figure.png")[..., :3]
    wall = np.median(picture[10:30, 5:30].reshape(-1, 3), axis=0)
    for name in ("head", "spine2", "left_hip", "right_knee", "left_elbow", "right_wrist"):
        x, y = projected(truth)[truth.joint_names.index(name)].astype(int)
        assert np.abs(picture[y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1)) - wall).max() > 0.1, name


def test_front_over_back_mixes_by_alpha_and_opacity() -> None:
    front = np.array([[[1.0, 0.5, 0.0, 0.5]]], np.float32)
    back = np.array([[[0.0, 0.5, 1.0, 1.0]]], np.float32)
    assert np.allclose(over(front, back), [[[0.5, 0.5, 0.5, 1.0]]])
    assert np.allclose(over(front, back, 0.0), back)


def test_garments_cover_what_they_are_named_for(free_body: BodyModel) -> None:
    regions = clothing.Regions(free_body)
    hands = np.concatenate([free_body.vertex_groups["left_hand"], free_body.vertex_groups["right_hand"]])
    lips = free_body.vertex_groups["lips"]
    for field in (regions.shirt(), regions.trousers(), regions.shoes(), regions.hair()):
        assert (field[hands] < 0).all()
        assert (field[lips] < 0).all()
    torso = free_body.weights[:, 6] > 0.8  # spine2
    assert (regions.shirt()[torso] > 0).all()
    knees = np.abs(free_body.v_template[:, 1] - free_body.J_template[4, 1]) < 0.05
    assert (regions.trousers()[knees] > 0).all()
    top = free_body.v_template[:, 1] > free_body.v_template[:, 1].max() - 0.02
    assert (regions.hair()[top] > 0).all()
    assert (regions.shoes()[free_body.v_template[:, 1] < free_body.v_template[:, 1].min() + 0.02] > 0).all()


def test_a_garment_lies_off_the_skin(free_body: BodyModel) -> None:
    regions = clothing.Regions(free_body)
    skin = free_body.quads[free_body.material_ids == 0]
    shell = clothing.shell(skin, free_body.v_template, regions.shirt(), 0.016, 4)
    normals = clothing.vertex_normals(skin, free_body.v_template)[shell.vertex_ids]
    clear = np.einsum("vi,vi->v", shell.points - free_body.v_template[shell.vertex_ids], normals)
    assert clear.min() > 0.001
    assert np.median(clear) == pytest.approx(0.016, abs=0.006)
    assert shell.quads.max() == len(shell.points) - 1
