"""Which wheels a zip holds: chosen by pip, pinned with their SHA-256 in a lock, checked for platform and completeness.

pip judges conditions such as `platform_system == "Linux"` by the machine that it runs on, also when it is asked for
another platform. So it chooses each package by itself (`--no-deps`), and what the packages ask for is judged here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from .contents import ALSO, FORBIDDEN, INSTEAD, LEFT_OUT, ROOT
from .targets import Target

_TIMEOUT_S = 1800.0
_CUDA = re.compile(r"^(nvidia-|cuda-|triton)")
_LINE = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})  # (?P<wheel>\S+\.whl)$"
)


class PackageError(Exception):
    """A zip that can't be made; the message says what to do next."""


@dataclass(frozen=True)
class Pin:
    """One package of a lock."""

    name: str
    version: str
    sha256: str
    wheel: str


def requirements(root: Path = ROOT) -> list[Requirement]:
    """What the solver needs, from `pyproject.toml`."""
    stated = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    found = [Requirement(text) for text in stated]
    for requirement in found:
        requirement.name = INSTEAD.get(requirement.name, requirement.name)
    return [*found, *map(Requirement, ALSO)]


def read_lock(target: Target) -> list[Pin]:
    """The pinned packages. Raises PackageError."""
    if not target.lock.is_file():
        raise PackageError(
            f"No packages are pinned for {target.name}. Run `pantomime package --lock --platform {target.platform} "
            f"--python {target.python}`, or make a light zip."
        )
    pins = []
    for line in target.lock.read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            match = _LINE.match(line)
            if match is None:
                raise PackageError(f"{target.lock.name} has a line that is no pinned package: {line[:80]}. Lock again.")
            pins.append(Pin(**match.groupdict()))
    check_pins(pins, target)
    return pins


def check_pins(pins: list[Pin], target: Target) -> None:
    """Raises PackageError where a package is missing, of a wrong version, forbidden, or for another platform."""
    by_name = {canonicalize_name(pin.name): pin for pin in pins}
    for requirement in requirements():
        if requirement.marker is not None and not requirement.marker.evaluate(target.marker_environment()):
            continue
        pin = by_name.get(canonicalize_name(requirement.name))
        if pin is None or not requirement.specifier.contains(pin.version, prereleases=True):
            have = "nothing" if pin is None else pin.version
            raise PackageError(f"{target.lock.name} pins {have} for {requirement}. Run `pantomime package --lock`.")
    for pin in pins:
        if canonicalize_name(pin.name) in FORBIDDEN:
            raise PackageError(f"{pin.name} may not be part of a zip: its licence forbids it.")
        check_wheel_name(pin.wheel, target)


def check_wheel_name(wheel: str, target: Target) -> None:
    """Raises PackageError for a wheel of another platform or Python."""
    try:
        tags = parse_wheel_filename(wheel)[3]
    except InvalidWheelFilename as error:
        raise PackageError(f"{wheel} is not the name of a wheel. Lock again.") from error
    if not tags & target.tags():
        raise PackageError(f"{wheel} does not run on {target.name}. Lock again with a pip that finds the right one.")


def resolve(target: Target, pip_args: Sequence[str] = ()) -> list[Pin]:
    """Ask pip for the wheels. The versions that are installed here come first: the tests ran with them.

    Raises PackageError.
    """
    pins, asked = [], {}
    for requirement in requirements():
        if requirement.marker is not None and not requirement.marker.evaluate(target.marker_environment()):
            continue
        entry = None
        for text in _wishes(requirement):
            entry = _ask_pip(text, target, pip_args)
            if entry is not None:
                break
        if entry is None:
            raise PackageError(
                f"pip finds no wheel of {requirement} for {target.name}. If its index has none, make a light zip; "
                "--pip-args passes another index on."
            )
        url, hashes = entry["download_info"]["url"], entry["download_info"]["archive_info"]["hashes"]
        data = entry["metadata"]
        pins.append(Pin(data["name"], data["version"], hashes["sha256"], unquote(url.rpartition("/")[2])))
        asked[data["name"]] = [Requirement(text) for text in data.get("requires_dist", ())]
    check_pins(pins, target)
    check_closure(pins, asked, target)
    return sorted(pins, key=lambda pin: pin.name.lower())


def check_closure(pins: list[Pin], asked: dict[str, list[Requirement]], target: Target) -> None:
    """Whether the packages have what they ask for, or it is known not to be needed. Raises PackageError."""
    versions = {canonicalize_name(pin.name): pin.version for pin in pins}
    known = {*LEFT_OUT, *INSTEAD}
    environment = target.marker_environment()
    for package, wanted in asked.items():
        for requirement in wanted:
            if requirement.marker is not None and not requirement.marker.evaluate(environment):
                continue
            name = canonicalize_name(requirement.name)
            if _CUDA.match(name):
                raise PackageError(
                    f"{package} for {target.name} is a build with CUDA ({name}), gigabytes large. "
                    "Give pip an index with CPU builds: --pip-args '--extra-index-url …'."
                )
            if name in versions:
                if not requirement.specifier.contains(versions[name], prereleases=True):
                    raise PackageError(f"{package} wants {requirement}, and pip chose {versions[name]}. Set bounds.")
            elif name not in known:
                raise PackageError(f"{package} wants {requirement}. Name it in core/package/contents.py: in or out.")


def lock_text(pins: list[Pin], target: Target) -> str:
    """A file of requirements, as pip itself reads it."""
    lines = [f"# The solver's packages for {target.name}. Written by `pantomime package --lock`."]
    lines += [f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}  # {pin.wheel}" for pin in pins]
    return "\n".join(lines) + "\n"


def download(target: Target, folder: Path, pip_args: Sequence[str] = ()) -> list[Path]:
    """The pinned wheels; pip checks their hashes. Raises PackageError."""
    pins = read_lock(target)
    done = _pip(
        ["download", "--no-deps", "--require-hashes", *_for(target), "--dest", str(folder), *pip_args,
         "-r", str(target.lock)]
    )  # fmt: skip
    if done.returncode != 0:
        raise PackageError(f"pip can't fetch the packages: {_reason(done.stderr)}. Check the index that pip uses.")
    wheels = sorted(folder.glob("*.whl"))
    for wheel in wheels:
        check_wheel_name(wheel.name, target)
    if len(wheels) != len(pins):
        raise PackageError(f"pip fetched {len(wheels)} packages instead of {len(pins)}. Use an empty folder.")
    return wheels


def _wishes(requirement: Requirement) -> list[str]:
    texts = [f"{requirement.name}{requirement.specifier}"]
    for name in (requirement.name, *(old for old, new in INSTEAD.items() if new == requirement.name)):
        try:
            version = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
        if requirement.specifier.contains(version):
            texts.insert(0, f"{requirement.name}=={version}")
            break
    return texts


def _ask_pip(requirement: str, target: Target, pip_args: Sequence[str]) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory(prefix="pantomime-lock-") as folder:
        report = Path(folder) / "report.json"
        done = _pip(
            ["install", "--dry-run", "--no-deps", "--ignore-installed", *_for(target), "--target", folder,
             "--report", str(report), *pip_args, requirement]
        )  # fmt: skip
        if done.returncode != 0:
            return None
        (entry,) = json.loads(report.read_text("utf-8"))["install"]
        found: dict[str, Any] = entry
        return found


def _for(target: Target) -> list[str]:
    platforms = [item for name in target.pip_platforms for item in ("--platform", name)]
    return ["--only-binary=:all:", "--implementation", "cp", "--python-version", target.python, *platforms]


def _pip(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-input", "--disable-pip-version-check"]
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PackageError(f"pip can't be run: {error}. Try again with a Python that has pip.") from error


def _reason(stderr: str) -> str:
    lines = (
        [line for line in stderr.splitlines() if line.startswith("ERROR")] or stderr.splitlines() or ["no reason given"]
    )
    return lines[-1].removeprefix("ERROR: ")[:300]
