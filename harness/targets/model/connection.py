# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole connection: the calls of its application, its life, and what ICMP tells of it (RFC 9293, 3.9 and 3.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...wire import seq
from ...wire.segment import ACK, Flow
from .arrivals import Arrivals
from .secret import SECOND
from .states import (
    ABORT_IS_TOLD,
    CLOSE_CALLED,
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from .values import LEAST_MTU

if TYPE_CHECKING:
    from .stack import Stack

TIMED_OUT: Final = "ETIMEDOUT"
_MILLISECOND: Final = 1_000_000


class Connection(Arrivals):
    """One connection; it is also the handle of the application's socket."""

    def __init__(self, stack: Stack, flow: Flow) -> None:
        super().__init__(stack, flow)
        self.keepalive = False
        self.keepalive_time_ns = stack.values.keepalive_time_ns
        self.keepalive_interval_ns = stack.values.keepalive_interval_ns
        self.keepalive_probes = stack.values.keepalive_probes
        self.probes_sent = 0
        self.probed_ns = 0
        self.keepalive_timer = stack.timers.make(self.keep_alive)
        self.end_timer = stack.timers.make(self.end)

    # -- life --------------------------------------------------------------------------------------------------------

    def open_actively(self) -> None:
        """OPEN: our SYN goes out."""
        self.enter(SYN_SENT)
        self.send_syn()

    def enter(self, state: str) -> None:
        """Change the state, and do what its beginning asks for."""
        self.state = state
        if state == ESTABLISHED:
            self.begin_life()
        elif state == FIN_WAIT_2:
            self.limit_fin_wait_2()
        elif state == TIME_WAIT:
            self.begin_time_wait()

    def begin_life(self) -> None:
        """Whoever waits for the connection is told; CLOSE that was called before takes effect now."""
        self.opened = True
        self.watch_keepalive()
        if self.listener is not None and not self.crossed:
            self.listener.joined(self)
        if self.fin_queued:
            self.enter(FIN_WAIT_1)

    def limit_fin_wait_2(self) -> None:
        """A closed socket waits for the peer's FIN as long as the profile says; who still reads may wait for ever."""
        if self.closed_by_user and self.state == FIN_WAIT_2:
            self.end_timer.set(self.stack.now_ns + self.values.fin_wait_2_ns)

    def begin_time_wait(self) -> None:
        """Two segment lifetimes (RFC 9293, MUST-13); the other timers are off."""
        for timer in (self.retransmission, self.persistence, self.keepalive_timer):
            timer.stop()
        self.end_timer.set(self.stack.now_ns + self.values.time_wait_ns)

    def end(self) -> None:
        """FIN-WAIT-2 or TIME-WAIT is over."""
        self.vanish("")

    def vanish(self, error: str) -> None:
        """Delete the TCB; the application is told of the error, if there is one."""
        self.error = error
        self.state = CLOSED
        self.ack_due = False
        for timer in (self.retransmission, self.persistence, self.ack_timer, self.keepalive_timer, self.end_timer):
            timer.stop()
        self.stream.clear()
        self.stack.forget(self)

    def give_up(self) -> None:
        """R2 is over; a soft error of ICMP says why, if there was one (RFC 9293, SHLD-25)."""
        self.vanish(self.soft_error or TIMED_OUT)

    def timed_out(self) -> None:
        """Under attack a half-open connection lives less long (RFC 4987, 3.4)."""
        if self.state == SYN_RECEIVED and self.listener is not None and self.is_shed():
            self.vanish("")
        else:
            super().timed_out()

    def is_shed(self) -> bool:
        """True if the listener is half full of half-open connections, and this one is old."""
        age_ns = self.stack.now_ns - self.unacknowledged_since_ns
        return self.listener is not None and self.listener.is_pressed() and \
            age_ns >= self.values.syn_attack_timeout_ns

    # -- calls -------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, *, urgent: bool = False) -> int:
        """SEND: queue what there is room for; returns how much that was."""
        taken = data[:max(0, self.send_buffer - len(self.stream))]
        self.stream += taken
        if urgent:
            self.snd_up = self.stream_end
        self.output()
        return len(taken)

    def receive(self, size: int) -> bytes:
        """RECEIVE: up to so many octets of what has come."""
        data = bytes(self.unread[:size])
        del self.unread[:size]
        if data:
            self.window_may_open()
        return data

    def shut_writing(self) -> None:
        """CLOSE of our half: the FIN follows all that was sent before."""
        if self.fin_queued or self.state == CLOSED:
            return
        if self.state == SYN_SENT:
            self.vanish("")
            return
        self.fin_queued = True
        if self.state in CLOSE_CALLED:
            self.enter(CLOSE_CALLED[self.state])
        self.output()

    def shut_reading(self) -> None:
        """What comes from now on is thrown away."""
        self.reads = False
        self.unread.clear()

    def close(self) -> None:
        """CLOSE of the socket; with unread data the peer is reset, since it is lost (RFC 9293, SHLD-3)."""
        if self.closed_by_user:
            return
        if self.unread and self.state in ABORT_IS_TOLD:
            self.reset_peer()
            self.vanish("")
            return
        self.closed_by_user = True
        self.limit_fin_wait_2()
        self.shut_writing()

    def abort(self) -> None:
        """ABORT: a reset where the peer must know; who sends it waits (RFC 9293, 3.10.5 and 3.5.2)."""
        if self.state in ABORT_IS_TOLD:
            self.reset_peer()
            self.stream.clear()
            self.unread.clear()
            self.ack_timer.stop()
            self.enter(TIME_WAIT)
        elif self.state not in (CLOSED, TIME_WAIT):
            self.vanish("")

    @property
    def write_closed(self) -> bool:
        """True once the application has closed its half, and can send no more."""
        return self.fin_queued

    @property
    def lingers(self) -> bool:
        """True while data or our FIN is on the way."""
        return self.state in (ESTABLISHED, CLOSE_WAIT) or (self.state != CLOSED and not self.fin_acknowledged)

    def take_error(self) -> str:
        """The error that waits; it is told once."""
        error, self.error = self.error, ""
        return error

    # -- keepalive ---------------------------------------------------------------------------------------------------

    def watch_keepalive(self) -> None:
        """Set the timer by when the peer was last heard, if the application wants it (RFC 9293, MUST-25, MUST-26)."""
        self.probes_sent = 0
        if self.keepalive and self.state in (ESTABLISHED, CLOSE_WAIT, FIN_WAIT_2):
            self.keepalive_timer.set(max(self.stack.now_ns, self.heard_ns + self.keepalive_time_ns))
        else:
            self.keepalive_timer.stop()

    def keep_alive(self) -> None:
        """The peer was silent: ask it, or give it up."""
        now_ns = self.stack.now_ns
        if self.heard_ns > self.probed_ns:
            self.probes_sent = 0
        if self.must_wait():
            self.keepalive_timer.set(max(now_ns, self.heard_ns) + self.keepalive_time_ns)
        elif not self.probes_sent and now_ns < self.heard_ns + self.keepalive_time_ns:
            self.keepalive_timer.set(self.heard_ns + self.keepalive_time_ns)
        elif self.probes_sent >= self.keepalive_probes:
            self.reset_peer()
            self.give_up()
        else:
            self.probes_sent += 1
            self.probed_ns = now_ns
            self.send_keepalive()
            self.keepalive_timer.set(now_ns + self.keepalive_interval_ns)

    def must_wait(self) -> bool:
        """No probe while data is on the way or waits (RFC 9293, MUST-26)."""
        return self.snd_una != self.snd_max or bool(self.unsent())

    def send_keepalive(self) -> None:
        """A segment with the number before the next (RFC 9293, 3.8.4)."""
        self.say(ACK, seq.add(self.snd_nxt, -1), payload=bytes(self.values.keepalive_garbage))

    # -- ICMP --------------------------------------------------------------------------------------------------------

    def is_in_flight(self, number: int) -> bool:
        """True for a number that is sent and not acknowledged: others are forged (RFC 5927, 4)."""
        return seq.le(self.snd_una, number) and seq.lt(number, self.snd_max)

    def hear_soft_error(self, error: str) -> None:
        """It may pass: keep it as the reason if it does not, and tell an application that wants to know."""
        self.soft_error = error
        if self.reports_errors:
            self.error = error

    def hear_hard_error(self, error: str) -> None:
        """It ends an attempt; on a connection it may be forged, and counts as a soft one (RFC 5927, 5.2)."""
        if self.state == SYN_SENT:
            self.vanish(error)
        else:
            self.hear_soft_error(error)

    def hear_mtu(self, mtu: int) -> None:
        """The path takes less: send what is on the way again, in smaller segments (RFC 1191, RFC 8201)."""
        mtu = max(mtu, LEAST_MTU[len(self.flow.local)])
        if mtu < self.path_mtu:
            self.path_mtu = mtu
            if self.state not in (SYN_SENT, SYN_RECEIVED):
                self.snd_nxt, self.timed = self.snd_una, None
                self.output()

    # -- settings ----------------------------------------------------------------------------------------------------

    def set_option(self, name: str, value: int) -> bool:
        """Set an option of the socket API; False if there is none of that name."""
        if name == "SO_KEEPALIVE":
            self.keepalive = bool(value)
            self.watch_keepalive()
        elif name == "TCP_KEEPIDLE":
            self.keepalive_time_ns = value * SECOND
            self.watch_keepalive()
        elif name == "TCP_KEEPINTVL":
            self.keepalive_interval_ns = value * SECOND
        elif name == "TCP_KEEPCNT":
            self.keepalive_probes = value
        elif name == "TCP_USER_TIMEOUT":
            self.user_timeout_ns = value * _MILLISECOND
        elif name == "TCP_NODELAY":
            self.nodelay = bool(value)
            self.output()
        elif name == "SO_RCVBUF":
            self.receive_buffer = value
        elif name == "SO_SNDBUF":
            self.send_buffer = value
        elif name in ("IP_RECVERR", "IPV6_RECVERR"):
            self.reports_errors = bool(value)
        else:
            return False
        return True
