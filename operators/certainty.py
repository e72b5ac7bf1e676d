"""How sure a capture is of each limb: words, shares, colours. Plain values; what the fit said is on the armature."""

from __future__ import annotations

from dataclasses import dataclass

import bpy

from .avatars import PROPERTY

# What a limb hangs on is not its own.
_FINGERS = tuple(f"{finger}{k}" for finger in ("thumb", "index", "middle", "ring", "pinky") for k in (1, 2, 3))
_SIDED = {
    "arm": ("shoulder", "elbow", "wrist"),
    "hand": _FINGERS,
    "leg": ("hip", "knee", "ankle", "foot"),
}
LIMBS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Head", ("neck", "head", "jaw", "left_eye_smplhf", "right_eye_smplhf")),
    ("Trunk", ("spine1", "spine2", "spine3", "left_collar", "right_collar")),
    *(
        (f"{side.capitalize()} {limb}", tuple(f"{side}_{joint}" for joint in joints))
        for limb, joints in _SIDED.items()
        for side in ("left", "right")
    ),
)
# One σ of a joint's place, in cm: sure up to the first, a guess from the last on.
SURE_CM, GUESS_CM = 2.0, 12.0
_SURE, _HALF, _GUESS = (0.2, 0.75, 0.25), (0.95, 0.8, 0.1), (0.95, 0.15, 0.1)


@dataclass(frozen=True)
class Limb:
    """How sure the capture is of one limb."""

    name: str
    sigma_cm: float  # the mean over its joints of one σ of their place, against the pelvis

    @property
    def share(self) -> float:
        """1 for sure, 0 for a guess."""
        return 1.0 - doubt(self.sigma_cm)


def doubt(sigma_cm: float) -> float:
    """0 for sure, 1 for a guess."""
    return min(1.0, max(0.0, (sigma_cm - SURE_CM) / (GUESS_CM - SURE_CM)))


def limbs(rig: bpy.types.Object) -> list[Limb]:
    """All limbs, worst first; none where the capture did not tell."""
    stored = rig[PROPERTY].get("joint_sigma_m")
    if stored is None:
        return []
    sigmas = stored.to_dict()
    found = [Limb(name, 100.0 * sum(sigmas[joint] for joint in joints) / len(joints)) for name, joints in LIMBS]
    return sorted(found, key=lambda limb: -limb.sigma_cm)


def colour(sigma_cm: float) -> tuple[float, float, float]:
    """Green over yellow to red."""
    share = 2.0 * doubt(sigma_cm)
    low, high = (_SURE, _HALF) if share < 1.0 else (_HALF, _GUESS)
    share = share if share < 1.0 else share - 1.0
    return tuple(a + share * (b - a) for a, b in zip(low, high, strict=True))  # type: ignore[return-value]


def colour_bones(rig: bpy.types.Object, show: bool) -> None:
    """Give each bone the colour of its joint's uncertainty, or its own one back."""
    for name, sigma in rig[PROPERTY].get("joint_sigma_m", {}).items():
        bone = rig.pose.bones.get(name)
        if bone is None:
            continue
        if not show:
            bone.color.palette = "DEFAULT"
            continue
        normal = colour(100.0 * sigma)
        bone.color.palette = "CUSTOM"
        bone.color.custom.normal = normal
        bone.color.custom.select = tuple(0.5 + 0.5 * value for value in normal)
        bone.color.custom.active = tuple(0.3 + 0.7 * value for value in normal)
