"""Correction with the mouse: slowly, with each part of the way from the mouse to the picture told; swiftly; undone."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import bpy
import numpy as np
from meter import METER
from window import (
    Asked,
    Steps,
    check,
    click,
    here,
    idle,
    look_through,
    move,
    on_screen,
    part,
    region,
    rigs,
    say,
    session,
    shot,
    window,
)

GOAL_S = 0.3


def look() -> Steps:
    look_through(rigs()[0])
    yield 1.0
    yield from shot("07-camera")
    METER.step = "wake the solver"
    with here():
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    yield idle
    yield lambda: bool(spots())
    yield 0.5
    yield from shot("08-points")
    # Numbers of the screen: the points of the body where they are not covered.
    found = inside()
    check("points of the body are shown", len(found) >= 4, len(found))
    apart = statistics.median(math.dist(s.at, s.body_at) for s in found if s.confidence > 0.5)
    check("the avatar lies over the points", apart < 0.02 * window().width, f"median {apart:.1f} px of the screen")


def spots() -> list[Any]:
    with here():
        return list(part("operators.points").spots(bpy.context))


def spot(point: tuple[str, int]) -> Any:
    return next(s for s in spots() if s.point == point)


def inside() -> list[Any]:
    """Points of the body that the pointer can reach."""
    wide = region().width - 320
    return [s for s in spots() if s.group == "body" and 60 < s.at[0] < wide and 60 < s.at[1] < region().height - 60]


def named(words: str) -> Any:
    return max((s for s in inside() if words in s.name), key=lambda s: s.confidence)


def turns(rig: bpy.types.Object) -> np.ndarray:
    """(55, 4) the bones' own rotations."""
    return np.array([tuple(bone.rotation_quaternion) for bone in rig.pose.bones])


def take(this: Any) -> Steps:
    """Put the pointer on a point and press. It comes from beside: Blender highlights what a pointer moves over."""
    handles, live = part("panels.handles"), part("operators.correcting").LIVE
    at, under = on_screen(*this.at), {}
    plain = handles.draw_points

    def draw_points(context: bpy.types.Context, hovered: Any) -> None:
        under["point"] = hovered
        plain(context, hovered)

    handles.draw_points = draw_points
    for near in (30.0, 4.0, 0.0):
        yield move([at[0] + near, at[1] + near])
        yield 0.4
    yield soon(lambda: under.get("point") == this.point)
    handles.draw_points = plain
    yield Asked("mousedown")
    yield soon(lambda: live.drag is not None)
    check(f"the mouse takes {this.name}", live.drag is not None and live.drag.point == this.point)


def let_go() -> Steps:
    """Let go, and wait until the last answer is there."""
    yield Asked("mouseup")
    yield soon(lambda: part("operators.correcting").LIVE.drag is None)
    yield idle
    yield 0.5


def soon(holds: Any, limit_s: float = 15.0) -> Any:
    """Something to wait for, but not for ever."""
    until = time.perf_counter() + limit_s
    return lambda: holds() or time.perf_counter() > until


class Journal:
    """When what happened on the way from the mouse to the picture; all in seconds of `time.time`, as outside."""

    KINDS = ("event", "asked", "answer", "applied", "drawn")

    def __init__(self) -> None:
        self.entries: list[tuple[str, float]] = []
        correcting = part("operators.correcting")
        self._spies = [
            (correcting.Corrections, "move", "event", ""),
            (correcting.Corrections, "ask", "", "asked"),
            (correcting.Corrections, "_apply", "answer", ""),
            (correcting, "redraw", "", "applied"),
        ]
        self._plain = [(owner, name, getattr(owner, name)) for owner, name, _, _ in self._spies]
        for owner, name, before, after in self._spies:
            setattr(owner, name, self._told(getattr(owner, name), before, after))

    def _told(self, function: Any, before: str, after: str) -> Any:
        def telling(*arguments: Any, **more: Any) -> Any:
            if before:
                self.entries.append((before, time.time()))
            result = function(*arguments, **more)
            if after:
                self.entries.append((after, time.time()))
            return result

        return telling

    def end(self) -> None:
        for owner, name, function in self._plain:
            setattr(owner, name, function)

    def way(self, moved: float) -> list[float]:
        """Of a move of the mouse: when it was, and when its event, request, answer, pose and picture were, so far."""
        shift = time.time() - time.perf_counter()
        drawn = (("drawn", ended + shift) for _, ended in METER.draws[-50:])
        entries = sorted([*self.entries, *drawn], key=lambda entry: entry[1])
        way = [moved]
        for kind in self.KINDS:
            at = next((t for what, t in entries if what == kind and way[-1] <= t), None)
            if at is None:
                break
            way.append(at)
        return way


def drag_slowly() -> Steps:
    """One move of the mouse at a time, each waited for: the round trip and its parts."""
    elbow = named("elbow")
    start = on_screen(*elbow.at)
    yield from take(elbow)
    journal, found = Journal(), []
    began = time.perf_counter()
    for k in range(1, 10):
        asked = move([start[0] + 6 * k, start[1] - 5 * k])
        yield asked
        moved = asked.answer["moved"][0]
        yield soon(lambda moved=moved: len(journal.way(moved)) == len(Journal.KINDS) + 1)
        found.append(journal.way(moved))
        yield 0.3
    yield from shot("09-dragging")
    yield from let_go()
    journal.end()
    # The first move tells a drag from a click.
    ways = np.array([way for way in found[1:] if len(way) == len(Journal.KINDS) + 1])
    if len(ways) < 3:
        check("moves are answered", False, [len(way) for way in found])
    else:
        parts = np.diff(ways, axis=1)
        names = ("mouse to event", "event to request", "request to answer", "answer to pose", "pose to picture")
        words = ", ".join(f"{n} {1e3 * np.median(p):.0f} ms" for n, p in zip(names, parts.T, strict=True))
        whole = ways[:, -1] - ways[:, 0]
        ours = ways[:, 4] - ways[:, 1]
        say("parts", words)
        say("time", f"correction, mouse to picture: median {np.median(whole):.3f} s, longest {whole.max():.3f} s, "
            f"{len(whole)} moves; event to new pose: median {np.median(ours):.3f} s")  # fmt: skip
        say("time", f"drawing the view: median {statistics.median(e - b for b, e in METER.draws if b > began):.3f} s")
    for block in METER.since(began)[:2]:
        say("block", block.words())
    met(elbow.point)
    yield from shot("10-dragged")
    yield Asked("key", key="ctrl+z")
    yield 1.5
    back(elbow)


def met(point: tuple[str, int]) -> None:
    after = spot(point)
    off = math.dist(after.at, after.body_at)
    check(f"{after.name} is pinned", after.pinned)
    check("the body is at the pin", off < 1.5, f"{off:.2f} px of the screen")


def back(before: Any) -> None:
    undone = spot(before.point)
    check("Ctrl Z takes the pin back", not undone.pinned)
    moved = math.dist(undone.body_at, before.body_at)
    check("and the pose", moved < 1.0, f"{moved:.2f} px of the screen")


def drag_swiftly() -> Steps:
    """Two points, as a hand drags them; undone and redone one by one."""
    rig = rigs()[0]
    poses, points = [turns(rig)], []
    for words, step in (("left elbow", (3.0, -2.0)), ("left wrist", (-3.0, -2.0))):
        this = named(words)
        points.append(this)
        start = on_screen(*this.at)
        yield from take(this)
        began = time.perf_counter()
        yield Asked("go", path=[[start[0] + step[0] * k, start[1] + step[1] * k] for k in range(1, 13)], pause=0.05)
        yield from let_go()
        say("time", f"{words}: {sum(b > began for b, _ in METER.draws)} pictures; " + METER.since(began)[0].words())
        met(this.point)
        poses.append(turns(rig))
    for expected, key in ((1, "ctrl+z"), (0, "ctrl+z"), (1, "ctrl+shift+z"), (2, "ctrl+shift+z")):
        yield Asked("key", key=key)
        yield 1.5
        off = float(np.abs(turns(rigs()[0]) - poses[expected]).max())
        pins = [spot(p.point).pinned for p in points]
        right = off < 1e-5 and pins == [expected > 0, expected > 1]
        check(f"{key}: {expected} corrections are there", right, f"{off:.1e}, pins {pins}")
    for _ in range(2):
        yield Asked("key", key="ctrl+z")
        yield 1.5
    check("all is as before", float(np.abs(turns(rigs()[0]) - poses[0]).max()) < 1e-5)


def pin_in_space() -> Steps:
    """A bone's pin is moved with G and the mouse; the avatar follows."""
    rig = rigs()[0]
    before = turns(rig)
    with here():
        bpy.ops.object.mode_set(mode="POSE")
        for bone in rig.pose.bones:
            chosen = bone.name == "right_wrist"
            if hasattr(bone, "select"):
                bone.select = chosen
            else:
                bone.bone.select = chosen
        rig.data.bones.active = rig.data.bones["right_wrist"]
        bpy.ops.pantomime.pin_bones("EXEC_DEFAULT", True)
        bpy.ops.object.mode_set(mode="OBJECT")
        empty = next(o for o in bpy.data.objects if "pantomime_pinned_bone" in o)
        bpy.ops.object.select_all(action="DESELECT")
        empty.select_set(True)
        bpy.context.view_layer.objects.active = empty
        bpy.ops.ed.undo_push(message="Select the pin")
    name, place = empty.name, empty.matrix_world.translation.copy()
    yield move([500, 500])
    yield 0.5
    began = time.perf_counter()
    yield Asked("key", key="g")
    yield 0.5
    for k in range(1, 9):
        yield move([500 - 6 * k, 500 - 4 * k])
        yield 0.05
    yield 1.0
    yield from shot("11-pin-in-space")
    yield from click()
    yield 1.5
    yield idle
    yield 0.5
    empty, rig = bpy.data.objects[name], rigs()[0]
    went = (empty.matrix_world.translation - place).length
    head = rig.matrix_world @ rig.pose.bones["right_wrist"].head
    off = (head - empty.matrix_world.translation).length
    check("the wrist is at its pin in space", went > 0.02 and off < 0.002, f"pin moved {went:.3f} m, off {off:.4f} m")
    for block in METER.since(began)[:2]:
        say("block", block.words())
    for _ in range(2):
        yield Asked("key", key="ctrl+z")
        yield 1.5
    empty = bpy.data.objects.get(name)
    gone = empty is None or (empty.matrix_world.translation - place).length < 1e-4
    off = float(np.abs(turns(rigs()[0]) - before).max())
    check("Ctrl Z takes pin and pose back", gone and off < 1e-4, f"{off:.1e}")
    with here():
        bpy.context.view_layer.objects.active = rigs()[0]
        if empty is not None:
            bpy.ops.pantomime.remove_pins("EXEC_DEFAULT", True)


def lock() -> Steps:
    """A locked arm keeps its own rotations while the shoulder's other side is dragged."""
    look_through(rigs()[0])
    with here():
        bpy.ops.pantomime.lock_limb("EXEC_DEFAULT", True, limb="left_arm")
    yield 0.5
    before = turns(rigs()[0])
    names = [bone.name for bone in rigs()[0].pose.bones]
    this = named("left elbow")
    start = on_screen(*this.at)
    yield from take(this)
    yield Asked("go", path=[[start[0] + 4 * k, start[1]] for k in range(1, 6)], pause=0.2)
    yield from let_go()
    after = turns(rigs()[0])
    arm = [names.index(f"left_{bone}") for bone in ("collar", "shoulder", "elbow", "wrist")]
    moved = float(np.abs(after - before).max())
    kept = float(np.abs(after[arm] - before[arm]).max())
    check("a locked arm keeps its rotations, the body moves instead", kept < 1e-5 < moved, f"{kept:.1e}, {moved:.1e}")
    yield from shot("13-locked")
    yield Asked("key", key="ctrl+z")
    yield 1.5
    with here():
        bpy.ops.pantomime.lock_limb("EXEC_DEFAULT", True, limb="left_arm")
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    check("the points are switched off", not session().busy)
    yield 0.5
