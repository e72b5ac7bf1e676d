"""The body's outline in the picture, and which of its points belong to the edge of the person's mask.

Nothing of the mesh is evaluated in the solver's loop: a fixed share of the vertices is posed once for each solve, those
on the rim are matched with the contour, and the matched ones alone are points of the problem. What is left out is what
masks don't tell: heads (hair), fingers, and limbs that were not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.model import BodyModel, VirtualPoints
from ..body.skeleton import JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from .contour import Contour
from .evidence import Evidence
from .kinematics import Chain, PointTable, Skeleton
from .settings import FitSettings

_VOXEL_M = 0.013  # one vertex of each cube of the rest pose is kept
_RIM = 0.35  # largest cosine between normal and ray of a vertex that may be on the rim
_ALIKE = 0.5  # least cosine between the contour's direction and a rim vertex's
_LEAST_SIGMA_PX = 1.0
_NEAREST_M = 0.1
_NO_PART = ("neck", "head", "jaw", "left_eye_smplhf", "right_eye_smplhf")


@dataclass(frozen=True)
class Matches:
    """M vertices of the outline and where the mask's edge has them."""

    vertices: Tensor  # (M,) indices into the outline's vertices
    seen: Tensor  # (M, 2) px
    normals: Tensor  # (M, 2) unit, outwards
    inverse_sigma: Tensor  # (M,) 1/px


@dataclass(frozen=True)
class Silhouette:
    """Matches of one person, with what poses their vertices."""

    outline: Outline
    matches: Matches

    @property
    def carriers(self) -> VirtualPoints:
        """The matched vertices."""
        return self.outline.carriers.take(self.matches.vertices.cpu().numpy())


class Outline:
    """The vertices of one body that its outline is looked for among."""

    def __init__(self, body: BodyModel, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        chosen = _spread(body)
        carriers = VirtualPoints(
            body.v_template[chosen], body.shapedirs[chosen], body.exprdirs[chosen], body.weights[chosen]
        )
        self._all = PointTable.of(skeleton, carriers, (0,))
        self.carriers = carriers
        like = skeleton.J_template
        self.normals = torch.as_tensor(_normals(body)[chosen]).to(like)
        self.part = body.weights[chosen].argmax(1)

    def match(
        self,
        chain: Chain,
        focal_px: float,
        principal: NDArray[np.float64],
        contour: Contour,
        evidence: Evidence,
        settings: FitSettings,
    ) -> Matches:
        """The outline of the first body of the chain, a vertex for each point of the contour that it comes near."""
        reach_px = settings.silhouette_reach * evidence.person_px
        width_px = settings.silhouette_width * evidence.person_px
        blend = (self._all.weights @ chain.globals[0].reshape(-1, 9)).reshape(-1, 3, 3)
        normals = (blend @ self.normals[..., None])[..., 0]
        points = self._places(chain, blend)
        facing = (normals * torch.nn.functional.normalize(points, dim=-1)).sum(-1).abs()
        place, normal = points.cpu().numpy(), normals.cpu().numpy()
        trusted = evidence.joint_trust[self.part] >= settings.silhouette_trust
        rim = np.flatnonzero((facing.cpu().numpy() < _RIM) & trusted & (place[:, 2] > _NEAREST_M))
        place, normal = place[rim], normal[rim]
        ray = place[:, :2] / place[:, 2:]
        pixels = np.float32(focal_px) * ray + principal.astype(np.float32)
        # A normal's direction in the picture: what is perpendicular to the ray, projected.
        flat = normal[:, :2] - normal[:, 2:] * ray
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
        outward, edge = contour.normals, contour.image_px
        tangent = np.stack([-outward[:, 1], outward[:, 0]], -1)
        across = outward @ pixels.T - (outward * edge).sum(1)[:, None]
        along = np.abs(tangent @ pixels.T - (tangent * edge).sum(1)[:, None])
        allowed = (outward @ flat.T > _ALIKE) & (along < width_px) & (np.abs(across) < reach_px)
        rows = np.flatnonzero(allowed.any(1))
        allowed, across, along = allowed[rows], across[rows], along[rows]
        nearest = np.where(allowed, across * across + along * along, np.inf).argmin(1)
        # The outermost beside the nearest: a vertex a little inside the rim is not the outline.
        level = across[np.arange(len(rows)), nearest][:, None]
        beside = allowed & (across >= level) & (across < level + width_px)
        best = np.where(beside, across, -np.inf).argmax(1)
        like = self.normals
        sigma_px = max(settings.silhouette_sigma * evidence.person_px, _LEAST_SIGMA_PX)
        return Matches(
            torch.as_tensor(rim[best], device=like.device),
            torch.as_tensor(contour.image_px[rows]).to(like),
            torch.as_tensor(contour.normals[rows]).to(like),
            like.new_full((len(rows),), 1 / sigma_px),
        )

    def _places(self, chain: Chain, blend: Tensor) -> Tensor:
        """The vertices of the first body, (P, 3): as `positions`, by one blended rotation each."""
        table = self._all
        rest = table.template + (table.dirs.flatten(0, 1) @ chain.coefficients[0]).reshape(table.template.shape)
        fixed = chain.joints[0] - (chain.globals[0] @ chain.rest[0][..., None])[..., 0]
        return (blend @ rest[..., None])[..., 0] + table.weights @ fixed


def outline_offset(
    normals: Tensor, residual: Tensor, by_point: Tensor, by_focal: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """How far points of the outline are outside of the contour, across it.

    normals (M, 2); what `reprojection` gives of the points and their places on the contour: (N, M, 2), (N, M, 2, 3) and
    (N, M, 2) → residual (N, M), its derivative by the point (N, M, 3) and by log_focal (N, M).
    """
    return (
        (residual * normals).sum(-1),
        (normals[None, :, None] @ by_point)[..., 0, :],
        (by_focal * normals).sum(-1),
    )


def _spread(body: BodyModel) -> NDArray[np.int64]:
    """Vertices all over the skin of trunk, limbs and feet, about as far from each other as a voxel is wide."""
    left_out = [JOINT_INDEX[name] for name in _NO_PART]
    left_out += [*range(LEFT_HAND.start, LEFT_HAND.stop), *range(RIGHT_HAND.start, RIGHT_HAND.stop)]
    part = body.weights.argmax(1)
    candidates = np.setdiff1d(np.unique(body.faces), np.flatnonzero(np.isin(part, left_out)))
    cells = np.floor(body.v_template[candidates] / _VOXEL_M).astype(np.int64) + (1 << 15)
    _, first = np.unique((cells[:, 0] << 40) + (cells[:, 1] << 20) + cells[:, 2], return_index=True)
    return np.sort(candidates[first])


def _normals(body: BodyModel) -> NDArray[np.float32]:
    """Unit normals of the template's vertices, outwards (V, 3)."""
    corners = body.v_template[body.faces]
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    result = np.zeros_like(body.v_template)
    for k in range(3):
        np.add.at(result, body.faces[:, k], face)
    return np.asarray(result / np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12))
