"""Names of bones in the rigs that people have, by SMPL-X joint; and which rig an armature is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..core.body.skeleton import JOINT_NAMES

_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_SIDES = ("left", "right")


@dataclass(frozen=True)
class Rig:
    """A kind of rig. `bones`: joint → bone."""

    name: str
    bones: Mapping[str, str]
    # Rigify's generated rigs: properties by bone that switch limbs from IK to FK, and the value that does.
    switches: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class Detected:
    """A mapping that was found on an armature."""

    rig: Rig
    bones: dict[str, str]  # joint → bone that the armature has


def _rig(name: str, middle: dict[str, str], sided: dict[str, str], sides: tuple[str, str], **more: object) -> Rig:
    """`sided` bones hold {s}, which becomes the rig's word for a side."""
    bones = dict(middle)
    for side, word in zip(_SIDES, sides, strict=True):
        bones.update({f"{side}_{joint}": bone.format(s=word) for joint, bone in sided.items()})
    unknown = set(bones) - set(JOINT_NAMES)
    assert not unknown, unknown
    return Rig(name, bones, **more)  # type: ignore[arg-type]


def _fingers(pattern: str, words: dict[str, str]) -> dict[str, str]:
    """`pattern` holds {f} for a finger's word and {k} for the phalanx 1…3, and passes {s} on."""
    return {
        f"{finger}{k}": pattern.replace("{f}", words.get(finger, finger)).replace("{k}", str(k))
        for finger in _FINGERS
        for k in (1, 2, 3)
    }


_CAPITALS = {finger: finger.capitalize() for finger in _FINGERS}
_RIGIFY_FINGERS = _fingers("{f}.0{k}.{s}", {f: f"f_{f}" for f in _FINGERS if f != "thumb"})
_NUMBERED = {finger: str(k) for k, finger in enumerate(_FINGERS, start=1)}

SMPLX = Rig("SMPL-X", {name: name for name in JOINT_NAMES})
MIXAMO = _rig(
    "Mixamo",
    {"pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head"},
    {
        "hip": "{s}UpLeg", "knee": "{s}Leg", "ankle": "{s}Foot", "foot": "{s}ToeBase",
        "collar": "{s}Shoulder", "shoulder": "{s}Arm", "elbow": "{s}ForeArm", "wrist": "{s}Hand",
        "eye_smplhf": "{s}Eye", **_fingers("{s}Hand{f}{k}", _CAPITALS),
    },
    ("Left", "Right"),
)  # fmt: skip
RIGIFY = _rig(
    "Rigify (metarig)",
    {
        "pelvis": "spine", "spine1": "spine.001", "spine2": "spine.002", "spine3": "spine.003", "neck": "spine.004",
        "head": "spine.006", "jaw": "jaw",
    },
    {
        "hip": "thigh.{s}", "knee": "shin.{s}", "ankle": "foot.{s}", "foot": "toe.{s}", "collar": "shoulder.{s}",
        "shoulder": "upper_arm.{s}", "elbow": "forearm.{s}", "wrist": "hand.{s}", "eye_smplhf": "eye.{s}",
        **_RIGIFY_FINGERS,
    },
    ("L", "R"),
)  # fmt: skip
RIGIFY_CONTROLS = _rig(
    "Rigify (generated rig)",
    # `torso` carries the pelvis; the spine's FK chain starts above it.
    {"pelvis": "torso", "spine2": "spine_fk.002", "spine3": "spine_fk.003", "neck": "neck", "head": "head"},
    {
        "hip": "thigh_fk.{s}", "knee": "shin_fk.{s}", "ankle": "foot_fk.{s}", "foot": "toe_fk.{s}",
        "collar": "shoulder.{s}", "shoulder": "upper_arm_fk.{s}", "elbow": "forearm_fk.{s}", "wrist": "hand_fk.{s}",
        **_RIGIFY_FINGERS,
    },
    ("L", "R"),
    switches=tuple((f"{limb}_parent.{side}", "IK_FK", 1.0) for limb in ("upper_arm", "thigh") for side in "LR"),
)  # fmt: skip
MPFB_DEFAULT = _rig(
    "MPFB (default)",
    {
        "pelvis": "root", "spine1": "spine03", "spine2": "spine02", "spine3": "spine01", "neck": "neck01",
        "head": "head", "jaw": "jaw",
    },
    {
        "hip": "upperleg01.{s}", "knee": "lowerleg01.{s}", "ankle": "foot.{s}", "foot": "toe3-1.{s}",
        "collar": "clavicle.{s}", "shoulder": "upperarm01.{s}", "elbow": "lowerarm01.{s}", "wrist": "wrist.{s}",
        "eye_smplhf": "eye.{s}", **_fingers("finger{f}-{k}.{s}", _NUMBERED),
    },
    ("L", "R"),
)  # fmt: skip


def _unreal(name: str, lowest: int) -> Rig:
    """A rig with Unreal's names, of whose spine three bones are used, from the `lowest` one on."""
    spine = {f"spine{k + 1}": f"spine_{lowest + k:02d}" for k in range(3)}
    limbs = {
        "hip": "thigh_{s}", "knee": "calf_{s}", "ankle": "foot_{s}", "foot": "ball_{s}", "collar": "clavicle_{s}",
        "shoulder": "upperarm_{s}", "elbow": "lowerarm_{s}", "wrist": "hand_{s}", **_fingers("{f}_0{k}_{s}", {}),
    }  # fmt: skip
    return _rig(name, {"pelvis": "pelvis", **spine, "neck": "neck_01", "head": "head"}, limbs, ("l", "r"))


# Its five bones of the spine are there in the same body: the upper three are at the heights of the avatar's.
UNREAL_5 = _unreal("Unreal 5", 3)
GAME_ENGINE = _unreal("MPFB (game engine), Unreal", 1)
RIGS = (SMPLX, MIXAMO, RIGIFY_CONTROLS, RIGIFY, MPFB_DEFAULT, UNREAL_5, GAME_ENGINE)

LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
_ENOUGH = 10  # of the twelve joints of the limbs


def detect(bone_names: Iterable[str]) -> Detected | None:
    """The rig whose names fit best; None where none does. Namespaces (`mixamorig:`) and case don't count."""
    known: dict[str, str] = {}
    for name in bone_names:
        known.setdefault(plain(name), name)
    best: Detected | None = None
    for rig in RIGS:
        bones = {joint: known[plain(bone)] for joint, bone in rig.bones.items() if plain(bone) in known}
        limbs = sum(1 for side in _SIDES for limb in LIMBS if f"{side}_{limb}" in bones)
        if limbs >= _ENOUGH and "pelvis" in bones and (best is None or len(bones) > len(best.bones)):
            best = Detected(rig, bones)
    return best


def plain(name: str) -> str:
    """A bone's name without its namespace, in lower case."""
    return name.rpartition(":")[2].lower()
