"""Where the detector's models are, and how they are made: `pantomime models`.

Models come from, in this order: official `.task` bundles in a folder that the user names; bundles that lie next to
this module (the packed extension holds them); the per-user cache, filled once by `prepare_models`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..whole_file import write_whole
from .bundles import attention_parts, bundle, with_normalisation
from .wheel import WheelError, read_networks

POSE_BUNDLE = "pose_landmarker_full.task"
HAND_BUNDLE = "hand_landmarker.task"
FACE_MESH = "face_mesh.task"
LICENCE_FILE = "LICENSE-mediapipe"
MANIFEST = "models.json"
# Counts up when the way of assembling changes, so that an old cache is made anew.
ASSEMBLY_VERSION = 3

OFFICIAL_POSE = ("pose_landmarker_heavy.task", "pose_landmarker_full.task", "pose_landmarker_lite.task")
OFFICIAL_HAND = ("hand_landmarker.task",)
OFFICIAL_FACE = ("face_landmarker.task", "face_landmarker_v2_with_blendshapes.task")

BUNDLED_FOLDER = Path(__file__).parent / "bundled"
_NEXT_STEP = "Run `pantomime models` once, or name a folder with the official .task files."


class ModelError(Exception):
    """Models that are missing, damaged or can't be made; the message says what to do next."""


@dataclass(frozen=True)
class ModelPaths:
    """The files that a detector loads."""

    pose: Path  # .task
    hand: Path  # .task
    face_mesh: Path  # .task of our own, for FaceNetwork: 468 points and the irises'
    face_task: Path | None = None  # official .task with blendshapes, where the user has one


def cache_folder() -> Path:
    """The per-user folder for made models: PANTOMIME_CACHE, else where the platform keeps caches."""
    named = os.environ.get("PANTOMIME_CACHE")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "Pantomime" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "Pantomime"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache") / "pantomime"


def find_models(
    official: str | os.PathLike[str] | None = None, cache_dir: str | os.PathLike[str] | None = None
) -> ModelPaths:
    """The models that are there, without making any.

    `official`: a folder (or one file) of MediaPipe's own `.task` bundles, each of which takes precedence over the
    made one; None: the folder in PANTOMIME_MODELS, if set. Raises ModelError.
    """
    pose, hand, face = _official_bundles(official)
    folder = next((item for item in _made_folders(cache_dir) if _is_whole(item)), None)
    if folder is None:
        raise ModelError(f"The detector's models are not on this machine yet. {_NEXT_STEP}")
    return ModelPaths(pose or folder / POSE_BUNDLE, hand or folder / HAND_BUNDLE, folder / FACE_MESH, face)


def prepare_models(
    cache_dir: str | os.PathLike[str] | None = None,
    wheel: str | os.PathLike[str] | None = None,
    official: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = lambda sentence: None,
    again: bool = False,
) -> ModelPaths:
    """Find the models, or make them from the pinned MediaPipe wheel into the cache. Raises ModelError.

    `wheel`: a local copy of the wheel; None lets pip fetch it. `report` hears what is being done. `again`: make
    them even where they are there. A second call does nothing but check.
    """
    _official_bundles(official)  # a folder that is wrong is told before anything is made
    if not again:
        try:
            return find_models(official, cache_dir)
        except ModelError:
            if any(map(_has_manifest, _made_folders(cache_dir))):
                report("The models in the cache are damaged or old; making them anew")
    folder = _cache(cache_dir)
    try:
        networks = read_networks(Path(wheel).expanduser() if wheel is not None else None, report)
        report("Assembling the pose, hand and face models")
        files = _assemble(networks)
    except WheelError as error:
        raise ModelError(str(error)) from error
    except ImportError as error:
        raise ModelError(
            "MediaPipe is not installed for this Python, and the models can't be made without it. "
            "Run `pip install mediapipe` first."
        ) from error
    _write(folder, files)
    report(f"The models are in {folder}")
    return find_models(official, cache_dir)


def _assemble(networks: dict[str, bytes]) -> dict[str, bytes]:
    detector = with_normalisation(networks["pose_detection/pose_detection.tflite"], 127.5, 127.5)
    landmarks = with_normalisation(networks["pose_landmark/pose_landmark_full.tflite"], 0.0, 255.0)
    return {
        POSE_BUNDLE: bundle({"pose_detector.tflite": detector, "pose_landmarks_detector.tflite": landmarks}),
        HAND_BUNDLE: bundle(
            {
                "hand_detector.tflite": networks["palm_detection/palm_detection_full.tflite"],
                "hand_landmarks_detector.tflite": networks["hand_landmark/hand_landmark_full.tflite"],
            }
        ),
        FACE_MESH: bundle(attention_parts(networks["face_landmark/face_landmark_with_attention.tflite"])),
        LICENCE_FILE: networks["LICENSE"],
    }


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Each file whole or not at all; the manifest last, so that a half-made folder is not taken for a whole one."""
    manifest = {
        "assembly_version": ASSEMBLY_VERSION,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in [*files.items(), (MANIFEST, json.dumps(manifest, indent=1).encode())]:
            write_whole(folder / name, data)
    except OSError as error:
        raise ModelError(
            f"Can't write the models to {folder}: {error.strerror or error}. "
            "Free some space, or name another folder in PANTOMIME_CACHE."
        ) from error


def _cache(cache_dir: str | os.PathLike[str] | None) -> Path:
    return (cache_folder() if cache_dir is None else Path(cache_dir).expanduser()) / f"models-{ASSEMBLY_VERSION}"


def _made_folders(cache_dir: str | os.PathLike[str] | None) -> tuple[Path, ...]:
    return (BUNDLED_FOLDER, _cache(cache_dir))


def _has_manifest(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _is_whole(folder: Path) -> bool:
    """Whether every file of the folder's manifest is there with its SHA-256 (20 MB: about 20 ms)."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["assembly_version"] != ASSEMBLY_VERSION:
            return False
        sums: dict[str, str] = manifest["sha256"]
        if not {POSE_BUNDLE, HAND_BUNDLE, FACE_MESH} <= sums.keys():
            return False
        return all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == value for name, value in sums.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _official_bundles(official: str | os.PathLike[str] | None) -> tuple[Path | None, Path | None, Path | None]:
    """Pose, hand and face bundles in a folder, or the one file that was named. Raises ModelError."""
    text = os.environ.get("PANTOMIME_MODELS") if official is None else os.fspath(official)
    if not text:
        return None, None, None
    named = Path(text).expanduser()
    folder = named.parent if named.is_file() else named
    if not folder.is_dir():
        raise ModelError(f"There is no folder {named}. Name the folder with the .task files, or none.")
    try:
        there = {item.name for item in folder.iterdir()} if named.is_dir() else {named.name}
        picks = [
            next((folder / name for name in names if name in there), None)
            for names in (OFFICIAL_POSE, OFFICIAL_HAND, OFFICIAL_FACE)
        ]
        for path in filter(None, picks):
            with path.open("rb") as file:
                if file.read(2) != b"PK":
                    raise ModelError(f"{path} is not a .task bundle, or is damaged. Download it again.")
    except OSError as error:
        raise ModelError(
            f"Can't read the model folder {named}: {error.strerror or error}. Check its permissions."
        ) from error
    if not any(picks):
        wanted = ", ".join((*OFFICIAL_POSE, *OFFICIAL_HAND, OFFICIAL_FACE[0]))
        raise ModelError(f"{named} holds none of {wanted}. Name another folder, or none for the usual models.")
    return picks[0], picks[1], picks[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pantomime models`."""
    parser.add_argument("--wheel", metavar="FILE", help="a local copy of the mediapipe 0.10.21 wheel")
    parser.add_argument("--models", metavar="FOLDER", help="a folder with official .task files, which take precedence")
    parser.add_argument("--cache", metavar="FOLDER", help="where to keep the models (default: the user's cache)")
    parser.add_argument("--again", action="store_true", help="make the models even if they are there")


def main(arguments: argparse.Namespace) -> int:
    """Run `pantomime models`; the exit status."""
    try:
        paths = prepare_models(arguments.cache, arguments.wheel, arguments.models, print, arguments.again)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 1
    for label, path in (("pose", paths.pose), ("hands", paths.hand), ("face mesh", paths.face_mesh)):
        print(f"{label:9} {path}")
    if paths.face_task is not None:
        print(f"{'face':9} {paths.face_task}")
    return 0
