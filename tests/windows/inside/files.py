"""Saving, opening, going on."""

from __future__ import annotations

from pathlib import Path

import bpy
import correct
from window import OUT, Asked, Steps, activate, check, here, idle, look_through, rigs, session, shot


def untouched() -> Steps:
    names = {o.name for o in bpy.data.objects}
    check("the scene's own objects stay", {"Light", "Camera"} <= names, sorted(names))
    yield 0.0


def save_and_open() -> Steps:
    path = OUT / "avatar.blend"
    count = len(rigs())
    with here():
        bpy.ops.wm.save_as_mainfile(filepath=str(path), relative_remap=True)
        megabytes = path.stat().st_size / 1e6 / count
        check("an avatar takes no more than 60 MB of the file", megabytes < 60, f"{megabytes:.1f} MB each of {count}")
        paths = [image.filepath for image in bpy.data.images if image.source == "FILE" and image.filepath]
        check("the photo's path is relative", bool(paths) and all(p.startswith("//") for p in paths), paths)
        bpy.ops.wm.open_mainfile(filepath=str(path))
    yield 2.0
    check("the avatar is there after opening", len(rigs()) == count, len(rigs()))
    photos = [bpy.path.abspath(image.filepath) for image in bpy.data.images if image.source == "FILE"]
    check("and its photo", all(Path(photo).is_file() for photo in photos), photos)


def correct_again() -> Steps:
    activate(rigs()[0])
    tall = rigs()[0].pantomime_avatar.height
    check("it can be edited", tall > 100.0, f"{tall:.1f} cm")
    look_through(rigs()[0])
    with here():
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    yield idle
    check("and corrected", not session().status.error, session().status.error)
    yield lambda: bool(correct.spots())
    wrist = correct.named("wrist")
    start = correct.on_screen(*wrist.at)
    yield from correct.take(wrist)
    yield Asked("go", path=[[start[0] - 3 * k, start[1] - 3 * k] for k in range(1, 6)], pause=0.1)
    yield from correct.let_go()
    correct.met(wrist.point)
    path = OUT / "corrected.blend"
    with here():
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
        bpy.ops.wm.open_mainfile(filepath=str(path))
    yield 2.0
    activate(rigs()[0])
    with here():
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    yield idle
    yield lambda: bool(correct.spots())
    check("pins are kept in the file", correct.spot(wrist.point).pinned)
    with here():
        bpy.ops.object.mode_set(mode="POSE")
        rigs()[0].pantomime_avatar.show_certainty = True
    yield from shot("40-opened-pose-mode")
    with here():
        rigs()[0].pantomime_avatar.show_certainty = False
        bpy.ops.object.mode_set(mode="OBJECT")
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    yield 0.5
