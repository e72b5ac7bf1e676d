"""Expressions and gazes drawn at random, for faces that readers learn from. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..priors.gaze import lid_components

Array = NDArray[np.float32]

SEEN = ("jawOpen", "mouthSmile", "eyeBlink", "mouthPucker", "browInnerUp", "browOuterUp", "browDown", "mouthFrown")
# Of faces for `priors.face_pictures`: brows and lids, which meshes hardly follow, come more often.
COMMON = (*SEEN, "browDown", "eyeWide", "noseSneer", "eyeSquint", "mouthFunnel")
_TOGETHER = (("mouthSmile", "cheekSquint"), ("browInnerUp", "browOuterUp"), ("eyeSquint", "cheekSquint"))
_LONE_SIDE = 0.3  # of actions of two sides, how many are of one
_GAZE_RAD, _MOST_GAZE_RAD = (0.22, 0.14), (0.6, 0.42)


def draw_expression(
    rng: np.random.Generator, names: tuple[str, ...], neutral_share: float, common: tuple[str, ...] = SEEN
) -> Array:
    """Components (52,) 0…1: nothing, or one to four actions, each with its strength, and traces of others."""
    values = np.zeros(len(names), np.float32)
    if rng.random() < neutral_share:
        return values
    stems = sorted({name.removesuffix("Left").removesuffix("Right") for name in names} - {"tongueOut"})
    weights = np.array([4.0 if stem in common else 1.0 for stem in stems])
    chosen = rng.choice(
        len(stems), int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1])), False, weights / weights.sum()
    )
    acts = [(stems[i], float(rng.uniform(0.15, 1.0))) for i in chosen]
    for first, second in _TOGETHER:
        acts += [(second, strength * float(rng.uniform(0.3, 1.0))) for stem, strength in acts if stem == first][:1]
    for stem, strength in acts:
        sides = [i for i, name in enumerate(names) if name.removesuffix("Left").removesuffix("Right") == stem]
        alone = int(rng.integers(2)) if len(sides) == 2 and rng.random() < _LONE_SIDE else None
        for k, i in enumerate(sides):
            if alone is None or alone == k:
                values[i] = max(values[i], strength * float(rng.uniform(0.85, 1.0)))
    traces = rng.choice(len(names), 6, replace=False)
    values[traces] = np.maximum(values[traces], rng.uniform(0, 0.12, 6))
    values[[i for i, name in enumerate(names) if name == "tongueOut"]] = 0.0
    return values


def draw_face(rng: np.random.Generator, names: tuple[str, ...]) -> tuple[Array, Array]:
    """An expression (52,) and a gaze (2,), which the lids follow more or less."""
    values = draw_expression(rng, names, 0.25, COMMON)
    gaze = np.clip(rng.normal(0.0, _GAZE_RAD), -np.array(_MOST_GAZE_RAD), _MOST_GAZE_RAD)
    if rng.random() < 0.3:
        gaze *= 0.15
    looks = [i for i, name in enumerate(names) if name.startswith("eyeLook")]
    values[looks] = 0.0
    share = float(rng.uniform(0.0, 1.0))
    for name, value in lid_components(gaze.astype(np.float32)).items():
        if name in names:
            values[names.index(name)] = share * value
    return values, gaze.astype(np.float32)
