"""`pantomime avatar`: a photo or a capture to a Blender file, without a window."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np
import pytest

from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pantomime", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def fitted(portrait: Path, detector_models: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Blender file of a real photo."""
    folder = tmp_path_factory.mktemp("avatar")
    done = run("avatar", portrait, "-o", folder / "from photo.blend")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(f"{folder / 'from photo.blend'}: 512×512 px")
    # Blender's own chatter would spoil the output for scripts.
    assert len(done.stdout.splitlines()) == 1
    return folder


def open_file(path: Path) -> dict[str, bpy.types.Object]:
    """The one object of each type in a Blender file."""
    bpy.ops.wm.open_mainfile(filepath=str(path))
    kinds = [obj.type for obj in bpy.data.objects]
    assert sorted(kinds) == ["ARMATURE", "CAMERA", "MESH"]
    return {obj.type: obj for obj in bpy.data.objects}


def test_a_photo_becomes_a_file_with_an_avatar_that_moves(fitted: Path) -> None:
    objects = open_file(fitted / "from photo.blend")
    rig, mesh, camera = objects["ARMATURE"], objects["MESH"], objects["CAMERA"]
    assert {"pelvis", "left_wrist", "right_index3", "jaw"} <= set(rig.data.bones.keys())
    assert {"Shape000", "jawOpen", "mouthSmileLeft"} <= set(mesh.data.shape_keys.key_blocks.keys())
    assert bpy.context.scene.camera == camera
    assert camera.data.show_background_images

    def points() -> np.ndarray:
        evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
        flat = np.empty(3 * len(evaluated.vertices), np.float32)
        evaluated.vertices.foreach_get("co", flat)
        return flat.reshape(-1, 3)

    before = points()
    rig.pose.bones["left_elbow"].rotation_mode = "XYZ"
    rig.pose.bones["left_elbow"].rotation_euler = (0.7, 0.7, 0.0)
    bpy.context.view_layer.update()
    moved = np.linalg.norm(points() - before, axis=1)
    assert moved.max() > 0.05
    assert np.median(moved) < 0.001


def test_the_pose_of_a_real_photo_is_human(fitted: Path) -> None:
    """The head is above the pelvis, the wrists are no farther from the shoulders than arms are long."""
    rig = open_file(fitted / "from photo.blend")["ARMATURE"]
    at = {bone.name: np.array(rig.matrix_world @ bone.head) for bone in rig.pose.bones}
    assert at["head"][2] > at["spine2"][2] > at["pelvis"][2]
    for side in ("left", "right"):
        assert 0.05 < np.linalg.norm(at[f"{side}_wrist"] - at[f"{side}_shoulder"]) < 0.8


def test_a_capture_becomes_the_same_avatar_as_its_photo(fitted: Path, portrait: Path) -> None:
    assert run("fit", portrait, "-o", fitted).returncode == 0
    capture = fitted / "astronaut.npz"
    done = run("avatar", capture, "-o", fitted / "from capture.blend")
    assert done.returncode == 0, done.stderr
    poses = []
    for name in ("from photo.blend", "from capture.blend"):
        rig = open_file(fitted / name)["ARMATURE"]
        poses.append(np.array([bone.matrix for bone in rig.pose.bones]))
    np.testing.assert_allclose(poses[0], poses[1], atol=1e-5)
    assert Capture.load(capture).focal_px > 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.npz", "-o", "a.blend"], "missing.npz"),
        (["missing.jpg", "-o", "a.blend"], "missing.jpg"),
        (["missing.npz", "-o", "a.obj"], ".blend"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_sentence(
    arguments: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("avatar", *arguments)
    assert done.returncode == 1
    assert word in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.strip().endswith(".")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_written_to_is_named(fitted: Path, portrait: Path, tmp_path: Path) -> None:
    run("fit", portrait, "-o", tmp_path)
    (tmp_path / "file").touch()
    done = run("avatar", tmp_path / "astronaut.npz", "-o", tmp_path / "file" / "a.blend")
    assert done.returncode == 1
    assert "Can't write" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_captures_of_a_clip_become_one_file_at_the_clips_rate(
    tmp_path: Path, free_body: BodyModel, random_capture: Callable[..., Capture]
) -> None:
    from pantomime.__main__ import build_clip_file

    times = np.arange(20, dtype=np.float32) / 12.5
    for person in (0, 1):
        capture = random_capture(
            free_body, person, amount=0.2, frames=20, frame_times_s=times, mocap_frame_rate=12.5, source="dance.mp4",
            person_id=person, transl=np.tile(np.float32([person, 0, 3]), (20, 1)),
        )  # fmt: skip
        capture.save(tmp_path / f"{person}.npz")
    target = tmp_path / "clip.blend"
    build_clip_file([tmp_path / "0.npz", tmp_path / "1.npz"], None, target)
    bpy.ops.wm.open_mainfile(filepath=str(target))
    scene = bpy.context.scene
    assert scene.render.fps / scene.render.fps_base == pytest.approx(12.5)
    assert scene.frame_end - scene.frame_start == 19
    assert {obj.name for obj in bpy.data.objects if obj.type == "ARMATURE"} == {"dance", "dance 2"}
    assert len([obj for obj in bpy.data.objects if obj.type == "CAMERA"]) == 1
