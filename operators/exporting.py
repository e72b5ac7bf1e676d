"""Exports beside whatever else happens: the avatar is handed to another Blender, which is polled like the solver."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from .jobs import APART, Job, JobError, Steps, job_folder
from .notify import translated
from .session import ASIDE
from .settings import export_log_path, solver_settings

# Some standard modules are imported where they are used: enabling the extension is to cost little.
if TYPE_CHECKING:
    import subprocess

    from ..scene.export import ExportSettings


def export_job(rig: bpy.types.Object, target: Path, settings: ExportSettings, scene: bpy.types.Scene) -> Job:
    """The job that writes an avatar to `target`, whose ending is the format's."""
    names = rig.name, scene.name

    def export(_job: Job, _result: object) -> Steps:
        return _steps(*names, target, settings)

    return Job(
        None,
        target.name,
        scene.name,
        solver_settings(bpy.context),
        on_result=export,
        title=f"Export {settings.format}",
        doing="Writing the file",
        waits_for_hand=False,
        log="EXPORT",
    )


def _steps(rig_name: str, scene_name: str, target: Path, settings: ExportSettings) -> Steps:
    """Closed half-way, they leave no file and no process."""
    import shutil
    import tempfile

    from ..scene import export_apart
    from ..scene.export import ExportError, move_into

    rig, scene = bpy.data.objects.get(rig_name), bpy.data.scenes.get(scene_name)
    if rig is None or scene is None:
        raise JobError(f"The avatar {rig_name} is gone. Select another one to export.")
    folder = job_folder()
    process: subprocess.Popen[bytes] | None = None
    try:
        # Beside the target, so that what is done is there in one moment, and what is not never.
        with tempfile.TemporaryDirectory(prefix=".pantomime", dir=target.parent) as beside:
            export_apart.hand_over(rig, Path(beside) / target.name, settings, scene, folder)
            yield True
            try:
                process = _started(export_apart.command(folder))
                while process.poll() is None:
                    yield APART
                found = export_apart.outcome(folder, process.returncode)
                move_into(Path(beside), target.parent)
            finally:
                # Before its folder goes.
                if process is not None:
                    _end(process)
        return ". ".join([translated(f"Wrote {target.name}"), *map(translated, found["left_out"])])
    except ExportError as error:
        raise JobError(str(error)) from error
    except OSError as error:
        raise JobError(
            f"Can't write {target}: {error.strerror or error}. Free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    import subprocess

    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows' alone
    with contextlib.ExitStack() as stack:
        log: Any = subprocess.DEVNULL
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(export_log_path()), exist_ok=True)
            log = stack.enter_context(open(export_log_path(), "wb"))
        # Its stdin is never written to: when it closes, we are gone.
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, creationflags=flags)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def export_soon(rig: bpy.types.Object, target: Path, settings: ExportSettings, scene: bpy.types.Scene) -> None:
    """Begin an export. Raises JobError."""
    ASIDE.submit(export_job(rig, target, settings, scene))
