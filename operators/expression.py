"""The selected avatar's face: expressions by name, and the one that the photo shows."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import EnumProperty, FloatProperty

from .avatars import PROPERTY, avatar_of, mesh_of, why_not_face
from .face import EXPRESSIONS
from .notify import refuse


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
        name="Amount", description="How strong", default=1.0, min=0.0, max=1.5, soft_max=1.0, subtype="FACTOR"
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        rig = avatar_of(context)
        why = why_not_face(rig)
        if not why and rig is not None and not has_named_face(rig):
            why = "A licensed body's components have no names that expressions could be made of"
        return refuse(cls, why)

    def execute(self, context: bpy.types.Context) -> set[str]:
        rig = avatar_of(context)
        skin: Any = mesh_of(rig)
        blocks = skin.data.shape_keys.key_blocks
        names = [block.name for block in blocks if _is_face_key(block.name)]
        if self.kind == "CAPTURED":
            kept = rig[PROPERTY].get("captured")
            values = dict(zip(names, kept["expression"], strict=False)) if kept is not None else {}
        else:
            values = EXPRESSIONS[self.kind][1]
        auto_key = context.scene.tool_settings.use_keyframe_insert_auto
        for name in names:
            block = blocks[name]
            value = min(block.slider_max, values.get(name, 0.0) * self.amount)
            changed = block.value != value
            block.value = value
            if auto_key and changed:
                block.keyframe_insert("value")
        return {"FINISHED"}


_FACE_PREFIXES = ("brow", "eye", "cheek", "nose", "jaw", "mouth", "tongue")


def _is_face_key(name: str) -> bool:
    return name.startswith(_FACE_PREFIXES)


def has_named_face(rig: bpy.types.Object) -> bool:
    """Whether the avatar's face has ARKit's actions."""
    skin = mesh_of(rig)
    return skin is not None and skin.data.shape_keys.key_blocks.find("jawOpen") >= 0


CLASSES = (PANTOMIME_OT_set_expression,)
