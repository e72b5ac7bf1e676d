"""Where one shot of a clip ends and the next begins."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_SIZE = (48, 27)  # pixels that are compared
_BINS = (8, 8, 8)
# A cut changes both where things are and which colours there are; a person that runs by changes one of the two.
LEAST_CHANGE = 0.10  # mean absolute difference of grey levels, 0…1
LEAST_COLOURS = 0.35  # Bhattacharyya distance of colour histograms, 0…1
TIMES_USUAL = 4.0  # a cut's difference over the running mean of the frames before: fast pans are no cuts


class CutFinder:
    """Looks at frame after frame. Its whole memory is `state`, so that it can go on in another process."""

    def __init__(self) -> None:
        self._thumb = np.zeros((0, 0, 3), np.uint8)
        self._usual = 0.0

    @property
    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays to keep; give them to `restore`."""
        return {"thumb": self._thumb, "usual": np.float64(self._usual).reshape(())}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go on from where another one was."""
        self._thumb = np.asarray(state["thumb"], np.uint8)
        self._usual = float(state["usual"])

    def is_cut(self, rgb: NDArray[np.uint8]) -> bool:
        """Whether this frame begins a new shot. The first frame of all does not."""
        # Some pixels of each cell are enough: the mean of all takes longer than anything else here.
        step = max(1, min(rgb.shape[1] // (8 * _SIZE[0]), rgb.shape[0] // (8 * _SIZE[1])))
        few = np.ascontiguousarray(rgb[::step, ::step])
        thumb = np.asarray(cv2.resize(few, _SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        before, self._thumb = self._thumb, thumb
        if before.size == 0:
            return False
        change = float(np.abs(thumb.astype(np.float32).mean(-1) - before.astype(np.float32).mean(-1)).mean()) / 255.0
        cut = (
            change > LEAST_CHANGE
            and change > TIMES_USUAL * self._usual
            and cv2.compareHist(_histogram(before), _histogram(thumb), cv2.HISTCMP_BHATTACHARYYA) > LEAST_COLOURS
        )
        if not cut:
            self._usual += 0.2 * (change - self._usual)
        return bool(cut)


def _histogram(thumb: NDArray[np.uint8]) -> NDArray[np.float32]:
    counts = cv2.calcHist([thumb], [0, 1, 2], None, list(_BINS), [0, 256] * 3)
    return np.asarray(counts / counts.sum(), np.float32)
