"""Write a zip, and look into one. Standard library only, but for the targets."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..whole_file import whole_file
from .contents import FORBIDDEN, ROOT, extension_files, gathered, is_licence, kept, model_files, place
from .resolve import PackageError, Pin
from .targets import BLENDERS, Target

_DATE = (1980, 1, 1, 0, 0, 0)
_HEAD_BYTES = 4096
# Windows knows paths of 260 letters, of which Blender's folder of extensions may take 120.
LONGEST_PATH = 140
_MODELS = "core/detection/bundled/"


def manifest_for(target: Target | None, root: Path = ROOT) -> str:
    """The manifest, narrowed to where the zip runs: Blender itself then refuses it elsewhere."""
    text = (root / "blender_manifest.toml").read_text("utf-8")
    # Blender's validator takes it from packed extensions, too, but nothing is built from them.
    text = text.partition("\n[build]")[0].rstrip() + "\n"
    if target is None:
        return text
    first, beyond = BLENDERS[target.python]
    lines = [f'platforms = ["{target.platform}"]']
    if beyond is not None:
        lines.append(f'blender_version_max = "{beyond}"')
    text, count = re.subn(
        r'^blender_version_min = ".*"$',
        "\n".join([f'blender_version_min = "{first}"', *lines]),
        text,
        flags=re.MULTILINE,
    )
    if count != 1:
        raise PackageError("blender_manifest.toml has no line blender_version_min. Add it.")
    return text


def write_zip(
    path: Path, models: Path, target: Target | None = None, wheels: Iterable[Path] = (), root: Path = ROOT
) -> None:
    """The extension, the detector's models from `models`, and the solver's part of `wheels`.

    The same input gives the same bytes. Raises PackageError, OSError.
    """
    with whole_file(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in extension_files(root):
            if name == "blender_manifest.toml":
                _add(archive, name, manifest_for(target, root).encode())
            else:
                _add(archive, name, (root / name).read_bytes())
        for name, file in model_files(models):
            _add(archive, name, file.read_bytes())
        for wheel in wheels:
            assert target is not None
            for name, data in wheel_files(wheel):
                if target.is_foreign(name, data[:_HEAD_BYTES]):
                    raise PackageError(f"{name} of {wheel.name} is for another platform. Lock again.")
                _add(archive, target.solver_folder + name, data)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data)


def wheel_files(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """What the solver needs of a wheel: path relative to site-packages, content. Raises PackageError."""
    gatherings: dict[str, list[bytes]] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for info in sorted(archive.infolist(), key=lambda item: item.filename):
                name = info.filename
                if info.is_dir() or not kept(name):
                    continue
                if (target := gathered(name)) is not None:
                    gatherings.setdefault(target, []).append(_heading(name) + archive.read(info).rstrip() + b"\n\n")
                else:
                    yield place(name), archive.read(info)
    except zipfile.BadZipFile as error:
        raise PackageError(f"{wheel.name} is damaged. Fetch it again.") from error
    for name, texts in gatherings.items():
        yield name, b"".join(texts)


def _heading(path: str) -> bytes:
    return f"==== {path.partition('.dist-info/licenses/')[2]} ====\n\n".encode()


def problems(path: Path, target: Target | None = None, pins: Iterable[Pin] = (), root: Path = ROOT) -> list[str]:
    """What is wrong with a zip, one sentence each; none: it is whole, and holds nothing else."""
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        return [f"{path.name} is not a zip: {error}"]
    with archive:
        names = [info.filename for info in archive.infolist()]
        there = set(names)
        found = [f"{name} is there twice" for name in sorted({name for name in names if names.count(name) > 1})]
        found += _extension_problems(archive, there, target, root)
        found += _model_problems(archive, there)
        known = {*extension_files(root), *(name for name in there if name.startswith(_MODELS))}
        if target is not None:
            for pin in pins:
                found += _package_problems(archive, there, target, pin, known)
            found += [f"{name} is too long for Windows" for name in there if len(name) > LONGEST_PATH]
        found += [f"{name} does not belong there" for name in sorted(there - known)]
        for name in sorted(there):
            with archive.open(name) as file:
                if target is not None and target.is_foreign(name, file.read(_HEAD_BYTES)):
                    found.append(f"{name} is for another platform or Python")
    return found


def _extension_problems(archive: zipfile.ZipFile, there: set[str], target: Target | None, root: Path) -> Iterator[str]:
    for name in extension_files(root):
        if name not in there:
            yield f"{name} is missing"
        elif name == "blender_manifest.toml":
            if archive.read(name).decode() != manifest_for(target, root):
                yield f"{name} is another one"
        elif archive.read(name) != (root / name).read_bytes():
            yield f"{name} is not the one of the source"


def _model_problems(archive: zipfile.ZipFile, there: set[str]) -> Iterator[str]:
    if f"{_MODELS}models.json" not in there:
        yield f"{_MODELS}models.json is missing"
        return
    sums: dict[str, str] = json.loads(archive.read(f"{_MODELS}models.json"))["sha256"]
    for name, value in sums.items():
        if _MODELS + name not in there:
            yield f"{_MODELS}{name} is missing"
        elif hashlib.sha256(archive.read(_MODELS + name)).hexdigest() != value:
            yield f"{_MODELS}{name} is damaged"
    if not any(is_licence(name) for name in sums):
        yield "the models have no licence"
    for name in there:
        if name.startswith(_MODELS) and name.removeprefix(_MODELS) not in {*sums, "models.json"}:
            yield f"{name} is no model"


def _package_problems(
    archive: zipfile.ZipFile, there: set[str], target: Target, pin: Pin, known: set[str]
) -> Iterator[str]:
    """By the package's own record, which lists every file of the wheel with its hash. What is right goes to `known`."""
    folder = target.solver_folder
    stem = re.sub(r"[-.]+", "_", pin.name).lower()
    infos = {
        name.split("/")[2]
        for name in there
        if name.startswith(folder) and name.count("/") >= 3 and ".dist-info/" in name
    }
    info = next(
        (i for i in infos if i.lower().replace("-", "_").startswith(f"{stem}_{pin.version}.dist".lower())), None
    )
    if pin.name.lower() in FORBIDDEN or info is None or f"{folder}{info}/RECORD" not in there:
        yield (
            f"{pin.name} {pin.version} is missing" if pin.name.lower() not in FORBIDDEN else f"{pin.name} is forbidden"
        )
        return
    licences = False
    for recorded, value, _ in csv.reader(io.StringIO(archive.read(f"{folder}{info}/RECORD").decode())):
        name = folder + place(recorded)
        if not kept(recorded):
            continue
        licences = licences or is_licence(recorded)
        if (gathering := gathered(recorded)) is not None:
            known.add(folder + gathering)
            if folder + gathering not in there or _heading(recorded) not in archive.read(folder + gathering):
                yield f"{recorded} is missing"
            continue
        known.add(name)
        if name not in there:
            yield f"{name} is missing"
        elif value:
            kind, _, digest = value.partition("=")
            have = base64.urlsafe_b64encode(hashlib.new(kind, archive.read(name)).digest()).rstrip(b"=").decode()
            if have != digest:
                yield f"{name} is damaged"
    if not licences:
        yield f"{pin.name} has no licence in the zip"
