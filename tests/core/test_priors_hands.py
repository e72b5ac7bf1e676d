"""The prior on fingers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pantomime.core.body.load import load_body
from pantomime.core.body.skeleton import FINGERS, JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from pantomime.core.priors.errors import PriorError
from pantomime.core.priors.hands import finger_angles, fit_hands, load_hand_prior
from pantomime.core.rotation import exp_so3


def recorded_hand(bend: dict[str, tuple[float, float, float]], right: bool) -> np.ndarray:  # type: ignore[type-arg]
    """(21, 3) mm: a hand with its fingers along −z (right: thumb at −x), palm down, bent at knuckle, middle, end."""
    side = 1.0 if right else -1.0
    points = [np.zeros(3)]
    bases = {"thumb": -40.0, "index": -25.0, "middle": -8.0, "ring": 8.0, "pinky": 25.0}
    for finger, x in bases.items():
        place = np.array([side * x, 0.0, -20.0 if finger == "thumb" else -50.0])
        points.append(place)
        angle = 0.0
        for turn in np.radians(bend.get(finger, (0, 0, 0))):
            angle += turn
            place = place + 30.0 * np.array([0.0, -np.sin(angle), -np.cos(angle)])
            points.append(place)
    return np.array(points)


@pytest.mark.parametrize("right", [False, True])
def test_angles_of_a_recorded_hand_are_those_that_it_was_bent_by(right: bool) -> None:
    bend = {"index": (30.0, 40.0, 40.0), "pinky": (10.0, 60.0, 60.0), "thumb": (0.0, 15.0, 25.0)}
    angles = np.degrees(finger_angles(recorded_hand(bend, right)[None], np.array([right])))[0]
    index, pinky, thumb = (angles[FINGERS.index(name)] for name in ("index", "pinky", "thumb"))
    np.testing.assert_allclose(index, [30, 0, 40, 80 / 3], atol=1e-4)
    np.testing.assert_allclose(pinky, [10, 0, 60, 40], atol=1e-4)
    np.testing.assert_allclose(thumb, [0, 0, 15, 25], atol=1e-4)


@pytest.mark.parametrize("right", [False, True])
def test_a_relaxed_hand_is_the_likeliest_and_backward_fingers_are_not(right: bool) -> None:
    body = load_body()
    mean = body.hands_mean[int(right)]
    prior = load_hand_prior(right, body.J_template, mean, torch.float64)
    side = RIGHT_HAND if right else LEFT_HAND
    assert prior.joints == tuple(range(side.start, side.stop))

    def energy(vectors: np.ndarray) -> float:  # type: ignore[type-arg]
        return float((prior.residual(exp_so3(torch.as_tensor(vectors).double().reshape(1, 15, 3)))[0] ** 2).sum())

    assert energy(mean) < 1e-6
    # All fingers curl together more easily than every second one alone, and far more easily than sideways.
    sign = 1.0 if right else -1.0
    together, mixed, twisted = (mean.reshape(15, 3).copy() for _ in range(3))
    for k in range(12):
        together[k, 2] += sign * 0.5
        mixed[k, 2] += sign * (0.5 if (k // 3) % 2 else -0.5)
        twisted[k, 0] += 0.5
    assert energy(together) < 0.75 * energy(mixed) < 0.2 * energy(twisted)


def test_jacobian_of_the_hand_prior_equals_finite_differences() -> None:
    prior = load_hand_prior(False, load_body().J_template, None, torch.float64)
    generator = torch.Generator().manual_seed(0)
    rotmats = exp_so3(torch.randn(2, 15, 3, generator=generator, dtype=torch.float64) * 0.6)
    jacobian = prior.residual(rotmats)[1]
    for joint in range(15):
        tangent = torch.zeros(2, 15, 3, dtype=torch.float64)
        tangent[:, joint, 1] = 1e-6
        change = prior.residual(rotmats @ exp_so3(tangent))[0] - prior.residual(rotmats @ exp_so3(-tangent))[0]
        torch.testing.assert_close(jacobian[:, :, 3 * joint + 1], change / 2e-6, atol=1e-5, rtol=1e-5)


def test_the_two_hands_have_mirrored_priors() -> None:
    left, right = (load_hand_prior(side, load_body().J_template, None, torch.float64) for side in (False, True))
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(5, 15, 3, generator=generator, dtype=torch.float64) * 0.4
    mirror = vectors * torch.tensor([1.0, -1.0, -1.0])
    energies = [(p.residual(exp_so3(v))[0] ** 2).sum(1) for p, v in ((left, vectors), (right, mirror))]
    torch.testing.assert_close(energies[0], energies[1], rtol=2e-3, atol=1e-3)


def test_fitting_leaves_out_unsure_samples_and_the_unreliable_recording(tmp_path: Path) -> None:
    folder = tmp_path / "hands_leap"
    folder.mkdir()
    hands = np.stack([recorded_hand({"index": (0, bend, bend)}, True) for bend in np.linspace(0, 60, 12)])
    wild = np.random.default_rng(0).normal(size=hands.shape) * 100
    for name, confidence in (("grab", 0.9), ("brian", 0.9)):
        np.savez(
            folder / f"{name}.npz",
            joints_mm=np.concatenate([hands if name == "grab" else wild, wild]).astype(np.float32),
            confidence=np.array([confidence] * 12 + [0.1] * 12, np.float32),
            side=np.ones(24, np.int8),
        )
    path = fit_hands(tmp_path, tmp_path / "out" / "hands.npz")
    spread = np.degrees(np.sqrt(np.diag(np.load(path)["covariance"]))).reshape(5, 4)
    index, ring = spread[FINGERS.index("index")], spread[FINGERS.index("ring")]
    assert 22 < index[2] < 45 and index[2] != pytest.approx(ring[2], abs=0.1)
    with pytest.raises(PriorError, match="hands_leap"):
        fit_hands(tmp_path / "nowhere")
    with pytest.raises(PriorError, match="missing"):
        load_hand_prior(True, path=tmp_path / "none.npz")
    assert JOINT_INDEX["left_index1"] == LEFT_HAND.start
