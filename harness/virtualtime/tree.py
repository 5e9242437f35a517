# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own copy of a kernel's sources, and the folders beside it that kernels are built in.

The user's tree is never written to. A file of the copy is written only where its contents change, and then it is new
for make; all others keep the age they have, whatever the user's own files went through (a switch to another branch
and back compiles nothing). What a User-Mode Linux build never reads is not copied: it is two thirds of a tree.
"""

from __future__ import annotations

import contextlib
import filecmp
import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from .edits import EDITED, edited

Mark = list[int]
"""What tells that a file has changed: its size, mode, and times of change in nanoseconds."""

_NEEDLESS: Final = (".git/", "tools/perf/", "tools/testing/")

# Of drivers for hardware that User-Mode Linux does not have, and of other architectures, only the options and the
# Makefiles are read.
_OPTIONS_ONLY: Final = (
    "Documentation/", "drivers/gpu/", "drivers/iio/", "drivers/infiniband/", "drivers/media/",
    "drivers/net/ethernet/", "drivers/net/wireless/", "drivers/scsi/", "drivers/staging/", "sound/")
_ARCHITECTURES: Final = ("arch/um/", "arch/x86/")
_MAKE: Final = ("Kconfig", "Makefile", "Kbuild")

# A copy that was made by other rules is not known to be right.
_RULES: Final = hashlib.sha256(
    repr((_NEEDLESS, _OPTIONS_ONLY, _ARCHITECTURES, _MAKE, sorted(EDITED))).encode()).hexdigest()[:8]

# Products of a build in the tree itself, which a walk has to know; git knows them by the tree's own .gitignore.
_PRODUCTS: Final = (
    ".a", ".cmd", ".dtb", ".ko", ".lex.c", ".mod", ".mod.c", ".o", ".order", ".so", ".so.dbg", ".symvers", ".tab.c",
    ".tab.h")
_PRODUCT_NAMES: Final = frozenset({".config", ".config.old", ".version", "System.map", "linux", "vmlinux"})
_PRODUCT_FOLDERS: Final = frozenset({
    "include/config", "include/generated", "arch/um/include/generated", "arch/x86/include/generated"})


def wanted(path: str) -> bool:
    """True if a User-Mode Linux build may read the file of that path in the tree."""
    if path.startswith(_NEEDLESS):
        return False
    other = path.startswith("arch/") and path.count("/") > 1 and not path.startswith(_ARCHITECTURES)
    return not (other or path.startswith(_OPTIONS_ONLY)) or path.rpartition("/")[2].startswith(_MAKE)


def sources(folder: Path) -> list[str]:
    """The source files of a tree that a build may read: those that git knows or would add, or all but products."""
    names = _known_to_git(folder) if (folder / ".git").exists() else None
    return sorted(set(filter(wanted, _walk(folder) if names is None else names)))


def _known_to_git(folder: Path) -> list[str] | None:
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"})
    except OSError:
        return None
    # git refuses a tree of somebody else's, and Debian's has it ignore all; then the files are found without it.
    names = os.fsdecode(done.stdout).split("\0")
    return names[:-1] if done.returncode == 0 and "Makefile" in names else None


def _walk(folder: Path, inside: str = "") -> Iterator[str]:
    for entry in os.scandir(folder / inside):
        path = inside + entry.name
        if entry.is_dir(follow_symlinks=False):
            made = path in _PRODUCT_FOLDERS or entry.name.startswith(".tmp_")
            if not made and wanted(f"{path}/Kconfig"):
                yield from _walk(folder, f"{path}/")
        elif not _is_product(entry, path):
            yield path


def _is_product(entry: os.DirEntry[str], path: str) -> bool:
    if path in _PRODUCT_NAMES or entry.name.startswith(".tmp_") or entry.name.endswith(_PRODUCTS):
        return True
    if entry.is_symlink() or not entry.stat().st_mode & stat.S_IXUSR:
        return False
    with open(entry.path, "rb") as file:
        return file.read(4) == b"\x7fELF"


class Tree:
    """The copy of one source in the cache: `source` is what make reads, `build/NAME` what it made of it for a kernel.

    `pristine` has the files that `edits` changes, as they came, where they can be had from nowhere else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source"
        self.pristine = folder / "pristine"
        self._manifest = folder / "files.json"
        self._version = folder / "version"

    def build(self, name: str) -> Path:
        """The folder that the kernel of that name is built in."""
        return self.folder / "build" / name

    def has(self, version: str) -> bool:
        """True if that version is unpacked here."""
        return self._version.exists() and self._version.read_text(encoding="utf-8") == f"{version} {_RULES}"

    def replace(self, version: str, unpack: Callable[[Path], None]) -> None:
        """Take in another version: `unpack` puts its files into an empty folder.

        What was built from the version before goes as well.
        """
        self._version.unlink(missing_ok=True)
        for old in (self.source, self.pristine, self.folder / "build"):
            shutil.rmtree(old, ignore_errors=True)
        self.source.mkdir(parents=True)
        unpack(self.source)
        for path in EDITED:
            if (self.source / path).exists():
                (self.pristine / path).parent.mkdir(parents=True, exist_ok=True)
                os.replace(self.source / path, self.pristine / path)
        self._version.write_text(f"{version} {_RULES}", encoding="utf-8")

    def follow(self, origin: Path, names: Iterable[str]) -> int:
        """Make the copy what the named files of `origin` are; returns how many files that changed."""
        known = self._known()
        marks = {name: mark for name in names if (mark := _mark(origin / name)) is not None}
        changed = [name for name, mark in marks.items() if known.get(name) != mark]
        gone = [name for name in known if name not in marks]
        if not changed and not gone:
            return 0
        # Until it is written anew nobody relies on it: after a break every file is compared.
        self._manifest.unlink(missing_ok=True)
        count = sum(_copy(origin / name, self.source / name) for name in changed if name not in EDITED)
        for name in gone:
            (self.source / name).unlink(missing_ok=True)
        _write(self._manifest, json.dumps({"rules": _RULES, "files": marks}))
        return count + len(gone)

    def edit(self, origin: Path, release: str) -> int:
        """Write the edited files, made of `origin`'s, where they are not so yet; returns how many were written.

        Raises UsageError if the sources have no place for an edit.
        """
        count = 0
        for path in sorted(EDITED):
            file, copy = origin / path, self.source / path
            text = edited(path, file.read_text(encoding="utf-8") if file.exists() else "", release)
            if not file.exists():
                copy.unlink(missing_ok=True)
            elif not copy.exists() or copy.read_text(encoding="utf-8") != text:
                copy.parent.mkdir(parents=True, exist_ok=True)
                _write(copy, text)
                count += 1
        return count

    def _known(self) -> dict[str, Mark]:
        with contextlib.suppress(OSError, ValueError):
            manifest = json.loads(self._manifest.read_text(encoding="utf-8"))
            if manifest["rules"] == _RULES:
                known: dict[str, Mark] = manifest["files"]
                return known
        # A copy that was broken off: each file is compared, and what is there and should not be goes.
        return {name: [] for name in _walk(self.source)} if self.source.exists() else {}


def _mark(path: Path) -> Mark | None:
    try:
        about = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISLNK(about.st_mode):
        return None
    return [about.st_size, about.st_mode, about.st_mtime_ns, about.st_ctime_ns]


def _copy(file: Path, copy: Path) -> bool:
    """Make the copy what the file is; False if it was that already."""
    mode = file.lstat().st_mode
    link = stat.S_ISLNK(mode)
    there = copy.is_symlink() or copy.exists()
    if there and copy.is_symlink() == link:
        same = os.readlink(file) == os.readlink(copy) if link else filecmp.cmp(file, copy, shallow=False)
        if same and (link or copy.stat().st_mode & stat.S_IXUSR == mode & stat.S_IXUSR):
            return False
    if there:
        shutil.rmtree(copy) if copy.is_dir() and not copy.is_symlink() else copy.unlink()
    copy.parent.mkdir(parents=True, exist_ok=True)
    if link:
        copy.symlink_to(os.readlink(file))
    else:
        shutil.copyfile(file, copy)
        copy.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
    return True


def _write(path: Path, text: str) -> None:
    """Write a file as a whole, or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)
