"""Starts the worker. Run by its path: `python -I …/core/launch.py [--packages FOLDER] [--help-fitting]`.

The folder that holds the package is called differently wherever it is installed, and Blender's Python does not know
it at all. So this file, which imports nothing of the package, makes the package known as `pantomime` and hands over;
with --help-fitting to a worker's helper.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

PACKAGE = "pantomime"
OLDEST = (3, 11)
# What nothing works without: module → package. The rest is looked for by jobs.check.
NEEDED = {"numpy": "numpy", "torch": "torch", "mediapipe": "mediapipe", "cv2": "opencv-contrib-python", "PIL": "pillow"}
# Exit status: this Python can't solve, and the last line of stderr says why. `core.client` knows it.
UNUSABLE = 3
ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Put the solver's packages on the path, load the package from this file's folder, run the worker."""
    if sys.version_info < OLDEST:
        have, need = (".".join(map(str, version[:2])) for version in (sys.version_info, OLDEST))
        print(f"Python {have} is too old for the solver, which needs {need}. Choose another Python.", file=sys.stderr)
        return UNUSABLE
    module = "worker"
    if arguments[-1:] == ["--help-fitting"]:
        module, arguments = "video_helper", arguments[:-1]
    if len(arguments) == 2 and arguments[0] == "--packages":
        # In front: a numpy of Blender's own must not hide the one that the solver was installed with.
        sys.path.insert(0, arguments[1])
    elif arguments:
        print("usage: launch.py [--packages FOLDER] [--help-fitting]", file=sys.stderr)
        return 2
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # as in one_thread, before numpy comes
    lacks = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if lacks:
        print(
            f"The solver's Python ({sys.executable}) lacks {', '.join(lacks)}. Install them there (pip install "
            f"{' '.join(lacks)}), or choose another Python in the preferences.",
            file=sys.stderr,
        )
        return UNUSABLE
    spec = importlib.util.spec_from_file_location(PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    status: int = importlib.import_module(f"{PACKAGE}.core.{module}").main()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
