"""Messages survive the way to the other process and back, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest

from pantomime.core import messages
from pantomime.core.messages import (
    Cancel,
    Cancelled,
    Checkpoint,
    CheckSolver,
    Correct,
    Failed,
    FitPhoto,
    FitVideo,
    MakeTexture,
    MessageError,
    Progress,
    Quit,
    Ready,
    Result,
    Stage,
    Warm,
    Warn,
    parse_event,
    parse_request,
)

REQUESTS = [
    FitPhoto("1", "/photos/ä b\n“c”.jpg", "/out"),
    FitPhoto(
        "2", "a.jpg", "o", "stem", "body.npz", "p.json", 0, 900.0, None, "cuda", 4, "cache", "models", 172.0, "auto"
    ),
    FitVideo("5", "/clips/ä.mp4", "/out/a.npz"),
    FitVideo(
        "6", "a.mov", "o.npz", 3, 90, 2, 29.97, True, "body.npz", 0, 900.0, None, "cuda", 4, "c", "m", 172.0, "auto"
    ),
    Correct("3", "a.npz", "b.npz"),
    Correct("4", "a.npz", "b.npz", {"pose33/15": [1.5, 2.0]}, {"head": [0.0, 0.1, 2.0]}, ["jaw"], True, "smplx", 2),
    CheckSolver("8", 2, "cache", "models"),
    MakeTexture("7", "a.jpg", "v.npy", "t.png", 900.0, [320.0, 240.5], [640, 480]),
    MakeTexture(
        "8", "a.jpg", "v.npy", "t.png", 900.0, [320.0, 240.5], [640, 480], 1024, "body", "male", 2, "cache", "models"
    ),
    Warm(),
    Warm("body", "cuda", 2, "cache", "models", "female"),
    Cancel("1"),
    Quit(),
]
EVENTS = [
    Ready("0.1.0", 42),
    Stage("1", "fit", "Fitting the body"),
    Progress("1", 0.5, "half"),
    Checkpoint("1", "/out/a.npz"),
    Warn("1", "Only 1 of 2 people were found"),
    Result("1", ["/out/a.npz", "/out/a.2.npz"], ["one", "two"], {"fit": 0.1}, {"torch": "2.13"}),
    Cancelled("1"),
    Failed("1", "No person was found. Choose another photo.", "Traceback …\n"),
]


@pytest.mark.parametrize("message", REQUESTS, ids=lambda m: m.type)
def test_a_request_comes_back_as_it_was_sent(message: messages.Message) -> None:
    line = message.to_line()
    assert line.count("\n") == 1 and line.endswith("\n")
    assert parse_request(line) == message
    assert parse_request(line.encode()) == message


@pytest.mark.parametrize("message", EVENTS, ids=lambda m: m.type)
def test_an_event_comes_back_as_it_was_sent(message: messages.Message) -> None:
    line = message.to_line()
    assert line.count("\n") == 1 and line.endswith("\n")
    assert parse_event(line) == message


def test_every_message_type_is_covered_here() -> None:
    assert {m.type for m in REQUESTS} == set(messages.REQUESTS)
    assert {m.type for m in EVENTS} == set(messages.EVENTS)


def test_a_request_is_no_event_and_an_event_no_request() -> None:
    with pytest.raises(MessageError, match="unknown type"):
        parse_event(Cancel("1").to_line())
    with pytest.raises(MessageError, match="unknown type"):
        parse_request(Cancelled("1").to_line())


def test_a_field_of_a_newer_version_is_ignored() -> None:
    assert parse_request('{"type": "cancel", "job": "7", "why": {"deep": [1]}}') == Cancel("7")


def test_a_whole_number_will_do_where_a_fraction_is_expected() -> None:
    event = parse_event('{"type": "progress", "job": "1", "fraction": 1}')
    assert event == Progress("1", 1.0)
    assert isinstance(event, Progress) and isinstance(event.fraction, float)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "JSON"),
        ("nonsense", "JSON"),
        ("[1, 2]", "object"),
        ("null", "object"),
        ("{}", "unknown type"),
        ('{"type": 3}', "unknown type"),
        ('{"type": ["cancel"], "job": "1"}', "unknown type"),
        ('{"type": "cancel"}', "lacks job"),
        ('{"type": "cancel", "job": 1}', "wrong value"),
        ('{"type": "fit_photo", "job": "1", "photo": "a", "out_dir": null}', "wrong value"),
        ('{"type": "fit_photo", "job": "1", "photo": "a", "out_dir": "o", "people": true}', "wrong value"),
        ('{"type": "fit_photo", "job": "1", "photo": "a", "out_dir": "o", "people": 1.5}', "wrong value"),
        ('{"type": "fit_photo", "job": "1", "photo": "a", "out_dir": "o", "focal_px": NaN}', "wrong value"),
        ('{"type": "fit_photo", "job": "1", "photo": "a", "out_dir": "o", "focal_px": "900"}', "wrong value"),
        ("[" * 200_000, "JSON"),
        ("x" * (messages.MAX_LINE_BYTES + 1), "too long"),
    ],
    ids=range(16),
)
def test_what_is_no_request_is_refused_with_a_reason(line: str, reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        parse_request(line)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(MessageError):
        parse_request(b'{"type": "cancel", "job": "\xff\xfe"}')


def test_lists_and_tables_are_checked_inside() -> None:
    with pytest.raises(MessageError, match=r"captures\[1\]"):
        parse_event('{"type": "result", "job": "1", "captures": ["a", 2]}')
    with pytest.raises(MessageError, match=r"timings_s\.fit"):
        parse_event('{"type": "result", "job": "1", "captures": [], "timings_s": {"fit": "fast"}}')


def test_a_refused_request_says_which_job_it_was_about() -> None:
    with pytest.raises(MessageError) as caught:
        parse_request('{"type": "fit_photo", "job": "77", "photo": 5}')
    assert caught.value.job == "77"


def test_a_value_that_json_does_not_have_is_not_written() -> None:
    with pytest.raises(MessageError):
        Progress("1", float("nan")).to_line()


def test_lines_are_plain_ascii_so_that_no_locale_can_spoil_them() -> None:
    line = FitPhoto("1", "/写真/フォト é.jpg", "o").to_line()
    assert line.isascii()
    assert json.loads(line)["photo"] == "/写真/フォト é.jpg"
