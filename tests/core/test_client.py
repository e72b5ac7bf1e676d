"""The client against real processes that behave badly in every way that a worker may."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pantomime.core.client import Client, ClientError, worker_command
from pantomime.core.messages import Cancelled, Failed, FitPhoto, Message, Progress, Ready, Result

PROLOGUE = """
import json, os, signal, sys, time
def say(**event):
    print(json.dumps(event), flush=True)
say(type="ready", version="test", pid=os.getpid())
"""
JOB = FitPhoto("1", "a.jpg", "out")
PATIENCE_S = 30.0


def client_of(tmp_path: Path, body: str, grace_s: float = 0.2) -> Client:
    script = tmp_path / "worker.py"
    script.write_text(PROLOGUE + textwrap.dedent(body))
    return Client([sys.executable, "-I", "-u", str(script)], cancel_grace_s=grace_s)


def until_idle(client: Client) -> list[Message]:
    """All events up to the end of the job."""
    events: list[Message] = []
    end = time.monotonic() + PATIENCE_S
    while client.job is not None:
        assert time.monotonic() < end, f"no end of the job; events so far: {events}"
        events += client.poll()
        time.sleep(0.01)
    return events


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_events_arrive_in_order_and_a_job_ends_with_its_result(tmp_path: Path) -> None:
    client = client_of(
        tmp_path,
        """
        job = json.loads(sys.stdin.readline())["job"]
        say(type="progress", job=job, fraction=0.25)
        say(type="progress", job=job, fraction=0.75)
        say(type="result", job=job, captures=["a.npz"])
        sys.stdin.read()
        """,
    )
    with client:
        client.submit(JOB)
        events = until_idle(client)
        assert isinstance(events[0], Ready)
        assert events[1:] == [Progress("1", 0.25), Progress("1", 0.75), Result("1", ["a.npz"])]
        assert client.alive
    assert not client.alive


def test_polling_does_not_wait_for_the_worker(tmp_path: Path) -> None:
    with client_of(tmp_path, "sys.stdin.read()") as client:
        client.submit(JOB)
        counts = [client.poll() for _ in range(1000)]
        assert all(not isinstance(event, Result) for events in counts for event in events)
        assert client.job == "1"


def test_a_worker_that_heeds_a_cancel_stays_for_the_next_job(tmp_path: Path) -> None:
    client = client_of(
        tmp_path,
        """
        for line in sys.stdin:
            request = json.loads(line)
            if request["type"] == "cancel":
                say(type="cancelled", job=request["job"])
        """,
        grace_s=PATIENCE_S,
    )
    with client:
        client.submit(JOB)
        pid = client.pid
        client.cancel()
        assert until_idle(client)[-1] == Cancelled("1")
        assert client.alive
        client.submit(FitPhoto("2", "b.jpg", "out"))
        client.cancel()
        assert until_idle(client)[-1] == Cancelled("2")
        assert client.pid == pid


def test_a_worker_that_ignores_a_cancel_is_terminated(tmp_path: Path) -> None:
    with client_of(tmp_path, "time.sleep(1000)") as client:
        client.submit(JOB)
        client.cancel()
        assert until_idle(client)[-1] == Cancelled("1")
        assert not client.alive


def test_a_worker_that_ignores_being_terminated_is_killed(tmp_path: Path) -> None:
    client = client_of(
        tmp_path,
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say(type="stage", job="1", name="deaf", text="deaf")
        while True:
            time.sleep(1000)
        """,
    )
    with client:
        client.submit(JOB)
        while not any(getattr(event, "name", "") == "deaf" for event in client.poll()):
            time.sleep(0.01)
        pid = client.pid
        assert pid is not None
        client.cancel()
        assert until_idle(client)[-1] == Cancelled("1")
        assert not client.alive


def test_a_worker_that_dies_is_reported_in_a_sentence_with_its_last_words(tmp_path: Path) -> None:
    client = client_of(tmp_path, "sys.stdin.readline(); raise RuntimeError('out of cheese.')")
    with client:
        client.submit(JOB)
        last = until_idle(client)[-1]
        assert isinstance(last, Failed)
        assert "exit status 1" in last.text and "out of cheese. Try" in last.text
        assert "Traceback" not in last.text and "Traceback" in last.detail
        with pytest.raises(ClientError, match="stopped unexpectedly"):
            client.submit(FitPhoto("2", "b.jpg", "out"))


def test_a_worker_that_is_killed_is_reported_with_the_signal(tmp_path: Path) -> None:
    with client_of(tmp_path, "sys.stdin.read()") as client:
        client.submit(JOB)
        assert client.pid is not None
        os.kill(client.pid, signal.SIGKILL)
        last = until_idle(client)[-1]
        assert isinstance(last, Failed)
        assert "SIGKILL" in last.text and last.text.endswith("try again.")


def test_a_result_that_was_written_just_before_the_end_is_not_lost(tmp_path: Path) -> None:
    client = client_of(
        tmp_path,
        """
        sys.stdin.readline()
        for number in range(2000):
            say(type="progress", job="1", fraction=number / 2000)
        say(type="result", job="1", captures=["a.npz"])
        """,
    )
    with client:
        client.submit(JOB)
        events = until_idle(client)
        assert events[-1] == Result("1", ["a.npz"])
        assert sum(isinstance(event, Progress) for event in events) == 2000


def test_noise_on_the_output_and_events_of_other_jobs_are_dropped(tmp_path: Path) -> None:
    client = client_of(
        tmp_path,
        r"""
        sys.stdin.readline()
        sys.stdout.buffer.write(b"\xff\xfe garbage\n{\n[]\n\n" + b"[" * 100000 + b"\n")
        sys.stdout.flush()
        say(type="result", job="0", captures=["old.npz"])
        say(type="unheard-of", job="1")
        say(type="result", job="1", captures=["new.npz"])
        sys.stdin.read()
        """,
    )
    with client:
        client.submit(JOB)
        events = until_idle(client)
        assert [event for event in events if not isinstance(event, Ready)] == [Result("1", ["new.npz"])]


def test_a_flood_on_the_error_output_neither_blocks_nor_fills_memory(tmp_path: Path) -> None:
    client = client_of(
        tmp_path,
        """
        sys.stdin.readline()
        for number in range(20000):
            print("noise", number, file=sys.stderr)
        say(type="result", job="1", captures=[])
        sys.stdin.read()
        """,
    )
    with client:
        client.submit(JOB)
        assert until_idle(client)[-1] == Result("1", [])
    lines = client.log_tail().splitlines()
    assert len(lines) <= 200
    assert lines[-1] == "noise 19999"


def test_a_busy_worker_takes_no_second_job(tmp_path: Path) -> None:
    with client_of(tmp_path, "sys.stdin.read()") as client:
        client.submit(JOB)
        with pytest.raises(ClientError, match="busy"):
            client.submit(FitPhoto("2", "b.jpg", "out"))


def test_an_interpreter_that_is_not_there_is_reported_in_a_sentence() -> None:
    client = Client(worker_command(python="/nowhere/python"))
    with pytest.raises(ClientError, match=r"/nowhere/python.*preferences"):
        client.start()
    assert not client.alive
    client.close()


def test_closing_ends_even_a_worker_that_clings(tmp_path: Path) -> None:
    client = client_of(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1000)")
    client.start()
    pid = client.pid
    assert pid is not None
    client.close(timeout_s=0.2)
    assert not process_exists(pid)
    client.close()


def test_a_closed_client_can_start_again(tmp_path: Path) -> None:
    client = client_of(tmp_path, "sys.stdin.readline(); say(type='result', job='1', captures=[])")
    for _ in range(2):
        client.start()
        client.submit(JOB)
        assert until_idle(client)[-1] == Result("1", [])
        client.close()
