# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP options as the model reads and writes them (RFC 9293, 3.2; RFC 7323; RFC 2018).

What is malformed, unknown, or behind the end of the list counts as not there (RFC 9293, MUST-6, MUST-7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ...wire.segment import Kind, Option, Segment

MAX_SHIFT: Final = 14
DEFAULT_MSS: Final = {4: 536, 16: 1220}
"""What a peer that offers none takes, by the length of an address (RFC 9293, 3.7.1)."""

_LENGTHS: Final = {Kind.MSS: 2, Kind.WINDOW_SCALE: 1, Kind.SACK_PERMITTED: 0, Kind.TIMESTAMPS: 8}
_NOP: Final = Option(Kind.NOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a SYN offers; None or False is no offer. `stamp` is its time stamp value."""

    mss: int | None = None
    shift: int | None = None
    sack: bool = False
    stamp: int | None = None


def well_formed(segment: Segment, kind: int) -> Option | None:
    """The first option of that kind, if its length is what the kind has."""
    option = segment.option(kind)
    return option if option is not None and not option.malformed and len(option.data) == _LENGTHS[kind] else None


def offer_of(segment: Segment) -> Offer:
    """What this SYN offers; a shift above 14 counts as 14 (RFC 7323, 2.3)."""
    mss, shift = well_formed(segment, Kind.MSS), well_formed(segment, Kind.WINDOW_SCALE)
    stamps = timestamps_of(segment)
    return Offer(mss=mss.value if mss else None, shift=min(shift.value, MAX_SHIFT) if shift else None,
                 sack=well_formed(segment, Kind.SACK_PERMITTED) is not None, stamp=stamps[0] if stamps else None)


def timestamps_of(segment: Segment) -> tuple[int, int] | None:
    """TSval and TSecr."""
    option = well_formed(segment, Kind.TIMESTAMPS)
    return None if option is None else (option.value >> 32, option.value & 0xFFFF_FFFF)


def mss(value: int) -> list[Option]:
    """Maximum Segment Size."""
    return [Option.of(Kind.MSS, value.to_bytes(2, "big"))]


def shift(value: int) -> list[Option]:
    """Window Scale, filled up to four octets."""
    return [_NOP, Option.of(Kind.WINDOW_SCALE, bytes((value,)))]


def sack_permitted() -> list[Option]:
    """SACK-Permitted, filled up to four octets."""
    return [_NOP, _NOP, Option.of(Kind.SACK_PERMITTED)]


def timestamps(value: int, echo: int) -> list[Option]:
    """Time stamps, filled up to twelve octets."""
    return [_NOP, _NOP, Option.of(Kind.TIMESTAMPS, struct.pack(">II", value, echo))]


def sack(blocks: Iterable[tuple[int, int]]) -> list[Option]:
    """SACK blocks, filled up to whole words."""
    return [_NOP, _NOP, Option.of(Kind.SACK, b"".join(struct.pack(">II", *block) for block in blocks))]
