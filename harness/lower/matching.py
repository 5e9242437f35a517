# SPDX-License-Identifier: GPL-2.0-or-later
"""Lays what is expected over what came, and names the fields that differ.

A notation that is expected is closed (DESIGN, *The wire*): no option list means no options, `<...>` any; no `win` means
any; a payload that is not given must equal the stream due. PSH is demanded where it is written, and is the sender's
choice on any other segment that carries data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..wire import seq as arithmetic
from ..wire.errors import ScriptError
from ..wire.notation import Notation, OptionPattern, parse, render, render_options
from ..wire.segment import ACK, PSH, Kind, Option, Segment

_PADDING = (Kind.NOP, Kind.EOL)
WILDCARDS = frozenset(field.name for field in fields(Segment)) - {"verdict", "stamp_ns", "outgoing", "raw"}
"""The names that an expectation may override, None meaning *don't care*."""

Spec = str | Segment
"""What may be expected: the notation, or a `Segment` in which None is the wildcard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """An expectation with absolute numbers; None in a field means any.

    `length` is the payload's; `options` None means any list, `more_options` that others may follow.
    """

    text: str
    flags: int | None
    seq: int | None
    ack: int | None
    window: int | None
    urgent: int | None
    length: int | None
    payload: bytes | None
    options: tuple[OptionPattern, ...] | None
    more_options: bool
    sack_base: int

    @classmethod
    def of(cls, notation: Notation, *, seq_base: int, ack_base: int) -> Pattern:
        """A notation of the target's segment, made absolute by the target's and our initial numbers."""
        return cls(
            text=notation.text,
            flags=notation.flags,
            seq=arithmetic.add(seq_base, notation.seq),
            ack=arithmetic.add(ack_base, notation.ack) if notation.ack is not None else None,
            window=notation.window,
            urgent=notation.urgent,
            length=notation.length,
            payload=notation.payload,
            options=() if notation.options is None else notation.options,
            more_options=notation.more_options,
            sack_base=ack_base,
        )


def of_segment(segment: Segment, *, ack_base: int = 0) -> Pattern:
    """A `Segment` as an expectation: None in a field is the wildcard."""
    options = segment.options
    return Pattern(
        text=render(segment),
        flags=segment.flags, seq=segment.seq, ack=segment.ack, window=segment.window, urgent=segment.urgent,
        length=None if segment.payload is None else len(segment.payload), payload=segment.payload,
        options=None if options is None else tuple(OptionPattern(option.kind, exact=option) for option in options),
        more_options=False, sack_base=ack_base,
    )


def pattern_of(what: Spec, wild: Mapping[str, Any], *, seq_base: int, ack_base: int) -> Pattern:
    """What is expected, with the fields of `wild` in place of its own. Raises ScriptError if it cannot be."""
    if isinstance(what, str):
        notation = parse(what)
        if notation.flags & ACK and notation.ack is None and "ack" not in wild:
            raise ScriptError(f"expect {what!r}: which acknowledgement? write `ack N`, or pass ack=None for any")
        pattern = Pattern.of(notation, seq_base=seq_base, ack_base=ack_base)
    else:
        pattern = of_segment(what, ack_base=ack_base)
    if unknown := wild.keys() - WILDCARDS:
        raise ScriptError(f"expect: no field {', '.join(sorted(unknown))}; fields: {', '.join(sorted(WILDCARDS))}")
    changes = {("length" if name == "payload" and value is None else name): value for name, value in wild.items()}
    return replace(pattern, **changes)


def differences(pattern: Pattern, got: Segment, due: bytes | None = None, *, last: bool = False) -> tuple[str, ...]:
    """The names of the fields in which `got` is not what `pattern` says.

    `due` is the target's stream at this place, compared with the payload where the pattern gives none. `last`: with
    this segment ends all that the application has sent, so that it has to be pushed (RFC 9293, MUST-61).
    """
    found: list[str] = []
    if pattern.flags is not None and not _same_flags(pattern.flags | (PSH if last else 0), got):
        found.append("flags")
    for name in ("seq", "ack", "window", "urgent"):
        wanted = getattr(pattern, name)
        if wanted is not None and wanted != getattr(got, name) and (name != "ack" or got.has(ACK)):
            found.append(name)
    payload = got.payload or b""
    if pattern.length is not None and pattern.length != len(payload):
        found.append("length")
    # Octets that are there have to be right, also where there are too many or too few.
    due = pattern.payload if pattern.payload is not None and "length" not in found else due
    if due is not None and due != payload:
        found.append("payload")
    if not _same_options(pattern, got.options or ()):
        found.append("options")
    return tuple(found)


def _same_flags(wanted: int, got: Segment) -> bool:
    flags = got.flags or 0
    if got.payload and not wanted & PSH:
        flags &= ~PSH
    return flags == wanted


def _same_options(pattern: Pattern, options: tuple[Option, ...]) -> bool:
    """Order and padding are the sender's choice: lists are compared without NOP and EOL, as sets with counts."""
    if pattern.options is None:
        return True
    left = [option for option in options if option.kind not in _PADDING]
    for wanted in pattern.options:
        if wanted.kind in _PADDING:
            continue
        match = next((option for option in left if wanted.matches(option, pattern.sack_base)), None)
        if match is not None:
            left.remove(match)
        elif not wanted.optional:
            return False
    return pattern.more_options or not left


def describe(pattern: Pattern, *, seq_base: int, ack_base: int) -> str:
    """The expectation in the notation, with `*` where anything goes."""
    segment = Segment(flags=pattern.flags, seq=pattern.seq, ack=pattern.ack, window=pattern.window,
                      urgent=pattern.urgent, payload=bytes(pattern.length or 0))
    words = render(segment, seq_base=seq_base, ack_base=ack_base).split(" ")
    if pattern.flags is None:
        words[0] = "*"
    if pattern.seq is None:
        words[1] = f"*({'*' if pattern.length is None else pattern.length})"
    if pattern.ack is None and "ack" in words:
        words[words.index("ack") + 1] = "*"
    return " ".join(words) + _described_options(pattern)


def _described_options(pattern: Pattern) -> str:
    if pattern.options is None:
        return " <...>"
    items = [_described_option(option, pattern.sack_base) for option in pattern.options]
    if pattern.more_options:
        items.append("...")
    return f" <{','.join(items)}>" if items else ""


def _described_option(pattern: OptionPattern, base: int) -> str:
    if pattern.optional:
        return _described_option(replace(pattern, optional=False), base) + "?"
    if None not in pattern.fields:
        return render_options((pattern.option(base),), base)[1:-1]
    values = ["*" if value is None else str(value) for value in pattern.fields]
    if pattern.kind == Kind.TIMESTAMPS:
        return f"TS val {values[0]} ecr {values[1]}"
    return f"{render_options((pattern.option(),))[1:-1].split(' ')[0]} {values[0]}"
