"""People in all frames of a clip, as parts in the job's folder; a stopped run goes on after the last whole part.

Frames are looked at in order by two threads: one follows people, the other one, a few frames behind, looks at their
hands and faces, while MediaPipe's networks leave Python alone. A third one helps to follow where several places are to
be looked at, and a fourth decodes the next frame. None hangs on how fast another one is, so that the result is the same
with one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detection.candidates import box_of
from .detection.detector import Detector
from .detection.follow import Describer, Follower, FrameSightings
from .media.frame import Frame
from .media.turning import TurnFinder
from .media.video import Clip, FrameRange
from .video_job import Arrays, JobFolder
from .video_people import sightings_arrays

PART = 64  # frames
AHEAD = 8  # frames that the first thread may be ahead, at most
AHEAD_BYTES = 128 << 20  # of their pictures, at most


class ClipDetection:
    """One clip's detection. `run` may be called in another process after a stop."""

    def __init__(
        self,
        clip: Clip,
        which: FrameRange,
        detector: Detector,
        people: int,
        moving_camera: bool,
        folder: JobFolder,
        key: str,
        two_threads: bool,
        progress: Callable[[float], None],
        stop_if_cancelled: Callable[[], None],
        check_clip: Callable[[], None],
        on_part: Callable[[int], None] = lambda number: None,
    ) -> None:
        """on_part: told of each part when it is in the folder."""
        self.clip, self.which, self.folder, self.key, self.two_threads = clip, which, folder, key, two_threads
        self.progress, self.stop_if_cancelled, self.check_clip = progress, stop_if_cancelled, check_clip
        self.on_part = on_part
        self.beside = ThreadPoolExecutor(1, "follow") if two_threads else None
        self.follower = Follower(detector, people, beside=self.beside)
        self.describer = Describer(detector)
        self.turning = TurnFinder() if moving_camera else None

    def run(self) -> int:
        """Look at all frames; how many parts there are. 0: there is no frame in the range."""
        number, done, finished, state = finished_parts(self.folder, self.key)
        if finished:
            return number
        if state is not None:
            self._restore(state)
        executor: Executor = ThreadPoolExecutor(1, "describe") if self.two_threads else _AtOnce()
        reader: Executor = ThreadPoolExecutor(1, "read") if self.two_threads else _AtOnce()
        try:
            return self._run(executor, reader, number, done)
        finally:
            # What is under way ends within a frame; what waits is dropped.
            for each in (executor, reader, self.beside):
                if each is not None:
                    each.shutdown(cancel_futures=True)

    def _run(self, executor: Executor, reader: Executor, number: int, done: int) -> int:
        total = self.which.count(self.clip.info.frame_count) if self.clip.info.frame_count else 0
        # The frames that were done are decoded again, not looked at: seeking is not exact in every container.
        rest = FrameRange(self.which.start + done * self.which.step, self.which.end, self.which.step)
        waiting: deque[Future[FrameSightings]] = deque()
        seen: list[FrameSightings] = []
        homographies: list[NDArray[np.float64]] = []
        for frame in _one_ahead(self.clip.frames(rest), reader):
            self.stop_if_cancelled()
            followed = self.follower.follow(frame)
            waiting.append(executor.submit(self.describer.describe, frame.rgb, followed))
            if self.turning is not None:
                size = frame.rgb.shape[1], frame.rgb.shape[0]
                boxes = [box_of(person, size) for _, person, _ in followed.people]
                homographies.append(self.turning.homography(frame.rgb, np.array(boxes, np.float32)))
            done += 1
            if total:
                self.progress(min(done / total, 1.0))
            ahead = min(AHEAD, max(1, AHEAD_BYTES // frame.rgb.nbytes))
            whole = len(seen) + len(waiting) == PART
            while len(waiting) > (0 if whole else ahead):
                seen.append(waiting.popleft().result())
            if whole:
                self._save(number, seen, homographies, False)
                number, seen, homographies = number + 1, [], []
        if done == 0:
            return 0
        seen += [future.result() for future in waiting]
        self._save(number, seen, homographies, True)
        return number + 1

    def _save(
        self, number: int, frames: list[FrameSightings], homographies: list[NDArray[np.float64]], finished: bool
    ) -> None:
        self.check_clip()
        arrays: Arrays = sightings_arrays(frames, homographies)
        arrays |= {f"state_{name}": value for name, value in self.follower.state.items()}
        arrays |= {f"state_describe_{name}": value for name, value in self.describer.state.items()}
        if self.turning is not None:
            arrays |= {f"state_turn_{name}": value for name, value in self.turning.state.items()}
        self.folder.save(f"seen-{number:05d}", self.key, arrays | {"finished": np.array(finished)})
        self.on_part(number)

    def _restore(self, state: Arrays) -> None:
        def of(prefix: str) -> dict[str, NDArray[Any]]:
            return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}

        self.follower.restore(state)
        self.describer.restore(of("describe_"))
        if self.turning is not None:
            self.turning.restore(of("turn_"))


def finished_parts(folder: JobFolder, key: str) -> tuple[int, int, bool, Arrays | None]:
    """How many parts and frames are done, whether that is all, and the state after them."""
    number, done, finished, state = 0, 0, False, None
    while not finished and (part := folder.load(f"seen-{number:05d}", key)) is not None:
        number, done = number + 1, done + len(part["frame_index"])
        finished = bool(part["finished"])
        state = {name[6:]: value for name, value in part.items() if name.startswith("state_")}
    return number, done, finished, state


def _one_ahead(frames: Iterator[Frame], reader: Executor) -> Iterator[Frame]:
    """The same frames, the next one decoded while one is looked at."""
    waiting = reader.submit(next, frames, None)
    while (frame := waiting.result()) is not None:
        waiting = reader.submit(next, frames, None)
        yield frame


class _AtOnce(Executor):
    """Does what is asked for at once, in the caller's thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future
