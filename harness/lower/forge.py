# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragments as a case wants them: in any order, overlapping, with holes, too long, or empty (RFC 791, RFC 8200).

A `Datagram` is an IP packet whose payload goes out in pieces. A piece says which octets of that payload it claims to
be, by its first and last number as the notation has them for a segment: `whole.piece(0, 512)` and `whole.piece(512)`
make the whole. Numbers count from the start of the transport header. The same words make IPv4 fragments and IPv6 ones
with a fragment header; what only one of the two families can say is said in the case.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from ..wire import ip
from ..wire.errors import ScriptError
from ..wire.segment import Segment
from .injector import Transmission
from .peer import Peer

Piece = tuple[int, int | None]
"""First octet, and the one after the last; None is the end of the datagram."""

_UNIT: Final = 8
_MORE4: Final = 0x2000
_FRAGMENT_HEADER: Final = 44


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagram:
    """An IP packet to be sent in pieces, and the identification that they share (16 bits in IPv4, 32 in IPv6)."""

    packet: ip.Packet
    identification: int

    @classmethod
    def of(cls, octets: bytes, identification: int) -> Datagram:
        """Take a whole packet without IP options or extension headers. Raises ScriptError if it is none."""
        packet = ip.dissect(octets)
        if packet is None or packet.fragment:
            raise ScriptError(f"fragments: a whole IP packet is wanted, not {octets[:20].hex() or 'nothing'}")
        ip.check_range("identification", identification, 0, 0xFFFF_FFFF if packet.ipv6 else 0xFFFF)
        return cls(packet=packet, identification=identification)

    def piece(self, start: int, end: int | None = None, *, data: bytes | None = None,
              more: bool | None = None) -> bytes:
        """The fragment that carries the octets from `start` up to `end`, as a whole IP packet.

        `data` are other octets for that place, of any length; `more` the more-fragments bit, by default set unless the
        piece reaches the end. Raises ScriptError if `start` is not a multiple of 8 from 0 to 65528.
        """
        ip.check_range("fragment offset", start, 0, 0xFFFF)
        if start % _UNIT:
            raise ScriptError(f"fragment offset {start} cannot be written; allowed: a multiple of {_UNIT}")
        if end is None:
            end = max(start, len(self.packet.payload))
        if data is None:
            data = self.packet.payload[start:end]
        if more is None:
            more = start + len(data) < len(self.packet.payload)
        return self._piece6(start, data, more) if self.packet.ipv6 else self._piece4(start, data, more)

    def pieces(self, places: Iterable[Piece]) -> list[bytes]:
        """Several fragments, in that order."""
        return [self.piece(start, end) for start, end in places]

    def cut(self, *at: int) -> list[bytes]:
        """The whole datagram, cut before each of these octets; each but the last a multiple of 8 long."""
        edges: Sequence[int | None] = (0, *at, None)
        return self.pieces((start or 0, end) for start, end in pairwise(edges))

    def _piece4(self, start: int, data: bytes, more: bool) -> bytes:
        packet = self.packet
        header = bytearray(ip.ip_header(packet.source, packet.destination, packet.protocol, len(data), packet.ttl,
                                        packet.traffic_class))
        # The don't-fragment bit of `ip_header` is taken back: a router would not have cut the datagram with it.
        struct.pack_into(">HHBBH", header, 4, self.identification, start // _UNIT | (_MORE4 if more else 0),
                         packet.ttl, packet.protocol, 0)
        struct.pack_into(">H", header, 10, ip.internet_checksum(bytes(header)))
        return bytes(header) + data

    def _piece6(self, start: int, data: bytes, more: bool) -> bytes:
        packet = self.packet
        header = struct.pack(">BBHI", packet.protocol, 0, start | more, self.identification)
        return ip.ip_packet(packet.source, packet.destination, _FRAGMENT_HEADER, header + data, packet.ttl,
                            packet.traffic_class)


def datagram(peer: Peer, what: str | Segment, **fields: Any) -> tuple[Segment, Datagram]:
    """A segment of this peer's connection, unsent, with an identification that no other datagram has just now."""
    segment, octets = peer.packet(what, **fields)
    return segment, Datagram.of(octets, peer.case.port())


def send_pieces(peer: Peer, pieces: Iterable[bytes]) -> Transmission:
    """Send fragments in that order; the peer takes no note of what they make. Returns the last transmission.

    Raises ScriptError if there is none.
    """
    last = None
    for octets in pieces:
        last = peer.case.send_packet(octets, describe(octets))
    if last is None:
        raise ScriptError("fragments: nothing to send")
    return last


def send_cut(peer: Peer, what: str | Segment, *at: int, order: Sequence[int] = (), **fields: Any) -> Transmission:
    """Send a segment in fragments, cut before these octets of its TCP header and payload.

    `order` are the numbers of the fragments as they go out, by default 0, 1, 2 and so on.
    """
    segment, whole = datagram(peer, what, **fields)
    pieces = whole.cut(*at)
    last = send_pieces(peer, [pieces[number] for number in order] if order else pieces)
    peer.sent(segment, last)
    return last


def describe(octets: bytes) -> str:
    """A fragment in a few words: which octets it carries, and whether others follow."""
    packet = ip.dissect(octets)
    if packet is None:
        return f"IP packet, {len(octets)} octets"
    if packet.ipv6:
        field, identification = struct.unpack_from(">HI", packet.raw, 42)
        more = field & 1
    else:
        identification, field = struct.unpack_from(">HH", packet.raw, 4)
        more = field & _MORE4
    start = ip.fragment_offset(packet)
    end = start + len(packet.payload)
    return f"IP fragment {identification}, octets {start}:{end}, {'more to come' if more else 'the last'}"
