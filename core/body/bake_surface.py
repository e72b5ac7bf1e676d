"""Materials and named regions of the free body's surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bake_source import PARTS, AnnySource
from .skeleton import JOINT_INDEX, JOINT_NAMES

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MATERIALS = ("skin", "lips", "nails", "mouth", "sclera", "iris", "pupil", "lashes", "teeth", "tongue")
_PART_MATERIAL = {
    "body": "skin",
    "helper-l-eye": "sclera",
    "helper-r-eye": "sclera",
    "helper-tongue": "tongue",
    "helper-upper-teeth": "teeth",
    "helper-lower-teeth": "teeth",
}
# Rings of the eyeball's vertices about the pupil, by their distance in UV: 6 mm and 12 mm across on an adult.
PUPIL_UV_RADIUS = 0.0009
IRIS_UV_RADIUS = 0.0019
_MASKS = {"lips": "mpfb_lips", "nails": "mpfb_fingernails", "mouth": "mpfb_inside-mouth"}


@dataclass(frozen=True)
class Surface:
    """Materials by quad, regions by vertex."""

    material_ids: NDArray[np.uint8]  # (Q,)
    vertex_groups: dict[str, NDArray[np.int32]]


def read_mask(source: AnnySource, name: str) -> NDArray[np.float64]:
    """One of MakeHuman's UV masks, rows from the top, 0…1."""
    import PIL.Image

    with PIL.Image.open(source.data_folder / "mpfb2/textures" / f"{name}.jpg") as image:
        return np.asarray(image.convert("L"), np.float64) / 255.0


def mask_of_quads(source: AnnySource, name: str) -> Float:
    """The mask at the middle of each quad, (Q,)."""
    mask = read_mask(source, name)
    uv = source.uv_coords[source.quad_uvs].mean(1)
    rows = np.clip(((1.0 - uv[:, 1]) * mask.shape[0]).astype(int), 0, mask.shape[0] - 1)
    columns = np.clip((uv[:, 0] * mask.shape[1]).astype(int), 0, mask.shape[1] - 1)
    return np.asarray(mask[rows, columns])


def eye_uv_radius(source: AnnySource, part: str) -> Float:
    """Distance in UV of each quad's farthest corner from the pupil's middle, (Q,); inf off the eye."""
    of_part = source.quad_parts == PARTS.index(part)
    quads, uv = source.quads[of_part], source.uv_coords[source.quad_uvs[of_part]]
    # The eye looks ahead at rest: its foremost ring of vertices is the pupil's.
    front = source.template[quads][..., 2]
    ring = front > front.max() - 0.0015
    middle = np.unique(uv[ring].round(6), axis=0).mean(0)
    result = np.full(len(source.quads), np.inf)
    result[of_part] = np.linalg.norm(uv - middle, axis=-1).max(1)
    return result


def bake_surface(source: AnnySource, weights: Float) -> Surface:
    """Materials from parts and masks; regions from materials, parts and skin weights."""
    names = [_PART_MATERIAL.get(part, "lashes") for part in PARTS]
    by_part = np.array([MATERIALS.index(name) for name in names])
    material_ids = by_part[source.quad_parts]
    skin = source.quad_parts == 0
    for material, mask in _MASKS.items():
        material_ids[skin & (mask_of_quads(source, mask) > 0.5)] = MATERIALS.index(material)
    toenails = skin & (mask_of_quads(source, "mpfb_toenails") > 0.5)
    material_ids[toenails] = MATERIALS.index("nails")

    for part in ("helper-l-eye", "helper-r-eye"):
        radius = eye_uv_radius(source, part)
        eye = source.quad_parts == PARTS.index(part)
        material_ids[eye & (radius < IRIS_UV_RADIUS)] = MATERIALS.index("iris")
        material_ids[eye & (radius < PUPIL_UV_RADIUS)] = MATERIALS.index("pupil")

    groups: dict[str, Int] = {}
    for index, name in enumerate(MATERIALS):
        groups[name] = np.unique(source.quads[material_ids == index])
    for side, letter in (("left", "l"), ("right", "r")):
        groups[f"{side}_eyeball"] = np.unique(source.quads[source.quad_parts == PARTS.index(f"helper-{letter}-eye")])
    head = weights[:, [JOINT_INDEX[name] for name in ("head", "jaw", "left_eye_smplhf", "right_eye_smplhf")]].sum(1)
    groups["head"] = np.flatnonzero(head > 0.5)
    for side in ("left", "right"):
        hand = [JOINT_INDEX[name] for name in JOINT_NAMES if name.startswith(side) and name[-1].isdigit()]
        groups[f"{side}_hand"] = np.flatnonzero(weights[:, [*hand, JOINT_INDEX[f"{side}_wrist"]]].sum(1) > 0.5)
        foot = [JOINT_INDEX[f"{side}_{name}"] for name in ("ankle", "foot")]
        groups[f"{side}_foot"] = np.flatnonzero(weights[:, foot].sum(1) > 0.5)
    return Surface(
        material_ids=material_ids.astype(np.uint8),
        vertex_groups={name: group.astype(np.int32) for name, group in groups.items() if len(group)},
    )
