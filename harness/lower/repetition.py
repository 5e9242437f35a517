# SPDX-License-Identifier: GPL-2.0-or-later
"""A repetition: a segment that says again what others have said before it, the same octets under the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..wire import seq as arithmetic
from ..wire.segment import ACK, AE, CWR, ECE, FIN, PSH, RST, SYN, URG, Kind, Segment
from .injector import Injector, Transmission

_STEADY: Final = ACK | URG | ECE | CWR | AE | RST
"""The flags that a repetition has as well; PSH and FIN move with what a segment carries."""

_SYN_NUMBER: Final = 256
_FIN_NUMBER: Final = 257


class History:
    """What has come on one connection so far, and what of it we have acknowledged with which transmission."""

    def __init__(self) -> None:
        self._arrived: list[Segment] = []
        self._acknowledged: list[tuple[int, Transmission]] = []
        self.hasty = 0
        """How many have come again because we were late."""

    def came(self, segment: Segment) -> None:
        """Take note of a segment that the case has dealt with."""
        self._arrived.append(segment)

    def acknowledged(self, ack: int, transmission: Transmission) -> None:
        """Take note that all before `ack` has been acknowledged."""
        self._acknowledged.append((ack, transmission))

    def repeated_because_we_were_late(self, segment: Segment, injector: Injector, shortest_ns: int) -> bool:
        """True for octets that came before, sent again before our acknowledgement had left.

        A target cannot know of what we have not sent yet, so its repetition after `shortest_ns`, the shortest time that
        its profile allows for one, says something about our haste, and nothing about its conformance.
        """
        known = _last_telling(segment, self._arrived)
        if known is None:
            return False
        end = arithmetic.add(segment.seq or 0, segment.length)
        injector.stamp()
        stamp = segment.stamp_ns or 0
        if any(arithmetic.le(end, ack) and sent.stamp_ns < stamp for ack, sent in self._acknowledged):
            return False
        if stamp - (known.stamp_ns or 0) < shortest_ns:
            return False
        # What comes at once upon a repetition is one too many.
        self._arrived.append(segment)
        self.hasty += 1
        return True


def _last_telling(segment: Segment, arrived: Sequence[Segment]) -> Segment | None:
    """The last of the arrivals that said what this one says again; None unless all of it came before, alike."""
    left = _numbered(segment)
    last = None
    for known in reversed(arrived):
        if known.has(RST) or not _overlap(known, segment):
            continue
        if _manner(known) != _manner(segment):
            return None
        numbered = _numbered(known)
        again = left.keys() & numbered.keys()
        if any(left[number] != numbered[number] for number in again):
            return None
        last = last or (known if again else None)
        for number in again:
            del left[number]
        if not left:
            return last
    return None


def _numbered(segment: Segment) -> dict[int, int]:
    """What a segment says under each sequence number: an octet, or beyond an octet's values its SYN or FIN."""
    said = [*([_SYN_NUMBER] if segment.has(SYN) else ()), *(segment.payload or b""),
            *([_FIN_NUMBER] if segment.has(FIN) else ())]
    return {arithmetic.add(segment.seq or 0, at): what for at, what in enumerate(said)}


def _manner(segment: Segment) -> tuple[int, int | None, tuple[int, ...]]:
    """What a repetition has in common with what it repeats, but for its octets and the numbers that move on."""
    kinds = tuple(option.kind for option in segment.options or () if option.kind != Kind.SACK)
    steady = _STEADY if segment.payload else _STEADY | PSH
    return (segment.flags or 0) & steady, segment.urgent, kinds


def _overlap(one: Segment, other: Segment) -> bool:
    return (arithmetic.lt(one.seq or 0, arithmetic.add(other.seq or 0, other.length))
            and arithmetic.lt(other.seq or 0, arithmetic.add(one.seq or 0, one.length)))
