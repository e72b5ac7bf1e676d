"""How rendered people look: skin from light to dark, brows, a cap of hair, tight clothes with patterns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from ..core.body.skeleton import JOINT_INDEX
from .clothing import Regions
from .materials import Colour, Look, Nodes, add_materials
from .mesh import EYE_ATTRIBUTE, eye_directions, polygons
from .rest import Floats
from .steps import finish

REST_ATTRIBUTE = "rest"
PATTERNS = ("plain", "plain", "noise", "stripes", "checks")


@dataclass(frozen=True)
class Cloth:
    """A garment: where it is (an attribute of the mesh) and how it looks."""

    attribute: str
    colours: tuple[Colour, Colour]
    pattern: str
    scale: float
    roughness: float


@dataclass(frozen=True)
class PersonLook:
    """Everything that is drawn at random about a person's look."""

    skin: Colour
    hair: Colour
    iris: Colour
    hair_m: float  # how far the cap of hair stands off; 0: none
    sleeve: float  # of the upper arm's length; 0: none, 1.8: to the wrist
    legs: float  # how far down the leg the trousers reach, 0…1 from hip to ankle
    shoes: bool
    cloths: tuple[Cloth, Cloth, Cloth]  # shirt, trousers, shoes


def draw_look(rng: np.random.Generator) -> PersonLook:
    """Any skin, hair and clothes; equal generators give equal looks."""
    shade = rng.uniform(0.0, 1.0)
    skin = as_colour((1 - shade) * np.array([0.62, 0.36, 0.25]) + shade * np.array([0.085, 0.04, 0.024]))
    skin = as_colour(np.array(skin) * rng.uniform(0.9, 1.1, 3))
    hair = as_colour(rng.uniform(0.008, 0.2) * np.array([1.0, rng.uniform(0.55, 0.9), rng.uniform(0.25, 0.8)]))
    iris = as_colour(rng.uniform((0.03, 0.03, 0.02), (0.15, 0.2, 0.3)))
    cloths = tuple(_draw_cloth(rng, name) for name in ("shirt", "trousers", "shoes"))
    return PersonLook(
        skin=skin,
        hair=hair,
        iris=iris,
        hair_m=0.0 if rng.random() < 0.08 else float(rng.uniform(0.008, 0.028)),
        sleeve=float(rng.choice([0.06, 0.35, 0.55, 0.95, 1.8])),
        legs=float(rng.choice([0.25, 0.45, 0.9, 0.9, 0.95])),
        shoes=bool(rng.random() < 0.75),
        cloths=(cloths[0], cloths[1], cloths[2]),
    )


def as_colour(values: NDArray[np.floating]) -> Colour:
    """Linear RGB (3,), cut off to 0…1, as plain numbers, which Blender's properties take."""
    r, g, b = (float(value) for value in np.clip(values, 0.0, 1.0))
    return r, g, b


def _draw_cloth(rng: np.random.Generator, name: str) -> Cloth:
    value = rng.choice([0.03, 0.1, 0.3, 0.7]) * rng.uniform(0.6, 1.2)
    tint = rng.uniform(0.25, 1.0, 3)
    first = as_colour(value * tint / tint.max())
    second = as_colour(np.array(first) * rng.uniform(0.2, 0.8) + rng.uniform(0.0, 0.25, 3))
    pattern = "plain" if name == "shoes" else str(rng.choice(PATTERNS))
    return Cloth(
        name, (first, second), pattern, float(np.exp(rng.uniform(np.log(5), np.log(40)))), float(rng.uniform(0.6, 0.95))
    )


def person_fields(body: BodyModel, look: PersonLook) -> dict[str, Floats]:
    """Garments and hair as fields (V,), positive inside."""
    regions = Regions(body)
    hip, ankle = (float(body.J_template[JOINT_INDEX[f"left_{name}"]][1]) for name in ("hip", "ankle"))
    trousers = regions.trousers()
    lowest = hip - look.legs * (hip - ankle)
    trousers = np.where(regions.points[:, 1] < hip, np.minimum(trousers, regions.points[:, 1] - lowest), trousers)
    # What the shirt leaves free at the waist the trousers cover.
    fields = {"shirt": regions.shirt(look.sleeve), "trousers": trousers, "hair": regions.hair()}
    fields["shoes"] = regions.shoes() if look.shoes else np.full(len(regions.points), -1.0)
    if look.hair_m == 0.0:
        fields["hair"] = np.full(len(regions.points), -1.0)
    return fields


def dress(mesh: bpy.types.Mesh, body: BodyModel, look: PersonLook, prefix: str) -> list[bpy.types.Material]:
    """Attributes, materials and the shape of the hair for a mesh of the body's; the materials that were made."""
    fields = person_fields(body, look)
    for name, field in fields.items():
        attribute = mesh.attributes.new(name, "FLOAT", "POINT")
        attribute.data.foreach_set("value", field.astype(np.float32))
    for name, vectors in ((REST_ATTRIBUTE, body.v_template), (EYE_ATTRIBUTE, eye_directions(body))):
        attribute = mesh.attributes.new(name, "FLOAT_VECTOR", "POINT")
        attribute.data.foreach_set("vector", np.ascontiguousarray(vectors, np.float32).ravel())
    lips = tuple(0.55 * value * tint for value, tint in zip(look.skin, (1.35, 0.8, 0.8), strict=True))
    own = replace(Look(), skin=look.skin, lips=as_colour(np.array(lips)), iris=look.iris, garment=None)
    finish(add_materials(mesh, body, own, prefix))
    materials = list(mesh.materials)
    _skin_and_clothes(materials[0], body, look)
    grow_hair(mesh, fields["hair"], look.hair_m)
    # Nails below shoes and lips below nothing: what a garment covers is cloth.
    covered = fields["shoes"] > 0
    corners, starts, _ = polygons(body)
    first = corners[starts]
    index = np.where(covered[first], 0, body.material_ids).astype(np.int32)
    mesh.polygons.foreach_set("material_index", index)
    return materials


def grow_hair(mesh: bpy.types.Mesh, field: Floats, height_m: float) -> None:
    """Push the vertices out along their normals where `field` (V,) is positive, up to `height_m`."""
    count = len(mesh.vertices)
    places, normals = np.empty(count * 3, np.float32), np.empty(count * 3, np.float32)
    mesh.vertices.foreach_get("co", places)
    mesh.vertices.foreach_get("normal", normals)
    push = height_m * np.clip(field / 0.02, 0.0, 1.0)
    mesh.vertices.foreach_set(
        "co", (places.reshape(-1, 3) + push[:, None] * normals.reshape(-1, 3)).ravel().astype(np.float32)
    )
    mesh.update()


def _skin_and_clothes(material: bpy.types.Material, body: BodyModel, look: PersonLook) -> None:
    nodes = Nodes(material)
    rest = nodes.node("ShaderNodeAttribute", attribute_name=REST_ATTRIBUTE).outputs["Vector"]
    blood = nodes.node("ShaderNodeTexNoise", {"Vector": rest, "Scale": 12.0, "Detail": 3.0}).outputs[0]
    redder = as_colour(np.array(look.skin) * np.array([0.95, 0.7, 0.65]))
    colour = nodes.mix(nodes.smooth_step(blood, 0.35, 0.8), look.skin, redder)
    colour = nodes.mix(_brows(nodes, rest, body), colour, look.hair)
    strands = nodes.node("ShaderNodeTexNoise", {"Vector": rest, "Scale": 160.0, "Detail": 3.0}).outputs[0]
    hair = nodes.mix(strands, as_colour(0.5 * np.array(look.hair)), as_colour(1.3 * np.array(look.hair)))
    colour = nodes.mix(_inside(nodes, "hair"), colour, hair)
    roughness: Any = 0.5
    # The shirt hangs over the trousers, trousers over shoes.
    for cloth in (look.cloths[2], look.cloths[1], look.cloths[0]):
        inside = _inside(nodes, cloth.attribute)
        colour = nodes.mix(inside, colour, patterned(nodes, rest, cloth.colours, cloth.pattern, cloth.scale))
        roughness = nodes.math("MULTIPLY_ADD", inside, nodes.math("SUBTRACT", cloth.roughness, roughness), roughness)
    nodes.finish({"Base Color": colour, "Roughness": roughness, "Specular IOR Level": 0.3})


def _inside(nodes: Nodes, attribute: str) -> Any:
    field = nodes.node("ShaderNodeAttribute", attribute_name=attribute).outputs["Fac"]
    return nodes.smooth_step(field, -0.0008, 0.0008)


def patterned(nodes: Nodes, where: Any, colours: tuple[Colour, Colour], pattern: str, scale: float) -> Any:
    """A colour socket: two colours in a pattern over places in metres."""
    if pattern == "plain":
        return nodes.mix(0.0, *colours)
    if pattern == "stripes":
        wave = nodes.node("ShaderNodeTexWave", {"Vector": where, "Scale": 0.5 * scale}, bands_direction="Y")
        factor = nodes.smooth_step(wave.outputs["Fac"], 0.4, 0.6)
    elif pattern == "checks":
        factor = nodes.node("ShaderNodeTexChecker", {"Vector": where, "Scale": scale}).outputs["Fac"]
    elif pattern == "bricks":
        factor = nodes.node("ShaderNodeTexBrick", {"Vector": where, "Scale": 0.3 * scale}).outputs["Fac"]
    else:
        noise = nodes.node("ShaderNodeTexNoise", {"Vector": where, "Scale": scale, "Detail": 4.0}).outputs[0]
        factor = nodes.smooth_step(noise, 0.4, 0.6)
    return nodes.mix(factor, *colours)


def _brows(nodes: Nodes, rest: Any, body: BodyModel) -> Any:
    """0…1: a line some 20 mm above the middle of the eye, thinner towards the temple."""
    eye = body.J_template[JOINT_INDEX["left_eye_smplhf"]]
    eye_x, eye_y, eye_z = (float(value) for value in eye)
    axis = nodes.node("ShaderNodeSeparateXYZ", {"Vector": rest})
    out = nodes.math("SUBTRACT", nodes.math("ABSOLUTE", axis.outputs[0]), eye_x)
    up = nodes.math("SUBTRACT", axis.outputs[1], eye_y)

    def ramp(value: Any, low: float, high: float, start: float, end: float) -> Any:
        inputs = {"Value": value, "From Min": low, "From Max": high, "To Min": start, "To Max": end}
        return nodes.node("ShaderNodeMapRange", inputs, clamp=True).outputs["Result"]

    middle = nodes.math("ADD", ramp(out, -0.02, 0.01, 0.0175, 0.0225), ramp(out, 0.01, 0.03, 0.0, -0.006))
    half = nodes.math("ADD", ramp(out, -0.02, -0.012, 0.0025, 0.0042), ramp(out, 0.012, 0.03, 0.0, -0.0032))
    off = nodes.math("ABSOLUTE", nodes.math("SUBTRACT", up, middle))
    amount = nodes.smooth_step(nodes.math("SUBTRACT", half, off), -0.0006, 0.0012)
    for condition in (
        nodes.math("GREATER_THAN", out, -0.02),
        nodes.math("LESS_THAN", out, 0.03),
        nodes.math("GREATER_THAN", axis.outputs[2], eye_z - 0.04),
    ):
        amount = nodes.math("MULTIPLY", amount, condition)
    return nodes.math("MULTIPLY", amount, 0.85)
