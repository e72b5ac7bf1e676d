"""Calibration of the points that detectors see: `pantomime bake-body --calibrate`.

Pictures of the body are shown to the detector, which says where in them it sees its points; `calibrate_face` and
`calibrate_pose` turn that into places on the body. Points of other detectors follow: the same place on the head from
the face mesh, joints where annotators click on joints.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..detection.face_network import FaceNetwork
from ..detection.landmarkers import HandNetwork, LandmarkerError, PoseNetwork
from ..detection.models import ModelError, ModelPaths, find_models
from ..detection.vocabulary import POINT_SETS, POSE33
from .calibrate_face import calibrate_face, see_heads
from .calibrate_pose import calibrate_hands, calibrate_pose, see_bodies, see_hands
from .calibrate_stage import Agreement, CalibrationSettings, Float, Stage
from .load import BodyError, read_free_body
from .model import BodyModel, PointSet
from .points_file import save_points

BENCH_POSES_PATH = Path(__file__).parent / "data" / "bench_poses.npz"

# The iBUG scheme's 68 points (Sagonas et al., 300 Faces in-the-Wild, ICCVW 2013) as points of the face mesh; the usual
# correspondence of the two, by eye: jaw line, brows, nose, eyes, outer and inner lips.
FACE68_IN_MESH = (
    127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
# The jaw line is clicked where the face's outline is, which slides over the surface as the head turns.
_JAW = slice(0, 17)
_JAW_SIGMA_M = 0.012
_CLICKED_SIGMA_M = 0.005  # of the other face points in other detectors' schemes


def calibrate(
    body: BodyModel,
    models: ModelPaths,
    poses: Float,
    settings: CalibrationSettings | None = None,
    report: Callable[[str], None] = lambda sentence: None,
) -> tuple[dict[str, PointSet], list[Agreement]]:
    """All point sets of `body`, those that anatomy placed replaced by measured ones, and how well they agree.

    `poses` (P, 55, 3): axis-angle, for the pictures of whole bodies. Raises LandmarkerError.
    """
    settings = settings or CalibrationSettings()
    stage = Stage(body, settings)
    points = dict(body.points)
    agreements = []
    report(f"Looking at {settings.heads} heads")
    face = FaceNetwork(models.face_mesh)
    points["face468"], agreement = calibrate_face(body, see_heads(stage, face.detect), settings)
    agreements.append(agreement)
    report(f"Looking at {settings.bodies} bodies")
    pose = PoseNetwork(models.pose, 3, 0.3)
    points["pose33"], agreement = calibrate_pose(body, see_bodies(stage, pose.detect, poses), settings)
    agreements.append(agreement)
    report(f"Looking at {settings.hands} hands of each side")
    hand = HandNetwork(models.hand, 1, 0.3)
    left, right = (see_hands(stage, hand.detect, side) for side in ("left", "right"))
    for label, (measured, agreement) in zip(
        ("left_hand", "right_hand"), calibrate_hands(body, left, right, settings), strict=True
    ):
        points[label] = measured
        agreements.append(agreement)
    for network in (face, pose, hand):
        network.close()
    points.update(derived(points))
    return points, agreements


def derived(points: dict[str, PointSet]) -> dict[str, PointSet]:
    """The sets that follow from measured ones.

    face68 takes the mesh's places. Of body25 and coco17 the nose, eyes and ears take the pose's places; their
    shoulders, elbows, wrists, hips, knees and ankles stay at the joints' centres, for there COCO's annotators click.
    """
    mesh, pose = points["face468"], points["pose33"]
    picks = np.array(FACE68_IN_MESH)
    sigma = np.maximum(mesh.sigma_m[picks], _CLICKED_SIGMA_M)
    sigma[_JAW] = np.maximum(sigma[_JAW], _JAW_SIGMA_M)
    result = {"face68": replace(_picked(mesh, picks, POINT_SETS["face68"]), sigma_m=sigma)}
    for name in ("body25", "coco17"):
        own = points[name]
        arrays = {key: getattr(own, key).copy() for key in _ARRAYS}
        for k, point in enumerate(own.names):
            if point in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"):
                for key in _ARRAYS:
                    arrays[key][k] = getattr(pose, key)[POSE33.index(point)]
        result[name] = PointSet(names=own.names, **arrays)
    return result


_ARRAYS = ("joint_ids", "offsets", "offset_dirs", "vertex_ids", "barycentric", "sigma_m", "usable")


def _picked(points: PointSet, picks: NDArray[np.int64], names: tuple[str, ...]) -> PointSet:
    return PointSet(names=names, **{key: getattr(points, key)[picks] for key in _ARRAYS})


def run(body_path: Path, points_path: Path) -> int:
    """`pantomime bake-body --calibrate`: measure, print how well points agree, and write them; the exit status."""
    try:
        body = read_free_body(body_path, points_path)
        points, agreements = calibrate(body, find_models(), training_poses(BENCH_POSES_PATH), report=_say)
        save_points(points_path, points)
    except (BodyError, LandmarkerError, ModelError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for agreement in agreements:
        print(agreement.line())
    print(f"Written to {points_path}")
    return 0


def _say(sentence: str) -> None:
    print(f"{sentence} …", flush=True)


def training_poses(path: Path) -> Float:
    """The bench's poses that are not for testing, (P, 55, 3) axis-angle."""
    with np.load(path, allow_pickle=False) as data:
        poses: Float = data["poses"][data["split"] == "train"].astype(np.float32)
    return poses
