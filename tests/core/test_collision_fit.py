"""Fits with the last stage, which keeps parts apart, against fits without it; judged on the mesh."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pantomime.core.bench_collision import posed
from pantomime.core.bench_contacts import FOCAL_PX, RECIPES, ContactMaker, Example, without_collision
from pantomime.core.body.bake_poses import read_poses
from pantomime.core.body.model import BodyModel
from pantomime.core.fitting.collision import Collision
from pantomime.core.fitting.kinematics import Skeleton
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.priors.intersection import Judge

CAMERA = PhotoCamera(FOCAL_PX, "given")


@pytest.fixture(scope="module")
def judge(body: BodyModel) -> Judge:
    return Judge(body)


@pytest.fixture(scope="module")
def maker(body: BodyModel, judge: Judge) -> ContactMaker:
    return ContactMaker(body, Collision.of(body, Skeleton.of(body, torch.float64, "cpu")), judge)


def captured(maker: ContactMaker, index: int) -> Example:
    return maker.captured(read_poses("test")[index], np.random.default_rng(index))


def test_hands_come_out_of_thighs_and_arms_out_of_the_torso(body: BodyModel, judge: Judge, maker: ContactMaker) -> None:
    with_it, without = Fitter(body), Fitter(body, without_collision(FitSettings()))
    before, after, farther = [], [], []
    for index in (0, 32, 40):  # sitting; hands lie in the thighs of the captured pose
        example = captured(maker, index)
        first, second = without.fit(example.observation, CAMERA), with_it.fit(example.observation, CAMERA)
        before.append(sum(judge.volume(posed(body, first)).values()))
        after.append(sum(judge.volume(posed(body, second)).values()))
        # the shape is what the points say, not what keeps parts apart
        np.testing.assert_array_equal(first.betas, second.betas)
        distances = [capture.diagnostics["residual_px"]["pose33"] for capture in (first, second)]  # type: ignore[index]
        farther.append(distances[1] - distances[0])
    assert np.mean(farther) < 3  # px: the points say that the hands are inside, so some distance is the price
    assert sum(before) > 100e-6
    assert sum(after) < 0.2 * sum(before)


def test_hands_on_thighs_lie_on_them(body: BodyModel, judge: Judge, maker: ContactMaker) -> None:
    recipe = next(r for r in RECIPES if r.name == "sitting, hands on thighs")
    with_it, without = Fitter(body), Fitter(body, without_collision(FitSettings()))
    before, after = 0.0, 0.0
    for seed in range(4):
        example = maker.made(recipe, np.random.default_rng(seed))
        before += sum(judge.volume(posed(body, without.fit(example.observation, CAMERA))).values())
        after += sum(judge.volume(posed(body, with_it.fit(example.observation, CAMERA))).values())
    assert before > 100e-6
    assert after < 0.2 * before


def test_a_pose_in_which_nothing_overlaps_is_left_as_it_is(body: BodyModel, maker: ContactMaker) -> None:
    pose = np.tile(np.eye(3), (55, 1, 1))  # the T-pose
    example = maker.captured(pose, np.random.default_rng(0))
    settings = replace(FitSettings(), collision_sigma_m=0.001)
    one = Fitter(body, settings).fit(example.observation, CAMERA)
    other = Fitter(body, without_collision(settings)).fit(example.observation, CAMERA)
    np.testing.assert_array_equal(one.full_pose(), other.full_pose())


def test_a_made_contact_is_contact_on_the_mesh(judge: Judge, maker: ContactMaker) -> None:
    with torch.inference_mode():
        example = maker.made(next(r for r in RECIPES if r.name == "sitting, hands on thighs"), np.random.default_rng(2))
    assert len(example.contacts) >= 1
    for contact in example.contacts:
        assert judge.gap(example.vertices, contact.first, contact.second) < 0.004
    again = maker.made(next(r for r in RECIPES if r.name == "sitting, hands on thighs"), np.random.default_rng(2))
    np.testing.assert_allclose(again.vertices, example.vertices, atol=1e-9)
