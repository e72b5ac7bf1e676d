"""What can be done, thin: settings → a call → a report. Importing this needs bpy, and nothing heavy.

A module lists its classes in `CLASSES`; one that keeps more than classes has `register` and `unregister`.
"""

from __future__ import annotations

import bpy

from . import (
    avatars,
    bodies,
    capture_settings,
    checks,
    correct,
    dragging,
    expression,
    photo,
    pose,
    retarget,
    shape,
    texture,
    ticking,
    use,
    video,
    warming,
)

# Those that others build on first.
MODULES = (
    ticking,
    avatars,
    bodies,
    capture_settings,
    photo,
    correct,
    dragging,
    checks,
    use,
    texture,
    retarget,
    shape,
    pose,
    expression,
    video,
    warming,
)
CLASSES = tuple(cls for module in MODULES for cls in getattr(module, "CLASSES", ()))


def register() -> None:
    """Make the operators known to Blender."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    for module in MODULES:
        if hasattr(module, "register"):
            module.register()


def unregister() -> None:
    """End the worker and take the operators back."""
    for module in reversed(MODULES):
        if hasattr(module, "unregister"):
            module.unregister()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
