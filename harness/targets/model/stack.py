# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole stack: which segment is whose, CLOSED's steps of SEGMENT ARRIVES, listeners and connections.

`take` gives it one IP packet, `run` lets time pass; `sent` is what it sends, `next_ns` when it wants to be run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...wire import seq
from ...wire.codec import decode, encode
from ...wire.ip import Packet
from ...wire.segment import ACK, RST, Checksum, Flow, Segment
from .connection import Connection
from .listener import Listener
from .secret import Secret
from .states import CLOSED, SEGMENT_ARRIVES, Row
from .timers import Timers
from .values import Values

Key = tuple[bytes, int, bytes, int]
"""Our address and port, the peer's address and port."""


class Stack:
    """TCP of one host. `addresses` are its own, packed."""

    table: Mapping[str, Row] = SEGMENT_ARRIVES
    make_secret: type[Secret] = Secret

    def __init__(self, values: Values, addresses: Collection[bytes], *, mtu: int, seed: int,
                 connection: type[Connection] = Connection, listener: type[Listener] = Listener) -> None:
        self.values = values
        self.addresses = frozenset(addresses)
        self.mtu = mtu
        self.now_ns = 0
        self.secret = self.make_secret(seed, values.isn_rate_per_s)
        self.timers = Timers()
        self.connections: dict[Key, Connection] = {}
        self.listeners: dict[tuple[bytes, int], Listener] = {}
        self.sent: list[bytes] = []
        self._connection = connection
        self._listener = listener

    def connection(self, flow: Flow) -> Connection:
        """A connection that nobody knows of yet."""
        return self._connection(self, flow)

    # -- what arrives ------------------------------------------------------------------------------------------------

    def take_segment(self, packet: Packet) -> None:
        """A TCP packet for this host: to its connection, its listener, or to CLOSED."""
        segment = decode(packet)
        if segment is None or not self.is_sound(segment, len(packet.payload)):
            return
        flow = Flow(local=packet.destination, local_port=segment.destination_port or 0, target=packet.source,
                    target_port=segment.source_port or 0)
        connection = self.connections.get(key_of(flow))
        if connection is not None:
            connection.arrives(segment)
        elif (listener := self.listener_of(flow)) is not None:
            listener.arrives(segment, flow)
        else:
            self.arrives_closed(segment, flow)

    def is_sound(self, segment: Segment, size: int) -> bool:
        """The right checksum, and a data offset inside the segment (RFC 9293, MUST-3 and 3.1)."""
        return self.checksum_is_right(segment) and self.offset_is_possible(segment, size)

    def checksum_is_right(self, segment: Segment) -> bool:
        """What has a wrong one never arrived."""
        return segment.verdict is Checksum.GOOD

    def offset_is_possible(self, segment: Segment, size: int) -> bool:
        """Five words at least, and no more than there is."""
        return 20 <= 4 * (segment.offset or 0) <= size

    def listener_of(self, flow: Flow) -> Listener | None:
        """Who listens at our end of this flow."""
        return self.listeners.get((flow.local, flow.local_port))

    # -- CLOSED ------------------------------------------------------------------------------------------------------

    def arrives_closed(self, segment: Segment, flow: Flow) -> None:
        """SEGMENT ARRIVES in CLOSED."""
        for step in self.table[CLOSED]:
            if getattr(self, step)(segment, flow):
                return

    def ignore_reset(self, segment: Segment, flow: Flow) -> bool:
        """A reset is never answered."""
        return segment.has(RST)

    def reset_at_acknowledgement(self, segment: Segment, flow: Flow) -> bool:
        """With ACK: RST at the number that was acknowledged (RFC 9293, 3.10.7.1)."""
        if not segment.has(ACK):
            return False
        self.send_segment(Segment(flags=RST, seq=segment.ack, window=self.values.closed_port_window), flow)
        return True

    def reset_with_acknowledgement(self, segment: Segment, flow: Flow) -> bool:
        """Without: RST at 0, which acknowledges all that came."""
        ack = seq.add(segment.seq or 0, self.length_in_reset(segment))
        self.send_segment(Segment(flags=RST | ACK, seq=0, ack=ack, window=self.values.closed_port_window), flow)
        return True

    def length_in_reset(self, segment: Segment) -> int:
        """SEG.LEN: text, and one each for SYN and FIN."""
        return segment.length

    # -- what is sent ------------------------------------------------------------------------------------------------

    def send_segment(self, segment: Segment, flow: Flow) -> None:
        """Put a segment on the wire."""
        self.sent.append(encode(segment, flow))

    # -- the application ---------------------------------------------------------------------------------------------

    def listen(self, address: bytes, port: int, backlog: int, settings: Mapping[str, int]) -> Listener | None:
        """A listener, or None if the port is taken."""
        if (address, port) in self.listeners:
            return None
        self.listeners[address, port] = listener = self._listener(self, address, port, backlog, settings)
        return listener

    def connect(self, flow: Flow) -> Connection | None:
        """A connection that can be opened from `flow.local`, or None if there is one."""
        known = self.connections.get(key_of(flow))
        if known is not None:
            return None
        connection = self.connection(flow)
        self.connections[connection.key] = connection
        return connection

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        if self.connections.get(connection.key) is connection:
            del self.connections[connection.key]
        if connection.listener is not None:
            connection.listener.forget(connection)

    def half_open(self, port: int) -> int:
        """Connections of the listeners on a port that are in SYN-RECEIVED."""
        return sum(len(listener.half_open) for listener in self.listeners.values() if listener.port == port)

    # -- time --------------------------------------------------------------------------------------------------------

    def next_ns(self) -> int | None:
        """When something is due, None if nothing is."""
        return self.timers.next_ns()

    def run(self, now_ns: int) -> None:
        """It is now: do what is due."""
        self.now_ns = now_ns
        self.timers.expire(now_ns)


def key_of(flow: Flow) -> Key:
    """What a connection is known by."""
    return flow.local, flow.local_port, flow.target, flow.target_port
