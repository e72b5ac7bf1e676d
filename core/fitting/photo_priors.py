"""What fits know beforehand unless told otherwise: pose priors, and readers of faces."""

from __future__ import annotations

import torch

from ..body.model import BodyModel
from ..priors.errors import PriorError
from ..priors.expressions import ExpressionReader
from ..priors.gaze_reader import GazeReader
from ..priors.hands import load_hand_prior
from ..priors.learned import best_pose_prior
from ..priors.pose import PosePrior, load_gaussian_prior
from .evidence import FaceReaders
from .settings import FitSettings


def default_priors(
    settings: FitSettings, dtype: torch.dtype, device: str | torch.device
) -> tuple[tuple[tuple[PosePrior, float], ...], str]:
    """The priors that a fit uses unless told otherwise, and a warning ("" if none). Raises PriorError.

    Where the learned prior can't be read, the Gaussian one takes its place, with a warning.
    """
    if settings.learned_prior:
        prior, name, warning = best_pose_prior(dtype, device)
        return ((prior, settings.gaussian_prior if name == "gaussian" else settings.pose_prior),), warning
    return ((load_gaussian_prior("gaussian", dtype, device), settings.gaussian_prior),), ""


def hand_priors(
    body: BodyModel, settings: FitSettings, dtype: torch.dtype, device: str | torch.device
) -> tuple[tuple[PosePrior, float], ...]:
    """The priors of both hands about the body's own relaxed hands. Raises PriorError."""
    if settings.hand_prior == 0:
        return ()
    return tuple(
        (load_hand_prior(right, body.J_template, body.hands_mean[int(right)], dtype, device), settings.hand_prior)
        for right in (False, True)
    )


def face_readers(settings: FitSettings) -> tuple[FaceReaders, list[str]]:
    """What reads expression and gaze off a face, as far as the settings want it and it can be read; and warnings."""
    mesh, gaze, warnings = None, None, []
    try:
        if settings.expression_reader > 0:
            mesh = ExpressionReader()
    except PriorError as error:
        warnings.append(str(error))
    try:
        if settings.gaze_reader > 0:
            gaze = GazeReader()
    except PriorError as error:
        warnings.append(f"{error} Until then eyes look straight ahead.")
    return FaceReaders(mesh, gaze), warnings
