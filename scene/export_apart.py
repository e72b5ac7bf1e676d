"""An avatar to a file by another Blender, in the background: this one does not stand still while an exporter works.

`hand_over` writes the avatar as it is, with all that moves it, to a file of its own; `work` runs in the other Blender,
where `export_avatar` does all that it does here. Settings and results are JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bpy

from ..core.whole_file import write_whole
from .avatar import find_mesh
from .export import ExportError, ExportSettings, export_avatar
from .identity import PROPERTY

SCRIPT = Path(__file__).with_name("export_script.py")
ORDER, RESULT, AVATAR = "order.json", "result.json", "avatar.blend"


def can_hand_over(rig: bpy.types.Object) -> bool:
    """Whether another Blender can do it: there is a program, and all of the avatar is in this file."""
    skin = find_mesh(rig)
    mine = all(item.library is None for item in (rig, rig.data, *((skin, skin.data) if skin is not None else ())))
    return bool(bpy.app.binary_path) and mine


def command(folder: str) -> list[str]:
    """What starts the other Blender on what `hand_over` left in a folder."""
    # As a module Blender has no program of its own, but its Python has Blender.
    program = [bpy.app.binary_path, "--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    return [*(program if bpy.app.binary_path else [sys.executable]), str(SCRIPT), "--", folder]


def hand_over(
    rig: bpy.types.Object, path: str | Path, settings: ExportSettings, scene: bpy.types.Scene, folder: str
) -> None:
    """Write the avatar and what is wanted of it to `folder`. Raises ExportError."""
    skin = find_mesh(rig)
    if PROPERTY not in rig or skin is None:
        raise ExportError(f"{rig.name} is not an avatar. Select an avatar.")
    order = {
        "rig": rig.name,
        "skin": skin.name,
        "path": str(path),
        "settings": asdict(settings),
        "frame": scene.frame_current,
        "fps": scene.render.fps,
        "fps_base": scene.render.fps_base,
    }
    try:
        bpy.data.libraries.write(os.path.join(folder, AVATAR), {rig, skin}, path_remap="ABSOLUTE", compress=False)
        Path(folder, ORDER).write_text(json.dumps(order), "utf-8")
    except (OSError, RuntimeError) as error:
        raise ExportError(f"Can't write to {folder}: {error}. Free some space, then export again.") from error


def outcome(folder: str, status: int) -> dict[str, Any]:
    """What the other Blender did: `path`, `frames`, `left_out`. Raises ExportError.

    `status`: its exit status.
    """
    try:
        found: dict[str, Any] = json.loads(Path(folder, RESULT).read_text("utf-8"))
    except (OSError, ValueError):
        raise ExportError(
            f"Blender's exporter was ended before it was done (exit status {status}). Export again; if that "
            "fails, too, the log says more."
        ) from None
    if "error" in found:
        raise ExportError(found["error"])
    return found


def work(folder: str) -> None:
    """In the other Blender: export, and leave the result. Ends at once when who started it is gone."""
    threading.Thread(target=_watch, daemon=True).start()
    order = json.loads(Path(folder, ORDER).read_text("utf-8"))
    try:
        notes = export_avatar(*_opened(folder, order))
        result: dict[str, Any] = {"path": str(notes.path), "frames": notes.frames, "left_out": notes.left_out}
    except ExportError as error:
        result = {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        result = {"error": f"Blender's exporter failed ({type(error).__name__}: {error}). The log says more."}
    write_whole(Path(folder, RESULT), json.dumps(result))


def _opened(folder: str, order: dict[str, Any]) -> tuple[bpy.types.Object, str, ExportSettings, bpy.types.Scene]:
    """The avatar in a scene that has nothing else."""
    # Before, so that nothing has a name that the avatar's parts want.
    kinds = (bpy.data.objects, bpy.data.meshes, bpy.data.cameras, bpy.data.lights)
    bpy.data.batch_remove([item for kind in kinds for item in kind])
    with bpy.data.libraries.load(os.path.join(folder, AVATAR), link=False) as (_, wanted):
        wanted.objects = [order["rig"], order["skin"]]
    rig = wanted.objects[0]
    scene = bpy.context.scene
    for obj in bpy.data.objects:
        scene.collection.objects.link(obj)
    scene.render.fps, scene.render.fps_base = order["fps"], order["fps_base"]
    settings = ExportSettings(**order["settings"])
    if not settings.animation:
        # The pose as it was seen, which may not be keyed: evaluating the motion would put the keyed one in its place.
        _stop(rig)
        _stop(wanted.objects[1].data.shape_keys)
    scene.frame_set(order["frame"])
    return rig, order["path"], settings, scene


def _stop(owner: bpy.types.ID | None) -> None:
    """Let nothing but drivers move it: its values stay as they are."""
    animation = owner.animation_data if owner is not None else None
    if animation is None:
        return
    animation.action = None
    for track in list(animation.nla_tracks):
        animation.nla_tracks.remove(track)


def _watch() -> None:
    """The other end of stdin closes when Blender ends, even by a crash."""
    sys.stdin.buffer.read()
    os._exit(3)
