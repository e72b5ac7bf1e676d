# SPDX-License-Identifier: GPL-3.0-or-later
"""Pantomime: one photo in, a posed, rigged, shape-keyed human avatar out.

Inside Blender this is the extension's entry; outside it is an ordinary package, importable without bpy.
"""

from __future__ import annotations

__version__ = "0.1.0"


def register() -> None:
    """Blender calls this when the extension is enabled."""
    from . import operators, panels

    operators.register()
    panels.register()


def unregister() -> None:
    """Blender calls this when the extension is disabled."""
    from . import operators, panels

    panels.unregister()
    operators.unregister()
