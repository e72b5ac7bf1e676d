"""Photos: the error, cold and warm, undo, a queue, a cancel, a solver that is killed."""

from __future__ import annotations

import os
import signal
import time

import bpy
from meter import METER
from window import OUT, TASK, Asked, Steps, check, drop, here, idle, move, rigs, say, session, shot, view, window


def nobody() -> Steps:
    """A picture without a person."""
    path = OUT / "nobody.png"
    image = bpy.data.images.new("nobody", 640, 480)
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    yield move([500, 400])
    with here():
        bpy.ops.pantomime.photo_to_avatar("EXEC_DEFAULT", filepath=str(path))
    yield idle
    check("a photo of nobody says so", any(n.kind == "error" for n in session().notices), session().status.error)
    yield from shot("03-nobody")
    yield Asked("key", key="Escape")
    session().stop_worker()


def cold() -> Steps:
    yield from one("cold", "04-solving")


def warm() -> Steps:
    yield from one("warm")


def one(how: str, picture: str = "") -> Steps:
    """Drop a photo and wait for its avatar."""
    before = len(rigs())
    until, began = time.perf_counter() + 1.5, time.perf_counter()
    while time.perf_counter() < until:
        view().tag_redraw()
        yield 0.0
    quiet_s = max((block.s for block in METER.since(began)), default=0.0)
    parts, told = [], {"text": ""}
    began = time.perf_counter()
    drop(TASK["photo"])

    def ended() -> bool:
        if session().status.text != told["text"]:
            told["text"] = session().status.text
            parts.append(f"{told['text']} from {time.perf_counter() - began:.2f}")
        return idle()

    if picture:
        yield 0.5
        ended()
        Asked("shot", name=picture)
    yield ended
    took_s = time.perf_counter() - began
    drawn = len(METER.draws)
    view().tag_redraw()
    yield lambda: len(METER.draws) > drawn
    shown_s = METER.draws[-1][1] - began
    say("time", f"photo to avatar, {how}: {took_s:.2f} s, drawn {shown_s:.2f} s")
    say("parts", "; ".join(parts))
    for block in METER.since(began)[:3]:
        say("block", block.words())
    say("time", f"the longest block without work, only drawing: {quiet_s:.3f} s")
    check(f"one avatar more ({how})", len(rigs()) == before + 1, session().status.error or session().status.done)
    if len(rigs()) == before:
        raise RuntimeError("there is no avatar to go on with")
    rig = window().view_layer.objects.active
    check("the avatar is active", rig in rigs(), rig)
    check("55 bones", len(rig.data.bones) == 55, len(rig.data.bones))
    skin = next(o for o in rig.children if o.type == "MESH" and o.data.shape_keys)
    check("ARKit's keys", sum(key.name[0].islower() for key in skin.data.shape_keys.key_blocks) >= 52)
    check("one material and UVs at least", bool(skin.data.materials and skin.data.uv_layers))
    say("pid", f"the solver is {session().worker_pid}", pid=session().worker_pid)


def undo() -> Steps:
    count = len(rigs())
    with here():
        bpy.ops.ed.undo()
    yield 0.5
    check("one undo takes the second avatar back", len(rigs()) == count - 1, len(rigs()))
    with here():
        if bpy.context.active_object is None:
            bpy.context.view_layer.objects.active = rigs()[0]


def queue() -> Steps:
    """Two photos wait for each other, a cancel ends both."""
    count = len(rigs())
    # A solver that stands still: else a fast one is done before the cancel.
    os.kill(session().worker_pid, signal.SIGSTOP)
    drop(TASK["photo"])
    drop(TASK["photo"])
    check("a second photo waits", len(session().waiting) == 1, session().waiting)
    yield 0.5
    yield from shot("05-queue")
    with here():
        bpy.ops.pantomime.cancel()
    os.kill(session().worker_pid, signal.SIGCONT)
    yield idle
    check("a cancel ends both", len(rigs()) == count, session().status.done)


def kill() -> Steps:
    """A solver that is killed is reported; the next photo gets a new one, without a word."""
    count = len(rigs())
    yield move([500, 400])
    os.kill(session().worker_pid, signal.SIGSTOP)
    drop(TASK["photo"])
    yield 0.3
    gone = session().worker_pid
    os.kill(gone, signal.SIGKILL)
    yield idle
    check("a killed solver is reported", bool(session().status.error), session().status.error)
    yield from shot("06-killed")
    yield Asked("key", key="Escape")
    yield 0.5
    drop(TASK["photo"])
    yield idle
    check("the next photo gets a new solver", len(rigs()) == count + 1, f"{gone}, then {session().worker_pid}")
    say("pid", f"the solver is {session().worker_pid}", pid=session().worker_pid)
    with here():
        bpy.ops.ed.undo()
    yield 0.5
    with here():
        bpy.context.view_layer.objects.active = rigs()[0]
