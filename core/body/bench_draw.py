"""Labels for rendered people, drawn at random: who, doing what, seen how, behind what. Needs the package anny."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .bench_labels import PersonLabel
from .bench_people import EXPRESSIONS, GESTURES, People, PosedPerson, bench_poses, lowered_arms, mirrored, raised_hands
from .bench_things import Things, draw_obstacle, hidden_share, joint_radii, point_visibility, seat_for
from .bench_views import View, draw_close_view, draw_view
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
    person, view, framing = _draw_person(rng, people, rotations, index, kind)
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
        T_camera_world=_single(T_camera_world),
        vertices=_single(vertices),
        joints=_single(joints),
        joints_px=_single(view.project(person.joints)),
        joint_visibility=visibility,
        rotations=_single(person.rotations),
        joint_rotations=_single(view.rotation @ person.joint_rotations),
        t_vertices=_single(person.t_vertices),
        t_joints=_single(person.t_joints),
        expression=_single(person.expression),
        phenotype=_single(person.phenotype),
        object_vertices=_single(objects),
        object_quads=things.quads,
        object_ids=things.ids,
        hidden_share=hidden_share(person.vertices, things, view, body.faces),
    )


def _draw_person(
    rng: np.random.Generator, people: People, rotations: Float, index: int, kind: str
) -> tuple[PosedPerson, View, str]:
    """Somebody in this pose (55, 3, 3), changed as the kind of set needs it; the camera; and what its picture shows."""
    if kind == "people":
        person = people.draw(rng, rotations)
        return person, *draw_view(rng, person)
    if kind == "faces":
        names = ("neutral", *EXPRESSIONS)
        person, framing = people.draw(rng, lowered_arms(rotations), None, names[index % len(names)]), "face"
    else:
        gesture = tuple(GESTURES)[index % len(GESTURES)]
        person, framing = people.draw(rng, raised_hands(rng, rotations), gesture), "chest"
    return person, draw_close_view(rng, person, framing), framing


def _single(array: Float) -> NDArray[np.float32]:
    return array.astype(np.float32)
