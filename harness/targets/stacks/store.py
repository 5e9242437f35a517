# SPDX-License-Identifier: GPL-2.0-or-later
"""The stacks that `tcpqual target build` has made: where they are kept, and what one is.

The cache folder has one folder a version, `stacks/NAME-VERSION/`, and in it one for each key: what was built from just
one recipe, adapter and kit. So two checkouts of tcpqual do not take each other's place. A folder with `stack.json` in
it is whole, since it came there by one rename.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...wire.errors import UsageError
from ..cache import folder as cache
from ..cache import record
from .recipe import Recipe, chosen

RECORD: Final = "stack.json"
_FIELDS: Final = {"name": str, "version": str, "key": str, "built": str, "sources": list}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A stack that can be started.

    `sources` are the packages that went into it, `built` is an ISO date in UTC. It is `current` if recipe, adapter and
    kit are still those that it was built from.
    """

    name: str
    version: str
    key: str
    built: str
    sources: tuple[str, ...]
    folder: Path
    current: bool

    @property
    def program(self) -> Path:
        """What speaks the pipe protocol."""
        return self.folder / self.name


def place(name: str, version: str) -> Path:
    """Where the builds of one version stand, which need not exist."""
    return cache() / "stacks" / f"{name}-{version}"


def downloads(name: str, version: str) -> Path:
    """Where what was fetched for one version is kept, which need not exist."""
    return cache() / "stacks" / "downloads" / f"{name}-{version}"


def builds(known: Recipe, version: str) -> list[Stack]:
    """Every whole build of one version, the oldest first."""
    try:
        folders = list(place(known.name, version).iterdir())
    except OSError:
        return []
    key = known.key()
    found = [stack for path in folders if (stack := _read(path, key)) is not None]
    return sorted(found, key=lambda stack: (stack.built, stack.key))


def find(what: str) -> Stack:
    """The current build of `NAME` or `NAME=VERSION`. Raises UsageError saying how to build it."""
    known, version = chosen(what)
    built = builds(known, version)
    for stack in built:
        if stack.current:
            return stack
    why = "was built from another recipe or adapter than this tcpqual's" if built else "is not built"
    command = known.name if version == known.default else f"{known.name}={version}"
    raise UsageError(f"{known.name} {version} {why}; build it with `tcpqual target build {command}`")


def _read(path: Path, key: str) -> Stack | None:
    """The build in a folder, None if it is none."""
    known = record(path / RECORD, _FIELDS)
    if known is None:
        return None
    sources = tuple(map(str, known["sources"]))
    stack = Stack(folder=path, current=known["key"] == key, **known | {"sources": sources})
    return stack if stack.key == path.name and stack.program.is_file() else None
