# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands `tcpqual kernel ...`. Nothing but click is imported before one of them runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import click

from ..wire.errors import UsageError
from ..words import CommandGroup, minute, size, tell_list

_RELEASE: Final = "6.12"
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._+-]*"


def complete_kernel(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the kernels that begin so, for the shell's completion."""
    from ..targets.kernels import kernels

    return [kernel.name for kernel in kernels() if kernel.name.startswith(incomplete)]


@click.group(cls=CommandGroup, short_help="Build, list and remove kernels for virtual time.")
def kernel() -> None:
    """Kernels whose clock skips idle time, in which a run with default timers takes seconds."""


@kernel.command("build", short_help="Build a kernel.")
@click.option("--release", metavar="R", help=f"Build Debian's sources of 6.1 or 6.12. [default: {_RELEASE}]")
@click.option("--source", metavar="DIR", type=click.Path(path_type=Path),
              help="Build a kernel tree of your own; it is only read.")
@click.option("--name", metavar="NAME", help="Keep it under this name. [default: the release, or the folder's name]")
@click.option("--jobs", "-j", metavar="N", type=click.IntRange(1, 1024),
              help="Compile so many files at one time. [default: one a processor]")
@click.option("--hz", metavar="N", type=click.IntRange(100, 1000), default=250, show_default=True,
              help="Ticks in a second.")
def build(release: str | None, source: Path | None, name: str | None, jobs: int | None, hz: int) -> int:
    """Build a kernel from Debian's linux-source package, or from a kernel tree of your own.

    Only what has changed is compiled. The target is then uml:NAME.

    Exit status: 0 built or up to date, 2 usage or something is missing, 3 the build failed.
    """
    import time

    from ..targets.cache import folder
    from . import build as builder
    from .guest import check
    from .progress import Progress
    from .source import Source, debian, own

    if release is not None and source is not None:
        raise UsageError("--release means Debian's sources, --source others; choose one")
    _check_release(release)
    tree = own(source) if source is not None else None
    name = _checked(name or (tree.folder.name if tree is not None else release or _RELEASE))
    builder.check_machine()
    began_s = time.monotonic()
    with Progress(sys.stderr) as progress:
        sources: Source
        if tree is not None:
            sources = tree
        else:
            with builder.lock(f"tree-linux-source-{release or _RELEASE}", progress):
                sources = debian(release or _RELEASE, folder() / "trees", progress.tell)
        done = builder.build(sources, name, hz=hz, jobs=jobs or len(os.sched_getaffinity(0)), progress=progress)
    made = done.kernel
    check(made)
    if done.lost:
        click.echo(f"tcpqual: {made.release} has no option {', '.join(done.lost)}; cases that need it will say so",
                   err=True)
    space = size(made.binary.stat().st_size)
    took = f"{done.compiled} file{'s' if done.compiled != 1 else ''} made in {time.monotonic() - began_s:.0f} s"
    what = "is up to date" if done.up_to_date else f"built, {took}"
    click.echo(f"kernel {made.name} {what}: {made.release}, HZ {made.hz}, {space}, from {made.source}")
    return 0


@kernel.command("list", short_help="List the kernels.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> int:
    """List the kernels that are built."""
    from ..targets.kernels import kernels

    known = kernels()
    entries = [{"name": one.name, "release": one.release, "hz": one.hz, "source": one.source,
                "size": one.binary.stat().st_size, "built": one.built, "key": one.key, "folder": str(one.folder)}
               for one in known]
    rows = [("name", "release", "HZ", "size", "built", "source")]
    rows += [(one.name, one.release, str(one.hz), size(one.binary.stat().st_size), minute(one.built), one.source)
             for one in known]
    tell_list(entries, rows, as_json=as_json, none="no kernel is built; build one with `tcpqual kernel build`")
    return 0


@kernel.command("remove", short_help="Remove kernels.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_kernel)
def remove(names: tuple[str, ...]) -> int:
    """Remove kernels, and the sources that no other kernel was built from."""
    from . import build as builder
    from .progress import Progress

    chosen = tuple(dict.fromkeys(_checked(name) for name in names))
    freed = builder.remove(chosen, Progress(sys.stderr))
    click.echo(f"removed {', '.join(chosen)}; {size(freed)} freed")
    return 0


@kernel.command("shell", short_help="A shell inside a kernel.")
@click.argument("name", default="", metavar="[NAME]", shell_complete=complete_kernel)
@click.option("--virtual-time", is_flag=True,
              help="Skip idle time: `sleep 7200` is over at once. While the shell waits for you, years may pass.")
def shell(name: str, virtual_time: bool) -> int:
    """Start a shell inside a kernel, as its root; this machine's files are there to read, /run to write.

    It keeps real time unless told otherwise. Without NAME it is the newest of Debian's kernels.
    """
    from ..targets.kernels import find
    from ..targets.uml import GUEST, Surroundings
    from .guest import Guest

    if not sys.stdin.isatty():
        raise UsageError("kernel shell: needs a terminal")
    chosen = find(name)
    where = Surroundings(clock="skipping" if virtual_time else "real", hz=chosen.hz)
    guest = Guest(chosen, {"task": "shell", "environ": {GUEST: str(where)}}, seed=0, skipping=virtual_time,
                  terminal=True)
    try:
        return guest.wait()
    finally:
        guest.stop()


def _check_release(release: str | None) -> None:
    from .source import RELEASES

    if release is not None and release not in RELEASES:
        raise UsageError(f"--release {release}: Debian 12 has {' and '.join(RELEASES)}; another one's tree goes with "
                         "--source")


def _checked(name: str) -> str:
    import re

    if not re.fullmatch(_NAME, name):
        raise UsageError(f"--name {name!r}: letters, digits and . _ + - only, a letter or digit first")
    return name
