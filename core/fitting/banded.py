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
    upper = like.new_zeros(max(blocks - 1, 0), 2 * n, 2 * n)
    for k, (band, first, row, column) in enumerate(
        ((bands.after, 0, 0, 0), (bands.next, 1, 1, 0), (bands.after, 1, 1, 1))
    ):
        usable = band[first::2][: blocks - 1]
        # The last pair may lack its second frame.
        if k == 2:
            usable = usable[: max(0, (frames - 2) // 2)]
        upper[: len(usable), row * n : (row + 1) * n, column * n : (column + 1) * n] = usable
    lower: list[Tensor] = []
    across: list[Tensor] = []
    for k in range(blocks):
        block = diagonal[k] if k == 0 else diagonal[k] - across[-1].T @ across[-1]
        factor, info = torch.linalg.cholesky_ex(block)
        if int(info) != 0:
            return None
        lower.append(factor)
        if k + 1 < blocks:
            across.append(torch.linalg.solve_triangular(factor, upper[k], upper=False))
    return Factor(lower, across, frames, n)


def _pairs(vector: Tensor) -> Tensor:
    frames, n = vector.shape
    if frames % 2:
        vector = torch.cat([vector, vector.new_zeros(1, n)])
    return vector.reshape(-1, 2 * n)
