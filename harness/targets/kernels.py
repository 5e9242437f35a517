# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels that `tcpqual kernel build` has made: where they are kept, and what one is.

The cache folder has one folder a kernel, `kernels/NAME/`: the program `linux`, the library `randomness.so` that is
loaded into it, its `config`, and `kernel.json`, which is written last. Without that file there is no kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..wire.errors import UsageError
from .cache import folder, record
from .versions import numbers

RECORD: Final = "kernel.json"
_FIELDS: Final = {"name": str, "release": str, "hz": int, "source": str, "key": str, "built": str}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that can be started as a program, and skips idle time.

    `release` is what `uname -r` says in it, `hz` its ticks in a second, `source` the Debian package with its version,
    or the folder of the user's tree. Kernels with the same `key` are the same; `built` is an ISO date in UTC.
    """

    name: str
    release: str
    hz: int
    source: str
    key: str
    built: str
    folder: Path

    @property
    def binary(self) -> Path:
        """The kernel itself, a program of this machine."""
        return self.folder / "linux"

    @property
    def randomness(self) -> Path:
        """The library that makes the host's random numbers repeatable, for LD_PRELOAD; seeded by TCPQUAL_SEED."""
        return self.folder / "randomness.so"

    @property
    def of_debian(self) -> bool:
        """True if it was built from Debian's sources, False if from a tree of the user's own."""
        return not self.source.startswith("/")


def kernels() -> list[Kernel]:
    """Every kernel that is whole, oldest release first."""
    try:
        folders = sorted((folder() / "kernels").iterdir())
    except OSError:
        return []
    found = [kernel for path in folders if (kernel := _read(path)) is not None]
    return sorted(found, key=lambda kernel: (numbers(kernel.release), kernel.name))


def find(name: str = "") -> Kernel:
    """The kernel of that name; without a name the newest release of Debian's, or the only one there is.

    Raises UsageError if there is none, or if it must be named.
    """
    known = kernels()
    names = ", ".join(kernel.name for kernel in known)
    if name:
        for kernel in known:
            if kernel.name == name:
                return kernel
        there = f"there {'is' if len(known) == 1 else 'are'} {names}" if known else "none is built"
        raise UsageError(f"no such kernel {name!r}; {there}; build one with `tcpqual kernel build`")
    if not known:
        raise UsageError("no kernel is built; build one with `tcpqual kernel build`")
    debian = [kernel for kernel in known if kernel.of_debian]
    if debian:
        return debian[-1]
    if len(known) > 1:
        raise UsageError(f"more than one kernel is built: name {' or '.join(names.split(', '))}")
    return known[0]


def _read(path: Path) -> Kernel | None:
    """The kernel in a folder, None if it is not whole."""
    known = record(path / RECORD, _FIELDS)
    if known is None:
        return None
    kernel = Kernel(folder=path, **known)
    whole = kernel.name == path.name and kernel.binary.is_file() and kernel.randomness.is_file()
    return kernel if whole else None

