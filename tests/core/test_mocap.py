"""Motion capture files read into SMPL-X rotations, on small files that the tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pantomime.core.body.skeleton import JOINT_INDEX, NUM_JOINTS, PARENTS
from pantomime.core.priors.mocap import (
    TEST_SUBJECTS,
    VALIDATION_SUBJECTS,
    action_class,
    load_poses,
    mirrored,
    pick_diverse,
    plausible,
    split_of,
    thinned,
)
from pantomime.core.priors.mocap_files import (
    EXPMAP_NAMES,
    Clip,
    MocapError,
    read_amc,
    read_asf,
    read_bvh,
    read_expmap,
)
from pantomime.core.priors.mocap_rigs import rig_for, to_smplx
from pantomime.core.priors.so3 import axis_rotation, exp_so3, geodesic, log_so3

BENCH_POSES = Path(__file__).parents[2] / "core" / "body" / "data" / "bench_poses.npz"

BVH = """HIERARCHY
ROOT Hips
{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
 JOINT Spine
 {
  OFFSET 0 2 0
  CHANNELS 3 Xrotation Yrotation Zrotation
  JOINT Neck
  {
   OFFSET 0 3 0
   CHANNELS 3 Zrotation Yrotation Xrotation
   End Site
   {
    OFFSET 0 1 0
   }
  }
 }
}
MOTION
Frames: 2
Frame Time: 0.0333333
1 2 3 0 0 0 0 0 0 0 0 0
0 0 0 90 0 0 30 40 0 0 0 0
"""

# CMU's layout: legs 20 degrees outward, arms horizontal, elbow axes rolled by 30 degrees.
BONES = (
    ("lhipjoint", "root", (0.6, -0.7, 0.3), 2.4, (0, 0, 0), ""),
    ("lfemur", "lhipjoint", (0.34202, -0.939693, 0), 7.1, (0, 0, 20), "rx ry rz"),
    ("ltibia", "lfemur", (0.34202, -0.939693, 0), 7.4, (0, 0, 20), "rx"),
    ("lfoot", "ltibia", (0.066, -0.183, 0.98), 2.3, (-90, 0, 20), "rx rz"),
    ("ltoes", "lfoot", (0, 0, 1), 1.1, (-90, 0, 20), "rx"),
    ("rhipjoint", "root", (-0.6, -0.7, 0.3), 2.4, (0, 0, 0), ""),
    ("rfemur", "rhipjoint", (-0.34202, -0.939693, 0), 7.1, (0, 0, -20), "rx ry rz"),
    ("rtibia", "rfemur", (-0.34202, -0.939693, 0), 7.4, (0, 0, -20), "rx"),
    ("rfoot", "rtibia", (-0.066, -0.183, 0.98), 2.3, (-90, 0, -20), "rx rz"),
    ("rtoes", "rfoot", (0, 0, 1), 1.1, (-90, 0, -20), "rx"),
    ("lowerback", "root", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    ("upperback", "lowerback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    ("thorax", "upperback", (0, 1, 0), 2.0, (0, 0, 0), "rx ry rz"),
    ("lowerneck", "thorax", (0, 1, 0), 1.7, (0, 0, 0), "rx ry rz"),
    ("upperneck", "lowerneck", (0, 1, 0), 1.7, (0, 0, 0), "rx ry rz"),
    ("head", "upperneck", (0, 1, 0), 1.7, (0, 0, 0), "rx ry rz"),
    ("lclavicle", "thorax", (0.94, 0.33, 0), 3.5, (0, 0, 0), "ry rz"),
    ("lhumerus", "lclavicle", (1, 0, 0), 4.9, (180, -30, -90), "rx ry rz"),
    ("lradius", "lhumerus", (1, 0, 0), 3.4, (180, -30, -90), "rx"),
    ("lwrist", "lradius", (1, 0, 0), 1.7, (0, 90, 90), "ry"),
    ("lhand", "lwrist", (1, 0, 0), 0.7, (0, 90, 90), "rx rz"),
    ("rclavicle", "thorax", (-0.94, 0.33, 0), 3.5, (0, 0, 0), "ry rz"),
    ("rhumerus", "rclavicle", (-1, 0, 0), 4.9, (180, 30, 90), "rx ry rz"),
    ("rradius", "rhumerus", (-1, 0, 0), 3.4, (180, 30, 90), "rx"),
    ("rwrist", "rradius", (-1, 0, 0), 1.7, (0, -90, -90), "ry"),
    ("rhand", "rwrist", (-1, 0, 0), 0.7, (0, -90, -90), "rx rz"),
)
STRAIGHT_LEGS = {"lfemur": (0.0, 0.0, -20.0), "rfemur": (0.0, 0.0, 20.0)}


def asf_text() -> str:
    lines = [":version 1.10", ":units", "  angle deg", ":root", "   order TX TY TZ RX RY RZ", ":bonedata"]
    for index, (name, _, direction, length, axis, dofs) in enumerate(BONES, start=1):
        lines += ["  begin", f"     id {index}", f"     name {name}", "     direction {} {} {}".format(*direction)]
        lines += [f"     length {length}", "     axis {} {} {}   XYZ".format(*axis)]
        lines += [f"    dof {dofs}"] if dofs else []
        lines += ["  end"]
    lines += [":hierarchy", "  begin"]
    for parent in dict.fromkeys(bone[1] for bone in BONES):
        lines.append("    " + " ".join([parent, *(bone[0] for bone in BONES if bone[1] == parent)]))
    return "\n".join([*lines, "  end", ""])


def amc_text(frames: list[dict[str, tuple[float, ...]]]) -> str:
    lines = ["#!OML:ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for number, frame in enumerate(frames, start=1):
        lines.append(str(number))
        lines.append("root " + " ".join(str(v) for v in frame.get("root", (0.0,) * 6)))
        for name, _, _, _, _, dofs in BONES:
            if dofs:
                values = frame.get(name, (0.0,) * len(dofs.split()))
                lines.append(f"{name} " + " ".join(str(v) for v in values))
    return "\n".join([*lines, ""])


def clip_of(folder: Path, frames: list[dict[str, tuple[float, ...]]]) -> Clip:
    (folder / "2.asf").write_text(asf_text())
    (folder / "2_01.amc").write_text(amc_text(frames))
    return read_amc(folder / "2_01.amc", read_asf(folder / "2.asf"))


def globals_of(local: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    turns = local.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            turns[:, joint] = turns[:, parent] @ turns[:, joint]
    return turns


def test_bvh_channels_are_read_in_their_own_order(tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(BVH)
    clip = read_bvh(path)
    assert clip.names == ("Hips", "Spine", "Neck") and clip.parents.tolist() == [-1, 0, 1]
    assert clip.frame_rate == pytest.approx(30, rel=1e-4)
    np.testing.assert_allclose(clip.root_positions[0], [1, 2, 3])
    np.testing.assert_allclose(clip.positions()[0], [[1, 2, 3], [1, 4, 3], [1, 7, 3]])
    # Hips turn 90 degrees about z, so the spine lies along −x; then the spine turns about its own x, then y.
    turns = clip.global_rotations()[1]
    expected = axis_rotation("z", np.radians(90.0)) @ axis_rotation("x", np.radians(30.0))
    np.testing.assert_allclose(turns[1], expected @ axis_rotation("y", np.radians(40.0)), atol=1e-12)
    np.testing.assert_allclose(clip.positions()[1, 1], [-2, 0, 0], atol=1e-12)


def test_the_pose_that_straightens_cmu_legs_is_the_t_pose_in_smplx(tmp_path: Path) -> None:
    local = to_smplx(clip_of(tmp_path, [STRAIGHT_LEGS]), rig_for("asf", "2"))
    vectors = np.degrees(log_so3(local))[0]
    # The upper arms roll by what their elbow hinges lack to the vertical, and the wrists take it back.
    for side in ("left", "right"):
        np.testing.assert_allclose(vectors[JOINT_INDEX[f"{side}_shoulder"]], [-30, 0, 0], atol=1e-4)
        np.testing.assert_allclose(vectors[JOINT_INDEX[f"{side}_wrist"]], [30, 0, 0], atol=1e-4)
    hands = globals_of(local)[0, [JOINT_INDEX["left_wrist"], JOINT_INDEX["right_wrist"]]]
    np.testing.assert_allclose(hands, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-6)
    arms = [JOINT_INDEX[f"{side}_{joint}"] for side in ("left", "right") for joint in ("shoulder", "wrist")]
    assert np.abs(np.delete(vectors, arms, axis=0)).max() < 1e-3


def test_elbows_and_knees_become_hinges_about_the_axes_of_the_t_pose(tmp_path: Path) -> None:
    frame = STRAIGHT_LEGS | {"lradius": (60.0,), "rradius": (70.0,), "ltibia": (50.0,), "rtibia": (40.0,)}
    vectors = np.degrees(log_so3(to_smplx(clip_of(tmp_path, [frame]), rig_for("asf"))))[0]
    np.testing.assert_allclose(vectors[JOINT_INDEX["left_elbow"]], [0, -60, 0], atol=1e-3)
    np.testing.assert_allclose(vectors[JOINT_INDEX["right_elbow"]], [0, 70, 0], atol=1e-3)
    np.testing.assert_allclose(vectors[JOINT_INDEX["left_knee"]], [50, 0, 0], atol=1e-3)
    np.testing.assert_allclose(vectors[JOINT_INDEX["right_knee"]], [40, 0, 0], atol=1e-3)


def test_limbs_point_where_the_captured_limbs_point(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frames = []
    for _ in range(12):
        frame: dict[str, tuple[float, ...]] = {"root": (0, 0, 0, *random.uniform(-90, 90, 3))}
        for name, _, _, _, _, dofs in BONES:
            frame[name] = tuple(random.uniform(-35, 35, len(dofs.split())).tolist())
        frames.append(frame)
    clip = clip_of(tmp_path, frames)
    turns = globals_of(to_smplx(clip, rig_for("asf", "2")))
    positions = clip.positions()
    for joint, head, tip, axis in (
        ("left_shoulder", "lhumerus", "lradius", (1, 0, 0)),
        ("right_shoulder", "rhumerus", "rradius", (-1, 0, 0)),
        ("left_elbow", "lradius", "lwrist", (1, 0, 0)),
        ("right_elbow", "rradius", "rwrist", (-1, 0, 0)),
        ("left_hip", "lfemur", "ltibia", (0, -1, 0)),
        ("right_hip", "rfemur", "rtibia", (0, -1, 0)),
        ("left_knee", "ltibia", "lfoot", (0, -1, 0)),
        ("right_knee", "rtibia", "rfoot", (0, -1, 0)),
    ):
        bone = positions[:, clip.names.index(tip)] - positions[:, clip.names.index(head)]
        bone /= np.linalg.norm(bone, axis=-1, keepdims=True)
        ours = turns[:, JOINT_INDEX[joint]] @ np.array(axis, dtype=float)
        angle = np.degrees(np.arccos(np.clip((bone * ours).sum(-1), -1, 1)))
        assert angle.max() < 0.1, joint


def test_spine_turns_are_spread_evenly_and_keep_the_chest_where_it_was(tmp_path: Path) -> None:
    frame = STRAIGHT_LEGS | {"lowerback": (30.0, 0.0, 0.0), "thorax": (0.0, 24.0, 6.0)}
    clip = clip_of(tmp_path, [frame])
    local = to_smplx(clip, rig_for("asf", "2"))[0]
    spine = [JOINT_INDEX[f"spine{k}"] for k in (1, 2, 3)]
    np.testing.assert_allclose(local[spine[0]], local[spine[1]], atol=1e-9)
    np.testing.assert_allclose(local[spine[1]], local[spine[2]], atol=1e-9)
    chest = clip.global_rotations()[0, clip.names.index("thorax")]
    np.testing.assert_allclose(local[0] @ local[spine[0]] @ local[spine[1]] @ local[spine[2]], chest, atol=1e-9)


def test_raised_arms_lift_collars_that_the_capture_left_still(tmp_path: Path) -> None:
    # The left humerus turns about its own axes; find out which way is up by the captured elbow itself.
    frames = [STRAIGHT_LEGS | {"lhumerus": (0.0, 0.0, angle)} for angle in (-70.0, 70.0)]
    clip = clip_of(tmp_path, frames)
    height = clip.positions()[:, clip.names.index("lradius"), 1]
    collars = log_so3(to_smplx(clip, rig_for("asf", "2")))[:, JOINT_INDEX["left_collar"], 2]
    assert collars[height.argmax()] > np.radians(5)
    assert collars[height.argmin()] < -np.radians(5)


def test_exponential_maps_are_row_vector_rotations(tmp_path: Path) -> None:
    row = np.zeros(3 + 3 * len(EXPMAP_NAMES))
    row[3 + 3 * EXPMAP_NAMES.index("ltibia")] = -np.radians(50)
    path = tmp_path / "a.txt"
    np.savetxt(path, row[None], delimiter=",")
    clip = read_expmap(path)
    vectors = np.degrees(log_so3(to_smplx(clip, rig_for("expmap38"))))[0]
    knee = vectors[JOINT_INDEX["left_knee"]]
    assert np.linalg.norm(knee) == pytest.approx(50, abs=1e-4)
    assert knee[0] == pytest.approx(50 * np.cos(np.radians(20)), abs=1e-3)  # the map's x axis is the room's


def test_a_rig_that_does_not_fit_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(BVH)
    with pytest.raises(MocapError, match="lacks"):
        to_smplx(read_bvh(path), rig_for("daz"))
    with pytest.raises(MocapError, match="no rig"):
        rig_for("unheard of")


def test_damaged_files_are_said_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(BVH.rsplit(" ", 3)[0])
    with pytest.raises(MocapError, match="damaged"):
        read_bvh(path)
    path.write_text("no capture")
    with pytest.raises(MocapError, match="not a BVH"):
        read_bvh(path)
    with pytest.raises(MocapError, match="Can't read"):
        read_bvh(tmp_path / "none.bvh")
    with pytest.raises(MocapError, match="no bones"):
        read_asf(path)
    (tmp_path / "a.txt").write_text("1,2,3\n")
    with pytest.raises(MocapError, match="117"):
        read_expmap(tmp_path / "a.txt")
    with pytest.raises(MocapError, match="MANIFEST"):
        load_poses(tmp_path / "nowhere")


def test_a_folder_is_read_by_its_manifest_and_split_by_subject(tmp_path: Path) -> None:
    frames = [STRAIGHT_LEGS | {"lradius": (2.0 * k,), "rradius": (3.0 * k,), "ltibia": (4.0 * k,)} for k in range(20)]
    clip_of(tmp_path, frames)
    (tmp_path / "MANIFEST.csv").write_text("file,rig,subject,action\n2_01.amc,asf (2.asf),2,walk slowly\n")
    poses = load_poses(tmp_path, threshold_rad=0.05)
    assert set(poses.split) == {"test"} and set(poses.action) == {"walk"}
    assert 3 < len(poses.frame) < 19 and poses.frame.min() == 1
    assert poses.weights().sum() == pytest.approx(1)
    chosen = poses.part(pick_diverse(poses, 3))
    assert len(set(chosen.frame.tolist())) == 3


def test_subjects_are_in_one_split_only() -> None:
    assert not set(TEST_SUBJECTS) & set(VALIDATION_SUBJECTS)
    assert split_of("14") == "test" and split_of("131") == "validation" and split_of("60") == split_of("61") == "train"
    assert action_class("Brisk Walk") == "walk" and action_class("unheard of") == "other"


def test_mirroring_swaps_sides_and_twice_gives_the_pose_back() -> None:
    vectors = np.zeros((1, NUM_JOINTS, 3))
    vectors[0, JOINT_INDEX["left_elbow"]] = [0, -1.2, 0]
    vectors[0, JOINT_INDEX["head"]] = [0.1, 0.5, -0.2]
    rotations = exp_so3(vectors)
    other = log_so3(mirrored(rotations))[0]
    np.testing.assert_allclose(other[JOINT_INDEX["right_elbow"]], [0, 1.2, 0], atol=1e-12)
    np.testing.assert_allclose(other[JOINT_INDEX["left_elbow"]], 0, atol=1e-12)
    np.testing.assert_allclose(other[JOINT_INDEX["head"]], [0.1, -0.5, 0.2], atol=1e-12)
    np.testing.assert_allclose(mirrored(mirrored(rotations[:, :22])), rotations[:, :22], atol=1e-12)


def test_frames_that_hardly_differ_are_thinned_out() -> None:
    vectors = np.zeros((50, NUM_JOINTS, 3))
    vectors[25:, 1:22, 0] = np.linspace(0, 0.5, 25)[:, None]
    kept = thinned(exp_so3(vectors), 0.06)
    assert kept[0] == 0 and (kept[1:] > 25).all() and len(kept) in (8, 9)


def test_poses_that_no_body_takes_are_refused() -> None:
    vectors = np.zeros((4, NUM_JOINTS, 3))
    vectors[1, JOINT_INDEX["left_elbow"], 1] = 1.0  # backwards
    vectors[2, JOINT_INDEX["right_ankle"], 2] = 2.0
    vectors[3, JOINT_INDEX["right_knee"], 0] = 2.0  # bent as knees bend
    assert plausible(exp_so3(vectors)).tolist() == [True, False, False, True]


def test_log_inverts_exp_up_to_half_a_turn() -> None:
    random = np.random.default_rng(2)
    axis = random.normal(size=(200, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.concatenate([np.logspace(-10, -1, 50), np.linspace(0.1, np.pi - 1e-9, 150)])
    vectors = axis * angle[:, None]
    np.testing.assert_allclose(log_so3(exp_so3(vectors)), vectors, atol=1e-7)
    np.testing.assert_allclose(geodesic(np.eye(3)[None], exp_so3(vectors)), angle, atol=1e-7)


def test_committed_bench_poses_are_of_different_people_and_rest_hands() -> None:
    data = np.load(BENCH_POSES)
    poses, split, subject = data["poses"], data["split"], data["subject"]
    assert poses.shape == (400, NUM_JOINTS, 3) and poses.dtype == np.float32
    assert (split == "train").sum() == 300 and (split == "test").sum() == 100
    assert not set(subject[split == "train"]) & set(subject[split == "test"])
    assert len(set(data["action"][split == "test"])) >= 8
    assert not poses[:, 22:].any() and np.isfinite(poses).all()
    assert plausible(exp_so3(poses.astype(np.float64))).all()
    assert BENCH_POSES.stat().st_size < 200_000
