"""Requests to the worker and events from it ↔ JSON lines. Standard library only.

One message is one line of UTF-8 JSON: an object whose "type" names a class below and whose other keys are its
fields. A field that the reader does not know is ignored, so that a newer writer may add some; a field that is missing
without a default, or of a wrong type, raises `MessageError`.
"""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, ClassVar

PROTOCOL = 1
MAX_LINE_BYTES = 1 << 20


class MessageError(ValueError):
    """A line that is not a message of this protocol; the text says what is wrong with it.

    `job` is the job that the line spoke of, where that much could be read.
    """

    def __init__(self, text: str, job: str = "") -> None:
        super().__init__(text)
        self.job = job


@dataclass(frozen=True)
class Message:
    """Base of all messages."""

    type: ClassVar[str] = ""

    def to_line(self) -> str:
        """One line of JSON, newline included. Raises MessageError for a value that JSON does not have (NaN)."""
        try:
            text = json.dumps({"type": self.type, **asdict(self)}, ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise MessageError(f"a {self.type} message can't be written: {error}") from error
        return text + "\n"


# ---------------------------------------------------------------------------------------------------------- requests


@dataclass(frozen=True)
class JobRequest(Message):
    """Base of the requests that are work. `job` is an id that no other has; each ends with one of FINAL_EVENTS."""

    job: str


@dataclass(frozen=True)
class FitPhoto(JobRequest):
    """Fit the people in one photo; each becomes a capture file in `out_dir`."""

    type: ClassVar[str] = "fit_photo"
    photo: str
    out_dir: str
    stem: str = ""  # of the files' names; empty: the photo's
    body: str | None = None  # file or folder of a licensed body; None: the free body
    points: str | None = None  # OpenPose or COCO-WholeBody JSON instead of the built-in detector
    people: int = 1  # how many, the main person first; 0 = all
    focal_px: float | None = None
    focal_mm: float | None = None  # equivalent on 35 mm film
    device: str = "cpu"
    threads: int = 1
    cache_dir: str | None = None  # where the detector's models are; None: the user's cache folder
    models_dir: str | None = None  # folder of official .task bundles, which take precedence
    height_cm: float | None = None  # of the main person, standing: it fixes the scale
    gender: str = "neutral"  # of a licensed body: neutral, male, female, or auto for what fits best
    quality: str = "normal"  # fast or normal
    upright: str = ""  # gets an upright copy (JPEG) of a photo that Blender would show turned, or not at all
    points_error_px: float | None = None  # how far `points` may be off; None: as a detector's


@dataclass(frozen=True)
class FitVideo(JobRequest):
    """Capture the people of a clip, or of a folder of numbered pictures, to OUT.npz, OUT.2.npz, …

    Each window of frames that is solved sends a `checkpoint` with the file of its capture; with `early`, each part that
    was looked at before, too. A job that ended early goes on where it was when the same request comes again.
    """

    type: ClassVar[str] = "fit_video"
    clip: str
    out: str
    start: int = 0  # frames of the clip, from 0
    end: int | None = None  # not included; None: to the end
    step: int = 1
    frame_rate: float | None = None  # of pictures in a folder, or instead of the file's
    moving_camera: bool = False  # take its turning from the background
    body: str | None = None
    people: int = 1  # those who are large for longest; 0 = all
    focal_px: float | None = None
    focal_mm: float | None = None
    device: str = "cpu"
    threads: int = 1
    cache_dir: str | None = None
    models_dir: str | None = None
    height_cm: float | None = None
    gender: str = "neutral"
    early: bool = False  # also show rough motions of what was looked at so far


@dataclass(frozen=True)
class Correct(JobRequest):
    """Move a pose onto pins set by hand; the corrected pose becomes a capture file `out`.

    `capture`: the pose before, as a capture of one frame. Further frames of it are poses to start from, such as what
    the screen shows while a point is dragged.
    """

    type: ClassVar[str] = "correct"
    capture: str
    out: str
    points: dict[str, list[float]] = field(default_factory=dict)  # "pose33/15": [x, y] px of the upright picture
    joints: dict[str, list[float]] = field(default_factory=dict)  # "left_wrist": [x, y, z] metres, camera's frame
    locked: list[str] = field(default_factory=list)  # joints whose own rotation stays as it is
    refit: bool = False  # also draw the body to all points that were seen
    body: str | None = None  # file or folder of a licensed body; None: the free body
    threads: int = 1


@dataclass(frozen=True)
class CheckSolver(JobRequest):
    """Load everything that photos need and tell of it: the `facts` of the result."""

    type: ClassVar[str] = "check_solver"
    threads: int = 1
    cache_dir: str | None = None
    models_dir: str | None = None


@dataclass(frozen=True)
class MakeTexture(JobRequest):
    """Project a photo on a posed body; the picture for its UVs becomes `out` (PNG)."""

    type: ClassVar[str] = "make_texture"
    photo: str
    vertices: str  # .npy: (V, 3) metres, camera's frame (OpenCV)
    out: str
    focal_px: float
    principal_px: list[float]
    image_size: list[int]  # width, height of the upright photo
    size: int = 1536  # side of the texture, px
    body: str | None = None  # file or folder of a licensed body; None: the free body
    gender: str = "neutral"
    threads: int = 1
    cache_dir: str | None = None
    models_dir: str | None = None


@dataclass(frozen=True)
class Warm(Message):
    """Load what photos need, before there is one. No job: nothing answers, and what goes wrong the next job tells."""

    type: ClassVar[str] = "warm"
    body: str | None = None  # as in FitPhoto, and so are the others
    device: str = "cpu"
    threads: int = 1
    cache_dir: str | None = None
    models_dir: str | None = None
    gender: str = "neutral"
    quality: str = "normal"


@dataclass(frozen=True)
class Cancel(Message):
    """Stop the job; the worker answers `cancelled`, or the job's own end if that came first."""

    type: ClassVar[str] = "cancel"
    job: str


@dataclass(frozen=True)
class Quit(Message):
    """End the worker. The end of its standard input does the same."""

    type: ClassVar[str] = "quit"


# ------------------------------------------------------------------------------------------------------------ events


@dataclass(frozen=True)
class Ready(Message):
    """The worker has started and reads requests."""

    type: ClassVar[str] = "ready"
    version: str
    pid: int
    protocol: int = PROTOCOL


@dataclass(frozen=True)
class Stage(Message):
    """A new stage of the job begins; `text` is for people."""

    type: ClassVar[str] = "stage"
    job: str
    name: str
    text: str


@dataclass(frozen=True)
class Progress(Message):
    """How much of the whole job is done."""

    type: ClassVar[str] = "progress"
    job: str
    fraction: float  # 0…1
    text: str = ""


@dataclass(frozen=True)
class Checkpoint(Message):
    """A file that is complete while the job goes on, e.g. the first of several people."""

    type: ClassVar[str] = "checkpoint"
    job: str
    path: str


@dataclass(frozen=True)
class Warn(Message):
    """Something that the user should know; the job goes on."""

    type: ClassVar[str] = "warning"
    job: str
    text: str


@dataclass(frozen=True)
class Result(Message):
    """The job is done. One capture file a person, the main one first."""

    type: ClassVar[str] = "result"
    job: str
    captures: list[str]
    summaries: list[str] = field(default_factory=list)  # a line for people, one a capture
    timings_s: dict[str, float] = field(default_factory=dict)  # by stage
    facts: dict[str, str] = field(default_factory=dict)  # of a check: see jobs.check


@dataclass(frozen=True)
class Cancelled(Message):
    """The job was stopped on request; it left no file."""

    type: ClassVar[str] = "cancelled"
    job: str


@dataclass(frozen=True)
class Failed(Message):
    """The job can't be done. `text` is one sentence with a next step."""

    type: ClassVar[str] = "error"
    job: str
    text: str
    detail: str = ""  # traceback, for the log


REQUESTS: dict[str, type[Message]] = {
    cls.type: cls for cls in (FitPhoto, FitVideo, Correct, CheckSolver, MakeTexture, Warm, Cancel, Quit)
}
EVENTS: dict[str, type[Message]] = {
    cls.type: cls for cls in (Ready, Stage, Progress, Checkpoint, Warn, Result, Cancelled, Failed)
}
# Each job ends with exactly one of these.
FINAL_EVENTS = (Result, Cancelled, Failed)


def parse_request(line: str | bytes) -> Message:
    """Read a line that a client wrote. Raises MessageError."""
    return _parse(line, REQUESTS)


def parse_event(line: str | bytes) -> Message:
    """Read a line that a worker wrote. Raises MessageError."""
    return _parse(line, EVENTS)


def _parse(line: str | bytes, known: Mapping[str, type[Message]]) -> Message:
    if len(line) > MAX_LINE_BYTES:
        raise MessageError(f"a line of {len(line)} bytes is too long")
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
        data = json.loads(text)
    # Deep nesting exhausts the parser's recursion.
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not a line of JSON: {error}") from error
    if not isinstance(data, dict):
        raise MessageError("not a JSON object")
    kind = data.pop("type", None)
    if not isinstance(kind, str) or kind not in known:
        raise MessageError(f"unknown type {kind!r:.80}")
    cls = known[kind]
    try:
        return cls(**_values(cls, data))
    except MessageError as error:
        job = data.get("job")
        raise MessageError(str(error), job if isinstance(job, str) else "") from error


def _values(cls: type[Message], data: dict[str, object]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for item in fields(cls):
        if item.name in data:
            values[item.name] = _checked(data[item.name], hints[item.name], f"{cls.type}.{item.name}")
        elif item.default is MISSING and item.default_factory is MISSING:
            raise MessageError(f"{cls.type} lacks {item.name}")
    return values


def _checked(value: object, hint: Any, where: str) -> Any:
    """`value`, if it is of the type that `hint` says (an int will do for a float)."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _checked(value, next(option for option in options if option is not type(None)), where)
    if origin is list:
        (item_hint,) = typing.get_args(hint)
        if isinstance(value, list):
            return [_checked(item, item_hint, f"{where}[{index}]") for index, item in enumerate(value)]
    elif origin is dict:
        _, item_hint = typing.get_args(hint)
        if isinstance(value, dict):
            return {str(key): _checked(item, item_hint, f"{where}.{key}") for key, item in value.items()}
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, hint):
        return value
    raise MessageError(f"{where} has a wrong value {value!r:.80}")
