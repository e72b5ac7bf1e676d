"""Poses and motions of an avatar as assets: an action, marked, in the catalog “Pantomime”, with a preview."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np

from ..core.body.raster import rasterise
from ..core.whole_file import write_whole
from . import motion, versions
from .avatar import AvatarError, find_mesh
from .identity import PROPERTY
from .materials import albedo, srgb
from .render import world_vertices
from .rest import Floats

CATALOG = "Pantomime"
CATALOG_ID = "5f1f5a0e-6a0c-4c0b-9d7e-0f6c2b7c8a11"
CATALOG_FILE = "blender_assets.cats.txt"
PREVIEW_PX = 256
_HEADER = """# This is an Asset Catalog Definition file for Blender.
#
# Empty lines and lines starting with `#` will be ignored.
# The first non-ignored line should be the version indicator.
# Other lines are of the format "UUID:catalog/path/for/assets:simple catalog name"

VERSION 1

"""


def make_asset(
    rig: bpy.types.Object, name: str = "", whole_motion: bool = False, scene: bpy.types.Scene | None = None
) -> bpy.types.Action:
    """The pose of this frame as an action of one frame, as pose libraries have them; or the whole motion.

    Nothing is assigned to the avatar. Raises AvatarError.
    """
    scene = scene or bpy.context.scene
    skin = find_mesh(rig)
    if PROPERTY not in rig or skin is None:
        raise AvatarError(f"{rig.name} is not an avatar. Select an avatar.")
    found = motion.sample_pose(rig, scene, whole_motion)
    if whole_motion and len(found.poses) < 2:
        raise AvatarError(f"{rig.name} has no motion. Make a pose asset, or a video's avatar.")
    basis = motion.basis_of(rig, found.poses)
    moves = rig.animation_data is not None and rig.animation_data.action is not None
    # The action of a clip is called "… pose" itself; and of a motion one takes several poses.
    plain = "motion" if whole_motion else f"pose {scene.frame_current}" if moves else "pose"
    action = bpy.data.actions.new(name or f"{rig.name} {plain}")
    curves = versions.unbound_curves(action, "OBJECT", rig.name)
    motion.key_bones(curves, basis, np.arange(len(basis)) + (found.first if whole_motion else 1))
    action.asset_mark()
    data = action.asset_data
    data.description = f"{'Motion' if whole_motion else 'Pose'} of {rig.name}, by Pantomime"
    data.catalog_id = CATALOG_ID
    for tag in ("Pantomime", "SMPL-X"):
        data.tags.new(tag, skip_if_exists=True)
    picture = preview_picture(rig, skin, scene)
    preview = action.preview_ensure()
    preview.image_size = picture.shape[1::-1]
    preview.image_pixels_float.foreach_set(np.ascontiguousarray(picture[::-1], np.float32).ravel())
    return action


def write_catalog(blend_path: str) -> Path | None:
    """Name the catalog beside the .blend, or at the root of the asset library that it lies in; None without a file.

    Raises OSError.
    """
    if not blend_path:
        return None
    folder = Path(blend_path).resolve().parent
    for library in bpy.context.preferences.filepaths.asset_libraries:
        root = Path(bpy.path.abspath(library.path)).resolve() if library.path else None
        if root is not None and (root == folder or root in folder.parents):
            folder = root
            break
    path = folder / CATALOG_FILE
    text = path.read_text("utf-8") if path.is_file() else _HEADER
    if CATALOG_ID in text:
        return path
    write_whole(path, text + ("" if text.endswith("\n") else "\n") + f"{CATALOG_ID}:{CATALOG}:{CATALOG}\n")
    return path


def preview_picture(rig: bpy.types.Object, skin: bpy.types.Object, scene: bpy.types.Scene) -> Floats:
    """The posed avatar, RGBA (256, 256, 4), first row on top: drawn here, as a render would take seconds and a GPU."""
    points = world_vertices(skin, scene)
    turn = np.array((rig.matrix_world @ rig.pose.bones["pelvis"].matrix).to_3x3().normalized(), np.float64)
    front = turn @ np.array(rig.data.bones["pelvis"].matrix_local.to_3x3().inverted(), np.float64) @ [0.0, -1.0, 0.0]
    heading = np.arctan2(front[0], -front[1]) if np.hypot(front[0], front[1]) > 0.3 else 0.0
    heading -= 0.45  # three quarters, from the avatar's left
    towards = np.array([np.sin(heading), -np.cos(heading), 0.12])
    towards /= np.linalg.norm(towards)
    right = np.cross([0.0, 0.0, 1.0], towards)
    right /= np.linalg.norm(right)
    view = np.stack([right, -np.cross(towards, right), -towards])
    seen = (points - 0.5 * (points.min(axis=0) + points.max(axis=0))) @ view.T
    extent = np.ptp(seen[:, :2], axis=0).max() * 1.08
    seen -= 0.5 * (seen.min(axis=0) + seen.max(axis=0))
    distance, size = 8.0 * extent, 2 * PREVIEW_PX
    seen[:, 2] += distance
    mesh = skin.data
    mesh.calc_loop_triangles()
    faces = np.empty(len(mesh.loop_triangles) * 3, np.int32)
    mesh.loop_triangles.foreach_get("vertices", faces)
    faces = faces.reshape(-1, 3)
    slots = np.empty(len(faces), np.int32)
    mesh.loop_triangles.foreach_get("material_index", slots)
    hits = rasterise(seen.astype(np.float32), faces, size * distance / extent, (size, size))
    picture = np.zeros((size, size, 4))
    there = hits.triangles >= 0
    triangles = hits.triangles[there]
    corners = seen[faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    smooth = np.stack([np.bincount(faces.ravel(), flat[:, k].repeat(3), len(seen)) for k in range(3)], axis=1)
    normals = np.einsum("pk,pki->pi", hits.barycentric[there], smooth[faces[triangles]])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    light = np.array([-0.45, -0.6, -0.66])
    shade = 0.35 + 0.75 * np.clip(normals @ light, 0.0, 1.0)
    colours = np.array([srgb(np.array(albedo(m))) if m else (0.7,) * 3 for m in mesh.materials] or [(0.7,) * 3])
    picture[there, :3] = np.clip(colours[slots[triangles]] * shade[:, None], 0.0, 1.0)
    picture[there, 3] = 1.0
    picture[..., :3] *= picture[..., 3:]
    small = picture.reshape(PREVIEW_PX, 2, PREVIEW_PX, 2, 4).mean(axis=(1, 3))
    small[..., :3] /= np.maximum(small[..., 3:], 1e-6)
    return small
