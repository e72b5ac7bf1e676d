"""Labels for rendered people, drawn at random: who, doing what, seen how, behind what. Needs the package anny."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bench_labels import PersonLabel
from .bench_people import EXPRESSIONS, GESTURES, People, bench_poses, lowered_arms, mirrored, raised_hands
from .bench_things import Things, draw_obstacle, hidden_share, joint_radii, point_visibility, seat_for
from .bench_views import draw_close_view, draw_view
from .model import BodyModel

Float = NDArray[np.float64]

# Sets of pictures: people of all kinds, and close-ups that go through all expressions and gestures in turn.
KINDS = ("people", "faces", "hands")
OCCLUDED_SHARE = 0.3  # of the pictures


def draw_label(people: People, body: BodyModel, part: str, seed: int, index: int, kind: str = "people") -> PersonLabel:
    """Person, camera and things of one picture; equal arguments give equal labels. Parts as for `bench_poses`."""
    poses = bench_poses(part)
    if kind != "people":
        poses = poses.upright()
    count = len(poses.rotations)
    rng = np.random.default_rng([seed, index])
    # Every pose once before any comes again, then as its mirror image.
    pose_index = int(np.random.default_rng([seed]).permutation(count)[index % count])
    flipped = (index // count) % 2 == 1
    rotations = poses.rotations[pose_index]
    rotations = mirrored(rotations) if flipped else rotations
    if kind == "people":
        person = people.draw(rng, rotations)
        view, framing = draw_view(rng, person)
    elif kind == "faces":
        names = ("neutral", *EXPRESSIONS)
        person = people.draw(rng, lowered_arms(rotations), None, names[index % len(names)])
        framing = "face"
        view = draw_close_view(rng, person, framing)
    else:
        gesture = tuple(GESTURES)[index % len(GESTURES)]
        person = people.draw(rng, raised_hands(rng, rotations), gesture)
        framing = "chest"
        view = draw_close_view(rng, person, framing)
    things = seat_for(person)
    if hidden_share(person.vertices, things, view, body.faces) > 0.3:
        things = Things.none()
    if kind == "people" and rng.random() < OCCLUDED_SHARE:
        things = draw_obstacle(rng, person, view, things, body.faces)
    joints = view.to_camera(person.joints)
    T_camera_world = np.eye(4)
    T_camera_world[:3, :3] = view.rotation
    T_camera_world[:3, 3] = -view.rotation @ view.centre
    vertices = view.to_camera(person.vertices)
    objects = view.to_camera(things.vertices)
    radius = joint_radii(body, person)
    visibility = point_visibility(
        joints, radius, vertices, body.faces, objects, things.triangles, view.focal_px, view.size
    )

    def single(array: Float) -> NDArray[np.float32]:
        return array.astype(np.float32)

    return PersonLabel(
        seed=seed,
        index=index,
        pose_index=pose_index,
        mirrored=flipped,
        action=poses.actions[pose_index],
        framing=framing,
        image_size=view.size,
        focal_px=view.focal_px,
        principal_px=0.5 * np.array(view.size, np.float32),
        T_camera_world=single(T_camera_world),
        vertices=single(vertices),
        joints=single(joints),
        joints_px=single(view.project(person.joints)),
        joint_visibility=visibility,
        rotations=single(person.rotations),
        joint_rotations=single(view.rotation @ person.joint_rotations),
        t_vertices=single(person.t_vertices),
        t_joints=single(person.t_joints),
        expression=single(person.expression),
        phenotype=single(person.phenotype),
        object_vertices=single(objects),
        object_quads=things.quads,
        object_ids=things.ids,
        hidden_share=hidden_share(person.vertices, things, view, body.faces),
    )
