# SPDX-License-Identifier: GPL-2.0-or-later
"""An Ethernet frame taken apart into octets that can be changed one by one, and put together again.

The codec makes segments of values; a lie is about octets, also those that no value of ours has (a length that lies, a
checksum that is off by one). So the parts are buffers, and only what is asked for is mended.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..wire import ip
from ..wire.codec import decode, encode_options
from ..wire.frame import Frame
from ..wire.segment import Option, Segment

_ETHERNET = 14
_TCP_HEADER = 20
_UDP_CHECKSUM = 6
_ICMPV6 = 58
_CHECKSUM_AT = {ip.TCP: 16, ip.UDP: _UDP_CHECKSUM, 1: 2, _ICMPV6: 2}


@dataclass(slots=True, kw_only=True)
class Parts:
    """One frame: the Ethernet header, the IP header with its extensions, and what follows."""

    ethernet: bytes
    header: bytearray
    body: bytearray
    packet: ip.Packet

    @classmethod
    def of(cls, frame: Frame) -> Parts | None:
        """The parts of a frame, None if no IP packet is in it."""
        packet = ip.dissect(frame.data[_ETHERNET:])
        if packet is None:
            return None
        start = len(packet.raw) - len(packet.payload)
        return cls(ethernet=frame.data[:_ETHERNET], header=bytearray(packet.raw[:start]),
                   body=bytearray(packet.payload), packet=packet)

    @property
    def segment(self) -> Segment | None:
        """The TCP segment as it was before anything was changed."""
        return decode(self.packet)

    @property
    def ipv6(self) -> bool:
        """True if this is an IPv6 packet."""
        return self.packet.ipv6

    # -- changes -----------------------------------------------------------------------------------------------------

    def add(self, at: int, size: int, amount: int) -> None:
        """Add to the big-endian number of `size` octets at `at` of what follows the IP header, modulo its range."""
        number = int.from_bytes(self.body[at:at + size], "big")
        self.put(at, size, number + amount)

    def put(self, at: int, size: int, number: int) -> None:
        """Write a number there, modulo its range."""
        self.body[at:at + size] = (number % (1 << 8 * size)).to_bytes(size, "big")

    def number(self, at: int, size: int) -> int:
        """The number that stands there."""
        return int.from_bytes(self.body[at:at + size], "big")

    @property
    def data_at(self) -> int:
        """Where the TCP payload begins, as the data offset says."""
        return min(max(4 * (self.body[12] >> 4), _TCP_HEADER), len(self.body))

    def set_options(self, options: tuple[Option, ...]) -> bool:
        """Put other options in the place of the segment's, padded to a whole word; False if they do not fit."""
        octets = encode_options(options)
        octets += bytes(-len(octets) % 4)
        if len(octets) > 40:
            return False
        self.body[_TCP_HEADER:self.data_at] = octets
        self.body[12] = (self.body[12] & 0x0F) | (5 + len(octets) // 4) << 4
        return True

    # -- together again ----------------------------------------------------------------------------------------------

    def mended(self, *, checksum: bool = True) -> bytes:
        """The frame, with the lengths and checksums that go with what is in it; `checksum`: the transport's too."""
        if self.ipv6:
            struct.pack_into(">H", self.header, 4, len(self.header) - 40 + len(self.body))
        else:
            struct.pack_into(">H", self.header, 2, len(self.header) + len(self.body))
        if checksum:
            self._mend_transport()
        return self.joined()

    def _mend_transport(self) -> None:
        protocol = self.packet.protocol
        at = _CHECKSUM_AT.get(protocol)
        if at is None or self.packet.fragment or len(self.body) < at + 2:
            return
        struct.pack_into(">H", self.body, at, 0)
        total = 0
        if protocol != 1:
            total = ip.pseudo_header_sum(self.packet.source, self.packet.destination, protocol, len(self.body))
        struct.pack_into(">H", self.body, at, ip.internet_checksum(bytes(self.body), total))

    def joined(self) -> bytes:
        """The frame as it stands, with the right IPv4 header checksum: routers would not have let another through."""
        if not self.ipv6:
            struct.pack_into(">H", self.header, 10, 0)
            struct.pack_into(">H", self.header, 10, ip.internet_checksum(bytes(self.header)))
        return b"".join((self.ethernet, self.header, self.body))
