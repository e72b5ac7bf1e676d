"""A body as a strict SMPL-X file, and a capture as a ready layer of the `smplx` package (which the user installs)."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..capture import Capture
from .model import BodyModel
from .points_file import write_npz
from .skeleton import NUM_JOINTS, NUM_POSE_FEATURES, PARENTS

if TYPE_CHECKING:
    from torch import Tensor

_MAX_BETAS = 300  # `shapedirs` has 400 columns: shape first, expression from 300 on
_MAX_EXPRESSIONS = 100
_NUM_LANDMARKS = 51


class ExportError(Exception):
    """An export that can't be made; the message says what to do next."""


def smplx_arrays(body: BodyModel) -> dict[str, NDArray[Any]]:
    """The body in the format's own arrays.

    The format regresses joints from vertices. 55 vertices without faces are added at the end, one at each joint with
    the joint's own shape and expression directions, so that the regressor picks them and joints stay exactly linear.
    """
    if body.num_betas > _MAX_BETAS or body.num_expressions > _MAX_EXPRESSIONS:
        raise ExportError(
            f"The SMPL-X format holds {_MAX_BETAS} shape and {_MAX_EXPRESSIONS} expression components; this body has "
            f"{body.num_betas} and {body.num_expressions}."
        )
    vertices = body.num_vertices
    total = vertices + NUM_JOINTS
    shapedirs = np.zeros((total, 3, _MAX_BETAS + _MAX_EXPRESSIONS), np.float32)
    shapedirs[:, :, : body.num_betas] = np.concatenate([body.shapedirs, body.J_shapedirs])
    expressions = slice(_MAX_BETAS, _MAX_BETAS + body.num_expressions)
    shapedirs[:, :, expressions] = np.concatenate([body.exprdirs, body.J_exprdirs])
    posedirs = np.zeros((total, 3, NUM_POSE_FEATURES), np.float32)
    posedirs[:vertices][:, :, body.posedirs_features] = body.posedirs
    regressor = np.zeros((NUM_JOINTS, total), np.float32)
    regressor[np.arange(NUM_JOINTS), vertices + np.arange(NUM_JOINTS)] = 1.0
    parents = np.array(PARENTS, np.int64)
    parents[0] = 2**32 - 1  # as the official files write it
    faces_idx, bary = _landmarks(body)
    arrays = {
        "v_template": np.concatenate([body.v_template, body.J_template]),
        "f": body.faces.astype(np.uint32),
        "shapedirs": shapedirs,
        "posedirs": posedirs,
        "J_regressor": regressor,
        "weights": np.concatenate([body.weights, np.eye(NUM_JOINTS, dtype=np.float32)]),
        "kintree_table": np.stack([parents, np.arange(NUM_JOINTS)]),
        "lmk_faces_idx": faces_idx,
        "lmk_bary_coords": bary,
        "gender": np.asarray(body.gender),
    }
    for i, side in enumerate("lr"):
        arrays[f"hands_mean{side}"] = body.hands_mean[i]
        components = np.zeros((45, 45), np.float32)
        components[: body.hands_components.shape[1]] = body.hands_components[i]
        arrays[f"hands_components{side}"] = components
    if len(body.uv_coords):
        arrays["vt"] = body.uv_coords
        quads = body.quad_uvs
        pairs = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
        arrays["ft"] = pairs[pairs[:, 2] >= 0].astype(np.int64)
    return arrays


def export_smplx(body: BodyModel, path: str | Path) -> None:
    """Write `body` as an SMPL-X `.npz` that `smplx.create(path, model_type="smplx", …)` loads. Raises ExportError.

    Use `num_betas`, `num_expression_coeffs` as the body has them, `use_pca=False`, and `flat_hand_mean=True` for
    captures, whose hand poses include the mean. Its output's last 55 vertices are the joints.
    """
    try:
        write_npz(Path(path), smplx_arrays(body), level=1)
    except OSError as error:
        raise ExportError(f"Can't write {path}: {error.strerror or error}. Choose another place.") from error


def smplx_layer(capture: Capture, body: BodyModel) -> tuple[Any, dict[str, Tensor]]:
    """A `smplx.SMPLX` layer of `body` and the capture's parameters: `layer(**parameters)` poses all T frames.

    Raises ExportError if the package smplx is missing, or if the capture was made with another body.
    """
    if capture.body_id != body.body_id:
        raise ExportError(f"This capture was made with the body {capture.body_id}, not {body.body_id}. Load that one.")
    try:
        import smplx
        import torch
    except ImportError as error:
        raise ExportError(
            f"This needs the package {error.name}. Install it with: pip install 'pantomime[smplx]' (smplx is for "
            "non-commercial use)."
        ) from error
    frames = capture.num_frames
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "SMPLX_NEUTRAL.npz"
        export_smplx(body, path)
        layer = smplx.create(
            str(path),
            model_type="smplx",
            gender="neutral",
            use_pca=False,
            flat_hand_mean=True,
            num_betas=body.num_betas,
            num_expression_coeffs=body.num_expressions,
            batch_size=frames,
        )
    names = (
        "expression", "global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose", "left_hand_pose",
        "right_hand_pose", "transl",
    )  # fmt: skip
    parameters = {name: torch.as_tensor(np.asarray(getattr(capture, name), np.float32)) for name in names}
    parameters["betas"] = torch.as_tensor(np.tile(np.asarray(capture.betas, np.float32), (frames, 1)))
    return layer, parameters


def _landmarks(body: BodyModel) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The 51 inner face landmarks of the format, from the body's 68 where it has them, else the first triangle."""
    faces_idx = np.zeros(_NUM_LANDMARKS, np.int64)
    bary = np.full((_NUM_LANDMARKS, 3), 1.0 / 3.0, np.float32)
    points = body.points.get("face68")
    if points is None:
        return faces_idx, bary
    index = {frozenset(face): i for i, face in enumerate(body.faces.tolist())}
    for i, (corners, shares) in enumerate(zip(points.vertex_ids[17:], points.barycentric[17:], strict=True)):
        face = index.get(frozenset(int(c) for c in corners))
        if face is None:  # a point on a single vertex: any triangle that has it
            corner = int(corners[int(shares.argmax())])
            face = int(np.flatnonzero((body.faces == corner).any(1))[0])
            faces_idx[i], bary[i] = face, (body.faces[face] == corner).astype(np.float32)
            continue
        order = [corners.tolist().index(c) for c in body.faces[face].tolist()]
        faces_idx[i], bary[i] = face, shares[order]
    return faces_idx, bary
