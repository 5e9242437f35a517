# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands `tcpqual target ...`. Nothing but click is imported before one of them runs."""

from __future__ import annotations

import click

from ...wire.errors import UsageError
from ...words import CommandGroup

_SHORT_S = 10.0


@click.group(cls=CommandGroup, short_help="Build stacks, and try the adapter of your own.")
def target() -> None:
    """Stacks that are processes and speak the pipe protocol: those that tcpqual builds, and your own."""


@target.command(short_help="Try an adapter, or the way to a device.",
                context_settings={"ignore_unknown_options": True})
@click.argument("what", nargs=-1, required=True, metavar="PROFILE|COMMAND...", type=click.UNPROCESSED)
@click.option("--limit", "limit_s", metavar="S", type=click.FloatRange(0.1),
              help=f"How long any answer may take. [default: the profile's, else {_SHORT_S:g}]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def check(what: tuple[str, ...], limit_s: float | None, as_json: bool) -> int:
    """Try whether a stack keeps the pipe protocol: time, packets, each socket command, crashes. A line a check.

    Give the profile that ends in .toml, or the command that starts the stack. Of its TCP nothing is judged. Of a
    remote device's profile the way is tried: addresses, ports, upper tester.

    Exit status: 0 it does, 1 it does not, 2 usage, 3 it cannot be started or reached.
    """
    import json
    from dataclasses import asdict, replace

    from ..profile import Profile, load_profile
    from .adapter import FAIL
    from .adapter import check as play
    from .target import converse

    if len(what) == 1 and what[0].endswith(".toml"):
        profile = load_profile(what[0])
        if profile.remote is not None:
            from ..remote.check import check_device

            return check_device(profile, what[0], as_json=as_json)
        if profile.kind != "pipe":
            raise UsageError(f"{what[0]}: of kind {profile.kind!r}; allowed: 'pipe', which has an adapter, or 'remote'")
    else:
        from ..vocabulary import FEATURES, names

        profile = Profile(name=what[0], kind="pipe", title=what[0], file="", command=what,
                          features=dict.fromkeys(names(FEATURES), True), answer_limit_s=_SHORT_S)
    if limit_s is not None:
        profile = replace(profile, answer_limit_s=limit_s)
    converse(profile).close()
    lines = []
    for line in play(profile):
        lines.append(line)
        if not as_json:
            click.echo(str(line))
    failed = sum(line.mark == FAIL for line in lines)
    if as_json:
        click.echo(json.dumps([asdict(line) for line in lines], indent=1, ensure_ascii=False))
    else:
        click.echo(f"{len(lines)} checks, {failed} failed")
    return 1 if failed else 0
