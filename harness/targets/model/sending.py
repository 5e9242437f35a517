# SPDX-License-Identifier: GPL-2.0-or-later
"""The sending half of a connection: what goes out, when, and in which pieces (RFC 9293, 3.7 and 3.8; RFC 5681).

The stream is sent from SND.NXT on as far as both windows reach. A time-out takes SND.NXT back to SND.UNA with a
congestion window of one segment, so that repeating is sending again; SND.MAX remembers what was sent before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...wire import seq
from ...wire.segment import ACK, FIN, PSH, SYN, URG, Flow, Segment
from . import values
from .options import timestamps_of
from .receiving import Receiver
from .roundtrip import RoundTrip
from .states import SENDING, SYN_RECEIVED, SYN_SENT

if TYPE_CHECKING:
    from .stack import Stack

_DUPLICATES = 3
"""So many duplicate acknowledgements mean a loss (RFC 5681, 3.2)."""


class Sender(Receiver):
    """What is queued, what is on the way, and the timers that watch over it."""

    def __init__(self, stack: Stack, flow: Flow) -> None:
        super().__init__(stack, flow)
        self.round_trip = RoundTrip(stack.values)
        self.cwnd = 0
        self.ssthresh = 1 << 30
        self.duplicates = 0
        self.retries = 0
        self.timed: tuple[int, int] | None = None
        """The number that has to be acknowledged for a measurement, and when it was sent."""
        self.unacknowledged_since_ns = 0
        self.last_sent_ns = stack.now_ns
        self.persist_ns = 0
        self.retransmission = stack.timers.make(self.timed_out)
        self.persistence = stack.timers.make(self.probe_window)

    # -- what goes out -----------------------------------------------------------------------------------------------

    def output(self) -> None:
        """Send what may be sent now."""
        if self.state not in SENDING:
            return
        self.restart_after_idle()
        while self.send_one():
            pass
        self.watch()

    def send_one(self, *, forced: bool = False) -> bool:
        """Send the next segment if there is one that may go; `forced`: however small, or without room."""
        usable = self.usable_window()
        size = min(self.unsent(), self.payload_limit, max(usable, 1 if forced else 0))
        if size > 0 and (forced or self.is_due(size)):
            self.send_octets(size)
            return True
        if self.fin_queued and self.snd_nxt == self.stream_end and (usable > 0 or not self.snd_wnd):
            self.send_octets(0)
            return True
        return False

    def unsent(self) -> int:
        """Octets behind SND.NXT; of what is sent again, no more than was sent before."""
        if seq.lt(self.stream_end, self.snd_nxt):
            return 0
        end = self.stream_end
        if seq.lt(self.snd_nxt, self.snd_max) and seq.lt(self.snd_max, end):
            end = self.snd_max
        return seq.diff(end, self.snd_nxt)

    def usable_window(self) -> int:
        """Octets that both windows allow beyond SND.NXT."""
        return min(self.snd_wnd, self.cwnd) - seq.diff(self.snd_nxt, self.snd_una)

    def is_due(self, size: int) -> bool:
        """The sender's side of silly window avoidance, and Nagle's rule (RFC 9293, 3.8.6.2.1 and 3.7.4).

        A small segment waits as long as another small one is not acknowledged.
        """
        if size >= self.payload_limit or seq.lt(self.snd_nxt, self.snd_max):
            return True
        if size == self.unsent():
            return self.nodelay or self.fin_queued or seq.le(self.small_end, self.snd_una)
        return 2 * size >= self.max_snd_wnd and self.snd_una == self.snd_nxt

    def send_octets(self, size: int) -> None:
        """One segment from SND.NXT, with FIN if it ends the stream, and PSH if nothing can follow at once."""
        start = seq.diff(self.snd_nxt, self.stream_at)
        end = seq.add(self.snd_nxt, size)
        flags = ACK
        if size and self.pushes(end):
            flags |= PSH
        if self.fin_queued and end == self.stream_end:
            flags |= FIN
        urgent = self.urgent_pointer()
        self.say(flags | (URG if urgent else 0), self.snd_nxt, payload=bytes(self.stream[start:start + size]),
                 urgent=urgent)
        self.has_sent(end, size, bool(flags & FIN))

    def pushes(self, end: int) -> bool:
        """PSH stands on the segment behind which nothing is queued, or can be sent (RFC 9293, MUST-61)."""
        return end == self.stream_end or end == seq.add(self.snd_una, self.snd_wnd)

    def urgent_pointer(self) -> int:
        """How far behind SND.NXT the urgent data ends, 0 if there is none (RFC 6093, 3.1)."""
        if self.snd_up is None or not seq.lt(self.snd_nxt, self.snd_up):
            return 0
        return min(seq.diff(self.snd_up, self.snd_nxt), 65535)

    def has_sent(self, end: int, size: int, fin: bool) -> None:
        """Move SND.NXT on; what goes out for the first time is timed."""
        if fin:
            end = seq.add(end, 1)
        elif size < self.payload_limit:
            self.small_end = end
        if seq.lt(self.snd_max, end):
            if self.timed is None and not seq.lt(self.snd_nxt, self.snd_max):
                self.timed = end, self.stack.now_ns
            if self.snd_max == self.snd_una:
                self.unacknowledged_since_ns = self.stack.now_ns
            self.snd_max = end
        self.snd_nxt = end
        self.last_sent_ns = self.stack.now_ns

    def restart_after_idle(self) -> None:
        """After a time-out of silence the congestion window is the first one again (RFC 5681, 4.1)."""
        idle_ns = self.stack.now_ns - self.last_sent_ns
        if self.snd_una == self.snd_max and idle_ns > self.round_trip.rto_ns:
            self.cwnd = min(self.cwnd, self.first_window())

    def first_window(self) -> int:
        """RFC 6928, 2."""
        return min(10 * self.payload_limit, max(2 * self.payload_limit, 14600))

    def begin_sending(self) -> None:
        """The connection is open."""
        self.cwnd = self.first_window()
        if self.retries:
            self.round_trip.lost_syn()
        elif self.timed is not None:
            self.round_trip.measured(self.stack.now_ns - self.timed[1])
        self.timed, self.retries = None, 0
        self.retransmission.stop()

    # -- acknowledgements --------------------------------------------------------------------------------------------

    def note_window(self, segment: Segment, *, scaled: bool = True) -> None:
        """SND.WND, if the segment is no older than the last that told it (RFC 9293, 3.10.7.4)."""
        number, ack = segment.seq or 0, segment.ack or 0
        self.snd_wnd = (segment.window or 0) << (self.snd_shift if scaled else 0)
        self.snd_wl1, self.snd_wl2 = number, ack
        self.max_snd_wnd = max(self.max_snd_wnd, self.snd_wnd)

    def take_ack(self, segment: Segment) -> bool:
        """Check 5, the part that all states of sending share."""
        ack, before = segment.ack or 0, self.snd_wnd
        if seq.lt(self.snd_una, ack):
            self.acknowledge_octets(ack, segment)
        elif ack == self.snd_una:
            self.count_duplicate(segment)
        if seq.le(self.snd_una, ack) and self.is_newer(segment):
            self.note_window(segment)
        if self.snd_wnd and not before:
            self.persist_ns = 0
        return self.fin_is_acknowledged()

    def is_newer(self, segment: Segment) -> bool:
        """True if the segment was sent after the one that SND.WND is from."""
        number = segment.seq or 0
        return seq.lt(self.snd_wl1, number) or (self.snd_wl1 == number and seq.le(self.snd_wl2, segment.ack or 0))

    def fin_is_acknowledged(self) -> bool:
        """Move the state on if our FIN is acknowledged; True if nothing is left of the connection."""
        raise NotImplementedError

    def acknowledge_octets(self, ack: int, segment: Segment) -> None:
        """Let go of what is acknowledged; the rest has a whole time-out again (RFC 6298, 5.2 and 5.3)."""
        self.measure(ack, segment)
        self.grow(seq.diff(ack, self.snd_una))
        self.snd_una = ack
        self.snd_max = seq.latest(self.snd_max, ack)
        self.snd_nxt = seq.latest(self.snd_nxt, ack)
        gone = min(len(self.stream), max(0, seq.diff(ack, self.stream_at)))
        del self.stream[:gone]
        self.stream_at = seq.add(self.stream_at, gone)
        self.retries = self.duplicates = 0
        self.soft_error = ""
        self.unacknowledged_since_ns = self.stack.now_ns
        self.retransmission.stop()

    def measure(self, ack: int, segment: Segment) -> None:
        """A round trip, by the time stamp or by what was sent once (RFC 7323, 4.1; RFC 6298, 3: Karn)."""
        stamps = timestamps_of(segment) if self.stamps else None
        if stamps is not None:
            if seq.le(self.ts_first, stamps[1]) and seq.le(stamps[1], self.stamp()):
                self.round_trip.measured(seq.diff(self.stamp(), stamps[1]) * values.MILLISECOND)
        elif self.timed is not None and seq.le(self.timed[0], ack):
            self.round_trip.measured(self.stack.now_ns - self.timed[1])
        if self.timed is not None and seq.le(self.timed[0], ack):
            self.timed = None

    def grow(self, octets: int) -> None:
        """Slow start, and then congestion avoidance (RFC 5681, 3.1)."""
        size = self.payload_limit
        if self.cwnd < self.ssthresh:
            self.cwnd += min(octets, size)
        else:
            self.cwnd += max(1, size * size // self.cwnd)

    def count_duplicate(self, segment: Segment) -> None:
        """The third duplicate acknowledgement has the first segment sent again (RFC 5681, 3.2)."""
        same_window = (segment.window or 0) << self.snd_shift == self.snd_wnd
        if segment.payload or segment.has(FIN) or not same_window or self.snd_una == self.snd_max:
            return
        self.duplicates += 1
        if self.duplicates == _DUPLICATES:
            self.halve()
            self.resend()
            self.cwnd = self.ssthresh

    def halve(self) -> None:
        """RFC 5681, equation 4."""
        self.ssthresh = max(seq.diff(self.snd_max, self.snd_una) // 2, 2 * self.payload_limit)

    def resend(self) -> None:
        """Send the first segment that is not acknowledged again; what it tells of the round trip is in doubt."""
        self.timed = None
        resume, self.snd_nxt = self.snd_nxt, self.snd_una
        self.send_one(forced=True)
        self.snd_nxt = seq.latest(resume, self.snd_nxt)

    # -- timers ------------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Have the right timer run: that of repeating, that of a closed window, or none."""
        if self.snd_una != self.snd_max and (self.snd_una != self.snd_nxt or self.snd_wnd):
            self.persistence.stop()
            if not self.retransmission.running:
                self.retransmission.set(self.next_time_out())
        elif self.unsent() and self.state in SENDING:
            self.retransmission.stop()
            if not self.persistence.running:
                self.persistence.set(self.stack.now_ns + self.persistence_wait())
        else:
            self.persistence.stop()
            self.retransmission.stop()

    def next_time_out(self) -> int:
        """The retransmission time-out, or the application's own if that is sooner."""
        due = self.stack.now_ns + self.round_trip.rto_ns
        if self.user_timeout_ns and self.state not in (SYN_SENT, SYN_RECEIVED):
            due = min(due, self.unacknowledged_since_ns + self.user_timeout_ns)
        return max(due, self.stack.now_ns)

    def timed_out(self) -> None:
        """Nobody has acknowledged: send the oldest segment again, and wait twice as long (RFC 6298, 5.4 to 5.6)."""
        if self.is_given_up():
            self.give_up()
            return
        self.retries += 1
        self.round_trip.back_off()
        if self.state in (SYN_SENT, SYN_RECEIVED):
            self.say_syn()
        else:
            self.halve_once()
            self.cwnd = self.payload_limit
            self.snd_nxt, self.timed = self.snd_una, None
            self.send_one(forced=True)
        self.retransmission.set(self.next_time_out())

    def halve_once(self) -> None:
        """Only the first time-out of a loss halves what was in flight (RFC 5681, 3.1)."""
        if self.retries == 1:
            self.halve()

    def is_given_up(self) -> bool:
        """True if R2 is over: the count of repetitions, or the time that the application has set (RFC 9293, 3.8.3)."""
        if self.user_timeout_ns and self.state not in (SYN_SENT, SYN_RECEIVED):
            return self.stack.now_ns >= self.unacknowledged_since_ns + self.user_timeout_ns
        return self.retries >= self.retry_limit()

    def retry_limit(self) -> int:
        """How often is repeated what is on the way."""
        if self.state == SYN_SENT:
            return self.values.syn_retries
        if self.state == SYN_RECEIVED:
            return self.values.synack_retries
        return self.values.orphan_retries if self.closed_by_user else self.values.data_retries

    def give_up(self) -> None:
        """R2 is over."""
        raise NotImplementedError

    def say_syn(self) -> None:
        """Our SYN, or SYN,ACK in SYN-RECEIVED, with the number that it always has."""
        self.say(SYN if self.state == SYN_SENT else SYN | ACK, self.iss)
        self.snd_nxt = self.snd_max = seq.add(self.iss, 1)

    def send_syn(self) -> None:
        """Say it for the first time."""
        self.say_syn()
        self.timed = self.snd_max, self.stack.now_ns
        self.unacknowledged_since_ns = self.stack.now_ns
        self.retransmission.set(self.stack.now_ns + self.round_trip.rto_ns)

    def persistence_wait(self) -> int:
        """Until the next probe: a time-out, then twice as long each time; a small piece waits for less."""
        if self.snd_wnd:
            return values.OVERRIDE_NS
        self.persist_ns = self.round_trip.rto_ns if not self.persist_ns else \
            min(2 * self.persist_ns, self.values.rto_max_ns)
        return self.persist_ns

    def probe_window(self) -> None:
        """Send an octet into the closed window, or what the window has room for (RFC 9293, 3.8.6.1)."""
        if self.snd_wnd:
            self.send_one(forced=True)
        else:
            self.send_probe()
        self.watch()

    def send_probe(self) -> None:
        """The next octet of data; SND.NXT stays, for nobody may have taken it."""
        first = seq.diff(self.snd_una, self.stream_at)
        self.say(ACK, self.snd_una, payload=bytes(self.stream[first:first + 1]))
        self.probe_end = seq.add(self.snd_una, 1)
