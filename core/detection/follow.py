"""People of a clip, frame after frame, with MediaPipe's networks on crops around where each is expected.

MediaPipe's own video mode follows regions of interest, too, but it keeps its memory to itself: a run that was stopped
could not go on with the same result, and it does not say who is who. Here all memory is in `state`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..media.cuts import CutFinder
from ..media.frame import Frame
from .candidates import Candidate, box_of, distance, distinct_people, from_crop
from .crops import Square, cut, fit_within
from .detector import Detector
from .observation import Observation
from .people import believable
from .tracking import Tracker, TrackingSettings, point_distance, trunk_colour

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class FollowSettings:
    crop_px: int = 320  # a person's crop for the pose network, at most
    crop_scale: float = 1.4  # side of a crop over the longer side of the expected person
    lost_scale: float = 1.0  # grows by this much for each second that the person was not seen
    look_s: float = 1.0  # how often the whole picture is searched for people who came in
    search_s: float = 2.0  # how often it is searched thoroughly where nobody is followed
    longest_px: int = 768  # the whole picture is reduced to this
    agree: float = 0.15  # of a person's size: how far a new person may be elsewhere in a second look
    least_visibility: float = 0.25  # mean over the limbs in the picture
    least_new_visibility: float = 0.45  # the same for people who come in: trees are people at a first glance
    new_gap: float = 0.3  # of a size: how far a new person must be from all who are followed
    tracking: TrackingSettings = field(default_factory=TrackingSettings)


@dataclass(frozen=True)
class Sighting:
    """One followed person in one frame."""

    track: int
    observation: Observation


@dataclass(frozen=True)
class FrameSightings:
    """Everybody followed in one frame, and whether a new shot begins with it."""

    index: int
    time_s: float
    cut: bool
    people: list[Sighting]


class Follower:
    """Frames in order in, sightings out. `detailed`: how many people, those who were large for longest, get hands and
    face; 0 = all."""

    def __init__(self, detector: Detector, detailed: int = 1, settings: FollowSettings | None = None) -> None:
        self.detector, self.detailed = detector, detailed
        self.settings = settings or FollowSettings()
        self.tracker = Tracker(self.settings.tracking)
        self.cuts = CutFinder()
        self._looked_s = -np.inf
        self._searched_s = -np.inf

    @property
    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays with everything that the next frame hangs on."""
        kept = {f"track_{key}": value for key, value in self.tracker.state.items()}
        kept |= {f"cut_{key}": value for key, value in self.cuts.state.items()}
        kept["looked_s"] = np.array([self._looked_s, self._searched_s], np.float64)
        return kept

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go on from where another follower was."""
        self.tracker.restore({key[6:]: value for key, value in state.items() if key.startswith("track_")})
        self.cuts.restore({key[4:]: value for key, value in state.items() if key.startswith("cut_")})
        self._looked_s, self._searched_s = (float(value) for value in state["looked_s"])

    def see(self, frame: Frame) -> FrameSightings:
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
        if now - self._looked_s >= s.look_s - 1e-6 or not self.tracker.tracks:
            for person in self._newcomers(rgb, now, list(found.values())):
                found[self.tracker.begin(person, trunk_colour(rgb, person), now)] = person
        self.tracker.forget(now)
        size = (rgb.shape[1], rgb.shape[0])
        ranked = sorted(self.tracker.tracks, key=lambda track: -track.presence)
        detailed = {track.id for track in ranked[: self.detailed or None]}
        sightings = [
            Sighting(key, self.detector.observe(rgb, person, size, key in detailed))
            for key, person in sorted(found.items())
        ]
        return FrameSightings(frame.index, now, cut_here, sightings)

    # --- parts --------------------------------------------------------------------------------------------------

    def _in_crops(self, rgb: Image, now: float) -> list[Candidate]:
        """Everybody seen in the crops of those who are followed, each once."""
        s = self.settings
        size = (rgb.shape[1], rgb.shape[0])
        seen: list[Candidate] = []
        for track in self.tracker.tracks:
            expected = Candidate(track.predicted(now, s.tracking), track.visibility, np.zeros((33, 3), np.float32))
            grown = s.crop_scale + s.lost_scale * max(0.0, now - track.time_s - 0.1)
            seen += self._crop(rgb, box_of(expected, size), grown)
        good = [person for person in seen if believable(person, size) >= s.least_visibility]
        return [group[0] for group in distinct_people(good, s.agree)]

    def _crop(self, rgb: Image, box: Array, scale: float, mirrored: bool = False) -> list[Candidate]:
        x0, y0, x1, y1 = (float(value) for value in box)
        side = max(x1 - x0, y1 - y0, 24.0) * scale
        square = Square(((x0 + x1) / 2.0, (y0 + y1) / 2.0), side, 0.0, mirrored)
        out_px = int(min(self.settings.crop_px, max(128.0, side)))
        matrix = square.matrix(out_px)
        return [from_crop(item, matrix, 0.0, mirrored) for item in self.detector.poses(cut(rgb, square, out_px))]

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
        small, back = fit_within(rgb, s.longest_px)
        proposals = [from_crop(item, back, 0.0, False) for item in self.detector.poses(small)]
        new: list[Candidate] = []
        for group in distinct_people(proposals, s.agree):
            person = group[0]
            if self._near_any(person, known + new, now) or believable(person, size) < s.least_visibility:
                continue
            again = self._crop(rgb, box_of(person, size), s.crop_scale, mirrored=True)
            again = [item for item in again if distance(item, person) <= s.agree]
            if again and believable(again[0], size) >= s.least_new_visibility:
                new.append(again[0])
        if not new and not self.tracker.tracks and now - self._searched_s >= s.search_s - 1e-6:
            self._searched_s = now
            found = [item for item in self.detector.find(rgb) if believable(item, size) >= s.least_new_visibility]
            new = [item for item in found if not self._near_any(item, known, now)]
        return new

    def _near_any(self, person: Candidate, known: list[Candidate], now: float) -> bool:
        s = self.settings
        places = [(item.image_px, item.visibility) for item in known]
        places += [(track.predicted(now, s.tracking), track.visibility) for track in self.tracker.tracks]
        return any(
            point_distance(points, visible, person.image_px, person.visibility) < s.new_gap
            for points, visible in places
        )
