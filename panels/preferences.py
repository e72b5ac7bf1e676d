"""The extension's preferences: which Python solves and where, which bodies and models, cache and log."""

from __future__ import annotations

import os
from collections.abc import Iterable

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty

from ..operators import checks
from ..operators.session import SESSION
from ..operators.settings import ROOT_PACKAGE, lacks_solver, log_path
from .sidebar import ICON_PX, broken

LOG_LINES = 8
# Of the width of the preferences' window, what is left for a line of text.
TEXT_PART = 0.8


class PANTOMIME_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = ROOT_PACKAGE

    python: StringProperty(
        name="Python",
        description="A Python interpreter that has Pantomime's packages, or the folder of its environment. "
        "Empty: Blender's own",
        subtype="FILE_PATH",
    )
    device: EnumProperty(
        name="Device",
        description="Where the solver computes. One photo takes as long on a graphics card",
        items=(
            ("CPU", "CPU", "The processor: works everywhere"),
            ("CUDA", "CUDA", "A graphics card by NVIDIA, with a build of torch for it"),
            ("MPS", "MPS", "The graphics part of Apple's processors"),
        ),
        default="CPU",
    )
    threads: IntProperty(
        name="Threads",
        description="How many threads the solver may use. One is enough for a photo, and leaves the rest to Blender",
        default=1,
        min=1,
        soft_max=os.cpu_count() or 1,
    )
    body_folder: StringProperty(
        name="Folder",
        description="A folder with SMPL-X model files, such as SMPLX_NEUTRAL.npz. Empty: the free body",
        subtype="DIR_PATH",
        update=checks.forget,
    )
    models_folder: StringProperty(
        name="Folder",
        description="A folder with MediaPipe's official .task files. Empty: the usual models",
        subtype="DIR_PATH",
        update=checks.forget,
    )
    cache_folder: StringProperty(
        name="Cache",
        description="Where the detector's models are kept. Empty: the user's cache folder",
        subtype="DIR_PATH",
        update=checks.forget,
    )
    log_folder: StringProperty(
        name="Log",
        description="Where the solver's log is written. Empty: Blender's temporary folder",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        for name, title, draw in (
            ("solver", "Solver", self._draw_solver),
            ("bodies", "Licensed Bodies", self._draw_bodies),
            ("models", "Detector Models", self._draw_models),
            ("files", "Files", self._draw_files),
        ):
            header, body = self.layout.panel(f"PANTOMIME_preferences_{name}")
            header.label(text=title, text_ctxt="Pantomime")
            if body is not None:
                body.use_property_split = True
                body.use_property_decorate = False
                draw(body, context)

    def _draw_solver(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        layout.prop(self, "python")
        _value_side(layout).operator(checks.PANTOMIME_OT_check_solver.bl_idname, text="Test", icon="PLAY")
        report = checks.SOLVER
        if report.running:
            _found(layout, context, [checks.Line("Testing the solver, which takes some seconds", "SORTTIME")])
        elif report.error:
            _found(layout, context, [checks.Line(report.error, "ERROR")])
        elif report.lines:
            _found(layout, context, [checks.Line(", ".join(report.lines), "CHECKMARK")])
        elif lacks_solver(context):
            text = "This zip has no packages for Blender's own Python. Choose one that has them, then press Test"
            _found(layout, context, [checks.Line(text, "INFO")])
        devices = _value_side(layout, "Device").row(align=True)
        for item in ("CPU", "CUDA", "MPS"):
            choice = devices.row(align=True)
            choice.enabled = not report.devices or item.lower() in report.devices
            choice.prop_enum(self, "device", item)
        if report.devices and self.device.lower() not in report.devices:
            text = f"{self.device} was not found by the test. Choose another device"
            _found(layout, context, [checks.Line(text, "ERROR")])
        layout.prop(self, "threads")

    def _draw_bodies(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        row = layout.row(align=True)
        row.prop(self, "body_folder")
        row.operator(checks.PANTOMIME_OT_look_again.bl_idname, text="", icon="FILE_REFRESH")
        lines = checks.bodies_lines(self.body_folder)
        _found(layout, context, lines or [checks.Line("No folder: avatars have the free body", "INFO")])

    def _draw_models(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        row = layout.row(align=True)
        row.prop(self, "models_folder")
        row.operator(checks.PANTOMIME_OT_look_again.bl_idname, text="", icon="FILE_REFRESH")
        _found(layout, context, checks.models_lines(self.models_folder, self.cache_folder))

    def _draw_files(self, layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
        row = layout.row(align=True)
        row.prop(self, "cache_folder")
        _open_button(row, checks.cache_path(self.cache_folder))
        row.operator(checks.PANTOMIME_OT_clear_cache.bl_idname, text="", icon="TRASH")
        row = layout.row(align=True)
        row.prop(self, "log_folder")
        _open_button(row, os.path.dirname(log_path()))
        log = [line for line in SESSION.log.splitlines() if line.strip()][-LOG_LINES:]
        if log:
            box = layout.box().column(align=True)
            for line in log:
                box.label(text=line, translate=False)


def _open_button(row: bpy.types.UILayout, folder: str) -> None:
    button = row.row(align=True)
    button.enabled = os.path.isdir(folder)
    button.operator("wm.path_open", text="", icon="FOLDER_REDIRECT").filepath = folder


def _value_side(layout: bpy.types.UILayout, name: str = "") -> bpy.types.UILayout:
    """The side where values stand, for what is no property of its own line."""
    split = layout.split(factor=0.4)
    split.use_property_split = False
    label = split.column()
    label.alignment = "RIGHT"
    label.label(text=name)
    return split.column(align=True)


def _found(layout: bpy.types.UILayout, context: bpy.types.Context, lines: Iterable[checks.Line]) -> None:
    """Lines below a property, where its value stands."""
    scale = context.preferences.system.ui_scale
    room = TEXT_PART * 0.6 * context.region.width - scale * ICON_PX
    size = scale * context.preferences.ui_styles[0].widget.points
    column = _value_side(layout)
    column.scale_y = 0.9
    for line in lines:
        text = bpy.app.translations.pgettext_iface(line.text)
        for number, part in enumerate(broken(text, room, size)):
            column.label(text=part, icon=line.icon if number == 0 else "BLANK1", translate=False)


CLASSES = (PANTOMIME_AP_preferences,)
