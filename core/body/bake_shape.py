"""Shape components: a principal component analysis of people in the T-pose. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class ShapeSpace:
    """A linear shape space of V vertices with B components; a unit of a beta is one standard deviation."""

    v_template: Float  # (V, 3)
    shapedirs: Float  # (V, 3, B)
    J_template: Float  # (55, 3)
    J_shapedirs: Float  # (55, 3, B)

    def betas_of(self, vertices: Float) -> Float:
        """Least-squares betas (N, B) of surfaces (N, V, 3); the pelvis is where the template has it."""
        basis = self.shapedirs.reshape(-1, self.shapedirs.shape[2])
        offsets = (vertices - self.v_template).reshape(len(vertices), -1)
        return np.asarray(np.linalg.solve(basis.T @ basis, basis.T @ offsets.T).T)

    def vertices(self, betas: Float) -> Float:
        """Surfaces (N, V, 3), metres, of betas (N, B)."""
        return np.asarray(self.v_template + np.einsum("nb,vib->nvi", betas, self.shapedirs, optimize=True))

    def joints(self, betas: Float) -> Float:
        """Joints (N, 55, 3), metres, of betas (N, B)."""
        return np.asarray(self.J_template + np.einsum("nb,jib->nji", betas, self.J_shapedirs, optimize=True))


def learn_shape_space(vertices: Float, joints: Float, num_components: int, origin: Float | None = None) -> ShapeSpace:
    """Fit components to people, (N, V, 3) and (N, 55, 3).

    The components are orthogonal over the whole population and scaled to its standard deviations, but betas of zero
    are the mean of `origin` (surfaces of other people, as adults), or the population's without. Joints follow by linear
    least squares on the betas, so that they are exactly linear.
    """
    count = len(vertices)
    flat = vertices.reshape(count, -1)
    mean = flat.mean(0)
    centred = flat - mean
    values, vectors = np.linalg.eigh(centred @ centred.T)
    best = np.argsort(values)[::-1][:num_components]
    # rows of `directions` are unit vectors; a standard deviation along each is sqrt(eigenvalue / (N - 1))
    directions = (centred.T @ vectors[:, best] / np.sqrt(values[best])).T
    sigma = np.sqrt(values[best] / (count - 1))
    # a sign that means something and never flips between bakes: a positive beta makes people larger
    height = directions.reshape(num_components, -1, 3)[:, :, 1]
    signs = np.sign((height * (mean.reshape(-1, 3)[:, 1] - mean.reshape(-1, 3)[:, 1].mean())).sum(1))
    basis = (signs * sigma)[:, None] * directions
    betas = centred @ directions.T * signs / sigma
    if origin is not None:
        shift = (origin.reshape(len(origin), -1).mean(0) - mean) @ directions.T * signs / sigma
        mean = mean + shift @ basis
        betas = betas - shift
    design = np.concatenate([np.ones((count, 1)), betas], axis=1)
    solution = np.linalg.lstsq(design, joints.reshape(count, -1), rcond=None)[0]
    # the pelvis is the same for all by construction; keep it exactly so
    solution[1:, :3] = 0.0
    return ShapeSpace(
        v_template=mean.reshape(-1, 3),
        shapedirs=basis.T.reshape(-1, 3, num_components),
        J_template=solution[0].reshape(-1, 3),
        J_shapedirs=solution[1:].T.reshape(-1, 3, num_components),
    )
