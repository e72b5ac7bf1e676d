"""`pantomime bake-body --garment`: what the free body wears, with edges that run along edges of its mesh.

A band around the chest and shorts, roughly where heights and weights say, and exactly where the sum of the lengths of
their edges is least: a minimum cut between what is surely inside and what is surely outside (Boykov and Jolly,
"Interactive graph cuts", ICCV 2001). Straight courses of edges are shorter than steps across them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .garment import GARMENT_PATH
from .load import read_free_body
from .model import BodyModel
from .points_file import write_npz
from .skeleton import ARMS, JOINT_INDEX

Floats = NDArray[np.float64]

_SURE_M = 0.03  # from the rough edge on, what is inside or outside stays so
_PULL_PER_M = 20.0  # metres of edge that a square metre is worth, for each metre that it lies off the rough edge
_FAR_M = 0.05  # the field stays as it is beyond


def learn_garment(body: BodyModel) -> NDArray[np.float32]:
    """The field (V,) of `garment.read_garment`."""
    from scipy.spatial import cKDTree

    inside = _cut(body, rough(body))
    edges, sides = _edges(body.quads)
    border = np.unique(edges[inside[sides[:, 0]] != inside[sides[:, 1]]])
    points = body.v_template.astype(np.float64)
    apart, _ = cKDTree(points[border]).query(points)
    within = np.zeros(body.num_vertices, np.bool_)
    within[body.quads[inside].ravel()] = True
    field: NDArray[np.float32] = (np.where(within, 1.0, -1.0) * np.minimum(apart, _FAR_M)).astype(np.float32)
    return field


def rough(body: BodyModel) -> Floats:
    """(V,) about metres inside (positive) or outside of a band around the chest, or of shorts."""
    height, joint = body.v_template[:, 1].astype(np.float64), body.J_template[:, 1].astype(np.float64)

    def of(name: str) -> float:
        return float(joint[JOINT_INDEX[name]])

    off_arms = 0.2 * (0.5 - body.weights[:, ARMS].sum(axis=1).astype(np.float64))
    shoulder, spine2, spine3 = of("left_shoulder"), of("spine2"), of("spine3")
    waist = 0.5 * (of("spine1") + of("pelvis")) + 0.03
    band = np.minimum(height - spine2 - 0.1 * (spine3 - spine2), shoulder - 0.085 - height)
    shorts = np.minimum(height - of("left_hip") + 0.32 * (of("left_hip") - of("left_knee")), waist - height)
    return np.minimum(off_arms, np.maximum(band, shorts))


def _edges(quads: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges (E, 2) between two faces, as vertices, and those faces (E, 2)."""
    corners = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2).astype(np.int64)
    face = np.repeat(np.arange(len(quads)), quads.shape[1])
    corners.sort(axis=1)
    order = np.lexsort(corners.T)
    corners, face = corners[order], face[order]
    first = np.flatnonzero((corners[1:] == corners[:-1]).all(axis=1))
    return corners[first], np.stack([face[first], face[first + 1]], axis=1)


def _cut(body: BodyModel, field: Floats) -> NDArray[np.bool_]:
    """The faces (Q,) inside."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    points, quads = body.v_template.astype(np.float64), body.quads
    edges, sides = _edges(quads)
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    a, b, c, d = (points[quads[:, k]] for k in range(4))
    area = 0.5 * np.linalg.norm(np.cross(c - a, d - b), axis=1)
    middle = field[quads].mean(axis=1)
    pull = np.where(np.abs(middle) > _SURE_M, np.sign(middle), _PULL_PER_M * middle * area)
    count = len(quads)
    source, sink, faces = count, count + 1, np.arange(count)
    start = np.concatenate([sides[:, 0], sides[:, 1], np.full(count, source), faces])
    end = np.concatenate([sides[:, 1], sides[:, 0], faces, np.full(count, sink)])
    worth = np.concatenate([length, length, np.maximum(pull, 0.0), np.maximum(-pull, 0.0)])
    capacity = coo_matrix(((1e7 * worth).astype(np.int32), (start, end)), shape=(count + 2, count + 2)).tocsr()
    rest = capacity - maximum_flow(capacity, source, sink).flow
    rest.data[rest.data < 0] = 0
    rest.eliminate_zeros()
    inside = np.zeros(count + 2, np.bool_)
    inside[breadth_first_order(rest, source, return_predecessors=False)] = True
    return inside[:count]


def run(body_path: Path) -> int:
    """Cut the garment of the body in a file and write it beside it; the exit status."""
    path = body_path.with_name(GARMENT_PATH.name)
    try:
        field = learn_garment(read_free_body(body_path, None))
        write_npz(path, {"field": field.astype(np.float16)})
    except OSError as error:
        print(f"Can't write {path}: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {int((field > 0).sum())} vertices covered")
    return 0
