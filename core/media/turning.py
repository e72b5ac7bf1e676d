"""How a camera turned from frame to frame, from what stands in the background.

A camera that only turns maps one picture on the next by a homography K R K⁻¹, whatever is in it (Hartley, Zisserman,
"Multiple View Geometry", 2nd ed., 8.4). It is kept as such: the focal length K may be known later only. A camera that
walks is not described by it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST_PX = 640  # pictures are reduced to this
CORNERS = 400
LEAST = 20  # matches below which nothing is said
REPROJECTION_PX = 1.5  # of the reduced picture


class TurnFinder:
    """Looks at frame after frame. Its memory is `state`."""

    def __init__(self) -> None:
        self._grey = np.zeros((0, 0), np.uint8)
        self._boxes = np.zeros((0, 4), np.float32)

    @property
    def state(self) -> dict[str, NDArray[np.generic]]:
        """Arrays to keep; give them to `restore`."""
        return {"grey": self._grey, "boxes": self._boxes}

    def restore(self, state: dict[str, NDArray[np.generic]]) -> None:
        """Go on from where another one was."""
        self._grey = np.asarray(state["grey"], np.uint8)
        self._boxes = np.asarray(state["boxes"], np.float32)

    def homography(self, rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float64]:
        """From the frame before to this one, (3, 3) in px of the picture; the identity where nothing is known.

        boxes (N, 4): people, whose pixels are no background.
        """
        height, width = rgb.shape[:2]
        scale = min(1.0, LONGEST_PX / max(height, width))
        size = max(8, round(width * scale)), max(8, round(height * scale))
        grey = np.asarray(cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY))
        before, people = self._grey, self._boxes
        self._grey, self._boxes = grey, np.asarray(boxes, np.float32).reshape(-1, 4)
        if before.shape != grey.shape:
            return np.eye(3)
        to_small = np.diag([size[0] / width, size[1] / height, 1.0])
        background = np.full(before.shape, 255, np.uint8)
        for x0, y0, x1, y1 in people * np.array([to_small[0, 0], to_small[1, 1]] * 2):
            margin = 0.1 * max(x1 - x0, y1 - y0)
            cv2.rectangle(background, (int(x0 - margin), int(y0 - margin)), (int(x1 + margin), int(y1 + margin)), 0, -1)
        corners = cv2.goodFeaturesToTrack(before, CORNERS, 0.01, 7, mask=background)
        if corners is None or len(corners) < LEAST:
            return np.eye(3)
        there, found, _ = cv2.calcOpticalFlowPyrLK(before, grey, corners, None, winSize=(15, 15), maxLevel=3)
        # What does not come back where it was is no match.
        again, back, _ = cv2.calcOpticalFlowPyrLK(grey, before, there, None, winSize=(15, 15), maxLevel=3)
        good = (found[:, 0] > 0) & (back[:, 0] > 0) & (np.linalg.norm(again - corners, axis=-1)[:, 0] < 1.0)
        if good.sum() < LEAST:
            return np.eye(3)
        cv2.setRNGSeed(0)  # the same frames give the same result, in a run that was stopped too
        small, inliers = cv2.findHomography(corners[good], there[good], cv2.RANSAC, REPROJECTION_PX)
        if small is None or int(inliers.sum()) < LEAST:
            return np.eye(3)
        whole = np.linalg.inv(to_small) @ small @ to_small
        return np.asarray(whole / whole[2, 2], np.float64)


def turns_of(
    homographies: NDArray[np.float64],
    focal_px: float,
    principal_px: tuple[float, float],
    shot: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Rotations (T, 3, 3) that bring each frame's camera axes to the first frame's.

    homographies (T, 3, 3) from the frame before; a new shot (T,) begins with no turn. The nearest rotation to
    K⁻¹ H K is taken (orthogonal Procrustes).
    """
    k = np.array([[focal_px, 0, principal_px[0]], [0, focal_px, principal_px[1]], [0, 0, 1.0]])
    inverse = np.linalg.inv(k)
    result = np.tile(np.eye(3), (len(homographies), 1, 1))
    for t in range(1, len(homographies)):
        if shot is not None and shot[t] != shot[t - 1]:
            continue
        u, _, vt = np.linalg.svd(inverse @ homographies[t] @ k)
        rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
        result[t] = result[t - 1] @ rotation.T
    return result
