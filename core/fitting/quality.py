"""How much work a photo's fit is worth: settings by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import FitSettings

# From the quickest to the most careful. The second is what figures are measured with unless they say otherwise.
QUALITIES = ("fast", "normal", "best")


def settings_of(quality: str, settings: FitSettings | None = None) -> FitSettings:
    """Settings of one of QUALITIES, from those of "normal".

    fast: without the mask's outline, and without keeping parts of the body apart. best: the learned pose prior in place
    of the Gaussian one. Raises ValueError for another name.
    """
    if settings is None:
        # Here, so that command lines can name the qualities without loading the solver.
        from .settings import FitSettings

        settings = FitSettings()
    if quality == "normal":
        return settings
    if quality == "fast":
        stages = tuple(replace(stage, silhouette=False) for stage in settings.stages if not stage.collision)
        return replace(settings, stages=stages)
    if quality == "best":
        return replace(settings, learned_prior=True)
    raise ValueError(f"{quality} is no quality of a fit. Choose one of {', '.join(QUALITIES)}.")
