"""How much work a photo's fit is worth: settings by name."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import FitSettings

# The second is what figures are measured with unless they say otherwise.
QUALITIES = ("fast", "normal")


def settings_of(quality: str, settings: FitSettings | None = None) -> FitSettings:
    """Settings of one of QUALITIES, from those of "normal".

    fast: without the mask's outline, without keeping parts of the body apart, and with the Gaussian pose prior. Raises
    ValueError for another name.
    """
    if settings is None:
        # Here, so that command lines can name the qualities without loading the solver.
        from .settings import FitSettings

        settings = FitSettings()
    if quality == "normal":
        return settings
    if quality == "fast":
        stages = tuple(replace(stage, silhouette=False) for stage in settings.stages if not stage.collision)
        return replace(settings, stages=stages, learned_prior=False)
    raise ValueError(f"{quality} is no quality of a fit. Choose one of {', '.join(QUALITIES)}.")


def clip_settings() -> FitSettings:
    """Settings of the frames of clips, which keep the Gaussian pose prior: a frame has its neighbours, and the learned
    one takes five times as long."""
    from .settings import FitSettings

    return replace(FitSettings(), learned_prior=False)
