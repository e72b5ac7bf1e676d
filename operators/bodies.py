"""Bodies in Blender's memory. Reading one takes longer than Blender may stand still, so it happens in a thread."""

from __future__ import annotations

import threading

import bpy

from .avatars import PROPERTY
from .settings import solver_settings

TICK_S = 0.1
READING = "Reading the body"

Key = tuple[str, str]  # folder of licensed bodies ("" for the free one), gender
_known: dict[Key, str] = {}  # "" once it is there, READING, or what is wrong with it


def read_early(folder: str | None, gender: str = "neutral") -> str:
    """Begin to read a body where that did not happen yet. "" when it is there, else a text for people."""
    key = (folder or "", gender)
    if _known.get(key) != "" and bpy.app.background:
        _read(key)
    elif key not in _known:
        _known[key] = READING
        threading.Thread(target=_read, args=(key,), name="pantomime body", daemon=True).start()
        if not bpy.app.timers.is_registered(_redraw):
            bpy.app.timers.register(_redraw, first_interval=TICK_S)
    return _known[key]


def state(rig: bpy.types.Object) -> str:
    """Whether the body of an avatar is there: "" or a text for people. Begins to read it."""
    identity = rig[PROPERTY]
    if identity["body_id"] == "free":
        return read_early(None)
    folder = solver_settings(bpy.context).body
    if folder is None:
        return "This avatar was made with a licensed body. Name the folder of licensed bodies in the preferences"
    return read_early(folder, str(identity["gender"]))


def forget_errors() -> None:
    """Look again for what was not there, or wrong."""
    for key in [key for key, state in _known.items() if state not in ("", READING)]:
        del _known[key]


def _read(key: Key) -> None:
    from ..scene.from_file import read_body_early

    _known[key] = read_body_early(key[0] or None, key[1])


def _redraw() -> float | None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
    return TICK_S if READING in _known.values() else None


def unregister() -> None:
    """Leave nothing. A thread that still reads ends by itself."""
    if bpy.app.timers.is_registered(_redraw):
        bpy.app.timers.unregister(_redraw)
    _known.clear()
