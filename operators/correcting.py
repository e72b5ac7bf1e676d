"""Corrections on their way: what is asked of the worker while a point is dragged, and what becomes of its answers.

While the mouse moves, each position is a job of its own that takes the place of the one that waits: the newest wins.
All of them start from the pose at the beginning of the drag, so that the result hangs on where the point is, not on the
way there. Answers are put on the bones as they come; the one to the last position, after the button was let go, becomes
one undo step.

No object of Blender is kept here: objects are found again by their names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import bpy

from .avatars import PROPERTY, camera_of
from .busy import hand_is_busy
from .jobs import Job, JobError
from .notify import translated
from .session import SESSION
from .settings import SolverSettings, solver_settings

if TYPE_CHECKING:
    import threading

    from ..core.capture import Capture
    from ..core.messages import Result
    from ..scene.from_file import BodyModel
    from ..scene.handles import PointCache

NEAR_PX, NEAR_M = 0.5, 0.001  # pins that are met


@dataclass
class Ask:
    """What is to be known when an answer comes."""

    rig: str
    eye: str
    frame: int
    generation: int
    label: str  # of the undo step; "": none
    key: bool  # whether an avatar with an action gets keys


@dataclass
class Drag:
    """A point in the user's hand."""

    rig: str
    point: tuple[str, int]
    title: str
    place: tuple[float, float]  # px, where it is now
    reference: Capture  # the pose at the beginning
    pins_before: dict[tuple[str, int], tuple[float, float]]


class Corrections:
    """Asks, and puts answers on the bones."""

    def __init__(self) -> None:
        self.drag: Drag | None = None
        self._asks: dict[str, Ask] = {}
        self._generation = 0
        self._touched: dict[str, set[str]] = {}  # by avatar: bones turned since the reference of the drag
        self._owed = ""  # the undo step of a drag that was let go, but not yet answered
        self._followed: tuple[str, Capture] | None = None
        self._led: dict[str, dict[str, float]] = {}  # by avatar: IK controls that are suspended for a correction
        self._caches: dict[tuple[str, str], PointCache] = {}
        self._reading: threading.Thread | None = None

    # ------------------------------------------------------------------------------------------------------- body

    def body_of(self, rig: bpy.types.Object, context: bpy.types.Context) -> BodyModel:
        """The body that an avatar was made with. Raises JobError."""
        return self.points_of(rig, context).body

    def points_of(self, rig: bpy.types.Object, context: bpy.types.Context) -> PointCache:
        """The body's points, read if need be. Raises JobError."""
        from ..scene.from_file import FromFileError, body_of
        from ..scene.handles import PointCache

        identity = rig[PROPERTY]
        key = (identity["body_id"], identity["gender"])
        if key not in self._caches:
            try:
                self._caches[key] = PointCache(body_of(*key, solver_settings(context).body))
            except FromFileError as error:
                raise JobError(str(error)) from error
        return self._caches[key]

    def points_if_read(self, rig: bpy.types.Object, context: bpy.types.Context) -> PointCache | None:
        """The body's points, for drawing: None while a thread reads them."""
        identity = rig[PROPERTY]
        if (identity["body_id"], identity["gender"]) in self._caches:
            return self.points_of(rig, context)
        if self._reading is None:
            import threading

            name = rig.name
            spec = None if identity["body_id"] == "free" else solver_settings(context).body

            def read() -> None:
                from ..scene.from_file import read_body_early

                read_body_early(spec)

            self._reading = threading.Thread(target=read, name="pantomime body", daemon=True)
            self._reading.start()

            def ready() -> float | None:
                if self._reading is not None and self._reading.is_alive():
                    return 0.05
                self._reading = None
                avatar = bpy.data.objects.get(name)
                if avatar is not None:
                    try:
                        self.points_of(avatar, bpy.context)
                    except JobError as error:
                        SESSION.say("error", str(error), place="CORRECT")
                redraw()
                return None

            bpy.app.timers.register(ready, first_interval=0.05)
        return None

    # ------------------------------------------------------------------------------------------------------- drag

    def begin(
        self, context: bpy.types.Context, rig: bpy.types.Object, point: tuple[str, int], place: tuple[float, float]
    ) -> None:
        """Take a point in hand, at `place` px. Raises JobError."""
        from ..scene import handles, pins

        self._settle_now()
        body = self.body_of(rig, context)
        self._touched.pop(rig.name, None)
        self.drag = Drag(
            rig.name,
            point,
            handles.point_title(body, point),
            place,
            self.pose(context, rig),
            pins.pinned_points(rig, context.scene.frame_current),
        )

    def move(self, context: bpy.types.Context, place: tuple[float, float]) -> None:
        """The point in hand is at `place` px now."""
        from ..scene import pins

        drag = self.drag
        rig = bpy.data.objects.get(drag.rig) if drag is not None else None
        if drag is None or rig is None:
            return
        drag.place = place
        pins.pin_point(rig, context.scene.frame_current, drag.point, place)
        self.ask(context, rig, reference=drag.reference)

    def release(self, context: bpy.types.Context) -> None:
        """Let go: the last position becomes an undo step when its answer is there."""
        drag, self.drag = self.drag, None
        rig = bpy.data.objects.get(drag.rig) if drag is not None else None
        if drag is None or rig is None:
            return
        self._owed = translated(f"Correct {translated(drag.title)}")
        self.ask(context, rig, label=self._owed, reference=drag.reference, key=True)

    def cancel(self, context: bpy.types.Context) -> None:
        """Put all back to where it was when the point was taken."""
        from ..scene import pins
        from ..scene.current import apply_pose

        drag, self.drag = self.drag, None
        self._generation += 1
        rig = bpy.data.objects.get(drag.rig) if drag is not None else None
        if drag is None or rig is None:
            return
        pins.set_points(rig, context.scene.frame_current, drag.pins_before)
        eye = camera_of(rig)
        touched = self._touched.pop(rig.name, None)
        if eye is not None and touched:
            apply_pose(rig, self.body_of(rig, context), drag.reference, eye, touched)
        self._resume(rig, context.scene)

    def follow(self, context: bpy.types.Context, rig: bpy.types.Object, going_on: bool) -> None:
        """A bone's pin was moved in space. `going_on`: the same movement as at the last call. Raises JobError."""
        if not going_on or self._followed is None or self._followed[0] != rig.name:
            self._touched.pop(rig.name, None)
            self._followed = (rig.name, self.pose(context, rig))
        self.ask(context, rig, reference=self._followed[1], key=True)

    # -------------------------------------------------------------------------------------------------------- ask

    def pose(self, context: bpy.types.Context, rig: bpy.types.Object, suspend: bool = True) -> Capture:
        """The pose as it is on the screen. Raises JobError.

        `suspend`: IK controls let go of it until an answer is on the bones. False: where they lead, it is not exact.
        """
        from ..scene import controls
        from ..scene.avatar import AvatarError
        from ..scene.current import current_capture

        eye = camera_of(rig)
        if eye is None:
            raise JobError(f"{rig.name} has no camera that sees it as the photo does. Undo its removal.")
        try:
            if suspend and rig.name not in self._led:
                values = controls.suspend(rig, context.scene)
                if values:
                    self._led[rig.name] = values
            return current_capture(rig, self.body_of(rig, context), eye, context.scene, led=not suspend)
        except AvatarError as error:
            raise JobError(str(error)) from error

    def ask(
        self,
        context: bpy.types.Context,
        rig: bpy.types.Object,
        label: str = "",
        reference: Capture | None = None,
        key: bool = False,
        refit: bool = False,
        pinned: bool = True,
    ) -> None:
        """Ask for the pose that meets all pins. Raises JobError.

        `reference`: the pose to stay near; None: the one on the screen. `label`: of an undo step. `pinned` False: ask
        for nothing, which wakes the worker; the answer is not put on the bones, which may be elsewhere by then.
        """
        from ..core.capture import CaptureError
        from ..core.client import new_job_id
        from ..core.messages import Correct
        from ..scene import pins

        now = self.pose(context, rig, suspend=pinned)
        eye = camera_of(rig)
        assert eye is not None
        frame = context.scene.frame_current
        points, joints = _pinned(rig, eye, frame) if pinned else ({}, {})
        settings: SolverSettings = solver_settings(context)
        job = new_job_id()
        folder = bpy.app.tempdir
        before, after = (os.path.join(folder, f"pantomime_{job}_{which}.npz") for which in ("before", "after"))
        try:
            (_starts(reference, now) if reference is not None else now).save(before)
        except CaptureError as error:
            raise JobError(str(error)) from error
        request = Correct(
            job, before, after, points, joints, sorted(pins.locked(rig)), refit, settings.body, settings.threads
        )
        self._asks[job] = Ask(rig.name, eye.name, frame, self._generation, label, key)
        SESSION.submit(
            Job(
                request,
                label or rig.name,
                context.scene.name,
                settings,
                on_result=self._apply if pinned else _nothing,
                on_end=self._forget,
                title="Correct",
                urgent=True,
                place="CORRECT",
                key=f"correct {rig.name}",
                waits_for_hand=False,
            )
        )

    def _apply(self, job: Job, result: Result) -> str:
        """Put an answer on the bones, and let IK controls lead again after the last one."""
        from ..core.capture import Capture, CaptureError
        from ..scene import pins
        from ..scene.avatar import AvatarError
        from ..scene.current import apply_pose

        assert job.request is not None
        ask = self._asks[job.request.job]
        rig, eye = bpy.data.objects.get(ask.rig), bpy.data.objects.get(ask.eye)
        scene = bpy.data.scenes.get(job.scene_name)
        if rig is None or eye is None or scene is None or rig.mode == "EDIT":
            return ""
        asked_last = ask.generation == self._generation and ask.frame == scene.frame_current
        facts: dict[str, Any] = {}
        if asked_last:
            try:
                corrected = Capture.load(result.captures[0])
                facts = dict(corrected.diagnostics["correction"])  # type: ignore[call-overload]
                touched = self._touched.setdefault(rig.name, set())
                touched |= set(facts["moved"])
                moving = rig.animation_data is not None and rig.animation_data.action is not None
                key_frame = ask.frame if ask.key and moving else None
                seconds = bpy.context.window_manager.pantomime_correct.reach_s
                rate = scene.render.fps / scene.render.fps_base
                reach = pins.free_reach(rig, ask.frame, seconds * rate)
                # A pin that is moved in space is answered again and again: there each answer goes as far as the others.
                even = bool(ask.label)
                apply_pose(rig, self.body_of(rig, bpy.context), corrected, eye, touched, key_frame, reach, rate, even)
            except (CaptureError, AvatarError) as error:
                raise JobError(str(error)) from error
        if self.drag is None and (ask.label or not hand_is_busy()):
            self._resume(rig, scene)
        if asked_last and ask.label:
            self._owed = ""
            self._touched.pop(rig.name, None)
            bpy.ops.ed.undo_push(message=ask.label)
            off_px, off_m = float(facts["pins_off_px"]), float(facts["pins_off_m"])
            if off_px > NEAR_PX or off_m > NEAR_M:
                how_far = f"{off_px:.0f} px" if off_px > NEAR_PX else f"{1000 * off_m:.0f} mm"
                SESSION.say("warning", f"Not all pins can be met at once: one is off by {how_far}. Remove some.")
        # On the way of a drag nothing in the sidebar changes; its end may warn.
        redraw(("WINDOW",) if self.drag is not None and not ask.label else ("WINDOW", "UI"))
        return ""

    def _resume(self, rig: bpy.types.Object, scene: bpy.types.Scene) -> None:
        """IK controls that were suspended lead again, in the pose that the bones have now."""
        from ..scene import controls

        values = self._led.pop(rig.name, None)
        if values:
            controls.snap_to_pose(rig, scene, values)

    def _forget(self, job: Job) -> None:
        from ..core.messages import Correct

        request = job.request
        assert isinstance(request, Correct)
        self._asks.pop(request.job, None)
        if self.drag is None and not self._asks and self._led:
            # The answer did not come: an error, a cancel.
            for name in list(self._led):
                rig, scene = bpy.data.objects.get(name), bpy.data.scenes.get(job.scene_name)
                if rig is not None and scene is not None:
                    self._resume(rig, scene)
            self._led.clear()
        for path in (request.capture, request.out):
            if os.path.exists(path):
                os.unlink(path)

    def _settle_now(self) -> None:
        """A drag begins before the one before was answered: its step ends with what is there."""
        if self._owed:
            self._generation += 1
            bpy.ops.ed.undo_push(message=self._owed)
            self._owed = ""

    def reset(self) -> None:
        """Forget everything: another file, or the end."""
        self.__init__()  # type: ignore[misc]


def _nothing(_job: Job, _result: Result) -> str:
    return ""


def _pinned(
    rig: bpy.types.Object, eye: bpy.types.Object, frame: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Pinned points, in px of the photo, and pinned bones, in metres in the camera's axes, by their names."""
    from ..scene import pins
    from ..scene.current import view_of

    points = {pins.name_of(point): list(place) for point, place in pins.pinned_points(rig, frame).items()}
    view = view_of(rig, eye)
    joints = {
        bone: view.to_camera(empty.matrix_world.translation).tolist() for bone, empty in pins.empties(rig).items()
    }
    return points, joints


def _starts(reference: Capture, now: Capture) -> Capture:
    """A capture of two frames: the pose to stay near, and the one on the screen as another start."""
    import numpy as np

    names = (
        "expression", "global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose",
        "right_hand_pose", "transl", "joints", "frame_times_s",
    )  # fmt: skip
    both = {name: np.concatenate([getattr(reference, name), getattr(now, name)]) for name in names}
    seen = {name: np.repeat(rows, 2, axis=0) for name, rows in reference.points.items()}
    return replace(reference, points=seen, **both)


def redraw(regions: tuple[str, ...] = ("WINDOW", "UI")) -> None:
    """Draw all 3D views anew: what they show, and the sidebar unless only the former is named."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type in regions:
                        region.tag_redraw()


LIVE = Corrections()
