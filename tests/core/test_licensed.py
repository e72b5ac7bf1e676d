"""Licensed files, on files of that format which the tests write: SMPL-X v1.0 and v1.1, `.npz` and `.pkl`."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pantomime.core.body.bake_poses import rotations_of
from pantomime.core.body.export import smplx_arrays
from pantomime.core.body.licensed import LicensedError, find_smplx, read_smplx
from pantomime.core.body.load import BodyError, load_body
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_INDEX, NUM_JOINTS
from pantomime.core.body.skinning import Body

NUM_VERTICES = 10475
Arrays = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """A file of the format, and the free body's person that it was made from."""

    arrays: Arrays  # v1.1: 300 + 100 components
    betas: np.ndarray


def make_arrays() -> Written:
    """A person of the free body's, other than the mean, with as many vertices as SMPL-X has.

    Vertices far from every point that detectors see are left out until 10475 remain, joint holders included.
    """
    free = load_body()
    betas = np.random.default_rng(3).normal(scale=0.5, size=free.num_betas).astype(np.float32)
    betas[0] = 0.2
    # a person's own mean: their template, with the directions as they are
    person = replace(
        free, v_template=free.v_template + free.shapedirs @ betas, J_template=free.J_template + free.J_shapedirs @ betas
    )
    full = smplx_arrays(person)
    places = np.concatenate([free.virtual_points(points).template for points in free.points.values()])
    away = np.min(np.linalg.norm(free.v_template[:, None, ::2] - places[None, :, ::2], axis=2), axis=1)
    away += np.min(np.linalg.norm(free.v_template[:, None, 1:] - places[None, :, 1:], axis=2), axis=1)
    for name in ("lashes", "teeth", "tongue", "mouth"):
        away[free.vertex_groups[name]] = np.inf
    kept = np.sort(np.argsort(away, kind="stable")[: NUM_VERTICES - NUM_JOINTS])
    kept = np.concatenate([kept, free.num_vertices + np.arange(NUM_JOINTS)])
    index = np.full(len(full["v_template"]), -1)
    index[kept] = np.arange(len(kept))
    faces = index[full["f"].astype(np.int64)]
    arrays: Arrays = {
        **{name: full[name][kept] for name in ("v_template", "shapedirs", "posedirs", "weights")},
        "f": faces[(faces >= 0).all(1)].astype(np.uint32),
        "J_regressor": full["J_regressor"][:, kept],
    }
    for name in ("kintree_table", "hands_meanl", "hands_meanr", "hands_componentsl", "hands_componentsr"):
        arrays[name] = full[name]
    return Written(arrays, betas)


@pytest.fixture(scope="module")
def written() -> Written:
    return make_arrays()


def version_1_0(arrays: Arrays) -> Arrays:
    dirs = arrays["shapedirs"]
    return {**arrays, "shapedirs": np.concatenate([dirs[:, :, :10], dirs[:, :, 300:310]], axis=2)}


def write_npz(path: Path, arrays: Arrays) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def write_pkl(path: Path, arrays: Arrays) -> Path:
    """As the official files are: protocol 2, doubles, a sparse regressor."""
    sparse = pytest.importorskip("scipy.sparse")
    values = {key: np.asarray(value, np.float64) if key != "f" else value for key, value in arrays.items()}
    values["J_regressor"] = sparse.csc_matrix(values["J_regressor"])
    path.write_bytes(pickle.dumps(values, protocol=2))
    return path


def same_surface(body: BodyModel, arrays: Arrays) -> None:
    generator = np.random.default_rng(0)
    betas = generator.normal(size=10).astype(np.float32)
    expression = generator.normal(size=10).astype(np.float32)
    first = 300 if arrays["shapedirs"].shape[2] == 400 else 10
    expected = arrays["v_template"] + arrays["shapedirs"][:, :, :10] @ betas
    expected = expected + arrays["shapedirs"][:, :, first : first + 10] @ expression
    vertices = Body(body).vertices(torch.as_tensor(betas), torch.as_tensor(expression))
    np.testing.assert_allclose(vertices.numpy(), expected, atol=2e-6)
    joints = Body(body).joints(torch.as_tensor(betas), torch.as_tensor(expression))
    np.testing.assert_allclose(joints.numpy(), arrays["J_regressor"] @ expected, atol=2e-6)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_both_versions_and_both_kinds_of_file_are_read(
    tmp_path: Path, written: Written, version: str, suffix: str
) -> None:
    arrays = version_1_0(written.arrays) if version == "1.0" else written.arrays
    path = (write_npz if suffix == ".npz" else write_pkl)(tmp_path / f"SMPLX_FEMALE{suffix}", arrays)
    body = read_smplx(path)
    assert (body.num_betas, body.num_expressions) == ((10, 10) if version == "1.0" else (300, 100))
    assert (body.num_vertices, body.body_id, body.gender) == (NUM_VERTICES, "smplx-female", "female")
    assert not body.bounded_expression
    assert body.expression_names[:2] == ("Exp000", "Exp001")
    assert (body.quads[:, 3] == -1).all()
    assert len(body.posedirs_features) == 486
    same_surface(body, arrays)


def test_the_reference_package_poses_the_same_file_alike(tmp_path: Path, written: Written) -> None:
    smplx = pytest.importorskip("smplx")
    extra = {"lmk_faces_idx": np.zeros(51, np.int64), "lmk_bary_coords": np.full((51, 3), 1 / 3)}
    path = write_npz(tmp_path / "SMPLX_NEUTRAL.npz", {**written.arrays, **extra})
    layer = smplx.create(str(path), model_type="smplx", use_pca=False, flat_hand_mean=True, num_betas=20)
    generator = np.random.default_rng(1)
    betas = torch.as_tensor(generator.normal(size=20), dtype=torch.float32)
    pose = torch.as_tensor(generator.normal(scale=0.3, size=(1, 63)), dtype=torch.float32)
    rotvecs = np.zeros((NUM_JOINTS, 3))
    rotvecs[1:22] = pose.numpy().reshape(21, 3)
    with torch.no_grad():
        theirs = layer(betas=betas[None], body_pose=pose).vertices[0]
    ours = Body(read_smplx(path)).vertices(betas, None, torch.as_tensor(rotations_of(rotvecs)).float())
    assert float((ours - theirs).norm(dim=-1).max()) < 1e-5


@pytest.mark.parametrize("place", ["", "smplx", "models/smplx"])
@pytest.mark.parametrize("gender", ["neutral", "male", "female"])
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_a_file_is_found_in_the_folder_that_the_user_names(
    tmp_path: Path, place: str, gender: str, suffix: str
) -> None:
    path = tmp_path / place / f"SMPLX_{gender.upper()}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert find_smplx(tmp_path, gender) == path
    other = "male" if gender == "neutral" else "neutral"
    with pytest.raises(LicensedError, match=f"no SMPLX_{other.upper()}"):
        find_smplx(tmp_path, other)


def test_a_folder_with_a_file_gives_that_body(tmp_path: Path, written: Written) -> None:
    folder = tmp_path / "licensed models ✓"
    write_npz(folder / "models" / "smplx" / "SMPLX_MALE.npz", version_1_0(written.arrays))
    assert load_body(folder, gender="male").body_id == "smplx-male"


def test_an_object_array_in_an_npz_goes_through_the_restricted_reader(tmp_path: Path, written: Written) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    regressor = np.empty((), object)
    regressor[()] = sparse.csc_matrix(written.arrays["J_regressor"])
    arrays = {**version_1_0(written.arrays), "part2num": np.array({"head": 1}, object), "J_regressor": regressor}
    same_surface(read_smplx(write_npz(tmp_path / "SMPLX_NEUTRAL.npz", arrays)), version_1_0(written.arrays))


class Trap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_a_hostile_model_file_is_refused_by_name_and_creates_no_file(
    tmp_path: Path, written: Written, suffix: str
) -> None:
    trap = tmp_path / "trap"
    arrays = {**version_1_0(written.arrays), "weights": Trap(str(trap))}
    path = tmp_path / f"SMPLX_NEUTRAL{suffix}"
    if suffix == ".npz":
        holder = np.empty((), object)
        holder[()] = arrays["weights"]
        np.savez(path, **{**arrays, "weights": holder})
    else:
        path.write_bytes(pickle.dumps(arrays))
    with pytest.raises(BodyError, match=r"io\.open"):
        load_body(path)
    assert not trap.exists()


def broken(arrays: Arrays, what: str) -> Arrays:
    changed = dict(arrays)
    if what == "smpl":
        changed["posedirs"] = arrays["posedirs"][:, :, :207]
    elif what == "lacking":
        del changed["weights"]
    elif what == "nan":
        changed["v_template"] = np.full_like(arrays["v_template"], np.nan)
    elif what == "vertices":
        changed["weights"] = arrays["weights"][:-1]
    elif what == "faces":
        changed["f"] = arrays["f"] + NUM_VERTICES
    elif what == "skeleton":
        changed["kintree_table"] = arrays["kintree_table"][:, ::-1]
    elif what == "columns":
        changed["shapedirs"] = arrays["shapedirs"][:, :, :7]
    elif what == "text":
        changed["weights"] = np.full(arrays["weights"].shape, "a")
    elif what == "scalar":
        changed["v_template"] = np.zeros(())
    elif what == "hands":
        changed["hands_meanl"] = arrays["hands_meanl"][:-1]
    return changed


@pytest.mark.parametrize(
    "what", ["smpl", "lacking", "nan", "vertices", "faces", "skeleton", "columns", "text", "scalar", "hands"]
)
def test_a_file_of_another_kind_gives_one_sentence(tmp_path: Path, written: Written, what: str) -> None:
    path = write_npz(tmp_path / "SMPLX_NEUTRAL.npz", broken(version_1_0(written.arrays), what))
    with pytest.raises(BodyError) as caught:
        load_body(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", b"\x93NUMPY", b"hello", b"\x80\x02]q\x00."])
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_an_empty_or_damaged_file_gives_one_sentence(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"SMPLX_NEUTRAL{suffix}"
    path.write_bytes(content)
    with pytest.raises(BodyError) as caught:
        load_body(path)
    assert str(path) in str(caught.value)


def test_a_truncated_npz_gives_one_sentence(tmp_path: Path, written: Written) -> None:
    path = write_npz(tmp_path / "SMPLX_NEUTRAL.npz", version_1_0(written.arrays))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BodyError):
        load_body(path)
    middle = bytearray(whole)
    middle[len(whole) // 2 : len(whole) // 2 + 1000] = b"\xff" * 1000
    path.write_bytes(bytes(middle))
    with pytest.raises(BodyError):
        load_body(path)


def test_a_missing_file_or_an_empty_folder_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BodyError, match="There is no file"):
        load_body(tmp_path / "SMPLX_NEUTRAL.npz")
    with pytest.raises(BodyError, match="no SMPLX_NEUTRAL"):
        load_body(tmp_path)
    with pytest.raises(BodyError, match="is not one of"):
        load_body(tmp_path, gender="other")


def test_points_are_carried_over_to_a_licensed_body(tmp_path: Path, written: Written) -> None:
    """The licensed body is a person of the free body's, so where the points belong is known."""
    free, licensed = load_body(), load_body(write_npz(tmp_path / "SMPLX_NEUTRAL.npz", written.arrays))
    assert set(licensed.points) == set(free.points)
    for name, points in free.points.items():
        virtual = free.virtual_points(points)
        expected = virtual.template + virtual.shapedirs @ written.betas
        distance = np.linalg.norm(licensed.virtual_points(licensed.points[name]).template - expected, axis=1)
        # Less than half of what is unsure about the points themselves, or a few millimetres where they are exact.
        assert distance[points.usable].mean() < max(0.004, 0.5 * points.sigma_m[points.usable].mean()), name
        assert distance[points.usable].max() < 0.02, name
        assert (licensed.points[name].sigma_m >= points.sigma_m).all()
        np.testing.assert_array_equal(licensed.points[name].usable, points.usable)


def test_points_that_are_joints_carry_over_exactly(tmp_path: Path, written: Written) -> None:
    licensed = load_body(write_npz(tmp_path / "SMPLX_NEUTRAL.npz", written.arrays))
    points = licensed.points["body25"]
    index = points.names.index("left_elbow")
    place = licensed.virtual_points(points).template[index]
    np.testing.assert_allclose(place, licensed.J_template[JOINT_INDEX["left_elbow"]], atol=1e-7)
