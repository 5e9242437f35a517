# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process of a run does about itself before any case: where it may write, its rights, and when it has to die."""

from __future__ import annotations

import os
from pathlib import Path

from .wire.errors import UsageError


def check_writable(results: Path) -> None:
    """Raises UsageError if the results could not be written there when all is over."""
    folder = next(folder for folder in results.absolute().parents if folder.exists())
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--results {results}: {folder} cannot be written; name a file in a folder that can")


def enter_user_namespace_if_needed() -> None:
    """Get the right to make network namespaces. Raises LinkError."""
    from .wire.netns import can_make_namespaces, enter_user_namespace

    if not can_make_namespaces():
        enter_user_namespace()


def die_with_parent() -> None:
    """A worker ends with the controller, even if that is killed: nothing may be left behind."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def kernel() -> str:
    """The kernel that the process runs on, as the results name it."""
    import platform

    return f"{platform.system()} {platform.release()} {platform.machine()}"
