# SPDX-License-Identifier: GPL-2.0-or-later
"""`tcpqual target check my-device.toml`: the way to a device, a line a step, and in one line what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..profile import Profile


def check_device(profile: Profile, spec: str, *, as_json: bool) -> int:
    """Go the way to the device, prove each step, and come back; returns the exit status.

    Raises UsageError, LinkError or TargetError with what is wrong.
    """
    from .target import reached

    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if not as_json:
            click.echo(line)

    target = reached(profile.assuming_a_clock(), spec, say=say)
    if not target.version:
        say("version: not known; `version` in the file lets entries of a ledger hold that are for some versions alone")
    target.close()
    if as_json:
        click.echo(json.dumps(lines, indent=1, ensure_ascii=False))
    else:
        click.echo("the device can be tested")
    return 0
