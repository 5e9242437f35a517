# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's archive as this machine's apt knows it, also in a suite that this machine does not run.

Nothing is installed and no rights are needed: apt works with lists and caches of our own, in a temporary folder. Where
the archive is, and by which keys it is known, is the machine's own configuration; only the suite is replaced.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...wire.errors import TargetError, UsageError

Tell = Callable[[str], None]
"""Says in a few words what is being done now."""

_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_UPDATE: Final = "apt-get update as root fetches them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One suite of Debian's archive (`bookworm`, `trixie`)."""

    suite: str

    def source(self, package: str, folder: Path, tell: Tell) -> Path:
        """Download a source package into a folder; returns its description, the .dsc file. Raises TargetError."""
        with self._apt("deb-src", tell) as apt:
            tell(f"downloading the sources of {package} of {self.suite}")
            apt("source", "--download-only", package, folder=folder)
        return _only(folder, "*.dsc", f"the sources of {package}")

    def packages(self, names: Sequence[str], folder: Path, tell: Tell) -> list[Path]:
        """Download binary packages into a folder, those alone that are named. Raises TargetError."""
        with self._apt("deb", tell) as apt:
            tell(f"downloading {', '.join(names)} of {self.suite}")
            apt("download", *names, folder=folder)
        return [_only(folder, f"{name}_*.deb", name) for name in names]

    @contextmanager
    def _apt(self, kind: str, tell: Tell) -> Iterator[Callable[..., None]]:
        """An apt-get that knows nothing but this suite."""
        where = _archive()
        signed = f"[signed-by={_KEYRING}] " if _KEYRING.is_file() else ""
        with tempfile.TemporaryDirectory(prefix="tcpqual-apt-") as place:
            own = Path(place)
            for name in ("lists/partial", "cache/archives/partial", "none"):
                (own / name).mkdir(parents=True)
            (own / "sources.list").write_text(f"{kind} {signed}{where} {self.suite} main\n", encoding="utf-8")
            # The sandbox's user could not write into our folders; without rights of root there is none anyway.
            settings = {"Dir::Etc::sourcelist": own / "sources.list", "Dir::Etc::sourceparts": own / "none",
                        "Dir::State::lists": own / "lists", "Dir::Cache": own / "cache", "Acquire::Languages": "none",
                        "APT::Sandbox::User": "root"}
            options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

            def apt(*words: str, folder: Path) -> None:
                run("apt-get", "-q", *options, *words, folder=folder)

            tell(f"asking what {self.suite} has")
            apt("update", folder=own)
            yield apt


def unpack_source(description: Path, folder: Path) -> None:
    """Unpack a source package with Debian's patches into a folder that is not there yet. Raises TargetError."""
    run("dpkg-source", "--no-check", "-x", str(description), str(folder), folder=description.parent)


def unpack(package: Path, folder: Path) -> None:
    """Unpack a binary package below a folder, as if that were the root. Raises TargetError."""
    run("dpkg-deb", "-x", str(package), str(folder), folder=package.parent)


def version_of(description: Path) -> str:
    """The version of a source package, such as 2.1.3+dfsg1-2. Raises TargetError if its description has none."""
    for line in description.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("Version: "):
            return line.removeprefix("Version: ").strip()
    raise TargetError(f"{description.name}: names no version")


def run(*command: str, folder: Path, environ: dict[str, str] | None = None) -> str:
    """Run a command in a folder; returns what it printed. Raises TargetError with the line that says why it failed."""
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", check=False, env={**os.environ, **(environ or {}), "LC_ALL": "C"})
    except OSError as error:
        raise TargetError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise TargetError(f"{shlex.join(command[:1])} ended with status {done.returncode}: {_why(done.stderr)}")
    return done.stdout


def _why(said: str) -> str:
    """The line that says why a command failed: the first with the word error, as apt and compilers have it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E: ") or "error" in line.lower()]
    return (errors or lines[-1:] or ["it said nothing"])[0].removeprefix("E: ")


def _archive() -> str:
    """Where this machine's apt finds Debian's archive. Raises UsageError if it knows of none."""
    asked = _targets()
    for line in asked.splitlines():
        origin, label, where = line.split("|", 2)
        if (origin, label) == ("Debian", "Debian"):
            return where
    if not asked.strip():
        raise UsageError(f"apt has no lists of packages yet; {_UPDATE}")
    raise UsageError("apt has no archive of Debian's among its sources, from which stacks are fetched")


def _targets() -> str:
    # Of the lists that its sources name, apt tells only those that it has.
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Identifier: Packages"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise UsageError(f"apt-get: {error.strerror}; stacks are fetched from Debian's archive") from None


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise TargetError(f"apt-get has brought {len(found)} files {pattern}, not one, for {what}")
    return found[0]
