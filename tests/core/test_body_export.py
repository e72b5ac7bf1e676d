"""The strict SMPL-X file of the free body, read by the reference package."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pantomime.core.body.bake_poses import rotations_of
from pantomime.core.body.export import ExportError, export_smplx, smplx_layer
from pantomime.core.body.load import load_body
from pantomime.core.body.skeleton import JOINT_NAMES, NUM_JOINTS
from pantomime.core.body.skinning import Body
from pantomime.core.capture import Capture


def random_capture(frames: int, seed: int) -> Capture:
    """All parameters in use: shape, expression, and every rotation up to some tens of degrees."""
    body = load_body()
    generator = np.random.default_rng(seed)
    poses = generator.normal(scale=0.3, size=(frames, NUM_JOINTS, 3)).astype(np.float32)
    return Capture(
        betas=generator.normal(size=body.num_betas).astype(np.float32),
        expression=generator.random((frames, body.num_expressions)).astype(np.float32),
        global_orient=poses[:, 0],
        body_pose=poses[:, 1:22].reshape(frames, -1),
        jaw_pose=poses[:, 22],
        leye_pose=poses[:, 23],
        reye_pose=poses[:, 24],
        left_hand_pose=poses[:, 25:40].reshape(frames, -1),
        right_hand_pose=poses[:, 40:55].reshape(frames, -1),
        transl=generator.normal(size=(frames, 3)).astype(np.float32),
        joints=np.zeros((frames, NUM_JOINTS, 3), np.float32),
        joint_names=JOINT_NAMES,
        focal_px=500.0,
        principal_px=np.array([256, 256], np.float32),
        image_size=(512, 512),
    )


def our_body(capture: Capture) -> tuple[Any, Any]:
    rotmats = torch.as_tensor(rotations_of(capture.full_pose().reshape(-1, NUM_JOINTS, 3).astype(np.float64)))
    body = Body(load_body(), dtype=torch.float64)
    args = (
        torch.as_tensor(capture.betas).double(),
        torch.as_tensor(capture.expression).double(),
        rotmats,
        torch.as_tensor(capture.transl).double(),
    )
    return body.vertices(*args), body.joints(*args)


def test_smplx_gives_our_vertices_and_joints_to_a_hundredth_of_a_millimetre() -> None:
    pytest.importorskip("smplx")
    body = load_body()
    capture = random_capture(frames=6, seed=0)
    layer, parameters = smplx_layer(capture, body)
    with torch.no_grad():
        output = layer(**parameters)
    vertices, joints = our_body(capture)
    assert float((output.vertices[:, : body.num_vertices] - vertices).norm(dim=-1).max()) < 1e-5
    assert float((output.joints[:, :NUM_JOINTS] - joints).norm(dim=-1).max()) < 1e-5
    assert float((output.vertices[:, body.num_vertices :] - joints).norm(dim=-1).max()) < 1e-5


def test_the_exported_file_loads_by_the_documented_call(tmp_path: Path) -> None:
    smplx = pytest.importorskip("smplx")
    body = load_body()
    path = tmp_path / "SMPLX_NEUTRAL.npz"
    export_smplx(body, path)
    layer = smplx.create(
        str(path), model_type="smplx", use_pca=False, flat_hand_mean=True, num_betas=16, num_expression_coeffs=52
    )
    betas, expression = torch.zeros(1, 16), torch.zeros(1, 52)
    betas[0, 3], expression[0, body.expression_names.index("jawOpen")] = 1.5, 0.7
    with torch.no_grad():
        output = layer(betas=betas, expression=expression)
    ours = Body(body).vertices(betas[0], expression[0])
    assert float((output.vertices[0, : body.num_vertices] - ours).norm(dim=-1).max()) < 1e-5


def test_a_capture_of_another_body_is_refused() -> None:
    capture = replace(random_capture(1, 1), body_id="smplx-male")
    with pytest.raises(ExportError, match="smplx-male"):
        smplx_layer(capture, load_body())


def test_a_missing_smplx_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(ExportError, match=r"pip install 'pantomime\[smplx\]'"):
        smplx_layer(random_capture(1, 2), load_body())


def test_an_export_to_an_impossible_place_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Can't write"):
        export_smplx(load_body(), tmp_path / "missing" / "SMPLX_NEUTRAL.npz")
