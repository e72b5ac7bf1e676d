"""What a zip holds: everything that runs in Blender, nothing else, for one platform and Python."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pantomime.core.capture import Capture
from pantomime.core.client import Client
from pantomime.core.messages import FitPhoto, Message, Result
from pantomime.core.package.build import problems, write_zip
from pantomime.core.package.contents import ALSO, INSTEAD, LEFT_OUT, ROOT, extension_files, is_licence, kept, place
from pantomime.core.package.resolve import (
    PackageError,
    Pin,
    check_closure,
    check_pins,
    check_wheel_name,
    lock_text,
    read_lock,
    requirements,
)
from pantomime.core.package.targets import BLENDERS, LOCKS, PLATFORMS, Target

LINUX = Target("linux-x64", "3.11")
WINDOWS = Target("windows-x64", "3.11")
LOCKED = [
    Target(platform, python) for platform in PLATFORMS for python in BLENDERS if Target(platform, python).lock.exists()
]
PATIENCE_S = 180.0


# --------------------------------------------------------------------------------------------------- extension's files


def own_imports(path: Path) -> set[str]:
    """Files of the package that a file imports, also inside functions."""
    package = list(path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            for parts in (base, *([*base, alias.name] for alias in node.names)):
                name = "/".join(part for part in parts if part)
                found |= {name + end for end in (".py", "/__init__.py") if (ROOT / (name + end)).is_file()}
    return found


def test_a_zip_holds_all_that_its_modules_import() -> None:
    files = set(extension_files())
    for name in files:
        if name.endswith(".py"):
            missing = own_imports(ROOT / name) - files
            assert not missing, f"{name} imports {missing}: name {name} in contents.DEVELOPMENT, or let them in"


def test_a_zip_holds_what_runs_in_blender_and_no_tests_or_tools() -> None:
    files = set(extension_files())
    assert {"__init__.py", "blender_manifest.toml", "LICENSE", "THIRD_PARTY.md", "core/launch.py"} <= files
    assert {"core/body/data/free_body.npz", "core/priors/data/regressor.safetensors", "core/jobs/photo.py"} <= files
    assert {name.split("/")[0] for name in files if "/" in name} == {"core", "operators", "panels", "scene"}
    tools = [name for name in files if any(w in name for w in ("test", "bench", "train", "__pycache__", "package"))]
    assert tools == ["core/body/data/bench_poses.npz"]  # whose poses tell which parts of a licensed body meet


def test_a_zip_holds_the_data_that_its_modules_name() -> None:
    files = set(extension_files())
    data = [path for path in (ROOT / "core").rglob("data/*") if path.is_file()]
    assert len(data) > 8
    for name in files:
        text = (ROOT / name).read_text("utf-8") if name.endswith(".py") else ""
        lacks = [
            path.name for path in data if f'"{path.name}"' in text and path.relative_to(ROOT).as_posix() not in files
        ]
        assert not lacks, f"{name} reads {lacks}: let them in"


# ---------------------------------------------------------------------------------------------------------------- locks


def test_there_are_locks_for_every_platform_that_has_the_packages() -> None:
    assert {path.stem for path in LOCKS.glob("*.txt")} == {target.name for target in LOCKED}
    assert LINUX in LOCKED and {target.platform for target in LOCKED} == {"linux-x64", "windows-x64", "macos-arm64"}


@pytest.mark.parametrize("target", LOCKED, ids=lambda t: t.name)
def test_a_lock_pins_what_the_package_needs_for_its_platform(target: Target) -> None:
    pins = read_lock(target)
    assert {pin.name.lower().replace("_", "-") for pin in pins} == {item.name for item in requirements()}
    assert lock_text(pins, target) == target.lock.read_text("utf-8")
    for other in LOCKED:
        if other != target:
            with pytest.raises(PackageError, match="does not run on"):
                check_pins(pins, other)


def test_everything_in_a_zip_is_named_with_its_licence() -> None:
    table = (ROOT / "THIRD_PARTY.md").read_text("utf-8").lower().replace("_", "-")
    for target in LOCKED:
        for pin in read_lock(target):
            assert pin.name.lower().replace("_", "-") in table, pin.name


@pytest.mark.parametrize(
    ("wheel", "fits"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("a-1-cp37-abi3-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp313-cp313-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_39_x86_64.whl", False),
        ("a-1-cp311-cp311-manylinux_2_17_aarch64.whl", False),
        ("a-1-cp311-cp311-win_amd64.whl", False),
        ("a-1-cp311-cp311-macosx_11_0_arm64.whl", False),
        ("a.tar.gz", False),
    ],
)
def test_wheels_with_foreign_tags_are_refused(wheel: str, fits: bool) -> None:
    if fits:
        check_wheel_name(wheel, LINUX)
    else:
        with pytest.raises(PackageError):
            check_wheel_name(wheel, LINUX)


def test_what_packages_ask_for_is_there_or_known_not_to_be_needed() -> None:
    """By the metadata of what is installed, which is what the tests run with."""
    pins, asked = [], {}
    for requirement in requirements():
        names = (requirement.name, *(old for old, new in INSTEAD.items() if new == requirement.name))
        found = next((name for name in names if any(True for _ in metadata.distributions(name=name))), None)
        assert found is not None, requirement
        pins.append(Pin(requirement.name, metadata.version(found), "0" * 64, "a-1-py3-none-any.whl"))
        asked[requirement.name] = [Requirement(text) for text in metadata.requires(found) or ()]
    check_closure(pins, asked, LINUX)
    with pytest.raises(PackageError, match="in or out"):
        check_closure(pins, {"torch": [Requirement("something-new")]}, LINUX)
    with pytest.raises(PackageError, match="CUDA"):
        check_closure(pins, {"torch": [Requirement("nvidia-cublas==13.*; platform_system == 'Linux'")]}, LINUX)
    check_closure(
        pins, {"torch": [Requirement("nvidia-cublas; platform_system == 'Linux'")]}, Target("windows-x64", "3.11")
    )


def test_smplx_is_never_packed() -> None:
    with pytest.raises(PackageError, match="licence"):
        check_pins([*read_lock(LINUX), Pin("smplx", "0.1.28", "0" * 64, "smplx-0.1.28-py3-none-any.whl")], LINUX)


# ----------------------------------------------------------------------------------------------------------------- zips


ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 0x3E)
ELF_ARM = ELF[:18] + struct.pack("<H", 0xB7)
DLL = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", 0x8664)
MACH = b"\xcf\xfa\xed\xfe" + struct.pack("<I", 0x0100000C) + bytes(16)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pantomime models` makes it, with a few bytes for each network."""
    folder = tmp_path_factory.mktemp("models")
    files = {"pose.task": b"PK pose", "LICENSE-mediapipe": b"Apache License"}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    (folder / "models.json").write_text(json.dumps({"assembly_version": 1, "sha256": sums}))
    return folder


def wheel_of(folder: Path, files: dict[str, bytes]) -> tuple[Path, Pin]:
    """A small wheel of a package `thing` with a record, as pip takes it."""
    files = {
        "thing-1.0.dist-info/METADATA": b"Name: thing\nVersion: 1.0\n",
        "thing-1.0.dist-info/licenses/LICENSE": b"MIT",
        "thing-1.0.dist-info/licenses/third_party/deep/LICENSE": b"BSD",
        **files,
    }
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    files["thing-1.0.dist-info/RECORD"] = ("".join(rows) + "thing-1.0.dist-info/RECORD,,\n").encode()
    path = folder / "thing-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path, Pin("thing", "1.0", "0" * 64, path.name)


@pytest.fixture
def full(tmp_path: Path, models: Path) -> tuple[Path, Pin]:
    """A zip with one package that has what real ones have: binaries, tests, headers, data folders."""
    wheel, pin = wheel_of(
        tmp_path,
        {
            "thing/__init__.py": b"",
            "thing/core.cpython-311-x86_64-linux-gnu.so": ELF,
            "thing/tests/test_a.py": b"",
            "thing/include/a.h": b"",
            "thing-1.0.data/purelib/other.py": b"x = 1",
        },
    )
    path = tmp_path / "full.zip"
    write_zip(path, models, LINUX, [wheel])
    return path, pin


def changed(path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """The same zip with other contents."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    other = path.with_name("changed.zip")
    with zipfile.ZipFile(other, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return other


def test_a_zip_is_whole_and_says_where_it_runs(full: tuple[Path, Pin], tmp_path: Path, models: Path) -> None:
    path, pin = full
    assert problems(path, LINUX, [pin]) == []
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if name.startswith("solver/")}
        manifest = archive.read("blender_manifest.toml").decode()
        gathered = archive.read("solver/cp311/thing-1.0.dist-info/LICENSES.txt")
    assert {"solver/cp311/thing/__init__.py", "solver/cp311/other.py"} <= names
    assert not [name for name in names if "test" in name or name.endswith(".h")]
    assert b"third_party/deep/LICENSE" in gathered and b"BSD" in gathered
    assert 'platforms = ["linux-x64"]' in manifest and 'blender_version_max = "5.1.0"' in manifest
    assert "wheels" not in manifest
    light = tmp_path / "light.zip"
    write_zip(light, models)
    assert problems(light) == []
    assert problems(light, LINUX, [pin]) and problems(path)
    before = light.read_bytes()
    write_zip(light, models)
    assert light.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: files.clear(), "core/launch.py is missing"),
        (lambda files: files.pop("core/worker.py"), "core/worker.py is missing"),
        (lambda files: files.pop("core/detection/bundled/pose.task"), "pose.task is missing"),
        (lambda files: files.pop("core/detection/bundled/LICENSE-mediapipe"), "LICENSE-mediapipe is missing"),
        (lambda files: files.update({"core/detection/bundled/pose.task": b"cut"}), "pose.task is damaged"),
        (lambda files: files.update({"core/body/data/free_body.npz": b""}), "free_body.npz is not the one"),
        (lambda files: files.pop("solver/cp311/thing/__init__.py"), "thing/__init__.py is missing"),
        (lambda files: files.update({"solver/cp311/other.py": b""}), "other.py is damaged"),
        (lambda files: files.pop("solver/cp311/thing-1.0.dist-info/RECORD"), "thing 1.0 is missing"),
        (
            lambda files: files.pop("solver/cp311/thing-1.0.dist-info/LICENSES.txt"),
            "third_party/deep/LICENSE is missing",
        ),
        (lambda files: files.update({"solver/cp311/a.so": ELF_ARM}), "a.so is for another platform"),
        (lambda files: files.update({"solver/cp311/a.cpython-313-x86_64-linux-gnu.so": ELF}), "or Python"),
        (lambda files: files.update({"solver/cp311/a.pyd": DLL}), "a.pyd is for another platform"),
        (lambda files: files.update({"solver/cp311/a.dylib": MACH}), "a.dylib is for another platform"),
        (lambda files: files.update({"tests/test_a.py": b""}), "tests/test_a.py does not belong there"),
        (lambda files: files.update({"solver/cp311/smplx/__init__.py": b""}), "smplx/__init__.py does not belong"),
    ],
    ids=range(16),
)
def test_a_zip_that_lacks_or_has_something_fails(
    full: tuple[Path, Pin], change: Callable[[dict[str, bytes]], object], words: str
) -> None:
    path, pin = full
    found = problems(changed(path, change), LINUX, [pin])
    assert any(words in sentence for sentence in found), found


def test_what_is_no_zip_fails(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    assert problems(tmp_path / "a.zip")


def test_a_wheel_with_a_binary_for_another_platform_is_not_packed(tmp_path: Path, models: Path) -> None:
    wheel, _ = wheel_of(tmp_path, {"thing/a.so": ELF_ARM})
    with pytest.raises(PackageError, match="another platform"):
        write_zip(tmp_path / "a.zip", models, LINUX, [wheel])
    assert not list(tmp_path.glob("a.zip*"))


@pytest.mark.parametrize("target", [WINDOWS, Target("macos-arm64", "3.13")], ids=lambda t: t.name)
def test_binaries_are_known_by_their_heads(target: Target) -> None:
    assert target.is_foreign("a.so", ELF)
    assert target.is_foreign("a.dll", DLL) == (target.platform != "windows-x64")
    assert target.is_foreign("a.so", MACH) == (target.platform != "macos-arm64")
    assert target.is_foreign("a.dylib", b"not a library")
    assert not target.is_foreign("a.py", b"x = 1")


# ------------------------------------------------------------------------------------------------ the solver's packages


@pytest.mark.usefixtures("detector_models")
def test_a_photo_is_solved_with_what_is_kept_of_the_packages_alone(portrait: Path, tmp_path: Path) -> None:
    """The part of each installed package that a zip would hold, seen by a Python that has no packages of its own."""
    solver = tmp_path / "solver"
    names = [item.name for item in requirements()]
    for name in [*names, *INSTEAD]:
        for distribution in metadata.distributions(name=name):
            for file in distribution.files or ():
                inside = file.as_posix()
                if inside.startswith("..") or not kept(inside) or not file.locate().is_file():
                    continue
                copy = solver / place(inside)
                copy.parent.mkdir(parents=True, exist_ok=True)
                # A hard link costs nothing, and no package sees where it leads.
                try:
                    os.link(file.locate(), copy)
                except OSError:
                    shutil.copy2(file.locate(), copy)
    assert not (solver / "matplotlib").exists() and not (solver / "scipy").exists()
    python = getattr(sys, "_base_executable", sys.executable)
    command = [python, "-I", "-S", "-B", "-u", str(ROOT / "core" / "launch.py"), "--packages", str(solver)]
    with Client(command) as client:
        client.submit(FitPhoto("1", str(portrait), str(tmp_path)))
        events: list[Message] = []
        end = time.monotonic() + PATIENCE_S
        while client.job is not None:
            assert time.monotonic() < end, events
            events += client.poll()
            time.sleep(0.01)
    assert isinstance(events[-1], Result), events[-1]
    assert Capture.load(events[-1].captures[0]).joints.shape == (1, 55, 3)


def test_licences_are_kept_and_tests_are_not() -> None:
    assert kept("torch-2.13.0.dist-info/licenses/third_party/a/test/LICENSE") and is_licence(
        "cv2/LICENSE-3RD-PARTY.txt"
    )
    assert not is_licence("a/license_check.py") and not kept("numpy/core/tests/test_a.py")
    assert kept("torch/testing/__init__.py") and not kept("torch/bin/test_api") and not kept("torch/lib/libfoo.a")
    assert not set(ALSO) & set(LEFT_OUT)


def test_the_command_says_what_can_be_chosen() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pantomime", "package", "--platform", "amiga"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "linux-x64" in done.stderr and "3.13" in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "pantomime", "package", "--platform", "macos-x64"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "light zip" in done.stderr
