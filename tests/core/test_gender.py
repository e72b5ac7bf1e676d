"""Which of a licensed model's bodies is used, and a known height on them. The files are the tests' own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pantomime.core.body.export import smplx_arrays
from pantomime.core.body.load import BodyError, genders_in, load_body
from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.core.fitting.gender import best_gender
from pantomime.core.fitting.kinematics import PointTable, Skeleton, pose_chain
from pantomime.core.fitting.photo import Fitter
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.fitting.start import relaxed_pose
from pantomime.core.fitting.state import BodyState
from pantomime.core.pipeline import Pipeline, PipelineError, PipelineSettings
from pantomime.core.rotation import exp_so3

FOCAL_PX, SIZE = 900.0, (640, 800)
# How the tests' male and female bodies differ from the neutral one: in the free body's first betas, more than people
# do, as 25 points without any error are all that is seen of them.
SHIFTS = {"neutral": (0.0,), "male": (0.0, -8.0, 0.0, 8.0, 8.0, 8.0), "female": (0.0, 8.0, 0.0, -8.0, 0.0, -8.0)}


def shifted(body: BodyModel, gender: str) -> BodyModel:
    betas = np.zeros(body.num_betas, np.float32)
    betas[: len(SHIFTS[gender])] = SHIFTS[gender]
    return replace(
        body,
        gender=gender,
        v_template=body.v_template + body.shapedirs @ betas,
        J_template=body.J_template + body.J_shapedirs @ betas,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "smplx"
    path.mkdir()
    free = load_body()
    for gender in SHIFTS:
        arrays = smplx_arrays(shifted(free, gender))
        dirs = arrays["shapedirs"]
        arrays["shapedirs"] = np.concatenate([dirs[:, :, :10], dirs[:, :, 300:310]], axis=2)
        np.savez(path / f"SMPLX_{gender.upper()}.npz", **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    """Without capsules, which are fitted for seconds to each new body and say nothing here."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fitter, "_touching", lambda self, state: (None, False))
        yield Pipeline()


def photo_of(gender: str, folder: Path) -> tuple[Path, Path]:
    """A blank photo, and the points of a standing person of that gender's mean shape as OpenPose writes them."""
    body = shifted(load_body(), gender)
    skeleton = Skeleton.of(body, torch.float64, "cpu")
    rotmats = exp_so3(relaxed_pose())[None]
    rotmats[0, 0] = exp_so3(torch.tensor([np.pi, 0.0, 0.0], dtype=torch.float64))
    state = BodyState(
        rotmats,
        torch.tensor([[0.0, 0.3, 3.0]], dtype=torch.float64),
        torch.log(torch.tensor([FOCAL_PX], dtype=torch.float64)),
        torch.zeros(1, body.num_betas, dtype=torch.float64),
        torch.zeros(1, body.num_expressions, dtype=torch.float64),
    )
    table = PointTable.of(skeleton, body.virtual_points(body.points["body25"]), (0,))
    place = table.positions(pose_chain(skeleton, state))[0].numpy()
    seen = FOCAL_PX * place[:, :2] / place[:, 2:] + np.array(SIZE) / 2
    rows = np.column_stack([seen, np.ones(len(seen))])
    photo, points = folder / "photo.png", folder / "points.json"
    Image.new("RGB", SIZE, (90, 90, 90)).save(photo)
    person = {"pose_keypoints_2d": [float(value) for value in rows.reshape(-1)]}
    points.write_text(json.dumps({"version": 1.3, "people": [person]}))
    return photo, points


def test_the_gender_that_is_asked_for_is_loaded_and_kept(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    photo, points = photo_of("neutral", tmp_path)
    for gender in ("neutral", "female"):
        settings = PipelineSettings(body=str(folder), points=str(points), focal_px=FOCAL_PX, gender=gender)
        (capture,) = pipeline.fit_photo(photo, settings).captures
        assert (capture.gender, capture.body_id) == (gender, f"smplx-{gender}")


@pytest.mark.parametrize("gender", ["neutral", "male", "female"])
def test_auto_takes_the_body_that_fits_best(pipeline: Pipeline, folder: Path, tmp_path: Path, gender: str) -> None:
    photo, points = photo_of(gender, tmp_path)
    settings = PipelineSettings(body=str(folder), points=str(points), focal_px=FOCAL_PX, gender="auto")
    (capture,) = pipeline.fit_photo(photo, settings).captures
    energies = capture.diagnostics["gender_energies"]
    assert set(energies) == {"neutral", "male", "female"}  # type: ignore[call-overload]
    assert (capture.gender, capture.body_id) == (gender, f"smplx-{gender}"), energies


def test_a_known_height_holds_on_a_licensed_body(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    photo, points = photo_of("neutral", tmp_path)
    settings = PipelineSettings(body=str(folder), points=str(points), focal_px=FOCAL_PX, height_cm=181.0)
    (capture,) = pipeline.fit_photo(photo, settings).captures
    body = load_body(folder)
    skin = np.unique(body.faces)
    height = np.ptp((body.v_template + body.shapedirs @ capture.betas)[skin, 1])
    assert abs(height - 1.81) < 0.005


def test_what_can_not_be_chosen_is_refused_in_a_sentence(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    photo, points = photo_of("neutral", tmp_path)
    one = str(folder / "SMPLX_NEUTRAL.npz")
    for body, gender, words in (
        (None, "male", "The free body has no male version"),
        (one, "male", "is a neutral body, not a male one"),
        (one, "auto", "is one body, and auto compares several"),
        (str(tmp_path), "auto", "no SMPLX_NEUTRAL"),
        (str(folder), "none", "Choose one of neutral, male, female, auto"),
    ):
        with pytest.raises(PipelineError, match=words) as caught:
            pipeline.fit_photo(photo, PipelineSettings(body=body, points=str(points), gender=gender))
        assert "\n" not in str(caught.value)


def test_auto_on_the_free_body_is_the_free_body(pipeline: Pipeline, tmp_path: Path) -> None:
    photo, points = photo_of("neutral", tmp_path)
    (capture,) = pipeline.fit_photo(photo, PipelineSettings(points=str(points), gender="auto")).captures
    assert (capture.gender, capture.body_id) == ("neutral", "free")


def test_genders_of_a_folder(folder: Path, tmp_path: Path) -> None:
    assert genders_in(folder.parent) == ["neutral", "male", "female"]
    (tmp_path / "SMPLX_FEMALE.npz").touch()
    assert genders_in(tmp_path) == ["female"]
    with pytest.raises(BodyError, match="There is no file"):
        genders_in(tmp_path / "nowhere")


def test_a_small_margin_keeps_the_neutral_body() -> None:
    margin = FitSettings().gender_margin
    assert best_gender([told("neutral", 100.0), told("male", 100.5 - margin)], margin).gender == "neutral"
    chosen = best_gender([told("neutral", 100.0), told("male", 99.5 - margin), told("female", 100.0)], margin)
    assert chosen.gender == "male"
    assert chosen.diagnostics["gender_energies"] == {"neutral": 100.0, "male": 99.5 - margin, "female": 100.0}
    assert best_gender([told("male", 90.0), told("female", 80.0)], margin).gender == "female"


def told(gender: str, energy: float) -> Capture:
    """A capture of which the energy matters alone."""
    empty = np.zeros((1, 0), np.float32)
    return Capture(
        *(empty,) * 11, joint_names=(), focal_px=1.0, principal_px=np.zeros(2, np.float32), image_size=(1, 1),
        gender=gender, diagnostics={"energy": energy},
    )  # fmt: skip
