"""An avatar's motion as Blender evaluates it: poses and shape key values, frame by frame."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.skeleton import JOINT_NAMES, PARENTS
from . import axes, versions
from .rest import Floats
from .steps import MORE, Steps, finish

STEP_S = 0.02


@dataclass(frozen=True)
class Motion:
    """Poses of the original as Blender evaluates them, constraints and drivers included. T frames."""

    first: int
    poses: Floats  # (T, 55, 4, 4) armature space
    keys: dict[str, NDArray[np.float64]]  # shape key values (T,)


def sample(rig: bpy.types.Object, skin: bpy.types.Object, scene: bpy.types.Scene, animation: bool = True) -> Motion:
    """Read the poses of all frames that are animated, or of this one. The scene's frame is put back."""
    keys = skin.data.shape_keys
    frames = frame_range(rig, keys) if animation else None
    layer = layer_with(scene, rig)
    before = scene.frame_current, scene.frame_subframe
    poses, values = [], []
    names = [block.name for block in keys.key_blocks] if keys else []

    def take() -> None:
        layer.update()
        graph = layer.depsgraph
        bones = rig.evaluated_get(graph).pose.bones
        poses.append([np.array(bones[name].matrix) for name in JOINT_NAMES])
        if keys is not None:
            blocks = (skin.evaluated_get(graph).data.shape_keys or keys).key_blocks
            values.append([blocks[name].value if not blocks[name].mute else 0.0 for name in names])

    if frames is None:
        take()
    else:
        try:
            for frame in range(frames[0], frames[1] + 1):
                scene.frame_set(frame)
                take()
        finally:
            scene.frame_set(before[0], subframe=before[1])
    table = np.array(values, np.float64).reshape(len(poses), len(names))
    first = frames[0] if frames else 1
    return Motion(first, np.array(poses, np.float64), {name: table[:, k] for k, name in enumerate(names)})


class Alone:
    """A scene of its own for an armature: evaluating it there costs little, as its mesh is not, and needs no layer of
    the user's that shows it. It is gone afterwards. `played` False: channels count as they stand, whatever is keyed."""

    def __init__(self, rig: bpy.types.Object, scene: bpy.types.Scene, played: bool = True) -> None:
        self._rig, self._frame = rig, (scene.frame_current, scene.frame_subframe)
        # Without the time, what is animated falls back to the channels as they stand in the user's scene.
        self._refresh = {"OBJECT", "DATA", "TIME"} if played else {"OBJECT", "DATA"}

    def __enter__(self) -> Alone:
        self._scene = bpy.data.scenes.new("Pantomime")
        self._scene.collection.objects.link(self._rig)
        self.go_to(*self._frame)
        return self

    def __exit__(self, *_: object) -> None:
        bpy.data.scenes.remove(self._scene)

    def go_to(self, frame: int, subframe: float = 0.0) -> None:
        """Another frame, for this scene alone."""
        self._scene.frame_set(frame, subframe=subframe)

    def bones(self) -> Any:
        """The pose's bones as they are with the present channels and properties."""
        self._rig.update_tag(refresh=self._refresh)
        layer = self._scene.view_layers[0]
        layer.update()
        return self._rig.evaluated_get(layer.depsgraph).pose.bones


def sample_pose(rig: bpy.types.Object, scene: bpy.types.Scene, animation: bool = True) -> Motion:
    """`sample` without shape keys. The scene is not touched, and its other objects cost nothing."""
    return finish(sample_pose_steps(rig, scene, animation))


def sample_pose_steps(rig: bpy.types.Object, scene: bpy.types.Scene, animation: bool = True) -> Steps[Motion]:
    """`sample_pose` in steps."""
    frames = frame_range(rig, None) if animation else None
    left: list[int | None] = [None] if frames is None else list(range(frames[0], frames[1] + 1))
    poses = []
    while left:
        # Between two steps there is no other scene.
        with Alone(rig, scene) as alone:
            until = time.monotonic() + STEP_S
            while True:
                frame = left.pop(0)
                if frame is not None:
                    alone.go_to(frame)
                bones = alone.bones()
                poses.append([np.array(bones[name].matrix) for name in JOINT_NAMES])
                if not left or time.monotonic() >= until:
                    break
        yield MORE
    return Motion(frames[0] if frames else 1, np.array(poses, np.float64), {})


def basis_of(rig: bpy.types.Object, poses: Floats) -> Floats:
    """Channels (T, 55, 4, 4) of the bones of `rig` at `poses` (T, 55, 4, 4; armature space)."""
    rest = np.array([rig.data.bones[name].matrix_local for name in JOINT_NAMES], np.float64)
    basis = np.empty_like(poses)
    for joint, parent in enumerate(PARENTS):
        local_rest, local = rest[joint], poses[:, joint]
        if parent >= 0:
            local_rest = np.linalg.inv(rest[parent]) @ local_rest
            local = np.linalg.inv(poses[:, parent]) @ local
        basis[:, joint] = np.linalg.inv(local_rest) @ local
    return basis


def key_bones(curves: Any, basis: Floats, frames: NDArray[np.integer]) -> None:
    """Curves of the 55 bones: locations and quaternions of `basis` (T, 55, 4, 4) at `frames` (T,)."""
    turns = basis[..., :3, :3] / np.linalg.norm(basis[..., :3, :3], axis=-2, keepdims=True)
    quaternions = axes.continuous(axes.quaternions_from_matrices(turns))
    for joint, bone in enumerate(JOINT_NAMES):
        path = f'pose.bones["{bone}"]'
        for axis in range(3):
            versions.key_curve(curves, f"{path}.location", axis, bone, frames, basis[:, joint, axis, 3])
        for axis in range(4):
            versions.key_curve(curves, f"{path}.rotation_quaternion", axis, bone, frames, quaternions[:, joint, axis])


def layer_with(scene: bpy.types.Scene, rig: bpy.types.Object) -> bpy.types.ViewLayer:
    """A view layer of `scene` that has the object, the window's first."""
    layers = [bpy.context.view_layer] if bpy.context.scene == scene else []
    layers += list(scene.view_layers)
    return next((layer for layer in layers if rig.name in layer.objects), layers[0])


def frame_range(rig: bpy.types.Object, keys: bpy.types.Key | None) -> tuple[int, int] | None:
    """First and last frame that are animated; None for a still pose."""
    ranges = []
    for owner in (rig, keys):
        data = owner.animation_data if owner is not None else None
        if data is None:
            continue
        if data.action is not None:
            ranges.append(tuple(data.action.frame_range))
        for track in data.nla_tracks:
            ranges += [(strip.frame_start, strip.frame_end) for strip in track.strips if not (strip.mute or track.mute)]
    if not ranges:
        return None
    low, high = int(np.floor(min(r[0] for r in ranges))), int(np.ceil(max(r[1] for r in ranges)))
    return (low, high) if high > low else None
