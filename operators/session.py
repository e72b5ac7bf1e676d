"""The one worker of this Blender, its job, and what the interface shows of it.

No object of Blender is kept here, because undo and loading a file replace them all: a scene is found again by its name.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass, field

import bpy

from ..core.client import Client, ClientError, new_job_id, worker_command
from ..core.messages import Cancelled, Failed, FitPhoto, Message, Progress, Result, Stage, Warn
from .settings import SolverSettings

TICK_S = 0.1
# Where a popup breaks its lines, in characters.
POPUP_WIDTH = 70


@dataclass
class Status:
    """What is shown of the job. Plain values."""

    running: bool = False
    cancelling: bool = False
    photo: str = ""
    text: str = ""
    fraction: float = 0.0
    error: str = ""
    done: str = ""  # the name of the last avatar's collection, or a sentence
    warnings: list[str] = field(default_factory=list)


class Session:
    """Starts the worker when it is needed, keeps it warm, turns its result into an avatar."""

    def __init__(self) -> None:
        self.status = Status()
        self._client: Client | None = None
        self._command: list[str] = []
        self._settings = SolverSettings()
        self._scene_name = ""

    @property
    def log(self) -> str:
        """The end of the worker's log."""
        return "" if self._client is None else self._client.log_tail()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id; None where none was started."""
        return None if self._client is None else self._client.pid

    def start(self, photo: str, scene_name: str, settings: SolverSettings, focal_mm: float | None = None) -> None:
        """Begin a job. Raises ClientError when one is running, or the worker can't be started."""
        if self.status.running:
            raise ClientError("Another photo is being solved. Wait for it, or cancel it first.")
        command = worker_command(settings.python, settings.packages)
        if self._client is not None and (command != self._command or not self._client.alive):
            self._client.close()
            self._client = None
        self.status = Status(photo=photo)
        try:
            if self._client is None:
                self._client = Client(command)
                self._client.start()
            self._command = command
            self._client.submit(
                FitPhoto(
                    job=new_job_id(),
                    photo=photo,
                    # Blender removes this folder when it quits; until then, redo reads the capture again.
                    out_dir=tempfile.mkdtemp(prefix="pantomime_", dir=bpy.app.tempdir),
                    body=settings.body,
                    focal_mm=focal_mm,
                    device=settings.device,
                    threads=settings.threads,
                    cache_dir=settings.cache_dir,
                    models_dir=settings.models_dir,
                )
            )
        except (ClientError, OSError) as error:
            self.status.error = str(error)
            self.stop_worker()
            raise ClientError(str(error)) from error
        self._settings = settings
        self._scene_name = scene_name
        self.status.running = True
        self.status.text = "Starting the solver"

    def cancel(self) -> None:
        """Ask for the end of the job; `poll` will see it."""
        if self.status.running and self._client is not None:
            self.status.cancelling = True
            self.status.text = "Cancelling"
            self._client.cancel()

    def poll(self) -> bool:
        """Take in what the worker said, and build the avatar when it is done. True while a job runs.

        An ordinary function: a timer calls it in a window, a loop in background mode, a test as it likes.
        """
        if self._client is None or not self.status.running:
            return False
        for event in self._client.poll():
            self._take(event)
        return self.status.running

    def wait(self) -> None:
        """Poll until the job has ended. For background mode, where no timer runs."""
        try:
            while self.poll():
                time.sleep(0.02)
        except KeyboardInterrupt:
            self.cancel()
            while self.poll():
                time.sleep(0.02)
            raise

    def stop_worker(self) -> None:
        """End the worker and its job, if any. The next job starts a new one."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._end()

    def _end(self) -> None:
        self.status.running = False
        self.status.cancelling = False

    def _take(self, event: Message) -> None:
        status = self.status
        if isinstance(event, Stage):
            if not status.cancelling:
                status.text = event.text
        elif isinstance(event, Progress):
            status.fraction = event.fraction
        elif isinstance(event, Warn):
            status.warnings.append(event.text)
        elif isinstance(event, Result):
            status.text = "Building the avatar"
            try:
                self._build(event)
            finally:
                self._end()
        elif isinstance(event, Cancelled):
            self._end()
            status.done = "Cancelled"
        elif isinstance(event, Failed):
            self._end()
            status.error = event.text

    def _build(self, result: Result) -> None:
        before = {collection.name for collection in bpy.data.collections}
        try:
            with _window_override():
                for path in result.captures:
                    # An operator with undo, called with undo: this is what makes the avatar one step.
                    bpy.ops.pantomime.import_capture(
                        "EXEC_DEFAULT",
                        True,
                        filepath=path,
                        body=self._settings.body or "",
                        scene_name=self._scene_name,
                    )
        except RuntimeError as error:
            self.status.error = _sentence(str(error))
            return
        self.status.fraction = 1.0
        new = [collection.name for collection in bpy.data.collections if collection.name not in before]
        self.status.done = new[0] if new else "Done"


SESSION = Session()


def begin(context: bpy.types.Context) -> None:
    """Watch the running job from a timer."""
    if not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=TICK_S, persistent=True)
    _show(context)


def _tick() -> float | None:
    """The timer: seconds until the next call, None for no further one."""
    running = SESSION.poll()
    _show(bpy.context)
    if running:
        return TICK_S
    if SESSION.status.error:
        _popup(SESSION.status.error)
    return None


def _show(context: bpy.types.Context) -> None:
    """Status bar and sidebar, in all windows."""
    status = SESSION.status
    text = f"Pantomime: {status.text} ({status.fraction:.0%})" if status.running else None
    for window in context.window_manager.windows:
        # Blender writes the text through the context's window, and a timer has none.
        with context.temp_override(window=window):
            window.workspace.status_text_set(text)
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()


def _popup(sentence: str) -> None:
    """Say it where the pointer is: a timer has no operator whose report would be shown."""
    if bpy.app.background or not bpy.context.window_manager.windows:
        return

    def draw(menu: bpy.types.Menu, _context: bpy.types.Context) -> None:
        for line in wrapped(sentence, POPUP_WIDTH):
            menu.layout.label(text=line)

    with _window_override():
        bpy.context.window_manager.popup_menu(draw, title="Photo to avatar", icon="ERROR")


def _sentence(report: str) -> str:
    """What an operator's error says to a person: an unforeseen one comes with a traceback, which is for the console."""
    lines = [line for line in report.removeprefix("Error:").splitlines() if line.strip()]
    if any("Traceback" in line for line in lines):
        last = next((line for line in reversed(lines) if not line.startswith(("Location", " "))), "")
        return (
            f"Building the avatar met an error in Pantomime itself ({last.strip()}). Report it with the console's text."
        )
    return " ".join(" ".join(lines).split())


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters where words allow it: labels in Blender do not wrap."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def _window_override() -> contextlib.AbstractContextManager[object]:
    """A timer runs without a window, and operators and popups want one."""
    windows = bpy.context.window_manager.windows
    if bpy.context.window is not None or not len(windows):
        return contextlib.nullcontext()
    return bpy.context.temp_override(window=windows[0])


@bpy.app.handlers.persistent
def _before_load(*_: object) -> None:
    """The avatar belongs to the file that it was asked for in."""
    if SESSION.status.running:
        SESSION.stop_worker()
        SESSION.status.done = "Cancelled, because another file was opened"


def register() -> None:
    """Watch for another file being opened."""
    bpy.app.handlers.load_pre.append(_before_load)


def unregister() -> None:
    """Leave nothing: no worker, no timer, no handler, no text."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _before_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_before_load)
    SESSION.stop_worker()
    SESSION.status = Status()
    # A Blender that quits also unregisters, when its windows are half gone and must be left alone.
    if bpy.context.window is not None:
        _show(bpy.context)
