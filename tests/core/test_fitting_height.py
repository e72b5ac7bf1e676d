"""A known height: the measure, its residual, and fits that keep to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pantomime.core.body.load import load_body
from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.height import KnownHeight, StandingHeight
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter, PhotoCamera
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState
from pantomime.core.rotation import exp_so3

FOCAL_PX, SIZE = 600.0, (512, 512)


@pytest.fixture(scope="module")
def free() -> BodyModel:
    return load_body()


def measured(body: BodyModel, betas: np.ndarray) -> float:
    y = (body.v_template[:, 1] + body.shapedirs[:, 1] @ betas)[np.unique(body.faces)]
    return float(np.ptp(y))


def test_the_height_is_that_of_the_whole_surface(free: BodyModel) -> None:
    standing = StandingHeight.of(free, torch.float64, "cpu")
    betas = np.random.default_rng(5).normal(size=(20, free.num_betas))
    heights, _ = standing.measure(torch.as_tensor(betas))
    expected = [measured(free, row) for row in betas]
    np.testing.assert_allclose(heights.numpy(), expected, atol=5e-4)
    assert len(standing.top) + len(standing.bottom) < 120


def test_the_residuals_derivative_is_right(free: BodyModel) -> None:
    known = KnownHeight(StandingHeight.of(free, torch.float64, "cpu"), 1.72, 0.001)
    betas = torch.as_tensor(np.random.default_rng(6).normal(size=(3, free.num_betas)))
    _, by_betas = known.residual(betas)
    step = 1e-6
    for k in range(free.num_betas):
        ahead, behind = betas.clone(), betas.clone()
        ahead[:, k] += step
        behind[:, k] -= step
        numeric = (known.residual(ahead)[0] - known.residual(behind)[0]) / (2 * step)
        torch.testing.assert_close(by_betas[:, k], numeric, atol=1e-3, rtol=1e-6)


@pytest.mark.parametrize("height_m", [1.5, 1.75, 1.95])
def test_a_known_height_is_kept_and_the_overlay_with_it(free: BodyModel, height_m: float) -> None:
    observation = someone(free)
    fitter = Fitter(free)
    plain = fitter.fit(observation)
    capture = fitter.fit(observation, height_m=height_m)
    assert abs(measured(free, capture.betas) - height_m) < 0.005
    assert np.abs(pixels(capture) - pixels(plain)).max() < 0.01 * np.ptp(observation.box_px[1::2])


def test_a_height_fixes_the_distance(free: BodyModel) -> None:
    observation, camera = someone(free), PhotoCamera(FOCAL_PX, "given")
    fitter = Fitter(free)
    small, tall = (fitter.fit(observation, camera, height_m=height).joints[0, 0, 2] for height in (1.5, 1.8))
    assert abs(tall / small - 1.8 / 1.5) < 0.03


def someone(body: BodyModel) -> Observation:
    """A standing person of the mean shape, arms a little down, 3 m away."""
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    rotmats = exp_so3(relaxed_pose())[None]
    rotmats[0, 0] = exp_so3(torch.tensor([np.pi, 0.0, 0.0], dtype=torch.float64))
    state = BodyState(
        rotmats,
        torch.tensor([[0.0, 0.3, 3.0]], dtype=torch.float64),
        torch.tensor([np.log(FOCAL_PX)]),
        torch.zeros(1, body.num_betas, dtype=torch.float64),
        torch.zeros(1, body.num_expressions, dtype=torch.float64),
    )
    table = PointTable.of(skeleton, body.virtual_points(body.points["pose33"]), (0,))
    place = table.positions(pose_chain(skeleton, state))[0].numpy()
    seen = (FOCAL_PX * place[:, :2] / place[:, 2:] + np.array(SIZE) / 2).astype(np.float32)
    hint = (place - place.mean(0)).astype(np.float32)
    box = np.concatenate([seen.min(0), seen.max(0)])
    points = {"pose33": Points(seen, np.ones(len(seen), np.float32), hint)}
    return Observation(SIZE, box, 1.0, points, source="synthetic")


def pixels(capture: Capture) -> np.ndarray:
    joints = capture.joints[0, :22]
    return capture.focal_px * joints[:, :2] / joints[:, 2:] + capture.principal_px
