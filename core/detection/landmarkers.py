"""MediaPipe's tasks behind small classes: pictures in, plain arrays out. The face mesh is in `face_network`.

The only module that touches MediaPipe's interface. Networks are loaded once and stay warm; each class has `close`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidate

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


class LandmarkerError(Exception):
    """A network that can't be loaded or run; the message says what to do next."""


_quiet = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send the process's stderr to nowhere: TFLite and MediaPipe write there past Python, with no switch for it."""
    # One thread at a time: another one would take nowhere for what is to be restored.
    with _quiet:
        yield from _hushed()


def _hushed() -> Iterator[None]:
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, ValueError, AttributeError):
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


# MediaPipe closes a task through a thread of its own and waits for it, from `__del__` too. Where the garbage collector
# runs in that thread, or in the middle of handing it work, that waits for ever. So tasks are kept from the collector
# here, and closed only at places that are safe: `close`, and before the next task is made.
_alive: list[Any] = []
_abandoned: list[Any] = []


class _Task:
    """A MediaPipe task: its prints kept from the user, and closed in a safe place even if nobody calls `close`."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._spoken = False
        _alive.append(task)

    def run(self, rgb: Image) -> Any:
        """The task's result. Its first call prints warnings once; they are kept from the user."""
        return self._call("detect", rgb)

    def embed(self, rgb: Image) -> list[Array]:
        """What the network of an image embedder puts out, as it is."""
        return [np.asarray(item.embedding, np.float32) for item in self._call("embed", rgb).embeddings]

    def _call(self, name: str, rgb: Image) -> Any:
        import mediapipe

        if self._task is None:
            raise LandmarkerError("The detector is closed already. Make a new one.")
        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(rgb))
        try:
            if self._spoken:
                return getattr(self._task, name)(image)
            with quiet():
                result = getattr(self._task, name)(image)
        except RuntimeError as error:
            raise LandmarkerError(f"MediaPipe failed on this picture ({_first_line(error)}). Try another.") from error
        self._spoken = any(bool(value) for value in vars(result).values())
        return result

    def close(self) -> None:
        if self._task is not None:
            _shut(self._task)
            self._task = None

    def __del__(self) -> None:
        if self._task is not None:
            _abandoned.append(self._task)


def _shut(task: Any) -> None:
    with quiet():
        task.close()
    _alive[:] = [item for item in _alive if item is not task]


@atexit.register
def _leave_to_the_system() -> None:
    """At the end of the process MediaPipe's threads are gone already: its `__del__` would fail aloud."""
    for task in _alive:
        if hasattr(task, "_handle"):
            task._handle = None


def _create(kind: str, path: Path, network: str | None = None, **options: Any) -> _Task:
    """A task of the bundle at `path`, or of one network in it."""
    try:
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions
    except ImportError as error:
        raise LandmarkerError(
            "MediaPipe is not installed for this Python. Install Pantomime again, or `pip install mediapipe`."
        ) from error
    while _abandoned:
        _shut(_abandoned.pop())
    try:
        # From memory: MediaPipe opens paths in the platform's own encoding, which fails on some scripts.
        data = path.read_bytes()
        if network is not None:
            with zipfile.ZipFile(path) as archive:
                data = archive.read(network)
        base = BaseOptions(model_asset_buffer=data)
    except (KeyError, zipfile.BadZipFile) as error:
        raise LandmarkerError(f"{path} is not a bundle of models. Run `pantomime models` again.") from error
    except OSError as error:
        raise LandmarkerError(f"Can't read {path}: {error.strerror or error}. Run `pantomime models` again.") from error
    try:
        with quiet():
            task = getattr(vision, kind).create_from_options(
                getattr(vision, kind + "Options")(base_options=base, **options)
            )
    except OSError as error:
        raise LandmarkerError(
            f"MediaPipe's library can't be loaded ({_first_line(error)}). Install what it names; on Linux it needs "
            "libEGL and libGLESv2 (Debian's packages libegl1 and libgles2)."
        ) from error
    except (RuntimeError, ValueError) as error:
        raise LandmarkerError(
            f"{path} is not a model that MediaPipe can load ({_first_line(error)}). Run `pantomime models` again."
        ) from error
    return _Task(task)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


class PoseNetwork:
    """33 points, metric hints and, where asked for, a mask for each person."""

    def __init__(self, path: Path, people: int, threshold: float, masks: bool = True) -> None:
        self._task = _create(
            "PoseLandmarker",
            path,
            num_poses=people,
            min_pose_detection_confidence=threshold,
            min_pose_presence_confidence=threshold,
            output_segmentation_masks=masks,
        )

    def detect(self, rgb: Image) -> list[Candidate]:
        """The people in a picture or crop (H, W, 3), in its pixels. Raises LandmarkerError."""
        height, width = rgb.shape[:2]
        result = self._task.run(rgb)
        masks = result.segmentation_masks or []
        found = []
        for i, (points, world) in enumerate(zip(result.pose_landmarks, result.pose_world_landmarks, strict=True)):
            table = np.array([(p.x * width, p.y * height, p.visibility) for p in points], np.float32)
            hints = np.array([(p.x, p.y, p.z) for p in world], np.float32)
            if not (np.isfinite(table).all() and np.isfinite(hints).all()):
                continue
            mask = masks[i].numpy_view().reshape(height, width).copy() if i < len(masks) else None
            found.append(Candidate(table[:, :2], table[:, 2], hints, mask, np.eye(2, 3, dtype=np.float32)))
        return found

    def close(self) -> None:
        """Let go of the task."""
        self._task.close()


@dataclass(frozen=True)
class RawHand:
    """One hand in a crop's pixels. `left_score`: how much it looks like a person's left hand, 0…1."""

    image_px: Array  # (21, 2)
    world_m: Array  # (21, 3) camera axes, origin in the hand's middle
    left_score: float


class HandNetwork:
    """21 points for each hand in a crop."""

    def __init__(self, path: Path, hands: int, threshold: float) -> None:
        self._task = _create(
            "HandLandmarker",
            path,
            num_hands=hands,
            min_hand_detection_confidence=threshold,
            min_hand_presence_confidence=0.5,
        )

    def detect(self, rgb: Image) -> list[RawHand]:
        """The hands in a crop (H, W, 3), in its pixels. Raises LandmarkerError."""
        height, width = rgb.shape[:2]
        result = self._task.run(rgb)
        found = []
        for points, world, sides in zip(
            result.hand_landmarks, result.hand_world_landmarks, result.handedness, strict=True
        ):
            image = np.array([(p.x * width, p.y * height) for p in points], np.float32)
            hints = np.array([(p.x, p.y, p.z) for p in world], np.float32)
            score = float(sides[0].score)
            found.append(RawHand(image, hints, score if sides[0].category_name == "Left" else 1.0 - score))
        return found

    def close(self) -> None:
        """Let go of the task."""
        self._task.close()


HAND_INPUT_PX = 224


class HandTraceNetwork:
    """The network of 21 points alone, on a crop that shows one upright hand, as the hand of the frame before lays it.

    MediaPipe's hand task offers no way to give it a region, and its video mode keeps its memory to itself. Its image
    embedder runs any network and gives what comes out, so the hand's own network is run as one.
    """

    def __init__(self, path: Path) -> None:
        self._task = _create("ImageEmbedder", path, "hand_landmarks_detector.tflite")

    def detect(self, rgb: Image) -> tuple[RawHand, float]:
        """The hand in a crop of HAND_INPUT_PX, and how surely there is one, 0…1."""
        points, presence, right, world = self._task.embed(rgb)
        hand = RawHand(points.reshape(21, 3)[:, :2], world.reshape(21, 3), 1.0 - float(right[0]))
        return hand, float(presence[0])

    def close(self) -> None:
        """Let go of the task."""
        self._task.close()


class FaceTask:
    """478 points and 52 expression scores, from an official bundle that the user named."""

    def __init__(self, path: Path, threshold: float) -> None:
        self._task = _create(
            "FaceLandmarker",
            path,
            num_faces=1,
            min_face_detection_confidence=threshold,
            min_face_presence_confidence=threshold,
            output_face_blendshapes=True,
        )

    def detect(self, rgb: Image) -> tuple[Array, dict[str, float]] | None:
        """Points (468, 3) in the crop's pixels and ARKit scores; None without a face."""
        height, width = rgb.shape[:2]
        result = self._task.run(rgb)
        if not result.face_landmarks:
            return None
        points = np.array([(p.x * width, p.y * height, p.z * width) for p in result.face_landmarks[0]], np.float32)
        scores = (
            {c.category_name: float(c.score) for c in result.face_blendshapes[0]} if result.face_blendshapes else {}
        )
        scores.pop("_neutral", None)
        return points[:468], scores

    def close(self) -> None:
        """Let go of the task."""
        self._task.close()
