"""A video that shows how well a capture follows its clip: clip | body over the clip | the same from another side.

The third tile shows the ground that was found, with a grid of half metres under the lowest person, shadows from
straight above and a mark wherever a foot stands: a foot that slides leaves a streak, one that floats parts from its
shadow, what is below its person's ground is red.
Frames are read, drawn and written one after another, so memory does not grow with length.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .body.raster import Hits, rasterise
from .capture import Capture
from .pipeline import PipelineError
from .preview_figures import Double, Figure, Float, Picture, Pose, PreviewSettings, Side
from .whole_file import whole_file

if TYPE_CHECKING:
    from .body.model import BodyModel
    from .media.frame import Frame
    from .media.video import Clip, FrameRange


TINTS = ((90, 160, 245), (250, 150, 70), (110, 200, 120), (215, 120, 205), (235, 205, 80), (120, 205, 215))  # RGB
BELOW = (235, 40, 40)
SHADOW = (38, 39, 42)
BELOW_M = 0.015
FILLED_SHARE = 0.5  # opacity of frames that were filled in, against those that were seen
MARK_S = 1.5  # how long the mark of a foot stays


def write_preview(
    frames: Iterator[Frame],
    captures: Sequence[Capture],
    bodies: Sequence[BodyModel],
    path: Path,
    settings: PreviewSettings | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """Draw the captures of one clip, each with its body, beside the clip's `frames`; how many frames were written.

    The MPEG-4 file appears whole or not at all. Raises PipelineError where it can't be written.
    """
    import cv2

    settings = settings or PreviewSettings()
    drawing = _Drawing(captures, bodies, settings)
    failed = PipelineError(f"Can't write the video {path}. Free some space or choose another folder.")
    total = max(int(capture.frame_indices.max(initial=0)) for capture in captures) + 1
    writer, written = None, 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Windows removes no file that is open: the writer ends before its file is in place, or gone.
        with whole_file(path, ".part.mp4") as part, contextlib.ExitStack() as ended:
            for frame in frames:
                shown = np.concatenate(drawing.tiles(frame), axis=1)
                if writer is None:
                    size = (shown.shape[1], shown.shape[0])
                    rate = float(captures[0].mocap_frame_rate)
                    writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
                    ended.callback(writer.release)
                    if not writer.isOpened():
                        raise failed
                writer.write(cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
                written += 1
                progress(min((frame.index + 1) / total, 1.0))
            if writer is None:
                raise PipelineError("None of the captured frames is in the clip. Name the clip that was captured.")
            writer.release()
            # OpenCV says nothing of a full disk.
            check = cv2.VideoCapture(str(part))
            whole = int(check.get(cv2.CAP_PROP_FRAME_COUNT)) == written
            check.release()
            if not whole:
                raise failed
    except OSError as error:
        raise failed from error
    return written


class _Drawing:
    def __init__(self, captures: Sequence[Capture], bodies: Sequence[BodyModel], settings: PreviewSettings) -> None:
        self.settings = settings
        self.figures = [
            Figure(capture, body, TINTS[number % len(TINTS)])
            for number, (capture, body) in enumerate(zip(captures, bodies, strict=True))
        ]
        width, height = captures[0].image_size
        self.scale = min(1.0, settings.height_px / height)
        # Encoders want even sizes.
        self.size = (max(2, 2 * round(width * self.scale / 2)), max(2, 2 * round(height * self.scale / 2)))
        self.side = Side(self.figures, (max(self.size), self.size[1]), settings)
        self.grounds = {figure: figure.ground_m(self.side.up) for figure in self.figures}
        rate = float(captures[0].mocap_frame_rate)
        self.marks: deque[list[tuple[Double, NDArray[np.float32]]]] = deque(maxlen=max(2, round(MARK_S * rate)))

    def tiles(self, frame: Frame) -> list[Picture]:
        """The three tiles (H, W, 3) of a frame."""
        import cv2

        clip = cv2.resize(frame.rgb, self.size, interpolation=cv2.INTER_AREA)
        found = [(figure, figure.at(frame.index)) for figure in self.figures]
        poses = [(figure, pose) for figure, pose in found if pose is not None]
        return [clip, self._over(clip, poses), self._beside(poses, f"{frame.index}   {frame.time_s:.2f} s")]

    def _over(self, clip: Picture, poses: list[tuple[Figure, Pose]]) -> Picture:
        scale = np.array(self.size) / np.array(self.figures[0].capture.image_size)
        layers = []
        for figure, pose in poses:
            capture = figure.capture
            off = (capture.principal_px - np.array(capture.image_size) / 2) / capture.focal_px
            # A principal point beside the middle is a shear; a pixel that is not quite square a stretch.
            placed = pose.vertices + pose.vertices[:, 2:] * np.array([off[0], off[1], 0.0], np.float32)
            placed[:, 1] *= scale[1] / scale[0]
            hits = rasterise(placed, figure.faces, capture.focal_px * float(scale[0]), self.size)
            layers.append(_Layer(hits, _shade(placed, figure.faces, figure.tint), pose.seen))
        return _blend(clip, layers, self.settings.opacity)

    def _beside(self, poses: list[tuple[Figure, Pose]], text: str) -> Picture:
        import cv2

        side = self.side
        picture = side.floor.copy()
        layers = []
        for figure, pose in poses:
            self._shadow(picture, pose, self.grounds[figure])
        self.marks.append(
            [
                (side.on_ground(spot, self.grounds[figure]), figure.tint)
                for figure, pose in poses
                for spot in pose.soles[pose.standing]
            ]
        )
        for marks in self.marks:
            for spot, tint in marks:
                view = side.to_view(spot)
                if view[2] > 0.1:
                    x, y = (round(value * 16 - 8) for value in side.to_pixels(view).clip(-1e4, 1e4))
                    cv2.circle(picture, (x, y), 24, (0.75 * tint).tolist(), -1, cv2.LINE_AA, 4)
        for figure, pose in poses:
            view = side.to_view(pose.world)
            colours = _shade(view, figure.faces, figure.tint)
            below = (pose.world @ side.up)[figure.faces].mean(axis=1) < self.grounds[figure] - BELOW_M
            colours[below] = BELOW
            layers.append(_Layer(rasterise(view, figure.faces, side.focal_px, side.size), colours, pose.seen))
        picture = _blend(picture, layers, 1.0)
        cv2.putText(picture, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (225, 225, 225), 1, cv2.LINE_AA)
        return picture

    def _shadow(self, picture: Picture, pose: Pose, ground_m: float) -> None:
        """Straight down: where every vertex meets the ground, in place."""
        import cv2

        view = self.side.to_view(self.side.on_ground(pose.world, ground_m))
        pixels = np.floor(self.side.to_pixels(view[view[:, 2] > 0.1]).clip(-1e4, 1e4)).astype(int)
        inside = ((pixels >= 0) & (pixels < self.side.size)).all(axis=1)
        mask = np.zeros(picture.shape[:2], np.uint8)
        mask[pixels[inside, 1], pixels[inside, 0]] = 1
        picture[cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0] = SHADOW


@dataclass(frozen=True)
class _Layer:
    hits: Hits
    colours: Float  # (F, 3) of triangles
    seen: bool


def _shade(vertices: Float, faces: NDArray[np.int32], tint: Float) -> Float:
    """Colours (F, 3) of triangles, lit from beside the camera."""
    edges = vertices[faces]
    normal = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    light = np.array([-0.35, -0.45, -0.82], np.float32)
    return np.asarray(tint * (0.35 + 0.65 * np.clip(normal @ light, 0.0, 1.0))[:, None], np.float32)


def _blend(picture: Picture, layers: list[_Layer], opacity: float) -> Picture:
    """Layers over a picture, the nearer of two in front; with an edge, so that faint ones are seen."""
    import cv2

    if not layers:
        return picture.copy()
    depth = np.full(picture.shape[:2], np.inf, np.float32)
    colour = np.zeros(picture.shape, np.float32)
    share = np.zeros(picture.shape[:2], np.float32)
    for layer in layers:
        nearer = layer.hits.depth < depth
        depth[nearer] = layer.hits.depth[nearer]
        colour[nearer] = layer.colours[layer.hits.triangles[nearer]]
        share[nearer] = opacity * (1.0 if layer.seen else FILLED_SHARE)
    result = (picture * (1 - share[..., None]) + colour * share[..., None] + 0.5).astype(np.uint8)
    for layer in layers:
        mask = (layer.hits.triangles >= 0).astype(np.uint8)
        edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(result, edges, -1, (20, 20, 20), 1, cv2.LINE_AA)
    return result


def preview_clip(
    clip: Clip,
    which: FrameRange | None,
    captures: Sequence[Capture],
    body: str | None,
    path: Path,
    progress: Callable[[float], None] = lambda _: None,
) -> int:
    """The preview of a clip's captures, made with `body` (as `load_body` takes it); how many frames it has.

    which: None for the stretch of the clip that the captures cover.
    """
    from .body.load import load_body
    from .media.video import FrameRange

    indices = np.unique(np.concatenate([capture.frame_indices for capture in captures]))
    if not len(indices):
        raise PipelineError("This capture is of a photo, which a preview can't show. Take the capture of a clip.")
    if which is None:
        step = int(np.diff(indices).min()) if len(indices) > 1 else 1
        which = FrameRange(int(indices[0]), int(indices[-1]) + 1, step)
    bodies = [load_body(body, capture.gender) for capture in captures]
    return write_preview(clip.frames(which), captures, bodies, path, progress=progress)
