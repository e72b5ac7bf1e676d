"""Clips of people whose motion is known: motion in, people and labels out."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pantomime.core.body.bench_clips import (
    FEET,
    FPS,
    SIZE,
    bench_motions,
    draw_clip,
    foot_vertices,
    label_of,
    load_clip_label,
    save_clip_label,
    write_video,
)
from pantomime.core.body.bench_labels import LabelError
from pantomime.core.body.load import load_body
from pantomime.core.body.skeleton import JOINT_INDEX


def test_ten_motions_are_smooth_and_of_several_seconds() -> None:
    motions = bench_motions()
    assert len(motions) == 10
    assert len({motion.name for motion in motions}) == 10
    for motion in motions:
        count = len(motion.rotations)
        assert 2.5 <= count / FPS <= 5.0
        assert motion.places.shape == (count, 3)
        turn = np.einsum("tjab,tjab->tj", motion.rotations[1:, :22], motion.rotations[:-1, :22])
        step_deg = np.degrees(np.arccos(np.clip(0.5 * (turn - 1.0), -1.0, 1.0)))
        # The fastest, a foot in a whirl, turns by 37 degrees in a frame; capture that flips does by 90 and more.
        assert step_deg.max() < 45.0, motion.name


def test_two_walk_and_one_lies() -> None:
    far = [float(np.linalg.norm(np.ptp(m.places[:, [0, 2]], axis=0))) for m in bench_motions()]
    assert sum(distance > 3.0 for distance in far) == 2  # in leg lengths
    lying = next(m for m in bench_motions() if m.name == "lying")
    up = lying.rotations[:, JOINT_INDEX["pelvis"], 1, 1]
    assert np.median(np.abs(up)) < 0.5


def test_foot_vertices_are_under_heels_and_toes() -> None:
    body = load_body()
    heel_l, toe_l, heel_r, toe_r = body.v_template[foot_vertices(body.v_template)]
    assert FEET == ("left_heel", "left_toe", "right_heel", "right_toe")
    for heel, toe, sign in ((heel_l, toe_l, 1.0), (heel_r, toe_r, -1.0)):
        assert sign * heel[0] > 0.02 and sign * toe[0] > 0.02
        assert 0.08 < toe[2] - heel[2] < 0.2
        assert max(heel[1], toe[1]) < body.v_template[:, 1].min() + 0.012


def test_label_of_a_drawn_clip(tmp_path: Path) -> None:
    pytest.importorskip("anny")
    from pantomime.core.body.bench_people import People

    body = load_body()
    clip = draw_clip(People(body), body, index=5, frames=4)
    label = label_of(clip, body)
    assert label.joints.shape == (4, 55, 3) and label.feet.shape == (4, 4, 3)
    # All of the person is in the picture, upright, with the feet on the floor.
    pixels = label.focal_px * label.joints[..., :2] / label.joints[..., 2:] + 0.5 * np.array(SIZE)
    assert (pixels > 0).all() and (pixels < SIZE).all()
    assert (pixels[:, JOINT_INDEX["head"], 1] < pixels[:, JOINT_INDEX["left_ankle"], 1]).all()
    rotation, shift = label.T_camera_world[:3, :3], label.T_camera_world[:3, 3]
    world = (label.feet - shift) @ rotation
    assert np.abs(world[..., 1]).max() < 0.05
    save_clip_label(tmp_path / "a.npz", label)
    again = load_clip_label(tmp_path / "a.npz")
    assert again.name == "jump" and again.image_size == SIZE
    np.testing.assert_array_equal(again.joints, label.joints)


def test_a_file_that_is_no_label(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no label")
    with pytest.raises(LabelError, match="render-clips"):
        load_clip_label(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", format_version=99)
    with pytest.raises(LabelError, match="another version"):
        load_clip_label(tmp_path / "b.npz")


def test_pictures_become_a_video(tmp_path: Path) -> None:
    pictures = []
    for number in range(5):
        pictures.append(tmp_path / f"{number}.jpg")
        cv2.imwrite(str(pictures[-1]), np.full((48, 64, 3), 40 * number, np.uint8))
    write_video(pictures, tmp_path / "clip.mp4")
    video = cv2.VideoCapture(str(tmp_path / "clip.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == FPS
    means = []
    while (frame := video.read())[0]:
        means.append(float(frame[1].mean()))
    np.testing.assert_allclose(means, [0, 40, 80, 120, 160], atol=6)
    assert not list(tmp_path.glob("*.part*"))
