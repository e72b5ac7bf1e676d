"""What differs between the Blender versions that are supported (4.2 to 5.2), each difference once."""

from __future__ import annotations

from typing import Any

import bpy

# Movies that their metadata turns are shown upright; seen in 4.5 and 5.0, and not in 4.2.
TURNS_CLIPS = bpy.app.version >= (4, 5, 0)
STILL = 1e-7  # a channel that moves less, in metres, radians or key units, gets one key


def channel_curves(action: bpy.types.Action, target: bpy.types.ID) -> Any:
    """The F-curve collection of `action` that animates `target`, and `target` bound to it.

    4.4 brought slots and layers; 5.0 removed `Action.fcurves`.
    """
    if target.animation_data is None:
        target.animation_data_create()
    target.animation_data.action = action
    curves = unbound_curves(action, target.id_type, target.name)
    if hasattr(action, "slots"):
        target.animation_data.action_slot = next(s for s in action.slots if s.target_id_type == target.id_type)
    return curves


def unbound_curves(action: bpy.types.Action, id_type: str, name: str) -> Any:
    """The F-curve collection of `action` for data of `id_type`, in a slot called `name`; bound to nobody."""
    if not hasattr(action, "slots"):
        action.id_root = id_type
        return action.fcurves
    slot = next((s for s in action.slots if s.target_id_type == id_type), None)
    if slot is None:
        slot = action.slots.new(id_type=id_type, name=name)
    layer = action.layers[0] if action.layers else action.layers.new("Layer")
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True).fcurves


def new_curve(curves: Any, data_path: str, index: int = 0, group: str = "") -> bpy.types.FCurve:
    """A new F-curve in what `channel_curves` gave, in the channel group named `group`."""
    known = curves.bl_rna.functions["new"].parameters.keys()
    name = next((name for name in ("group_name", "action_group") if name in known), None)
    return curves.new(data_path, index=index, **({name: group} if name else {}))


def key_curve(
    curves: Any, data_path: str, index: int, group: str, times: Any, values: Any, held: Any = None
) -> bpy.types.FCurve:
    """A curve through `values` (T,) at frames `times` (T,), straight between keys; one key where nothing moves.

    `held` (T,): keys whose value stays until the next one.
    """
    import numpy as np

    if np.ptp(values) <= STILL:
        times, values, held = times[:1], values[:1], None
    curve = new_curve(curves, data_path, index, group)
    points = curve.keyframe_points
    points.add(len(times))
    points.foreach_set("co", np.stack([times, values], axis=1).astype(np.float32).ravel())
    kinds = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items
    interpolation = np.full(len(times), kinds["LINEAR"].value, np.int32)
    if held is not None:
        interpolation[held] = kinds["CONSTANT"].value
    points.foreach_set("interpolation", interpolation)
    curve.update()
    return curve


def merge_keys(owner: bpy.types.ID, data_path: str, index: int, group: str, times: Any, values: Any) -> None:
    """Keys of `owner`'s action at frames `times` (T,), ascending; what lay between the first and the last goes."""
    import numpy as np

    action = owner.animation_data.action if owner.animation_data is not None else None
    curves = channel_curves(action or bpy.data.actions.new(f"{owner.name} action"), owner)
    curve = curves.find(data_path, index=index)
    if curve is None:
        key_curve(curves, data_path, index, group, times, values)
        return
    points = curve.keyframe_points
    old = np.empty(2 * len(points), np.float32)
    points.foreach_get("co", old)
    old = old.reshape(-1, 2)
    new = np.stack([times, values], axis=1).astype(np.float32)
    # Half a frame: a key of the same frame is replaced.
    merged = np.concatenate([old[old[:, 0] < new[0, 0] - 0.5], new, old[old[:, 0] > new[-1, 0] + 0.5]])
    points.clear()
    points.add(len(merged))
    points.foreach_set("co", np.ascontiguousarray(merged).ravel())
    linear = bpy.types.Keyframe.bl_rna.properties["interpolation"].enum_items["LINEAR"].value
    points.foreach_set("interpolation", np.full(len(merged), linear, np.int32))
    curve.update()


def value_before(owner: bpy.types.ID, data_path: str, index: int, frame: float) -> float | None:
    """The value of a curve of `owner`'s action just before a frame; None where there is no curve."""
    action = owner.animation_data.action if owner.animation_data is not None else None
    curve = channel_curves(action, owner).find(data_path, index=index) if action is not None else None
    return None if curve is None else float(curve.evaluate(frame - 0.5))


def push_down(owner: bpy.types.ID, action: bpy.types.Action) -> None:
    """Make `action`, which animates `owner`, a strip on a track of its own in the NLA."""
    data = owner.animation_data
    slot = getattr(data, "action_slot", None)
    track = data.nla_tracks.new()
    track.name = action.name
    strip = track.strips.new(action.name, round(action.frame_range[0]), action)
    if slot is not None:
        strip.action_slot = slot
    data.action = None


def compositing_off(scene: bpy.types.Scene) -> None:
    """No compositing nodes in `scene`: `use_nodes` does nothing since 5.0 and goes in 6.0."""
    scene.render.use_compositing = False
    if bpy.app.version < (5, 0, 0):
        scene.use_nodes = False
