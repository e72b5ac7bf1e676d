"""Clips that are hardly any, through the whole pipeline with the real detector: each is captured, or one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.core.capture import Capture
from pantomime.core.pipeline import Pipeline, PipelineError
from pantomime.core.video_pipeline import ClipSettings, capture_clip

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pipeline(detector_models: None) -> Any:
    made = Pipeline()
    yield made
    made.close()


@pytest.fixture(scope="module")
def photo(portrait: Path) -> Image:
    return np.asarray(cv2.imread(str(portrait)), np.uint8)


def written(path: Path, frames: list[Image], rate: float = 10.0) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def captured(clip: Path, pipeline: Pipeline) -> Capture:
    out = clip.with_suffix(".npz")
    result = capture_clip(clip, out, ClipSettings(), pipeline)
    assert result.paths == [out]
    return Capture.load(out)


def test_one_frame_is_captured(photo: Image, pipeline: Pipeline, tmp_path: Path) -> None:
    capture = captured(written(tmp_path / "a.avi", [photo]), pipeline)
    assert capture.num_frames == 1 and capture.frame_indices.tolist() == [0] and capture.confidence[0] > 0.3


@pytest.mark.parametrize("size", [1, 8])
def test_a_clip_of_hardly_a_pixel_is_one_sentence(size: int, pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for t in range(3):
        cv2.imwrite(str(folder / f"{t}.png"), np.full((size, size, 3), 90 + t, np.uint8))
    with pytest.raises(PipelineError, match=f"only {size} × {size} pixels") as caught:
        capture_clip(folder, tmp_path / "a.npz", ClipSettings(), pipeline)
    assert len(str(caught.value).splitlines()) == 1


def test_8k_is_captured(photo: Image, pipeline: Pipeline, tmp_path: Path) -> None:
    frame = np.full((4320, 7680, 3), 128, np.uint8)
    frame[300:4140, 1900:5740] = cv2.resize(photo, (3840, 3840))
    capture = captured(written(tmp_path / "a.avi", [frame, frame]), pipeline)
    assert capture.image_size == (7680, 4320) and capture.num_frames == 2
    nose = capture.points["pose33"][:, 0, :2]
    assert (np.abs(nose - [1900 + 1920, 300 + 1500]) < 1200).all()
    assert capture.confidence.min() > 0.3


@pytest.mark.parametrize("rate", [1.0, 120.0])
def test_rates_that_are_rare_keep_their_times(photo: Image, pipeline: Pipeline, tmp_path: Path, rate: float) -> None:
    capture = captured(written(tmp_path / "a.avi", [photo] * 5, rate), pipeline)
    np.testing.assert_allclose(capture.frame_times_s, np.arange(5) / rate, atol=1e-4)
    assert capture.mocap_frame_rate == pytest.approx(rate) and capture.confidence.min() > 0.3


def test_somebody_who_is_there_for_three_frames_is_captured_in_those(
    photo: Image, pipeline: Pipeline, tmp_path: Path
) -> None:
    nobody = np.full_like(photo, 128)
    # A cut on either side: what is looked at again at once is a picture that has nothing to do with the one before.
    capture = captured(written(tmp_path / "a.avi", [nobody] * 5 + [photo] * 3 + [nobody] * 5), pipeline)
    seen = capture.frame_indices[capture.confidence > 0]
    assert seen.tolist() == [5, 6, 7]


def test_a_cut_makes_a_new_shot_over_which_nobody_moves(photo: Image, pipeline: Pipeline, tmp_path: Path) -> None:
    there = np.full((512, 900, 3), 40, np.uint8)
    other = np.full((512, 900, 3), 215, np.uint8)
    there[:, :512], other[:, 388:] = photo, cv2.flip(photo, 1)
    capture = captured(written(tmp_path / "a.avi", [there] * 5 + [other] * 5), pipeline)
    assert capture.num_frames == 10 and capture.confidence.min() > 0.3
    assert len(set(capture.shots[:5].tolist())) == 1 and (capture.shots[5:] == capture.shots[0] + 1).all()
    moved = np.linalg.norm(np.diff(capture.transl, axis=0), axis=1)
    # All of the way is in one step: neither side leads up to it.
    assert moved[4] > 0.5 and np.delete(moved, 4).max() < moved[4] / 6
