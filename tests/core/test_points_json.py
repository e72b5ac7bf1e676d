"""OpenPose and COCO-WholeBody files become observations; what does not fit is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pantomime.core.detection.observation import sure_noise_px
from pantomime.core.detection.points_json import BODY18, PointsFileError, read_points
from pantomime.core.detection.vocabulary import BODY25, COCO17, POINT_SETS

SIZE = (640, 480)


def triples(count: int, seed: int = 0, low: float = 100.0, high: float = 300.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(low, high, (count, 2)), rng.uniform(0.5, 1.0, count)])


def flat(table: np.ndarray) -> list[float]:
    return [float(value) for value in table.reshape(-1)]


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "points.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def openpose_person(seed: int = 0, **ranges: float) -> dict[str, Any]:
    return {
        "person_id": [-1],
        "pose_keypoints_2d": flat(triples(25, seed, **ranges)),
        "face_keypoints_2d": flat(triples(70, seed + 1, **ranges)),
        "hand_left_keypoints_2d": flat(triples(21, seed + 2, **ranges)),
        "hand_right_keypoints_2d": flat(triples(21, seed + 3, **ranges)),
        "pose_keypoints_3d": [],
    }


def test_openpose_points_arrive_under_their_names(tmp_path: Path) -> None:
    (seen,) = read_points(write(tmp_path, {"version": 1.3, "people": [openpose_person()]}), SIZE)
    assert seen.source == "openpose-json"
    assert seen.image_size == SIZE
    assert {name: len(points.image_px) for name, points in seen.points.items()} == {
        "body25": 25, "face68": 68, "left_hand": 21, "right_hand": 21,
    }  # fmt: skip
    for name, seed, count in (("body25", 0, 25), ("face68", 1, 70), ("left_hand", 2, 21), ("right_hand", 3, 21)):
        expected = triples(count, seed)[: len(POINT_SETS[name])]
        assert np.allclose(seen.points[name].image_px, expected[:, :2], atol=1e-3)
        assert np.allclose(seen.points[name].confidence, expected[:, 2], atol=1e-6)


def test_how_far_points_may_be_off_is_kept_by_the_person_s_size(tmp_path: Path) -> None:
    path = write(tmp_path, {"people": [openpose_person()]})
    (usual,), (known,), (rough,) = (read_points(path, SIZE, error_px=error) for error in (None, 0.0, 10.0))
    assert usual.noise_share == 1.0 and known.noise_share == 0.0
    assert rough.noise_share == pytest.approx(10.0 / sure_noise_px(rough.box_px))
    assert sure_noise_px(rough.box_px) == pytest.approx(1.8, abs=0.1)  # 0.9 % of 200 px


def test_zeros_are_not_seen_and_do_not_widen_the_box(tmp_path: Path) -> None:
    person = openpose_person()
    body = triples(25)
    body[3:7] = 0.0
    person["pose_keypoints_2d"] = flat(body)
    person["hand_left_keypoints_2d"] = [0.0] * 63
    (seen,) = read_points(write(tmp_path, {"people": [person]}), SIZE)
    assert (seen.points["body25"].confidence[3:7] == 0.0).all()
    assert "left_hand" not in seen.points
    assert seen.box_px.min() >= 100.0


def test_several_people_come_largest_first_and_empty_ones_not_at_all(tmp_path: Path) -> None:
    nobody = {"pose_keypoints_2d": [0.0] * 75}
    people = [openpose_person(0, low=100, high=150), nobody, openpose_person(5, low=50, high=400)]
    first, second = read_points(write(tmp_path, {"people": people}), SIZE)
    assert np.ptp(first.box_px[[0, 2]]) > 2 * np.ptp(second.box_px[[0, 2]])


def test_the_older_18_points_take_their_places_among_the_25(tmp_path: Path) -> None:
    body = triples(18)
    (seen,) = read_points(write(tmp_path, {"people": [{"pose_keypoints_2d": flat(body)}]}), SIZE)
    for name in ("nose", "left_knee", "right_wrist", "left_ear"):
        expected = body[BODY18.index(name), :2]
        assert np.allclose(seen.points["body25"].image_px[BODY25.index(name)], expected, atol=1e-3)
    hips = body[[BODY18.index("left_hip"), BODY18.index("right_hip")], :2]
    assert np.allclose(seen.points["body25"].image_px[BODY25.index("mid_hip")], hips.mean(axis=0), atol=1e-3)
    assert (seen.points["body25"].confidence[19:] == 0.0).all()


def test_shares_of_the_picture_become_pixels(tmp_path: Path) -> None:
    body = triples(25, low=0.2, high=0.6)
    (seen,) = read_points(write(tmp_path, {"people": [{"pose_keypoints_2d": flat(body)}]}), SIZE)
    assert np.allclose(seen.points["body25"].image_px, body[:, :2] * np.array(SIZE), atol=1e-3)


WHOLEBODY_KEYS = {
    "coco17": "keypoints", "feet6": "foot_kpts", "face68": "face_kpts", "left_hand": "lefthand_kpts",
    "right_hand": "righthand_kpts",
}  # fmt: skip


def test_wholebody_annotations_and_133_flat_points_mean_the_same(tmp_path: Path) -> None:
    table = triples(133)
    parts = np.split(table, [17, 23, 91, 112])
    record = {key: flat(part) for key, part in zip(WHOLEBODY_KEYS.values(), parts, strict=True)}
    (split,) = read_points(write(tmp_path, {"annotations": [record]}), SIZE)
    forms: list[Any] = [
        [{"image_id": 4, "keypoints": flat(table), "score": 0.9}],
        {"keypoints": flat(table)},
        {"instance_info": [{"keypoints": table[:, :2].tolist(), "keypoint_scores": table[:, 2].tolist()}]},
        {"predictions": [[{"keypoints": table[:, :2].tolist(), "keypoint_scores": table[:, 2].tolist()}]]},
    ]
    for form in forms:
        (whole,) = read_points(write(tmp_path, form), SIZE)
        assert whole.source == "coco-wholebody-json"
        assert whole.points.keys() == split.points.keys() == WHOLEBODY_KEYS.keys()
        for name in WHOLEBODY_KEYS:
            assert np.allclose(whole.points[name].image_px, split.points[name].image_px, atol=1e-3)
            assert np.allclose(whole.points[name].confidence, split.points[name].confidence, atol=1e-6)


def test_coco_flags_mean_absent_hidden_and_seen(tmp_path: Path) -> None:
    body = triples(17)
    body[:, 2] = 2.0
    body[5, 2], body[6, 2] = 1.0, 0.0
    (seen,) = read_points(write(tmp_path, {"annotations": [{"keypoints": flat(body)}]}), SIZE)
    confidence = seen.points["coco17"].confidence
    assert (confidence[5], confidence[6], confidence[0]) == (0.5, 0.0, 1.0)
    assert seen.points["coco17"].image_px[COCO17.index("left_shoulder")] == pytest.approx(body[5, :2], abs=1e-3)


def test_a_file_of_several_pictures_gives_the_one_that_is_named(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "sub/b.jpg"}],
        "annotations": [
            {"image_id": 1, "keypoints": flat(triples(17, 1))},
            {"image_id": 2, "keypoints": flat(triples(17, 2))},
        ],
    }
    path = write(tmp_path, content)
    (seen,) = read_points(path, SIZE, photo="/elsewhere/b.jpg")
    assert np.allclose(seen.points["coco17"].image_px, triples(17, 2)[:, :2], atol=1e-3)
    with pytest.raises(PointsFileError, match="several pictures"):
        read_points(path, SIZE, photo="c.jpg")


def test_the_score_is_the_mean_belief_in_the_limbs(tmp_path: Path) -> None:
    body = triples(25)
    body[:, 2] = 0.25
    (seen,) = read_points(write(tmp_path, {"people": [{"pose_keypoints_2d": flat(body)}]}), SIZE)
    assert seen.score == pytest.approx(0.25)


BAD = {
    "[": "not JSON",
    "{}": "no people",
    "[]": "no people",
    "3": "no people",
    '{"people": [4]}': "records",
    '{"people": [{"pose_keypoints_2d": [1, 2, 3, 4]}]}': "not a list of x, y and confidence",
    '{"people": [{"pose_keypoints_2d": [1, 2, 0.5, 4, 5, 0.5]}]}': "2 points where 25 belong",
    '{"people": [{"pose_keypoints_2d": "much"}]}': "not a list",
    '{"people": [{"pose_keypoints_2d": [' + ", ".join(["NaN"] * 75) + "]}]}": "no pixels",
    '{"annotations": [{"keypoints": {"x": 1}}]}': "not a list",
    '{"annotations": [{"keypoints": [[1, 2], [3]]}]}': "not a list",
}


@pytest.mark.parametrize("text", BAD)
def test_a_malformed_file_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PointsFileError, match=BAD[text]) as caught:
        read_points(path, SIZE)
    assert "bad.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PointsFileError, match="no file"):
        read_points(tmp_path / "none.json", SIZE)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(PointsFileError, match="not JSON"):
        read_points(tmp_path / "b.json", SIZE)
    with pytest.raises(PointsFileError, match="Can't read"):
        read_points(tmp_path, SIZE)


def test_points_of_another_picture_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path, {"people": [openpose_person(low=900, high=2000)]})
    with pytest.raises(PointsFileError, match="640 × 480"):
        read_points(path, SIZE)
