"""A clip: the avatar follows while it is solved; then the animation, as one undo step."""

from __future__ import annotations

import time

import bpy
from meter import METER
from window import TASK, Steps, check, drop, here, idle, look_through, rigs, say, session, shot, view, window


def previewed() -> bpy.types.Object | None:
    """The avatar that follows while later frames are solved, when it is in the scene."""
    shown = window().view_layer.objects
    return next((rig for rig in rigs() if "(preview)" in rig.name and rig.name in shown), None)


def _reached() -> float:
    """Up to which frame the preview moves."""
    rig = previewed()
    data = rig.animation_data if rig is not None else None
    return float(data.action.frame_range[1]) if data is not None and data.action is not None else 0.0


def _looks_through(rig: bpy.types.Object) -> bool:
    """Whether the view sees through an avatar's camera."""
    space = view().spaces.active
    return space.region_3d.view_perspective == "CAMERA" and bpy.context.scene.camera == rig["pantomime_camera"]


def clip() -> Steps:
    if not TASK["clip"]:
        say("skipped", "no clip was named")
        return
    settings = bpy.context.scene.pantomime_video
    settings.use_range, settings.start, settings.end = True, 1, TASK["frames"]
    before = len(rigs())
    began = time.perf_counter()
    drop(TASK["clip"], "PANTOMIME_FH_video")
    yield lambda: idle() or previewed() is not None
    # One window of frames is solved at once: then there is nothing to show before the end.
    check("the avatar follows meanwhile", not idle() or TASK["frames"] < 60, session().status.error)
    preview_s = time.perf_counter() - began
    seen: list[float] = []
    if not idle():
        look_through(previewed())
        for number in range(3):
            # What was looked at so far, roughly; each time more of it.
            reached = _reached()
            if idle():
                break
            seen.append(reached)
            bpy.context.scene.frame_set(max(1, round(reached) - 2))
            yield from shot(f"30-video-preview-{'abc'[number]}")
            yield lambda reached=reached: idle() or _reached() > reached
        check("each stretch that was looked at is shown", len(seen) > 1 and seen == sorted(set(seen)), seen)
        rough = previewed()
        name = rough.name if rough is not None else ""
        yield lambda: idle() or (previewed() is not None and previewed().name != name)
        if not idle():
            check("the view stays in the camera of the preview", _looks_through(previewed()))
            say("time", f"video: solved motion seen after {time.perf_counter() - began:.1f} s")
            bpy.context.scene.frame_set(max(1, round(_reached()) - 2))
            yield from shot("30-video-preview-d")
    yield idle
    say("time", f"video, {TASK['frames']} frames: {time.perf_counter() - began:.1f} s, first seen {preview_s:.1f} s")
    for block in METER.since(began)[:3]:
        say("block", block.words())
    yield 0.5
    check("one avatar more", len(rigs()) == before + 1, session().status.error or session().status.done)
    names = [rig.name for rig in rigs()]
    check("no preview is left", not any("(preview)" in name for name in names), names)
    rig = next(rig for rig in rigs() if rig.animation_data is not None and rig.animation_data.action is not None)
    first, last = rig.animation_data.action.frame_range
    check("it is animated", last - first > 10, f"frames {first:.0f} to {last:.0f}")
    if seen:
        check("and in that of the animation", _looks_through(rig))
    look_through(rig)
    frame = round((first + last) / 2)
    bpy.context.scene.frame_set(frame)
    yield from shot("31-video")
    with here():
        bpy.ops.ed.undo()
    yield 0.3
    with here():
        while len(rigs()) > before and bpy.ops.ed.undo.poll() and TASK["frames"] > 0:
            bpy.ops.ed.undo()
            TASK["frames"] -= 1
    check("undo takes the animation back", len(rigs()) == before, [rig.name for rig in rigs()])
    yield 0.2
