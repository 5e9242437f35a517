# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's cache folder, where kernels, images and stacks are kept, each in a folder with a record of what it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..wire.errors import UsageError


def folder() -> Path:
    """The user's cache folder of tcpqual, which need not exist."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of XDG_CACHE_HOME has relative paths ignored.
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "tcpqual"


def record(file: Path, fields: Mapping[str, type]) -> dict[str, Any] | None:
    """These fields of the record in a file; None if it lacks one, has one of another type, or is no record."""
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or any(type(found.get(key)) is not kind for key, kind in fields.items()):
        return None
    return {key: found[key] for key in fields}


@contextlib.contextmanager
def locked(path: Path, what: str, busy: Callable[[], object] = lambda: None) -> Iterator[int]:
    """Hold the lock that a file is; gives its descriptor. `busy` is told before it waits for whoever has it.

    Raises UsageError, which says `what` is kept there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}; {what} are kept there") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
