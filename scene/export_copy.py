"""A plain copy of an avatar in a scene of its own: bones, mesh, keys and materials as other programs can have them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray

from ..core.body.skeleton import JOINT_NAMES
from . import armature as armatures
from . import axes, correctives, export_paint, materials, texture, versions
from .identity import PHOTO_TEXTURE
from .motion import Motion, basis_of, key_bones, sample
from .rest import Floats

CORRECTIVE_KEY = "PoseCorrective"


@dataclass(frozen=True)
class Wishes:
    """What the copy shall hold."""

    shape_keys: str = "FACE"  # "FACE", "ALL", "NONE"
    pose_corrective: bool = False
    animation: bool = True
    influences: int = 4
    scale: float = 1.0  # of all lengths
    y_up: bool = False  # turned from Z up to Y up, the face towards +Z
    mesh: bool = True


@dataclass
class Copy:
    """What was copied."""

    scene: bpy.types.Scene
    rig: bpy.types.Object
    skin: bpy.types.Object | None
    frames: int  # 1 for a still pose
    correctives_left: bool = False
    limited: int = 0  # vertices that lost influences
    made: list[bpy.types.ID] = field(default_factory=list)


@contextmanager
def copied(rig: bpy.types.Object, skin: bpy.types.Object, scene: bpy.types.Scene, wishes: Wishes) -> Iterator[Copy]:
    """The copy, removed on exit with its scene."""
    motion = sample(rig, skin, scene, wishes.animation)
    own = bpy.data.scenes.new("Pantomime export")
    copy: Copy | None = None
    made: list[bpy.types.ID] = []
    try:
        own.render.fps, own.render.fps_base = scene.render.fps, scene.render.fps_base
        own.frame_start, own.frame_end = motion.first, motion.first + len(motion.poses) - 1
        new_rig = _copy_rig(rig, own, wishes, made)
        copy = Copy(own, new_rig, None, len(motion.poses), made=made)
        if wishes.mesh:
            copy.skin = _copy_skin(skin, copy, motion, wishes)
        _animate(copy, motion, wishes)
        own.frame_set(motion.first)
        yield copy
    finally:
        if copy is not None and copy.skin is not None:
            copy.skin.shape_key_clear()  # keys would outlive their mesh
        bpy.data.scenes.remove(own)
        bpy.data.batch_remove([item for item in made if item is not None])


def _copy_rig(
    rig: bpy.types.Object, scene: bpy.types.Scene, wishes: Wishes, made: list[bpy.types.ID]
) -> bpy.types.Object:
    data = rig.data.copy()
    made.append(data)
    data.name = f"{_plain(rig.name)}_armature"
    data.animation_data_clear()
    obj = bpy.data.objects.new(_plain(rig.name) + "_rig", data)
    made.append(obj)
    scene.collection.objects.link(obj)
    with armatures.edit_bones(data) as bones:
        for bone in [bone for bone in bones if bone.name not in JOINT_NAMES]:
            bones.remove(bone)
        change = Matrix(_change(wishes).tolist())
        for bone in bones:
            # A bone's roll follows its transform only if it is set with the ends.
            axis = change.to_3x3() @ bone.z_axis
            bone.use_connect = False
            bone.head, bone.tail = change @ bone.head, change @ bone.tail
            bone.align_roll(axis)
    for bone in obj.pose.bones:
        bone.rotation_mode = "QUATERNION"
    for bone in data.bones:
        bone.use_deform = True
    return obj


def _change(wishes: Wishes) -> Floats:
    """From the avatar's object space to the copy's."""
    matrix = np.diag([wishes.scale, wishes.scale, wishes.scale, 1.0])
    if wishes.y_up:
        matrix[:3, :3] = wishes.scale * axes.BODY_TO_BLENDER.T
    return matrix


def _plain(name: str) -> str:
    """Engines want names without spaces and dots."""
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name)


def _copy_skin(skin: bpy.types.Object, copy: Copy, motion: Motion, wishes: Wishes) -> bpy.types.Object:
    new = skin.copy()
    copy.made.append(new)
    new.data = skin.data.copy()
    copy.made.append(new.data)
    new.name = f"{_plain(skin.name)}_mesh"
    new.animation_data_clear()
    for name in list(new.keys()):
        del new[name]
    copy.scene.collection.objects.link(new)
    new.parent = copy.rig
    new.matrix_parent_inverse.identity()
    new.matrix_basis.identity()
    for modifier in list(new.modifiers):
        if modifier.type == "ARMATURE":
            modifier.object = copy.rig
        else:
            new.modifiers.remove(modifier)
    _set_keys(new, copy, motion, wishes)
    copy.limited = _limit_weights(new, wishes.influences)
    _plain_materials(skin, new, copy)
    for attribute in [a.name for a in new.data.attributes if a.domain == "POINT" and a.name not in _KEPT_ATTRIBUTES]:
        new.data.attributes.remove(new.data.attributes[attribute])
    return new


_KEPT_ATTRIBUTES = {"position"}


def _set_keys(obj: bpy.types.Object, copy: Copy, motion: Motion, wishes: Wishes) -> None:
    """The shape goes into the basis, expressions stay keys; drivers go."""
    mesh = obj.data
    if mesh.shape_keys is None:
        return
    blocks = mesh.shape_keys.key_blocks
    offsets: dict[str, NDArray[np.float32]] = {}
    basis = np.empty(len(mesh.vertices) * 3, np.float32)
    blocks[0].points.foreach_get("co", basis)
    limits = {}
    for block in blocks[1:]:
        flat = np.empty_like(basis)
        block.points.foreach_get("co", flat)
        offsets[block.name] = flat - basis
        limits[block.name] = (block.slider_min, block.slider_max)
    name = mesh.shape_keys.name
    obj.shape_key_clear()
    # Up to 5.0, at least, Blender counts a copied mesh's keys as used twice, so they would stay in the file.
    stale = bpy.data.shape_keys.get(name)
    if stale is not None:
        bpy.data.batch_remove([stale])
    correction = [name for name in offsets if _is_corrective(name)]
    shape = [name for name in offsets if name.startswith("Shape") and name[5:].isdigit()]
    kept = [name for name in offsets if name not in correction and name not in shape]
    folded = [] if wishes.shape_keys == "ALL" else list(shape)
    if wishes.shape_keys == "NONE":
        folded += kept
        kept = []
    elif wishes.shape_keys == "ALL":
        kept = shape + kept
    for name in folded:
        basis = basis + np.float32(motion.keys[name][0]) * offsets[name]
    change = (wishes.scale * np.eye(3)).astype(np.float32)
    mesh.vertices.foreach_set("co", (basis.reshape(-1, 3) @ change.T).ravel())
    still = len(motion.poses) == 1
    copy.correctives_left = bool(correction) and not (wishes.pose_corrective and still)
    if correction and wishes.pose_corrective and still:
        total = np.sum([motion.keys[name][0] * offsets[name] for name in correction], axis=0)
        offsets[CORRECTIVE_KEY], limits[CORRECTIVE_KEY] = total.astype(np.float32), (0.0, 1.0)
        motion.keys[CORRECTIVE_KEY] = np.ones(1)
        kept.append(CORRECTIVE_KEY)
    if not kept:
        return
    obj.shape_key_add(name="Basis", from_mix=False)
    for name in kept:
        block = obj.shape_key_add(name=name, from_mix=False)
        block.points.foreach_set("co", ((basis + offsets[name]).reshape(-1, 3) @ change.T).ravel())
        block.slider_min, block.slider_max = limits[name]
        block.value = motion.keys[name][0]


def _is_corrective(name: str) -> bool:
    return name.startswith("Pose ") or name == correctives.CURRENT


def _limit_weights(obj: bpy.types.Object, most: int) -> int:
    """Keep the `most` strongest bones of each vertex, of sum 1; how many vertices lost some. Regions go."""
    for group in [group for group in obj.vertex_groups if group.name not in JOINT_NAMES]:
        obj.vertex_groups.remove(group)
    count, groups = 0, list(obj.vertex_groups)
    for vertex in obj.data.vertices:
        weights = sorted(((item.weight, item.group) for item in vertex.groups), reverse=True)
        if len(weights) <= most:
            continue
        count += 1
        total = sum(weight for weight, _ in weights[:most])
        for weight, group in weights[:most]:
            groups[group].add([vertex.index], weight / total, "REPLACE")
        for _, group in weights[most:]:
            groups[group].remove([vertex.index])
    return count


def _animate(copy: Copy, motion: Motion, wishes: Wishes) -> None:
    """Keys for every frame; a still pose gets one, since formats carry a pose as motion only."""
    change = _change(wishes)
    scale_free = change[:3, :3] / wishes.scale
    poses = motion.poses.copy()
    poses[..., :3, 3] = poses[..., :3, 3] @ change[:3, :3].T
    poses[..., :3, :3] = scale_free @ poses[..., :3, :3]
    basis = basis_of(copy.rig, poses)
    frames = np.arange(len(poses)) + motion.first
    name = _plain(copy.rig.name.removesuffix("_rig"))
    action = bpy.data.actions.new(f"{name}_motion" if len(poses) > 1 else f"{name}_pose")
    copy.made.append(action)
    curves = versions.channel_curves(action, copy.rig)
    key_bones(curves, basis, frames)
    keys = copy.skin.data.shape_keys if copy.skin is not None else None
    if keys is None or len(poses) == 1:
        return
    action = bpy.data.actions.new(f"{name}_face")
    copy.made.append(action)
    curves = versions.channel_curves(action, keys)
    for block in keys.key_blocks[1:]:
        values = motion.keys[block.name]
        block.slider_min, block.slider_max = min(block.slider_min, values.min()), max(block.slider_max, values.max())
        versions.key_curve(curves, f'key_blocks["{block.name}"].value', 0, "", frames, values)


# What a format's plain materials are made of: roughness, and the white of the eye, which solid shading shows brighter.
_WET = 0.15
_ROUGHNESS = {
    "skin": 0.55,
    "eyes": _WET,
    "iris": _WET,
    "pupil": _WET,
    "teeth": 0.2,
    "tongue": 0.35,
    "lips": 0.4,
    "nails": 0.35,
}
# Of skin and cloth together: a picture tells them apart within a face, which a number can't.
_PICTURE_ROUGHNESS = 0.7
_PAINTED = ("skin", materials.GARMENT_KIND)
_WHITE_OF_EYES = (0.75, 0.74, 0.72)


def _plain_materials(original: bpy.types.Object, new: bpy.types.Object, copy: Copy) -> None:
    """Noise and attributes stay behind: an even colour, or a picture where the skin has underwear, brows, a photo."""
    photo = texture.has_texture(original) and float(original[PHOTO_TEXTURE]) > 0.5
    slots = list(original.data.materials)
    painted = None if photo else _painted(original, new, copy)
    made: dict[str, bpy.types.Material] = {}
    for index, material in enumerate(slots):
        if material is None:
            continue
        if material.name not in made:
            kind = texture.kind_of(material)
            node = texture.photo_node(material) if photo else None
            image = node.image if node is not None else painted if kind in _PAINTED else None
            colour = _WHITE_OF_EYES if kind == "eyes" else materials.albedo(material)
            roughness = _PICTURE_ROUGHNESS if image is not None else _ROUGHNESS.get(kind, 0.5)
            made[material.name] = _plain_material(material.name, colour, image, roughness)
            copy.made.append(made[material.name])
        new.data.materials[index] = made[material.name]


def _painted(original: bpy.types.Object, new: bpy.types.Object, copy: Copy) -> bpy.types.Image | None:
    """What the skin's shader draws finer than the mesh is, as a picture."""
    named = {texture.kind_of(m): m for m in original.data.materials if m is not None}
    if "skin" not in named:
        return None
    garment = named.get(materials.GARMENT_KIND)
    image = export_paint.paint_skin(
        new.data,
        {k for k, m in enumerate(original.data.materials) if m is not None and texture.kind_of(m) in _PAINTED},
        materials.albedo(named["skin"]),
        materials.albedo(garment) if garment is not None else None,
        materials.Look().brows,
        f"{_plain(original.name)}_skin",
    )
    if image is not None:
        copy.made.append(image)
    return image


def _plain_material(name: str, albedo: materials.Colour, image: Any, roughness: float) -> bpy.types.Material:
    new = bpy.data.materials.new(_plain(name) + "_export")
    if new.node_tree is None:
        new.use_nodes = True
    shader = next(node for node in new.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    colour = (*albedo, 1.0)
    shader.inputs["Base Color"].default_value = colour
    shader.inputs["Roughness"].default_value = roughness
    new.diffuse_color = colour
    if image is not None:
        picture = new.node_tree.nodes.new("ShaderNodeTexImage")
        picture.image = image
        new.node_tree.links.new(picture.outputs["Color"], shader.inputs["Base Color"])
    return new
