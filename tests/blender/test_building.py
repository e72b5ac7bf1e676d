"""An avatar is built in steps: hidden until it is whole, one undo step, and nothing is left of one that was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy
import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.operators import stepping
from pantomime.operators.building import result_steps
from pantomime.operators.jobs import Job
from pantomime.operators.session import SESSION
from pantomime.operators.settings import SolverSettings
from pantomime.scene import correctives
from pantomime.scene.from_file import avatars_from_files, loaded

pytestmark = pytest.mark.usefixtures("extension", "empty_file")
KINDS = (
    "collections", "objects", "meshes", "armatures", "cameras", "materials", "images", "shape_keys", "actions",
    "scenes",
)  # fmt: skip


@pytest.fixture
def captures(tmp_path: Path, free_body: BodyModel, random_capture: Callable[..., Capture]) -> list[str]:
    """Files of two people of one photo."""
    paths = []
    for person in (0, 1):
        paths.append(str(tmp_path / f"pair_{person}.npz"))
        random_capture(free_body, person, person_id=person, source="pair.jpg").save(paths[-1])
    return paths


@pytest.fixture
def one_step_a_poll(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where each step takes long."""
    monkeypatch.setattr(stepping, "SLICE_S", 0.0)
    yield
    SESSION.stop_worker()


def begin(captures: list[str], label: str = "pair.jpg") -> None:
    def build(_job: Job, _result: object) -> object:
        return result_steps(captures, None, bpy.context.scene.name, "Photo to Avatar")

    SESSION.submit(Job(None, label, bpy.context.scene.name, SolverSettings(), build))  # type: ignore[arg-type]


def contents() -> dict[str, set[str]]:
    return {kind: {item.name for item in getattr(bpy.data, kind)} for kind in KINDS}


def until_two_armatures() -> None:
    """The first person is there, the second one half."""
    while len(bpy.data.armatures) < 2:
        assert SESSION.poll()


@pytest.mark.usefixtures("one_step_a_poll")
def test_the_scene_has_no_part_of_an_avatar_before_the_whole(captures: list[str]) -> None:
    begin(captures)
    steps = 0
    while SESSION.poll():
        steps += 1
        assert len(bpy.context.scene.objects) in (0, 3, 5)
        assert SESSION.status.running and SESSION.status.text == "Building the avatar"
    assert steps > 300
    assert sorted(obj.type for obj in bpy.context.scene.objects) == ["ARMATURE", "ARMATURE", "CAMERA", "MESH", "MESH"]
    assert bpy.context.view_layer.objects.active.type == "ARMATURE"
    assert [notice.kind for notice in SESSION.notices] == ["warning", "done"]
    assert len(bpy.data.scenes) == 1
    assert not any("pantomime_unfinished" in collection for collection in bpy.data.collections)


def drivers() -> int:
    owners = (key.animation_data for key in bpy.data.shape_keys)
    return sum(len(data.drivers) for data in owners if data is not None)


@pytest.fixture
def many_correctives(monkeypatch: pytest.MonkeyPatch) -> None:
    """As licensed bodies have them."""
    monkeypatch.setattr(correctives, "MANY", 20)


def until_drivers(wanted: int) -> None:
    """The avatars are in the scene, and some of the drivers are there."""
    while drivers() < wanted:
        assert SESSION.poll()
    assert bpy.context.scene.objects


@pytest.mark.usefixtures("one_step_a_poll", "many_correctives")
def test_many_drivers_come_a_slice_at_a_time_once_the_avatar_is_seen(captures: list[str], free_body: BodyModel) -> None:
    wanted = len(free_body.posedirs_features)
    assert wanted > 75
    bpy.ops.ed.undo_push(message="nothing")
    before = contents()
    begin(captures)
    shown, avatars = [], []
    while SESSION.poll():
        shown.append(drivers())
        avatars.append(len(bpy.context.scene.objects))
    assert max(np.diff(shown)) == 1 and drivers() == 2 * wanted
    # The first has all of its drivers before the second comes.
    assert {shown[k] for k in range(len(shown)) if avatars[k] == 0} == {0}
    assert {shown[k] for k in range(len(shown)) if avatars[k] == 3} == set(range(wanted + 1))
    for keys in bpy.data.shape_keys:
        names = [block.name for block in keys.key_blocks]
        assert names.index("Shape000") == 1 + wanted
        assert all(curve.driver.is_valid and curve.is_valid for curve in keys.animation_data.drivers)
    bpy.ops.ed.undo()
    assert contents() == before


@pytest.mark.usefixtures("one_step_a_poll", "many_correctives")
def test_cancelling_among_the_drivers_leaves_nothing(captures: list[str]) -> None:
    before = contents()
    begin(captures)
    until_drivers(30)
    assert bpy.ops.pantomime.cancel() == {"FINISHED"}
    assert not SESSION.busy and contents() == before


@pytest.mark.usefixtures("one_step_a_poll", "many_correctives")
def test_undo_among_the_drivers_begins_anew(captures: list[str], free_body: BodyModel) -> None:
    bpy.ops.ed.undo_push(message="nothing")
    bpy.ops.object.empty_add()
    bpy.ops.ed.undo_push(message="an object")
    begin(captures)
    until_drivers(30)
    bpy.ops.ed.undo()
    assert drivers() == 0 and len(bpy.context.scene.objects) == 0
    SESSION.wait()
    assert not SESSION.status.error
    assert drivers() == 2 * len(free_body.posedirs_features) and len(bpy.context.scene.objects) == 5


@pytest.mark.usefixtures("one_step_a_poll", "many_correctives")
@pytest.mark.parametrize("cancelled", [False, True])
def test_an_avatar_that_is_deleted_among_its_drivers_stays_away(captures: list[str], cancelled: bool) -> None:
    begin(captures)
    until_drivers(30)
    for obj in list(bpy.context.scene.objects):
        bpy.data.objects.remove(obj)
    if cancelled:
        assert bpy.ops.pantomime.cancel() == {"FINISHED"}
        assert not bpy.data.objects and not bpy.data.collections
    SESSION.wait()
    assert not SESSION.status.error
    assert len(bpy.data.objects) == (0 if cancelled else 2)


@pytest.mark.usefixtures("one_step_a_poll")
def test_cancelling_half_way_leaves_nothing(captures: list[str]) -> None:
    before = contents()
    begin(captures)
    until_two_armatures()
    for _ in range(30):
        SESSION.poll()
    assert bpy.ops.pantomime.cancel() == {"FINISHED"}
    assert not SESSION.busy and SESSION.status.done == "Cancelled"
    assert contents() == before


@pytest.mark.usefixtures("one_step_a_poll")
def test_a_capture_that_fails_takes_the_others_with_it(captures: list[str]) -> None:
    Path(captures[1]).write_bytes(b"no capture")
    before = contents()
    begin(captures)
    SESSION.wait()
    assert contents() == before
    assert [notice.kind for notice in SESSION.notices] == ["error"]
    assert "pair_1.npz" in SESSION.notices[0].text


@pytest.mark.usefixtures("one_step_a_poll")
def test_undo_half_way_begins_the_building_anew(captures: list[str]) -> None:
    bpy.ops.ed.undo_push(message="nothing")
    bpy.ops.object.empty_add()
    bpy.ops.ed.undo_push(message="an object")
    begin(captures)
    until_two_armatures()
    # Somebody goes on working: this undo step holds a part of the avatar.
    bpy.ops.object.empty_add()
    bpy.ops.ed.undo_push(message="another object")
    bpy.ops.ed.undo_history(item=0)
    assert len(bpy.data.objects) == 0 and len(bpy.data.armatures) == 0
    bpy.ops.ed.undo_history(item=2)
    assert len(bpy.context.scene.objects) == 2 and len(bpy.data.armatures) == 0
    SESSION.wait()
    assert not SESSION.status.error
    assert len(bpy.context.scene.objects) == 2 + 5 and len(bpy.data.armatures) == 2
    whole = contents()
    bpy.ops.ed.undo_history(item=2)
    assert len(bpy.context.scene.objects) == 2 and len(bpy.data.armatures) == 0
    bpy.ops.ed.undo_history(item=3)
    assert contents() == whole


@pytest.mark.usefixtures("one_step_a_poll")
def test_a_file_that_is_saved_half_way_has_the_whole_avatar(captures: list[str], tmp_path: Path) -> None:
    begin(captures)
    until_two_armatures()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "half.blend"))
    assert not SESSION.busy
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "half.blend"))
    assert len(bpy.context.scene.objects) == 5


@pytest.mark.usefixtures("one_step_a_poll")
def test_opening_another_file_half_way_leaves_nothing(captures: list[str]) -> None:
    begin(captures)
    until_two_armatures()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert not SESSION.busy and len(bpy.data.objects) == 0 and len(bpy.data.armatures) == 0


@pytest.mark.usefixtures("one_step_a_poll")
def test_while_one_avatar_is_built_the_next_job_waits(captures: list[str]) -> None:
    begin(captures[:1], "one")
    SESSION.poll()
    begin(captures[1:], "two")
    assert SESSION.waiting == ("two",)
    SESSION.wait()
    assert [notice.label for notice in SESSION.notices if notice.kind == "done"] == ["one", "two"]
    assert len(bpy.data.armatures) == 2


def test_no_slice_is_longer_than_its_budget_by_more_than_one_step(captures: list[str]) -> None:
    """Not a timing of the machine: slices end, so that there are several of them."""
    begin(captures)
    polls = 0
    while SESSION.poll():
        polls += 1
    assert polls >= 3


def test_a_motion_is_the_same_in_steps_and_at_once(
    tmp_path: Path, free_body: BodyModel, random_capture: Callable[..., Capture]
) -> None:
    path = tmp_path / "walk.npz"
    random_capture(
        free_body, 3, frames=12, frame_times_s=np.arange(12) / 24.0, mocap_frame_rate=24.0, source="walk.mp4"
    ).save(path)
    assert bpy.ops.pantomime.import_motion(filepath=str(path)) == {"FINISHED"}
    at_once = contents()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    motion = {
        "timing": "WHOLE", "reduce": False, "tolerance_deg": 0.5, "tolerance_mm": 1.0, "contact_markers": False,
        "push_down": False, "set_rate": False,
    }  # fmt: skip

    def build(_job: Job, _result: object) -> object:
        return result_steps([str(path)], None, bpy.context.scene.name, "Video to Animation", motion)

    SESSION.submit(Job(None, "walk", bpy.context.scene.name, SolverSettings(), build))  # type: ignore[arg-type]
    end = time.monotonic() + 60.0
    while SESSION.poll():
        assert time.monotonic() < end
    assert contents() == at_once and len(bpy.data.actions) == 2


def test_the_people_of_a_photo_stand_in_nobody_who_is_there(
    tmp_path: Path, free_body: BodyModel, random_capture: Callable[..., Capture]
) -> None:
    def add(photo: str, *places: float) -> None:
        paths = [str(tmp_path / f"{photo}_{person}.npz") for person in range(len(places))]
        for person, (path, x) in enumerate(zip(paths, places, strict=True)):
            transl = np.array([[x, 0.2, 4.0]], np.float32)
            random_capture(free_body, person, 0.3, person_id=person, source=photo, transl=transl).save(path)
        avatars_from_files(paths, None, bpy.context.scene)

    add("one.jpg", 0.0)
    # Beside the first, the second of these would stand where he does.
    add("two.jpg", 0.0, -1.5)
    add("three.jpg", 0.0, 1.5, 3.0)
    places = np.array([obj.location for obj in bpy.data.objects if obj.type == "ARMATURE"])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9.0 * np.eye(len(places))
    assert len(places) == 6 and apart.min() > 0.7


def test_a_photo_that_moved_with_its_capture_is_found(
    tmp_path: Path, free_body: BodyModel, random_capture: Callable[..., Capture]
) -> None:
    path = tmp_path / "me.npz"
    for source in ("/was/here/me.png", "C:\\was\\here\\me.png"):
        random_capture(free_body, 0, source=source).save(path)
        assert loaded(str(path), None)[0].source == source
        (tmp_path / "me.png").touch()
        assert loaded(str(path), None)[0].source == str((tmp_path / "me.png").resolve())
        (tmp_path / "me.png").unlink()
