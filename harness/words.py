# SPDX-License-Identifier: GPL-2.0-or-later
"""Groups of commands, as `tcpqual` has them at every level."""

from __future__ import annotations

import click


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
