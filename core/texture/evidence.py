"""What a detector's view of the person says of where a photo may be believed. numpy and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel
from ..body.skeleton import HAND_JOINTS, JOINT_INDEX
from ..detection.observation import Observation
from ..detection.vocabulary import POSE33

Float = NDArray[np.float32]

# A limb's joint is believed as far as these points of the detector are seen. Hands have their own rule.
_SEEN_BY = {"elbow": "elbow", "knee": "knee", "ankle": "ankle", "foot": "foot_index"}
_UNSURE, _SURE = 0.3, 0.7  # visibility
_HAND_BY_WRIST = (0.7, 1.0)  # the same for a hand that only the pose network saw


def person_mask(observation: Observation) -> Float | None:
    """How surely each pixel of the whole picture shows this person, (H, W) 0…1; None where no mask was made."""
    if observation.mask is None or observation.mask_box_px is None:
        return None
    width, height = observation.image_size
    x0, y0, x1, y1 = observation.mask_box_px.astype(np.float64)
    rows, columns = observation.mask.shape
    # Pixel centres lie at +0.5, which OpenCV puts at whole numbers.
    scale = np.array([(x1 - x0) / columns, (y1 - y0) / rows])
    shift = np.array([x0, y0]) + 0.5 * scale - 0.5
    matrix = np.array([[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]])
    mask: Float = cv2.warpAffine(observation.mask.astype(np.float32) / 255.0, matrix, (width, height))
    return mask


def vertex_trust(body: BodyModel, observation: Observation) -> Float:
    """How surely a vertex (V,) lies where the photo shows it: limbs that the detector didn't see are guesses."""
    trust = np.ones(body.weights.shape[1], np.float32)
    pose = observation.points.get("pose33")
    for side in ("left", "right"):
        if pose is not None:
            for joint, point in _SEEN_BY.items():
                seen = float(pose.confidence[POSE33.index(f"{side}_{point}")])
                trust[JOINT_INDEX[f"{side}_{joint}"]] = np.clip((seen - _UNSURE) / (_SURE - _UNSURE), 0.0, 1.0)
        hand = observation.points.get(f"{side}_hand")
        held = 0.0
        if hand is not None and float(np.mean(hand.confidence)) > 0.3:
            held = 1.0
        elif pose is not None:
            wrist = float(pose.confidence[POSE33.index(f"{side}_wrist")])
            held = float(np.clip((wrist - _HAND_BY_WRIST[0]) / (_HAND_BY_WRIST[1] - _HAND_BY_WRIST[0]), 0.0, 1.0))
        for name in ("wrist", *HAND_JOINTS):
            trust[JOINT_INDEX[f"{side}_{name}"]] = held
    return (body.weights @ trust).astype(np.float32)
