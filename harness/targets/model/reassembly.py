# SPDX-License-Identifier: GPL-2.0-or-later
"""Puts fragments together (RFC 791, 3.2; RFC 815; RFC 8200, 4.5; RFC 5722).

Fragments that overlap without being the same make the whole datagram worthless, in IPv4 too: what comes of it later is
dropped until its time is over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ...wire import ip
from ...wire.ip import Packet
from .timers import Timer

LARGEST: Final = 65535
_UNIT: Final = 8
_MORE4: Final = 0x20
_FRAGMENT_HEADER: Final = 44
_LEAST_HEADERS: Final = {ip.TCP: 20, ip.UDP: 8, ip.ICMPV6: 8}
"""What the first fragment has to hold of the transport's header (RFC 7112), by protocol."""

PAYLOAD_LENGTH: Final = 4
FRAGMENT_OFFSET: Final = 42
"""Where an ICMPv6 parameter problem points to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A piece of a datagram: its place, octets, and whether others follow."""

    packet: Packet
    identification: int
    start: int
    more: bool

    @property
    def end(self) -> int:
        """The octet behind its last one."""
        return self.start + len(self.packet.payload)

    @property
    def key(self) -> tuple[bytes, bytes, int, int]:
        """What the fragments of one datagram share (RFC 791; IPv6 leaves the protocol out)."""
        packet = self.packet
        return packet.source, packet.destination, 0 if packet.ipv6 else packet.protocol, self.identification


def fragment_of(packet: Packet) -> Fragment | None:
    """Read the fragment header; None if there is another header in front of it, which the model does not walk."""
    raw = packet.raw
    if not packet.ipv6:
        return Fragment(packet=packet, identification=int.from_bytes(raw[4:6], "big"),
                        start=ip.fragment_offset(packet), more=bool(raw[6] & _MORE4))
    if raw[6] != _FRAGMENT_HEADER:
        return None
    return Fragment(packet=packet, identification=struct.unpack_from(">I", raw, 44)[0],
                    start=ip.fragment_offset(packet), more=bool(raw[43] & 1))


@dataclass(slots=True, kw_only=True)
class Puzzle:
    """The fragments of one datagram so far."""

    timer: Timer
    pieces: list[Fragment] = field(default_factory=list)
    worthless: bool = False


class Reassembly:
    """All datagrams of which something is missing.

    `make_timer` makes a timer, `timed_out` is given the first fragment of a datagram whose time is over, `problem` a
    fragment that IPv6 has answered by a parameter problem, with its code and pointer.
    """

    def __init__(self, *, time_ns: dict[int, int], now: Callable[[], int],
                 make_timer: Callable[[Callable[[], None]], Timer], timed_out: Callable[[Packet], None],
                 problem: Callable[[Packet, int, int], None]) -> None:
        self.puzzles: dict[tuple[bytes, bytes, int, int], Puzzle] = {}
        self._time_ns = time_ns
        self._now = now
        self._make_timer = make_timer
        self._timed_out = timed_out
        self._problem = problem

    def take(self, packet: Packet) -> Packet | None:
        """Take a fragment; returns the datagram that it completes."""
        piece = fragment_of(packet)
        if piece is None or not self.is_sound(piece):
            return None
        puzzle = self.puzzle_of(piece)
        if puzzle.worthless or self.is_duplicate(puzzle, piece):
            return None
        if self.contradicts(puzzle, piece):
            puzzle.worthless = True
            return None
        puzzle.pieces.append(piece)
        return self.whole(puzzle, piece)

    def is_sound(self, piece: Fragment) -> bool:
        """False for a fragment that can be no part of anything; IPv6 says why (RFC 8200, 4.5)."""
        ipv6 = piece.packet.ipv6
        if piece.more and len(piece.packet.payload) % _UNIT:
            return self.refuse(piece, 0, PAYLOAD_LENGTH)
        if piece.end + (0 if ipv6 else 20) > LARGEST:
            return self.refuse(piece, 0, FRAGMENT_OFFSET)
        if ipv6 and not piece.start and len(piece.packet.payload) < _LEAST_HEADERS.get(piece.packet.protocol, 0):
            return self.refuse(piece, 3, 0)
        return bool(piece.packet.payload)

    def refuse(self, piece: Fragment, code: int, pointer: int) -> bool:
        """Drop it; IPv6 tells the sender."""
        if piece.packet.ipv6:
            self._problem(piece.packet, code, pointer)
        return False

    def puzzle_of(self, piece: Fragment) -> Puzzle:
        """What there is of its datagram; with the first piece the time begins."""
        puzzle = self.puzzles.get(piece.key)
        if puzzle is None:
            puzzle = self.puzzles[piece.key] = Puzzle(timer=self._make_timer(lambda: self.end(piece.key)))
            puzzle.timer.set(self._now() + self._time_ns[len(piece.packet.source)])
        return puzzle

    def is_duplicate(self, puzzle: Puzzle, piece: Fragment) -> bool:
        """True if the very same piece has come before."""
        return any(known.start == piece.start and known.more == piece.more
                   and known.packet.payload == piece.packet.payload for known in puzzle.pieces)

    def contradicts(self, puzzle: Puzzle, piece: Fragment) -> bool:
        """True if it overlaps another piece, or the end that one of them claims."""
        return any(self.overlap(known, piece) for known in puzzle.pieces) or self.ends_twice(puzzle, piece)

    def overlap(self, known: Fragment, piece: Fragment) -> bool:
        """True if the two have an octet in common."""
        return known.start < piece.end and piece.start < known.end

    def ends_twice(self, puzzle: Puzzle, piece: Fragment) -> bool:
        """True if one is the last, and another lies behind it."""
        pieces = [*puzzle.pieces, piece]
        ends = [known.end for known in pieces if not known.more]
        return bool(ends) and (len(ends) > 1 or any(known.end > ends[0] for known in pieces))

    def whole(self, puzzle: Puzzle, piece: Fragment) -> Packet | None:
        """The datagram if nothing is missing any more."""
        if not self.is_complete(puzzle):
            return None
        puzzle.timer.stop()
        del self.puzzles[piece.key]
        pieces = sorted(puzzle.pieces, key=lambda known: known.start)
        packet = pieces[0].packet
        payload = b"".join(known.packet.payload for known in pieces)
        return ip.dissect(ip.ip_packet(packet.source, packet.destination, packet.protocol, payload, packet.ttl,
                                       packet.traffic_class))

    def is_complete(self, puzzle: Puzzle) -> bool:
        """True if there is a last piece, and no hole before it."""
        return any(not piece.more for piece in puzzle.pieces) and \
            sum(len(piece.packet.payload) for piece in puzzle.pieces) == max(piece.end for piece in puzzle.pieces)

    def end(self, key: tuple[bytes, bytes, int, int]) -> None:
        """The time is over: who has sent the first piece is told (RFC 1122, 3.3.2; RFC 8200, 4.5)."""
        puzzle = self.puzzles.pop(key)
        first = next((piece for piece in puzzle.pieces if not piece.start), None)
        if first is not None and not puzzle.worthless:
            self._timed_out(first.packet)
