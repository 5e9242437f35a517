# SPDX-License-Identifier: GPL-2.0-or-later
"""A listening port: LISTEN's steps of SEGMENT ARRIVES, two queues, SYN cookies (RFC 9293, 3.10.7.2; RFC 4987)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...wire import seq
from ...wire.segment import ACK, RST, SYN, Flow, Segment
from .connection import Connection
from .options import DEFAULT_MSS, Offer, mss, offer_of
from .secret import COOKIE_PERIOD_NS
from .states import CLOSED, LISTEN, SYN_RECEIVED, TIME_WAIT
from .tcb import Tcb
from .values import RECEIVE_BUFFER

if TYPE_CHECKING:
    from .stack import Stack

_APART = 1 << 16
"""How far a reopened connection's numbers begin behind the old one's, where the clock has not come so far."""


class Listener:
    """Whoever asks at one address and port."""

    def __init__(self, stack: Stack, address: bytes, port: int, backlog: int, settings: Mapping[str, int]) -> None:
        self.stack = stack
        self.address = address
        self.port = port
        self.backlog = backlog
        self.settings = settings
        self.half_open: set[Connection] = set()
        self.accepted: deque[Connection] = deque()
        self.cookied_ns: int | None = None
        """When the last cookie was sent."""

    # -- room --------------------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many connections the application may leave waiting."""
        return self.backlog + self.stack.values.accept_backlog_extra

    @property
    def half_open_room(self) -> int:
        """How many may be half open."""
        return min(self.room, self.stack.values.syn_backlog)

    def has_room(self) -> bool:
        """True if one more connection may wait for the application."""
        return len(self.accepted) < self.room

    def is_full(self) -> bool:
        """True if no further half-open connection can be kept."""
        return len(self.half_open) >= self.half_open_room

    def is_pressed(self) -> bool:
        """True if more than half of that room is taken."""
        return len(self.half_open) > self.half_open_room // 2

    # -- LISTEN ------------------------------------------------------------------------------------------------------

    def arrives(self, segment: Segment, flow: Flow) -> None:
        """SEGMENT ARRIVES in LISTEN."""
        for step in self.stack.table[LISTEN]:
            if getattr(self, step)(segment, flow):
                return

    def ignore_reset(self, segment: Segment, flow: Flow) -> bool:
        """There is nothing to reset."""
        return segment.has(RST)

    def reset_at_acknowledgement(self, segment: Segment, flow: Flow) -> bool:
        """Nothing was sent, so that any acknowledgement is wrong."""
        return self.stack.reset_at_acknowledgement(segment, flow)

    def drop(self, segment: Segment, flow: Flow) -> bool:
        """Neither ACK nor SYN: nothing is done."""
        return True

    def open_by_syn(self, segment: Segment, flow: Flow) -> bool:
        """A SYN: SYN-RECEIVED, and SYN,ACK; without room a cookie, and with a full queue behind it nothing."""
        if not segment.has(SYN):
            return False
        if not self.has_room():
            return True
        if self.is_full():
            self.send_cookie(segment, flow)
        else:
            self.open(self.made(flow), segment)
        return True

    def made(self, flow: Flow) -> Connection:
        """A connection with the listener's settings."""
        connection = self.stack.connection(flow)
        connection.listener = self
        for name, value in self.settings.items():
            connection.set_option(name, value)
        return connection

    def open(self, connection: Connection, syn: Segment) -> None:
        """Begin the half-open connection."""
        self.half_open.add(connection)
        self.stack.connections[connection.key] = connection
        connection.take_syn(syn)
        connection.enter(SYN_RECEIVED)
        connection.send_syn()

    def reopen(self, former: Tcb, syn: Segment) -> None:
        """Open a connection in the place of one in TIME-WAIT, with numbers beyond all of that (RFC 9293, MAY-2)."""
        connection = self.made(former.flow)
        connection.former = former
        connection.begin_at(self.beyond(former, connection.iss))
        if self.has_room():
            self.open(connection, syn)

    def beyond(self, former: Tcb, iss: int) -> int:
        """An initial number behind all that the former connection has used."""
        return iss if seq.lt(former.snd_max, iss) else seq.add(former.snd_max, _APART)

    def joined(self, connection: Connection) -> None:
        """A handshake is complete: the connection waits for the application."""
        self.half_open.discard(connection)
        self.accepted.append(connection)

    # -- cookies -----------------------------------------------------------------------------------------------------

    def send_cookie(self, syn: Segment, flow: Flow) -> None:
        """Answer without keeping anything: the number of the SYN,ACK says what its acknowledgement has to tell."""
        self.cookied_ns = self.stack.now_ns
        size = offer_of(syn).mss or DEFAULT_MSS[len(flow.local)]
        number = self.stack.secret.cookie(flow, syn.seq or 0, size, self.stack.now_ns)
        own = self.stack.mtu - (60 if flow.ipv6 else 40)
        self.stack.send_segment(Segment(
            flags=SYN | ACK, seq=number, ack=seq.add(syn.seq or 0, 1), window=RECEIVE_BUFFER,
            options=tuple(mss(own))), flow)

    def take_cookie(self, segment: Segment, flow: Flow) -> bool:
        """An acknowledgement of a cookie that was sent not long ago makes the connection."""
        if not segment.has(ACK) or segment.has(SYN) or not self.sent_cookies():
            return False
        irs, iss = seq.add(segment.seq or 0, -1), seq.add(segment.ack or 0, -1)
        size = self.stack.secret.size_in_cookie(flow, irs, iss, self.stack.now_ns)
        if size is None:
            return False
        if self.has_room():
            self.open_by_cookie(segment, flow, irs=irs, iss=iss, size=size)
        return True

    def sent_cookies(self) -> bool:
        """True if cookies were sent in this period or the last one."""
        return self.cookied_ns is not None and self.stack.now_ns - self.cookied_ns < 2 * COOKIE_PERIOD_NS

    def open_by_cookie(self, segment: Segment, flow: Flow, *, irs: int, iss: int, size: int) -> None:
        """Make the connection as if there had been a half-open one, which agreed to nothing but the MSS."""
        connection = self.made(flow)
        connection.begin_at(iss)
        connection.agree(Offer(mss=size))
        connection.begin_receiving(irs)
        connection.snd_nxt = connection.snd_max = segment.ack or 0
        connection.state = SYN_RECEIVED
        self.stack.connections[connection.key] = connection
        connection.arrives(segment)

    # -- the application ---------------------------------------------------------------------------------------------

    def forget(self, connection: Connection) -> None:
        """A half-open connection is gone; the one in TIME-WAIT whose place it had is back."""
        self.half_open.discard(connection)
        former = connection.former
        if isinstance(former, Connection) and former.state == TIME_WAIT and not connection.opened:
            self.stack.connections[connection.key] = former

    def close(self) -> None:
        """Stop listening: who waits is reset, who was half way is forgotten (RFC 9293, 3.10.4)."""
        self.stack.listeners.pop((self.address, self.port), None)
        for connection in list(self.half_open):
            connection.vanish("")
        for connection in self.accepted:
            if connection.state != CLOSED:
                connection.abort()
