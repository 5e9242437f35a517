# SPDX-License-Identifier: GPL-2.0-or-later
"""IP packets: taken apart, put together, and summed up (RFC 791, RFC 8200, RFC 1071).

A packet is a plain run of octets from the IP header on, without Ethernet. Addresses are packed: 4 octets for IPv4, 16
for IPv6. What we send carries no IP options and no extension headers; a case that wants those builds them with scapy.

The ones' complement sum of 16-bit words is the octets read as one big number, modulo 65535, because 2**16 leaves 1.
That is two calls into C for a whole packet, and parts (pseudo header, header, payload) simply add up.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from .errors import ScriptError

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMPV6: Final = 58

DEFAULT_TTL: Final = 64

_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_IPV6 = struct.Struct(">IHBB16s16s")
_UDP = struct.Struct(">HHHH")
_DONT_FRAGMENT: Final = 0x4000
_PIECE4: Final = 0x3FFF
"""More-fragments bit and fragment offset: any of them set makes an IPv4 packet a piece."""
_PIECE6: Final = 0xFFF9
"""Fragment offset and more-fragments bit of an IPv6 fragment header; both zero is an atomic fragment (RFC 6946)."""
_FRAGMENT: Final = 44
_EXTENSIONS: Final = frozenset((0, 43, _FRAGMENT, 60))
"""Hop-by-hop options, routing, fragment, destination options."""
_LARGEST: Final = 0xFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One IP packet with its header read.

    `protocol` is the transport's, behind any IPv6 extension header; of a piece of a datagram (`fragment`) it is what
    the fragment header names, and `payload` is the piece. `ttl` is the hop limit in IPv6, `traffic_class` the TOS
    octet in IPv4. `raw` holds the packet without the padding that Ethernet may have put behind it.
    """

    source: bytes
    destination: bytes
    protocol: int
    ttl: int
    traffic_class: int
    fragment: bool
    payload: bytes
    raw: bytes

    @property
    def ipv6(self) -> bool:
        """True if this is an IPv6 packet."""
        return len(self.source) == 16


def dissect(octets: bytes) -> Packet | None:
    """Read an IP packet; None if it is none, or is shorter than its header says.

    IPv4 options are stepped over, IPv6 extension headers walked through. The IPv4 header checksum is not looked at:
    `header_is_good` does that.
    """
    return _dissect(octets, whole=True)


def dissect_quote(octets: bytes) -> Packet | None:
    """Read the packet that an ICMP error quotes, which may end before its header says (RFC 792, RFC 4443)."""
    return _dissect(octets, whole=False)


def _dissect(octets: bytes, *, whole: bool) -> Packet | None:
    version = octets[0] >> 4 if octets else 0
    if version == 4 and len(octets) >= 20:
        return _dissect_ipv4(octets, whole)
    if version == 6 and len(octets) >= 40:
        return _dissect_ipv6(octets, whole)
    return None


def _dissect_ipv4(octets: bytes, whole: bool) -> Packet | None:
    first, tos, end, _, piece, ttl, protocol, _, source, destination = _IPV4.unpack_from(octets)
    start = (first & 0x0F) * 4
    if not whole:
        end = min(end, len(octets))
    if start < 20 or not start <= end <= len(octets):
        return None
    return Packet(source=source, destination=destination, protocol=protocol, ttl=ttl, traffic_class=tos,
                  fragment=bool(piece & _PIECE4), payload=octets[start:end], raw=octets[:end])


def _dissect_ipv6(octets: bytes, whole: bool) -> Packet | None:
    word, length, protocol, ttl, source, destination = _IPV6.unpack_from(octets)
    end = 40 + length
    if not whole:
        end = min(end, len(octets))
    if end > len(octets):
        return None
    start, piece = 40, False
    while protocol in _EXTENSIONS and not piece:
        after = start + 8
        if after <= end and protocol == _FRAGMENT:
            piece = bool(int.from_bytes(octets[start + 2:start + 4], "big") & _PIECE6)
        elif after <= end:
            after += 8 * octets[start + 1]
        if after > end:
            return None
        protocol, start = octets[start], after
    return Packet(source=source, destination=destination, protocol=protocol, ttl=ttl, traffic_class=word >> 20 & 0xFF,
                  fragment=piece, payload=octets[start:end], raw=octets[:end])


def fragment_offset(packet: Packet) -> int:
    """Where a piece begins in its datagram, in octets behind the IP header; 0 for a whole packet.

    In IPv6 only a fragment header right behind the IP header is looked at.
    """
    if not packet.fragment:
        return 0
    if not packet.ipv6:
        return (int.from_bytes(packet.raw[6:8], "big") & 0x1FFF) * 8
    return int.from_bytes(packet.raw[42:44], "big") & 0xFFF8 if packet.raw[6] == _FRAGMENT else 0


def identification(packet: Packet) -> int | None:
    """What the pieces of one datagram have in common; None for a whole packet.

    In IPv6 only a fragment header right behind the IP header is looked at.
    """
    if not packet.fragment:
        return None
    if not packet.ipv6:
        return int.from_bytes(packet.raw[4:6], "big")
    return int.from_bytes(packet.raw[44:48], "big") if packet.raw[6] == _FRAGMENT else None


def header_is_good(packet: Packet) -> bool:
    """True if the IPv4 header checksum is right (RFC 791, 3.1); IPv6 has none, so always True."""
    return header_checksum_is_good(packet.raw)


def header_checksum_is_good(raw: bytes) -> bool:
    """The same of a whole packet's octets."""
    if raw[0] >> 4 == 6:
        return True
    return int.from_bytes(raw[:(raw[0] & 0x0F) * 4], "big") % _LARGEST == 0


def octet_sum(octets: bytes) -> int:
    """The octets as one number whose remainder modulo 65535 is their ones' complement sum (RFC 1071).

    An odd last octet counts as the high half of a word.
    """
    total = int.from_bytes(octets, "big")
    return total << 8 if len(octets) & 1 else total


def pseudo_header_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """The sum of the pseudo header, `length` in octets of the transport (RFC 9293, 3.1; RFC 8200, 8.1)."""
    return int.from_bytes(source, "big") + int.from_bytes(destination, "big") + protocol + length


def internet_checksum(octets: bytes, initial: int = 0) -> int:
    """The value for the checksum field, over octets in which that field is 0 (RFC 1071).

    `initial` is added in, for a pseudo header. Over octets that hold a right checksum the result is 0.
    """
    total = initial + octet_sum(octets)
    return -total % _LARGEST if total else _LARGEST


def check_range(what: str, value: int, lowest: int, highest: int) -> None:
    """Raise ScriptError naming the field, its value and what is allowed, unless the value is."""
    if not lowest <= value <= highest:
        raise ScriptError(f"{what} {value} is out of range; allowed {lowest}..{highest}")


def ip_header(source: bytes, destination: bytes, protocol: int, length: int,
              ttl: int = DEFAULT_TTL, traffic_class: int = 0) -> bytes:
    """The IP header for a payload of `length` octets; IPv4 has DF set and identification 0 (RFC 6864, 4.1).

    Raises ScriptError if a value does not fit or the addresses are not of one family.
    """
    if not (0 <= ttl <= 255 and 0 <= traffic_class <= 255 and 0 <= protocol <= 255):
        check_range("ttl", ttl, 0, 255)
        check_range("traffic_class", traffic_class, 0, 255)
        check_range("protocol", protocol, 0, 255)
    if len(source) == len(destination) == 4:
        total = length + 20
        if total > _LARGEST:
            raise ScriptError(f"IPv4 payload of {length} octets is too long; allowed 0..{_LARGEST - 20}")
        words = (0x4500 + traffic_class + total + _DONT_FRAGMENT + (ttl << 8) + protocol
                 + int.from_bytes(source, "big") + int.from_bytes(destination, "big"))
        return _IPV4.pack(0x45, traffic_class, total, 0, _DONT_FRAGMENT, ttl, protocol, -words % _LARGEST,
                          source, destination)
    if len(source) == len(destination) == 16:
        if length > _LARGEST:
            raise ScriptError(f"IPv6 payload of {length} octets is too long; allowed 0..{_LARGEST}")
        return _IPV6.pack(6 << 28 | traffic_class << 20, length, protocol, ttl, source, destination)
    raise ScriptError(f"addresses of {len(source)} and {len(destination)} octets; allowed 4 and 4, or 16 and 16")


def ip_packet(source: bytes, destination: bytes, protocol: int, payload: bytes,
              ttl: int = DEFAULT_TTL, traffic_class: int = 0) -> bytes:
    """A whole IP packet around any payload; errors as `ip_header`."""
    return ip_header(source, destination, protocol, len(payload), ttl, traffic_class) + payload


def encode_udp(*, source: bytes, destination: bytes, source_port: int, destination_port: int, payload: bytes = b"",
               checksum: int | None = None, ttl: int = DEFAULT_TTL, traffic_class: int = 0) -> bytes:
    """A UDP datagram as a whole IP packet (RFC 768); a given checksum is put as it is.

    Raises ScriptError if a value does not fit.
    """
    length = 8 + len(payload)
    check_range("source_port", source_port, 0, 0xFFFF)
    check_range("destination_port", destination_port, 0, 0xFFFF)
    header = ip_header(source, destination, UDP, length, ttl, traffic_class)
    check_range("UDP length", length, 8, _LARGEST)
    if checksum is None:
        datagram = _UDP.pack(source_port, destination_port, length, 0) + payload
        # 0 in the field would say "no checksum", so a sum of 0 is sent as its other form (RFC 768).
        checksum = internet_checksum(datagram, pseudo_header_sum(source, destination, UDP, length)) or _LARGEST
    check_range("checksum", checksum, 0, 0xFFFF)
    return header + _UDP.pack(source_port, destination_port, length, checksum) + payload
