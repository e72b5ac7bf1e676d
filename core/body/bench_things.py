"""Things that stand under and before the people of the accuracy bench, and what they hide. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bench_labels import BEHIND_BODY, BEHIND_OBJECT, OUTSIDE, VISIBLE
from .bench_people import PosedPerson, facing
from .bench_views import View, project
from .model import BodyModel
from .raster import rasterise
from .skeleton import JOINT_INDEX, NUM_JOINTS

Float = NDArray[np.float64]
Int = NDArray[np.int32]

_LIMBS = ("knee", "ankle", "elbow", "wrist", "hip", "shoulder")
_MOST_HIDDEN = 0.4  # of the silhouette: more is no test of a fit but of a guess


def triangles_of_quads(quads: Int) -> Int:
    """(Q, 4) → (2 Q, 3)."""
    triangles: Int = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]).astype(np.int32)
    return triangles


@dataclass(frozen=True)
class Things:
    """Boxes in the world: M vertices, Q quads, each with the number of its thing."""

    vertices: Float  # (M, 3)
    quads: Int  # (Q, 4)
    ids: Int  # (Q,)

    @staticmethod
    def none() -> Things:
        """Nothing."""
        return Things(np.zeros((0, 3)), np.zeros((0, 4), np.int32), np.zeros(0, np.int32))

    def with_box(self, low: Float, high: Float, turn_rad: float = 0.0) -> Things:
        """And a box between two corners (3,), (3,), turned about the vertical through its middle."""
        corners = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
        middle = 0.5 * (low + high)
        local = low + corners * (high - low) - middle
        cos, sin = np.cos(turn_rad), np.sin(turn_rad)
        turned = local @ np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])
        faces = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32)
        number = int(self.ids.max()) + 1 if len(self.ids) else 0
        return Things(
            np.concatenate([self.vertices, turned + middle]),
            np.concatenate([self.quads, faces + len(self.vertices)]).astype(np.int32),
            np.concatenate([self.ids, np.full(6, number, np.int32)]).astype(np.int32),
        )

    @property
    def triangles(self) -> Int:
        return triangles_of_quads(self.quads)


def seat_for(person: PosedPerson) -> Things:
    """A box under whoever sits: up to the lowest point above its footprint. None for others."""
    joints = person.joints
    hips = 0.5 * (joints[JOINT_INDEX["left_hip"]] + joints[JOINT_INDEX["right_hip"]])
    leg = np.linalg.norm(joints[JOINT_INDEX["left_knee"]] - joints[JOINT_INDEX["left_hip"]])
    front = facing(person)
    side = np.array([front[2], 0.0, -front[0]])
    upright = person.joint_rotations[0][1, 1] > 0.6
    if not upright or not 0.2 < hips[1] < 1.6 * leg:
        return Things.none()
    for half_width, back in ((0.22, 0.28), (0.16, 0.24), (0.12, 0.2)):
        local = person.vertices - hips
        across, along = local @ side, local @ front
        above = (np.abs(across) < half_width) & (along < 0.1) & (along > -back)
        top = float(person.vertices[above, 1].min()) - 0.004 if above.any() else 0.0
        if top > 0.15:
            low = np.array([-half_width, 0.0, -back])
            high = np.array([half_width, top, 0.1])
            middle = hips + front * 0.5 * (high[2] + low[2])
            middle[1] = 0.5 * top
            extent = 0.5 * (high - low)
            turn = float(np.arctan2(front[0], front[2]))
            return Things.none().with_box(middle - extent, middle + extent, turn)
    return Things.none()


def draw_obstacle(rng: np.random.Generator, person: PosedPerson, view: View, things: Things, faces: Int) -> Things:
    """One more thing that hides a limb; the same things where none fits."""
    before = hidden_share(person.vertices, things, view, faces)
    for _ in range(12):
        side = "left" if rng.random() < 0.5 else "right"
        joint = person.joints[JOINT_INDEX[f"{side}_{rng.choice(_LIMBS)}"]]
        nearness = rng.uniform(0.55, 0.9)
        place = view.centre + nearness * (joint - view.centre)
        distance = float(np.linalg.norm(joint - view.centre))
        width = rng.uniform(0.1, 0.45) * nearness
        depth = rng.uniform(0.08, 0.3) * min(1.0, 0.3 * distance)
        kind = rng.random()
        low = place - np.array([width, 0.0, depth]) * 0.5
        high = place + np.array([width, 0.0, depth]) * 0.5
        if kind < 0.5 and place[1] < 1.0:  # stands on the floor and ends a little above what it hides
            low[1], high[1] = 0.0, place[1] + rng.uniform(0.05, 0.25)
        elif kind < 0.75:  # a post
            low[1], high[1] = 0.0, rng.uniform(2.0, 3.0)
            middle = 0.5 * (low + high)
            low[[0, 2]], high[[0, 2]] = middle[[0, 2]] - 0.05, middle[[0, 2]] + 0.05
        else:  # hangs
            half = 0.5 * rng.uniform(0.15, 0.4) * nearness
            low[1], high[1] = place[1] - half, place[1] + half
        more = things.with_box(low, high, float(rng.uniform(-0.6, 0.6)))
        margin = 0.03
        reach = 0.5 * float(np.linalg.norm((high - low)[[0, 2]])) + margin
        middle = 0.5 * (low + high)
        beside = np.linalg.norm((person.vertices - middle)[:, [0, 2]], axis=1) < reach
        level = (person.vertices[:, 1] > low[1] - margin) & (person.vertices[:, 1] < high[1] + margin)
        hidden = hidden_share(person.vertices, more, view, faces) if not (beside & level).any() else 1.0
        if before + 0.02 < hidden < _MOST_HIDDEN:
            return more
    return things


def hidden_share(vertices: Float, things: Things, view: View, faces: Int, shrink: int = 4) -> float:
    """The share of the silhouette inside the picture that things hide."""
    if not len(things.quads):
        return 0.0
    size = (view.size[0] // shrink, view.size[1] // shrink)
    body = rasterise(view.to_camera(vertices).astype(np.float32), faces, view.focal_px / shrink, size).depth
    front = rasterise(
        view.to_camera(things.vertices).astype(np.float32), things.triangles, view.focal_px / shrink, size
    )
    seen = np.isfinite(body)
    return float((front.depth[seen] < body[seen]).mean()) if seen.any() else 1.0


def joint_radii(body: BodyModel, person: PosedPerson) -> Float:
    """How deep each joint lies below the skin that follows it: the 20th percentile of distances, (55,)."""
    radii = np.full(NUM_JOINTS, 0.03)
    owner = body.weights.argmax(1)
    for joint in range(NUM_JOINTS):
        own = person.t_vertices[owner == joint]
        if len(own):
            radii[joint] = np.percentile(np.linalg.norm(own - person.t_joints[joint], axis=1), 20)
    return radii


def point_visibility(
    points: Float,
    depth_m: Float,
    vertices: Float,
    faces: Int,
    objects: Float,
    object_faces: Int,
    focal_px: float,
    size: tuple[int, int],
    shrink: int = 2,
) -> NDArray[np.uint8]:
    """Whether points (N, 3) in the camera's frame are seen: OUTSIDE, BEHIND_OBJECT, BEHIND_BODY or VISIBLE.

    `depth_m` (N,): how far below the surface a point lies; it is hidden by the body when the surface before it is
    nearer than twice that and 2 cm.
    """
    small = (size[0] // shrink, size[1] // shrink)
    body = rasterise(vertices.astype(np.float32), faces, focal_px / shrink, small).depth
    things = np.full_like(body, np.inf)
    if len(object_faces):
        things = rasterise(objects.astype(np.float32), object_faces, focal_px / shrink, small).depth
    pixels = project(points, focal_px / shrink, small)
    inside = ((pixels >= 0) & (pixels < np.array(small))).all(-1) & (points[:, 2] > 0.02)
    column, row = (np.clip(pixels[:, axis], 0, small[axis] - 1).astype(int) for axis in (0, 1))
    result = np.full(len(points), VISIBLE, np.uint8)
    result[body[row, column] < points[:, 2] - 2.0 * depth_m - 0.02] = BEHIND_BODY
    result[things[row, column] < points[:, 2] - depth_m] = BEHIND_OBJECT
    result[~inside] = OUTSIDE
    return result
