"""The interface in other languages. A file `data/<language>.json` maps each English text to its translation."""

from __future__ import annotations

import json
from pathlib import Path

import bpy

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
    for language, locales in LOCALES.items():
        entries = {(context, text): other for text, other in texts(language).items() for context in CONTEXTS}
        known.update(dict.fromkeys(locales, entries))
    bpy.app.translations.register(__package__, known)


def unregister() -> None:
    """Take them back."""
    bpy.app.translations.unregister(__package__)
