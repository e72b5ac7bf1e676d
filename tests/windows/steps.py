"""The half of the window test that runs inside Blender; `drive.py` starts it.

The steps are one generator. A timer goes on with it: a number that it yields is a pause in seconds, a function is
waited for until it is true. The same timer measures how long Blender's main thread was away.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

TASK = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text())
OUT = Path(TASK["out"])
NAME = "bl_ext.user_default.pantomime"
TICK_S = 0.01
LONGEST_WAIT_S = 120.0
Step = float | Callable[[], bool]


class Meter:
    """The longest time between two ticks, and in calls of a function, since `start`."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.longest_s = self.longest_call_s = self.longest_call_cpu_s = 0.0
        self._last = time.perf_counter()

    def tick(self) -> None:
        now = time.perf_counter()
        self.longest_s = max(self.longest_s, now - self._last)
        self._last = now

    def of(self, function: Callable[..., object]) -> Callable[..., object]:
        """The function, measured."""

        def measured(*arguments: object, **named: object) -> object:
            began, began_cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.longest_call_s = max(self.longest_call_s, time.perf_counter() - began)
                self.longest_call_cpu_s = max(self.longest_call_cpu_s, time.thread_time() - began_cpu)

        return measured


METER = Meter()
_number = 0


def say(kind: str, text: str, **more: object) -> None:
    with open(OUT / "said.jsonl", "a") as file:
        file.write(json.dumps({"kind": kind, "text": text, **more}) + "\n")


def check(what: str, holds: bool, seen: object = "") -> None:
    say("right" if holds else "WRONG", f"{what}{f': {seen}' if seen != '' else ''}")


def ask(what: str, **more: object) -> Callable[[], bool]:
    """Ask the other half for something; the answer tells whether it is done."""
    global _number
    _number += 1
    mine = _number
    with open(OUT / "said.jsonl", "a") as file:
        file.write(json.dumps({"do": what, "number": mine, **more}) + "\n")

    def done() -> bool:
        path = OUT / "done"
        text = path.read_text() if path.exists() else ""
        return text.isdigit() and int(text) >= mine

    return done


def shot(name: str) -> Iterator[Step]:
    """A picture of the screen, after it was drawn."""
    for area in window().screen.areas:
        area.tag_redraw()
    yield 1.0
    yield ask("shot", name=name)


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def view() -> bpy.types.Area:
    return max((a for a in window().screen.areas if a.type == "VIEW_3D"), key=lambda a: a.width * a.height)


def region(kind: str = "WINDOW") -> bpy.types.Region:
    return next(r for r in view().regions if r.type == kind)


def here() -> object:
    """The context that the view's own buttons and keys have."""
    return bpy.context.temp_override(window=window(), area=view(), region=region())


def on_screen(x: float, y: float, where: bpy.types.Region) -> list[float]:
    """From px of a region to px of the screen, from the top."""
    return [where.x + x, TASK["height"] - (where.y + y)]


def part(name: str) -> object:
    """A module of the extension."""
    return sys.modules[f"{NAME}.{name}"]


def session() -> object:
    return part("operators.session").SESSION


def idle() -> bool:
    return not session().busy


def rigs() -> list[bpy.types.Object]:
    return [o for o in bpy.data.objects if o.type == "ARMATURE" and "pantomime" in o]


def drop() -> None:
    """What Blender does when a file is dropped on the view: the handler's operator, invoked with the file."""
    handler = bpy.types.PANTOMIME_FH_photo
    with here():
        check("the view takes dropped photos", handler.poll_drop(bpy.context))
        folder, name = os.path.split(TASK["photo"])
        operator = getattr(bpy.ops.pantomime, handler.bl_import_operator.partition(".")[2])
        operator("INVOKE_DEFAULT", filepath=TASK["photo"], directory=folder + os.sep, files=[{"name": name}])


# ------------------------------------------------------------------------------------------------------------- steps


def install() -> Iterator[Step]:
    with bpy.context.temp_override(window=window()):
        bpy.ops.extensions.package_install_files(filepath=TASK["zip"], repo="user_default", enable_on_install=True)
    yield 1.0
    addon = bpy.context.preferences.addons.get(NAME)
    check("the zip is installed and enabled", addon is not None)
    addon.preferences.python = TASK["python"]
    addon.preferences.log_folder = str(OUT)
    if TASK["open_panels"]:
        open_panels()
    view().spaces.active.show_region_ui = True
    yield 0.5
    try:
        region("UI").active_panel_category = "Pantomime"
    except (AttributeError, TypeError) as error:
        check("the tab Pantomime is there", False, error)
    session().poll = METER.of(session().poll)
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    yield from shot("01-empty")


def open_panels() -> None:
    """Let no panel be closed when the tab is first drawn."""
    panels = [cls for cls in part("panels").CLASSES if issubclass(cls, bpy.types.Panel)]
    for cls in reversed(panels):
        bpy.utils.unregister_class(cls)
    for cls in panels:
        cls.bl_options = set(getattr(cls, "bl_options", ())) - {"DEFAULT_CLOSED"}
        bpy.utils.register_class(cls)


def preferences() -> Iterator[Step]:
    with bpy.context.temp_override(window=window()):
        bpy.ops.screen.userpref_show(section="ADDONS")
    bpy.context.window_manager.addon_search = "Pantomime"
    bpy.ops.preferences.addon_expand(module=NAME)
    yield 2.0
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[-1]):
        bpy.ops.pantomime.check_solver()
    checker = part("operators.checks").SOLVER
    yield lambda: not checker.running
    check("the named Python solves", not checker.error, checker.error or "; ".join(checker.lines))
    yield from shot("02-preferences")
    if len(bpy.context.window_manager.windows) > 1:
        with bpy.context.temp_override(window=bpy.context.window_manager.windows[-1]):
            bpy.ops.wm.window_close()
    yield 1.0


def nobody() -> Iterator[Step]:
    """A picture without a person."""
    path = OUT / "nobody.png"
    image = bpy.data.images.new("nobody", 640, 480)
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    yield ask("move", at=[500, 400])
    with here():
        bpy.ops.pantomime.photo_to_avatar("EXEC_DEFAULT", filepath=str(path))
    yield idle
    check("a photo of nobody says so", any(n.kind == "error" for n in session().notices), session().status.error)
    yield from shot("03-nobody")
    yield ask("key", key="Escape")
    session().stop_worker()


def photo(warm: bool) -> Iterator[Step]:
    """Drop a photo and wait for its avatar."""
    how = "warm" if warm else "cold"
    before = len(rigs())
    METER.start()
    until = time.perf_counter() + 2.0
    while time.perf_counter() < until:
        view().tag_redraw()
        yield 0.0
    quiet_s = METER.longest_s
    METER.start()
    began = time.perf_counter()
    drop()
    if not warm:
        yield 0.5
        ask("shot", name="04-solving")
    yield idle
    took_s = time.perf_counter() - began
    yield 0.5
    say("time", f"photo to avatar, {how} {took_s:.2f} s")
    say(
        "time",
        f"longest gap of the main thread meanwhile {METER.longest_s:.3f} s; the same without work {quiet_s:.3f} s",
    )
    call_s, cpu_s = METER.longest_call_s, METER.longest_call_cpu_s
    say("time", f"longest call of the extension in it {call_s:.3f} s, of which the thread computed {cpu_s:.3f} s")
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


def undo_photo() -> Iterator[Step]:
    count = len(rigs())
    with here():
        bpy.ops.ed.undo()
    yield 0.5
    check("one undo takes the second avatar back", len(rigs()) == count - 1, len(rigs()))
    with here():
        if bpy.context.active_object is None:
            bpy.context.view_layer.objects.active = rigs()[0]


def queue_cancel_kill() -> Iterator[Step]:
    """Two photos wait for each other, a cancel ends both; a solver that is killed is reported, and replaced later."""
    count = len(rigs())
    drop()
    drop()
    check("a second photo waits", len(session().waiting) == 1, session().waiting)
    yield 0.3
    with here():
        bpy.ops.pantomime.cancel()
    yield idle
    check("a cancel ends both", len(rigs()) == count, session().status.done)
    yield ask("move", at=[500, 400])
    drop()
    yield 0.3
    os.kill(session().worker_pid, signal.SIGKILL)
    yield idle
    check("a killed solver is reported", bool(session().status.error), session().status.error)
    yield 0.5
    yield ask("key", key="Escape")
    yield 0.5


def look() -> Iterator[Step]:
    with here():
        bpy.ops.pantomime.look_through_camera("EXEC_DEFAULT", True)
    yield 1.0
    yield from shot("05-camera")


def correct() -> Iterator[Step]:
    """Drag a point with the mouse, look where it ends, undo with the keys."""
    points, correcting = part("operators.points"), part("operators.correcting")
    times, applied = [], METER.of(session().submit)
    asked: dict[str, float] = {}
    plain_apply = correcting.LIVE._apply

    def submit(job: object) -> None:
        asked[job.request.job] = time.perf_counter()
        applied(job)

    def apply(job: object, result: object) -> str:
        try:
            return plain_apply(job, result)
        finally:
            times.append(time.perf_counter() - asked.pop(job.request.job))

    session().submit, correcting.LIVE._apply = submit, apply
    with here():
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    yield idle
    yield 1.5
    yield from shot("06-points")
    with here():
        spots = points.spots(bpy.context)
    wide = bpy.context.window_manager.windows[0].width
    inside = [s for s in spots if s.group == "body" and 60 < s.at[0] < region().width - 320 and s.at[1] > 60]
    check("points of the body are shown", len(inside) >= 4, len(spots))
    apart = statistics.median(
        ((s.at[0] - s.body_at[0]) ** 2 + (s.at[1] - s.body_at[1]) ** 2) ** 0.5 for s in inside if s.confidence > 0.5
    )
    check("the avatar lies over the points", apart < 0.02 * wide, f"median {apart:.1f} px of the screen")
    spot = max((s for s in inside if "elbow" in s.name), key=lambda s: s.confidence)
    start = on_screen(*spot.at, region())
    path = [[start[0] + 48 * k / 12, start[1] - 36 * k / 12] for k in range(13)]
    times.clear()
    # Here the pointer comes from: Blender highlights what it moves over, and slowly where software draws.
    for near in (30.0, 4.0, 0.0):
        yield ask("move", at=[start[0] + near, start[1] + near])
        yield 0.6
    METER.start()
    yield ask("drag", path=path, name="07-dragging")
    longest_s = METER.longest_s
    yield 1.5
    yield idle
    median_s, most_s = (statistics.median(times), max(times)) if times else (0.0, 0.0)
    say("time", f"correction, there and back: median {median_s:.3f} s, longest {most_s:.3f} s, {len(times)} answers")
    say("time", f"longest gap of the main thread while dragging {longest_s:.3f} s")
    with here():
        after = next(s for s in points.spots(bpy.context) if s.point == spot.point)
    off = ((after.at[0] - after.body_at[0]) ** 2 + (after.at[1] - after.body_at[1]) ** 2) ** 0.5
    check(f"{spot.name} is pinned", after.pinned)
    check("the body is at the pin", off < 1.5, f"{off:.2f} px of the screen")
    yield from shot("08-dragged")
    yield ask("key", key="ctrl+z")
    yield 2.0
    with here():
        undone = next(s for s in points.spots(bpy.context) if s.point == spot.point)
    check("Ctrl Z takes the pin back", not undone.pinned)
    moved = ((undone.body_at[0] - spot.body_at[0]) ** 2 + (undone.body_at[1] - spot.body_at[1]) ** 2) ** 0.5
    check("and the pose", moved < 1.0, f"{moved:.2f} px of the screen")
    with here():
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    del session().submit, correcting.LIVE._apply
    yield 0.5


def sliders() -> Iterator[Step]:
    """Shape, pose and face of the avatar."""
    rig = rigs()[0]
    with here():
        bpy.context.view_layer.objects.active = rig
        values = rig.pantomime_avatar
        tall = values.height
        values.height = tall + 10.0
        check(
            "height follows its slider", abs(values.height - tall - 10.0) < 0.5, f"{tall:.1f} to {values.height:.1f} cm"
        )
        values.weight += 15.0
        check("height stays when weight changes", abs(values.height - tall - 10.0) < 0.5, f"{values.height:.1f} cm")
        bpy.ops.pantomime.set_expression("EXEC_DEFAULT", True, kind="SMILE")
    side = region("UI")
    yield ask("wheel", at=on_screen(side.width / 2, side.height / 2, side), turns=6)
    yield from shot("09-sliders")
    if TASK["open_panels"]:
        for page in "abcd":
            yield ask("wheel", at=on_screen(side.width / 2, side.height / 2, side), turns=12)
            yield from shot(f"09-sliders-{page}")
    yield ask("wheel", at=on_screen(side.width / 2, side.height / 2, side), turns=60)
    yield from shot("10-sidebar-end")
    yield ask("wheel", at=on_screen(side.width / 2, side.height / 2, side), turns=-90)
    yield ask("move", at=[300, 600])  # away from what would show its tooltip
    with here():
        bpy.ops.pantomime.reset_shape("EXEC_DEFAULT", True, to="CAPTURED")
        check("the shape comes back", abs(values.height - tall) < 0.1, f"{values.height:.1f} cm")
        bpy.ops.pantomime.set_expression("EXEC_DEFAULT", True, kind="CAPTURED")
        view().spaces.active.region_3d.view_perspective = "PERSP"
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.pantomime.set_pose("EXEC_DEFAULT", True, kind="A")
        bpy.ops.object.select_all(action="DESELECT")
        rig.select_set(True)
        for child in rig.children:
            child.select_set(True)
        bpy.ops.view3d.view_selected()
    yield 1.0
    yield from shot("11-a-pose")
    with here():
        bpy.ops.pantomime.set_pose("EXEC_DEFAULT", True, kind="CAPTURED")
    yield 0.2


def export() -> Iterator[Step]:
    with here():
        bpy.context.view_layer.objects.active = rigs()[0]
        for format_, suffix in (("GLTF", "glb"), ("FBX", "fbx"), ("BVH", "bvh")):
            path = OUT / f"avatar.{suffix}"
            began = time.perf_counter()
            try:
                bpy.ops.pantomime.export("EXEC_DEFAULT", filepath=str(path), format=format_)
            except RuntimeError as error:
                say("WRONG", f"{format_}: {error}")
            size = path.stat().st_size if path.exists() else 0
            least = 10_000 if format_ == "BVH" else 500_000
            check(f"{format_} is written", size > least, f"{size / 1e6:.1f} MB, {time.perf_counter() - began:.1f} s")
        before = set(bpy.data.objects)
        bpy.ops.import_scene.gltf(filepath=str(OUT / "avatar.glb"))
        new = set(bpy.data.objects) - before
        bones = next((len(o.data.bones) for o in new if o.type == "ARMATURE"), 0)
        check("the glTF file comes back with its bones", bones == 55, bones)
        for obj in new:
            bpy.data.objects.remove(obj)
        left = bpy.data.collections.get("glTF_not_exported")
        if left is not None:
            bpy.data.collections.remove(left)
    yield 0.2


def save_and_open() -> Iterator[Step]:
    path = OUT / "avatar.blend"
    with here():
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
        check("the file is not over 60 MB", path.stat().st_size < 60e6, f"{path.stat().st_size / 1e6:.1f} MB")
        bpy.ops.wm.open_mainfile(filepath=str(path))
    yield 2.0
    check("the avatar is there after opening", len(rigs()) == 1, len(rigs()))
    with here():
        bpy.context.view_layer.objects.active = rigs()[0]
        tall = rigs()[0].pantomime_avatar.height
        bpy.ops.pantomime.correct("EXEC_DEFAULT", True)
    check("and can be edited", tall > 100.0, f"{tall:.1f} cm")
    yield idle
    check("and corrected", not session().status.error, session().status.error)
    with here():
        bpy.ops.pantomime.look_through_camera("EXEC_DEFAULT", True)
        rigs()[0].select_set(True)
        bpy.ops.object.mode_set(mode="POSE")
        rigs()[0].pantomime_avatar.show_certainty = True
    yield from shot("12-opened-pose-mode")


def scene_is_untouched() -> Iterator[Step]:
    names = {o.name for o in bpy.data.objects}
    check("the scene's own objects stay", {"Light", "Camera"} <= names, sorted(names))
    yield 0.0


def steps() -> Iterator[Step]:
    yield 3.0
    yield from install()
    yield from preferences()
    yield from nobody()
    yield from photo(warm=False)
    yield from look()
    yield from photo(warm=True)
    yield from undo_photo()
    yield from queue_cancel_kill()
    yield from look()
    yield from correct()
    yield from sliders()
    yield from export()
    yield from scene_is_untouched()
    yield from save_and_open()


RUN = steps()
_wait: Step = 0.0
_since = time.perf_counter()


def tick() -> float | None:
    global _wait, _since
    METER.tick()
    if callable(_wait):
        if not _wait():
            if time.perf_counter() - _since > LONGEST_WAIT_S:
                say("WRONG", f"waited for more than {LONGEST_WAIT_S:.0f} s")
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
