"""Clips to frames: real files that OpenCV writes here, whole and broken, and folders of pictures."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pantomime.core.media.cuts import CutFinder
from pantomime.core.media.files import MediaError, numbered_pictures
from pantomime.core.media.turning import TurnFinder, turns_of
from pantomime.core.media.video import Clip, FrameRange

SIZE = (96, 64)


def picture(index: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A frame that tells its number: a bright bar whose place is it."""
    frame = np.full((size[1], size[0], 3), 30, np.uint8)
    at = 2 + (index * 3) % (size[0] - 10)
    frame[:, at : at + 6] = (40, 120, 220)
    return frame


def write(path: Path, frames: int, rate: float = 30.0, size: tuple[int, int] = SIZE, codec: str = "MJPG") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    assert writer.isOpened()
    for index in range(frames):
        writer.write(cv2.cvtColor(picture(index, size), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def bar_of(rgb: NDArray[np.uint8]) -> int:
    bright = np.flatnonzero(rgb[:, :, 2].astype(int).mean(0) > 125)
    return round((float(bright.mean()) - 4.5) / 3)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clips") / "a ä.avi", 24)


def test_frames_come_in_order_upright_and_in_time(clip: Path) -> None:
    frames = list(Clip(clip).frames())
    assert [frame.index for frame in frames] == list(range(24))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(24) / 30, atol=1e-6)
    assert frames[0].size == SIZE and frames[0].rgb.dtype == np.uint8
    # Red is first: OpenCV's order was turned.
    assert frames[3].rgb[10, 2 + 9 + 3, 2] > 150 > frames[3].rgb[10, 2 + 9 + 3, 0]


def test_a_range_takes_every_nth_frame_with_its_own_time(clip: Path) -> None:
    which = FrameRange(4, 15, 3)
    frames = list(Clip(clip).frames(which))
    assert [frame.index for frame in frames] == [4, 7, 10, 13]
    assert which.count(24) == 4 and FrameRange(20).count(24) == 4 and FrameRange(30).count(24) == 0
    assert frames[1].time_s == pytest.approx(7 / 30)
    assert [bar_of(frame.rgb) for frame in frames] == [4, 7, 10, 13]


def test_frames_are_made_as_they_are_asked_for(clip: Path) -> None:
    source = Clip(clip).frames()
    assert [frame.index for frame in itertools.islice(source, 2)] == [0, 1]


def test_mp4_and_odd_rates(tmp_path: Path) -> None:
    for rate in (1.0, 23.976, 120.0):
        clip = Clip(write(tmp_path / f"{rate}.mp4", 8, rate, codec="mp4v"))
        assert clip.info.frame_rate == pytest.approx(rate, rel=1e-3) and clip.info.frame_count == 8
        times = [frame.time_s for frame in clip.frames()]
        np.testing.assert_allclose(times, np.arange(8) / rate, atol=2e-3)


def test_one_frame_is_a_clip(tmp_path: Path) -> None:
    assert len(list(Clip(write(tmp_path / "one.avi", 1)).frames())) == 1


def test_what_a_truncated_clip_holds_is_read_with_a_warning(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    broken = tmp_path / "broken.avi"
    broken.write_bytes(data[: int(len(data) * 0.6)])
    opened = Clip(broken)
    frames = list(opened.frames())
    assert 5 < len(frames) < 24
    assert len(opened.warnings) == 1 and "not complete" in opened.warnings[0]


def test_a_part_of_a_whole_clip_gives_no_warning(clip: Path) -> None:
    opened = Clip(clip)
    list(opened.frames(FrameRange(0, 10)))
    assert opened.warnings == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"hello " * 100, "not a video"),
        ("cut.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isomiso2" + b"\0\0\x10\0mdat" + b"\1" * 4096, "is cut off"),
        ("sound.mp4", b"\0\0\0\x18ftypisom" + b"\0" * 12 + b"moov....soun....", "has sound, but no pictures"),
        ("song.mp3", b"ID3\x04" + b"\0" * 500, "has sound, but no pictures"),
    ],
)
def test_what_is_no_clip_is_one_sentence(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=words) as caught:
        Clip(path)
    assert (
        path.name in str(caught.value) and str(path.parent) not in str(caught.value) and str(caught.value).endswith(".")
    )


def test_a_picture_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture(0)).save(path)
    with pytest.raises(MediaError, match="is a picture, not a video"):
        Clip(path)


def test_sound_alone_is_one_sentence(tmp_path: Path) -> None:
    import wave

    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        file.writeframes(b"\0\1" * 8000)
    with pytest.raises(MediaError, match="has sound, but no pictures"):
        Clip(path)


def test_a_missing_clip_and_one_of_a_single_pixel(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="There is no file"):
        Clip(tmp_path / "none.mp4")
    with pytest.raises(MediaError, match="only 16 × 16 pixels"):
        Clip(write(tmp_path / "small.avi", 2, size=(16, 16)))
    with pytest.raises(MediaError, match="only 1 × 1 pixels"):
        Clip(write(tmp_path / "one.avi", 2, size=(1, 1)))


@pytest.mark.parametrize(("name", "codec", "words"), [("a.avi", "MJPG", "No frame of"), ("a.mp4", "mp4v", "damaged")])
def test_a_clip_without_frames_is_one_sentence(tmp_path: Path, name: str, codec: str, words: str) -> None:
    with pytest.raises(MediaError, match=words) as caught:
        list(Clip(write(tmp_path / name, 0, codec=codec)).frames())
    assert name in str(caught.value)


def test_a_codec_that_is_missing_is_said(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.avi"
    path.write_bytes(clip.read_bytes().replace(b"MJPG", b"ZZZZ"))
    with pytest.raises(MediaError, match="codec is missing"):
        list(Clip(path).frames())


def test_8k_is_read(tmp_path: Path) -> None:
    (frame,) = Clip(write(tmp_path / "8k.avi", 1, size=(7680, 4320))).frames()
    assert frame.size == (7680, 4320)


def folder_of(path: Path, names: list[str]) -> Path:
    path.mkdir()
    for index, name in enumerate(names):
        Image.fromarray(picture(index)).save(path / name)
    return path


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", ["shot1.png", "shot2.png", "shot10.png"])
    (folder / "notes.txt").write_text("x")
    assert [path.name for path in numbered_pictures(folder)] == ["shot1.png", "shot2.png", "shot10.png"]
    frames = list(Clip(folder, 25.0).frames(FrameRange(1)))
    assert [bar_of(frame.rgb) for frame in frames] == [1, 2]
    assert [frame.time_s for frame in frames] == [1 / 25, 2 / 25]


def test_a_broken_picture_of_a_folder_is_left_out(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes(b"no")
    clip = Clip(folder)
    assert [frame.index for frame in clip.frames()] == [0, 2]
    assert "left out" in clip.warnings[0]


def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no pictures"):
        Clip(tmp_path)


def test_identity_tells_a_replaced_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", 3)
    before = Clip(path).identity()
    assert Clip(path).identity() == before
    write(path, 4)
    assert Clip(path).identity() != before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all names are text")
def test_a_picture_whose_name_is_no_text_has_an_identity_too(tmp_path: Path) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    (tmp_path / "0.png").rename(tmp_path / os.fsdecode(b"0\xff.png"))
    assert len(str(Clip(tmp_path).identity()["sha256_head"])) == 64


def test_the_turning_of_a_camera_is_found_in_the_background() -> None:
    focal, size = 300.0, (320, 240)
    k = np.array([[focal, 0, 160], [0, focal, 120], [0, 0, 1]])
    random = np.random.default_rng(0)
    world = cv2.resize(random.integers(0, 255, (40, 60, 3), np.uint8), (900, 600), interpolation=cv2.INTER_CUBIC)
    away = np.array([[1, 0, -290.0], [0, 1, -180.0], [0, 0, 1]])
    finder, again = TurnFinder(), TurnFinder()
    found, true = [], []
    for t in range(6):
        turn, _ = cv2.Rodrigues(np.array([0.004 * t, 0.02 * t, 0.002 * t]))
        frame = cv2.warpPerspective(world, k @ turn.T @ np.linalg.inv(k) @ away, size)
        # Somebody walks through: their box is left out.
        frame[60:200, 20 + 30 * t : 80 + 30 * t] = random.integers(0, 255, (140, 60, 3))
        boxes = np.array([[20 + 30 * t, 60, 80 + 30 * t, 200]], np.float32)
        if t == 3:
            again.restore(finder.state)
            finder = again
        found.append(finder.homography(frame, boxes))
        true.append(turn)
    turns = turns_of(np.array(found), focal, (160.0, 120.0))
    for turn, expected in zip(turns, true, strict=True):
        angle = np.degrees(np.arccos(np.clip((np.trace(turn.T @ expected) - 1) / 2, -1, 1)))
        assert angle < 0.25


def test_without_a_background_a_camera_is_taken_to_stand() -> None:
    finder = TurnFinder()
    for _ in range(2):
        np.testing.assert_array_equal(
            finder.homography(np.full((60, 80, 3), 99, np.uint8), np.zeros((0, 4), np.float32)), np.eye(3)
        )


def scene(seed: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    return cv2.resize(random.integers(0, 255, (6, 8, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)


def test_a_cut_is_found_and_motion_is_none() -> None:
    finder = CutFinder()
    first, second = scene(1), scene(2)
    frames = [np.roll(first, 4 * k, axis=1) for k in range(8)] + [np.roll(second, 4 * k, axis=1) for k in range(8)]
    assert [finder.is_cut(frame) for frame in frames] == [k == 8 for k in range(16)]


def test_a_cut_finder_goes_on_in_another() -> None:
    frames = [scene(1)] * 3 + [scene(2)] * 2
    whole = CutFinder()
    expected = [whole.is_cut(frame) for frame in frames]
    first = CutFinder()
    found = [first.is_cut(frame) for frame in frames[:3]]
    second = CutFinder()
    second.restore(first.state)
    assert found + [second.is_cut(frame) for frame in frames[3:]] == expected == [False] * 3 + [True, False]


# --- what only phones write: mp4 files whose boxes are changed here ---------------------------------------------------


def boxes(data: bytes, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Boxes between two places by kind: where each begins and ends (ISO 14496-12, 4.2)."""
    found, at = {}, start
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big") or end - at
        found.setdefault(data[at + 4 : at + 8], (at, at + size))
        at += size
    return found


def way_to(data: bytes, *kinds: bytes) -> list[tuple[int, int]]:
    """Nested boxes, the outermost first."""
    way, start, end = [], 0, len(data)
    for kind in kinds:
        way.append(boxes(data, start, end)[kind])
        start, end = way[-1][0] + 8, way[-1][1]
    return way


def test_a_recording_that_is_turned_by_its_metadata_is_put_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "phone.mp4", 6, codec="mp4v")
    data = bytearray(path.read_bytes())
    header = way_to(bytes(data), b"moov", b"trak", b"tkhd")[-1][0]
    assert data[header + 8] == 0  # version 0: the matrix is at 48
    # Shown turned by a quarter clockwise (8.3.2).
    values = (0, 1 << 16, 0, -(1 << 16), 0, 0, SIZE[1] << 16, 0, 1 << 30)
    data[header + 48 : header + 84] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(data)
    clip = Clip(path)
    frames = list(clip.frames())
    assert clip.info.size == frames[0].size == (SIZE[1], SIZE[0])
    # What was a bar from top to bottom lies, at the same distance from what was the left side: now the top.
    bright = np.flatnonzero(frames[3].rgb[:, :, 2].astype(int).mean(1) > 125)
    assert round((float(bright.mean()) - 4.5) / 3) == 3


def test_frames_of_a_variable_rate_have_their_real_times(tmp_path: Path) -> None:
    path = write(tmp_path / "phone.mp4", 12, codec="mp4v")
    data = path.read_bytes()
    way = way_to(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts")
    start, end = way[-1]
    step = int.from_bytes(data[end - 4 : end], "big")
    assert int.from_bytes(data[start + 12 : start + 16], "big") == 1  # one rate for all
    assert way[0][0] > boxes(data, 0, len(data))[b"mdat"][0]  # places of frames do not change
    # The last six frames last three times as long (8.6.1.2).
    table = b"".join(value.to_bytes(4, "big") for value in (2, 6, step, 6, 3 * step))
    changed = bytearray(data[: start + 12] + table + data[end:])
    for first, last in way:
        changed[first : first + 4] = (last - first + 8).to_bytes(4, "big")
    # An edit list would end the clip where it ended.
    path.write_bytes(bytes(changed).replace(b"edts", b"free"))
    times = np.array([frame.time_s for frame in Clip(path).frames()])
    np.testing.assert_allclose(np.diff(times), np.array([1.0] * 6 + [3.0] * 5) / 30, atol=2e-3)


@pytest.mark.parametrize("rate", [1.0, 120.0])
def test_slow_and_fast_rates(tmp_path: Path, rate: float) -> None:
    clip = Clip(write(tmp_path / "clip.mp4", 8, rate, codec="mp4v"))
    times = [frame.time_s for frame in clip.frames()]
    np.testing.assert_allclose(times, np.arange(8) / rate, atol=2e-3)
    assert clip.info.frame_rate == pytest.approx(rate, rel=0.01)
