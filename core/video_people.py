"""From sightings in the job's parts to people: who is in the clip for long, and what was seen of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .detection.feet_picture import no_feet
from .detection.follow import FrameSightings
from .detection.observation import Observation, trust_of
from .fitting.video_evidence import Seen, pack
from .video_job import Arrays, JobFolder

ALONE_S = 0.35
PERSON_M = 1.7
BESIDE = 0.3  # of the presence of who is most in a shot: others who have less do not count where shots are joined
# Somebody who is lost, and somebody who appears later in the same shot: one person, if so soon and so alike in size,
# and if nobody else comes into question. How far apart, in sizes of a person: at once, more with each second, at most.
AGAIN_S, AGAIN_SIZE, AGAIN_FRAMES = 4.0, 1.5, 10
AGAIN_WITHIN = (0.5, 1.5, 4.0)  # nobody vanishes in the middle of a picture, or appears there
AGAIN_AT_EDGE = (0.5, 0.4, 1.5)  # who was at the picture's edge may have left it
EDGE = 0.01  # of the picture's longer side
FEET = ("feet_picture", "feet_box")
PACKED = ("image_px", "confidence", "world_m", "score", "box_px", "face_m", "irises_px", "face_picture")


def sightings_arrays(frames: list[FrameSightings], homographies: list[NDArray[np.float64]] | None = None) -> Arrays:
    """A stretch of frames as arrays: F frames, and S sightings in them. homographies: of a camera that turns."""
    rows = [(at, sighting) for at, frame in enumerate(frames) for sighting in frame.people]
    packed = [pack(sighting.observation) for _, sighting in rows] or [pack(None)]
    pictures = [sighting.feet for _, sighting in rows] or [no_feet()]
    kept = len(rows)
    return {
        "frame_index": np.array([frame.index for frame in frames], np.int64),
        "frame_time_s": np.array([frame.time_s for frame in frames], np.float64),
        "frame_cut": np.array([frame.cut for frame in frames], bool),
        "frame_homography": np.stack(homographies) if homographies else np.zeros((0, 3, 3)),
        "row": np.array([at for at, _ in rows], np.int64),
        "track": np.array([sighting.track for _, sighting in rows], np.int64),
        "edge": np.array([_at_edge(sighting.observation) for _, sighting in rows], bool),
        **{name: np.stack([item[name] for item in packed])[:kept] for name in PACKED},
        **{name: np.stack([feet[k] for feet in pictures])[:kept] for k, name in enumerate(FEET)},
    }


@dataclass(frozen=True)
class Timeline:
    """All frames that were read, F of them."""

    index: NDArray[np.int64]  # (F,)
    time_s: NDArray[np.float64]  # (F,)
    shot: NDArray[np.int64]  # (F,)
    homography: NDArray[np.float64]  # (F, 3, 3) from the frame before; (0, 3, 3) for a camera that stands


class Glimpse(NamedTuple):
    """One sighting, as far as it tells who is who."""

    size: float  # px
    quality: float  # how much of the person it shows
    x: float  # middle of the box, px
    y: float
    edge: bool  # at the picture's edge


@dataclass(frozen=True)
class Person:
    """Someone in the clip: one track, or several that are the same person. Frames first … last of the timeline."""

    tracks: tuple[int, ...]
    presence: float  # Σ size in px over frames
    sightings: int
    first: int
    last: int
    quality: NDArray[np.float32]  # (last − first + 1,) how much of the person each frame shows, 0 where nothing


class Sightings:
    """What detection left in a job's folder. Reads only the parts that are asked for; keeps a few."""

    def __init__(self, folder: JobFolder, key: str, parts: int, first: int = 0) -> None:
        """The parts first … parts − 1; frames and cuts count from the first one's."""
        self._folder, self._key, self._numbers = folder, key, range(first, parts)
        self._kept: dict[int, Arrays] = {}
        starts, index, time_s, cut, turned = [0], [], [], [], []
        self._tracks: dict[int, dict[int, Glimpse]] = {}  # track → frame → sighting
        for number in self._numbers:
            part = self._part(number)
            for at, track, box, confidence, edge in zip(
                part["row"], part["track"], part["box_px"], part["confidence"], part["edge"], strict=True
            ):
                size = float(max(box[2] - box[0], box[3] - box[1]))
                seen = float(trust_of("pose33", confidence[11:33]).sum())
                x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
                self._tracks.setdefault(int(track), {})[starts[-1] + int(at)] = Glimpse(
                    size, seen * size, x, y, bool(edge)
                )
            index.append(part["frame_index"])
            time_s.append(part["frame_time_s"])
            cut.append(part["frame_cut"])
            turned.append(part["frame_homography"])
            starts.append(starts[-1] + len(part["frame_index"]))
        self._starts = np.array(starts)
        self._dropped: set[tuple[int, int]] = set()  # sightings that do not count: track, frame
        self.timeline = Timeline(
            np.concatenate(index) if index else np.zeros(0, np.int64),
            np.concatenate(time_s) if time_s else np.zeros(0),
            np.cumsum(np.concatenate(cut)) if cut else np.zeros(0, np.int64),
            np.concatenate(turned) if turned else np.zeros((0, 3, 3)),
        )

    def people(self, least_sightings: int = 3) -> list[Person]:
        """Everybody who was seen for a while, who was large for longest first. Tracks are joined where that is plain.

        In a clip of fewer frames than `least_sightings` everybody counts.
        """
        least_sightings = min(least_sightings, max(1, len(self.timeline.index)))
        spans = {track: self._steady(frames, least_sightings) for track, frames in self._tracks.items()}
        spans = {track: frames for track, frames in spans.items() if frames}
        self._dropped = {
            (track, at) for track, frames in self._tracks.items() for at in frames if at not in spans.get(track, {})
        }
        found = []
        for tracks in self._joined(spans):
            frames = {at: value for track in tracks for at, value in spans[track].items()}
            first, last = min(frames), max(frames)
            quality = np.zeros(last - first + 1, np.float32)
            for at, glimpse in frames.items():
                quality[at - first] = glimpse.quality
            presence = sum(glimpse.size for glimpse in frames.values())
            found.append(Person(tuple(tracks), presence, len(frames), first, last, quality))
        return sorted(found, key=lambda person: (-person.presence, person.tracks))

    def _steady(self, frames: dict[int, Glimpse], least: int) -> dict[int, Glimpse]:
        """Without sightings that stand alone: after an absence, a glimpse is more often a mistake than the person."""
        rows = sorted(frames)
        time_s = self.timeline.time_s
        away = [k for k in range(1, len(rows)) if time_s[rows[k]] - time_s[rows[k - 1]] > ALONE_S]
        runs = np.split(np.array(rows), away)
        # At low frame rates every sighting stands alone: then all count.
        usual = len(rows) >= least and len(runs) > len(rows) // 2
        kept = [run for run in runs if len(run) >= least or usual]
        return {int(at): frames[int(at)] for run in kept for at in run}

    def _joined(self, spans: dict[int, dict[int, Glimpse]]) -> list[list[int]]:
        """Tracks grouped by person: over an absence, where somebody appears about where one was lost and nobody else
        comes into question; over a cut, where one person, but for passers-by, is on either side of it."""
        groups = {track: [track] for track in sorted(spans)}
        pairs = [(a, b) for a in spans for b in spans if self._again(spans[a], spans[b])]
        for first, second in pairs:
            if sum(a == first for a, _ in pairs) == 1 and sum(b == second for _, b in pairs) == 1:
                groups[first].extend(groups[second])
                for track in groups[second]:
                    groups[track] = groups[first]
        cuts = np.flatnonzero(np.diff(self.timeline.shot)) + 1
        shot = self.timeline.shot
        for cut in cuts.tolist():
            before = [g for g in groups.values() if any(shot[max(spans[t])] == shot[cut - 1] for t in g)]
            after = [g for g in groups.values() if any(shot[min(spans[t])] == shot[cut] for t in g)]
            before = self._main(_distinct(before), spans, int(shot[cut - 1]))
            after = self._main(_distinct(after), spans, int(shot[cut]))
            if len(before) == 1 and len(after) == 1 and before[0] is not after[0]:
                before[0].extend(after[0])
                for track in after[0]:
                    groups[track] = before[0]
        return _distinct(list(groups.values()))

    def _main(self, groups: list[list[int]], spans: dict[int, dict[int, Glimpse]], shot: int) -> list[list[int]]:
        """Those of the groups whom a shot is about."""
        shots = self.timeline.shot
        presence = [
            sum(glimpse.size for track in group for at, glimpse in spans[track].items() if shots[at] == shot)
            for group in groups
        ]
        return [group for group, much in zip(groups, presence, strict=True) if much >= BESIDE * max(presence)]

    def _again(self, before: dict[int, Glimpse], after: dict[int, Glimpse]) -> bool:
        """Whether the track `after` may be the person who was lost at the end of `before`."""
        last, first = max(before), min(after)
        gone = float(self.timeline.time_s[first] - self.timeline.time_s[last])
        if first <= last or gone > AGAIN_S or self.timeline.shot[first] != self.timeline.shot[last]:
            return False
        a, b = before[last], after[first]
        # Who crouches is small for a moment.
        sizes = [
            float(np.median([frames[at].size for at in sorted(frames)[part]]))
            for frames, part in ((before, slice(-AGAIN_FRAMES, None)), (after, slice(AGAIN_FRAMES)))
        ]
        size = max(*sizes, 1.0)
        apart = float(np.hypot(a.x - b.x, a.y - b.y)) / size
        alike = size <= AGAIN_SIZE * max(min(sizes), 1.0)
        near, more, most = AGAIN_AT_EDGE if a.edge or b.edge else AGAIN_WITHIN
        return alike and apart <= min(near + more * gone, most)

    def seen(self, person: Person, start: int, end: int) -> Seen:
        """What was seen of a person in rows start … end − 1, counted from the person's first frame."""
        low, high = person.first + start, person.first + end
        empty = pack(None)
        arrays: dict[str, NDArray[Any]] = {
            name: np.repeat(value[None], high - low, axis=0) for name, value in empty.items()
        }
        for place, number in enumerate(self._numbers):
            first, last = int(self._starts[place]), int(self._starts[place + 1])
            if last <= low or first >= high:
                continue
            part = self._part(number)
            at = part["row"] + first
            mine = np.isin(part["track"], person.tracks) & (at >= low) & (at < high)
            mine &= [(int(track), int(row)) not in self._dropped for track, row in zip(part["track"], at, strict=True)]
            for name in PACKED:
                arrays[name][at[mine] - low] = part[name][mine]
        line = self.timeline
        span = slice(low, high)
        return Seen(line.index[span], line.time_s[span], line.shot[span], **arrays)

    def feet(self, person: Person, row: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """`feet_picture` of a person in one row."""
        at = person.first + row
        place = int(np.searchsorted(self._starts, at, side="right")) - 1
        part = self._part(self._numbers[place])
        there = np.flatnonzero(np.isin(part["track"], person.tracks) & (part["row"] + self._starts[place] == at))
        mine = [k for k in there.tolist() if (int(part["track"][k]), at) not in self._dropped]
        return (part[FEET[0]][mine[0]], part[FEET[1]][mine[0]]) if mine else no_feet()

    def pose(
        self, person: Person
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """`pose33` of a person over all rows: (T, 33, 2) px, confidence (T, 33), the person's size (T,) in px, and the
        detector's depth of the points in persons' sizes (T, 33)."""
        count = person.last - person.first + 1
        points = np.zeros((count, 33, 2), np.float32)
        confidence = np.zeros((count, 33), np.float32)
        depth = np.zeros((count, 33), np.float32)
        size = np.zeros(count, np.float32)
        for start in range(0, count, 256):
            end = min(start + 256, count)
            seen = self.seen(person, start, end)
            points[start:end], confidence[start:end] = seen.image_px[:, :33], seen.confidence[:, :33]
            depth[start:end] = seen.world_m[:, :33, 2] / PERSON_M
            box = seen.box_px
            size[start:end] = np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1])
        return points, confidence, size, depth

    def _part(self, number: int) -> Arrays:
        if number not in self._kept:
            part = self._folder.load(f"seen-{number:05d}", self._key)
            if part is None:
                raise FileNotFoundError(f"seen-{number:05d}")
            while len(self._kept) >= 3:
                self._kept.pop(next(iter(self._kept)))
            self._kept[number] = part
        return self._kept[number]


def _at_edge(observation: Observation) -> bool:
    """Whether somebody may be cut by the picture's edge."""
    width, height = observation.image_size
    x0, y0, x1, y1 = observation.box_px.tolist()
    near = EDGE * max(width, height)
    return bool(min(x0, y0, width - x1, height - y1) < near)


def _distinct(groups: list[list[int]]) -> list[list[int]]:
    return list({id(group): group for group in groups}.values())
