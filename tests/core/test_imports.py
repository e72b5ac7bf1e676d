"""Who may import whom: the arrows of the design, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pantomime

ROOT = Path(pantomime.__file__).parent
FOLDERS = ("core", "scene", "operators", "panels")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
HEAVY = {"torch", "cv2", "mediapipe", "smplx", "anny", "roma", "safetensors", "scipy", "PIL", "skimage"}
BLENDER = {"bpy", "bpy_extras", "bmesh", "mathutils", "gpu", "blf", "aud"}

# Which of the package's modules a folder's code may import, beside its own folder. A name stands for all below it.
ALLOWED = {
    "panels": {"operators"},
    "operators": {
        "scene",
        "core.client",
        "core.messages",
        "core.capture",
        "core.body.folder",
        "core.body.skeleton",
        "core.detection.models",
    },
    "scene": {
        "core.capture",
        "core.body.skeleton",
        "core.body.model",
        "core.body.load",
        "core.body.measure",
        "core.body.raster",
        "core.body.garment",
        "core.media.files",
        "core.whole_file",
    },
}
# Inside core: what a folder may use beside itself, and beside what all of it may use and which uses nothing.
BELOW_ALL = {"core.arguments", "core.npz_errors", "core.whole_file"}
ALLOWED_IN_CORE = {
    "media": set[str](),
    "package": {"core.detection.models"},
    "detection": {"core.media"},
    "body": {"core.detection", "core.media", "core.rotation", "core.capture", "core.priors"},
    "priors": {
        "core.body",
        "core.rotation",
        "core.detection.face_picture",
        "core.detection.observation",
        "core.detection.vocabulary",
    },
    "fitting": {"core.body", "core.priors", "core.detection", "core.media", "core.rotation", "core.capture"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names of what a file imports; the package's own begin with a dot. Imports in functions count."""
    package = list(path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                yield node.module or "", node.lineno
                continue
            base = package[: len(package) - (node.level - 1)]
            module = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                whole = ROOT.joinpath(*module, alias.name)
                is_module = whole.with_suffix(".py").exists() or (whole / "__init__.py").exists()
                yield "." + ".".join([*module, alias.name] if is_module else module), node.lineno


def within(name: str, allowed: set[str]) -> bool:
    return any(name == item or name.startswith(item + ".") for item in allowed)


def violations(path: Path) -> list[str]:
    name = module_name(path)
    folder = name.split(".")[0]
    found = []
    for target, line in imports(path):
        where = f"{path.relative_to(ROOT)}:{line} imports {target}"
        top = target.split(".")[0]
        if target.startswith("."):
            inner = target[1:]
            own = folder
            allowed = ALLOWED.get(folder, set())
            if folder == "core":
                part = name.split(".")[1] if len(name.split(".")) > 2 or path.name == "__init__.py" else ""
                if part in ALLOWED_IN_CORE:
                    own, allowed = f"core.{part}", ALLOWED_IN_CORE[part] | BELOW_ALL
                else:
                    own = "core"
            if not within(inner, {own} | allowed) and inner not in ("", "core"):
                found.append(where)
        elif top == ROOT.name or top == "pantomime":
            found.append(where + ": relative imports only")
        elif (folder == "core" and top in BLENDER) or (folder != "core" and top in HEAVY):
            found.append(where)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_arrows(path: Path) -> None:
    assert violations(path) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("core/x.py", "import bpy"),
        ("core/x.py", "from ..scene import avatar"),
        ("core/media/x.py", "from ..fitting import photo"),
        ("core/fitting/x.py", "from ..pipeline import Pipeline"),
        ("scene/x.py", "def f():\n    import torch"),
        ("scene/x.py", "from ..core.pipeline import Pipeline"),
        ("scene/x.py", "from ..operators import photo"),
        ("operators/x.py", "from ..core import worker"),
        ("operators/x.py", "from ..panels import sidebar"),
        ("panels/x.py", "from ..scene import avatar"),
        ("panels/x.py", "from pantomime.operators import photo"),
        ("operators/x.py", "from .. import __main__"),
    ],
)
def test_the_walk_sees_a_wrong_arrow(file: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (*FOLDERS, "core/media", "core/fitting"):
        (tmp_path / folder).mkdir(parents=True)
    for module in ("scene/avatar.py", "operators/photo.py", "panels/sidebar.py", "core/worker.py", "__main__.py"):
        (tmp_path / module).touch()
    (tmp_path / file).write_text(source)
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    assert len(violations(tmp_path / file)) == 1


@pytest.mark.parametrize("name", ["messages", "client", "launch"])
def test_what_blender_starts_the_solver_with_needs_the_standard_library_alone(name: str) -> None:
    for target, line in imports(ROOT / "core" / f"{name}.py"):
        if target.startswith("."):
            assert target in (".core", ".core.messages"), f"line {line}"
        else:
            assert target.split(".")[0] in sys.stdlib_module_names, f"line {line}"


def test_what_all_of_core_may_use_needs_the_standard_library_alone() -> None:
    for name in BELOW_ALL:
        for target, line in imports(ROOT / f"{name.replace('.', '/')}.py"):
            assert target.split(".")[0] in sys.stdlib_module_names, f"{name}, line {line} imports {target}"


@pytest.mark.parametrize(
    "name", ["capture", "body/model", "body/load", "body/measure", "body/skeleton", "body/raster", "media/frame"]
)
def test_what_blender_reads_needs_numpy_at_most(name: str) -> None:
    for target, line in imports(ROOT / "core" / f"{name}.py"):
        top = target.split(".")[0]
        assert not top or top == "numpy" or top in sys.stdlib_module_names, f"line {line} imports {target}"


def test_what_registering_reads_of_avatars_needs_blender_alone() -> None:
    for target, line in imports(ROOT / "scene" / "identity.py"):
        assert target in ("__future__", "bpy"), f"line {line} imports {target}"


def test_nobody_imports_the_command_line() -> None:
    for path in FILES:
        assert not any(target.startswith(".__main__") for target, _ in imports(path)), path


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    assert not [path for path in FILES if path.stem in ("utils", "util", "helpers", "misc")]


def test_every_folder_of_code_is_in_the_package() -> None:
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    folders = {path.parent for path in FILES} | {ROOT}
    assert {".".join(("pantomime", *folder.relative_to(ROOT).parts)) for folder in folders} == set(listed)


def test_the_package_imports_without_blender_and_without_anything_heavy() -> None:
    code = (
        "import sys, pantomime, pantomime.core.client, pantomime.core.messages\n"
        "print([m for m in ('bpy', 'numpy', 'torch', 'cv2', 'mediapipe') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
