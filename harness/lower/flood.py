# SPDX-License-Identifier: GPL-2.0-or-later
"""A SYN flood: forged SYNs with distinct four-tuples, as fast as the link takes them (RFC 4987, section 2).

No frame is built by itself. One buffer holds copies of a template, and each octet that varies is written down its
column. What varies is the low octet of the source address and the source port; the sequence number (and over IPv4 the
identification) carries their complement, so that every ones' complement sum stays what it is in the template and no
checksum has to be computed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from ..wire.codec import encode
from ..wire.errors import ScriptError
from ..wire.segment import SYN, Flow, Kind, Option, Segment
from .case import Case
from .fingerprint import FLOOD

SOURCES: Final[dict[int, IPv4Network | IPv6Network]] = {
    4: IPv4Network("198.51.100.128/25"), 16: IPv6Network("2001:db8:f::f:80/121")}
"""Where the SYNs come from in a lab, by the length of an address. No peer of a case ever speaks from there."""

_ADDRESSES: Final = bytes(range(128, 255))
_LOW_PORTS: Final = bytes(range(256))
_HIGH_PORTS: Final = bytes(range(32, 256))
_ROUND: Final = len(_ADDRESSES) * len(_LOW_PORTS)
"""So many SYNs share the high octet of their port."""
TUPLES: Final = _ROUND * len(_HIGH_PORTS)
"""How many distinct four-tuples there are towards one port."""

_COMPLEMENT: Final = bytes(range(255, -1, -1))
_ROUND_ADDRESSES: Final = _ADDRESSES * len(_LOW_PORTS)
_ROUND_LOW_PORTS: Final = b"".join(bytes((octet,)) * len(_ADDRESSES) for octet in _LOW_PORTS)
_ETHERNET: Final = 14
_KEPT: Final = 8
"""Slices that are kept once they are built, a megabyte each."""
_SLICE: Final = 1 << 14
"""SYNs that are built at a time: enough to be quick, few enough to stay in the processor's cache and to keep time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volley:
    """What one flood came to: how many SYNs went out, and in how many seconds of wall time, building included."""

    count: int
    elapsed_s: float

    @property
    def rate_per_s(self) -> float:
        """SYNs a second."""
        return self.count / self.elapsed_s


def sources_in(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """The part of a network for forged sources that is left to floods: its peers' addresses are at its beginning."""
    if network.version == 4:
        return IPv4Network((int(network.broadcast_address) - 127, 25))
    return IPv6Network((int(network.network_address) + 0xF0080, 121))


def forged_syns(header: bytes, target: bytes, port: int, *, first: int, count: int,
                source: IPv4Network | IPv6Network | None = None) -> tuple[bytearray, int]:
    """`count` Ethernet frames with a SYN to that address and port each, one behind the other, and the size of one.

    `header` is the Ethernet header (14 octets), `target` the packed address, `source` of what `sources_in` says (None:
    the lab's). Four-tuple number `first` comes first; no two of the `TUPLES` numbers are the same. Raises ScriptError
    for a number beyond them.
    """
    if not 0 <= first <= first + count <= TUPLES:
        raise ScriptError(f"flood: four-tuples {first}..{first + count - 1}; allowed 0..{TUPLES - 1}")
    template = header + _template(target, port, source or SOURCES[len(target)])
    size = len(template)
    frames = bytearray(template * count)
    tcp = size - 24
    address, low, high = _columns(first, count)
    complement = address.translate(_COMPLEMENT)
    if len(target) == 4:
        frames[_ETHERNET + 5::size] = complement
    frames[tcp - (5 if len(target) == 4 else 17)::size] = address
    frames[tcp::size] = high
    frames[tcp + 1::size] = low
    frames[tcp + 5::size] = complement
    frames[tcp + 6::size] = high.translate(_COMPLEMENT)
    frames[tcp + 7::size] = low.translate(_COMPLEMENT)
    return frames, size


def _columns(first: int, count: int) -> tuple[bytes, bytes, bytes]:
    """The low octet of the source address, the low and the high octet of the port, of each SYN."""
    start, end = first // _ROUND, (first + count - 1) // _ROUND + 1
    at = first - start * _ROUND
    rounds = end - start
    high = b"".join(bytes((octet,)) * _ROUND for octet in _HIGH_PORTS[start:end])
    return tuple(column[at:at + count]  # type: ignore[return-value]
                 for column in (_ROUND_ADDRESSES * rounds, _ROUND_LOW_PORTS * rounds, high))


def _template(target: bytes, port: int, network: IPv4Network | IPv6Network) -> bytes:
    """The packet of the first four-tuple, whose checksums are those of all others."""
    source = network.network_address.packed[:-1] + _ADDRESSES[:1]
    source_port = _HIGH_PORTS[0] << 8
    syn = Segment(flags=SYN, seq=(_COMPLEMENT[_ADDRESSES[0]] << 16) + (source_port ^ 0xFFFF),
                  options=(Option.of(Kind.MSS, (1460).to_bytes(2, "big")),))
    packet = encode(syn, Flow(local=source, local_port=source_port, target=target, target_port=port))
    if len(target) == 16:
        return packet
    return _with_identification(packet, _COMPLEMENT[_ADDRESSES[0]])


def _with_identification(packet: bytes, number: int) -> bytes:
    """The IPv4 packet with that identification instead of 0, and the header checksum that goes with it."""
    checksum = (int.from_bytes(packet[10:12], "big") - number) % 0xFFFF
    return packet[:4] + number.to_bytes(2, "big") + packet[6:10] + checksum.to_bytes(2, "big") + packet[12:]


_forged = lru_cache(maxsize=_KEPT)(forged_syns)
"""An audit plays the same flood again and again."""


class Flood:
    """Forged SYNs to one port of the target.

    What the target answers to the forged addresses is not heard, from the first SYN until the link is closed: it says
    nothing that the target's half-open count and a legal client do not, and comes in numbers that no buffer holds.
    """

    def __init__(self, case: Case, port: int) -> None:
        self.port = port
        self.sent = 0
        self._case = case
        self._source = sources_in(case.forged)
        link = case.injector.link
        self._header = link.target_mac + link.mac + (b"\x86\xdd" if len(case.addresses.target) == 16 else b"\x08\x00")

    def send(self, count: int, *, within_s: float = 5.0) -> Volley:
        """Send up to `count` SYNs, none like any that this flood has sent before, in at most `within_s` seconds.

        A target that runs as code of ours takes a part of them only; what has been sent is in the result. Raises
        LinkError, and ScriptError once the `TUPLES` four-tuples are used up.
        """
        link = self._case.injector.link
        self._case.changed[self.port].add(FLOOD)
        link.ignore((self._source,))
        began = time.perf_counter()
        first, wanted = self.sent, self.sent + count
        while self.sent < wanted and time.perf_counter() - began < within_s:
            size = min(_SLICE, wanted - self.sent)
            frames, frame_size = _forged(self._header, self._case.addresses.target, self.port, first=self.sent,
                                         count=size, source=self._source)
            taken = link.burst(frames, frame_size)
            self.sent += taken
            if taken < size:
                break
        volley = Volley(count=self.sent - first, elapsed_s=max(time.perf_counter() - began, 1e-9))
        self._case.step("injector", f"{volley.count} forged SYNs from {self._source} to port {self.port}")
        return volley
