"""What ties frames of a clip to each other: block bands, second differences, wrenches; against dense sums and finite
differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pantomime.core.body.model import BodyModel
from pantomime.core.fitting.banded import Bands, factorise
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.quality import clip_settings
from pantomime.core.fitting.state import BodyState, retract
from pantomime.core.fitting.video_parts import ClipParts, Standing, point_scales
from pantomime.core.fitting.video_settings import VideoSettings
from pantomime.core.fitting.video_shape import ClipShape
from pantomime.core.fitting.video_smooth import second_difference, turn_acceleration
from pantomime.core.rotation import exp_so3
from pantomime.tests.core.walking import FOCAL_PX, SIZE, see, walk

# --- block bands ------------------------------------------------------------------------------------------------------


def random_bands(frames: int, size: int) -> Bands:
    random = torch.Generator().manual_seed(frames)
    rows = torch.randn(6 * frames, frames * size, generator=random, dtype=torch.float64)
    for row in range(len(rows)):
        first = (row % max(1, frames - 2)) * size
        rows[row, :first] = 0
        rows[row, first + 3 * size :] = 0
    dense = (rows.T @ rows + torch.eye(frames * size)).reshape(frames, size, frames, size)
    bands = Bands.zeros(dense, frames, size)
    for t in range(frames):
        for apart, band in enumerate((bands.main, bands.next, bands.after)):
            if t + apart < frames:
                band[t] = dense[t, :, t + apart]
    return bands


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7, 10])
def test_block_cholesky_solves_and_inverts_as_the_dense_one(frames: int) -> None:
    size = 3
    bands = random_bands(frames, size)
    dense = bands.to_dense()
    right = torch.randn(frames, size, dtype=torch.float64)
    damping = torch.rand(frames, size, dtype=torch.float64)
    for extra in (None, damping):
        matrix = dense if extra is None else dense + torch.diag(extra.flatten())
        factor = factorise(bands, extra)
        assert factor is not None
        expected = torch.linalg.solve(matrix, right.flatten()).reshape(frames, size)
        torch.testing.assert_close(factor.solve(right), expected)
        inverse = torch.linalg.inv(matrix).reshape(frames, size, frames, size)
        blocks = torch.stack([inverse[t, :, t] for t in range(frames)])
        torch.testing.assert_close(factor.covariance(), blocks)


def test_what_is_not_positive_definite_is_refused() -> None:
    bands = random_bands(4, 2)
    bands.main[2] -= 1e3 * torch.eye(2)
    assert factorise(bands) is None


# --- what ties frames -------------------------------------------------------------------------------------------------


def test_second_differences_are_exact_for_parabolas_at_uneven_times() -> None:
    time_s = torch.tensor([0.0, 0.1, 0.13, 0.4, 0.5], dtype=torch.float64)
    x = 3 - 2 * time_s + 5 * time_s**2
    c = second_difference(time_s)
    torch.testing.assert_close(c[:, 0] * x[:-2] + c[:, 1] * x[1:-1] + c[:, 2] * x[2:], torch.full((3,), 10.0).double())


def test_a_trunk_is_smoother_across_than_up_and_hands_are_not() -> None:
    settings = VideoSettings()
    up = np.array([0.0, -0.8, 0.6], np.float32)
    across = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]], np.float32)
    scales = dict(zip(settings.position_sigma, point_scales(settings, up), strict=True))
    for name, sigma in settings.position_sigma.items():
        level = settings.level_sigma.get(name, sigma)
        np.testing.assert_allclose(scales[name] @ up, up / sigma, atol=1e-6)
        np.testing.assert_allclose(across @ scales[name], across / level, atol=1e-6)
    assert (
        settings.level_sigma["pelvis"] < settings.position_sigma["pelvis"] and "left_wrist" not in settings.level_sigma
    )


def test_even_turning_has_no_acceleration_and_its_jacobian_is_right() -> None:
    time_s = torch.tensor([0.0, 0.1, 0.25, 0.3], dtype=torch.float64)
    axis = torch.tensor([0.4, -1.0, 0.7], dtype=torch.float64)
    even = exp_so3(time_s[:, None, None] * axis)
    assert float(turn_acceleration(even, time_s)[0].abs().max()) < 1e-9
    random = torch.Generator().manual_seed(0)
    rotmats = exp_so3(0.6 * torch.randn(4, 2, 3, generator=random, dtype=torch.float64))
    value, jacobian = turn_acceleration(rotmats, time_s)
    h = 1e-6
    for k in range(3):
        for axis_index in range(3):
            step = torch.zeros(3, dtype=torch.float64)
            step[axis_index] = h
            for inner in range(2):
                there, back = rotmats.clone(), rotmats.clone()
                there[inner + k] = there[inner + k] @ exp_so3(step)
                back[inner + k] = back[inner + k] @ exp_so3(-step)
                slope = (turn_acceleration(there, time_s)[0] - turn_acceleration(back, time_s)[0])[inner] / (2 * h)
                torch.testing.assert_close(jacobian[inner, k, :, :, axis_index], slope, atol=1e-4, rtol=1e-5)
    assert value.shape == (2, 2, 3)


@pytest.mark.parametrize("part", ["body", "left_hand", "face"])
@pytest.mark.parametrize("turning", [False, True])
def test_the_bands_of_a_window_are_the_derivative_of_its_cost(body: BodyModel, part: str, turning: bool) -> None:
    """In float64 and without robust kernels, whose weights are held in a step: gradient against finite differences, and
    the curvature of the cost along a direction against the bands where residuals are small."""
    exact = Fitter(body, clip_settings(), dtype=torch.float64)
    parts = ClipParts(exact, replace(VideoSettings(), smooth_robust_width=float("inf")))
    truth = walk(body, 6)
    seen = see(body, truth, noise_px=0.5)
    seen = replace(seen, shot=np.array([0, 0, 0, 0, 0, 1]))
    shape = ClipShape(np.zeros(body.num_betas, np.float32), FOCAL_PX, "given", (SIZE[0] / 2, SIZE[1] / 2))
    on = np.ones((6, 4), np.float32)
    standing = Standing(on, truth.up, truth.ground_m, on) if part == "body" else None
    turn = None
    if turning:
        turns = torch.linspace(0, 0.3, 6, dtype=torch.float64)[:, None] * torch.tensor([0.2, 1.0, 0.1])
        turn = exp_so3(turns).numpy()
    smooth = parts.smoothness(part, seen, standing, turn)
    problem = parts.problem(part, seen, shape, SIZE, float("inf"), None, parts.probes if part == "body" else None)
    random = torch.Generator().manual_seed(1)
    count = problem.unknowns.size
    state = truth.state
    if part == "face":
        state = replace(state, expression=torch.full_like(state.expression, 0.4))
    state = retract(state, 0.01 * torch.randn(6, count, generator=random).double(), problem.unknowns, False)

    def ties(at: BodyState) -> tuple[Tensor, Bands, Tensor]:
        _, probe = problem.linearise_with_probe(at)
        bands = Bands.zeros(at.transl, 6, count)
        gradient = at.transl.new_zeros(6, count)
        cost = smooth.add(at.rotmats, at.expression, probe, problem.unknowns.expression_at, bands, gradient)
        return cost, bands, gradient

    cost, bands, gradient = ties(state)
    assert float(cost) > 0
    for _ in range(4):
        step = torch.randn(6, count, generator=random).double()
        h = 1e-5
        ahead = ties(retract(state, h * step, problem.unknowns, False))[0]
        behind = ties(retract(state, -h * step, problem.unknowns, False))[0]
        slope = float((ahead - behind) / (2 * h))
        assert slope == pytest.approx(2 * float((gradient * step).sum()), rel=1e-4, abs=1e-3 * float(cost))
    # Gauss–Newton drops what the residuals' own curvature adds: that falls with the residuals.
    dense = bands.to_dense()
    assert float((dense - dense.T).abs().max()) < 1e-6 * float(dense.abs().max())
    assert float(torch.linalg.eigvalsh(dense).min()) > -1e-6 * float(dense.abs().max())


@torch.inference_mode()
@pytest.mark.parametrize("part", ["body", "left_hand"])
def test_wrenches_give_the_normal_equations_that_rows_give(body: BodyModel, part: str) -> None:
    exact = Fitter(body, clip_settings(), dtype=torch.float64)
    parts = ClipParts(exact, VideoSettings())
    truth = walk(body, 4)
    seen = see(body, truth, noise_px=2.0)
    shape = ClipShape(np.zeros(body.num_betas, np.float32), FOCAL_PX, "given", (SIZE[0] / 2, SIZE[1] / 2))
    regressed = parts.regressed(seen, shape)[0] if part == "body" else None
    probes = parts.probes if part == "body" else None
    problem = parts.problem(part, seen, shape, SIZE, 3.0, regressed, probes)
    random = torch.Generator().manual_seed(2)
    state = retract(
        truth.state, 0.1 * torch.randn(4, problem.unknowns.size, generator=random).double(), problem.unknowns, False
    )
    by_wrenches, probe = problem.linearise_with_probe(state)
    assert problem.tree is not None
    problem.tree = None
    by_rows, row_probe = problem.linearise_with_probe(state)
    for name in ("cost", "hessian", "gradient"):
        expected = getattr(by_rows, name)
        size = float(expected.abs().max())
        torch.testing.assert_close(getattr(by_wrenches, name), expected, rtol=1e-9, atol=1e-10 * size)
    torch.testing.assert_close(probe.rows, row_probe.rows)
    torch.testing.assert_close(probe.positions, row_probe.positions)
