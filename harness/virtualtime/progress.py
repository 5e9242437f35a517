# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows how far a build is: one line that moves on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from rich.live import Live

_REDRAW_S: Final = 0.1
_PLAIN_S: Final = 30


class Progress:
    """Says on a stream what is being done, and for how long already. As a context manager it closes itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began_s = time.monotonic()
        self._said_s = -float(_PLAIN_S)
        self._phase = ""
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        term = os.environ.get("TERM", "")
        if self._stream.isatty() and term not in ("", "dumb", "unknown") and not os.environ.get("CI"):
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream, highlight=False, markup=False, emoji=False),
                              auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def tell(self, what: str) -> None:
        """What is being done now. What stands before a colon is the phase, and what follows it how far it is."""
        phase = what.partition(": ")[0]
        now_s = time.monotonic()
        if self._live is None:
            due = phase != self._phase or now_s - self._said_s >= _PLAIN_S
        else:
            due = phase != self._phase or now_s - self._said_s >= _REDRAW_S
        if not due:
            return
        self._phase, self._said_s = phase, now_s
        minutes, seconds = divmod(int(now_s - self._began_s), 60)
        if self._live is None:
            print(f"[{minutes}:{seconds:02}] {what}", file=self._stream, flush=True)
            return
        from rich.text import Text

        self._live.update(Text(f"{minutes}:{seconds:02}  {what}", no_wrap=True, overflow="ellipsis"), refresh=True)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._live.console.print(line, soft_wrap=True)
        else:
            print(line, file=self._stream, flush=True)
