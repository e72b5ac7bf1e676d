"""The free body ↔ one compressed `.npz`. numpy only.

Wide arrays are stored as 16-bit integers with a scale for each component (an error of at most 3 µm a unit, where
float16 costs 30), and only for the vertices that they move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .model import BodyModel, PointSet

FORMAT = 1


@dataclass(frozen=True)
class Packed:
    """A (V, 3, C) array: rows of the vertices that move, 16-bit values, a scale for each component."""

    rows: NDArray[np.int32]  # (R,)
    values: NDArray[np.int16]  # (C, 3, R): neighbours are alike, which compresses
    scale: NDArray[np.float32]  # (C,)


def pack(array: NDArray[np.float32], threshold_m: float = 0.0) -> Packed:
    """Keep the rows that move more than `threshold_m` for a unit of any component."""
    size = np.abs(array).max(axis=(1, 2)) if array.shape[2] else np.zeros(len(array))
    rows = np.flatnonzero(size > threshold_m).astype(np.int32)
    kept = array[rows].transpose(2, 1, 0)
    scale = np.maximum(np.abs(kept).max(axis=(1, 2), initial=0.0), 1e-12).astype(np.float32) / 32767
    return Packed(rows, np.rint(kept / scale[:, None, None]).astype(np.int16), scale)


def unpack(packed: Packed, num_vertices: int) -> NDArray[np.float32]:
    """Components (V, 3, C) as they were packed."""
    array = np.zeros((num_vertices, 3, len(packed.scale)), np.float32)
    array[packed.rows] = (packed.values * packed.scale[:, None, None]).transpose(2, 1, 0)
    return array


def body_to_arrays(body: BodyModel) -> dict[str, NDArray[np.generic]]:
    """What is stored of a body; points are not (see points_file)."""
    arrays: dict[str, NDArray[np.generic]] = {"format": np.asarray(FORMAT)}
    for name in ("body_id", "gender", "surface_model_type"):
        arrays[name] = np.asarray(getattr(body, name))
    for name in (
        "v_template",
        "J_template",
        "J_shapedirs",
        "J_exprdirs",
        "hands_mean",
        "hands_components",
        "uv_coords",
    ):
        arrays[name] = np.asarray(getattr(body, name), np.float32)
    for name in ("quads", "quad_uvs"):
        array = getattr(body, name)
        arrays[name] = array.astype(np.int16 if array.max(initial=0) < 2**15 else np.int32)
    arrays["posedirs_features"] = body.posedirs_features.astype(np.int32)
    for name, threshold in (("shapedirs", 0.0), ("exprdirs", 2e-6), ("posedirs", 2e-5)):
        packed = pack(getattr(body, name), threshold)
        arrays[f"{name}/rows"], arrays[f"{name}/values"], arrays[f"{name}/scale"] = (
            packed.rows,
            packed.values,
            packed.scale,
        )
    count = int((body.weights > 0).sum(1).max())
    order = np.argsort(-body.weights, axis=1, kind="stable")[:, :count]
    arrays["weights/joints"] = order.astype(np.uint8)
    arrays["weights/values"] = np.take_along_axis(body.weights, order, axis=1).astype(np.float32)
    arrays["expression_names"] = np.asarray(body.expression_names)
    arrays["material_names"] = np.asarray(body.material_names)
    arrays["material_ids"] = body.material_ids.astype(np.uint8)
    for name, group in body.vertex_groups.items():
        arrays[f"group/{name}"] = group.astype(np.int32)
    return arrays


def body_from_arrays(data: Mapping[str, NDArray[np.generic]], points: dict[str, PointSet]) -> BodyModel:
    """A body from what `body_to_arrays` stored. Raises KeyError or ValueError for anything else."""
    if int(data["format"]) != FORMAT:
        raise ValueError(f"format {int(data['format'])}, expected {FORMAT}")
    v_template = _float(data["v_template"])
    wide = {
        name: unpack(
            Packed(
                np.asarray(data[f"{name}/rows"], np.int32),
                np.asarray(data[f"{name}/values"], np.int16),
                _float(data[f"{name}/scale"]),
            ),
            len(v_template),
        )
        for name in ("shapedirs", "exprdirs", "posedirs")
    }
    J_template = _float(data["J_template"])
    weights = np.zeros((len(v_template), len(J_template)), np.float32)
    np.put_along_axis(weights, np.asarray(data["weights/joints"], np.int64), _float(data["weights/values"]), axis=1)
    quads = np.asarray(data["quads"], np.int32)
    prefix = "group/"
    return BodyModel(
        body_id=str(data["body_id"]),
        gender=str(data["gender"]),
        surface_model_type=str(data["surface_model_type"]),
        v_template=v_template,
        faces=triangles_of(quads),
        shapedirs=wide["shapedirs"],
        exprdirs=wide["exprdirs"],
        posedirs=wide["posedirs"],
        posedirs_features=np.asarray(data["posedirs_features"], np.int32),
        weights=weights,
        J_template=J_template,
        J_shapedirs=_float(data["J_shapedirs"]),
        J_exprdirs=_float(data["J_exprdirs"]),
        hands_mean=_float(data["hands_mean"]),
        hands_components=_float(data["hands_components"]),
        expression_names=tuple(str(name) for name in data["expression_names"]),
        bounded_expression=True,
        quads=quads,
        uv_coords=_float(data["uv_coords"]),
        quad_uvs=np.asarray(data["quad_uvs"], np.int32),
        material_names=tuple(str(name) for name in data["material_names"]),
        material_ids=np.asarray(data["material_ids"], np.uint8),
        vertex_groups={key[len(prefix) :]: np.asarray(data[key], np.int32) for key in data if key.startswith(prefix)},
        points=points,
    )


def triangles_of(quads: NDArray[np.int32]) -> NDArray[np.int32]:
    """Two triangles of each quad, in its order: (a, b, c), (a, c, d); one where the last corner is -1."""
    pairs = np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3)
    return np.ascontiguousarray(pairs[pairs[:, 2] >= 0], dtype=np.int32)


def _float(array: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)
