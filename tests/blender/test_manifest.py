"""The manifest passes Blender's own validator, and says what the package says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import bpy
import pytest

import pantomime

ROOT = Path(pantomime.__file__).parent
MANIFEST = tomllib.loads((ROOT / "blender_manifest.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def validator() -> Path:
    """The command line of Blender's own extension system."""
    scripts = Path(bpy.utils.system_resource("SCRIPTS"))
    return scripts / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"


def run(validator: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(validator), *arguments], capture_output=True, text=True, check=False)


def test_blenders_validator_accepts_the_source(validator: Path) -> None:
    done = run(validator, "validate", str(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Success" in done.stdout


def test_blenders_validator_refuses_a_manifest_that_is_wrong(validator: Path, tmp_path: Path) -> None:
    text = (ROOT / "blender_manifest.toml").read_text("utf-8")
    (tmp_path / "__init__.py").touch()
    (tmp_path / "blender_manifest.toml").write_text(text.replace('"4.2.0"', '"four"'))
    assert run(validator, "validate", str(tmp_path)).returncode != 0


def test_blender_packs_an_extension_that_its_validator_accepts(validator: Path, tmp_path: Path) -> None:
    packed = tmp_path / "pantomime.zip"
    done = run(validator, "build", "--source-dir", str(ROOT), "--output-filepath", str(packed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert run(validator, "validate", str(packed)).returncode == 0
    with zipfile.ZipFile(packed) as archive:
        names = set(archive.namelist())
    assert {"__init__.py", "blender_manifest.toml", "LICENSE", "THIRD_PARTY.md", "core/launch.py"} <= names
    assert "core/body/data/free_body.npz" in names
    top = {name.split("/")[0] for name in names}
    assert not top & {
        "tests",
        "out",
        ".venv",
        ".venv-bpy42",
        ".venv-bpy45",
        "dist",
        "solver",
        ".git",
        "Makefile",
        "pyproject.toml",
    }
    assert not [name for name in names if "__pycache__" in name]


def test_the_manifest_says_what_was_decided() -> None:
    assert MANIFEST["schema_version"] == "1.0.0"
    assert MANIFEST["id"] == "pantomime"
    assert MANIFEST["type"] == "add-on"
    assert MANIFEST["blender_version_min"] == "4.2.0"
    assert MANIFEST["license"] == ["SPDX:GPL-3.0-or-later"]
    assert set(MANIFEST["permissions"]) == {"files"}
    # Blender shows a reason in one line, and asks for no full stop.
    assert 0 < len(MANIFEST["permissions"]["files"]) <= 64
    assert not re.search(r"\W$", MANIFEST["permissions"]["files"])
    assert MANIFEST["tags"]


def test_all_places_state_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert MANIFEST["version"] == project["version"] == pantomime.__version__
    assert f"## {pantomime.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
