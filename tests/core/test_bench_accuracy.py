"""The accuracy bench, on people that are made from the free body here, so that it needs neither anny nor Blender."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pantomime.__main__ import main
from pantomime.core.body.bench_labels import LabelError, PersonLabel, load_label, save_label
from pantomime.core.body.model import BodyModel
from pantomime.core.capture import Capture
from pantomime.core.fitting.bench_accuracy import BenchError, changed, is_redundant, load_samples, run_variant
from pantomime.core.fitting.bench_evidence import detection_digest, save_observations, true_observation
from pantomime.core.fitting.bench_report import by_condition, summary
from pantomime.core.fitting.bench_scores import Scorer
from pantomime.core.fitting.bench_types import Sample, Variant
from pantomime.core.fitting.settings import FitSettings
from pantomime.tests.core.bench_person import FOCAL, SIZE


def test_labels_survive_being_written(tmp_path: Path, person: tuple[Capture, PersonLabel]) -> None:
    save_label(tmp_path / "0000.npz", person[1])
    back = load_label(tmp_path / "0000.npz")
    np.testing.assert_array_equal(back.vertices, person[1].vertices)
    assert back.image_size == SIZE and back.action == "stand" and back.mirrored is False
    assert isinstance(back.focal_px, float) and isinstance(back.index, int)


def test_a_file_that_is_no_label_is_refused_with_a_next_step(tmp_path: Path) -> None:
    path = tmp_path / "0000.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(LabelError, match="pantomime render-people"):
        load_label(path)
    np.savez(path, poses=np.zeros(3))
    with pytest.raises(LabelError, match="pantomime render-people"):
        load_label(path)


@pytest.fixture
def folder(tmp_path: Path, body: BodyModel, person: tuple[Capture, PersonLabel]) -> Path:
    """Two pictures; the detector saw the first one's true points and nobody in the second."""
    for index in range(2):
        label = replace(person[1], index=index)
        save_label(tmp_path / f"{index:04d}.npz", label)
        Image.new("RGB", SIZE, (90, 90, 90)).save(tmp_path / f"{index:04d}.jpg")
        seen = [true_observation(body, label)] if index == 0 else []
        (tmp_path / "detections").mkdir(exist_ok=True)
        save_observations(tmp_path / "detections" / f"{index:04d}.npz", seen, detection_digest())
    return tmp_path


def test_fits_of_true_points_come_near_the_truth(body: BodyModel, scorer: Scorer, folder: Path) -> None:
    samples = load_samples(folder, None)
    results = run_variant(body, samples, Variant("detected"), scorer)
    assert [bool(result.scores) for result in results] == [True, False]
    assert results[0].scores["pck"] > 0.9
    assert results[0].scores["iou"] > 0.75
    row = summary(results)
    assert row["fitted"] == 0.5 and row["pa_pve"] == pytest.approx(results[0].scores["pa_pve"])
    assert list(by_condition(results)) == ["in full view (2)"]


def test_true_points_need_no_detection(body: BodyModel, scorer: Scorer, folder: Path) -> None:
    samples = load_samples(folder, None)[1:]
    assert samples[0].detected is None
    (result,) = run_variant(body, samples, Variant("true", "true"), scorer, silhouettes=False)
    assert result.scores["pck"] > 0.9 and "iou" not in result.scores


def test_the_command_writes_a_table_figures_and_pictures(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    assert main(["bench", "accuracy", "--photos", str(folder), "--points", "detected", "true", "-o", str(out)]) == 0
    text = (out / "accuracy.md").read_text("utf-8")
    assert "| detected | 50% |" in text and "| true | 100% |" in text and "commit" in text
    document = json.loads((out / "accuracy.json").read_text("utf-8"))
    assert document["count"] == 2 and document["processor"]
    assert [item["photo"] for item in document["pictures"]["true"]] == ["0000.jpg", "0001.jpg"]
    assert document["variants"]["true"]["pa_pve"] > 0
    (picture,) = out.glob("worst-*.png")
    with Image.open(picture) as image:
        assert image.size[0] > 2 * SIZE[0] and image.size[1] == SIZE[1]
        panels = np.asarray(image.convert("RGB"))
    assert np.abs(panels[:, SIZE[0] + 6 : 2 * SIZE[0]].astype(int) - 90).max() > 50  # somebody is drawn over the photo
    assert text in capsys.readouterr().out


def test_a_folder_without_pictures_is_named_with_a_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "accuracy", "--photos", str(tmp_path)]) == 1
    assert "pantomime render-people" in capsys.readouterr().err


def test_settings_can_be_changed_by_name() -> None:
    settings = changed(FitSettings(), [("pose_prior", 0.1), ("sigma_2d.pose33", 0.5)])
    assert settings.pose_prior == 0.1 and settings.sigma_2d["pose33"] == 0.5
    assert settings.sigma_2d["left_hand"] == FitSettings().sigma_2d["left_hand"]
    assert changed(FitSettings(), [("mistaken.likeness", 0.0)]).mistaken.likeness == 0.0
    with pytest.raises(BenchError, match="no setting nonsense"):
        changed(FitSettings(), [("nonsense", 1.0)])
    with pytest.raises(BenchError, match=r"no setting sigma_2d\.nonsense"):
        changed(FitSettings(), [("sigma_2d.nonsense", 1.0)])
    with pytest.raises(BenchError, match=r"no setting mistaken\.nonsense"):
        changed(FitSettings(), [("mistaken.nonsense", 1.0)])


def test_known_focal_length_reaches_the_fit(body: BodyModel, scorer: Scorer, folder: Path) -> None:
    samples = load_samples(folder, 1)
    (result,) = run_variant(body, samples, Variant("known", "true", known_focal=True), scorer, silhouettes=False)
    assert result.capture is not None
    assert result.capture.focal_source == "given"
    assert result.capture.focal_px == pytest.approx(FOCAL, rel=0.05)


def test_samples_are_complete(folder: Path) -> None:
    first: Sample = load_samples(folder, 1)[0]
    assert first.photo.name == "0000.jpg" and first.detected is not None and first.label.index == 0


def test_ablations_that_change_nothing_are_left_out(body: BodyModel) -> None:
    assert is_redundant(body, Variant("as it is"))
    assert not is_redundant(body, Variant("no hands", without=("hands",)))
    assert not is_redundant(body, Variant("no prior", priors="none"))
    assert not is_redundant(body, Variant("other weight", settings=(("pose_prior", 0.01),)))
