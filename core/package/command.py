"""`pantomime package`."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from ... import __version__
from ..detection.models import ModelError, prepare_models
from ..whole_file import write_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pantomime package`."""
    parser.add_argument(
        "--platform", metavar="NAME", help="linux-x64, windows-x64, macos-arm64 or macos-x64 (default: this machine's)"
    )
    parser.add_argument(
        "--python", default="3.11", help="3.11 for Blender 4.2 to 5.0, 3.13 from 5.1 on (default: 3.11)"
    )
    parser.add_argument(
        "--light", action="store_true", help="without the solver's packages: for any platform and Python"
    )
    parser.add_argument("-o", "--output", default="dist", metavar="DIR", help="folder for the zip (default: dist)")
    parser.add_argument("--lock", action="store_true", help="only choose and pin the solver's packages anew, with pip")
    parser.add_argument("--wheels", metavar="DIR", help="keep the fetched wheels there for the next time")
    parser.add_argument("--pip-args", default="", metavar="ARGS", help="more arguments for pip, such as another index")


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime package`; the exit status."""
    try:
        from .resolve import PackageError
    except ModuleNotFoundError as error:
        print(f"{error.name} is missing. Install Pantomime with the extra “dev”.", file=sys.stderr)
        return 1
    try:
        return _run(arguments)
    except (PackageError, ModelError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"The zip can't be written: {error}. Free some space or choose another folder.", file=sys.stderr)
    return 1


def _run(arguments: argparse.Namespace) -> int:
    from .build import problems, write_zip
    from .resolve import PackageError, download, lock_text, read_lock, resolve
    from .targets import BLENDERS, PLATFORMS, Target

    target = Target(arguments.platform or _this_platform(), arguments.python)
    if target.platform not in PLATFORMS or target.python not in BLENDERS:
        raise PackageError(
            f"There is no Blender for {target.platform} with Python {target.python}. "
            f"Choose one of {', '.join(PLATFORMS)} and one of {', '.join(BLENDERS)}."
        )
    pip_args = arguments.pip_args.split()
    if arguments.lock:
        pins = resolve(target, pip_args)
        target.lock.parent.mkdir(exist_ok=True)
        write_whole(target.lock, lock_text(pins, target))
        print(lock_text(pins, target) + f"{target.lock}")
        return 0
    models = prepare_models(report=lambda text: print(f"{text} …", flush=True)).hand.parent
    out = Path(arguments.output)
    out.mkdir(parents=True, exist_ok=True)
    name = "light" if arguments.light else target.name
    path = out / f"pantomime-{__version__}-{name}.zip"
    start = time.perf_counter()
    if arguments.light:
        write_zip(path, models)
        wrong = problems(path)
    else:
        with tempfile.TemporaryDirectory(prefix="pantomime-wheels-") as temporary:
            print("Fetching the solver's packages …", flush=True)
            wheels = download(target, Path(arguments.wheels or temporary), pip_args)
            print("Packing …", flush=True)
            write_zip(path, models, target, wheels)
        wrong = problems(path, target, read_lock(target))
    if wrong:
        path.unlink()
        raise PackageError("The zip came out wrong: " + "; ".join(wrong[:5]) + ". Report this.")
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    unpacked = sum(info.file_size for info in infos)
    print(
        f"{path}: {path.stat().st_size / 1e6:.0f} MB, {unpacked / 1e6:.0f} MB and {len(infos)} files installed "
        f"({time.perf_counter() - start:.0f} s)"
    )
    return 0


def _this_platform() -> str:
    system = {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")
    machine = "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x64"
    return f"{system}-{machine}"
