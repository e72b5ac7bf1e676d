"""Exports by another Blender: the same file as here, nothing left of what was stopped, the reason of a failure."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.operators import exporting
from pantomime.operators.exporting import export_soon
from pantomime.operators.session import ASIDE, SESSION
from pantomime.scene import export_apart
from pantomime.scene.avatar import Avatar, build_avatar
from pantomime.scene.export import ExportSettings, export_avatar

bpy = pytest.importorskip("bpy")
pytestmark = pytest.mark.usefixtures("extension", "empty_file", "idle")
Make = Callable[..., Capture]


@pytest.fixture
def idle() -> Iterator[None]:
    yield
    ASIDE.stop_worker()


@pytest.fixture
def moving(free_body: BodyModel, random_capture: Make) -> Avatar:
    times = np.arange(4, dtype=np.float32) / 24.0
    return build_avatar(random_capture(free_body, 4, 0.5, frames=4, frame_times_s=times, source="ada.mp4"), free_body)


def begin(avatar: Avatar, target: Path, kind: str) -> None:
    export_soon(avatar.armature, target, ExportSettings(kind), bpy.context.scene)


def until_it_runs(started: list[object]) -> None:
    while not started:
        assert ASIDE.poll()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The processes that were started."""
    found: list[object] = []
    plain = exporting._started

    def spy(command: list[str]) -> object:
        found.append(plain(command))
        return found[-1]

    monkeypatch.setattr(exporting, "_started", spy)
    return found


@pytest.mark.parametrize("kind", ["BVH", "FBX", "GLTF"])
def test_the_other_blender_writes_what_this_one_would(moving: Avatar, tmp_path: Path, kind: str) -> None:
    suffix = {"BVH": ".bvh", "FBX": ".fbx", "GLTF": ".glb"}[kind]
    bpy.context.scene.frame_set(2)
    notes = export_avatar(moving.armature, tmp_path / f"here{suffix}", ExportSettings(kind), bpy.context.scene)
    (tmp_path / "there").mkdir()
    apart = tmp_path / "there" / f"here{suffix}"
    begin(moving, apart, kind)
    ASIDE.wait()
    assert [notice.kind for notice in ASIDE.notices] == ["done"], ASIDE.notices
    assert all(text in ASIDE.notices[0].text for text in notes.left_out)
    assert [path.name for path in apart.parent.iterdir()] == [apart.name]
    here = notes.path.read_bytes()
    if kind == "BVH":
        assert apart.read_bytes() == here
    else:
        # Times and numbers of things are in them, too.
        assert abs(apart.stat().st_size - len(here)) < 0.002 * len(here)
    assert bpy.context.scene.frame_current == 2


def test_it_takes_the_file_with_unsaved_changes(moving: Avatar, tmp_path: Path) -> None:
    moving.armature.animation_data_clear()
    moving.armature.pose.bones["left_elbow"].rotation_quaternion = (0.7071, 0.7071, 0.0, 0.0)
    export_avatar(moving.armature, tmp_path / "a.bvh", ExportSettings("BVH"), bpy.context.scene)
    begin(moving, tmp_path / "b.bvh", "BVH")
    ASIDE.wait()
    assert (tmp_path / "a.bvh").read_bytes() == (tmp_path / "b.bvh").read_bytes()


def test_a_cancel_leaves_no_file_and_no_process(moving: Avatar, tmp_path: Path, started: list[object]) -> None:
    (tmp_path / "ada.fbx").write_bytes(b"as before")
    begin(moving, tmp_path / "ada.fbx", "FBX")
    until_it_runs(started)
    assert ASIDE.status.running and bpy.ops.pantomime.cancel_aside() == {"FINISHED"}
    assert not ASIDE.poll() and ASIDE.status.done == "Cancelled"
    assert started[0].poll() is not None
    assert [path.name for path in tmp_path.iterdir()] == ["ada.fbx"]
    assert (tmp_path / "ada.fbx").read_bytes() == b"as before"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_exporter_is_reported(moving: Avatar, tmp_path: Path, started: list[object]) -> None:
    begin(moving, tmp_path / "ada.fbx", "FBX")
    until_it_runs(started)
    os.kill(started[0].pid, signal.SIGKILL)
    ASIDE.wait()
    assert "ended before it was done" in ASIDE.status.error
    assert list(tmp_path.iterdir()) == []
    begin(moving, tmp_path / "ada.bvh", "BVH")
    ASIDE.wait()
    assert (tmp_path / "ada.bvh").is_file()


def test_the_exporters_own_reason_is_told(moving: Avatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = export_apart.command
    # An order that is not there.
    monkeypatch.setattr(export_apart, "command", lambda folder: plain(str(tmp_path)))
    begin(moving, tmp_path / "ada.fbx", "FBX")
    ASIDE.wait()
    assert "Export again" in ASIDE.status.error
    assert list(tmp_path.iterdir()) == []


def test_undo_and_saving_let_a_running_export_be(moving: Avatar, tmp_path: Path, started: list[object]) -> None:
    begin(moving, tmp_path / "ada.bvh", "BVH")
    until_it_runs(started)
    ASIDE.begin_steps_anew()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "ada.blend"))
    assert ASIDE.busy and len(started) == 1
    ASIDE.wait()
    assert (tmp_path / "ada.bvh").is_file() and len(started) == 1


def test_an_export_waits_for_no_solver(moving: Avatar, tmp_path: Path) -> None:
    assert ASIDE is not SESSION
    begin(moving, tmp_path / "ada.bvh", "BVH")
    assert ASIDE.busy and not SESSION.busy and ASIDE.worker_pid is None
    ASIDE.wait()


def test_the_exporter_ends_with_who_started_it(moving: Avatar, tmp_path: Path, started: list[object]) -> None:
    begin(moving, tmp_path / "ada.fbx", "FBX")
    until_it_runs(started)
    started[0].stdin.close()
    assert started[0].wait(timeout=60) == 3


def test_a_pose_that_is_not_keyed_is_exported_as_it_is_seen(moving: Avatar, tmp_path: Path) -> None:
    scene, rig = bpy.context.scene, moving.armature
    scene.frame_set(2)
    rig.pose.bones["left_elbow"].rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    bpy.context.view_layer.update()
    still = ExportSettings("BVH", animation=False)
    export_avatar(rig, tmp_path / "here.bvh", still, scene)
    scene.frame_set(2)
    export_avatar(rig, tmp_path / "keyed.bvh", still, scene)
    rig.pose.bones["left_elbow"].rotation_quaternion = (0.8, 0.6, 0.0, 0.0)
    bpy.context.view_layer.update()
    (tmp_path / "there").mkdir()
    export_soon(rig, tmp_path / "there" / "here.bvh", still, scene)
    ASIDE.wait()
    assert [notice.kind for notice in ASIDE.notices] == ["done"], ASIDE.notices
    here, keyed, there = (_numbers(tmp_path / name) for name in ("here.bvh", "keyed.bvh", "there/here.bvh"))
    assert not np.allclose(here, keyed, atol=1.0)
    assert np.allclose(here, there, atol=1e-3)


def _numbers(path: Path) -> list[float]:
    """The last frame of a BVH file."""
    return [float(word) for word in path.read_text().splitlines()[-1].split()]
