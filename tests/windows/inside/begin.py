"""Install the zip, test the solver in the preferences."""

from __future__ import annotations

import bpy
from meter import METER
from window import NAME, OUT, TASK, Steps, check, move, part, preferences_of, region, shot, view, window


def install() -> Steps:
    with bpy.context.temp_override(window=window()):
        bpy.ops.extensions.package_install_files(filepath=TASK["zip"], repo="user_default", enable_on_install=True)
    yield 1.0
    check("the zip is installed and enabled", NAME in bpy.context.preferences.addons)
    METER.watch(NAME)
    # Without a graphics card, smooth lines cost most of the time, and would be all that is measured.
    bpy.context.preferences.system.viewport_aa = "OFF"
    if TASK["python"]:
        preferences_of().python = TASK["python"]
    preferences_of().log_folder = str(OUT)
    if TASK["open_panels"]:
        open_panels()
    yield move([500, 400])
    view().spaces.active.show_region_ui = True
    yield 0.5
    try:
        region("UI").active_panel_category = "Pantomime"
    except (AttributeError, TypeError) as error:
        check("the tab Pantomime is there", False, error)
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    yield from shot("01-empty")


def open_panels() -> None:
    """Let no panel be closed when the tab is first drawn."""
    panels = [cls for cls in part("panels").CLASSES if issubclass(cls, bpy.types.Panel)]
    for cls in reversed(panels):
        bpy.utils.unregister_class(cls)
    for cls in panels:
        cls.bl_options = set(getattr(cls, "bl_options", ())) - {"DEFAULT_CLOSED"}
        bpy.utils.register_class(cls)


def preferences() -> Steps:
    with bpy.context.temp_override(window=window()):
        bpy.ops.screen.userpref_show(section="ADDONS")
    bpy.context.window_manager.addon_search = "Pantomime"
    bpy.ops.preferences.addon_expand(module=NAME)
    yield 2.0
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[-1]):
        bpy.ops.pantomime.check_solver()
    checker = part("operators.checks").SOLVER
    yield lambda: not checker.running
    check("the Python solves", not checker.error, checker.error or "; ".join(checker.lines))
    yield from shot("02-preferences")
    if len(bpy.context.window_manager.windows) > 1:
        with bpy.context.temp_override(window=bpy.context.window_manager.windows[-1]):
            bpy.ops.wm.window_close()
    yield 1.0
