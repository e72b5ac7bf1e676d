"""An avatar's motion as Blender evaluates it: poses and shape key values, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.skeleton import JOINT_NAMES
from .rest import Floats


@dataclass(frozen=True)
class Motion:
    """Poses of the original as Blender evaluates them, constraints and drivers included. T frames."""

    first: int
    poses: Floats  # (T, 55, 4, 4) armature space
    keys: dict[str, NDArray[np.float64]]  # shape key values (T,)


def sample(
    rig: bpy.types.Object, skin: bpy.types.Object | None, scene: bpy.types.Scene, animation: bool = True
) -> Motion:
    """Read the poses of all frames that are animated, or of this one. The scene's frame is put back."""
    keys = skin.data.shape_keys if skin is not None else None
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
        if names:
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
