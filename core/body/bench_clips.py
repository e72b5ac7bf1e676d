"""Clips of people whose motion is known, for the video bench: anny's surface and rig moved by motion capture.

The label is one `.npz` a clip, `NAME.npz` beside `NAME.mp4`, loadable with `numpy.load(allow_pickle=False)`. Making one
needs the package anny; reading one needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..npz_errors import DAMAGED_NPZ
from ..whole_file import whole_file
from .bench_labels import LabelError
from .points_file import write_npz
from .skeleton import JOINT_INDEX

if TYPE_CHECKING:
    from .bench_people import People, PosedPerson
    from .bench_things import Things
    from .bench_views import View
    from .model import BodyModel

Float = NDArray[np.float64]
Array = NDArray[np.float32]

BENCH_CLIPS_PATH = Path(__file__).parent / "data" / "bench_clips.npz"
FPS = 30.0
SIZE = (512, 384)
# Vertices that touch the floor, in the order of a capture's contacts.
FEET = ("left_heel", "left_toe", "right_heel", "right_toe")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Motion:
    """A captured motion. T frames at FPS."""

    name: str
    rotations: Float  # (T, 55, 3, 3) local; fingers at rest
    places: Float  # (T, 3) of the pelvis, in leg lengths, y up


@dataclass(frozen=True)
class ClipLabel:
    """What is known of a rendered clip, whose camera stands still.

    Camera frame: OpenCV, metres; world: y up, the floor at y = 0.
    """

    name: str
    fps: float
    image_size: tuple[int, int]
    focal_px: float
    T_camera_world: Array  # (4, 4)
    joints: Array  # (T, 55, 3) camera frame
    feet: Array  # (T, 4, 3) camera frame: the skin under heels and toes, as FEET
    hidden: NDArray[np.bool_]  # (T, 55) behind a thing or outside the picture
    expression: Array  # (T, 52)
    format_version: int = FORMAT_VERSION

    @property
    def num_frames(self) -> int:
        return len(self.joints)


def bench_motions() -> list[Motion]:
    """The motions that `pantomime mocap --write-bench-clips` cut."""
    from .bake_poses import rotations_of

    with np.load(BENCH_CLIPS_PATH, allow_pickle=False) as data:
        ends = np.cumsum(data["lengths"])
        poses = np.zeros((int(ends[-1]), 55, 3))
        poses[:, :22] = data["poses"]
        rotations, places = rotations_of(poses), data["places"].astype(np.float64)
        return [
            Motion(str(name), rotations[end - length : end], places[end - length : end])
            for name, length, end in zip(data["names"], data["lengths"], ends, strict=True)
        ]


@dataclass(frozen=True)
class ClipScene:
    """A person who moves before a camera, and what stands in the way."""

    motion: Motion
    view: View
    things: Things
    people: list[PosedPerson]  # one a frame, placed in the world


def draw_clip(people: People, body: BodyModel, index: int, seed: int = 3, frames: int | None = None) -> ClipScene:
    """Person, camera and things of the `index`-th motion; equal arguments give equal clips."""
    from .bench_things import Things, draw_obstacle

    motion = bench_motions()[index]
    rng = np.random.default_rng([seed, index])
    phenotype = people.source.sample_people(1, int(rng.integers(2**31)), 18.0, 60.0)
    posed = list(_posed(people, motion, phenotype, rng, frames))
    view = _view(rng, posed)
    things = Things.none()
    if "occluded" in motion.name:
        things = draw_obstacle(rng, posed[len(posed) // 2], view, things, body.faces)
    if "stool" in motion.name:
        things = _stool(posed)
    return ClipScene(motion, view, things, posed)


def _posed(
    people: People, motion: Motion, phenotype: Float, rng: np.random.Generator, frames: int | None
) -> Iterator[PosedPerson]:
    """The person frame by frame: feet on the floor, fingers and face that move a little, eyes that blink."""
    count = len(motion.rotations) if frames is None else min(frames, len(motion.rotations))
    first, last = (people.draw(rng, motion.rotations[0]).rotations for _ in range(2))
    names = people.source.expression_names
    phase = rng.uniform(0.0, 1.0, 2)
    placed = []
    for t in range(count):
        local = motion.rotations[t].copy()
        share = 0.5 - 0.5 * np.cos(2 * np.pi * (t / FPS / 3.0 + phase[0]))
        local[25:] = _between(first[25:], last[25:], share)
        expression = np.zeros(len(names))
        blink = 0.8 * max(0.0, 1.0 - abs(((t / FPS + phase[1]) % 2.0) - 1.0) / 0.15)
        smile = 0.6 * (0.5 - 0.5 * np.cos(2 * np.pi * (t / FPS / 4.0 + phase[1])))
        for i, name in enumerate(names):
            expression[i] = blink if name.startswith("eyeBlink") else smile if name.startswith("mouthSmile") else 0.0
        person = people.pose(phenotype, local, expression)
        leg = _leg(person.t_joints)
        person = _moved(person, motion.places[t] * leg - person.joints[0])
        placed.append(person)
    start = placed[0].joints[0] * np.array([1.0, 0.0, 1.0])
    # Captured feet go through the floor by a centimetre now and then: the 20th percentile of the lowest points is it.
    floor = float(np.percentile([person.vertices[:, 1].min() for person in placed], 20))
    for person in placed:
        yield _moved(person, -start - np.array([0.0, floor, 0.0]))


def _between(first: Float, last: Float, share: float) -> Float:
    """Rotations (N, 3, 3) on the straight way between two, made orthogonal again: small turns."""
    left, _, right = np.linalg.svd((1.0 - share) * first + share * last)
    return np.asarray(left @ right)


def _leg(joints: Float) -> float:
    hip, knee, ankle = (joints[JOINT_INDEX[f"left_{name}"]] for name in ("hip", "knee", "ankle"))
    return float(np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee))


def _moved(person: PosedPerson, shift: Float) -> PosedPerson:
    return replace(person, vertices=person.vertices + shift, joints=person.joints + shift)


def _view(rng: np.random.Generator, posed: list[PosedPerson]) -> View:
    """A camera at eye level that sees the whole of the motion."""
    from .bench_people import facing
    from .bench_views import filling, turned

    shown = np.concatenate([person.vertices[::7] for person in posed[::5]])
    focal_px = float(np.exp(rng.uniform(np.log(28.0), np.log(70.0)))) / 36.0 * max(SIZE)
    turn = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.9))
    direction = turned(facing(posed[len(posed) // 3]), turn)
    height = float(rng.uniform(1.2, 1.8))
    return filling(direction, height, float(rng.normal(0, 0.01)), shown, focal_px, SIZE, 0.85, rng)


def _stool(posed: list[PosedPerson]) -> Things:
    """A seat below whoever sits, for the frame in which the pelvis is lowest."""
    from .bench_things import seat_for

    return seat_for(min(posed, key=lambda person: float(person.joints[0, 1])))


def label_of(scene: ClipScene, body: BodyModel) -> ClipLabel:
    """What the bench has to know of a clip."""
    from .bench_labels import BEHIND_OBJECT
    from .bench_things import joint_radii, point_visibility

    view, things = scene.view, scene.things
    T_camera_world = np.eye(4)
    T_camera_world[:3, :3], T_camera_world[:3, 3] = view.rotation, -view.rotation @ view.centre
    feet = foot_vertices(scene.people[0].t_vertices)
    radius = joint_radii(body, scene.people[0])
    objects = view.to_camera(things.vertices)
    hidden = [
        point_visibility(
            view.to_camera(person.joints),
            radius,
            view.to_camera(person.vertices),
            body.faces,
            objects,
            things.triangles,
            view.focal_px,
            view.size,
        )
        <= BEHIND_OBJECT
        for person in scene.people
    ]
    return ClipLabel(
        name=scene.motion.name,
        fps=FPS,
        image_size=view.size,
        focal_px=view.focal_px,
        T_camera_world=T_camera_world.astype(np.float32),
        joints=np.stack([view.to_camera(person.joints) for person in scene.people]).astype(np.float32),
        feet=np.stack([view.to_camera(person.vertices[feet]) for person in scene.people]).astype(np.float32),
        hidden=np.stack(hidden),
        expression=np.stack([person.expression for person in scene.people]).astype(np.float32),
    )


def foot_vertices(t_vertices: Array | Float) -> NDArray[np.int64]:
    """The vertices (4,) of the soles that are nearest to the floor at heel and toe, in the order of FEET."""
    result = []
    low = t_vertices[:, 1] < t_vertices[:, 1].min() + 0.012
    for sign in (1.0, -1.0):
        sole = np.flatnonzero(low & (sign * t_vertices[:, 0] > 0))
        ahead = t_vertices[sole, 2]
        back, front = np.percentile(ahead, (12, 80))
        for place in (back, front):
            near = sole[np.abs(ahead - place) < 0.015]
            middle = np.median(t_vertices[near, 0])
            result.append(int(near[np.abs(t_vertices[near, 0] - middle).argmin()]))
    return np.array(result)


def write_video(pictures: list[Path], path: Path, fps: float = FPS) -> None:
    """Numbered pictures as one MPEG-4 file, whole or not at all."""
    import cv2

    first = cv2.imread(str(pictures[0]))
    with whole_file(path, ".part.mp4") as part:
        writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), fps, (first.shape[1], first.shape[0]))
        for picture in pictures:
            writer.write(cv2.imread(str(picture)))
        writer.release()


def save_clip_label(path: Path, label: ClipLabel) -> None:
    """Write a label whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npz(path, {item.name: np.asarray(getattr(label, item.name)) for item in fields(label)})


def load_clip_label(path: Path) -> ClipLabel:
    """Read a label. Raises LabelError."""
    advice = "Make the clips anew with `pantomime render-clips`."
    try:
        with np.load(path, allow_pickle=False) as data:
            stored = {key: data[key] for key in data.files}
    except DAMAGED_NPZ as error:
        raise LabelError(f"{path} is not a label of a rendered clip. {advice}") from error
    if int(stored.get("format_version", 0)) != FORMAT_VERSION or any(f.name not in stored for f in fields(ClipLabel)):
        raise LabelError(f"{path} has another version. {advice}")
    width, height = (int(value) for value in stored["image_size"])
    return ClipLabel(
        name=str(stored["name"]),
        fps=float(stored["fps"]),
        image_size=(width, height),
        focal_px=float(stored["focal_px"]),
        T_camera_world=stored["T_camera_world"],
        joints=stored["joints"],
        feet=stored["feet"],
        hidden=stored["hidden"],
        expression=stored["expression"],
    )
