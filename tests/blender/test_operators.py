"""The operators, with a real worker and real photos."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import bpy
import numpy as np
import pytest

from pantomime.operators import session as sessions
from pantomime.operators.jobs import Job, JobError
from pantomime.operators.photo import photo_job
from pantomime.operators.settings import SolverSettings

PATIENCE_S = 120.0
SETTINGS = SolverSettings()

pytestmark = pytest.mark.usefixtures("extension", "empty_file", "detector_models")


@pytest.fixture
def cold_worker() -> None:
    """The next job needs seconds to load, time enough to do something to it."""
    session().stop_worker()


def session() -> sessions.Session:
    return sessions.SESSION


def begin(photo: Path, settings: SolverSettings = SETTINGS, **more: object) -> None:
    """Queue a photo as the operator does in a window: it returns at once."""
    session().submit(photo_job(str(photo), bpy.context.scene.name, settings, **more))  # type: ignore[arg-type]


def poll_until(condition: object) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, session().status
        session().poll()
        time.sleep(0.005)


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie has ended, too: its parent has only not asked yet.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def go_to_undo_step(index: int) -> None:
    """Undo or redo until the given step; works without a window, unlike Ctrl Z."""
    bpy.ops.ed.undo_history(item=index)


def contents() -> dict[str, set[str]]:
    """Names of everything that an avatar consists of."""
    kinds = ("collections", "objects", "meshes", "armatures", "cameras", "materials", "images", "shape_keys")
    return {kind: {item.name for item in getattr(bpy.data, kind)} for kind in kinds}


def test_a_photo_becomes_an_avatar_in_the_scene(portrait: Path) -> None:
    before = contents()
    assert bpy.ops.pantomime.photo_to_avatar(filepath=str(portrait)) == {"FINISHED"}
    status = session().status
    assert not status.running and status.error == "" and status.fraction == 1.0
    collection = bpy.data.collections[status.done]
    assert collection.name in {child.name for child in bpy.context.scene.collection.children}
    kinds = {obj.type for obj in collection.objects}
    assert {"MESH", "ARMATURE", "CAMERA"} <= kinds
    rig = next(obj for obj in collection.objects if obj.type == "ARMATURE")
    assert len(rig.data.bones) == 55
    camera = next(obj for obj in collection.objects if obj.type == "CAMERA")
    (background,) = camera.data.background_images
    assert Path(bpy.path.abspath(background.image.filepath)).name == portrait.name
    assert before["objects"] < contents()["objects"]
    # As after any import: it is selected, and nothing else.
    assert [obj.name for obj in bpy.context.selected_objects] == [rig.name]
    assert bpy.context.view_layer.objects.active == rig


def test_one_looks_through_the_camera_of_the_selected_avatar(portrait: Path) -> None:
    own = bpy.data.objects.new("Own camera", bpy.data.cameras.new("Own camera"))
    bpy.context.scene.collection.objects.link(own)
    bpy.context.scene.camera = own
    assert not bpy.ops.pantomime.look_through_camera.poll()
    bpy.ops.pantomime.photo_to_avatar(filepath=str(portrait))
    assert bpy.context.scene.camera == own
    collection = bpy.data.collections[session().status.done]
    for kind in ("ARMATURE", "MESH"):
        bpy.context.scene.camera = own
        bpy.context.view_layer.objects.active = next(obj for obj in collection.objects if obj.type == kind)
        assert bpy.ops.pantomime.look_through_camera() == {"FINISHED"}
        assert bpy.context.scene.camera.name in collection.objects
    assert bpy.ops.pantomime.render_as_photo() == {"FINISHED"}
    render = bpy.context.scene.render
    assert (render.resolution_x, render.resolution_y, render.resolution_percentage) == (512, 512, 100)


def test_a_photo_that_is_stored_turned_is_shown_upright(portrait: Path, tmp_path: Path) -> None:
    from PIL import Image

    with Image.open(portrait) as stored:
        exif = Image.Exif()
        exif[274] = 6  # to be turned by 90° clockwise
        stored.convert("RGB").rotate(90).crop((0, 0, 512, 500)).save(tmp_path / "phone.jpg", exif=exif)
    assert bpy.ops.pantomime.photo_to_avatar(filepath=str(tmp_path / "phone.jpg")) == {"FINISHED"}
    camera = next(obj for obj in bpy.data.objects if obj.type == "CAMERA")
    image = camera.data.background_images[0].image
    assert image.name.startswith("phone.jpg") and image.packed_file is not None
    assert tuple(image.size) == (500, 512)
    # The same picture, but for the columns that were cut off.
    pixels = np.empty(500 * 512 * 4, np.float32)
    image.pixels.foreach_get(pixels)
    shown = pixels.reshape(512, 500, 4)[::-1]
    with Image.open(portrait) as whole:
        expected = np.asarray(whole.convert("RGB"), np.float32)[:, 12:] / 255
    assert np.abs(shown[..., :3] - expected).mean() < 0.02


def test_a_photo_of_a_kind_that_blender_cannot_read_is_shown_all_the_same(portrait: Path, tmp_path: Path) -> None:
    from PIL import Image

    with Image.open(portrait) as stored:
        stored.convert("RGB").save(tmp_path / "ada.gif")
    assert bpy.ops.pantomime.photo_to_avatar(filepath=str(tmp_path / "ada.gif")) == {"FINISHED"}
    assert [notice.kind for notice in session().notices] == ["done"]
    camera = next(obj for obj in bpy.data.objects if obj.type == "CAMERA")
    image = camera.data.background_images[0].image
    assert image.name.startswith("ada.gif") and image.packed_file is not None and tuple(image.size) == (512, 512)


def test_a_phones_heic_may_be_dropped_to_learn_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64))
    assert ".heic" in bpy.types.PANTOMIME_FH_photo.bl_file_extensions.split(";")
    with pytest.raises(RuntimeError, match=r"HEIC picture.*Save it as JPEG"):
        bpy.ops.pantomime.photo_to_avatar(filepath=str(tmp_path / "IMG_1.HEIC"))


def test_the_avatar_is_one_undo_step(portrait: Path) -> None:
    states = []
    bpy.ops.ed.undo_push(message="nothing")
    states.append(contents())
    bpy.ops.object.empty_add()
    bpy.ops.ed.undo_push(message="an object")
    states.append(contents())
    # Called with undo, as from a button; by default a script's calls add no steps.
    bpy.ops.pantomime.photo_to_avatar("EXEC_DEFAULT", True, filepath=str(portrait))
    states.append(contents())
    assert len(states[2]["objects"]) > len(states[1]["objects"])
    avatar = session().status.done
    for index in (1, 2, 0, 2, 1):
        go_to_undo_step(index)
        assert contents() == states[index], index
    go_to_undo_step(2)
    assert avatar in bpy.data.collections


def test_a_second_photo_uses_the_same_worker_and_leaves_the_first_avatar(portrait: Path) -> None:
    bpy.ops.pantomime.photo_to_avatar(filepath=str(portrait))
    pid, first = session().worker_pid, session().status.done
    bpy.ops.pantomime.photo_to_avatar(filepath=str(portrait))
    assert session().worker_pid == pid
    assert session().status.done != first
    assert {first, session().status.done} <= set(bpy.data.collections.keys())


@pytest.mark.usefixtures("cold_worker")
@pytest.mark.usefixtures("cold_worker")
def test_a_solver_that_was_warmed_early_is_the_one_that_solves(portrait: Path) -> None:
    session().warm(SETTINGS)
    pid = session().worker_pid
    assert pid is not None and not session().busy and not session().status.running
    session().warm(SETTINGS)
    assert bpy.ops.pantomime.photo_to_avatar(filepath=str(portrait)) == {"FINISHED"}
    assert session().worker_pid == pid


def test_progress_shows_while_the_worker_runs_and_polling_never_waits(portrait: Path) -> None:
    begin(portrait)
    assert session().status.running
    texts, fractions = [], []

    def done() -> bool:
        texts.append(session().status.text)
        fractions.append(session().status.fraction)
        return not session().status.running

    poll_until(done)
    assert {"Starting the solver", "Reading the photo", "Looking for people"} & set(texts)
    assert len(set(texts)) >= 3
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert len(bpy.data.armatures) == 1


@pytest.mark.usefixtures("cold_worker")
def test_while_one_photo_is_solved_another_waits_for_its_turn(portrait: Path) -> None:
    begin(portrait)
    assert bpy.ops.pantomime.photo_to_avatar.poll()
    begin(portrait)
    assert session().waiting == (portrait.name,)
    poll_until(lambda: not session().busy)
    assert [notice.kind for notice in session().notices] == ["done", "done"]
    assert len(bpy.data.armatures) == 2


@pytest.mark.usefixtures("cold_worker")
def test_cancel_drops_what_waits(portrait: Path) -> None:
    ended = []
    begin(portrait)
    job = photo_job(str(portrait), bpy.context.scene.name, SETTINGS)
    job.on_end = lambda job: ended.append(job.label)
    session().submit(job)
    assert bpy.ops.pantomime.cancel() == {"FINISHED"}
    assert session().waiting == () and ended == [portrait.name]
    poll_until(lambda: not session().busy)
    assert len(bpy.data.armatures) == 0


def test_several_photos_at_once_become_several_avatars_and_a_bad_one_stops_no_other(
    portrait: Path, tmp_path: Path
) -> None:
    names = ["one.png", "bad.png", "two.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"no picture" if name == "bad.png" else portrait.read_bytes())
    with pytest.raises(RuntimeError, match=r"bad\.png"):
        bpy.ops.pantomime.photo_to_avatar(directory=str(tmp_path), files=[{"name": name} for name in names])
    assert {"one", "two"} <= set(bpy.data.collections.keys())
    assert [(notice.kind, notice.label) for notice in session().notices] == [
        ("done", "one.png"),
        ("error", "bad.png"),
        ("done", "two.png"),
    ]


def test_an_urgent_job_goes_before_those_that_wait_and_replaces_its_like(portrait: Path) -> None:
    order: list[str] = []

    def job(label: str, **more: object) -> Job:
        made = photo_job(str(portrait), bpy.context.scene.name, SETTINGS)
        made.label = label
        made.on_result = lambda job, result: order.append(job.label) or ""  # type: ignore[func-returns-value]
        for name, value in more.items():
            setattr(made, name, value)
        return made

    session().submit(job("first"))
    session().submit(job("last"))
    session().submit(job("drag 1", urgent=True, key="drag"))
    session().submit(job("drag 2", urgent=True, key="drag"))
    poll_until(lambda: not session().busy)
    assert order == ["first", "drag 2", "last"]


def test_an_error_in_a_jobs_own_function_is_reported_and_the_next_job_runs(portrait: Path) -> None:
    def broken(job: Job, result: object) -> str:
        raise KeyError("a bug")

    job = photo_job(str(portrait), bpy.context.scene.name, SETTINGS)
    job.on_result = broken
    session().submit(job)
    begin(portrait)
    poll_until(lambda: not session().busy)
    assert [notice.kind for notice in session().notices] == ["error", "done"]
    assert "KeyError" in session().notices[0].text


@pytest.mark.usefixtures("cold_worker")
def test_cancel_ends_the_job_and_leaves_the_scene_alone(portrait: Path) -> None:
    before = contents()
    assert not bpy.ops.pantomime.cancel.poll()
    begin(portrait)
    poll_until(lambda: session().status.text == "Loading the solver")
    assert bpy.ops.pantomime.cancel() == {"FINISHED"}
    assert session().status.cancelling and not bpy.ops.pantomime.cancel.poll()
    poll_until(lambda: not session().status.running)
    assert session().status.done == "Cancelled" and session().status.error == ""
    assert contents() == before
    assert bpy.ops.pantomime.photo_to_avatar.poll()


def test_the_result_goes_to_the_scene_that_it_was_asked_for_in(portrait: Path) -> None:
    first = bpy.context.scene.name
    begin(portrait)
    bpy.ops.scene.new(type="EMPTY")
    assert bpy.context.scene.name != first
    poll_until(lambda: not session().status.running)
    assert session().status.error == ""
    assert session().status.done in bpy.data.scenes[first].collection.children


@pytest.mark.usefixtures("cold_worker")
def test_undo_while_the_worker_runs_does_no_harm(portrait: Path) -> None:
    bpy.ops.ed.undo_push(message="nothing")
    bpy.ops.object.empty_add()
    bpy.ops.ed.undo_push(message="an object")
    begin(portrait)
    poll_until(lambda: session().status.fraction > 0)
    go_to_undo_step(0)
    assert len(bpy.data.objects) == 0
    poll_until(lambda: not session().status.running)
    assert session().status.error == "" and len(bpy.data.armatures) == 1


def test_opening_another_file_ends_the_job(portrait: Path) -> None:
    begin(portrait)
    pid = session().worker_pid
    assert pid is not None
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert not session().status.running and "another file" in session().status.done
    assert not process_exists(pid)
    assert not session().poll() and len(bpy.data.objects) == 0


@pytest.mark.parametrize("content", [None, b"", b"this is no picture"], ids=["missing", "empty", "text"])
def test_a_bad_photo_is_reported_in_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    photo = tmp_path / "holiday.jpg"
    if content is not None:
        photo.write_bytes(content)
    before = contents()
    with pytest.raises(RuntimeError, match=r"holiday\.jpg") as caught:
        bpy.ops.pantomime.photo_to_avatar(filepath=str(photo))
    assert "Traceback" not in str(caught.value) and str(caught.value).strip().endswith(".")
    assert contents() == before


def test_a_picture_without_a_person_is_reported(tmp_path: Path) -> None:
    image = bpy.data.images.new("grey", 320, 240)
    image.filepath_raw, image.file_format = str(tmp_path / "grey.png"), "PNG"
    image.save()
    bpy.data.images.remove(image)
    with pytest.raises(RuntimeError, match=r"No person was found in [^/\\]+\. "):
        bpy.ops.pantomime.photo_to_avatar(filepath=str(tmp_path / "grey.png"))
    assert "No person" in session().status.error
    assert not session().status.running


@pytest.mark.usefixtures("cold_worker")
def test_a_worker_killed_half_way_is_reported_and_the_next_photo_gets_a_new_one(portrait: Path) -> None:
    begin(portrait)
    poll_until(lambda: session().status.text == "Loading the solver")
    pid = session().worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: not session().status.running)
    assert "SIGKILL" in session().status.error
    assert len(bpy.data.objects) == 0
    assert bpy.ops.pantomime.photo_to_avatar(filepath=str(portrait)) == {"FINISHED"}
    assert session().worker_pid != pid


def test_a_python_that_is_not_there_is_reported(portrait: Path) -> None:
    with pytest.raises(JobError, match="preferences"):
        begin(portrait, SolverSettings(python="/nowhere/python"))
    assert not session().status.running and "/nowhere/python" in session().status.error


def test_unregistering_ends_the_worker(portrait: Path) -> None:
    import pantomime

    begin(portrait)
    pid = session().worker_pid
    assert pid is not None and process_exists(pid)
    pantomime.unregister()
    assert not process_exists(pid)
    pantomime.register()


@pytest.mark.parametrize("end", ["sys.exit()", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_worker_outlives_blender(portrait: Path, end: str) -> None:
    # What is registered first ends last: after all of ours, but before Blender's own end, which in 4.5 as a module
    # waits forever where classes are still registered.
    code = (
        "import atexit, os, signal, sys, bpy\n"
        "if bpy.app.version < (5, 0): atexit.register(os._exit, 0)\n"
        "import pantomime\n"
        "pantomime.register()\n"
        "from pantomime.operators.session import SESSION\n"
        "from pantomime.operators.photo import photo_job\n"
        "from pantomime.operators.settings import SolverSettings\n"
        f"SESSION.submit(photo_job({str(portrait)!r}, 'Scene', SolverSettings()))\n"
        "while SESSION.status.text != 'Loading the solver': SESSION.poll()\n"
        f"print('worker', SESSION.worker_pid, flush=True)\n{end}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid = int(next(line for line in done.stdout.splitlines() if line.startswith("worker")).split()[1])
    limit = time.monotonic() + PATIENCE_S
    while process_exists(pid):
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_capture_file_becomes_an_avatar_and_a_foreign_file_is_refused(portrait: Path, tmp_path: Path) -> None:
    bpy.ops.pantomime.photo_to_avatar(filepath=str(portrait))
    folder = max(Path(bpy.app.tempdir).glob("pantomime_*"), key=lambda path: path.stat().st_mtime)
    (capture,) = folder.glob("*.npz")
    count = len(bpy.data.armatures)
    assert bpy.ops.pantomime.import_capture(filepath=str(capture)) == {"FINISHED"}
    assert len(bpy.data.armatures) == count + 1
    foreign = tmp_path / "foreign.npz"
    foreign.write_bytes(b"PK not really")
    with pytest.raises(RuntimeError, match=r"foreign\.npz"):
        bpy.ops.pantomime.import_capture(filepath=str(foreign))
    assert len(bpy.data.armatures) == count + 1
