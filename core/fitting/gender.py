"""Which of a licensed model's bodies a person is fitted best by: neutral, male or female."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..capture import Capture

NEUTRAL = "neutral"


def best_gender(captures: Sequence[Capture], margin: float) -> Capture:
    """Of fits of one person with bodies of several genders, the one of least energy.

    margin: by how much the energy (twice a negative log likelihood) of a male or female body has to be below the
    neutral one's; less, and the neutral one is kept. The energies of all go into its diagnostics. Energies compare
    because evidence, weights and the spread of the betas are the same for all.
    """
    energies = {capture.gender: _energy(capture) for capture in captures}
    best = min(captures, key=_energy)
    neutral = next((capture for capture in captures if capture.gender == NEUTRAL), None)
    if neutral is not None and _energy(neutral) - _energy(best) < margin:
        best = neutral
    told = {name: round(energy, 3) for name, energy in energies.items()}
    return replace(best, diagnostics={**best.diagnostics, "gender_energies": told})


def _energy(capture: Capture) -> float:
    value = capture.diagnostics.get("energy")
    return float(value) if isinstance(value, (int, float)) else float("inf")
