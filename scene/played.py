"""What an avatar's action makes of its bones at some times, without playing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np

from . import axes, versions
from .rest import Floats


def curves(rig: bpy.types.Object, name: str, channel: str, number: int) -> list[Any]:
    """The curves of a bone's channel, None where there is none."""
    known = versions.channel_curves(rig.animation_data.action, rig)
    path = rig.pose.bones[name].path_from_id(channel)
    return [known.find(path, index=index) for index in range(number)]


def values(rig: bpy.types.Object, name: str, channel: str, number: int, times: Floats) -> Floats:
    """A bone's channel (T, number); one without keys is as it is."""
    found, still = curves(rig, name, channel, number), getattr(rig.pose.bones[name], channel)
    return np.array([[still[k] if c is None else c.evaluate(t) for k, c in enumerate(found)] for t in times])


def matrices(quaternions: Floats, places: Floats) -> Floats:
    """A bone's own matrices (T, 4, 4) from its channels (T, 4) and (T, 3)."""
    turns = quaternions / np.maximum(np.linalg.norm(quaternions, axis=-1, keepdims=True), 1e-12)
    own = np.tile(np.eye(4), (len(turns), 1, 1))
    own[:, :3, :3] = axes.rotation_matrices(axes.axis_angle_of(turns))
    own[:, :3, 3] = places
    return own


def in_armature(rig: bpy.types.Object, names: Sequence[str], parents: Sequence[int], own: Sequence[Floats]) -> Floats:
    """Matrices (T, J, 4, 4) in armature space of J bones from their own ones, (T, 4, 4) each.

    parents: where in `names`, and before it, each bone's parent stands; −1 for none.
    """
    rests = [np.array(rig.data.bones[name].matrix_local, np.float64) for name in names]
    whole: list[Floats] = []
    for rest, parent, matrices in zip(rests, parents, own, strict=True):
        whole.append((rest if parent < 0 else whole[parent] @ np.linalg.inv(rests[parent]) @ rest) @ matrices)
    return np.stack(whole, axis=1)
