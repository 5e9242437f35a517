# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a kernel's sources come from: Debian's linux-source package, or a kernel tree of the user's own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from ..targets import apt
from ..targets.apt import Tell
from ..wire.errors import TargetError, UsageError
from .tree import Tree, sources, wanted

RELEASES: Final = ("6.1", "6.12")
"""What Debian 12 has as linux-source packages."""

_INSTALLED: Final = Path("/usr/src")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a kernel is built from.

    `tree` is the name of its copy in the cache, `label` what is shown of it. `key` says which contents it has, and is
    empty where that is only known once it is built.
    """

    tree: str
    label: str
    key: str = ""

    def fill(self, tree: Tree, tell: Tell) -> int:
        """Bring the sources into our copy, and edit them; returns how many files changed.

        Raises UsageError or TargetError if they cannot be read or edited.
        """
        raise NotImplementedError


# -- Debian's ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Debian(Source):
    """A linux-source package: the archive that it installs, or the package itself."""

    archive: Path
    version: str

    def fill(self, tree: Tree, tell: Tell) -> int:
        """Unpack the package, unless this version is unpacked already."""
        if not tree.has(self.version):
            tell(f"unpacking {self.archive.name}")
            tree.replace(self.version, lambda folder: _unpack(self.archive, folder))
        return tree.edit(tree.pristine, _release(tree.source))


def debian(release: str, trees: Path, tell: Tell) -> Debian:
    """Debian's sources of a release: as installed, or else as apt gives them, which is kept in the tree's folder.

    Raises UsageError if they can be had neither way.
    """
    package = f"linux-source-{release}"
    archive, version = _installed(package) or _downloaded(package, trees / package, tell)
    return Debian(tree=package, label=f"{package} {version}", key=f"{package} {version}", archive=archive,
                  version=version)


def _installed(package: str) -> tuple[Path, str] | None:
    archives = sorted(_INSTALLED.glob(f"{package}.tar.*"))
    if not archives:
        return None
    asked = apt.run(["dpkg-query", "--show", "--showformat=${Version}", package])
    if asked is not None and asked.returncode == 0 and asked.stdout:
        return archives[0], asked.stdout
    with archives[0].open("rb") as file:
        return archives[0], hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _downloaded(package: str, folder: Path, tell: Tell) -> tuple[Path, str]:
    kept = {path.name.split("_")[1].replace("%3a", ":"): path for path in folder.glob(f"{package}_*.deb")}
    candidate = apt.candidate(package)
    version = candidate or max(kept, default="")
    if version in kept:
        return kept[version], version
    mend = f"apt-get install {package}, or name a kernel tree with --source"
    if not candidate and apt.is_empty():
        raise UsageError(f"{package} is not installed, and apt has no lists of packages yet; apt-get update as root "
                         "fetches them, or name a kernel tree with --source")
    if not candidate:
        raise UsageError(f"{package} is not installed, and apt has no such package; {mend}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as place:
        problem = apt.download(f"{package}={version}", Path(place), tell)
        found = sorted(Path(place).glob(f"{package}_*.deb"))
        if not found:
            raise UsageError(f"{package} cannot be downloaded: {problem}; {mend}")
        for path in kept.values():
            path.unlink(missing_ok=True)
        return found[0].rename(folder / found[0].name), version


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack what a build needs of a linux-source archive, or of the Debian package that holds one.

    Raises TargetError if it is damaged.
    """
    try:
        if archive.suffix != ".deb":
            with archive.open("rb") as file:
                return _extract(file, folder)
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            with tarfile.open(fileobj=process.stdout, mode="r|") as package:
                for member in package:
                    inner = package.extractfile(member) if "/linux-source-" in member.name else None
                    if inner is not None and ".tar." in member.name:
                        _extract(inner, folder)
                        process.terminate()
                        return None
        raise TargetError(f"{archive}: has no archive of kernel sources")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise TargetError(f"{archive}: cannot be unpacked: {error}") from None


def _extract(file: IO[bytes], folder: Path) -> None:
    """Extract the wanted members of an archive whose files stand in one folder."""
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            path = member.name.removeprefix("./").partition("/")[2]
            if not path or ".." in path.split("/") or not wanted(path):
                continue
            target = folder / path
            if member.issym():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(member.linkname)
            elif (content := archive.extractfile(member)) is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as out:
                    shutil.copyfileobj(content, out)
                target.chmod(0o755 if member.mode & 0o100 else 0o644)


# -- the user's -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder(Source):
    """A kernel tree of the user's own, which is only read."""

    folder: Path

    def fill(self, tree: Tree, tell: Tell) -> int:
        """Copy what has changed since the last time."""
        tell(f"reading {self.folder}")
        try:
            return tree.follow(self.folder, sources(self.folder)) + tree.edit(self.folder, _release(self.folder))
        except OSError as error:
            raise UsageError(f"--source {self.folder}: {error.filename}: {error.strerror}") from None


def own(folder: Path) -> Folder:
    """The user's kernel tree in a folder. Raises UsageError if it is none."""
    path = folder.resolve()
    if not path.is_dir():
        raise UsageError(f"--source {folder}: no such folder")
    if not _release(path):
        raise UsageError(f"--source {folder}: no kernel tree; there is no Makefile with VERSION and PATCHLEVEL")
    if not (path / "arch/um/Kconfig").exists():
        raise UsageError(f"--source {folder}: a kernel tree without arch/um, which is what is built")
    tree = f"{re.sub('[^A-Za-z0-9._+-]', '_', path.name)}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    return Folder(tree=tree, label=str(path), folder=path)


def _release(folder: Path) -> str:
    """The release that a kernel tree says it is, such as 6.12.117; empty if the folder has no such tree."""
    try:
        with (folder / "Makefile").open(encoding="utf-8", errors="replace") as file:
            start = file.read(2000)
    except OSError:
        return ""
    values = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*) *$", start, re.MULTILINE))
    if not values.get("VERSION", "").isdigit() or not values.get("PATCHLEVEL", "").isdigit():
        return ""
    return f"{values['VERSION']}.{values['PATCHLEVEL']}.{values.get('SUBLEVEL') or 0}{values.get('EXTRAVERSION', '')}"
