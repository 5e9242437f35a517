# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine's apt can give: packages are downloaded into a folder and unpacked, never installed.

Every command may be missing, as on a machine that is not Debian's; then there is no package.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

Tell = Callable[[str], None]
"""Says in a few words what is being done now."""

_MIB: Final = 1 << 20


def run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """What a command said, in plain English; None if there is no such command."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    except OSError:
        return None


def candidate(package: str) -> str:
    """The version that apt would install, empty if it has none or is not there."""
    asked = run(["apt-cache", "policy", package])
    found = re.search(r"^\s*Candidate: (\S+)", asked.stdout, re.MULTILINE) if asked else None
    return found[1] if found and found[1] != "(none)" else ""


def names(pattern: str) -> list[str]:
    """The packages whose whole names a regular expression matches, as far as apt could install them."""
    asked = run(["apt-cache", "search", "--names-only", f"^{pattern}$"])
    known = [line.partition(" - ")[0] for line in asked.stdout.splitlines()] if asked else []
    return [name for name in known if re.fullmatch(pattern, name)]


def is_empty() -> bool:
    """True if apt is there, and no list of what packages there are has been fetched."""
    # Of the lists that its sources name, apt tells only those that it has.
    asked = run(["apt-get", "indextargets", "--format", "$(FILENAME)", "Identifier: Packages"])
    return asked is not None and asked.returncode == 0 and not asked.stdout.strip()


def download(what: str, place: Path, tell: Tell) -> str:
    """Let apt download a package (`NAME` or `NAME=VERSION`) into a folder; returns what went wrong, if anything."""
    tell(f"downloading {what}")
    try:
        process = subprocess.Popen(["apt-get", "download", what], cwd=place, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"})
    except OSError as error:
        return f"apt-get: {error.strerror}"
    try:
        while process.poll() is None:
            try:
                process.wait(1)
            except subprocess.TimeoutExpired:
                size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
                tell(f"downloading {what}: {size // _MIB} MiB")
    finally:
        process.kill()
        _, said = process.communicate()
    errors = [line.removeprefix("E: ") for line in said.splitlines() if line.startswith("E: ")]
    return errors[-1] if errors else f"apt-get ended with status {process.returncode}"
