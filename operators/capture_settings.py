"""Settings of the next capture. They are the scene's, and saved with it."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
from bpy.props import EnumProperty, FloatProperty, IntProperty, PointerProperty


@dataclass(frozen=True)
class PhotoSettings:
    """What is known of a photo and wanted of it. None: to be found."""

    people: int = 1  # the main person first; 0 is everybody
    focal_mm: float | None = None  # equivalent on 35 mm film
    height_cm: float | None = None
    gender: str = "neutral"
    quality: str = "normal"
    free_body: bool = False  # even where there are licensed ones


def photo_settings(scene: bpy.types.Scene) -> PhotoSettings:
    """From the scene's settings."""
    values = scene.pantomime_capture
    return PhotoSettings(
        people={"ONE": 1, "ALL": 0}.get(values.people, values.people_count),
        focal_mm=values.focal_mm if values.focal_source == "KNOWN" else None,
        height_cm=values.height_cm if values.height_source == "KNOWN" else None,
        gender=values.gender.lower(),
        quality=values.quality.lower(),
        free_body=values.body == "FREE",
    )


class PANTOMIME_PG_capture(bpy.types.PropertyGroup):
    """What is known of the photos and wanted of them."""

    body: EnumProperty(
        name="Body",
        description="Which body is fitted",
        items=(
            ("LICENSED", "Licensed", "The SMPL-X model in the folder that the preferences name"),
            ("FREE", "Free", "The body that comes with Pantomime"),
        ),
    )
    gender: EnumProperty(
        name="Gender",
        description="Which of the licensed models is fitted",
        items=(
            ("NEUTRAL", "Neutral", "The model of both sexes"),
            ("FEMALE", "Female", "The model of women"),
            ("MALE", "Male", "The model of men"),
            (
                "AUTO",
                "What fits best",
                "All three are fitted; the neutral one is kept unless another is clearly better",
            ),
        ),
    )
    quality: EnumProperty(
        name="Quality",
        translation_context="Pantomime",
        description="How much work a photo is worth",
        default="NORMAL",
        items=(
            (
                "FAST",
                "Fast",
                "Without the person's outline, the learned pose prior, and keeping parts of the body apart",
            ),
            ("NORMAL", "Normal", "Everything that a photo tells, in a moment"),
        ),
    )
    people: EnumProperty(
        name="People",
        translation_context="Pantomime",
        description="Who of the people in a photo becomes an avatar",
        items=(
            ("ONE", "Main", "Whom the photo is of: large, whole, sharp, near the middle"),
            ("ALL", "All", "Everybody"),
            ("NUMBER", "Number", "As many as given, the main person first"),
        ),
    )
    people_count: IntProperty(
        name="Number",
        description="How many people, the main person first",
        translation_context="Pantomime",
        default=2,
        min=1,
        soft_max=20,
    )
    height_source: EnumProperty(
        name="Height",
        description="How tall the main person is",
        translation_context="Pantomime",
        items=(
            ("FOUND", "Found", "From the photo: people are as large as most are"),
            ("KNOWN", "Known", "As measured: it sets the scale of everything"),
        ),
    )
    height_cm: FloatProperty(
        name="Height in cm",
        description="Of the main person, standing, in centimetres",
        default=172.0,
        min=40.0,
        max=260.0,
        precision=1,
        step=100,
    )
    focal_source: EnumProperty(
        name="Focal length",
        description="How the camera's focal length is known",
        items=(
            ("AUTO", "Automatic", "From the photo's own data (EXIF), else found with the pose"),
            ("KNOWN", "Known", "As given, for photos whose own data is missing or wrong"),
        ),
    )
    focal_mm: FloatProperty(
        name="Focal length in mm",
        description="Equivalent on 35 mm film, in millimetres",
        default=35.0,
        min=5.0,
        soft_max=300.0,
        max=3000.0,
        precision=1,
        step=100,
    )


def register() -> None:
    """Give scenes the settings."""
    bpy.types.Scene.pantomime_capture = PointerProperty(type=PANTOMIME_PG_capture)


def unregister() -> None:
    """Take them back."""
    del bpy.types.Scene.pantomime_capture


CLASSES = (PANTOMIME_PG_capture,)
