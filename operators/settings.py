"""The preferences as a plain value. They are drawn in panels; a test or a script may run without them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import bpy

# The name under which Blender knows the extension, e.g. bl_ext.user_default.pantomime.
ROOT_PACKAGE = __package__.rpartition(".")[0]


@dataclass(frozen=True)
class SolverSettings:
    """What the worker is started and asked with. None: the default."""

    python: str | None = None
    packages: str | None = None
    body: str | None = None
    models_dir: str | None = None
    cache_dir: str | None = None
    threads: int = 1


def solver_settings(context: bpy.types.Context) -> SolverSettings:
    """From the preferences, if the extension is enabled there."""
    addon = context.preferences.addons.get(ROOT_PACKAGE)
    values = addon.preferences if addon is not None else None

    def path(name: str) -> str | None:
        text = getattr(values, name, "")
        return os.path.abspath(bpy.path.abspath(text)) if text else None

    return SolverSettings(
        python=path("python"),
        packages=_packages_folder(),
        body=path("body_folder"),
        models_dir=path("models_folder"),
        cache_dir=path("cache_folder"),
        threads=int(getattr(values, "threads", 1)),
    )


def _packages_folder() -> str | None:
    """The folder of the extension's own with the solver's packages, where there is one."""
    try:
        folder = bpy.utils.extension_path_user(ROOT_PACKAGE, path="solver")
    except ValueError:
        # Not installed as an extension, e.g. imported by a script.
        return None
    return folder if os.path.isdir(folder) else None
