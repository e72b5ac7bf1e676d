"""One person of a clip from sightings to a capture, window by window, each finished window kept as a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .body.skeleton import BODY, JAW, JOINT_NAMES, LEFT_EYE, LEFT_HAND, RIGHT_EYE, RIGHT_HAND
from .capture import Capture
from .detection.vocabulary import POINT_SETS
from .fitting.kinematics import pose_chain
from .fitting.photo import Fitter, PhotoCamera
from .fitting.state import BodyState
from .fitting.video_evidence import FIRST, SETS, Seen
from .fitting.video_fit import ClipFitter, Motion
from .fitting.video_focal import clip_focal, search_rows
from .fitting.video_parts import Standing
from .fitting.video_settings import VideoSettings
from .fitting.video_shape import ClipShape, fit_shape
from .fitting.video_standing import Footing, standing_of
from .fitting.video_start import fill_in, start_window
from .fitting.video_swaps import exchange, find_swaps
from .media.turning import turns_of
from .rotation import log_so3
from .video_job import JobFolder
from .video_people import Person, Sightings


@dataclass(frozen=True)
class Window:
    """Rows of a person: `context` … `first` are held as the window before left them, `last` is one beyond what is
    kept, `end` one beyond what is looked at."""

    context: int
    first: int
    last: int
    end: int


AT_ONCE = 256  # frames that are turned into a capture together
UNKNOWN_M, UNKNOWN_RAD = 1.0, float(np.pi)  # σ where a gap is not followed through


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
    ) -> None:
        self.clip = ClipFitter(fitter, settings)
        self.fitter, self.sightings, self.person, self.number = fitter, sightings, person, number
        self.image_size, self.camera, self.rate, self.height_m = image_size, camera, rate, height_m
        self.folder, self.key = folder, key
        self.progress, self.stop_if_cancelled, self.on_window = progress, stop_if_cancelled, on_window
        line = sightings.timeline
        span = slice(person.first, person.last + 1)
        self.time_s, self.index, self.shot = line.time_s[span], line.index[span], line.shot[span]
        self.swapped = np.zeros((len(self.time_s), 2), np.int64)
        self.turn: NDArray[np.float32] | None = None  # (T, 3, 3) each frame's camera axes to the first's

    def _seen(self, start: int, end: int) -> Seen:
        """What was seen in some rows, left and right put right."""
        return exchange(self.sightings.seen(self.person, start, end), self.swapped[start:end])

    def _find_swaps(self) -> NDArray[np.int64]:
        name = f"swaps-{self.number}"
        kept = self.folder.load(name, self.key)
        if kept is None:
            pose, confidence, size, depth = self.sightings.pose(self.person)
            swapped = find_swaps(pose, confidence, size, self.time_s, self.shot, self.clip.settings.swaps, depth)
            kept = {"swapped": swapped}
            self.folder.save(name, self.key, kept)
        return np.asarray(kept["swapped"], np.int64)

    def run(self) -> Capture:
        self.swapped = self._find_swaps()
        shape = self._shape()
        self._set_turn(shape)
        windows = [window for span in self._spans() for window in self._windows(*span)]
        rough = self._solve("rough", windows, shape, None, None)
        standing = self._standing(rough, windows, shape)
        final = self._solve("final", windows, shape, rough, standing)
        self._fill_gaps(final, windows, shape)
        return self._capture(final, slice(0, len(self.time_s)), shape, standing)

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
            keys = Seen.join([self._seen(row, row + 1) for row in self._key_rows()])
            shape = fit_shape(self.fitter, keys, self.image_size, self.camera, self.height_m)
            focal = self._focal(shape) if self.camera.focal_px is None else shape.focal_px
            if abs(np.log(focal / shape.focal_px)) > 0.01:
                known = PhotoCamera(focal, shape.focal_source, self.camera.principal_px)
                shape = fit_shape(self.fitter, keys, self.image_size, known, self.height_m)
            kept = {
                "betas": shape.betas,
                "focal_px": np.float64(shape.focal_px).reshape(()),
                "source": np.array(shape.focal_source),
                "principal_px": np.array(shape.principal_px, np.float64),
            }
            self.folder.save(name, self.key, kept)
        principal = float(kept["principal_px"][0]), float(kept["principal_px"][1])
        return ClipShape(kept["betas"], float(kept["focal_px"]), str(kept["source"]), principal)

    def _focal(self, shape: ClipShape) -> float:
        """The focal length that the longest stretch says, if it says more than its frames do."""
        s = self.clip.settings
        start, end = max(self._spans(), key=lambda span: self.time_s[span[1] - 1] - self.time_s[span[0]])
        rows = search_rows(self.time_s, (start, end), s.focal_apart_s, s.focal_moments)
        if len(rows) < 8:
            return shape.focal_px
        self._set_turn(shape)
        turn = None if self.turn is None else self.turn[rows]
        seen = self._seen(start, end).rows(rows - start)
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

    def _windows(self, start: int, end: int) -> list[Window]:
        """A stretch in windows of which each is kept but for what it looks ahead at."""
        s = self.clip.settings
        keep = min(max(s.least_keep, round(s.keep_s * self.rate)), s.most_keep)
        ahead = min(max(s.least_ahead, round(s.ahead_s * self.rate)), s.most_keep // 2)
        found, at = [], start
        while at < end:
            last = min(at + keep, end)
            if end - last < ahead:
                last = end
            found.append(Window(max(start, at - 2), at, last, min(last + ahead, end)))
            at = last
        return found

    def _solve(
        self, name: str, windows: list[Window], shape: ClipShape, rough: Motion | None, standing: Standing | None
    ) -> Motion:
        """All windows in order: without contacts (`rough` is None), or with them and with hands and face."""
        motion = self._empty()
        for number, window in enumerate(windows):
            part = f"{name}-{self.number}-{number:05d}"
            arrays = self.folder.load(part, self.key)
            if arrays is None:
                self.stop_if_cancelled()
                if rough is None or standing is None:
                    solved = self._rough(window, motion, shape)
                else:
                    solved = self._final(window, motion, rough, shape, standing)
                arrays = solved.arrays()
                self.folder.save(part, self.key, arrays)
            solved = Motion.of(arrays)
            # What was looked ahead at is the next window's start.
            motion.put(slice(window.first, window.first + len(solved)), solved)
            if rough is not None and self.on_window is not None and standing is not None:
                rows = slice(window.first, window.last)
                self.on_window(self._capture(motion, rows, shape, standing), f"window-{self.number}-{number:05d}")
            share = (number + 1) / len(windows)
            self.progress(0.5 * share if rough is None else 0.5 + 0.5 * share)
        return motion

    def _rough(self, window: Window, before: Motion, shape: ClipShape) -> Motion:
        """The body without contacts, in all frames of a window that were not there before."""
        known = self._known(window, before)
        seen = self._seen(window.context, window.end)
        old = self._state(before.rows(slice(window.context, known)), shape)
        last = _rows(old, slice(-1, None)) if known > window.context else None
        new = start_window(
            self.clip.parts,
            seen.rows(slice(known - window.context, None)),
            shape,
            self.image_size,
            last,
            float(self.time_s[known - 1]) if last is not None else 0.0,
        )
        held = window.first - window.context
        turn = self._turned(window.context, window.end)
        solution = self.clip.body_window(seen, _join(old, new), held, shape, self.image_size, None, turn)
        return self._motion(_rows(solution.state, slice(held, None)))

    def _known(self, window: Window, before: Motion) -> int:
        """The first row of a window that no window before looked at."""
        row = window.first
        while row < window.end and before.transl[row].any() and window.first > window.context:
            row += 1
        return row

    def _final(self, window: Window, before: Motion, rough: Motion, shape: ClipShape, standing: Standing) -> Motion:
        """The window with contacts, hands and face."""
        seen = self._seen(window.context, window.end)
        held = window.first - window.context
        old = self._state(before.rows(slice(window.context, window.first)), shape)
        new = self._state(rough.rows(slice(window.first, window.end)), shape)
        part = standing.rows(slice(window.context, window.end))
        turn = self._turned(window.context, window.end)
        solution = self.clip.body_window(seen, _join(old, new), held, shape, self.image_size, part, turn)
        kept = slice(held, window.last - window.context)
        # Fingers and face need to know less of what comes than the body does.
        beyond = slice(0, kept.stop + round(self.clip.settings.detail_ahead_s * self.rate))
        state = _rows(solution.state, beyond)
        state = self.clip.detail_window(seen.rows(beyond), state, held, shape, self.image_size)
        state = _rows(state, kept)
        covariance = None if solution.covariance is None else solution.covariance[kept]
        sigma_m, sigma_rad = self.clip.uncertainty(state, covariance)
        confidence = self.clip.inliers(seen.rows(kept), state, shape, self.image_size)
        motion = self._motion(state)
        return Motion(motion.rotmats, motion.transl, motion.expression, confidence, sigma_m, sigma_rad)

    def _standing(self, rough: Motion, windows: list[Window], shape: ClipShape) -> Standing:
        """Ground, gravity and contacts of the whole clip."""
        footings = []
        for window in windows:
            rows = slice(window.first, window.last)
            state = self._state(rough.rows(rows), shape)
            turn = self._turned(window.first, window.last)
            footings.append((rows, Footing.of(self.clip, self._seen(window.first, window.last), state, turn)))
        return standing_of(footings, self.time_s, self._spans(), self.clip.settings.contacts)

    # --- arrays and states --------------------------------------------------------------------------------------

    def _empty(self) -> Motion:
        count = len(self.time_s)
        return Motion(
            np.zeros((count, 55, 3, 3), np.float32),
            np.zeros((count, 3), np.float32),
            np.zeros((count, self.fitter.body.num_expressions), np.float32),
            np.zeros(count, np.float32),
            np.full((count, 55), UNKNOWN_M, np.float32),
            np.full((count, 55), UNKNOWN_RAD, np.float32),
        )

    def _motion(self, state: BodyState) -> Motion:
        count = len(state.transl)
        return Motion(
            state.rotmats.float().cpu().numpy(),
            state.transl.float().cpu().numpy(),
            state.expression.float().cpu().numpy(),
            np.zeros(count, np.float32),
            np.full((count, 55), UNKNOWN_M, np.float32),
            np.full((count, 55), UNKNOWN_RAD, np.float32),
        )

    def _state(self, motion: Motion, shape: ClipShape) -> BodyState:
        like = self.fitter.skeleton.J_template

        def tensor(array: object) -> torch.Tensor:
            return torch.as_tensor(array).to(like)

        count = len(motion)
        return BodyState(
            tensor(motion.rotmats),
            tensor(motion.transl),
            like.new_full((count,), float(np.log(shape.focal_px))),
            tensor(shape.betas).expand(count, -1),
            tensor(motion.expression),
        )

    def _fill_gaps(self, motion: Motion, windows: list[Window], shape: ClipShape) -> None:
        """Between stretches: from one to the other, with no confidence. In place."""
        solved = np.zeros(len(self.time_s), bool)
        for window in windows:
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
                state = fill_in(self._state(motion.rows(around), shape), known, torch.as_tensor(self.time_s[around]))
                motion.put(gap, self._motion(state).rows(~solved[around]))

    def _points(self, rows: slice) -> dict[str, NDArray[np.float32]]:
        """What was seen, for corrections by hand; the face's many points are left out."""
        parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in SETS[:-1]}
        for start in range(rows.start, rows.stop, AT_ONCE):
            seen = self._seen(start, min(start + AT_ONCE, rows.stop))
            for name, found in parts.items():
                part = slice(FIRST[name], FIRST[name] + len(POINT_SETS[name]))
                found.append(np.concatenate([seen.image_px[:, part], seen.confidence[:, part, None]], -1))
        whole = {name: np.concatenate(found) for name, found in parts.items()}
        return {name: points for name, points in whole.items() if points[..., 2].any()}

    def _camera_rotvec(self, rows: slice) -> NDArray[np.float32]:
        if self.turn is None:
            return np.zeros((0, 3), np.float32)
        return log_so3(torch.as_tensor(self.turn[rows]).double()).float().numpy()

    def _capture(self, motion: Motion, rows: slice, shape: ClipShape, standing: Standing) -> Capture:
        part = motion.rows(rows)
        count = len(part)
        rotvec, joints = np.zeros((count, 55, 3), np.float32), np.zeros((count, 55, 3), np.float32)
        # What a frame takes on the way is many times what is kept of it.
        for start in range(0, count, AT_ONCE):
            some = slice(start, start + AT_ONCE)
            state = self._state(part.rows(some), shape)
            rotvec[some] = log_so3(state.rotmats.double()).float().cpu().numpy()
            joints[some] = pose_chain(self.fitter.skeleton, state).joints.float().cpu().numpy()

        def flat(which: slice | int) -> NDArray[np.float32]:
            return np.asarray(rotvec[:, which].reshape(count, -1), np.float32)

        body = self.fitter.body
        return Capture(
            betas=shape.betas,
            expression=part.expression,
            global_orient=flat(0),
            body_pose=flat(BODY),
            jaw_pose=flat(JAW),
            leye_pose=flat(LEFT_EYE),
            reye_pose=flat(RIGHT_EYE),
            left_hand_pose=flat(LEFT_HAND),
            right_hand_pose=flat(RIGHT_HAND),
            transl=part.transl,
            joints=joints,
            joint_names=JOINT_NAMES,
            focal_px=shape.focal_px,
            principal_px=np.array(shape.principal_px, np.float32),
            image_size=self.image_size,
            focal_source=shape.focal_source,
            up_camera=standing.up,
            confidence=part.confidence,
            joint_sigma_m=part.sigma_m,
            joint_sigma_rad=part.sigma_rad,
            frame_times_s=self.time_s[rows].astype(np.float32),
            mocap_frame_rate=self.rate,
            gender=body.gender,
            surface_model_type=body.surface_model_type,
            body_id=body.body_id,
            person_id=self.number,
            frame_indices=self.index[rows].astype(np.int32),
            shots=self.shot[rows].astype(np.int32),
            contacts=standing.solid[rows],
            ground_m=standing.ground_m,
            camera_rotvec=self._camera_rotvec(rows),
            points=self._points(rows),
            diagnostics={
                "frames_seen": int((self.person.quality > 0).sum()),
                **({"warnings": list(self.fitter.warnings)} if self.fitter.warnings else {}),
            },
        )


def _runs(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows in stretches without a gap."""
    return [run for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(run)]


def _rows(state: BodyState, which: slice) -> BodyState:
    return BodyState(
        state.rotmats[which], state.transl[which], state.log_focal[which], state.betas[which], state.expression[which]
    )


def _join(first: BodyState, second: BodyState) -> BodyState:
    return BodyState(
        torch.cat([first.rotmats, second.rotmats]),
        torch.cat([first.transl, second.transl]),
        torch.cat([first.log_focal, second.log_focal]),
        torch.cat([first.betas, second.betas]),
        torch.cat([first.expression, second.expression]),
    )
