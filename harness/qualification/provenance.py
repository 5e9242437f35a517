# SPDX-License-Identifier: GPL-2.0-or-later
"""What a qualification was made with: the tool, its catalogue and cases, the machine, the profiles."""

from __future__ import annotations

import os
import platform
import subprocess
import tomllib
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final

from .. import __version__
from ..requirements.catalogue import load
from ..suite import digest
from ..targets.profile import Profile

_PACKAGES: Final = ("attrs", "cattrs", "click", "jinja2", "pyroute2", "pytest", "pytest-xdist", "rich", "scapy")
_ROOT: Final = Path(__file__).resolve().parent.parent.parent


def tool() -> str:
    """The program and its version."""
    return f"tcpqual {__version__}"


def commit() -> str:
    """Of a checkout its commit, with a `+` if it has changes; "" of an installation."""
    if not (_ROOT / ".git").exists():
        return ""
    words = ["git", "-C", str(_ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def catalogue() -> dict[str, Any]:
    """Which requirements there are."""
    known = load()
    return {"digest": known.digest(), "requirements": len(known.all()) + len(known.rows()), "rfcs": len(known.rfcs())}


def cases(count: int) -> dict[str, Any]:
    """Which suite of cases this is."""
    return {"digest": digest(), "cases": count}


def machine() -> dict[str, Any]:
    """The machine that ran it; not its name, which is nobody's business."""
    return {"system": f"{platform.system()} {platform.release()} {platform.machine()}", "processor": _processor(),
            "processors": f"{len(os.sched_getaffinity(0))} processors", "memory": _memory(),
            "python": f"{platform.python_implementation()} {platform.python_version()}"}


def packages() -> dict[str, str]:
    """The versions of what we stand on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def profile_files(spec: str, profile: Profile) -> dict[str, str]:
    """The profile's file and those that it extends, by name, as they were used; two of one name are numbered.

    `spec` says whether it is a file of the user's or one that comes with the harness.
    """
    found: dict[str, str] = {}
    file, own = profile.file, ".toml" in spec
    seen: set[tuple[str, bool]] = set()
    while file and (file, own) not in seen:
        seen.add((file, own))
        text = _text(file, own)
        name, number = Path(file).name, 2
        while name in found:
            name, number = f"{Path(file).stem}-{number}.toml", number + 1
        found[name] = text
        extends = str(tomllib.loads(text).get("extends", ""))
        own = ".toml" in extends
        if own:
            path, is_variant, _ = extends.partition(".toml:")
            file = str(Path(file).parent / (f"{path}.toml" if is_variant else extends))
        else:
            file = f"{extends.partition(':')[0]}.toml" if extends else ""
    return found


def ledger(profile: Profile) -> list[dict[str, str]]:
    """The profile's known deviations, with how each is known."""
    return [{"requirement": one.requirement, "case": one.case, "state": one.state, "got": one.got.pattern,
             "family": one.family, "versions": str(one.versions), "reason": one.reason, "evidence": one.evidence}
            for one in profile.ledger]


def _text(file: str, own: bool) -> str:
    """A profile's text: of a file of the user's own, or of one that comes with the harness."""
    if own:
        return Path(file).read_text(encoding="utf-8")
    return (resources.files("harness.targets") / "profiles" / file).read_text(encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB"
    except (OSError, ValueError):
        return ""
