"""What goes into a zip: the extension's own files, and what the solver needs of a wheel. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_TOP_FILES = ("__init__.py", "blender_manifest.toml", "CHANGELOG.md", "LICENSE", "README.md", "THIRD_PARTY.md")
_FOLDERS = ("core", "operators", "panels", "scene")
# Parts of the package that make its data or measure it, and the command line, which nobody needs inside Blender. `*`
# matches `/` as well.
DEVELOPMENT = (
    "core/arguments.py",
    "core/bench_*",
    "core/body/bake*",
    "core/body/bench*",
    "core/body/calibrate*",
    "core/body/data/bench_*",
    "core/body/face_*",
    "core/body/hand_views.py",
    "core/body/paint_pairs.py",
    "core/body/train*",
    "core/command.py",
    "core/fitting/bench_*",
    "core/package/*",
    "core/priors/gaussian.py",
    "core/priors/judge.py",
    "core/priors/mocap*",
    "core/priors/train*",
    "core/priors/view_pairs.py",
    "core/priors/views.py",
    "core/video_command.py",
    "scene/render_people.py",
    "scene/people_look.py",
)
# Named like a tool, and used by what runs: which parts of a licensed body meet is found in such poses.
_RUNS = ("core/body/bake_poses.py", "core/body/data/bench_poses.npz")
_JUNK = ("*/__pycache__/*", "*/.*", "*.part", "*~", "core/detection/bundled/*")

# Packages whose names stand in `pyproject.toml`, and others in their place: no windows are opened, so Qt may stay out.
INSTEAD = {"opencv-contrib-python": "opencv-python-headless"}
# What the packages import beside them.
ALSO = ("certifi", "typing-extensions")
# What the packages ask for, and the solver does not use.
LEFT_OUT = {
    "absl-py": "MediaPipe's command lines",
    "filelock": "torch's compiler",
    "flatbuffers": "making the detector's models, which the zip has",
    "fsspec": "torch's remote checkpoints",
    "jinja2": "torch's compiler",
    "matplotlib": "MediaPipe's drawings; the worker stands an empty module in its place",
    "networkx": "torch's compiler",
    "setuptools": "torch's compiler",
    "sounddevice": "MediaPipe's microphone",
    "sympy": "torch's compiler",
}
# Never: its licence forbids it.
FORBIDDEN = ("smplx",)

_NEEDED = (
    "torch/bin/torch_shm_manager",
    "torch/testing/_internal/__init__.py",
    "torch/testing/_internal/logging_tensor.py",
    "torch/testing/_internal/common_dtype.py",
)
_DROPPED = (
    # Tests, headers, static libraries, stubs for type checkers.
    "*/tests/*", "*/test/*", "*/include/*", "*/__pycache__/*",
    "*.pyi", "*.h", "*.hpp", "*.cuh", "*.cu", "*.c", "*.cpp", "*.pxd", "*.pyx", "*.a", "*.lib", "*.cmake", "*/py.typed",
    "*.data/scripts/*", "*.data/headers/*", "*.data/data/*",
    "torch/bin/*", "torch/share/*", "torch/testing/_internal/*", "torch/lib/*test*", "torch/lib/libaoti_custom_ops*",
    "torch/lib/*backend_with_compiler*",
    # torch's compiler, exporters and cluster parts, which are only imported when they are called.
    "torch/_inductor/*", "torch/onnx/*", "torch/utils/benchmark/*", "torch/utils/tensorboard/*", "torchgen/packaged/*",
    "torchgen/dest/*", "torchgen/selective_build/*", "torchgen/executorch/*",
    "torch/distributed/elastic/*", "torch/distributed/checkpoint/*", "torch/distributed/pipelining/*",
    "torch/distributed/launcher/*", "torch/distributed/benchmarks/*", "torch/distributed/fsdp/*",
    "torch/distributed/_shard/*", "torch/distributed/_tools/*", "torch/ao/ns/*", "torch/ao/pruning/*",
    "torch/utils/hipify/*", "torch/_vendor/quack/*",
    "functorch/*",
    "cv2/data/*.xml", "cv2/qt/*",
    "numpy/f2py/*", "numpy/distutils/*", "numpy/_pyinstaller/*",
    "numpy/core/lib/*", "numpy/_core/lib/*",
    "mediapipe/tasks/python/benchmark/*",
)  # fmt: skip
_LICENCE = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)


def extension_files(root: Path = ROOT) -> list[str]:
    """The extension's own files, as sorted paths with `/` relative to `root`."""
    names = [name for name in _TOP_FILES if (root / name).is_file()]
    for folder in _FOLDERS:
        names += [path.relative_to(root).as_posix() for path in (root / folder).rglob("*") if path.is_file()]
    return sorted(name for name in names if name in _RUNS or not _matches(name, DEVELOPMENT + _JUNK))


def kept(path: str) -> bool:
    """Whether the solver needs a file of a wheel; `path` is relative to site-packages, with `/`."""
    if ".dist-info/" in path:
        # Licences have to go with what they are about; the record says what there was, the metadata which version.
        return is_licence(path) or path.endswith((".dist-info/METADATA", ".dist-info/RECORD"))
    return path in _NEEDED or is_licence(path) or not _matches(path, _DROPPED)


def is_licence(path: str) -> bool:
    """Whether a file of a wheel states a licence."""
    folder, _, name = path.rpartition("/")
    if folder.endswith(".py") or name.endswith((".py", ".pyc", ".pyi", ".h")):
        return False
    return ".dist-info/licenses/" in path or bool(_LICENCE.match(name) or name.upper().startswith("LICENSE"))


def gathered(path: str) -> str | None:
    """The file that holds a licence which lies too deep: torch has hundreds, under names too long for Windows."""
    head, separator, tail = path.partition(".dist-info/licenses/")
    return f"{head}.dist-info/LICENSES.txt" if separator and "/" in tail else None


def place(path: str) -> str:
    """Where a file of a wheel is installed, relative to site-packages."""
    head, separator, tail = path.partition(".data/")
    if separator and "/" not in head:
        scheme, _, inner = tail.partition("/")
        if scheme in ("purelib", "platlib"):
            return inner
    return path


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def model_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The detector's models with their licence: name in the zip, file."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.endswith(".part"):
            yield f"core/detection/bundled/{path.name}", path
