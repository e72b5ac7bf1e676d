"""The selected avatar's face: expressions by name, and the one that the photo shows."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import EnumProperty, FloatProperty

from .avatars import PROPERTY, avatar_of, mesh_of, why_not_face
from .face import EXPRESSIONS
from .notify import failed, refuse
from .settings import solver_settings


class PANTOMIME_OT_set_expression(bpy.types.Operator):
    """Give the face an expression"""

    bl_idname = "pantomime.set_expression"
    bl_label = "Set Expression"
    bl_options = {"REGISTER", "UNDO"}

    kind: EnumProperty(
        name="Expression",
        description="Which expression",
        items=(
            ("CAPTURED", "As captured", "The expression that the photo shows"),
            *((identifier, title, "") for identifier, (title, _) in EXPRESSIONS.items()),
        ),
    )
    amount: FloatProperty(
        name="Amount",
        description="How strong",
        translation_context="Pantomime",
        default=1.0,
        min=0.0,
        max=1.5,
        soft_max=1.0,
        subtype="FACTOR",
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        rig = avatar_of(context)
        why = why_not_face(rig)
        if not why and rig is not None and not has_named_face(rig):
            why = "A licensed body's components have no names that expressions could be made of"
        return refuse(cls, why)

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import shaping
        from ..scene.avatar import CAPTURED, AvatarError
        from ..scene.shapekeys import expression_key_names

        rig = avatar_of(context)
        skin: Any = mesh_of(rig)
        blocks = skin.data.shape_keys.key_blocks
        try:
            names = expression_key_names(shaping.body_of(rig, solver_settings(context).body))
        except AvatarError as error:
            return failed(self, str(error))
        if self.kind == "CAPTURED":
            kept = rig[PROPERTY].get(CAPTURED)
            values = dict(zip(names, kept["expression"], strict=False)) if kept is not None else {}
        else:
            values = EXPRESSIONS[self.kind][1]
        auto_key = context.scene.tool_settings.use_keyframe_insert_auto
        for name in names:
            block = blocks.get(name)
            if block is None:  # removed by hand
                continue
            value = min(block.slider_max, values.get(name, 0.0) * self.amount)
            changed = block.value != value
            block.value = value
            if auto_key and changed:
                block.keyframe_insert("value")
        return {"FINISHED"}


def has_named_face(rig: bpy.types.Object) -> bool:
    """Whether the avatar's face has ARKit's actions, as the free body's has."""
    return str(rig[PROPERTY]["body_id"]) == "free"


CLASSES = (PANTOMIME_OT_set_expression,)
