"""Who is who from frame to frame: people followed by place, size, pose and colour. numpy only.

A track is predicted with constant velocity that dies away; detections go to tracks so that the sum of their distances
is least. Someone who is hidden keeps the track for a while, and gets it back where that is plausible.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .candidates import LIMBS, Candidate, pixels_per_metre

Array = NDArray[np.float32]

HEAD = np.arange(0, 11)
COLOUR_BINS = 6


@dataclass(frozen=True)
class TrackingSettings:
    """When a detection is somebody who was seen before."""

    gate: float = 0.35  # of a person's size: a detection that is further from the prediction is someone else
    gate_growth: float = 0.5  # the same for each second that the person was not seen
    most_gate: float = 1.2
    colour_weight: float = 0.25  # of the colours' distance (0…1) beside the distance in sizes
    size_weight: float = 0.3  # of the logarithm of the ratio of sizes
    most_growth: float = 0.35  # a detection whose size differs by more, as a logarithm, is someone else
    growth_rate: float = 0.8  # the same for each second that the person was not seen
    greatest_growth: float = 0.7  # the same, at most
    lost_s: float = 0.2  # after so long without a sighting the middles of the bodies have to lie within the gate, too
    height_m: float = 1.7  # of a body, in which that is measured
    velocity_s: float = 0.3  # how long a velocity is believed
    velocity_share: float = 0.5  # of the newest difference in the running velocity
    bridge_s: float = 2.5  # someone who was not seen for longer is gone
    settle: int = 3  # sightings until a new track counts
    same: float = 0.15  # of a person's size: tracks that stay nearer are one person
    same_frames: int = 5


@dataclass(frozen=True)
class Track:
    """One person so far. Immutable: `seen` and `missed` give the next one."""

    id: int
    image_px: Array  # (33, 2) when last seen
    visibility: Array  # (33,)
    velocity_px_s: Array  # (33, 2)
    time_s: float  # when last seen
    colour: Array  # (C,) histogram of the trunk's colours, running mean; sums to 1, or all zero
    sightings: int = 1
    presence: float = 0.0  # Σ size over frames: who is large for long is who the clip is about
    scale: float = 1.0  # px a metre when last seen
    doubles: int = 0  # frames in a row for which an older track was at the same place
    looks: int = 0  # how often they were looked for since they were lost
    looked_s: float = -np.inf  # when they were looked for last

    def size_px(self) -> float:
        """The longer side of the box around all points."""
        return float(np.ptp(self.image_px, axis=0).max())

    def seen_size_px(self) -> float:
        """The longer side of the box around what was seen."""
        there = self.image_px[self.visibility >= 0.4]
        return float(np.ptp(there, axis=0).max()) if len(there) > 1 else 0.0

    def predicted(self, time_s: float, settings: TrackingSettings) -> Array:
        """Where the points are expected, (33, 2)."""
        gone = max(0.0, time_s - self.time_s)
        reach = settings.velocity_s * (1.0 - float(np.exp(-gone / settings.velocity_s)))
        return (self.image_px + reach * self.velocity_px_s).astype(np.float32)

    def seen(self, person: Candidate, colour: Array, time_s: float, settings: TrackingSettings) -> Track:
        """The track after a detection."""
        gone = max(time_s - self.time_s, 1e-3)
        newest = (person.image_px - self.image_px) / gone
        # After an absence the difference says where the person went, not how fast the limbs move.
        share = settings.velocity_share if gone < 3 * settings.velocity_s else 0.0
        speed_limit = 6.0 * person.size_px()
        velocity = np.clip(share * newest + (1 - share) * self.velocity_px_s, -speed_limit, speed_limit)
        known = self.colour if self.colour.any() else colour
        return replace(
            self,
            image_px=person.image_px,
            visibility=person.visibility,
            velocity_px_s=velocity.astype(np.float32),
            time_s=time_s,
            colour=(0.9 * known + 0.1 * colour if colour.any() else known).astype(np.float32),
            sightings=self.sightings + 1,
            presence=self.presence + person.size_px(),
            scale=pixels_per_metre(person),
            looks=0,
            looked_s=-np.inf,
        )

    def looked_for(self, time_s: float) -> Track:
        """The track after somebody was looked for who was lost."""
        return replace(self, looks=self.looks + 1, looked_s=time_s)


@dataclass
class Tracker:
    """All tracks that live. Its memory is `tracks` and `next_id` alone."""

    settings: TrackingSettings = field(default_factory=TrackingSettings)
    tracks: list[Track] = field(default_factory=list)
    next_id: int = 0

    def forget(self, time_s: float, step_s: float = 0.0) -> None:
        """Let go of people who were not seen for long, or only just once or twice. step_s: from frame to frame; nobody
        is forgotten for three of them."""
        s = self.settings
        kept = []
        least = 3 * step_s + 1e-6 if np.isfinite(step_s) else 0.0
        for track in self.tracks:
            patience = s.bridge_s if track.sightings >= s.settle else 0.2 * s.bridge_s
            if time_s - track.time_s <= max(patience, least):
                kept.append(track)
        self.tracks = kept

    def update(self, people: list[Candidate], colours: list[Array], time_s: float) -> dict[int, int]:
        """Assign detections of one frame to tracks. Track id → index in `people`; the rest was not taken."""
        s = self.settings
        cost = np.full((len(self.tracks), len(people)), np.inf)
        for i, track in enumerate(self.tracks):
            gate = min(s.most_gate, s.gate + s.gate_growth * max(0.0, time_s - track.time_s))
            expected = track.predicted(time_s, s)
            for j, (person, colour) in enumerate(zip(people, colours, strict=True)):
                near = point_distance(expected, track.visibility, person.image_px, person.visibility)
                if near <= gate:
                    # By the hints, not by the box: legs that leave the picture make nobody smaller.
                    grown = abs(float(np.log(pixels_per_metre(person) / track.scale)))
                    gone = max(0.0, time_s - track.time_s)
                    if grown > min(s.most_growth + s.growth_rate * gone, s.greatest_growth):
                        continue
                    # A glimpse of a few points guesses the rest, far and wide: its size is not to be believed.
                    apart = _middle(expected, track.visibility) - _middle(person.image_px, person.visibility)
                    size = max(s.height_m * track.scale, track.seen_size_px())
                    if gone > s.lost_s and float(np.linalg.norm(apart)) > gate * size:
                        continue
                    tint = colour_distance(track.colour, colour)
                    cost[i, j] = near + s.size_weight * grown + s.colour_weight * tint
        chosen = assign(cost, s.most_gate + s.size_weight + s.colour_weight)
        taken: dict[int, int] = {}
        tracks = list(self.tracks)
        for i, j in enumerate(chosen):
            if j >= 0:
                taken[tracks[i].id] = j
                tracks[i] = tracks[i].seen(people[j], colours[j], time_s, s)
        self.tracks = tracks
        self._drop_doubles()
        return {key: j for key, j in taken.items() if any(track.id == key for track in self.tracks)}

    def begin(self, person: Candidate, colour: Array, time_s: float) -> int:
        """A new track for somebody whom no track took; its id."""
        still = np.zeros_like(person.image_px)
        self.tracks.append(
            Track(
                self.next_id,
                person.image_px,
                person.visibility,
                still,
                time_s,
                colour,
                1,
                person.size_px(),
                pixels_per_metre(person),
            )
        )
        self.next_id += 1
        return self.next_id - 1

    def _drop_doubles(self) -> None:
        s = self.settings
        tracks, kept = self.tracks, []
        for i, track in enumerate(tracks):
            doubled = any(
                other.time_s == track.time_s
                and point_distance(other.image_px, other.visibility, track.image_px, track.visibility) < s.same
                for other in tracks[:i]
            )
            doubles = track.doubles + 1 if doubled else 0
            if doubles < s.same_frames:
                kept.append(replace(track, doubles=doubles))
        self.tracks = kept

    # --- to keep and to go on -----------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays that hold everything."""
        tracks = self.tracks
        return {
            "next_id": np.int64(self.next_id).reshape(()),
            "id": np.array([t.id for t in tracks], np.int64),
            "image_px": np.array([t.image_px for t in tracks], np.float32).reshape(-1, 33, 2),
            "visibility": np.array([t.visibility for t in tracks], np.float32).reshape(-1, 33),
            "velocity_px_s": np.array([t.velocity_px_s for t in tracks], np.float32).reshape(-1, 33, 2),
            "time_s": np.array([t.time_s for t in tracks], np.float64),
            "colour": np.array([t.colour for t in tracks], np.float32).reshape(-1, COLOUR_BINS**3),
            "sightings": np.array([t.sightings for t in tracks], np.int64),
            "presence": np.array([t.presence for t in tracks], np.float64),
            "scale": np.array([t.scale for t in tracks], np.float64),
            "doubles": np.array([t.doubles for t in tracks], np.int64),
            "looks": np.array([t.looks for t in tracks], np.int64),
            "looked_s": np.array([t.looked_s for t in tracks], np.float64),
        }

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go on from where another tracker was."""
        self.next_id = int(state["next_id"])
        names = ("image_px", "visibility", "velocity_px_s", "colour")
        arrays = {name: np.asarray(state[name], np.float32) for name in names}
        self.tracks = [
            Track(
                int(state["id"][i]),
                arrays["image_px"][i],
                arrays["visibility"][i],
                arrays["velocity_px_s"][i],
                float(state["time_s"][i]),
                arrays["colour"][i],
                int(state["sightings"][i]),
                float(state["presence"][i]),
                float(state["scale"][i]),
                int(state["doubles"][i]),
                int(state["looks"][i]),
                float(state["looked_s"][i]),
            )
            for i in range(len(state["id"]))
        ]


def point_distance(a: Array, a_visibility: Array, b: Array, b_visibility: Array) -> float:
    """Mean distance of limbs and head of two poses (33, 2), relative to the larger; unbelieved points count less."""
    index = np.concatenate([LIMBS, HEAD[:1]])
    weight = np.sqrt(a_visibility[index] * b_visibility[index]) + 0.02
    gaps = np.linalg.norm(a[index] - b[index], axis=1)
    size = max(float(np.ptp(a, axis=0).max()), float(np.ptp(b, axis=0).max()), 1.0)
    return float((weight * gaps).sum() / weight.sum() / size)


def _middle(points: Array, visibility: Array) -> Array:
    """The mean of the points (33, 2), as far as they are seen."""
    weight = visibility + 1e-3
    return np.asarray((points * weight[:, None]).sum(0) / weight.sum(), np.float32)


def colour_distance(a: Array, b: Array) -> float:
    """Hellinger distance of two histograms, 0…1; 0.5 where one is unknown."""
    if not a.any() or not b.any():
        return 0.5
    return float(np.sqrt(max(0.0, 1.0 - float(np.sqrt(a * b).sum()))))


def assign(cost: NDArray[np.float64], nobody: float) -> list[int]:
    """For each row a column, each used once, or -1 at the cost `nobody`, so that the sum is least.

    Exact by dynamic programming over sets of columns: there are never many people. Beyond twelve columns the nearest
    twelve are considered.
    """
    rows, columns = cost.shape
    if rows == 0 or columns == 0:
        return [-1] * rows
    near = np.sort(np.argsort(cost.min(axis=0), kind="stable")[:12])
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for row in range(rows):
        following: dict[int, tuple[float, list[int]]] = {}
        for used, (total, chosen) in best.items():
            options = [(used, total + nobody, -1)]
            for bit, column in enumerate(near.tolist()):
                if not used >> bit & 1 and np.isfinite(cost[row, column]):
                    options.append((used | 1 << bit, total + float(cost[row, column]), column))
            for key, value, column in options:
                if key not in following or value < following[key][0]:
                    following[key] = (value, [*chosen, column])
        best = following
    return min(best.values(), key=lambda item: item[0])[1]


def trunk_colour(rgb: NDArray[np.uint8], person: Candidate) -> Array:
    """Histogram of the colours inside shoulders and hips, COLOUR_BINS³, summing to 1; zeros where little is seen."""
    empty = np.zeros(COLOUR_BINS**3, np.float32)
    trunk = person.image_px[[11, 12, 24, 23]]
    if person.visibility[[11, 12, 23, 24]].min() < 0.3:
        return empty
    middle = trunk.mean(axis=0)
    # A grid in the quadrilateral, a little smaller than it: no background, and always as many pixels.
    u, v = np.meshgrid(np.linspace(0.15, 0.85, 12), np.linspace(0.1, 0.9, 16))
    top = trunk[0] + u[..., None] * (trunk[1] - trunk[0])
    bottom = trunk[3] + u[..., None] * (trunk[2] - trunk[3])
    grid = (top + v[..., None] * (bottom - top)).reshape(-1, 2)
    height, width = rgb.shape[:2]
    inside = (grid >= 0).all(-1) & (grid[:, 0] < width) & (grid[:, 1] < height)
    if inside.sum() < 40 or not np.isfinite(middle).all():
        return empty
    x, y = grid[inside].astype(int).T
    colour = (rgb[y, x].astype(int) * COLOUR_BINS) // 256
    index = (colour[:, 0] * COLOUR_BINS + colour[:, 1]) * COLOUR_BINS + colour[:, 2]
    counts = np.bincount(index, minlength=COLOUR_BINS**3).astype(np.float32)
    return np.asarray(counts / counts.sum(), np.float32)
