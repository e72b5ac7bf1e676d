"""Texts in the sidebar are broken before Blender would cut them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import blf
import pytest

from pantomime.operators import notify, settings
from pantomime.operators.jobs import Job, JobError
from pantomime.operators.session import Session
from pantomime.operators.settings import SolverSettings
from pantomime.panels.progress import draw_notices, notices_at
from pantomime.panels.sidebar import broken, paragraph
from pantomime.scene.steps import PAUSE

POINTS = 11.0
ERROR = (
    "nasa_astronaut.png: The solver was ended from outside (SIGKILL), perhaps for lack of memory. "
    "Close other programs and try again."
)


class Column:
    """What a panel would show."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.buttons: list[str] = []

    def operator(self, identifier: str, **_: Any) -> SimpleNamespace:
        self.buttons.append(identifier)
        return SimpleNamespace()

    def column(self, **_: Any) -> Column:
        return self

    def label(self, *, text: str, **_: Any) -> None:
        self.lines.append(text)


def sidebar(width: int, scale: float) -> Any:
    return SimpleNamespace(
        preferences=SimpleNamespace(
            system=SimpleNamespace(ui_scale=scale),
            ui_styles=[SimpleNamespace(widget=SimpleNamespace(points=POINTS))],
        ),
        region=SimpleNamespace(width=width),
    )


def shown(text: str, icon: str, width: int, scale: float) -> list[str]:
    column: Any = Column()
    paragraph(column, sidebar(width, scale), text, icon)
    return list(column.lines)


# Sidebars of windows in 5.2 and 4.3, and the widest text that stood in them whole: 50 and 76 px of scale 1 less than
# the sidebar were too little, 52 and 78 never were.
@pytest.mark.parametrize(("width", "scale"), [(292, 25 / 24), (436, 14 / 9), (280, 1.0)])
@pytest.mark.parametrize(("icon", "taken"), [("NONE", 52.0), ("ERROR", 78.0)])
def test_no_line_is_wider_than_blender_draws_whole(width: int, scale: float, icon: str, taken: float) -> None:
    lines = shown(ERROR, icon, width, scale)
    assert " ".join(lines) == ERROR
    blf.size(0, scale * POINTS)
    room = width - scale * taken
    wide = [blf.dimensions(0, line)[0] for line in lines]
    assert max(wide) <= room
    # And no line is broken before it has to be.
    for line, after in pairwise(lines):
        assert blf.dimensions(0, f"{line} {after.split()[0]}")[0] > room


def test_the_line_that_was_cut_in_a_window_is_broken() -> None:
    assert "ended from outside (SIGKILL), perhaps" not in shown(ERROR, "ERROR", 292, 25 / 24)


def test_a_path_is_broken_within() -> None:
    blf.size(0, POINTS)
    path = "/home/somebody/pictures/of/people/who/stand/somewhere.jpg"
    lines = broken(path, 100.0, POINTS)
    assert "".join(lines) == path
    assert len(lines) > 2 and max(blf.dimensions(0, line)[0] for line in lines) <= 100.0


def test_who_is_sent_to_the_preferences_gets_a_button_that_leads_there() -> None:
    lacks = "The solver's Python lacks torch. Install it there, or choose another Python in the preferences."
    for text, buttons in ((lacks, ["preferences.addon_show"]), ("No person was found. Choose another photo.", [])):
        session, column = Session(), Column()
        session.say("error", text, "ada.jpg")
        draw_notices(column, sidebar(292, 1.0), session)  # type: ignore[arg-type]
        assert column.buttons == buttons


def test_a_light_zip_says_what_it_lacks_before_anything_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def context(python: str) -> Any:
        addons = {settings.ROOT_PACKAGE: SimpleNamespace(preferences=SimpleNamespace(python=python))}
        return SimpleNamespace(preferences=SimpleNamespace(addons=addons))

    assert not settings.lacks_solver(context(""))  # this Python has all
    monkeypatch.setattr(settings, "_has_packages", lambda: False)
    assert settings.lacks_solver(context("")) and not settings.lacks_solver(context("/usr/bin/python3"))


def test_what_is_said_of_a_job_is_shown_where_its_button_is() -> None:
    session = Session()

    def fail(_job: Job, _result: object) -> str:
        session.say("warning", "Not all of it")
        raise JobError("Nothing came of it. Try again.")

    for place, act in (("", lambda _job, _result: "Built"), ("RETARGET", fail)):
        session.submit(Job(None, "Ada", "Scene", SolverSettings(), act, place=place))
        texts = [notice.text for notice in notices_at(session, place)]
        assert texts == (["Not all of it", "Nothing came of it. Try again."] if place else ["Built"])
        assert not notices_at(session, "CORRECT") and len(session.notices) == len(texts)
    session.say("error", "No such point", place="CORRECT")
    assert [notice.text for notice in notices_at(session, "CORRECT")] == ["No such point"]


def test_of_several_jobs_those_that_failed_are_told_of_once_all_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(notify, "popup", lambda title, texts: told.append((title, list(texts))))
    session = Session()

    def slow(_job: Job, _result: object) -> Iterator[object]:
        yield PAUSE  # till the next tick: the others wait
        yield PAUSE
        return "Built"

    def fail(job: Job, _result: object) -> str:
        raise JobError(f"{job.label} is empty. Copy it again.")

    for label, act in (("a.jpg", slow), ("b.jpg", fail), ("c.jpg", fail), ("d.jpg", slow)):
        # What ends last has another title.
        title = "Correct" if label == "d.jpg" else "Photo to avatar"
        session.submit(Job(None, label, "Scene", SolverSettings(), act, title=title))
    assert session.waiting and not told
    session.wait()
    assert told == [("Photo to avatar", ["b.jpg is empty. Copy it again.", "c.jpg is empty. Copy it again."])]
