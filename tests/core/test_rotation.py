"""Rotations against scipy's, at every angle, and their derivatives."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from pantomime.core.rotation import exp_so3, log_so3


def rotvecs(dtype: torch.dtype) -> torch.Tensor:
    """Axis-angles with angles from 1e-12 to π - 1e-12, and exact half turns about the axes."""
    generator = torch.Generator().manual_seed(3)
    axes = torch.nn.functional.normalize(torch.randn(3000, 3, generator=generator, dtype=torch.float64), dim=-1)
    tiny = torch.logspace(-12, 0, 1000, dtype=torch.float64)
    angles = torch.cat([torch.rand(1000, generator=generator, dtype=torch.float64) * np.pi, tiny, np.pi - 0.1 * tiny])
    return torch.cat([axes * angles[:, None], np.pi * torch.eye(3, dtype=torch.float64)]).to(dtype)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_exponential_and_logarithm_agree_with_scipy_at_every_angle(dtype: torch.dtype, close: float) -> None:
    given = rotvecs(dtype)
    matrices = exp_so3(given)
    truth = Rotation.from_rotvec(given.double().numpy())
    assert float((matrices.double() - torch.from_numpy(truth.as_matrix())).abs().max()) < close
    back = log_so3(matrices)
    assert float(back.norm(dim=-1).max()) <= np.pi + close
    # At half a turn the axis may point either way, so the rotation is compared.
    apart = (Rotation.from_rotvec(back.double().numpy()).inv() * truth).magnitude()
    assert apart.max() < 3 * close
    short = given[:2000].norm(dim=-1) < 3.0
    assert float((back[:2000] - given[:2000])[short].abs().max()) < 3 * close


def test_a_small_turn_keeps_its_digits() -> None:
    tiny = torch.tensor([1e-9, -2e-9, 3e-9])
    torch.testing.assert_close(log_so3(exp_so3(tiny)), tiny, rtol=1e-5, atol=0)


def test_both_have_derivatives_even_without_a_turn() -> None:
    zero = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    some = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert torch.autograd.gradcheck(exp_so3, zero)
    assert torch.autograd.gradcheck(exp_so3, some)
    assert torch.autograd.gradcheck(lambda w: log_so3(exp_so3(w)), some)
    (gradient,) = torch.autograd.grad(log_so3(exp_so3(zero)).sum(), zero)
    torch.testing.assert_close(gradient, torch.ones(3, dtype=torch.float64))


def test_any_batch_shape_will_do() -> None:
    for shape in ((), (1,), (2, 5), (0,)):
        assert exp_so3(torch.zeros(*shape, 3)).shape == (*shape, 3, 3)
        assert log_so3(torch.eye(3).expand(*shape, 3, 3)).shape == (*shape, 3)


def test_the_solver_starts_without_the_slow_parts_of_its_packages() -> None:
    """A worker's cold start is mostly imports: torch's compiler and plotting would double it."""
    code = (
        "import sys\n"
        "from pantomime.core.detection import detector\n"
        "from pantomime.core.fitting import photo\n"
        "print([m for m in ('torch._dynamo', 'sympy', 'matplotlib.pyplot', 'scipy', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
