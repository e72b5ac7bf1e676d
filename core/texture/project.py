"""Photo → texture: project where the camera saw the surface, mirror or spread colours elsewhere.

In the simplest honest form: light and shadow of the photo stay in the colours, and what was not seen is a soft guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..body.model import BodyModel
from ..body.raster import rasterise
from .fill import spread
from .surface import Surface, surface_of, vertex_normals

Float = NDArray[np.float32]
Image = NDArray[np.uint8]
Floats = NDArray[np.floating[Any]]
Indices = NDArray[np.integer[Any]]

_ENOUGH = 12  # vertices that have to be seen of a part before its tone is believed


class TextureError(Exception):
    """A texture that can't be made; the message says what to do next."""


@dataclass(frozen=True)
class TextureSettings:
    """Lengths are on the body, in metres; cosines are of the angle between surface and line of sight."""

    size: int = 1536
    most_px: int = 2048  # longer side of the part of the photo that shows the body
    depth_px: int = 900  # the same for the picture of depths
    facing: tuple[float, float] = (0.2, 0.6)  # nothing is taken below, all above
    outline_m: tuple[float, float] = (0.003, 0.012)  # from the outline: nothing is taken nearer, all farther
    behind_m: float = 0.012  # strip beside a nearer part of the body that is not believed
    step_m: float = 0.02  # how much nearer that part is
    depth_m: float = 0.008  # tolerance of the depth test
    mirrored: float = 2.0  # trust in the other side, where the own is not seen
    skin: float = 0.02  # trust in the face's tone for hands that are not seen
    hair: float = 0.02  # trust in the tone of what is seen of the scalp for the rest of it
    clothes: float = 2e-4  # trust in the trunk's tone for what is dressed as it is, most likely


@dataclass(frozen=True)
class PhotoView:
    """A photo with its camera, as captures hold it: upright, pixels from the top left corner."""

    rgb: Image  # (H, W, 3)
    focal_px: float
    principal_px: tuple[float, float]
    distortion: Float | None = None  # OpenCV k1 k2 p1 p2 k3
    mask: Float | None = None  # (H, W) 0…1 how surely the person is seen; None: the body's outline must do


@dataclass(frozen=True)
class Texture:
    """What was made."""

    rgb: Image  # (size, size, 3), first row on top
    seen: float  # share of the skin's area that the photo shows
    agreement: float  # overlap of the body's outline with the mask: area of both over area of either; 1 without mask


def make_texture(
    body: BodyModel,
    vertices_camera: Float,
    view: PhotoView,
    trust: Float | None = None,
    settings: TextureSettings | None = None,
) -> Texture:
    """Project `view` on the posed body. `vertices_camera` (V, 3): metres, camera frame (OpenCV).

    `trust` (V,) 0…1: how surely a vertex lies where the photo shows it; None: all surely. Raises TextureError.
    """
    settings = settings or TextureSettings()
    if len(body.uv_coords) == 0:
        raise TextureError("This body has no UVs to put a photo on. Use the free body, or a model file with UVs.")
    vertices = np.asarray(vertices_camera, np.float32)
    if vertices.shape != body.v_template.shape or not np.isfinite(vertices).all():
        raise TextureError("The avatar's mesh is not the body's any more. Make the avatar anew from the photo.")
    surface = surface_of(body, settings.size)
    picture = _Picture(vertices, surface.faces, view, settings)
    normals = vertex_normals(vertices, surface.faces)
    same = np.arange(len(vertices), dtype=np.int32)
    own = _Look(surface, vertices, normals, same, picture, trust, settings)
    if float(own.weight.max(initial=0.0)) < 0.05:
        raise TextureError(
            "The photo shows nothing of the avatar as it stands now. Undo changes of its pose and place, and try again."
        )
    low, tone = _spread_colours(surface, own, settings)
    soft = surface.blend(low)
    result = soft + own.weight[:, None] * (own.colours - soft)
    # Where this side is not seen, details of the other side are laid over the spread colours.
    hidden = np.flatnonzero(own.weight < 0.98)
    part = surface.part(hidden)
    other = _Look(part, vertices, normals, surface.mirror, picture, trust, settings)
    detail = other.colours - part.with_corners(surface.mirror).blend(low)
    result[hidden] += ((1.0 - own.weight[hidden]) * other.weight)[:, None] * detail
    image = np.zeros((settings.size**2, 3), np.float32)
    image[:] = tone
    image[surface.texels] = result
    filled = np.zeros(settings.size**2, np.bool_)
    filled[surface.texels] = True
    rgb = _pad(np.clip(np.rint(image), 0, 255).astype(np.uint8).reshape(settings.size, settings.size, 3), filled)
    return Texture(rgb, float(own.weight.mean()), picture.agreement)


class _Picture:
    """The part of the photo that shows the body, reduced, and what may be believed of each of its pixels."""

    def __init__(self, vertices: Float, faces: NDArray[np.int32], view: PhotoView, settings: TextureSettings) -> None:
        rgb, mask = view.rgb, view.mask
        principal = np.asarray(view.principal_px, np.float64)
        if view.distortion is not None and np.any(view.distortion):
            matrix = np.array([[view.focal_px, 0, principal[0]], [0, view.focal_px, principal[1]], [0, 0, 1]])
            rgb = cv2.undistort(rgb, matrix, view.distortion)
            mask = None if mask is None else cv2.undistort(mask, matrix, view.distortion)
        at = vertices[:, :2] / np.maximum(vertices[:, 2:], 1e-3) * view.focal_px + principal
        edge = np.array(rgb.shape[1::-1])
        low = np.clip(np.floor(at.min(axis=0)) - 4, 0, edge).astype(int)
        high = np.clip(np.ceil(at.max(axis=0)) + 4, 0, edge).astype(int)
        if (high - low).min() < 8:
            raise TextureError("The avatar is outside of its photo. Undo changes of its pose and place, and try again.")
        cut = np.s_[low[1] : high[1], low[0] : high[0]]
        self.rgb, self._rgb_scale = _reduced(rgb[cut], settings.most_px)
        self._low, self._focal, self._principal = low, view.focal_px, principal
        depth_size, self._scale = _reduced_size((high - low)[[0, 1]], settings.depth_px)
        focal = view.focal_px * self._scale
        # The rasteriser's principal point is the picture's middle; a shear puts it anywhere.
        shift = ((principal - low) * self._scale - 0.5 * np.array(depth_size)) / focal
        sheared = vertices + vertices[:, 2:] * np.array([*shift, 0.0], np.float32)
        self._depth = rasterise(sheared.astype(np.float32), faces, focal, depth_size).depth
        body = np.isfinite(self._depth)
        person = body
        self.agreement = 1.0
        if mask is not None:
            seen = cv2.resize(mask[cut].astype(np.float32), depth_size, interpolation=cv2.INTER_AREA) > 0.5
            person = body & seen
            self.agreement = float(person.sum() / max((body | seen).sum(), 1))
        self._trust = self._believable(body, person, focal, settings)

    def _believable(
        self, body: NDArray[np.bool_], person: NDArray[np.bool_], focal: float, settings: TextureSettings
    ) -> Float:
        """0…1 for each pixel of the depth picture: far enough from outlines, and from what lies before it."""
        near = float(np.median(self._depth[body])) if body.any() else 1.0
        pixels_a_metre = focal / near
        # The picture's own edge is no outline.
        bordered = cv2.copyMakeBorder(person.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        inside = cv2.distanceTransform(bordered, cv2.DIST_L2, 5)[1:-1, 1:-1]
        trust = _smooth_step(inside / pixels_a_metre, *settings.outline_m)
        reach = max(1, round(settings.behind_m * pixels_a_metre))
        far = np.where(body, self._depth, near + 1e3).astype(np.float32)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        behind = far - cv2.erode(far, kernel) > settings.step_m
        blurred: Float = cv2.GaussianBlur(trust * ~behind, (0, 0), max(0.5, 0.3 * reach)).astype(np.float32)
        return blurred

    def look(self, points: Float, normals: Float, settings: TextureSettings) -> tuple[Float, Float]:
        """Colours (N, 3) 0…255 at surface points (N, 3), camera frame, and how far to believe them (N,) 0…1."""
        depth = np.maximum(points[:, 2], 1e-3)
        at = points[:, :2] / depth[:, None] * self._focal + (self._principal - self._low)
        weight = _sample(self._trust, at * self._scale)
        nearest = _sample(np.where(np.isfinite(self._depth), self._depth, 1e3).astype(np.float32), at * self._scale)
        distance = np.linalg.norm(points, axis=1)
        cosine = -np.einsum("ni,ni->n", normals, points) / np.maximum(distance, 1e-6)
        slack = settings.depth_m / np.clip(cosine, 0.25, 1.0)
        weight *= _smooth_step(cosine, *settings.facing) * (depth < nearest + slack)
        return _sample(self.rgb, at * self._rgb_scale), weight


class _Look:
    """What the photo shows of a surface's texels, were its vertices those that `which` names."""

    def __init__(
        self,
        surface: Surface,
        vertices: Float,
        normals: Float,
        which: NDArray[np.int32],
        picture: _Picture,
        trust: Float | None,
        settings: TextureSettings,
    ) -> None:
        self.colours = np.zeros((len(surface.texels), 3), np.float32)
        self.weight = np.zeros(len(surface.texels), np.float32)
        # Most of the surface turns away, or is not believed: that is left out before anything is computed for it.
        towards = np.einsum("vi,vi->v", normals, vertices) < 0.0
        if trust is not None:
            towards &= trust > 0.01
        there = np.flatnonzero(towards[which][surface.corners].any(axis=1))
        moved = surface.part(there).with_corners(which)
        points, turned = moved.blend(vertices), moved.blend(normals)
        turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-6)
        self.colours[there], weight = picture.look(points, turned, settings)
        self.weight[there] = weight if trust is None else weight * moved.blend(trust[:, None])[:, 0]


def _spread_colours(surface: Surface, own: _Look, settings: TextureSettings) -> tuple[Float, Float]:
    """A colour for each vertex (V, 3), low frequencies only, and the skin's tone (3,)."""
    count = len(surface.mirror)
    share = surface.weights * own.weight[:, None]
    flat = surface.corners.ravel()
    weight = np.bincount(flat, share.ravel(), count)
    total = np.maximum(weight, 1e-9)
    colours = np.stack(
        [np.bincount(flat, (share * own.colours[:, c : c + 1]).ravel(), count) / total for c in range(3)], axis=1
    ).astype(np.float32)
    coverage = np.bincount(flat, surface.weights.ravel(), count)
    trust = (weight / np.maximum(coverage, 1e-9)).astype(np.float32)
    everywhere = np.average(colours, axis=0, weights=np.maximum(trust, 1e-9))

    def tone_of(part: NDArray[np.bool_], otherwise: Floats) -> Floats:
        seen = part & (trust > 0.25)
        return np.median(colours[seen], axis=0) if seen.sum() >= _ENOUGH else otherwise

    tone = tone_of(surface.face, everywhere)
    # In order of trust: the vertex's own colour, the other side's, what its part of the body is like.
    terms = [
        (trust, colours),
        (settings.mirrored * (1.0 - trust) ** 2 * trust[surface.mirror], colours[surface.mirror]),
        (settings.skin * surface.hands, tone),
        (settings.hair * surface.scalp, tone_of(surface.scalp, tone)),
        (settings.clothes * surface.dressed, tone_of(surface.trunk, everywhere)),
    ]
    together = np.sum([weight for weight, _ in terms], axis=0)
    mixed = np.sum([weight[:, None] * colour for weight, colour in terms], axis=0)
    target = mixed / np.maximum(together, 1e-9)[:, None]
    low = spread(
        target.astype(np.float32),
        together.astype(np.float32),
        surface.edges,
        surface.conductance,
        tone.astype(np.float32),
    )
    return low, tone.astype(np.float32)


def _pad(image: Image, filled: NDArray[np.bool_]) -> Image:
    """Each texel outside of the islands takes its nearest one's colour, so that no seam shows in smaller copies."""
    empty = (~filled.reshape(image.shape[:2])).astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.zeros(int(labels.max()) + 1, np.int64)
    at = np.flatnonzero(filled)
    nearest[labels.ravel()[at]] = at
    padded: Image = image.reshape(-1, 3)[nearest[labels]]
    return padded


def _reduced_size(size: Indices, most: int) -> tuple[tuple[int, int], float]:
    factor = min(1.0, most / float(max(size)))
    return (max(1, round(float(size[0]) * factor)), max(1, round(float(size[1]) * factor))), factor


def _reduced(rgb: Image, most: int) -> tuple[Float, float]:
    size, factor = _reduced_size(np.array(rgb.shape[1::-1]), most)
    small = rgb if factor == 1.0 else cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, np.float32), factor


def _sample(image: Float, at: Floats) -> Float:
    """Bilinear values at (N, 2) px, pixel centres at +0.5; beyond the edge 0 for one channel, the edge for colours."""
    height, width = image.shape[:2]
    place = np.asarray(at, np.float32) - 0.5
    rows = 30_000  # OpenCV's maps have at most 32767 rows
    columns = -(-len(place) // rows)
    padded = np.full((max(1, columns) * rows, 2), -9.0, np.float32)
    padded[: len(place)] = place
    grid = padded.reshape(rows, -1, 2)
    border = cv2.BORDER_REPLICATE if image.ndim == 3 else cv2.BORDER_CONSTANT
    found = cv2.remap(image, grid, None, cv2.INTER_LINEAR, borderMode=border)
    values: Float = found.reshape(len(padded), *image.shape[2:])[: len(place)]
    if image.ndim == 2:
        return values
    outside = (place < -0.5).any(axis=1) | (place > np.array([width - 0.5, height - 0.5])).any(axis=1)
    values[outside] = 0.0
    return values


def _smooth_step(value: Floats, low: float, high: float) -> Float:
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
