# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands of `tcpqual` have in common at every level: their groups, and the lists that they print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class CommandGroup(click.Group):
    """Commands in the order in which people meet them; a word that is no command is refused with those that are."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order in which they were added."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context,
                        args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but for what it says of an unknown one."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"{args[0]!r}: no such command; there are {', '.join(self.commands)}")
        return super().resolve_command(ctx, args)


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, whose columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def tell_list(entries: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[str]], *, as_json: bool,
              none: str = "") -> None:
    """Print what a command `list` has found: as JSON, or as a table with its head; `none` if there is nothing."""
    if as_json:
        import json

        click.echo(json.dumps(entries, indent=1, ensure_ascii=False))
    elif none and not entries:
        click.echo(none)
    else:
        for line in table(rows):
            click.echo(line)


def size(octets: int) -> str:
    """A number of octets as people read it."""
    for unit, word in _UNITS:
        if octets >= unit:
            return f"{octets / unit:.1f} {word}"
    return f"{octets} octets"


def minute(date: str) -> str:
    """An ISO date as people read it, to the minute."""
    return date[:16].replace("T", " ")
