"""The photo on the avatar: ask the worker for it, show it, take it away."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import bpy
from bpy.props import StringProperty

from ..scene.identity import PHOTO_TEXTURE as PHOTO_TEXTURE  # panels ask here
from .avatars import OnAvatar, avatar_of, camera_of
from .jobs import Job, JobError, job_folder
from .notify import failed, refuse
from .session import SESSION, submit
from .settings import solver_settings

if TYPE_CHECKING:
    from ..core.messages import Result


class PANTOMIME_OT_photo_texture(OnAvatar, bpy.types.Operator):
    """Project the photo on the avatar as it stands before its camera. What the photo doesn't show is filled softly"""

    bl_idname = "pantomime.photo_texture"
    bl_label = "Photo Texture"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        if SESSION.running("make_texture"):
            return refuse(cls, "A texture is being made")
        return camera_of(avatar_of(context)) is not None or refuse(cls, "This avatar has no camera any more")

    def execute(self, context: bpy.types.Context) -> set[str]:
        import numpy as np

        from ..core.client import new_job_id
        from ..core.messages import MakeTexture
        from ..scene.avatar import AvatarError
        from ..scene.texture import projection_of

        rig = avatar_of(context)
        assert rig is not None  # poll
        try:
            view = projection_of(rig, camera_of(rig), context.scene)
        except AvatarError as error:
            return failed(self, str(error))
        if not view.photo:
            return failed(self, "This avatar's capture names no photo. Make the avatar anew from the photo.")
        if not os.path.isfile(view.photo):
            return failed(self, f"There is no photo {view.photo}. Put it back where it was.")
        settings = solver_settings(context)
        try:
            folder = job_folder()
            vertices = os.path.join(folder, "vertices.npy")
            np.save(vertices, view.vertices_camera)
        except OSError as error:
            reason = error.strerror or error
            return failed(self, f"Can't write {bpy.app.tempdir}: {reason}. Free some space or choose another folder.")
        request = MakeTexture(
            job=new_job_id(),
            photo=view.photo,
            vertices=vertices,
            out=os.path.join(folder, "texture.png"),
            focal_px=view.focal_px,
            principal_px=list(view.principal_px),
            image_size=list(view.image_size),
            body=None if view.body_id == "free" else settings.body,
            gender=view.gender,
            threads=settings.threads,
            cache_dir=settings.cache_dir,
            models_dir=settings.models_dir,
        )
        name = rig.name

        def show(job: Job, result: Result) -> str:
            if name not in bpy.data.objects:
                raise JobError(f"The avatar {name} is gone. Make the texture again for another one.")
            # An operator with undo, called with undo: this is what makes it one step.
            bpy.ops.pantomime.show_texture("EXEC_DEFAULT", True, filepath=result.captures[0], avatar=name)
            return ". ".join(result.summaries)

        return submit(self, Job(request, name, context.scene.name, settings, on_result=show, title="Photo texture"))


class PANTOMIME_OT_show_texture(bpy.types.Operator):
    """Show a picture on an avatar's skin"""

    bl_idname = "pantomime.show_texture"
    bl_label = "Photo Texture"
    bl_options = {"INTERNAL", "UNDO"}

    filepath: StringProperty(subtype="FILE_PATH")
    avatar: StringProperty()

    def execute(self, _context: bpy.types.Context) -> set[str]:
        from ..scene.avatar import AvatarError
        from ..scene.texture import apply_texture

        rig = bpy.data.objects.get(self.avatar)
        try:
            if rig is None:
                raise AvatarError(f"There is no avatar {self.avatar}. Select one and make the texture again.")
            apply_texture(rig, self.filepath)
        except AvatarError as error:
            return failed(self, str(error))
        return {"FINISHED"}


class PANTOMIME_OT_remove_texture(OnAvatar, bpy.types.Operator):
    """Take the photo off the avatar"""

    bl_idname = "pantomime.remove_texture"
    bl_label = "Remove Photo Texture"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        if not super().poll(context):
            return False
        return textured(avatar_of(context)) is not None or refuse(cls, "This avatar has no photo texture")

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene.texture import remove_texture

        remove_texture(avatar_of(context))
        return {"FINISHED"}


def textured(rig: bpy.types.Object | None) -> bpy.types.Object | None:
    """The avatar's mesh object, if a photo lies on it."""
    return next((child for child in rig.children if PHOTO_TEXTURE in child), None) if rig is not None else None


CLASSES = (PANTOMIME_OT_photo_texture, PANTOMIME_OT_show_texture, PANTOMIME_OT_remove_texture)
