"""The few seconds of motion that the video bench renders: cut from motion capture, written small. Development only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..body.bench_clips import BENCH_CLIPS_PATH, FPS
from ..body.points_file import write_npz
from ..body.skeleton import JOINT_INDEX
from .mocap import Recording, read_recordings
from .mocap_files import Clip, MocapError
from .so3 import Array, log_so3


@dataclass(frozen=True)
class Cut:
    """A piece of a file."""

    name: str
    file: str
    start: int
    frames: int = 150
    lie_down: bool = False  # turn the whole motion onto its back


# Subjects that no prior was trained on: 2 and 14 (test) and 55 (validation: the test subjects turn little). Walks are
# as long as the capture's volume. Nobody among them lies down: one who stands, washes and bends is laid on the back.
CUTS = (
    Cut("walk", "asfamc/02/02_01.amc", 0, 86),
    Cut("walk again", "asfamc/02/02_02.amc", 0, 75),
    Cut("whirl", "bvh/55_01__isaac.bvh", 150),
    Cut("lying", "asfamc/02/02_10.amc", 200, lie_down=True),
    Cut("windows, occluded", "bvh/14_12__daz.bvh", 220),
    Cut("jump", "asfamc/02/02_04.amc", 0, 121),
    Cut("punch", "asfamc/02/02_05.amc", 120),
    Cut("bend", "asfamc/02/02_06.amc", 60),
    Cut("sword", "asfamc/02/02_07.amc", 180),
    Cut("stool", "bvh/14_28__daz.bvh", 120),
)


def leg_length(clip: Clip, joints: dict[str, str]) -> float:
    """From hip to ankle along the bones, in the file's units."""
    names = clip.names

    def bone(child: str, parent: str) -> float:
        """Length from one of the rig's joints to another above it; joints between them lie on the way."""
        total, joint = 0.0, names.index(joints[child])
        while joint != names.index(joints[parent]):
            total += float(np.linalg.norm(clip.offsets[joint]))
            joint = int(clip.parents[joint])
        return total

    return bone("left_knee", "left_hip") + bone("left_ankle", "left_knee")


def cut_motion(recordings: list[Recording], cut: Cut) -> tuple[Array, Array]:
    """Rotation vectors (T, 55, 3) and pelvis places (T, 3) in leg lengths, y up, of one cut. Raises MocapError."""
    found = next((item for item in recordings if item.file == cut.file), None)
    if found is None:
        raise MocapError(f"MANIFEST.csv does not list {cut.file}.")
    clip, settings = found.clip, found.settings
    step = max(1, round(1.0 / FPS * clip.frame_rate))
    rows = slice(cut.start * step, (cut.start + cut.frames) * step, step)
    rotations = found.corrected[rows]
    # BVH's root has an offset of its own in some files; only differences and heights count.
    leg = leg_length(clip, settings.joints) / (0.5 * sum(found.stretch))
    places = (clip.root_positions[rows] @ settings.axes.T) / leg
    if cut.lie_down:
        onto_back = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
        # First the heading goes, or the person would be laid on a side.
        ahead = rotations[0, JOINT_INDEX["pelvis"]][:, 2]
        turn = np.arctan2(ahead[0], ahead[2])
        heading = np.array([[np.cos(turn), 0.0, -np.sin(turn)], [0.0, 1.0, 0.0], [np.sin(turn), 0.0, np.cos(turn)]])
        rotations[:, 0] = onto_back @ heading @ rotations[:, 0]
        places = (places - places[:1]) @ (onto_back @ heading).T
    vectors = log_so3(rotations)
    vectors[:, 22:] = 0.0
    return vectors, places


def write_bench_clips(root: Path) -> Path:
    """Write core/body/data/bench_clips.npz. Raises MocapError."""
    recordings = read_recordings(root)
    motions = [cut_motion(recordings, cut) for cut in CUTS]
    arrays = {
        "names": np.array([cut.name for cut in CUTS]),
        "lengths": np.array([len(vectors) for vectors, _ in motions]),
        "poses": np.concatenate([vectors[:, :22] for vectors, _ in motions]).astype(np.float16),
        "places": np.concatenate([places for _, places in motions]).astype(np.float32),
    }
    write_npz(BENCH_CLIPS_PATH, arrays)
    return BENCH_CLIPS_PATH
