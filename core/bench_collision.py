"""`pantomime bench collision`: how far fits keep the parts of a body out of each other, on the exact mesh."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .arguments import whole, whole_from_0
from .bench_contacts import FOCAL_PX, ContactMaker, Example, without_collision
from .body.load import load_body
from .body.model import BodyModel
from .body.points_file import write_npz
from .body.skinning import Body
from .capture import Capture
from .fitting.collision import Collision
from .fitting.kinematics import Skeleton
from .fitting.photo import Fitter, PhotoCamera
from .fitting.settings import FitSettings
from .priors.intersection import Intersection, Judge
from .rotation import exp_so3

GOALS = "Goals: at least 80 % less volume or area, contact at most 8 mm open, at most 25 % more time."
KEPT_M = 0.008


@dataclass(frozen=True)
class Outcome:
    """One fit of one example."""

    found: Intersection
    gaps_m: tuple[float, ...]  # of the example's contacts
    error_m: float  # mean over the 22 body joints, pelvis on pelvis
    seconds: float  # of the processor
    vertices: NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pantomime bench collision`."""
    parser.add_argument("-n", "--count", type=whole, default=60, help="how many poses (default: 60; in earnest 300)")
    parser.add_argument("--seed", type=whole_from_0, default=7, help="of poses, shapes, cameras and noise (default: 7)")
    parser.add_argument("--body", metavar="FILE|FOLDER", help="a licensed SMPL-X file or its folder (default: free)")
    parser.add_argument("-o", "--output", metavar="DIR", help="folder for the posed meshes (.npz), for those who look")


def main(arguments: argparse.Namespace) -> int:
    """Print the table."""
    torch.set_num_threads(1)
    body = load_body(arguments.body)
    settings = FitSettings()
    fitters = {"without": Fitter(body, without_collision(settings)), "with": Fitter(body, settings)}
    judge = Judge(body)
    maker = ContactMaker(body, Collision.of(body, Skeleton.of(body, torch.float64, "cpu")), judge)
    output = Path(arguments.output) if arguments.output else None
    examples: list[tuple[Example, Intersection, dict[str, Outcome]]] = []
    with torch.inference_mode():
        for number, example in enumerate(maker.examples(arguments.count, arguments.seed)):
            truth = judge.measure(example.vertices)
            outcomes = {name: _fit(fitter, example, judge) for name, fitter in fitters.items()}
            examples.append((example, truth, outcomes))
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
                meshes = {name: outcome.vertices for name, outcome in outcomes.items()}
                arrays = {"name": np.array(example.name), "truth": example.vertices, **meshes}
                write_npz(output / f"{number:03d}.npz", arrays)
            print(_line(number, example, truth, outcomes), file=sys.stderr, flush=True)
    print(table(examples))
    return 0


def _fit(fitter: Fitter, example: Example, judge: Judge) -> Outcome:
    camera = PhotoCamera(FOCAL_PX, "given")
    capture, seconds = None, float("inf")
    for _ in range(2):  # the first fit of a process pays for what is made once
        start = time.process_time()
        capture = fitter.fit(example.observation, camera)
        seconds = min(seconds, time.process_time() - start)
    assert capture is not None
    vertices = posed(fitter.body, capture)
    gaps = tuple(judge.gap(vertices, contact.first, contact.second) for contact in example.contacts)
    truth = example.state
    joints = Body(fitter.body, dtype=torch.float64).joints(truth.betas, truth.expression, truth.rotmats, truth.transl)
    expected = joints[0, :22].numpy()
    found = capture.joints[0, :22]
    error = np.linalg.norm((found - found[0]) - (expected - expected[0]), axis=1).mean()
    return Outcome(judge.measure(vertices), gaps, float(error), seconds, vertices)


def posed(body: BodyModel, capture: Capture) -> NDArray[np.float64]:
    """Vertices (V, 3) of a capture's first frame, camera frame, metres."""
    pose = torch.as_tensor(capture.full_pose()[0]).double().reshape(-1, 3)
    vertices = Body(body, dtype=torch.float64).vertices(
        torch.as_tensor(capture.betas).double(),
        torch.as_tensor(capture.expression[0]).double(),
        exp_so3(pose),
        torch.as_tensor(capture.transl[0]).double(),
    )
    return np.asarray(vertices.numpy())


def _line(number: int, example: Example, truth: Intersection, outcomes: dict[str, Outcome]) -> str:
    before, after = outcomes["without"], outcomes["with"]
    gaps = " ".join(f"{1000 * a:.0f}→{1000 * b:.0f}" for a, b in zip(before.gaps_m, after.gaps_m, strict=True))
    return (
        f"{number:3d} {example.name:28s} truth {1e6 * truth.volume:7.1f}  without {1e6 * before.found.volume:7.1f}"
        f"  with {1e6 * after.found.volume:7.1f} cm³  gaps {gaps or '–'} mm"
        f"  error {1000 * before.error_m:.0f}→{1000 * after.error_m:.0f} mm"
        f"  {1000 * before.seconds:.0f}→{1000 * after.seconds:.0f} ms"
    )


def table(examples: list[tuple[Example, Intersection, dict[str, Outcome]]]) -> str:
    """What is printed: by kind of example, and over all."""
    kinds = {"made": [e for e in examples if e[0].name != "captured"]}
    kinds |= {"captured": [e for e in examples if e[0].name == "captured"], "all": examples}
    lines = [
        "| poses | n | volume: true, without → with, cm³ | less | crossing area, cm² | less "
        "| contact kept | joints, mm | time |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, chosen in kinds.items():
        if not chosen:
            continue
        true = 1e6 * sum(truth.volume for _, truth, _ in chosen) / len(chosen)
        volume, area, error, seconds = (
            {
                which: sum(value(outcomes[which]) for _, _, outcomes in chosen) / len(chosen)
                for which in ("without", "with")
            }
            for value in (
                lambda o: 1e6 * o.found.volume,
                lambda o: 1e4 * o.found.area,
                lambda o: 1000 * o.error_m,
                lambda o: o.seconds,
            )
        )
        # contact that the fit without the term has: surfaces that touch or cross
        touching = [
            after
            for _, _, outcomes in chosen
            for before, after in zip(outcomes["without"].gaps_m, outcomes["with"].gaps_m, strict=True)
            if before <= 0.002
        ]
        kept = f"{100 * np.mean(np.array(touching) <= KEPT_M):.0f} % of {len(touching)}" if touching else "–"
        lines.append(
            f"| {name} | {len(chosen)} | {true:.1f}, {volume['without']:.1f} → {volume['with']:.1f}"
            f" | {_less(volume)} | {area['without']:.0f} → {area['with']:.0f} | {_less(area)} | {kept}"
            f" | {error['without']:.1f} → {error['with']:.1f}"
            f" | {100 * (seconds['with'] / seconds['without'] - 1):+.0f} % |"
        )
    return "\n".join([*lines, "", GOALS])


def _less(values: dict[str, float]) -> str:
    return f"{100 * (1 - values['with'] / values['without']):.0f} %" if values["without"] > 0 else "–"
