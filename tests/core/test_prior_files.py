"""Each file of data that a fit uses, missing or damaged: never a traceback, one sentence in the capture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import pantomime.core.priors as priors_package
from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture, CaptureError
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.quality import clip_settings
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState
from pantomime.core.priors import expressions, gaze_reader, hand_reader, hands, learned, pose, proxies_file, regressor
from pantomime.core.priors.errors import PriorError
from pantomime.core.priors.hands import load_hand_prior
from pantomime.core.priors.learned import best_pose_prior, read_learned
from pantomime.core.priors.weights import read_tensors, write_tensors
from pantomime.core.rotation import exp_so3

DATA = Path(priors_package.__file__).parent / "data"
FILES = {
    "gaussian_pose.npz": (pose, "GAUSSIAN_FILE"),
    "regressor.safetensors": (regressor, "REGRESSOR_FILE"),
    "free_proxies.npz": (proxies_file, "PROXIES_PATH"),
    "hands.npz": (hands, "HANDS_FILE"),
    "expressions.safetensors": (expressions, "EXPRESSION_FILE"),
    "gaze.safetensors": (gaze_reader, "GAZE_FILE"),
    "hand_reader.safetensors": (hand_reader, "HAND_READER_FILE"),
}
KINDS = ("missing", "empty", "cut", "scribbled")


def spoilt(name: str, kind: str, folder: Path) -> Path:
    """A copy of a data file that is not what it was."""
    path = folder / name
    content = bytearray((DATA / name).read_bytes())
    if kind == "cut":
        content = content[: len(content) // 2]
    elif kind == "scribbled":
        part = slice(len(content) // 10, len(content) // 5)
        content[part] = np.random.default_rng(0).bytes(len(content[part]))
    if kind != "missing":
        path.write_bytes(b"" if kind == "empty" else content)
    return path


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Capsules are read anew, and what was made of a spoilt file is not kept."""
    kept = dict(proxies_file._remembered)
    proxies_file._remembered.clear()
    yield
    proxies_file._remembered.clear()
    proxies_file._remembered.update(kept)


@pytest.fixture(scope="module")
def crossed(body: BodyModel) -> Observation:
    """Somebody whose thighs are in each other, so that capsules are asked for."""
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    turned = relaxed_pose()
    turned[1, 2], turned[2, 2] = -0.35, 0.35
    rotmats = exp_so3(turned)[None]
    rotmats[0, 0] = exp_so3(torch.tensor([np.pi, 0.0, 0.0], dtype=torch.float64))
    state = BodyState(
        rotmats,
        torch.tensor([[0.0, 0.3, 3.0]], dtype=torch.float64),
        torch.log(torch.tensor([600.0], dtype=torch.float64)),
        torch.zeros(1, body.num_betas, dtype=torch.float64),
        torch.zeros(1, body.num_expressions, dtype=torch.float64),
    )
    table = PointTable.of(skeleton, body.virtual_points(body.points["pose33"]), (0,))
    place = table.positions(pose_chain(skeleton, state))[0].numpy()
    seen = (600 * place[:, :2] / place[:, 2:] + 256).astype(np.float32)
    points = {"pose33": Points(seen, np.ones(len(seen), np.float32), (place - place.mean(0)).astype(np.float32))}
    return Observation((512, 512), np.concatenate([seen.min(0), seen.max(0)]), 1.0, points, source="synthetic")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("forgetful")
def test_a_fit_goes_on_without_the_file_and_says_so(
    body: BodyModel,
    crossed: Observation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: str,
) -> None:
    monkeypatch.setattr(*FILES[name], spoilt(name, kind, tmp_path))
    if name == "free_proxies.npz":  # fitting them takes seconds; what is fitted is tested elsewhere
        good = proxies_file._read(DATA / name, proxies_file.fingerprint(body))
        monkeypatch.setattr(proxies_file, "make", lambda of: good)
    # Fits of photos have no use for the Gaussian prior.
    settings = clip_settings() if name == "gaussian_pose.npz" else FitSettings()
    capture = Fitter(body, settings).fit(crossed)
    (warning,) = capture.diagnostics["warnings"]  # type: ignore[misc]
    assert name in warning and ("missing" if kind == "missing" else "damaged") in warning
    assert warning.endswith(".") and "\n" not in warning
    assert np.isfinite(capture.joints).all()
    capture.save(tmp_path / "capture.npz")
    assert Capture.load(tmp_path / "capture.npz").diagnostics["warnings"] == [warning]


@pytest.mark.parametrize("kind", KINDS)
def test_the_learned_prior_and_the_hands_prior_say_what_is_wrong(tmp_path: Path, kind: str) -> None:
    word = "missing" if kind == "missing" else "damaged"
    flow = spoilt("pose_prior.safetensors", kind, tmp_path)
    with pytest.raises(PriorError, match=rf"^The learned pose prior .* is {word}\. Install Pantomime again\.$"):
        read_learned(flow)
    assert best_pose_prior(path=flow)[1] == "gaussian"
    fingers = spoilt("hands.npz", kind, tmp_path)
    with pytest.raises(PriorError, match=rf"^The hand prior .* is {word}\. Install Pantomime again\.$"):
        load_hand_prior(True, path=fingers)


@pytest.mark.parametrize("kind", KINDS)
def test_photos_fall_back_to_the_gaussian_prior(
    body: BodyModel, crossed: Observation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    fine = Fitter(body).fit(crossed)
    assert "warnings" not in fine.diagnostics
    monkeypatch.setattr(learned, "LEARNED_FILE", spoilt("pose_prior.safetensors", kind, tmp_path))
    spoilt_too = Fitter(body).fit(crossed)
    (warning,) = spoilt_too.diagnostics["warnings"]  # type: ignore[misc]
    assert "learned pose prior" in warning and "simpler prior" in warning
    plain = Fitter(body, clip_settings()).fit(crossed)
    assert np.allclose(spoilt_too.joints, plain.joints, atol=1e-4)
    assert not np.allclose(fine.joints, plain.joints, atol=1e-4)


def test_weights_that_are_not_those_that_were_written_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4).half()}
    write_tensors(path, tensors, {"card": "x"})
    again, metadata = read_tensors(path)
    assert metadata == {"card": "x"} and all(torch.equal(again[name], tensors[name]) for name in tensors)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="does not hold what was written"):
        read_tensors(path)


@pytest.mark.parametrize("kind", ["empty", "cut", "scribbled"])
def test_a_damaged_capture_is_one_sentence(body: BodyModel, crossed: Observation, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "capture.npz"
    Fitter(body).fit(crossed).save(path)
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    path.write_bytes({"empty": b"", "cut": content[:half], "scribbled": content[:half] + bytes(half)}[kind])
    with pytest.raises(CaptureError, match="Run the fit again"):
        Capture.load(path)
