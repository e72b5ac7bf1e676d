"""A long job's folder: what is done already, so that a run that was stopped goes on. numpy and standard library only.

Parts are `.npz` files that appear whole or not at all. A part counts only under the key it was made with. A lock keeps
a second run of the same job out, and is gone with the process that holds it, however that ends.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .npz_errors import DAMAGED_NPZ
from .whole_file import write_whole

Arrays = dict[str, NDArray[Any]]
_LOCK = "lock"


class JobError(Exception):
    """A job that can't go on; the message is one sentence with a next step. What was done is kept."""


def key_of(**things: object) -> str:
    """A short text that differs where any of the things does."""
    return hashlib.sha256(json.dumps(things, sort_keys=True, default=str).encode()).hexdigest()[:32]


class JobFolder:
    """The parts of one job. Use as a context: entering locks it. One without parts is gone at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Any = None

    def __enter__(self) -> JobFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / _LOCK).open("a+b")
        except OSError as error:
            raise JobError(f"Can't write {self.path}: {_reason(error)}. Choose another folder.") from error
        if not _try_lock(self._lock):
            self._lock.close()
            self._lock = None
            raise JobError(f"This clip is being captured already, with {self.path}. Wait for that, or stop it.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            # Before the lock is let go, which Windows does not allow: there an empty folder stays.
            if self._has_no_parts():
                shutil.rmtree(self.path, ignore_errors=True)
            self._lock.close()
            self._lock = None

    def _has_no_parts(self) -> bool:
        try:
            return all(item.name == _LOCK for item in self.path.iterdir())
        except OSError:
            return False

    def load(self, name: str, key: str) -> Arrays | None:
        """A part that was made with this key; None where there is none, or a damaged one."""
        try:
            with np.load(self.path / f"{name}.npz", allow_pickle=False) as data:
                if str(data["key"]) != key:
                    return None
                return {item: data[item] for item in data.files if item != "key"}
        except DAMAGED_NPZ:
            return None

    def save(self, name: str, key: str, arrays: Arrays) -> Path:
        """Write a part. Raises JobError where the disk does not take it."""
        target = self.path / f"{name}.npz"
        try:
            # Made in memory: a zip file that can't be written complains once more when it is thrown away.
            whole = io.BytesIO()
            np.savez(whole, key=np.array(key), **arrays)
            write_whole(target, whole.getbuffer())
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise JobError(
                    f"The disk of {self.path} is full. What is done is kept: free some space and start again to go on."
                ) from error
            raise JobError(
                f"Can't write {target}: {_reason(error)}. What is done is kept: put that right and start again."
            ) from error
        return target

    def remove(self) -> None:
        """The job is finished: its parts are of no use any more."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        shutil.rmtree(self.path, ignore_errors=True)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _try_lock(file: Any) -> bool:
    """Lock a file for this process, if nobody else holds it."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
