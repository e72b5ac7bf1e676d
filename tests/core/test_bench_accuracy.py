"""The accuracy bench, on people that are made from the free body here, so that it needs neither anny nor Blender."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pantomime.__main__ import main
from pantomime.core.body.bake_poses import rotations_of
from pantomime.core.body.bench_labels import (
    BEHIND_BODY,
    BEHIND_OBJECT,
    OUTSIDE,
    VISIBLE,
    LabelError,
    PersonLabel,
    load_label,
    save_label,
)
from pantomime.core.body.bench_people import GESTURES, PosedPerson, facing, finger_axes, hand_rotations
from pantomime.core.body.bench_things import Things, draw_obstacle, hidden_share, point_visibility, seat_for
from pantomime.core.body.bench_views import View, draw_view, look_at
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, JOINT_NAMES, LEFT_HAND, NUM_JOINTS, RIGHT_HAND
from pantomime.core.body.skinning import Body
from pantomime.core.capture import Capture
from pantomime.core.detection.observation import Observation, Points
from pantomime.core.fitting.bench_accuracy import BenchError, changed, is_redundant, load_samples, run_variant
from pantomime.core.fitting.bench_evidence import (
    detection_digest,
    load_observations,
    matching,
    save_observations,
    true_observation,
    without,
)
from pantomime.core.fitting.bench_report import (
    by_condition,
    expression_rows,
    expression_table,
    gesture_rows,
    gesture_table,
    summary,
)
from pantomime.core.fitting.bench_scores import Scorer, peer_score
from pantomime.core.fitting.bench_types import Result, Sample, Variant
from pantomime.core.fitting.settings import FitSettings
from pantomime.core.rotation import exp_so3

SIZE, FOCAL = (320, 400), 480.0
UPRIGHT = np.diag([1.0, -1.0, -1.0])  # the body's axes in the camera's: it looks into the camera


@pytest.fixture(scope="module")
def scorer(body: BodyModel) -> Scorer:
    return Scorer(body)


@pytest.fixture(scope="module")
def pose() -> np.ndarray:
    """(55, 3) arms down, knees and an arm bent."""
    vectors = np.zeros((NUM_JOINTS, 3))
    vectors[0] = [np.pi, 0, 0]
    for name, value in {
        "left_shoulder": (0, 0, -1.1),
        "right_shoulder": (0, 0.3, 1.0),
        "right_elbow": (0, 1.2, 0),
        "left_hip": (-0.5, 0, 0.1),
        "left_knee": (0.7, 0, 0),
    }.items():
        vectors[JOINT_INDEX[name]] = value
    return vectors


def capture_of(body: BodyModel, vectors: np.ndarray, betas: np.ndarray, place: tuple[float, float, float]) -> Capture:
    posing = Body(body)
    rotmats = exp_so3(torch.as_tensor(vectors, dtype=torch.float32))
    transl = torch.tensor(place) - posing.rest_joints(torch.as_tensor(betas, dtype=torch.float32))[0]
    joints = posing.joints(torch.as_tensor(betas, dtype=torch.float32), None, rotmats, transl)
    rows = vectors.astype(np.float32).reshape(1, -1)
    return Capture(
        betas=betas.astype(np.float32),
        expression=np.zeros((1, body.num_expressions), np.float32),
        global_orient=rows[:, :3],
        body_pose=rows[:, 3:66],
        jaw_pose=rows[:, 66:69],
        leye_pose=rows[:, 69:72],
        reye_pose=rows[:, 72:75],
        left_hand_pose=rows[:, 75:120],
        right_hand_pose=rows[:, 120:],
        transl=transl.numpy()[None],
        joints=joints.numpy()[None],
        joint_names=JOINT_NAMES,
        focal_px=FOCAL,
        principal_px=np.array(SIZE, np.float32) / 2,
        image_size=SIZE,
    )


def label_of(body: BodyModel, capture: Capture, things: Things | None = None, index: int = 0) -> PersonLabel:
    things = things or Things.none()
    posing = Body(body)
    betas = torch.as_tensor(capture.betas)
    rotmats = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)))
    transl = torch.as_tensor(capture.transl[0])
    vertices = posing.vertices(betas, None, rotmats, transl)
    world, joints = posing.chain(posing.rest_joints(betas), rotmats, transl)
    pixels = FOCAL * joints[:, :2] / joints[:, 2:] + torch.tensor(SIZE) / 2
    view = View(np.eye(3), np.zeros(3), FOCAL, SIZE)
    flat = joints.numpy().astype(np.float64)
    visibility = point_visibility(
        flat,
        np.full(NUM_JOINTS, 0.06),
        vertices.numpy().astype(np.float64),
        body.faces,
        things.vertices,
        things.triangles,
        FOCAL,
        SIZE,
    )
    return PersonLabel(
        seed=5,
        index=index,
        pose_index=0,
        mirrored=False,
        action="stand",
        framing="full",
        image_size=SIZE,
        focal_px=FOCAL,
        principal_px=np.array(SIZE, np.float32) / 2,
        T_camera_world=np.eye(4, dtype=np.float32),
        vertices=vertices.numpy(),
        joints=joints.numpy(),
        joints_px=pixels.numpy(),
        joint_visibility=visibility,
        rotations=rotmats.numpy(),
        joint_rotations=world.numpy(),
        t_vertices=posing.vertices(betas).numpy(),
        t_joints=posing.rest_joints(betas).numpy(),
        expression=np.zeros(body.num_expressions, np.float32),
        phenotype=np.zeros(3, np.float32),
        object_vertices=things.vertices.astype(np.float32),
        object_quads=things.quads,
        object_ids=things.ids,
        hidden_share=hidden_share(vertices.numpy(), things, view, body.faces),
    )


@pytest.fixture(scope="module")
def person(body: BodyModel, pose: np.ndarray) -> tuple[Capture, PersonLabel]:
    betas = np.zeros(body.num_betas)
    betas[:3] = [0.8, -0.6, 0.4]
    capture = capture_of(body, pose, betas, (0.05, 0.0, 2.4))
    return capture, label_of(body, capture)


# ------------------------------------------------------------------------------------------------------------- scores


def test_the_truth_scores_no_error(scorer: Scorer, person: tuple[Capture, PersonLabel]) -> None:
    scores = scorer.score(*person)
    errors = {name: value for name, value in scores.items() if name not in ("pck", "iou")}
    assert max(errors.values()) < 0.01
    assert scores["pck"] == 1.0 and scores["iou"] == 1.0


def test_a_wrong_place_costs_overlap_but_no_error_of_the_body(
    scorer: Scorer, person: tuple[Capture, PersonLabel]
) -> None:
    capture, label = person
    shift = np.array([0.4, 0.0, 0.0], np.float32)
    scores = scorer.score(replace(capture, transl=capture.transl + shift, joints=capture.joints + shift), label)
    assert scores["pve"] < 0.01 and scores["mpjpe"] < 0.01
    assert scores["pck"] == 0.0 and scores["iou"] < 0.5


def test_a_wrong_wrist_is_an_error_of_hands_that_alignment_forgives(
    body: BodyModel, scorer: Scorer, pose: np.ndarray, person: tuple[Capture, PersonLabel]
) -> None:
    capture, label = person
    bent = pose.copy()
    bent[JOINT_INDEX["left_wrist"]] = [0.0, 0.0, 0.8]
    scores = scorer.score(capture_of(body, bent, capture.betas.astype(np.float64), (0.05, 0.0, 2.4)), label)
    assert scores["pve_hands"] > 20 and scores["mpjpe_hands"] > 20
    assert scores["pa_mpjpe_hands"] < 0.01 and scores["pa_pve_hands"] < 4  # skin about the wrist does bend
    assert scores["mpjpe"] < 0.01 and scores["pve_face"] < 0.01


def test_hands_out_of_sight_do_not_count_as_seen(scorer: Scorer, person: tuple[Capture, PersonLabel]) -> None:
    capture, label = person
    nothing = replace(label, joint_visibility=np.full(NUM_JOINTS, OUTSIDE, np.uint8))
    assert np.isnan(scorer.score(capture, nothing)["pa_pve_seen_hands"])
    assert np.isfinite(scorer.score(capture, nothing)["pa_pve_hands"])


def test_the_face_is_what_expressions_move_and_hands_are_hands(body: BodyModel, scorer: Scorer) -> None:
    face = body.v_template[scorer.regions.face]
    assert face[:, 1].min() > body.J_template[JOINT_INDEX["neck"]][1] - 0.05
    assert len(scorer.regions.face) > 1000
    for part, sign in zip(scorer.regions.hands, (1, -1), strict=True):
        assert (sign * body.v_template[part][:, 0]).min() > 0.5
    assert len(scorer.regions.all) < body.num_vertices  # no teeth, no eyes


def test_the_peer_is_scored_over_twelve_joints(person: tuple[Capture, PersonLabel], body: BodyModel) -> None:
    _, label = person
    observation = true_observation(body, label, occluded=False)
    assert np.isnan(peer_score(observation, label)) and np.isnan(peer_score(None, label))
    from pantomime.core.fitting.bench_evidence import true_points

    places, _ = true_points(body, label)["pose33"]
    world = Points(
        observation.points["pose33"].image_px, np.ones(33, np.float32), (0.5 * places - 1.0).astype(np.float32)
    )
    # Shoulder and hip points of the detector are no joint centres, so the truth is near, not zero.
    assert peer_score(replace(observation, points={"pose33": world}), label) < 30


# ----------------------------------------------------------------------------------------------------------- evidence


def test_true_points_are_where_the_body_has_them(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    capture, label = person
    observation = true_observation(body, label, occluded=False)
    posing = Body(body)
    rotmats = exp_so3(torch.as_tensor(capture.full_pose()[0].reshape(-1, 3)))
    for name, points in observation.points.items():
        virtual = body.virtual_points(body.points[name])
        places = posing.points(
            virtual, torch.as_tensor(capture.betas), None, rotmats, torch.as_tensor(capture.transl[0])
        )
        pixels = (FOCAL * places[:, :2] / places[:, 2:]).numpy() + np.array(SIZE) / 2
        assert np.abs(points.image_px - pixels).max() < 0.6, name
    assert {"pose33", "left_hand", "right_hand"} <= set(observation.points)


def test_what_a_thing_hides_is_not_given_when_occluded(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    capture, _ = person
    knee = capture.joints[0, JOINT_INDEX["left_knee"]].astype(np.float64)
    near = 0.7 * knee
    things = Things.none().with_box(near - [0.12, 0.12, 0.02], near + [0.12, 0.12, 0.02])
    label = label_of(body, capture, things)
    assert label.joint_visibility[JOINT_INDEX["left_knee"]] == BEHIND_OBJECT
    assert 0.01 < label.hidden_share < 0.3
    knee_point = body.points["pose33"].names.index("left_knee")
    assert true_observation(body, label, occluded=True).points["pose33"].confidence[knee_point] == 0
    assert true_observation(body, label, occluded=False).points["pose33"].confidence[knee_point] == 1


def test_visibility_tells_things_from_the_body_and_the_frame(
    body: BodyModel, person: tuple[Capture, PersonLabel]
) -> None:
    _, label = person
    chest = label.joints[JOINT_INDEX["spine3"]].astype(np.float64)
    points = np.array([chest + [0, 0, 1.0], chest + [0, 0, -0.6], chest + [9.0, 0, 0]])
    none = Things.none()
    seen = point_visibility(
        points, np.full(3, 0.01), label.vertices, body.faces, none.vertices, none.triangles, FOCAL, SIZE
    )
    assert seen.tolist() == [BEHIND_BODY, VISIBLE, OUTSIDE]


def test_parts_of_the_evidence_can_be_taken_away() -> None:
    zeros = Points(np.zeros((1, 2), np.float32), np.ones(1, np.float32), np.zeros((1, 3), np.float32))
    mask = np.zeros((2, 2), np.uint8)
    whole = Observation(
        SIZE,
        np.zeros(4, np.float32),
        1.0,
        dict.fromkeys(("pose33", "left_hand", "face468"), zeros),
        mask,
        np.zeros(4),
    )
    assert set(without(whole, ("hands",)).points) == {"pose33", "face468"}
    assert set(without(whole, ("face",)).points) == {"pose33", "left_hand"}
    assert all(points.world_m is None for points in without(whole, ("hints",)).points.values())
    assert without(whole, ("mask",)).mask is None and without(whole, ()).mask is mask


def test_detections_survive_being_kept(tmp_path: Path, body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    seen = true_observation(body, person[1], occluded=True)
    seen = replace(
        seen, mask=np.full((4, 3), 200, np.uint8), mask_box_px=seen.box_px, face_scores={"jawOpen": 0.5}, source="test"
    )
    save_observations(tmp_path / "a.npz", [seen], "digest")
    (back,) = load_observations(tmp_path / "a.npz", "digest") or []
    assert back.image_size == seen.image_size and back.source == "test" and back.face_scores == {"jawOpen": 0.5}
    np.testing.assert_array_equal(back.mask, seen.mask)
    for name, points in seen.points.items():
        np.testing.assert_array_equal(back.points[name].image_px, points.image_px)
        np.testing.assert_array_equal(back.points[name].confidence, points.confidence)
        assert back.points[name].world_m is None
    assert load_observations(tmp_path / "a.npz", "another") is None
    assert load_observations(tmp_path / "a.npz", None) is not None
    (tmp_path / "b.npz").write_bytes(b"no archive")
    assert load_observations(tmp_path / "b.npz", None) is None


def test_the_labelled_person_is_told_from_others(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    right = true_observation(body, person[1], occluded=False)
    beside = replace(right, box_px=np.array([0, 0, 20, 400], np.float32))
    assert matching([beside, right], person[1]) is right
    assert matching([beside], person[1]) is None
    assert matching([], person[1]) is None


# -------------------------------------------------------------------------------------------------------------- views


@pytest.fixture(scope="module")
def standing(body: BodyModel, pose: np.ndarray) -> Callable[..., PosedPerson]:
    """Makes a person in the world, turned about the vertical."""

    def make(turn_rad: float, sits: bool = False) -> PosedPerson:
        vectors = pose.copy()
        for side in ("left", "right") if sits else ():
            vectors[JOINT_INDEX[f"{side}_hip"]] = [-1.5, 0, 0]
            vectors[JOINT_INDEX[f"{side}_knee"]] = [1.5, 0, 0]
        vectors[0] = [0.0, turn_rad, 0.0]
        posing = Body(body)
        rotmats = torch.as_tensor(rotations_of(vectors), dtype=torch.float32)
        vertices = posing.vertices(rotmats=rotmats).numpy().astype(np.float64)
        world, joints = (item.numpy().astype(np.float64) for item in posing.chain(posing.J_template, rotmats, None))
        shift = -np.array([joints[0, 0], vertices[:, 1].min(), joints[0, 2]])
        template, rest = body.v_template.astype(np.float64), body.J_template.astype(np.float64)
        return PosedPerson(
            vertices + shift, joints + shift, world, rotations_of(vectors), template, rest, np.zeros(52), np.zeros(3)
        )

    return make


def test_people_face_where_they_are_turned(standing: Callable[..., PosedPerson]) -> None:
    np.testing.assert_allclose(facing(standing(0.7)), [np.sin(0.7), 0, np.cos(0.7)], atol=1e-6)


def test_cameras_see_whom_they_frame_mostly_from_before(standing: Callable[..., PosedPerson]) -> None:
    whole = standing(0.4)
    person = replace(whole, vertices=whole.vertices[::9], t_vertices=whole.t_vertices[::9])
    before = 0
    for seed in range(40):
        view, framing = draw_view(np.random.default_rng(seed), person)
        camera = view.to_camera(person.vertices)
        assert camera[:, 2].min() > 0.1
        assert 0 < view.centre[1] < 3
        np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(view.rotation) == pytest.approx(1.0)
        assert 23.9 < view.focal_px / max(view.size) * 36 < 135.1
        pixels = view.project(person.vertices)
        if framing == "full":
            assert pixels.min() > -1 and (pixels <= np.array(view.size) + 1).all()
        else:
            assert pixels[:, 1].max() > view.size[1]  # the feet are cut off
        before += bool((view.centre - person.joints[0]) @ facing(person) > 0)
    assert before >= 34


def test_a_camera_looks_at_its_target_upright() -> None:
    rotation = look_at(np.array([0.0, 1.0, 3.0]), np.zeros(3), 0.0)
    np.testing.assert_allclose(rotation @ (np.zeros(3) - [0.0, 1.0, 3.0]), [0, 0, np.sqrt(10)], atol=1e-9)
    assert rotation[1, 1] < 0  # down in the picture is down in the world


def test_things_in_the_way_hide_some_of_a_person_and_touch_nothing(
    body: BodyModel, standing: Callable[..., PosedPerson]
) -> None:
    person = standing(0.0)
    made = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        view, _ = draw_view(rng, person)
        things = draw_obstacle(rng, person, view, Things.none(), body.faces)
        if len(things.quads):
            made += 1
            assert 0.02 < hidden_share(person.vertices, things, view, body.faces) < 0.4
            low, high = things.vertices.min(0), things.vertices.max(0)
            assert not ((person.vertices > low) & (person.vertices < high)).all(1).any()
    assert made >= 4


def test_only_sitters_get_a_seat(standing: Callable[..., PosedPerson]) -> None:
    assert not len(seat_for(standing(0.3)).quads)
    person = standing(0.4, sits=True)
    seat = seat_for(person)
    assert len(seat.quads) == 6
    assert seat.vertices[:, 1].min() == pytest.approx(0.0)
    # Its top just touches what sits on it.
    lowest = person.vertices[np.linalg.norm((person.vertices - seat.vertices.mean(0))[:, [0, 2]], axis=1) < 0.1][:, 1]
    assert 0 < lowest.min() - seat.vertices[:, 1].max() < 0.02


# ------------------------------------------------------------------------------------------------------------- labels


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


# ------------------------------------------------------------------------------------------------------------ the run


@pytest.fixture
def folder(tmp_path: Path, body: BodyModel, person: tuple[Capture, PersonLabel]) -> Path:
    """Two pictures; the detector saw the first one's true points and nobody in the second."""
    for index in range(2):
        label = replace(person[1], index=index)
        save_label(tmp_path / f"{index:04d}.npz", label)
        Image.new("RGB", SIZE, (90, 90, 90)).save(tmp_path / f"{index:04d}.jpg")
        seen = [true_observation(body, label, occluded=False)] if index == 0 else []
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


def test_fingers_are_judged_in_the_wrist_s_frame(
    body: BodyModel, scorer: Scorer, pose: np.ndarray, person: tuple[Capture, PersonLabel]
) -> None:
    capture, label = person
    betas = capture.betas.astype(np.float64)
    label = replace(label, joint_visibility=np.full(NUM_JOINTS, VISIBLE, np.uint8))
    bent = pose.copy()
    bent[JOINT_INDEX["left_wrist"]] = [0.0, 0.0, 0.8]
    bent[JOINT_INDEX["right_elbow"]] = [0.4, 0.3, 0.0]
    scores = scorer.score(capture_of(body, bent, betas, (0.05, 0.0, 2.4)), label, silhouettes=False)
    assert scores["fingers_hands"] < 0.01 < scores["mpjpe_hands"]
    bent = pose.copy()
    bent[JOINT_INDEX["left_index1"]] = [0.0, 0.0, -1.0]
    scores = scorer.score(capture_of(body, bent, betas, (0.05, 0.0, 2.4)), label, silhouettes=False)
    assert 1 < scores["fingers_seen_hands"] == pytest.approx(scores["fingers_hands"])


def test_expressions_that_follow_the_truth_correlate(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    capture, label = person
    names = body.expression_names
    rng = np.random.default_rng(2)
    results = []
    for k in range(30):
        true = np.zeros(len(names), np.float32)
        if k % 3:
            true[names.index("jawOpen")] = rng.uniform(0.4, 1.0)
        fitted = np.zeros((1, len(names)), np.float32)
        fitted[0, names.index("jawOpen")] = 0.5 * true[names.index("jawOpen")]
        fitted[0, names.index("mouthPucker")] = rng.uniform(0, 0.1)
        sample = Sample(Path("x.jpg"), replace(label, expression=true), None)
        results.append(Result(sample, {"pve": 1.0}, replace(capture, expression=fitted), 0.1))
    rows = expression_rows(results, names)
    assert rows["open mouth"]["correlation"] == pytest.approx(1.0, abs=1e-6)
    assert rows["open mouth"]["fitted"] == pytest.approx(0.5 * rows["open mouth"]["true"])
    assert "pucker" not in rows  # nobody puckered: there is nothing to follow
    assert 0 < rows["neutral faces, largest component"]["at_rest"] <= 0.1
    assert "| open mouth | 1.00 |" in expression_table(rows)


def test_fingers_are_told_by_what_the_true_hand_does(body: BodyModel, person: tuple[Capture, PersonLabel]) -> None:
    capture, label = person
    rotations = label.rotations.copy()
    fist = hand_rotations(finger_axes(body.hands_mean[0]), np.array(GESTURES["fist"]), 1.0)
    rotations[LEFT_HAND], rotations[RIGHT_HAND] = fist, np.diag([1.0, -1.0, -1.0])  # the right one is no gesture
    sample = Sample(Path("x.jpg"), replace(label, rotations=rotations), None)
    scores = {"fingers_seen_left_hand": 7.0, "fingers_seen_right_hand": 90.0}
    hidden = {"fingers_seen_left_hand": float("nan"), "fingers_seen_right_hand": float("nan")}
    rows = gesture_rows([Result(sample, scores, capture, 0.1), Result(sample, hidden, capture, 0.1)], body)
    assert rows == {"fist": {"fingers": 7.0, "hands": 1.0}}
    assert "| fist | 1 | 7.0 |" in gesture_table(rows)


def test_ablations_that_change_nothing_are_left_out(body: BodyModel) -> None:
    assert is_redundant(body, Variant("as it is"))
    assert not is_redundant(body, Variant("no hands", without=("hands",)))
    assert not is_redundant(body, Variant("no prior", priors="none"))
    assert not is_redundant(body, Variant("other weight", settings=(("pose_prior", 0.01),)))
