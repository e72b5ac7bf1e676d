"""Windows of a clip that are solved by two: in which order, and by a helper that is another process."""

from __future__ import annotations

import sys
import threading
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.fitting.photo import PhotoCamera
from pantomime.core.fitting.video_shape import KeyFit
from pantomime.core.pipeline import PipelineSettings
from pantomime.core.video_helper import HelpedFit, Helper, helper_command
from pantomime.core.video_windows import HELD, Schedule, plan

FIT = HelpedFit("folder", "key", 1, 0, (640, 480), {}, 30.0, None, "key")
BASE = asdict(PipelineSettings())


def test_windows_cover_each_stretch_once_and_hold_only_what_is_solved_before() -> None:
    spans = [(0, 500), (520, 523), (600, 850)]
    windows = plan(spans, 120, 18)
    rows = np.concatenate([np.arange(window.first, window.last) for window in windows])
    np.testing.assert_array_equal(rows, np.concatenate([np.arange(*span) for span in spans]))
    for window in windows:
        (start, end) = next(span for span in spans if span[0] <= window.first < span[1])
        assert start <= window.context <= window.first < window.last <= window.end <= end
        if window.needs:
            assert window.held == (window.first - window.context, window.end - window.last)
            assert window.held[0] == HELD and all(not windows[number].needs for number in window.needs)
        else:
            # A free window looks ahead and back, as far as there is something.
            assert window.context == max(start, window.first - 18) and window.end == min(end, window.last + 18)
    assert [bool(window.needs) for window in windows] == [False, True, False, True, False, False, False, True]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_schedule_hands_out_each_window_once_after_what_it_needs(workers: int) -> None:
    windows = plan([(0, 1000), (1000, 1300)], 100, 18)
    schedule, taken, early = Schedule([window.needs for window in windows], {2}), list[int](), list[int]()

    def work() -> None:
        while (number := schedule.take()) is not None:
            taken.append(number)
            if not set(windows[number].needs) <= schedule.done:
                early.append(number)
            schedule.finish(number)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [number for number in range(len(windows)) if number != 2] and not early
    if workers == 1:
        assert taken[:4] == [0, 1, 4, 3]


def test_what_is_given_back_is_solved_by_another_and_a_stop_ends_all() -> None:
    schedule = Schedule([(), ()], set())
    first = schedule.take()
    assert first == 0
    schedule.give_back(0)
    assert schedule.take() == 0
    schedule.stop()
    assert schedule.take() is None


ANSWERS = """
import sys, json
for line in sys.stdin:
    m = json.loads(line)
    if 'cache_dir' in m: print('{{"loaded": true}}', flush=True)
    elif 'folder' not in m: {}
"""


@pytest.mark.parametrize(
    ("code", "solved"),
    [
        (ANSWERS.format("print(json.dumps({'done': m['window']}), flush=True)"), True),
        (ANSWERS.format("print(json.dumps({'failed': True}), flush=True)"), False),
        (ANSWERS.format("print('noise', flush=True)"), False),
        ("import os\nos.abort()", False),
    ],
)
def test_a_helper_takes_part_and_one_that_fails_leaves_all_to_the_other(code: str, solved: bool) -> None:
    windows = plan([(0, 1000)], 100, 18)
    schedule, warnings, own = Schedule([window.needs for window in windows], set()), list[str](), list[int]()
    helper = Helper(BASE, warnings.append, [sys.executable, "-c", code])
    helper.begin(FIT)
    helper.solve("rough", schedule)
    # Whoever waits sees what the helper does.
    while len(schedule.done) < len(windows) and not warnings:
        threading.Event().wait(0.01)
    while (number := schedule.take()) is not None:
        own.append(number)
        schedule.finish(number)
    helper.close()
    assert schedule.done == set(range(len(windows)))
    assert own == [] if solved else len(own) == len(windows)
    assert warnings == [] if solved else len(warnings) == 1 and "going on with one" in warnings[0]


def test_key_frames_are_shared_and_come_back_exactly() -> None:
    betas = np.random.default_rng(1).normal(size=10).astype(np.float32)
    told = [[float(value) for value in betas], 700.1, 0.3]
    code = ANSWERS.format(f"print(json.dumps({{'done': m['key'], 'key': {told} if m['key'] else None}}), flush=True)")
    helper = Helper(BASE, lambda text: None, [sys.executable, "-c", code])
    schedule, found = Schedule([(), (), ()], set()), dict[int, KeyFit | None]()
    helper.begin(FIT)
    helper.fit_keys(PhotoCamera(), schedule, found)
    while len(schedule.done) < 3:
        threading.Event().wait(0.01)
    helper.close()
    assert found[0] is None and sorted(found) == [0, 1, 2]
    key = found[2]
    assert key is not None and key.focal_px == 700.1 and key.belief == 0.3 and key.betas.dtype == np.float32
    np.testing.assert_array_equal(key.betas, betas)


def test_who_can_do_no_more_leaves_the_rest_undone() -> None:
    schedule = Schedule([()] * 5, set())

    def do(number: int) -> None:
        if number == 2:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        schedule.work(do, lambda: None)
    assert schedule.done == {0, 1} and schedule.take() is None


def test_a_helper_that_cannot_be_started_is_one_sentence(tmp_path: Path) -> None:
    warnings: list[str] = []
    helper = Helper(BASE, warnings.append, [str(tmp_path / "no such program")])
    schedule = Schedule([()], set())
    helper.begin(FIT)
    helper.solve("rough", schedule)
    assert schedule.take() == 0 and len(warnings) == 1
    helper.close()


def test_the_end_of_its_input_ends_a_helper() -> None:
    helper = Helper(BASE, lambda text: None)
    process = helper._process
    assert process is not None and helper_command()[-1] == "--help-fitting"
    helper.close()
    assert process.poll() == 0
