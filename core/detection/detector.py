"""From a frame to observations of everybody in it, largest first, with MediaPipe's networks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from ..media.frame import Frame
from .candidates import (
    LIMBS,
    Candidate,
    box_of,
    choose,
    distance,
    distinct_people,
    from_crop,
    inside,
)
from .crops import Square, cut, fit_within, pixel_index
from .face import FaceSettings, detect_face, face_square, metric_mesh
from .hands import HandSettings, detect_hands
from .landmarkers import FaceNetwork, FaceTask, HandNetwork, LandmarkerError, PoseNetwork
from .models import ModelPaths
from .observation import Observation, Points

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


class DetectionError(Exception):
    """A detector that can't be set up, or a picture without a person; the message says what to do next."""


@dataclass(frozen=True)
class DetectionSettings:
    people: int = 8  # looked for at most
    threshold: float = 0.2  # of the pose networks: low, for a wrong person is dropped later, a missed one is lost
    longest_px: int = 1024  # the whole picture is reduced to this for the pose; crops come from full resolution
    crop_px: int = 512  # a person's crop for the pose
    crop_scale: float = 1.25  # side of that crop over the longer side of the person's box
    agree: float = 0.12  # of a person's size: how far two detections of one pose may differ
    same_person: float = 0.25  # of a person's size
    sure: float = 0.8  # mean visibility of limbs in the picture; below it more crops are tried
    turns_rad: tuple[float, ...] = (0.0, -0.35, 0.35, -0.8, 0.8)  # of the extra crops
    least_score: float = 0.25  # mean visibility of what the picture could show; below it there is no person
    detailed_people: int = 8  # the largest so many get crops, hands and face
    hands: bool = True
    face: bool = True
    masks: bool = True
    hand: HandSettings = field(default_factory=HandSettings)
    mesh: FaceSettings = field(default_factory=FaceSettings)


class Detector:
    """The networks, loaded once. Not for use from several threads at a time.

    Raises DetectionError where a model can't be loaded.
    """

    def __init__(self, models: ModelPaths, settings: DetectionSettings | None = None) -> None:
        self.settings = settings or DetectionSettings()
        # OpenCV counts its threads for the whole process; the fit runs beside it, on the same cores.
        cv2.setNumThreads(1)
        try:
            self._pose = PoseNetwork(models.pose, self.settings.people, self.settings.threshold)
            self._one_pose = PoseNetwork(models.pose, 3, self.settings.threshold)
            self._hands = HandNetwork(models.hand, 2, self.settings.threshold) if self.settings.hands else None
            self._face = FaceNetwork(models.face_mesh) if self.settings.face else None
            named = models.face_task if self.settings.face else None
            self._face_task = FaceTask(named, self.settings.threshold) if named else None
        except LandmarkerError as error:
            raise DetectionError(str(error)) from error

    def detect(self, frame: Frame) -> list[Observation]:
        """Everybody in the picture, largest first; empty where nobody is seen. Raises DetectionError."""
        try:
            return self._detect(frame.rgb)
        except LandmarkerError as error:
            raise DetectionError(str(error)) from error

    def _detect(self, rgb: Image) -> list[Observation]:
        height, width = rgb.shape[:2]
        size = (width, height)
        if min(size) < 16:
            return []
        small, back = fit_within(rgb, self.settings.longest_px)
        seen = [from_crop(item, back, 0.0, False) for item in self._pose.detect(small)]
        people = [group[0] for group in distinct_people(seen, self.settings.same_person)]
        people.sort(key=lambda item: -_area(box_of(item, size)))
        found: list[Candidate] = []
        for rank, person in enumerate(people):
            if rank < self.settings.detailed_people:
                person = self._look_again(rgb, person, size)
            if any(len(group) < 2 for group in (distinct_people([person, other], self.settings.same_person) for other in found)):
                continue
            if _believable(person, size) >= self.settings.least_score:
                found.append(person)
        found.sort(key=lambda item: -_area(box_of(item, size)))
        return [
            self._observe(rgb, person, size, rank < self.settings.detailed_people) for rank, person in enumerate(found)
        ]

    def _look_again(self, rgb: Image, person: Candidate, size: tuple[int, int]) -> Candidate:
        """The person in a mirrored crop, and in turned ones if that disagrees or little is seen."""
        candidates = [person]
        candidates += self._in_crop(rgb, person, size, 0.0, True)
        unsure = _believable(person, size) < self.settings.sure
        if unsure or len(candidates) < 2 or distance(candidates[0], candidates[1]) > self.settings.agree:
            for turn in self.settings.turns_rad:
                candidates += self._in_crop(rgb, person, size, turn, False)
        chosen, _ = choose(candidates, self.settings.agree)
        return chosen

    def _in_crop(
        self, rgb: Image, person: Candidate, size: tuple[int, int], turn_rad: float, mirrored: bool
    ) -> list[Candidate]:
        """The same person in a crop; empty where somebody else or nobody is found there."""
        x0, y0, x1, y1 = box_of(person, size)
        side = max(x1 - x0, y1 - y0, 16.0) * self.settings.crop_scale
        square = Square((float(x0 + x1) / 2.0, float(y0 + y1) / 2.0), float(side), turn_rad, mirrored)
        out_px = int(min(self.settings.crop_px, max(128.0, side)))
        matrix = square.matrix(out_px)
        found = [from_crop(item, matrix, turn_rad, mirrored) for item in self._one_pose.detect(cut(rgb, square, out_px))]
        near = [item for item in found if _overlap(box_of(item, size), np.array([x0, y0, x1, y1])) >= 0.4]
        return sorted(near, key=lambda item: distance(person, item))[:1]

    def _observe(self, rgb: Image, person: Candidate, size: tuple[int, int], detailed: bool) -> Observation:
        confidence = np.where(inside(person.image_px, size), person.visibility, 0.0).astype(np.float32)
        points = {"pose33": Points(person.image_px, confidence, person.world_m)}
        scores = None
        if detailed and self._face is not None:
            mesh, scores = self._mesh(rgb, person)
            if mesh is not None:
                points["face468"] = mesh
        if detailed and self._hands is not None:
            points.update(detect_hands(rgb, person, self._hands.detect, self.settings.hand))
        box = box_of(person, size)
        mask, mask_box = _mask(person, size, self.settings.longest_px) if self.settings.masks else (None, None)
        return Observation(
            image_size=size,
            box_px=box,
            score=float(confidence[LIMBS].mean()),
            points=points,
            mask=mask,
            mask_box_px=mask_box,
            source="mediapipe",
            face_scores=scores,
        )

    def _mesh(self, rgb: Image, person: Candidate) -> tuple[Points | None, dict[str, float] | None]:
        assert self._face is not None
        mesh = detect_face(rgb, person, self._face.detect, self.settings.mesh)
        square = face_square(person, 2.0)
        if mesh is None or square is None or self._face_task is None:
            return mesh, None
        out_px = int(min(512.0, max(128.0, square.side_px)))
        official = self._face_task.detect(cut(rgb, square, out_px))
        if official is None:
            return mesh, None
        points, scores = official
        matrix = square.matrix(out_px)
        image = (points[:, :2] @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
        return replace(mesh, image_px=image, world_m=metric_mesh(points, square.angle_rad)), scores

    def close(self) -> None:
        """Free the networks; the detector is of no use afterwards."""
        for part in (self._pose, self._one_pose, self._hands, self._face, self._face_task):
            if part is not None:
                part.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _believable(person: Candidate, size: tuple[int, int]) -> float:
    """Mean visibility of the limb points that lie in the picture (the head's where none does)."""
    there = inside(person.image_px[LIMBS], size)
    if there.sum() < 2:
        return float(person.visibility[:11].mean())
    return float(person.visibility[LIMBS][there].mean())


def _area(box: Array) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _overlap(a: Array, b: Array) -> float:
    """Intersection over the smaller of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, float(width)) * max(0.0, float(height)) / max(min(_area(a), _area(b)), 1e-6)


def _mask(person: Candidate, size: tuple[int, int], longest_px: int) -> tuple[NDArray[np.uint8] | None, Array | None]:
    """The person's mask over its own box, no finer than the network saw it."""
    if person.mask is None or person.mask_matrix is None:
        return None, None
    x0, y0, x1, y1 = box_of(person, size)
    margin = 0.1 * max(x1 - x0, y1 - y0)
    x0, y0 = max(0.0, np.floor(x0 - margin)), max(0.0, np.floor(y0 - margin))
    x1, y1 = min(float(size[0]), np.ceil(x1 + margin)), min(float(size[1]), np.ceil(y1 + margin))
    if x1 - x0 < 1 or y1 - y0 < 1:
        return None, None
    factor = min(1.0, longest_px / max(size))
    out = max(1, round((x1 - x0) * factor)), max(1, round((y1 - y0) * factor))
    to_picture = np.array([[(x1 - x0) / out[0], 0, x0], [0, (y1 - y0) / out[1], y0]], np.float64)
    to_crop = cv2.invertAffineTransform(person.mask_matrix.astype(np.float64))
    linear = to_crop[:, :2] @ to_picture[:, :2]
    offset = to_crop[:, :2] @ to_picture[:, 2] + to_crop[:, 2]
    matrix = pixel_index(np.concatenate([linear, offset[:, None]], axis=1).astype(np.float32))
    warped = cv2.warpAffine(person.mask, matrix, out, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    mask = np.clip(np.asarray(warped) * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return mask, np.array([x0, y0, x1, y1], np.float32)
