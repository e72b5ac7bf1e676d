"""What a session works on, and what it has to say, wherever in the sidebar its buttons are."""

from __future__ import annotations

import os

import bpy

from ..operators.jobs import Notice
from ..operators.notify import translated
from ..operators.photo import PANTOMIME_OT_open_log
from ..operators.session import Session
from ..operators.settings import ROOT_PACKAGE
from .sidebar import paragraph

ICONS = {"done": "CHECKMARK", "warning": "INFO", "error": "ERROR"}
# More would push everything else out of the sidebar.
MOST_NOTICES = 6


def works(session: Session) -> bool:
    """Whether something runs that is shown."""
    return session.status.running and not session.status.urgent


def notices_at(session: Session, place: str = "") -> list[Notice]:
    """What is shown at a place of the sidebar."""
    return [notice for notice in session.notices if notice.place == place][-MOST_NOTICES:]


def draw_progress(
    layout: bpy.types.UILayout, session: Session, cancel: str, icon: str = "IMAGE_DATA", place: str = ""
) -> None:
    """What runs and is shown at this place, with its stage, time left, and a button of the operator `cancel`."""
    status = session.status
    if not works(session) or status.place != place:
        return
    box = layout.box().column()
    box.label(text=status.label, icon=icon, translate=False)
    translate = bpy.app.translations.pgettext_iface
    text, left = translate(status.text), status.left_s
    if left is not None:
        text += ", " + translate("{} s left").format(max(1, round(left)))
    box.progress(factor=status.shown_fraction, text=text, translate=False)
    if session.waiting:
        box.label(text=translate("{} more waiting").format(len(session.waiting)), translate=False)
    box.operator(cancel, icon="CANCEL")


def draw_notices(layout: bpy.types.UILayout, context: bpy.types.Context, session: Session, place: str = "") -> None:
    """What was said at this place of the last jobs, and a button for the log that says more of what failed."""
    notices = notices_at(session, place)
    for notice in notices:
        _draw_notice(layout, context, notice)
    # Sentences that end with the preferences come from the solver's side, too, as plain texts.
    if any(notice.kind == "error" and "the preferences" in notice.text for notice in notices):
        draw_preferences_button(layout)
    log = next((notice.log for notice in reversed(notices) if notice.log), "")
    if log:
        layout.operator(PANTOMIME_OT_open_log.bl_idname, text="Open the log", icon="TEXT").of = log


def draw_preferences_button(layout: bpy.types.UILayout) -> None:
    """Leads to the extension's own preferences."""
    layout.operator("preferences.addon_show", text="Open the preferences", icon="PREFERENCES").module = ROOT_PACKAGE


def _draw_notice(layout: bpy.types.UILayout, context: bpy.types.Context, notice: Notice) -> None:
    text = translated(notice.text)
    # Errors of one photo of several would otherwise not say of which.
    if notice.kind == "error" and notice.label and os.path.basename(notice.label) not in text:
        text = f"{notice.label}: {text}"
    paragraph(layout, context, text, ICONS[notice.kind])
