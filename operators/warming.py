"""Start the solver before it is asked for: when the tab is looked at, a file dialog opens, a file hangs over the view.

The first photo then takes as long as any other. In background mode nothing is done early.
"""

from __future__ import annotations

from dataclasses import replace

import bpy

from . import bodies
from .capture_settings import photo_settings
from .session import SESSION
from .settings import solver_settings

# Of Blender's first drawing of the tab: let it come up before.
SOON_S = 0.5


def warm_soon(delay_s: float = SOON_S) -> None:
    """Start the solver a moment later. May be called from `draw` and `poll`: costs nothing where that has happened."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_warm):
        bpy.app.timers.register(_warm, first_interval=delay_s)


def _warm() -> None:
    context = bpy.context
    solver, settings = solver_settings(context), photo_settings(context.scene)
    if settings.free_body:
        solver = replace(solver, body=None)
    SESSION.warm(solver, settings.gender, settings.quality)
    if settings.gender != "auto":
        bodies.read_early(solver.body, settings.gender if solver.body else "neutral")


def unregister() -> None:
    """Leave nothing."""
    if bpy.app.timers.is_registered(_warm):
        bpy.app.timers.unregister(_warm)
