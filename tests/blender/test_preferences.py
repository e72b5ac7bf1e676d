"""What the preferences tell: of the solver, of folders, of the cache."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

from pantomime.core.detection import models
from pantomime.operators import bodies, checks
from pantomime.operators.session import SESSION
from pantomime.operators.settings import SOLVER_FOLDER, packages_folder, python_in

pytestmark = pytest.mark.usefixtures("extension", "empty_file")


@pytest.mark.usefixtures("detector_models")
def test_the_test_of_the_solver_says_what_it_has() -> None:
    assert bpy.ops.pantomime.check_solver() == {"FINISHED"}
    report = checks.SOLVER
    assert not report.running and report.error == "" and "cpu" in report.devices
    assert report.lines[0].startswith("Python 3.") and any(line.startswith("torch ") for line in report.lines)
    assert not SESSION.busy and not [notice for notice in SESSION.notices if notice.kind == "error"]


def test_a_python_that_cannot_be_started_or_lacks_packages_is_an_error_with_a_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checks, "solver_settings", lambda _: checks.SolverSettings(python=str(tmp_path / "none")))
    with pytest.raises(RuntimeError, match="another Python"):
        bpy.ops.pantomime.check_solver()
    assert "another Python" in checks.SOLVER.error and not checks.SOLVER.running
    base = getattr(sys, "_base_executable", sys.executable)
    script = tmp_path / "bare"
    # A Python that sees no packages at all, whatever is installed beside it.
    script.write_text(f'#!/bin/sh\nexec "{base}" -S "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(checks, "solver_settings", lambda _: checks.SolverSettings(python=str(script)))
    with pytest.raises(RuntimeError, match="lacks numpy, torch, mediapipe"):
        bpy.ops.pantomime.check_solver()
    assert "pip install" in checks.SOLVER.error
    assert bpy.ops.pantomime.check_solver.poll()


def test_the_folder_of_an_environment_stands_for_its_python(tmp_path: Path) -> None:
    assert python_in(str(tmp_path)) == str(tmp_path)
    for folder, name in (("bin", "python"), ("Scripts", "python.exe")):
        program = tmp_path / folder[0] / folder / name
        program.parent.mkdir(parents=True)
        program.touch()
        assert python_in(str(tmp_path / folder[0])) == str(program)
        assert python_in(str(program)) == str(program)


def test_folders_of_bodies_are_looked_into_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What was wrong with a body is looked at again, too: the user may have put it there meanwhile.
    monkeypatch.setitem(bodies._known, ("folder", "male"), "There is no SMPLX_MALE.npz")
    monkeypatch.setitem(bodies._known, ("", "neutral"), "")
    checks.forget()
    assert ("", "neutral") in bodies._known and ("folder", "male") not in bodies._known
    assert checks.bodies_lines("") == []
    assert [line.icon for line in checks.bodies_lines(str(tmp_path / "gone"))] == ["ERROR"]
    assert "SMPLX_NEUTRAL" in checks.bodies_lines(str(tmp_path))[0].text
    arrays = {"v_template": np.zeros((5, 3)), "weights": np.zeros((5, 55)), "f": np.zeros((1, 3), np.uint32)}
    np.savez(tmp_path / "SMPLX_FEMALE.npz", shapedirs=np.zeros((5, 3, 400)), **arrays)
    assert checks.bodies_lines(str(tmp_path))[0].icon == "ERROR"
    bpy.ops.pantomime.look_again()
    (line,) = checks.bodies_lines(str(tmp_path))
    assert line == checks.Line("Female: SMPLX_FEMALE.npz, SMPL-X v1.1", "CHECKMARK")


def test_official_models_are_named(tmp_path: Path) -> None:
    checks.forget()
    assert checks.models_lines(str(tmp_path), "")[0].icon == "ERROR"
    (tmp_path / "pose_landmarker_heavy.task").write_bytes(b"PK")
    checks.forget()
    assert checks.models_lines(str(tmp_path), "")[0].text == "Body: pose_landmarker_heavy.task"


def test_clearing_the_cache_removes_the_models_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / f"models-{models.ASSEMBLY_VERSION}"
    made.mkdir()
    (made / models.MANIFEST).write_text("{}")
    (tmp_path / "own.txt").write_text("kept")
    monkeypatch.setattr(checks, "solver_settings", lambda _: checks.SolverSettings(cache_dir=str(tmp_path)))
    checks.forget()
    assert checks.models_lines("", str(tmp_path))[-1].icon == "CHECKMARK"
    assert bpy.ops.pantomime.clear_cache() == {"FINISHED"}
    assert not made.exists() and (tmp_path / "own.txt").exists()
    assert checks.models_lines("", str(tmp_path))[-1].icon == "ERROR"


def test_a_full_zips_packages_are_for_blenders_own_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert packages_folder(None) is None or Path(packages_folder(None) or "").parent == SOLVER_FOLDER
    monkeypatch.setattr("pantomime.operators.settings.SOLVER_FOLDER", tmp_path)
    assert packages_folder(None) is None
    mine = tmp_path / f"cp{sys.version_info.major}{sys.version_info.minor}"
    mine.mkdir()
    assert packages_folder(None) == str(mine)
    assert packages_folder("/usr/bin/python3") is None
