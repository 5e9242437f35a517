# SPDX-License-Identifier: GPL-2.0-or-later
"""The one notation of log, diff, ladder, step titles and capture comments: packetdrill's, in relative numbers.

    S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK>
    |  | |  |   |       |      `- options; `...` any others; `<...>` any at all; `*` any value; `sackOK?` may be absent
    |  | |  |   |       `- the window field as it stands in the header (never scaled)
    |  | |  |   `- relative to the other end's initial sequence number
    |  `-+--`- first number, the number after the last octet, octets of payload; SYN and FIN are not counted here
    `- S syn, F fin, R rst, P psh, U urg, E ece, W cwr, A ae, . ack, - none

`parse` gives a `Notation`: relative numbers, nothing resolved. `harness.lower.matching` lays it over a segment, and the
peer makes a segment of it. `render` writes a segment in the same words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NoReturn

from . import seq as arithmetic
from .errors import ScriptError
from .segment import ACK, FLAG_LETTERS, Kind, Option, Segment

_FLAG_OF: Final = {letter: flag for flag, letter in FLAG_LETTERS}
_HEAD = re.compile(r"(?P<flags>[SFRPUEWA.]+|-)\s+(?P<seq>-?\d+):(?P<end>-?\d+)\((?P<length>\d+)\)")
_FIELD = re.compile(r"\s+(?P<name>ack|win|urg)\s+(?P<value>-?\d+)")
_OPTIONS = re.compile(r"\s+<(?P<list>[^>]*)>")
_PAYLOAD = re.compile(r'\s+"(?P<text>(?:[^"\\]|\\.)*)"')
_NUMBER = r"(\d+|\*)"
_BLOCK = re.compile(r"(-?\d+):(-?\d+)")


@dataclass(frozen=True, slots=True)
class OptionPattern:
    """One option of a notation: `fields` are its numbers, None for `*`; `blocks` a SACK option's, relative.

    `exact` holds an option that is spelled in octets (`kind 253 0x0a0b`, `raw 0x0204`), and then nothing else counts.
    `optional` is one that may be absent (`mss *?`).
    """

    kind: int
    widths: tuple[int, ...] = ()
    fields: tuple[int | None, ...] = ()
    blocks: tuple[tuple[int, int], ...] = ()
    exact: Option | None = None
    optional: bool = False

    def option(self, base: int = 0) -> Option:
        """The option to send; `base` is the initial sequence number that SACK blocks are relative to."""
        if self.exact is not None:
            return self.exact
        data = b"".join((value or 0).to_bytes(width, "big")
                        for width, value in zip(self.widths, self.fields, strict=True))
        for block in self.blocks:
            data += b"".join(arithmetic.add(base, edge).to_bytes(4, "big") for edge in block)
        return Option.of(self.kind, data)

    def matches(self, option: Option, base: int = 0) -> bool:
        """True if the received option says what this one says."""
        if None not in self.fields:
            return option == self.option(base)
        if option.kind != self.kind or option.malformed or len(option.data) != sum(self.widths):
            return False
        at = 0
        for width, value in zip(self.widths, self.fields, strict=True):
            if value is not None and int.from_bytes(option.data[at:at + width], "big") != value:
                return False
            at += width
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """A segment as written: relative numbers, fields that are not written are None.

    `options` None means that no list was written; `more_options` that the list ends in `...`.
    """

    text: str
    flags: int
    seq: int
    length: int
    ack: int | None = None
    window: int | None = None
    urgent: int | None = None
    options: tuple[OptionPattern, ...] | None = None
    more_options: bool = False
    payload: bytes | None = None


def _fail(text: str, column: int, problem: str, allowed: str) -> NoReturn:
    raise ScriptError(f"notation, column {column + 1}: {problem}; {allowed}\n    {text}\n    {' ' * column}^")


_SHAPES: Final = {
    Kind.MSS: ("mss", (2,)),
    Kind.WINDOW_SCALE: ("wscale", (1,)),
    Kind.USER_TIMEOUT: ("uto", (2,)),
}
_BARE: Final = {"sackOK": Kind.SACK_PERMITTED, "nop": Kind.NOP, "eol": Kind.EOL}
_OPTION_FORMS: Final = ("mss N, wscale N, sackOK, TS val N ecr N, sack A:B ..., nop, eol, uto N, FO [0xHEX], "
                        "kind N [0xHEX], raw 0xHEX, each with `?` if it may be absent, ...")
_NAMED = {re.compile(rf"{name}\s+{_NUMBER}"): (kind, widths) for kind, (name, widths) in _SHAPES.items()}
_TIMESTAMPS = re.compile(rf"TS\s+val\s+{_NUMBER}\s+ecr\s+{_NUMBER}")
_SACK = re.compile(r"sack((?:\s+-?\d+:-?\d+)+)")
_KIND = re.compile(r"kind\s+(\d+)(?:\s+0x((?:[0-9a-fA-F]{2})+))?")
_FAST_OPEN = re.compile(r"FO(?:\s+0x((?:[0-9a-fA-F]{2})+))?")
_RAW = re.compile(r"raw\s+0x((?:[0-9a-fA-F]{2})+)")


def _number(text: str, width: int, where: str, column: int) -> int | None:
    if text == "*":
        return None
    value = int(text)
    if value >> (8 * width):
        _fail(where, column, f"{value} does not fit", f"0..{(1 << 8 * width) - 1}")
    return value


def _literal(octets: bytes) -> Option:
    return Option(octets[0], octets[2:], octets[1] if len(octets) > 1 else None)


def _option(item: str, text: str, column: int) -> OptionPattern:
    if item in _BARE:
        return OptionPattern(_BARE[item])
    for form, (kind, widths) in _NAMED.items():
        if found := form.fullmatch(item):
            return OptionPattern(kind, widths, (_number(found[1], widths[0], text, column),))
    if found := _TIMESTAMPS.fullmatch(item):
        return OptionPattern(Kind.TIMESTAMPS, (4, 4), tuple(_number(found[i], 4, text, column) for i in (1, 2)))
    if found := _SACK.fullmatch(item):
        return OptionPattern(Kind.SACK, blocks=tuple((int(a), int(b)) for a, b in _BLOCK.findall(found[1])))
    if (found := _KIND.fullmatch(item)) and int(found[1]) < 256:
        kind = int(found[1])
        return OptionPattern(kind, exact=Option.of(kind, bytes.fromhex(found[2] or "")))
    if found := _FAST_OPEN.fullmatch(item):
        return OptionPattern(Kind.FAST_OPEN, exact=Option.of(Kind.FAST_OPEN, bytes.fromhex(found[1] or "")))
    if found := _RAW.fullmatch(item):
        octets = bytes.fromhex(found[1])
        return OptionPattern(octets[0], exact=_literal(octets))
    _fail(text, column, f"unknown option {item!r}", _OPTION_FORMS)


def _options(listed: str, text: str, column: int) -> tuple[tuple[OptionPattern, ...], bool]:
    patterns: list[OptionPattern] = []
    more = False
    for item in listed.split(",") if listed.strip() else ():
        start = column + len(item) - len(item.lstrip())
        word = item.strip()
        if more:
            _fail(text, start, "an option after `...`", "`...` stands last")
        if word == "...":
            more = True
        elif word.endswith("?"):
            patterns.append(replace(_option(word[:-1], text, start), optional=True))
        else:
            patterns.append(_option(word, text, start))
        column += len(item) + 1
    return tuple(patterns), more


@lru_cache(maxsize=4096)
def parse(text: str) -> Notation:
    """Read one segment.

    Raises ScriptError with the column marked if the text is not in the notation.
    """
    head = _HEAD.match(text)
    if head is None:
        _fail(text, 0, "no segment here", "FLAGS SEQ:END(LENGTH) [ack N] [win N] [urg N] [<options>] [\"payload\"]")
    first, end, length = int(head["seq"]), int(head["end"]), int(head["length"])
    if end - first != length:
        _fail(text, head.start("end"), f"{end} does not follow {length} octets from {first}", f"write {first + length}")
    flags = 0
    for letter in head["flags"].replace("-", ""):
        flags |= _FLAG_OF[letter]
    at, values = _fields(text, head.end())
    options: tuple[OptionPattern, ...] | None = None
    more = False
    if listed := _OPTIONS.match(text, at):
        options, more = _options(listed["list"], text, listed.start("list"))
        at = listed.end()
    payload: bytes | None = None
    if quoted := _PAYLOAD.match(text, at):
        payload = quoted["text"].encode("latin-1", "replace").decode("unicode_escape").encode("latin-1")
        if len(payload) != length:
            _fail(text, quoted.start("text"), f"{len(payload)} octets of payload", f"the length says {length}")
        at = quoted.end()
    if text[at:].strip():
        _fail(text, at + len(text[at:]) - len(text[at:].lstrip()), f"unexpected {text[at:].strip()!r}",
              "ack, win, urg, <options> and \"payload\", each once and in this order")
    if "ack" in values and not flags & ACK:
        _fail(text, 0, "an acknowledgement number without the ACK bit", "add `.` to the flags")
    return Notation(text=text, flags=flags, seq=first, length=length, ack=values.get("ack"), window=values.get("win"),
                    urgent=values.get("urg"), options=options, more_options=more, payload=payload)


def _fields(text: str, at: int) -> tuple[int, dict[str, int]]:
    order = ("ack", "win", "urg")
    values: dict[str, int] = {}
    while found := _FIELD.match(text, at):
        name, value = found["name"], int(found["value"])
        if values and order.index(name) <= order.index(list(values)[-1]):
            _fail(text, found.start("name"), f"{name!r} is out of place", "ack, win, urg, each once and in this order")
        if name != "ack" and not 0 <= value <= 0xFFFF:
            _fail(text, found.start("value"), f"{name} {value} does not fit", "0..65535")
        values[name] = value
        at = found.end()
    return at, values


def flag_letters(flags: int) -> str:
    """The flags as the notation writes them; `-` for none."""
    return "".join(letter for flag, letter in FLAG_LETTERS if flags & flag) or "-"


def render_option(option: Option, base: int = 0) -> str:
    """One option as the notation writes it; `base` is what SACK blocks are relative to."""
    if option.malformed:
        return f"raw 0x{option.encode().hex()}"
    if option.kind == Kind.TIMESTAMPS and len(option.data) == 8:
        return f"TS val {int.from_bytes(option.data[:4], 'big')} ecr {int.from_bytes(option.data[4:], 'big')}"
    if option.kind == Kind.SACK and option.data and len(option.data) % 8 == 0:
        edges = [arithmetic.diff(int.from_bytes(option.data[at:at + 4], "big"), base)
                 for at in range(0, len(option.data), 4)]
        return "sack " + " ".join(f"{left}:{right}" for left, right in zip(edges[::2], edges[1::2], strict=True))
    if option.kind in _SHAPES and len(option.data) == sum(_SHAPES[option.kind][1]):
        return f"{_SHAPES[option.kind][0]} {option.value}"
    for name, kind in _BARE.items():
        if option.kind == kind and not option.data:
            return name
    if option.kind == Kind.EOL:
        return f"raw 0x{option.encode().hex()}"
    return f"kind {option.kind}" + (f" 0x{option.data.hex()}" if option.data else "")


def render_options(options: tuple[Option, ...], base: int = 0) -> str:
    """An option list in angle brackets, empty for none; the padding behind the first EOL is not repeated."""
    shown: list[str] = []
    for option in options:
        shown.append(render_option(option, base))
        if option == _END:
            break
    return f"<{','.join(shown)}>" if shown else ""


_END = Option(Kind.EOL)


def render(segment: Segment, *, seq_base: int = 0, ack_base: int = 0) -> str:
    """Write a segment, relative to the initial sequence numbers of its sender (`seq_base`) and of the other end.

    An acknowledgement is written only with the ACK bit, the urgent pointer only with URG.
    """
    flags = segment.flags or 0
    length = len(segment.payload or b"")
    first = _relative(segment.seq or 0, seq_base)
    parts = [flag_letters(flags), f"{first}:{first + length}({length})"]
    if flags & ACK:
        parts.append(f"ack {_relative(segment.ack or 0, ack_base)}")
    if segment.window is not None:
        parts.append(f"win {segment.window}")
    if flags & _FLAG_OF["U"]:
        parts.append(f"urg {segment.urgent or 0}")
    if listed := render_options(segment.options or (), ack_base):
        parts.append(listed)
    return " ".join(parts)


def _relative(number: int, base: int) -> int:
    """Signed distance from a known base; without one (0) the space is absolute, so the number itself."""
    return arithmetic.diff(number, base) if base else number
