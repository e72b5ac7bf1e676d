"""`pantomime paint-pairs`: people whose pose is known as the detector sees them, for the regressor's training.

Errors that are drawn at random are not a detector's: its points, visibilities, hints and masks go wrong together. So
people in training poses are painted before clutter, behind things and cut by the picture's edge, and the project's own
detector looks at them. Development only; what is made is not part of the project.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..arguments import whole, whole_from_0
from ..detection.detector import DetectionSettings, Detector
from ..detection.models import find_models
from ..detection.observation import Observation
from ..media.frame import Frame
from ..priors.mocap import MocapError, load_poses
from ..priors.regressor import NUM_BODY
from ..priors.regressor_input import collect, collect_hints
from ..priors.view_pairs import MASK_SIDE, save_pairs
from ..priors.view_settings import ViewSettings
from ..priors.views import ViewMaker
from ..whole_file import whole_file
from .load import load_body
from .mannequin import Mannequin, random_look
from .model import BodyModel
from .skeleton import LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from .skinning import Body

Float = NDArray[np.float32]
Image = NDArray[np.uint8]

_SIZES = ((448, 448), (512, 384), (384, 512))
_BATCH = 64  # people drawn at a time
_LEAST_IOU = 0.25  # of the box of a detection with the true one, as in the accuracy bench
_THRESHOLD = 0.5  # of the networks: at the usual 0.2 people are found in clutter, each of whom takes time to doubt
_COVERED = 0.35  # share of pictures with a thing before the person


@dataclass(frozen=True)
class Shown:
    """A person before the camera. Camera frame: OpenCV, metres; the principal point is the picture's middle."""

    vertices: Float  # (V, 3)
    points_px: Float  # (P, 2) where the regressor's points truly are
    rotmats: Float  # (22, 3, 3) local; the pelvis's in camera axes
    betas: Float
    focal_px: float
    size: tuple[int, int]


class Painter:
    """Draws people as the regressor's training does, and paints them."""

    def __init__(self, body: BodyModel, maker: ViewMaker, seed: int) -> None:
        self.model, self.maker = body, maker
        self.body, self.mannequin = Body(body), Mannequin(body)
        self.rng = np.random.default_rng(seed)

    def people(self) -> Iterator[Shown]:
        """People without end."""
        while True:
            cut = torch.rand(_BATCH, generator=self.maker.random) < self.maker.settings.cut
            rotmats = self.maker.place(self.maker.people(cut), cut)
            betas = torch.randn(_BATCH, self.model.num_betas, generator=self.maker.random)
            points = self.maker.pose(rotmats, betas, False).points
            for i in range(_BATCH):
                yield self._shown(rotmats[i], betas[i], points[i].numpy(), bool(cut[i]))

    def _shown(self, rotmats: torch.Tensor, betas: torch.Tensor, points: Float, cut: bool) -> Shown:
        rng = self.rng
        whole = torch.eye(3).repeat(NUM_JOINTS, 1, 1)
        whole[:NUM_BODY] = rotmats
        for row, hand in enumerate((LEFT_HAND, RIGHT_HAND)):
            angles = self.model.hands_mean[row].reshape(15, 3) * rng.uniform(0.0, 2.0)
            whole[hand] = torch.as_tensor(np.stack([cv2.Rodrigues(a.astype(np.float64))[0] for a in angles])).float()
        none = torch.zeros(self.model.num_expressions)
        vertices = self.body.vertices(betas, none, whole, torch.zeros(3)).numpy()
        size = _SIZES[int(rng.integers(len(_SIZES)))]
        focal_px = float(np.exp(rng.uniform(np.log(24.0), np.log(135.0)))) / 36.0 * max(size)
        low, high = vertices.min(0), vertices.max(0)
        shown = np.stack([low, high])
        fill = rng.uniform(0.55, 0.95)
        if cut:
            shown[1, 1] = low[1] + (high[1] - low[1]) * rng.uniform(0.3, 0.9)
            fill = rng.uniform(0.85, 1.15)
        extent = np.maximum(shown[1, :2] - shown[0, :2], 0.2)
        depth = max(float((extent * focal_px / (fill * np.array(size))).max()), 0.5 - float(low[2] - high[2]))
        slack = np.maximum(0.0, 0.96 - extent * focal_px / depth / np.array(size)) * size * 0.5
        offset = rng.uniform(-0.9, 0.9, 2) * slack / focal_px * depth
        if cut:
            offset[1] = 0.0 if slack[1] == 0 else slack[1] / focal_px * depth  # the picture ends where it cuts
        moved = np.append(offset - shown[:, :2].mean(0), depth - 0.5 * (low[2] + high[2])).astype(np.float32)
        at = points + moved
        pixels = focal_px * at[:, :2] / np.maximum(at[:, 2:], 0.05) + 0.5 * np.array(size, np.float32)
        return Shown(vertices + moved, pixels.astype(np.float32), rotmats.numpy(), betas.numpy(), focal_px, size)

    def paint(self, person: Shown) -> Image:
        """The picture (H, W, 3), RGB."""
        rng = self.rng
        backdrop = clutter(rng, person.size)
        look = random_look(rng)
        picture = self.mannequin.paint(
            person.vertices, person.focal_px, person.size, look, rng, smooth=1, backdrop=backdrop
        )
        if rng.random() < _COVERED:
            cover(rng, picture, person.points_px)
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.4, 1.0)))
        return np.ascontiguousarray(picture)


def clutter(rng: np.random.Generator, size: tuple[int, int]) -> Float:
    """A room of shapes in any colours, linear (H, W, 3)."""
    width, height = size
    ends = rng.uniform(0.05, 0.8, (2, 3)) * rng.uniform(0.4, 1.0)
    fade = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    scene = np.broadcast_to(ends[0] * (1 - fade) + ends[1] * fade, (height, width, 3)).astype(np.float32)
    scene = np.ascontiguousarray(scene)
    if rng.random() < 0.7:
        floor = int(height * rng.uniform(0.45, 0.95))
        scene[floor:] = rng.uniform(0.05, 0.7, 3)
    for _ in range(int(rng.integers(0, 10))):
        shape(rng, scene, rng.uniform(0, 1, 2) * size, float(np.exp(rng.uniform(np.log(12), np.log(160)))))
    coarse = rng.normal(0.0, 1.0, (9, 9)).astype(np.float32)
    scene *= (1.0 + 0.12 * cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))[..., None]
    return np.clip(scene + rng.normal(0.0, 0.015, scene.shape).astype(np.float32), 0.0, 1.0)


def shape(rng: np.random.Generator, scene: NDArray[np.generic], at: NDArray[np.float64], side: float) -> None:
    """A box, disc or striped box drawn in place; its colours suit the kind of the picture's numbers."""
    top = 255.0 if scene.dtype == np.uint8 else 1.0
    colour = tuple(float(c) for c in top * rng.uniform(0.02, 0.9, 3))
    other = tuple(float(c) for c in top * rng.uniform(0.02, 0.9, 3))
    half = 0.5 * side * np.array([rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.5)])
    kind = rng.random()
    if kind < 0.25:
        cv2.ellipse(scene, (at.tolist(), (2 * half).tolist(), float(rng.uniform(0, 180))), colour, -1)  # type: ignore[call-overload]
        return
    box = cv2.boxPoints((at.tolist(), (2 * half).tolist(), float(rng.normal(0, 12))))
    cv2.fillConvexPoly(scene, box.astype(np.int32), colour)  # type: ignore[call-overload]
    if kind > 0.6:
        for share in np.linspace(0.1, 0.9, int(rng.integers(2, 7))):
            a, b = box[0] + share * (box[1] - box[0]), box[3] + share * (box[2] - box[3])
            thick = int(max(1, 0.04 * side))
            cv2.line(scene, a.astype(int).tolist(), b.astype(int).tolist(), other, thick)  # type: ignore[call-overload]


def cover(rng: np.random.Generator, picture: Image, points_px: Float) -> None:
    """A thing before some point of the person, in place."""
    box = float(np.ptp(points_px, axis=0).max())
    at = points_px[int(rng.integers(11, len(points_px)))] + rng.normal(0, 0.04 * box, 2)
    shape(rng, picture, at.astype(np.float64), float(rng.uniform(0.12, 0.45) * box))


def matching(found: list[Observation], person: Shown) -> Observation | None:
    """The observation of the person; None where the detector missed it."""
    size = np.array(person.size, np.float32)
    pixels = person.focal_px * person.vertices[:, :2] / np.maximum(person.vertices[:, 2:], 0.05) + 0.5 * size
    true = np.concatenate([np.clip(pixels.min(0), 0, size), np.clip(pixels.max(0), 0, size)])

    def overlap(box: Float) -> float:
        both = np.clip(np.minimum(box[2:], true[2:]) - np.maximum(box[:2], true[:2]), 0, None).prod()
        union = (box[2:] - box[:2]).prod() + (true[2:] - true[:2]).prod() - both
        return float(both / max(union, 1e-6))

    best = max(found, key=lambda item: overlap(item.box_px), default=None)
    return best if best is not None and overlap(best.box_px) >= _LEAST_IOU else None


def pair_of(person: Shown, seen: Observation) -> dict[str, NDArray[np.generic]]:
    """What is kept of a person and its observation, see `view_pairs.Pairs`."""
    pixels, trust = collect(seen)
    hints, hint_trust = collect_hints(seen)
    mask, box = np.zeros((MASK_SIDE, MASK_SIDE), np.uint8), np.zeros(4)
    if seen.mask is not None and seen.mask_box_px is not None:
        mask = cv2.resize(seen.mask, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA)
        box = np.asarray(seen.mask_box_px, np.float64)
    return {
        "pixels": pixels.astype(np.float32),
        "trust": trust.astype(np.float32),
        "hints": hints.astype(np.float32),
        "hint_trust": hint_trust.astype(np.float32),
        "mask": np.packbits(mask > 127),
        "mask_box": box.astype(np.float32),
        "true_px": person.points_px,
        "rotmats": person.rotmats,
        "betas": person.betas,
        "focal_px": np.asarray(person.focal_px, np.float32),
        "size": np.array(person.size, np.int32),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime paint-pairs`."""
    parser.add_argument("--root", type=Path, required=True, help="folder with MANIFEST.csv and the capture files")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.npz", help="file to write")
    parser.add_argument("-n", "--number", type=whole, default=4000, help="of pictures (default: %(default)s)")
    parser.add_argument("--seed", type=whole_from_0, default=0, help="of all random numbers (default: %(default)s)")
    parser.add_argument("--show", type=Path, metavar="DIR", help="folder for the first pictures, to look at")


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime paint-pairs`."""
    torch.set_num_threads(1)
    try:
        poses = load_poses(arguments.root)
    except MocapError as error:
        print(error, file=sys.stderr)
        return 1
    body = load_body()
    maker = ViewMaker(body, poses.part(poses.split == "train"), ViewSettings(), arguments.seed)
    painter = Painter(body, maker, arguments.seed)
    detector = Detector(find_models(), DetectionSettings(people=2, threshold=_THRESHOLD, hands=False, face=False))
    rows: list[dict[str, NDArray[np.generic]]] = []
    for number, person in enumerate(painter.people()):
        if number % 100 == 0 and rows:
            print(f"{number} pictures, {len(rows)} people found", flush=True)
            save_pairs(arguments.output, rows)
        if number == arguments.number:
            break
        picture = painter.paint(person)
        seen = matching(detector.detect(Frame(picture, "")), person)
        if arguments.show is not None and number < 40:
            arguments.show.mkdir(parents=True, exist_ok=True)
            _show(picture, seen, arguments.show / f"{number:03d}.png")
        if seen is not None and "pose33" in seen.points:
            rows.append(pair_of(person, seen))
    save_pairs(arguments.output, rows)
    return 0


def _show(picture: Image, seen: Observation | None, path: Path) -> None:
    shown = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    if seen is not None:
        pixels, trust = collect(seen)
        for (x, y), sure in zip(pixels, trust, strict=True):
            if sure > 0:
                cv2.circle(shown, (int(x), int(y)), 3, (0, int(255 * sure), int(255 * (1 - sure))), -1)
    with whole_file(path, ".part.png") as part:
        cv2.imwrite(str(part), shown)
