"""Symmetric systems that couple each frame with the two before and after it: block Cholesky, linear in the frames.

Two frames make one block of a block-tridiagonal matrix (Golub, Van Loan, "Matrix Computations", 4th ed., 4.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Bands:
    """Upper block bands of a symmetric matrix over T frames with n unknowns each."""

    main: Tensor  # (T, n, n)
    next: Tensor  # (T, n, n) block (t, t + 1); the last row is not used
    after: Tensor  # (T, n, n) block (t, t + 2); the last two rows are not used

    @classmethod
    def zeros(cls, like: Tensor, frames: int, size: int) -> Bands:
        """Nothing yet for `frames` frames of `size` unknowns."""
        return cls(*(like.new_zeros(frames, size, size) for _ in range(3)))

    def to_dense(self) -> Tensor:
        """(T n, T n), for tests."""
        frames, n = self.main.shape[:2]
        out = self.main.new_zeros(frames, n, frames, n)
        for t in range(frames):
            out[t, :, t] = self.main[t]
            for k, band in ((1, self.next), (2, self.after)):
                if t + k < frames:
                    out[t, :, t + k] = band[t]
                    out[t + k, :, t] = band[t].T
        return out.reshape(frames * n, frames * n)


def joint_blocks(matrices: Tensor, count: int) -> Tensor:
    """A view (T, count, 3, 3) of the first blocks of three on the diagonals of (T, n, n)."""
    corner = matrices[:, : 3 * count, : 3 * count].unflatten(1, (count, 3)).unflatten(3, (count, 3))
    return torch.diagonal(corner, dim1=1, dim2=3).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Factor:
    """A factorised system."""

    lower: list[Tensor]  # Cholesky factors of the diagonal blocks after elimination
    across: list[Tensor]  # L⁻¹ U of each block but the last
    frames: int
    size: int

    def solve(self, right: Tensor) -> Tensor:
        """x (T, n) of A x = right (T, n)."""
        b = _pairs(right).unsqueeze(-1)
        forward: list[Tensor] = []
        for k, lower in enumerate(self.lower):
            value = b[k] if k == 0 else b[k] - self.across[k - 1].T @ forward[-1]
            forward.append(torch.linalg.solve_triangular(lower, value, upper=False))
        solution = [forward[-1]] * len(forward)
        for k in range(len(forward) - 1, -1, -1):
            value = forward[k] if k == len(forward) - 1 else forward[k] - self.across[k] @ solution[k + 1]
            solution[k] = torch.linalg.solve_triangular(self.lower[k].T, value, upper=True)
        return torch.stack(solution)[..., 0].reshape(-1, self.size)[: self.frames]

    def covariance(self) -> Tensor:
        """The diagonal blocks of A⁻¹, (T, n, n), by Takahashi's recursion (1973) from the last block to the first."""
        blocks: list[Tensor] = []
        for k in range(len(self.lower) - 1, -1, -1):
            inverse = torch.cholesky_inverse(self.lower[k])
            if blocks:
                gain = torch.linalg.solve_triangular(self.lower[k].T, self.across[k], upper=True)
                inverse = inverse + gain @ blocks[-1] @ gain.T
            blocks.append(inverse)
        both = torch.stack(blocks[::-1])
        n = self.size
        return torch.stack([both[:, :n, :n], both[:, n:, n:]], 1).reshape(-1, n, n)[: self.frames]


def factorise(bands: Bands, damping: Tensor | None = None) -> Factor | None:
    """Cholesky of the matrix with `damping` (T, n) added to its diagonal; None where it is not positive definite."""
    frames, n = bands.main.shape[:2]
    blocks = (frames + 1) // 2
    like = bands.main
    diagonal = like.new_zeros(blocks, 2 * n, 2 * n)
    even, odd = bands.main[0::2], bands.main[1::2]
    diagonal[:, :n, :n] = even
    diagonal[: len(odd), n:, n:] = odd
    between = bands.next[0::2][: len(odd)]
    diagonal[: len(odd), :n, n:] = between
    diagonal[: len(odd), n:, :n] = between.transpose(1, 2)
    if frames % 2:
        diagonal[-1, n:, n:] = torch.eye(n, dtype=like.dtype, device=like.device)
    if damping is not None:
        extra = like.new_zeros(blocks, 2 * n)
        extra[:, :n], extra[: len(odd), n:] = damping[0::2], damping[1::2]
        torch.diagonal(diagonal, dim1=-2, dim2=-1).add_(extra)
    # The block (k, k + 1) has a zero where the pair's first frame would meet the next pair's second one.
    first = torch.cat([bands.after[0:-1:2], bands.next[1::2]], 1)[: blocks - 1] if blocks > 1 else diagonal[:0, :, :n]
    second = bands.after[1:-2:2] if frames > 3 else diagonal[:0, :n, :n]
    lower: list[Tensor] = []
    across: list[Tensor] = []
    for k in range(blocks):
        factor, info = torch.linalg.cholesky_ex(diagonal[k])
        if int(info) != 0:
            return None
        lower.append(factor)
        if k + 1 == blocks:
            break
        # What follows is brought up to date in its lower triangle, which is all that is read.
        following, both = diagonal[k + 1], like.new_zeros(2 * n, 2 * n)
        left = torch.linalg.solve_triangular(factor, first[k], upper=False)
        following[:n, :n].addmm_(left.T, left, alpha=-1)
        both[:, :n] = left
        if k < len(second):
            right = torch.linalg.solve_triangular(factor[n:, n:], second[k], upper=False)
            following[n:, :n].addmm_(right.T, left[n:], alpha=-1)
            following[n:, n:].addmm_(right.T, right, alpha=-1)
            both[n:, n:] = right
        across.append(both)
    return Factor(lower, across, frames, n)


def _pairs(vector: Tensor) -> Tensor:
    frames, n = vector.shape
    if frames % 2:
        vector = torch.cat([vector, vector.new_zeros(1, n)])
    return vector.reshape(-1, 2 * n)
