# SPDX-License-Identifier: GPL-2.0-or-later
"""ICMP messages for IPv4 and IPv6: echo, errors that quote a packet, and reading them (RFC 792, RFC 4443)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from .errors import ScriptError
from .ip import (
    DEFAULT_TTL,
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    Packet,
    check_range,
    dissect_quote,
    fragment_offset,
    identification,
    internet_checksum,
    ip_packet,
    pseudo_header_sum,
)

_HEADER = struct.Struct(">BBH4s")
_QUOTE_LIMIT: Final = {4: 576 - 28, 16: 1280 - 48}
"""Octets that an error may quote: what fits in 576 octets (RFC 1812, 4.3.2.3) or 1280 (RFC 4443, 2.4), by address."""

_NEIGHBOUR_DISCOVERY: Final = (*range(130, 138), 143)


class IcmpType:
    """Message types of ICMP for IPv4."""

    ECHO_REPLY: Final = 0
    UNREACHABLE: Final = 3
    ECHO: Final = 8
    TIME_EXCEEDED: Final = 11
    PARAMETER_PROBLEM: Final = 12


class Icmpv6Type:
    """Message types of ICMPv6."""

    UNREACHABLE: Final = 1
    TOO_BIG: Final = 2
    TIME_EXCEEDED: Final = 3
    PARAMETER_PROBLEM: Final = 4
    ECHO: Final = 128
    ECHO_REPLY: Final = 129
    NEIGHBOUR_SOLICITATION: Final = 135
    NEIGHBOUR_ADVERTISEMENT: Final = 136


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpMessage:
    """One ICMP message as received.

    `rest` holds the 4 octets behind the checksum, whose meaning the type gives; `body` what follows, the quoted packet
    in an error. `stamp_ns` is an instant of the target's clock, in nanoseconds.
    """

    type: int
    code: int
    rest: bytes
    body: bytes
    ipv6: bool
    good_checksum: bool
    stamp_ns: int | None = None
    source: bytes = b""
    destination: bytes = b""

    @property
    def error(self) -> bool:
        """True for a message that quotes a packet: an error, or IPv4's source quench and redirect."""
        return self.type < 128 if self.ipv6 else self.type in (3, 4, 5, 11, 12)

    @property
    def quoted_ports(self) -> tuple[int, ...]:
        """The ports of the packet that an error quotes; none of a later fragment, or of a protocol that has none."""
        quoted = self.quoted
        if quoted is None or quoted.protocol not in (TCP, UDP) or len(quoted.payload) < 4 or fragment_offset(quoted):
            return ()
        return struct.unpack_from(">HH", quoted.payload)

    @property
    def quoted_identification(self) -> int | None:
        """The identification of the fragment that an error quotes; None if it quotes none."""
        quoted = self.quoted
        return None if quoted is None else identification(quoted)

    def unlike(self, kind: int, code: int, quoting: bytes) -> list[str]:
        """What of it is not of that type and code, has a wrong checksum, or does not quote that."""
        return [name for name, same in (("type", self.type == kind), ("code", self.code == code),
                                        ("checksum", self.good_checksum), ("quote", quoting in self.body)) if not same]

    def __str__(self) -> str:
        return f"ICMP{'v6' if self.ipv6 else ''} type {self.type} code {self.code}"

    @property
    def neighbour_discovery(self) -> bool:
        """True for what a host says of itself and its neighbours unasked: listeners, routers, neighbours (ICMPv6)."""
        return self.ipv6 and self.type in _NEIGHBOUR_DISCOVERY

    @property
    def mtu(self) -> int:
        """The MTU in octets of *fragmentation needed* (RFC 1191) and *packet too big*; other messages: no meaning."""
        return int.from_bytes(self.rest if self.ipv6 else self.rest[2:], "big")

    @property
    def quoted(self) -> Packet | None:
        """The packet that an error quotes, cut as it may be; None if there is none."""
        return dissect_quote(self.body) if self.error else None


def decode_icmp(packet: Packet, stamp_ns: int | None = None) -> IcmpMessage | None:
    """The ICMP message in a packet; None for another protocol, a piece of a datagram, or fewer than 8 octets."""
    payload = packet.payload
    if packet.protocol != (ICMPV6 if packet.ipv6 else ICMP) or packet.fragment or len(payload) < _HEADER.size:
        return None
    kind, code, _, rest = _HEADER.unpack_from(payload)
    total = pseudo_header_sum(packet.source, packet.destination, ICMPV6, len(payload)) if packet.ipv6 else 0
    return IcmpMessage(type=kind, code=code, rest=rest, body=payload[_HEADER.size:], ipv6=packet.ipv6,
                       good_checksum=internet_checksum(payload, total) == 0, stamp_ns=stamp_ns,
                       source=packet.source, destination=packet.destination)


def encode_icmp(*, source: bytes, destination: bytes, type: int, code: int, rest: bytes = bytes(4), body: bytes = b"",
                ttl: int = DEFAULT_TTL, traffic_class: int = 0, checksum: int | None = None) -> bytes:
    """An ICMP message as a whole IP packet, ICMPv6 if the addresses are; a given checksum is put as it is.

    Raises ScriptError if a value does not fit or `rest` is not 4 octets.
    """
    check_range("type", type, 0, 255)
    check_range("code", code, 0, 255)
    if len(rest) != 4:
        raise ScriptError(f"rest of an ICMP header has {len(rest)} octets; allowed 4")
    protocol, total = ICMP, 0
    if len(source) == 16:
        protocol = ICMPV6
        total = pseudo_header_sum(source, destination, ICMPV6, _HEADER.size + len(body))
    if checksum is None:
        checksum = internet_checksum(_HEADER.pack(type, code, 0, rest) + body, total)
    check_range("checksum", checksum, 0, 0xFFFF)
    return ip_packet(source, destination, protocol, _HEADER.pack(type, code, checksum, rest) + body, ttl,
                     traffic_class)


def icmp_error(offending: bytes, *, type: int, code: int, source: bytes | None = None,
               destination: bytes | None = None, mtu: int = 0, rest: bytes | None = None,
               quote: int | None = None, ttl: int = DEFAULT_TTL) -> bytes:
    """An ICMP error about a packet, as a whole IP packet in the family of that packet.

    It goes from `source` (default: where the offending packet was bound, as a host's own error) to `destination`
    (default: the sender of the offending packet). `mtu`, in octets, fills the place that *fragmentation needed* and
    *packet too big* have for it; `rest` overrides all four octets there. `quote` is how many octets of the packet to
    quote, as many as the RFCs allow if None.

    Raises ScriptError if `offending` is no IP packet or a value does not fit.
    """
    packet = dissect_quote(offending)
    if packet is None:
        raise ScriptError(f"an ICMP error must quote an IP packet, not {offending[:20].hex() or 'nothing'}")
    if rest is None:
        check_range("mtu", mtu, 0, 0xFFFF_FFFF if packet.ipv6 else 0xFFFF)
        rest = mtu.to_bytes(4, "big")
    body = packet.raw[:_QUOTE_LIMIT[len(packet.source)] if quote is None else quote]
    return encode_icmp(source=packet.destination if source is None else source,
                       destination=packet.source if destination is None else destination,
                       type=type, code=code, rest=rest, body=body, ttl=ttl)


def icmp_echo(*, source: bytes, destination: bytes, identifier: int = 0, sequence: int = 0, body: bytes = b"",
              reply: bool = False) -> bytes:
    """An echo request, or an echo reply, as a whole IP packet; ScriptError if a value does not fit."""
    check_range("identifier", identifier, 0, 0xFFFF)
    check_range("sequence", sequence, 0, 0xFFFF)
    if len(source) == 16:
        kind = Icmpv6Type.ECHO_REPLY if reply else Icmpv6Type.ECHO
    else:
        kind = IcmpType.ECHO_REPLY if reply else IcmpType.ECHO
    return encode_icmp(source=source, destination=destination, type=kind, code=0,
                       rest=struct.pack(">HH", identifier, sequence), body=body)
