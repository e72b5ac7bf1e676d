"""From a frame to observations of everybody in it, whom it is of first, with MediaPipe's networks."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from ..media.frame import Frame
from .candidates import Candidate, box_of, inside
from .crops import cut, pixel_index
from .details import Memory, follow_face, follow_hands
from .face import FaceSettings, detect_face, face_square, metric_mesh, metric_scale
from .face_network import FaceNetwork
from .face_picture import face_picture
from .hands import HandSettings, detect_hands
from .landmarkers import FaceTask, HandNetwork, HandTraceNetwork, LandmarkerError, PoseNetwork
from .models import ModelPaths
from .observation import Observation, Points
from .people import PeopleSettings, believable, find_people

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


# People that the pose network looks for in one picture or crop.
_AT_ONCE = 6
# What is left of a face point's confidence under a hand.
_COVERED = 0.25


class DetectionError(Exception):
    """A detector that can't be set up, or a picture without a person; the message says what to do next."""


@dataclass(frozen=True)
class DetectionSettings:
    """Whom to look for in a picture, and for what of them."""

    people: int = 8  # returned at most
    threshold: float = 0.2  # of the networks: low, for an invented person is found out later, a missed one is lost
    detailed_people: int = 8  # the first so many get crops, hands and face
    hands: bool = True
    face: bool = True
    masks: bool = True
    who: PeopleSettings = field(default_factory=PeopleSettings)
    hand: HandSettings = field(default_factory=HandSettings)
    mesh: FaceSettings = field(default_factory=FaceSettings)


class Detector:
    """The networks, loaded once. Not for use from several threads at a time; but `observe` may run beside
    `all_poses` and `find`, each in one thread.

    Raises DetectionError where a model can't be loaded.
    """

    def __init__(self, models: ModelPaths, settings: DetectionSettings | None = None) -> None:
        self.settings = settings or DetectionSettings()
        # OpenCV counts its threads for the whole process; the fit runs beside it, on the same cores.
        cv2.setNumThreads(1)
        self._pose: PoseNetwork | None = None
        self._pose_beside: PoseNetwork | None = None  # of another thread
        self._hands: HandNetwork | None = None
        self._hand_trace: HandTraceNetwork | None = None
        self._face: FaceNetwork | None = None
        self._face_task: FaceTask | None = None
        self._models = models
        chosen = self.settings
        try:
            self._pose = PoseNetwork(models.pose, _AT_ONCE, chosen.threshold, chosen.masks)
            self._hands = HandNetwork(models.hand, 2, chosen.threshold) if chosen.hands else None
            self._face = FaceNetwork(models.face_mesh) if chosen.face else None
            named = models.face_task if chosen.face else None
            self._face_task = FaceTask(named, chosen.threshold) if named else None
        except LandmarkerError as error:
            self.close()
            raise DetectionError(str(error)) from error

    def detect(self, frame: Frame, detailed: int | None = None) -> list[Observation]:
        """Everybody in the picture, whom it is of first; empty where nobody is seen. Raises DetectionError.

        `detailed`: how many of them get hands and face, which take time; None: as the settings say.
        """
        if detailed is None:
            detailed = self.settings.detailed_people
        self._network()
        try:
            return self._detect(frame.rgb, detailed)
        except LandmarkerError as error:
            raise DetectionError(str(error)) from error

    def _detect(self, rgb: Image, detailed: int) -> list[Observation]:
        height, width = rgb.shape[:2]
        size = (width, height)
        if min(size) < 16:
            return []
        people = self._people(rgb, None)
        return [self.observe(rgb, person, size, rank < detailed) for rank, person in enumerate(people)]

    def find(self, rgb: Image, beside: Executor | None = None) -> list[Candidate]:
        """Everybody in a picture, thoroughly, whom it is of first, without hands and faces. Raises DetectionError.

        beside: as in `all_poses`.
        """
        try:
            return self._people(rgb, beside)
        except LandmarkerError as error:
            raise DetectionError(str(error)) from error

    def all_poses(self, pictures: list[Image], beside: Executor | None = None) -> list[list[Candidate]]:
        """What one look at each of several pictures or crops shows, in its pixels, unconfirmed; in a thread of `beside`
        a second network looks at some of them.

        The result is the same without it. Raises DetectionError.
        """
        try:
            return self._looks(pictures, beside)
        except LandmarkerError as error:
            raise DetectionError(str(error)) from error

    def _looks(self, pictures: list[Image], beside: Executor | None) -> list[list[Candidate]]:
        own = self._network()
        found: list[list[Candidate]] = [[]] * len(pictures)
        # Each network takes the next one that is left: many people take many times as long as one.
        left = deque(enumerate(pictures))

        def look(network: PoseNetwork) -> None:
            while True:
                try:
                    number, picture = left.popleft()
                except IndexError:
                    return
                found[number] = network.detect(picture)

        if beside is None or len(pictures) < 2:
            look(own)
            return found
        if self._pose_beside is None:
            s = self.settings
            self._pose_beside = PoseNetwork(self._models.pose, _AT_ONCE, s.threshold, s.masks)
        rest = beside.submit(look, self._pose_beside)
        try:
            look(own)
        finally:
            left.clear()
            rest.result()
        return found

    def _network(self) -> PoseNetwork:
        if self._pose is None:
            raise DetectionError("The detector is closed already. Make a new one.")
        return self._pose

    def _people(self, rgb: Image, beside: Executor | None) -> list[Candidate]:
        return find_people(
            rgb,
            lambda pictures: self._looks(pictures, beside),
            self.settings.who,
            self.settings.people,
            lambda person: self._head_scale(rgb, person),
        )

    def observe(
        self, rgb: Image, person: Candidate, size: tuple[int, int], detailed: bool, memory: Memory | None = None
    ) -> Observation:
        """A candidate as an observation, with hands and face where it is to be `detailed`. `size`: the picture's.

        memory: of the person's frame before, which is brought up to date. Raises DetectionError.
        """
        try:
            return self._observe(rgb, person, size, detailed, memory)
        except LandmarkerError as error:
            raise DetectionError(str(error)) from error

    def _observe(
        self, rgb: Image, person: Candidate, size: tuple[int, int], detailed: bool, memory: Memory | None
    ) -> Observation:
        confidence = np.where(inside(person.image_px, size), person.visibility, 0.0).astype(np.float32)
        points = {"pose33": Points(person.image_px, confidence, person.world_m)}
        scores = None
        if detailed and self._face is not None:
            mesh, scores = self._mesh(rgb, person, memory)
            if mesh is not None:
                points["face468"] = mesh
        if detailed and self._hands is not None:
            points.update(self._both_hands(rgb, person, self._hands, memory))
            if "face468" in points:
                points["face468"] = _behind_hands(points)
        box = _box_with_mask(person, size)
        mask, mask_box = _mask(person, box, size, self.settings.who.longest_px) if self.settings.masks else (None, None)
        return Observation(
            image_size=size,
            box_px=box,
            score=believable(person, size),
            points=points,
            mask=mask,
            mask_box_px=mask_box,
            source="mediapipe",
            face_scores=scores,
            face_picture=face_picture(rgb, points["face468"]) if "face468" in points else None,
        )

    def _head_scale(self, rgb: Image, person: Candidate) -> float | None:
        """Pixels a metre at the head, where the face is seen well."""
        face = detect_face(rgb, person, self._face.detect, self.settings.mesh) if self._face is not None else None
        if face is None or face.confidence.max() < 0.9:
            return None
        return metric_scale(face)

    def _both_hands(
        self, rgb: Image, person: Candidate, hands: HandNetwork, memory: Memory | None
    ) -> dict[str, Points]:
        if memory is None:
            return detect_hands(rgb, person, hands.detect, self.settings.hand)
        if self._hand_trace is None:
            self._hand_trace = HandTraceNetwork(self._models.hand)
        return follow_hands(rgb, person, self._hand_trace.detect, hands.detect, self.settings.hand, memory)

    def _mesh(
        self, rgb: Image, person: Candidate, memory: Memory | None
    ) -> tuple[Points | None, dict[str, float] | None]:
        assert self._face is not None
        if memory is None:
            mesh = detect_face(rgb, person, self._face.detect, self.settings.mesh)
        else:
            mesh = follow_face(rgb, person, self._face.detect, self.settings.mesh, memory)
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
        for part in (self._pose, self._pose_beside, self._hands, self._hand_trace, self._face, self._face_task):
            if part is not None:
                part.close()
        self._pose = self._pose_beside = self._hands = self._hand_trace = self._face = self._face_task = None

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _behind_hands(points: dict[str, Points]) -> Points:
    """The face with less belief where a hand lies over it: the mesh there is guessed from the rest of the face."""
    face = points["face468"]
    confidence = face.confidence.copy()
    for side in ("left_hand", "right_hand"):
        if side in points:
            hull = cv2.convexHull(points[side].image_px.astype(np.float32))
            low, high = hull.min((0, 1)), hull.max((0, 1))
            near = np.flatnonzero(((face.image_px >= low) & (face.image_px <= high)).all(-1))
            covered = [cv2.pointPolygonTest(hull, tuple(map(float, face.image_px[i])), False) >= 0 for i in near]
            confidence[near[np.array(covered, bool)]] *= _COVERED
    return replace(face, confidence=confidence)


def _box_with_mask(person: Candidate, size: tuple[int, int]) -> Array:
    """The box of the points, widened to the mask where that reaches a little further: hair, clothes, hands."""
    box = box_of(person, size)
    if person.mask is None or person.mask_matrix is None:
        return box
    rows, columns = (np.flatnonzero((person.mask > 0.5).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return box
    corners = np.array([(x, y) for x in (columns[0], columns[-1] + 1) for y in (rows[0], rows[-1] + 1)], np.float32)
    corners = corners @ person.mask_matrix[:, :2].T + person.mask_matrix[:, 2]
    # A turned crop's corners lie outside of what they enclose, and masks spill on neighbours: no further than this.
    reach = 0.25 * float(max(box[2] - box[0], box[3] - box[1]))
    low = np.maximum(np.minimum(corners.min(axis=0), box[:2]), np.maximum(box[:2] - reach, 0.0))
    high = np.minimum(np.maximum(corners.max(axis=0), box[2:]), np.minimum(box[2:] + reach, np.asarray(size)))
    widened: Array = np.concatenate([low, high]).astype(np.float32)
    return widened


def _mask(
    person: Candidate, box: Array, size: tuple[int, int], longest_px: int
) -> tuple[NDArray[np.uint8] | None, Array | None]:
    """The person's mask over its box, no finer than the network saw it."""
    if person.mask is None or person.mask_matrix is None:
        return None, None
    x0, y0 = np.floor(box[:2])
    x1, y1 = np.minimum(np.ceil(box[2:]), np.asarray(size))
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
