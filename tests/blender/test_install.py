"""The light zip in a Blender with an empty user folder: install, photo to avatar, disable, uninstall, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import bpy
import pytest

from pantomime.core.detection.models import find_models
from pantomime.core.package.build import problems, write_zip

SCRIPT = """
import json, os, sys
import bpy
packed, photo, user = sys.argv[1:]
name = "bl_ext.user_default.pantomime"

def files():
    # Blender's own: it notes which extensions it could load.
    found = (os.path.join(folder, file) for folder, _, names in os.walk(user) for file in names)
    return sorted(os.path.relpath(path, user) for path in found if os.sep + ".cache" + os.sep not in path)

before, report = files(), {}
bpy.ops.extensions.package_install_files(filepath=packed, repo="user_default", enable_on_install=True)
report["enabled"] = name in bpy.context.preferences.addons
report["installed"] = len(files())
bpy.ops.pantomime.photo_to_avatar(filepath=photo)
report["bones"] = [len(armature.bones) for armature in bpy.data.armatures]
session = sys.modules[name + ".operators.session"].SESSION
pid = session.worker_pid
bpy.ops.preferences.addon_disable(module=name)
report["worker"] = os.path.exists(f"/proc/{pid}")
report["operators"] = hasattr(bpy.types, "PANTOMIME_OT_photo_to_avatar")
repos = [repo.module for repo in bpy.context.preferences.extensions.repos]
bpy.ops.extensions.package_uninstall(repo_index=repos.index("user_default"), pkg_id="pantomime")
report["left"] = [path for path in files() if path not in before]
report["modules"] = [module for module in sys.modules if module.startswith(name + ".core.fitting")]
print("REPORT" + json.dumps(report))
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, detector_models: None) -> Path:
    """A light zip of this source."""
    path = tmp_path_factory.mktemp("dist") / "pantomime.zip"
    write_zip(path, find_models().hand.parent)
    assert problems(path) == []
    return path


def test_blenders_validator_accepts_the_zip(packed: Path) -> None:
    tool = Path(bpy.utils.system_resource("SCRIPTS")) / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    done = subprocess.run([sys.executable, str(tool), "validate", str(packed)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_installed_used_and_removed_it_leaves_nothing(packed: Path, portrait: Path, tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir()
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(user)}
    # Nothing of this checkout may be found: the zip has to bring everything itself.
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCRIPT, str(packed), str(portrait), str(user)],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    line = next((line for line in done.stdout.splitlines() if line.startswith("REPORT")), None)
    assert line is not None, done.stdout + done.stderr
    report = json.loads(line.removeprefix("REPORT"))
    assert report["enabled"] and report["installed"] > 100
    assert report["bones"] == [55]
    assert not report["worker"] and not report["operators"]
    assert report["left"] == [] and report["modules"] == []
