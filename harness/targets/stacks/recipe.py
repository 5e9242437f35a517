# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recipe is: which stack, from where, by which tools, and how its adapter becomes a program.

A recipe is tables and one function. `Workshop` is what that function works with: a folder to build in, the stack's
sources, and commands whose failure says why.
"""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from ...kit import kit_file
from ...wire.errors import TargetError, UsageError
from .archive import Archive, Tell, run, unpack, unpack_source, version_of

_NAMES: Final = ("lwip", "gvisor", "slirp")
"""The stacks that have a recipe; each is a package beside this module, with its `RECIPE`."""

_HERE: Final = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one stack is built.

    `releases` says for each version of the stack which suite of Debian's has it; the first one is the default.
    `tools` are the programs that a build runs, and the package of Debian's that has each. `needs` are further things
    that are looked for, such as a header: a function that says what is missing, "" if nothing is, by package.
    `language` is that of the kit which the adapter is made with, and `make` builds the program at `Workshop.program`.
    """

    name: str
    title: str
    releases: Mapping[str, str]
    tools: Mapping[str, str]
    make: Callable[[Workshop], None]
    needs: Mapping[str, Callable[[], bool]]
    language: str = "c"

    @property
    def default(self) -> str:
        """The version that is built if none is named."""
        return next(iter(self.releases))

    @property
    def folder(self) -> Path:
        """Where the recipe and the adapter's own files stand."""
        return _HERE / self.name

    def missing(self) -> list[str]:
        """The packages of Debian's that a build needs and this machine lacks."""
        lacking = [package for tool, package in self.tools.items() if shutil.which(tool) is None]
        if not lacking:
            lacking = [package for package, there in self.needs.items() if not there()]
        return list(dict.fromkeys(lacking))

    def key(self) -> str:
        """What tells whether a program was built from just this recipe, adapter and kit."""
        digest = hashlib.sha256()
        for file in (*_files(self.folder), *sorted(kit(self.language).glob("tcpqual_pipe.*"))):
            digest.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
        return digest.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)


def compiles(*headers: str) -> Callable[[], bool]:
    """For `needs`: a look whether a C compiler finds these headers. True if there is no compiler to ask."""
    def look() -> bool:
        program = "".join(f"#include <{header}>\n" for header in headers)
        try:
            return not subprocess.run(["gcc", "-fsyntax-only", "-xc", "-"], input=program, text=True,
                                      capture_output=True, check=False).returncode
        except OSError:
            return True

    return look


def kit(language: str = "c") -> Path:
    """The folder of the kit in that language, with `tcpqual_pipe.h` or the like. Raises UsageError if there is none."""
    return kit_file(language)


def names() -> tuple[str, ...]:
    """The stacks that can be built."""
    return _NAMES


def recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError naming those that there are."""
    if name not in _NAMES:
        raise UsageError(f"no such stack {name!r}; there are {', '.join(_NAMES)}")
    found = importlib.import_module(f"{__package__}.{name}").RECIPE
    assert isinstance(found, Recipe)
    return found


def chosen(what: str) -> tuple[Recipe, str]:
    """The recipe and version that `NAME` or `NAME=VERSION` means. Raises UsageError."""
    name, separator, version = what.partition("=")
    found = recipe(name)
    if separator and version not in found.releases:
        raise UsageError(f"{what}: no such version of {name}; there are {', '.join(found.releases)}")
    return found, version or found.default


@dataclass(kw_only=True)
class Workshop:
    """Where one program is built, and by what. `sources` tells afterwards which packages went into it."""

    recipe: Recipe
    version: str
    folder: Path
    downloads: Path
    tell: Tell

    def __post_init__(self) -> None:
        self.sources: list[str] = []

    @property
    def suite(self) -> str:
        """The suite of Debian's that has this version."""
        return self.recipe.releases[self.version]

    @property
    def program(self) -> Path:
        """What the recipe has to make: a program, or a folder's file that starts it."""
        return self.folder / "install" / self.recipe.name

    @cached_property
    def adapter(self) -> Path:
        """The folder of the adapter's own files."""
        return self.recipe.folder

    def source(self, package: str) -> Path:
        """The unpacked sources of a source package, of which the suite has to have this version.

        Raises TargetError.
        """
        def fetch(place: Path) -> None:
            Archive(suite=self.suite).source(package, place, self.tell)

        kept = self._kept(f"{package}-source", fetch)
        description = next(kept.glob("*.dsc"))
        version = version_of(description)
        if not version.startswith(self.version):
            raise TargetError(f"{self.suite} has {package} {version}, not {self.version}")
        self.sources.append(f"{package} {version}")
        target = self.folder / package
        unpack_source(description, target)
        return target

    def packages(self, *packages: str) -> Path:
        """A folder in which binary packages are unpacked as below a root; nothing is installed.

        Raises TargetError.
        """
        root = self.folder / "root"
        for package in packages:
            def fetch(place: Path, package: str = package) -> None:
                Archive(suite=self.suite).packages([package], place, self.tell)

            file = next(self._kept(package, fetch).glob("*.deb"))
            unpack(file, root)
            self.sources.append(" ".join(file.name.split("_")[:2]).replace("%3a", ":"))
        return root

    def run(self, *command: str, folder: Path | None = None, **environ: str) -> str:
        """Run a command in a folder (the workshop's own); returns what it printed. Raises TargetError."""
        return run(*command, folder=folder or self.folder, environ=environ)

    def _kept(self, name: str, fetch: Callable[[Path], None]) -> Path:
        """The folder of a download, which is fetched once, and whole or not at all."""
        place = self.downloads / name
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            new = self.folder / f"download-{name}"
            new.mkdir()
            fetch(new)
            new.rename(place)
        return place
