# SPDX-License-Identifier: GPL-2.0-or-later
"""Live progress: one line that moves on a terminal, now and then a line elsewhere.

No thread draws it. A run with its lab in the same process enters a new user namespace, which the kernel allows to a
process of one thread only, so the line is redrawn when a case ends and at no other time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TextIO

from .record import FAILING, VERDICTS, WORST_FIRST, Record, name, one_line, reason
from .terminal import PLAIN_WIDTH, SHORT, console, interactive, style

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

_REDRAW_S: Final = 0.08
_PLAIN_LINES: Final = 20
"""About how many progress lines a run leaves in a log."""
_BAR: Final = 24


class Progress:
    """Shows how far a run is, how many cases have each verdict, and each case that must be looked at.

    `total` is how many cases there are, 0 if nobody knows yet; it may be set later. Used as a context manager it
    closes itself.
    """

    def __init__(self, stream: TextIO, total: int, workers: int = 0) -> None:
        self.total = total
        self._stream = stream
        self._workers = workers
        self._counts = dict.fromkeys(VERDICTS, 0)
        self._done = 0
        self._current = ""
        self._began = time.monotonic()
        self._drawn_s = 0.0
        self._printed = 0
        self._closed = False
        self._console: Console | None = None
        self._live: Live | None = None
        if interactive(stream):
            self._open_live()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, case: str) -> None:
        """Say which case is being played now."""
        self._current = one_line(case)
        self._draw()

    def case(self, record: Record) -> None:
        """Count one case's record; what must be looked at is printed at once."""
        self._counts[record["verdict"]] += 1
        self._done += 1
        self._current = name(record)
        if record["verdict"] in FAILING:
            self._say(record)
        self._draw()

    def close(self) -> None:
        """Take the moving line away, or print the last plain one. May be called again."""
        if self._closed:
            return
        self._closed = True
        if self._live is not None:
            self._live.stop()
        elif self._done != self._printed:
            self._print_plain()

    def _open_live(self) -> None:
        from rich.live import Live

        self._console = console(self._stream)
        self._live = Live(self._line(), console=self._console, auto_refresh=False, transient=True,
                          redirect_stdout=False, redirect_stderr=False)
        self._live.start(refresh=True)

    def _draw(self) -> None:
        if self._live is None:
            if self._done - self._printed >= max(1, self.total // _PLAIN_LINES, 0 if self.total else 25):
                self._print_plain()
            return
        now_s = time.monotonic()
        if now_s - self._drawn_s >= _REDRAW_S:
            self._drawn_s = now_s
            self._live.update(self._line(), refresh=True)

    def _say(self, record: Record) -> None:
        word, rest = SHORT[record["verdict"]], f"{name(record)}: {reason(record)}"
        if self._console is None:
            self._stream.write(f"{word}  {rest}\n")
            self._stream.flush()
            return
        from rich.text import Text

        if self._live is not None:
            self._live.update(self._line())
        self._console.print(Text.assemble((f"{word:<6}", style(record["verdict"])), " ", rest), no_wrap=True,
                            overflow="ellipsis")

    def _print_plain(self) -> None:
        counts = ", ".join(f"{self._counts[verdict]} {SHORT[verdict]}" for verdict in reversed(WORST_FIRST)
                           if self._counts[verdict])
        line = f"{self._where()}  {self._elapsed_s():.1f} s  {counts}"
        self._stream.write(line[:PLAIN_WIDTH * 2] + "\n")
        self._stream.flush()
        self._printed = self._done

    def _where(self) -> str:
        return f"{self._done:>{len(str(self.total))}}/{self.total}" if self.total else str(self._done)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def _line(self) -> RenderableType:
        from rich.text import Text

        line = Text(no_wrap=True, overflow="ellipsis")
        if self.total:
            filled = min(_BAR, _BAR * self._done // self.total)
            full, empty = "━─" if "utf" in (getattr(self._stream, "encoding", None) or "").lower() else "#-"
            line.append(full * filled, style="green").append(empty * (_BAR - filled), style="dim")
        line.append(f" {self._where()}  {self._elapsed_s():.0f} s ")
        for verdict in reversed(WORST_FIRST):
            if self._counts[verdict]:
                line.append(f" {self._counts[verdict]} {SHORT[verdict]}", style=style(verdict))
        if self._workers > 1:
            line.append(f"  {self._workers} workers", style="dim")
        return line.append(f"  {self._current}", style="dim")
