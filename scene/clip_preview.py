"""The avatar that follows while later frames of its clip are still being solved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import bpy
import numpy as np

from ..core.body.load import BodyError
from ..core.body.model import BodyModel
from ..core.capture import EARLY, Capture, CaptureError
from . import action, camera
from .action import AnimationSettings
from .avatar import Avatar, AvatarError, AvatarSettings, avatar_steps, find_mesh, show_steps
from .from_file import FromFileError, loaded, move_aside
from .identity import PREVIEW, camera_of
from .removal import is_there, remove_collection
from .rest import Floats, rest_joints
from .steps import Steps, in_thread

SUFFIX = " (preview)"


@dataclass(frozen=True)
class _Shown:
    """One avatar of the preview. Its objects are found again by their names: undo and the user may take them away."""

    rig: str
    early: int  # rough, from what was only looked at so far, as the captures' diagnostics say; 0: solved
    joints: Floats  # (55, 3) that the bones rest on
    place: camera.Placement

    def find(self) -> bpy.types.Object | None:
        return bpy.data.objects.get(self.rig)


@dataclass
class ClipPreview:
    """One avatar a person, built from the first stretch of the clip and keyed further with every next one.

    First it is a rough one. Another takes its place where the rough motion goes on with somebody else, and where the
    solved motion begins.
    """

    body: str | None
    timing: AnimationSettings
    _shown: dict[int, _Shown] = field(default_factory=dict)  # by person

    def show(self, path: str, scene: bpy.types.Scene) -> Steps[None]:
        """Take in the capture of one stretch, in steps. Raises FromFileError."""
        try:
            capture, body = yield from in_thread(lambda: loaded(path, self.body))
            shown = self._shown.get(capture.person_id)
            if shown is None or (shown.early and shown.early != _early(capture)):
                yield from self._begin(capture, body, scene)
            else:
                yield from self._go_on(shown, capture, body)
        except (CaptureError, BodyError, AvatarError) as error:
            raise FromFileError(str(error)) from error

    def _begin(self, capture: Capture, body: BodyModel, scene: bpy.types.Scene) -> Steps[None]:
        person = capture.person_id
        before = self._shown.get(person)
        beside = self._beside(person)
        settings = AvatarSettings(animation=replace(self.timing, whole_frames=True), placement=beside)
        avatar = yield from avatar_steps(capture, body, settings, scene)
        if beside is None:
            move_aside([avatar], scene)
        place = camera.placement_of(avatar.camera)  # before it is evaluated, and turns
        avatar.collection[PREVIEW] = True
        for item in _named(avatar.armature):
            item.name += SUFFIX
        try:
            yield from show_steps(avatar, body, scene)
        except BaseException:
            if is_there(avatar.collection):
                remove_collection(avatar.collection)
            raise
        if not avatar.is_there:
            return
        betas = np.zeros(body.num_betas)
        betas[: len(capture.betas)] = capture.betas
        values = np.zeros(body.num_expressions)
        values[: capture.expression.shape[1]] = capture.expression[0]
        if before is not None:
            _take_place([before], [avatar])
        self._shown[person] = _Shown(avatar.armature.name, _early(capture), rest_joints(body, betas, values), place)

    def _beside(self, person: int) -> camera.Placement | None:
        """Where the clip's camera stands for those who are shown already; None: there are none."""
        others = (shown for number, shown in self._shown.items() if number != person)
        return next((shown.place for shown in others if shown.find() is not None), None)

    def _go_on(self, shown: _Shown, capture: Capture, body: BodyModel) -> Steps[None]:
        rig = shown.find()
        skin = find_mesh(rig) if rig is not None else None
        if rig is None or skin is None:
            return
        channels = yield from action.motion_steps(rig, capture, body, shown.place, shown.joints, self.timing)
        yield from action.extend_animation(rig, skin, channels, body)
        eye = camera_of(rig)
        if eye is not None:
            action.turn_camera(eye, capture, shown.place, self.timing)

    def give_way(self, avatars: list[Avatar]) -> None:
        """Take the previews away, with what was made for them; whoever looks at one looks at an avatar instead."""
        _take_place(self._shown.values(), avatars)
        self._shown.clear()

    def keep(self) -> None:
        """Let the previews be avatars like others: what was solved before a cancel stays, what was rough goes."""
        _take_place((shown for shown in self._shown.values() if shown.early), [])
        for rig in [shown.find() for shown in self._shown.values() if not shown.early]:
            if rig is None:
                continue
            for collection in rig.users_collection:
                if PREVIEW in collection:
                    del collection[PREVIEW]
            for item in _named(rig):
                item.name = item.name.replace(SUFFIX, "")
        self._shown.clear()


def _named(rig: bpy.types.Object) -> list[bpy.types.ID]:
    """What of an avatar is called after its clip: the animation that follows is to find the names free."""
    eye = camera_of(rig)
    return [*rig.users_collection, rig, *rig.children, *((eye, eye.data) if eye is not None else ())]


def _early(capture: Capture) -> int:
    value = capture.diagnostics.get(EARLY, 0)
    return value if isinstance(value, int) else 0


def _take_place(previews: Iterable[_Shown], avatars: list[Avatar]) -> None:
    """Let the first of `avatars` be seen and selected where a preview is, and remove the previews."""
    layer = bpy.context.view_layer
    for shown in previews:
        rig = shown.find()
        if rig is None:
            continue
        eye = camera_of(rig)
        if avatars and eye is not None and avatars[0].camera is not None:
            camera.look_instead(eye, avatars[0].camera)
        if avatars and rig.mode == "OBJECT" and layer.objects.active in (rig, *rig.children):
            new = avatars[0].armature
            if new.visible_get(view_layer=layer):
                new.select_set(True, view_layer=layer)
                layer.objects.active = new
        for collection in list(rig.users_collection):
            if PREVIEW in collection:
                remove_collection(collection)
