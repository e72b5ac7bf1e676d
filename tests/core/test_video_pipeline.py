"""Clips through the whole pipeline, with the real detector: stops, restarts, and what can go wrong on the way."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from pantomime.core import video_detection
from pantomime.core.capture import CONTACTS, EARLY, Capture
from pantomime.core.fitting.video_settings import VideoSettings
from pantomime.core.fitting.video_shape import ClipShape
from pantomime.core.jobs import Work, handler_of
from pantomime.core.media.turning import turns_of
from pantomime.core.messages import Checkpoint, FitVideo, Message, Result
from pantomime.core.pipeline import Pipeline, PipelineCancelled, PipelineError, PipelineSettings, Reporter
from pantomime.core.video_command import main as command
from pantomime.core.video_early import _Followed, turned
from pantomime.core.video_helper import Helper
from pantomime.core.video_job import JobError, JobFolder, key_of
from pantomime.core.video_pipeline import ClipSettings, capture_clip

FRAMES = 14
RATE = 10.0


@pytest.fixture(scope="module")
def pipeline() -> Any:
    made = Pipeline()
    yield made
    made.close()


@pytest.fixture(scope="module")
def clip(portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real person, who drifts through the picture."""
    photo = cv2.imread(str(portrait))
    path = tmp_path_factory.mktemp("clip") / "drift.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (560, 512))
    for t in range(FRAMES):
        frame = np.full((512, 560, 3), 128, np.uint8)
        frame[:, 2 * t : 2 * t + 512] = photo
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_detection, "PART", 5)


@pytest.fixture(scope="module")
def whole(clip: Path, pipeline: Pipeline, detector_models: None, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    out = tmp_path_factory.mktemp("whole") / "a.npz"
    files: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_detection, "PART", 5)
        result = capture_clip(
            clip, out, ClipSettings(), pipeline, checkpoint=lambda path: files.append(_kept(path, out))
        )
    assert result.paths == [out] and not Path(f"{out}.parts").exists()
    # Each checkpoint was a capture of its own window, in order.
    parts = [Capture.load(path) for path in files]
    assert [int(i) for part in parts for i in part.frame_indices] == list(range(FRAMES))
    return Capture.load(out)


def _kept(path: Path, out: Path) -> Path:
    """Parts are gone at the end: keep what the checkpoint named."""
    target = out.parent / path.name
    target.write_bytes(path.read_bytes())
    return target


def test_a_clip_becomes_a_capture_with_time_and_contacts(whole: Capture, clip: Path) -> None:
    assert whole.num_frames == FRAMES and whole.source == str(clip)
    np.testing.assert_allclose(whole.frame_times_s, np.arange(FRAMES) / RATE, atol=1e-5)
    assert whole.mocap_frame_rate == pytest.approx(RATE) and whole.image_size == (560, 512)
    assert whole.contacts.shape == (FRAMES, len(CONTACTS)) and np.isfinite(whole.ground_m)
    assert whole.confidence.min() > 0.3 and whole.shots.max() == 0
    # 2 px a frame to the right at this focal length and depth.
    head = whole.joints[:, 15]
    px = whole.focal_px * head[:, 0] / head[:, 2]
    assert np.polyfit(np.arange(FRAMES), px, 1)[0] == pytest.approx(2.0, abs=0.4)
    assert whole.points["pose33"].shape == (FRAMES, 33, 3)


def test_two_people_of_a_clip_have_one_camera(
    portrait: Path, pipeline: Pipeline, detector_models: None, tmp_path: Path
) -> None:
    photo = cv2.imread(str(portrait))
    path = tmp_path / "two.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (960, 512))
    for t in range(6):
        frame = np.full((512, 960, 3), 128, np.uint8)
        frame[:, t : t + 512] = photo
        frame[:400, 560:] = cv2.resize(photo[:, ::-1], (400, 400))
        writer.write(frame)
    writer.release()
    one, two = capture_clip(path, tmp_path / "two.npz", ClipSettings(PipelineSettings(people=2)), pipeline).captures
    assert one.person_id != two.person_id and one.focal_px == two.focal_px
    # Else it would be the middle of what each tells.
    assert one.focal_source == two.focal_source != "given"


def test_who_watches_sees_rough_motion_before_all_is_looked_at_and_gets_the_same_result(
    whole: Capture, clip: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    out, told = tmp_path / "a.npz", list[Any]()
    capture_clip(
        clip, out, ClipSettings(early=True), pipeline, Reporter(stage=lambda name, text: told.append(name)),
        lambda path: told.append(Capture.load(path)),
    )  # fmt: skip
    fitting = told.index("fit")
    early = [item for item in told[:fitting] if isinstance(item, Capture)]
    solved = [item for item in told[fitting:] if isinstance(item, Capture)]
    assert [item.frame_indices.tolist() for item in early] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13]]
    assert all(item.diagnostics[EARLY] for item in early) and not any(EARLY in item.diagnostics for item in solved)
    # Rough, but the same person in the same place, as the picture has them.
    for item in early:
        rows = item.frame_indices
        px = [c.focal_px * c.joints[:, :, :2] / c.joints[:, :, 2:] for c in (item, whole)]
        off = np.linalg.norm(px[0] - px[1][rows], axis=-1)[:, [12, 15, 16, 17, 18, 19]]
        assert np.median(off) < 12.0
    again = Capture.load(out)
    for name in ("betas", "transl", "joints", "expression", "contacts", "confidence"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name), err_msg=name)


def test_rough_motion_chains_the_turning_of_the_camera_from_part_to_part() -> None:
    focal, principal, per_frame = 500.0, (320.0, 240.0), np.radians(2.0)
    k = np.array([[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1.0]])
    turn = np.array([[np.cos(per_frame), 0, np.sin(per_frame)], [0, 1, 0], [-np.sin(per_frame), 0, np.cos(per_frame)]])
    steps = np.stack([np.eye(3), *[k @ turn @ np.linalg.inv(k)] * 11])
    shot = np.repeat([0, 1], [9, 3])
    expected = turns_of(steps, focal, principal, shot)
    followed = _Followed(0, ClipShape(np.zeros(10, np.float32), focal, "given", principal))
    found = []
    for start in (0, 5, 9):
        rows = slice(start, {0: 5, 5: 9, 9: 12}[start])
        # A part counts cuts from its own first frame.
        cuts = shot[rows] - (shot[start - 1] if start else 0)
        found.append(turned(steps[rows], cuts, followed))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-6)


def test_a_stopped_run_goes_on_with_the_same_result(
    whole: Capture, clip: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    out = tmp_path / "a.npz"
    for most in (9, 6, 10):
        asked = [0]

        def cancelled(asked: list[int] = asked, most: int = most) -> bool:
            asked[0] += 1
            return asked[0] > most

        with pytest.raises(PipelineCancelled):
            capture_clip(clip, out, ClipSettings(), pipeline, Reporter(cancelled=cancelled))
        assert not out.exists() and list(Path(f"{out}.parts").glob("seen-*.npz"))
    capture_clip(clip, out, ClipSettings(), pipeline)
    again = Capture.load(out)
    for name in ("betas", "transl", "joints", "expression", "contacts", "confidence"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name), err_msg=name)
    np.testing.assert_array_equal(again.full_pose(), whole.full_pose())


def test_one_core_gives_what_two_give(whole: Capture, clip: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    capture_clip(clip, tmp_path / "a.npz", ClipSettings(cores=1), pipeline)
    alone = Capture.load(tmp_path / "a.npz")
    for name in ("betas", "transl", "joints", "expression", "contacts", "confidence"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(whole, name), err_msg=name)


def test_a_long_clip_has_a_helper_from_the_start_and_gives_the_same(
    whole: Capture, clip: Path, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, ...]] = []
    stages: list[str] = []

    class Watched(Helper):
        def __init__(self, base: dict[str, Any], warn: Callable[[str], None]) -> None:
            made.append(tuple(stages))
            super().__init__(base, warn)

    warnings: list[str] = []
    monkeypatch.setattr("pantomime.core.video_helper.Helper", Watched)
    monkeypatch.setattr("pantomime.core.fitting.video_settings.VideoSettings", partial(VideoSettings, helped_frames=10))
    reporter = Reporter(stage=lambda name, text: stages.append(name), warning=warnings.append)
    capture_clip(clip, tmp_path / "a.npz", ClipSettings(cores=1), pipeline, reporter)
    assert made == []
    stages.clear()
    monkeypatch.setattr("pantomime.core.video_pipeline.usable_cores", lambda wanted: 2)
    capture_clip(clip, tmp_path / "b.npz", ClipSettings(), pipeline, reporter)
    assert made == [("read", "load")] and not warnings
    for name in ("a", "b"):
        again = Capture.load(tmp_path / f"{name}.npz")
        np.testing.assert_array_equal(again.full_pose(), whole.full_pose())
        np.testing.assert_array_equal(again.joint_sigma_m, whole.joint_sigma_m)


def test_other_settings_do_not_go_on_from_these_parts(clip: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    capture_clip(clip, out, ClipSettings(end=6, keep_parts=True), pipeline)
    capture_clip(clip, out, ClipSettings(start=2, end=10, step=2), pipeline)
    assert Capture.load(out).frame_indices.tolist() == [2, 4, 6, 8]


def test_the_same_job_twice_is_one_sentence(clip: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    with JobFolder(Path(f"{out}.parts")), pytest.raises(PipelineError, match="being captured already"):
        capture_clip(clip, out, ClipSettings(), pipeline)


def test_a_clip_that_is_replaced_while_it_runs_is_noticed(clip: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    own = tmp_path / "own.avi"
    own.write_bytes(clip.read_bytes())
    asked = [0]

    def replace_it() -> bool:
        asked[0] += 1
        if asked[0] == 5:
            own.write_bytes(clip.read_bytes() + b"more")
        return False

    with pytest.raises(PipelineError, match="was changed or removed while it was captured"):
        capture_clip(own, tmp_path / "a.npz", ClipSettings(), pipeline, Reporter(cancelled=replace_it))


def test_a_full_disk_is_one_sentence_and_parts_are_kept(
    clip: Path, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.npz"
    written = [0]
    real = np.savez

    def full(file: Any, **arrays: Any) -> None:
        written[0] += 1
        if written[0] > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(PipelineError, match=r"is full\. What is done is kept"):
        capture_clip(clip, out, ClipSettings(), pipeline)
    assert [path.name for path in Path(f"{out}.parts").glob("*.npz")] == ["seen-00000.npz"]
    assert not list(Path(f"{out}.parts").glob("*.part"))


def test_a_clip_without_people_is_one_sentence(pipeline: Pipeline, detector_models: None, tmp_path: Path) -> None:
    folder = tmp_path / "grey"
    folder.mkdir()
    for t in range(2):
        Image.new("RGB", (160, 120), (90 + t, 120, 90)).save(folder / f"{t}.png")
    with pytest.raises(PipelineError, match=r"^No person was found in [^/\\]+ for"):
        capture_clip(folder, tmp_path / "a.npz", ClipSettings(), pipeline)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ClipSettings(start=50), "in the chosen range"),
        (ClipSettings(start=5, end=5), "range of frames is empty"),
        (ClipSettings(step=0), "step must be 1"),
        (ClipSettings(frame_rate=-3.0), "is impossible"),
        (ClipSettings(base=PipelineSettings(points="a.json")), "belongs to a photo"),
    ],
)
def test_settings_that_make_no_sense(
    clip: Path, pipeline: Pipeline, tmp_path: Path, settings: ClipSettings, words: str
) -> None:
    with pytest.raises(PipelineError, match=words):
        capture_clip(clip, tmp_path / "a.npz", settings, pipeline)


def test_the_worker_captures_a_clip_and_tells_of_its_windows(clip: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    sent: list[Message] = []
    request = FitVideo("7", str(clip), str(tmp_path / "a.npz"), end=5)
    result = handler_of(request)(request, Work("7", pipeline, Reporter(), sent.append))
    assert isinstance(result, Result) and result.captures == [str(tmp_path / "a.npz")]
    assert "5 frames" in result.summaries[0] and set(result.timings_s) == {"detect", "fit"}
    assert [type(event) for event in sent] == [Checkpoint]
    with pytest.raises(PipelineError, match="There is no file"):
        handler_of(request)(replace(request, clip="none.mp4"), Work("7", pipeline, Reporter(), sent.append))


def test_a_damaged_part_is_made_again_and_a_foreign_key_is_not_taken(tmp_path: Path) -> None:
    with JobFolder(tmp_path / "parts") as folder:
        path = folder.save("a-0", "key", {"x": np.arange(3)})
        kept = folder.load("a-0", "key")
        assert kept is not None and kept["x"].tolist() == [0, 1, 2]
        assert folder.load("a-0", "other") is None and folder.load("a-1", "key") is None
        whole = path.read_bytes()
        path.write_bytes(whole[:40])
        assert folder.load("a-0", "key") is None
        # One byte that is another: the part as it was, or none, and never an error.
        for at in range(0, len(whole), 3):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
            again = folder.load("a-0", "key")
            assert again is None or again["x"].tolist() == [0, 1, 2]
    assert key_of(a=1, b="x") == key_of(b="x", a=1) != key_of(a=2, b="x")


def test_a_lock_is_gone_with_its_holder(tmp_path: Path) -> None:
    with JobFolder(tmp_path / "parts"), pytest.raises(JobError), JobFolder(tmp_path / "parts"):
        pass
    with JobFolder(tmp_path / "parts") as folder:
        pass
    if sys.platform != "win32":
        assert not (tmp_path / "parts").exists()  # nothing was done
    with JobFolder(tmp_path / "parts") as folder:
        folder.save("a", "key", {})
    assert (tmp_path / "parts" / "a.npz").exists()


def test_captures_of_before_are_read_all_the_same(whole: Capture, tmp_path: Path) -> None:
    path = tmp_path / "old.npz"
    whole.save(path)
    with np.load(path) as data:
        later = {"frame_indices", "shots", "contacts", "ground_m", "camera_rotvec"}
        np.savez(path, **{name: data[name] for name in data.files if name not in later})
    old = Capture.load(path)
    assert old.contacts.shape == (0, 4) and np.isnan(old.ground_m)
    assert replace(old, ground_m=1.0).num_frames == FRAMES


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pantomime.__main__ import parser_for

    for arguments, status, words in (
        (["none.mp4", "-o", str(tmp_path / "a.npz")], 1, "There is no file none.mp4"),
        (["none.mp4", "-o", str(tmp_path / "a.txt")], 2, "ends in .npz"),
    ):
        parsed = parser_for("video").parse_args(["video", *arguments])
        assert command(parsed) == status
        assert words in capsys.readouterr().err
