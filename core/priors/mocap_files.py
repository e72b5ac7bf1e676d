"""Readers of motion capture files: BVH, ASF/AMC, and exponential maps in the 38-joint CMU layout. numpy only.

All of them end in a `Clip`: what each joint of the file's own skeleton does, as rotation matrices in the file's own
axes. What the joints mean for a person is the business of `mocap_rigs`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .so3 import Array, euler_matrix, exp_so3


class MocapError(Exception):
    """Motion capture that can't be read; the message says what to do next."""


@dataclass(frozen=True)
class Clip:
    """T frames of J joints. A joint's rotation turns its own and all further offsets, as in BVH."""

    names: tuple[str, ...]
    parents: NDArray[np.int64]  # (J,) -1 for the root; a parent comes before its children
    offsets: Array  # (J, 3) from the parent joint at rest, in the file's units
    rotations: Array  # (T, J, 3, 3) local, column vectors
    root_positions: Array  # (T, 3) in the file's units
    frame_rate: float  # Hz

    def global_rotations(self) -> Array:
        """(T, J, 3, 3): rotation of each joint from its rest orientation, in the file's axes."""
        result = np.empty_like(self.rotations)
        for joint, parent in enumerate(self.parents):
            local = self.rotations[:, joint]
            result[:, joint] = local if parent < 0 else result[:, parent] @ local
        return result

    def positions(self) -> Array:
        """(T, J, 3) joint positions in the file's units, the root's at `root_positions`."""
        turns = self.global_rotations()
        result = np.empty(turns.shape[:-1])
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                result[:, joint] = self.root_positions
            else:
                result[:, joint] = result[:, parent] + turns[:, parent] @ self.offsets[joint]
        return result


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise MocapError(f"Can't read {path}: {error.strerror or error}. Check the name.") from error


def read_bvh(path: Path) -> Clip:
    """Read a BVH file. Channels may come in any order; end sites are left out. Raises MocapError."""
    head, separator, motion = _read_text(path).partition("MOTION")
    if not separator:
        raise MocapError(f"{path} is not a BVH file: it has no MOTION section.")
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[list[str]] = []
    stack: list[int] = []  # -2 marks an end site
    opened = -1
    for line in head.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] in ("ROOT", "JOINT"):
            names.append(words[1])
            parents.append(stack[-1] if stack else -1)
            offsets.append([0.0, 0.0, 0.0])
            channels.append([])
            opened = len(names) - 1
        elif words[0] == "End":
            opened = -2
        elif words[0] == "{":
            stack.append(opened)
        elif words[0] == "}":
            stack.pop()
        elif words[0] == "OFFSET" and stack[-1] >= 0:
            offsets[stack[-1]] = [float(word) for word in words[1:4]]
        elif words[0] == "CHANNELS":
            channels[stack[-1]] = words[2:]
    lines = motion.split("\n")
    rate = re.search(r"Frame Time:\s*([\d.eE+-]+)", motion)
    rows = [line.split() for line in lines if line.strip() and line.split()[0][0] in "-.0123456789"]
    width = sum(len(item) for item in channels)
    if not rows or rate is None or any(len(row) != width for row in rows):
        raise MocapError(f"{path} is damaged: every frame must have {width} numbers. Fetch the file again.")
    values = np.array(rows, dtype=np.float64)
    rotations = np.empty((len(values), len(names), 3, 3))
    root_positions = np.zeros((len(values), 3))
    column = 0
    for joint, kinds in enumerate(channels):
        block = values[:, column : column + len(kinds)]
        column += len(kinds)
        turning = [k for k, kind in enumerate(kinds) if kind.endswith("rotation")]
        order = "".join(kinds[k][0].lower() for k in turning)
        rotations[:, joint] = euler_matrix(order, np.radians(block[:, turning]))
        if joint == 0:
            for k, kind in enumerate(kinds):
                if kind.endswith("position"):
                    root_positions[:, "XYZ".index(kind[0])] = block[:, k]
    return Clip(
        tuple(names), np.array(parents), np.array(offsets), rotations, root_positions, 1.0 / float(rate.group(1))
    )


@dataclass(frozen=True)
class AsfBone:
    """A bone of an ASF skeleton. `direction` (3,) unit, `axes` (3, 3) its C matrix, `dofs` e.g. ("rx", "rz")."""

    name: str
    direction: Array
    length: float
    axes: Array
    dofs: tuple[str, ...]


def read_asf(path: Path) -> tuple[list[AsfBone], dict[str, str]]:
    """Read an ASF skeleton → its bones and {bone: parent}. Angles in degrees, axis order XYZ. Raises MocapError."""
    text = _read_text(path)
    bones: list[AsfBone] = []
    for block in re.findall(r"begin\s+id(.*?)end\b", text, flags=re.S):
        fields = {}
        for line in block.splitlines():
            words = line.split()
            if words and words[0] in ("name", "direction", "length", "axis", "dof"):
                fields[words[0]] = words[1:]
        try:
            angles = np.radians(np.array([float(word) for word in fields["axis"][:3]]))
            # An ASF "XYZ" axis line turns about x first, then y, then z, of fixed axes.
            axes = euler_matrix("zyx", angles[::-1])
            direction = np.array([float(word) for word in fields["direction"]])
            bones.append(
                AsfBone(
                    fields["name"][0],
                    direction / np.linalg.norm(direction),
                    float(fields["length"][0]),
                    axes,
                    tuple(fields.get("dof", ())),
                )
            )
        except (KeyError, ValueError, IndexError) as error:
            raise MocapError(f"{path} is damaged: a bone lacks {error}. Fetch the file again.") from error
    parents: dict[str, str] = {}
    _, _, hierarchy = text.partition(":hierarchy")
    for line in hierarchy.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] not in ("begin", "end"):
            for child in words[1:]:
                parents[child] = words[0]
    if not bones or not parents:
        raise MocapError(f"{path} is not an ASF skeleton: it has no bones.")
    return bones, parents


def read_amc(path: Path, skeleton: tuple[list[AsfBone], dict[str, str]], frame_rate: float = 30.0) -> Clip:
    """Read an AMC motion on its skeleton. A bone's local rotation is C · R · C⁻¹ in world axes. Raises MocapError.

    A bone's offset in the clip is that of its parent's tip, as the clip's joints sit at the bones' heads.
    """
    bones, parents = skeleton
    order = ["root"] + [bone.name for bone in bones]
    by_name = {bone.name: bone for bone in bones}
    frames: list[dict[str, list[float]]] = []
    for line in _read_text(path).splitlines():
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
        elif frames:
            frames[-1][words[0]] = [float(word) for word in words[1:]]
    if not frames or any("root" not in frame for frame in frames):
        raise MocapError(f"{path} is not an AMC motion: a frame has no root. Fetch the file again.")
    count = len(frames)
    rotations = np.broadcast_to(np.eye(3), (count, len(order), 3, 3)).copy()
    root = np.array([frame["root"] for frame in frames])
    rotations[:, 0] = euler_matrix("zyx", np.radians(root[:, 5:2:-1]))
    offsets = np.zeros((len(order), 3))
    parent_ids = np.full(len(order), -1)
    for joint, name in enumerate(order[1:], start=1):
        bone, parent = by_name[name], parents[name]
        parent_ids[joint] = order.index(parent)
        if parent != "root":
            offsets[joint] = by_name[parent].direction * by_name[parent].length
        if not bone.dofs or name not in frames[0]:
            continue
        angles = np.zeros((count, 3))
        values = np.array([frame[name] for frame in frames])
        for k, dof in enumerate(bone.dofs):
            angles[:, "xyz".index(dof[1])] = np.radians(values[:, k])
        rotations[:, joint] = bone.axes @ euler_matrix("zyx", angles[:, ::-1]) @ bone.axes.T
    return Clip(tuple(order), parent_ids, offsets, rotations, root[:, :3], frame_rate)


EXPMAP_NAMES: tuple[str, ...] = (
    "root", "lhipjoint", "lfemur", "ltibia", "lfoot", "ltoes", "ltoes_end", "rhipjoint", "rfemur", "rtibia", "rfoot",
    "rtoes", "rtoes_end", "lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head", "head_end",
    "lclavicle", "lhumerus", "lradius", "lwrist", "lhand", "lfingers", "lfingers_end", "lthumb", "lthumb_end",
    "rclavicle", "rhumerus", "rradius", "rwrist", "rhand", "rfingers", "rfingers_end", "rthumb", "rthumb_end",
)  # fmt: skip
EXPMAP_PARENTS: tuple[int, ...] = (
    -1, 0, 1, 2, 3, 4, 5, 0, 7, 8, 9, 10, 11, 0, 13, 14, 15, 16, 17, 18,
    15, 20, 21, 22, 23, 24, 25, 23, 27, 15, 29, 30, 31, 32, 33, 34, 32, 36,
)  # fmt: skip


def read_expmap(path: Path, frame_rate: float = 30.0) -> Clip:
    """Read rows of root position + 38 exponential maps (the layout of Li et al., DMGNN, CVPR 2020). Raises MocapError.

    The layout multiplies row vectors (R_j = exp(w_j) R_parent), so a column-vector rotation is exp(-w).
    """
    try:
        values = np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise MocapError(f"Can't read {path} as numbers separated by commas: {error}.") from error
    if values.shape[1] != 3 + 3 * len(EXPMAP_NAMES):
        raise MocapError(f"{path} has {values.shape[1]} numbers a row; 117 are expected.")
    rotations = exp_so3(-values[:, 3:].reshape(len(values), -1, 3))
    offsets = np.zeros((len(EXPMAP_NAMES), 3))
    return Clip(EXPMAP_NAMES, np.array(EXPMAP_PARENTS), offsets, rotations, values[:, :3], frame_rate)
