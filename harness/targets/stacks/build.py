# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds a stack by its recipe, in a temporary folder, and renames it to where it is found: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ...wire.errors import TargetError, UsageError
from ..cache import folder as cache
from ..cache import locked
from .archive import Tell
from .recipe import Recipe, Workshop, chosen, names, recipe
from .store import RECORD, Stack, builds, downloads, place

_KEPT: Final = 3
"""Builds of one version that stay beside a new one: other checkouts may be using them."""


def check_tools(known: Recipe) -> None:
    """Raises UsageError in one line if the stack cannot be built on this machine."""
    missing = known.missing()
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(f"target build {known.name}: {', '.join(missing)} {verb} missing; "
                         f"apt-get install {' '.join(missing)}")


def build(what: str, tell: Tell, *, again: bool = False) -> tuple[Stack, bool]:
    """Build `NAME` or `NAME=VERSION`, unless just that is built; returns it, and whether something was built.

    `again`: build it in any case, from what is fetched anew. Raises UsageError if something is missing, TargetError if
    the build fails.
    """
    known, version = chosen(what)
    with _lock(f"stack-{known.name}-{version}", tell):
        before = _current(known, version)
        if before is not None and not again:
            return before, False
        check_tools(known)
        kept = downloads(known.name, version)
        if again:
            _delete(kept)
        folder = cache() / "stacks" / f".building-{known.name}-{version}"
        _delete(folder)  # a build that was killed has left it
        shop = Workshop(recipe=known, version=version, folder=folder, downloads=kept, tell=tell)
        try:
            shop.program.parent.mkdir(parents=True)
            known.make(shop)
            if not os.access(shop.program, os.X_OK):
                raise TargetError(f"target build {known.name}: its recipe has made no program {known.name}")
            _install(shop)
        finally:
            _delete(folder)
        stack = _current(known, version)
        assert stack is not None
        _prune(known, version)
    return stack, True


def remove(wanted: Sequence[str]) -> int:
    """Remove every build of these stacks (`NAME` all versions, `NAME=VERSION` one) and what was fetched for it.

    Returns how many octets that freed. Raises UsageError if one of them is not built.
    """
    places: list[Path] = []
    for what in wanted:
        known, version = chosen(what)
        versions = (version,) if "=" in what else tuple(known.releases)
        there = [each for each in versions if place(known.name, each).is_dir()]
        if not there:
            raise UsageError(f"{what}: not built")
        places += [folder for each in there for folder in (place(known.name, each), downloads(known.name, each))]
    return sum(_delete(path) for path in dict.fromkeys(places))


def everything() -> Iterator[tuple[Recipe, str, list[Stack]]]:
    """Each stack and version that there is a recipe for, with its builds."""
    for name in names():
        known = recipe(name)
        for version in known.releases:
            yield known, version, builds(known, version)


def _current(known: Recipe, version: str) -> Stack | None:
    return next((stack for stack in builds(known, version) if stack.current), None)


def _install(shop: Workshop) -> None:
    """Rename what was built to its place."""
    known, made = shop.recipe, shop.program.parent
    record = {"name": known.name, "version": shop.version, "key": known.key(), "sources": shop.sources,
              "built": datetime.now(UTC).isoformat(timespec="seconds")}
    (made / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    target = place(known.name, shop.version) / known.key()
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rename(shop.folder / "before")
    made.rename(target)


def _prune(known: Recipe, version: str) -> None:
    """Remove the oldest of the builds that are not current; other checkouts may be using the newest of them."""
    others = [stack for stack in builds(known, version) if not stack.current]
    for stack in others[:-_KEPT]:
        _delete(stack.folder)


@contextlib.contextmanager
def _lock(name: str, tell: Tell) -> Iterator[None]:
    """Hold a lock of the cache folder. Waits for whoever has it, and says so."""
    try:
        with locked(cache() / "locks" / name, "stacks", lambda: tell("waiting for another build of it")):
            yield
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; stacks are kept there") from None


def _delete(path: Path) -> int:
    """Delete a folder, if it is there; returns how many octets its files took on the disk."""
    size = sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, files in os.walk(path) for name in files)
    shutil.rmtree(path, ignore_errors=True)
    return size
