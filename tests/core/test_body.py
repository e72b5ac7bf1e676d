"""The free body that ships: its parts, its axes, what its components do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pantomime.core.body import load
from pantomime.core.body.bake_poses import rotations_of
from pantomime.core.body.free_file import pack, triangles_of, unpack
from pantomime.core.body.load import FREE_BODY_PATH, FREE_POINTS_PATH, BodyError, load_body, read_free_body
from pantomime.core.body.model import BodyModel
from pantomime.core.body.points_file import PointsError, load_points, save_points
from pantomime.core.body.skeleton import JOINT_INDEX, MIRROR, NUM_JOINTS
from pantomime.core.body.skinning import Body
from pantomime.core.detection.vocabulary import POINT_SETS

# Apple's ARKit, ARFaceAnchor.BlendShapeLocation: 52 names.
ARKIT_STEMS = (
    "browDown±", "browInnerUp", "browOuterUp±", "cheekPuff", "cheekSquint±", "eyeBlink±", "eyeLookDown±", "eyeLookIn±",
    "eyeLookOut±", "eyeLookUp±", "eyeSquint±", "eyeWide±", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimple±", "mouthFrown±", "mouthFunnel", "mouthLeft", "mouthLowerDown±", "mouthPress±", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmile±",
    "mouthStretch±", "mouthUpperUp±", "noseSneer±", "tongueOut",
)  # fmt: skip
ARKIT = {stem.replace("±", side) for stem in ARKIT_STEMS for side in ("Left", "Right")}


@pytest.fixture(scope="module")
def model() -> BodyModel:
    return load_body()


def expression(model: BodyModel, *names: str, value: float = 1.0) -> np.ndarray:
    e = np.zeros(model.num_expressions, np.float32)
    e[[model.expression_names.index(name) for name in names]] = value
    return e


def posed(model: BodyModel, **rotations: tuple[float, float, float]) -> np.ndarray:
    """The surface with joints turned by axis-angle in degrees."""
    rotvecs = np.zeros((NUM_JOINTS, 3))
    for name, degrees in rotations.items():
        rotvecs[JOINT_INDEX[name]] = np.deg2rad(degrees)
    return Body(model).vertices(rotmats=torch.as_tensor(rotations_of(rotvecs)).float()).numpy()


def test_the_file_is_under_8_mb_and_needs_no_pickle() -> None:
    assert FREE_BODY_PATH.stat().st_size + FREE_POINTS_PATH.stat().st_size < 8e6
    with np.load(FREE_BODY_PATH, allow_pickle=False) as data:
        assert all(data[key].dtype != object for key in data.files)


def test_it_has_what_the_design_promises(model: BodyModel) -> None:
    assert model.body_id == "free"
    assert (model.num_betas, model.num_expressions) == (24, 52)
    assert set(model.expression_names) == ARKIT
    assert model.bounded_expression
    assert model.J_template.shape == (NUM_JOINTS, 3)
    assert model.weights.shape == (model.num_vertices, NUM_JOINTS)
    assert model.hands_components.shape == (2, 45, 45)
    for material in ("skin", "lips", "nails", "mouth", "sclera", "iris", "pupil", "lashes", "teeth", "tongue"):
        assert (model.material_ids == model.material_names.index(material)).sum() >= 6, material
        assert len(model.vertex_groups[material]) > 0


def test_arrays_are_finite_and_indices_in_range(model: BodyModel) -> None:
    for name in (
        "v_template",
        "shapedirs",
        "exprdirs",
        "posedirs",
        "weights",
        "J_template",
        "J_shapedirs",
        "uv_coords",
    ):
        assert np.isfinite(getattr(model, name)).all(), name
    assert model.quads.min() >= 0
    assert model.quads.max() == model.num_vertices - 1
    assert len(np.unique(model.quads)) == model.num_vertices
    assert 0 <= model.quad_uvs.min() <= model.quad_uvs.max() < len(model.uv_coords)
    assert model.uv_coords.min() >= 0.0
    assert model.uv_coords.max() <= 1.0
    np.testing.assert_array_equal(model.faces, triangles_of(model.quads))
    assert len(model.material_ids) == len(model.quads) == len(model.quad_uvs)


def test_skin_weights_are_a_partition_and_every_joint_but_the_root_chain_holds_something(model: BodyModel) -> None:
    np.testing.assert_allclose(model.weights.sum(1), 1.0, atol=1e-5)
    assert model.weights.min() >= 0.0
    assert (model.weights > 0).sum(1).max() <= 7
    assert (model.weights.max(0) > 0.3).all()


def test_it_stands_in_the_t_pose(model: BodyModel) -> None:
    J = model.J_template

    def direction(first: str, last: str) -> np.ndarray:
        bone = J[JOINT_INDEX[last]] - J[JOINT_INDEX[first]]
        return bone / np.linalg.norm(bone)

    for side, sign in (("left", 1.0), ("right", -1.0)):
        for first, last in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "middle1"), ("middle1", "middle3")):
            assert direction(f"{side}_{first}", f"{side}_{last}")[0] * sign > 0.995, (side, first)
        assert direction(f"{side}_knee", f"{side}_ankle")[1] < -0.999
        assert direction(f"{side}_ankle", f"{side}_foot")[2] > 0.7
    assert direction("pelvis", "head")[1] > 0.98
    assert abs(J[0, 0]) < 1e-4
    height = np.ptp(model.v_template[:, 1])
    assert 1.6 < height < 1.8  # the mean adult


def test_left_and_right_mirror_each_other(model: BodyModel) -> None:
    flip = np.array([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(model.J_template[list(MIRROR)] * flip, model.J_template, atol=0.002)
    # a mirror turns a rotation vector's y and z round
    pseudo = np.array([1.0, -1.0, -1.0])
    right = model.hands_components[1].reshape(-1, 15, 3)
    np.testing.assert_allclose(model.hands_components[0].reshape(-1, 15, 3), right * pseudo, atol=0.01)
    means = model.hands_mean.reshape(2, 15, 3)
    np.testing.assert_allclose(means[0], means[1] * pseudo, atol=0.01)


def test_hand_components_are_orthonormal(model: BodyModel) -> None:
    for components in model.hands_components:
        np.testing.assert_allclose(components @ components.T, np.eye(45), atol=1e-5)


@pytest.mark.parametrize(("side", "row"), [("left", 0), ("right", 1)])
def test_the_first_hand_component_makes_a_fist(model: BodyModel, side: str, row: int) -> None:
    rotvecs = np.zeros((NUM_JOINTS, 3))
    rotvecs[25 + 15 * row : 40 + 15 * row] = 4.5 * model.hands_components[row, 0].reshape(15, 3)
    args = (None, None, torch.as_tensor(rotations_of(rotvecs)).float())
    body = Body(model)
    points = model.points[f"{side}_hand"]
    index = {name.removeprefix(f"{side}_"): i for i, name in enumerate(points.names)}
    flat = body.points(model.virtual_points(points)).numpy()
    fist = body.points(model.virtual_points(points), *args).numpy()
    for finger in ("index", "middle", "ring", "pinky"):
        tip, knuckle = index[f"{finger}4"], index[f"{finger}1"]
        reach = np.linalg.norm(flat[tip] - flat[knuckle])
        assert np.linalg.norm(fist[tip] - fist[knuckle]) < 0.6 * reach, finger
        assert fist[tip, 1] < fist[knuckle, 1] - 0.005, finger  # below the knuckle: on the palm's side


def test_shape_components_have_unit_spread_order(model: BodyModel) -> None:
    size = np.linalg.norm(model.shapedirs.reshape(-1, model.num_betas), axis=0)
    assert (np.diff(size) < 1e-6).all()
    taller = model.v_template + model.shapedirs[:, :, 0]
    assert np.ptp(taller[:, 1]) > np.ptp(model.v_template[:, 1]) + 0.05


def test_joints_are_exactly_linear_in_betas_and_still_under_expressions(model: BodyModel) -> None:
    body = Body(model, dtype=torch.float64)
    generator = np.random.default_rng(0)
    a, b = torch.as_tensor(generator.normal(size=(2, 24)))
    e = torch.as_tensor(generator.random(52))
    zero = body.joints()
    both = body.joints(a + b, e)
    torch.testing.assert_close(both - zero, (body.joints(a) - zero) + (body.joints(b) - zero), atol=1e-12, rtol=0)
    assert not model.J_exprdirs.any()
    assert not model.J_shapedirs[0].any()


def test_expressions_leave_the_body_below_the_neck_alone(model: BodyModel) -> None:
    moved = np.linalg.norm(model.exprdirs, axis=1).max(1) > 1e-4
    assert moved.sum() > 2000
    assert model.v_template[moved, 1].min() > model.J_template[JOINT_INDEX["neck"], 1] - 0.06


def test_eyeballs_keep_still_under_every_look(model: BodyModel) -> None:
    looks = [i for i, name in enumerate(model.expression_names) if name.startswith("eyeLook")]
    assert len(looks) == 8
    for side in ("left", "right"):
        assert not model.exprdirs[model.vertex_groups[f"{side}_eyeball"]][:, :, looks].any()
        lids = np.setdiff1d(model.vertex_groups["head"], model.vertex_groups[f"{side}_eyeball"])
        assert np.abs(model.exprdirs[lids][:, :, looks]).max() > 0.001


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_eye_joint_turns_the_eyeball_upwards_for_minus_x(model: BodyModel, side: str) -> None:
    v = posed(model, **{f"{side}_eye_smplhf": (-20.0, 0.0, 0.0)})
    moved = np.linalg.norm(v - model.v_template, axis=1)
    eye = model.vertex_groups[f"{side}_eyeball"]
    assert moved[np.setdiff1d(np.arange(model.num_vertices), eye)].max() < 0.002  # lids follow a little, as lids do
    assert (model.weights[eye, JOINT_INDEX[f"{side}_eye_smplhf"]] == 1.0).all()
    front = eye[np.argmax(model.v_template[eye, 2])]
    assert v[front, 1] > model.v_template[front, 1] + 0.003
    radius = np.linalg.norm(model.v_template[eye] - model.J_template[JOINT_INDEX[f"{side}_eye_smplhf"]], axis=1)
    assert radius.max() < 0.02  # it turns about its own middle


def test_the_jaw_opens_the_mouth_with_the_lower_teeth_and_the_tongue(model: BodyModel) -> None:
    v = posed(model, jaw=(20.0, 0.0, 0.0))
    drop = model.v_template[:, 1] - v[:, 1]
    teeth = model.vertex_groups["teeth"]
    upper = teeth[model.weights[teeth, JOINT_INDEX["jaw"]] < 0.5]
    lower = teeth[model.weights[teeth, JOINT_INDEX["jaw"]] > 0.5]
    assert len(upper) == len(lower) == 68
    assert np.abs(drop[upper]).max() < 1e-4
    assert drop[lower].min() > 0.005
    tongue = model.vertex_groups["tongue"]
    assert model.weights[tongue, JOINT_INDEX["jaw"]].min() > 0.89
    assert drop[tongue].mean() > 0.005


def test_a_blink_closes_the_lids(model: BodyModel) -> None:
    """The lashes rim the lids: above the pupil and below it they meet at three quarters of a blink."""
    eye = model.J_template[JOINT_INDEX["left_eye_smplhf"]]
    lashes = model.vertex_groups["lashes"]
    lashes = lashes[np.abs(model.v_template[lashes, 0] - eye[0]) < 0.005]
    upper = model.v_template[lashes, 1] > eye[1]

    def opening(value: float) -> float:
        v = model.v_template + model.exprdirs @ expression(model, "eyeBlinkLeft", value=value)
        return float(v[lashes[upper], 1].mean() - v[lashes[~upper], 1].mean())

    assert opening(0.0) > 0.008
    assert abs(opening(0.75)) < 0.003
    assert opening(-0.5) > opening(0.0) > opening(0.4) > opening(0.75)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_elbow_bends_forwards_about_its_hinge(model: BodyModel, side: str) -> None:
    sign = 1.0 if side == "left" else -1.0
    rotvecs = np.zeros((NUM_JOINTS, 3))
    rotvecs[JOINT_INDEX[f"{side}_elbow"], 1] = -sign * np.pi / 2
    joints = Body(model).joints(rotmats=torch.as_tensor(rotations_of(rotvecs)).float()).numpy()
    forearm = joints[JOINT_INDEX[f"{side}_wrist"]] - joints[JOINT_INDEX[f"{side}_elbow"]]
    assert forearm[2] / np.linalg.norm(forearm) > 0.99


@pytest.mark.parametrize("degrees", [60, -60])
def test_correctives_vanish_at_rest_and_win_back_half_of_what_a_twisted_wrist_loses(
    model: BodyModel, degrees: float
) -> None:
    body = Body(model)
    rotvecs = np.zeros((NUM_JOINTS, 3))
    rotvecs[JOINT_INDEX["left_wrist"], 0] = np.deg2rad(degrees)
    rotmats = torch.as_tensor(rotations_of(rotvecs)).float()
    eye = torch.eye(3).expand(NUM_JOINTS, 3, 3)
    torch.testing.assert_close(body.vertices(rotmats=eye), body.vertices(), atol=1e-7, rtol=0)
    wrist = model.J_template[JOINT_INDEX["left_wrist"]]
    ring = np.flatnonzero(np.abs(model.v_template[:, 0] - wrist[0]) < 0.012)
    girth = {
        on: np.linalg.norm(body.vertices(rotmats=rotmats, pose_correctives=on).numpy()[ring][:, 1:] - wrist[1:], axis=1)
        for on in (True, False)
    }
    rest = np.linalg.norm(model.v_template[ring][:, 1:] - wrist[1:], axis=1).mean()
    lost = rest - girth[False].mean()
    assert lost > 0.08 * rest
    assert girth[True].mean() - girth[False].mean() > 0.5 * lost


def test_points_have_the_names_and_order_of_the_vocabulary(model: BodyModel) -> None:
    assert {"pose33", "left_hand", "right_hand", "body25", "coco17", "feet6"} <= set(model.points)
    for name, points in model.points.items():
        assert points.names == POINT_SETS[name]
        surface = points.joint_ids < 0
        np.testing.assert_allclose(points.barycentric[surface].sum(1), 1.0, atol=1e-5)
        assert (points.sigma_m > 0).all()
        assert points.offset_dirs.shape == (len(points.names), 3, model.num_betas)


def test_points_lie_where_anatomy_has_them(model: BodyModel) -> None:
    points = model.points["coco17"]
    place = dict(zip(points.names, model.virtual_points(points).template, strict=True))
    assert place["left_shoulder"][0] > 0.1 > -0.1 > place["right_shoulder"][0]
    assert place["nose"][1] > place["left_shoulder"][1] > place["left_hip"][1] > place["left_ankle"][1]
    assert place["nose"][2] == max(p[2] for name, p in place.items() if "e" in name[-3:] or name == "nose")
    hand = model.points["left_hand"]
    tips = model.virtual_points(hand).template[[i for i, name in enumerate(hand.names) if name.endswith("4")]]
    assert tips[2, 0] == tips[:, 0].max() > model.J_template[JOINT_INDEX["left_middle3"], 0] + 0.015


def test_points_survive_writing_and_reading(model: BodyModel, tmp_path: Path) -> None:
    path = tmp_path / "points ✓.npz"
    save_points(path, model.points)
    read = load_points(path)
    assert list(read) == list(model.points)
    for name, points in model.points.items():
        for key, value in points.__dict__.items():
            np.testing.assert_array_equal(getattr(read[name], key), value)
    first = path.read_bytes()
    save_points(path, model.points)
    assert path.read_bytes() == first


def test_packing_loses_less_than_four_micrometres(model: BodyModel) -> None:
    again = unpack(pack(model.shapedirs), model.num_vertices)
    assert np.abs(again - model.shapedirs).max() < 4e-6


@pytest.mark.parametrize("content", [b"", b"not a body", b"PK\x05\x06" + b"\x00" * 18])
def test_a_damaged_free_body_gives_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "free_body.npz"
    path.write_bytes(content)
    with pytest.raises(BodyError, match="Install Pantomime again"):
        read_free_body(path, None)
    with pytest.raises(PointsError, match="Install Pantomime again"):
        load_points(path)
    with pytest.raises(BodyError, match="Install Pantomime again"):
        read_free_body(FREE_BODY_PATH, path)


def test_a_missing_free_body_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BodyError, match="There is no file"):
        read_free_body(tmp_path / "none.npz", None)


def test_reading_a_body_imports_numpy_only() -> None:
    code = (
        "import sys\nfor name in ('torch', 'scipy', 'cv2', 'mediapipe', 'smplx', 'anny'): sys.modules[name] = None\n"
        "from pantomime.core.body.load import load_body\nprint(load_body('free').num_vertices)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) == load.load_body().num_vertices


@pytest.mark.parametrize("command", [["bake-body"], ["bench", "body"]])
def test_without_anny_the_commands_say_what_to_install(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from pantomime.__main__ import main

    monkeypatch.setitem(sys.modules, "anny", None)
    extra = ["-o", str(tmp_path / "body.npz")] if command == ["bake-body"] else []
    assert main([*command, *extra]) == 1
    error = capsys.readouterr().err
    assert "pip install 'pantomime[bake]'" in error
    assert "Traceback" not in error
    assert not any(tmp_path.iterdir())
