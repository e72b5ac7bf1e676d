"""A photo on an avatar: what the solver needs to project it, and the picture that comes back as a material's colour."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from . import axes, materials
from .avatar import AvatarError, find_mesh
from .camera import frame_aspect, lens_of
from .identity import PHOTO_TEXTURE, PROPERTY
from .mesh import UV_NAME
from .render import world_vertices

KINDS = ("skin", materials.GARMENT_KIND, "lips", "nails")
MATT = {"Roughness": 0.75, "Specular IOR Level": 0.2, "Subsurface Weight": 0.03}  # of the shader, under a photo
_NODE = "Pantomime photo"


@dataclass(frozen=True)
class Projection:
    """What a projection needs, as plain values."""

    photo: str
    vertices_camera: np.ndarray  # (V, 3) float32, metres, OpenCV axes
    focal_px: float
    principal_px: tuple[float, float]
    image_size: tuple[int, int]
    body_id: str
    gender: str


def projection_of(rig: bpy.types.Object, camera: bpy.types.Object, scene: bpy.types.Scene | None = None) -> Projection:
    """The avatar as it stands before its camera. Raises AvatarError."""
    skin = find_mesh(rig)
    if PROPERTY not in rig or skin is None:
        raise AvatarError("This is no avatar. Select an avatar that was made from a photo.")
    if not len(skin.data.uv_layers):
        raise AvatarError(f"{skin.name} has no UVs to put a photo on. Make the avatar with the free body.")
    identity = rig[PROPERTY]
    rotation, centre = axes.camera_frame(np.array(camera.matrix_world, np.float64))
    points = (world_vertices(skin, scene) - centre) @ rotation
    width, height = (int(value) for value in identity["image_size"])
    focal_px, principal = lens_of(camera.data, (width, height), frame_aspect(scene or bpy.context.scene))
    return Projection(
        photo=_photo(str(identity["source"]), camera),
        vertices_camera=points.astype(np.float32),
        # The camera's own lens, as it may have been set by hand.
        focal_px=focal_px,
        principal_px=(float(principal[0]), float(principal[1])),
        image_size=(width, height),
        body_id=str(identity["body_id"]),
        gender=str(identity["gender"]),
    )


def _photo(source: str, camera: bpy.types.Object) -> str:
    """The photo where it was, else where the camera's background finds it, which may have moved with the file."""
    known = bpy.path.abspath(source)
    if Path(known).is_file():
        return known
    images = (background.image for background in camera.data.background_images if background.image is not None)
    moved = [bpy.path.abspath(image.filepath) for image in images if image.filepath and image.packed_file is None]
    return next((path for path in moved if Path(path).is_file()), known)


def apply_texture(rig: bpy.types.Object, path: str | Path) -> bpy.types.Image:
    """Show the picture at `path` on the avatar's skin, packed into the file. Raises AvatarError.

    A copy of an avatar shares materials with it; from then on it has its own.
    """
    skin = find_mesh(rig)
    if skin is None:
        raise AvatarError(f"{rig.name} has no mesh any more. Make the avatar anew from the photo.")
    try:
        image = bpy.data.images.load(str(path), check_existing=False)
        image.pack()
    except RuntimeError as error:
        raise AvatarError("The texture can't be read. Try again.") from error
    image.name = f"{rig.name} photo texture"
    image.filepath = ""
    for material in _photo_materials(skin):
        if _is_shared(material, skin):
            material = _own(material, skin)
        before = photo_node(material)
        if before is None:
            _insert(material, image)
        else:
            old, before.image = before.image, image
            if old is not None and old.users == 0:
                bpy.data.images.remove(old)
    skin[PHOTO_TEXTURE] = 1.0
    skin.id_properties_ui(PHOTO_TEXTURE).update(
        min=0.0, max=1.0, default=1.0, description="How much the photo shows: 0 plain skin, 1 the photo"
    )
    skin.update_tag()
    return image


def remove_texture(rig: bpy.types.Object) -> None:
    """Back to the plain materials; the picture goes when nobody else uses it."""
    skin = find_mesh(rig)
    if skin is None:
        return
    images = set()
    for material in _photo_materials(skin):
        node = photo_node(material)
        # What others use stays: without the switch it is plain here.
        if node is not None and not _is_shared(material, skin):
            images.add(node.image)
            _take_out(material)
    for image in images:
        if image is not None and image.users == 0:
            bpy.data.images.remove(image)
    if PHOTO_TEXTURE in skin:
        del skin[PHOTO_TEXTURE]


def has_texture(skin: bpy.types.Object | None) -> bool:
    """Whether a photo lies on this mesh object."""
    return skin is not None and PHOTO_TEXTURE in skin


def photo_node(material: bpy.types.Material) -> Any | None:
    """The node with the photo, if this material has one."""
    return material.node_tree.nodes.get(_NODE) if material.node_tree is not None else None


def kind_of(material: bpy.types.Material) -> str:
    """Which of the body's materials this is: the last word of its name."""
    return re.sub(r"\.\d+$", "", material.name).rpartition(" ")[2]


def _photo_materials(skin: bpy.types.Object) -> list[bpy.types.Material]:
    found = [m for m in skin.data.materials if m is not None and m.node_tree is not None and m.library is None]
    return [material for material in dict.fromkeys(found) if kind_of(material) in KINDS]


def _is_shared(material: bpy.types.Material, skin: bpy.types.Object) -> bool:
    """Whether more than this mesh uses the material."""
    own = sum(slot == material for slot in skin.data.materials)
    return bool(material.users - material.use_fake_user > own)


def _own(material: bpy.types.Material, skin: bpy.types.Object) -> bpy.types.Material:
    """A copy of the material, on this mesh instead of it."""
    copy = material.copy()
    for index, slot in enumerate(skin.data.materials):
        if slot == material:
            skin.data.materials[index] = copy
    return copy


def _insert(material: bpy.types.Material, image: bpy.types.Image) -> None:
    """Between what made the base colour and the shader: a mix with the photo, by the object's switch."""
    tree = material.node_tree
    shader = next((node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    if shader is None:
        return
    colour = shader.inputs["Base Color"]
    nodes = materials.Nodes(material, clear=False)
    uv = nodes.node("ShaderNodeUVMap", uv_map=UV_NAME)
    picture = nodes.node("ShaderNodeTexImage", {"Vector": uv.outputs[0]}, image=image, interpolation="Linear")
    picture.name = picture.label = _NODE
    switch = nodes.node("ShaderNodeAttribute", attribute_type="OBJECT", attribute_name=PHOTO_TEXTURE)
    plain = colour.links[0].from_socket if colour.is_linked else tuple(colour.default_value)
    mixed = nodes.mix(switch.outputs["Fac"], plain, picture.outputs["Color"])
    mixed.node.name = f"{_NODE} Base Color"
    uv.name, switch.name = f"{_NODE} UV", f"{_NODE} switch"
    tree.links.new(mixed, colour)
    # A photo of cloth that shines as skin does looks like rubber.
    for name, matt in MATT.items():
        socket = shader.inputs[name]
        before = socket.links[0].from_socket if socket.is_linked else socket.default_value
        blend = {0: switch.outputs["Fac"], 2: before, 3: matt}
        mix = nodes.node("ShaderNodeMix", blend, data_type="FLOAT")
        mix.name = f"{_NODE} {name}"
        tree.links.new(mix.outputs[0], socket)
    for node in tree.nodes:
        node.select = node == picture
    tree.nodes.active = picture  # what solid shading shows as texture


def _take_out(material: bpy.types.Material) -> None:
    tree = material.node_tree
    shader = next((node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
    for name, first in (("Base Color", 6), *((name, 2) for name in MATT)):
        mix = tree.nodes.get(f"{_NODE} {name}")
        if mix is None or shader is None:
            continue
        plain = mix.inputs[first]
        if plain.is_linked:
            tree.links.new(plain.links[0].from_socket, shader.inputs[name])
        else:
            tree.links.remove(shader.inputs[name].links[0])
            shader.inputs[name].default_value = plain.default_value
    for node in [node for node in tree.nodes if node.name.startswith(_NODE)]:
        tree.nodes.remove(node)
