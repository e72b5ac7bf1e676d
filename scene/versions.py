"""What differs between the Blender versions that are supported (4.2 to 5.2), each difference once."""

from __future__ import annotations

from typing import Any

import bpy


def channel_curves(action: bpy.types.Action, target: bpy.types.ID) -> Any:
    """The F-curve collection of `action` that animates `target`, and `target` bound to it.

    4.4 brought slots and layers; 5.0 removed `Action.fcurves`.
    """
    if target.animation_data is None:
        target.animation_data_create()
    target.animation_data.action = action
    if not hasattr(action, "slots"):
        return action.fcurves
    slot = next((s for s in action.slots if s.target_id_type == target.id_type), None)
    if slot is None:
        slot = action.slots.new(id_type=target.id_type, name=target.name)
    target.animation_data.action_slot = slot
    layer = action.layers[0] if action.layers else action.layers.new("Layer")
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True).fcurves


def new_curve(curves: Any, data_path: str, index: int = 0, group: str = "") -> bpy.types.FCurve:
    """A new F-curve in what `channel_curves` gave, in the channel group named `group`."""
    known = curves.bl_rna.functions["new"].parameters.keys()
    name = next((name for name in ("group_name", "action_group") if name in known), None)
    return curves.new(data_path, index=index, **({name: group} if name else {}))


def compositing_off(scene: bpy.types.Scene) -> None:
    """No compositing nodes in `scene`: `use_nodes` does nothing since 5.0 and goes in 6.0."""
    scene.render.use_compositing = False
    if bpy.app.version < (5, 0, 0):
        scene.use_nodes = False
