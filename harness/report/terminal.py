# SPDX-License-Identifier: GPL-2.0-or-later
"""Which words, colours and kind of terminal the progress and the summary use. Imports rich only when asked for one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH: Final = 100

STYLES: Final = {
    "pass": "green", "fail": "bold red", "advice": "yellow", "inconclusive": "bold magenta",
    "not-applicable": "dim", "known-deviation": "cyan", "unexpected-pass": "bold red", "error": "bold red",
}

SHORT: Final = {
    "pass": "pass", "fail": "FAIL", "advice": "advice", "inconclusive": "INCONCLUSIVE", "not-applicable": "n/a",
    "known-deviation": "known", "unexpected-pass": "UNEXPECTED", "error": "ERROR",
}
"""Verdicts where there is little room; what must be looked at is in capitals, so that no meaning hangs on colour."""


def interactive(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """True if the stream is a terminal that somebody watches: a tty, able to move its cursor, and no CI job's."""
    try:
        tty = stream.isatty()
    except ValueError:  # a closed stream
        return False
    return tty and environ.get("TERM", "") not in ("", "dumb", "unknown") and not environ.get("CI")


def console(stream: TextIO, environ: Mapping[str, str] = os.environ, *, into: TextIO | None = None) -> Console:
    """A rich console for the stream: plain text of a fixed width unless it is interactive; NO_COLOR is honoured.

    With `into` the text goes there, made as it is for the stream.
    """
    from rich.console import Console

    watched = interactive(stream, environ)
    return Console(file=into or stream, force_terminal=watched, force_interactive=watched, highlight=False,
                   markup=False, emoji=False, no_color=bool(environ.get("NO_COLOR")),
                   width=None if watched else PLAIN_WIDTH, color_system="auto" if watched else None)


def style(verdict: str) -> str:
    """The rich style of a verdict."""
    return STYLES.get(verdict, "")
