"""A photo's pixels on an avatar's surface, as a picture for its UVs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..messages import MakeTexture, Result
from ..pipeline import PipelineCancelled, PipelineError, PipelineSettings, limit_threads, plain_errors
from ..whole_file import write_whole
from . import Work

Floats = NDArray[np.floating[Any]]

if TYPE_CHECKING:
    from ..detection.observation import Observation
    from ..media.frame import Frame

LOW_AGREEMENT = 0.4  # overlap of the body and the person's mask, below which the avatar is said to lie elsewhere


def run(request: MakeTexture, work: Work) -> Result:
    """Project the photo; the picture is written whole or not at all."""
    limit_threads(request.threads)
    reporter = work.reporter

    def step(name: str, text: str, fraction: float) -> None:
        if reporter.cancelled():
            raise PipelineCancelled
        reporter.stage(name, text)
        reporter.progress(fraction)

    with plain_errors():
        step("read", "Reading the photo", 0.0)
        from ..media.photo import read_photo
        from ..texture.evidence import person_mask, vertex_trust
        from ..texture.project import PhotoView, TextureSettings, make_texture

        frame = read_photo(request.photo)
        if list(frame.size) != list(request.image_size):
            raise PipelineError(
                f"{request.photo} has another size than the photo that the avatar was made from. Make the avatar anew."
            )
        vertices = np.load(request.vertices, allow_pickle=False)
        body = work.pipeline.body(request.body, request.gender)
        step("detect", "Looking for the person's outline", 0.2)
        seen = _observation(frame, vertices, request, work)
        mask = trust = None
        if seen is not None:
            mask, trust = person_mask(seen), vertex_trust(body, seen)
        step("project", "Projecting the photo", 0.4)
        view = PhotoView(frame.rgb, request.focal_px, (request.principal_px[0], request.principal_px[1]), None, mask)
        texture = make_texture(body, vertices, view, trust, TextureSettings(size=request.size))
        if texture.agreement < LOW_AGREEMENT:
            reporter.warning(
                "The avatar does not lie over the person in the photo, so the texture may be off. "
                "Undo changes of its pose and place, and make it again."
            )
        step("write", "Writing the texture", 0.9)
        _write(request.out, texture.rgb)
    return Result(request.job, [request.out], [f"{texture.seen:.0%} of the skin is in the photo"])


def _observation(frame: Frame, vertices: Floats, request: MakeTexture, work: Work) -> Observation | None:
    """The person whose place in the picture is the avatar's; None without a detector, or where nobody is there."""
    from ..detection.detector import DetectionError
    from ..detection.models import ModelError

    settings = PipelineSettings(cache_dir=request.cache_dir, models_dir=request.models_dir, threads=request.threads)
    try:
        found = work.pipeline.detector(settings).detect(frame)
    except (DetectionError, ModelError):
        found = []
    at = vertices[:, :2] / np.maximum(vertices[:, 2:], 1e-3) * request.focal_px + np.asarray(request.principal_px)
    box = np.concatenate([np.clip(at.min(axis=0), 0, frame.size), np.clip(at.max(axis=0), 0, frame.size)])
    best = max(found, key=lambda person: _overlap(person.box_px, box), default=None)
    if best is None or _overlap(best.box_px, box) < 0.1:
        work.reporter.warning("The person's outline was not found, so the photo's background may show at the edges.")
        return None
    return best


def _overlap(a: Floats, b: Floats) -> float:
    """Area of both boxes over the area of either."""
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0, None)
    both = float(sides.prod())
    either = float(np.clip(a[2:] - a[:2], 0, None).prod() + np.clip(b[2:] - b[:2], 0, None).prod()) - both
    return both / max(either, 1e-9)


def _write(path: str, rgb: NDArray[np.uint8]) -> None:
    import cv2

    ok, encoded = cv2.imencode(".png", rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 4])
    try:
        if not ok:
            raise OSError("the picture can't be encoded")
        write_whole(path, encoded.tobytes())
    except OSError as error:
        raise PipelineError(f"Can't write {path}: {error}. Free some space or choose another folder.") from error
