"""How the user is told: status bar, popup, one sentence from an operator's report."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import bpy

# Where a popup breaks its lines, in characters.
POPUP_WIDTH = 70
_drawn: tuple[object, ...] = ()
_templates: list[str] = []


class Shown(Protocol):
    """What the status bar needs to know."""

    running: bool
    urgent: bool
    label: str
    text: str
    fraction: float
    warnings: list[str]

    @property
    def left_s(self) -> float | None: ...


def show(status: Shown) -> None:
    """Status bar and sidebar, in all windows. Of an urgent job nothing is shown, and it is polled often."""
    global _drawn
    if status.running and status.urgent:
        return
    text = None
    if status.running:
        text = f"Pantomime: {bpy.app.translations.pgettext_iface(status.text)}"
        # Some work, such as an exporter's, tells nothing of how far it is.
        text += f" ({status.fraction:.0%})" if status.fraction > 0.0 else ""
    # Drawing the sidebar many times a second, for nothing new, would take longer than what it tells of.
    now = (text, status.left_s and round(status.left_s), status.label, len(status.warnings))
    if text is not None and now == _drawn:
        return
    _drawn = now
    for window in bpy.context.window_manager.windows:
        # Blender writes the text through the context's window, and a timer has none.
        with bpy.context.temp_override(window=window):
            window.workspace.status_text_set(text)
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    # The sidebar alone: drawing the scene anew may take long.
                    if region.type == "UI":
                        region.tag_redraw()


def popup(title: str, texts: Sequence[str]) -> None:
    """Say them where the pointer is: a timer has no operator whose report would be shown."""
    if bpy.app.background or not bpy.context.window_manager.windows:
        return

    def draw(menu: bpy.types.Menu, _context: bpy.types.Context) -> None:
        for text in texts:
            for line in wrapped(translated(text), POPUP_WIDTH):
                menu.layout.label(text=line, translate=False)

    with window_override():
        bpy.context.window_manager.popup_menu(draw, title=bpy.app.translations.pgettext_iface(title), icon="ERROR")


def lookup(text: str) -> str:
    """What Blender's translations have for a text of a report."""
    translations = bpy.app.translations
    found: str = getattr(translations, "pgettext_rpt", translations.pgettext_iface)(text)
    return found


def translated(text: str) -> str:
    """A sentence in the interface's language: as it is known there, or with its names and numbers as `{}`."""
    return _translated(text, bpy.app.translations.locale)


@lru_cache(maxsize=256)
def _translated(text: str, _locale: str) -> str:
    found = lookup(text)
    if found != text:
        return found
    for pattern, template in _patterns():
        filled = pattern.fullmatch(text)
        other = lookup(template) if filled is not None else template
        if filled is not None and other != template:
            return other.format(*filled.groups())
    return text


def know_templates(texts: Iterable[str]) -> None:
    """Texts with `{}` that have translations."""
    # The longest first: “There is no photo {}.” is not to take what belongs to a longer one.
    _templates[:] = sorted((text for text in texts if "{}" in text), key=len, reverse=True)
    _patterns.cache_clear()
    _translated.cache_clear()


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """The templates as patterns; compiled when the first one is needed, not when the extension is enabled."""
    return tuple((re.compile("(.+?)".join(map(re.escape, text.split("{}"))), re.DOTALL), text) for text in _templates)


def refuse(operator: Any, why: str) -> bool:
    """For `poll`: say why not; "" for that it can."""
    if why:
        operator.poll_message_set(lookup(why))
    return not why


def report(operator: Any, kind: str, text: str) -> None:
    """An operator's message, in the interface's language. `kind`: INFO, WARNING, ERROR."""
    operator.report({kind}, translated(text))


def failed(operator: Any, text: str) -> set[str]:
    """What an operator returns that can't: the reason is told."""
    report(operator, "ERROR", text)
    return {"CANCELLED"}


def sentence(report: str) -> str:
    """What an operator's error says to a person: an unforeseen one comes with a traceback, which is for the console."""
    lines = [line for line in report.removeprefix("Error:").splitlines() if line.strip()]
    if any("Traceback" in line for line in lines):
        last = next((line for line in reversed(lines) if not line.startswith(("Location", " "))), "")
        return own_error(last.strip())
    return " ".join(" ".join(lines).split())


def own_error(reason: str) -> str:
    """The sentence for an error that is Pantomime's own fault."""
    return f"Pantomime met an error of its own ({reason[:200]}). Report it with the console's text."


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters where words allow it: labels in Blender do not wrap."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def window_override() -> contextlib.AbstractContextManager[object]:
    """A timer runs without a window, and operators and popups want one."""
    windows = bpy.context.window_manager.windows
    if bpy.context.window is not None or not len(windows):
        return contextlib.nullcontext()
    return bpy.context.temp_override(window=windows[0])
