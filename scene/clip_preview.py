"""The avatar that follows while later frames of its clip are still being solved."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import bpy
import numpy as np

from ..core.body.load import BodyError, load_body
from ..core.capture import Capture, CaptureError
from . import action, camera
from .action import AnimationSettings
from .avatar import AvatarError, AvatarSettings, build_avatar, find_mesh
from .from_file import FromFileError
from .rest import Floats, rest_joints

SUFFIX = " (preview)"


@dataclass
class ClipPreview:
    """One avatar a person, built from the first stretch of the clip and keyed further with every next one.

    Objects are found again by their names: undo and the user may take them away, and then no more is keyed.
    """

    body: str | None
    timing: AnimationSettings
    rigs: dict[int, str] = field(default_factory=dict)  # by person
    _joints: dict[int, Floats] = field(default_factory=dict)  # (55, 3) that the bones rest on
    _places: dict[int, camera.Placement] = field(default_factory=dict)

    def show(self, path: str, scene: bpy.types.Scene) -> None:
        """Take in the capture of one stretch. Raises FromFileError."""
        try:
            capture = Capture.load(path)
            body = load_body(None if capture.body_id == "free" else self.body, capture.gender)
            person = capture.person_id
            if person not in self.rigs:
                settings = AvatarSettings(animation=replace(self.timing, whole_frames=True))
                avatar = build_avatar(capture, body, settings, scene)
                for item in (avatar.collection, avatar.armature, avatar.mesh):
                    item.name += SUFFIX
                betas = np.zeros(body.num_betas)
                betas[: len(capture.betas)] = capture.betas
                values = np.zeros(body.num_expressions)
                values[: capture.expression.shape[1]] = capture.expression[0]
                self.rigs[person] = avatar.armature.name
                self._joints[person] = rest_joints(body, betas, values)
                self._places[person] = camera.placement_of(avatar.camera)
                return
            rig = bpy.data.objects.get(self.rigs[person])
            skin = find_mesh(rig) if rig is not None else None
            if skin is None:
                return
            channels = action.motion_channels(
                rig, capture, body, self._places[person], self._joints[person], self.timing
            )
            action.extend_animation(rig, skin, channels, body)
        except (CaptureError, BodyError, AvatarError) as error:
            raise FromFileError(str(error)) from error

    def remove(self) -> None:
        """Take the previews away, with what was made for them."""
        for name in self.rigs.values():
            rig = bpy.data.objects.get(name)
            if rig is None:
                continue
            for collection in list(rig.users_collection):
                if collection.name.endswith(SUFFIX):
                    _remove(collection)
        self.rigs.clear()

    def keep(self) -> None:
        """Let the previews be avatars like others: what was solved before a cancel stays."""
        for name in self.rigs.values():
            rig = bpy.data.objects.get(name)
            if rig is None:
                continue
            for item in (rig, *rig.users_collection, *rig.children):
                item.name = item.name.replace(SUFFIX, "")
        self.rigs.clear()


def _remove(collection: bpy.types.Collection) -> None:
    for obj in list(collection.objects):
        data, owners = obj.data, [obj]
        if obj.type == "MESH" and data.shape_keys is not None:
            owners.append(data.shape_keys)
        if obj.type == "CAMERA":
            owners.append(data)
        actions = [o.animation_data.action for o in owners if o.animation_data and o.animation_data.action]
        bpy.data.objects.remove(obj)
        if data.users == 0:
            bpy.data.batch_remove([data])
        bpy.data.batch_remove([a for a in actions if a.users == 0])
    bpy.data.collections.remove(collection)
