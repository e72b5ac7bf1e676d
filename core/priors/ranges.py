"""How far human joints go: frames and ranges of motion for the 54 joints below the pelvis. numpy only.

Sources, by the short names used below:
AAOS: American Academy of Orthopaedic Surgeons, "Joint Motion: Method of Measuring and Recording", 1965, and its second
edition by Greene and Heckman, "The Clinical Measurement of Joint Motion", 1994. N&W: Norkin and White, "Measurement of
Joint Motion: A Guide to Goniometry", 5th ed., 2016. K: Kapandji, "The Physiology of the Joints", 6th ed., volumes 1 to
3. B: Boone and Azen, "Normal range of motion of joints in male subjects", J. Bone Joint Surg. 61-A, 1979.
Ranges are those, widened by some 5 to 10 degrees where SMPL-X's joint does the work of several (spine, shoulder, ankle)
or where a skeleton's joint centre makes an angle differ from a goniometer's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..body.skeleton import FINGERS, JOINT_INDEX

Array = NDArray[np.float64]
Interval = tuple[float, float]

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
DOWN, BACK = (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class JointRange:
    """Range of one joint of the left side or the midline, in degrees.

    `bone` is the direction, in the T-pose, that swings; `towards` the one that a positive `flexion` moves it to; a
    positive `side` moves it towards bone × towards. `twist` is about the bone, right-handed. `cone`: the swing's bounds
    are an ellipse around the middle of both intervals, else flexion and side are bounded separately.
    """

    bone: tuple[float, float, float]
    towards: tuple[float, float, float]
    flexion: Interval
    side: Interval
    twist: Interval
    cone: bool = False


LEFT_AND_MIDLINE: dict[str, JointRange] = {
    # Thoracolumbar: flexion 80–90, extension 25–30, lateral 35, rotation 45 (AAOS, N&W), a third for each joint.
    "spine1": JointRange(Y, Z, (-18, 36), (-20, 20), (-20, 20)),
    "spine2": JointRange(Y, Z, (-18, 36), (-20, 20), (-20, 20)),
    "spine3": JointRange(Y, Z, (-18, 36), (-20, 20), (-20, 20)),
    # Cervical: flexion 45–60, extension 45–75, lateral 45, rotation 60–80 (AAOS, K), half for each joint.
    "neck": JointRange(Y, Z, (-38, 34), (-26, 26), (-42, 42), cone=True),
    "head": JointRange(Y, Z, (-38, 34), (-26, 26), (-42, 42), cone=True),
    # Sternoclavicular: elevation 35–45, depression 10, protraction and retraction 15–30, axial rotation 30–50 (K).
    "left_collar": JointRange(X, Y, (-20, 42), (-30, 38), (-30, 30), cone=True),
    # Shoulder, about (0.5, −0.3, 0.8): flexion and abduction 180, extension 60, horizontal adduction 130–135,
    # horizontal abduction 40–45, inner rotation 70, outer 90 (AAOS, N&W, B). See `_SHOULDER_CENTRE`.
    "left_shoulder": JointRange(X, Z, (-112, 112), (-122, 122), (-105, 105), cone=True),
    # Elbow: 0–150, up to 10 of hyperextension in some (AAOS, K); the hinge's play, and none of the forearm's twist.
    "left_elbow": JointRange(X, Z, (-4, 150), (-9, 9), (-14, 14)),
    # Wrist: flexion 80, extension 70, ulnar 30, radial 20 (AAOS); forearm: pronation and supination 80–90 (AAOS, N&W).
    "left_wrist": JointRange(X, DOWN, (-75, 85), (-26, 38), (-92, 92), cone=True),
    # Hip: flexion 120 (with bent knee to 135, K), extension 20–30, abduction 45, adduction 30, rotation 45 each (AAOS),
    # outer rotation to 60 when flexed (K).
    "left_hip": JointRange(DOWN, Z, (-35, 138), (-68, 42), (-65, 52), cone=True),
    # Knee: 0–135 actively (AAOS), 150–160 on the heels (K), hyperextension to 5; bent, it turns 30 in and 40 out (K).
    "left_knee": JointRange(DOWN, BACK, (-4, 158), (-12, 12), (-40, 35)),
    # Ankle and tarsus: dorsiflexion 20 (30 under load), plantar flexion 50, inversion 35, eversion 15–20 (AAOS, K),
    # abduction and adduction of the foot 25–35 (K).
    "left_ankle": JointRange(DOWN, Z, (-62, 42), (-28, 40), (-40, 40), cone=True),
    # Toes: extension 70–90, flexion 35–45 at the ball (AAOS).
    "left_foot": JointRange(DOWN, Z, (-48, 82), (-10, 10), (-12, 12)),
    # Jaw: opening 40–55 mm at the incisors, about 30 degrees; lateral 10 mm, about 8 (K).
    "jaw": JointRange(Z, DOWN, (-2, 34), (-9, 9), (-5, 5)),
    # Eyes: 45–50 to the sides, 30–40 up, 40–50 down; torsion 5–10 (Guitton and Volle, J. Neurophysiol. 58, 1987).
    "left_eye_smplhf": JointRange(Z, Y, (-45, 38), (-48, 48), (-8, 8), cone=True),
}  # fmt: skip
# Fingers: knuckle 90 (extension 30–45), spread 20 each way, middle joint 100–110, end joint 80–90 (AAOS, K).
_KNUCKLE = ((-38.0, 95.0), (-24.0, 24.0), (-12.0, 12.0))
_MIDDLE = ((-8.0, 112.0), (-5.0, 5.0), (-6.0, 6.0))
_END = ((-15.0, 88.0), (-4.0, 4.0), (-6.0, 6.0))
# Thumb: saddle joint flexion 15, extension 20–35, abduction 60–70 and its opposing twist; knuckle 50–60 (−10); end
# joint 80 (−20) (AAOS, K).
_THUMB = (
    ((-40.0, 45.0), (-40.0, 40.0), (-35.0, 35.0)),
    ((-15.0, 65.0), (-15.0, 15.0), (-12.0, 12.0)),
    ((-25.0, 90.0), (-6.0, 6.0), (-8.0, 8.0)),
)
# Where the shoulder's swings are centred: the arm reaches everything within some 120 degrees of forward, outward and a
# little down; what it can't reach lies behind and above the other shoulder.
_SHOULDER_CENTRE = (0.5, -0.3, 0.8)
# Where a bending thumb's tip goes: over the palm.
_THUMB_TOWARDS = (0.55, -0.75, -0.35)


@dataclass(frozen=True)
class RangeTable:
    """Ranges of K joints as arrays, both sides. Angles in radians.

    frame (K, 3, 3): columns bone, towards, bone × towards, in the T-pose's axes.
    centre (K, 3, 3): in that frame, the rotation that brings the bone to the middle of its swing.
    bound (K, 3): largest swing from the centre towards the frame's 2nd and 3rd axis, and twist from its middle.
    coupling (K, 3, 3): which coordinates share one bound: both swings of a cone, else each its own.
    """

    joints: tuple[int, ...]
    frame: Array
    centre: Array
    bound: Array
    twist_middle: Array  # (K,)
    coupling: Array


def joint_ranges(joint_positions: NDArray[np.float32] | NDArray[np.float64] | None = None) -> dict[str, JointRange]:
    """Ranges of all joints of the left side and the midline; fingers take their directions from a T-pose.

    joint_positions (55, 3): T-pose joints in metres, any origin; None for fingers that point straight outward.
    """
    ranges = dict(LEFT_AND_MIDLINE)
    for finger in FINGERS:
        for k in range(3):
            name = f"left_{finger}{k + 1}"
            bone = np.array([1.0, 0.0, 0.0]) if finger != "thumb" else np.array([0.7, -0.5, 0.5])
            if joint_positions is not None:
                last = min(k + 2, 3)  # the tip is no joint: the end bone goes on as the middle one
                bone = np.asarray(
                    joint_positions[JOINT_INDEX[f"left_{finger}{last}"]]
                    - joint_positions[JOINT_INDEX[f"left_{finger}{last - 1}"]],
                    dtype=np.float64,
                )
            towards = np.array(_THUMB_TOWARDS if finger == "thumb" else DOWN)
            flexion, side, twist = _THUMB[k] if finger == "thumb" else (_KNUCKLE, _MIDDLE, _END)[k]
            ranges[name] = JointRange(
                _triple(bone), _triple(towards), flexion, side, twist, cone=k == 0 and finger == "thumb"
            )
    return ranges


def _triple(vector: Array) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])


def range_table(
    joints: tuple[int, ...], joint_positions: NDArray[np.float32] | NDArray[np.float64] | None = None
) -> RangeTable:
    """Arrays for the chosen joints (SMPL-X indices); the right side is the mirror image of the left."""
    ranges = joint_ranges(joint_positions)
    names = {index: name for name, index in JOINT_INDEX.items()}
    frames, centres, bounds, middles, couplings = [], [], [], [], []
    for joint in joints:
        name = names[joint]
        right = name.startswith("right_")
        item = ranges["left_" + name[len("right_") :] if right else name]
        bone = np.array(item.bone) / np.linalg.norm(item.bone)
        towards = np.array(item.towards) - bone * (bone @ np.array(item.towards))
        towards /= np.linalg.norm(towards)
        frame = np.stack([bone, towards, np.cross(bone, towards)], axis=1)
        intervals = np.radians([item.flexion, item.side, item.twist])
        middle = intervals.mean(1)
        if name.endswith("shoulder"):
            axis = frame.T @ (np.array(_SHOULDER_CENTRE) / np.linalg.norm(_SHOULDER_CENTRE))
        else:
            angle = float(np.hypot(middle[0], middle[1]))
            axis = np.array([np.cos(angle), *(np.sinc(angle / np.pi) * middle[:2])])
        centre = _smallest_turn(axis)
        if right:
            # Seen in a mirror, the frame's third axis and all turns about the first and second change sign.
            mirror, flip = np.diag([-1.0, 1.0, 1.0]), np.diag([1.0, 1.0, -1.0])
            frame = mirror @ frame @ flip
            centre = flip @ centre @ flip
            middle[2] = -middle[2]
        coupling = np.eye(3)
        coupling[:2, :2] = 1.0 if item.cone else np.eye(2)
        frames.append(frame)
        centres.append(centre)
        bounds.append((intervals[:, 1] - intervals[:, 0]) / 2)
        middles.append(middle[2])
        couplings.append(coupling)
    return RangeTable(
        joints, np.stack(frames), np.stack(centres), np.stack(bounds), np.array(middles), np.stack(couplings)
    )


def _smallest_turn(direction: Array) -> Array:
    """The smallest rotation that brings (1, 0, 0) to a unit direction, (3, 3)."""
    c = float(direction[0])
    v = np.array([0.0, -direction[2], direction[1]])  # (1, 0, 0) × direction
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.asarray(np.eye(3) + k + k @ k / (1 + c))
