"""A quick motion of what was looked at so far, for whoever watches while a clip is captured. It is thrown away.

A clip's shape, camera, ground and contacts come from all of its frames, so that nothing of the result is there before
the last one was looked at. But a part of it can be fitted for itself, at some moments a second and without fingers,
face and contacts: rough, and soon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .capture import EARLY, Capture
from .fitting.photo import FitError, Fitter, PhotoCamera
from .fitting.video_evidence import Seen
from .fitting.video_fit import ClipFitter, Motion
from .fitting.video_focal import search_rows
from .fitting.video_parts import Standing
from .fitting.video_shape import ClipShape, fit_key, fit_shape
from .fitting.video_standing import Footing, standing_of
from .fitting.video_start import start_window
from .media.turning import turns_of
from .video_job import JobFolder
from .video_people import Person, Sightings
from .video_result import Rows, capture_of

APART_S = 0.1  # between the moments that are fitted
KEY_FRAMES = 4  # that a shape is taken from
# Whom a clip is about, who was large for longest, is known at its end. Until then it is who was so far, but nobody
# loses the place to someone who is about as large.
MORE_PRESENT = 1.2


@dataclass
class _Followed:
    """What the first part that shows a person told, and the later ones go on with."""

    number: int  # of the person, as the capture's `person_id`
    shape: ClipShape
    generation: int = 1  # one more each time that another person takes the number
    up: NDArray[np.float32] | None = None
    ground_m: float = float("nan")
    turn: NDArray[np.float64] | None = None  # (3, 3) the last frame's camera axes to the first's


@dataclass(eq=False)
class _Known:
    """Somebody in the parts so far."""

    presence: float = 0.0  # Σ size in px over frames
    followed: _Followed | None = None  # while shown


class EarlyMotion:
    """Fits parts of a clip's detection as they come. Needs the parts in the folder, changes nothing there."""

    def __init__(
        self,
        fitter: Fitter,
        folder: JobFolder,
        detection_key: str,
        camera: PhotoCamera,
        image_size: tuple[int, int],
        rate: float,
        people: int,
        height_m: float | None,
    ) -> None:
        """people: how many are followed, 0: all; height_m: of the first."""
        self.clip = ClipFitter(fitter)
        self.folder, self.key, self.camera = folder, detection_key, camera
        self.image_size, self.rate, self.people, self.height_m = image_size, rate, people, height_m
        self._by_track: dict[int, _Known] = {}

    @torch.inference_mode()
    def part(self, number: int) -> list[Capture]:
        """The people in one part of the detection; none where too little of them is seen."""
        sightings = Sightings(self.folder, self.key, number + 1, first=number)
        people = [(self._known(person), person) for person in sightings.people()]
        found = []
        for known, person in sorted(people, key=lambda pair: -pair[0].presence):
            if known.followed is None:
                known.followed = self._admitted(known, sightings, person)
            if known.followed is not None:
                line = sightings.timeline
                turn = turned(line.homography, line.shot, known.followed) if len(line.homography) else None
                runs = _runs(sightings, person)
                found += [self._capture(sightings, person, known.followed, turn, run) for run in runs]
        return found

    def _known(self, person: Person) -> _Known:
        """Somebody in this part, with what is known from those before."""
        before = {known: None for track in person.tracks if (known := self._by_track.get(track)) is not None}
        known = next((one for one in before if one.followed is not None), None) or next(iter(before), _Known())
        # Who was taken for several people.
        known.presence += sum(one.presence for one in before if one is not known and one.followed is None)
        known.presence += person.presence
        self._by_track |= dict.fromkeys(person.tracks, known)
        return known

    def _admitted(self, known: _Known, sightings: Sightings, person: Person) -> _Followed | None:
        """Somebody who is not shown yet, if there is a place left, or one of somebody who is seen less."""
        shown = {one for one in self._by_track.values() if one.followed is not None}
        number, generation, least = len(shown), 1, None
        if self.people and len(shown) >= self.people:
            least = min(shown, key=lambda one: one.presence)
            assert least.followed is not None
            if known.presence <= MORE_PRESENT * least.presence:
                return None
            number, generation = least.followed.number, least.followed.generation + 1
        shape = self._shape(sightings, person, number)
        if shape is None:
            return None
        if least is not None:
            least.followed = None
        return _Followed(number, shape, generation)

    def _shape(self, sightings: Sightings, person: Person, number: int) -> ClipShape | None:
        rows = np.array_split(np.flatnonzero(person.quality > 0), KEY_FRAMES)
        best = [int(part[person.quality[part].argmax()]) for part in rows if len(part)]
        keys = Seen.join([sightings.seen(person, row, row + 1) for row in best])
        height_m = self.height_m if number == 0 else None
        fitter, size = self.clip.fitter, self.image_size
        try:
            return fit_shape(
                lambda camera: [fit_key(fitter, keys, row, size, camera, height_m) for row in range(len(keys))],
                size, self.camera,
            )  # fmt: skip
        except FitError:
            return None

    def _capture(
        self,
        sightings: Sightings,
        person: Person,
        followed: _Followed,
        turns: NDArray[np.float32] | None,
        rows: NDArray[np.int64],
    ) -> Capture:
        """The person in `rows` of the part, counted from the person's first frame."""
        clip, shape, size = self.clip, followed.shape, self.image_size
        seen = Seen.join([sightings.seen(person, int(row), int(row) + 1) for row in rows])
        turn = None if turns is None else turns[person.first + rows]
        state = start_window(clip.parts, seen, shape, size)
        state = clip.body_window(seen, state, 0, shape, size, None, turn).state
        if followed.up is None:
            footing = Footing.of(clip, seen, state, shape.principal_px, turn)
            stands = standing_of([(slice(None), footing)], seen.time_s, [(0, len(seen))], clip.settings.contacts)
            followed.up, followed.ground_m = stands.up, stands.ground_m
        none = np.zeros((len(seen), 4), np.float32)
        motion = replace(Motion.of_state(state), confidence=clip.inliers(seen, state, shape, size))
        every = slice(0, len(seen))
        told = Rows(
            seen.index, seen.time_s, seen.shot, turn, lambda start, end: seen.rows(slice(start, end)), size, self.rate,
            followed.number, len(seen),
        )  # fmt: skip
        capture = capture_of(clip, told, every, motion, shape, Standing(none, followed.up, followed.ground_m, none))
        return replace(capture, diagnostics=capture.diagnostics | {EARLY: followed.generation})


def turned(homographies: NDArray[np.float64], shot: NDArray[np.int64], followed: _Followed) -> NDArray[np.float32]:
    """Each frame's camera axes to those of the person's first frame, (T, 3, 3), of a camera that turns.

    homographies (T, 3, 3): of a part, from the frame before; shot (T,): 0 until its first cut. `followed` remembers
    where the part ended.
    """
    # A frame before the first one, where the part before ended. A person's first frame is where turning begins.
    steps = np.concatenate([np.eye(3)[None], homographies])
    if followed.turn is None:
        followed.turn, steps[1] = np.eye(3), np.eye(3)
    shot = np.concatenate([[0], shot])
    turns = turns_of(steps, followed.shape.focal_px, followed.shape.principal_px, shot)
    turns[shot == 0] = followed.turn @ turns[shot == 0]
    followed.turn = turns[-1]
    return turns[1:].astype(np.float32)


def _runs(sightings: Sightings, person: Person) -> list[NDArray[np.int64]]:
    """The moments that are fitted, in stretches without a cut or an absence."""
    span = slice(person.first, person.last + 1)
    time_s, shot = sightings.timeline.time_s[span], sightings.timeline.shot[span]
    there = np.flatnonzero(person.quality > 0)
    apart = (np.diff(time_s[there]) > 5 * APART_S) | (np.diff(shot[there]) > 0)
    runs = []
    for run in np.split(there, np.flatnonzero(apart) + 1):
        moments = search_rows(time_s[run], (0, len(run)), APART_S, len(run))
        runs.append(run[moments])
    return runs
