# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds a kernel: sources into our copy, configure, make, install.

The same sources, options and compiler give the same program to the octet: whatever a kernel would note of the time,
the user and the machine is fixed. make runs in a folder of its own for each kernel and does only what is new, so that
a build that was broken off goes on, and a change of one line takes seconds. A kernel is there once its record is,
which is written last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..targets.cache import folder, locked
from ..targets.kernels import RECORD, Kernel, kernels
from ..targets.versions import numbers
from ..wire.errors import TargetError, UsageError
from .edits import EDITS
from .progress import Progress
from .source import Source
from .tree import Tree

_HERE: Final = Path(__file__).resolve().parent
_FRAGMENT: Final = _HERE / "kernel.config"
_RANDOMNESS: Final = _HERE / "randomness.c"

_TOOLS: Final = {"gcc": "gcc", "make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "ld": "binutils",
                 "strip": "binutils"}
"""What a build runs, and the package of Debian's that has it. Other kernels' libelf and OpenSSL are not needed."""

_ENVIRONMENT: Final = ("HOME", "PATH", "TMPDIR", "CCACHE_DIR")
"""What make sees of the user's environment: nothing that changes what is built."""

_FIXED: Final = {
    "LC_ALL": "C", "ARCH": "um", "SUBARCH": "x86_64", "LOCALVERSION": "", "KBUILD_BUILD_VERSION": "1",
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970", "KBUILD_BUILD_USER": "tcpqual",
    "KBUILD_BUILD_HOST": "tcpqual"}

_NEEDED: Final = frozenset({
    "UML_TIME_TRAVEL_SUPPORT", "HIGH_RES_TIMERS", "HZ", "HOSTFS", "TMPFS", "DEVTMPFS", "PROC_FS", "PROC_SYSCTL",
    "SYSFS", "BINFMT_ELF", "FUTEX", "EPOLL", "NET_NS", "UNIX", "PACKET", "VETH", "INET", "IPV6"})
"""Options without which no run is possible; without another one some cases are."""

_COMPILED: Final = re.compile(r"  (?:CC|AS|LDS|HOSTCC|AR|LD|USER)\b[^ ]* +(\S+)")
_ERROR: Final = re.compile(r"(?!make\b).*(?:\berror\b|\bundefined reference\b|: can't open )", re.IGNORECASE)
_SHOWN: Final = 12
"""Lines of make's output that are shown when it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build did: `compiled` files by make, `lost` options of ours that this release has not."""

    kernel: Kernel
    compiled: int
    lost: tuple[str, ...]
    up_to_date: bool


def missing_packages() -> list[str]:
    """The packages of Debian's that a build needs and this machine lacks."""
    packages = dict.fromkeys(package for tool, package in _TOOLS.items() if shutil.which(tool) is None)
    if shutil.which("gcc") is not None:
        done = subprocess.run(["gcc", "-fsyntax-only", "-xc", "-"], input="#include <stdio.h>\n", text=True,
                              capture_output=True, check=False)
        if done.returncode:
            packages["libc6-dev"] = None
    return list(packages)


def check_machine() -> None:
    """Raises UsageError in one line if no kernel can be built on this machine."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        raise UsageError(f"kernel build: Linux on x86-64 only, this is {platform.system()} on {platform.machine()}")
    missing = missing_packages()
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(f"kernel build: {', '.join(missing)} {verb} missing; apt-get install {' '.join(missing)}")


def build(source: Source, name: str, *, hz: int, jobs: int, progress: Progress) -> Built:
    """Build a kernel and install it under a name, unless just that kernel is there already.

    Raises UsageError if the name is taken or the sources do not fit, TargetError if the build fails.
    """
    tree = Tree(folder() / "trees" / source.tree)
    with lock(f"kernel-{name}", progress) as name_held, lock(f"tree-{source.tree}", progress) as tree_held:
        before = next((kernel for kernel in kernels() if kernel.name == name), None)
        key = _key(source, hz)
        if before is not None and source.key and before.key == key:
            return Built(kernel=before, compiled=0, lost=(), up_to_date=True)
        if before is not None and _place(before.source) != _place(source.label):
            raise UsageError(f"kernel {name} was built from {before.source}; choose another --name, or "
                             f"`tcpqual kernel remove {name}` first")
        source.fill(tree, progress.tell)
        make = _Make(tree, name, jobs=jobs, progress=progress, held=(name_held, tree_held))
        lost = _configure(make, hz)
        make.run("linux", what="compiling")
        progress.tell("installing")
        kernel = _install(make, source, hz, key, before)
        return Built(kernel=kernel, compiled=make.compiled, lost=lost, up_to_date=kernel == before)


def remove(names: Sequence[str], progress: Progress) -> int:
    """Remove kernels, with the trees and downloads that none other uses; returns the octets that this freed.

    Raises UsageError if one of them does not exist.
    """
    trees = [Tree(path) for path in _folders(folder() / "trees")]
    # One that was never finished can be removed too.
    there = sorted({path.name for place in (folder() / "kernels", *(tree.folder / "build" for tree in trees))
                    for path in _folders(place)})
    for name in names:
        if name not in there:
            known = f"there {'is' if len(there) == 1 else 'are'} {', '.join(there)}" if there else "none is built"
            raise UsageError(f"no such kernel {name!r}; {known}")
    freed = 0
    for name in names:
        with lock(f"kernel-{name}", progress):
            freed += _delete(folder() / "kernels" / name)
            _log(name).unlink(missing_ok=True)
            for tree in trees:
                if not tree.build(name).exists():
                    continue
                with lock(f"tree-{tree.folder.name}", progress):
                    freed += _delete(tree.build(name))
                    if not _folders(tree.folder / "build"):
                        freed += _delete(tree.folder)
    return freed


@contextlib.contextmanager
def lock(name: str, progress: Progress) -> Iterator[int]:
    """Hold a lock of the cache folder; gives its descriptor. Waits for whoever has it, and says so."""
    said = f"{name.replace('-', ' ', 1)} is in use by another build; waiting for it"
    with locked(folder() / "locks" / name, "kernels", lambda: progress.say(said)) as descriptor:
        yield descriptor


# -- make -------------------------------------------------------------------------------------------------------------


class _Make:
    """Runs make for one kernel, counts what it compiles, and keeps what it says in a log.

    make inherits the locks: if we are killed they stay held until it has ended too.
    """

    def __init__(self, tree: Tree, name: str, *, jobs: int, progress: Progress, held: tuple[int, ...]) -> None:
        self.tree = tree
        self.build = tree.build(name)
        self.name = name
        self.compiled = 0
        self._jobs = jobs
        self._progress = progress
        self._held = held
        self._log = _log(name)
        self.build.mkdir(parents=True, exist_ok=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.write_text("", encoding="utf-8")

    def run(self, target: str, *, what: str, **variables: str) -> None:
        """Make a target. Raises TargetError if that fails; its errors are shown before."""
        command = ["make", "-C", str(self.tree.source), f"O={self.build}", "--no-print-directory", f"-j{self._jobs}",
                   target]
        self._progress.tell(what)
        lines: list[str] = []
        with self._log.open("a", encoding="utf-8") as log, subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", env=_environment() | variables, pass_fds=self._held, process_group=0) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    log.write(line)
                    lines.append(line.rstrip())
                    self._count(what, line)
            except BaseException:
                # make takes away what it has half written; its compilers end with it, and so the locks are free.
                os.killpg(process.pid, signal.SIGTERM)
                raise
        if process.returncode:
            for line in _errors(lines):
                self._progress.say(f"  {line}")
            raise TargetError(f"kernel build: make {target} failed with status {process.returncode}; all that it "
                              f"said is in {self._log}")

    def _count(self, what: str, line: str) -> None:
        found = _COMPILED.match(line)
        if found is not None:
            self.compiled += 1
            self._progress.tell(f"{what}: {self.compiled} done, {found[1]}")


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _FIXED


def _errors(lines: list[str]) -> list[str]:
    """The lines that say why make failed, or the last ones if none says so."""
    return [line for line in lines if _ERROR.match(line)][-_SHOWN:] or lines[-_SHOWN:]


# -- the steps --------------------------------------------------------------------------------------------------------


def _configure(make: _Make, hz: int) -> tuple[str, ...]:
    """Write the configuration: our options, all others off. Returns the options that this release dropped.

    Raises TargetError if one is among them that no run can do without.
    """
    wanted = make.build / "wanted.config"
    wanted.write_text(f"{_FRAGMENT.read_text(encoding='utf-8')}CONFIG_HZ={hz}\n", encoding="utf-8")
    # An option that is not there is a question to nobody: off.
    make.run("allnoconfig", what="configuring", KCONFIG_ALLCONFIG=str(wanted))
    make.run("include/config/kernel.release", what="configuring")
    lost = lost_options(wanted.read_text(encoding="utf-8"), (make.build / ".config").read_text(encoding="utf-8"),
                        _release(make))
    if not _NEEDED.isdisjoint(lost):
        raise TargetError(f"kernel build: {_release(make)} does not take the options "
                          f"{', '.join(option for option in lost if option in _NEEDED)}, which a run needs")
    return lost


def lost_options(wanted: str, got: str, release: str) -> tuple[str, ...]:
    """The options, without CONFIG_, that a configuration was to have and has not.

    One below a comment `# since R` is not missed in a release older than R.
    """
    present = set(got.splitlines())
    lost = []
    since: tuple[int, ...] = ()
    for line in wanted.splitlines():
        if line.startswith("CONFIG_"):
            if line not in present and numbers(release) >= since:
                lost.append(line.removeprefix("CONFIG_").partition("=")[0])
            since = ()
        elif line.startswith("# since "):
            since = numbers(line.removeprefix("# since "))
    return tuple(lost)


def _release(make: _Make) -> str:
    return (make.build / "include/config/kernel.release").read_text(encoding="utf-8").strip()


def _install(make: _Make, source: Source, hz: int, key: str, before: Kernel | None) -> Kernel:
    """Put the built kernel where it is found, unless just that one is there already."""
    new = make.build / "install"
    new.mkdir(exist_ok=True)
    _run(["strip", "-o", str(new / "linux"), str(make.build / "linux")])
    _run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(new / "randomness.so"), str(_RANDOMNESS)])
    shutil.copyfile(make.build / ".config", new / "config")
    if not source.key:
        # Nobody knows a user's tree by a version; what came of it is known.
        key = _digest(*((new / part).read_bytes() for part in ("linux", "randomness.so", "config")))
    release = _release(make)
    if before is not None and (before.key, before.release, before.hz) == (key, release, hz):
        return before
    place = folder() / "kernels" / make.name
    place.mkdir(parents=True, exist_ok=True)
    (place / RECORD).unlink(missing_ok=True)
    for part in ("linux", "randomness.so", "config"):
        os.replace(new / part, place / part)
    built = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"name": make.name, "release": release, "hz": hz, "source": source.label, "key": key, "built": built,
              "compiler": _compiler()}
    (new / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(new / RECORD, place / RECORD)
    return Kernel(name=make.name, release=release, hz=hz, source=source.label, key=key, built=built, folder=place)


def _key(source: Source, hz: int) -> str:
    """What tells whether a kernel would come out the same: all that goes into it."""
    return _digest(source.key.encode(), str(hz).encode(), repr(EDITS).encode(), repr(sorted(_FIXED.items())).encode(),
                   _FRAGMENT.read_bytes(), _RANDOMNESS.read_bytes(), _compiler().encode())


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:32]


def _compiler() -> str:
    return _run(["gcc", "--version"]).splitlines()[0]


def _place(label: str) -> str:
    """A source's label without its version: another version takes the place of the one before."""
    return label if label.startswith("/") else label.partition(" ")[0]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        why = done.stderr.strip() or f"status {done.returncode}"
        raise TargetError(f"kernel build: {command[0]} failed: {why.splitlines()[-1]}")
    return done.stdout


# -- files ------------------------------------------------------------------------------------------------------------


def _log(name: str) -> Path:
    return folder() / "logs" / f"{name}.log"


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []


def _delete(path: Path) -> int:
    """Delete a folder, if it is there; returns how many octets its files took on the disk."""
    size = sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, names in os.walk(path) for name in names)
    shutil.rmtree(path, ignore_errors=True)
    return size
