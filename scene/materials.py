"""An avatar's materials: skin, lips, nails, eyes, teeth, tongue, inside of the mouth, lashes; Principled nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.body.model import BodyModel
from . import axes
from .mesh import EYE_ATTRIBUTE, FACE_ATTRIBUTE
from .steps import MORE, Steps

Colour = tuple[float, float, float]
GARMENT_ATTRIBUTE = "garment"
GARMENT_KIND = "garment"
EYE_PARTS = ("iris", "pupil")
PUPIL_COLOUR: Colour = (0.003, 0.003, 0.003)
VIEWPORT_GAIN = 1.8


@dataclass(frozen=True)
class Look:
    """Colours of an avatar, linear RGB 0…1."""

    skin: Colour = (0.52, 0.275, 0.18)
    lips: Colour = (0.42, 0.13, 0.105)
    iris: Colour = (0.075, 0.135, 0.17)
    brows: Colour | None = (0.035, 0.02, 0.013)  # None: no brows
    garment: Colour | None = (0.035, 0.045, 0.06)  # plain underwear where the body has a region for it; None: bare


@dataclass(frozen=True)
class Brow:
    """Where a brow is, metres outwards, back and up from an eye; ranges are of smooth steps."""

    peak: float = 0.014  # outwards
    height: float = 0.0215  # of the peak
    bend: float = 8.0  # 1/m: the arc falls by this times the squared way from the peak
    half: float = 0.0034  # of its thickness
    thinner: float = 0.0028  # it gets, over `thins`
    thins: tuple[float, float] = (-0.002, 0.034)
    hairs: float = 0.004  # by which noise moves the edge
    edge: tuple[float, float] = (0.0006, 0.0042)  # depths in the brow where it begins to cover, and covers
    inner: tuple[float, float] = (-0.017, -0.005)  # where it begins
    outer: tuple[float, float] = (0.031, 0.036)  # and ends
    front: float = 0.01  # no further back
    most: float = 0.9  # of the skin that it covers


BROW = Brow()


def add_materials(mesh: bpy.types.Mesh, body: BodyModel, look: Look, prefix: str) -> Steps[None]:
    """One slot for each of the body's materials, in its order, and those that it does not tell of. In steps."""
    size = tuple(np.ptp(axes.body_to_blender(body.v_template), axis=0).tolist())
    makers = {
        "skin": lambda m: skin_nodes(m, look, size),
        "lips": lambda m: wet_nodes(m, look.lips, 0.32, subsurface=0.12),
        "nails": lambda m: wet_nodes(m, _mix(look.skin, (0.72, 0.42, 0.34), 0.3), 0.28, subsurface=0.12),
        "mouth": lambda m: wet_nodes(m, (0.22, 0.045, 0.04), 0.35, subsurface=0.1),
        "tongue": lambda m: wet_nodes(m, (0.42, 0.12, 0.11), 0.3, subsurface=0.2),
        "teeth": teeth_nodes,
        "lashes": lash_nodes,
        "eyes": lambda m: eye_nodes(m, look.iris),
    }
    names = body.material_names
    made: dict[str, bpy.types.Material] = {}
    for name in names:
        # The eye is one shell, and its nodes draw all of it: iris and pupil have copies, for solid shading and exports.
        kind = "eyes" if name == "sclera" else name
        if kind in EYE_PARTS and "eyes" in made:
            made[kind] = _copy_for_solid(made["eyes"], f"{prefix} {kind}", _eye_part_colour(kind, look))
            mesh.materials.append(made[kind])
        elif kind not in made:
            made[kind] = bpy.data.materials.new(f"{prefix} {kind}")
            mesh.materials.append(made[kind])
            steps = makers.get(kind, makers["skin"])(made[kind])
            if steps is not None:
                yield from steps
            yield MORE
        else:
            mesh.materials.append(made[kind])
    if "sclera" in names and not set(EYE_PARTS) & set(names):
        _add_eye_slots(mesh, names.index("sclera"), made["eyes"], look, prefix)
    if look.garment is not None and "skin" in made and GARMENT_ATTRIBUTE in mesh.attributes:
        _add_garment_slot(mesh, made["skin"], names.index("skin"), look.garment, f"{prefix} {GARMENT_KIND}")


def _add_garment_slot(
    mesh: bpy.types.Mesh, skin: bpy.types.Material, skin_slot: int, garment: Colour, name: str
) -> None:
    """Faces that reach into the garment get a slot, for what knows no shader: solid shading, exports, previews.

    Its nodes are the skin's, which draw the garment: renders stay as they are.
    """
    field = np.empty(len(mesh.vertices), np.float32)
    mesh.attributes[GARMENT_ATTRIBUTE].data.foreach_get("value", field)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    starts, slots = (np.empty(len(mesh.polygons), np.int32) for _ in range(2))
    mesh.polygons.foreach_get("loop_start", starts)
    mesh.polygons.foreach_get("material_index", slots)
    slots[(slots == skin_slot) & (np.maximum.reduceat(field[corners], starts) > 0.0)] = len(mesh.materials)
    mesh.materials.append(_copy_for_solid(skin, name, garment))
    mesh.polygons.foreach_set("material_index", slots)


def _add_eye_slots(mesh: bpy.types.Mesh, eye_slot: int, eyes: bpy.types.Material, look: Look, prefix: str) -> None:
    """Iris and pupil of a body that does not say which faces they are, as licensed ones: those of the eye whose middle
    lies in their circles."""
    directions = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.attributes[EYE_ATTRIBUTE].data.foreach_get("vector", directions)
    corners = np.empty(len(mesh.loops), np.int32)
    starts, slots = (np.empty(len(mesh.polygons), np.int32) for _ in range(2))
    mesh.loops.foreach_get("vertex_index", corners)
    mesh.polygons.foreach_get("loop_start", starts)
    mesh.polygons.foreach_get("material_index", slots)
    sizes = np.diff(starts, append=len(corners))
    middle = np.add.reduceat(directions.reshape(-1, 3)[corners], starts) / sizes[:, None]
    # The eye looks towards −Y.
    off = np.where(middle[:, 1] < 0.0, np.hypot(middle[:, 0], middle[:, 2]), np.inf)
    on_eye = slots == eye_slot
    for part, radius in (("iris", IRIS), ("pupil", PUPIL)):
        slots[on_eye & (off < radius)] = len(mesh.materials)
        mesh.materials.append(_copy_for_solid(eyes, f"{prefix} {part}", _eye_part_colour(part, look)))
    mesh.polygons.foreach_set("material_index", slots)


def _eye_part_colour(part: str, look: Look) -> Colour:
    return look.iris if part == "iris" else PUPIL_COLOUR


def _copy_for_solid(material: bpy.types.Material, name: str, colour: Colour) -> bpy.types.Material:
    """The same nodes, which draw a part of the surface in another colour, with that colour for solid shading."""
    copy = material.copy()
    copy.name = name
    copy.diffuse_color = viewport_colour(colour)
    return copy


def srgb(linear: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Linear RGB of any shape as sRGB (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055)


def _mix(a: Colour, b: Colour, t: float) -> Colour:
    r, g, bl = ((1.0 - t) * x + t * y for x, y in zip(a, b, strict=True))
    return r, g, bl


class Nodes:
    """A thin writer of shader nodes: makes a node, sets inputs, links. `clear`: the material's own nodes go first."""

    def __init__(self, material: bpy.types.Material, clear: bool = True) -> None:
        if material.node_tree is None:  # before 5.0 a new material has no nodes
            material.use_nodes = True
        self.tree: Any = material.node_tree
        if clear:
            self.tree.nodes.clear()
        self._x = max((node.location.x + 180.0 for node in self.tree.nodes), default=0.0)

    def node(self, kind: str, inputs: Mapping[Any, Any] | None = None, **settings: Any) -> Any:
        """A node to the right of the others, with settings, and inputs that are values or sockets of other nodes."""
        node = self.tree.nodes.new(kind)
        node.location = (self._x, 0.0)
        self._x += 180.0
        for setting, value in settings.items():
            setattr(node, setting, value)
        for name, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[name])
            else:
                node.inputs[name].default_value = (*value, 1.0) if _is_colour(node.inputs[name], value) else value
        return node

    def math(self, operation: str, *values: Any, clamp: bool = False) -> Any:
        """The result of a maths node."""
        return self.node("ShaderNodeMath", dict(enumerate(values)), operation=operation, use_clamp=clamp).outputs[0]

    def smooth_step(self, value: Any, low: float, high: float) -> Any:
        """0 below `low`, 1 above `high`, smooth between."""
        inputs = {"Value": value, "From Min": low, "From Max": high, "To Min": 0.0, "To Max": 1.0}
        return self.node("ShaderNodeMapRange", inputs, interpolation_type="SMOOTHSTEP").outputs["Result"]

    def mix(self, factor: Any, a: Any, b: Any) -> Any:
        """From colour `a` at factor 0 to `b` at 1."""
        node = self.tree.nodes.new("ShaderNodeMix")
        node.data_type = "RGBA"
        node.location = (self._x, 0.0)
        self._x += 180.0
        # Sockets of this node share names between its data types: these are the colour ones.
        for socket, value in ((node.inputs[0], factor), (node.inputs[6], a), (node.inputs[7], b)):
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = (*value, 1.0) if isinstance(value, tuple) and len(value) == 3 else value
        return node.outputs[2]

    def finish(self, inputs: Mapping[Any, Any]) -> Any:
        """The surface: a principled shader with these inputs."""
        shader = self.node("ShaderNodeBsdfPrincipled", inputs)
        self.node("ShaderNodeOutputMaterial", {"Surface": shader.outputs["BSDF"]})
        return shader


def _is_colour(socket: Any, value: Any) -> bool:
    return socket.type == "RGBA" and isinstance(value, tuple) and len(value) == 3


def viewport_colour(colour: Colour) -> tuple[float, float, float, float]:
    """What solid shading shows: its lights dim colours to about half, so that skin would look burnt."""
    r, g, b = (min(1.0, VIEWPORT_GAIN * channel) for channel in colour)
    return r, g, b, 1.0


def albedo(material: bpy.types.Material) -> Colour:
    """The base colour where it is one; else what `viewport_colour` was made from, as far as that didn't reach 1."""
    if material.node_tree is not None:
        shader = next((node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
        if shader is not None and not shader.inputs["Base Color"].is_linked:
            r, g, b = tuple(shader.inputs["Base Color"].default_value)[:3]
            return r, g, b
    r, g, b = (channel / VIEWPORT_GAIN for channel in tuple(material.diffuse_color)[:3])
    return r, g, b


def plain_nodes(material: bpy.types.Material, colour: Colour, roughness: float) -> None:
    """A matt surface."""
    nodes = Nodes(material)
    nodes.finish({"Base Color": colour, "Roughness": roughness})
    material.diffuse_color = viewport_colour(colour)


def wet_nodes(material: bpy.types.Material, colour: Colour, roughness: float, subsurface: float) -> None:
    """A moist or polished surface with some light below it: lips, nails, tongue."""
    nodes = Nodes(material)
    inputs = {"Base Color": colour, "Roughness": roughness, **_subsurface(subsurface, 0.003)}
    nodes.finish(inputs)
    material.diffuse_color = viewport_colour(colour)


def teeth_nodes(material: bpy.types.Material) -> None:
    """Enamel: light goes as far in all colours, or teeth look blue; a trace of glow, as lips shade them to grey."""
    nodes = Nodes(material)
    colour = (0.9, 0.86, 0.77)
    glow = {"Emission Color": colour, "Emission Strength": 0.05}
    light = {**_subsurface(0.3, 0.003), "Subsurface Radius": (1.0, 0.9, 0.75)}
    nodes.finish({"Base Color": colour, "Roughness": 0.15, **light, **glow})
    material.diffuse_color = viewport_colour(colour)


def _subsurface(weight: float, scale_m: float) -> dict[str, Any]:
    return {"Subsurface Weight": weight, "Subsurface Scale": scale_m, "Subsurface Radius": (1.0, 0.35, 0.2)}


def skin_nodes(material: bpy.types.Material, look: Look, size_m: tuple[float, float, float]) -> Steps[None]:
    """Skin: blotches of blood, pores as bump, mild subsurface; brows, and underwear where the mesh says so. In steps.

    `size_m`: the template's extent, which generated coordinates are fractions of.
    """
    colour = look.skin
    nodes = Nodes(material)
    generated = nodes.node("ShaderNodeTexCoord").outputs["Generated"]
    where = nodes.node("ShaderNodeMapping", {"Vector": generated, "Scale": size_m}).outputs["Vector"]
    blood = nodes.node("ShaderNodeTexNoise", {"Vector": where, "Scale": 16.0, "Detail": 3.0}).outputs[0]
    redder = _mix(colour, (colour[0] * 0.95, colour[1] * 0.62, colour[2] * 0.55), 0.3)
    surface = nodes.mix(nodes.smooth_step(blood, 0.35, 0.8), colour, redder)
    roughness: Any = 0.5
    yield MORE
    if look.brows is not None:
        surface = nodes.mix(_brow_mask(nodes), surface, look.brows)
    if look.garment is not None:
        field = nodes.node("ShaderNodeAttribute", attribute_name=GARMENT_ATTRIBUTE).outputs["Fac"]
        inside = nodes.smooth_step(field, -0.0005, 0.0005)
        surface = nodes.mix(inside, surface, look.garment)
        roughness = nodes.math("MULTIPLY_ADD", inside, 0.35, 0.5)
    yield MORE
    pores = nodes.node("ShaderNodeTexNoise", {"Vector": where, "Scale": 900.0, "Detail": 2.0}).outputs[0]
    bump = nodes.node("ShaderNodeBump", {"Strength": 0.06, "Distance": 0.001, "Height": pores}).outputs[0]
    inputs = {"Base Color": surface, "Roughness": roughness, "Specular IOR Level": 0.4, "Normal": bump}
    nodes.finish({**inputs, **_subsurface(0.12, 0.006)})
    material.diffuse_color = viewport_colour(colour)


def _brow_mask(nodes: Nodes) -> Any:
    """How much of a brow covers a point: an arc above the eye that thins outwards, broken into hairs."""
    face = nodes.node("ShaderNodeAttribute", attribute_name=FACE_ATTRIBUTE).outputs["Vector"]
    place = nodes.node("ShaderNodeSeparateXYZ", {"Vector": face})
    out, back, up = place.outputs[0], place.outputs[1], place.outputs[2]
    from_peak = nodes.math("SUBTRACT", out, BROW.peak)
    arc = nodes.math("MULTIPLY_ADD", nodes.math("MULTIPLY", from_peak, from_peak), -BROW.bend, BROW.height)
    off = nodes.math("ABSOLUTE", nodes.math("SUBTRACT", up, arc))
    half = nodes.math("MULTIPLY_ADD", nodes.smooth_step(out, *BROW.thins), -BROW.thinner, BROW.half)
    slanted = nodes.node("ShaderNodeCombineXYZ", {0: nodes.math("MULTIPLY_ADD", up, -0.8, out), 2: up})
    stretched = nodes.node("ShaderNodeMapping", {"Vector": slanted.outputs[0], "Scale": (1600.0, 1.0, 260.0)})
    hairs = nodes.node("ShaderNodeTexNoise", {"Vector": stretched.outputs[0], "Scale": 1.0, "Detail": 1.0}).outputs[0]
    depth = nodes.math("SUBTRACT", half, off)
    covered = nodes.smooth_step(nodes.math("MULTIPLY_ADD", hairs, BROW.hairs, depth), *BROW.edge)
    outer = nodes.smooth_step(out, BROW.outer[1], BROW.outer[0])
    ends = nodes.math("MULTIPLY", nodes.smooth_step(out, *BROW.inner), outer)
    front = nodes.math("LESS_THAN", back, BROW.front)
    return nodes.math("MULTIPLY", nodes.math("MULTIPLY", covered, ends), nodes.math("MULTIPLY", front, BROW.most))


def lash_nodes(material: bpy.types.Material) -> None:
    """Lashes on cards: hairs that leave the lid along the eye's radii and thin out to their tips."""
    colour = (0.012, 0.009, 0.008)
    nodes = Nodes(material)
    direction = nodes.node("ShaderNodeAttribute", attribute_name=EYE_ATTRIBUTE).outputs["Vector"]
    length = nodes.node("ShaderNodeVectorMath", {0: direction}, operation="LENGTH").outputs["Value"]
    radial = nodes.node("ShaderNodeVectorMath", {0: direction}, operation="NORMALIZE").outputs["Vector"]
    across = nodes.node("ShaderNodeMapping", {"Vector": radial, "Scale": (55.0, 8.0, 8.0)})
    hairs = nodes.node("ShaderNodeTexNoise", {"Vector": across.outputs[0], "Scale": 1.0, "Detail": 0.0}).outputs[0]
    up = nodes.node("ShaderNodeSeparateXYZ", {"Vector": radial}).outputs[2]
    # Lower lashes are shorter and sparser than upper ones.
    reach = nodes.math("MULTIPLY_ADD", nodes.smooth_step(up, -0.2, 0.0), 0.2, 1.16)
    tip = nodes.math("DIVIDE", nodes.math("SUBTRACT", length, 1.0), nodes.math("SUBTRACT", reach, 1.0))
    alpha = nodes.smooth_step(nodes.math("MULTIPLY_ADD", tip, -0.42, hairs), 0.22, 0.3)
    nodes.finish({"Base Color": colour, "Roughness": 0.6, "Alpha": alpha})
    material.diffuse_color = viewport_colour(colour)


def cloth_nodes(material: bpy.types.Material, colour: Colour, field: str, hair: bool = False) -> None:
    """Cloth or short hair on a garment's shell, cut where the attribute `field` is negative."""
    nodes = Nodes(material)
    where = nodes.node("ShaderNodeTexCoord").outputs["Object"]
    folds = nodes.node("ShaderNodeTexNoise", {"Vector": where, "Scale": 90.0 if hair else 9.0, "Detail": 4.0}).outputs[
        0
    ]
    varied = nodes.mix(
        folds, _mix(colour, (0.0, 0.0, 0.0), 0.35), _mix(colour, (1.0, 1.0, 1.0), 0.02 if hair else 0.08)
    )
    bump = {"Strength": 0.5 if hair else 0.35, "Distance": 0.01 if hair else 0.05, "Height": folds}
    normal = nodes.node("ShaderNodeBump", bump).outputs[0]
    inside = nodes.node("ShaderNodeAttribute", attribute_name=field).outputs["Fac"]
    edge = nodes.math("MULTIPLY_ADD", folds, 0.012, inside) if hair else inside
    alpha = nodes.math("GREATER_THAN", edge, 0.006 if hair else 0.0)
    inputs = {"Base Color": varied, "Roughness": 0.6 if hair else 0.85, "Specular IOR Level": 0.2}
    nodes.finish({**inputs, "Normal": normal, "Alpha": alpha})
    material.diffuse_color = viewport_colour(colour)


# Radii on the eyeball's front, in its radii. A real iris (11.8 mm wide on a ball of 24 mm, Bron, Tripathi & Tripathi,
# Wolff's Anatomy of the Eye and Orbit, 8th ed.) would be 0.49; the free body's eyeballs are larger than real ones.
IRIS = 0.43
PUPIL = 0.15


def eye_nodes(material: bpy.types.Material, iris: Colour) -> None:
    """A whole eye on one shell: sclera, limbus, iris with fibres, pupil; a clear coat for the cornea."""
    nodes = Nodes(material)
    direction = nodes.node("ShaderNodeAttribute", attribute_name=EYE_ATTRIBUTE).outputs["Vector"]
    axis = nodes.node("ShaderNodeSeparateXYZ", {"Vector": direction})
    x, y, z = axis.outputs[0], axis.outputs[1], axis.outputs[2]
    off = nodes.math("SQRT", nodes.math("ADD", nodes.math("MULTIPLY", x, x), nodes.math("MULTIPLY", z, z)))
    # The eye looks towards −Y: the back of the ball is pushed out of the iris's reach.
    radius = nodes.math("ADD", off, nodes.math("GREATER_THAN", y, 0.0))
    angle = nodes.math("ARCTAN2", z, x)
    around = nodes.node("ShaderNodeCombineXYZ", {0: nodes.math("COSINE", angle), 1: nodes.math("SINE", angle), 2: off})
    fibres = nodes.node("ShaderNodeTexNoise", {"Vector": around.outputs[0], "Scale": 9.0, "Detail": 4.0}).outputs[0]
    dark = _mix(iris, (0.0, 0.0, 0.0), 0.55)
    light = _mix(iris, (0.7, 0.65, 0.5), 0.25)
    colour = nodes.mix(nodes.smooth_step(fibres, 0.35, 0.65), dark, light)
    colour = nodes.mix(nodes.smooth_step(radius, 0.78 * IRIS, IRIS), colour, _mix(iris, (0.0, 0.0, 0.0), 0.8))
    colour = nodes.mix(nodes.smooth_step(radius, 0.94 * PUPIL, 1.06 * PUPIL), PUPIL_COLOUR, colour)
    veins = nodes.mix(nodes.smooth_step(radius, 0.6, 1.1), (0.78, 0.76, 0.73), (0.66, 0.5, 0.46))
    colour = nodes.mix(nodes.smooth_step(radius, 0.97 * IRIS, 1.04 * IRIS), colour, veins)
    nodes.finish(
        {
            "Base Color": colour,
            "Roughness": 0.35,
            "Coat Weight": 1.0,
            "Coat Roughness": 0.02,
            "Coat IOR": 1.376,
        }
    )
    material.diffuse_color = (1.0, 1.0, 1.0, 1.0)
