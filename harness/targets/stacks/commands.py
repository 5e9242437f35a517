# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands `tcpqual target build`, `list` and `remove`. Nothing but click is imported before one of them runs."""

from __future__ import annotations

import click

from ...words import minute, size, tell_list
from ..pipe.commands import target as target


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The stacks and versions that begin so, for the shell's completion."""
    from .recipe import names, recipe

    known = [what for name in names() for what in (name, *(f"{name}={each}" for each in recipe(name).releases))]
    return [what for what in known if what.startswith(incomplete)]


@target.command(short_help="Build a stack that tcpqual has an adapter for.")
@click.argument("what", nargs=-1, required=True, metavar="NAME[=VERSION]...", shell_complete=_complete)
@click.option("--again", is_flag=True, help="Fetch and build it anew, whatever is there.")
def build(what: tuple[str, ...], again: bool) -> int:
    """Build a stack with its adapter, from Debian's sources as apt gives them; nothing is installed.

    Only what has changed is built. The target is then NAME, or NAME:VERSION; `tcpqual target list` names them.

    Exit status: 0 built or up to date, 2 usage or something is missing, 3 the build failed.
    """
    import time

    from .build import build as make
    from .recipe import chosen

    for each in what:
        chosen(each)
    for each in what:
        began_s = time.monotonic()

        def tell(doing: str, began_s: float = began_s) -> None:
            minutes, seconds = divmod(int(time.monotonic() - began_s), 60)
            click.echo(f"[{minutes}:{seconds:02}] {doing}", err=True)

        stack, new = make(each, tell, again=again)
        state = f"built in {time.monotonic() - began_s:.0f} s" if new else "is up to date"
        click.echo(f"{stack.name} {stack.version} {state}: {size(stack.program.stat().st_size)}, "
                   f"from {', '.join(stack.sources)}")
    return 0


@target.command("list", short_help="List the stacks that can be built, and which of them are.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(as_json: bool) -> int:
    """List the stacks that can be built, and which of them are.

    One that was built from an older recipe or adapter is to be built again before it can be a target.
    """
    from .build import everything

    rows = [("name", "version", "target", "state", "size", "built", "sources")]
    found = []
    for known, version, stacks in everything():
        stack = next((each for each in stacks if each.current), None)
        spec = known.name if version == known.default else f"{known.name}:{version}"
        missing = known.missing()
        state = "built" if stack else "old" if stacks else f"needs {' '.join(missing)}" if missing else "not built"
        octets = stack.program.stat().st_size if stack else None
        rows.append((known.name, version, spec, state, size(octets) if octets is not None else "",
                     minute(stack.built) if stack else "", ", ".join(stack.sources) if stack else ""))
        found.append({"name": known.name, "title": known.title, "version": version, "target": spec, "state": state,
                      "missing": missing, "size": octets, "built": stack.built if stack else None,
                      "sources": list(stack.sources) if stack else [], "key": stack.key if stack else None,
                      "program": str(stack.program) if stack else None})
    tell_list(found, rows, as_json=as_json)
    return 0


@target.command(short_help="Remove stacks that were built.")
@click.argument("what", nargs=-1, required=True, metavar="NAME[=VERSION]...", shell_complete=_complete)
def remove(what: tuple[str, ...]) -> int:
    """Remove every build of these stacks, of all their versions unless one is named, and what was fetched for it."""
    from .build import remove as delete

    freed = delete(what)
    click.echo(f"removed {', '.join(what)}; {size(freed)} freed")
    return 0
