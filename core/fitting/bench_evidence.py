"""What a fit of a rendered person starts from: detected points, kept beside the picture, or the true ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..body.bench_labels import BEHIND_OBJECT, OUTSIDE, VISIBLE, PersonLabel
from ..body.bench_things import point_visibility, triangles_of_quads
from ..body.model import BodyModel
from ..body.points_file import write_npz
from ..detection.observation import Observation, Points
from ..npz_errors import DAMAGED_NPZ
from .metrics import box_iou

Float = NDArray[np.float64]

_FOUND_IOU = 0.25  # of a detection's box with the true one: less is somebody else, or a thing


def detection_digest() -> str:
    """Changes when the detector's code does: detections that are kept are made anew then."""
    folder = Path(__file__).parent.parent / "detection"
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def save_observations(path: Path, observations: list[Observation], digest: str) -> None:
    """Write observations whole or not at all."""
    arrays: dict[str, NDArray[np.generic]] = {"digest": np.asarray(digest), "count": np.asarray(len(observations))}
    for i, item in enumerate(observations):
        head = {
            "image_size": item.image_size,
            "score": item.score,
            "source": item.source,
            "face_scores": item.face_scores,
            "noise_share": item.noise_share,
            "sets": list(item.points),
        }
        arrays[f"{i}/head"] = np.asarray(json.dumps(head))
        arrays[f"{i}/box_px"] = item.box_px
        for name, points in item.points.items():
            arrays[f"{i}/{name}/image_px"] = points.image_px
            arrays[f"{i}/{name}/confidence"] = points.confidence
            if points.world_m is not None:
                arrays[f"{i}/{name}/world_m"] = points.world_m
            if points.left_score is not None:
                arrays[f"{i}/{name}/left_score"] = np.asarray(points.left_score)
            if points.irises_px is not None:
                arrays[f"{i}/{name}/irises_px"] = points.irises_px
        if item.mask is not None and item.mask_box_px is not None:
            arrays[f"{i}/mask"] = item.mask
            arrays[f"{i}/mask_box_px"] = item.mask_box_px
        if item.face_picture is not None:
            arrays[f"{i}/face_picture"] = item.face_picture
    write_npz(path, arrays)


def load_observations(path: Path, digest: str | None) -> list[Observation] | None:
    """Observations that were kept; None when there are none, or none of the wanted digest (None: any)."""
    try:
        with np.load(path, allow_pickle=False) as data:
            stored = {key: data[key] for key in data.files}
    except DAMAGED_NPZ:
        return None
    if digest is not None and str(stored["digest"]) != digest:
        return None
    found = []
    for i in range(int(stored["count"])):
        head = json.loads(str(stored[f"{i}/head"]))
        points = {
            name: Points(
                stored[f"{i}/{name}/image_px"],
                stored[f"{i}/{name}/confidence"],
                stored.get(f"{i}/{name}/world_m"),
                float(stored[f"{i}/{name}/left_score"]) if f"{i}/{name}/left_score" in stored else None,
                stored.get(f"{i}/{name}/irises_px"),
            )
            for name in head["sets"]
        }
        width, height = head["image_size"]
        found.append(
            Observation(
                image_size=(width, height),
                box_px=stored[f"{i}/box_px"],
                score=head["score"],
                points=points,
                mask=stored.get(f"{i}/mask"),
                mask_box_px=stored.get(f"{i}/mask_box_px"),
                source=head["source"],
                face_scores=head["face_scores"],
                noise_share=head.get("noise_share", 1.0),
                face_picture=stored.get(f"{i}/face_picture"),
            )
        )
    return found


def true_box(label: PersonLabel) -> Float:
    """The box of the surface in the picture, x0, y0, x1, y1."""
    pixels = to_pixels(label.vertices.astype(np.float64), label.focal_px, label.principal_px)
    size = np.array(label.image_size, np.float64)
    low, high = np.clip(pixels.min(0), 0, size), np.clip(pixels.max(0), 0, size)
    return np.concatenate([low, high])


def to_pixels(points: Float, focal_px: float, principal_px: NDArray[np.float32]) -> Float:
    """Camera frame (…, 3) → px (…, 2)."""
    return np.asarray(focal_px * points[..., :2] / np.maximum(points[..., 2:], 0.05) + principal_px)


def matching(observations: list[Observation], label: PersonLabel) -> Observation | None:
    """The observation of the labelled person; None when the detector missed it."""
    box = true_box(label)
    scored = [(box_iou(item.box_px.astype(np.float64), box), -i) for i, item in enumerate(observations)]
    best = max(scored, default=(0.0, 0))
    return observations[-best[1]] if best[0] >= _FOUND_IOU else None


def true_points(body: BodyModel, label: PersonLabel) -> dict[str, tuple[Float, NDArray[np.uint8]]]:
    """Where the body's points lie on the true person: camera frame (N, 3), and whether they are seen, by set."""
    basis = body.shapedirs.reshape(-1, body.num_betas).astype(np.float64)
    # Only offsets that grow with the person need betas; the surface itself is the label's.
    offsets = (label.t_vertices - body.v_template - body.exprdirs @ label.expression).reshape(-1)
    betas = np.linalg.solve(basis.T @ basis + 1e-9 * np.eye(body.num_betas), basis.T @ offsets)
    result = {}
    for name, points in body.points.items():
        places = np.einsum("nk,nki->ni", points.barycentric, label.vertices[points.vertex_ids]).astype(np.float64)
        depth = np.full(len(places), 0.005)
        rigid = points.joint_ids >= 0
        joints = points.joint_ids[rigid]
        local = points.offsets[rigid] + points.offset_dirs[rigid] @ betas
        places[rigid] = label.joints[joints] + np.einsum("nij,nj->ni", label.joint_rotations[joints], local)
        depth[rigid] = 0.012 if name in ("left_hand", "right_hand") else 0.05
        seen = point_visibility(
            places,
            depth,
            label.vertices.astype(np.float64),
            body.faces,
            label.object_vertices.astype(np.float64),
            triangles_of_quads(label.object_quads),
            label.focal_px,
            label.image_size,
        )
        result[name] = places, seen
    return result


def true_observation(
    body: BodyModel, label: PersonLabel, which: str = "true", hints: Observation | None = None
) -> Observation:
    """An observation with true 2D points, which are told to be known: all that lie in the picture ("true"), those of
    them that are seen ("occluded"), or all there are, beyond the picture too ("whole").

    `hints`: a detection whose 3D hints are added.
    """
    sets = {}
    for name, (places, seen) in true_points(body, label).items():
        least = {"occluded": VISIBLE, "true": BEHIND_OBJECT, "whole": OUTSIDE}[which]
        confidence = ((seen >= least) & (places[:, 2] > 0.1)).astype(np.float32)
        pixels = to_pixels(places, label.focal_px, label.principal_px).astype(np.float32)
        world = hints.points[name].world_m if hints is not None and name in hints.points else None
        sets[name] = Points(pixels, confidence, world)
    # One detector's points are enough: others hold the same places under other names.
    kept = {name: points for name, points in sets.items() if name in ("pose33", "left_hand", "right_hand", "face468")}
    return Observation(label.image_size, true_box(label).astype(np.float32), 1.0, kept, source="true", noise_share=0.0)


def without(observation: Observation, parts: tuple[str, ...]) -> Observation:
    """An observation less some of its evidence: "hints", "hands", "face", "mask"."""
    points = dict(observation.points)
    if "hands" in parts:
        points.pop("left_hand", None)
        points.pop("right_hand", None)
    if "face" in parts:
        points.pop("face468", None)
        observation = replace(observation, face_picture=None)
    if "hints" in parts:
        points = {name: replace(item, world_m=None) for name, item in points.items()}
    mask = None if "mask" in parts else observation.mask
    return replace(observation, points=points, mask=mask, mask_box_px=None if mask is None else observation.mask_box_px)
