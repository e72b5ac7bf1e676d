"""The preferences as a plain value. They are drawn in panels; a test or a script may run without them."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bpy

# The name under which Blender knows the extension, e.g. bl_ext.user_default.pantomime.
ROOT_PACKAGE = __package__.rpartition(".")[0]
SOLVER_FOLDER = Path(__file__).resolve().parent.parent / "solver"


@dataclass(frozen=True)
class SolverSettings:
    """What the worker is started and asked with. None: the default."""

    python: str | None = None
    packages: str | None = None
    body: str | None = None
    models_dir: str | None = None
    cache_dir: str | None = None
    device: str = "cpu"
    threads: int = 1


def solver_settings(context: bpy.types.Context) -> SolverSettings:
    """From the preferences, if the extension is enabled there."""
    addon = context.preferences.addons.get(ROOT_PACKAGE)
    values = addon.preferences if addon is not None else None

    def path(name: str) -> str | None:
        text = getattr(values, name, "")
        return os.path.abspath(bpy.path.abspath(text)) if text else None

    python = path("python")
    return SolverSettings(
        python=python_in(python) if python is not None else None,
        packages=packages_folder(python),
        body=path("body_folder"),
        models_dir=path("models_folder"),
        cache_dir=path("cache_folder"),
        device=str(getattr(values, "device", "CPU")).lower(),
        threads=int(getattr(values, "threads", 1)),
    )


def python_in(path: str) -> str:
    """The interpreter that a path names: itself, or the one of an environment's folder."""
    inside = ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe", "python", "python3")
    found = (os.path.join(path, *name.split("/")) for name in inside)
    return next((file for file in found if os.path.isfile(file)), path) if os.path.isdir(path) else path


def lacks_solver(context: bpy.types.Context) -> bool:
    """Whether nothing was named that could solve, as after installing the light zip."""
    addon = context.preferences.addons.get(ROOT_PACKAGE)
    if addon is None or addon.preferences.python:
        return False
    return packages_folder(None) is None and not _has_packages()


@lru_cache(maxsize=1)
def _has_packages() -> bool:
    """Whether Blender's own Python has them: the panel that asks is drawn many times a second."""
    return importlib.util.find_spec("torch") is not None


def packages_folder(python: str | None) -> str | None:
    """The folder with the solver's packages that the full zip brings, for Blender's own Python; None: there is none.

    It lies inside the installed extension, so that removing the extension removes it, and it is named after the Python
    that its binaries are for. An interpreter that the user named has packages of its own.
    """
    if python is not None:
        return None
    folder = SOLVER_FOLDER / f"cp{sys.version_info.major}{sys.version_info.minor}"
    return str(folder) if folder.is_dir() else None


def log_path() -> str:
    """The file that gets what the worker logs: in the folder that the preferences name, else a temporary one."""
    return os.path.join(_log_folder(), "solver.log")


def export_log_path() -> str:
    """The file that gets what an exporter says."""
    return os.path.join(_log_folder(), "export.log")


def _log_folder() -> str:
    addon = bpy.context.preferences.addons.get(ROOT_PACKAGE)
    folder = getattr(addon.preferences, "log_folder", "") if addon is not None else ""
    return os.path.abspath(bpy.path.abspath(folder)) if folder else bpy.app.tempdir
