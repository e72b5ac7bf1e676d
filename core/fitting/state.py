"""The unknowns of a fit, and how a step of the solver moves them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..rotation import exp_so3


@dataclass(frozen=True)
class BodyState:
    """N bodies (hypotheses or frames) of B betas and E expression components.

    `rotmats` are local rotations in joint order; the root's is `global_orient`, in camera axes (OpenCV).
    """

    rotmats: Tensor  # (N, 55, 3, 3)
    transl: Tensor  # (N, 3) metres, camera frame; the pelvis is at J_0(betas) + transl
    log_focal: Tensor  # (N,) natural logarithm of the focal length in px
    betas: Tensor  # (N, B)
    expression: Tensor  # (N, E)

    def select(self, rows: Tensor) -> BodyState:
        """The bodies named by `rows` (indices or mask)."""
        return BodyState(
            self.rotmats[rows], self.transl[rows], self.log_focal[rows], self.betas[rows], self.expression[rows]
        )

    def where(self, condition: Tensor, other: BodyState) -> BodyState:
        """This state where `condition` (N,) holds, else `other`."""
        return BodyState(
            torch.where(condition[:, None, None, None], self.rotmats, other.rotmats),
            torch.where(condition[:, None], self.transl, other.transl),
            torch.where(condition, self.log_focal, other.log_focal),
            torch.where(condition[:, None], self.betas, other.betas),
            torch.where(condition[:, None], self.expression, other.expression),
        )


@dataclass(frozen=True)
class Unknowns:
    """Which entries of a state are solved for, and their columns: joints × 3, transl, log_focal, betas, expression."""

    joints: tuple[int, ...]
    transl: bool
    focal: bool
    num_betas: int  # the first so many
    num_expressions: int  # all or none

    @property
    def transl_at(self) -> int:
        return 3 * len(self.joints)

    @property
    def focal_at(self) -> int:
        return self.transl_at + 3 * self.transl

    @property
    def betas_at(self) -> int:
        return self.focal_at + self.focal

    @property
    def expression_at(self) -> int:
        return self.betas_at + self.num_betas

    @property
    def size(self) -> int:
        return self.expression_at + self.num_expressions

    def joint_columns(self, joints: tuple[int, ...]) -> list[int]:
        """First column of each of `joints`; -1 for one that is not solved for."""
        place = {joint: 3 * i for i, joint in enumerate(self.joints)}
        return [place.get(joint, -1) for joint in joints]


def retract(state: BodyState, step: Tensor, unknowns: Unknowns, bounded_expression: bool) -> BodyState:
    """Move by `step` (N, unknowns.size): rotations by R · Exp(ω), the rest by addition, ARKit weights kept in 0…1."""
    count = len(unknowns.joints)
    omega = step[:, : 3 * count].reshape(len(step), count, 3)
    rotmats = state.rotmats.clone()
    joints = unknowns.joints
    in_a_row = count > 0 and joints[-1] - joints[0] == count - 1
    moved = slice(joints[0], joints[-1] + 1) if in_a_row else list(joints)  # a slice copies no index
    if count:
        rotmats[:, moved] = rotmats[:, moved] @ exp_so3(omega)
    changes: dict[str, Tensor] = {"rotmats": rotmats}
    if unknowns.transl:
        changes["transl"] = state.transl + step[:, unknowns.transl_at : unknowns.transl_at + 3]
    if unknowns.focal:
        changes["log_focal"] = state.log_focal + step[:, unknowns.focal_at]
    if unknowns.num_betas:
        betas = state.betas.clone()
        betas[:, : unknowns.num_betas] += step[:, unknowns.betas_at : unknowns.expression_at]
        changes["betas"] = betas
    if unknowns.num_expressions:
        expression = state.expression + step[:, unknowns.expression_at :]
        changes["expression"] = expression.clamp(0, 1) if bounded_expression else expression
    return replace(state, **changes)


def at_bounds(state: BodyState, gradient: Tensor, unknowns: Unknowns) -> Tensor | None:
    """Which unknowns are ARKit weights on a bound that a step down the `gradient` (N, size) would leave.

    (N, size) of bools; None where no expression is solved for.
    """
    if not unknowns.num_expressions:
        return None
    held = torch.zeros_like(gradient, dtype=torch.bool)
    pull = gradient[:, unknowns.expression_at :]
    held[:, unknowns.expression_at :] = ((state.expression <= 0) & (pull > 0)) | ((state.expression >= 1) & (pull < 0))
    return held
