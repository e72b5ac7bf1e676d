"""The bench of what long clips cost: a short clip's sightings forth and back, its table and its picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pantomime.core.bench_video_cost import Cost, _order, _repeat, draw, table
from pantomime.core.fitting.video_evidence import pack
from pantomime.core.video_job import JobFolder
from pantomime.core.video_people import Sightings


def test_frames_run_forth_and_back() -> None:
    np.testing.assert_array_equal(_order(4, 9), [0, 1, 2, 3, 2, 1, 0, 1, 2])
    np.testing.assert_array_equal(_order(1, 3), [0, 0, 0])


def test_a_short_clips_sightings_fill_a_long_one(tmp_path: Path) -> None:
    frames = 5
    rows = [pack(None) for _ in range(frames)]
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    arrays["image_px"][:, 0, 0] = np.arange(frames)
    arrays["score"][:] = 1
    arrays |= {
        "row": np.arange(frames), "track": np.zeros(frames, np.int64), "edge": np.zeros(frames, bool),
        "frame_index": np.arange(frames),
        "frame_time_s": np.arange(frames) / 30, "frame_cut": np.zeros(frames, bool),
        "frame_homography": np.zeros((0, 3, 3)), "finished": np.array(True),
    }  # fmt: skip
    with JobFolder(tmp_path / "short") as folder:
        folder.save("seen-00000", "key", arrays)
    _repeat(tmp_path / "short", tmp_path / "long", 150)
    with JobFolder(tmp_path / "long") as folder:
        sightings = Sightings(folder, "key", 3)
        (person,) = sightings.people()
        assert (person.first, person.last) == (0, 149)
        seen = sightings.seen(person, 0, 150)
    np.testing.assert_array_equal(seen.image_px[:, 0, 0], _order(frames, 150))
    np.testing.assert_allclose(np.diff(seen.time_s), 1 / 30)


def test_table_and_picture(tmp_path: Path) -> None:
    costs = [Cost(200, False, 0, 3.0, 2.5, 400, 399, 0.5), Cost(400, True, 40.0, 6.0, 46.0, 700, 690, 1.0)]
    costs.append(Cost(10_000, False, 0, 100.0, 99.0, 460, 390, 24.0))
    lines = table(costs).splitlines()
    assert len(lines) == 5 and "recorded" in lines[2] and "40.0" in lines[3]
    draw(costs, tmp_path / "cost.png")
    picture = cv2.imread(str(tmp_path / "cost.png"))
    assert picture is not None and (picture != 255).mean() > 0.005
