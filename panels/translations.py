"""The interface in other languages. A file `data/<language>.json` maps each English text to its translation."""

from __future__ import annotations

import json
from pathlib import Path

import bpy

from ..operators import notify

FOLDER = Path(__file__).parent / "data"
# Blender's names of a language, which changed with time.
LOCALES = {"de": ("de_DE", "de")}
# Texts of buttons belong to the context of operators, those that Blender would misunderstand to one of our own, all
# others to the default one.
CONTEXTS = ("*", "Operator", "Pantomime")


def texts(language: str) -> dict[str, str]:
    """English texts and their translations."""
    loaded: dict[str, str] = json.loads((FOLDER / f"{language}.json").read_text("utf-8"))
    return loaded


def register() -> None:
    """Tell Blender of the languages."""
    known = {}
    templates: set[str] = set()
    for language, locales in LOCALES.items():
        own = texts(language)
        entries = {(context, text): other for text, other in own.items() for context in CONTEXTS}
        known.update(dict.fromkeys(locales, entries))
        templates.update(own)
    bpy.app.translations.register(__package__, known)
    notify.know_templates(templates)


def unregister() -> None:
    """Take them back."""
    bpy.app.translations.unregister(__package__)
    notify.know_templates(())
