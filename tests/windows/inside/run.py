"""The half of the window test that runs inside Blender; `drive.py` starts it.

The steps are generators. A timer goes on with them: a number that they yield is a pause in seconds, a function is
waited for until it is true. The same timer measures how long Blender's main thread was away.
"""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))

import begin
import body
import correct
import files
import photo
import use
import video
from meter import METER
from window import TASK, Step, Steps, say

TICK_S = 0.01
LONGEST_WAIT_S = 600.0
GOAL_S = 0.1

# By what `--only` names.
PARTS = {
    "begin": (begin.install, begin.preferences),
    "photo": (photo.nobody, photo.cold, photo.warm, photo.undo, photo.queue, photo.kill),
    "correct": (correct.look, correct.drag_slowly, correct.drag_swiftly, correct.pin_in_space, correct.lock),
    "sliders": (use.sliders,),
    "texture": (use.texture,),
    "export": (use.export,),
    "retarget": (use.retarget,),
    "video": (video.clip,),
    "files": (files.untouched, files.save_and_open, files.correct_again),
    "body": (body.licensed,),
}


def steps() -> Steps:
    yield 3.0
    for name, functions in PARTS.items():
        wanted = name in ("begin", *TASK["parts"])
        if not wanted and name != "photo":
            continue
        # Everything else needs an avatar.
        for function in functions if wanted else (photo.cold,):
            METER.step = function.__name__.replace("_", " ")
            yield from function()
    blocks()


def blocks() -> None:
    """What held Blender for longer than the goal."""
    for block in METER.since(0.0)[:8]:
        say("block", block.words())
    for name, count, longest_s, cpu_s in METER.longest_calls(GOAL_S / 2)[:20]:
        say(
            "call",
            f"{name}: computes {cpu_s:.3f} s at most (then {longest_s:.3f} s by the clock), {count} times ≥ 50 ms",
        )
    ours = [block for block in METER.blocks if block.ours_s >= GOAL_S]
    longest = max((block.ours_s for block in ours), default=0.0)
    say("time", f"blocks with ≥ {GOAL_S} s of the extension: {len(ours)}, longest {longest:.3f} s")


RUN = steps()
_wait: Step = 0.0
_since = time.perf_counter()


def tick() -> float | None:
    global _wait, _since
    METER.tick()
    if callable(_wait):
        if not _wait():
            if time.perf_counter() - _since > LONGEST_WAIT_S:
                say("WRONG", f"waited for more than {LONGEST_WAIT_S:.0f} s in “{METER.step}”")
                return end()
            return TICK_S
    elif time.perf_counter() - _since < _wait:
        return TICK_S
    try:
        _wait, _since = next(RUN), time.perf_counter()
    except StopIteration:
        say("end", f"all steps were gone through in Blender {bpy.app.version_string}")
        return end()
    except Exception:
        say("WRONG", traceback.format_exc())
        return end()
    return TICK_S


def end() -> None:
    bpy.ops.wm.quit_blender()


bpy.context.preferences.view.show_splash = False
bpy.context.preferences.use_preferences_save = False
bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
