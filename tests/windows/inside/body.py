"""A licensed body: here a file of that format, made from the free body by the tests."""

from __future__ import annotations

import time

import bpy
from meter import METER
from window import (
    TASK,
    Steps,
    activate,
    check,
    drop,
    here,
    idle,
    look_through,
    preferences_of,
    rigs,
    say,
    session,
    shot,
    wheel,
)


def licensed() -> Steps:
    preferences_of().body_folder = TASK["bodies"]
    settings = bpy.context.scene.pantomime_capture
    settings.body = "LICENSED"
    before = {rig.name for rig in rigs()}
    began = time.perf_counter()
    drop(TASK["photo"])
    yield idle
    new = [rig for rig in rigs() if rig.name not in before]
    check("the licensed body is captured", len(new) == 1, session().status.error or session().status.done)
    if not new:
        return
    check("it is that body", new[0]["pantomime"]["body_id"] != "free", new[0]["pantomime"]["body_id"])
    for block in METER.since(began)[:2]:
        say("block", block.words())
    look_through(new[0])
    yield from shot("50-licensed")
    activate(new[0])
    yield wheel(30)
    yield from shot("51-licensed-sidebar")
    yield wheel(-60)
    with here():
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    yield idle
    check("and can be corrected", not session().status.error, session().status.error)
    with here():
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    preferences_of().body_folder = ""
    with here():
        bpy.ops.ed.undo()
    yield 0.5
