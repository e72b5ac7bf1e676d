"""The check of the solver, through a real worker, and a look into folders of licensed bodies."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.folder import look_into
from pantomime.core.client import Client, worker_command
from pantomime.core.messages import CheckSolver, Failed, Message, Result

PATIENCE_S = 120.0


def final(client: Client) -> Message:
    client.submit(CheckSolver("1"))
    events: list[Message] = []
    end = time.monotonic() + PATIENCE_S
    while client.job is not None:
        assert time.monotonic() < end, events
        events += client.poll()
        time.sleep(0.01)
    return events[-1]


@pytest.mark.usefixtures("detector_models")
def test_a_python_that_can_solve_says_what_it_has() -> None:
    with Client(worker_command()) as client:
        event = final(client)
    assert isinstance(event, Result), event
    assert event.facts["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert event.facts["numpy"] == np.__version__
    assert event.facts["torch"] and event.facts["mediapipe"] and event.facts["opencv-contrib-python"]
    assert "cpu" in event.facts["devices"].split()
    assert Path(event.facts["models"]).is_dir()


def test_a_python_without_the_packages_names_them_and_the_next_step(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    python = bare / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    with Client(worker_command(str(python))) as client:
        event = final(client)
    assert isinstance(event, Failed)
    assert "lacks numpy, torch, mediapipe" in event.text and "pip install" in event.text


def smplx_file(path: Path, columns: int, **more: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "v_template": np.zeros((5, 3)),
        "shapedirs": np.zeros((5, 3, columns)),
        "weights": np.zeros((5, 55)),
        "f": np.zeros((1, 3), np.uint32),
    }
    np.savez(path, **(arrays | more))


def test_a_folder_of_bodies_is_described_by_names_and_headers_alone(tmp_path: Path) -> None:
    assert look_into(tmp_path) == []
    smplx_file(tmp_path / "models/smplx/SMPLX_NEUTRAL.npz", 400)
    smplx_file(tmp_path / "models/smplx/SMPLX_MALE.npz", 20)
    # A pickle that would run a program: it is named, and not read.
    (tmp_path / "models/smplx/SMPLX_FEMALE.pkl").write_bytes(b"\x80\x02cos\nsystem\n(S'false'\ntR.")
    found = {body.gender: body for body in look_into(tmp_path)}
    assert [found[g].version for g in ("neutral", "male", "female")] == ["v1.1", "v1.0", ""]
    assert not any(body.problem for body in found.values())
    assert look_into(tmp_path / "models/smplx/SMPLX_MALE.npz") == [found["male"]]


def test_what_is_wrong_with_a_file_of_a_body_is_said(tmp_path: Path) -> None:
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    for content, words in ((b"PK\x03\x04 cut off", "damaged"), (b"<html>", "no model"), (b"", "no model")):
        path.write_bytes(content)
        (body,) = look_into(tmp_path)
        assert words in body.problem, content
    smplx_file(path, 16)
    (body,) = look_into(tmp_path)
    assert "16 shape columns" in body.problem
    np.savez(path, v_template=np.zeros(3))
    (body,) = look_into(tmp_path)
    assert "lacks shapedirs, weights, f" in body.problem
    with pytest.raises(OSError, match="no folder"):
        look_into(tmp_path / "gone")
