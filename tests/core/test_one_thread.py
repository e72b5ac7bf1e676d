"""What runs as a program keeps numpy to one thread, which has to be said before numpy is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pantomime

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Prints what the environment says when numpy is first looked for.
WATCH = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print("numpy with", *(os.environ.get(key) for key in {NAMES}), flush=True)
            sys.meta_path.remove(self)
sys.meta_path.insert(0, Watch())
"""
LAUNCH = Path(pantomime.__file__).parent / "core" / "launch.py"
STARTS = {
    "command line": "import pantomime.__main__",
    "worker": f"import runpy; runpy.run_path({str(LAUNCH)!r})['main']([])",
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("said", [None, "3"])
def test_it_is_said_before_numpy_is_imported_unless_the_user_has_said_it(start: str, said: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in NAMES}
    environment |= dict.fromkeys(NAMES, said) if said else {}
    run = subprocess.run(
        [sys.executable, "-c", WATCH + STARTS[start]],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.splitlines()[0] == " ".join(["numpy with", *[said or "1"] * 3])
