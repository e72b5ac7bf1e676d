"""What the free body wears: its edges, what it covers, and files of it that are not right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.bake_garment import learn_garment
from pantomime.core.body.garment import GARMENT_PATH, GarmentError, read_garment
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX


def test_no_face_is_cut_by_the_edge(body: BodyModel) -> None:
    corners = read_garment(body)[body.quads]
    # So solid shading, which colours whole faces, shows the edge that renders and exports cut.
    assert not ((corners > 0).any(axis=1) & (corners < 0).any(axis=1)).any()


def test_it_covers_chest_and_hips_and_no_more(body: BodyModel) -> None:
    field, points, joints = read_garment(body), body.v_template, body.J_template
    trunk = np.isin(body.weights.argmax(axis=1), [JOINT_INDEX[n] for n in ("spine2", "spine3", "pelvis")])
    armpit = joints[JOINT_INDEX["left_shoulder"], 1] - 0.1
    chest = trunk & (points[:, 1] > joints[JOINT_INDEX["spine2"], 1] + 0.05) & (points[:, 1] < armpit - 0.03)
    front = chest & (points[:, 2] > 0.05)
    assert front.sum() > 100 and (field[front] > 0).all()
    hips = np.abs(points[:, 1] - joints[JOINT_INDEX["left_hip"], 1]) < 0.06
    hips &= np.abs(points[:, 0]) < 0.25
    assert hips.sum() > 100 and (field[hips] >= 0).all()
    for bare in ("left_hand", "right_hand", "lips", "head"):
        assert (field[body.vertex_groups[bare]] < 0).all()
    assert (field[np.abs(points[:, 0]) > joints[JOINT_INDEX["left_elbow"], 0]] < 0).all()
    assert (field[points[:, 1] < joints[JOINT_INDEX["left_knee"], 1]] < 0).all()


def test_left_and_right_are_alike(body: BodyModel) -> None:
    field, points = read_garment(body), body.v_template
    mirrored = points * np.array([-1.0, 1.0, 1.0], np.float32)
    near = np.flatnonzero(np.abs(field) < 0.02)
    other = np.array([np.linalg.norm(points - mirrored[v], axis=1).argmin() for v in near])
    assert np.abs(field[near] - field[other]).max() < 0.003


def test_the_file_is_what_is_learned(body: BodyModel) -> None:
    np.testing.assert_allclose(read_garment(body), learn_garment(body), atol=1e-4)


@pytest.mark.parametrize("kind", ["missing", "cut", "other"])
def test_a_file_that_is_not_right_is_named_in_a_sentence(body: BodyModel, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "free_garment.npz"
    if kind == "cut":
        path.write_bytes(GARMENT_PATH.read_bytes()[:600])
    if kind == "other":
        np.savez(path, field=np.zeros(5, np.float16))
    with pytest.raises(GarmentError, match=r"free_garment.npz is .*Install Pantomime again\."):
        read_garment(body, path)
