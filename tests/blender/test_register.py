"""Registering the extension shows it, unregistering leaves nothing, and neither loads anything heavy."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import bpy
import pytest

import pantomime


def traces() -> dict[str, Any]:
    """Everything in Blender that a registration may change."""
    handlers = {
        name: list(getattr(bpy.app.handlers, name))
        for name in dir(bpy.app.handlers)
        if isinstance(getattr(bpy.app.handlers, name), list)
    }
    keymaps = {}
    for configuration in bpy.context.window_manager.keyconfigs:
        for keymap in configuration.keymaps:
            keymaps[configuration.name, keymap.name, keymap.space_type] = len(keymap.keymap_items)
    owners = (bpy.types.Scene, bpy.types.Object, bpy.types.WindowManager, bpy.types.Armature, bpy.types.Camera)
    return {
        "types": {name for name in dir(bpy.types) if "pantomime" in name.lower()},
        "classes": {
            cls.__name__
            for base in (
                bpy.types.Operator,
                bpy.types.Panel,
                bpy.types.Menu,
                bpy.types.AddonPreferences,
                bpy.types.PropertyGroup,
                bpy.types.FileHandler,
            )
            for cls in base.__subclasses__()
            if cls.is_registered
        },
        "operators": set(dir(bpy.ops.pantomime)),
        "properties": {owner.__name__: set(owner.bl_rna.properties.keys()) for owner in owners},
        "handlers": handlers,
        "import menu": [draw.__module__ for draw in bpy.types.TOPBAR_MT_file_import._dyn_ui_initialize()],
        "keymaps": keymaps,
        "threads": {thread.name for thread in threading.enumerate()},
    }


@pytest.mark.usefixtures("empty_file")
def test_registering_and_unregistering_twice_leaves_nothing_behind() -> None:
    from pantomime.operators import ticking

    before = traces()
    for _ in range(2):
        pantomime.register()
        during = traces()
        assert during["types"] and during["operators"] > before["operators"]
        assert len(during["import menu"]) == len(before["import menu"]) + 1
        assert "PANTOMIME_PT_capture" in dir(bpy.types)
        pantomime.unregister()
        assert traces() == before
        assert not bpy.app.timers.is_registered(ticking._tick)


@pytest.mark.usefixtures("extension")
def test_the_sidebar_the_menu_and_the_operators_are_there() -> None:
    panel = bpy.types.PANTOMIME_PT_capture
    assert (panel.bl_space_type, panel.bl_region_type, panel.bl_category) == ("VIEW_3D", "UI", "Pantomime")
    drawn = [draw.__module__ for draw in bpy.types.TOPBAR_MT_file_import._dyn_ui_initialize()]
    assert "pantomime.panels.menus" in drawn
    operator = bpy.ops.pantomime.photo_to_avatar.get_rna_type()
    assert operator.properties["filepath"].subtype == "FILE_PATH"
    assert "UNDO" in bpy.ops.pantomime.import_capture.bl_options


@pytest.mark.usefixtures("extension")
def test_texts_follow_the_manners_of_blender() -> None:
    """Tooltips end without a full stop, and everything that can be pressed has one."""
    for name in dir(bpy.ops.pantomime):
        rna = getattr(bpy.ops.pantomime, name).get_rna_type()
        assert rna.description and not rna.description.endswith("."), name
        for prop in rna.properties:
            assert not prop.description.endswith("."), (name, prop.identifier)
    preferences = bpy.types.AddonPreferences.bl_rna_get_subclass_py("PANTOMIME_AP_preferences")
    own = [prop for prop in preferences.bl_rna.properties if prop.identifier in preferences.__annotations__]
    assert len(own) >= 5
    for prop in own:
        assert prop.description and not prop.description.endswith("."), prop.identifier


def test_registering_loads_nothing_heavy() -> None:
    code = (
        "import sys, bpy, pantomime\n"
        "before = set(sys.modules)\n"
        "pantomime.register(); pantomime.unregister()\n"
        "new = set(sys.modules) - before\n"
        "heavy = ('torch', 'cv2', 'mediapipe', 'scipy', 'numpy', 'PIL', 'roma', 'smplx')\n"
        "light = ('pantomime.scene', 'pantomime.scene.identity')\n"
        "mine = [m for m in new if ('.scene' in m or '.fitting' in m) and m not in light]\n"
        "print(sorted([*mine, *(m for m in new if m.split('.')[0] in heavy)]))\n"
        "print(sorted(m for m in ('torch', 'cv2', 'mediapipe') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"]
