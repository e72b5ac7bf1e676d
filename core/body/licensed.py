"""Licensed SMPL-X files: found in a folder that the user names, read into a `BodyModel`. numpy only.

Format (Pavlakos et al., CVPR 2019; the project's model files): v1.0 has 10 shape and 10 expression components in 20
columns of `shapedirs`, v1.1 has 300 and 100 in 400 columns. A file is `.npz`, or `.pkl` (see unpickle). Files are never
downloaded, copied or looked for anywhere else.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..npz_errors import DAMAGED_NPZ
from .folder import GENDERS, smplx_path
from .model import BodyModel
from .skeleton import JOINT_INDEX, NUM_JOINTS, NUM_POSE_FEATURES, PARENTS
from .unpickle import UnpickleError, dense_array, load_pickle

Array = NDArray[np.float32]

_NEEDED = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
_OPTIONAL = (
    "hands_componentsl", "hands_componentsr", "hands_meanl", "hands_meanr", "vt", "ft", "gender",
)  # fmt: skip


class LicensedError(Exception):
    """A licensed file that can't be found or read; the message says what to do next."""


def find_smplx(folder: Path, gender: str = "neutral") -> Path:
    """The SMPL-X file for `gender` in a folder or where the official archives unpack below it. Raises LicensedError."""
    if gender not in GENDERS:
        raise LicensedError(f"{gender} is not one of {', '.join(GENDERS)}.")
    path = smplx_path(folder, gender)
    if path is not None:
        return path
    raise LicensedError(
        f"There is no SMPLX_{gender.upper()}.npz or .pkl in {folder} or its models/smplx. "
        "Name the folder that holds the SMPL-X files."
    )


def read_smplx(path: Path) -> BodyModel:
    """Read one SMPL-X file, without points. Raises LicensedError."""
    try:
        data = _read_npz(path) if zipfile.is_zipfile(path) else _read_pickle(path)
        return _build(path, data)
    except FileNotFoundError as error:
        raise LicensedError(f"There is no file {path}. Check the name.") from error
    except OSError as error:
        raise LicensedError(f"{path} can't be read: {error.strerror or error}. Check the file.") from error
    except UnpickleError as error:
        raise LicensedError(f"{path} can't be used. {error}") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    if path.stat().st_size == 0:
        raise LicensedError(f"{path} is empty. Download the model again.")
    data = load_pickle(path)
    if not isinstance(data, dict):
        raise LicensedError(f"{path} is not a body model. Name an SMPLX_….npz or .pkl file.")
    return {str(key): data[key] for key in data if key in _NEEDED + _OPTIONAL}


def _read_npz(path: Path) -> dict[str, Any]:
    """Only the arrays that are needed; one that holds objects goes through the restricted unpickler."""
    data: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            for key in _NEEDED + _OPTIONAL:
                if f"{key}.npy" in names:
                    data[key] = _read_npy(archive.read(f"{key}.npy"))
    except DAMAGED_NPZ as error:
        raise LicensedError(f"{path} is damaged. Download the model again.") from error
    return data


def _read_npy(content: bytes) -> Any:
    file = io.BytesIO(content)
    npy: Any = np.lib.format
    version = npy.read_magic(file)
    _, _, dtype = (npy.read_array_header_1_0 if version[0] == 1 else npy.read_array_header_2_0)(file)
    if dtype.hasobject:
        return load_pickle(file)
    file.seek(0)
    return npy.read_array(file, allow_pickle=False)


def _build(path: Path, data: dict[str, Any]) -> BodyModel:
    missing = [key for key in _NEEDED if key not in data]
    if missing:
        raise LicensedError(f"{path} lacks {', '.join(missing)}: it is not an SMPL-X model. Name an SMPLX_… file.")
    arrays = {key: dense_array(data[key]) for key in data if key != "gender"}
    _check(path, arrays)
    v_template = _float(arrays["v_template"])
    num_betas = 300 if arrays["shapedirs"].shape[2] >= 400 else 10
    dirs = _float(arrays["shapedirs"])
    shapedirs, exprdirs = dirs[:, :, :num_betas], dirs[:, :, num_betas:]
    regressor = _float(arrays["J_regressor"])
    weights = _float(arrays["weights"])
    faces = arrays["f"].astype(np.int32)
    gender = _gender(path, data)
    vt, ft = _uvs(arrays, len(faces))
    eyes = weights[:, [JOINT_INDEX["left_eye_smplhf"], JOINT_INDEX["right_eye_smplhf"]]] > 0.5
    return BodyModel(
        body_id=f"smplx-{gender}",
        gender=gender,
        surface_model_type="smplx",
        v_template=v_template,
        faces=faces,
        shapedirs=np.ascontiguousarray(shapedirs),
        exprdirs=np.ascontiguousarray(exprdirs),
        posedirs=_float(arrays["posedirs"]),
        posedirs_features=np.arange(NUM_POSE_FEATURES, dtype=np.int32),
        weights=weights,
        J_template=regressor @ v_template,
        J_shapedirs=np.einsum("jv,vib->jib", regressor, shapedirs, optimize=True).astype(np.float32),
        J_exprdirs=np.einsum("jv,vie->jie", regressor, exprdirs, optimize=True).astype(np.float32),
        hands_mean=_hands(path, arrays, "hands_mean", (45,)),
        hands_components=_hands(path, arrays, "hands_components", (-1, 45)),
        expression_names=tuple(f"Exp{i:03d}" for i in range(exprdirs.shape[2])),
        bounded_expression=False,
        quads=_as_quads(faces),
        uv_coords=vt,
        quad_uvs=ft,
        material_names=("skin", "sclera"),
        material_ids=eyes.any(1)[faces].all(1).astype(np.uint8),
        vertex_groups=_groups(weights, eyes),
    )


def _check(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    count = arrays["v_template"].shape[0] if arrays["v_template"].ndim else 0
    wanted: dict[str, tuple[int | None, ...]] = {
        "v_template": (count, 3),
        "f": (None, 3),
        "shapedirs": (count, 3, None),
        "posedirs": (count, 3, NUM_POSE_FEATURES),
        "J_regressor": (NUM_JOINTS, count),
        "weights": (count, NUM_JOINTS),
        "kintree_table": (2, NUM_JOINTS),
    }
    for key, shape in wanted.items():
        have = arrays[key].shape
        if len(have) != len(shape) or any(w is not None and w != h for w, h in zip(shape, have, strict=True)):
            raise LicensedError(f"{path}: {key} has the shape {have}, so this is not SMPL-X. Name an SMPLX_… file.")
    for key in _NEEDED:
        if arrays[key].dtype.kind not in "fiu" or not np.isfinite(arrays[key].sum(dtype=np.float64)):
            raise LicensedError(f"{path}: {key} holds values that are not numbers. Download the model again.")
    columns = arrays["shapedirs"].shape[2]
    if columns != 20 and columns < 301:
        raise LicensedError(
            f"{path} has {columns} shape columns; SMPL-X v1.0 has 20 and v1.1 has 400. Download the model again."
        )
    parents = arrays["kintree_table"][0].astype(np.int64)
    if tuple(parents[1:]) != PARENTS[1:]:
        raise LicensedError(f"{path} has another skeleton than SMPL-X. Name an SMPLX_… file.")
    faces = arrays["f"]
    if len(faces) == 0 or faces.min() < 0 or faces.max() >= count:
        raise LicensedError(f"{path} has triangles without vertices. Download the model again.")


def _gender(path: Path, data: dict[str, Any]) -> str:
    stated = data.get("gender")
    text = str(stated.item() if isinstance(stated, np.ndarray) and stated.shape == () else stated).lower()
    name = path.stem.lower()
    # "female" holds "male"
    for gender in ("female", "neutral", "male"):
        if gender == text or gender in name:
            return gender
    return "neutral"


def _hands(path: Path, arrays: dict[str, NDArray[Any]], key: str, shape: tuple[int, ...]) -> Array:
    if f"{key}l" not in arrays or f"{key}r" not in arrays:
        empty = np.zeros((2, 45)) if shape == (45,) else np.zeros((2, 0, 45))
        return empty.astype(np.float32)
    try:
        both: Array = np.stack([_float(arrays[f"{key}{side}"]).reshape(shape) for side in "lr"])
    except ValueError as error:
        raise LicensedError(f"{path}: {key}l and {key}r are not as in SMPL-X. Download the model again.") from error
    return both


def _uvs(arrays: dict[str, NDArray[Any]], num_faces: int) -> tuple[Array, NDArray[np.int32]]:
    vt, ft = arrays.get("vt"), arrays.get("ft")
    if vt is None or ft is None or vt.ndim != 2 or ft.shape != (num_faces, 3) or ft.max(initial=0) >= len(vt):
        return np.zeros((0, 2), np.float32), np.full((num_faces, 4), -1, np.int32)
    return _float(vt[:, :2]), _as_quads(ft.astype(np.int32))


def _groups(weights: Array, eyes: NDArray[np.bool_]) -> dict[str, NDArray[np.int32]]:
    def held_by(*joints: str) -> NDArray[np.int32]:
        return np.flatnonzero(weights[:, [JOINT_INDEX[name] for name in joints]].sum(1) > 0.5).astype(np.int32)

    groups = {
        "left_eyeball": np.flatnonzero(eyes[:, 0]).astype(np.int32),
        "right_eyeball": np.flatnonzero(eyes[:, 1]).astype(np.int32),
        "head": held_by("head", "jaw", "left_eye_smplhf", "right_eye_smplhf"),
    }
    for side in ("left", "right"):
        fingers = [n for n in JOINT_INDEX if n.startswith(side) and n[-1].isdigit()]
        groups[f"{side}_hand"] = held_by(f"{side}_wrist", *fingers)
        groups[f"{side}_foot"] = held_by(f"{side}_ankle", f"{side}_foot")
    return groups


def _as_quads(triangles: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([triangles, np.full((len(triangles), 1), -1, np.int32)], axis=1)


def _float(array: NDArray[Any]) -> Array:
    return np.ascontiguousarray(array, dtype=np.float32)
