"""Where a zip is to run: platform, Python, and what follows from them. Needs `packaging`.

Platforms are named as Blender's manifest names them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms

LOCKS = Path(__file__).parent / "data"
# Python → the first Blender that has it, and the first one that has a later one.
BLENDERS = {"3.11": ("4.2.0", "5.1.0"), "3.13": ("5.1.0", None)}
# glibc of the systems that Blender 4.2 and later run on, newest first.
_GLIBC = tuple(f"manylinux_2_{minor}" for minor in range(28, 16, -1)) + ("manylinux2014",)
# What the wheels of torch 2.13 ask for; Blender itself runs on older ones.
_MACOS = (14, 0)
# ELF and PE machine, Mach-O type of processor.
_MACHINES = {"linux-x64": 0x3E, "windows-x64": 0x8664, "macos-arm64": 0x0100000C, "macos-x64": 0x01000007}
PLATFORMS = tuple(_MACHINES)
_MARKERS = {
    "linux-x64": {
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64",
    },
    "windows-x64": {
        "sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64",
    },
    "macos-arm64": {
        "sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64",
    },
    "macos-x64": {
        "sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "x86_64",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A platform ("linux-x64") and a Python ("3.11")."""

    platform: str
    python: str

    @property
    def abi(self) -> str:
        """As in the names of wheels: "cp311"."""
        return "cp" + self.python.replace(".", "")

    @property
    def name(self) -> str:
        """As in the names of zips: "linux-x64-cp311"."""
        return f"{self.platform}-{self.abi}"

    @property
    def lock(self) -> Path:
        """The file with the pinned packages."""
        return LOCKS / f"{self.name}.txt"

    @property
    def solver_folder(self) -> str:
        """Where the packages lie in the zip; `operators/settings.py` looks there."""
        return f"solver/{self.abi}/"

    @property
    def pip_platforms(self) -> tuple[str, ...]:
        """pip's names of the platform, best first."""
        if self.platform == "linux-x64":
            return tuple(f"{libc}_x86_64" for libc in _GLIBC)
        if self.platform == "windows-x64":
            return ("win_amd64",)
        machine = "arm64" if self.platform == "macos-arm64" else "x86_64"
        return tuple(mac_platforms(_MACOS, machine))

    def tags(self) -> frozenset[Tag]:
        """The tags of all wheels that run there."""
        version = tuple(int(part) for part in self.python.split("."))
        platforms = list(self.pip_platforms)
        return frozenset(
            [
                *cpython_tags(version, [self.abi, "abi3", "none"], platforms),
                *compatible_tags(version, self.abi, platforms),
            ]
        )

    def marker_environment(self) -> dict[str, str]:
        """What conditions in requirements are to be judged by: pip judges them by the machine that it runs on."""
        return {
            **_MARKERS[self.platform],
            "python_version": self.python,
            "python_full_version": f"{self.python}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_version": "",
            "extra": "",
        }

    def is_foreign(self, name: str, head: bytes) -> bool:
        """Whether a file is a binary for another platform or Python. `head`: its first 4096 bytes, or all of it."""
        base = name.rpartition("/")[2]
        stamped = next((part for part in base.split(".") if part.startswith(("cpython-", "cp3"))), None)
        if stamped is not None:
            version = stamped.removeprefix("cpython-").removeprefix("cp").split("-")[0]
            if version != self.abi[2:]:
                return True
        kind, machines = _binary(head)
        if kind is None:
            # Something that calls itself a library of a system, and is none.
            return base.endswith((".so", ".pyd", ".dll", ".dylib"))
        return kind != self.platform.split("-")[0] or _MACHINES[self.platform] not in machines


def _binary(head: bytes) -> tuple[str | None, tuple[int, ...]]:
    """The system that a binary is for, and its processors."""
    if head[:4] == b"\x7fELF" and len(head) >= 20:
        return "linux", struct.unpack_from("<H", head, 18)
    if head[:2] == b"MZ" and len(head) >= 64:
        (offset,) = struct.unpack_from("<I", head, 60)
        if offset + 6 <= len(head) and head[offset : offset + 4] == b"PE\0\0":
            return "windows", struct.unpack_from("<H", head, offset + 4)
    if head[:4] == b"\xcf\xfa\xed\xfe" and len(head) >= 8:
        return "macos", struct.unpack_from("<I", head, 4)
    if head[:4] == b"\xca\xfe\xba\xbe" and len(head) >= 8:
        (count,) = struct.unpack_from(">I", head, 4)
        if count < 8 and len(head) >= 8 + 20 * count:
            return "macos", tuple(struct.unpack_from(">I", head, 8 + 20 * index)[0] for index in range(count))
    return None, ()
