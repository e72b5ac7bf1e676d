"""What is drawn: the sidebar, the preferences, the menus. A module lists its classes in `CLASSES`, parents first."""

from __future__ import annotations

import bpy

from . import (
    avatar,
    capture,
    correct,
    handles,
    menus,
    preferences,
    translations,
    use,
    video,
)

# Those that others build on first.
MODULES = (
    preferences,
    capture,
    video,
    avatar,
    correct,
    handles,
    use,
)
CLASSES = tuple(cls for module in MODULES for cls in module.CLASSES)


def register() -> None:
    """Show the interface."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    menus.register()
    translations.register()


def unregister() -> None:
    """Take the interface away."""
    translations.unregister()
    menus.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
    handles.unregister()
