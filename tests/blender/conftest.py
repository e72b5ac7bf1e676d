"""Tests inside Blender as a module."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from pantomime.core.body.load import load_body
from pantomime.core.body.model import BodyModel
from pantomime.core.body.skeleton import JOINT_NAMES
from pantomime.core.capture import Capture

bpy = pytest.importorskip("bpy")

_status = 0


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the tests went."""
    global _status
    _status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """As a module, Blender 4.2 crashes while it ends once an add-on such as Rigify was enabled, and 4.5 waits forever
    where classes are still registered, with nothing of ours imported. The results are out by now: end without that."""
    if bpy.app.version < (5, 0):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status)


@pytest.fixture
def empty_file() -> None:
    """Factory settings, no objects."""
    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.fixture(scope="module")
def extension() -> Iterator[None]:
    """The extension, registered; its worker stays warm from test to test."""
    import pantomime

    pantomime.register()
    yield
    pantomime.unregister()


@pytest.fixture(scope="session")
def free_body() -> BodyModel:
    """The body that ships."""
    return load_body()


@pytest.fixture(scope="session")
def smplx_like_body(free_body: BodyModel) -> BodyModel:
    """A small body with what a licensed file has and the free one has not: triangles, no UVs, two materials,
    unbounded expressions that move joints, dense pose correctives."""
    rng = np.random.default_rng(5)
    kept = np.arange(0, free_body.num_vertices, 10)
    faces = np.stack([np.arange(len(kept) - 2), np.arange(1, len(kept) - 1), np.arange(2, len(kept))], axis=1)
    return BodyModel(
        body_id="smplx-neutral",
        gender="neutral",
        surface_model_type="smplx",
        v_template=free_body.v_template[kept],
        faces=faces.astype(np.int32),
        shapedirs=free_body.shapedirs[kept][:, :, :10],
        exprdirs=(0.01 * rng.normal(size=(len(kept), 3, 10))).astype(np.float32),
        posedirs=(0.003 * rng.normal(size=(len(kept), 3, 486))).astype(np.float32),
        posedirs_features=np.arange(486, dtype=np.int32),
        weights=free_body.weights[kept],
        J_template=free_body.J_template,
        J_shapedirs=free_body.J_shapedirs[:, :, :10],
        J_exprdirs=(0.002 * rng.normal(size=(55, 3, 10))).astype(np.float32),
        hands_mean=free_body.hands_mean,
        hands_components=free_body.hands_components,
        expression_names=tuple(f"expression{k}" for k in range(10)),
        bounded_expression=False,
        quads=np.pad(faces, ((0, 0), (0, 1)), constant_values=-1).astype(np.int32),
        uv_coords=np.zeros((0, 2), np.float32),
        quad_uvs=np.full((len(faces), 4), -1, np.int32),
        material_names=("skin", "sclera"),
        material_ids=np.zeros(len(faces), np.uint8),
    )


@pytest.fixture
def random_capture() -> Callable[..., Capture]:
    """Makes a capture of a random person 3 m before the camera; `amount` scales pose, shape and expression."""

    def make(body: BodyModel, seed: int, amount: float = 1.0, frames: int = 1, **changes: object) -> Capture:
        rng = np.random.default_rng(seed)

        def turns(joints: int, spread: float) -> np.ndarray:
            return (amount * spread * rng.normal(size=(frames, 3 * joints))).astype(np.float32)

        low, high = (0.0, 1.0) if body.bounded_expression else (-2.0, 2.0)
        expression = amount * rng.uniform(low, high, (frames, body.num_expressions))
        capture = Capture(
            betas=(amount * rng.normal(size=body.num_betas)).astype(np.float32),
            expression=expression.astype(np.float32),
            global_orient=np.array([[np.pi, 0, 0]], np.float32) + turns(1, 0.3),
            body_pose=turns(21, 0.35),
            jaw_pose=turns(1, 0.1),
            leye_pose=turns(1, 0.1),
            reye_pose=turns(1, 0.1),
            left_hand_pose=turns(15, 0.3),
            right_hand_pose=turns(15, 0.3),
            transl=(np.array([[0.1, 0.2, 3.0]]) + 0.1 * rng.normal(size=(frames, 3))).astype(np.float32),
            joints=np.zeros((frames, 55, 3), np.float32),
            joint_names=JOINT_NAMES,
            focal_px=700.0,
            principal_px=np.array([320.0, 240.0], np.float32),
            image_size=(640, 480),
            body_id=body.body_id,
        )
        return replace(capture, **changes)

    return make
