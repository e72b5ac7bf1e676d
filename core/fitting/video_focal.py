"""The focal length of a clip from somebody who walks nearer or farther: feet that stand hold depth and steps together.

A frame alone hardly tells the focal length, and what it tells is biased. But a person's way along the line of sight is
as long as the focal length is, while steps are as long as legs make them: with a wrong focal length feet that stand
have to slide, or legs to bend. So some moments of the clip are fitted, without and with contacts, at several focal
lengths: where contacts cost least on top of the rest, they fit best.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from .video_evidence import Seen
from .video_fit import ClipFitter
from .video_shape import ClipShape
from .video_standing import Footing, standing_of
from .video_start import start_window


def search_rows(time_s: NDArray[np.float64], span: tuple[int, int], apart_s: float, most: int) -> NDArray[np.int64]:
    """Rows of a stretch about `apart_s` apart, `most` of them about its middle."""
    rows, last = [], -math.inf
    for row in range(*span):
        if time_s[row] >= last + apart_s - 1e-6:
            rows.append(row)
            last = float(time_s[row])
    first = max(0, (len(rows) - most) // 2)
    return np.array(rows[first : first + most], np.int64)


@torch.inference_mode()
def clip_focal(
    clip: ClipFitter,
    seen: Seen,
    shape: ClipShape,
    image_size: tuple[int, int],
    turn: NDArray[np.float32] | None = None,
    stop_if_cancelled: Callable[[], None] = lambda: None,
) -> float:
    """The focal length in px; that of `shape` where nobody comes nearer or goes away. seen: moments of one stretch."""
    s = clip.settings
    here = math.log(shape.focal_px)
    costs: dict[float, float] = {}
    for factor in (1.0, 1 / s.focal_step, s.focal_step):
        stop_if_cancelled()
        tried = replace(shape, focal_px=shape.focal_px * factor)
        start = start_window(clip.parts, seen, tried, image_size)
        rough = clip.body_window(seen, start, 0, tried, image_size, None, turn)
        distance = rough.state.transl[:, 2].float().cpu().numpy()
        near, far = np.percentile(distance, [5, 95])
        if factor == 1.0 and far < s.focal_travel * near:
            return shape.focal_px
        footing = Footing.of(clip, seen, rough.state, tried.principal_px, turn)
        standing = standing_of([(slice(None), footing)], seen.time_s, [(0, len(seen))], s.contacts)
        fitted = clip.body_window(seen, rough.state, 0, tried, image_size, standing, turn)
        costs[math.log(factor)] = fitted.cost - rough.cost
    # A parabola through the three, and how likely focal lengths are before anything is seen.
    slope, curve = np.polyfit(list(costs), list(costs.values()), 2)[1::-1]
    prior = clip.fitter.settings
    guess = math.log(prior.focal_guess * max(image_size)) - here
    curve = max(float(curve), 0.0) * s.focal_believed + prior.focal_sigma**-2
    slope = float(slope) * s.focal_believed - 2 * guess * prior.focal_sigma**-2
    reach = math.log(s.focal_step)  # beyond what was tried nothing is known
    return shape.focal_px * math.exp(min(max(-slope / (2 * curve), -reach), reach))
