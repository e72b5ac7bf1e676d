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
        self.finger = torch.as_tensor(finger[proxies.part], device=like.device)
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

    def near(self, chain: Chain, margin_m: float = 0.0) -> NearPairs | None:
        """Pairs whose bounding balls are at most so far apart in any body of the posed chain; None without any."""
        count = self.proxies.count
        ends = self.table((0,)).positions(chain).unflatten(1, (2, count))  # (N, 2, P, 3)
        radius = (self.radius + chain.coefficients @ self.radius_dirs.T).unflatten(1, (2, count))
        middle = ends.mean(1)
        reach = torch.linalg.vector_norm(ends[:, 0] - ends[:, 1], dim=-1) / 2 + radius.amax(1) + margin_m / 2
        near = torch.cdist(middle, middle) < reach[:, :, None] + reach[:, None]
        pairs = self._pair_at[near.any(0) & (self._pair_at >= 0)]
        return NearPairs(self, pairs) if len(pairs) else None

    def overlap(self, chain: Chain, unknowns: Unknowns) -> Overlap | None:
        """What overlaps in the posed chain; None when nothing does."""
        near = self.near(chain)
        return near.overlap(chain, unknowns) if near is not None else None


class NearPairs:
    """Some pairs of a collision's capsules: M pairs of C capsules. Points are the starts of these, then their ends."""

    def __init__(self, collision: Collision, pairs: Tensor) -> None:
        self.collision = collision
        both = torch.cat([collision.first[pairs], collision.second[pairs]])
        capsules, place = torch.unique(both, return_inverse=True)
        self.count = len(capsules)
        self.first, self.second = place[: len(pairs)], place[len(pairs) :]
        self.index = torch.cat([capsules, capsules + collision.proxies.count])
        self.radius, self.radius_dirs = collision.radius[self.index], collision.radius_dirs[self.index]
        self.contact_m = collision.contact_m[pairs]
        self.finger = collision.finger[capsules]
        self._tables: dict[tuple[int, ...], PointTable] = {}

    def table(self, joints: tuple[int, ...]) -> PointTable:
        """The points (2 C) for these unknowns; made once."""
        if joints not in self._tables:
            self._tables[joints] = self.collision.table(joints).take(self.index)
        return self._tables[joints]

    def touch(self, chain: Chain) -> tuple[bool, bool]:
        """Whether any pair overlaps in any body, and whether fingers overlap much with each other."""
        depth = self._meet(chain, self.table((0,)).positions(chain))[0]
        if not bool((depth > 0).any()):
            return False, False
        fingers = self.finger[self.first] & self.finger[self.second]
        return True, bool((depth[:, fingers] > FINGERS_M).any())

    def overlap(self, chain: Chain, unknowns: Unknowns) -> Overlap | None:
        """Those of these pairs that overlap in the posed chain; None when none does."""
        table = self.table(unknowns.joints)
        moving = table.differentiate(chain, unknowns)
        depth, s, t, normal = self._meet(chain, moving.positions)
        touching = torch.nonzero((depth > 0).any(0)).flatten()
        if len(touching) == 0:
            return None
        depth, s, t, normal = depth[:, touching], s[:, touching], t[:, touching], normal[:, touching]
        first, second = self.first[touching], self.second[touching]
        index = torch.cat([first, first + self.count, second, second + self.count])
        share = torch.stack([s - 1, -s, 1 - t, t], 1)  # (N, 4, M) of the points in the way between both places
        rows = moving.take(index).combined(share).rows(normal[:, :, None], unknowns)[:, :, 0]
        if unknowns.num_betas + unknowns.num_expressions:
            columns = table.skeleton.shape_columns(unknowns)
            swelling = self.radius_dirs[:, columns][index].unflatten(0, (4, -1))
            rows[..., unknowns.betas_at :] += torch.einsum("nkm,kmc->nmc", share.abs(), swelling)
        active = (depth > 0).to(depth.dtype)
        return Overlap(depth * active, rows * active[..., None])

    def _meet(self, chain: Chain, ends: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Depth, places on both axes and direction (N, M, …) of all pairs. ends (N, 2 C, 3)."""
        shape = (2, self.count)
        radius = (self.radius + chain.coefficients @ self.radius_dirs.T).unflatten(1, shape).transpose(1, 2)
        ends = ends.unflatten(1, shape).transpose(1, 2)
        distance, s, t, normal = clearance(
            ends[:, self.first], ends[:, self.second], radius[:, self.first], radius[:, self.second]
        )
        return -distance - self.contact_m, s, t, normal
