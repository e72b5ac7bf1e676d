"""What the preferences tell of the solver's Python, of folders with bodies and models, and of the cache.

Looks into folders are remembered: preferences are drawn many times a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from . import bodies
from .jobs import Job, JobError
from .notify import failed
from .session import SESSION
from .settings import SolverSettings, solver_settings

if TYPE_CHECKING:
    from ..core.messages import Result

# Facts of a check that are no packages.
OTHER_FACTS = ("python", "devices", "models")


@dataclass
class SolverReport:
    """The last test of the solver. All empty: there was none."""

    running: bool = False
    facts: dict[str, str] = field(default_factory=dict)  # see core.jobs.check
    error: str = ""

    @property
    def devices(self) -> list[str]:
        """Where torch can compute, such as ["cpu", "cuda"]; empty: not known."""
        return self.facts.get("devices", "").split()

    @property
    def lines(self) -> list[str]:
        """What it found, for people."""
        if not self.facts:
            return []
        packages = (f"{name} {version}" for name, version in self.facts.items() if name not in OTHER_FACTS)
        return [f"Python {self.facts['python']}", *packages]


SOLVER = SolverReport()


@dataclass(frozen=True)
class Line:
    """One thing that was found, or is wrong."""

    text: str
    icon: str


_seen: dict[tuple[str, str], list[Line]] = {}


def forget(_values: object = None, _context: object = None) -> None:
    """Look again at the next drawing. A property's `update`, too."""
    _seen.clear()
    bodies.forget_errors()


def bodies_lines(folder: str) -> list[Line]:
    """What the folder of licensed bodies holds. Files are named and their headers read, nothing is unpickled."""
    return _once("bodies", folder, _look_for_bodies)


def models_lines(folder: str, cache: str) -> list[Line]:
    """Which of MediaPipe's official models a folder holds, and where the usual ones are."""
    return _once("models " + cache, folder, lambda path: _look_for_models(path, cache))


def _once(kind: str, folder: str, look: Callable[[str], list[Line]]) -> list[Line]:
    key = (kind, folder)
    if key not in _seen:
        _seen[key] = look(bpy.path.abspath(folder) if folder else "")
    return _seen[key]


def _look_for_bodies(folder: str) -> list[Line]:
    from ..core.body.folder import look_into

    if not folder:
        return []
    try:
        bodies = look_into(Path(folder))
    except OSError as error:
        return [Line(f"{error.strerror or error}. Choose another folder", "ERROR")]
    if not bodies:
        return [Line("No SMPLX_NEUTRAL, SMPLX_MALE or SMPLX_FEMALE (.npz, .pkl) there. Choose another folder", "ERROR")]
    lines = []
    for body in bodies:
        kind = f"SMPL-X {body.version}" if body.version else "read when it is first used"
        text = body.problem or f"{body.gender.capitalize()}: {body.path.name}, {kind}"
        lines.append(Line(text, "ERROR" if body.problem else "CHECKMARK"))
    return lines


def _look_for_models(folder: str, cache: str) -> list[Line]:
    from ..core.detection import models

    lines = []
    if folder:
        there = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        for label, names in (
            ("Body", models.OFFICIAL_POSE),
            ("Hands", models.OFFICIAL_HAND),
            ("Face", models.OFFICIAL_FACE),
        ):
            name = next((name for name in names if name in there), None)
            if name is not None:
                lines.append(Line(f"{label}: {name}", "CHECKMARK"))
        if not lines:
            wanted = f"{models.OFFICIAL_POSE[0]}, {models.OFFICIAL_HAND[0]} or {models.OFFICIAL_FACE[0]}"
            return [Line(f"No {wanted} there. Choose another folder, or none", "ERROR")]
    if (models.BUNDLED_FOLDER / models.MANIFEST).is_file():
        lines.append(Line("The usual models came with the extension", "CHECKMARK"))
    elif any((path / models.MANIFEST).is_file() for path in _model_folders(cache)):
        lines.append(Line("The usual models are in the cache", "CHECKMARK"))
    else:
        lines.append(Line("The usual models are missing. Install a packed zip, or run “pantomime models”", "ERROR"))
    return lines


def cache_path(cache: str) -> str:
    """The folder of the cache, whether it is there or not."""
    from ..core.detection.models import cache_folder

    return os.path.abspath(bpy.path.abspath(cache)) if cache else str(cache_folder())


def _model_folders(cache: str) -> list[Path]:
    return sorted(Path(cache_path(cache)).glob("models-*"))


class PANTOMIME_OT_check_solver(bpy.types.Operator):
    """Start the solver with these settings, and tell what it has or lacks"""

    bl_idname = "pantomime.check_solver"
    bl_label = "Test Solver"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        return not SOLVER.running

    def execute(self, context: bpy.types.Context) -> set[str]:
        settings = solver_settings(context)
        SOLVER.running, SOLVER.facts, SOLVER.error = True, {}, ""
        forget()
        try:
            SESSION.submit(check_job(settings, context.scene.name))
        except JobError as error:
            SOLVER.running, SOLVER.error = False, str(error)
            return failed(self, str(error))
        if bpy.app.background:
            SESSION.wait()
            if SOLVER.error:
                return failed(self, SOLVER.error)
        return {"FINISHED"}


def check_job(settings: SolverSettings, scene_name: str) -> Job:
    """The job that fills `SOLVER`."""
    from ..core.client import new_job_id
    from ..core.messages import CheckSolver

    request = CheckSolver(
        new_job_id(), threads=settings.threads, cache_dir=settings.cache_dir, models_dir=settings.models_dir
    )
    return Job(
        request, "Test of the solver", scene_name, settings, _take_facts, on_end=_end, title="Test solver", key="check"
    )


def _take_facts(_job: Job, result: Result) -> str:
    SOLVER.facts = dict(result.facts)
    return ""


def _end(_job: Job) -> None:
    SOLVER.running = False
    if not SOLVER.facts:
        SOLVER.error = SESSION.status.error or "The test was cancelled. Start it again."
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()


class PANTOMIME_OT_look_again(bpy.types.Operator):
    """Look into the folders again"""

    bl_idname = "pantomime.look_again"
    bl_label = "Look Again"
    bl_options = {"INTERNAL"}

    def execute(self, _context: bpy.types.Context) -> set[str]:
        forget()
        return {"FINISHED"}


class PANTOMIME_OT_clear_cache(bpy.types.Operator):
    """Remove the detector's models from the cache. They are needed again where none came with the extension"""

    bl_idname = "pantomime.clear_cache"
    bl_label = "Clear Cache"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if SESSION.busy:
            cls.poll_message_set("The solver is at work")
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        import shutil

        # A worker may have the files open, which Windows does not let go.
        SESSION.stop_worker()
        forget()
        for folder in _model_folders(solver_settings(context).cache_dir or ""):
            try:
                shutil.rmtree(folder)
            except OSError as error:
                return failed(self, f"{folder} can't be removed: {error.strerror or error}. Remove it by hand.")
        return {"FINISHED"}


CLASSES = (PANTOMIME_OT_check_solver, PANTOMIME_OT_look_again, PANTOMIME_OT_clear_cache)


def unregister() -> None:
    """Forget what was found."""
    SOLVER.running, SOLVER.facts, SOLVER.error = False, {}, ""
    forget()
