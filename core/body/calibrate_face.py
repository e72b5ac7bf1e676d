"""Face-mesh points on the surface: detections on pictures of heads cast back, and the median over views and people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..detection.crops import Square, apply
from ..detection.face import FaceSettings, trace_mesh
from ..detection.face_network import FACE_INPUT_PX, LIPS, MESH_POINTS
from ..detection.vocabulary import POINT_SETS
from .calibrate_pose import meet_rays
from .calibrate_stage import (
    Agreement,
    CalibrationSettings,
    Float,
    Image,
    Sight,
    Stage,
    agreement,
    residuals,
    spread,
    turn,
)
from .mannequin import material_of_faces
from .model import BodyModel, PointSet
from .skeleton import JOINT_INDEX, NUM_JOINTS

# Points of the lips between their corners: rows of outer, inner, and two lines between, each below, then above.
_ROWS = np.array(LIPS).reshape(4, 20)
LIP_CORNERS = (*_ROWS[:, 0].tolist(), *_ROWS[:, 10].tolist())
LOWER_LIP, UPPER_LIP = tuple(_ROWS[:, 1:10].ravel().tolist()), tuple(_ROWS[:, 11:].ravel().tolist())


def see_heads(
    stage: Stage, network: Callable[[Image], tuple[Float, float]], report: Callable[[float], None] = lambda share: None
) -> list[Sight]:
    """Face-mesh detections of heads in several views, with the template places that each point hits."""
    settings, model = stage.settings, stage.model
    skin = _outer_triangles(model)
    template = model.v_template
    sights = []
    for i in range(settings.heads):
        report(i / settings.heads)
        rng = stage.rng
        expression = np.zeros(model.num_expressions, np.float32)
        if i % 3 == 0:
            picks = rng.choice(model.num_expressions, 4, replace=False)
            expression[picks] = rng.uniform(0.0, 0.5, 4)
            expression[[j for j, name in enumerate(model.expression_names) if name == "tongueOut"]] = 0.0
        rotmats = np.tile(np.eye(3, dtype=np.float32), (NUM_JOINTS, 1, 1))
        view = turn(rng.uniform(-0.75, 0.75), rng.uniform(-0.35, 0.35), rng.uniform(-0.2, 0.2))
        rotmats[0] = view
        eyes = [JOINT_INDEX["left_eye_smplhf"], JOINT_INDEX["right_eye_smplhf"]]
        far, focal = rng.uniform(0.5, 1.5), settings.picture_px
        focal_px = float(focal * far / rng.uniform(0.30, 0.42))

        def middle(joints: Float, eyes: list[int] = eyes, view: Float = view) -> Float:
            # Between the eyes and the mouth, on the skin.
            aim: Float = joints[eyes].mean(axis=0) + view @ np.array([0.0, -0.03, 0.0], np.float32)
            return aim

        rgb, sight, triangles, places = stage.take(stage.person(), expression, rotmats, middle, focal_px, float(far))
        across = view @ np.array([1.0, 0.0, 0.0], np.float32)
        half = settings.picture_px / 2.0
        square = Square((half, half), 0.27 * focal_px / float(far), float(np.arctan2(across[1], across[0])))
        traced = trace_mesh(rgb, square, network, FaceSettings(looks=3))
        if traced is None or traced[1] < settings.least_face_score:
            continue
        points, _, square = traced
        image = apply(square.matrix(FACE_INPUT_PX), points[:MESH_POINTS, :2])
        found, fronts = _cast(image, triangles, places, model, skin, template, sight)
        weight = np.where(np.isfinite(found[:, 0]) & (fronts > settings.grazing), fronts, 0.0).astype(np.float32)
        sights.append(replace(sight, image_px=(image - half).astype(np.float32), weight=weight, places=found))
    return sights


def _outer_triangles(model: BodyModel) -> NDArray[np.bool_]:
    """Triangles of the skin and lips: what a face point may be attached to."""
    names = model.material_names
    return np.isin(material_of_faces(model), [names.index(name) for name in ("skin", "lips") if name in names])


def _cast(
    image: Float,
    triangles: NDArray[np.int32],
    places: Float,
    model: BodyModel,
    skin: NDArray[np.bool_],
    template: Float,
    sight: Sight,
) -> tuple[Float, Float]:
    """Template places (N, 3) under image points, nan where none is near, and how squarely each is seen (0…1)."""
    height, width = triangles.shape
    found = np.full((len(image), 3), np.nan, np.float32)
    fronts = np.zeros(len(image), np.float32)
    reach = np.arange(-3, 4)
    shifts = np.array(sorted(((y, x) for y in reach for x in reach), key=lambda s: s[0] ** 2 + s[1] ** 2))
    rotation = sight.frames[JOINT_INDEX["head"]]
    for i, (x, y) in enumerate(np.floor(image).astype(int)):
        for dy, dx in shifts:
            row, column = y + dy, x + dx
            if not (0 <= row < height and 0 <= column < width):
                continue
            triangle = triangles[row, column]
            if triangle < 0 or not skin[triangle]:
                continue
            corners = template[model.faces[triangle]]
            normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
            normal = rotation @ (normal / (np.linalg.norm(normal) + 1e-12))
            found[i] = places[row, column] @ corners
            fronts[i] = max(0.0, float(-normal[2]))
            break
    return found, fronts


def calibrate_face(model: BodyModel, sights: list[Sight], settings: CalibrationSettings) -> tuple[PointSet, Agreement]:
    """The 468 points on the surface: the median of the places hit, laid on skin or lips."""
    count = len(POINT_SETS["face468"])
    stack = np.stack([sight.places for sight in sights if sight.places is not None])
    weights = np.stack([sight.weight for sight in sights])
    targets = np.zeros((count, 3), np.float32)
    share = (weights > 0).mean(axis=0)
    for i in range(count):
        seen = weights[:, i] > 0
        targets[i] = _geometric_median(stack[seen, i], weights[seen, i]) if seen.any() else 0.0
    vertex_ids, barycentric = _on_the_face(model, targets)
    empty = np.zeros((count, 3, model.num_betas), np.float32)
    points = PointSet(
        POINT_SETS["face468"], np.full(count, -1, np.int32), np.zeros((count, 3), np.float32), empty, vertex_ids,
        barycentric, np.zeros(count, np.float32), share >= settings.least_share,
    )  # fmt: skip
    mm, px = residuals(model, points, sights)
    sigma = spread(mm) / 1000.0
    points = replace(points, sigma_m=sigma, usable=points.usable & (sigma <= settings.most_face_sigma_m))
    points, mm, px = _outline(model, points, sights, mm, px, settings)
    return points, agreement("face468", points, mm, px)


def _on_the_face(model: BodyModel, targets: Float) -> tuple[NDArray[np.int32], Float]:
    """The nearest place on skin or lips to each target (468, 3); the lips' points on their own lip.

    In a closed mouth, where most of them are seen, the lips touch. `jawOpen` tells them apart: what it lowers more than
    the corners of the mouth belongs to the lower lip.
    """
    faces = model.faces[_outer_triangles(model)]
    vertex_ids, barycentric = nearest_on_surface(model.v_template, faces, targets)
    if "jawOpen" not in model.expression_names:
        return vertex_ids, barycentric
    drop = -model.exprdirs[:, 1, model.expression_names.index("jawOpen")]
    corners = list(LIP_CORNERS)
    middle = float((barycentric[corners] * drop[vertex_ids[corners]]).sum(axis=1).mean())
    for lip, own in ((LOWER_LIP, drop[faces] > middle), (UPPER_LIP, drop[faces] < middle)):
        at = list(lip)
        vertex_ids[at], barycentric[at] = nearest_on_surface(model.v_template, faces[own.all(axis=1)], targets[at])
    return vertex_ids, barycentric


def _outline(
    model: BodyModel, points: PointSet, sights: list[Sight], mm: Float, px: Float, settings: CalibrationSettings
) -> tuple[PointSet, Float, Float]:
    """Points that are seen at a grazing angle from everywhere: on the surface where the rays to them meet.

    The mesh is one rigid guess, so that its hidden points, too, tell something; all sights count for these points.
    """
    everywhere = [replace(sight, weight=np.ones_like(sight.weight)) for sight in sights]
    head = model.J_template[JOINT_INDEX["head"]]
    poor = np.flatnonzero(~points.usable)
    if not len(poor):
        return points, mm, px
    targets = [
        head + meet_rays([(everywhere, int(i), ("head", "head"), False)], settings.shape_terms)[:, 0] for i in poor
    ]
    skin = _outer_triangles(model)
    vertex_ids, barycentric = points.vertex_ids.copy(), points.barycentric.copy()
    vertex_ids[poor], barycentric[poor] = nearest_on_surface(
        model.v_template, model.faces[skin], np.asarray(targets, np.float32)
    )
    points = replace(points, vertex_ids=vertex_ids, barycentric=barycentric)
    all_mm, all_px = residuals(model, points, everywhere)
    mm[:, poor], px[:, poor] = all_mm[:, poor], all_px[:, poor]
    sigma = spread(mm) / 1000.0
    usable = points.usable.copy()
    usable[poor] = sigma[poor] <= settings.most_outline_sigma_m
    return replace(points, sigma_m=sigma, usable=usable), mm, px


def _geometric_median(points: Float, weights: Float) -> Float:
    """Weiszfeld's iteration."""
    middle = np.median(points, axis=0)
    for _ in range(50):
        pull = weights / np.maximum(np.linalg.norm(points - middle, axis=1), 1e-5)
        middle = (pull[:, None] * points).sum(axis=0) / pull.sum()
    result: Float = middle.astype(np.float32)
    return result


def nearest_on_surface(vertices: Float, faces: NDArray[np.int32], targets: Float) -> tuple[NDArray[np.int32], Float]:
    """The nearest surface place to each target (N, 3): corners (N, 3) and barycentric coordinates (N, 3)."""
    corners = vertices[faces].astype(np.float64)
    middles = corners.mean(axis=1)
    ids = np.zeros((len(targets), 3), np.int32)
    barycentric = np.zeros((len(targets), 3), np.float32)
    for i, target in enumerate(targets):
        near = np.argsort(((middles - target) ** 2).sum(axis=1))[:64]
        places = np.stack([_closest_in_triangle(target, corner) for corner in corners[near]])
        gaps = np.linalg.norm(np.einsum("nk,nki->ni", places, corners[near]) - target, axis=1)
        pick = int(np.argmin(gaps))
        ids[i], barycentric[i] = faces[near[pick]], places[pick]
    return ids, barycentric


def _closest_in_triangle(target: Float, corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Barycentric coordinates of the point of a triangle (3, 3) that is nearest to `target` (3,)."""
    a, b, c = corners
    normal_matrix = np.stack([b - a, c - a], axis=1)
    u, v = np.linalg.lstsq(normal_matrix, target - a, rcond=None)[0]
    if u >= 0 and v >= 0 and u + v <= 1:
        return np.array([1 - u - v, u, v])
    best, gap = np.array([1.0, 0.0, 0.0]), np.inf
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = corners[j] - corners[i]
        t = float(np.clip((target - corners[i]) @ edge / max(edge @ edge, 1e-18), 0, 1))
        here = float(np.linalg.norm(corners[i] + t * edge - target))
        if here < gap:
            gap, best = here, np.zeros(3)
            best[i], best[j] = 1 - t, t
    return best
