"""An avatar to a file of another program, by Blender's own exporters with settings that work there.

What is exported is a plain copy in a scene of its own, made for it and removed again: the 55 bones without controls,
the mesh with the body's shape in its basis and expressions as shape keys, materials that formats can carry. The user's
scene, selection and frame stay as they are. What is lost is said (`ExportNotes`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from . import export_copy
from .avatar import find_mesh
from .export_copy import Copy
from .identity import PROPERTY

SUFFIXES = {"FBX": (".fbx",), "GLTF": (".glb",), "USD": (".usdc", ".usd", ".usda", ".usdz"), "BVH": (".bvh",)}
_ADDONS = {"FBX": "io_scene_fbx", "GLTF": "io_scene_gltf2", "BVH": "io_anim_bvh"}
CENTIMETRE = 0.01


class ExportError(Exception):
    """A file that can't be written; the message says what to do next."""


@dataclass(frozen=True)
class ExportSettings:
    """What to write."""

    format: str = "FBX"  # FBX, GLTF, USD or BVH
    centimetres: bool = False  # FBX only. True: as Unreal and Maya count; False: metres, as Unity wants it from Blender
    shape_keys: str = "FACE"  # "FACE": expressions, the shape is in the mesh; "ALL": the shape's keys too; "NONE"
    pose_corrective: bool = False  # a key with the correction of the one pose that is exported
    animation: bool = True  # the action, where there is one; False: the pose of this frame
    influences: int = 4  # bones that move a vertex, at most


@dataclass(frozen=True)
class ExportNotes:
    """What was written, and what the file doesn't hold."""

    path: Path
    frames: int
    left_out: list[str] = field(default_factory=list)  # sentences


def export_avatar(
    rig: bpy.types.Object,
    path: str | Path,
    settings: ExportSettings | None = None,
    scene: bpy.types.Scene | None = None,
) -> ExportNotes:
    """Write the avatar of `rig`, standing at the origin, to `path`; a missing ending is added. Raises ExportError."""
    settings = settings or ExportSettings()
    scene = scene or bpy.context.scene
    skin = find_mesh(rig)
    if PROPERTY not in rig or skin is None:
        raise ExportError(f"{rig.name} is not an avatar. Select an avatar.")
    target = target_of(Path(path), settings.format)
    _need_addon(settings.format)
    scale = 1.0 / CENTIMETRE if settings.format == "FBX" and settings.centimetres else 1.0
    wishes = export_copy.Wishes(
        shape_keys=settings.shape_keys,
        pose_corrective=settings.pose_corrective,
        animation=settings.animation,
        influences=settings.influences,
        scale=scale,
        y_up=settings.format == "BVH",
        mesh=settings.format != "BVH",
    )
    with export_copy.copied(rig, skin, scene, wishes) as copy:
        if settings.format == "FBX" and settings.centimetres:
            copy.scene.unit_settings.scale_length = CENTIMETRE
        _write(copy, target, settings)
        return ExportNotes(target, copy.frames, _left_out(copy, settings))


def target_of(path: Path, kind: str) -> Path:
    """Where a format's file goes. Raises ExportError."""
    if path.suffix.lower() not in SUFFIXES[kind]:
        path = path.with_name(path.name + SUFFIXES[kind][0])
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent}. Choose another one.")
    # Some of those who build Blender leave it out, such as Debian.
    if kind == "USD" and not bpy.app.build_options.usd:
        raise ExportError("This Blender was built without USD. Choose another format, or get Blender from blender.org.")
    return path


def _need_addon(kind: str) -> None:
    name = _ADDONS.get(kind)
    if name is not None and name not in bpy.context.preferences.addons:
        raise ExportError(
            f"Blender's add-on for {kind} is switched off. Switch it on in Edit ▸ Preferences ▸ Add-ons, then export."
        )


def _write(copy: Copy, target: Path, settings: ExportSettings) -> None:
    """To a folder of its own first: a file that stood there before is replaced by a whole one, or stays."""
    try:
        with tempfile.TemporaryDirectory(prefix=".pantomime", dir=target.parent) as folder:
            written = Path(folder) / target.name
            with _alone(copy):
                _EXPORTERS[settings.format](copy, str(written), settings)
            if not written.is_file() or written.stat().st_size == 0:
                raise ExportError(f"Blender's exporter wrote no file. Try another format than {settings.format}.")
            move_into(Path(folder), target.parent)
    except OSError as error:
        raise ExportError(
            f"Can't write {target}: {error.strerror or error}. Free some space or choose another folder."
        ) from error
    except RuntimeError as error:
        # Blender tells the kind of error first, what is wrong then, and last where in its own code it was.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith("Location:")]
        raise ExportError(
            f"Blender's exporter failed: {lines[-1] if lines else error}. Try another format or folder."
        ) from error


def move_into(source: Path, target: Path) -> None:
    """All that is in a folder into another one of the same disk. Raises OSError."""
    for item in source.iterdir():
        if item.is_dir():
            (target / item.name).mkdir(exist_ok=True)
            move_into(item, target / item.name)
        else:
            os.replace(item, target / item.name)


@contextmanager
def _alone(copy: Copy) -> Iterator[None]:
    """The context of the copy's scene, with all of it selected."""
    objects = [obj for obj in (copy.rig, copy.skin) if obj is not None]
    layer = copy.scene.view_layers[0]
    layer.update()
    # The first update made this scene the one whose poses are written back, which an exporter reads: so once more.
    copy.rig.update_tag(refresh={"DATA", "TIME"})
    layer.update()
    for obj in objects:
        obj.select_set(True, view_layer=layer)
    layer.objects.active = copy.rig
    with bpy.context.temp_override(
        scene=copy.scene,
        view_layer=layer,
        collection=copy.scene.collection,
        object=copy.rig,
        active_object=copy.rig,
        selected_objects=objects,
    ):
        yield


def _known(operator: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Those settings that this Blender's exporter has: they come and go with its versions."""
    known = operator.get_rna_type().properties.keys()
    return {name: value for name, value in settings.items() if name in known}


@contextmanager
def _file_names(copy: Copy) -> Iterator[None]:
    """Names for packed pictures, since FBX keeps them by their files' names: else none (4.2), or one without ending."""
    materials = [] if copy.skin is None else [m for m in copy.skin.data.materials if m is not None and m.node_tree]
    images = {node.image for m in materials for node in m.node_tree.nodes if node.type == "TEX_IMAGE" and node.image}
    named = [image for image in images if image.packed_file is not None and not image.filepath]
    for image in named:
        ending = ".jpg" if image.file_format == "JPEG" else ".png"
        image.filepath_raw = f"//{bpy.path.clean_name(image.name)}{ending}"
    try:
        yield
    finally:
        for image in named:
            image.filepath_raw = ""


def _fbx(copy: Copy, path: str, settings: ExportSettings) -> None:
    with _file_names(copy):
        bpy.ops.export_scene.fbx(
            filepath=path,
            check_existing=False,
            use_selection=True,
            object_types={"ARMATURE", "MESH"},
            # Y up, the face towards +Z: what both engines turn into their own forward.
            axis_forward="-Z",
            axis_up="Y",
            # In centimetres the data are scaled themselves, so that no object carries a scale of 100.
            apply_unit_scale=True,
            apply_scale_options="FBX_SCALE_NONE" if settings.centimetres else "FBX_SCALE_ALL",
            use_space_transform=True,
            bake_space_transform=False,
            use_mesh_modifiers=False,  # shape keys would be lost
            mesh_smooth_type="FACE",
            use_armature_deform_only=True,
            add_leaf_bones=False,
            primary_bone_axis="Y",
            secondary_bone_axis="X",
            armature_nodetype="NULL",
            bake_anim=True,
            bake_anim_use_all_bones=True,
            bake_anim_use_nla_strips=False,
            bake_anim_use_all_actions=False,
            bake_anim_force_startend_keying=True,
            bake_anim_simplify_factor=0.0,
            path_mode="COPY",
            embed_textures=True,
        )
    _forget_folder(Path(path))


def _forget_folder(path: Path) -> None:
    """Make the pictures' absolute paths in an FBX relative: they tell of this machine, and of a folder that goes.

    They stay as long as they are, since an FBX counts its bytes.
    """
    folder = os.path.join(os.path.normpath(os.path.abspath(path.parent)), "").encode()
    here = f".{os.sep}".encode()
    path.write_bytes(path.read_bytes().replace(folder, (here * len(folder))[: len(folder) - 1] + here[-1:]))


def _gltf(copy: Copy, path: str, settings: ExportSettings) -> None:
    operator = bpy.ops.export_scene.gltf
    options = _known(
        operator,
        {
            "use_selection": True,
            "use_active_scene": True,
            "export_yup": True,
            "export_apply": False,  # shape keys would be lost
            "export_skins": True,
            "export_influence_nb": settings.influences,
            "export_all_influences": False,
            "export_def_bones": False,
            "export_leaf_bone": False,
            "export_rest_position_armature": True,
            "export_morph": True,
            "export_morph_normal": True,
            "export_morph_animation": True,
            "export_morph_reset_sk_data": False,
            "export_animations": True,
            "export_animation_mode": "ACTIVE_ACTIONS",
            "export_force_sampling": True,
            "export_optimize_animation_size": False,
            "export_frame_range": True,
            "export_cameras": False,
            "export_lights": False,
            "export_extras": False,
        },
    )
    operator(filepath=path, check_existing=False, export_format="GLB", **options)


def _usd(copy: Copy, path: str, settings: ExportSettings) -> None:
    operator = bpy.ops.wm.usd_export
    options = _known(
        operator,
        {
            "selected_objects_only": True,
            "visible_objects_only": False,
            "export_animation": True,
            "export_armatures": True,
            "only_deform_bones": True,
            "export_shapekeys": True,
            "export_hair": False,
            "export_uvmaps": True,
            "export_normals": True,
            "export_materials": True,
            "generate_preview_surface": True,
            "export_textures": True,
            "export_textures_mode": "NEW",
            "overwrite_textures": True,
            "export_custom_properties": False,
            "convert_world_material": False,
            "export_cameras": False,
            "export_lights": False,
            "evaluation_mode": "RENDER",
            # Y up as elsewhere; importers that know USD turn it back.
            "convert_orientation": True,
            "export_global_forward_selection": "NEGATIVE_Z",
            "export_global_up_selection": "Y",
        },
    )
    operator(filepath=path, check_existing=False, **options)


def _bvh(copy: Copy, path: str, settings: ExportSettings) -> None:
    bpy.ops.export_anim.bvh(
        filepath=path,
        check_existing=False,
        global_scale=1.0,
        frame_start=copy.scene.frame_start,
        frame_end=copy.scene.frame_end,
        rotate_mode="NATIVE",
        root_transform_only=False,
    )


_EXPORTERS = {"FBX": _fbx, "GLTF": _gltf, "USD": _usd, "BVH": _bvh}


def _left_out(copy: Copy, settings: ExportSettings) -> list[str]:
    notes = []
    if settings.format == "BVH":
        return ["BVH holds bones and motion alone: mesh, face and materials are left out"]
    if copy.correctives_left:
        notes.append("Pose correctives, which follow the bones by drivers, are left out")
    if copy.limited:
        notes.append(
            f"{copy.limited} vertices were moved by more than {settings.influences} bones; the weakest were dropped"
        )
    return notes
