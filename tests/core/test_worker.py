"""The real worker, started as Blender starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pantomime.core.capture import Capture
from pantomime.core.client import Client, new_job_id, worker_command
from pantomime.core.messages import (
    FINAL_EVENTS,
    MAX_LINE_BYTES,
    Cancelled,
    Failed,
    FitPhoto,
    Message,
    Progress,
    Quit,
    Result,
    Stage,
    Warm,
)

PATIENCE_S = 120.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and resource limits are POSIX's")


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(cancel_grace_s=PATIENCE_S) as running:
        yield running


@pytest.fixture(scope="module")
def warm() -> Iterator[Client]:
    """One worker for all tests that leave it alive."""
    with Client(cancel_grace_s=PATIENCE_S) as running:
        yield running
        assert running.alive, running.log_tail()


def run(client: Client, request: FitPhoto) -> list[Message]:
    client.submit(request)
    return finish(client)


def finish(client: Client) -> list[Message]:
    events: list[Message] = []
    end = time.monotonic() + PATIENCE_S
    while client.job is not None:
        assert time.monotonic() < end, f"no end of the job; {events}; {client.log_tail()}"
        events += client.poll()
        time.sleep(0.01)
    return events


def wait_for_stage(client: Client, name: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not any(isinstance(event, Stage) and event.name == name for event in client.poll()):
        assert client.job is not None and time.monotonic() < end
        time.sleep(0.001)


def request_for(photo: Path | str, out: Path, **more: object) -> FitPhoto:
    return FitPhoto(new_job_id(), str(photo), str(out), **more)  # type: ignore[arg-type]


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.usefixtures("detector_models")
def test_a_photo_becomes_a_capture_and_a_second_photo_uses_the_same_process(
    warm: Client, portrait: Path, tmp_path: Path
) -> None:
    for stem in ("first", "second"):
        events = run(warm, request_for(portrait, tmp_path, stem=stem))
        result = events[-1]
        assert isinstance(result, Result), result
        assert result.captures == [str(tmp_path / f"{stem}.npz")]
        assert set(result.timings_s) == {"read", "load", "detect", "fit"}
        fractions = [event.fraction for event in events if isinstance(event, Progress)]
        assert fractions == sorted(fractions) and fractions[-1] == 1.0
        assert [event for event in events if isinstance(event, FINAL_EVENTS)] == [result]
    first, second = (Capture.load(tmp_path / f"{stem}.npz") for stem in ("first", "second"))
    assert np.isfinite(first.full_pose()).all()
    # Nothing of one job leaks into the next.
    np.testing.assert_array_equal(first.full_pose(), second.full_pose())
    np.testing.assert_array_equal(first.betas, second.betas)
    assert leftovers(tmp_path) == ["first.npz", "second.npz"]


@pytest.mark.usefixtures("detector_models")
def test_a_worker_that_was_warmed_takes_photos_and_what_could_not_be_loaded_is_only_logged(
    warm: Client, portrait: Path, tmp_path: Path
) -> None:
    warm.warm(Warm(body=str(tmp_path / "nothing.npz")))
    warm.warm(Warm())
    assert warm.job is None
    assert isinstance(run(warm, request_for(portrait, tmp_path))[-1], Result)
    assert "nothing.npz" in warm.log_tail()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "no file|no photo|There is no"), (b"", "empty"), (b"this is no picture", "not a picture")],
    ids=["missing", "empty", "text"],
)
def test_a_bad_photo_is_one_sentence_and_the_worker_lives_on(
    warm: Client, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    photo = tmp_path / "photo.jpg"
    if content is not None:
        photo.write_bytes(content)
    event = run(warm, request_for(photo, tmp_path / "out"))[-1]
    assert isinstance(event, Failed)
    assert "photo.jpg" in event.text and "Traceback" not in event.text and "\n" not in event.text
    assert any(word in event.text for word in reason.split("|"))
    assert not (tmp_path / "out").exists()


def test_bad_settings_are_one_sentence(warm: Client, portrait: Path, tmp_path: Path) -> None:
    for more, word in (
        ({"threads": 0}, "threads"),
        ({"focal_px": -3.0}, "focal length"),
        ({"focal_px": 500.0, "focal_mm": 35.0}, "not both"),
        ({"people": -1}, "people"),
        ({"height_cm": 0.0}, "height"),
        ({"height_cm": 1720.0}, "1720 cm"),
        ({"gender": "other"}, "neutral, male, female, auto"),
        ({"gender": "female"}, "free body"),
        ({"body": str(tmp_path / "nowhere.npz")}, "nowhere.npz"),
        ({"models_dir": str(tmp_path / "no models")}, "no models"),
        ({"device": "abacus"}, "abacus"),
        ({"points": str(tmp_path / "no.json")}, "no.json"),
    ):
        event = run(warm, request_for(portrait, tmp_path, **more))[-1]
        assert isinstance(event, Failed), (more, event)
        assert word in event.text and event.detail == "", event
    assert leftovers(tmp_path) == []


def test_a_cancel_while_a_job_runs_leaves_no_file_and_the_worker_alive(
    client: Client, portrait: Path, tmp_path: Path
) -> None:
    client.submit(request_for(portrait, tmp_path))
    wait_for_stage(client, "load")
    client.cancel()
    events = finish(client)
    assert isinstance(events[-1], Cancelled)
    assert leftovers(tmp_path) == []
    assert client.alive
    assert isinstance(run(client, request_for("nowhere.jpg", tmp_path))[-1], Failed)


def test_a_worker_killed_half_way_is_reported_and_leaves_no_file(
    client: Client, portrait: Path, tmp_path: Path
) -> None:
    client.submit(request_for(portrait, tmp_path))
    wait_for_stage(client, "load")
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    event = finish(client)[-1]
    assert isinstance(event, Failed) and "SIGKILL" in event.text
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("detector_models")
def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(client: Client, portrait: Path, tmp_path: Path) -> None:
    import resource

    assert client.pid is not None
    # A write beyond the limit fails as one to a full disk does.
    resource.prlimit(client.pid, resource.RLIMIT_FSIZE, (100, 100))
    event = run(client, request_for(portrait, tmp_path))[-1]
    assert isinstance(event, Failed), event
    assert "Free some space" in event.text and event.detail == ""
    assert leftovers(tmp_path) == []


def start_raw() -> subprocess.Popen[bytes]:
    return subprocess.Popen(worker_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_end_of_its_input_ends_an_idle_worker() -> None:
    done = subprocess.run(worker_command(), input=b"", capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()] == ["ready"]


def test_the_end_of_its_input_ends_a_working_worker_without_a_file(portrait: Path, tmp_path: Path) -> None:
    process = start_raw()
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(request_for(portrait, tmp_path).to_line().encode())
    process.stdin.flush()
    while b'"load"' not in process.stdout.readline():
        assert process.poll() is None
    process.stdin.close()
    process.stdout.read()
    assert process.wait(PATIENCE_S) in (0, 1)
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert leftovers(tmp_path) == []


def test_hostile_input_is_answered_line_by_line_and_does_not_stop_it(tmp_path: Path) -> None:
    hostile = [
        b"",
        b"nonsense",
        b"\xff\xfe\x00",
        b"[]",
        b"[" * 100_000,
        b'{"type": "import os"}',
        b'{"type": "fit_photo", "job": "7", "photo": ["a"], "out_dir": "b"}',
        b'{"type": "cancel", "job": "no such job"}',
        b"x" * (3 * MAX_LINE_BYTES),
    ]
    last = request_for(tmp_path / "nowhere.jpg", tmp_path).to_line().encode()
    done = subprocess.run(
        worker_command(),
        input=b"\n".join(hostile) + b"\n" + last + Quit().to_line().encode(),
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["type"] == "ready"
    refusals = [event for event in events if event["type"] == "error" and "does not understand" in event["text"]]
    assert len(refusals) == len(hostile) - 2
    assert sum(event["job"] == "7" for event in refusals) == 1
    assert leftovers(tmp_path) == []


def test_a_print_in_the_worker_goes_to_the_log(tmp_path: Path) -> None:
    code = (
        "import os, sys, threading; from pantomime.core import worker\n"
        "class P(worker.Pipeline):\n"
        "    def fit_photo(self, *a):\n"
        "        print('python'); os.write(1, b'native\\n'); raise worker.PipelineError('done.')\n"
        "worker.Pipeline = P\nworker.main()"
    )
    request = request_for("a.jpg", tmp_path).to_line().encode()
    # The quit waits behind the job's end, else it would drop the job.
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdin.write(request)
    process.stdin.flush()
    kinds = [json.loads(process.stdout.readline())["type"] for _ in range(2)]
    _, noise = process.communicate(Quit().to_line().encode(), timeout=PATIENCE_S)
    assert kinds == ["ready", "error"]
    assert b"python" in noise and b"native" in noise
