"""A clip (video file or folder of numbered pictures) to upright RGB frames, one after another, with their real times.

OpenCV decodes, with its own FFmpeg. Frames are made as they are asked for, so memory does not grow with length.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .files import MediaError, check_file, check_size, numbered_pictures
from .frame import Frame
from .photo import read_photo

DEFAULT_RATE = 30.0  # of pictures in a folder, which know none
_HEAD_BYTES = 1 << 20
_AUDIO_MAGIC = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"#!AMR", b"FORM")
_AGAIN = "Copy it again from where it came from."


@dataclass(frozen=True)
class ClipInfo:
    """What is known of a clip before it is read."""

    source: str  # as the user gave it
    size: tuple[int, int]  # width, height in px, upright
    frame_rate: float  # nominal; the frames' own times count
    frame_count: int  # as the file says; 0 when it does not
    rotation_deg: int = 0  # that was applied to make frames upright, clockwise, from the file's metadata


@dataclass(frozen=True)
class FrameRange:
    """Which frames of a clip: from `start` up to, not including, `end`, every `step`-th. Counted from 0."""

    start: int = 0
    end: int | None = None
    step: int = 1

    def count(self, of: int) -> int:
        """How many frames that is in a clip of `of` frames."""
        end = of if self.end is None else min(self.end, of)
        return max(0, -(-(end - self.start) // self.step))


class Clip:
    """A clip that can be read any number of times. Raises MediaError where it can't be; `warnings` fill up while
    frames are read."""

    def __init__(self, path: str | os.PathLike[str], frame_rate: float | None = None) -> None:
        self.path = Path(path)
        self.source = os.fspath(path)
        self.warnings: list[str] = []
        self._given_rate = frame_rate
        self._pictures: list[Path] = []
        self.info = self._open_folder() if self.path.is_dir() else self._open_file()

    # --- reading --------------------------------------------------------------------------------------------

    def frames(self, which: FrameRange | None = None) -> Iterator[Frame]:
        """The frames of a range, in order. Frame.index counts the clip's frames, Frame.time_s is from its first.

        Ends early, with a warning, where a damaged clip can't be read further; raises MediaError where nothing can.
        """
        which = which or FrameRange()
        source = self._read_pictures(which) if self._pictures else self._read_file(which)
        yield from source

    def identity(self) -> dict[str, object]:
        """What tells this clip's content from another's: sizes, times of change and a hash of its beginning."""
        try:
            if self._pictures:
                stats = [path.stat() for path in self._pictures]
                digest = hashlib.sha256(b"\n".join(os.fsencode(path.name) for path in self._pictures))
                digest.update(self._pictures[0].read_bytes()[:_HEAD_BYTES])
                size, changed = sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)
            else:
                stat = self.path.stat()
                with self.path.open("rb") as file:
                    digest = hashlib.sha256(file.read(_HEAD_BYTES))
                size, changed = stat.st_size, stat.st_mtime_ns
        except OSError as error:
            raise MediaError(f"Can't read {self.source} any more: {error.strerror or error}. Put it back.") from error
        return {"bytes": size, "changed_ns": changed, "sha256_head": digest.hexdigest()}

    # --- video files ----------------------------------------------------------------------------------------

    def _open_file(self) -> ClipInfo:
        check_file(self.path, "video")
        if _is_picture(self.path):
            raise MediaError(f"{self.path.name} is a picture, not a video. Use it as a photo.")
        cv2 = _opencv()
        capture = _upright_capture(cv2, self.source)
        if not capture.isOpened():
            capture.release()
            raise MediaError(f"{self.path.name} {_what_is_wrong(self.path)}")
        try:
            width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            rate = float(capture.get(cv2.CAP_PROP_FPS))
            count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            turned = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        finally:
            capture.release()
        check_size(self.path.name, (width, height), "clip")
        # Streams without an index say nonsense.
        known = int(count) if np.isfinite(count) and 0 < count < 1e9 else 0
        if not (np.isfinite(rate) and 0.01 < rate < 10_000):
            rate = DEFAULT_RATE
        return ClipInfo(self.source, (width, height), self._given_rate or rate, known, turned)

    def _read_file(self, which: FrameRange) -> Iterator[Frame]:
        cv2 = _opencv()
        capture = _upright_capture(cv2, self.source)
        index, last_s, first_s, size = -1, -1.0, None, None
        try:
            while which.end is None or index + 1 < which.end:
                if not capture.grab():
                    break
                index += 1
                # Before the first wanted frame the times count too: the clip's first frame is at 0.
                stamp = float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0
                first_s = stamp if first_s is None else first_s
                time_s = stamp - first_s
                if self._given_rate:
                    time_s = index / self._given_rate
                elif not np.isfinite(time_s) or time_s <= last_s:
                    time_s = max(last_s, 0.0) + 1.0 / self.info.frame_rate if index else 0.0
                last_s = time_s
                if index < which.start or (index - which.start) % which.step:
                    continue
                ok, bgr = capture.retrieve()
                if not ok or bgr is None:
                    break
                rgb = _to_rgb(cv2, bgr)
                if size is not None and rgb.shape[:2] != size:
                    self._warn(f"{self.path.name} changes its picture size at frame {index}; the rest is left out.")
                    return
                size = rgb.shape[:2]
                yield Frame(rgb=rgb, source=self.source, index=index, time_s=time_s)
        finally:
            capture.release()
        if index < 0:
            raise MediaError(
                f"No frame of {self.path.name} can be decoded: it is damaged, or its codec is missing here. "
                "Save it as H.264 (MP4) and try again."
            )
        expected = self.info.frame_count
        missing = expected - (index + 1)
        # Some containers round the count; what lacks is a part of the clip.
        if which.end is None and missing > max(2, 0.02 * expected):
            self._warn(
                f"{self.path.name} is not complete: {index + 1} of {expected} frames could be read. "
                "The rest is left out; copy the file again to get it."
            )

    # --- folders of pictures --------------------------------------------------------------------------------

    def _open_folder(self) -> ClipInfo:
        self._pictures = numbered_pictures(self.path)
        if not self._pictures:
            raise MediaError(f"The folder {self.path.name} holds no pictures. Choose a video, or a folder of frames.")
        size = read_photo(self._pictures[0]).size
        return ClipInfo(self.source, size, self._given_rate or DEFAULT_RATE, len(self._pictures))

    def _read_pictures(self, which: FrameRange) -> Iterator[Frame]:
        for index in range(which.start, min(which.end or len(self._pictures), len(self._pictures)), which.step):
            path = self._pictures[index]
            try:
                frame = read_photo(path)
            except MediaError as error:
                self._warn(f"A frame is left out: {error}")
                continue
            if frame.size != self.info.size:
                self._warn(f"{path} has another size than the first picture; it is left out.")
                continue
            yield Frame(rgb=frame.rgb, source=self.source, index=index, time_s=index / self.info.frame_rate)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _upright_capture(cv2: Any, source: str) -> Any:
    """A decoder that turns frames as the file's metadata says, and tells their size after that."""
    capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG)
    # Some of OpenCV's versions do so by default, others do not.
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def _opencv() -> Any:
    # FFmpeg writes its own complaints to stderr; ours say what to do.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    import cv2

    return cv2


def _to_rgb(cv2: Any, frame: Any) -> Any:
    if frame.ndim == 2:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(frame, cv2.COLOR_BGRA2RGB if frame.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _is_picture(path: Path) -> bool:
    """FFmpeg takes a picture for a clip of one frame."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:3] == b"\xff\xd8\xff" or head[:8] == b"\x89PNG\r\n\x1a\n" or head[8:12] == b"WEBP"


def _what_is_wrong(path: Path) -> str:
    """Why FFmpeg can't open a file, by its content, and what to do."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(max(0, size - _HEAD_BYTES))
        both = head + file.read(_HEAD_BYTES)
    sound = head.startswith(_AUDIO_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WAVE")
    sound = sound or (head[:4] == b"OggS" and b"theora" not in head[:4096])
    sound = sound or (b"soun" in both and b"vide" not in both)
    if sound:
        return "has sound, but no pictures. Choose a video."
    if head[4:8] == b"ftyp" and b"moov" not in both:
        return f"is cut off: the index at its end is missing. {_AGAIN}"
    return "is not a video, is damaged, or its codec is missing here. Save it as H.264 (MP4) and try again."
