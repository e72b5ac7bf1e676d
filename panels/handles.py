"""Points over the photo, to be dragged: drawn, highlighted and picked by a gizmo; the drag is an operator of its own.

One gizmo stands for all points, so that the pointer is asked for once a move, not once a point. A ring is a point as it
was seen, its strength how sure that is; a filled disc is a pin; grey is locked.
"""

from __future__ import annotations

import itertools
import math

import bpy

from ..operators.avatars import refusal
from ..operators.dragging import PANTOMIME_OT_drag_point, PANTOMIME_OT_unpin_point
from ..operators.notify import translated
from ..operators.points import Spot, in_view, scale_of, settings_of, spot_at, spots

Color = tuple[float, float, float, float]

LEFT: tuple[float, float, float] = (0.30, 0.75, 1.00)
RIGHT: tuple[float, float, float] = (1.00, 0.58, 0.22)
MIDDLE: tuple[float, float, float] = (0.55, 0.95, 0.45)
GREY: tuple[float, float, float] = (0.62, 0.62, 0.62)
KEYMAP = "Pantomime points"
DARK: Color = (0.0, 0.0, 0.0, 0.55)
RADIUS_PX = {"body": 6.5, "hand": 4.5, "face": 4.0}
ROUND = 20
TEXT_PX = 12
# Lines between the body's points, by their names.
STICKS = tuple(
    (f"{side} {a}", f"{side} {b}")
    for side in ("left", "right")
    for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "index"), ("hip", "knee"), ("knee", "ankle"),
        ("ankle", "heel"), ("ankle", "toes"), ("shoulder", "hip"),
    )
) + (("left shoulder", "right shoulder"), ("left hip", "right hip"))  # fmt: skip


class PANTOMIME_GT_points(bpy.types.Gizmo):
    bl_idname = "PANTOMIME_GT_points"

    __slots__ = ("hovered",)

    def setup(self) -> None:
        self.hovered: tuple[str, int] | None = None

    def test_select(self, context: bpy.types.Context, location: tuple[int, int]) -> int:
        handle = spot_at(context, location)
        self.hovered = None if handle is None else handle.point
        # A number for each point, so that Blender draws anew when the pointer goes from one to the next.
        return -1 if handle is None else 1 + hash(handle.point) % 1_000_000

    def draw(self, context: bpy.types.Context) -> None:
        from ..operators.correcting import LIVE

        hovered = self.hovered if self.is_highlight else None
        if LIVE.drag is not None:
            hovered = LIVE.drag.point
        draw_points(context, hovered)


class PANTOMIME_GGT_points(bpy.types.GizmoGroup):
    bl_idname = "PANTOMIME_GGT_points"
    bl_label = "Points of a photo"
    bl_space_type = "VIEW_3D"
    bl_region_type = "WINDOW"
    bl_options = {"PERSISTENT", "SHOW_MODAL_ALL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        settings = settings_of(context)
        return settings is not None and settings.on and not refusal(context) and in_view(context)

    @classmethod
    def setup_keymap(cls, keyconfig: bpy.types.KeyConfig) -> bpy.types.KeyMap:
        keymap = keyconfig.keymaps.new(name=KEYMAP, space_type="VIEW_3D", region_type="WINDOW")
        items = keymap.keymap_items
        items.new(PANTOMIME_OT_drag_point.bl_idname, "LEFTMOUSE", "PRESS", any=True)
        for key in ("RIGHTMOUSE", "X", "DEL"):
            items.new(PANTOMIME_OT_unpin_point.bl_idname, key, "PRESS")
        return keymap

    def setup(self, _context: bpy.types.Context) -> None:
        self.gizmos.new(PANTOMIME_GT_points.bl_idname)


def draw_points(context: bpy.types.Context, hovered: tuple[str, int] | None) -> None:
    """Draw all points of the active avatar in this region."""
    import gpu

    found = spots(context)
    if not found:
        return
    scale = scale_of(context)
    gpu.state.blend_set("ALPHA")
    _sticks(found).draw(1.5 * scale)
    rings, outlines, discs, to_body = _Lines(), _Lines(), _Discs(), _Lines()
    for spot in found:
        active = spot.point == hovered
        radius = RADIUS_PX[spot.group] * scale * (1.35 if active else 1.0)
        hue = _hue(spot)
        color = (*hue, 1.0 if active or spot.pinned else 0.25 + 0.75 * spot.confidence)
        if active and not spot.pinned:
            to_body.add(spot.at, spot.body_at, (1.0, 1.0, 1.0, 0.6))
        if spot.pinned:
            discs.add(spot.at, radius + 1.5 * scale, (1.0, 1.0, 1.0, 0.9))
            discs.add(spot.at, radius, color)
        else:
            discs.add(spot.at, radius, (*hue, 0.35 if active else 0.10))
            outlines.circle(spot.at, radius, DARK)
            rings.circle(spot.at, radius, color)
    to_body.draw(1.5 * scale)
    discs.draw()
    outlines.draw(4.0 * scale)
    rings.draw(2.0 * scale)
    for spot in found:
        if spot.point == hovered:
            _label(spot, scale)
    gpu.state.blend_set("NONE")


def _sticks(found: list[Spot]) -> _Lines:
    """Thin lines from point to point along the limbs."""
    lines = _Lines()
    by_name = {spot.name: spot for spot in found if spot.group == "body"}
    for names in STICKS:
        if all(name in by_name for name in names):
            a, b = (by_name[name] for name in names)
            sure = min(1.0 if spot.pinned else spot.confidence for spot in (a, b))
            lines.add(a.at, b.at, (*_hue(a), 0.12 + 0.3 * sure))
    return lines


def _label(spot: Spot, scale: float) -> None:
    import blf

    text = translated(f"{spot.title}, not seen")
    if spot.pinned:
        text = translated(f"{spot.title}, pinned")
    elif spot.confidence > 0:
        text = translated(f"{spot.title}, {spot.confidence:.0%} sure")
    font = 0
    blf.size(font, TEXT_PX * scale)
    blf.enable(font, blf.SHADOW)
    blf.shadow(font, 5, 0.0, 0.0, 0.0, 1.0)
    blf.color(font, 1.0, 1.0, 1.0, 1.0)
    blf.position(font, spot.at[0] + 14 * scale, spot.at[1] + 6 * scale, 0)
    blf.draw(font, text)
    blf.disable(font, blf.SHADOW)


def _hue(spot: Spot) -> tuple[float, float, float]:
    if spot.locked and not spot.pinned:
        return GREY
    return {"left": LEFT, "right": RIGHT}.get(spot.side, MIDDLE)


class _Lines:
    """Coloured segments, drawn at once."""

    def __init__(self) -> None:
        self.places: list[tuple[float, float, float]] = []
        self.colors: list[Color] = []

    def add(self, a: tuple[float, float], b: tuple[float, float], color: Color) -> None:
        self.places += [(*a, 0.0), (*b, 0.0)]
        self.colors += [color, color]

    def circle(self, centre: tuple[float, float], radius: float, color: Color) -> None:
        corners = [_on_circle(centre, radius, k) for k in range(ROUND + 1)]
        for a, b in itertools.pairwise(corners):
            self.add(a, b, color)

    def draw(self, width: float) -> None:
        import gpu
        from gpu_extras.batch import batch_for_shader

        if not self.places:
            return
        shader = gpu.shader.from_builtin("POLYLINE_SMOOTH_COLOR")
        shader.bind()
        shader.uniform_float("viewportSize", gpu.state.viewport_get()[2:])
        shader.uniform_float("lineWidth", width)
        batch_for_shader(shader, "LINES", {"pos": self.places, "color": self.colors}).draw(shader)


class _Discs:
    """Filled circles, drawn at once."""

    def __init__(self) -> None:
        self.places: list[tuple[float, float, float]] = []
        self.colors: list[Color] = []

    def add(self, centre: tuple[float, float], radius: float, color: Color) -> None:
        for k in range(ROUND):
            a, b = _on_circle(centre, radius, k), _on_circle(centre, radius, k + 1)
            self.places += [(*centre, 0.0), (*a, 0.0), (*b, 0.0)]
            self.colors += [color] * 3

    def draw(self) -> None:
        import gpu
        from gpu_extras.batch import batch_for_shader

        if not self.places:
            return
        shader = gpu.shader.from_builtin("SMOOTH_COLOR")
        batch_for_shader(shader, "TRIS", {"pos": self.places, "color": self.colors}).draw(shader)


def _on_circle(centre: tuple[float, float], radius: float, k: int) -> tuple[float, float]:
    angle = 2 * math.pi * k / ROUND
    return centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle)


def unregister() -> None:
    """Blender keeps a gizmo's keys."""
    for configuration in bpy.context.window_manager.keyconfigs:
        keymap = configuration.keymaps.get(KEYMAP)
        if keymap is not None:
            configuration.keymaps.remove(keymap)


CLASSES = (PANTOMIME_GT_points, PANTOMIME_GGT_points)
