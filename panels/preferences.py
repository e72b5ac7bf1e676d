"""The extension's preferences: which Python solves, which bodies and models, how many threads."""

from __future__ import annotations

import os

import bpy
from bpy.props import IntProperty, StringProperty

from ..operators.session import SESSION
from ..operators.settings import ROOT_PACKAGE

LOG_LINES = 8


class PANTOMIME_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = ROOT_PACKAGE

    python: StringProperty(
        name="Python of the solver",
        description="A Python interpreter that has Pantomime's packages. Empty: Blender's own",
        subtype="FILE_PATH",
    )
    body_folder: StringProperty(
        name="Licensed bodies",
        description="A folder with SMPL-X model files, such as SMPLX_NEUTRAL.npz. Empty: the free body",
        subtype="DIR_PATH",
    )
    models_folder: StringProperty(
        name="Detector models",
        description="A folder with MediaPipe's official .task files. Empty: the usual models",
        subtype="DIR_PATH",
    )
    cache_folder: StringProperty(
        name="Cache",
        description="Where the detector's models are kept. Empty: the user's cache folder",
        subtype="DIR_PATH",
    )
    threads: IntProperty(
        name="Threads",
        description="How many threads the solver may use. One is enough for a photo, and leaves the rest to Blender",
        default=1,
        min=1,
        soft_max=os.cpu_count() or 1,
    )

    def draw(self, _context: bpy.types.Context) -> None:
        column = self.layout.column()
        column.use_property_split = True
        for name in ("python", "body_folder", "models_folder", "cache_folder", "threads"):
            column.prop(self, name)
        log = [line for line in SESSION.log.splitlines() if line.strip()][-LOG_LINES:]
        if log:
            box = self.layout.box().column(align=True)
            box.label(text="Log of the solver")
            for line in log:
                box.label(text=line)


CLASSES = (PANTOMIME_AP_preferences,)
