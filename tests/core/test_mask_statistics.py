"""What a mask tells the regressor: how far it reaches each way, and which points lie outside of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import pantomime.core.body as body_package
from pantomime.core.body.load import load_body
from pantomime.core.body.skinning import Body
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.detection.vocabulary import POSE33
from pantomime.core.priors.mask_statistics import (
    LIMBS,
    MASK_FEATURES,
    MOST_OUTSIDE,
    NUM_WAYS,
    WAYS,
    mask_features,
    mirror_mask,
    seen_mask,
)
from pantomime.core.priors.mocap import PoseSet
from pantomime.core.priors.regressor import NUM_BODY, load_regressor
from pantomime.core.priors.regressor_input import POINTS, collect, frame
from pantomime.core.priors.view_settings import ViewSettings
from pantomime.core.priors.views import ViewMaker
from pantomime.core.rotation import exp_so3

SIZE, FOCAL_PX, PRINCIPAL_PX = (600, 400), 3000.0, (300.0, 200.0)
CENTRE, RADII = np.array([280.0, 190.0]), np.array([90.0, 150.0])


def person_with_mask(cut_below_px: float = 1e9, size: tuple[int, int] = SIZE) -> Observation:
    """Points of no meaning inside of an ellipse, which is the mask, and a right wrist beside it."""
    rng = np.random.default_rng(2)
    angle, far = rng.uniform(0, 2 * np.pi, 33), rng.uniform(0, 0.8, 33)
    pixels = CENTRE + RADII * far[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    pixels[POSE33.index("nose")] = CENTRE - (0, RADII[1])
    pixels[POSE33.index("left_heel")] = CENTRE + (0, RADII[1])
    pixels[POSE33.index("right_wrist")] = CENTRE + (RADII[0] + 45, 0)
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    inside = (((x - CENTRE[0]) / RADII[0]) ** 2 + ((y - CENTRE[1]) / RADII[1]) ** 2 < 1) & (y < cut_below_px)
    points = Points(pixels.astype(np.float32), np.ones(33, np.float32))
    box = np.array([0, 0, *size], np.float32)
    return Observation(size, box, 1.0, {"pose33": points}, (255 * inside).astype(np.uint8), box)


def features(observation: Observation) -> NDArray[np.float64]:
    mask = seen_mask(observation)
    assert mask is not None
    pixels, trust = (torch.as_tensor(part) for part in collect(observation))
    framing = frame((pixels - torch.tensor(PRINCIPAL_PX))[None] / FOCAL_PX, trust[None])
    limbs = [POINTS.index(name) for name in LIMBS]
    return mask_features(mask, framing, pixels[limbs], trust[limbs], FOCAL_PX, PRINCIPAL_PX)[0].numpy()


def test_reach_and_distance_are_those_of_an_ellipse() -> None:
    told = features(person_with_mask())
    # The support function of an ellipse; its points span its height, 1 is half of that. Where the box's middle is does
    # not matter to opposite ways together.
    true = np.linalg.norm(WAYS * RADII / RADII[1], axis=1)
    both = 0.5 * (told[: NUM_WAYS // 2] + told[NUM_WAYS // 2 : NUM_WAYS])
    np.testing.assert_allclose(both, true[: NUM_WAYS // 2], atol=0.02)
    assert told[NUM_WAYS : 2 * NUM_WAYS].all()
    outside = told[2 * NUM_WAYS : 2 * NUM_WAYS + len(LIMBS)]
    wrist = LIMBS.index("right_wrist")
    assert outside[wrist] * MOST_OUTSIDE == pytest.approx(45 / RADII[1], abs=0.04)
    assert np.delete(outside, wrist).max() < 0.02 / MOST_OUTSIDE


def test_what_the_pictures_edge_cuts_is_not_known() -> None:
    known = features(person_with_mask(size=(600, 250)))[NUM_WAYS : 2 * NUM_WAYS]
    assert not known[NUM_WAYS // 4]  # below
    assert known[3 * NUM_WAYS // 4]  # above


def test_mirrored_masks_have_mirrored_statistics() -> None:
    one = person_with_mask()
    width = one.image_size[0]
    order = [POSE33.index(_other(name)) for name in POSE33]
    seen = one.points["pose33"]
    pixels = seen.image_px[order] * np.array([-1, 1], np.float32) + np.array([width, 0], np.float32)
    assert one.mask is not None
    other = replace(one, points={"pose33": Points(pixels, seen.confidence)}, mask=one.mask[:, ::-1].copy())
    mirrored, told = mirror_mask(torch.as_tensor(features(one))[None])[0].numpy(), features(other)
    np.testing.assert_allclose(mirrored[: 2 * NUM_WAYS], told[: 2 * NUM_WAYS], atol=0.01)
    # Distances are from the middles of cells, a 64th of the box wide.
    np.testing.assert_allclose(mirrored[2 * NUM_WAYS :], told[2 * NUM_WAYS :], atol=0.05)


def _other(name: str) -> str:
    swap = {"left": "right", "right": "left"}
    return "_".join(swap.get(word, word) for word in name.split("_"))


def test_empty_or_missing_masks_tell_nothing() -> None:
    observation = person_with_mask()
    assert observation.mask is not None
    assert seen_mask(replace(observation, mask=np.zeros_like(observation.mask))) is None
    assert seen_mask(replace(observation, mask=None, mask_box_px=None)) is None
    assert load_regressor().predict(replace(observation, mask=None), FOCAL_PX, PRINCIPAL_PX) is not None


def test_balls_in_training_reach_as_far_as_the_bodys_surface() -> None:
    body = load_body()
    with np.load(Path(body_package.__file__).parent / "data" / "bench_poses.npz") as data:
        rotations = exp_so3(torch.as_tensor(data["poses"])).numpy().astype(np.float32)
        poses = PoseSet(
            rotations, data["subject"], data["action"], data["split"], data["split"], np.arange(len(rotations))
        )
    clear = ViewSettings(
        noise=1e-6, lost=0, limb_shift=0, cut=0, hidden_limb=0, hidden_point=0, no_hands=0, no_feet=0, no_face=0,
        dim_limb=0, dim_end=0, dim_point=0, misjudged=0, swap_all=0, swap_legs=0, swap_arms=0, focal_guessed=0, plain=0,
        masked=1, mask_lacks=0, mask_covered=0, mask_clothes=0, mask_hair=0, mask_noise=0, mask_spill=0,
        share=(0.3, 0.3), focal_mm=(135.0, 135.0), exact=0,
    )  # fmt: skip
    count = 40
    views = ViewMaker(body, poses, clear, seed=3).batch(count)
    told = views.features[:, -1 - MASK_FEATURES : -1].numpy()
    rotmats = torch.eye(3).repeat(count, 55, 1, 1)
    rotmats[:, :NUM_BODY] = views.rotmats
    posing = Body(body)
    vertices = posing.vertices(views.betas, None, rotmats, None).numpy()[..., :2]
    # From far off: the extent between opposite ways, over the points' box.
    points = views.features[:, : 2 * len(POINTS)].unflatten(1, (len(POINTS), 2)).numpy()
    true = (vertices @ WAYS.T).max(1)
    true = true[:, : NUM_WAYS // 2] + true[:, NUM_WAYS // 2 :]
    seen = told[:, :NUM_WAYS][:, : NUM_WAYS // 2] + told[:, :NUM_WAYS][:, NUM_WAYS // 2 :]
    scale = (seen / true).mean(1, keepdims=True)
    assert np.abs(seen - scale * true).mean() < 0.02
    assert told[:, NUM_WAYS : 2 * NUM_WAYS].all()
    # Points lie inside, or on the surface.
    assert float(told[:, 2 * NUM_WAYS : 2 * NUM_WAYS + len(LIMBS)].mean()) < 0.01
    assert (points @ WAYS.T).max(1).min() > 0
