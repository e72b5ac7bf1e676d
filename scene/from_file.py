"""Capture files to avatars: what operators call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path, PureWindowsPath

import bpy
from mathutils import Matrix

from ..core.body.load import BodyError, load_body
from ..core.body.measure import MeasureError, measures_of
from ..core.body.model import BodyModel
from ..core.capture import Capture, CaptureError
from .action import AnimationSettings
from .avatar import Avatar, AvatarError, AvatarSettings, avatar_steps, show_steps
from .camera import placement_of
from .identity import PREVIEW, PROPERTY
from .removal import is_there, remove_collection
from .steps import MORE, PAUSE, Steps, finish, in_thread

APART_M = 1.5  # between the people of one photo and of another
SAME_FOCAL = 0.002  # a pixel at the edge of a picture of 1000


class FromFileError(Exception):
    """A capture that can't become an avatar; the message says what to do next."""


def avatars_from_files(
    paths: Sequence[str], body_spec: str | None, scene: bpy.types.Scene, animation: AnimationSettings | None = None
) -> list[Avatar]:
    """An avatar for each file; people of one photo or clip share its camera. All or none. Raises FromFileError.

    `body_spec`: file or folder of the licensed body; not read for captures of the free body.
    """
    return finish(avatars_steps(paths, body_spec, scene, animation))


def avatars_steps(
    paths: Sequence[str],
    body_spec: str | None,
    scene: bpy.types.Scene,
    animation: AnimationSettings | None = None,
    upright_copy: str = "",
) -> Steps[list[Avatar]]:
    """`avatars_from_files` in steps: once all are built, the scene gets one after the other.

    `upright_copy`: of the photo, where the solver wrote one. An avatar that somebody deletes meanwhile is not returned.
    """
    avatars: list[Avatar] = []
    bodies: list[BodyModel] = []
    cameras: dict[str, tuple[float, bpy.types.Object]] = {}
    try:
        for path in paths:
            capture, body = yield from in_thread(lambda path=path: loaded(path, body_spec))  # type: ignore[misc]
            settings = AvatarSettings(animation=animation, upright_copy=upright_copy)
            if capture.source in cameras:
                focal_px, first = cameras[capture.source]
                # Each person was fitted with a focal length that may move a little: then each has a lens of its own.
                same = abs(focal_px - capture.focal_px) < SAME_FOCAL * focal_px
                settings = replace(settings, camera=first if same else None, placement=placement_of(first))
            avatar = yield from avatar_steps(capture, body, settings, scene)
            avatars.append(avatar)
            bodies.append(body)
            if avatar.camera is not None and capture.source:
                cameras.setdefault(capture.source, (capture.focal_px, avatar.camera))
            yield MORE
        move_aside(avatars, scene)
        for avatar, body in zip(avatars, bodies, strict=True):
            # The evaluation of all that is new takes a moment of its own.
            yield PAUSE
            yield from show_steps(avatar, body, scene)
        yield PAUSE
    except BaseException as error:
        for avatar in avatars:
            if is_there(avatar.collection):
                remove_collection(avatar.collection)
        if isinstance(error, (CaptureError, BodyError, AvatarError)):
            raise FromFileError(str(error)) from error
        raise
    return [avatar for avatar in avatars if avatar.is_there]


def loaded(path: str, body_spec: str | None) -> tuple[Capture, BodyModel]:
    """A capture and its body. May run in a thread.

    A photo or clip that is no longer where it was is looked for beside the capture.
    """
    capture = Capture.load(path)
    if capture.source and not Path(capture.source).exists():
        beside = Path(path).resolve().parent / PureWindowsPath(capture.source).name
        capture = replace(capture, source=str(beside)) if beside.exists() else capture
    return capture, load_body(None if capture.body_id == "free" else body_spec, capture.gender)


def follow_clip(scene: bpy.types.Scene, path: str) -> None:
    """Give the scene the frame rate and the range of frames of a capture. Raises FromFileError."""
    try:
        capture = Capture.load(path)
    except CaptureError as error:
        raise FromFileError(str(error)) from error
    # Blender counts frames a second in whole numbers over a base: 29.97 is 30 / 1.001.
    scene.render.fps = max(1, round(capture.mocap_frame_rate))
    scene.render.fps_base = scene.render.fps / capture.mocap_frame_rate
    scene.frame_end = scene.frame_start + round(float(capture.frame_times_s[-1]) * capture.mocap_frame_rate)


def move_aside(avatars: Sequence[Avatar], scene: bpy.types.Scene) -> None:
    """Each photo's people are built around the world's origin: let them not stand in those who are in the scene."""
    taken = [obj.location for obj in scene.objects if _stays(obj) and all(obj != a.armature for a in avatars)]
    apart = [avatar.armature.location - place for avatar in avatars for place in taken]

    def free(step: int) -> bool:
        return all(abs(d.x + step * APART_M) >= 0.5 * APART_M or abs(d.y) >= APART_M for d in apart)

    step = next(step for step in count() if free(step))
    moved = {obj.name: obj for avatar in avatars for obj in (avatar.armature, avatar.camera) if obj is not None}
    for obj in moved.values():
        # Both, as nothing is evaluated yet.
        obj.matrix_world = Matrix.Translation((step * APART_M, 0.0, 0.0)) @ obj.matrix_world


def _stays(obj: bpy.types.Object) -> bool:
    """Whether it is an avatar, and not one whose place another will take."""
    return PROPERTY in obj and not any(PREVIEW in collection for collection in obj.users_collection)


def body_of(body_id: str, gender: str, spec: str | None) -> BodyModel:
    """The body of an avatar; `spec` names the licensed bodies. Raises FromFileError."""
    try:
        return load_body(None if body_id == "free" else spec, gender)
    except BodyError as error:
        raise FromFileError(str(error)) from error


def read_body_early(spec: str | None, gender: str = "neutral") -> str:
    """Read a body into memory, so that nobody waits for it later. What is wrong with it, or "". May run in a thread."""
    try:
        measures_of(load_body(spec, gender))
    except (BodyError, MeasureError) as error:
        return str(error)
    return ""
