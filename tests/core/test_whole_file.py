"""Files that appear whole or not at all, and numbers of the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pantomime.core.arguments import not_negative, people_count, positive, whole, whole_from_0
from pantomime.core.whole_file import whole_file, write_whole


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with whole_file(path) as part:
        part.write_text("after")
        assert path.read_text() == "before" and part.parent == tmp_path
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_what_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail(part: Path) -> None:
        part.write_text("half of")
        raise error

    with pytest.raises(type(error)), whole_file(path) as part:
        fail(part)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        pass
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no folder" / "a.txt", "text")
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_file_do_not_meet_and_formats_follow_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with whole_file(path, ".part.mp4") as first, whole_file(path, ".part.mp4") as second:
        assert first != second and first.suffix == second.suffix == ".mp4"
        first.write_text("1")
        second.write_text("2")
    assert path.read_text() == "1"


def test_bytes_and_text_are_written_as_they_are(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"\x00\r\n")
    write_whole(tmp_path / "b", "ß\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "b").read_bytes() == "ß\n".encode()


@pytest.mark.skipif(sys.platform == "win32", reason="rights are POSIX's")
def test_files_have_the_rights_that_others_have(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "ours")
    (tmp_path / "b").write_text("another's")
    assert os.stat(tmp_path / "a").st_mode == os.stat(tmp_path / "b").st_mode


@pytest.mark.parametrize(
    ("read", "good", "bad"),
    [
        (whole, {"1": 1, "007": 7}, ["0", "-1", "1.5", "", "²", "one", "+1"]),
        (whole_from_0, {"0": 0, "12": 12}, ["-1", "1.5", "", "²", "none"]),
        (positive, {"0.5": 0.5, "2e3": 2000.0}, ["0", "-1", "nan", "inf", "1e7", "", "half"]),
        (not_negative, {"0": 0.0, "0.5": 0.5}, ["-1", "nan", "inf", "1e7", "", "half"]),
        (people_count, {"all": 0, "3": 3}, ["0", "-1", "1.5", "", "some"]),
    ],
)
def test_numbers_that_are_none_are_refused_by_name(
    read: Callable[[str], float], good: dict[str, float], bad: list[str]
) -> None:
    assert {text: read(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{text!r} is n".replace("+", r"\+").replace(".", r"\.")):
            read(text)
