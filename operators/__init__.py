"""What can be done, thin: settings → a call → a report. Importing this needs bpy, and nothing heavy."""

from __future__ import annotations

import bpy

from . import photo, session

CLASSES = (*photo.CLASSES,)


def register() -> None:
    """Make the operators known to Blender."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    session.register()


def unregister() -> None:
    """End the worker and take the operators back."""
    session.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
