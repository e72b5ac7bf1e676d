"""A part of the bake anew, against the file that ships. Skipped only where the package anny is missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("anny")

from pantomime.core.body.bake import BakeSettings, bake_hands, bone_tips, learning_people
from pantomime.core.body.bake_correctives import mirror_poses
from pantomime.core.body.bake_face import bake_expressions, shorten_lashes
from pantomime.core.body.bake_poses import read_poses
from pantomime.core.body.bake_rig import fold_weights, joints_of_heads, people_in_t_pose
from pantomime.core.body.bake_source import AnnySource, load_source
from pantomime.core.body.bake_surface import MATERIALS, bake_surface
from pantomime.core.body.bench import posed_pair, shape_distances
from pantomime.core.body.load import load_body


@pytest.fixture(scope="module")
def source() -> AnnySource:
    return shorten_lashes(load_source())


def test_mesh_weights_materials_and_expressions_are_baked_again_alike(source: AnnySource) -> None:
    body = load_body()
    weights = fold_weights(source)
    np.testing.assert_array_equal(source.quads, body.quads)
    np.testing.assert_array_equal(source.quad_uvs, body.quad_uvs)
    np.testing.assert_allclose(source.uv_coords, body.uv_coords, atol=1e-6)
    np.testing.assert_allclose(weights, body.weights, atol=1e-6)
    surface = bake_surface(source, weights)
    assert body.material_names == MATERIALS
    np.testing.assert_array_equal(surface.material_ids, body.material_ids)
    for name, group in surface.vertex_groups.items():
        np.testing.assert_array_equal(group, body.vertex_groups[name])
    expressions = bake_expressions(source, surface.vertex_groups)
    assert source.expression_names == body.expression_names
    np.testing.assert_allclose(expressions, body.exprdirs, atol=5e-6)


def test_the_shape_space_fits_the_people_that_it_was_learned_from(source: AnnySource) -> None:
    """The same people anew, on a tenth of the vertices: their betas are standardised, their joints follow linearly."""
    body, settings = load_body(), BakeSettings()
    some = np.arange(0, body.num_vertices, 10)
    blends = source.blendshapes.reshape(len(source.blendshapes), -1, 3)[:, some]
    part = replace(source, template=source.template[some], blendshapes=blends.reshape(len(blends), -1))
    people = learning_people(source, settings)
    vertices, joints, _ = people_in_t_pose(part, people, fold_weights(source)[some], settings.pose)
    basis = body.shapedirs[some].reshape(-1, body.num_betas).astype(np.float64)
    offsets = (vertices - body.v_template[some]).reshape(len(people), -1)
    betas = np.linalg.lstsq(basis, offsets.T, rcond=None)[0].T
    assert np.linalg.norm((offsets - betas @ basis.T).reshape(len(people), -1, 3), axis=2).mean() < 0.0005
    assert np.abs(betas[settings.num_people :].mean(0)).max() < 0.05  # adults are the middle
    np.testing.assert_allclose(np.cov(betas.T), np.eye(body.num_betas), atol=0.15)
    ours = body.J_template + np.einsum("nb,jib->nji", betas, body.J_shapedirs)
    assert np.linalg.norm(ours - joints, axis=2).mean() < 0.0005


def test_hands_are_baked_again_alike(source: AnnySource) -> None:
    body = load_body()
    means, components = bake_hands(body.J_template.astype(np.float64), bone_tips(source, BakeSettings()))
    np.testing.assert_allclose(means, body.hands_mean, atol=1e-4)
    np.testing.assert_allclose(components, body.hands_components, atol=1e-4)


def test_unseen_people_are_met_within_a_millimetre(source: AnnySource) -> None:
    for min_age in (0.0, 18.0):
        surface, joints = shape_distances(source, load_body(), 40, seed=11, min_age=min_age, title="")
        assert surface.values.mean() < 0.0006
        assert joints.values.mean() < 0.0006


def test_unseen_people_in_unseen_poses_are_met_within_two_millimetres(source: AnnySource) -> None:
    """Rigid folded bones without correctives, and spread twists with them; a mean of 2 mm, a 95th percentile of 6."""
    poses = read_poses("test")[::7]
    for spread_twist in (False, True):
        ours, theirs = posed_pair(source, load_body(), poses, 12, 0.0, spread_twist, correctives=spread_twist)
        distance = np.linalg.norm(ours - theirs, axis=2)
        assert distance.mean() < 0.002
        assert np.percentile(distance, 95) < 0.006


def test_inverse_skinning_takes_people_back_to_where_they_came_from(source: AnnySource) -> None:
    """Posing the T-pose surface by the way back gives anny's own rest surface."""
    weights = fold_weights(source)
    people = source.sample_people(3, seed=13)
    vertices, joints, to_t = people_in_t_pose(source, people, weights, BakeSettings().pose)
    rest = source.rest_vertices(people)
    back = np.swapaxes(to_t, -1, -2)
    for i in range(3):
        # each joint's part turns about its joint; where the joint goes is where anny has it
        anny_joints = joints_of_heads(source, source.rest_heads(people[i : i + 1]))[0]
        blend = np.einsum("vj,jab->vab", weights, back[i])
        shift = weights @ (anny_joints - np.einsum("jab,jb->ja", back[i], joints[i]))
        np.testing.assert_allclose(np.einsum("vab,vb->va", blend, vertices[i]) + shift, rest[i], atol=1e-9)


def test_people_of_all_ages_keep_their_height(source: AnnySource) -> None:
    """A baby stays under a metre and an adult does not shrink: the T-pose moves limbs, not their lengths."""
    import torch

    def person(age: float) -> np.ndarray:
        value = torch.tensor([age], dtype=torch.float64)
        return source.coefficients({"age": value, "gender": torch.zeros_like(value)})

    for age, low, high in ((-1 / 3, 0.4, 0.75), (0.0, 0.6, 1.0), (1 / 3, 1.0, 1.6), (2 / 3, 1.6, 2.0)):
        vertices, _, _ = people_in_t_pose(source, person(age), fold_weights(source), BakeSettings().pose)
        assert low < np.ptp(vertices[0, :, 1]) < high, age


def test_mirrored_poses_mirror_back() -> None:
    poses = read_poses("test")[:5]
    mirrored = mirror_poses(poses)
    np.testing.assert_allclose(mirror_poses(mirrored), poses, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(mirrored), 1.0, atol=1e-9)
    assert np.abs(mirrored - poses).max() > 0.1
