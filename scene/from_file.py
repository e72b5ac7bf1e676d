"""Capture files to avatars: what operators call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import bpy

from ..core.body.load import BodyError, load_body
from ..core.body.measure import MeasureError, measures_of
from ..core.body.model import BodyModel
from ..core.capture import Capture, CaptureError
from .action import AnimationSettings
from .avatar import PROPERTY, Avatar, AvatarError, AvatarSettings, build_avatar, remove_avatar
from .camera import placement_of

APART_M = 1.5  # between the people of one photo and of another
SAME_FOCAL = 0.002  # a pixel at the edge of a picture of 1000


class FromFileError(Exception):
    """A capture that can't become an avatar; the message says what to do next."""


def avatar_from_file(
    path: str, body_spec: str | None, scene: bpy.types.Scene, settings: AvatarSettings | None = None
) -> Avatar:
    """Build the avatar of a capture in `scene`. Raises FromFileError, and then leaves the scene as it was.

    `body_spec`: file or folder of the licensed body; not read for a capture of the free body.
    """
    try:
        capture = Capture.load(path)
        body = load_body(None if capture.body_id == "free" else body_spec, capture.gender)
        return build_avatar(capture, body, settings, scene)
    except (CaptureError, BodyError, AvatarError) as error:
        raise FromFileError(str(error)) from error


def avatars_from_files(
    paths: Sequence[str], body_spec: str | None, scene: bpy.types.Scene, animation: AnimationSettings | None = None
) -> list[Avatar]:
    """An avatar for each file; people of one photo or clip share its camera. All or none. Raises FromFileError."""
    avatars: list[Avatar] = []
    taken = [obj.location.x for obj in scene.objects if PROPERTY in obj and abs(obj.location.y) < APART_M]
    cameras: dict[str, tuple[float, bpy.types.Object]] = {}
    try:
        for path in paths:
            capture = Capture.load(path)
            body = load_body(None if capture.body_id == "free" else body_spec, capture.gender)
            settings = AvatarSettings(animation=animation)
            if capture.source in cameras:
                focal_px, first = cameras[capture.source]
                # Each person was fitted with a focal length that may move a little: then each has a lens of its own.
                same = abs(focal_px - capture.focal_px) < SAME_FOCAL * focal_px
                settings = replace(settings, camera=first if same else None, placement=placement_of(first))
            avatar = build_avatar(capture, body, settings, scene)
            avatars.append(avatar)
            if avatar.camera is not None and capture.source:
                cameras.setdefault(capture.source, (capture.focal_px, avatar.camera))
    except (CaptureError, BodyError, AvatarError) as error:
        for avatar in avatars:
            remove_avatar(avatar)
        raise FromFileError(str(error)) from error
    _move_aside(avatars, taken)
    return avatars


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


def _move_aside(avatars: Sequence[Avatar], taken: Sequence[float]) -> None:
    """Each photo's people are built around the world's origin: let them not stand in those who are there."""
    step = next(k for k in range(len(taken) + 1) if all(abs(k * APART_M - x) >= 0.5 * APART_M for x in taken))
    moved = {obj.name: obj for avatar in avatars for obj in (avatar.armature, avatar.camera) if obj is not None}
    for obj in moved.values():
        obj.location.x += step * APART_M


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
