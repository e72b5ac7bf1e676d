"""What was seen of one person as residuals at points of the body: 2D points, directions of bones, the mask's edge.

All points are one table, all rows one matrix, filled anew at each evaluation: a step is bound by the number of calls.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..body.model import VirtualPoints
from .evidence import Evidence
from .kinematics import Chain, PointTable, Skeleton
from .outline import Silhouette, outline_offset
from .residuals import bone_direction, reprojection, robust_weight
from .settings import INF, FitSettings, Stage
from .state import Unknowns


class PointTerms:
    """Evidence of one stage: P points, K bones between them, and M points of the outline. Rows: 2 P, 3 K, M."""

    def __init__(
        self,
        skeleton: Skeleton,
        evidence: Evidence,
        unknowns: Unknowns,
        stage: Stage,
        settings: FitSettings,
        silhouette: Silhouette | None,
    ) -> None:
        self.unknowns = unknowns
        like = skeleton.J_template

        def tensor(array: object) -> Tensor:
            return torch.as_tensor(array).to(dtype=like.dtype, device=like.device)

        in_stage = np.array([name in stage.sets for name in evidence.sets] or [False])
        keep = np.flatnonzero(in_stage[evidence.set_of_point])
        place = np.full(len(evidence.set_of_point) + 1, -1)
        place[keep] = np.arange(len(keep))
        bones = np.flatnonzero(in_stage[evidence.bone_set])
        self.bone_ends, self.bone_starts = (
            torch.as_tensor(place[ends[bones]], device=like.device) for ends in (evidence.bone_end, evidence.bone_start)
        )
        self.bone_direction = tensor(evidence.bone_direction[bones])
        self.bone_inverse_sigma = tensor(evidence.bone_inverse_sigma[bones])
        carriers = [evidence.carriers.take(keep)]
        noise = max(evidence.noise_share, stage.least_noise)
        seen, inverse_sigma = [tensor(evidence.image_px[keep])], [tensor(evidence.inverse_sigma[keep] / noise)]
        self.normals = like.new_zeros(0, 2)
        if silhouette is not None and len(keep):  # an outline alone does not place anybody
            carriers.append(silhouette.carriers)
            seen.append(silhouette.matches.seen)
            inverse_sigma.append(silhouette.matches.inverse_sigma)
            self.normals = silhouette.matches.normals
        self.table = PointTable.of(skeleton, VirtualPoints.join(carriers), unknowns.joints)
        self.seen, self.inverse_sigma = torch.cat(seen), torch.cat(inverse_sigma)
        # of points, bones, and points of the outline
        self.counts = len(keep), len(bones), len(self.normals)
        hint_width = settings.hint_robust_width if stage.robust_width < INF else INF
        widths = (stage.robust_width, hint_width, settings.silhouette_robust_width)
        shares = (1.0, 1.0, settings.silhouette)
        self.width, self.share = (
            torch.cat([like.new_full((n,), value) for n, value in zip(self.counts, values, strict=True)])
            for values in (widths, shares)
        )
        self._rows = like.new_zeros(0, 0, 0)

    @property
    def count(self) -> int:
        """How many points were seen."""
        return self.counts[0]

    def observed(self) -> tuple[Tensor, Tensor]:
        """Where the points were seen (P, 2) px, and 1/σ (P,)."""
        return self.seen[: self.count], self.inverse_sigma[: self.count]

    def positions(self, chain: Chain) -> Tensor:
        """The points (N, P, 3), camera frame."""
        return self.table.positions(chain)[:, : self.count]

    def equations(self, chain: Chain, log_focal: Tensor, principal: Tensor) -> tuple[Tensor, Tensor]:
        """Cost (N,), and normal equations (N, n + 1, n + 1) by turns in the camera's axes, the last column Jᵀr."""
        u = self.unknowns
        n, size = len(log_focal), u.size
        points, bones, rim = self.counts
        if not points:
            return log_focal.new_zeros(n), log_focal.new_zeros(n, size + 1, size + 1)
        rows = self._cleared(n)
        moving = self.table.differentiate(chain, u, own_axes=False)
        place, by_place, by_focal = reprojection(moving.positions, log_focal, principal, self.seen, self.inverse_sigma)
        offset, by_rim, rim_by_focal = outline_offset(
            self.normals, place[:, points:], by_place[:, points:], by_focal[:, points:]
        )
        place, by_place, by_focal = place[:, :points], by_place[:, :points], by_focal[:, :points]
        between = moving.between(self.bone_ends, self.bone_starts)
        zero = between.positions.new_zeros(1)
        turned, by_end = bone_direction(zero, between.positions, self.bone_direction, self.bone_inverse_sigma)
        squared = torch.cat([(place * place).sum(-1), (turned * turned).sum(-1), offset * offset], 1)
        value, weight = robust_weight(squared, self.width)
        root = (weight * self.share).sqrt()
        of_points, of_bones, of_rim = root[..., None].split(list(self.counts), 1)

        def fill(residual: Tensor, focal: Tensor | None, start: int) -> Tensor:
            part = rows[:, start : start + residual.shape[1] * residual.shape[2]].unflatten(1, residual.shape[1:])
            part[..., size] = residual
            if focal is not None and u.focal:
                part[..., u.focal_at] = focal
            unknown: Tensor = part[..., :size]
            return unknown

        part = fill(place * of_points, by_focal * of_points, 0)
        moving.take(slice(0, points)).rows(by_place * of_points[..., None], u, part)
        if bones:
            part = fill(turned * of_bones, None, 2 * points)
            between.rows(by_end * of_bones[..., None], u, part)
        if rim:
            part = fill(offset[..., None] * of_rim, rim_by_focal[..., None] * of_rim, 2 * points + 3 * bones)
            moving.take(slice(points, None)).rows((by_rim * of_rim)[:, :, None], u, part)
        return (value * self.share).sum(-1), rows.transpose(1, 2) @ rows

    def _cleared(self, n: int) -> Tensor:
        """The matrix of all rows and, as its last column, residuals: (N, R, n + 1). Unused columns stay zero."""
        points, bones, rim = self.counts
        if len(self._rows) != n:
            self._rows = self.seen.new_zeros(n, 2 * points + 3 * bones + rim, self.unknowns.size + 1)
        return self._rows
