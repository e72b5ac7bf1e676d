"""Capture files to avatars in the scene: what jobs do in steps once the solver is done, and import operators."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty, CollectionProperty, StringProperty
from bpy_extras.io_utils import ImportHelper

from .jobs import Job, JobError, Steps
from .notify import failed, report
from .session import SESSION
from .settings import solver_settings

if TYPE_CHECKING:
    from ..scene.avatar import Avatar


def avatars(
    paths: Sequence[str],
    body: str | None,
    scene_name: str,
    motion: Mapping[str, Any] | None = None,
    upright_copy: str = "",
) -> Generator[bool, None, list[Avatar]]:
    """The avatars of captures, in steps: selected, and all in the scene or none. Raises JobError.

    `motion`: how a clip is keyed, as properties of the operator *Import Motion*. `upright_copy`: see
    `scene.camera.load_photo`.
    """
    # numpy comes with these, and is not to be loaded by registering.
    from ..scene.action import AnimationSettings
    from ..scene.avatar import frame_rate
    from ..scene.from_file import FromFileError, avatars_steps, follow_clip

    scene = bpy.data.scenes.get(scene_name) or bpy.context.scene
    options = dict(motion or {})
    try:
        animation = None
        if motion is not None:
            if options.pop("set_rate"):
                follow_clip(scene, paths[0])
            whole = options.pop("timing") == "WHOLE"
            animation = AnimationSettings(scene.frame_start, frame_rate(scene), whole_frames=whole, **options)
        made = yield from avatars_steps(paths, body, scene, animation, upright_copy)
    except FromFileError as error:
        raise JobError(str(error)) from error
    if made:
        _select(made[0].armature)
    return made


def result_steps(
    paths: Sequence[str],
    body: str | None,
    scene_name: str,
    step: str,
    motion: Mapping[str, Any] | None = None,
    upright_copy: str = "",
    instead: Callable[[list[Avatar]], None] = lambda made: None,
) -> Steps:
    """`avatars` as what a job does: one undo step called `step`, and the names of the collections.

    instead: takes away what the avatars replace.
    """
    made = yield from avatars(paths, body, scene_name, motion, upright_copy)
    instead(made)
    _tell(made, lambda text: SESSION.say("warning", text))
    names = ", ".join(avatar.collection.name for avatar in made)
    bpy.ops.ed.undo_push(message=step)
    return names or "Done"


def _tell(made: Sequence[Avatar], say: Callable[[str], None]) -> None:
    for avatar in made:
        for warning in avatar.warnings:
            say(warning)


def _select(obj: bpy.types.Object) -> None:
    """As importers do: what came in is what is selected."""
    layer = bpy.context.view_layer
    # What is posed or edited stays so.
    if bpy.context.mode != "OBJECT":
        return
    # Asking this also makes the view layer take in what is new.
    if not obj.visible_get(view_layer=layer):
        return
    for other in layer.objects:
        other.select_set(False, view_layer=layer)
    obj.select_set(True, view_layer=layer)
    layer.objects.active = obj


def chosen_files(operator: bpy.types.Operator) -> list[str]:
    """Absolute paths of what a file operator was called with: several files of a folder, or one."""
    names = [item.name for item in operator.files if item.name]
    paths = [os.path.join(operator.directory, name) for name in names] or (
        [operator.filepath] * bool(operator.filepath)
    )
    return [os.path.abspath(bpy.path.abspath(path)) for path in paths]


class CaptureImport(ImportHelper):
    """Operators that make avatars of capture files. Chosen by hand they do it in steps, called by a script at once."""

    filter_glob: StringProperty(default="*.npz", options={"HIDDEN"})
    filepath: StringProperty(name="Capture", description="A capture (.npz)", subtype="FILE_PATH", options={"SKIP_SAVE"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    body: StringProperty(
        name="Body",
        description="The licensed body that the capture was fitted with. Empty: as in the preferences",
        options={"HIDDEN", "SKIP_SAVE"},
    )
    scene_name: StringProperty(options={"HIDDEN", "SKIP_SAVE"})
    by_hand: BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def motion(self) -> dict[str, Any] | None:
        """How a clip is keyed; None: as the scene is."""
        return None

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.by_hand = not bpy.app.background
        if self.filepath or self.files:
            return self.execute(context)
        return ImportHelper.invoke(self, context, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        paths, body = chosen_files(self), self.body or solver_settings(context).body  # type: ignore[arg-type]
        scene_name, motion = self.scene_name or context.scene.name, self.motion()
        if not paths:
            return failed(self, "There is no capture named. Choose a capture file.")
        if self.by_hand:
            step = self.bl_label  # type: ignore[attr-defined]

            def build(_job: Job, _result: object) -> Steps:
                return result_steps(paths, body, scene_name, step, motion)

            label = os.path.basename(paths[0])
            SESSION.submit(Job(None, label, scene_name, solver_settings(context), build, title=step))
            # Not finished yet: the undo step comes with the avatar.
            return {"CANCELLED"}
        from ..scene.steps import finish

        try:
            made = finish(avatars(paths, body, scene_name, motion))
        except JobError as error:
            return failed(self, str(error))
        _tell(made, lambda text: report(self, "WARNING", text))  # type: ignore[attr-defined]
        return {"FINISHED"}
