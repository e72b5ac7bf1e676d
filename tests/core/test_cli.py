"""The command line as a user types it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from struct import pack

import numpy as np
import pytest
from PIL import Image

from pantomime.__main__ import _OWN, COMMANDS, main
from pantomime.core.capture import Capture
from pantomime.core.command import ProgressBar, unique_stems

COMMAND_LINES = [[], *([name] for name, _, _ in COMMANDS), ["bench", "body"], ["bench", "speed"]]


def run(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pantomime", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **more,  # type: ignore[call-overload]
    )


def one_sentence(text: str) -> bool:
    """One line that ends like a sentence, and is no traceback."""
    lines = text.strip().splitlines()
    return len(lines) == 1 and lines[0].endswith(".") and "Traceback" not in text


def png(width: int, height: int) -> bytes:
    """A black picture of any size in few bytes: 1 bit a pixel, and zeros compress well."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("arguments", COMMAND_LINES, ids=lambda words: " ".join(words) or "pantomime")
def test_help_is_complete(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: pantomime")
    lines = text.splitlines()
    for number, line in enumerate(lines):
        option = line.strip()
        if not option.startswith("-") or line[:3] != "  -":
            continue
        # Each option has words beside it, or below it.
        described = "  " in option or (number + 1 < len(lines) and lines[number + 1].startswith("   "))
        assert described, option


def test_the_options_of_fit_are_those_that_were_promised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    text = capsys.readouterr().out
    for option in (
        "PHOTO",
        "-o",
        "--body",
        "--points",
        "--people",
        "--focal-px",
        "--focal-mm",
        "--device",
        "--threads",
        "--quality",
    ):
        assert option in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["fit", "a.jpg"],
        ["fit", "-o", "out"],
        ["fit", "a.jpg", "-o", "out", "--people", "0"],
        ["fit", "a.jpg", "-o", "out", "--people", "some"],
        ["fit", "a.jpg", "-o", "out", "--focal-px", "nan"],
        ["fit", "a.jpg", "-o", "out", "--focal-px", "1", "--focal-mm", "1"],
        ["fit", "a.jpg", "-o", "out", "--points", "p.json", "--points-error-px", "-1"],
        ["fit", "a.jpg", "-o", "out", "--threads", "0"],
        ["fit", "a.jpg", "-o", "out", "--quality", "perfect"],
        ["video", "a.mp4", "-o", "a.npz", "--quality", "fast"],
        ["video", "a.mp4", "-o", "a.npz", "--points", "p.json"],
        ["video", "a.mp4", "-o", "a.blend", "--reduce", "0"],
        ["render-people", "-o", "out", "-n", "0"],
        ["render-people", "-o", "out", "--seed", "-1"],
        ["render-clips", "-o", "out", "--clips", "10"],
        ["bench"],
        ["bench", "body", "--people", "0"],
        ["bench", "body", "--poses", "-3"],
        ["bench", "accuracy", "--photos", "test", "-n", "0"],
        ["bench", "collision", "--seed", "1.5"],
        ["paint-pairs", "--root", "mocap", "-o", "pairs.npz", "-n", "0"],
        ["train-prior", "--root", "mocap", "--steps", "0"],
        ["train-regressor", "--root", "mocap", "--rate", "0"],
        ["train-regressor", "--root", "mocap", "--batch", "-1"],
        ["train-expressions", "--faces", "0"],
        ["train-gaze", "--faces", "-1"],
        ["train-hand-reader", "--hands", "0"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_explained_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_output_that_can_not_show_a_character_is_no_reason_to_stop() -> None:
    done = run("fit", "--help", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "STEM.2.npz, \\u2026 for further people" in " ".join(done.stdout.split())


def test_an_error_of_the_machine_is_told_in_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "out/0000.npz")

    monkeypatch.delenv("PANTOMIME_DEBUG", raising=False)
    monkeypatch.setitem(_OWN, "demo", (lambda parser: None, full))
    assert main(["demo"]) == 1
    assert capsys.readouterr().err.startswith(f"out/0000.npz: {os.strerror(errno.ENOSPC)}. Check ")


@pytest.mark.parametrize("command", [["fit", "a.jpg", "b.jpg", "-o", "out"], ["demo", "a.jpg", "b.jpg"], ["demo"]])
def test_points_are_of_one_photo(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--points", "p.json"]) == 2
    said = capsys.readouterr().err
    assert "one photo" in said and one_sentence(said)


def test_how_far_points_are_off_needs_points(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["fit", "a.jpg", "-o", str(tmp_path / "out"), "--points-error-px", "1"]) == 1
    assert "goes with a file of points" in capsys.readouterr().err


@pytest.mark.usefixtures("detector_models")
def test_a_real_photo_is_fitted_and_one_that_fails_does_not_stop_the_others(portrait: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fotos für später 写真"
    folder.mkdir()
    good = folder / "ein Porträt.png"
    good.write_bytes(portrait.read_bytes())
    bad = folder / "nothing.jpg"
    bad.write_bytes(b"")
    out = tmp_path / "out"
    done = run("fit", bad, good, "-o", out)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(bad) in done.stderr and "1 of 2 photos failed" in done.stderr
    (summary,) = done.stdout.splitlines()
    assert summary.startswith(f"{out / 'ein Porträt.npz'}: 512×512 px")
    assert sorted(path.name for path in out.iterdir()) == ["ein Porträt.npz"]

    capture = Capture.load(out / "ein Porträt.npz")
    assert capture.image_size == (512, 512)
    assert capture.joints.shape == (1, 55, 3)
    assert all(np.isfinite(value).all() for value in (capture.full_pose(), capture.betas, capture.transl))
    # The person stands before the camera, at the distance of a portrait, and the head is where it is in the picture.
    head = capture.joints[0, capture.joint_names.index("head")]
    assert 0.5 < head[2] < 5.0
    x, y = capture.focal_px * head[:2] / head[2] + capture.principal_px
    assert 170 < x < 280 and 60 < y < 220


@pytest.mark.usefixtures("detector_models")
def test_two_people_make_two_files_and_a_missing_third_is_mentioned(portrait: Path, tmp_path: Path) -> None:
    one = np.asarray(Image.open(portrait).convert("RGB"))
    Image.fromarray(np.concatenate([one, one[:, ::-1]], axis=1)).save(tmp_path / "pair.png")
    done = run("fit", tmp_path / "pair.png", "-o", tmp_path / "all", "--people", "all")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["pair.2.npz", "pair.npz"]
    assert len(done.stdout.splitlines()) == 2
    first, second = (Capture.load(tmp_path / "all" / name) for name in ("pair.npz", "pair.2.npz"))
    assert (first.person_id, second.person_id) == (0, 1)
    assert np.sign(first.joints[0, 15, 0]) == -np.sign(second.joints[0, 15, 0])

    done = run("fit", tmp_path / "pair.png", "-o", tmp_path / "three", "--people", "3")
    assert done.returncode == 0
    assert "Only 2 of 3 people" in done.stderr


@pytest.mark.usefixtures("detector_models")
def test_a_focal_length_that_is_given_is_kept(portrait: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(portrait.parent)
    assert main(["fit", portrait.name, "-o", str(tmp_path), "--focal-mm", "50"]) == 0
    capture = Capture.load(tmp_path / "astronaut.npz")
    # Blender, which runs in another folder, is to find the photo.
    assert Path(capture.source) == portrait
    assert capture.focal_source == "given"
    # 50 mm on 36 × 24 mm film; the fit may move it by its small σ.
    assert capture.focal_px == pytest.approx(50 * 512 * 2**0.5 / 43.2666, rel=0.05)


def test_pictures_that_can_not_be_used_are_named_in_one_sentence_each(
    portrait: Path, tmp_path: Path, detector_models: None
) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("Dear diary")
    (tmp_path / "cut.png").write_bytes(portrait.read_bytes()[:2000])
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "tiny.png").write_bytes(png(1, 1))
    (tmp_path / "huge.png").write_bytes(png(30000, 20000))
    Image.fromarray(np.full((300, 400, 3), 128, np.uint8)).save(tmp_path / "nobody.png")
    names = ["missing.jpg", "empty.jpg", "text.jpg", "cut.png", "folder.jpg", "tiny.png", "huge.png", "nobody.png"]
    done = run("fit", *(tmp_path / name for name in names), "-o", tmp_path / "out")
    assert done.returncode == 1
    assert done.stdout == ""
    *lines, total = done.stderr.strip().splitlines()
    assert total.startswith("8 of 8 photos failed")
    assert len(lines) == len(names), done.stderr
    for name, line in zip(names, lines, strict=True):
        assert line.count(name) == 1 and line.endswith("."), line
        # Named, and then a next step: at least two sentences' worth of words.
        assert line.count(". ") >= 1, line
    assert not (tmp_path / "out").exists()


def test_models_that_are_not_there_are_explained(portrait: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for arguments, word in (
        (["--cache", str(tmp_path / "empty")], "pantomime models"),
        (["--models", str(tmp_path / "nowhere")], "nowhere"),
        (["--models", str(tmp_path)], str(tmp_path)),
        (["--body", str(tmp_path / "nowhere")], "nowhere"),
    ):
        done = run("fit", portrait, "-o", out, *arguments)
        assert done.returncode == 1
        assert word in done.stderr
        assert one_sentence(done.stderr), done.stderr
    assert not out.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX's")
@pytest.mark.usefixtures("detector_models")
def test_a_full_disk_is_named_and_leaves_nothing_half_written(portrait: Path, tmp_path: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = run(
        "fit", portrait, "-o", tmp_path / "out", preexec_fn=limit, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    assert done.returncode == 1
    assert "Free some space" in done.stderr and one_sentence(done.stderr), done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_can_not_be_made_is_named(portrait: Path, tmp_path: Path, detector_models: None) -> None:
    (tmp_path / "out").write_text("a file is in the way")
    done = run("fit", portrait, "-o", tmp_path / "out" / "deep")
    assert done.returncode == 1
    assert one_sentence(done.stderr) and "out" in done.stderr


def test_photos_of_one_name_do_not_overwrite_each_other() -> None:
    stems = unique_stems(["a/me.jpg", "b/me.png", "b/ME.jpeg", "c/you.jpg", "me-2.png"])
    assert stems == ["me", "me-2", "ME-3", "you", "me-2-2"]


def test_the_progress_bar_draws_in_a_terminal_and_nowhere_else() -> None:
    class Terminal:
        def __init__(self, is_terminal: bool) -> None:
            self.text, self.is_terminal = "", is_terminal

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None: ...

        def isatty(self) -> bool:
            return self.is_terminal

    terminal, file = Terminal(True), Terminal(False)
    for stream in (terminal, file):
        bar = ProgressBar(4, stream)  # type: ignore[arg-type]
        bar.step()
        bar.draw("me.jpg", 1.0)
        bar.clear()
    assert file.text == ""
    drawn, cleared = terminal.text.split("\r")[1:]
    assert drawn.count("█") == drawn.count("░") == 12
    assert "2/4 me.jpg" in drawn
    assert cleared == "\x1b[K"
