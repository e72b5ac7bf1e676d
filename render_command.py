"""Of the command line: render what fits are measured on, people and clips whose bodies are known.

Imported for its options even where there is no bpy; the commands need it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .core.arguments import whole, whole_from_0
from .core.whole_file import whole_file


def people_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `render-people`."""
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for pictures and labels")
    parser.add_argument("-n", "--count", type=whole, default=100, help="how many pictures (default: 100)")
    parser.add_argument("--seed", type=whole_from_0, help="people, cameras and rooms (default: 1 for test, 2 for tune)")
    parser.add_argument(
        "--kind",
        choices=("people", "faces", "hands"),
        default="people",
        help="people of all kinds, or close-ups that go through expressions or gestures (default: people)",
    )
    parser.add_argument(
        "--poses", choices=("test", "tune"), default="test", help="which poses: the sets share none (default: test)"
    )


def people(arguments: argparse.Namespace) -> int:
    """Write pictures of people and their labels. Needs bpy."""
    from .core.body.bench_draw import draw_label
    from .core.body.bench_labels import save_label
    from .core.body.bench_people import People
    from .core.body.load import load_body
    from .scene.render_people import Shot, render_shot

    out = Path(arguments.output)
    seed = {"test": 1, "tune": 2}[arguments.poses] if arguments.seed is None else arguments.seed
    body = load_body()
    print("Building the source body (about a minute the first time) …", flush=True)
    known = People(body)
    for index in range(arguments.count):
        label, picture = out / f"{index:04d}.npz", out / f"{index:04d}.jpg"
        if picture.exists() and label.exists():
            continue
        start = time.perf_counter()
        save_label(label, draw_label(known, body, arguments.poses, seed, index, arguments.kind))
        with whole_file(picture, ".part.jpg") as part:  # a run that was stopped goes on where it was
            render_shot(Shot.load(label), body, part)
        print(f"{picture}: {time.perf_counter() - start:.1f} s", flush=True)
    return 0


def clips_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `render-clips`."""
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder for clips and labels")
    parser.add_argument(
        "--clips", type=int, choices=range(10), nargs="+", metavar="N", help="which of the ten, from 0 (default: all)"
    )
    parser.add_argument("--frames", type=whole, help="only so many frames of each")
    parser.add_argument("--seed", type=whole_from_0, default=3, help="people, cameras and rooms (default: 3)")


def clips(arguments: argparse.Namespace) -> int:
    """Write clips of people and their labels. Needs bpy."""
    import numpy as np

    from .core.body import bench_clips
    from .core.body.bench_people import People
    from .core.body.load import load_body
    from .scene.render_people import Shot, render_clip

    out, body = Path(arguments.output), load_body()
    print("Building the source body (about a minute the first time) …", flush=True)
    known = People(body)
    for index in arguments.clips or range(len(bench_clips.bench_motions())):
        path = out / f"{index:02d}.mp4"
        if path.exists() and path.with_suffix(".npz").exists():
            continue
        start = time.perf_counter()
        clip = bench_clips.draw_clip(known, body, index, arguments.seed, arguments.frames)
        view, things = clip.view, clip.things
        label = bench_clips.label_of(clip, body)
        bench_clips.save_clip_label(path.with_suffix(".npz"), label)
        shown = view.to_camera(np.concatenate([person.vertices[::11] for person in clip.people[::5]]))
        shot = Shot(
            arguments.seed,
            index,
            view.size,
            view.focal_px,
            label.T_camera_world.astype(np.float64),
            shown.astype(np.float32),
            view.to_camera(things.vertices).astype(np.float32),
            things.quads,
            things.ids,
        )
        pictures = out / f"{index:02d}"
        pictures.mkdir(parents=True, exist_ok=True)
        frames = (view.to_camera(person.vertices) for person in clip.people)
        written = list(render_clip(shot, frames, body, pictures))
        bench_clips.write_video(written, path)
        print(f"{path}: {clip.motion.name}, {len(written)} frames, {time.perf_counter() - start:.0f} s", flush=True)
    return 0
