# SPDX-License-Identifier: GPL-2.0-or-later
"""Draws an exchange between two ends: a line a segment, time downwards, plain text.

            ms  injector                                                     target
         0.000  |-- S 0:0(0) win 65535 <mss 1460> ------------------------------>|
         0.031  |<----------------------- S. 0:0(0) ack 1 win 65535 <mss 1460> --|
         0.040  |                                                   accept() -> ok o

The arrow head shows who sent; a call on the target's socket API stands on the target's side, marked `o`; a segment
that was due and never came has a dotted arrow. Nothing is wider than the width asked for: what is too long is broken
at options and words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

WIDTH: Final = 100
_MIN_WIDTH: Final = 60
_MIN_SHAFT: Final = 3
_LONG_PAYLOAD: Final = 24
_IN_SECONDS_NS: Final = 100_000_000_000
"""From this length on (100 s) the times are written in seconds."""

_WORDS: Final = {
    "unexpected": "<- unexpected",
    "missing": "<- missing",
    "mismatch": "<- mismatch",
    "changed": "<- changed",
    "allowed": "   allowed",
}
_MARK_WIDTH: Final = max(map(len, _WORDS.values()))
_PAYLOAD = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One drawn line. `step` is the index of the step it draws, None for the head; a step may need several lines."""

    text: str
    step: int | None = None
    side: str = ""
    mark: str = ""


def draw(steps: Sequence[Mapping[str, Any]], *, width: int = WIDTH, until: int | None = None) -> str:
    """The ladder as text; "" if there are no steps. `until` is the index of the last step to draw."""
    return "\n".join(line.text for line in lines(steps, width=width, until=until))


def lines(steps: Sequence[Mapping[str, Any]], *, width: int = WIDTH, until: int | None = None) -> list[Line]:
    """The ladder line by line, the head first. Times are relative to the first step."""
    drawn = list(steps if until is None else steps[:until + 1])
    if not drawn:
        return []
    start_ns = drawn[0]["at_ns"]
    longest_ns = max(abs(step["at_ns"] - start_ns) for step in drawn)
    unit = ("s", 1_000_000_000, 6) if longest_ns >= _IN_SECONDS_NS else ("ms", 1_000_000, 3)
    times = [f"{(step['at_ns'] - start_ns) / unit[1]:.{unit[2]}f}" for step in drawn]
    margin = max(9, *map(len, times))
    lane = max(width, _MIN_WIDTH) - margin - 2 - 1 - _MARK_WIDTH
    drawing = [Line(text=f"{unit[0]:>{margin}}  injector{'target':>{lane - 8}}")]
    for index, (step, instant) in enumerate(zip(drawn, times, strict=True)):
        mark = str(step["mark"] or "")
        for row, text in enumerate(_step(step, lane)):
            left = instant if row == 0 else ""
            right = _WORDS.get(mark, f"<- {mark}" if mark else "") if row == 0 else ""
            drawing.append(Line(text=f"{left:>{margin}}  {text} {right}".rstrip(), step=index, side=step["side"],
                                mark=mark))
    return drawing


def wrap(text: str, width: int) -> list[str]:
    """Break a segment in the notation, or a sentence, into lines of at most `width` columns.

    A notation is broken before its option list or payload, then behind the commas of the list, then at spaces; a word
    that is still too long is cut.
    """
    rows: list[str] = []
    row = ""
    if len(text) <= width:
        return [text]
    for piece in _pieces(text, width):
        while piece:
            if len(row) + len(piece.rstrip()) <= width:
                row += piece
                break
            if row.strip():
                rows.append(row.rstrip())
                row, piece = "", piece.lstrip()
            else:
                rows.append(piece[:width])
                piece = piece[width:]
    if row.strip():
        rows.append(row.rstrip())
    return rows or [""]


def shorten_payload(text: str, limit: int = _LONG_PAYLOAD) -> str:
    """The notation with a long payload cut in its middle; the octet count before it still says how long it is."""
    def cut(match: re.Match[str]) -> str:
        octets = match.group(1)
        return match.group() if len(octets) <= limit else f'"{octets[:limit - 6]}..."'

    return _PAYLOAD.sub(cut, text)


def _pieces(text: str, width: int) -> list[str]:
    """What must stay on one line if it can: the whole of an option list, else each option; each word."""
    pieces: list[str] = []
    for part in re.split(r'(<[^>]*>|"(?:[^"\\]|\\.)*")', text):
        if not part:
            continue
        if part[0] == "<" and len(part) > width:
            pieces += re.findall(r"[^,]+,?", part)
        elif part[0] in '<"':
            pieces.append(part)
        else:
            pieces += re.findall(r"\s*\S+\s*", part)
    return pieces


def _step(step: Mapping[str, Any], lane: int) -> list[str]:
    inner = lane - 2
    text = " ".join(str(step["text"]).split())
    side = step["side"]
    if side == "note":
        rows = [f"# {row}" if number == 0 else f"  {row}" for number, row in enumerate(wrap(text, inner - 4))]
        return [f"|{f' {row}':<{inner}}|" for row in rows]
    if side == "api":
        rows = wrap(text, inner - 2)
        return [f"|{f'{row} ':>{inner}}{'o' if number == 0 else '|'}" for number, row in enumerate(rows)]
    rows = wrap(shorten_payload(text), inner - _MIN_SHAFT - 6)
    column = max(map(len, rows))
    missing = step["mark"] == "missing"
    if side == "injector":
        first = f"|{_shaft(2, missing)} {rows[0]} {_shaft(inner - 5 - len(rows[0]), missing)}>|"
        return [first, *(f"|{f'     {row}':<{inner}}|" for row in rows[1:])]
    tail = 2 + column - len(rows[0])
    first = f"|<{_shaft(inner - 3 - len(rows[0]) - tail, missing)} {rows[0]} {_shaft(tail, missing)}|"
    return [first, *(f"|{' ' * (inner - column - 3)}{row:<{column}}   |" for row in rows[1:])]


def _shaft(width: int, dotted: bool) -> str:
    return (" ." * width)[:width] if dotted else "-" * width
