# SPDX-License-Identifier: GPL-2.0-or-later
"""The layer below TCP: IP in, ICMP both ways, and a UDP on which nobody listens (RFC 1122, 3; RFC 4443)."""

from __future__ import annotations

import struct
from typing import Final

from ...wire import ip
from ...wire.icmp import IcmpMessage, IcmpType, Icmpv6Type, decode_icmp, encode_icmp, icmp_error
from ...wire.ip import Packet
from ...wire.segment import Flow
from .reassembly import Reassembly
from .stack import Stack, key_of

_PORTS_AND_NUMBER: Final = struct.Struct(">HHI")
_UDP_HEADER: Final = 8

PORT_UNREACHABLE: Final = {4: (IcmpType.UNREACHABLE, 3), 16: (Icmpv6Type.UNREACHABLE, 4)}
REASSEMBLY_TIME: Final = {4: (IcmpType.TIME_EXCEEDED, 1), 16: (Icmpv6Type.TIME_EXCEEDED, 1)}

HARD: Final = {
    4: {(3, 2): "ENOPROTOOPT", (3, 3): "ECONNREFUSED"},
    16: {(1, 1): "EACCES", (1, 4): "ECONNREFUSED"},
}
"""Errors that end an attempt, and what the application is told (RFC 1122, 4.2.3.9), by the length of an address."""
SOFT: Final = {
    4: {(3, 0): "ENETUNREACH", (3, 1): "EHOSTUNREACH", (3, 5): "EOPNOTSUPP", (11, 0): "EHOSTUNREACH",
        (11, 1): "EHOSTUNREACH", (12, 0): "EPROTO", (12, 1): "EPROTO", (12, 2): "EPROTO"},
    16: {(1, 0): "ENETUNREACH", (1, 2): "EHOSTUNREACH", (1, 3): "EHOSTUNREACH", (3, 0): "EHOSTUNREACH",
         (3, 1): "EHOSTUNREACH", (4, 0): "EPROTO", (4, 1): "EPROTO", (4, 2): "EPROTO"},
}
"""Errors that may pass (RFC 9293, MUST-56)."""
TOO_BIG: Final = {4: (3, 4), 16: (2, 0)}


class Network:
    """IP of one host, around its TCP."""

    def __init__(self, stack: Stack, reassembly: type[Reassembly] = Reassembly) -> None:
        self.stack = stack
        self.reassembly = reassembly(
            time_ns=stack.values.reassembly_ns, now=lambda: stack.now_ns, make_timer=stack.timers.make,
            timed_out=self.reassembly_took_too_long, problem=self.tell_problem)

    def take(self, octets: bytes) -> None:
        """Take an IP packet off the wire."""
        packet = ip.dissect(octets)
        if packet is None or not ip.header_is_good(packet) or not self.is_for_us(packet):
            return
        if packet.fragment:
            whole = self.reassembly.take(packet)
            if whole is None:
                return
            packet = whole
        if packet.protocol == ip.TCP:
            self.take_tcp(packet)
        elif packet.protocol == ip.UDP:
            self.take_udp(packet)
        elif (message := decode_icmp(packet)) is not None and message.good_checksum:
            self.take_icmp(message, packet)

    def is_for_us(self, packet: Packet) -> bool:
        """What is sent to others, or to all, is not for TCP, and draws no error (RFC 1122, 3.2.2; RFC 4443, 2.4)."""
        return packet.destination in self.stack.addresses

    def take_tcp(self, packet: Packet) -> None:
        """Hand it to TCP."""
        self.stack.take_segment(packet)

    # -- UDP ---------------------------------------------------------------------------------------------------------

    def take_udp(self, packet: Packet) -> None:
        """Nobody listens: port unreachable (RFC 1122, 4.1.3.1; RFC 4443, 3.1)."""
        if len(packet.payload) >= _UDP_HEADER and self.udp_checksum_is_right(packet):
            self.tell(packet, *PORT_UNREACHABLE[len(packet.source)])

    def udp_checksum_is_right(self, packet: Packet) -> bool:
        """In IPv4 a checksum of 0 is none (RFC 768)."""
        if packet.payload[6:8] == b"\0\0":
            return not packet.ipv6
        total = ip.pseudo_header_sum(packet.source, packet.destination, ip.UDP, len(packet.payload))
        return (total + ip.octet_sum(packet.payload)) % 0xFFFF == 0

    # -- ICMP out ----------------------------------------------------------------------------------------------------

    def tell(self, packet: Packet, kind: int, code: int, rest: bytes = bytes(4)) -> None:
        """Send an ICMP error about a packet to who has sent it."""
        self.stack.sent.append(icmp_error(packet.raw, type=kind, code=code, rest=rest))

    def reassembly_took_too_long(self, first: Packet) -> None:
        """The rest of a datagram has not come."""
        self.tell(first, *REASSEMBLY_TIME[len(first.source)])

    def tell_problem(self, packet: Packet, code: int, pointer: int) -> None:
        """ICMPv6 parameter problem."""
        self.tell(packet, Icmpv6Type.PARAMETER_PROBLEM, code, pointer.to_bytes(4, "big"))

    # -- ICMP in -----------------------------------------------------------------------------------------------------

    def take_icmp(self, message: IcmpMessage, packet: Packet) -> None:
        """An echo request is answered, an error told to the connection that it quotes, all else ignored."""
        if message.type == (Icmpv6Type.ECHO if message.ipv6 else IcmpType.ECHO) and not message.code:
            kind = Icmpv6Type.ECHO_REPLY if message.ipv6 else IcmpType.ECHO_REPLY
            self.stack.sent.append(encode_icmp(source=packet.destination, destination=packet.source, type=kind, code=0,
                                               rest=message.rest, body=message.body))
        elif message.error:
            self.take_error(message)

    def take_error(self, message: IcmpMessage) -> None:
        """Tell TCP of an error about one of its segments (RFC 9293, MUST-54)."""
        quoted = message.quoted
        if quoted is None or quoted.protocol != ip.TCP or len(quoted.payload) < _PORTS_AND_NUMBER.size:
            return
        ours, theirs, number = _PORTS_AND_NUMBER.unpack_from(quoted.payload)
        flow = Flow(local=quoted.source, local_port=ours, target=quoted.destination, target_port=theirs)
        connection = self.stack.connections.get(key_of(flow))
        if connection is None or not connection.is_in_flight(number):
            return
        what, size = (message.type, message.code), len(quoted.source)
        if what == TOO_BIG[size]:
            connection.hear_mtu(message.mtu)
        elif what in HARD[size]:
            connection.hear_hard_error(HARD[size][what])
        elif what in SOFT[size]:
            connection.hear_soft_error(SOFT[size][what])
