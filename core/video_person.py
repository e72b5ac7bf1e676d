"""One person of a clip from sightings to a capture, window by window, each finished window kept as a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from .capture import Capture
from .fitting.photo import Fitter, PhotoCamera
from .fitting.state import BodyState
from .fitting.video_evidence import Seen, bend_seen
from .fitting.video_fit import ClipFitter, Motion
from .fitting.video_focal import clip_focal, search_rows
from .fitting.video_parts import Standing
from .fitting.video_settings import VideoSettings
from .fitting.video_shape import ClipShape, KeyFit, fit_key, fit_shape
from .fitting.video_standing import Footing, rests_seen, standing_of
from .fitting.video_start import Known, fill_in, start_window
from .fitting.video_straight import straight_shares, straighten_seen
from .fitting.video_swaps import exchange, find_swaps
from .media.turning import turns_of
from .video_job import JobFolder
from .video_people import Person, Sightings
from .video_result import Rows, capture_of
from .video_windows import Schedule, Window, plan

if TYPE_CHECKING:
    from .video_helper import Helper


CACHED = 8  # parts of a motion that stay in memory
AT_ONCE, AROUND = 256, 64  # frames that are judged together, and how far they look to both sides


class PersonFit:
    """The fit of one person. `run` may be called in another process after a stop: finished parts are read."""

    def __init__(
        self,
        fitter: Fitter,
        sightings: Sightings,
        person: Person,
        number: int,
        image_size: tuple[int, int],
        camera: PhotoCamera,
        rate: float,
        height_m: float | None,
        folder: JobFolder,
        key: str,
        progress: Callable[[float], None],
        stop_if_cancelled: Callable[[], None],
        on_window: Callable[[Capture, str], None] | None = None,
        settings: VideoSettings | None = None,
        helper: Helper | None = None,
    ) -> None:
        """helper: another process that knows of this fit, and takes its share of key frames and windows."""
        self.clip = ClipFitter(fitter, settings)
        self.fitter, self.sightings, self.person, self.number = fitter, sightings, person, number
        self.image_size, self.camera, self.rate, self.height_m = image_size, camera, rate, height_m
        self.folder, self.key = folder, key
        self.progress, self.stop_if_cancelled, self.on_window = progress, stop_if_cancelled, on_window
        line = sightings.timeline
        span = slice(person.first, person.last + 1)
        self.time_s, self.index, self.shot = line.time_s[span], line.index[span], line.shot[span]
        self.swapped = np.zeros((len(self.time_s), 2), np.int64)
        self.straight = np.zeros(len(self.time_s), np.float32)
        self.turn: NDArray[np.float32] | None = None  # (T, 3, 3) each frame's camera axes to the first's
        s, rate = self.clip.settings, self.rate
        keep = min(max(s.least_keep, round(s.keep_s * rate)), s.most_keep)
        ahead = min(max(s.least_ahead, round(s.ahead_s * rate)), s.most_keep // 2)
        self.windows = plan(self._spans(), keep, ahead)
        self._helper, self._cached, self._prepared = helper, dict[str, Motion](), ""

    def _as_photos(self, start: int, end: int) -> Seen:
        """What was seen in some rows, left and right put right."""
        return exchange(self.sightings.seen(self.person, start, end), self.swapped[start:end])

    def _seen(self, start: int, end: int) -> Seen:
        """The same, legs that are seen straight made straight, and fingers bent as their reader says."""
        seen = replace(self._as_photos(start, end), straight=self.straight[start:end])
        return bend_seen(straighten_seen(seen, self.fitter.settings.straight), self.fitter.hand_reader)

    def _judge(self) -> None:
        """Which frames have left and right mixed up, and which show straight legs."""
        name = f"judged-{self.number}"
        kept = self.folder.load(name, self.key)
        if kept is None:
            pose, confidence, size, depth = self.sightings.pose(self.person)
            swaps = self.clip.settings.swaps
            self.swapped = find_swaps(pose, confidence, size, self.time_s, self.shot, swaps, depth)
            count, shares = len(self.time_s), []
            for at in range(0, count, AT_ONCE):
                start, last = max(0, at - AROUND), min(at + AT_ONCE, count)
                seen = self._as_photos(start, min(last + AROUND, count))
                shares.append(straight_shares(seen, self.fitter.settings.straight)[at - start : last - start])
            kept = {"swapped": self.swapped, "straight": np.concatenate(shares)}
            self.folder.save(name, self.key, kept)
        self.swapped, self.straight = np.asarray(kept["swapped"], np.int64), kept["straight"]

    def run(self) -> Capture:
        """The person's capture, with everything that is not done yet."""
        for name, progress in (("rough", 0.0), ("final", 0.5)):
            self.prepare(name)
            self._solve(name, progress)
        motion = Motion.empty(len(self.time_s), self.fitter.body.num_expressions)
        for number, window in enumerate(self.windows):
            motion.put(slice(window.first, window.last), self._part("final", number))
        self._fill_gaps(motion)
        return self._capture(motion, slice(0, len(self.time_s)))

    def prepare(self, name: str) -> None:
        """What the windows of a pass need, read or made: "rough", or "final" after that."""
        if self._prepared == name:
            return
        if not self._prepared:
            self._judge()
            self.shape = self._shape()
            self._set_turn(self.shape)
        if name == "final":
            self._find_standing()
        self._prepared = name

    def _find_standing(self) -> None:
        """Ground, gravity and contacts of the whole clip, from its rough motion."""
        name = f"standing-{self.number}"
        kept = self.folder.load(name, self.key)
        if kept is None:
            standing = self._standing()
            kept = {"solid": standing.solid, "still": standing.still, "up": standing.up,
                    "ground_m": np.array(standing.ground_m)}  # fmt: skip
            self.folder.save(name, self.key, kept)
        self.standing = Standing(kept["solid"], kept["up"], float(kept["ground_m"]), kept["still"])

    def _set_turn(self, shape: ClipShape) -> None:
        """The camera's turning, where it was looked for."""
        line = self.sightings.timeline
        if len(line.homography):
            turns = turns_of(line.homography, shape.focal_px, shape.principal_px, line.shot)
            self.turn = turns[self.person.first : self.person.last + 1].astype(np.float32)

    def _turned(self, start: int, end: int) -> NDArray[np.float32] | None:
        return None if self.turn is None else self.turn[start:end]

    # --- stages -------------------------------------------------------------------------------------------------

    def _shape(self) -> ClipShape:
        name = f"shape-{self.number}"
        kept = self.folder.load(name, self.key)
        if kept is None:
            shape = fit_shape(self._fit_keys, self.image_size, self.camera)
            focal = self._focal(shape) if self.camera.focal_px is None else shape.focal_px
            if abs(np.log(focal / shape.focal_px)) > 0.01:
                known = PhotoCamera(focal, shape.focal_source, self.camera.principal_px)
                shape = fit_shape(self._fit_keys, self.image_size, known)
            kept = {
                "betas": shape.betas,
                "focal_px": np.float64(shape.focal_px).reshape(()),
                "source": np.array(shape.focal_source),
                "principal_px": np.array(shape.principal_px, np.float64),
            }
            self.folder.save(name, self.key, kept)
        principal = float(kept["principal_px"][0]), float(kept["principal_px"][1])
        return ClipShape(kept["betas"], float(kept["focal_px"]), str(kept["source"]), principal)

    @cached_property
    def _keys(self) -> Seen:
        """The frames that a shape is taken from."""
        self._judge()
        return Seen.join([self._as_photos(row, row + 1) for row in self._key_rows()])

    def fit_key(self, number: int, camera: PhotoCamera) -> KeyFit | None:
        """What one of these frames says."""
        return fit_key(self.fitter, self._keys, number, self.image_size, camera, self.height_m)

    def _fit_keys(self, camera: PhotoCamera) -> list[KeyFit | None]:
        """What all of them say."""
        found: dict[int, KeyFit | None] = {}
        schedule = Schedule([()] * len(self._keys), set())
        if self._helper is not None:
            self._helper.fit_keys(camera, schedule, found)

        def fit(number: int) -> None:
            found[number] = self.fit_key(number, camera)

        schedule.work(fit, self.stop_if_cancelled)
        return [found[number] for number in range(len(self._keys))]

    def _focal(self, shape: ClipShape) -> float:
        """The focal length that the longest stretch says, if it says more than its frames do."""
        s = self.clip.settings
        start, end = max(self._spans(), key=lambda span: self.time_s[span[1] - 1] - self.time_s[span[0]])
        rows = search_rows(self.time_s, (start, end), s.focal_apart_s, s.focal_moments)
        if len(rows) < 8:
            return shape.focal_px
        self._set_turn(shape)
        turn = None if self.turn is None else self.turn[rows]
        # Not the whole stretch: what was seen is many times what is kept of a frame.
        first = int(rows[0])
        seen = self._seen(first, int(rows[-1]) + 1).rows(rows - first)
        return clip_focal(self.clip, seen, shape, self.image_size, turn, self.stop_if_cancelled)

    def _key_rows(self) -> list[int]:
        """Rows that show most of the person, spread over the clip."""
        quality = self.person.quality
        there = np.flatnonzero(quality > 0)
        bins = np.array_split(there, min(self.clip.settings.key_frames, len(there)))
        rows = [int(part[quality[part].argmax()]) for part in bins]
        best = max(float(quality[row]) for row in rows)
        return [row for row in rows if quality[row] > 0.4 * best]

    def _spans(self) -> list[tuple[int, int]]:
        """Stretches that are solved as one: without a long absence and without a cut."""
        there = np.flatnonzero(self.person.quality > 0)
        spans = []
        start = int(there[0])
        for a, b in zip(there[:-1].tolist(), there[1:].tolist(), strict=True):
            away = b - a > 1 and self.time_s[b] - self.time_s[a] > self.clip.settings.bridge_s
            if away or self.shot[a] != self.shot[b]:
                spans.append((start, a + 1))
                start = b
        spans.append((start, int(there[-1]) + 1))
        return spans

    def _solve(self, name: str, progress: float) -> None:
        """All windows: without contacts ("rough"), or with them and with hands and face ("final"). Into parts."""
        done = {n for n in range(len(self.windows)) if self.folder.load(self._name(name, n), self.key) is not None}
        schedule, told = Schedule([window.needs for window in self.windows], done), 0

        def between() -> None:
            nonlocal told
            self.stop_if_cancelled()
            told = self._tell(name, schedule, told)
            self.progress(progress + 0.5 * len(schedule.done) / len(self.windows))

        if self._helper is not None:
            self._helper.solve(name, schedule)
        schedule.work(lambda number: self.solve(name, number), between)
        between()

    def _tell(self, name: str, schedule: Schedule, told: int) -> int:
        """Captures of solved windows to the caller, in order; how many there were so far."""
        while name == "final" and self.on_window is not None and told in schedule.done:
            window = self.windows[told]
            capture = self._capture(self._part(name, told), slice(window.first, window.last))
            self.on_window(capture, f"window-{self.number}-{told:05d}")
            told += 1
        return told

    def solve(self, name: str, number: int) -> None:
        """One window, whose neighbours are solved as far as it needs them."""
        window = self.windows[number]
        solved = self._rough(window) if name == "rough" else self._final(window)
        self.folder.save(self._name(name, number), self.key, solved.arrays())

    def _name(self, name: str, number: int) -> str:
        return f"{name}-{self.number}-{number:05d}"

    def _part(self, name: str, number: int) -> Motion:
        part = self._name(name, number)
        if part not in self._cached:
            arrays = self.folder.load(part, self.key)
            if arrays is None:
                raise FileNotFoundError(part)
            while len(self._cached) >= CACHED:
                self._cached.pop(next(iter(self._cached)))
            self._cached[part] = Motion.of(arrays)
        return self._cached[part]

    def _state(self, name: str, start: int, end: int) -> BodyState:
        """Rows of a motion that are solved already, in the solver's form."""
        motion = Motion.empty(end - start, self.fitter.body.num_expressions)
        for number, window in enumerate(self.windows):
            first, last = max(window.first, start), min(window.last, end)
            if first < last:
                part = self._part(name, number).rows(slice(first - window.first, last - window.first))
                motion.put(slice(first - start, last - start), part)
        return self.clip.state_of(motion, self.shape)

    def _rough(self, window: Window) -> Motion:
        """The body without contacts."""
        seen = self._seen(window.context, window.end)
        begin, end = window.context + window.held[0], window.end - window.held[1]
        old, rest = self._state("rough", window.context, begin), self._state("rough", end, window.end)
        before = Known(_rows(old, slice(-1, None)), float(self.time_s[begin - 1])) if window.held[0] else None
        after = Known(_rows(rest, slice(0, 1)), float(self.time_s[end])) if window.held[1] else None
        inner = seen.rows(slice(begin - window.context, end - window.context))
        new = start_window(self.clip.parts, inner, self.shape, self.image_size, before, after)
        turn = self._turned(window.context, window.end)
        solution = self.clip.body_window(
            seen, _join(old, new, rest), window.held[0], self.shape, self.image_size, None, turn,
            held_last=window.held[1],
        )  # fmt: skip
        kept = slice(window.first - window.context, window.last - window.context)
        return Motion.of_state(_rows(solution.state, kept))

    def _final(self, window: Window) -> Motion:
        """The window with contacts, hands and face."""
        s, (first_held, last_held) = self.clip.settings, window.held
        seen = self._seen(window.context, window.end)
        begin, end = window.context + first_held, window.end - last_held
        start = _join(
            self._state("final", window.context, begin),
            self._state("rough", begin, end),
            self._state("final", end, window.end),
        )
        part = self.standing.rows(slice(window.context, window.end))
        turn = self._turned(window.context, window.end)
        solution = self.clip.body_window(
            seen, start, first_held, self.shape, self.image_size, part, turn, held_last=last_held
        )
        kept = slice(window.first - window.context, window.last - window.context)
        # Fingers and face need to know less of what is around than the body does.
        around = round(s.detail_ahead_s * self.rate)
        wide = slice(max(0, kept.start - max(around, first_held)), kept.stop + max(around, last_held))
        state = self.clip.detail_window(
            seen.rows(wide), _rows(solution.state, wide), first_held, self.shape, self.image_size, held_last=last_held
        )
        state = _rows(state, slice(kept.start - wide.start, kept.stop - wide.start))
        covariance = None if solution.covariance is None else solution.covariance[kept]
        sigma_m, sigma_rad = self.clip.uncertainty(state, covariance)
        confidence = self.clip.inliers(seen.rows(kept), state, self.shape, self.image_size)
        motion = Motion.of_state(state)
        return Motion(motion.rotmats, motion.transl, motion.expression, confidence, sigma_m, sigma_rad)

    def _standing(self) -> Standing:
        footings = []
        for window in self.windows:
            state = self._state("rough", window.first, window.last)
            turn = self._turned(window.first, window.last)
            seen = self._seen(window.first, window.last)
            footing = Footing.of(self.clip, seen, state, self.shape.principal_px, turn)
            footings.append((slice(window.first, window.last), footing))
        s, spans = self.clip.settings, self._spans()
        standing = standing_of(footings, self.time_s, spans, s.contacts)
        if self.turn is not None:
            return standing
        return rests_seen(
            standing, footings, self.time_s, spans, lambda row: self.sightings.feet(self.person, row), s.feet
        )

    def _fill_gaps(self, motion: Motion) -> None:
        """Between stretches: from one to the other, with no confidence. In place."""
        solved = np.zeros(len(self.time_s), bool)
        for window in self.windows:
            solved[window.first : window.last] = True
        if solved.all():
            return
        for shot in np.unique(self.shot):
            # Over a cut nothing is interpolated; a shot without the person keeps the pose before it.
            rows = np.flatnonzero(self.shot == shot)
            if not solved[rows].any():
                rows = np.arange(rows[0] - 1, rows[-1] + 1)
                solved[rows[0]] = True
            for gap in _runs(rows[~solved[rows]]):
                around = np.arange(max(gap[0] - 1, rows[0]), min(gap[-1] + 1, rows[-1]) + 1)
                known = torch.as_tensor(solved[around])
                state = fill_in(
                    self.clip.state_of(motion.rows(around), self.shape), known, torch.as_tensor(self.time_s[around])
                )
                motion.put(gap, Motion.of_state(state).rows(~solved[around]))

    def _capture(self, motion: Motion, which: slice) -> Capture:
        rows = Rows(
            self.index, self.time_s, self.shot, self.turn, self._as_photos, self.image_size, self.rate, self.number,
            int((self.person.quality > 0).sum()),
        )  # fmt: skip
        return capture_of(self.clip, rows, which, motion, self.shape, self.standing)


def _runs(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows in stretches without a gap."""
    return [run for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(run)]


def _rows(state: BodyState, which: slice) -> BodyState:
    return BodyState(
        state.rotmats[which], state.transl[which], state.log_focal[which], state.betas[which], state.expression[which]
    )


def _join(*parts: BodyState) -> BodyState:
    return BodyState(
        torch.cat([part.rotmats for part in parts]),
        torch.cat([part.transl for part in parts]),
        torch.cat([part.log_focal for part in parts]),
        torch.cat([part.betas for part in parts]),
        torch.cat([part.expression for part in parts]),
    )
