"""Motion capture as SMPL-X poses: read a folder of files, split by subject, balance actions. Development only.

The raw capture is not part of the project; what is derived from it (bench poses, priors) is: `pantomime mocap`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..body.points_file import write_npz
from ..body.skeleton import JOINT_INDEX, MIRROR, NUM_JOINTS, PARENTS
from .mocap_files import AsfBone, Clip, MocapError, read_amc, read_asf, read_bvh, read_expmap
from .mocap_legs import NO_STRETCH, LegMotion, Stretch, leg_motion, straightened, stretch_of
from .mocap_rigs import Rig, rig_for, to_smplx
from .so3 import Array, log_so3

BENCH_POSES = Path(__file__).parent.parent / "body" / "data" / "bench_poses.npz"

# Subjects, not frames, are split, so that a prior is judged on people that it never saw. Subject 14 repeats many of
# subject 13's everyday actions, 2 fights and bends, 49 turns cartwheels; 60 and 61 are one couple and stay together.
TEST_SUBJECTS = ("2", "14", "49")
VALIDATION_SUBJECTS = ("3", "6", "55", "131")

# The first word that occurs in a file's action names its class.
ACTION_CLASSES = (
    "salsa", "cartwheel", "playground", "climb", "sit", "dance", "basketball", "soccer", "bassai", "empi", "heian",
    "upright", "fancy", "longsequence", "break", "sword", "punch", "wash", "drink", "soda", "traffic", "wave", "laugh",
    "dab", "zombie", "box", "jack", "jump", "hop", "run", "navigate", "bend", "walk",
)  # fmt: skip


@dataclass(frozen=True)
class PoseSet:
    """N poses of the whole skeleton, with where they come from."""

    rotations: NDArray[np.float32]  # (N, 55, 3, 3) local; fingers, jaw and eyes at rest
    subject: NDArray[np.str_]  # (N,)
    action: NDArray[np.str_]  # (N,) class of ACTION_CLASSES, or "other"
    split: NDArray[np.str_]  # (N,) "train", "validation" or "test"
    source: NDArray[np.str_]  # (N,) file
    frame: NDArray[np.int64]  # (N,) row in that file

    def part(self, mask: NDArray[np.bool_] | NDArray[np.int64]) -> PoseSet:
        """The poses that a mask or a list of indices picks."""
        return PoseSet(
            self.rotations[mask],
            self.subject[mask],
            self.action[mask],
            self.split[mask],
            self.source[mask],
            self.frame[mask],
        )

    def weights(self) -> Array:
        """(N,) sum 1: a class weighs with the square root of its size, so walking and salsa don't drown the rest."""
        _, index, counts = np.unique(self.action, return_inverse=True, return_counts=True)
        weight = 1.0 / np.sqrt(counts[index])
        return np.asarray(weight / weight.sum())


def action_class(action: str) -> str:
    """The class of a described action."""
    text = action.lower()
    return next((word for word in ACTION_CLASSES if word in text), "other")


def split_of(subject: str) -> str:
    """Which split a subject belongs to."""
    if subject in TEST_SUBJECTS:
        return "test"
    return "validation" if subject in VALIDATION_SUBJECTS else "train"


def mirrored(rotations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Poses seen in a mirror (x → −x): joints of the two sides swap, and so do the signs of turns about y and z."""
    signs = np.array([-1.0, 1.0, 1.0], dtype=rotations.dtype)
    count = rotations.shape[-3]
    order = MIRROR[:count] if count <= 22 else MIRROR
    return rotations[..., list(order), :, :] * signs[:, None] * signs


def thinned(rotations: Array, threshold_rad: float) -> NDArray[np.int64]:
    """Indices of frames that differ from the last kept one: root mean square turn of its joints above the threshold.

    rotations (T, 55, 3, 3). Frames at rest and slow motion would otherwise count many times.
    """
    kept = [0]
    body = rotations[:, :22].reshape(len(rotations), -1)
    for k in range(1, len(body)):
        # For small angles the Frobenius distance of two rotations is sqrt(2) times the angle between them.
        if np.sqrt(((body[k] - body[kept[-1]]) ** 2).sum() / (2 * 21)) > threshold_rad:
            kept.append(k)
    return np.array(kept)


# Wide bounds in degrees on the angle of a local rotation; beyond them it is the capture that is wrong.
_LARGEST_TURN = {"spine1": 40, "neck": 50, "collar": 45, "knee": 165, "ankle": 70, "foot": 60, "wrist": 110}


def plausible(rotations: Array) -> NDArray[np.bool_]:
    """Which poses a body can take, by wide bounds. rotations (T, 55, 3, 3) → (T,).

    Some CMU trials have elbows that bend backwards throughout, ankles turned half round, or wrists that flip.
    """
    vectors = np.degrees(log_so3(rotations[:, :22]))
    angles = np.linalg.norm(vectors, axis=-1)
    good = np.ones(len(vectors), dtype=np.bool_)
    for name, largest in _LARGEST_TURN.items():
        for joint in (name, f"left_{name}", f"right_{name}"):
            if joint in JOINT_INDEX:
                good &= angles[:, JOINT_INDEX[joint]] < largest
    for side, sign in (("left", -1), ("right", 1)):
        good &= sign * vectors[:, JOINT_INDEX[f"{side}_elbow"], 1] > -15
        good &= vectors[:, JOINT_INDEX[f"{side}_knee"], 0] > -12
    return good


def read_clip(path: Path, skeletons: dict[Path, tuple[list[AsfBone], dict[str, str]]]) -> Clip:
    """Read one file by its suffix; `skeletons` caches ASF files. Raises MocapError."""
    if path.suffix == ".bvh":
        return read_bvh(path)
    if path.suffix == ".amc":
        found = sorted(path.parent.glob("*.asf"))
        if not found:
            raise MocapError(f"{path} needs an .asf skeleton beside it.")
        if found[0] not in skeletons:
            skeletons[found[0]] = read_asf(found[0])
        return read_amc(path, skeletons[found[0]])
    if path.suffix == ".txt":
        return read_expmap(path)
    raise MocapError(f"{path.name} is of no kind that is read here: .bvh, .amc with .asf, or .txt of exponential maps.")


@dataclass(frozen=True)
class Recording:
    """One file's poses, as its skeleton has them, and how far its legs have to be stretched."""

    file: str
    subject: str  # a number, or the rig's name where that is not known
    action: str  # as described
    clip: Clip
    settings: Rig
    poses: Array  # (T, 55, 3, 3) local
    stretch: Stretch = NO_STRETCH

    @property
    def corrected(self) -> Array:
        """The poses with legs as long as the markers say, (T, 55, 3, 3)."""
        return straightened(self.poses, self.stretch)


def read_recordings(root: Path) -> list[Recording]:
    """Every body file that ROOT/MANIFEST.csv lists. Raises MocapError."""
    manifest = root / "MANIFEST.csv"
    if not manifest.is_file():
        raise MocapError(f"{root} has no MANIFEST.csv. Name the folder of the motion capture with --root.")
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["file"].startswith("hands")]
    skeletons: dict[Path, tuple[list[AsfBone], dict[str, str]]] = {}
    found, motions = [], []
    for row in rows:
        rig = row["rig"].split(" (")[0]
        subject = row["subject"] or rig
        clip, settings = read_clip(root / row["file"], skeletons), rig_for(rig, subject)
        found.append(Recording(row["file"], subject, row["action"], clip, settings, to_smplx(clip, settings)))
        motions.append(leg_motion(found[-1].poses[1:]))  # row 0 may be a converter's T-pose
    whole: dict[str, list[LegMotion]] = {}
    for row, motion in zip(rows, motions, strict=True):
        # Of people without a number nobody knows who is who: each of their files stands for itself.
        whole.setdefault(row["subject"] or row["file"], []).append(motion)
    return [
        replace(item, stretch=stretch_of(whole[row["subject"] or row["file"]], motion, _walks(item.action)))
        for item, row, motion in zip(found, rows, motions, strict=True)
    ]


def _walks(action: str) -> bool:
    return action_class(action) == "walk" and "uneven" not in action


def load_poses(root: Path, threshold_rad: float = 0.06, corrected: bool = True) -> PoseSet:
    """Every body file that ROOT/MANIFEST.csv lists, thinned. Raises MocapError.

    corrected: with legs stretched where their skeleton's are too long; the same frames are kept with and without.
    """
    rotations: list[NDArray[np.float32]] = []
    labels: list[tuple[str, str, str, str, int]] = []
    for item in read_recordings(root):
        poses = item.poses[1:]
        keep = thinned(poses, threshold_rad)
        keep = keep[plausible(poses[keep])]
        rotations.append((straightened(poses[keep], item.stretch) if corrected else poses[keep]).astype(np.float32))
        action = action_class(item.action)
        labels.extend((item.subject, action, split_of(item.subject), item.file, int(k) + 1) for k in keep)
    columns = list(zip(*labels, strict=True))
    return PoseSet(
        np.concatenate(rotations),
        np.array(columns[0]),
        np.array(columns[1]),
        np.array(columns[2]),
        np.array(columns[3]),
        np.array(columns[4]),
    )


def pick_diverse(poses: PoseSet, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Rows of `count` poses that cover a set: medoids of k-means over balanced draws, so neither repeats nor outliers.

    The distance is between global orientations of the limbs relative to the pelvis, as those are what one sees.
    """
    random = np.random.default_rng(seed)
    drawn = random.choice(len(poses.action), size=min(8000, len(poses.action)), replace=False, p=poses.weights())
    features = _limb_features(poses.rotations[drawn])
    centres = features[random.choice(len(features), count, replace=False)]
    for _ in range(12):
        distance = (features**2).sum(1)[:, None] - 2 * features @ centres.T + (centres**2).sum(1)
        nearest = distance.argmin(1)
        for k in range(count):
            members = nearest == k
            if members.any():
                centres[k] = features[members].mean(0)
    distance = (features**2).sum(1)[:, None] - 2 * features @ centres.T + (centres**2).sum(1)
    chosen = np.unique(distance.argmin(0))
    spare = np.setdiff1d(np.arange(len(features)), chosen)
    extra = random.choice(spare, count - len(chosen), replace=False)
    return np.asarray(drawn[np.concatenate([chosen, extra])])


def _limb_features(rotations: NDArray[np.float32]) -> NDArray[np.float32]:
    turns = rotations[:, :22].copy()
    turns[:, 0] = np.eye(3)
    for joint in range(1, 22):
        turns[:, joint] = turns[:, PARENTS[joint]] @ turns[:, joint]
    return turns[:, 1:].reshape(len(turns), -1)


def write_bench_poses(poses: PoseSet, captured: PoseSet, path: Path, train: int = 300, test: int = 100) -> None:
    """Write the small committed set of poses (axis-angle, pelvis included) that body benches and tests use.

    captured: the same poses as their skeletons have them, by which they are picked: the choice stays the same whatever
    is corrected.
    """
    parts = []
    for name, count in (("train", train), ("test", test)):
        rows = np.flatnonzero(poses.split == name)
        parts.append(poses.part(rows[pick_diverse(captured.part(rows), count, seed=1)]))
    vectors = np.concatenate([log_so3(part.rotations.astype(np.float64)) for part in parts]).astype(np.float32)
    vectors[:, 22:] = 0.0
    known = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("split", "subject", "action")}
    write_npz(path, {"poses": vectors.reshape(-1, NUM_JOINTS, 3), **known})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime mocap`."""
    parser.add_argument("--root", type=Path, required=True, help="folder with MANIFEST.csv and the capture files")
    parser.add_argument("--write-bench-poses", action="store_true", help="write core/body/data/bench_poses.npz")
    parser.add_argument("--write-bench-clips", action="store_true", help="write core/body/data/bench_clips.npz")
    parser.add_argument("--write-hands", action="store_true", help="write core/priors/data/hands.npz")
    parser.add_argument("--write-gaussian", action="store_true", help="write core/priors/data/gaussian_pose.npz")


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime mocap`: say what the folder holds, and write what was asked for."""
    if arguments.write_bench_clips:
        from .mocap_clips import write_bench_clips

        try:
            path = write_bench_clips(arguments.root)
        except MocapError as error:
            print(error, file=sys.stderr)
            return 1
        print(f"wrote {path.name}, {path.stat().st_size} bytes")
        return 0
    try:
        poses = load_poses(arguments.root)
    except MocapError as error:
        print(error, file=sys.stderr)
        return 1
    for name in ("train", "validation", "test"):
        part = poses.part(poses.split == name)
        print(f"{name}: {len(part.split)} poses of subjects {', '.join(sorted(set(part.subject.tolist())))}")
        actions, counts = np.unique(part.action, return_counts=True)
        print("  " + ", ".join(f"{a} {c}" for a, c in zip(actions, counts, strict=True)))
    if arguments.write_bench_poses:
        write_bench_poses(poses, load_poses(arguments.root, corrected=False), BENCH_POSES)
        print(f"wrote {BENCH_POSES.name}, {BENCH_POSES.stat().st_size} bytes")
    if arguments.write_hands:
        from .hands import fit_hands

        print(f"wrote {fit_hands(arguments.root).name}")
    if arguments.write_gaussian:
        from .gaussian import fit_gaussian

        path = fit_gaussian(poses)
        print(f"wrote {path.name}, {path.stat().st_size} bytes")
    return 0
