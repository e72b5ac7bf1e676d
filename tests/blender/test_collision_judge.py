"""The exact measure of overlap finds the triangles that Blender's own trees find."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pantomime.core.body.bake_poses import read_poses
from pantomime.core.body.load import load_body
from pantomime.core.body.skinning import Body
from pantomime.core.priors.intersection import Judge


def test_crossing_faces_are_those_of_blenders_trees() -> None:
    bvhtree = pytest.importorskip("mathutils.bvhtree")
    body = load_body()
    judge, posed = Judge(body), Body(body, dtype=torch.float64)
    seen = 0
    for pose in read_poses("test")[[8, 48]]:
        vertices = posed.vertices(None, None, torch.as_tensor(pose)).numpy()
        corners = vertices[judge.faces]
        tree = bvhtree.BVHTree.FromPolygons(vertices.tolist(), judge.faces.tolist(), all_triangles=True)
        pairs = np.array([pair for pair in tree.overlap(tree) if pair[0] < pair[1]]).reshape(-1, 2)
        pairs = pairs[judge.counts(pairs[:, 0], pairs[:, 1])]
        expected = {tuple(pair) for pair in pairs}
        found = {tuple(sorted(pair)) for pair in np.stack(judge.crossing_faces(corners), 1).tolist()}
        # Blender works in single precision: pairs that only graze may differ.
        assert len(found ^ expected) <= 0.02 * len(expected)
        seen += len(expected)
    assert seen > 200
