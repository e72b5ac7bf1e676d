"""The panel *Capture*: its settings, where avatars come to stand, paths, the log, the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.core.messages import FitPhoto
from pantomime.operators import photo
from pantomime.operators.jobs import Status
from pantomime.operators.settings import SolverSettings

pytestmark = pytest.mark.usefixtures("extension", "empty_file")

Maker = Callable[..., Capture]


def request_of(scene: bpy.types.Scene, solver: SolverSettings | None = None) -> FitPhoto:
    job = photo.photo_job("a.jpg", scene.name, solver or SolverSettings(), photo.photo_settings(scene))
    assert isinstance(job.request, FitPhoto)
    return job.request


def test_the_scenes_settings_become_the_request() -> None:
    scene = bpy.context.scene
    values = scene.pantomime_capture
    plain = request_of(scene)
    assert (plain.people, plain.height_cm, plain.focal_mm, plain.gender, plain.body) == (1, None, None, "neutral", None)
    assert plain.quality == "normal"
    values.people, values.height_source, values.focal_source, values.gender = "ALL", "KNOWN", "KNOWN", "AUTO"
    values.quality = "FAST"
    values.height_cm, values.focal_mm = 181.0, 50.0
    licensed = request_of(scene, SolverSettings(body="/models"))
    assert (licensed.people, licensed.height_cm, licensed.focal_mm) == (0, 181.0, 50.0)
    assert (licensed.body, licensed.gender, licensed.quality) == ("/models", "auto", "fast")
    values.people, values.people_count, values.body = "NUMBER", 3, "FREE"
    free = request_of(scene, SolverSettings(body="/models"))
    assert (free.people, free.body, free.gender) == (3, None, "neutral")
    # They are the scene's: another one has its own.
    other = bpy.data.scenes.new("Other")
    assert other.pantomime_capture.people == "ONE"


def test_photos_can_be_dropped_where_a_person_could_stand() -> None:
    handler = bpy.types.FileHandler.bl_rna_get_subclass_py("PANTOMIME_FH_photo")
    assert handler.bl_import_operator == "pantomime.photo_to_avatar"
    assert {".jpg", ".png", ".webp"} <= set(handler.bl_file_extensions.split(";"))
    assert set(handler.bl_file_extensions.split(";")) == {name[1:] for name in photo.PHOTO_FILTER.split(";")}


def save(capture: Capture, path: Path) -> str:
    capture.save(path)
    return str(path)


def test_people_of_one_photo_share_its_camera_and_another_photos_stand_aside(
    free_body: BodyModel, random_capture: Maker, tmp_path: Path
) -> None:
    first = random_capture(free_body, 1, amount=0.3, source="crew.jpg")
    second = replace(first, person_id=1, transl=first.transl + np.array([0.8, 0.0, 0.5], np.float32))
    save(first, tmp_path / "crew.npz"), save(second, tmp_path / "crew.2.npz")
    save(replace(first, source="other.jpg"), tmp_path / "other.npz")
    names = [{"name": "crew.npz"}, {"name": "crew.2.npz"}]
    bpy.ops.pantomime.import_capture(directory=str(tmp_path), files=names)
    rigs = [obj for obj in bpy.data.objects if obj.type == "ARMATURE"]
    assert len(rigs) == 2 and len(bpy.data.cameras) == 1
    apart = np.array(rigs[1].location) - np.array(rigs[0].location)
    # As far apart as the captures say; up is -y of the camera.
    pelvis = [np.array(rig.pose.bones["pelvis"].matrix.translation) + np.array(rig.location) for rig in rigs]
    assert np.linalg.norm(pelvis[1] - pelvis[0]) == pytest.approx(np.hypot(0.8, 0.5), abs=0.02)
    assert np.linalg.norm(apart) == pytest.approx(np.hypot(0.8, 0.5), abs=0.02)
    bpy.ops.pantomime.import_capture(filepath=str(tmp_path / "other.npz"))
    new = next(obj for obj in bpy.data.objects if obj.type == "ARMATURE" and obj not in rigs)
    assert min(abs(new.location.x - rig.location.x) for rig in rigs) >= 0.7
    bpy.context.view_layer.update()
    camera = bpy.data.objects["other camera"]
    assert (camera.matrix_world.translation - new.location).length > 1.0


def test_a_bad_file_among_several_leaves_none_of_them(
    free_body: BodyModel, random_capture: Maker, tmp_path: Path
) -> None:
    save(random_capture(free_body, 1), tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes(b"no capture")
    with pytest.raises(RuntimeError, match=r"b\.npz"):
        bpy.ops.pantomime.import_capture(directory=str(tmp_path), files=[{"name": "a.npz"}, {"name": "b.npz"}])
    assert len(bpy.data.objects) == 0 and len(bpy.data.collections) == 0


@pytest.mark.parametrize("relative", [True, False])
def test_in_a_saved_file_the_photos_path_is_relative_where_the_user_wants_that(
    free_body: BodyModel, random_capture: Maker, tmp_path: Path, relative: bool
) -> None:
    image = bpy.data.images.new("photo", 8, 6)
    image.filepath_raw, image.file_format = str(tmp_path / "photo.png"), "PNG"
    image.save()
    bpy.data.images.remove(image)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    bpy.context.preferences.filepaths.use_relative_paths = relative
    path = save(random_capture(free_body, 1, source=str(tmp_path / "photo.png")), tmp_path / "a.npz")
    bpy.ops.pantomime.import_capture(filepath=path)
    (shown,) = (image for image in bpy.data.images if image.name.startswith("photo"))
    assert shown.filepath.startswith("//") == relative
    assert tuple(shown.size) == (8, 6)


def test_the_time_left_is_told_from_the_last_job_of_its_kind() -> None:
    status = Status(running=True, started_s=time.monotonic())
    assert status.left_s is None
    status.usual = [(0.5, 0.05), (3.0, 0.4), (4.0, 1.0)]
    status.trail, status.fraction = [(0.0, 0.4)], 0.4
    assert status.left_s == pytest.approx(1.0, abs=0.2)
    steady = Status(running=True, started_s=time.monotonic() - 30.0, fraction=0.25)
    steady.trail = [(float(second), second / 120.0) for second in range(30)]
    assert steady.left_s == pytest.approx(90.0, rel=0.1)
    steady.cancelling = True
    assert steady.left_s is None
    # Nobody knows how long the user will be in edit mode.
    status.held = True
    assert status.left_s is None
