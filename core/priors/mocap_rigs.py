"""From the skeletons that motion capture comes in to SMPL-X joint rotations. numpy only.

Every rig is read the same way. The global rotation of a source bone goes from that rig's own rest pose to the frame;
multiplying by the inverse of the rotation that brings its rest pose to SMPL's T-pose (`Rig.to_t_pose`) gives the
global rotation of the SMPL-X joint, in SMPL's axes (x to the person's left, y up, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ..body.skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS
from .mocap_files import Clip, MocapError
from .so3 import Array, axis_rotation, exp_so3, log_so3


@dataclass(frozen=True)
class Rig:
    """How to read one kind of skeleton.

    `joints`: SMPL-X joint → the source joint that moves its limb (the last one, where several chain).
    `to_t_pose`: SMPL-X joint → (3, 3) rotation, in SMPL's axes, from the rig's rest pose to the T-pose.
    `axes`: (3, 3) from the file's axes to SMPL's.
    """

    joints: dict[str, str]
    to_t_pose: dict[str, Array] = field(default_factory=dict)
    axes: Array = field(default_factory=lambda: np.eye(3))


def _degrees(axis: str, angle: float) -> Array:
    return axis_rotation(axis, np.asarray(np.radians(angle)))


def _both_sides(joints: dict[str, tuple[str, str]]) -> dict[str, str]:
    result = {}
    for name, (left, right) in joints.items():
        result[f"left_{name}"], result[f"right_{name}"] = left, right
    return result


# CMU's skeleton rests with its legs 20 degrees apart, its head bones vertical, a head bowed by about 16 degrees
# (the same subjects stand so in every trial), and its elbow hinges 30 degrees off the vertical that they have in a body
# whose palms face down. `_ELBOW_ROLL` makes elbow flexion a pure turn about y and leaves the rest to pronation.
_ELBOW_ROLL = _degrees("x", 30.0)
_HEAD = {"neck": _degrees("x", 8.0), "head": _degrees("x", 16.0)}


def _limbs(joints: tuple[str, ...], turn: float, roll: Array | None = None) -> dict[str, Array]:
    """Left and right rotations about z, `turn` degrees for the left side, then `roll`."""
    result = {}
    for joint in joints:
        for side, sign in (("left", 1), ("right", -1)):
            turned = _degrees("z", sign * turn)
            result[f"{side}_{joint}"] = turned if roll is None else roll @ turned
    return result


_LEGS = ("hip", "knee", "ankle", "foot")
_ARMS = ("shoulder", "elbow")
# B. Hahne's converter put its zero pose at legs 21 and arms 8 degrees inward of CMU's own, head upright.
_CONVERTED = _limbs(_LEGS, 1.0) | _limbs(_ARMS, 8.0, _ELBOW_ROLL) | _limbs(("wrist",), 8.0)
_CMU = _limbs(_LEGS, -20.0) | _limbs(_ARMS, 0.0, _ELBOW_ROLL) | _HEAD

_DAZ = Rig(
    {"pelvis": "hip", "spine1": "abdomen", "spine3": "chest", "neck": "neck", "head": "head"}
    | _both_sides(
        {
            "hip": ("lThigh", "rThigh"),
            "knee": ("lShin", "rShin"),
            "ankle": ("lFoot", "rFoot"),
            "collar": ("lCollar", "rCollar"),
            "shoulder": ("lShldr", "rShldr"),
            "elbow": ("lForeArm", "rForeArm"),
            "wrist": ("lHand", "rHand"),
        }
    ),
    dict(_CONVERTED),
)
_FBX_LIMBS = _both_sides(
    {
        "hip": ("LeftUpLeg", "RightUpLeg"),
        "knee": ("LeftLeg", "RightLeg"),
        "ankle": ("LeftFoot", "RightFoot"),
        "foot": ("LeftToeBase", "RightToeBase"),
        "collar": ("LeftShoulder", "RightShoulder"),
        "shoulder": ("LeftArm", "RightArm"),
        "elbow": ("LeftForeArm", "RightForeArm"),
        "wrist": ("LeftHand", "RightHand"),
    }
)
_KEIJIRO = Rig(
    {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head"}
    | _FBX_LIMBS,
    dict(_HEAD),
)
_ISAAC = Rig(
    {"pelvis": "Hips", "spine1": "LowerBack", "spine2": "Spine", "spine3": "Spine1", "neck": "Neck1", "head": "Head"}
    | _FBX_LIMBS,
    dict(_CONVERTED),
)
_FAIR1 = Rig(
    {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine3", "neck": "Neck", "head": "Head"}
    | _FBX_LIMBS,
    axes=np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
)
_ASF = Rig(
    {
        "pelvis": "root",
        "spine1": "lowerback",
        "spine2": "upperback",
        "spine3": "thorax",
        "neck": "upperneck",
        "head": "head",
    }
    | _both_sides(
        {
            "hip": ("lfemur", "rfemur"),
            "knee": ("ltibia", "rtibia"),
            "ankle": ("lfoot", "rfoot"),
            "foot": ("ltoes", "rtoes"),
            "collar": ("lclavicle", "rclavicle"),
            "shoulder": ("lhumerus", "rhumerus"),
            "elbow": ("lradius", "rradius"),
            "wrist": ("lhand", "rhand"),
        }
    ),
    dict(_CMU),
)
_MAX = Rig(
    {
        "pelvis": "Hips",
        "spine1": "lowerback",
        "spine2": "Chest",
        "spine3": "Chest2",
        "neck": "Neck",
        "head": "Head",
    }
    | _both_sides(
        {
            "hip": ("LeftHip", "RightHip"),
            "knee": ("LeftKnee", "RightKnee"),
            "ankle": ("LeftAnkle", "RightAnkle"),
            "foot": ("LeftToe", "RightToe"),
            "collar": ("LeftCollar", "RightCollar"),
            "shoulder": ("LeftShoulder", "RightShoulder"),
            "elbow": ("LeftElbow", "RightElbow"),
            "wrist": ("lhand", "rhand"),
        }
    ),
    # It rests with its arms hanging.
    _limbs(_LEGS, -20.0) | _limbs(_ARMS, 90.0, _ELBOW_ROLL) | _limbs(("wrist",), 90.0) | _HEAD,
)
_CCMB = Rig(
    {
        "pelvis": "hip",
        "spine1": "lowerback",
        "spine2": "abdomen",
        "spine3": "chest",
        "neck": "neck1",
        "head": "head",
    }
    | _both_sides(
        {
            "hip": ("lhip", "rhip"),
            "knee": ("lknee", "rknee"),
            "ankle": ("lfoot", "rfoot"),
            "foot": ("lefttoebase", "righttoebase"),
            "collar": ("lcollar", "rcollar"),
            "shoulder": ("lshoulder", "rshoulder"),
            "elbow": ("lelbow", "relbow"),
            "wrist": ("leftfingerbase", "rightfingerbase"),
        }
    ),
    dict(_CMU),
)
RIGS: dict[str, Rig] = {
    "daz": _DAZ,
    "keijiro": _KEIJIRO,
    "isaac": _ISAAC,
    "fair1": _FAIR1,
    "asf": _ASF,
    "expmap38": _ASF,
    "max": _MAX,
    "mb": _MAX,
    "ccmb": _CCMB,
}


# CMU subjects whose head markers sit otherwise: their heads are level with CMU's rest as it is.
LEVEL_HEAD_SUBJECTS = ("2", "131")


def rig_for(name: str, subject: str = "") -> Rig:
    """The rig of a kind of file, with what is known of a subject. Raises MocapError for an unknown kind."""
    if name not in RIGS:
        raise MocapError(f"There is no rig {name}. Known rigs: {', '.join(sorted(RIGS))}.")
    rig = RIGS[name]
    if subject in LEVEL_HEAD_SUBJECTS:
        return replace(rig, to_t_pose={key: turn for key, turn in rig.to_t_pose.items() if key not in _HEAD})
    return rig


def to_smplx(clip: Clip, rig: Rig) -> Array:
    """A clip's poses as local SMPL-X rotations, (T, 55, 3, 3); fingers, jaw and eyes at rest. Raises MocapError.

    A joint that the rig lacks follows its parent. The turn from pelvis to chest is spread evenly over the three spine
    joints, and that from chest to head over neck and head: markers can't tell the vertebrae apart, and rigs split the
    turn each in its own way.
    """
    missing = sorted(set(rig.joints.values()) - set(clip.names))
    if missing:
        raise MocapError(f"The skeleton lacks {', '.join(missing)}. Name another rig for this file.")
    source = clip.global_rotations()
    count = len(source)
    turns = np.empty((count, NUM_JOINTS, 3, 3))
    for joint, parent in enumerate(PARENTS):
        name = next(key for key, index in JOINT_INDEX.items() if index == joint)
        if name in rig.joints:
            turn = rig.axes @ source[:, clip.names.index(rig.joints[name])] @ rig.axes.T
            turns[:, joint] = turn @ np.swapaxes(rig.to_t_pose.get(name, np.eye(3)), -1, -2)
        else:
            turns[:, joint] = turns[:, parent]
    _spread(turns, ("spine1", "spine2", "spine3"), JOINT_INDEX["pelvis"])
    _spread(turns, ("neck", "head"), JOINT_INDEX["spine3"])
    _move_forearm_twist(turns)
    _lift_collars(turns)
    local = turns.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            local[:, joint] = np.swapaxes(turns[:, parent], -1, -2) @ turns[:, joint]
    return local


def _spread(turns: Array, chain: tuple[str, ...], base: int) -> None:
    """Replace the global rotations of a chain by equal steps from `base` to the chain's end, in place."""
    end = JOINT_INDEX[chain[-1]]
    total = log_so3(np.swapaxes(turns[:, base], -1, -2) @ turns[:, end])
    for k, name in enumerate(chain[:-1], start=1):
        turns[:, JOINT_INDEX[name]] = turns[:, base] @ exp_so3(total * (k / len(chain)))


def _move_forearm_twist(turns: Array) -> None:
    """Leave elbows without twist about the forearm, in place; wrists keep their place, so pronation is theirs."""
    for side in ("left", "right"):
        shoulder, elbow = JOINT_INDEX[f"{side}_shoulder"], JOINT_INDEX[f"{side}_elbow"]
        bend = np.swapaxes(turns[:, shoulder], -1, -2) @ turns[:, elbow]
        forearm = bend[..., 0]  # where the forearm's own x axis points
        cross = np.stack([np.zeros(len(bend)), -forearm[:, 2], forearm[:, 1]], axis=-1)  # x × forearm
        sine = np.linalg.norm(cross, axis=-1, keepdims=True)
        angle = np.arctan2(sine, forearm[:, :1])
        turns[:, elbow] = turns[:, shoulder] @ exp_so3(cross / np.maximum(sine, 1e-9) * angle)


def _lift_collars(turns: Array) -> None:
    """Where a rig's collars never move, let them follow the arm, in place; the arm's own global rotation stays.

    Raising an arm turns the clavicle and scapula with it: about a third of the whole elevation comes from the shoulder
    girdle, of which the clavicle itself rises some 10 to 15 degrees and the arm's reach forward protracts it (Inman,
    Saunders and Abbott, J. Bone Joint Surg. 26, 1944; Ludewig et al., J. Bone Joint Surg. Am. 91, 2009). Zero is the
    T-pose: 10 degrees lower with hanging arms, 16 higher overhead.
    """
    chest = turns[:, JOINT_INDEX["spine3"]]
    for side, sign in (("left", 1.0), ("right", -1.0)):
        collar, shoulder = JOINT_INDEX[f"{side}_collar"], JOINT_INDEX[f"{side}_shoulder"]
        moved = np.abs(turns[:, collar] - chest).max()
        if moved > 1e-3:
            continue
        arm = (np.swapaxes(chest, -1, -2) @ turns[:, shoulder])[..., 0] * sign
        elevation = np.arcsin(np.clip(arm[:, 1], -1, 1))
        lift = np.where(elevation < 0, 0.13, 0.2) * elevation
        forward = 0.15 * np.clip(arm[:, 2], -0.5, 1.0)
        vector = np.stack([np.zeros(len(arm)), -sign * forward, sign * lift], axis=-1)
        turns[:, collar] = chest @ exp_so3(vector)
