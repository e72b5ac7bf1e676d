"""Parts of a body keep out of each other: overlap of capsules as residuals of the solver.

What is judged is the overlap beyond what contact makes. The derivative of a least distance is that of the distance
between the two places where it is least, each a mean of its capsule's ends (envelope theorem).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..body.model import BodyModel
from ..priors.clearance import clearance
from ..priors.proxies import PLANS, Proxies
from ..priors.proxies_file import proxies_of
from .kinematics import Chain, PointTable, Skeleton
from .state import Unknowns

FINGERS_M = 0.002  # overlap of fingers beyond contact that is worth moving them


@dataclass(frozen=True)
class Overlap:
    """Overlap of the M pairs that overlap in any of the N bodies, and how it changes."""

    depth: Tensor  # (N, M) metres, 0 where a body's pair does not overlap
    jacobian: Tensor  # (N, M, n)


class Collision:
    """The capsules of one body. M pairs of P capsules are kept apart.

    pairs (M, 2); contact_m (M,): overlap that counts as contact.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        proxies: Proxies,
        pairs: NDArray[np.int64],
        contact_m: NDArray[np.float32],
        warning: str = "",
    ) -> None:
        like = skeleton.J_template
        self.skeleton, self.proxies = skeleton, proxies
        self.warning = warning  # what users should know of where the capsules come from
        self.contact_m = torch.as_tensor(contact_m).to(like)
        self.radius = torch.as_tensor(proxies.radius).to(like)
        self.radius_dirs = torch.as_tensor(proxies.radius_dirs).to(like)
        count = proxies.count
        self._pair_at = torch.full((count, count), -1, device=like.device)  # (P, P) index of a pair
        self._pair_at[pairs[:, 0], pairs[:, 1]] = torch.arange(len(pairs), device=like.device)
        self.first, self.second = (torch.as_tensor(pairs[:, k], device=like.device) for k in (0, 1))
        finger = np.array([plan.name[-1].isdigit() for plan in PLANS])
        self._finger = torch.as_tensor(finger[proxies.part], device=like.device)
        self._tables: dict[tuple[int, ...], PointTable] = {}

    @classmethod
    def of(cls, body: BodyModel, skeleton: Skeleton) -> Collision:
        """With the capsules and pairs of a body: those of the free body ship, others are fitted in seconds."""
        kept, warning = proxies_of(body)
        return cls(skeleton, *kept, warning)

    def to(self, skeleton: Skeleton) -> Collision:
        """The same for a skeleton of another type or device."""
        pairs = torch.stack([self.first, self.second], 1).cpu().numpy()
        return Collision(skeleton, self.proxies, pairs, self.contact_m.float().cpu().numpy())

    def table(self, joints: tuple[int, ...]) -> PointTable:
        """The capsules' ends for these unknowns; made once."""
        if joints not in self._tables:
            self._tables[joints] = PointTable.of(self.skeleton, self.proxies.ends, joints)
        return self._tables[joints]

    def overlaps(self, chain: Chain) -> tuple[bool, bool]:
        """Whether anything overlaps in any body, and whether fingers overlap much with each other."""
        met = self._meetings(chain, self.table((0,)))
        if met is None:
            return False, False
        return True, bool((self._finger[met[0]] & self._finger[met[1]] & (met[2] > FINGERS_M)).any())

    def overlap(self, chain: Chain, unknowns: Unknowns) -> Overlap | None:
        """What overlaps in the posed chain; None when nothing does."""
        table = self.table(unknowns.joints)
        count = self.proxies.count
        met = self._meetings(chain, table)
        if met is None:
            return None
        first, second, depth, s, t, normal = met
        # ends of both capsules of all pairs, with their shares: (N, 4, M)
        index = torch.cat([first, first + count, second, second + count])
        share = torch.stack([1 - s, s, 1 - t, t], 1)
        push = torch.stack([-normal, -normal, normal, normal], 1) * share[..., None]
        moving = table.take(index).differentiate(chain, unknowns)
        rows = moving.rows(push.flatten(1, 2)[:, :, None], unknowns)[:, :, 0].unflatten(1, (4, -1)).sum(1)
        if unknowns.num_betas + unknowns.num_expressions:
            columns = list(range(unknowns.num_betas))
            columns += [self.skeleton.num_betas + i for i in range(unknowns.num_expressions)]
            swelling = self.radius_dirs[index][:, columns].unflatten(0, (4, -1))
            rows[..., unknowns.betas_at :] += torch.einsum("nkm,kmc->nmc", share, swelling)
        active = (depth > 0).to(depth.dtype)
        return Overlap(depth * active, rows * active[..., None])

    def _meetings(
        self, chain: Chain, table: PointTable
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor] | None:
        """Pairs that overlap in any body: their capsules (M,), depth, places on both axes and direction (N, M, …)."""
        count = self.proxies.count
        ends = table.positions(chain).unflatten(1, (2, count))  # (N, 2, P, 3)
        radius = (self.radius + chain.coefficients @ self.radius_dirs.T).unflatten(1, (2, count))
        near = self._within_reach(ends, radius)
        if len(near) == 0:
            return None
        first, second = self.first[near], self.second[near]
        distance, s, t, normal = clearance(
            ends[:, :, first].transpose(1, 2),
            ends[:, :, second].transpose(1, 2),
            radius[:, :, first].transpose(1, 2),
            radius[:, :, second].transpose(1, 2),
        )
        depth = -distance - self.contact_m[near]
        touching = torch.nonzero((depth > 0).any(0)).flatten()
        if len(touching) == 0:
            return None
        first, second, depth = first[touching], second[touching], depth[:, touching]
        return first, second, depth, s[:, touching], t[:, touching], normal[:, touching]

    def _within_reach(self, ends: Tensor, radius: Tensor) -> Tensor:
        """Pairs whose bounding balls overlap in any body of the batch."""
        middle = ends.mean(1)
        reach = torch.linalg.vector_norm(ends[:, 0] - ends[:, 1], dim=-1) / 2 + radius.amax(1)
        near = torch.cdist(middle, middle) < reach[:, :, None] + reach[:, None]
        return self._pair_at[near.any(0) & (self._pair_at >= 0)]
