"""The avatar that follows while later frames of its clip are still being solved."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import bpy
import numpy as np

from ..core.body.load import BodyError
from ..core.body.model import BodyModel
from ..core.capture import Capture, CaptureError
from . import action, camera
from .action import AnimationSettings
from .avatar import AvatarError, AvatarSettings, avatar_steps, find_mesh, show_avatar
from .from_file import FromFileError, loaded
from .removal import remove_collection
from .rest import Floats, rest_joints
from .steps import Steps, in_thread

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

    def show(self, path: str, scene: bpy.types.Scene) -> Steps[None]:
        """Take in the capture of one stretch, in steps. Raises FromFileError."""
        try:
            capture, body = yield from in_thread(lambda: loaded(path, self.body))
            if capture.person_id not in self.rigs:
                yield from self._begin(capture, body, scene)
            else:
                yield from self._go_on(capture, body)
        except (CaptureError, BodyError, AvatarError) as error:
            raise FromFileError(str(error)) from error

    def _begin(self, capture: Capture, body: BodyModel, scene: bpy.types.Scene) -> Steps[None]:
        person = capture.person_id
        settings = AvatarSettings(animation=replace(self.timing, whole_frames=True))
        avatar = yield from avatar_steps(capture, body, settings, scene)
        show_avatar(avatar, scene)
        for item in (avatar.collection, avatar.armature, avatar.mesh):
            item.name += SUFFIX
        betas = np.zeros(body.num_betas)
        betas[: len(capture.betas)] = capture.betas
        values = np.zeros(body.num_expressions)
        values[: capture.expression.shape[1]] = capture.expression[0]
        self.rigs[person] = avatar.armature.name
        self._joints[person] = rest_joints(body, betas, values)
        self._places[person] = camera.placement_of(avatar.camera)

    def _go_on(self, capture: Capture, body: BodyModel) -> Steps[None]:
        person = capture.person_id
        rig = bpy.data.objects.get(self.rigs[person])
        skin = find_mesh(rig) if rig is not None else None
        if rig is None or skin is None:
            return
        channels = yield from action.motion_steps(
            rig, capture, body, self._places[person], self._joints[person], self.timing
        )
        yield from action.extend_animation(rig, skin, channels, body)

    def remove(self) -> None:
        """Take the previews away, with what was made for them."""
        for name in self.rigs.values():
            rig = bpy.data.objects.get(name)
            if rig is None:
                continue
            for collection in list(rig.users_collection):
                if collection.name.endswith(SUFFIX):
                    remove_collection(collection)
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
