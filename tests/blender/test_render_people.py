"""Pictures of labelled people: they show what the label says, the same each time, and leave nothing behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from bpy_extras.object_utils import world_to_camera_view  # noqa: E402
from mathutils import Vector  # noqa: E402

from pantomime.core.body.model import BodyModel  # noqa: E402
from pantomime.scene.camera import image_pixels  # noqa: E402
from pantomime.scene.people_look import draw_look, person_fields  # noqa: E402
from pantomime.scene.render_people import Shot, _camera, render_shot  # noqa: E402
from pantomime.scene.studio import Quality, Studio  # noqa: E402

SIZE, FOCAL = (64, 96), 90.0
FAST = Quality(samples=1, denoise=False, threads=1)


@pytest.fixture
def shot(free_body: BodyModel) -> Shot:
    """The body as it rests, 2.6 m before a camera that stands 1.2 m high and looks a little down."""
    tilt = 0.1
    rotation = np.array([[1, 0, 0], [0, -np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), -np.cos(tilt)]])
    T_camera_world = np.eye(4)
    T_camera_world[:3, :3] = rotation
    T_camera_world[:3, 3] = -rotation @ np.array([0.1, 1.2, 2.6])
    vertices = free_body.v_template - [0, free_body.v_template[:, 1].min(), 0]
    camera = vertices @ rotation.T + T_camera_world[:3, 3]
    none = np.zeros((0, 4), np.int32)
    return Shot(
        3, 1, SIZE, FOCAL, T_camera_world, camera.astype(np.float32), np.zeros((0, 3), np.float32), none, none[:, 0]
    )


def picture(path: Path) -> np.ndarray:
    image = bpy.data.images.load(str(path), check_existing=False)
    try:
        return image_pixels(image).copy()
    finally:
        bpy.data.images.remove(image)


@pytest.mark.usefixtures("empty_file")
def test_the_camera_projects_as_the_label_does(shot: Shot) -> None:
    world = shot.to_world(shot.vertices[::500])
    assert shot.to_world(shot.vertices)[:, 2].min() == pytest.approx(0.0, abs=1e-4)
    for size in (SIZE, SIZE[::-1]):
        turned = replace(shot, image_size=size)
        with Studio(FAST) as studio:
            scene = studio.scene
            scene.render.resolution_x, scene.render.resolution_y = size
            camera = _camera(studio, turned)
            bpy.context.window.scene = scene
            bpy.context.view_layer.update()
            found = np.array([world_to_camera_view(scene, camera, Vector(point)) for point in world])
            bpy.context.window.scene = next(other for other in bpy.data.scenes if other != scene)
        expected = FOCAL * shot.vertices[::500, :2] / shot.vertices[::500, 2:] + np.array(size) / 2
        np.testing.assert_allclose(found[:, 0] * size[0], expected[:, 0], atol=0.05)
        np.testing.assert_allclose((1 - found[:, 1]) * size[1], expected[:, 1], atol=0.05)


@pytest.mark.usefixtures("empty_file")
def test_equal_labels_give_equal_pictures_and_nothing_stays_in_the_file(
    shot: Shot, free_body: BodyModel, tmp_path: Path
) -> None:
    def kept() -> dict[str, int]:
        # The render's own result is Blender's to keep.
        names = ("objects", "meshes", "materials", "lights", "cameras", "worlds", "scenes")
        return {name: len(getattr(bpy.data, name)) for name in names}

    before = kept()
    for name in ("a", "b"):
        render_shot(shot, free_body, tmp_path / f"{name}.jpg", FAST)
    render_shot(replace(shot, index=2), free_body, tmp_path / "c.jpg", FAST)
    assert kept() == before
    first, second, other = (picture(tmp_path / f"{name}.jpg") for name in "abc")
    assert first.shape == (SIZE[1], SIZE[0], 4)
    np.testing.assert_array_equal(first, second)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert np.abs(first - other).mean() > 0.02  # another index is another room
    assert 0.02 < first[..., :3].mean() < 0.95 and first[..., :3].std() > 0.03


@pytest.mark.usefixtures("empty_file")
def test_things_stand_before_the_person(shot: Shot, free_body: BodyModel, tmp_path: Path) -> None:
    pelvis = shot.vertices.mean(0)
    square = 0.6 * pelvis + np.array([[-0.1, -0.1, 0], [0.1, -0.1, 0], [0.1, 0.1, 0], [-0.1, 0.1, 0]])
    hidden = replace(
        shot,
        object_vertices=square.astype(np.float32),
        object_quads=np.array([[0, 1, 2, 3]], np.int32),
        object_ids=np.zeros(1, np.int32),
    )
    render_shot(hidden, free_body, tmp_path / "hidden.jpg", FAST)
    # The same label with the thing far behind draws the same room from the same random numbers.
    behind = replace(hidden, object_vertices=(square * [50, 50, 50]).astype(np.float32))
    render_shot(behind, free_body, tmp_path / "behind.jpg", FAST)
    change = np.abs(picture(tmp_path / "hidden.jpg") - picture(tmp_path / "behind.jpg"))[..., :3].max(-1)
    centre = (FOCAL * pelvis[:2] / pelvis[2] + np.array(SIZE) / 2).astype(int)
    assert change[centre[1] - 2 : centre[1] + 3, centre[0] - 2 : centre[0] + 3].mean() > 0.05


def test_looks_vary_and_repeat(free_body: BodyModel) -> None:
    looks = [draw_look(np.random.default_rng(seed)) for seed in range(30)]
    assert draw_look(np.random.default_rng(0)) == looks[0]
    brightness = [sum(look.skin) for look in looks]
    assert max(brightness) > 4 * min(brightness)
    assert {look.shoes for look in looks} == {True, False}
    for look in looks[:5]:
        fields = person_fields(free_body, look)
        assert all(field.shape == (free_body.num_vertices,) for field in fields.values())
        assert (fields["shirt"] > 0).any() and (fields["trousers"] > 0).any()
        feet = free_body.v_template[:, 1] < free_body.v_template[:, 1].min() + 0.05
        assert (fields["shoes"][feet] > 0).all() == look.shoes
