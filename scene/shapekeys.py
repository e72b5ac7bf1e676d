"""Shape keys: shape, expression and pose correctives, each an ordinary value between its limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from . import axes
from .steps import MORE, Steps

BASIS = "Basis"
SHAPE_LIMIT = 5.0
SHAPE_MOST = 10.0  # what Blender allows a key


def shape_name(index: int) -> str:
    """The key of beta `index`."""
    return f"Shape{index:03d}"


def shape_key_names(body: BodyModel) -> tuple[str, ...]:
    """The keys of all betas."""
    return tuple(shape_name(k) for k in range(body.num_betas))


def expression_key_names(body: BodyModel) -> tuple[str, ...]:
    """ARKit's names where the body has them, else `Exp000…`."""
    if body.bounded_expression:
        return body.expression_names
    return tuple(f"Exp{k:03d}" for k in range(body.num_expressions))


class KeyWriter:
    """Adds keys to a mesh object as offsets from its basis."""

    def __init__(self, obj: bpy.types.Object) -> None:
        self.obj = obj
        mesh = obj.data
        self._basis = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.vertices.foreach_get("co", self._basis)
        if mesh.shape_keys is None:
            obj.shape_key_add(name=BASIS, from_mix=False)

    def add(self, name: str, offsets: NDArray[np.floating], limits: tuple[float, float]) -> bpy.types.ShapeKey:
        """A key whose value 1 adds `offsets` (V, 3), body axes, metres."""
        key = self.obj.shape_key_add(name=name, from_mix=False)
        key.slider_min, key.slider_max = limits
        key.value = 0.0
        moved = self._basis.copy()
        axes.add_offsets(moved.reshape(-1, 3), offsets)
        key.points.foreach_set("co", moved)
        return key


def add_shape_and_expression(writer: KeyWriter, body: BodyModel) -> Steps[None]:
    """`Shape000…` in −5…5; expressions in 0…1 (ARKit) or −5…5. In steps."""
    for k in range(body.num_betas):
        writer.add(shape_name(k), body.shapedirs[:, :, k], (-SHAPE_LIMIT, SHAPE_LIMIT))
        yield MORE
    limits = (0.0, 1.0) if body.bounded_expression else (-SHAPE_LIMIT, SHAPE_LIMIT)
    for k, name in enumerate(expression_key_names(body)):
        writer.add(name, body.exprdirs[:, :, k], limits)
        yield MORE


def set_values(mesh: bpy.types.Mesh, names: Sequence[str], values: NDArray[np.floating]) -> None:
    """Set keys by name; a value beyond a key's limits widens them, else Blender would clamp it."""
    blocks: Any = mesh.shape_keys.key_blocks
    for name, value in zip(names, np.asarray(values, np.float64).tolist(), strict=False):
        widen(blocks[name], value, value)
        blocks[name].value = value


def widen(key: bpy.types.ShapeKey, low: float, high: float) -> None:
    """Let `key` reach from `low` to `high` at least; it is 10 at most that Blender allows."""
    key.slider_min = min(key.slider_min, low)
    key.slider_max = max(key.slider_max, high)


def get_values(mesh: bpy.types.Mesh, names: Sequence[str]) -> NDArray[np.float32]:
    """The values of keys by name, (N,). A key that was removed does nothing any more: 0."""
    blocks: Any = mesh.shape_keys.key_blocks
    # All at once: Blender searches its list for each name.
    values = np.empty(len(blocks), np.float32)
    blocks.foreach_get("value", values)
    known = dict(zip(blocks.keys(), values.tolist(), strict=True))
    return np.array([known.get(name, 0.0) for name in names], np.float32)
