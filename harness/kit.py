# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the files of `sdk/` are: beside the harness in a checkout, inside it where it was installed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .wire.errors import UsageError

_PACKAGE: Final = Path(__file__).resolve().parent


def kit_file(name: str) -> Path:
    """A file or folder of the kit, by its path below `sdk/`. Raises UsageError if this installation has it not."""
    for folder in (_PACKAGE.parent / "sdk", _PACKAGE / "_sdk"):
        if (folder / name).exists():
            return folder / name
    raise UsageError(f"no {name}: this installation carries no sdk")
