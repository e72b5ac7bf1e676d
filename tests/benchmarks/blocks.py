"""How long Blender's window stands still at most: the longest block of each thing that happens in its main thread.

What is drawn afterwards is not in it: that depends on the view, and headless there is none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .measure import Clock, Measurement

BUDGET_S = 0.1
CLIP_FRAMES = 300


def blocks(capture: Any, runs: int) -> Iterator[Measurement]:
    """Building an avatar of a photo and of a clip, in the steps of the timer; then what is done to an avatar."""
    with tempfile.TemporaryDirectory() as folder:
        still, clip = str(Path(folder) / "still.npz"), str(Path(folder) / "clip.npz")
        capture.save(still)
        moving(capture, CLIP_FRAMES).save(clip)
        yield from _building("avatar", still, None, runs)
        motion = dict.fromkeys(("reduce", "contact_markers", "push_down", "set_rate"), False)
        timing = {"timing": "WHOLE", "tolerance_deg": 0.5, "tolerance_mm": 1.0}
        yield from _building(f"clip of {CLIP_FRAMES} frames", clip, {**motion, **timing}, runs)
        yield from _actions(still, runs)


def moving(capture: Any, frames: int) -> Any:
    """A capture of so many frames, all joints turning a little."""
    names = (
        "expression", "global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose",
        "right_hand_pose", "transl", "joints",
    )  # fmt: skip
    sway = 0.1 * np.sin(np.arange(frames) / 7.0)[:, None]
    arrays = {name: np.repeat(getattr(capture, name)[:1], frames, axis=0) for name in names}
    turned = {name: arrays[name] + sway.astype(np.float32) for name in names if name.endswith(("pose", "orient"))}
    points = {name: np.repeat(rows[:1], frames, axis=0) for name, rows in capture.points.items()}
    empty = np.zeros(0, np.float32)
    return replace(
        capture,
        **{**arrays, **turned},
        points=points,
        confidence=np.ones(frames, np.float32),
        joint_sigma_m=empty.reshape(0, 55),
        joint_sigma_rad=empty.reshape(0, 55),
        frame_times_s=np.arange(frames) / 24.0,
        frame_indices=np.arange(frames),
        mocap_frame_rate=24.0,
    )


def _building(name: str, path: str, motion: dict[str, Any] | None, runs: int) -> Iterator[Measurement]:
    import bpy

    from ...operators.building import result_steps
    from ...operators.jobs import Job
    from ...operators.session import SESSION
    from ...operators.settings import SolverSettings

    slices, evaluations = [], []
    for _ in range(runs + 1):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene.name

        def build(_job: Job, _result: object, scene: str = scene) -> Any:
            return result_steps([path], None, scene, "Photo to Avatar", motion)

        longest = _time(lambda build=build, scene=scene: SESSION.submit(Job(None, "", scene, SolverSettings(), build)))
        evaluation = 0.0
        while SESSION.busy:
            longest = max(longest, _time(SESSION.poll))
            # In a window each tick is followed by this.
            evaluation = max(evaluation, _time(bpy.context.view_layer.update))
        assert not SESSION.status.error, SESSION.status.error
        slices.append(longest)
        evaluations.append(evaluation)
    # The first one also imports and warms up.
    yield Measurement(f"longest block, {name}: own work", tuple(slices[1:]), budget=BUDGET_S)
    yield Measurement(f"longest block, {name}: evaluation", tuple(evaluations[1:]), budget=BUDGET_S)


def _actions(path: str, runs: int) -> Iterator[Measurement]:
    import bpy

    from ...operators.avatars import mesh_of
    from ...operators.correcting import LIVE
    from ...operators.settings import SolverSettings, solver_settings
    from ...operators.shape import set_shape
    from ...scene.from_file import avatars_from_files

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    rig = avatars_from_files([path], None, scene)[0].armature
    assert solver_settings(bpy.context) == SolverSettings()
    now = LIVE.pose(bpy.context, rig)
    eye = rig["pantomime_camera"]

    def apply() -> None:
        from ...scene.current import apply_pose

        apply_pose(rig, LIVE.body_of(rig, bpy.context), now, eye, {"left_wrist", "left_elbow", "left_shoulder"})
        bpy.context.view_layer.update()

    def shape() -> None:
        set_shape(rig, measure="height", value=175.0 + np.random.default_rng().uniform())
        bpy.context.view_layer.update()

    def face() -> None:
        mesh_of(rig).data.shape_keys.key_blocks["jawOpen"].value = np.random.default_rng().uniform()
        bpy.context.view_layer.update()

    things: tuple[tuple[str, Callable[[], object]], ...] = (
        ("block, reading the pose for a correction", lambda: LIVE.pose(bpy.context, rig)),
        ("block, a correction onto the bones, evaluated", apply),
        ("block, a measure of the shape, evaluated", shape),
        ("block, a slider of the face, evaluated", face),
        ("block, an undo step", lambda: bpy.ops.ed.undo_push(message="step")),
    )
    for name, action in things:
        action()
        yield Measurement(name, tuple(_time(action) for _ in range(runs)), budget=BUDGET_S)


def _time(action: Callable[[], object]) -> float:
    start = Clock.now()
    action()
    return Clock.now() - start
