"""Drive a real Blender window: photo, correction, sliders, export, save and open; pictures and checks at each step.

    python tests/windows/drive.py --blender BLENDER --python SOLVER_PYTHON --photo PHOTO --out FOLDER [--zip ZIP]

This half starts Blender on the display of $DISPLAY with factory settings and an empty user folder, moves the real mouse
(xdotool) and takes the pictures (ImageMagick's import). The other half, `inside`, runs inside Blender. They talk
through files in FOLDER. The exit status is 1 where a check failed, 2 where Blender did not come to the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SIZE = (1600, 900)
# As inside/run.py has them.
PARTS = ("photo", "correct", "sliders", "texture", "export", "retarget", "files", "body", "video")
# A file in the format of licensed bodies, made from the free one. As in those, every pose corrective moves something.
BODY = """
import sys
from pathlib import Path
from pantomime.tests.core.test_licensed import make_arrays, write_npz
arrays = make_arrays().arrays
arrays["posedirs"] = arrays["posedirs"] + 1e-4 * arrays["v_template"][:, :, None]
write_npz(Path(sys.argv[1]) / "SMPLX_NEUTRAL.npz", arrays)
"""


def xdotool(*arguments: object) -> None:
    subprocess.run(["xdotool", *map(str, arguments)], check=True)


def go(path: list[list[float]], pause: float) -> dict[str, object]:
    """Go along a path as a hand does. Says when each move was made, in seconds of `time.time`."""
    moved = []
    for place in path:
        moved.append(time.time())
        xdotool("mousemove", *map(round, place))
        time.sleep(pause)
    return {"moved": moved}


def take(picture: Path) -> None:
    subprocess.run(["import", "-window", "root", str(picture)], check=True)


def do(request: dict[str, Any], out: Path) -> dict[str, object]:
    """What the half in Blender asks for; what it is to know of it."""
    what = request["do"]
    if what == "shot":
        take(out / f"{request['name']}.png")
    elif what == "go":
        return go(request["path"], request["pause"])
    elif what in ("mousedown", "mouseup", "click"):
        xdotool(what, 1)
    elif what == "key":
        xdotool("key", request["key"])
    elif what == "wheel":
        xdotool("mousemove", *map(round, request["at"]))
        for _ in range(abs(request["turns"])):
            xdotool("click", 5 if request["turns"] > 0 else 4)
            time.sleep(0.03)
    return {}


def python_of_tree(python: str, out: Path, *arguments: str) -> None:
    """Run a Python that imports this tree as `pantomime`, whatever the tree's folder is called."""
    link = out / "tree" / "pantomime"
    if not link.is_symlink():
        link.parent.mkdir()
        link.symlink_to(ROOT)
    subprocess.run([python, *arguments], check=True, env={**os.environ, "PYTHONPATH": str(link.parent)}, cwd=ROOT)


def light_zip(python: str, out: Path) -> Path:
    """The extension of this tree, without the solver's packages."""
    python_of_tree(python, out, "-m", "pantomime", "package", "--light", "-o", str(out / "dist"))
    return next((out / "dist").glob("*-light.zip"))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blender", required=True, help="Blender's program, or a script that starts it")
    parser.add_argument("--python", help="a Python that has the solver's packages; not for the full zip")
    parser.add_argument("--photo", required=True, help="a photo of one person")
    parser.add_argument("--out", required=True, help="a folder for pictures, files and the report; it is emptied")
    parser.add_argument("--zip", help="the zip (default: the light one, made from this tree)")
    parser.add_argument("--open-panels", action="store_true", help="open all panels, to look at each")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="go through these alone (photo comes with each)")
    parser.add_argument("--clip", help="a video of one person; without it the step with a video is left out")
    parser.add_argument("--frames", type=int, default=30, help="how many of its frames (default: 30)")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long it may take (default: 20)")
    arguments = parser.parse_args()
    missing = [name for name in ("xdotool", "import") if shutil.which(name) is None]
    if missing or not os.environ.get("DISPLAY"):
        parser.error("needed: xdotool and ImageMagick's import on the PATH, and a display in $DISPLAY")

    out = Path(arguments.out).resolve()
    shutil.rmtree(out, ignore_errors=True)
    (out / "user").mkdir(parents=True)
    package = Path(arguments.zip).resolve() if arguments.zip else light_zip(arguments.python, out)
    # Blender may run where this tree is not to be seen.
    shutil.copytree(HERE / "inside", out / "inside", ignore=shutil.ignore_patterns("__pycache__"))
    copies = [Path(shutil.copy(path, out)) for path in (package, arguments.photo, arguments.clip) if path]
    parts = arguments.only or PARTS
    if "body" in parts:
        python_of_tree(arguments.python or sys.executable, out, "-c", BODY, str(out / "bodies"))
    task = {
        "out": str(out),
        "zip": str(copies[0]),
        "photo": str(copies[1]),
        "clip": str(copies[2]) if arguments.clip else "",
        "frames": arguments.frames,
        "bodies": str(out / "bodies"),
        "parts": parts,
        "python": os.path.abspath(arguments.python) if arguments.python else "",
        "height": SIZE[1],
        "open_panels": arguments.open_panels,
    }
    (out / "task.json").write_text(json.dumps(task))
    command = [
        arguments.blender, "--factory-startup", "--window-geometry", "0", "0", *map(str, SIZE),
        "--python", str(out / "inside" / "run.py"), "--", str(out / "task.json"),
    ]  # fmt: skip
    with open(out / "blender.log", "w") as log:
        blender = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "BLENDER_USER_RESOURCES": str(out / "user")}
        )
    try:
        report = follow(blender, out, time.monotonic() + 60 * arguments.minutes)
    finally:
        if blender.poll() is None:
            blender.terminate()
    return conclude(report, out)


def follow(blender: subprocess.Popen[bytes], out: Path, until: float) -> list[dict[str, object]]:
    """Do what Blender asks for until it ends; everything that it said."""
    said: list[dict[str, Any]] = []
    while time.monotonic() < until:
        ended = blender.poll() is not None
        lines = (out / "said.jsonl").read_text().splitlines() if (out / "said.jsonl").exists() else []
        for line in lines[len(said) :]:
            entry = json.loads(line)
            said.append(entry)
            if "do" in entry:
                answer = do(entry, out)
                # Renamed when it is whole: Blender reads it as soon as it is there.
                (out / "answer").write_text(json.dumps(answer))
                os.replace(out / "answer", out / f"done-{entry['number']}.json")
            else:
                print(f"{entry['kind']:8} {entry['text']}", flush=True)
        if ended:
            break
        time.sleep(0.05)
    return said


def conclude(said: list[dict[str, object]], out: Path) -> int:
    """Print what failed; the exit status."""
    pids = [int(str(entry["pid"])) for entry in said if "pid" in entry]
    until = time.monotonic() + 10.0
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.2)
    left = [pid for pid in pids if alive(pid)]
    wrong = [str(entry["text"]) for entry in said if entry.get("kind") == "WRONG"]
    if left:
        wrong.append(f"the solver {left[0]} still runs after Blender has quit")
    if not any(entry.get("kind") == "end" for entry in said):
        print(f"Blender did not come to the end: see {out / 'blender.log'}")
        return 2
    print(f"load average {os.getloadavg()[0]:.1f}")
    print("passed" if not wrong else "FAILED: " + "; ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
