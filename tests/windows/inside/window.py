"""What all steps use: the window, its views, the half outside, and what is told of checks and times."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text())
OUT = Path(TASK["out"])
NAME = "bl_ext.user_default.pantomime"
Step = float | Callable[[], bool]
Steps = Iterator[Step]


def say(kind: str, text: str, **more: object) -> None:
    with open(OUT / "said.jsonl", "a") as file:
        file.write(json.dumps({"kind": kind, "text": text, **more}) + "\n")


def check(what: str, holds: bool, seen: object = "") -> None:
    say("right" if holds else "WRONG", f"{what}{f': {seen}' if seen != '' else ''}")


class Asked:
    """Something that the other half does; true when it is done. `answer`: what it said."""

    count = 0

    def __init__(self, what: str, **more: object) -> None:
        Asked.count += 1
        self.number = Asked.count
        self.answer: Any = None
        with open(OUT / "said.jsonl", "a") as file:
            file.write(json.dumps({"do": what, "number": self.number, **more}) + "\n")

    def __call__(self) -> bool:
        path = OUT / f"done-{self.number}.json"
        if not path.exists():
            return False
        self.answer = json.loads(path.read_text())
        return True


def shot(name: str) -> Steps:
    """A picture of the screen, after it was drawn, and with smooth lines, which take software long to draw."""
    system = bpy.context.preferences.system
    system.viewport_aa = "8"
    for area in window().screen.areas:
        area.tag_redraw()
    yield 1.5
    yield Asked("shot", name=name)
    system.viewport_aa = "OFF"


def click() -> Steps:
    yield Asked("mousedown")
    yield 0.2
    yield Asked("mouseup")


def move(at: list[float]) -> Asked:
    """Put the pointer at a place of the screen."""
    return Asked("go", path=[at], pause=0.0)


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def view() -> bpy.types.Area:
    return max((a for a in window().screen.areas if a.type == "VIEW_3D"), key=lambda a: a.width * a.height)


def region(kind: str = "WINDOW") -> bpy.types.Region:
    return next(r for r in view().regions if r.type == kind)


def here() -> Any:
    """The context that the view's own buttons and keys have."""
    return bpy.context.temp_override(window=window(), area=view(), region=region())


def on_screen(x: float, y: float, where: bpy.types.Region | None = None) -> list[float]:
    """From px of a region to px of the screen, from the top."""
    where = where or region()
    return [where.x + x, TASK["height"] - (where.y + y)]


def wheel(turns: int) -> Asked:
    """Turn the wheel over the sidebar: down for positive numbers."""
    side = region("UI")
    return Asked("wheel", at=on_screen(side.width / 2, side.height / 2, side), turns=turns)


def part(name: str) -> Any:
    """A module of the extension."""
    return sys.modules[f"{NAME}.{name}"]


def session() -> Any:
    return part("operators.session").SESSION


def preferences_of() -> Any:
    return bpy.context.preferences.addons[NAME].preferences


def idle() -> bool:
    return not session().busy


def rigs() -> list[bpy.types.Object]:
    return [o for o in bpy.data.objects if o.type == "ARMATURE" and "pantomime" in o]


def activate(obj: bpy.types.Object) -> None:
    """As a click on it in the outliner, in object mode."""
    if bpy.context.mode != "OBJECT":
        with here():
            bpy.ops.object.mode_set(mode="OBJECT")
    layer = window().view_layer
    for other in layer.objects:
        other.select_set(False)
    obj.select_set(True)
    layer.objects.active = obj


def drop(path: str, handler_name: str = "PANTOMIME_FH_photo") -> None:
    """What Blender does when a file is dropped on the view: the handler's operator, invoked with the file."""
    handler = getattr(bpy.types, handler_name)
    with here():
        check("the view takes dropped files", handler.poll_drop(bpy.context))
        folder, name = os.path.split(path)
        operator = getattr(bpy.ops.pantomime, handler.bl_import_operator.partition(".")[2])
        dropped = {"filepath": path, "directory": folder + os.sep, "files": [{"name": name}]}
        has = operator.get_rna_type().properties.keys()
        operator("INVOKE_DEFAULT", **{key: value for key, value in dropped.items() if key in has})


def look_through(rig: bpy.types.Object) -> None:
    activate(rig)
    with here():
        bpy.ops.pantomime.look_through_camera("EXEC_DEFAULT", True)


def front() -> None:
    """The whole active avatar from the front."""
    activate(window().view_layer.objects.active)
    with here():
        view().spaces.active.region_3d.view_perspective = "PERSP"
        bpy.ops.view3d.view_axis(type="FRONT")
        for child in bpy.context.view_layer.objects.active.children:
            child.select_set(True)
        bpy.ops.view3d.view_selected()
