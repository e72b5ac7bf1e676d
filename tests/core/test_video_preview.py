"""The video that shows a capture beside its clip: sizes, what is drawn where, and the command."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pantomime.__main__ import main
from pantomime.core.body.load import load_body
from pantomime.core.capture import Capture
from pantomime.core.media.frame import Frame
from pantomime.core.pipeline import PipelineCancelled, PipelineError
from pantomime.core.preview_figures import Figure, PreviewSettings, Side
from pantomime.core.rotation import log_so3
from pantomime.core.video_preview import write_preview

from .walking import FOCAL_PX, SIZE, walk

FRAMES, GAP, RATE = 7, 3, 10.0
SMALL = 4  # the clip is so much smaller than what `walking` sees
TILE = (320, 180)


@pytest.fixture(scope="module")
def capture() -> Capture:
    """Someone who walks, unknown in one frame."""
    body = load_body()
    walked = walk(body, FRAMES, RATE)
    pose = log_so3(walked.state.rotmats).float().numpy().reshape(FRAMES, 165)
    parts = np.split(pose, [3, 66, 69, 72, 75, 120], axis=1)
    known = np.arange(FRAMES) != GAP
    return Capture(
        np.zeros(body.num_betas, np.float32),
        np.zeros((FRAMES, body.num_expressions), np.float32),
        *parts,
        transl=walked.state.transl.float().numpy(),
        joints=walked.joints,
        joint_names=tuple(str(number) for number in range(55)),
        focal_px=FOCAL_PX / SMALL,
        principal_px=np.array(SIZE, np.float32) / SMALL / 2,
        image_size=(SIZE[0] // SMALL, SIZE[1] // SMALL),
        up_camera=walked.up,
        ground_m=walked.ground_m,
        contacts=np.repeat(walked.solid, 2, axis=1).astype(np.float32),
        confidence=known.astype(np.float32),
        joint_sigma_m=np.where(known, 0.02, 1.0)[:, None].repeat(55, axis=1).astype(np.float32),
        frame_times_s=walked.time_s.astype(np.float32),
        frame_indices=np.arange(FRAMES, dtype=np.int32),
        shots=np.zeros(FRAMES, np.int32),
        mocap_frame_rate=RATE,
    )


def grey(count: int = FRAMES) -> Any:
    for index in range(count):
        yield Frame(np.full((TILE[1], TILE[0], 3), 128, np.uint8), "clip", index=index, time_s=index / RATE)


def read(path: Path) -> list[NDArray[np.uint8]]:
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    return frames


def test_three_tiles_and_the_body_where_it_is(capture: Capture, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.mp4"
    assert write_preview(grey(), [capture], [load_body()], path) == FRAMES
    shown = read(path)
    assert len(shown) == FRAMES and shown[0].shape == (TILE[1], 3 * TILE[0], 3)
    assert [item.name for item in path.parent.iterdir()] == ["a.mp4"]
    for t, frame in enumerate(shown):
        clip, over, beside = (frame[:, k * TILE[0] : (k + 1) * TILE[0]].astype(int) for k in range(3))
        changed = np.abs(over - clip).max(axis=2) > 25
        assert np.abs(clip - 128).max() < 12  # the codec's own
        spine = capture.joints[t, [0, 3, 6, 9]]
        x, y = (spine[:, :2] / spine[:, 2:] * capture.focal_px + np.array(TILE) / 2).astype(int).T
        assert changed[y, x].all() == (t != GAP)
        # As tall as the person, and nowhere else.
        rows, columns = np.nonzero(changed)
        if t == GAP:
            assert not len(rows)
            continue
        joints = capture.joints[t]
        px = joints[:, :2] / joints[:, 2:] * capture.focal_px + np.array(TILE) / 2
        assert rows.max() == pytest.approx(px[:, 1].max(), abs=8) and rows.min() > px[:, 1].min() - 14
        assert columns.min() > px[:, 0].min() - 12 and columns.max() < px[:, 0].max() + 12
        assert (np.abs(beside - beside[-1, 0]).max(axis=2) > 60).mean() > 0.005


def test_two_people_have_two_tints_and_the_nearer_is_in_front(capture: Capture, tmp_path: Path) -> None:
    body = load_body()
    behind = replace(capture, transl=capture.transl + np.array([0.0, 0.0, 1.0], np.float32))
    path = tmp_path / "a.mp4"
    write_preview(grey(1), [behind, capture], [body, body], path)
    (frame,) = read(path)
    joint = capture.joints[0, 6]
    x, y = (joint[:2] / joint[2] * capture.focal_px + np.array(TILE) / 2).astype(int)
    blue, _, red = frame[y, TILE[0] + x].astype(int)
    assert red > blue + 30  # the second tint is orange, the first blue


def test_the_side_view_stands_on_the_ground(capture: Capture) -> None:
    figure = Figure(capture, load_body(), (1, 2, 3))
    side = Side([figure], TILE, PreviewSettings())
    np.testing.assert_allclose(side.axes @ side.axes.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(side.axes) == pytest.approx(1.0)
    for t in range(FRAMES):
        pose = figure.at(t)
        if t == GAP:
            assert pose is None
            continue
        assert pose is not None
        np.testing.assert_allclose(pose.soles[pose.standing] @ side.up, side.ground_m, atol=0.03)
        np.testing.assert_allclose(side.on_ground(pose.world, 0.5) @ side.up, 0.5, atol=1e-5)
        pixels = side.to_pixels(side.to_view(pose.world))
        assert (pixels > -4).all() and (pixels < np.array(TILE) + 4).all()
        # Heads are above feet.
        assert pixels[pose.world @ side.up > 1.2 + side.ground_m, 1].max() < pixels[:, 1].max() - 20


def test_the_grid_is_under_the_lowest_and_others_keep_their_ground(capture: Capture) -> None:
    high = replace(capture, ground_m=capture.ground_m + 2.0, transl=capture.transl + 2.0 * capture.up_camera)
    high.joints = high.joints + 2.0 * high.up_camera
    figures = [Figure(item, load_body(), (1, 2, 3)) for item in (high, capture, replace(capture, ground_m=np.nan))]
    side = Side(figures[:2], TILE, PreviewSettings())
    assert side.ground_m == pytest.approx(capture.ground_m, abs=1e-4)
    grounds = [figure.ground_m(side.up) for figure in figures]
    assert grounds[0] == pytest.approx(capture.ground_m + 2.0, abs=1e-4)
    assert grounds[2] == pytest.approx(capture.ground_m, abs=0.08)  # where none was found: from the joints


def test_a_camera_that_turns_does_not_move_the_ground(capture: Capture) -> None:
    turn = np.zeros((FRAMES, 3), np.float32)
    turn[:, 1] = 0.02 * np.arange(FRAMES)
    figure = Figure(replace(capture, camera_rotvec=turn), load_body(), (1, 2, 3))
    pose = figure.at(5)
    assert pose is not None
    angle = float(turn[5, 1])
    expected = pose.vertices[:, 0] * np.cos(angle) + pose.vertices[:, 2] * np.sin(angle)
    np.testing.assert_allclose(pose.world[:, 0], expected, atol=1e-4)


def test_a_place_that_cannot_be_written_is_one_sentence(capture: Capture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PipelineError, match="Can't write the video"):
        write_preview(grey(1), [capture], [load_body()], tmp_path / "file" / "a.mp4")


def test_a_video_that_is_stopped_leaves_nothing_and_its_file_is_closed_first(
    capture: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[bool] = []

    class Writer:
        fourcc, real = cv2.VideoWriter.fourcc, cv2.VideoWriter

        def __init__(self, *arguments: Any) -> None:
            self.writer = self.real(*arguments)
            self.isOpened, self.write = self.writer.isOpened, self.writer.write

        def release(self) -> None:
            there.append(any(tmp_path.iterdir()))
            self.writer.release()

    def stop(_: float) -> None:
        raise PipelineCancelled

    monkeypatch.setattr(cv2, "VideoWriter", Writer)
    with pytest.raises(PipelineCancelled):
        write_preview(grey(), [capture], [load_body()], tmp_path / "preview.mp4", PreviewSettings(), stop)
    # An open file is there to stay on Windows.
    assert there == [True] and not any(tmp_path.iterdir())


def test_the_command_takes_a_capture(capture: Capture, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for frame in grey(2):
        cv2.imwrite(str(folder / f"{frame.index}.png"), frame.rgb)
    stored, target = tmp_path / "a.npz", tmp_path / "a.mp4"
    replace(capture, source=os.fspath(folder)).save(stored)
    assert main(["video", str(stored), "--preview", str(target)]) == 0
    assert len(read(target)) == 2 and str(target) in capsys.readouterr().out
    for arguments, status, words in (
        ([str(stored), "--preview", str(tmp_path / "a.avi")], 2, "ends in .mp4"),
        ([str(folder)], 2, "Name the capture to write"),
        ([str(tmp_path / "b.npz"), "--preview", str(target)], 1, "There is no file"),
    ):
        assert main(["video", *arguments]) == status
        assert words in capsys.readouterr().err
