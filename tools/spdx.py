# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that every source file of the checkout names its licence in its first lines, and says which does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "SPDX-License-Identifier: GPL-2.0-or-later"
FREE_HEADER = "SPDX-License-Identifier: 0BSD"
FREE = (ROOT / "sdk", ROOT / "examples")
"""What a vendor links into a stack of his own, and what people copy into a repository of theirs."""
SUFFIXES = frozenset({".py", ".toml", ".sh", ".ini", ".yml", ".c", ".h", ".go"})
SCRIPTS = (ROOT / "qualify", ROOT / "check", ROOT / ".ci" / "run")
LEFT_OUT = frozenset({"build", "dist", "reports", "site"})


def sources() -> Iterator[Path]:
    """Every file that must carry the header."""
    yield from SCRIPTS
    for entry in sorted(ROOT.iterdir()):
        if entry.is_file():
            yield from (entry,) if entry.suffix in SUFFIXES else ()
        elif not entry.name.startswith(".") and entry.name not in LEFT_OUT:
            yield from sorted(path for path in entry.rglob("*") if path.suffix in SUFFIXES and path.is_file())


def header_of(path: Path) -> str:
    """The header that this file must carry."""
    return FREE_HEADER if any(path.is_relative_to(folder) for folder in FREE) else HEADER


def main() -> int:
    """Print the files without the header; 1 if there are any."""
    bare = [path for path in sources()
            if header_of(path) not in "\n".join(path.read_text(encoding="utf-8").splitlines()[:2])]
    for path in bare:
        print(f"{path.relative_to(ROOT)}: no licence in its first two lines; write `{header_of(path)}`")
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main())
