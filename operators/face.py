"""The 52 facial actions that ARKit names, in groups, and expressions made of them. Plain data."""

from __future__ import annotations

FACE_GROUPS = (
    ("Brows", "brow"),
    ("Eyes", "eye"),
    ("Cheeks", "cheek"),
    ("Nose", "nose"),
    ("Jaw", "jaw"),
    ("Mouth", "mouth"),
    ("Tongue", "tongue"),
)


def _both(name: str, value: float) -> dict[str, float]:
    return {f"{name}Left": value, f"{name}Right": value}


# identifier: (title, values of the keys that are not 0)
EXPRESSIONS: dict[str, tuple[str, dict[str, float]]] = {
    "NEUTRAL": ("Neutral", {}),
    "SMILE": (
        "Smile",
        {
            **_both("mouthSmile", 0.75),
            **_both("cheekSquint", 0.5),
            **_both("eyeSquint", 0.3),
            **_both("mouthDimple", 0.2),
        },
    ),
    "LAUGH": (
        "Laugh",
        {
            **_both("mouthSmile", 0.9),
            **_both("cheekSquint", 0.8),
            **_both("eyeSquint", 0.6),
            **_both("mouthUpperUp", 0.4),
            **_both("mouthLowerDown", 0.25),
            "jawOpen": 0.35,
        },
    ),
    "SURPRISE": (
        "Surprise",
        {"browInnerUp": 0.8, **_both("browOuterUp", 0.8), **_both("eyeWide", 0.8), "jawOpen": 0.45, "mouthFunnel": 0.2},
    ),
    "FROWN": (
        "Frown",
        {**_both("browDown", 0.8), **_both("eyeSquint", 0.25), **_both("mouthFrown", 0.4), "mouthShrugLower": 0.3},
    ),
    "SAD": (
        "Sad",
        {"browInnerUp": 0.8, **_both("mouthFrown", 0.6), "mouthShrugLower": 0.4, **_both("eyeLookDown", 0.2)},
    ),
    "ANGER": (
        "Anger",
        {
            **_both("browDown", 1.0),
            **_both("eyeSquint", 0.3),
            **_both("noseSneer", 0.6),
            **_both("mouthPress", 0.5),
            **_both("mouthFrown", 0.3),
        },
    ),
    "DISGUST": (
        "Disgust",
        {**_both("noseSneer", 0.9), **_both("browDown", 0.4), **_both("mouthUpperUp", 0.6), **_both("eyeSquint", 0.3)},
    ),
    "KISS": ("Kiss", {"mouthPucker": 0.9, "mouthFunnel": 0.1}),
    "WINK": (
        "Wink",
        {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.5, **_both("mouthSmile", 0.35), "mouthSmileLeft": 0.5},
    ),
    "EYES_CLOSED": ("Eyes closed", _both("eyeBlink", 1.0)),
}


def readable(key: str) -> str:
    """A key's name for people: "mouthSmileLeft" is "Mouth smile left"."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in key)
    return words[:1].upper() + words[1:]
