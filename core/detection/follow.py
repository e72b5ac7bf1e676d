"""People of a clip, frame after frame, with MediaPipe's networks on crops around where each is expected.

MediaPipe's own video mode follows regions of interest, too, but it keeps its memory to itself: a run that was stopped
could not go on with the same result, and it does not say who is who. Here all memory is in `state`.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..media.cuts import CutFinder
from ..media.frame import Frame
from .candidates import Candidate, box_of, distance, distinct_people, from_crop, inside
from .crops import Square, cut, fit_within
from .details import Memory
from .detector import Detector
from .feet_picture import feet_picture, no_feet
from .observation import Observation
from .people import believable
from .tracking import Track, Tracker, TrackingSettings, point_distance, trunk_colour

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class FollowSettings:
    """How people are followed from frame to frame, and looked for when they are lost."""

    crop_px: int = 320  # a person's crop for the pose network, at most
    crop_scale: float = 1.4  # side of a crop over the longer side of the expected person
    lost_s: float = 0.12  # after so long, and a frame, without a sighting somebody is looked for
    lost_pause: float = 0.2  # of the time since then, between two looks: at first in every frame, later more rarely
    lost_turns: tuple[float, ...] = (0.0, 3.14, 1.57, -1.57)  # of the crops in which
    lost_scale: float = 0.6  # grows by this much for each second that the person was not seen
    look_s: float = 1.0  # how often the whole picture is searched for people who came in
    look_lost_s: float = 0.4  # the same while somebody is lost: they may be anywhere by now
    tile: float = 0.5  # side of the parts of the picture over its longer side
    tile_overlap: float = 0.5
    tiles_at_once: int = 2
    search_s: float = 2.0  # how often it is searched thoroughly where nobody is followed
    longest_px: int = 768  # the whole picture is reduced to this
    agree: float = 0.15  # of a person's size: how far a new person may be elsewhere in a second look
    least_visibility: float = 0.25  # mean over the limbs in the picture
    least_new_visibility: float = 0.45  # the same for people who come in: trees are people at a first glance
    least_lost_visibility: float = 0.35  # the same for people who were lost and are looked for
    new_gap: float = 0.3  # of a size: how far a new person must be from all who are followed
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


@dataclass(frozen=True)
class Followed:
    """Who is where in one frame: track, pose, and whether hands and face are looked at."""

    index: int
    time_s: float
    cut: bool
    people: list[tuple[int, Candidate, bool]]


@dataclass(frozen=True)
class Sighting:
    """One followed person in one frame."""

    track: int
    observation: Observation
    feet: tuple[Image, Array] = field(default_factory=no_feet)  # what `feet_picture` shows


@dataclass(frozen=True)
class FrameSightings:
    """Everybody followed in one frame, and whether a new shot begins with it."""

    index: int
    time_s: float
    cut: bool
    people: list[Sighting]


class Describer:
    """Sightings of those who were followed: their hands and faces. Frames in order; may run in a thread of its own,
    behind the follower."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self._memories: dict[int, Memory] = {}

    def describe(self, rgb: Image, followed: Followed) -> FrameSightings:
        """What is seen of everybody followed in the next frame."""
        size = (rgb.shape[1], rgb.shape[0])
        # Who is not there in this frame is looked for anew in the next one.
        self._memories = {
            key: self._memories.get(key, Memory()) for key, _, is_detailed in followed.people if is_detailed
        }
        sightings = []
        for key, person, is_detailed in followed.people:
            observation = self.detector.observe(rgb, person, size, is_detailed, self._memories.get(key))
            sightings.append(Sighting(key, observation, feet_picture(rgb, observation)))
        return FrameSightings(followed.index, followed.time_s, followed.cut, sightings)

    @property
    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays with everything that the next frame hangs on."""
        keys = sorted(self._memories)
        states = [self._memories[key].state for key in keys]
        return {
            "track": np.array(keys, np.int64),
            "memory": np.stack(states) if states else np.zeros((0, 0)),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go on from where another describer was."""
        self._memories = {int(key): Memory.of(row) for key, row in zip(state["track"], state["memory"], strict=True)}


class Follower:
    """Frames in order in, who is where out. `detailed`: how many people, those who were large for longest, get hands
    and face; 0 = all. beside: a thread that shares the looks where several are to be had at once."""

    def __init__(
        self,
        detector: Detector,
        detailed: int = 1,
        settings: FollowSettings | None = None,
        beside: Executor | None = None,
    ) -> None:
        self.detector, self.detailed, self.beside = detector, detailed, beside
        self.settings = settings or FollowSettings()
        self.tracker = Tracker(self.settings.tracking)
        self.cuts = CutFinder()
        self._looked_s = -np.inf
        self._searched_s = -np.inf
        self._before_s = -np.inf  # the frame before
        self._looks = 0  # at the whole picture

    @property
    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays with everything that the next frame hangs on."""
        kept = {f"track_{key}": value for key, value in self.tracker.state.items()}
        kept |= {f"cut_{key}": value for key, value in self.cuts.state.items()}
        kept["looked_s"] = np.array([self._looked_s, self._searched_s, self._before_s], np.float64)
        kept["looks"] = np.array(self._looks)
        return kept

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go on from where another follower was."""
        self.tracker.restore({key[6:]: value for key, value in state.items() if key.startswith("track_")})
        self.cuts.restore({key[4:]: value for key, value in state.items() if key.startswith("cut_")})
        self._looked_s, self._searched_s, self._before_s = (float(value) for value in state["looked_s"])
        self._looks = int(state["looks"])

    def follow(self, frame: Frame) -> Followed:
        """The people in the next frame."""
        s, rgb, now = self.settings, frame.rgb, frame.time_s
        cut_here = self.cuts.is_cut(rgb)
        people = self._in_crops(rgb, now)
        if cut_here and self._goes_on(people, now):
            cut_here = False  # a flash: everybody is still where they were
        if cut_here:
            self.tracker.tracks = []
            self._looked_s = self._searched_s = -np.inf
            people = []
        colours = [trunk_colour(rgb, person) for person in people]
        taken = self.tracker.update(people, colours, now)
        found = {key: people[j] for key, j in taken.items()}
        lost = any(self._is_lost(track, now) for track in self.tracker.tracks)
        pause = s.look_lost_s if lost else s.look_s
        if now - self._looked_s >= pause - 1e-6 or not self.tracker.tracks:
            for person in self._newcomers(rgb, now, list(found.values())):
                found[self.tracker.begin(person, trunk_colour(rgb, person), now)] = person
        self.tracker.forget(now, now - self._before_s)
        self._before_s = now
        ranked = sorted(self.tracker.tracks, key=lambda track: -track.presence)
        detailed = {track.id for track in ranked[: self.detailed or None]}
        there = [(key, found[key], key in detailed) for key in sorted(found)]
        return Followed(frame.index, now, cut_here, there)

    # --- parts --------------------------------------------------------------------------------------------------

    def _in_crops(self, rgb: Image, now: float) -> list[Candidate]:
        """Everybody seen in the crops of those who are followed, each once."""
        s = self.settings
        size = (rgb.shape[1], rgb.shape[0])
        squares, turned = list[Square](), list[Square]()
        for number, track in enumerate(self.tracker.tracks):
            gone = max(0.0, now - track.time_s - s.lost_s)
            if self._is_lost(track, now):
                if now - track.looked_s >= s.lost_pause * gone - 1e-6:
                    turned += self._lost_squares(track, size, now)
                    self.tracker.tracks[number] = track.looked_for(now)
                continue
            expected = Candidate(track.predicted(now, s.tracking), track.visibility, np.zeros((33, 3), np.float32))
            squares.append(_square(box_of(expected, size), s.crop_scale + s.lost_scale * gone))
        looks = self._crops(rgb, squares + turned)
        seen = [person for look in looks[: len(squares)] for person in look]
        good = [person for person in seen if believable(person, size) >= s.least_visibility]
        people = [group[0] for group in distinct_people(good, s.agree)]
        for first in range(0, len(turned), 2):
            two, both = slice(first, first + 2), looks[len(squares) + first : len(squares) + first + 2]
            people += self._confirmed(rgb, turned[two], both, people)
        return people

    def _is_lost(self, track: Track, now: float) -> bool:
        """Not seen for a while, nor in the frame before: at low rates a frame alone is longer than `lost_s`."""
        return now - track.time_s > self.settings.lost_s and track.time_s < self._before_s - 1e-6

    def _lost_squares(self, track: Track, size: tuple[int, int], now: float) -> list[Square]:
        """Two crops in which somebody who was lost may be by now: upright, and lying or upside down."""
        s = self.settings
        expected = Candidate(track.predicted(now, s.tracking), track.visibility, np.zeros((33, 3), np.float32))
        box, grown = box_of(expected, size), s.crop_scale + s.lost_scale * (now - track.time_s)
        # One other turn at a time: somebody who is gone must not cost more than all who are there.
        other = s.lost_turns[1 + track.looks % (len(s.lost_turns) - 1)]
        return [_square(box, grown, False, turn) for turn in (s.lost_turns[0], other)]

    def _confirmed(
        self, rgb: Image, squares: list[Square], looks: list[list[Candidate]], people: list[Candidate]
    ) -> list[Candidate]:
        """The first one in these crops whom a second look shows again and who is none of `people`; or nobody."""
        s = self.settings
        size = (rgb.shape[1], rgb.shape[0])
        taken = [(item.image_px, item.visibility) for item in people]
        for square, people_there in zip(squares, looks, strict=True):
            for found in people_there:
                if believable(found, size) < s.least_lost_visibility or _near(found, taken, s.new_gap):
                    continue
                again = self._crops(rgb, [_square(box_of(found, size), s.crop_scale, True, square.angle_rad)])[0]
                if any(distance(item, found) <= s.agree for item in again):
                    return [found]
        return []

    def _crops(self, rgb: Image, squares: list[Square]) -> list[list[Candidate]]:
        """Who is seen in each of some parts of the picture, in its pixels."""
        sizes = [int(min(self.settings.crop_px, max(128.0, square.side_px))) for square in squares]
        pictures = [cut(rgb, square, out_px) for square, out_px in zip(squares, sizes, strict=True)]
        looks = self.detector.all_poses(pictures, self.beside)
        found = []
        for square, out_px, look in zip(squares, sizes, looks, strict=True):
            matrix, turn, mirrored = square.matrix(out_px), square.angle_rad, square.mirrored
            found.append([_seen_only(from_crop(item, matrix, turn, mirrored), rgb) for item in look])
        return found

    def _goes_on(self, people: list[Candidate], now: float) -> bool:
        s = self.settings.tracking
        tracks = [track for track in self.tracker.tracks if track.sightings >= s.settle]
        if not tracks:
            return False
        kept = sum(
            any(
                point_distance(track.predicted(now, s), track.visibility, p.image_px, p.visibility) < 0.06
                for p in people
            )
            for track in tracks
        )
        return 2 * kept > len(tracks)

    def _newcomers(self, rgb: Image, now: float, known: list[Candidate]) -> list[Candidate]:
        """People whom nobody follows yet, each confirmed by a second look, mirrored."""
        s = self.settings
        size = (rgb.shape[1], rgb.shape[0])
        self._looked_s = now
        # Who is small in the picture is seen in a part of it: some parts at each look, in turn.
        tiles = _tiles(size, s.tile, s.tile_overlap)
        turn = self._looks * s.tiles_at_once
        self._looks += 1
        tiles = [tiles[(turn + k) % len(tiles)] for k in range(min(s.tiles_at_once, len(tiles)))]
        small, back = fit_within(rgb, s.longest_px)
        part_px = s.longest_px // 2
        looks = self.detector.all_poses([small, *(cut(rgb, tile, part_px) for tile in tiles)], self.beside)
        places = [back, *(tile.matrix(part_px) for tile in tiles)]
        proposals = [
            _seen_only(from_crop(item, matrix, 0.0, False), rgb)
            for matrix, look in zip(places, looks, strict=True)
            for item in look
        ]
        new: list[Candidate] = []
        for group in distinct_people(proposals, s.agree):
            person = group[0]
            if self._near_any(person, known + new, now) or believable(person, size) < s.least_visibility:
                continue
            again = self._crops(rgb, [_square(box_of(person, size), s.crop_scale, mirrored=True)])[0]
            again = [item for item in again if distance(item, person) <= s.agree]
            if again and believable(again[0], size) >= s.least_new_visibility:
                new.append(again[0])
        never = not np.isfinite(self._searched_s)
        if never or (not new and not self.tracker.tracks and now - self._searched_s >= s.search_s - 1e-6):
            self._searched_s = now
            everybody = [_seen_only(item, rgb) for item in self.detector.find(rgb, self.beside)]
            everybody = [item for item in everybody if believable(item, size) >= s.least_new_visibility]
            new += [item for item in everybody if not self._near_any(item, known + new, now)]
        return new

    def _near_any(self, person: Candidate, known: list[Candidate], now: float) -> bool:
        s = self.settings
        places = [(item.image_px, item.visibility) for item in known]
        places += [(track.predicted(now, s.tracking), track.visibility) for track in self.tracker.tracks]
        return _near(person, places, s.new_gap)


def _seen_only(person: Candidate, rgb: Image) -> Candidate:
    """Without belief in what lies outside of the picture: it is guessed anew in every frame."""
    there = inside(person.image_px, (rgb.shape[1], rgb.shape[0]))
    return replace(person, visibility=np.where(there, person.visibility, 0.0).astype(np.float32))


def _square(box: Array, scale: float, mirrored: bool = False, turn_rad: float = 0.0) -> Square:
    """The crop around a box, so many times its longer side."""
    x0, y0, x1, y1 = (float(value) for value in box)
    side = max(x1 - x0, y1 - y0, 24.0) * scale
    return Square(((x0 + x1) / 2.0, (y0 + y1) / 2.0), side, turn_rad, mirrored)


def _tiles(size: tuple[int, int], share: float, overlap: float) -> list[Square]:
    """Squares that cover the picture with some overlap."""
    side = share * max(size)
    steps = [max(1, int(np.ceil((length - side) / (side * overlap))) + 1) for length in size]
    centres = [
        np.linspace(min(side, length) / 2.0, length - min(side, length) / 2.0, count)
        for length, count in zip(size, steps, strict=True)
    ]
    return [Square((float(x), float(y)), side) for y in centres[1] for x in centres[0]]


def _near(person: Candidate, places: list[tuple[Array, Array]], gap: float) -> bool:
    return any(point_distance(points, seen, person.image_px, person.visibility) < gap for points, seen in places)
