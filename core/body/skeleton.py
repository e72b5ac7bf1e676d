"""The 55-joint SMPL-X skeleton: names, order, parents. Standard library only.

Source of names and order: Pavlakos et al., CVPR 2019 (SMPL-X), as published in the format's model files.
"""

from __future__ import annotations

BODY_JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
FACE_JOINTS = ("jaw", "left_eye_smplhf", "right_eye_smplhf")
FINGERS = ("index", "middle", "pinky", "ring", "thumb")
HAND_JOINTS = tuple(f"{finger}{k}" for finger in FINGERS for k in (1, 2, 3))
LEFT_HAND_JOINTS = tuple(f"left_{name}" for name in HAND_JOINTS)
RIGHT_HAND_JOINTS = tuple(f"right_{name}" for name in HAND_JOINTS)

JOINT_NAMES: tuple[str, ...] = BODY_JOINTS + FACE_JOINTS + LEFT_HAND_JOINTS + RIGHT_HAND_JOINTS
JOINT_INDEX: dict[str, int] = {name: i for i, name in enumerate(JOINT_NAMES)}
NUM_JOINTS = len(JOINT_NAMES)  # 55
NUM_POSE_FEATURES = 9 * (NUM_JOINTS - 1)  # entries of R - I of all joints but the root

PARENTS: tuple[int, ...] = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15,
    20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38,
    21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53,
)  # fmt: skip

BODY = slice(1, 22)  # 21 joints of `body_pose`
JAW = 22
LEFT_EYE = 23
RIGHT_EYE = 24
LEFT_HAND = slice(25, 40)
RIGHT_HAND = slice(40, 55)
ARMS: tuple[int, ...] = (*range(16, 22), *range(25, 55))  # from the shoulders to the fingers


def mirror_name(name: str) -> str:
    """The joint on the other side of the body; a joint on the midline is its own mirror."""
    if name.startswith("left_"):
        return "right_" + name[len("left_") :]
    if name.startswith("right_"):
        return "left_" + name[len("right_") :]
    return name


MIRROR: tuple[int, ...] = tuple(JOINT_INDEX[mirror_name(name)] for name in JOINT_NAMES)


def joint_levels(parents: tuple[int, ...] = PARENTS) -> tuple[tuple[int, ...], ...]:
    """Joints grouped by depth in the tree, root first; all joints of a level can be posed at once."""
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    return tuple(tuple(j for j, d in enumerate(depth) if d == level) for level in range(max(depth) + 1))
