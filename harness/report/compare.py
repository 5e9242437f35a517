# SPDX-License-Identifier: GPL-2.0-or-later
"""Lays expected over got, column by column, and marks the differing fields with carets.

    expected  S. 0:0(0) ack 1 win * <mss 1460,sackOK>
    got       R. 0:0(0) ack 2 win 0 <mss 536>
              ^^        ^^^^^        ^^^^^^^^ ^^^^^^

Both texts keep their words and their order; only blanks are put between them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

from .ladder import wrap

_NUMBER = r"(?:-?\d+|\*)"
_NOTATION: Final = re.compile(
    rf"(?P<flags>[SFRPUEWA.]+|-|\*)\s+(?P<seq>{_NUMBER})(?::(?P<end>{_NUMBER}))?\((?P<length>\d+|\*)\)"
    rf"(?P<rest>(?:\s+(?:ack|win|urg)\s+{_NUMBER})*)"
    r'(?:\s+<(?P<options>[^>]*)>)?(?:\s+"(?P<payload>(?:[^"\\]|\\.)*)")?\s*')
_REST: Final = re.compile(rf"(ack|win|urg)\s+({_NUMBER})")
_PADDING: Final = ("nop", "eol")
_LABEL: Final = 10
_PAYLOAD_SHOWN: Final = 32

FIELD_WORDS: Final = {"win": "window", "urg": "urgent", "end": "length", "data": "payload"}
"""Other names for the fields that a notation shows."""


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a notation: the field it belongs to, and how it is written."""

    field: str
    text: str


@dataclass(slots=True)
class _Column:
    expected: str
    got: str
    differs: bool
    tight: bool
    """True if no blank stands before it."""

    @property
    def width(self) -> int:
        """Columns it takes."""
        return max(len(self.expected), len(self.got))

    @property
    def carets(self) -> str:
        """What stands under it: carets below the words, in a payload below the octets that differ."""
        if not self.differs:
            return ""
        if self.expected[:1] == self.got[:1] == '"' and self.expected != self.got:
            return "".join("^" if one != other else " " for one, other in
                           zip(self.expected.ljust(self.width), self.got.ljust(self.width), strict=True))
        return "^" * max(len(self.expected.strip(" <>,")), len(self.got.strip(" <>,")))

    @property
    def indent(self) -> int:
        """Columns before the carets begin."""
        return int(self.expected[:1] == "<" or self.got[:1] == "<")


def tokens(text: str) -> list[Token] | None:
    """The words of a segment in the notation; None if the text is not one."""
    match = _NOTATION.fullmatch(text.strip())
    if match is None:
        return None
    end = "" if match["end"] is None else f":{match['end']}"
    found = [Token("flags", match["flags"]), Token("seq", match["seq"]), Token("length", f"{end}({match['length']})")]
    names = {"win": "window", "urg": "urgent"}
    found += [Token(names.get(name, name), f"{name} {value}") for name, value in _REST.findall(match["rest"])]
    if match["options"] is not None:
        found += [Token("option", item.strip()) for item in match["options"].split(",")]
    if match["payload"] is not None:
        found.append(Token("payload", match["payload"]))
    return found


def compare(expected: str, got: str, fields: Collection[str], *, width: int = 96) -> list[str]:
    """Lines that show expected, got, and carets under what differs.

    Where one of the two is a sentence, the other still has its fields marked. `fields` are the names that were found
    to differ; with none, whatever is written differently is marked. Nothing is wider than `width`.
    """
    named = {FIELD_WORDS.get(name, name) for name in fields}
    left, right = tokens(expected), tokens(got)
    room = width - _LABEL
    if left is not None and right is not None:
        return _rows(_columns(left, right, named), room)
    rows = _sentence("expected", expected, room) if left is None else \
        _alone("expected", left, set(), room)
    return rows + (_sentence("got", got, room) if right is None else _alone("got", right, named, room))


def unseen(expected: str, got: str, fields: Collection[str]) -> list[str]:
    """The differing fields that no caret can show, because the notation does not write them."""
    written = {token.field for text in (expected, got) for token in tokens(text) or ()}
    written |= {"options"} if tokens(expected) or tokens(got) else set()
    return [name for name in fields if FIELD_WORDS.get(name, name) not in written]


def _columns(left: Sequence[Token], right: Sequence[Token], named: Collection[str]) -> list[_Column]:
    columns: list[_Column] = []
    for field in ("flags", "seq", "length", "ack", "window", "urgent"):
        one, other = _text(left, field), _text(right, field)
        if one or other:
            columns.append(_Column(one, other, differs=field in named if named else not _same(one, other),
                                   tight=field == "length"))
    columns += _option_columns(left, right, named)
    one, other = _text(left, "payload"), _text(right, "payload")
    if one or other:
        shown = _around(one, other)
        columns.append(_Column(shown[0], shown[1], differs="payload" in named if named else one != other, tight=False))
    return columns


def _text(side: Sequence[Token], field: str) -> str:
    return next((token.text for token in side if token.field == field), "")


def _option_columns(left: Sequence[Token], right: Sequence[Token], named: Collection[str]) -> list[_Column]:
    """Options lie over their likes; order and padding are the sender's choice and are not marked."""
    wanted, came = ([token.text for token in side if token.field == "option"] for side in (left, right))
    if not wanted and not came:
        return []
    judged = "options" in named or not named
    pairs = _pair(wanted, came)
    columns = []
    for number, (one, other) in enumerate(pairs):
        differs = judged and one not in ("...", *_PADDING) and other not in _PADDING and not _same(one, other) \
            and not (one == "" and "..." in wanted) and not _elsewhere(one, other, wanted, came)
        more_left, more_right = (any(pair[side] for pair in pairs[number + 1:]) for side in (0, 1))
        columns.append(_Column(one + ("," if one and more_left else ""), other + ("," if other and more_right else ""),
                               differs=differs, tight=number > 0))
    if judged and named and not any(column.differs for column in columns):
        for column in columns:
            column.differs = True
    _bracket(columns)
    return columns


def _bracket(columns: Sequence[_Column]) -> None:
    """Put each list in its angle brackets; what lies over an opening one moves with it, so that words stay aligned."""
    firsts = [next((column for column in columns if getattr(column, side)), None) for side in ("expected", "got")]
    for column in columns:
        if column is firsts[0] or column is firsts[1]:
            column.expected = ("<" if column is firsts[0] else " " if column.expected else "") + column.expected
            column.got = ("<" if column is firsts[1] else " " if column.got else "") + column.got
    for side in ("expected", "got"):
        filled = [column for column in columns if getattr(column, side)]
        if filled:
            setattr(filled[-1], side, getattr(filled[-1], side) + ">")


def _pair(wanted: Sequence[str], came: Sequence[str]) -> list[tuple[str, str]]:
    names = [[text.split(" ")[0] for text in side] for side in (wanted, came)]
    pairs: list[tuple[str, str]] = []
    for tag, a, b, c, d in SequenceMatcher(None, names[0], names[1], autojunk=False).get_opcodes():
        if tag == "equal":
            pairs += zip(wanted[a:b], came[c:d], strict=True)
        else:
            pairs += [(text, "") for text in wanted[a:b]] + [("", text) for text in came[c:d]]
    return pairs


def _elsewhere(one: str, other: str, wanted: Sequence[str], came: Sequence[str]) -> bool:
    """True if an option that lies over nothing has its like at another place of the other list."""
    if not other:
        return any(_same(one, text) for text in came)
    return not one and any(_same(text, other) for text in wanted)


def _same(expected: str, got: str) -> bool:
    wanted, came = expected.split(" "), got.split(" ")
    return len(wanted) == len(came) and all(one in ("*", other) for one, other in zip(wanted, came, strict=True))


def _around(expected: str, got: str) -> tuple[str, str]:
    """Both payloads cut to where they part."""
    first = next((at for at, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other),
                 min(len(expected), len(got)))
    start = max(0, first - _PAYLOAD_SHOWN // 2) if max(len(expected), len(got)) > _PAYLOAD_SHOWN else 0

    def cut(text: str) -> str:
        end = start + _PAYLOAD_SHOWN
        return f'"{"..." if start else ""}{text[start:end]}{"..." if len(text) > end else ""}"' if text else ""

    return cut(expected), cut(got)


def _rows(columns: Sequence[_Column], room: int) -> list[str]:
    """The three lines; where they are too wide, three for each part."""
    rows: list[str] = []
    lines = ["", "", ""]
    for column in columns:
        gap = "" if column.tight or not lines[0] else " "
        if lines[0].strip() + lines[1].strip() and len(lines[0]) + len(gap) + column.width > room:
            rows += _labelled(lines)
            lines, gap = [" " * 4] * 3, ""
        for index, text in enumerate((column.expected, column.got, " " * column.indent + column.carets)):
            lines[index] += gap + text.ljust(column.width)
    return rows + _labelled(lines)


def _labelled(lines: Sequence[str]) -> list[str]:
    labels = ("expected", "got", "")
    labelled = [f"{label:<{_LABEL}}{line}".rstrip() for label, line in zip(labels, lines, strict=True)]
    return labelled if labelled[2] else labelled[:2]


def _alone(label: str, words: Sequence[Token], named: Collection[str], room: int) -> list[str]:
    """One notation by itself, its named fields marked."""
    rows = [row for row in _rows(_columns(words, words, named or {"nothing"}), room) if not row.startswith("expected")]
    return [f"{label:<{_LABEL}}{row[_LABEL:]}" if row.startswith("got") else row for row in rows]


def _sentence(label: str, text: str, room: int) -> list[str]:
    rows = [row for line in text.splitlines() or [""] for row in wrap(line, room)]
    return [f"{label if number == 0 else '':<{_LABEL}}{row}".rstrip() for number, row in enumerate(rows)]
