# SPDX-License-Identifier: GPL-2.0-or-later
"""A link as a scapy socket, for those who know scapy: `sr1`, `sr`, `send` and `sniff` on the long-lived link.

This module imports scapy, so it is imported only where a case asks for it.
"""

from __future__ import annotations

import time
from collections import deque
from select import select
from typing import Any, Final, Protocol

from scapy.config import conf
from scapy.data import MTU
from scapy.layers.l2 import Dot3, Ether
from scapy.packet import Packet, Raw
from scapy.supersocket import SuperSocket

from .errors import ScriptError
from .frame import Frame

_NANO: Final = 1e-9


class LinkLike(Protocol):
    """What the adapter needs of a link."""

    def send_bytes(self, frame: bytes) -> object:
        """Send one Ethernet frame."""

    def recv_frame(self) -> Frame | None:
        """The next frame if there is one; never blocks."""

    def fileno(self) -> int:
        """The descriptor that turns readable when a frame comes."""


class LinkSuperSocket(SuperSocket):  # type: ignore[misc,unused-ignore]
    """A scapy layer 2 socket on a link of ours.

    `epoch_ns` is the instant 0 of the link's stamps in nanoseconds since 1970, so that `Packet.time` means what scapy
    users expect. Frames that we sent ourselves are not received. Closing it leaves the link open: it is not its owner.

    Raises ScriptError for a link without a descriptor: scapy waits in real time, and a stepped target does not.
    """

    desc = "a link of tcpqual"

    def __init__(self, link: LinkLike, *, epoch_ns: int = 0) -> None:
        if link.fileno() < 0:
            raise ScriptError("scapy cannot wait on this link; allowed: a link with a descriptor, in real time")
        self.link = link
        self.epoch_ns = epoch_ns
        self._ready: deque[Frame] = deque()

    def send(self, x: Packet | bytes) -> int:
        """Send an Ethernet frame, built by scapy or given in octets; returns how many octets it has.

        Raises ScriptError for a packet that does not begin with Ethernet: the adapter knows no MAC addresses.
        """
        if not isinstance(x, (bytes, bytearray, Ether, Dot3, Raw)):
            raise ScriptError(f"cannot send {type(x).__name__} on a link; allowed: an Ether packet, or octets")
        octets = bytes(x)
        if isinstance(x, Packet):
            x.sent_time = time.time()
        self.link.send_bytes(octets)
        return len(octets)

    def recv_raw(self, x: int = MTU) -> tuple[type[Packet] | None, bytes | None, float | None]:
        """The next frame received, cut to `x` octets, and its time in seconds since 1970; None thrice if none came."""
        if not self._fetch():
            return None, None, None
        frame = self._ready.popleft()
        return Ether, frame.data[:x], (self.epoch_ns + frame.stamp_ns) * _NANO

    def _fetch(self) -> bool:
        while not self._ready:
            frame = self.link.recv_frame()
            if frame is None:
                return False
            if not frame.outgoing:
                self._ready.append(frame)
        return True

    def fileno(self) -> int:
        """The link's descriptor."""
        return self.link.fileno()

    def close(self) -> None:
        """Take no more part; the link stays open."""
        self.closed = True

    @staticmethod
    def select(sockets: list[Any], remain: float | None = conf.recv_poll_rate) -> list[Any]:
        """Those of the sockets that have a packet, waiting at most `remain` seconds for one (scapy's interface)."""
        # The link may hold frames that it has read ahead, for which its descriptor is no longer readable.
        ready = [socket for socket in sockets if _has_packet(socket)]
        if ready:
            return ready
        readable, _, _ = select(sockets, [], [], remain)
        return [socket for socket in readable if not isinstance(socket, LinkSuperSocket) or socket._fetch()]


def _has_packet(socket: Any) -> bool:
    return isinstance(socket, LinkSuperSocket) and socket._fetch()
