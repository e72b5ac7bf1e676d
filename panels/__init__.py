"""What is drawn: the sidebar, the preferences, the menus."""

from __future__ import annotations

import bpy

from . import menus, preferences, sidebar

CLASSES = (*preferences.CLASSES, *sidebar.CLASSES)


def register() -> None:
    """Show the interface."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    menus.register()


def unregister() -> None:
    """Take the interface away."""
    menus.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
