"""A capture file to an avatar: what operators call."""

from __future__ import annotations

import bpy

from ..core.body.load import BodyError, load_body
from ..core.capture import Capture, CaptureError
from .avatar import Avatar, AvatarError, AvatarSettings, build_avatar


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
