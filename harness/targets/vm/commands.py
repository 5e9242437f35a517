# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands `tcpqual vm ...`. Nothing but click is imported before one of them runs."""

from __future__ import annotations

import click

from ...words import CommandGroup, minute, size, tell_list


def complete_image(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the kernels that begin so, for the shell's completion."""
    from .images import images

    return [image.name for image in images() if image.name.startswith(incomplete)]


@click.group(cls=CommandGroup, short_help="Fetch and list kernels for virtual machines.")
def vm() -> None:
    """Unmodified kernels of Debian's, which a run boots in virtual machines of its own: --target vm:NAME."""


@vm.command("fetch", short_help="Take a kernel out of Debian's package.")
@click.argument("names", nargs=-1, required=True, metavar="RELEASE...")
def fetch(names: tuple[str, ...]) -> int:
    """Take the newest of Debian's kernels of a release out of its package; nothing is installed.

    RELEASE is such as 6.1 or 6.12, with -cloud or -rt behind it for Debian's kernels of that kind. The target is then
    vm:RELEASE.

    Exit status: 0 it is there, 2 usage or something is missing, 3 a package is damaged.
    """
    import sys

    from .fetch import fetch as bring
    from .programs import programs

    def tell(what: str) -> None:
        click.echo(f"tcpqual: {what}", err=True)

    for name in dict.fromkeys(names):
        image, new = bring(name, tell if sys.stderr.isatty() else lambda what: None)
        click.echo(f"kernel {image.name} {'fetched' if new else 'is up to date'}: {image.release}, HZ {image.hz}, "
                   f"{size(image.size)}, from {image.source}")
    # What else a guest needs is built now, where somebody waits anyway.
    programs()
    return 0


@vm.command("list", short_help="List the kernels.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> int:
    """List the kernels that are fetched."""
    from .images import images

    known = images()
    entries = [{"name": one.name, "release": one.release, "version": one.version, "hz": one.hz,
                "source": one.source, "size": one.size, "fetched": one.fetched, "kernel": str(one.kernel)}
               for one in known]
    rows = [("name", "release", "HZ", "size", "fetched", "source")]
    rows += [(one.name, one.release, str(one.hz), size(one.size), minute(one.fetched), one.source) for one in known]
    tell_list(entries, rows, as_json=as_json, none="no kernel is fetched; fetch one with `tcpqual vm fetch 6.1`")
    return 0


@vm.command("remove", short_help="Remove kernels.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete_image)
def remove(names: tuple[str, ...]) -> int:
    """Remove kernels that were fetched."""
    import shutil

    from .images import find, images_folder

    chosen = [find(name) for name in dict.fromkeys(names)]
    freed = sum(image.size for image in chosen)
    for image in chosen:
        shutil.rmtree(images_folder() / image.name)
    click.echo(f"removed {', '.join(image.name for image in chosen)}; {size(freed)} freed")
    return 0
