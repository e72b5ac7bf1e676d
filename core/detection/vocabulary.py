"""Names and order of the points that detectors see. Standard library only.

Set names: `pose33` (MediaPipe pose), `left_hand`, `right_hand` (21 each: MediaPipe, OpenPose and COCO-WholeBody share
one order), `face468` (MediaPipe face mesh), `body25` (OpenPose), `coco17`, `feet6` (COCO-WholeBody),
`face68` (iBUG order: the first 68 of OpenPose's 70, COCO-WholeBody's 68).
"""

from __future__ import annotations

POSE33 = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle", "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
HAND21 = ("wrist",) + tuple(
    f"{finger}{k}" for finger in ("thumb", "index", "middle", "ring", "pinky") for k in (1, 2, 3, 4)
)
BODY25 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
COCO17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee",
    "left_ankle", "right_ankle",
)  # fmt: skip
FEET6 = (
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip

POINT_SETS: dict[str, tuple[str, ...]] = {
    "pose33": POSE33,
    "left_hand": tuple(f"left_{name}" for name in HAND21),
    "right_hand": tuple(f"right_{name}" for name in HAND21),
    "face468": tuple(f"face{i}" for i in range(468)),
    "body25": BODY25,
    "coco17": COCO17,
    "feet6": FEET6,
    "face68": tuple(f"ibug{i}" for i in range(68)),
}
