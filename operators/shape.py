"""The selected avatar's shape, as people speak of it: what its sliders read and set."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, FloatVectorProperty, PointerProperty

from . import bodies, certainty
from .avatars import PROPERTY, avatar_of, mesh_of, why_not_shape
from .notify import failed, refuse
from .settings import solver_settings

# Sliders for raw components; a licensed file has up to 300, of which nobody tells the later ones apart.
MOST_COMPONENTS = 32
_MEASURES = ("height", "weight", "age", "sex")
_known: OrderedDict[tuple[Any, ...], tuple[float, ...]] = OrderedDict()
_KNOWN_MOST = 16


def betas_of(rig: bpy.types.Object) -> Any:
    """The raw components of an avatar's shape, from its keys: a list of numbers."""
    skin = mesh_of(rig)
    if skin is None:
        return []
    blocks = skin.data.shape_keys.key_blocks
    count = int(rig[PROPERTY].get("num_betas", 0))
    # The keys follow each other in their order: looking one up by its name walks over all before it.
    first = blocks.find("Shape000")
    if first < 0 or len(blocks) < first + count:
        return []
    return [block.value for block in blocks[first : first + count]]


def measures_of(rig: bpy.types.Object) -> tuple[float, ...]:
    """Height, weight and, of the free body, age and sex. () where the body is not there yet."""
    if PROPERTY not in rig or bodies.state(rig):
        return ()
    betas = betas_of(rig)
    identity = rig[PROPERTY]
    key = (identity["body_id"], identity["gender"], *betas)
    if betas and key not in _known:
        from ..scene.avatar import AvatarError
        from ..scene.shaping import body_of, measures

        try:
            body = body_of(rig, solver_settings(bpy.context).body)
            _known[key] = tuple(measures(body).measure(betas).tolist())
        except AvatarError:
            return ()
        while len(_known) > _KNOWN_MOST:
            _known.popitem(last=False)
    return _known.get(key, ())


def set_shape(rig: bpy.types.Object, betas: Any = None, measure: str = "", value: float = 0.0) -> str:
    """Give an avatar these betas, or those that `measure` asks for; the bones follow. What is wrong, or ""."""
    from ..scene import shaping
    from ..scene.avatar import AvatarError

    try:
        body = shaping.body_of(rig, solver_settings(bpy.context).body)
        if measure:
            betas = shaping.measures(body).changed(betas_of(rig), measure, value)
        shaping.set_shape(rig, body, betas)
    except AvatarError as error:
        return str(error)
    return ""


def _slider(index: int, **how: Any) -> Any:
    """A property that reads and sets one of the measures; nothing is stored."""

    def get(group: bpy.types.PropertyGroup) -> float:
        values = measures_of(group.id_data)
        return values[index] if index < len(values) else 0.0

    def set_value(group: bpy.types.PropertyGroup, value: float) -> None:
        rig = group.id_data
        if PROPERTY in rig and not why_not_shape(rig) and index < len(measures_of(rig)):
            set_shape(rig, measure=_MEASURES[index], value=value)

    return FloatProperty(get=get, set=set_value, options=set(), **how)


def _get_components(group: bpy.types.PropertyGroup) -> tuple[float, ...]:
    rig = group.id_data
    betas = betas_of(rig) if PROPERTY in rig else []
    return tuple((betas + [0.0] * MOST_COMPONENTS)[:MOST_COMPONENTS])


def _set_components(group: bpy.types.PropertyGroup, values: Any) -> None:
    rig = group.id_data
    if PROPERTY not in rig or why_not_shape(rig):
        return
    betas = betas_of(rig)
    count = min(len(betas), MOST_COMPONENTS)
    set_shape(rig, [*list(values)[:count], *betas[count:]])


def _colour(group: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    if PROPERTY in group.id_data:
        certainty.colour_bones(group.id_data, group.show_certainty)


class PANTOMIME_PG_avatar(bpy.types.PropertyGroup):
    """The avatar's shape as people speak of it. Nothing is stored twice: shape keys are what these read and set."""

    height: _slider(
        0,
        name="Height",
        translation_context="Pantomime",
        description="How tall the person stands, in centimetres. The build stays",
        min=40.0,
        max=260.0,
        precision=1,
        step=100,
    )
    weight: _slider(
        1,
        name="Weight",
        description="What a body of this volume weighs, in kilograms. Height, age and sex stay",
        min=2.0,
        max=250.0,
        precision=1,
        step=100,
    )
    age: _slider(
        2,
        name="Age",
        description="How old the body looks by its shape, in years; a photo hardly tells. Height and weight change as "
        "people's do, sex stays",
        min=0.0,
        max=90.0,
        precision=0,
        step=100,
    )
    sex: _slider(
        3,
        name="Sex",
        description="Which sex the body looks like: -1 female, 1 male. Height, weight and age stay",
        min=-2.0,
        max=2.0,
        soft_min=-1.0,
        soft_max=1.0,
        precision=2,
        step=5,
    )
    components: FloatVectorProperty(
        name="Components",
        description="A component of the shape, in standard deviations of the population",
        size=MOST_COMPONENTS,
        get=_get_components,
        set=_set_components,
        min=-10.0,
        max=10.0,
        soft_min=-3.0,
        soft_max=3.0,
        precision=2,
        step=5,
        options=set(),
    )
    show_certainty: BoolProperty(
        name="Colour the bones",
        description="Show how sure the capture is of each bone in pose mode: green is sure, red is a guess",
        update=_colour,
        options=set(),
    )


class PANTOMIME_OT_reset_shape(bpy.types.Operator):
    """Give the avatar a shape that it had"""

    bl_idname = "pantomime.reset_shape"
    bl_label = "Reset Shape"
    bl_options = {"REGISTER", "UNDO"}

    to: EnumProperty(
        name="To",
        translation_context="Pantomime",
        description="Which shape",
        items=(
            ("CAPTURED", "As captured", "The shape that was found in the photo"),
            ("MEAN", "Mean", "The mean adult: all components are zero"),
            ("NOW", "As it is", "Only bring the bones to where the shape keys say, after they were changed elsewhere"),
        ),
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        return refuse(cls, why_not_shape(avatar_of(context)))

    def execute(self, context: bpy.types.Context) -> set[str]:
        from ..scene import shaping
        from ..scene.avatar import AvatarError

        rig = avatar_of(context)
        try:
            betas = {
                "CAPTURED": lambda: shaping.captured_betas(rig),
                "MEAN": lambda: [0.0] * len(betas_of(rig)),
                "NOW": lambda: betas_of(rig),
            }[self.to]()
            why = set_shape(rig, betas)
        except AvatarError as error:
            why = str(error)
        if why:
            return failed(self, why)
        return {"FINISHED"}


def register() -> None:
    """Give objects the avatar's values."""
    bpy.types.Object.pantomime_avatar = PointerProperty(type=PANTOMIME_PG_avatar)


def unregister() -> None:
    """Take them back; what avatars are made of stays."""
    del bpy.types.Object.pantomime_avatar
    _known.clear()


CLASSES = (PANTOMIME_PG_avatar, PANTOMIME_OT_reset_shape)
